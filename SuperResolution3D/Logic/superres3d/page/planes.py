"""Planes of a volume as a radiologist looks at them, with square pixels, all of them of the same place in the patient.

>>> import numpy as np
>>> from superres3d.scan.volume import Volume
>>> plane_of(Volume(np.arange(27).reshape(3, 3, 3)), "axial", (1, 1, 2)).pixels[0].tolist()
[18, 19, 20]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..resampling.interpolation import sampling_matrix
from ..scan.volume import Volume

#: name -> patient's axes (0: to the left, 1: to the back, 2: to the head) of the rows and of the columns, and whether they run against them
PLANES = {"axial": ((1, False), (0, False)), "coronal": ((2, True), (0, False)), "sagittal": ((2, True), (1, False))}
ENDS = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # at the left, right, top and bottom of the picture


@dataclass(frozen=True)
class Plane:
    """A plane of a volume.

    Attributes:
        pixels: (rows, columns).
        size: millimetres of the whole plane, (rows, columns).
        number: of the slice along the volume's own axis, from 0.
        axis: that axis, "i", "j" or "k".
    """

    pixels: np.ndarray
    size: tuple[float, float]
    number: int
    axis: str


def centre_of(volume: Volume, body: np.ndarray) -> np.ndarray:
    """LPS millimetres of the middle of a body; ``body`` is bool, as the voxels (k, j, i)."""
    index = [float(np.average(np.arange(n), weights=body.sum(axis=tuple(other for other in range(3) if other != axis)))) for axis, n in enumerate(body.shape)]
    return volume.position(index[::-1])


def plane_of(volume: Volume, plane: str, place: Sequence[float] | np.ndarray) -> Plane:
    """The voxels of a plane, in the patient's usual posture: seen from the feet, from the front or from the patient's left.

    A tilted scan is not resampled: the slices nearest to the plane are shown.

    Args:
        volume: of any direction.
        plane: a key of :data:`PLANES`.
        place: LPS millimetres through which it goes; outside the volume its first or last slice is taken.
    """
    along = _index_axes(volume)
    (row, upside_down), (column, backwards) = PLANES[plane]
    normal = 3 - row - column
    number = _number(volume, along[normal], place)
    pixels = np.take(volume.voxels, number, axis=2 - along[normal])
    if along[row] < along[column]:  # arrays are (k, j, i): what remains is in falling order of the index axes
        pixels = pixels.T
    turned = [(volume.direction[axis, along[axis]] < 0) != against for axis, against in ((row, upside_down), (column, backwards))]
    size = tuple(volume.spacing[along[axis]] * volume.voxels.shape[2 - along[axis]] for axis in (row, column))
    return Plane(pixels[:: -1 if turned[0] else 1, :: -1 if turned[1] else 1], (size[0], size[1]), number, "ijk"[along[normal]])


def lanczos_plane(scan: Volume, result: Volume, plane: str, place: Sequence[float] | np.ndarray) -> Plane:
    """The plane of a Lanczos interpolation of the scan to the result's grid; nothing else of it is computed.

    Args:
        scan, result: of one field of view.
        plane, place: as :func:`plane_of` takes them.
    """
    column = next(axis for axis in range(3) if axis not in (PLANES[plane][0][0], PLANES[plane][1][0]))
    normal = 2 - _index_axes(result)[column]
    counts = result.voxels.shape
    number = _number(result, 2 - normal, place)
    thin = _line(scan.voxels, normal, counts[normal], number)
    for axis in range(3):
        if axis != normal and counts[axis] > thin.shape[axis]:
            thin = np.moveaxis(np.tensordot(sampling_matrix(thin.shape[axis], counts[axis], "lanczos").astype(np.float32), thin, axes=(1, axis)), 0, axis)
        elif counts[axis] < thin.shape[axis]:
            thin = np.take(thin, ((np.arange(counts[axis]) + 0.5) * thin.shape[axis] / counts[axis]).astype(int), axis=axis)
    index = [0.0, 0.0, 0.0]
    index[2 - normal] = number
    sheet = replace(result, voxels=thin, origin=tuple(result.position(index)))
    return replace(plane_of(sheet, plane, place), number=number)


def _line(voxels: np.ndarray, axis: int, count: int, number: int) -> np.ndarray:
    """One slice of ``count`` along an axis that is interpolated, float32, the axis kept."""
    length = voxels.shape[axis]
    if count <= length:
        return np.take(voxels, [int((number + 0.5) * length / count)], axis=axis).astype(np.float32)
    weights = sampling_matrix(length, count, "lanczos")[number]
    used = np.flatnonzero(weights)
    return np.tensordot(weights[used].astype(np.float32), np.take(voxels, used, axis=axis).astype(np.float32), axes=(0, axis))[(slice(None),) * axis + (None,)]


def _index_axes(volume: Volume) -> list[int]:
    """For each patient's axis (left, back, head) the index axis (0 = i) that lies nearest to it, each taken once."""
    cosines, axes = np.abs(volume.direction).copy(), [0, 0, 0]
    for _ in range(3):
        patient, index = np.unravel_index(int(np.argmax(cosines)), (3, 3))
        axes[int(patient)] = int(index)
        cosines[patient, :] = cosines[:, index] = -1.0
    return axes


def _number(volume: Volume, index_axis: int, place: Sequence[float] | np.ndarray) -> int:
    offset = volume.direction[:, index_axis] @ (np.asarray(place, float) - np.asarray(volume.origin))
    return int(np.clip(round(float(offset) / volume.spacing[index_axis]), 0, volume.voxels.shape[2 - index_axis] - 1))
