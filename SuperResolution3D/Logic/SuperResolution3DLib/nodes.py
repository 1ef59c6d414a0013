"""Volumes out of the scene and into it.

Arrays are (k, j, i); matrices are in the order (i, j, k) and in RAS millimetres, as MRML has
them; factors are (i, j, k).  Everything that can fail happens before the scene is touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d import Volume
from superres3d.errors import InputError
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from .dicom import INSTANCES, REPORT, derived_series, set_series

SOURCE_ROLE = "SuperResolution3D.Source"
#: what a derived DICOM series tells of a run
_DERIVATION = (
    "software", "method", "models", "modality", "factors_ijk", "slice_spacing_mm", "spacing_mm", "slice_axis", "preset", "ensemble", "precision", "back_projections", "invents", "region",
)  # fmt: skip
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def volume_from_node(node: slicer.vtkMRMLScalarVolumeNode) -> Volume:
    """The package's volume of a node that passed ``check_input``; shares the node's voxels.

    A parent transform is left out: the result gets the same one.
    """
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(matrix)
    direction = slicer.util.arrayFromVTKMatrix(matrix)[:3, :3]
    i, j, k = node.GetSpacing()
    left, posterior, superior = _RAS_TO_LPS @ np.asarray(node.GetOrigin())
    return Volume(
        slicer.util.arrayFromVolume(node),
        spacing=(float(i), float(j), float(k)),
        origin=(float(left), float(posterior), float(superior)),
        direction=_RAS_TO_LPS @ direction,
    )


def only_one(scene: slicer.vtkMRMLScene, kind: str, none: str, several: str) -> slicer.vtkMRMLNode:
    """The node of a class of which there is one, results apart; else InputError in these words, ``several`` with ``{count}``."""
    found = [node for node in slicer.util.getNodesByClass(kind, scene) if not node.GetAttribute("SuperResolution3D.Source")]
    if not found:
        raise InputError(none)
    if len(found) > 1:
        raise InputError(several.format(count=len(found)))
    return found[0]


def proposed_input(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The scan that the views show, else the first of the scene; never a result, a label map or colours."""
    shown = [view.GetBackgroundVolumeID() for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene)]
    candidates = [scene.GetNodeByID(identity) for identity in shown if identity] + slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
    return next((node for node in candidates if _is_scan(node)), None)


def _is_scan(node: slicer.vtkMRMLNode | None) -> bool:
    """Label maps and colour volumes count as scalar volumes, too."""
    return node is not None and node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetAttribute("SuperResolution3D.Method")


def refined_ijk_to_ras(ijk_to_ras: np.ndarray, factors: Sequence[float], first: Sequence[int] = (0, 0, 0)) -> np.ndarray:
    """The (4, 4) matrix of the grid that is finer by ``factors`` over the same RAS bounds, or of its part from the voxel ``first`` (i, j, k) on."""
    shrunk = 1.0 / np.asarray(factors, dtype=float)
    finer = np.diag([*shrunk, 1.0])
    finer[:3, 3] = (shrunk - 1.0) / 2.0 + shrunk * np.asarray(first)
    return ijk_to_ras @ finer


def image_from_voxels(voxels: np.ndarray) -> vtk.vtkImageData:
    """A new image with a copy of voxels (k, j, i)."""
    image = vtk.vtkImageData()
    image.SetDimensions(voxels.shape[::-1])
    image.AllocateScalars(get_vtk_array_type(voxels.dtype), 1)
    vtk_to_numpy(image.GetPointData().GetScalars()).reshape(voxels.shape)[...] = voxels
    return image


@dataclass(frozen=True)
class Source:
    """The input as it was when the run began; the scene may change while the run goes on.

    Attributes:
        node_id: of the input volume.
        name: of it.
        ijk_to_ras: (4, 4), without the parent transform.
        transform_id: of the parent transform, or None.
        frame: (number from 1, count) of a sequence, or None.
    """

    node_id: str
    name: str
    ijk_to_ras: np.ndarray
    transform_id: str | None
    frame: tuple[int, int] | None

    @classmethod
    def of(cls, node: slicer.vtkMRMLScalarVolumeNode, frame: tuple[int, int] | None) -> Source:
        """What is to be known of a volume later; ``frame`` as in the attributes."""
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        return cls(node.GetID(), node.GetName(), slicer.util.arrayFromVTKMatrix(matrix), node.GetTransformNodeID(), frame)

    def node(self, scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode:
        """The input volume (InputError if it is no longer in the scene)."""
        node = scene.GetNodeByID(self.node_id)
        if node is None:
            raise InputError(_('The input volume "{name}" was removed from the scene during the run; the result was discarded.').format(name=self.name))
        return node


@dataclass(frozen=True)
class Product:
    """One volume to be put into the scene.

    Attributes:
        image: its voxels.
        name: for a new node; an existing one keeps its own.
        factors: (i, j, k) refinement over the source.
        attributes: text on method, models and version.
        first: (i, j, k) of its first voxel on the whole result's grid.
    """

    image: vtk.vtkImageData
    name: str
    factors: tuple[float, float, float]
    attributes: Mapping[str, str]
    first: tuple[int, int, int] = (0, 0, 0)


def put_into_scene(
    scene: slicer.vtkMRMLScene, source: Source, product: Product, existing: slicer.vtkMRMLScalarVolumeNode | None = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a volume beside its source, or update ``existing`` in place; returns the node.

    The display, units, parent transform and subject hierarchy place are those of the source;
    DICOM instance UIDs are not copied, because a derived volume is not that instance.

    Raises:
        InputError: the source left the scene; nothing was changed.
    """
    origin = source.node(scene)
    node = existing
    if node is None:
        node = _node_like(scene, origin, product.name)
    wasModifying = node.StartModify()
    try:
        _fill(node, origin, source, product)
    finally:
        node.EndModify(wasModifying)
    if existing is None:
        _place_beside(scene, node, origin)
    else:
        _copy_display(node, origin)
    set_series(node, derived_series(origin, product.name))
    return node


def put_preview(scene: slicer.vtkMRMLScene, source: Source, product: Product, existing: slicer.vtkMRMLScalarVolumeNode | None) -> slicer.vtkMRMLScalarVolumeNode:
    """Add or update a volume that is only there to be looked at: in no list, in no saved scene, in no DICOM export (InputError: the source left the scene)."""
    origin = source.node(scene)
    node = existing
    if node is None:
        node = _node_like(scene, origin, product.name)
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        if node.GetDisplayNode():
            node.GetDisplayNode().SetSaveWithScene(False)
    wasModifying = node.StartModify()
    try:
        _fill(node, origin, source, product)
    finally:
        node.EndModify(wasModifying)
    _copy_display(node, origin)
    return node


def attributes(report: Mapping[str, Any], source: Source, slice_spacing: float = 0.0) -> dict[str, str]:
    """What a result node tells of how it was made; ``slice_spacing`` is the distance in mm that was asked for, 0: a factor was."""
    check = report.get("check")
    models = "; ".join(f"{stage}: {model['name']} sha256:{model['sha256']}" for stage, model in report["models"].items())
    return {
        "SuperResolution3D.Software": report["software"],
        "SuperResolution3D.Method": report["method"],
        "SuperResolution3D.Models": models or "none",
        "SuperResolution3D.Factors": " ".join(str(f) for f in report["factors_ijk"]),
        "SuperResolution3D.SliceSpacing": f"{slice_spacing:g}" if slice_spacing else "none",
        "SuperResolution3D.Spacing": " ".join(f"{value:.4g}" for value in report["spacing_mm"]) if report["spacing_mm"] else "none",
        "SuperResolution3D.Region": " ".join(f"{start}:{stop}" for start, stop in report["region"]["voxels_ijk"]) if report.get("region") else "none",
        "SuperResolution3D.Noise": report["detail"]["noise"] if report["detail"] else "none",
        "SuperResolution3D.Preset": report["preset"] or "none",
        "SuperResolution3D.Ensemble": report["ensemble"] or "none",
        "SuperResolution3D.Precision": report["precision"],
        "SuperResolution3D.BackProjections": str(report["back_projections"]),
        "SuperResolution3D.Modality": report["modality"],
        "SuperResolution3D.Source": source.name,
        "SuperResolution3D.Caution": report["invents"] or "none",
        "SuperResolution3D.Careful": "yes" if report.get("careful") else "no",
        "SuperResolution3D.Check": " ".join([*check["warnings"], check["statement"]]) if check else "none",
        "SuperResolution3D.Statement": report["statement"],
        REPORT: json.dumps({key: report.get(key) for key in _DERIVATION}),
    }


def result_name(source: str, kind: str, scale: int, axes: str, slice_spacing: float = 0.0) -> str:
    """``CT chest SR x2``, ``CT chest SR 1 mm slices``, ``CT chest SR isotropic``; axes are named where not all are refined by a factor."""
    if slice_spacing:
        return f"{source} {kind} {slice_spacing:g} mm slices"
    if not scale:
        return f"{source} {kind} {axes}"
    return f"{source} {kind} x{scale}" + ("" if axes == "all" else f" {axes}")


def _fill(node: slicer.vtkMRMLScalarVolumeNode, origin: slicer.vtkMRMLScalarVolumeNode, source: Source, product: Product) -> None:
    instances = origin.GetAttribute("DICOM.instanceUIDs") or origin.GetAttribute(INSTANCES)
    node.RemoveAttribute("DICOM.instanceUIDs")
    node.SetAttribute(INSTANCES, instances or None)
    _hold_window(node.GetDisplayNode(), origin.GetDisplayNode())
    node.SetAndObserveImageData(product.image)
    matrix = slicer.util.vtkMatrixFromArray(refined_ijk_to_ras(source.ijk_to_ras, product.factors, product.first))
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveTransformNodeID(source.transform_id)
    node.SetVoxelValueQuantity(origin.GetVoxelValueQuantity())
    node.SetVoxelValueUnits(origin.GetVoxelValueUnits())
    for key, value in product.attributes.items():
        node.SetAttribute(key, value)
    node.SetNodeReferenceID(SOURCE_ROLE, origin.GetID())


def _node_like(scene: slicer.vtkMRMLScene, origin: slicer.vtkMRMLScalarVolumeNode, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume with attributes and display of another, under a name of its own, without voxels.

    Slicer's own clone would look at all voxels of the other for its automatic window: a second for 300 MiB.
    """
    node = _made(scene, origin.GetClassName())
    for key in origin.GetAttributeNames():
        node.SetAttribute(key, origin.GetAttribute(key))
    node.SetDescription(origin.GetDescription())
    node.SetName(scene.GetUniqueNameByString(name))
    told = origin.GetDisplayNode()
    if told is not None:
        display = _made(scene, told.GetClassName())
        display.CopyContent(told)
        _hold_window(display, told)
        node.SetAndObserveDisplayNodeID(scene.AddNode(display).GetID())
    return scene.AddNode(node)


def _made(scene: slicer.vtkMRMLScene, kind: str) -> slicer.vtkMRMLNode:
    """A node that is not in the scene yet."""
    node = scene.CreateNodeByClass(kind)
    node.UnRegister(None)  # Python holds it
    return node


def _copy_display(node: slicer.vtkMRMLScalarVolumeNode, origin: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Window/level, colour table and threshold of the source, on the node's own display node."""
    if origin.GetDisplayNode() is None:
        return
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    name, was_modifying = display.GetName(), display.StartModify()
    display.CopyContent(origin.GetDisplayNode())
    display.SetName(name)
    _hold_window(display, origin.GetDisplayNode())
    display.EndModify(was_modifying)


def _hold_window(display: slicer.vtkMRMLDisplayNode | None, told: slicer.vtkMRMLDisplayNode | None) -> None:
    """The window of the source as it is.  An automatic one would be another, and Slicer would look at all voxels for it: half a minute for 2.3 GiB."""
    if display is not None and told is not None:
        display.SetAutoWindowLevel(False)
        display.SetAutoThreshold(False)
        display.SetWindowLevel(told.GetWindow(), told.GetLevel())


def _place_beside(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, origin: slicer.vtkMRMLScalarVolumeNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    beside = hierarchy.GetItemByDataNode(origin)
    parent = hierarchy.GetItemParent(beside) if beside else hierarchy.GetSceneItemID()
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
