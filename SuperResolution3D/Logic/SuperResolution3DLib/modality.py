"""CT or MR: what DICOM, the subject hierarchy, the units or the intensities tell."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import slicer.util
from slicer.i18n import tr as _

from .choices import Modality

_AIR_IN_HOUNSFIELD_UNITS = -500


@dataclass(frozen=True)
class ModalityGuess:
    """The modality, and in a few words what it was taken from."""

    modality: Modality
    source: str


def guess_modality(node: slicer.vtkMRMLScalarVolumeNode) -> ModalityGuess:
    """The best guess for a volume with image data."""
    told = _from_subject_hierarchy(node) or node.GetAttribute("DICOM.Modality") or ""
    if told in ("CT", "MR"):
        return ModalityGuess(Modality(told), _("from DICOM"))
    if _means(node.GetVoxelValueQuantity(), "attenuation") or _means(node.GetVoxelValueUnits(), "hounsfield"):
        return ModalityGuess(Modality.CT, _("from the units of the voxels"))
    air = node.GetImageData().GetScalarRange()[0] < _AIR_IN_HOUNSFIELD_UNITS
    return ModalityGuess(Modality.CT if air else Modality.MR, _("guessed from the intensities"))


def _means(entry: slicer.vtkCodedEntry | None, word: str) -> bool:
    """Whether a coded entry of the voxels is there and its meaning has the word."""
    return entry is not None and word in (entry.GetCodeMeaning() or "").lower()


def _from_subject_hierarchy(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The DICOM modality of the volume's item or of the series above it, or an empty string."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    while item and item != hierarchy.GetSceneItemID():
        told = hierarchy.GetItemAttribute(item, "DICOM.Modality")
        if told:
            return told
        item = hierarchy.GetItemParent(item)
    return ""
