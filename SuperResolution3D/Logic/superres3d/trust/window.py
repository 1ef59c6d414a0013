"""The window of the error map and of careful, slice by slice.

Means of four, of two and of three voxels, one after the other along each axis: 1, 3, 5, 6, 5, 3, 1 parts of 24, a deviation of 1.47 voxels.  That is
close to the Gaussian of 1.5 voxels under which true errors are told, at a third of its cost.  Slices come and go one after the other, so that they stay
in the processor's cache; a chunk of slices of the finer grid has Lanczos beside it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import numpy as np

from ..engine.stages import Regridding
from ..resampling.bounds import sources

T = TypeVar("T")

REACH = 3
_CHUNK_BYTES = 1 << 23
_SHARE = np.float32(1 / 24**3)


@dataclass(frozen=True)
class Plane:
    """A slice of a finer grid.

    Attributes:
        number: of the slice.
        source: the scan's slice in which it lies.
        lanczos: the scan by Lanczos, (rows, columns) float32.
    """

    number: int
    source: int
    lanczos: np.ndarray


def planes(scan: np.ndarray, shape: Sequence[int], first: int, last: int) -> Iterator[Plane]:
    """Slices ``first`` to ``last`` (not included) of a finer grid.

    Args:
        scan: (k, j, i), any real dtype.
        shape: of the finer grid, over the same extent.
        first, last: see above.
    """
    places = sources(shape[0], (0, len(scan)), shape[0] / len(scan))
    for begin, lanczos in regridded_chunks("lanczos", scan, shape, first, last):
        for number, slice_ in enumerate(lanczos, begin):
            yield Plane(number, int(places[number]), slice_)


def regridded_chunks(kernel: str, scan: np.ndarray, shape: Sequence[int], first: int, last: int) -> Iterator[tuple[int, np.ndarray]]:
    """The scan interpolated, some slices of the finer grid at a time: the number of the first, and they (k, j, i) float32; arguments as :func:`planes`."""
    regrid = Regridding(kernel, scan.shape, shape)
    within = [tuple((0, n) for n in sizes[1:]) for sizes in (scan.shape, shape)]
    count = max(1, _CHUNK_BYTES // (4 * prod(shape[1:])))
    for begin in range(first, last, count):
        end = min(last, begin + count)
        step = len(scan) / shape[0]
        low, high = max(0, int(begin * step) - regrid.halo[0]), min(len(scan), int(np.ceil(end * step)) + regrid.halo[0])
        yield begin, regrid(scan[low:high], ((low, high), *within[0]), ((begin, end), *within[1]), lambda share: None)


def smoothed(squares: Iterable[np.ndarray], before: int, after: int) -> Iterator[np.ndarray]:
    """Slices under the window.

    Args:
        squares: (rows, columns) float32, one slice after the other.
        before, after: so many at either end are there for their neighbours' sake alone; where they are fewer than :data:`REACH` the volume ends, and its last slice is repeated.
    """
    across = _Across()
    for number, square in enumerate(repeated((_within(square) for square in squares), REACH - before, REACH - after)):
        mean = across.after(square)
        if number >= 2 * REACH:
            yield mean


def repeated(slices: Iterable[T], before: int, after: int) -> Iterator[T]:
    """The first and the last so many times more."""
    last = None
    for square in slices:
        if last is None:
            yield from [square] * before
        yield square
        last = square
    if last is not None:
        yield from [last] * after


def _within(square: np.ndarray) -> np.ndarray:
    """The sums of a slice along rows and columns; edges repeated."""
    for axis in (0, 1):
        edges = [(REACH, REACH) if a == axis else (0, 0) for a in (0, 1)]
        square = np.pad(square, edges, mode="edge")
        for apart in (1, 2, 1):
            square = part(square, axis, 0, -apart) + part(square, axis, apart, None)
        whole = part(square, axis, 0, -2) + part(square, axis, 1, -1)
        whole += part(square, axis, 2, None)
        square = whole
    return square


def part(array: np.ndarray, axis: int, start: int, stop: int | None) -> np.ndarray:
    return array[start:stop] if axis == 0 else array[:, start:stop]


class _Across:
    """The same across the slices, as they come."""

    def __init__(self) -> None:
        self._kept: list[deque[np.ndarray]] = [deque(maxlen=1), deque(maxlen=2), deque(maxlen=1), deque(maxlen=2)]

    def after(self, square: np.ndarray) -> np.ndarray:
        """The mean in the middle of the last seven slices; before there were so many, nothing that is of use."""
        for kept in self._kept[:3]:
            total = square + kept[0] if kept else square
            kept.append(square)
            square = total
        threes = self._kept[3]
        total = square * _SHARE
        for earlier in threes:
            total += earlier * _SHARE
        threes.append(square)
        return total


def on_rows(fine: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A slice of a finer grid, and one of the scan, in shapes that fit each other without a copy of the first: each voxel meets that in which it lies.

    Args:
        fine: (rows, columns).
        values: the scan's, over the same extent.
    """
    (rows, columns), (height, width) = fine.shape, values.shape
    if columns % width == 0:
        values = values.repeat(columns // width, axis=1)
    elif columns != width:
        values = values[:, sources(columns, (0, width), columns / width)]
    if rows % height:
        return fine, values[sources(rows, (0, height), rows / height)]
    return fine.reshape(height, rows // height, columns), values[:, None, :]
