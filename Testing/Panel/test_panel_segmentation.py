"""A segmentation that comes along with its scan: on the result's grid, with its names and colours, and in 3-D beside the one that was drawn."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from panel_steps import volumes
from superres3d import Volume, upscale_labels
from SuperResolution3DLib.choices import Axes, Scale
from SuperResolution3DLib.nodes import volume_from_node
from SuperResolution3DLib.segmentations import drawn_on, put_segmentation


@pytest.fixture(scope="module", autouse=True)
def surfaces():
    """As Slicer's module Segmentations registers them."""
    for name in ("vtkBinaryLabelmapToClosedSurfaceConversionRule", "vtkClosedSurfaceToBinaryLabelmapConversionRule"):
        slicer.vtkSegmentationConverterFactory.GetInstance().RegisterConverterRule(getattr(slicer, name)())


def balls(shape=(8, 40, 36)):
    """A large and a small one, as labels 1 and 2."""
    k, j, i = np.indices(shape)
    voxels = (((k - 4) * 5) ** 2 + (j - 20) ** 2 + (i - 14) ** 2 < 150).astype(np.uint8)
    voxels[((k - 4) * 5) ** 2 + (j - 12) ** 2 + (i - 29) ** 2 < 30] = 2
    return voxels


def draw(volume, voxels, name="Organs", segments=(("Liver", (0.9, 0.2, 0.1)), ("Cyst", (0.1, 0.6, 0.9)))):
    """A segmentation on the grid of a volume."""
    from SuperResolution3DLib.segmentations import Drawn

    told = []
    for title, colour in segments:
        segment = slicer.vtkSegment()
        segment.SetName(title)
        segment.SetColor(*colour)
        told.append(segment)
    node = put_segmentation(slicer.mrmlScene, Drawn("", name, voxels, tuple(told)), voxels, volume)
    node.SetName(name)
    node.RemoveAttribute("SuperResolution3D.Source")  # as a user draws it
    return node


@pytest.fixture
def scan(panel, make_volume):
    volume = make_volume(shape=(8, 40, 36))
    panel.parameters.inputVolume = volume
    panel.parameters.scale = Scale.FOUR
    panel.parameters.axes = Axes.THROUGH_PLANE
    panel.choose_cubic()
    return volume


def test_one_tick_brings_it_along(panel, scan):
    node = draw(scan, balls())
    panel.ui.segmentationCheckBox.click()
    panel.ui.applyButton.click()
    panel.finish()
    result, made = panel.parameters.lastResult, panel.parameters.lastSegmentation
    assert made.GetName() == f"Organs ({result.GetName()})" and made is not node
    segmentation = made.GetSegmentation()
    told = [(segmentation.GetNthSegment(n).GetName(), tuple(round(c, 6) for c in segmentation.GetNthSegment(n).GetColor())) for n in range(2)]
    assert told == [("Liver", (0.9, 0.2, 0.1)), ("Cyst", (0.1, 0.6, 0.9))]
    expected = upscale_labels(Volume(balls(), (1.0, 1.0, 5.0), volume_from_node(scan).origin, volume_from_node(scan).direction), volume_from_node(result)).voxels
    np.testing.assert_array_equal(drawn_on(made, result).voxels, expected)
    np.testing.assert_array_equal(drawn_on(node, scan).voxels, balls())  # the drawn one is as it was
    assert [name for name in volumes() if "labels" in name.lower()] == []
    assert panel.ui.applyButton.enabled, panel.reason  # what was made is no second one to choose from
    panel.picture("segmentation")


def test_in_3d_side_by_side_and_smoother(panel, scan):
    """The steps of thick slices are gone: the surface lies nearer to the sphere that was drawn."""
    node = draw(scan, balls())
    panel.parameters.bringSegmentation = True
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.ui.modelsButton.enabled
    cameras = [slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCameraNode") for _view in range(2)]
    for number, camera in enumerate(cameras, 1):
        camera.SetLayoutName(str(number))
    panel.ui.modelsButton.click()
    made = panel.parameters.lastSegmentation
    surface, bounds = vtk.vtkAppendPolyData(), np.zeros(6)
    for name in made.GetSegmentation().GetSegmentIDs():
        part = vtk.vtkPolyData()
        made.GetClosedSurfaceRepresentation(name, part)
        surface.AddInputData(part)
    surface.Update()
    surface.GetOutput().GetBounds(bounds)
    whole = np.zeros(6)
    made.GetRASBounds(whole)
    assert np.linalg.norm(bounds[1::2] - bounds[::2]) < 0.9 * np.linalg.norm(whole[1::2] - whole[::2]), "else this shows nothing"
    for camera in cameras:
        np.testing.assert_allclose(camera.GetFocalPoint(), (bounds[::2] + bounds[1::2]) / 2)
        assert np.linalg.norm(np.subtract(camera.GetPosition(), camera.GetFocalPoint())) < 1.8 * np.linalg.norm(bounds[1::2] - bounds[::2])
        assert camera.GetPosition()[1] > bounds[3]  # from the front
    surfaces = []
    for segmentation in (node, made):
        surface = vtk.vtkPolyData()
        assert segmentation.GetClosedSurfaceRepresentation(segmentation.GetSegmentation().GetNthSegmentID(0), surface)
        surfaces.append(np.array([surface.GetPoint(n) for n in range(surface.GetNumberOfPoints())]))
    off = [np.std(np.linalg.norm(points - points.mean(axis=0), axis=1)) for points in surfaces]
    assert off[1] < off[0]
    shown = [{display for display in (segmentation.GetDisplayNode().GetNthViewNodeID(n) for n in range(9)) if display and "vtkMRMLViewNode" in display} for segmentation in (node, made)]
    assert len(shown[0]) == len(shown[1]) == 1 and shown[0] != shown[1]


def test_a_part_and_a_transform(panel, scan):
    """Of a part of a scan under a transform, the labels of that part, in its place."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 30.0)
    transform.SetMatrixTransformToParent(matrix)
    node = draw(scan, balls())
    for moved in (scan, node):
        moved.SetAndObserveTransformNodeID(transform.GetID())
    panel.parameters.bringSegmentation = True
    logic, finished = panel.widget.logic, []
    from dataclasses import replace

    request = replace(panel.request(), region=((1, 7), (5, 30), (4, 30)))
    logic.start(scan, request, panel.widget.panel.state.outputs(), lambda _: None, finished.append, lambda error, log: finished.append(error))
    panel.wait(lambda: finished)
    made, result = finished[0].segmentation, finished[0].result
    assert made.GetTransformNodeID() == transform.GetID()
    expected = upscale_labels(
        Volume(balls(), (1.0, 1.0, 5.0)), Volume(np.zeros((32, 40, 36)), (1.0, 1.0, 1.25), (0.0, 0.0, -1.875)), window=((4, 28), (5, 30), (4, 30))
    ).voxels  # fmt: skip
    np.testing.assert_array_equal(drawn_on(made, result).voxels, expected)


@pytest.mark.parametrize("make, reason", [
    (lambda scan: None, "There is no segmentation in the scene"),
    (lambda scan: slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "New"), 'The segmentation "New" has no segments'),
    (lambda scan: [draw(scan, balls(), name) for name in ("One", "Two")], "There are 2 segmentations in the scene; choose one"),
])  # fmt: skip
def test_why_apply_is_grey(panel, scan, make, reason):
    make(scan)
    panel.parameters.bringSegmentation = True
    assert not panel.ui.applyButton.enabled and reason in panel.reason
    panel.parameters.bringSegmentation = False
    assert panel.ui.applyButton.enabled


def test_one_of_two_is_chosen_and_one_elsewhere_is_refused(panel, scan, make_volume):
    far = make_volume("Far", shape=(8, 40, 36))
    far.SetOrigin(900.0, 0.0, 0.0)
    draw(scan, balls(), "Here")
    draw(far, balls(), "Elsewhere")
    panel.parameters.bringSegmentation = True
    panel.ui.segmentationSelector.setCurrentNode(slicer.util.getNode("Elsewhere"))
    assert panel.ui.applyButton.enabled, panel.reason
    panel.ui.applyButton.click()
    panel.finish()
    assert 'The segmentation "Elsewhere" lies outside "MR head"' in panel.status
    panel.ui.segmentationSelector.setCurrentNode(slicer.util.getNode("Here"))
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.parameters.lastSegmentation.GetName().startswith("Here (")
