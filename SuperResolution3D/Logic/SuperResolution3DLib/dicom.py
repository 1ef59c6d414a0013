"""What a result keeps of its source's DICOM series, where Slicer's own export looks for it: attributes ``DICOM.*`` of the subject hierarchy."""

from __future__ import annotations

import re
from collections.abc import Mapping

import slicer

#: attributes of a result: what its scan was loaded from, so that a derived series can be made even when the scan has left the scene; and the run's report
INSTANCES, REPORT = "SuperResolution3D.SourceInstances", "SuperResolution3D.Report"
_KEPT = ("Modality", "FrameOfReferenceUID", "Manufacturer", "Model", "BodyPartExamined", "PatientPosition")
_LONGEST = 64  # characters of a series description (VR LO)


def told_by_dicom(node: slicer.vtkMRMLScalarVolumeNode, tag: str) -> str:
    """What is known of a volume's series: from its item, the items above it, or the node; empty if nothing is.

    Args:
        node: in a scene.
        tag: keyword of a DICOM tag, such as ``Modality``.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    while item and item != hierarchy.GetSceneItemID():
        told = hierarchy.GetItemAttribute(item, f"DICOM.{tag}")
        if told:
            return told
        item = hierarchy.GetItemParent(item)
    return node.GetAttribute(f"DICOM.{tag}") or ""


def derived_series(origin: slicer.vtkMRMLScalarVolumeNode, name: str) -> dict[str, str]:
    """Tags of a series that is derived from a volume's; none where that came from no DICOM.

    Args:
        origin: the source.
        name: of the result; what follows the source's name in it goes into the description.
    """
    kept = {tag: told for tag in _KEPT if (told := told_by_dicom(origin, tag))}
    if "Modality" not in kept:
        return {}
    number = _number(origin)
    own = re.sub(r"^\d+: ", "", origin.GetName())  # as Slicer names what it loads: "4: Thorax"
    suffix = name.removeprefix(origin.GetName()).strip()
    described = told_by_dicom(origin, "SeriesDescription") or own
    return {
        **kept,
        "SeriesDescription": f"{described[: _LONGEST - 1 - len(suffix)]} {suffix}".strip()[:_LONGEST],
        "SeriesNumber": str(_free_number(origin, number)),
        "ImageType": "DERIVED\\SECONDARY",
    }


def set_series(node: slicer.vtkMRMLScalarVolumeNode, tags: Mapping[str, str]) -> None:
    """Tell a result's item, and the node itself, what series it is."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    if tags and not item:
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
    for tag, value in tags.items():
        node.SetAttribute(f"DICOM.{tag}", value)
        hierarchy.SetItemAttribute(item, f"DICOM.{tag}", value)


def _number(node: slicer.vtkMRMLScalarVolumeNode) -> int:
    told = told_by_dicom(node, "SeriesNumber") or node.GetName().split(":")[0]
    return int(told) if told.strip().isdigit() else 0


def _free_number(origin: slicer.vtkMRMLScalarVolumeNode, number: int) -> int:
    """The first number above the source's that no volume beside it has; hundreds stay together, as 401 after 4."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(origin.GetScene())
    beside = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(origin))
    taken = {hierarchy.GetItemAttribute(item, "DICOM.SeriesNumber") for item in children_of(hierarchy, beside)}
    found = 100 * number + 1 if number < 100 else number + 1
    while str(found) in taken:
        found += 1
    return found


def children_of(hierarchy: slicer.vtkMRMLSubjectHierarchyNode, item: int) -> list[int]:
    """The items right below one."""
    import vtk

    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, found)
    return [found.GetId(index) for index in range(found.GetNumberOfIds())]
