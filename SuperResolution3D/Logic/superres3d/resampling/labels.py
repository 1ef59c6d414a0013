"""A label map on a finer grid: smooth, label by label, with the topology of the original.

Each label is turned into its distance from its own border, cut off at a small depth (shape-based interpolation: Raya and Udupa,
IEEE TMI 9(1), 1990), which is interpolated by Lanczos.  A voxel takes the label whose distance is largest
(so there are no new labels), with two restrictions: at least half of what an original voxel becomes keeps its
label, and from the nearest neighbour only such voxels change as leave all pieces, holes and cavities as they were
(:mod:`.topology`): a vessel one voxel thick neither breaks nor vanishes.

>>> import numpy as np
>>> refine_labels(np.array([[[0, 7, 7]]]), (1, 1, 6), (1.0, 1.0, 1.0)).tolist()
[[[0, 0, 7, 7, 7, 7]]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil, prod

import numpy as np

from .degradation import interval_means
from .interpolation import KERNELS, sampling_matrix
from .regridding import apply_along
from .topology import OUTSIDE, flip_simple

_KERNEL = "lanczos"
_DEPTH = 1.0  # distances are cut off here, in voxels of the smallest edge
_REACH = 1  # voxels along an axis that such a distance and half an edge look at
_HALO = KERNELS[_KERNEL][1] + _REACH
_MARGIN = 2 * _HALO  # voxels around a part: what lies farther away does not reach it but by a chain of ties
_TIE = 1e-5  # depths that differ by less are equal: the label of the voxel stays
_BLOCK = 1 << 22  # voxels of a block of the result: about 150 MB
_Span = tuple[int, int]


def refine_labels(
    labels: np.ndarray, shape: Sequence[int], spacing: Sequence[float], tick: Callable[[float], None] | None = None, window: Sequence[_Span] | None = None
) -> np.ndarray:  # fmt: skip
    """A label map at ``shape`` places over the same extent.

    Args:
        labels: (k, j, i), integers, not changed.
        shape: of the result, (k, j, i); along no axis smaller than that of ``labels``, not necessarily a multiple.
        spacing: of ``labels``, (k, j, i), any unit.
        tick: called with the share that is done; what it raises ends the work.
        window: (start, stop) along (k, j, i) of the part of the result that is wanted; None: all of it. Near its border a voxel in a tie may come out another way
            than in the whole.

    Returns:
        Array of ``shape`` or of the window, dtype of ``labels``; memory beside it is that of a block.
    """
    nearest = [_nearest(length, count) for length, count in zip(labels.shape, shape)]
    matrices = [sampling_matrix(length, count, _KERNEL).astype(np.float32) for length, count in zip(labels.shape, shape)]
    if window is not None:
        given = [(max(0, places[start] - _MARGIN), min(n, places[stop - 1] + 1 + _MARGIN)) for places, (start, stop), n in zip(nearest, window, labels.shape)]
        made = [tuple(int(edge) for edge in np.searchsorted(places, span)) for places, span in zip(nearest, given)]
        labels = labels[_cut(given)]
        matrices = [matrix[slice(*rows), slice(*columns)] for matrix, rows, columns in zip(matrices, made, given)]
        nearest = [places[slice(*rows)] - start for places, rows, (start, _) in zip(nearest, made, given)]
        return _refined(labels, nearest, matrices, spacing, tick)[_cut([(a - first, b - first) for (a, b), (first, _) in zip(window, made)])]
    return _refined(labels, nearest, matrices, spacing, tick)


def _refined(labels: np.ndarray, nearest: list[np.ndarray], matrices: list[np.ndarray], spacing: Sequence[float], tick: Callable[[float], None] | None) -> np.ndarray:
    """Arguments as :func:`_refine_block` takes them."""
    shape = tuple(len(places) for places in nearest)
    result = labels[np.ix_(*nearest)]
    background = labels.dtype.type(0)
    blocks = list(_blocks(labels.shape, shape))
    for number, block in enumerate(blocks):
        _refine_block(labels, result, block, nearest, matrices, spacing, background)
        if tick:
            tick((number + 1) / len(blocks))
    return result


def coarser_labels(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A label map with fewer voxels over the same extent: each takes the label that fills most of it, of several the smallest.

    Args:
        labels: (k, j, i), integers, not changed.
        shape: (k, j, i); along an axis where it is not smaller the map stays.
    """
    matrices = {axis: interval_means(length, count) for axis, (length, count) in enumerate(zip(labels.shape, shape)) if count < length}
    kept = next((axis for axis in (0, 1, 2) if axis not in matrices), None)
    if not matrices or kept is None:
        return _filling_most(labels, matrices)
    count = max(1, _BLOCK * labels.shape[kept] // labels.size)
    pieces = np.split(labels, range(count, labels.shape[kept], count), axis=kept)
    return np.concatenate([_filling_most(piece, matrices) for piece in pieces], axis=kept)


def _filling_most(labels: np.ndarray, matrices: dict[int, np.ndarray]) -> np.ndarray:
    most: np.ndarray | None = None
    result = labels
    for label in np.unique(labels) if matrices else ():
        share = (labels == label).astype(np.float32)
        for axis, matrix in matrices.items():
            share = apply_along(share, axis, matrix)
        if most is None:
            most, result = share, np.full(share.shape, label, labels.dtype)
        larger = share > most + _TIE
        result[larger], most[larger] = label, share[larger]
    return result


def _nearest(length: int, count: int) -> np.ndarray:
    """Index of the voxel that a place lies in."""
    return (2 * np.arange(count) + 1) * length // (2 * count)


def _blocks(shape: Sequence[int], fine: Sequence[int]) -> Iterator[tuple[_Span, ...]]:
    """Regions of the label map whose results have at most about _BLOCK voxels."""
    edge = max(8, min(64, int((_BLOCK * prod(shape) / prod(fine)) ** (1 / 3))))
    yield from product(*([(start, min(start + edge, length)) for start in range(0, length, edge)] for length in shape))


def _refine_block(
    labels: np.ndarray, result: np.ndarray, block: tuple[_Span, ...], nearest: list[np.ndarray], matrices: list[np.ndarray],
    spacing: Sequence[float], background: np.generic,
) -> None:  # fmt: skip
    """Refine a region of the label map in ``result``, which holds the nearest neighbour there."""
    wide = [(max(0, start - _HALO), min(length, stop + _HALO)) for (start, stop), length in zip(block, labels.shape)]
    given = labels[_cut(wide)]
    if (given == given.flat[0]).all():
        return
    fine = [tuple(np.searchsorted(places, span)) for places, span in zip(nearest, block)]
    names, numbers = np.unique(given, return_inverse=True)
    numbers = numbers.reshape(given.shape).astype(np.int32)
    weights = [matrix[slice(*rows), slice(*columns)] for matrix, rows, columns in zip(matrices, fine, wide)]
    cells = [places[slice(*rows)] - start for places, rows, (start, _) in zip(nearest, fine, wide)]
    wanted = _wanted(numbers, len(names), cells, weights, spacing)
    around = [(max(0, start - 1), min(count, stop + 1)) for (start, stop), count in zip(fine, result.shape)]
    margins = [(1 - (start - first), 1 - (last - stop)) for (start, stop), (first, last) in zip(fine, around)]
    present = np.pad(_numbers_of(result[_cut(around)], names), margins, constant_values=OUTSIDE)
    zero = np.flatnonzero(names == background)
    rounds = 2 * max(ceil(count / length) for count, length in zip(result.shape, labels.shape))
    flip_simple(present, np.pad(wanted, 1), int(zero[0]) if len(zero) else OUTSIDE, rounds)
    result[_cut(fine)] = names[present[1:-1, 1:-1, 1:-1]]


def _numbers_of(values: np.ndarray, names: np.ndarray) -> np.ndarray:
    return np.searchsorted(names, values).astype(np.int32)


def _wanted(numbers: np.ndarray, count: int, cells: list[np.ndarray], weights: list[np.ndarray], spacing: Sequence[float]) -> np.ndarray:
    """Of each place of a block the label that is deepest there, int32.

    Args:
        numbers: labels 0 ... count - 1 of the block and what is around it.
        count: how many labels there are.
        cells: along (k, j, i), of each place of the block the voxel of ``numbers`` that it lies in.
        weights: along (k, j, i), matrix (places, voxels of ``numbers``) of the interpolation.
        spacing: (k, j, i).
    """
    own = numbers[np.ix_(*cells)]
    wanted, deepest, depth_of_own = own.copy(), np.full(own.shape, -np.inf, np.float32), np.zeros(own.shape, np.float32)
    for number, box in enumerate(_boxes(numbers, count)):
        rows = [slice(*np.searchsorted(places, (start - 1, stop + 1))) for places, (start, stop) in zip(cells, box)]
        if any(row.start == row.stop for row in rows):
            continue
        near = [(max(0, start - _HALO - 1), min(length, stop + _HALO + 1)) for (start, stop), length in zip(box, numbers.shape)]
        depth = _depth(numbers[_cut(near)] == number, spacing)
        for axis, (matrix, row, columns) in enumerate(zip(weights, rows, near)):
            depth = np.moveaxis(np.tensordot(matrix[row, slice(*columns)], depth, axes=(1, axis)), 0, axis)
        part = tuple(rows)
        deeper = depth > deepest[part]
        wanted[part][deeper] = number
        np.maximum(deepest[part], depth, out=deepest[part])
        np.copyto(depth_of_own[part], depth, where=own[part] == number)
    behind = deepest - depth_of_own
    np.copyto(wanted, own, where=behind <= _TIE)
    _keep_half(wanted, own, behind, cells)
    return wanted


def _boxes(numbers: np.ndarray, count: int) -> list[list[_Span]]:
    """Of each label the box that holds it, (start, stop) along (k, j, i)."""
    boxes: list[list[_Span]] = [[] for _ in range(count)]
    for axis in range(3):
        lines = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
        first, last = np.full(count, -1), np.zeros(count, int)
        for index, line in enumerate(lines):
            there = np.unique(line) if count > 256 else np.flatnonzero(np.bincount(line, minlength=count))
            first[there] = np.where(first[there] < 0, index, first[there])
            last[there] = index + 1
        for box, start, stop in zip(boxes, first, last):
            box.append((int(start), int(stop)))
    return boxes


def _depth(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance from the border in units of the smallest edge, positive inside, cut off at _DEPTH; float32.

    Distances are those between the centres of voxels, less half an edge.
    """
    edges = np.asarray(spacing, dtype=np.float64) / min(spacing)
    outer, inner = _distance(mask, edges), _distance(~mask, edges)
    return np.clip(np.where(mask, inner - 0.5, 0.5 - outer), -_DEPTH, _DEPTH).astype(np.float32)


def _distance(mask: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """To the nearest voxel of the mask, exact up to _DEPTH + 0.5; larger ones are too large (squares by lower envelopes along the axes)."""
    square = np.where(mask, np.float32(0), np.float32(1e6))
    for axis, edge in enumerate(edges):
        line = np.moveaxis(square, axis, 0)
        found = line.copy()
        for step in range(1, min(_REACH, len(line) - 1) + 1):
            cost = np.float32((step * edge) ** 2)
            np.minimum(found[step:], line[:-step] + cost, out=found[step:])
            np.minimum(found[:-step], line[step:] + cost, out=found[:-step])
        square = np.moveaxis(found, 0, axis)
    return np.sqrt(square)


def _keep_half(wanted: np.ndarray, own: np.ndarray, behind: np.ndarray, cells: list[np.ndarray]) -> None:
    """Give back to voxels of the original, in place, what they lost beyond half: the places where they are least ``behind``."""
    parts = [np.unique(places, return_inverse=True, return_counts=True)[1:] for places in cells]
    shape = [len(counts) for _, counts in parts]
    whole = np.ravel_multi_index(np.ix_(*(index for index, _ in parts)), shape)
    sizes = np.einsum("a,b,c->abc", *(counts for _, counts in parts)).ravel()
    kept = np.bincount(whole[wanted == own], minlength=len(sizes))
    short = 2 * kept < sizes
    if not short.any():
        return
    places = np.flatnonzero(short[whole])
    cell, order = whole.reshape(-1)[places], behind.reshape(-1)[places]
    ranked = np.lexsort((order, cell))
    cell, places = cell[ranked], places[ranked]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    back = places[2 * rank < sizes[cell]]
    wanted.reshape(-1)[back] = own.reshape(-1)[back]


def _cut(spans: Sequence[_Span]) -> tuple[slice, ...]:
    return tuple(slice(*span) for span in spans)
