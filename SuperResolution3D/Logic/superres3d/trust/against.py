"""A result against another stack of the same session in another orientation: truth that was measured, not made.

Where a study has both, the other stack's slices show along their rows and columns what the result had to fill in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from ..resampling.interpolation import sampling_matrix
from ..resampling.regridding import apply_along
from ..scan.modality import guess_modality
from ..scan.volume import Volume, accepted, find_slice_axis
from .body import body_mask
from .profile import thickness_of
from .result import rounded
from .stacks import overlap, seen_by, shift_between

LEAST_OVERLAP, LEAST_CORRELATION = 0.05, 0.4
_LITTLE = 0.85  # correlation: 0.98 for a T1 and its own stack, 0.75 for that stack with left and right swapped, 0.62 for another head
_APART = 0.5  # of a voxel of the scan, between the corners of a scan and of its result
_FEWEST = 2000  # voxels that both show
_FAR_MM, _FARTHEST_MM = 5.0, 25.0  # between two stacks of a session
_DIRECTIONS = ("left-right", "front-back", "head-foot")


@dataclass(frozen=True)
class Closeness:
    """How a volume compares with the other stack, where both show the body.

    Attributes:
        error: root of the mean square difference, the other stack's units (HU for CT).
        mean_error: mean of the absolute difference.
        correlation: Pearson's.
        recovered: by direction in the patient: share of the other stack's differences between neighbours that is there, 1 for the truth.
    """

    error: float
    mean_error: float
    correlation: float
    recovered: Mapping[str, float]


@dataclass(frozen=True)
class AgainstResult:
    """What the comparison found.

    Attributes:
        result: the result.
        lanczos: a Lanczos interpolation of the scan, where the scan was given.
        overlap: share of the other stack that lies within the result.
        voxels: of the other stack that were compared.
        shift_mm: LPS, how far the result's anatomy lies from the other stack's; it was undone.
        scale, offset: by which the intensities of the result were brought to the other stack's (MR).
        unit: "HU" or "".
        notes: one sentence each.
    """

    result: Closeness
    lanczos: Closeness | None
    overlap: float
    voxels: int
    shift_mm: tuple[float, float, float]
    scale: float
    offset: float
    unit: str
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """What was found, for people, the most important first."""
        unit = f" {self.unit}" if self.unit else ""
        beside = f" (Lanczos {self.lanczos.error:.3g}, {self.lanczos.correlation:.3f})" if self.lanczos else ""
        first = f"Against the other stack the error is {self.result.error:.3g}{unit}, the correlation {self.result.correlation:.3f}{beside}."
        recovered = [f"{100 * share:.0f} % {direction}{self._of_lanczos(direction)}" for direction, share in self.result.recovered.items()]
        x, y, z = self.shift_mm
        return [
            first,
            f"Of the other stack's differences between neighbours it shows {', '.join(recovered)}.",
            f"Compared: {self.voxels} voxels; {100 * self.overlap:.0f} % of the other stack lie within the result.",
            f"The patient lay {np.linalg.norm(self.shift_mm):.1f} mm apart in the two ({x:+.1f} left, {y:+.1f} back, {z:+.1f} up), which was undone.",
            *([] if self.unit else [f"Intensities were matched: times {self.scale:.3g}, plus {self.offset:.3g}."]),
        ]

    def _of_lanczos(self, direction: str) -> str:
        return f" (Lanczos {100 * self.lanczos.recovered[direction]:.0f} %)" if self.lanczos and direction in self.lanczos.recovered else ""

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return rounded({**asdict(self), "sentences": self.sentences})


def against(result: Volume, other: Volume, *, scan: Volume | None = None, modality: str = "auto", thickness: float | None = None) -> AgainstResult:
    """Compare a result with another stack of the same session.

    Args:
        result: upscaled; place and directions must be those of the patient.
        other: the other stack, slices in any orientation.
        scan: what the result was made from: Lanczos is compared as well.
        modality: "CT" (intensities are taken as they are), "MR" (they are matched), or "auto": the files' word, else the intensities'.
        thickness: millimetres of the other's slices; None: what its file tells, else they touch.

    Raises:
        InputError: the other stack lies elsewhere, or shows something else; with the overlap.
    """
    result, other = accepted(result, "The result"), _slices_along_k(accepted(other, "The other stack"))
    share = overlap(result, other)
    if share < LEAST_OVERLAP:
        raise InputError(f"The other stack lies elsewhere: {100 * share:.0f} % of it are within the result; give one of the same session that shows the same place.")
    kind = _modality(result, other, modality)
    shift = shift_between(result, other)
    wide = thickness or thickness_of(other) or other.spacing[2]
    seen = seen_by(result, other, shift, wide)
    truth = other.voxels.astype(np.float32)
    where = np.isfinite(seen) & body_mask(other.voxels, kind)
    if np.count_nonzero(where) < _FEWEST:
        raise InputError(f"The other stack and the result show the same body in {np.count_nonzero(where)} voxels only ({100 * share:.0f} % overlap); give one that shows the same place.")
    found, scale, offset = _compared(truth, seen, where, kind, other)
    if found.correlation < LEAST_CORRELATION:
        raise InputError(f"The other stack shows something else than the result (correlation {found.correlation:.2f} where they overlap, {100 * share:.0f} % of it); give one of the same session and contrast.")
    if np.linalg.norm(shift) > _FARTHEST_MM:
        raise InputError(f"The other stack lies {np.linalg.norm(shift):.0f} mm from where the result shows the same ({100 * share:.0f} % overlap); give one of the same session.")
    lanczos = None
    if scan is not None:
        fine = _interpolated(accepted(scan, "The scan"), result)
        lanczos = _compared(truth, seen_by(fine, other, shift, wide), where, kind, other)[0]
    x, y, z = (float(value) for value in shift)
    return AgainstResult(found, lanczos, share, int(np.count_nonzero(where)), (x, y, z), scale, offset, "HU" if kind == "CT" else "", _notes(found, float(np.linalg.norm(shift))))


def _notes(found: Closeness, apart: float) -> tuple[str, ...]:
    """What makes the comparison doubtful."""
    far = f"The two lie {apart:.1f} mm apart: check that they are of the same session."
    little = f"The two agree little (correlation {found.correlation:.2f}): check that they are of the same patient, session and contrast, and that left and right are not swapped in one of them."
    return (*([far] if apart > _FAR_MM else []), *([little] if found.correlation < _LITTLE else []))


def _slices_along_k(volume: Volume) -> Volume:
    """The same stack with its slices along array axis 0."""
    axis = find_slice_axis(volume.spacing)
    if axis == 0:
        return volume
    order = [axis, *(other for other in range(3) if other != axis)]  # of (k, j, i)
    columns = [2 - number for number in order[::-1]]  # of (i, j, k)
    spacing = tuple(volume.spacing[column] for column in columns)
    return Volume(np.moveaxis(volume.voxels, axis, 0), (spacing[0], spacing[1], spacing[2]), volume.origin, volume.direction[:, columns], volume.modality, source=volume.source)


def _modality(result: Volume, other: Volume, asked: str) -> str:
    if asked != "auto":
        return asked
    told = result.modality or other.modality or guess_modality(result.voxels).modality
    return told if told in ("CT", "MR") else "MR"


def _interpolated(scan: Volume, result: Volume) -> Volume:
    """The scan on the grid of its result, by Lanczos (InputError: it is not what the result was made from)."""
    ends = [tuple(volume.position([end * (n - 1) + side for n in volume.voxels.shape[::-1]]) for end, side in ((0, -0.5), (1, 0.5))) for volume in (scan, result)]
    apart = max(float(np.linalg.norm(np.subtract(one, other))) for one, other in zip(*ends))
    if apart > _APART * max(scan.spacing):
        raise InputError(f"The scan covers another place than the result (their corners are {apart:.3g} mm apart), so the result was not made from it; give the scan that was upscaled, or leave --scan out.")
    voxels = scan.voxels.astype(np.float32)
    for axis, count in enumerate(result.voxels.shape):
        if count > voxels.shape[axis]:
            voxels = apply_along(voxels, axis, sampling_matrix(voxels.shape[axis], count, "lanczos").astype(np.float32))
    if voxels.shape != result.voxels.shape:
        raise InputError("The scan is finer than the result along an axis, so the result was not made from it; give the scan that was upscaled.")
    return Volume(voxels, result.spacing, result.origin, result.direction, scan.modality)


def _compared(truth: np.ndarray, seen: np.ndarray, where: np.ndarray, modality: str, other: Volume) -> tuple[Closeness, float, float]:
    """And the scale and offset that were used."""
    where = where & np.isfinite(seen)
    x, y = seen[where].astype(np.float64), truth[where].astype(np.float64)
    correlation = float(np.corrcoef(x, y)[0, 1]) if x.std() and y.std() else 0.0
    scale, offset = (1.0, 0.0) if modality == "CT" or not x.std() else (float(value) for value in np.polyfit(x, y, 1))
    matched = seen * np.float32(scale) + np.float32(offset)
    difference = matched[where].astype(np.float64) - y
    recovered = {}
    for axis in range(3):
        share = _recovered(truth, matched, where, axis)
        if share is not None:
            recovered[_DIRECTIONS[int(np.argmax(np.abs(other.direction[:, 2 - axis])))]] = share
    return Closeness(float(np.sqrt(np.mean(difference**2))), float(np.mean(np.abs(difference))), correlation, recovered), scale, offset


def _recovered(truth: np.ndarray, seen: np.ndarray, where: np.ndarray, axis: int) -> float | None:
    """Slope of the differences along an axis upon the truth's: noise of its own adds nothing."""
    first, second = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
    both = where[first] & where[second]
    wanted, found = (np.diff(array, axis=axis)[both].astype(np.float64) for array in (truth, seen))
    size = float(np.sum(wanted**2))
    return float(np.sum(wanted * found)) / size if size else None
