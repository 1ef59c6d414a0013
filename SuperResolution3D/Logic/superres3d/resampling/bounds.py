"""Bounds of a network's result: it stays near the voxels of the scan around it.

At an edge that no scanner makes (a mask, padding, a defaced region) a network invents spots that are twice as bright as anything
in the scan.  Real detail leaves the range of its neighbours, too: the sharper, the farther.  So a result may go beyond the least and
the largest of the 3 x 3 x 3 voxels around it by a share of their range; by a smaller one beside a region of one value, which is
where masks and padding are, and within two voxels of a thin or ragged one: a block of 2 x 2 x 2 that is the darkest around.
The shares were measured on validation scans (models/EXPERIMENTS.md): none loses 0.01 dB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from .threads import in_parts

Region = tuple[tuple[int, int], ...]  # (start, stop) along (k, j, i)

#: voxels of the scan, either side, that a bound depends on: whether a region of one value begins two voxels away, and is the darkest of those two around it
REACH = 4
FLAT_MARGIN = 0.05  # of the neighbours' range, beside a region of one value: less than Lanczos goes beyond them
_MARGIN_BY_FACTOR = 0.25
_TILE_BYTES, _TILE_SLICES, _LEAST_ROWS = 1 << 22, 32, 8


def margin_of(factors: Sequence[int | float]) -> float:
    """How far a result may go beyond its neighbours, in shares of their range: the more detail a method brings back, the farther."""
    return _MARGIN_BY_FACTOR * min(4.0, max(2.0, *factors))


def bounded_axes(factors: Sequence[int | float]) -> tuple[int, ...]:
    """The axes along which voxels are neighbours: slices are apart where nothing is made between them."""
    return (0, 1, 2) if factors[0] > 1 else (1, 2)


def near(region: Region, shape: Sequence[int]) -> Region:
    """What the bounds of a region of the scan depend on."""
    return tuple((max(0, a - REACH), min(n, b + REACH)) for (a, b), n in zip(region, shape))


def bounded(refined: np.ndarray, scan: np.ndarray, keep: Region, factors: Sequence[int | float], workers: int = 1) -> np.ndarray:
    """A result brought into its bounds, in place, a tile at a time.

    Args:
        refined: (k, j, i) float32: the refined ``keep``.
        scan: (k, j, i) float32, in the same units, :func:`near` the region or more.
        keep: the region in voxels of ``scan``.
        factors: along (k, j, i); one that is not whole along k alone.
        workers: threads.
    """
    tiles = _tiles(keep, scan.shape, scan.itemsize)
    places = sources(len(refined), keep[0], factors[0])

    def bound(begin: int, end: int) -> None:
        for tile in tiles[begin:end]:
            _bound_tile(refined, scan, keep, factors, tile, places)

    in_parts(bound, len(tiles), workers)
    return refined


def _tiles(keep: Region, shape: Sequence[int], item: int) -> list[Region]:
    """Slices and rows that fill the region, so few of them at once that what is found of them stays in the cache."""
    (first, last), (top, bottom), columns = keep
    slices = min(_TILE_SLICES, last - first)
    rows = max(_LEAST_ROWS, _TILE_BYTES // (item * shape[2] * (slices + 2 * REACH)) - 2 * REACH)
    return [((a, min(last, a + slices)), (b, min(bottom, b + rows)), columns) for a in range(first, last, slices) for b in range(top, bottom, rows)]


def _bound_tile(refined: np.ndarray, scan: np.ndarray, keep: Region, factors: Sequence[int | float], tile: Region, places: np.ndarray) -> None:
    around = near(tile, scan.shape)
    low, high = limits_of(scan[tuple(slice(*along) for along in around)], bounded_axes(factors), margin_of(factors))
    inside: Region = tuple((a - start, b - start) for (a, b), (start, _) in zip(tile[1:], around[1:]))
    rows = slice(*((row - keep[1][0]) * int(factors[1]) for row in tile[1]))
    for source in range(*tile[0]):
        limits = [_refined_slice(limit[source - around[0][0]], inside, factors[1:]) for limit in (low, high)]
        for place in np.flatnonzero(places == source):
            np.clip(refined[place, rows], *limits, out=refined[place, rows])


def sources(length: int, kept: tuple[int, int], factor: int | float) -> np.ndarray:
    """The scan's voxel in which each of ``length`` refined ones lies, along one axis."""
    return np.minimum(kept[0] + ((np.arange(length) + 0.5) / factor).astype(int), kept[1] - 1)


def limits_of(slab: np.ndarray, axes: Sequence[int], margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each voxel of a scan, between what a result there stays.

    Args:
        slab: (k, j, i) float32; the limits of a voxel depend on :data:`REACH` around it.
        axes: along which voxels are neighbours.
        margin: share of their range.
    """
    low, high = extreme(slab, axes, np.minimum), extreme(slab, axes, np.maximum)
    reach = high - low
    masked = blocks_of_one_value(slab, axes, np.zeros(slab.shape, bool))
    if not masked.any():
        reach *= np.float32(margin)
    else:
        masked &= slab == extreme(low, axes, np.minimum)
        beside = (extreme(extreme(reach, axes, np.minimum), axes, np.minimum) == 0) | extreme(extreme(masked, axes, np.maximum), axes, np.maximum)
        reach *= np.where(beside, np.float32(FLAT_MARGIN), np.float32(margin))
    return low - reach, high + reach


def blocks_of_one_value(slab: Any, axes: Sequence[int], found: Any) -> Any:
    """Voxels that lie in a block of two voxels along each of the axes, all of one value.

    Args:
        slab: (k, j, i), an array or a tensor.
        axes: of the blocks.
        found: the same, of booleans, all false; filled.
    """
    alike: Any = None
    for number, axis in enumerate(axes):
        later, earlier = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        same = (slab[later] == slab[earlier])[tuple(slice(0, -1) if a in axes[:number] else slice(None) for a in (0, 1, 2))]
        alike = same if alike is None else alike[later] & alike[earlier] & same
    for corner in product(*((0, 1) if axis in axes else (None,) for axis in (0, 1, 2))):
        found[tuple(slice(None) if start is None else slice(start, n - 1 + start) for start, n in zip(corner, slab.shape))] |= alike
    return found


def extreme(array: np.ndarray, axes: Sequence[int], function: Callable[..., np.ndarray]) -> np.ndarray:
    """Of each voxel and its neighbours either side along the axes, ``np.minimum`` or ``np.maximum``; beyond a border there are none."""
    for axis in axes:
        later, earlier = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        found = array.copy()
        function(found[later], array[earlier], out=found[later])
        function(found[earlier], array[later], out=found[earlier])
        array = found
    return array


def _refined_slice(limit: np.ndarray, keep: Region, factors: Sequence[int | float]) -> np.ndarray:
    (top, bottom), (left, right) = keep
    rows, columns = (int(factor) for factor in factors)
    return limit[top:bottom, left:right].repeat(rows, axis=0).repeat(columns, axis=1)
