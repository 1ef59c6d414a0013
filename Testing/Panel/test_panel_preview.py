"""The preview: a block around the crosshair in its place, from a worker that stays."""

import os
import signal
import time

import numpy as np
import pytest
import slicer
import slicer.util
from panel_steps import volumes, worker_pids
from superres3d import upscale
from SuperResolution3DLib import handing_over
from SuperResolution3DLib.choices import Scale
from SuperResolution3DLib.nodes import volume_from_node
from SuperResolution3DLib.request import Request


@pytest.fixture
def ready(panel, make_volume):
    """Voxels of 1 x 1 x 5 mm, the first one's centre at the origin of RAS, shown in the views."""
    volume = make_volume(shape=(40, 90, 96))
    panel.parameters.inputVolume = volume
    panel.parameters.scale = Scale.TWO
    panel.choose_cubic()
    slicer.util.setSliceViewerLayers(background=volume)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS((47.5, 44.5, 99.5))
    return volume


def composites():
    return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def previews():
    return [node for name, node in volumes().items() if name.startswith("MR head preview")]


def made(panel):
    panel.wait(lambda: panel.ui.previewLabel.text.startswith("Preview:"), 60)


def test_a_click_shows_the_block_in_its_place(panel, ready):
    panel.ui.previewButton.click()
    made(panel)
    (node,) = previews()
    request = panel.request()
    expected = upscale(volume_from_node(ready), request.scale, axes=request.axes, method="cubic", modality="MR", region=((4, 36), (13, 77), (16, 80)))
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(node), expected.volume.voxels)
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    np.testing.assert_allclose(bounds, [15.5, 79.5, 12.5, 76.5, 17.5, 177.5], atol=1e-9)
    assert composites() and all(view.GetForegroundVolumeID() == node.GetID() and view.GetForegroundOpacity() == 1 for view in composites())
    assert node.GetHideFromEditors() and not node.GetSaveWithScene()
    assert not panel.ui.outputSelector.currentNode()
    panel.picture("preview")


def test_its_middle_is_marked_until_it_is_removed(panel, ready):
    """A crosshair that was shown before stays as it was."""
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    for before, during in ((crosshair.NoCrosshair, crosshair.ShowSmallBasic), (crosshair.ShowBasic, crosshair.ShowBasic)):
        crosshair.SetCrosshairMode(before)
        panel.ui.previewButton.click()
        panel.wait(lambda: bool(previews()) and panel.ui.removePreviewButton.enabled, 60)
        assert crosshair.GetCrosshairMode() == during
        panel.ui.removePreviewButton.click()
        assert crosshair.GetCrosshairMode() == before


def test_the_worker_stays_for_the_next_and_ends_with_the_module(panel, ready):
    panel.ui.previewButton.click()
    made(panel)
    (first,) = worker_pids()
    panel.parameters.scale = Scale.FOUR
    panel.ui.previewButton.click()
    panel.wait(lambda: panel.ui.previewLabel.text.startswith("Making"))
    made(panel)
    assert worker_pids() == [first] and len(previews()) == 1
    assert "32 " in panel.ui.previewLabel.text  # a smaller block, for 4x


def test_live_follows_choices_and_crosshair(panel, ready):
    panel.ui.livePreviewCheckBox.click()
    made(panel)
    before = slicer.util.arrayFromVolume(previews()[0]).copy()
    box = panel.ui.methodComboBox
    box.currentIndex = box.findData("nearest")
    panel.wait(lambda: not np.array_equal(slicer.util.arrayFromVolume(previews()[0]), before), 60)
    bounds, moved = [0.0] * 6, [0.0] * 6
    previews()[0].GetRASBounds(bounds)
    slicer.util.getNodesByClass("vtkMRMLCrosshairNode")[0].SetCrosshairRAS((49.5, 44.5, 99.5))

    def has_moved():
        previews()[0].GetRASBounds(moved)
        return moved != bounds

    panel.wait(has_moved, 60)
    assert moved[0] == bounds[0] + 2
    slicer.util.getNodesByClass("vtkMRMLCrosshairNode")[0].SetCrosshairRAS((900.0, 0.0, 0.0))  # outside, and back again
    panel.wait(lambda: "lies outside" in panel.ui.previewLabel.text, 60)
    slicer.util.getNodesByClass("vtkMRMLCrosshairNode")[0].SetCrosshairRAS((49.5, 45.5, 99.5))
    made(panel)
    panel.ui.livePreviewCheckBox.click()


def test_remove_brings_back_what_lay_there(panel, ready, make_volume):
    other = make_volume("PET", shape=(40, 90, 96))
    slicer.util.setSliceViewerLayers(foreground=other, foregroundOpacity=0.4)
    panel.ui.previewButton.click()
    made(panel)
    panel.ui.removePreviewButton.click()
    assert previews() == [] and not panel.ui.previewLabel.visible
    assert all(view.GetForegroundVolumeID() == other.GetID() and view.GetForegroundOpacity() == 0.4 for view in composites())


def test_a_part_that_was_removed_is_not_laid_over(panel, ready):
    panel.ui.previewButton.click()
    worker = panel.widget.panel.preview._worker
    taken = []
    show, worker._on_part = worker._on_part, lambda part: (taken.append(part), show(part))
    panel.widget.panel.preview.remove()
    panel.wait(lambda: taken, 60)
    assert previews() == [] and not panel.ui.previewLabel.visible


def test_a_worker_that_dies_is_told_and_comes_back(panel, ready):
    panel.ui.previewButton.click()
    made(panel)
    (pid,) = worker_pids()
    os.kill(pid, signal.SIGKILL)
    panel.wait(lambda: "click Preview to start it again" in panel.ui.previewLabel.text)
    panel.ui.previewButton.click()
    made(panel)
    assert worker_pids() != [pid]


def test_the_crosshair_outside(panel, ready):
    slicer.util.getNodesByClass("vtkMRMLCrosshairNode")[0].SetCrosshairRAS((900.0, 0.0, 0.0))
    panel.ui.previewButton.click()
    assert 'The crosshair lies outside "MR head"' in panel.ui.previewLabel.text and worker_pids() == []


def test_the_scene_closes(panel, ready):
    panel.ui.previewButton.click()
    made(panel)
    slicer.mrmlScene.Clear(False)
    panel.wait(lambda: worker_pids() == [])
    assert not panel.ui.previewButton.enabled


def test_the_volume_goes_before_its_preview_comes(panel, ready):
    panel.ui.previewButton.click()
    slicer.mrmlScene.RemoveNode(ready)
    panel.wait(lambda: "was removed from the scene" in panel.ui.previewLabel.text, 60)
    assert previews() == []


def test_large_networks_get_a_smaller_block_and_the_wait_is_told(panel, ready):
    section = panel.widget.panel.preview
    usual, large = (Request(method=name, scale=2, modality="MR") for name in ("two-stage-told", "two-stage-large"))
    assert [stop - start for start, stop in section._spans(ready, usual)] == [32, 64, 64]
    assert [stop - start for start, stop in section._spans(ready, large)] == [16, 32, 32]
    assert "several seconds" in section._making(large) and "several seconds" not in section._making(usual)


def test_another_scan_and_another_one_while_the_first_is_written(panel, ready, make_volume, monkeypatch):
    """The preview is of the last one; no more files lie about than the worker may still read."""
    write = handing_over._write_all
    monkeypatch.setattr(handing_over, "_write_all", lambda file, rest: (time.sleep(0.1), write(file, rest)))
    worker = panel.widget.panel.preview._worker
    others = [make_volume(f"Other {number}", shape=(40, 90, 96)) for number in range(3)]
    panel.ui.previewButton.click()
    panel.parameters.inputVolume = others[0]
    panel.ui.previewButton.click()
    panel.wait(lambda: panel.ui.previewLabel.text.startswith("Preview:") and volumes().get("Other 0 preview") is not None, 60)
    for name in ("Other 1", "Other 2"):
        panel.parameters.inputVolume = slicer.util.getNode(name)
        panel.ui.previewButton.click()
        panel.wait(lambda: not panel.ui.previewLabel.text.startswith("Preview:"), 60)
        made(panel)
    assert worker._source.name == "Other 2"
    assert len(list(worker._workspace.folder.glob("scan-*.nrrd"))) == 2


def test_a_disk_that_is_full_is_told_of_the_volume(panel, ready, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handing_over, "_write_all", full)
    panel.ui.previewButton.click()
    panel.wait(lambda: "the disk is full" in panel.ui.previewLabel.text, 60)
    assert panel.ui.previewLabel.text.startswith('"MR head" could not be written')
    monkeypatch.undo()
    panel.ui.previewButton.click()
    made(panel)
