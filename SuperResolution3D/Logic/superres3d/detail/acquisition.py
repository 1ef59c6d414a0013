"""What a scan shows of how it was acquired and stored, beside its resolution: thickness of its slices, kind of its noise, grey levels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..scan.intensity import intensity_scale
from .estimator import FREQUENCIES, AxisDetail
from .measure import Detail, part_along
from .spectrum import spectrum_along
from .telling import is_sure

_WIDTHS = np.linspace(0.0, 3.0, 121)  # of a slice profile, in distances of the slices
_OVERLAP, _GAP = 1.3, 0.6  # widths from which, and up to which, slices overlap or leave gaps: between, an estimate does not tell
_CONTRADICTS = 1.5  # times as thick, or as thin, as the header says
_MIDDLE, _FINEST = slice(5, 9), slice(12, 16)  # of the 16 frequencies in the quietest pieces of lines
_WHITE, _COLOURED = 1.5, 2.2  # dB, by which the noise falls from the one to the other
_RAYLEIGH = (1.6, 2.1)  # mean over standard deviation of a magnitude image where there is nothing; 1.91 in theory
_MEAN_OF_RAYLEIGH = 1.2533  # times the noise
_EIGHT_BITS = 256
_FEWEST_VOXELS = 100_000  # that tell how many grey levels a scan has


@dataclass(frozen=True)
class Acquisition:
    """What is known of an acquisition.

    Attributes:
        distance: millimetres between the slices.
        told: millimetres, thickness of a slice as the file says; None where it does not.
        estimated: the same from the spectrum across the slices; None where that is not sure.
        noise: "white"; "coloured", which weak noise in fine anatomy looks like, too; or "" where it is not clear.
        floor: of an MR magnitude image: the mean of the noise where there is nothing (Rician), in the scan's units; None where none is seen.
        levels: different values in the scan, at most 256; 0: more.
    """

    distance: float
    told: float | None
    estimated: float | None
    noise: str
    floor: float | None
    levels: int

    @property
    def relation(self) -> str:
        """Of thickness to distance: "overlap", "gap", "contiguous"; "" where it is not known."""
        thickness = self.told or self.estimated
        if not thickness:
            return ""
        over, under = (1.02, 0.98) if self.told else (_OVERLAP, _GAP)
        return "overlap" if thickness > over * self.distance else "gap" if thickness < under * self.distance else "contiguous"

    @property
    def contradicts(self) -> bool:
        """Whether the scan shows slices of clearly another thickness than its header tells."""
        if not self.told or not self.estimated:
            return False
        return not 1 / _CONTRADICTS < max(self.estimated, _GAP * self.distance) / max(self.told, _GAP * self.distance) < _CONTRADICTS


def acquisition(voxels: np.ndarray, modality: str, detail: Detail, distance: float, told: float | None) -> Acquisition:
    """What a scan shows.

    Args:
        voxels: (slices, rows, columns), any real dtype.
        modality: "CT" or "MR".
        detail: measured on it.
        distance: millimetres between its slices.
        told: millimetres, their thickness as the file says, or None.
    """
    width = profile_width(detail.across)
    floor = rician_floor(voxels) if modality == "MR" else None
    return Acquisition(distance, told, None if width is None else width * distance, noise_kind(voxels, modality), floor, grey_levels(voxels))


def profile_width(across: AxisDetail | None) -> float | None:
    """Full width at half maximum of the slice profile, taken as Gaussian, in distances of the slices; None where the estimate is not sure.

    Its transfer function exp(-(pi f w)^2 / (4 ln 2)) is fitted to what is left of the detail.
    """
    if across is None or not is_sure((across,)):
        return None
    frequency = np.asarray(FREQUENCIES) / 2  # cycles a slice
    curves = np.exp(-((np.pi * frequency * _WIDTHS[:, None]) ** 2) / (4 * np.log(2)))
    return float(_WIDTHS[np.argmin(((curves - np.clip(across.transfer, 0.0, 1.0)) ** 2).sum(1))])


def noise_kind(voxels: np.ndarray, modality: str) -> str:
    """Whether the noise within the slices is as strong at every frequency: "white", "coloured", or "" where that is not clear."""
    within = intensity_scale(voxels, modality).normalise(part_along(voxels, 1))
    spectra = [spectrum for axis in (1, 2) if (spectrum := spectrum_along(within, axis)) is not None]
    if not spectra:
        return ""
    falls = [10 * float(spectrum[_MIDDLE].mean() - spectrum[_FINEST].mean()) for spectrum in spectra]
    return "white" if max(falls) < _WHITE else "coloured" if max(falls) > _COLOURED else ""


def rician_floor(voxels: np.ndarray) -> float | None:
    """Mean of a magnitude image (slices, rows, columns) in its two emptiest corners, where that is noise alone; None where it is not, or masked."""
    middle = part_along(voxels, 1)
    rows, columns = (max(3, count // 10) for count in middle.shape[1:])
    ends = product((slice(0, rows), slice(-rows, None)), (slice(0, columns), slice(-columns, None)))
    corners = sorted(((float(part.mean()), float(part.std())) for row, column in ends for part in [middle[:, row, column].astype(np.float64)]))[:2]
    if not all(spread > 0 and _RAYLEIGH[0] < mean / spread < _RAYLEIGH[1] for mean, spread in corners):
        return None
    return float(np.mean([mean for mean, _ in corners]))


def grey_levels(voxels: np.ndarray) -> int:
    """Different values in a part of a scan, if they are at most 256 in a part that is large enough; else 0."""
    part = part_along(voxels, 1)
    found = np.unique(part).size if part.size >= _FEWEST_VOXELS else 0
    return found if found <= _EIGHT_BITS else 0


def sentences(found: Acquisition) -> list[str]:
    """For a user, one sentence each."""
    told = []
    if found.told:
        told.append(f"Slices: {found.told:.3g} mm thick, {found.distance:.3g} mm apart (from the file){_RELATION[found.relation]}.")
    elif found.estimated is not None:
        told.append(f"Slices: {found.distance:.3g} mm apart and about {found.estimated:.2g} mm thick (estimated){_SEEMING[found.relation]}.")
    if found.contradicts:
        told.append(f"The scan shows slices about {found.estimated:.2g} mm thick, and its header says {found.told:.3g} mm; the header was kept.")
    told += [_NOISE[found.noise]] if found.noise else []
    if found.floor is not None:
        told.append(f"Where there is nothing the magnitude of the noise leaves a mean of {found.floor:.3g} (Rician; noise of {found.floor / _MEAN_OF_RAYLEIGH:.2g}).")
    if found.levels:
        told.append(f"The scan has {found.levels} grey levels, as 8 bits can hold: fine contrasts are lost.")
    return told


_RELATION = {"overlap": ": they overlap", "gap": ": they leave gaps", "contiguous": "", "": ""}
_SEEMING = {"overlap": ": they seem to overlap", "gap": ": they seem to leave gaps", "contiguous": "", "": ""}
_NOISE = {
    "white": "The noise is white, as strong at fine detail as at coarse.",
    "coloured": "The noise is coloured, weaker at fine detail, as a filter or an interpolation leaves it; or it is too weak to be told from the anatomy.",
}


def in_report(found: Acquisition) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "slices": {
            "distance_mm": round(found.distance, 4), "thickness_mm": found.told, "thickness_estimated_mm": None if found.estimated is None else round(found.estimated, 3),
            "relation": found.relation or None, "contradicts_header": found.contradicts,
        },
        "noise_kind": found.noise or None,
        "rician_floor": found.floor,
        "grey_levels": found.levels or None,
    }  # fmt: skip

