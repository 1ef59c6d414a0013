"""The error to expect around each voxel of a result, from what can be seen without the truth.

Whether a single voxel is too bright or too dark is mostly chance; how large the errors around it are can be told.  What is expected is the
root of the mean square error under a Gaussian window of 1.5 voxels (of the result, along each axis).  Such a mean hardly differs within a voxel of
the scan, so it is told on the scan's grid (:mod:`superres3d.trust.traces`) by a small network (:mod:`superres3d.trust.head`), and interpolated to the
result's.  It was trained on training scans and chosen on validation scans: ``models/error-map``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine.memory import kept_heap, usable_cores
from ..resampling.threads import in_parts
from .head import Head, tensor_of
from .traces import cells_of, traces
from .window import regridded_chunks

SIGMA = 1.5  # voxels of the result
_RADIUS = 5
_TAPS = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / SIGMA) ** 2)
_TAPS = (_TAPS / _TAPS.sum()).astype(np.float32)


@dataclass(frozen=True)
class Transfer:
    """From a scan made coarser to its own result, fitted on scans whose truth is known.

    Attributes:
        start, slope: the logarithm of the growth is ``start + slope`` times that found on the coarser scan.
        even: share of the expected error's root mean square that is added to the floor: errors are never as uneven as expected.
        fall: so many times the scan's own is added to it; see :mod:`superres3d.trust.fall`.
    """

    start: float
    slope: float
    even: float
    fall: float


@dataclass(frozen=True)
class Bound:
    """How far calibrated errors were off on scans whose truth is known, the calibration fitted on scans of other sources.

    Attributes:
        fall: of scans from this on, up to the next.
        middle: times the map, in the middle of those scans it was above the local error for 90 % of the voxels inside the body.
        middle_held: the shares of the voxels for which it was, on nine of ten scans (least, largest).
        most: times the map, on 19 of 20 scans it was so for 90 % or more.
        most_held: as ``middle_held``.
    """

    fall: float
    middle: float
    middle_held: tuple[float, float]
    most: float
    most_held: tuple[float, float]


def transfer_of(modality: str, factor: int, across_alone: bool) -> Transfer:
    """How a calibration carries over.

    Args:
        modality: "CT" or "MR".
        factor: the largest that was asked for, 2 or 4.
        across_alone: slices alone are refined.

    Raises:
        ModelError: the model is missing or damaged.
    """
    return Transfer(*_tensor(f"{modality.lower()}.transfer.{factor}.{'across' if across_alone else 'within'}"))


def bound_of(fall: float) -> Bound:
    """For a scan (ModelError: the model is missing or damaged); softer ones than were met count as the softest."""
    rows = sorted(zip(*[iter(_tensor("bounds"))] * 7))
    found = [row for row in rows if row[0] <= fall] or rows[:1]
    start, middle, low, high, most, least, largest = found[-1]
    return Bound(start, middle, (low, high), most, (least, largest))


def _tensor(name: str) -> list[float]:
    return [float(value) for value in tensor_of(name).ravel()]


def windowed(squares: np.ndarray) -> np.ndarray:
    """Mean of (k, j, i) float32 under the Gaussian window; edges repeated."""
    for axis in (0, 1, 2):
        given = np.pad(squares, [(_RADIUS, _RADIUS) if a == axis else (0, 0) for a in range(3)], mode="edge")
        shifted = [given[(slice(None),) * axis + (slice(start, start + squares.shape[axis]),)] for start in range(2 * _RADIUS + 1)]
        squares = shifted[_RADIUS] * _TAPS[_RADIUS]
        for reach in range(1, _RADIUS + 1):
            squares += (shifted[_RADIUS - reach] + shifted[_RADIUS + reach]) * _TAPS[_RADIUS - reach]
    return squares


def local_error(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """What the map is to tell, where the truth is known: root of the mean square error under the window.

    Args:
        result, truth: (k, j, i), of one shape.
    """
    return np.sqrt(windowed(np.square(result.astype(np.float32) - truth)))


def rough(scan: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The scan minus the mean of its neighbours along some axes, float32; at a border the voxel itself stands in for the one beyond."""
    scan = scan.astype(np.float32)
    total = np.zeros(scan.shape, np.float32)
    for axis in axes:
        padded = np.pad(scan, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        for start in (0, 2):
            total += padded[(slice(None),) * axis + (slice(start, start + scan.shape[axis]),)]
    return scan - total / np.float32(2 * len(axes)) if axes else total


def expected_error(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, head: Head) -> np.ndarray:
    """The error to expect, before the scan itself has been asked.

    Args:
        scan: (k, j, i), any real dtype.
        result: finer, over the same extent.
        spread: of the result's shape; see :class:`superres3d.upscaling.Result`.
        head: see :func:`superres3d.trust.head.head_of`.

    Returns:
        (k, j, i) float32, of the result's shape, in the scan's units.
    """
    cells = cells_of(scan.shape, result.shape)
    coarse = np.empty([-(-n // cell) for n, cell in zip(scan.shape, cells)], np.float32)
    expected, factors = np.empty(result.shape, np.float32), tuple(fine / count for fine, count in zip(result.shape, scan.shape))
    whole = [count * cell if cell > 1 else n for n, count, cell in zip(result.shape, coarse.shape, cells)]

    def tell(begin: int, end: int) -> None:
        for trace in traces(scan, result, spread, begin, end):
            coarse[trace.place] = head.expected(trace, factors)

    def fill(begin: int, end: int) -> None:
        for first, errors in regridded_chunks("linear", coarse, whole, begin, end):
            expected[first : first + len(errors)] = errors[:, : result.shape[1], : result.shape[2]]

    with kept_heap():
        in_parts(tell, len(coarse), usable_cores())
        in_parts(fill, len(result), usable_cores())
    return expected
