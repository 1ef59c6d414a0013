"""The two places that a NIfTI file may name, and which of them counts.

sform: a matrix; qform: a rotation, with the sizes in pixdim.  Each has a code: 0 not valid, 1 scanner, 2 aligned to another scan, 3 Talairach, 4 MNI152, 5 another template.
All matrices here are (4, 4), index (i, j, k, 1) to millimetres in RAS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .geometry import FLIP, farthest, matrix_of
from .volume import Volume

_CODES = range(1, 6)
_SAME = 0.1  # of the smallest side of a voxel: forms whose corners are closer than that agree
_SAME_SIZE = 0.01  # relative
_SHEAR = 1e-3  # as volume.accepted
_BELOW_ONE, _ABOVE_ONE = 1e-7, 0.01  # squared length of three parts of a quaternion that were rounded from 1; more is none


@dataclass(frozen=True)
class NiftiForms:
    """What a NIfTI file tells of its place, in terms of the grid that was read.

    Attributes:
        grid: the LPS matrix (4, 4) that was taken for the volume.
        sform, qform: (4, 4) RAS millimetres; None where the code is 0 or the form is no matrix.
        sform_code, qform_code: 0 where the form is None.
    """

    grid: np.ndarray
    sform: np.ndarray | None
    qform: np.ndarray | None
    sform_code: int
    qform_code: int

    def of(self, volume: Volume) -> tuple[np.ndarray | None, np.ndarray | None]:
        """(sform, qform) for the grid of a volume that was made of the one that was read."""
        step = np.linalg.inv(self.grid) @ matrix_of(volume)  # from its voxels to the old ones
        return tuple(None if form is None else form @ step for form in (self.sform, self.qform))  # type: ignore[return-value]


def forms_of(header: Any, shape: tuple[int, ...], unit: float, name: object) -> tuple[NiftiForms, list[str]]:
    """Which form counts, by the habit of nibabel, FSL and SPM: the sform, if its code is not 0, else the qform, else sizes alone.

    Args:
        header: nibabel's, of NIfTI-1 or 2.
        shape: (i, j, k).
        unit: millimetres.
        name: the file, for messages.

    Returns:
        The forms, and notes on what was chosen.

    Raises:
        InputError: a sheared sform that counts, or no valid place and no valid sizes.
    """
    codes = {form: int(header[f"{form}_code"]) for form in ("sform", "qform")}
    sform, qform = (_valid(read, codes[form], unit) for form, read in (("sform", header.get_sform), ("qform", lambda: _qform(header))))
    notes = [f"The {form} of the header is not valid; it was left out." for form, matrix in (("sform", sform), ("qform", qform)) if codes[form] and matrix is None]
    taken = sform if sform is not None else qform
    if taken is None:
        taken = _sizes_alone(header, shape, unit, name)
        if notes:
            raise InputError(f"{name} names its place in a form that is not valid (sform or qform); correct its header first.")
        notes.append("The header does not tell where the scan lies (both codes are 0); its sizes alone were taken, with the first axis from right to left.")
    elif sform is not None:
        taken, told = _sform_against(sform, qform, header, shape, unit)
        notes += told
    forms = NiftiForms(FLIP @ taken, sform, qform, codes["sform"] if sform is not None else 0, codes["qform"] if qform is not None else 0)
    return forms, notes


def _valid(read: Callable[[], np.ndarray], code: int, unit: float) -> np.ndarray | None:
    """The form in millimetres; None: its code is 0 or none that exists, or it is no matrix."""
    if code not in _CODES:
        return None
    try:
        form = np.asarray(read(), dtype=float)
    except ValueError:  # nibabel's words for quaternions that are none
        return None
    form[:3] *= unit
    with np.errstate(over="ignore", invalid="ignore"):
        return form if np.isfinite(form).all() and np.linalg.matrix_rank(form[:3, :3]) == 3 else None


def _qform(header: Any) -> np.ndarray:
    """As all readers have it: a pixdim[0] of -1 turns the third axis, none or one above 0 does not; sizes have no sign.

    ValueError: no sizes, no rotation, or another pixdim[0] below 0, of which readers differ.
    """
    from nibabel.affines import from_matvec
    from nibabel.quaternions import quat2mat

    sizes, handedness = np.abs(header["pixdim"][1:4].astype(float)), float(header["pixdim"][0])
    if not (np.isfinite(sizes).all() and sizes.all() and (handedness == -1 or 0 <= handedness < np.inf)):
        raise ValueError
    rotation = quat2mat(_quaternion(header))
    return from_matvec(rotation * sizes * [1, 1, -1 if handedness == -1 else 1], [float(header[f"qoffset_{axis}"]) for axis in "xyz"])


def _quaternion(header: Any) -> np.ndarray:
    """(a, b, c, d), perhaps longer than 1 by rounding, which the standard's own library accepts as well (ValueError: no rotation)."""
    stored = np.array([float(header[f"quatern_{part}"]) for part in "bcd"])
    square = float(stored @ stored)
    if not square <= 1 + _ABOVE_ONE:
        raise ValueError
    return np.array([np.sqrt(1 - square), *stored]) if square < 1 - _BELOW_ONE else np.array([0.0, *stored])


def _sizes_alone(header: Any, shape: tuple[int, ...], unit: float, name: object) -> np.ndarray:
    """nibabel's fallback: the first axis runs to the left, and the middle of the scan is the origin."""
    sizes = header["pixdim"][1:4].astype(float) * unit
    if not (np.isfinite(sizes).all() and sizes.all()):
        raise InputError(f"{name} has a spacing of {_product(sizes)} mm; correct its header first.")
    return centred(np.abs(sizes) * [-1, 1, 1], shape)


def centred(steps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix of a grid along the axes of the patient with its middle at the origin; ``steps`` are signed sizes in RAS."""
    matrix = np.diag([*steps, 1.0])
    matrix[:3, 3] = -steps * (np.array(shape) - 1) / 2
    return matrix


def _sform_against(sform: np.ndarray, qform: np.ndarray | None, header: Any, shape: tuple[int, ...], unit: float) -> tuple[np.ndarray, list[str]]:
    """The matrix to take where there is an sform, and what to tell."""
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    if qform is None:
        named = np.abs(header["pixdim"][1:4].astype(float)) * unit
        if np.allclose(named, sizes, rtol=_SAME_SIZE):
            return sform, []
        return sform, [f"The header names voxels of {_product(named)} mm, its sform voxels of {_product(sizes)} mm; the sform was taken."]
    apart = farthest(sform, qform, shape)
    if apart > _SAME * sizes.min():
        return sform, [f"The header names two places that are up to {apart:.3g} mm apart, the sform and the qform; the sform was taken, and both are kept."]
    axes = sform[:3, :3] / sizes
    sheared = np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR
    return (qform if sheared else sform), []


def _product(numbers: np.ndarray) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)

