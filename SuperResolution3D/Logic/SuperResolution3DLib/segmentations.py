"""A segmentation of the scan: taken as labels on its grid, brought back on the result's, and shown as models of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d.errors import InputError
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from .comparison_layouts import MODELS_LAYOUT_ID, register_layouts
from .nodes import only_one

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"
_LABELMAP, _SURFACE = "Binary labelmap", "Closed surface"
_MOST_SEGMENTS = 65535
_DUAL_3D = ("1", "2")  # the views of that layout, left and right
_DISTANCE = 1.7  # of the camera, in diagonals of what it looks at: a little more than fits into 30 degrees


@dataclass(frozen=True)
class Drawn:
    """The segments as they were when the run began; the scene may change while it goes on.

    Attributes:
        node_id: of the segmentation.
        name: of it.
        voxels: (k, j, i), on the scan's grid; segment n has the label n + 1. Where segments overlap the later one counts.
        segments: names, colours and terms, in this order.
    """

    node_id: str
    name: str
    voxels: np.ndarray
    segments: tuple[slicer.vtkSegment, ...]


def only_segmentation(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLNode:
    """The segmentation of a scene that has one (InputError)."""
    return only_one(
        scene, SEGMENTATION_CLASS, _("There is no segmentation in the scene; load or draw one, or do not bring one along."),
        _("There are {count} segmentations in the scene; choose one of them."),
    )  # fmt: skip


def check_segmentation(node: slicer.vtkMRMLNode) -> None:
    """InputError if there is nothing to bring along."""
    count = node.GetSegmentation().GetNumberOfSegments()
    if not count:
        raise InputError(_('The segmentation "{name}" has no segments; draw one, or do not bring it along.').format(name=node.GetName()))
    if count > _MOST_SEGMENTS:
        raise InputError(_('The segmentation "{name}" has {count} segments, too many to be brought along.').format(name=node.GetName(), count=count))


def drawn_on(node: slicer.vtkMRMLNode, volume: slicer.vtkMRMLScalarVolumeNode) -> Drawn:
    """The segments on the grid of a volume (InputError: there are none, or they lie elsewhere)."""
    check_segmentation(node)
    segmentation, scene = node.GetSegmentation(), node.GetScene()
    names = list(segmentation.GetSegmentIDs())
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "SuperResolution3D labels")
    try:
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        done = logic.ExportSegmentsToLabelmapNode(node, names, labels, volume, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY)
        voxels = slicer.util.arrayFromVolume(labels).copy() if done and labels.GetImageData() else np.zeros(1)
    finally:
        _remove(scene, labels)
    if not voxels.any():
        raise InputError(_('The segmentation "{name}" lies outside "{volume}", or is empty; choose that of this volume.').format(name=node.GetName(), volume=volume.GetName()))
    small = voxels.astype(np.uint8 if len(names) < 256 else np.uint16)
    return Drawn(node.GetID(), node.GetName(), small, tuple(_told(segmentation.GetSegment(name)) for name in names))


def put_segmentation(scene: slicer.vtkMRMLScene, drawn: Drawn, voxels: np.ndarray, result: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLNode:
    """A new segmentation with the same segments on the grid of a result.

    Args:
        scene: of all.
        drawn: what was brought along.
        voxels: (k, j, i) of the result's shape, with the labels of ``drawn``.
        result: for its place.
    """
    node = scene.AddNewNodeByClass(SEGMENTATION_CLASS, scene.GenerateUniqueName(f"{drawn.name} ({result.GetName()})"))
    node.CreateDefaultDisplayNodes()
    image = _image(voxels, result)
    for number, segment in enumerate(drawn.segments, 1):
        made = slicer.vtkSegment()
        made.DeepCopyMetadata(segment)
        made.SetLabelValue(number)
        made.AddRepresentation(_LABELMAP, image)
        node.GetSegmentation().AddSegment(made)
    node.SetReferenceImageGeometryParameterFromVolumeNode(result)
    node.SetAndObserveTransformNodeID(result.GetTransformNodeID())
    node.SetAttribute("SuperResolution3D.Source", drawn.name)
    return node


def show_beside(drawn: slicer.vtkMRMLNode, refined: slicer.vtkMRMLNode, layout: slicer.vtkMRMLLayoutNode) -> None:
    """Models of both in a 3-D view each, linked; surfaces are made where there are none yet."""
    register_layouts(layout)
    layout.SetViewArrangement(MODELS_LAYOUT_ID)
    scene = refined.GetScene()
    views = [view for name in _DUAL_3D for view in slicer.util.getNodesByClass("vtkMRMLViewNode", scene) if view.GetLayoutName() == name]
    for node, view in zip((drawn, refined), views):
        node.CreateClosedSurfaceRepresentation()
        display = node.GetDisplayNode()
        display.RemoveAllViewNodeIDs()
        display.AddViewNodeID(view.GetID())
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceNode", scene):  # in the slices both stay
            display.AddViewNodeID(composite.GetID())
        display.SetVisibility(True)
        display.SetVisibility3D(True)
        display.SetPreferredDisplayRepresentationName3D(_SURFACE)
        view.SetLinkedControl(True)
        view.SetBoxVisible(False)
        view.SetAxisLabelsVisible(False)
    _look_at(refined)


def _look_at(node: slicer.vtkMRMLNode) -> None:
    """Both views from the front, filled by a model."""
    bounds = _bounds(node)
    low, high = bounds[::2], bounds[1::2]
    middle, away = (low + high) / 2, np.array([0.0, _DISTANCE * np.linalg.norm(high - low), 0.0])
    for camera in slicer.util.getNodesByClass("vtkMRMLCameraNode", node.GetScene()):
        if camera.GetLayoutName() in _DUAL_3D:
            camera.SetFocalPoint(middle)
            camera.SetPosition(middle + away)
            camera.SetViewUp(0.0, 0.0, 1.0)
            camera.ResetClippingRange()


def _bounds(node: slicer.vtkMRMLNode) -> np.ndarray:
    """Of the surfaces (least and most along right, anterior and superior, in mm); the node's own are those of the whole grid."""
    box = vtk.vtkBoundingBox()
    for name in node.GetSegmentation().GetSegmentIDs():
        surface = vtk.vtkPolyData()
        if node.GetClosedSurfaceRepresentation(name, surface) and surface.GetNumberOfPoints():
            box.AddBounds(surface.GetBounds())
    bounds = np.zeros(6)
    if box.IsValid() and node.GetParentTransformNode() is None:
        box.GetBounds(bounds)
    else:
        node.GetRASBounds(bounds)
    return bounds


def _told(segment: slicer.vtkSegment) -> slicer.vtkSegment:
    """Name, colour and terms without the voxels."""
    copied = slicer.vtkSegment()
    copied.DeepCopyMetadata(segment)
    return copied


def _image(voxels: np.ndarray, result: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedImageData:
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    result.GetIJKToRASMatrix(matrix)
    image.SetDimensions(voxels.shape[::-1])
    image.SetImageToWorldMatrix(matrix)
    image.AllocateScalars(get_vtk_array_type(voxels.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)[...] = voxels
    return image


def _remove(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLNode) -> None:
    display = node.GetDisplayNode()
    scene.RemoveNode(node)
    if display is not None and scene.IsNodePresent(display):
        scene.RemoveNode(display)
