"""How thick a scan's slices are, and by which profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..detail.acquisition import profile_width
from ..detail.estimator import AxisDetail
from ..scan.dicom.thickness import told_thickness
from ..scan.volume import Volume
from .budget import Budget
from .pairs import SliceProfile

_RANGE = (0.5, 1.6)  # distances of slices that an estimate may say
_DIFFERS = 1.8
_LIKELY = (0.0, 0.15, 0.3)  # what is measured is rather too small (models/EXPERIMENTS.md)
_BESIDE = (0.8, 1.0)  # of the thickness: Gaussian profiles beside the usual one, as nothing tells the shape
#: CT reconstructions average over the thickness; an MR pulse excites nearly all of it alike.  The spectra of real MR slices say so too (models/EXPERIMENTS.md).
_PROFILES = {"CT": "box", "MR": "slr"}


@dataclass(frozen=True)
class Thickness:
    """Of a scan's slices.

    Attributes:
        profiles: that they may have: one where it is given, else some from sharp to soft, so that nothing rests on one of them.
        source: "given", "header", "measured" or "assumed".
        notes: for a user, one sentence each.
    """

    profiles: tuple[SliceProfile, ...]
    source: str
    notes: tuple[str, ...] = ()

    def report(self, distance: float) -> dict[str, Any]:
        """Ready for JSON; ``distance`` of the slices in millimetres."""
        return {"profiles": [{"profile": profile.name, "thickness_mm": round(profile.share * distance, 3)} for profile in self.profiles], "thickness_from": self.source}


def thickness_of(volume: Volume, slice_axis: int, modality: str, across: AxisDetail | None, budget: Budget | None = None) -> Thickness:
    """What was given; else what the header says; else what the spectrum across the slices tells, as Gaussian profiles; else that they touch.

    Args:
        volume: as it was read.
        slice_axis: 0 = k, 1 = j, 2 = i.
        modality: "CT" or "MR".
        across: what was measured across the slices.
        budget: with a thickness, a profile, both or neither.
    """
    distance = volume.spacing[2 - slice_axis]
    if budget and budget.thickness:
        return Thickness(_likely(budget.thickness / distance, modality, budget.profile), "given")
    told = told_thickness(volume) if slice_axis == 0 else None
    width = profile_width(across)
    measured = None if width is None else min(max(width, _RANGE[0]), _RANGE[1])
    if told:
        return Thickness(_likely(told / distance, modality, budget.profile if budget else ""), "header", _contradiction(told, measured, distance))
    if measured is not None:
        return Thickness(tuple(SliceProfile("gaussian", measured + more) for more in _LIKELY), "measured")
    return Thickness(_likely(1.0, modality, budget.profile if budget else ""), "assumed")


def _likely(share: float, modality: str, profile: str) -> tuple[SliceProfile, ...]:
    """Of slices so thick: the profile that is known, or those that are likely."""
    if profile:
        return (SliceProfile(profile, share),)
    return (SliceProfile(_PROFILES[modality], share), *(SliceProfile("gaussian", part * share) for part in _BESIDE))


def _contradiction(told: float, measured: float | None, distance: float) -> tuple[str, ...]:
    if measured is None or 1 / _DIFFERS < measured * distance / told < _DIFFERS:
        return ()
    return (f"The header says slices of {told:.3g} mm, and they look {measured * distance:.2g} mm thick; the header was believed.",)

