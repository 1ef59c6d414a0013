"""A right-angled grid for the slices of a tilted gantry, and an even one for slices at uneven distances."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...resampling.interpolation import cubic_kernel


def untilted(voxels: np.ndarray, shifts: np.ndarray, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Move each slice to where it lies, by cubic interpolation (Keys, a = -0.5), onto a grid that holds all of every slice.

    Args:
        voxels: (k, j, i).
        shifts: (k, 2), pixels along (i, j) by which each slice lies beside the first.
        fill: the value of what no slice covers.

    Returns:
        (voxels (k, j', i') of the same dtype; (2,), pixels along (i, j) by which the new grid begins beside the first slice).
    """
    start = shifts.min(axis=0)
    more = np.ceil(np.ptp(shifts, axis=0) - 1e-6).astype(int)
    columns, rows = np.array(voxels.shape[:0:-1]) + more
    result = np.empty((len(voxels), rows, columns), dtype=voxels.dtype)
    for index, slice_ in enumerate(voxels):
        offset_i, offset_j = start - shifts[index]
        moved = _moved(_moved(slice_.astype(np.float64), offset_j, rows, 0), offset_i, columns, 1)
        covered = np.outer(_covered(slice_.shape[0], offset_j, rows), _covered(slice_.shape[1], offset_i, columns))
        result[index] = _as(np.where(covered, moved, fill), voxels.dtype)
    return result, start


def evened(voxels: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """``count`` slices at even distances from the first to the last, by linear interpolation between the two that are nearest.

    Args:
        voxels: (k, j, i).
        places: (k,), increasing; where the slices lie.
        count: of slices of the result.

    Returns:
        (count, j, i) of the same dtype.
    """
    wanted = np.linspace(places[0], places[-1], count)
    below = np.clip(np.searchsorted(places, wanted, side="right") - 1, 0, len(places) - 2)
    share = (wanted - places[below]) / (places[below + 1] - places[below])
    result = np.empty((count, *voxels.shape[1:]), dtype=voxels.dtype)
    for index, (low, weight) in enumerate(zip(below, share)):
        result[index] = _as(voxels[low] * (1 - weight) + voxels[low + 1] * weight, voxels.dtype)
    return result


def _moved(slice_: np.ndarray, offset: float, count: int, axis: int) -> np.ndarray:
    """``count`` samples along an axis, at ``offset``, ``offset`` + 1 ...; beyond its border the slice goes on with its edge value."""
    whole = int(np.floor(offset))
    taps = _taps(np.arange(count) + whole, slice_.shape[axis])
    weights = cubic_kernel(np.arange(-1, 3) - (offset - whole))
    moved: np.ndarray = sum(weight * np.take(slice_, tap, axis=axis) for weight, tap in zip(weights, taps) if weight)
    return moved


def _taps(base: np.ndarray, length: int) -> Iterator[np.ndarray]:
    return (np.clip(base + tap, 0, length - 1) for tap in range(-1, 3))


def _covered(length: int, offset: float, count: int) -> np.ndarray:
    """Which of the samples lie within the slice, from the edge of its first pixel to that of its last."""
    at = np.arange(count) + offset
    return (at >= -0.5 - 1e-6) & (at < length - 0.5 - 1e-6)


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
