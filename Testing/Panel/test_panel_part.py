"""A part of the volume, chosen and dragged in the panel."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_steps import volumes
from SuperResolution3DLib.choices import Part


def said(label) -> str:
    """A label's text with plain letters."""
    return label.text.replace("\N{MULTIPLICATION SIGN}", "x")


def choose_part(panel, part):
    box = panel.ui.partComboBox
    box.currentIndex = list(Part).index(part)


@pytest.fixture
def chosen(panel, make_volume):
    """Voxels of 1 x 1 x 5 mm, the first one's centre at the origin of RAS."""
    panel.parameters.inputVolume = make_volume(shape=(12, 40, 36))
    panel.choose_cubic()
    return panel.parameters.inputVolume


def draw_roi(centre, size, name="Lesion"):
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    roi.SetSize(*size)
    roi.SetCenter(centre)
    return roi


def test_only_what_belongs_to_the_choice_is_shown(panel, chosen):
    shown = {}
    for part in Part:
        choose_part(panel, part)
        shown[part] = panel.ui.roiSelector.visible, panel.ui.boxSizeSpinBox.visible, bool(panel.ui.partHintLabel.text)
    assert [shown[part][:2] for part in Part] == [(False, False), (True, False), (False, False), (False, True)]
    assert panel.parameters.part is Part.CROSSHAIR


def test_a_box_around_the_crosshair_from_choice_to_result(panel, chosen):
    choose_part(panel, Part.CROSSHAIR)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    panel.ui.boxSizeSpinBox.value = 10
    crosshair.SetCrosshairRAS((15.5, 20.5, 27.5))
    panel.widget.panel.refresh()
    assert said(panel.ui.partHintLabel).startswith("10 x 10 x 2 of 36 x 40 x 12 voxels")
    assert "Result: 10 x 10 x 8 voxels" in said(panel.ui.estimateLabel)
    assert "--region ijk=11:21,16:26,5:7" in panel.ui.commandLineEdit.text
    panel.ui.applyButton.click()
    panel.finish()
    result = next(node for name, node in volumes().items() if name.endswith("part") and "Cubic" in name)
    bounds = [0.0] * 6
    result.GetRASBounds(bounds)
    np.testing.assert_allclose(bounds, [10.5, 20.5, 15.5, 25.5, 22.5, 32.5], atol=1e-9)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):  # in its place, over the scan
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()) == (chosen.GetID(), result.GetID(), 1.0)
    panel.picture("part-crosshair")


def test_the_comparison_of_a_part_looks_at_the_part(panel, chosen):
    """In its middle; how large it is there needs a view that is drawn."""
    choose_part(panel, Part.CROSSHAIR)
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    panel.ui.boxSizeSpinBox.value = 10
    crosshair.SetCrosshairRAS((10.5, 20.5, 37.5))
    panel.widget.panel.refresh()
    panel.ui.applyButton.click()
    panel.finish()
    panel.ui.showComparisonButton.click()
    views = [slicer.mrmlScene.GetSingletonNode(f"SuperResolution3D-{number}", "vtkMRMLSliceNode") for number in (1, 2, 3)]
    composites = [slicer.mrmlScene.GetSingletonNode(f"SuperResolution3D-{number}", "vtkMRMLSliceCompositeNode") for number in (1, 2, 3)]
    assert [view.GetBackgroundVolumeID() for view in composites] == [node.GetID() for node in (chosen, panel.parameters.lastComparison, panel.parameters.lastResult)]
    bounds = [0.0] * 6
    panel.parameters.lastResult.GetRASBounds(bounds)
    middle = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2])]
    for view in views:
        position = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]
        np.testing.assert_allclose(position[2], middle[2], atol=0.01)


def test_the_estimate_follows_what_is_dragged(panel, chosen):
    """An ROI that is moved, without a click in the panel."""
    roi = draw_roi((10.0, 10.0, 20.0), (8.0, 8.0, 20.0))
    choose_part(panel, Part.ROI)
    before = panel.ui.partHintLabel.text, panel.ui.estimateLabel.text
    assert said(panel.ui.partHintLabel).startswith("9 x 9 x 5 of")
    roi.SetSize(16.0, 8.0, 20.0)
    panel.wait(lambda: panel.ui.partHintLabel.text != before[0], 5)
    assert said(panel.ui.partHintLabel).startswith("17 x 9 x 5 of") and panel.ui.estimateLabel.text != before[1]


@pytest.mark.parametrize("rois, reason", [
    ([], "There is no ROI in the scene"),
    ([((900.0, 0, 0), (5.0, 5, 5))], 'The ROI "Lesion" lies outside "MR head"'),
    ([((10.0, 10, 20), (5.0, 5, 1))], 'holds a single voxel of "MR head" along k'),
    ([((10.0, 10, 20), (5.0, 5, 20)), ((12.0, 12, 20), (5.0, 5, 20))], "There are 2 ROIs in the scene; choose one"),
])  # fmt: skip
def test_why_apply_is_grey(panel, chosen, rois, reason):
    for centre, size in rois:
        draw_roi(centre, size)
    choose_part(panel, Part.ROI)
    assert not panel.ui.applyButton.enabled and reason in panel.reason
    choose_part(panel, Part.WHOLE)
    assert panel.ui.applyButton.enabled, panel.reason


def test_one_of_two_rois_is_chosen(panel, chosen):
    for name in ("Lesion", "Other"):
        draw_roi((10.0, 10.0, 20.0), (8.0, 8.0, 20.0), name)
    choose_part(panel, Part.ROI)
    panel.ui.roiSelector.setCurrentNode(slicer.util.getNode("Other"))
    assert panel.parameters.roi.GetName() == "Other" and panel.ui.applyButton.enabled, panel.reason
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Lesion"))
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Other"))
    panel.widget.panel.refresh()
    assert "There is no ROI" in panel.reason


def test_an_roi_that_is_drawn_or_removed_is_seen_without_a_click(panel, chosen):
    choose_part(panel, Part.ROI)
    assert "There is no ROI" in panel.reason
    draw_roi((17, 20, 25), (10, 10, 20))
    panel.wait(lambda: panel.reason == "" and panel.ui.applyButton.enabled, 20)
    second = draw_roi((17, 20, 25), (10, 10, 20), "Second")
    panel.wait(lambda: "There are 2 ROIs" in panel.reason, 20)
    slicer.mrmlScene.RemoveNode(second)
    panel.wait(lambda: panel.reason == "" and panel.ui.applyButton.enabled, 20)
