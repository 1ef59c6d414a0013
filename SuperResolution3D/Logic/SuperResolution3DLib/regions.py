"""Which part of a volume is meant: by an ROI of the scene, by what the slice views show, or by a box around the crosshair.

Points are in RAS millimetres of the world; what is found are voxels of the volume, (start, stop) along (k, j, i).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d.errors import InputError
from superres3d.scan.region import Spans, checked_spans, touched

from .choices import Part
from .nodes import SOURCE_ROLE, only_one

ROI_CLASS = "vtkMRMLMarkupsROINode"


def spans_of(node: slicer.vtkMRMLScalarVolumeNode, part: Part, roi: slicer.vtkMRMLNode | None = None, size: float = 50.0) -> Spans | None:
    """The voxels of a part of a volume; None: all of it.

    Args:
        node: the volume.
        part: what is meant.
        roi: that is meant; None: the only one of the scene.
        size: of a box around the crosshair, in millimetres.

    Raises:
        InputError: no ROI, or several; it is empty, lies outside or is too thin; nothing of the volume is shown.
    """
    if part is Part.WHOLE:
        return None
    if part is Part.ROI:
        return roi_spans(node, roi or only_roi(node.GetScene()))
    return view_spans(node) if part is Part.VIEWS else crosshair_spans(node, [size / spacing for spacing in node.GetSpacing()])


def only_roi(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLNode:
    """The ROI of a scene that has one (InputError)."""
    return only_one(
        scene, ROI_CLASS, _("There is no ROI in the scene; draw one with the Markups toolbar, or choose another part."), _("There are {count} ROIs in the scene; choose one of them.")
    )  # fmt: skip


def roi_spans(node: slicer.vtkMRMLScalarVolumeNode, roi: slicer.vtkMRMLNode) -> Spans:
    """Of an ROI, turned or not: all voxels that its box touches (InputError)."""
    size = np.array(roi.GetSize())
    if roi.GetNumberOfDefinedControlPoints() == 0 or min(size) <= 0:
        raise InputError(_('The ROI "{name}" is empty; draw it, or choose another part.').format(name=roi.GetName()))
    to_world = slicer.util.arrayFromVTKMatrix(roi.GetObjectToWorldMatrix())
    corners = [(to_world @ [*(np.array(corner) * size / 2), 1.0])[:3] for corner in product((-1, 1), repeat=3)]
    return _spans(node, _places(node, corners), _('The ROI "{name}"').format(name=roi.GetName()))


def crosshair_of(scene: slicer.vtkMRMLScene) -> np.ndarray:
    """Where the crosshair is, RAS."""
    crosshair = scene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
    return np.array(crosshair.GetCrosshairRAS() if crosshair else (0.0, 0.0, 0.0))


def place_crosshair(node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Slicer's crosshair lies at the origin until it is placed, which may be outside a scan: then it goes where the slice views cross, or into the middle."""
    crosshair = node.GetScene().GetFirstNodeByClass("vtkMRMLCrosshairNode")
    if crosshair is None or crosshair_of(node.GetScene()).any() or _contains(node, (0.0, 0.0, 0.0)):
        return
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    middle = np.array(bounds).reshape(3, 2).mean(axis=1)
    crossing = middle + _towards_views(node, middle)
    crosshair.SetCrosshairRAS(tuple(crossing if _contains(node, crossing) else middle))


def _towards_views(node: slicer.vtkMRMLScalarVolumeNode, point: np.ndarray) -> np.ndarray:
    """The least step from a point to the planes of the slice views that show a volume."""
    views = [view for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", node.GetScene()) if view.IsMappedInLayout() and _shows(view, node)]
    planes = [slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS()) for view in views]
    if not planes:
        return np.zeros(3)
    away = np.array([plane[:3, 2] for plane in planes])
    return np.linalg.lstsq(away, np.array([plane[:3, 2] @ (plane[:3, 3] - point) for plane in planes]), rcond=None)[0]


def _contains(node: slicer.vtkMRMLScalarVolumeNode, point: np.ndarray | Sequence[float]) -> bool:
    (place,) = _places(node, [np.array(point)])
    return bool((place >= 0).all() and (place <= np.array(node.GetImageData().GetDimensions())).all())


def crosshair_spans(node: slicer.vtkMRMLScalarVolumeNode, voxels: Sequence[float]) -> Spans:
    """Of a box of so many voxels along (i, j, k) around the crosshair, moved into the volume where it reaches out (InputError: the crosshair is outside)."""
    shape = np.array(node.GetImageData().GetDimensions())
    (centre,) = _places(node, [crosshair_of(node.GetScene())])
    if not _contains(node, crosshair_of(node.GetScene())):
        raise InputError(_('The crosshair lies outside "{name}"; move it there with Shift and the mouse in a slice view.').format(name=node.GetName()))
    size = np.minimum(np.maximum(np.rint(voxels), 2), shape)
    first = np.clip(np.rint(centre - size / 2), 0, shape - size).astype(int)
    spans = tuple((int(a), int(a + n)) for a, n in zip(first[::-1], size[::-1]))
    return checked_spans(spans, [int(n) for n in shape[::-1]])


def view_spans(node: slicer.vtkMRMLScalarVolumeNode) -> Spans:
    """Of what the slice views that show a volume have in common.  A view says nothing of the axis that it looks along (InputError: none shows it)."""
    low, high = np.zeros(3), np.array(node.GetImageData().GetDimensions(), float)
    views = [view for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", node.GetScene()) if view.IsMappedInLayout() and _shows(view, node)]
    if not views:
        raise InputError(_('No slice view shows "{name}"; show it, or choose another part.').format(name=node.GetName()))
    for view in views:
        corners, along = _seen(node, view)
        for axis in range(3):
            if axis != along:
                low[axis], high[axis] = max(low[axis], corners[:, axis].min()), min(high[axis], corners[:, axis].max())
    if (low >= high).any():
        raise InputError(_('The slice views show no common part of "{name}"; move them, or choose another part.').format(name=node.GetName()))
    return _spans(node, np.array([low, high]), _("What the views show"))


def _shows(view: slicer.vtkMRMLSliceNode, node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """The volume, or what was made of it."""
    scene = node.GetScene()
    composites = [c for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene) if c.GetLayoutName() == view.GetLayoutName()]
    identities = [identity for c in composites for identity in (c.GetBackgroundVolumeID(), c.GetForegroundVolumeID()) if identity]
    shown = [volume for volume in map(scene.GetNodeByID, identities) if volume is not None]
    return any(volume is node or volume.GetNodeReference(SOURCE_ROLE) is node for volume in shown)


def _seen(node: slicer.vtkMRMLScalarVolumeNode, view: slicer.vtkMRMLSliceNode) -> tuple[np.ndarray, int]:
    """The corners of a view as places (4, 3) of a volume, and the axis (i, j, k) that it looks along most."""
    matrix = slicer.util.arrayFromVTKMatrix(view.GetXYToRAS())
    width, height = view.GetDimensions()[:2]
    corners = _places(node, [(matrix @ [x, y, 0.0, 1.0])[:3] for x, y in product((0, width), (0, height))])
    away = _places(node, [matrix[:3, 3], matrix[:3, 3] + slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 2]])
    return corners, int(np.abs((away[1] - away[0]) * node.GetSpacing()).argmax())


def _places(node: slicer.vtkMRMLScalarVolumeNode, points: Sequence[np.ndarray]) -> np.ndarray:
    """World points as places along (i, j, k); voxel n lies between n and n + 1."""
    matrix, to_node = vtk.vtkMatrix4x4(), vtk.vtkGeneralTransform()
    node.GetRASToIJKMatrix(matrix)
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), to_node)
    inside = slicer.util.arrayFromVTKMatrix(matrix)
    return np.array([(inside @ [*to_node.TransformPoint(tuple(point)), 1.0])[:3] + 0.5 for point in points])


def _spans(node: slicer.vtkMRMLScalarVolumeNode, places: np.ndarray, what: str) -> Spans:
    """Rounded outwards (InputError; ``what`` begins its sentence)."""
    shape = node.GetImageData().GetDimensions()[::-1]
    spans = touched(np.array([places.min(axis=0), places.max(axis=0)]), shape)
    if spans is None:
        raise InputError(_('{what} lies outside "{name}"; move it there, or choose another part.').format(what=what, name=node.GetName()))
    thin = next((axis for axis, (start, stop) in zip("kji", spans) if stop - start < 2), None)
    if thin:
        raise InputError(_('{what} holds a single voxel of "{name}" along {axis}; make it thicker.').format(what=what, name=node.GetName(), axis=thin))
    return spans
