"""What the panel proposes for a volume, and what it says of choices that contradict it."""

import time

import slicer
import slicer.util
from SuperResolution3DLib.choices import Axes, Modality, Preset, Scale


def test_a_factor_for_another_volume_does_not_survive(panel, make_volume):
    """4x between thick slices became 4x on all axes of the next scan: 64 times the voxels."""
    panel.parameters.inputVolume = make_volume()
    assert panel.parameters.scale is Scale.FOUR and "Proposed: 4x through-plane" in panel.ui.axesHintLabel.text
    panel.parameters.inputVolume = make_volume("T1", spacing=(1.0, 1.0, 1.0))
    assert panel.parameters.scale is Scale.TWO and panel.parameters.axes is Axes.ALL


def test_slices_finer_than_the_pixels_are_told(panel, make_volume):
    panel.parameters.inputVolume = make_volume(spacing=(2.0, 2.0, 5.0))
    assert panel.parameters.scale is Scale.TWO and "finer" not in panel.ui.axesHintLabel.text
    panel.parameters.scale = Scale.FOUR
    assert "finer (1.2 mm) than the pixels are wide (2 mm)" in panel.ui.axesHintLabel.text
    panel.parameters.axes = Axes.IN_PLANE
    assert "finer" not in panel.ui.axesHintLabel.text


def test_where_the_modality_comes_from(panel, make_ct):
    volume = make_ct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemAttribute(hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume), "DICOM.Modality", "CT")
    panel.parameters.inputVolume = volume
    assert panel.ui.modalitySourceLabel.text == "(from DICOM)" and "look like" not in panel.ui.factsLabel.text
    panel.parameters.modality = Modality.MR
    assert panel.ui.modalitySourceLabel.text == "(your choice; CT from DICOM)"
    assert "The intensities look like CT; check the modality." in panel.ui.factsLabel.text


def test_what_is_shown_is_proposed_and_a_result_never(panel, make_volume):
    result, first, shown = make_volume("Head SR x2"), make_volume("First"), make_volume("Shown")
    result.SetAttribute("SuperResolution3D.Method", "two-stage-residual")
    for background, expected in ((shown, shown), (result, first)):
        panel.parameters.inputVolume = None
        slicer.util.setSliceViewerLayers(background=background, fit=False)
        panel.widget.exit()
        panel.widget.enter()
        assert panel.parameters.inputVolume is expected
    panel.parameters.inputVolume = result
    assert "This volume is itself a result (Two-stage CNN, residual)." in panel.ui.factsLabel.text


def load(panel, volume):
    """Shown in the views, as Slicer does with what is loaded."""
    slicer.util.setSliceViewerLayers(background=volume, fit=False)
    end = time.monotonic() + 0.6
    panel.wait(lambda: time.monotonic() > end)
    return volume


def test_a_volume_that_is_loaded_while_the_panel_is_open_is_proposed(panel, make_volume):
    """Until the user chooses: a volume, or anything for it."""
    first = load(panel, make_volume("First"))
    assert panel.parameters.inputVolume is first and "Proposed: 4x" in panel.ui.axesHintLabel.text
    second = load(panel, make_volume("Second", spacing=(1.0, 1.0, 1.0)))
    assert panel.parameters.inputVolume is second and panel.parameters.scale is Scale.TWO
    panel.parameters.preset = Preset.FAST
    load(panel, make_volume("Third"))
    assert panel.parameters.inputVolume is second
    panel.parameters.preset = Preset.BEST
    fourth = load(panel, make_volume("Fourth"))
    assert panel.parameters.inputVolume is fourth
    panel.ui.inputSelector.setCurrentNode(first)
    load(panel, make_volume("Fifth"))
    assert panel.parameters.inputVolume is first


def test_neither_a_result_nor_what_another_module_loads_takes_the_place(panel, make_volume):
    first = load(panel, make_volume("First"))
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    load(panel, panel.parameters.lastResult)
    assert panel.parameters.inputVolume is first
    load(panel, make_volume("Next"))
    assert panel.parameters.inputVolume is first, "a run is a choice"
    panel.parameters.inputVolume = None
    panel.raw.setProperty("isEntered", False)
    load(panel, make_volume("Elsewhere"))
    assert panel.parameters.inputVolume is None


def test_networks_after_networks_stop_at_4x(panel, make_volume):
    result = make_volume("Head SR x2", spacing=(1.0, 1.0, 1.0))
    for name, value in (("Method", "two-stage-residual"), ("Factors", "2 2 2"), ("Modality", "MR")):
        result.SetAttribute(f"SuperResolution3D.{name}", value)
    panel.parameters.inputVolume = result
    assert panel.ui.modalitySourceLabel.text == "(as it was upscaled)"
    panel.parameters.method = "two-stage-residual"
    assert panel.ui.applyButton.enabled, panel.reason
    panel.parameters.scale = Scale.FOUR
    assert "was made by a network already" in panel.reason and not panel.ui.applyButton.enabled
    panel.parameters.method = "cubic"
    assert panel.ui.applyButton.enabled, panel.reason
    panel.parameters.method = "two-stage-residual"
    result.SetAttribute("SuperResolution3D.Factors", "1 1 4")
    panel.parameters.axes = Axes.IN_PLANE
    assert panel.ui.applyButton.enabled, panel.reason
