"""Parts of a volume by what the scene holds: ROIs, slice views, the crosshair; where the results lie."""

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from superres3d.errors import InputError
from SuperResolution3DLib.choices import Part
from SuperResolution3DLib.error_map import doubtful_places
from SuperResolution3DLib.job import Job
from SuperResolution3DLib.nodes import SOURCE_ROLE
from SuperResolution3DLib.regions import crosshair_of, crosshair_spans, place_crosshair, roi_spans, spans_of, view_spans
from SuperResolution3DLib.request import Request
from SuperResolution3DLib.run import run_and_wait
from SuperResolution3DLib.scripting import request_for


def ras(node, *ijk):
    """The world point at a place of a volume: voxel n lies between n and n + 1."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    local = slicer.util.arrayFromVTKMatrix(matrix) @ [*(np.array(ijk) - 0.5), 1.0]
    world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), None, world)
    return np.array(world.TransformPoint(local[:3]))


def make_roi(scene, centre, size, axes=None, name="Lesion"):
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", name)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) if axes is None else axes
    matrix[:3, 3] = centre
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(matrix))
    roi.SetSize(*size)
    roi.SetCenter(centre)
    return roi


def axes_of(node):
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]


@pytest.fixture
def volume(make_volume):
    """Oblique; 20 x 24 x 12 voxels along i, j, k."""
    return make_volume("MR", shape=(12, 24, 20), spacing=(0.9, 1.1, 5.0))


def turned(scene, volume):
    """A parent transform that turns and moves."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.array([[0.0, -1, 0, 30], [1, 0, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return matrix[:3, :3]


@pytest.mark.parametrize("moved", [False, True])
def test_a_box_along_the_voxels_is_these_voxels(scene, volume, moved):
    by = turned(scene, volume) if moved else np.eye(3)
    low, high = (3, 5, 2), (11, 20, 8)
    centre = (ras(volume, *low) + ras(volume, *high)) / 2
    roi = make_roi(scene, centre, (np.subtract(high, low)) * volume.GetSpacing(), by @ axes_of(volume))
    assert roi_spans(volume, roi) == ((2, 8), (5, 20), (3, 11))


def test_a_straight_box_takes_all_voxels_that_it_touches(scene, volume):
    """By brute force: every voxel whose centre lies in the box is among them, and those found are no more than its corners' box."""
    centre, size = ras(volume, 10, 12, 6), np.array((8.0, 9.0, 18.0))
    spans = roi_spans(volume, make_roi(scene, centre, size))
    inside = [
        (k, j, i) for k in range(12) for j in range(24) for i in range(20)
        if (np.abs(ras(volume, i + 0.5, j + 0.5, k + 0.5) - centre) <= size / 2).all()
    ]  # fmt: skip
    assert all(start <= index < stop for voxel in inside for index, (start, stop) in zip(voxel, spans))
    assert np.prod([b - a for a, b in spans]) < 20 * 24 * 12


def test_what_reaches_out_is_left_out(scene, volume):
    roi = make_roi(scene, ras(volume, 0, 12, 6), np.array((4, 10, 4)) * volume.GetSpacing(), axes_of(volume))
    assert roi_spans(volume, roi) == ((4, 8), (7, 17), (0, 2))


@pytest.mark.parametrize("centre, size, told", [((900.0, 0, 0), (9.0, 9, 9), 'The ROI "Lesion" lies outside "MR"'), (None, (1e-9, 1e-9, 1e-9), "single voxel of"), (None, (0.0, 9, 9), 'The ROI "Lesion" is empty')])
def test_rois_that_cannot_be_used(scene, volume, centre, size, told):
    roi = make_roi(scene, ras(volume, 10.5, 12.5, 6.5) if centre is None else centre, size)
    with pytest.raises(InputError, match=told):
        roi_spans(volume, roi)


def test_an_roi_that_was_not_drawn_yet(scene, volume):
    with pytest.raises(InputError, match="is empty; draw it"):
        roi_spans(volume, scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "New"))


def test_no_roi_or_two(scene, volume):
    with pytest.raises(InputError, match="no ROI in the scene"):
        spans_of(volume, Part.ROI)
    first = make_roi(scene, ras(volume, 10, 12, 6), np.array((4, 10, 4)) * volume.GetSpacing(), axes_of(volume))
    assert spans_of(volume, Part.ROI) == roi_spans(volume, first)
    make_roi(scene, (0.0, 0, 0), (5.0, 5, 5))
    with pytest.raises(InputError, match="There are 2 ROIs in the scene; choose one"):
        spans_of(volume, Part.ROI)
    assert spans_of(volume, Part.ROI, first) == roi_spans(volume, first)


def test_a_box_around_the_crosshair_stays_inside(scene, volume):
    crosshair = scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS(ras(volume, 10, 12, 6))
    assert crosshair_spans(volume, (6, 8, 4)) == ((4, 8), (8, 16), (7, 13))
    crosshair.SetCrosshairRAS(ras(volume, 1, 23, 11.9))
    assert crosshair_spans(volume, (6, 8, 40)) == ((0, 12), (16, 24), (0, 6))
    assert spans_of(volume, Part.CROSSHAIR, size=10.0) == ((10, 12), (15, 24), (0, 11))
    crosshair.SetCrosshairRAS((500.0, 0.0, 0.0))
    with pytest.raises(InputError, match=r'crosshair lies outside "MR"; move it there'):
        crosshair_spans(volume, (6, 8, 4))


def make_view(scene, volume, name, orientation, centre, width, height):
    """A slice view with square pixels of 1/10 of its width, showing the volume."""
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetLayoutName(name)
    view.SetMappedInLayout(1)
    view.SetOrientation(orientation)
    view.SetDimensions(100, 100 * height // width, 1)
    view.SetFieldOfView(width, height, 1)
    matrix = view.GetSliceToRAS()
    for row in range(3):
        matrix.SetElement(row, 3, centre[row])
    view.UpdateMatrices()
    composite = scene.AddNode(slicer.vtkMRMLSliceCompositeNode())
    composite.SetLayoutName(name)
    composite.SetBackgroundVolumeID(volume.GetID())
    return view


def test_a_crosshair_that_was_never_placed_goes_where_the_views_cross(scene, make_volume):
    """Where the origin is inside, or the crosshair was placed, it stays."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    volume, crosshair = make_volume("MR", shape=(30, 60, 50), spacing=(1.0, 1.0, 2.0)), scene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    matrix[:3, 3] = 24.5, 29.5, -29.0  # the scan's middle at 0, 0, 0
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    place_crosshair(volume)
    assert not crosshair_of(scene).any()
    matrix[2, 3] = -229.0  # its middle at 0, 0, -200
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    place_crosshair(volume)
    np.testing.assert_allclose(crosshair_of(scene), (0, 0, -200), atol=1e-6)
    crosshair.SetCrosshairRAS((0.0, 0.0, 0.0))
    make_view(scene, volume, "Red", "Axial", (3.0, 4.0, -210.0), 20, 30)
    make_view(scene, volume, "Green", "Coronal", (9.0, 7.0, -190.0), 20, 30)
    place_crosshair(volume)
    np.testing.assert_allclose(crosshair_of(scene), (0, 7, -210), atol=1e-6)
    crosshair.SetCrosshairRAS((0.0, 0.0, 300.0))
    place_crosshair(volume)
    np.testing.assert_allclose(crosshair_of(scene), (0, 0, 300))
    crosshair.SetCrosshairRAS((0.0, 0.0, 0.0))
    make_view(scene, volume, "Yellow", "Sagittal", (90.0, 0.0, -200.0), 20, 30)  # beside the scan
    place_crosshair(volume)
    np.testing.assert_allclose(crosshair_of(scene), (0, 0, -200), atol=1e-6)


def test_what_the_views_show(scene, make_volume):
    """Of a straight volume whose i and j run to the left and back; each view limits two axes."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    volume = make_volume("MR", shape=(30, 60, 50), spacing=(1.0, 1.0, 2.0))
    matrix = np.diag([-1.0, -1.0, 2.0, 1.0])
    matrix[:3, 3] = 24.5, 29.5, -29.0  # the scan's middle at 0, 0, 0
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    with pytest.raises(InputError, match='No slice view shows "MR"'):
        view_spans(volume)
    axial = make_view(scene, volume, "Red", "Axial", (5.0, 0.0, 0.0), 20, 30)
    assert view_spans(volume) == ((0, 30), (15, 45), (10, 30))  # RAS x -5 ... 15 is i 10 ... 30
    made = make_volume("MR SR", shape=(30, 60, 50))
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene)[-1]
    composite.SetBackgroundVolumeID(made.GetID())
    with pytest.raises(InputError, match='No slice view shows "MR"'):
        view_spans(volume)
    made.SetNodeReferenceID(SOURCE_ROLE, volume.GetID())  # a result lies in the same place
    assert view_spans(volume) == ((0, 30), (15, 45), (10, 30))
    make_view(scene, volume, "Green", "Coronal", (0.0, 0.0, 4.0), 40, 20)
    assert view_spans(volume) == ((12, 22), (15, 45), (10, 30))
    axial.SetMappedInLayout(0)
    assert view_spans(volume) == ((12, 22), (0, 60), (5, 45))
    far = make_view(scene, volume, "Yellow", "Axial", (5.0, 200.0, 0.0), 20, 30)
    with pytest.raises(InputError, match="show no common part"):
        view_spans(volume)
    far.SetMappedInLayout(0)


def test_the_result_of_a_part_lies_in_its_place(scene, volume, tmp_path):
    """Against the whole result: its voxels, and the centre of its first voxel."""
    spans = ((2, 8), (5, 20), (3, 11))
    whole, part = (
        run_and_wait(Job(scene, volume, Request(scale=2, method="cubic", compare=True, region=region), temporary_folder=str(tmp_path)), lambda event: None)
        for region in (None, spans)
    )  # fmt: skip
    for one, other in ((whole.result, part.result), (whole.comparison, part.comparison)):
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(other), slicer.util.arrayFromVolume(one)[4:16, 10:40, 6:22])
        np.testing.assert_allclose(ras(other, 0, 0, 0), ras(one, 6, 10, 4), atol=1e-9)
        np.testing.assert_allclose(ras(other, 0, 0, 0), ras(volume, 3, 5, 2), atol=1e-9)
    assert part.result.GetName() == "MR Cubic x2 part" and part.result.GetAttribute("SuperResolution3D.Region") == "3:11 5:20 2:8"


def test_scripts_name_a_part_by_an_roi_or_text(scene, volume):
    roi = make_roi(scene, ras(volume, 7, 12, 5), np.array((8, 15, 6)) * volume.GetSpacing(), axes_of(volume))
    by_roi = request_for(volume, "cubic", "MR", None, scale=2, region=roi)
    assert by_roi.region == roi_spans(volume, roi)
    assert request_for(volume, "cubic", "MR", None, scale=2, region="ijk=3:11,4:20,2:8").region == ((2, 8), (4, 20), (3, 11))
    with pytest.raises(InputError, match="must be one ROI node"):
        request_for(volume, "cubic", "MR", None, scale=2, region=[roi, roi])
    assert "--careful" in Request(scale=2, method="two-stage-residual", careful=True, region=by_roi.region).arguments()
    for asked, told in (({"error_map": True, "spacing": "isotropic"}, "An error map on a part needs a factor"), ({"careful": True, "slice_spacing": 1.0}, "Careful on a part needs a factor")):
        with pytest.raises(InputError, match=told):
            Request(method="two-stage-residual", region=by_roi.region, **asked)
    assert Request(scale=2, method="two-stage-residual", error_map=True, region=by_roi.region).makes_error_map


def test_the_error_map_of_a_part_lies_in_its_place(scene, make_volume, tmp_path):
    """Where the part lies under an oblique grid; the map is that of the whole but for what it adds everywhere, and each doubtful place holds the error that is told of it."""
    voxels = np.random.default_rng(1).normal(300, 60, (8, 64, 64))
    voxels[2:5, 30:44, 20:34] += 400 * (np.indices((3, 14, 14)).sum(0) % 3)
    volume = make_volume("MR", voxels=voxels.astype("int16"), spacing=(1.0, 1.2, 1.5))
    asked = {"scale": 2, "axes": "in-plane", "method": "two-stage-residual", "ensemble": "none", "device": "cpu", "compare": False, "error_map": True}
    spans = ((1, 7), (20, 52), (12, 40))
    whole, part = (
        run_and_wait(Job(scene, volume, Request(region=region, **asked), temporary_folder=str(tmp_path)), lambda event: None) for region in (None, spans)
    )  # fmt: skip
    errors = slicer.util.arrayFromVolume(part.error_map)
    assert errors.shape == (6, 64, 56) and part.error_map.GetName() == "MR SR expected error x2 in-plane part"
    np.testing.assert_allclose(ras(part.error_map, 0, 0, 0), ras(whole.error_map, 24, 40, 1), atol=1e-9)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(part.result), slicer.util.arrayFromVolume(whole.result)[1:7, 40:104, 24:80], atol=1)
    of_whole = slicer.util.arrayFromVolume(whole.error_map)[1:7, 40:104, 24:80]
    assert errors.mean() == pytest.approx(of_whole.mean(), rel=0.1)
    more = np.square(errors) - np.square(of_whole)
    np.testing.assert_allclose(more, np.median(more), atol=0.02 * np.square(errors).max())  # what is added everywhere alike is the part's own
    places = doubtful_places(part.report)
    matrix = vtk.vtkMatrix4x4()
    part.error_map.GetRASToIJKMatrix(matrix)
    to_voxels = slicer.util.arrayFromVTKMatrix(matrix)
    assert places
    for place in places:
        i, j, k = np.rint(to_voxels @ (*place.position, 1.0))[:3].astype(int)
        np.testing.assert_allclose(errors[k, j, i], place.error, rtol=1e-3)
