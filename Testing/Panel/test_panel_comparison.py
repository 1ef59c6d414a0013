"""Comparison side by side: what the views would show, by the MRML nodes that Slicer's own layout logic makes; and a network's run."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from scipy.spatial.transform import Rotation
from superres3d.networks.weights import find_model
from SuperResolution3DLib.choices import Axes, CompareMode, Ensemble, Orientation
from SuperResolution3DLib.comparison import ComparisonView

FOUR_UP = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


@pytest.fixture
def finished(panel, make_volume):
    """The panel after a run; returns (input, Lanczos, result)."""
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    p = panel.parameters
    return p.lastSource, p.lastComparison, p.lastResult


def layout():
    return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def shown_in(number):
    return slicer.mrmlScene.GetSingletonNode(f"SuperResolution3D-{number}", "vtkMRMLSliceCompositeNode")


def slice_view(number):
    return slicer.mrmlScene.GetSingletonNode(f"SuperResolution3D-{number}", "vtkMRMLSliceNode")


def test_side_by_side_and_back(panel, finished):
    usual = [volume.GetDisplayNode().GetInterpolate() for volume in finished]
    assert not panel.ui.leaveComparisonButton.enabled
    panel.ui.showComparisonButton.click()
    assert panel.ui.leaveComparisonButton.enabled
    assert [shown_in(n).GetBackgroundVolumeID() for n in (1, 2, 3)] == [volume.GetID() for volume in finished]
    assert not any(shown_in(n).GetLinkedControl() for n in (1, 2, 3))  # Slicer's own link would pass a volume on, and not where a zoom shifts a view
    assert all(slice_view(n).GetOrientation() == "Axial" for n in (1, 2, 3))
    assert all(volume.GetDisplayNode().GetInterpolate() == 0 for volume in finished)
    panel.picture("9-comparison")
    panel.ui.leaveComparisonButton.click()
    assert layout().GetViewArrangement() == FOUR_UP
    assert [volume.GetDisplayNode().GetInterpolate() for volume in finished] == usual
    assert not panel.ui.leaveComparisonButton.enabled


def test_all_views_start_at_the_middle_of_the_volume(panel, finished):
    panel.ui.showComparisonButton.click()
    low_high = [0.0] * 6
    finished[0].GetRASBounds(low_high)
    middle = np.mean(np.reshape(low_high, (3, 2)), axis=1)
    for number in (1, 2, 3):
        position = slicer.util.arrayFromVTKMatrix(slice_view(number).GetSliceToRAS())[:3, 3]
        assert position[2] == pytest.approx(middle[2])  # axial: the offset lies along S


def test_other_orientation(panel, finished):
    panel.ui.orientationComboBox.currentIndex = list(Orientation).index(Orientation.SAGITTAL)
    panel.ui.showComparisonButton.click()
    assert all(slice_view(n).GetOrientation() == "Sagittal" for n in (1, 2, 3))


def test_views_that_compare_follow_another_choice(panel, finished):
    panel.ui.showComparisonButton.click()
    panel.ui.orientationComboBox.currentIndex = list(Orientation).index(Orientation.CORONAL)
    panel.wait(lambda: all(slice_view(n).GetOrientation() == "Coronal" for n in (1, 2, 3)), 5)
    panel.ui.leaveComparisonButton.click()
    panel.ui.orientationComboBox.currentIndex = list(Orientation).index(Orientation.AXIAL)
    panel.wait(lambda: True)
    assert layout().GetViewArrangement() == FOUR_UP  # nothing is shown unasked


def look(node):
    """What a view shows: millimetres a pixel, shift, place and direction, slab."""
    (width, height, _), (across, up, _also) = node.GetDimensions(), node.GetFieldOfView()
    slab = node.GetSlabReconstructionEnabled(), node.GetSlabReconstructionThickness(), node.GetSlabReconstructionType()
    return [across / width, up / height, *node.GetXYZOrigin(), *slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()).ravel(), *slab]


def zoom_under_the_mouse(node):
    """What Ctrl and the wheel do: another field of view, shifted so that the place under the mouse stays."""
    node.SetFieldOfView(*(0.5 * length for length in node.GetFieldOfView()))
    node.SetXYZOrigin(7.5, -3.25, 0)


@pytest.mark.parametrize(
    "move",
    [
        zoom_under_the_mouse,
        lambda node: node.SetXYZOrigin(4, 5, 0),
        lambda node: node.SetSliceOffset(node.GetSliceOffset() + 6),
        lambda node: node.SetOrientation("Sagittal"),
        lambda node: (node.SetSlabReconstructionEnabled(True), node.SetSlabReconstructionThickness(12.5), node.SetSlabReconstructionType(1)),
        lambda node: node.SetDimensions(333, 222, 1),  # the window changes its size
    ],
    ids=["zoom", "pan", "scroll", "turn", "slab", "size"],
)
@pytest.mark.parametrize("mover", [1, 3])
def test_views_stay_in_step_whatever_moves_one(panel, finished, move, mover):
    panel.ui.showComparisonButton.click()
    for number, size in ((1, (400, 300, 1)), (2, (380, 300, 1)), (3, (401, 300, 1))):
        slice_view(number).SetDimensions(*size)
    before = look(slice_view(mover))
    move(slice_view(mover))
    assert look(slice_view(mover)) != before
    for number in (1, 2, 3):
        assert look(slice_view(number)) == pytest.approx(look(slice_view(mover)))
    panel.ui.leaveComparisonButton.click()
    slice_view(1).SetXYZOrigin(1, 2, 0)
    assert slice_view(2).GetXYZOrigin() != (1, 2, 0)


def test_panes_lie_as_they_are_seen_largest(panel, make_volume):
    """A slab of 60 mm from a chest: in a row it filled an eighth of the height."""
    panel.parameters.inputVolume = make_volume(shape=(12, 60, 60), spacing=(5.0, 5.0, 5.0))
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    panel.ui.showComparisonButton.click()
    assert slice_layout() == "horizontal"
    panel.ui.orientationComboBox.currentIndex = list(Orientation).index(Orientation.CORONAL)
    panel.wait(lambda: slice_layout() == "vertical", 5)


def slice_layout():
    number = layout().GetViewArrangement()
    return "vertical" if 'type="vertical"' in layout().GetLayoutDescription(number) else "horizontal"


def test_the_comparison_says_which_run_it_shows(panel, finished):
    assert panel.ui.comparisonRunLabel.text == f'Compares "{finished[2].GetName()}" (Cubic interpolation) with its scan "MR head".'
    slicer.mrmlScene.RemoveNode(finished[2])
    assert not panel.ui.comparisonRunLabel.visible


def one_view(panel):
    return panel.widget.panel.comparison.view.one_view


def choose(panel, mode):
    panel.ui.comparisonModeComboBox.currentIndex = list(CompareMode).index(mode)
    panel.wait(lambda: True)


def test_flip_between_lanczos_and_result_in_one_view(panel, finished):
    choose(panel, CompareMode.FLIP)
    panel.ui.showComparisonButton.click()
    view = shown_in(1)
    assert shown_in(2) is None
    assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) == (finished[1].GetID(), finished[2].GetID())
    opacities = [view.GetForegroundOpacity()]
    for _press in range(2):
        panel.ui.flipButton.click()
        opacities.append(view.GetForegroundOpacity())
    assert opacities == [0.0, 1.0, 0.0]
    assert all(volume.GetDisplayNode().GetInterpolate() == 0 for volume in finished[1:])
    panel.ui.leaveComparisonButton.click()
    assert view.GetForegroundVolumeID() is None and one_view(panel) is None


def test_blend_follows_the_slider(panel, finished):
    choose(panel, CompareMode.BLEND)
    panel.ui.showComparisonButton.click()
    panel.ui.comparisonSlider.value = 30
    assert shown_in(1).GetForegroundOpacity() == pytest.approx(0.3)


def test_other_volumes_are_compared_where_they_are_chosen(panel, finished):
    choose(panel, CompareMode.FLIP)
    panel.ui.showComparisonButton.click()
    panel.ui.firstComboBox.currentIndex = panel.ui.firstComboBox.findData(finished[0].GetID())
    panel.wait(lambda: shown_in(1).GetBackgroundVolumeID() == finished[0].GetID(), 5)
    assert panel.ui.secondComboBox.currentData == finished[2].GetID()


def test_another_manner_keeps_the_place(panel, finished):
    panel.ui.showComparisonButton.click()
    slice_view(1).SetSliceOffset(slice_view(1).GetSliceOffset() + 5)
    zoom_under_the_mouse(slice_view(1))
    before = look(slice_view(1))
    choose(panel, CompareMode.SWIPE)
    panel.wait(lambda: one_view(panel) is not None, 5)
    assert look(slice_view(1)) == pytest.approx(before)
    panel.picture("10-comparison-one-view")


def test_window_and_level_are_linked_until_the_comparison_is_left(panel, finished):
    panel.ui.showComparisonButton.click()
    source, lanczos, result = (volume.GetDisplayNode() for volume in finished)
    lanczos.SetAutoWindowLevel(False)
    lanczos.SetWindowLevel(321.0, 123.0)
    assert [(d.GetWindow(), d.GetLevel()) for d in (source, result)] == [(321.0, 123.0)] * 2
    panel.ui.leaveComparisonButton.click()
    lanczos.SetWindowLevel(50.0, 40.0)
    assert (source.GetWindow(), source.GetLevel()) == (321.0, 123.0)


def test_a_scene_saved_while_comparing_is_gone_on_with(panel, finished):
    """Another session has the nodes, but neither labels nor links nor what the volumes looked like before."""
    finished[2].GetDisplayNode().SetInterpolate(0)
    usual = [volume.GetDisplayNode().GetInterpolate() for volume in finished]
    panel.ui.showComparisonButton.click()
    panel.widget.panel.comparison.view._link.close()
    panel.widget.panel.comparison.view = ComparisonView(slicer.mrmlScene, None)
    panel.widget.enter()
    panel.widget.onSceneEnd(None, None)  # a scene that is opened has two such events
    panel.wait(lambda: not panel.widget.panel.comparison.view.interrupted)
    source, lanczos, result = (volume.GetDisplayNode() for volume in finished)
    source.SetAutoWindowLevel(False)
    source.SetWindowLevel(77.0, 33.0)
    assert [(d.GetWindow(), d.GetLevel()) for d in (lanczos, result)] == [(77.0, 33.0)] * 2
    panel.ui.leaveComparisonButton.click()
    assert layout().GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView  # what was before is not known
    assert [volume.GetDisplayNode().GetInterpolate() for volume in finished] == usual == [1, 1, 0]


def test_a_scene_saved_while_comparing_in_another_layout_looks_as_before(panel, finished):
    panel.ui.showComparisonButton.click()
    panel.widget.panel.comparison.view._link.close()
    panel.widget.panel.comparison.view = ComparisonView(slicer.mrmlScene, None)
    layout().SetViewArrangement(FOUR_UP)
    finished[0].GetDisplayNode().SetAttribute("SuperResolution3D.Interpolate", "damaged")
    panel.widget.enter()
    panel.wait(lambda: finished[2].GetDisplayNode().GetInterpolate() == 1)
    assert [volume.GetDisplayNode().GetAttribute("SuperResolution3D.Interpolate") for volume in finished] == [None] * 3


def test_oblique_slices_lie_in_the_view_as_they_were_measured(panel, make_volume):
    volume = make_volume()
    turn = Rotation.from_euler("xyz", (20, 10, 15), degrees=True).as_matrix()
    placed = np.diag([*volume.GetSpacing(), 1.0])
    placed[:3, :3] = turn @ placed[:3, :3]
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(placed))
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    panel.ui.showComparisonButton.click()
    columns = placed[:3, :3] / np.linalg.norm(placed[:3, :3], axis=0)
    for number in (1, 2, 3):
        normal = slicer.util.arrayFromVTKMatrix(slice_view(number).GetSliceToRAS())[:3, 2]
        assert np.abs(columns.T @ normal).max() == pytest.approx(1.0, abs=1e-6)  # across it lies an axis of the scan


def test_without_lanczos_there_are_two_views(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.compareCheckBox.click()
    panel.ui.applyButton.click()
    panel.finish()
    panel.ui.showComparisonButton.click()
    assert shown_in(1) is not None and shown_in(2) is not None and shown_in(3) is None


def test_closing_the_scene_while_comparing(panel, finished):
    panel.ui.showComparisonButton.click()
    slicer.mrmlScene.Clear(False)
    assert layout().GetViewArrangement() == FOUR_UP
    assert not panel.ui.leaveComparisonButton.enabled and not panel.ui.showComparisonButton.enabled


def test_result_removed_from_the_scene(panel, finished):
    slicer.mrmlScene.RemoveNode(finished[2])
    assert not panel.ui.showComparisonButton.enabled


def test_run_of_a_network_names_its_model(panel, make_volume):
    """The default method with its real weights, as small as it goes."""
    volume = make_volume(spacing=(1.0, 1.0, 1.0))
    panel.parameters.inputVolume = volume
    panel.parameters.axes, panel.parameters.ensemble = Axes.IN_PLANE, Ensemble.NONE
    panel.parameters.method = "two-stage-residual"
    panel.ui.deviceComboBox.setCurrentText("cpu")
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done", panel.status
    result = panel.parameters.lastResult
    assert slicer.util.arrayFromVolume(result).shape == (6, 80, 72)
    weights = Path(find_model("two-stage-residual-mr-plane-x2").folder) / "weights.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert result.GetAttribute("SuperResolution3D.Models").endswith(f"sha256:{digest}")
    assert f"SHA-256 {digest[:12]}" in panel.ui.reportLabel.text
    panel.picture("6-done-network")
