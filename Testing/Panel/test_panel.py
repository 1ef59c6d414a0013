"""Clicking through the panel: choose, estimate, Apply, progress, Cancel, crash, second run, scene closed; accessibility."""

import os
import shlex
import signal
import sys
import time

import numpy as np
import pytest
import slicer
import slicer.util
import typer
from panel_steps import start_large_run, volumes, worker_pids
from PySide6 import QtCore, QtGui, QtTest, QtWidgets
from superres3d.cli import app
from SuperResolution3DLib.choices import Axes, Ensemble, Modality, Scale
from SuperResolution3DLib.request import CONSISTENCY


def test_empty_panel_says_what_to_do(panel):
    assert not panel.ui.applyButton.enabled
    assert panel.reason == "Choose an input volume." and panel.ui.reasonLabel.isVisible()
    assert panel.ui.sampleButton.isVisible()
    assert not panel.ui.progressBar.isVisible() and not panel.ui.cancelButton.enabled
    assert panel.ui.advancedCollapsibleButton.collapsed
    assert "not for diagnosis" in panel.ui.disclaimerLabel.text
    panel.picture("1-empty")


def test_choosing_a_thick_slice_scan_proposes_through_plane(panel, make_volume):
    volume = make_volume()
    panel.ui.inputSelector.setCurrentNode(volume)  # as a user does, in the selector
    assert panel.parameters.inputVolume is volume
    assert panel.ui.factsLabel.text == "36 \u00d7 40 \u00d7 6 voxels of 1 \u00d7 1 \u00d7 5 mm, int16."
    assert panel.parameters.axes is Axes.THROUGH_PLANE
    assert panel.ui.axesComboBox.currentText == "Through-plane (between slices)"
    assert panel.parameters.modality is Modality.MR and "intensities" in panel.ui.modalitySourceLabel.text
    assert not panel.ui.sampleButton.isVisible()
    panel.choose_cubic()
    assert panel.ui.applyButton.enabled and not panel.ui.reasonLabel.isVisible()
    assert "36 \u00d7 40 \u00d7 24 voxels" in panel.ui.estimateLabel.text
    panel.picture("2-volume-chosen")


def test_first_volume_of_the_scene_is_chosen_on_entering(panel, make_volume):
    volume = make_volume()
    panel.widget.exit()
    panel.widget.enter()
    assert panel.parameters.inputVolume is volume


def test_a_label_map_is_not_chosen_on_entering(panel, make_volume):
    """GetFirstNodeByClass counts label maps and colour images as scalar volumes, and the selector does not show them."""
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Liver")
    volume = make_volume()
    panel.widget.exit()
    panel.widget.enter()
    assert panel.parameters.inputVolume is volume


def test_estimate_follows_the_choices(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.scaleComboBox.currentIndex = 0
    panel.ui.scaleComboBox.currentIndex = 1
    assert panel.parameters.scale is Scale.FOUR
    assert "36 \u00d7 40 \u00d7 24 voxels" in panel.ui.estimateLabel.text
    panel.ui.axesComboBox.currentIndex = 0
    assert "144 \u00d7 160 \u00d7 24 voxels" in panel.ui.estimateLabel.text


def test_choices_as_a_command_line(panel, make_volume, tmp_path):
    """To be copied: the program takes it, and it names the scan's file where there is one."""
    assert panel.ui.commandLineEdit.readOnly
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    words = shlex.split(panel.ui.commandLineEdit.text)
    assert words[:4] == ["superres3d", "upscale", "SCAN", "RESULT"] and words[words.index("--method") + 1] == "cubic"
    typer.main.get_command(app).commands["upscale"].make_context("upscale", words[2:])  # raises where an option is wrong
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(tmp_path / "my head.nrrd"))
    volume.SetAndObserveStorageNodeID(storage.GetID())
    panel.parameters.scale = Scale.TWO
    words = shlex.split(panel.ui.commandLineEdit.text)
    assert words[2] == str(tmp_path / "my head.nrrd") and words[words.index("--scale") + 1] == "2"


def test_corrected_choices_are_not_proposed_away(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.ui.axesComboBox.currentIndex = 1
    panel.ui.modalityComboBox.currentIndex = 1
    panel.widget.exit()
    panel.widget.enter()
    assert panel.parameters.axes is Axes.IN_PLANE and panel.parameters.modality is Modality.CT


def test_lanczos_is_compared_by_default_and_can_be_left_out(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    assert panel.ui.compareCheckBox.checked and panel.ui.comparisonSelector.enabled
    panel.ui.compareCheckBox.click()
    assert panel.parameters.compare is False and not panel.ui.comparisonSelector.enabled


def test_apply_makes_result_and_comparison(panel, make_volume):
    volume = make_volume()
    panel.parameters.inputVolume = volume
    panel.parameters.scale = Scale.TWO
    panel.choose_cubic()
    panel.ui.applyButton.click()
    assert not panel.ui.applyButton.enabled and panel.ui.cancelButton.enabled and panel.ui.progressBar.isVisible()
    assert not panel.ui.inputsCollapsibleButton.enabled
    panel.finish()
    assert panel.status == "Done"
    assert set(volumes()) == {"MR head", "MR head Cubic x2 through-plane", "MR head Lanczos x2 through-plane"}
    report = panel.ui.reportLabel.text
    assert "36 \u00d7 40 \u00d7 12 voxels" in report and "Cubic interpolation" in report and "not for diagnosis" in report
    assert panel.ui.applyButton.enabled and not panel.ui.cancelButton.enabled and not panel.ui.progressBar.isVisible()
    assert panel.ui.inputsCollapsibleButton.enabled
    assert panel.ui.showComparisonButton.enabled
    assert panel.parameters.outputVolume is None  # the next run makes a new volume again
    panel.picture("6-done")


def test_second_run_into_a_chosen_volume(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.parameters.scale = Scale.TWO
    panel.choose_cubic()
    panel.ui.compareCheckBox.click()
    panel.ui.applyButton.click()
    panel.finish()
    output = volumes()["MR head Cubic x2 through-plane"]
    panel.ui.outputSelector.setCurrentNode(output)
    panel.ui.scaleComboBox.currentIndex = 1
    panel.ui.applyButton.click()
    panel.finish()
    assert len(volumes()) == 2
    assert slicer.util.arrayFromVolume(output).shape == (24, 40, 36)
    panel.picture("6-second-run")


def test_slicer_stays_responsive_and_cancel_takes_less_than_two_seconds(panel, make_volume, snapshot):
    ticks = []
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    start_large_run(panel, make_volume)
    before = snapshot()
    timer.start(20)
    panel.wait(lambda: len(ticks) > 25)
    assert max(np.diff(ticks)) < 0.5  # the views would scroll
    assert any(word in panel.status for word in ("left", "Interpolation", "Writing"))
    panel.picture("3-running")
    pids = worker_pids()
    assert pids
    clicked = time.monotonic()
    panel.ui.cancelButton.click()
    assert panel.status == "Cancelling"
    panel.finish()
    timer.stop()
    assert time.monotonic() - clicked < 2.0
    assert worker_pids() == []
    assert panel.status == "Cancelled; the scene is as before."
    assert snapshot() == before
    assert panel.ui.applyButton.enabled
    panel.picture("4-cancelled")


@pytest.mark.skipif(os.name == "nt", reason="uses signals")
def test_worker_that_ignores_the_request_is_killed(panel, make_volume):
    start_large_run(panel, make_volume)
    for pid in worker_pids():
        os.kill(pid, signal.SIGSTOP)  # it cannot answer now
    clicked = time.monotonic()
    panel.ui.cancelButton.click()
    panel.finish()
    assert time.monotonic() - clicked < 2.0
    assert worker_pids() == []
    assert panel.status.startswith("Cancelled")


def test_cancel_before_the_worker_has_said_anything(panel, make_volume, snapshot):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    before = snapshot()
    panel.ui.applyButton.click()
    assert panel.status == "Starting" and panel.ui.progressBar.maximum == 0  # a bar that only moves
    panel.picture("2-starting")
    panel.ui.cancelButton.click()
    panel.finish()
    assert panel.status == "Cancelled; the scene is as before."
    assert snapshot() == before and worker_pids() == []


def test_apply_clicked_twice_starts_one_run(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    first = panel.run
    panel.ui.applyButton.click()
    panel.widget._applyShortcut.activated()
    assert panel.run is first
    panel.finish()
    assert len(volumes()) == 3


@pytest.mark.skipif(os.name == "nt", reason="uses signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL"])  # a defect; the system's memory killer
def test_crash_of_the_worker_is_one_message(panel, make_volume, snapshot, name):
    start_large_run(panel, make_volume)
    before = snapshot()
    for pid in worker_pids():
        os.kill(pid, getattr(signal, name))
    panel.finish()
    assert f"(code {int(getattr(signal, name))})" in panel.status and panel.ui.statusLabel.isVisible()
    assert "memory" in panel.status and "\n" not in panel.status
    assert snapshot() == before
    assert panel.ui.applyButton.enabled
    panel.picture("5-crashed")
    panel.choose_cubic()
    panel.parameters.axes, panel.parameters.scale = Axes.THROUGH_PLANE, Scale.TWO
    panel.ui.applyButton.click()  # and the next run works
    panel.finish()
    assert panel.status == "Done"


def test_interpreter_that_cannot_be_started(panel, make_volume, monkeypatch):
    from SuperResolution3DLib import worker

    monkeypatch.setattr(worker, "find_python", lambda: "/nowhere/PythonSlicer")
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    assert "cannot be started" in panel.status and panel.ui.applyButton.enabled


def test_scene_closed_during_a_run(panel, make_volume):
    start_large_run(panel, make_volume)
    slicer.mrmlScene.Clear(False)
    assert panel.run is None and worker_pids() == []
    assert "scene was closed" in panel.status
    panel.picture("6-scene-closed")
    panel.widget.enter()
    assert panel.reason == "Choose an input volume."
    assert volumes() == {}


def test_module_closed_during_a_run(panel, make_volume):
    """Slicer calls cleanup() when it quits and on Reload."""
    start_large_run(panel, make_volume)
    panel.widget.cleanup()
    assert worker_pids() == []


def test_input_removed_during_a_run(panel, make_volume, snapshot):
    volume = start_large_run(panel, make_volume)
    slicer.mrmlScene.RemoveNode(volume)
    before = snapshot()
    panel.finish()
    assert "was removed from the scene during the run" in panel.status
    assert volumes() == {} and snapshot() == before
    panel.picture("5-input-removed")


def test_run_goes_on_while_another_module_is_shown(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.widget.exit()
    panel.finish()
    panel.widget.enter()
    assert panel.status == "Done" and len(volumes()) == 3


def test_ctrl_return_applies(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.raw.activateWindow()
    target = panel.raw.findChild(QtWidgets.QComboBox, "scaleComboBox")
    target.setFocus()
    panel.wait(lambda: True)
    QtTest.QTest.keyClick(target, QtCore.Qt.Key_Return, QtCore.Qt.ControlModifier)
    assert panel.run is not None
    panel.finish()
    assert panel.status == "Done"


def test_shortcut_does_nothing_while_apply_is_disabled(panel):
    panel.widget._applyShortcut.activated()
    assert panel.run is None


def test_device_and_limits_reach_the_request(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.ui.deviceComboBox.setCurrentText("cuda:1")
    panel.ui.memoryLimitSpinBox.value = 3.0
    panel.ui.ensembleComboBox.currentIndex = 3
    panel.ui.presetComboBox.currentIndex = 2
    request = panel.request()
    assert (request.device, request.memory_limit_gib, request.ensemble, request.preset) == ("cuda:1", 3.0, "none", "fast")
    assert panel.parameters.ensemble is Ensemble.NONE


def test_consistency_is_off_and_reaches_the_request_where_it_makes_sense(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    assert panel.request().consistency == 0
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.ui.consistencyCheckBox.click()
    assert panel.parameters.consistency is True
    assert panel.request().consistency == CONSISTENCY
    assert f"--consistency {CONSISTENCY}" in " ".join(panel.request().arguments())
    panel.ui.applyButton.click()
    panel.finish()
    made = [panel.parameters.lastResult, panel.parameters.lastComparison]
    assert [volume.GetAttribute("SuperResolution3D.BackProjections") for volume in made] == [str(CONSISTENCY), "0"]
    assert f"Data consistency: {CONSISTENCY} back-projections." in panel.ui.reportLabel.text
    panel.parameters.scale = Scale.SLICES_1_MM
    panel.wait(lambda: not panel.ui.consistencyCheckBox.enabled)
    assert panel.request().consistency == 0


def test_method_of_an_older_scene_falls_back_to_the_default(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.parameters.method = "method of another version"
    assert panel.parameters.method == "two-stage-told"


# ---------------------------------------------------------------------- accessibility


def test_every_control_has_a_name_and_a_tooltip(panel):
    kinds = (QtWidgets.QAbstractButton, QtWidgets.QComboBox, QtWidgets.QDoubleSpinBox)
    controls = [w for kind in kinds for w in panel.raw.findChildren(kind) if w.objectName() and not w.objectName().startswith("qt_")]
    assert len(controls) >= 13
    for control in controls:
        assert control.accessibleName(), control.objectName()
        assert control.toolTip(), control.objectName()


def test_every_label_belongs_to_a_control_of_its_own(panel):
    labels = [label for label in panel.raw.findChildren(QtWidgets.QLabel) if label.text().endswith(":")]
    assert len(labels) == 24
    assert all(label.buddy() is not None and label.buddy().accessibleName() for label in labels), labels
    assert len({label.buddy() for label in labels}) == len(labels)


def test_no_two_controls_share_a_letter_behind_alt(panel):
    texts = [w.text() for kind in (QtWidgets.QLabel, QtWidgets.QAbstractButton) for w in panel.raw.findChildren(kind) if w.objectName()]
    letters = [QtGui.QKeySequence.mnemonic(text).toString() for text in texts if not QtGui.QKeySequence.mnemonic(text).isEmpty()]
    assert len(letters) >= 14
    assert sorted(letters) == sorted(set(letters))
    assert not {f"Alt+{letter}" for letter in "FEVH"} & set(letters), "Slicer's own menus"


def test_tab_goes_from_top_to_bottom(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.wait(lambda: True)
    names = ["modalityComboBox", "scaleComboBox", "axesComboBox", "presetComboBox", "methodComboBox", "applyButton", "compareCheckBox", "checkCheckBox", "errorMapCheckBox", "ensembleComboBox", "noiseComboBox", "deviceComboBox", "memoryLimitSpinBox", "consistencyCheckBox", "carefulCheckBox"]
    heights = [panel.raw.findChild(QtWidgets.QWidget, n).mapTo(panel.raw, QtCore.QPoint(0, 0)).y() for n in names]
    assert heights == sorted(heights)
    order, current = [], panel.raw.findChild(QtWidgets.QWidget, names[0])
    for _step in range(200):
        if current.objectName() in names:
            order.append(current.objectName())
        current = current.nextInFocusChain()
        if current.objectName() == names[0]:
            break
    assert order == names
    panel.picture("7-advanced")


def dark_palette() -> QtGui.QPalette:
    """Light on dark, with disabled text in grey, as dark themes have it."""
    palette = QtGui.QPalette(QtGui.QColor(53, 53, 53), QtGui.QColor(45, 45, 45))
    for role in (QtGui.QPalette.WindowText, QtGui.QPalette.Text, QtGui.QPalette.ButtonText):
        palette.setColor(QtGui.QPalette.Disabled, role, QtGui.QColor(127, 127, 127))
    return palette


def test_no_colours_of_its_own_in_a_dark_theme(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    application = QtWidgets.QApplication.instance()
    usual = application.palette()
    try:
        application.setPalette(dark_palette())
        panel.picture("8-dark")
        own = [w for w in panel.raw.findChildren(QtWidgets.QWidget) if w.styleSheet() or w.testAttribute(QtCore.Qt.WA_SetPalette)]
        assert [w.objectName() for w in own if not w.objectName().startswith("qt_")] == []
        colours = panel.raw.findChild(QtWidgets.QLabel, "estimateLabel").palette()
        assert colours.windowText().color().lightness() - colours.window().color().lightness() > 150
    finally:
        application.setPalette(usual)


def test_reload_replaces_the_helper_packages(panel, monkeypatch):
    import SuperResolution3DLib.worker as before

    reloaded = []
    monkeypatch.setattr(slicer.util, "reloadScriptedModule", reloaded.append)
    known = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("SuperResolution3DLib", "superres3d")}
    try:
        panel.widget.onReload()
        assert reloaded == ["SuperResolution3D"]
        assert "SuperResolution3DLib.sections.run" in known and not known.keys() & sys.modules.keys()
        import SuperResolution3DLib.worker as after

        assert after is not before
    finally:
        sys.modules.update(known)


def test_self_test_of_the_module(panel):
    """What "Reload and Test" runs in Slicer."""
    panel.module.SuperResolution3DTest().runTest()


# ---------------------------------------------------------------------- known defects: a mark goes with its remedy


@pytest.mark.skipif(os.name == "nt", reason="uses signals")
def test_a_log_that_a_message_points_to_is_there(panel, make_volume):
    start_large_run(panel, make_volume)
    for pid in worker_pids():
        os.kill(pid, signal.SIGKILL)
    panel.finish()
    assert ("see the log" in panel.status) == panel.ui.logCollapsibleButton.isVisible()


def test_names_are_shown_as_they_are(panel):
    panel.parameters.inputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "MR <b>T1</b> <3mm>")
    assert "<b>T1</b> <3mm>" in panel.reason
    told = panel.raw.findChildren(QtWidgets.QLabel)
    assert [label.objectName() for label in told if label.wordWrap() and label.textFormat() != QtCore.Qt.PlainText] == []
    panel.picture("2-name-with-markup")


def test_a_long_name_does_not_widen_the_panel(panel, make_volume):
    before = panel.raw.minimumSizeHint().width()
    panel.parameters.inputVolume = make_volume(name="3_Ax_T1_MPRAGE_isotropic_pre_contrast_1mm_reformatted_for_neuronavigation_of_the_skull_base")
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    panel.picture("6-long-name")
    assert panel.raw.minimumSizeHint().width() <= before
