"""What errors leave to see, on about the scan's grid.

Squares, each under a narrow window and a wide one, over that of what the networks add and of how rough the scan is:
in other units, and however bright the scan is, they are the same.  They depend on a few voxels around each alone, so a
part of a scan shows what the whole shows there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..resampling.degradation import interval_means
from ..resampling.regridding import apply_along
from .window import part, planes, repeated

#: of :attr:`Trace.logarithms`: correction: the result minus Lanczos, offset: the mean of it over a voxel of the scan, spread: of the turned copies, rough: the scan minus
#: the mean of its neighbours, slope: half the difference of those; along the axes that are refined, or the others
NAMES = ("correction", "offset", "spread", "spread wide", "rough", "rough wide", "slope wide", "rough other", "rough other wide", "slope other wide")
_REACH = 3  # cells, either side: 1, 2, 1 along each axis, then a mean of five
_PIXELS = 1 << 16
_LEAST = np.float32(1e-6)
_ROUNDED = 1e-6  # of a scan's largest value: what an interpolation of equal values is off
_NARROW_SHARE, _WIDE_SHARE = np.float32(1 / 4**3), np.float32(1 / 5**3)


@dataclass(frozen=True)
class Trace:
    """Of some rows of a slice of cells, so few that they stay in the processor's cache.

    Attributes:
        place: of them among the cells.
        level: (rows, columns) float32: the variance to which the others stand in proportion.
        logarithms: by name, of that shape; what there is not (a spread, axes that are not refined) is not among them.
    """

    place: tuple[int, slice]
    level: np.ndarray
    logarithms: dict[str, np.ndarray]


def cells_of(scan: Sequence[int], result: Sequence[int]) -> tuple[int, ...]:
    """Voxels of the scan a cell, along (k, j, i); arguments: the shapes.  Along an axis that is not refined errors differ as little between two voxels as within one along another."""
    return tuple(2 if fine == count else 1 for fine, count in zip(result, scan))


def traces(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, begin: int, end: int) -> Iterator[Trace]:
    """One slice of cells after the other; arguments as :func:`superres3d.trust.expected.expected_error`, and which: from ``begin`` to ``end`` (not included)."""
    cells = cells_of(scan.shape, result.shape)
    length, height, width = (-(-n // cell) for n, cell in zip(scan.shape, cells))
    first, last = max(0, begin - _REACH), min(length, end + _REACH)
    slices = first * cells[0], min(len(scan), last * cells[0])
    found = ({**pooled, **differences} for pooled, differences in zip(_pooled(scan, result, spread, *slices), _differences(scan, result.shape, *slices)))
    each = max(2 * _REACH, _PIXELS // width)
    least = np.float32((_ROUNDED * max(abs(float(scan.min())), abs(float(scan.max())))) ** 2)
    bands = [_Band(slice(top, min(top + each, height)), height) for top in range(0, height, each)]
    for number, squares in enumerate(repeated(_in_cells(found, cells), first - begin + _REACH, end + _REACH - last), begin - 2 * _REACH):
        for band in bands:
            windowed = band.after(squares)
            if number >= begin:
                yield _trace((number, band.rows), windowed, least)


def _in_cells(found: Iterator[dict[str, np.ndarray]], cells: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
    """Means over two voxels where a cell has two, slice after slice; the last voxel of an odd number is a cell of its own."""
    for squares in found:
        if cells[0] == 2 and (more := next(found, None)):
            for name, square in more.items():
                squares[name] = (squares[name] + square) * np.float32(0.5)
        yield {name: _pairs(_pairs(square, 0, cells[1]), 1, cells[2]) for name, square in squares.items()}


def _pairs(square: np.ndarray, axis: int, cell: int) -> np.ndarray:
    if cell == 1:
        return square
    if square.shape[axis] % 2:
        square = np.pad(square, [(0, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    even, odd = ((slice(None),) * axis + (slice(start, None, 2),) for start in (0, 1))
    return (square[even] + square[odd]) * np.float32(0.5)


class _Band:
    """Some rows of slice after slice under the windows.

    Args:
        rows: which.
        height: of a slice.
    """

    def __init__(self, rows: slice, height: int):
        self.rows = rows
        self._read = slice(max(0, rows.start - _REACH), min(height, rows.stop + _REACH))
        self._edges = (self._read.start - rows.start + _REACH, rows.stop + _REACH - self._read.stop), (_REACH, _REACH)
        self._windows: dict[str, _Window] = {}

    def after(self, squares: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """See :meth:`_Window.after`; given a slice more."""
        found: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        for name, square in squares.items():
            found[name] = self._windows.setdefault(name, _Window()).after(np.pad(square[self._read], self._edges, mode="edge"), f"{name} wide" in NAMES)
        return found


class _Window:
    """Of a square, slice after slice."""

    def __init__(self) -> None:
        self._narrow: deque[np.ndarray] = deque(maxlen=5)
        self._kept: list[deque[np.ndarray]] = [deque(maxlen=apart) for apart in (1, 1, 1, 2)]
        self._last: deque[np.ndarray] = deque(maxlen=5)

    def after(self, padded: np.ndarray, wide: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Sums under the narrow window and the wide one around the slice three before the latest; before there were so many, nothing that is of use."""
        for axis in (0, 0, 1, 1):
            padded = _apart(padded, axis, 1)
        self._narrow.append(padded[2:-2, 2:-2])
        narrow = self._narrow[min(1, len(self._narrow) - 1)] * np.float32(2)
        narrow += self._narrow[0]
        narrow += self._narrow[min(2, len(self._narrow) - 1)]
        if not wide:
            return narrow, None
        sums = _five(_five(padded, 0), 1)
        for number, kept in enumerate(self._kept):  # two of them, 1 2 1, then two of those, then four
            if number == 2:
                self._last.append(sums)
            total = sums + kept[0] if kept else sums
            kept.append(sums)
            sums = total
        return narrow, sums + self._last[0]


def _pooled(scan: np.ndarray, result: np.ndarray, spread: np.ndarray | None, begin: int, end: int) -> Iterator[dict[str, np.ndarray]]:
    """Means over the voxels of each of the scan's slices of squares on the result's grid."""
    shares = interval_means(len(result), len(scan))[begin:end]
    first, last = (int(number) for number in np.flatnonzero(shares.any(axis=0))[[0, -1]])
    sums: deque[dict[str, np.ndarray]] = deque()
    done = begin
    for plane in planes(scan, result.shape, first, last + 1):
        added = result[plane.number] - plane.lanczos
        found = {"correction": _mean(np.square(added), scan.shape), "offset": _mean(added, scan.shape)}
        if spread is not None:
            found["spread"] = _mean(np.square(spread[plane.number]), scan.shape)
        for number in np.flatnonzero(shares[:, plane.number]) + begin:
            while len(sums) <= number - done:
                sums.append({name: np.zeros(scan.shape[1:], np.float32) for name in found})
            for name, mean in found.items():
                sums[number - done][name] += shares[number - begin, plane.number] * mean
        while sums and not shares[done - begin, plane.number + 1 :].any():
            made = sums.popleft()
            np.square(made["offset"], out=made["offset"])
            done += 1
            yield made


def _mean(fine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Over the pixels of the scan, of whose shape (k, j, i) the last two count."""
    for axis, count in enumerate(shape[1:]):
        each, more = divmod(fine.shape[axis], count)
        if more:
            fine = apply_along(fine, axis, interval_means(fine.shape[axis], count))
        elif each > 1:
            parts = [fine[(slice(None),) * axis + (slice(number, None, each),)] for number in range(each)]
            fine = sum(parts[1:], start=parts[0]) * np.float32(1 / each)
    return fine.astype(np.float32, copy=False)


def _differences(scan: np.ndarray, shape: Sequence[int], begin: int, end: int) -> Iterator[dict[str, np.ndarray]]:
    """Squares of roughness and slope of slice after slice, along the axes that are refined, and along the others; ``shape`` of the result."""
    refined = [axis for axis in range(3) if shape[axis] > scan.shape[axis]]
    parts = [(name, axes) for name, axes in (("", refined), (" other", [axis for axis in range(3) if axis not in refined])) if axes]
    before = scan[max(0, begin - 1)].astype(np.float32)
    here = scan[begin].astype(np.float32)
    for number in range(begin, end):
        after = scan[min(number + 1, len(scan) - 1)].astype(np.float32)
        found: dict[str, np.ndarray] = {}
        for name, axes in parts:
            total, slope = np.zeros_like(here), np.zeros_like(here)
            for axis in axes:
                earlier, later = (before, after) if axis == 0 else _neighbours(here, axis - 1)
                total += earlier
                total += later
                slope += np.square(later - earlier)
            total *= np.float32(-0.5 / len(axes))
            total += here
            slope *= np.float32(0.25 / len(axes))
            found |= {f"rough{name}": np.square(total, out=total), f"slope{name}": slope}
        yield found
        before, here = here, after


def _neighbours(square: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each pixel along an axis, that before it and that after it; at an edge itself."""
    padded = np.pad(square, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    return part(padded, axis, 0, -2), part(padded, axis, 2, None)


def _trace(place: tuple[int, slice], windowed: Mapping[str, tuple[np.ndarray, np.ndarray | None]], least: np.float32) -> Trace:
    level = windowed["correction"][0] + windowed["rough"][0]
    level[level <= least / _NARROW_SHARE] = 0
    over = np.divide(np.float32(1), level, out=np.zeros_like(level), where=level > 0)
    logarithms = {}
    for name, (narrow, wide) in windowed.items():
        if name in NAMES:
            logarithms[name] = _logarithm(narrow, over)
        if wide is not None:
            wide *= _WIDE_SHARE
            logarithms[f"{name} wide"] = _logarithm(wide, over)
    level *= _NARROW_SHARE
    return Trace(place, level, logarithms)


def _logarithm(square: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Of a square over another, in place."""
    square *= over
    square += _LEAST
    return np.log(square, out=square)


def _five(square: np.ndarray, axis: int) -> np.ndarray:
    """Sums of five along an axis; two less at either end."""
    return part(_apart(_apart(square, axis, 1), axis, 2), axis, 0, -1) + part(square, axis, 4, None)


def _apart(square: np.ndarray, axis: int, count: int) -> np.ndarray:
    """Each and the one so many after it along an axis."""
    return part(square, axis, 0, -count) + part(square, axis, count, None)
