"""CT or MR: what DICOM, the subject hierarchy, the units or the intensities tell."""

from __future__ import annotations

from dataclasses import dataclass

import slicer
import slicer.util
from slicer.i18n import tr as _
from superres3d.scan.modality import guess_modality as guess_from_intensities

from .choices import Modality
from .dicom import told_by_dicom


@dataclass(frozen=True)
class ModalityGuess:
    """The modality, and in a few words what it was taken from.

    Attributes:
        modality: what is proposed.
        source: as the panel shows it beside the choice.
        doubt: why no network should take it so without a user's word, one sentence; or empty.
    """

    modality: Modality
    source: str
    doubt: str = ""


def guess_modality(node: slicer.vtkMRMLScalarVolumeNode) -> ModalityGuess:
    """The best guess for a volume with image data."""
    told = told_by_dicom(node, "Modality")
    if told in ("CT", "MR"):
        return ModalityGuess(Modality(told), _("from DICOM"))
    if _means(node.GetVoxelValueQuantity(), "attenuation") or _means(node.GetVoxelValueUnits(), "hounsfield"):
        return ModalityGuess(Modality.CT, _("from the units of the voxels"))
    if told:
        doubt = _("DICOM says {modality}, and the networks are for CT and MR; use an interpolation, or choose the modality.").format(modality=told)
        return ModalityGuess(Modality.MR, _("DICOM says {modality}").format(modality=told), doubt)
    chosen = node.GetAttribute("SuperResolution3D.Modality")
    if chosen in ("CT", "MR"):
        return ModalityGuess(Modality(chosen), _("as it was upscaled"))
    return _from_intensities(node)


def contradiction(node: slicer.vtkMRMLScalarVolumeNode, chosen: Modality) -> str:
    """A sentence if the intensities are clearly those of the other modality, else an empty string."""
    seen = _from_intensities(node)
    if seen.doubt or seen.modality is chosen:
        return ""
    return _("The intensities look like {modality}; check the modality.").format(modality=seen.modality.value)


_known: dict[str, tuple[tuple[str, int], ModalityGuess]] = {}


def _from_intensities(node: slicer.vtkMRMLScalarVolumeNode) -> ModalityGuess:
    """Remembered until the voxels change: the panel asks at every change of a choice."""
    image = node.GetImageData()
    state = (image.GetAddressAsString(""), image.GetMTime())
    known = _known.get(node.GetID())
    if known and known[0] == state:
        return known[1]
    guess = guess_from_intensities(slicer.util.arrayFromVolume(node))
    if guess.modality:
        found = ModalityGuess(Modality(guess.modality), _("guessed from the intensities"))
    else:
        doubt = _("It is not clear whether the scan is CT or MR; choose the modality.")
        found = ModalityGuess(Modality.MR, _("the intensities are unclear"), doubt)
    _known[node.GetID()] = state, found
    return found


def _means(entry: slicer.vtkCodedEntry | None, word: str) -> bool:
    """Whether a coded entry of the voxels is there and its meaning has the word."""
    return entry is not None and word in (entry.GetCodeMeaning() or "").lower()
