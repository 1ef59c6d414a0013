"""The scan: voxels with their place in the patient.

Voxel arrays are (k, j, i): slices, rows,
columns.  ``spacing``, ``origin`` and the columns of ``direction`` are in the order (i, j, k)
and in LPS millimetres, as SimpleITK has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import InputError

_MOST_LABELS, _LABEL_EQUALITY = 256, 0.8
_CLEARLY_COARSER = 1.2
_NEARLY, _EXACTLY = 1e-3, 1e-6  # cosines between axes: made exact up to the first, left alone up to the second
_SPACINGS, _FARTHEST = (1e-7, 1e4), 1e7  # millimetres: from atoms to a body's length, and the way to the origin
_LEAST_STEPS = 256  # of 32-bit floating point, between the least and the largest value
_KEPT_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32")


@dataclass(frozen=True)
class Volume:
    """A scalar scan.

    Attributes:
        voxels: (k, j, i), one of int8 ... uint32, float32.
        spacing: millimetres along (i, j, k).
        origin: LPS position of the centre of voxel (0, 0, 0).
        direction: (3, 3); column n is the LPS direction of index axis n of (i, j, k).
        modality: the file's own word in DICOM's terms ("CT", "MR", "PT" ...), "" where it does not tell.
        notes: what was converted while reading, one sentence each.
        source: what the file's format knows beyond the grid (the two forms of NIfTI, the headers of DICOM), for writing it again.

    Lists become arrays, and voxels get the machine's byte order (ValueError: not three numbers for a spacing or an origin).
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    modality: str = ""
    notes: tuple[str, ...] = ()
    source: Any = None

    def __post_init__(self) -> None:
        voxels = np.asarray(self.voxels)
        for name, value in (
            ("voxels", voxels.astype(voxels.dtype.newbyteorder("="), copy=False)),
            ("spacing", triple(self.spacing)),
            ("origin", triple(self.origin)),
            ("direction", np.asarray(self.direction, dtype=float)),
        ):
            object.__setattr__(self, name, value)

    def position(self, index_ijk: Sequence[float] | np.ndarray) -> np.ndarray:
        """LPS position in millimetres of a (fractional) index (i, j, k)."""
        return np.asarray(self.origin) + self.direction @ (np.asarray(index_ijk) * np.asarray(self.spacing))

    def refined(self, voxels: np.ndarray, factors: Sequence[float]) -> Volume:
        """The same field of view on a grid finer by ``factors`` (k, j, i).

        The new first voxel is smaller, so its centre moves by (1/r - 1)/2 old voxels along
        every refined axis.
        """
        factors_ijk = np.asarray(factors[::-1], dtype=float)
        return replace(
            self,
            voxels=voxels,
            spacing=triple(np.asarray(self.spacing) / factors_ijk),
            origin=triple(self.position((1.0 / factors_ijk - 1.0) / 2.0)),
        )


def triple(values: Iterable[float]) -> tuple[float, float, float]:
    """Three numbers, such as a spacing or a position, as floats (ValueError for any other count)."""
    first, second, third = (float(value) for value in values)
    return first, second, third


def accepted(volume: Volume, name: str) -> Volume:
    """The volume in a dtype that can be kept and with axes exactly at right angles, or a refusal of what cannot be upscaled sensibly.

    Axes that are off by a cosine of 0.001 at most (0.06 degrees) are turned to the nearest right angles; the centre of the scan stays.

    Raises:
        InputError: not 3-D, fewer than two voxels along an axis, NaN or infinity, a constant, values too far from 0, a
            label map, or axes that are not orthonormal.
    """
    volume = _with_supported_dtype(volume, name)
    voxels = volume.voxels
    if voxels.ndim != 3:
        raise InputError(f"{name} has {voxels.ndim} axes; give a 3-D volume.")
    if min(voxels.shape) < 2:
        size = " x ".join(str(n) for n in voxels.shape[::-1])
        raise InputError(f"{name} is a single slice ({size} voxels); give a volume of at least 2 voxels along each axis.")
    volume = placed(volume, name)
    low, high = voxels.min(), voxels.max()  # NaN and infinity come through a minimum and a maximum
    if not np.isfinite([float(low), float(high)]).all():
        raise InputError(f"{name} contains NaN or infinite values; replace them (for example by 0) first.")
    if low == high:
        raise InputError(f"{name} has the same value ({low}) everywhere; check that the right volume was chosen.")
    if voxels.dtype.kind == "f":
        check_steps(voxels, name)
    if _is_label_map(voxels):
        raise InputError(f"{name} looks like a label map or segmentation; give the scan itself (to upscale it all the same, convert it to float).")
    return volume


def check_steps(voxels: np.ndarray, name: str) -> None:
    """Refuse values that single precision, in which networks compute, cannot tell apart (InputError); ``name`` is what the message calls the scan."""
    low, high = voxels.min(), voxels.max()
    if float(high) - float(low) < _LEAST_STEPS * np.spacing(np.float32(max(abs(float(low)), abs(float(high))))):
        raise InputError(f"{name} has values from {low} to {high}, too far from 0 to be told apart in 32 bits; subtract {low} first.")


def placed(volume: Volume, name: str) -> Volume:
    """With axes exactly at right angles, or a refusal (InputError) of a place that is none; ``name`` is what the message calls it."""
    if not all(_SPACINGS[0] <= spacing <= _SPACINGS[1] for spacing in volume.spacing):
        raise InputError(f"{name} has a spacing of {' x '.join(f'{spacing:g}' for spacing in volume.spacing)} mm; correct its header first.")
    if not all(abs(position) <= _FARTHEST for position in volume.origin):
        raise InputError(f"{name} lies at {', '.join(f'{position:g}' for position in volume.origin)} mm; correct its header first.")
    off = np.abs(volume.direction.T @ volume.direction - np.eye(3)).max()
    if not off <= _NEARLY:
        raise InputError(f"{name} has axes that are not at right angles; resample it to an orthogonal grid first.")
    if off <= _EXACTLY:
        return volume
    left, _, right = np.linalg.svd(volume.direction)
    turned = replace(volume, direction=left @ right)  # the nearest rotation
    centre = (np.array(volume.voxels.shape[::-1]) - 1) / 2
    return replace(turned, origin=triple(volume.origin + volume.position(centre) - turned.position(centre)))


def find_slice_axis(spacing: Sequence[float]) -> int:
    """Array axis (0 = k, 1 = j, 2 = i) of the slices: the clearly coarsest one, else k.

    Args:
        spacing: millimetres along (i, j, k).
    """
    kji = np.asarray(spacing, dtype=float)[::-1]
    coarsest = int(np.argmax(kji))
    return coarsest if kji[coarsest] >= _CLEARLY_COARSER * np.delete(kji, coarsest).max() else 0


def _is_label_map(voxels: np.ndarray) -> bool:
    """Few integer values, and neighbours off the background nearly always equal."""
    if voxels.dtype.kind not in "iu":
        return False
    step = max(1, voxels.shape[0] // 16)
    sample = voxels[step // 2 :: step]
    values, counts = np.unique(sample, return_counts=True)
    if len(values) > _MOST_LABELS:
        return False
    background = values[np.argmax(counts)]
    left, right = sample[..., :-1], sample[..., 1:]
    foreground = (left != background) & (right != background)
    pairs = int(foreground.sum())
    return pairs > 0 and int((foreground & (left == right)).sum()) > _LABEL_EQUALITY * pairs


def _with_supported_dtype(volume: Volume, name: str) -> Volume:
    """Convert what the networks' result cannot keep: bool, int64, uint64, float16, float64."""
    voxels = volume.voxels
    if str(voxels.dtype) in _KEPT_DTYPES:
        return volume
    if voxels.dtype.kind not in "biuf":
        raise InputError(f"{name} has voxels of type {voxels.dtype}; give integers or floating-point numbers.")
    fits = voxels.dtype.kind in "iu" and voxels.size and -(2**31) <= int(voxels.min()) and int(voxels.max()) < 2**31
    target = "uint8" if voxels.dtype.kind == "b" else "int32" if fits else "float32"
    note = f"Voxels were converted from {voxels.dtype} to {target}."
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the rest
        return replace(volume, voxels=voxels.astype(target), notes=(*volume.notes, note))
