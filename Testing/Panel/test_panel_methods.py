"""Which methods the panel offers, and slices of 1 mm from the choice to the comparison; with untrained networks."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_steps import volumes
from PySide6 import QtCore
from superres3d.errors import InputError, ModelError
from superres3d.methods import INVENTS, METHODS
from SuperResolution3DLib import wording
from SuperResolution3DLib.choices import Axes, Modality, Noise, Preset, Scale
from SuperResolution3DLib.request import fitting_methods

INTERPOLATIONS = ["lanczos", "cubic", "linear", "nearest"]


def offered(box) -> list:
    return [box.itemData(index) for index in range(box.count)]


def choose(box, data) -> None:
    assert box.findData(data) >= 0, offered(box)
    box.currentIndex = box.findData(data)


def choose_slices(panel, volume) -> None:
    """As a user does: the volume, then the distance."""
    panel.ui.inputSelector.setCurrentNode(volume)
    choose(panel.ui.scaleComboBox, "SLICES_1_MM")
    panel.ui.presetComboBox.currentIndex = 2
    panel.ui.deviceComboBox.setCurrentText("cpu")


# ---------------------------------------------------------------------- which methods


def test_only_installed_methods_are_offered(panel, make_volume, install):
    install("mdcsrn-mr")
    panel.ui.inputSelector.setCurrentNode(make_volume())
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS  # through-plane was proposed
    panel.parameters.axes, panel.parameters.scale = Axes.IN_PLANE, Scale.TWO
    assert offered(panel.ui.methodComboBox) == ["mdcsrn", *INTERPOLATIONS]
    choose(panel.ui.methodComboBox, "mdcsrn")
    panel.parameters.scale = Scale.FOUR
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS and panel.parameters.method == "lanczos"


def test_shipped_networks_stay_the_default(panel, make_volume):
    panel.ui.inputSelector.setCurrentNode(make_volume())
    assert offered(panel.ui.methodComboBox)[0] == "two-stage-told" and "two-stage-residual" in offered(panel.ui.methodComboBox)
    assert ["two-stage-told"] == [panel.parameters.method]


@pytest.mark.parametrize("axes, scale, large", [("in-plane", 2, True), ("through-plane", 2, True), ("in-plane", 4, False), ("through-plane", 4, True), ("all", 4, True)])
def test_large_networks_are_offered_for_what_they_are_there(panel, axes, scale, large):
    assert ("two-stage-large" in [method.name for method in fitting_methods("MR", axes, scale)]) == large


def test_missing_networks_are_told(panel, make_volume, install):
    install()
    panel.ui.inputSelector.setCurrentNode(make_volume())
    assert panel.ui.methodCautionLabel.isVisible() and "No trained network for MR is installed" in panel.ui.methodCautionLabel.text


def test_a_method_is_described_in_line_and_tip(panel, make_volume, install):
    install("mdcsrn-mr")
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.parameters.axes, panel.parameters.scale = Axes.IN_PLANE, Scale.TWO
    choose(panel.ui.methodComboBox, "mdcsrn")
    assert not panel.ui.methodSummaryLabel.isVisible()  # it is the proposed one: Apply stays in sight
    assert not panel.ui.methodCautionLabel.isVisible()
    tip = panel.ui.methodComboBox.itemData(0, QtCore.Qt.ToolTipRole)
    assert "Assumes: The scanner measured half of k-space" in tip and "Assumes: The scanner" in panel.ui.methodComboBox.toolTip
    assert "for MR scans with few phase encodings" in tip and "When not: " in tip
    assert "arXiv:2003.01217" in tip and "arXiv:2003.01217" in panel.ui.methodComboBox.toolTip
    assert [panel.ui.presetComboBox.itemText(2), panel.ui.ensembleComboBox.itemText(1)] == ["Fast (a quarter of the time)", "4 copies"]
    choose(panel.ui.methodComboBox, "cubic")
    assert panel.ui.methodSummaryLabel.isVisible() and METHODS["cubic"].summary in panel.ui.methodSummaryLabel.text
    assert [panel.ui.presetComboBox.itemText(2), panel.ui.ensembleComboBox.itemText(1)] == ["Fast (a seventh of the time)", "8 copies"]


def test_what_may_invent_is_said_beside_the_method_and_the_result(panel, make_volume, install):
    install("mdcsrn-mr", "mdcsrn-gan-mr")
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.parameters.axes, panel.parameters.scale = Axes.IN_PLANE, Scale.TWO
    assert panel.parameters.method != "mdcsrn-gan"
    choose(panel.ui.methodComboBox, "mdcsrn-gan")
    assert panel.ui.methodCautionLabel.isVisible() and panel.ui.methodCautionLabel.text == f"Caution: {INVENTS}"
    panel.ui.presetComboBox.currentIndex = 2
    panel.ui.deviceComboBox.setCurrentText("cpu")
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done"
    assert f"Caution: {INVENTS}" in panel.ui.reportLabel.text
    assert "MR head SR (may invent texture) x2 in-plane" in volumes()
    assert panel.parameters.lastResult.GetAttribute("SuperResolution3D.Caution") == INVENTS
    panel.picture("10-may-invent")


# ---------------------------------------------------------------------- slices of 1 mm


def test_slices_of_1_mm_are_chosen_and_told(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    assert panel.parameters.scale is Scale.SLICES_1_MM and panel.parameters.method == "virtual-thin-slice"
    assert not panel.ui.axesComboBox.enabled and panel.parameters.axes is Axes.THROUGH_PLANE
    assert panel.ui.axesHintLabel.text == "The slices are 5 mm apart in the scan. The pixels stay as they are."
    told = panel.ui.estimateLabel.text
    assert "36 \u00d7 40 \u00d7 40 voxels of 0.8 \u00d7 0.8 \u00d7 1 mm" in told and "of memory" in told and "on this machine" in told


def test_slices_of_1_mm_from_choice_to_comparison(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    assert panel.ui.applyButton.enabled, panel.reason
    panel.picture("11-slices-of-1-mm")
    stages = []
    run = panel.widget.panel.run
    show = run._show_progress
    run._show_progress = lambda progress: (show(progress), stages.append(panel.status))
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done" and any(text.startswith("Volumetric network") for text in stages), stages
    assert set(volumes()) == {"Chest", "Chest SR 1 mm slices", "Chest Lanczos 1 mm slices"}
    shapes = {slicer.util.arrayFromVolume(volumes()[name]).shape for name in ("Chest SR 1 mm slices", "Chest Lanczos 1 mm slices")}
    assert shapes == {(40, 40, 36)}
    assert panel.parameters.lastResult.GetAttribute("SuperResolution3D.SliceSpacing") == "1"
    assert "virtual-thin-slice-ct, SHA-256" in panel.ui.reportLabel.text
    assert panel.ui.showComparisonButton.enabled
    panel.picture("11-slices-done")


def test_the_network_is_proposed_whatever_was_chosen_for_the_factor(panel, make_ct, install):
    install("virtual-thin-slice-ct", "virtual-thin-slice-gan-ct")
    panel.ui.inputSelector.setCurrentNode(make_ct(5.0))
    panel.choose_cubic()
    choose(panel.ui.scaleComboBox, "SLICES_1_MM")
    assert panel.parameters.method == "virtual-thin-slice"
    assert offered(panel.ui.methodComboBox) == ["virtual-thin-slice", "virtual-thin-slice-gan", *INTERPOLATIONS]


def test_back_to_a_factor(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    choose(panel.ui.scaleComboBox, "TWO")
    assert panel.ui.axesComboBox.enabled and panel.parameters.axes is Axes.THROUGH_PLANE
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS and panel.parameters.method == "lanczos"
    assert "slices are 6.2 times" in panel.ui.axesHintLabel.text


@pytest.mark.parametrize("distance", [1.0, 0.8, 12.0])
def test_slices_of_1_mm_are_not_offered_where_they_do_not_fit(panel, make_ct, install, distance):
    install("virtual-thin-slice-ct")
    panel.ui.inputSelector.setCurrentNode(make_ct(distance))
    assert "SLICES_1_MM" not in offered(panel.ui.scaleComboBox)


@pytest.mark.parametrize("distance, words", [(0.8, "0.8 mm apart, closer than the 1 mm"), (12.0, "12 mm apart, and virtual-thin-slice")])
def test_a_stored_choice_that_does_not_fit_is_refused_with_the_reason(panel, make_ct, install, distance, words):
    """From a saved scene or a script."""
    install("virtual-thin-slice-ct")
    panel.ui.inputSelector.setCurrentNode(make_ct(distance))
    panel.parameters.scale = Scale.SLICES_1_MM
    panel.parameters.method = "virtual-thin-slice"
    assert panel.parameters.scale is Scale.SLICES_1_MM and panel.ui.scaleComboBox.currentText == "Slices of 1 mm"
    assert not panel.ui.applyButton.enabled and words in panel.reason and panel.ui.reasonLabel.isVisible()
    assert panel.reason.endswith(".") and "\n" not in panel.reason
    assert not panel.ui.estimateLabel.isVisible()
    panel.widget._applyShortcut.activated()
    assert panel.run is None
    panel.picture("12-slices-refused")


def test_slices_between_1_and_1_5_mm_get_an_interpolation_and_the_reason(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(1.2))
    assert panel.parameters.method == "lanczos" and offered(panel.ui.methodComboBox) == INTERPOLATIONS
    assert 'too close for "Virtual Thin Slice, light"' in panel.ui.axesHintLabel.text
    assert panel.ui.applyButton.enabled


def test_another_input_resets_what_does_not_fit_it(panel, make_ct, make_volume, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    panel.ui.inputSelector.setCurrentNode(make_volume())  # MR
    assert panel.parameters.modality is Modality.MR
    assert panel.parameters.scale is Scale.FOUR and panel.ui.scaleComboBox.currentText == "4x"
    assert panel.parameters.method == "lanczos" and panel.ui.axesComboBox.enabled
    choose_slices(panel, make_ct(5.0, "Abdomen"))
    choose(panel.ui.methodComboBox, "virtual-thin-slice")
    panel.ui.inputSelector.setCurrentNode(make_ct(3.0, "Pelvis"))  # it fits this one, too
    assert panel.parameters.scale is Scale.SLICES_1_MM and panel.parameters.method == "virtual-thin-slice"
    panel.ui.inputSelector.setCurrentNode(make_ct(0.8, "Fine"))
    assert panel.parameters.scale is Scale.TWO


def test_correcting_the_modality_leaves_the_methods_that_fit(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    panel.parameters.modality = Modality.MR
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS and panel.parameters.method == "lanczos"


# ---------------------------------------------------------------------- voxels of one size


def test_isotropic_voxels_from_choice_to_result(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    panel.ui.inputSelector.setCurrentNode(make_ct(2.0))
    choose(panel.ui.scaleComboBox, "ISOTROPIC")
    assert panel.parameters.scale is Scale.ISOTROPIC and not panel.ui.axesComboBox.enabled and not panel.ui.consistencyCheckBox.enabled
    assert panel.ui.axesHintLabel.text == "Every axis gets the scan's smallest spacing, 0.8 mm."
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS  # the only network is made for one distance of slices
    assert "20 voxels of 0.8 \u00d7 0.8 \u00d7 0.8 mm" in panel.ui.estimateLabel.text
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done", panel.status
    result = panel.parameters.lastResult
    np.testing.assert_allclose(result.GetSpacing(), 0.8)
    assert result.GetName() == "Chest Lanczos isotropic" and result.GetAttribute("SuperResolution3D.Spacing") == "0.8 0.8 0.8"


def test_isotropic_voxels_by_networks_are_the_default_method(panel, make_ct):
    panel.ui.inputSelector.setCurrentNode(make_ct(2.0))
    choose(panel.ui.scaleComboBox, "ISOTROPIC")
    assert panel.parameters.method == "two-stage-told" and panel.ui.applyButton.enabled, panel.reason
    assert panel.request().arguments()[:2] == ["--spacing", "isotropic"]


@pytest.mark.parametrize("distance", [0.8, 12.0])
def test_isotropic_voxels_are_not_offered_where_they_do_not_fit(panel, make_ct, distance):
    """Nothing to do, or more than an interpolation does."""
    panel.ui.inputSelector.setCurrentNode(make_ct(distance))
    assert "ISOTROPIC" not in offered(panel.ui.scaleComboBox)


def test_slices_too_far_apart_for_networks_get_an_interpolation_and_the_reason(panel, make_ct):
    panel.ui.inputSelector.setCurrentNode(make_ct(5.0))
    choose(panel.ui.scaleComboBox, "ISOTROPIC")
    assert offered(panel.ui.methodComboBox) == INTERPOLATIONS
    assert '"Two-stage CNN, told of the scan" makes them at most 5 times finer' in panel.ui.axesHintLabel.text


def test_another_scan_without_room_for_isotropic_voxels_gets_a_factor(panel, make_ct):
    panel.ui.inputSelector.setCurrentNode(make_ct(2.0))
    choose(panel.ui.scaleComboBox, "ISOTROPIC")
    panel.ui.inputSelector.setCurrentNode(make_ct(0.8, "Fine"))
    assert panel.parameters.scale is Scale.TWO


# ---------------------------------------------------------------------- noise


def test_noise_is_a_choice_of_networks_that_are_told(panel, make_volume):
    panel.ui.inputSelector.setCurrentNode(make_volume())
    assert panel.ui.noiseComboBox.enabled and "--noise keep" in " ".join(panel.request().arguments())
    panel.ui.noiseComboBox.currentIndex = 1
    assert panel.parameters.parameterNode.GetParameter("noise") == "REDUCE"  # what a saved scene holds
    assert "--noise reduce" in " ".join(panel.request().arguments())
    choose(panel.ui.methodComboBox, "two-stage-residual")
    assert not panel.ui.noiseComboBox.enabled and "--noise" not in panel.request().arguments()


def test_reduced_noise_is_told_on_the_result(panel, make_volume):
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.parameters.axes, panel.parameters.preset, panel.parameters.noise = Axes.IN_PLANE, Preset.FAST, Noise.REDUCE
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done", panel.status
    made = [panel.parameters.lastResult, panel.parameters.lastComparison]
    assert [volume.GetAttribute("SuperResolution3D.Noise") for volume in made] == ["reduce", "none"]
    assert "asked to reduce noise" in panel.ui.reportLabel.text


def test_choices_are_kept_on_leaving_the_module(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    choose_slices(panel, make_ct(5.0))
    panel.widget.exit()
    panel.widget.enter()
    assert panel.ui.scaleComboBox.currentText == "Slices of 1 mm" and panel.parameters.method == "virtual-thin-slice"
    assert panel.parameters.parameterNode.GetParameter("scale") == "SLICES_1_MM"  # what a saved scene holds


# ---------------------------------------------------------------------- scripts


def test_script_makes_slices_of_1_mm(panel, make_ct, install):
    install("virtual-thin-slice-ct")
    finished = panel.module.SuperResolution3DLogic().upscale(make_ct(3.0), sliceSpacing=1.0, preset="fast", device="cpu", compare=True)
    assert finished.report["method"] == "virtual-thin-slice" and finished.report["invents"] is None
    assert slicer.util.arrayFromVolume(finished.result).shape == slicer.util.arrayFromVolume(finished.comparison).shape == (24, 40, 36)
    np.testing.assert_allclose(finished.result.GetSpacing(), (0.8, 0.8, 1.0))


def test_script_is_refused_with_the_reason(panel, make_ct, make_volume, install):
    install("virtual-thin-slice-ct")
    logic = panel.module.SuperResolution3DLogic()
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    with pytest.raises(InputError, match="too close for virtual-thin-slice"):
        logic.upscale(make_ct(1.2), sliceSpacing=1.0)
    with pytest.raises(ModelError, match="two-stage-told-mr-depth-x4 is not installed"):
        logic.upscale(make_volume(), modality="MR", sliceSpacing=1.0)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count + 2


def test_script_without_factor_and_axes_takes_what_the_method_is_made_for(panel, make_volume, install):
    install("mdcsrn-mr")
    finished = panel.module.SuperResolution3DLogic().upscale(make_volume(), method="mdcsrn", modality="MR", preset="fast", device="cpu")
    assert finished.result.GetName() == "MR head SR x2 in-plane"


def test_titles_are_those_of_the_catalogue_and_can_be_translated(monkeypatch):
    """Each title that is words is a string of the panel; names of networks stay as they are."""
    assert {name: wording.title(name) for name in METHODS} == {name: method.title for name, method in METHODS.items()}
    monkeypatch.setattr(wording, "_", lambda text: f"<{text}>")
    plain = {name for name in METHODS if not wording.title(name).startswith("<")}
    assert plain == {"mdcsrn", "srdensenet-3d", "srresnet-3d", "fsrcnn-3d", "srcnn-3d", "pix2pix-3d"}
