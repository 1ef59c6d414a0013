"""Cutting a volume into blocks that give exactly the result of the whole.

A :class:`Stage` refines a region of a volume and says how far it looks (its halo).  A
chain of stages is run block by block: each block is cut with the halo that the whole chain
needs on its inner sides, and with the volume's own border elsewhere.  Nothing is blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from types import EllipsisType
from typing import Protocol

import numpy as np

Region = tuple[tuple[int, int], ...]  # (start, stop) along (k, j, i)
Tick = Callable[[float], None]  # called with the finished share of a stage's work, 0 to 1
WHOLE = 1 << 40  # as a halo: the stage takes that axis in one piece


class Step(Protocol):
    """Brings an array (k, j, i) to a grid finer by ``factors``."""

    @property
    def name(self) -> str:
        """For progress and the report."""
        ...

    @property
    def factors(self) -> tuple[int | float, ...]:
        """Along (k, j, i)."""
        ...

    @property
    def halo(self) -> tuple[int, ...]:
        """Input voxels along (k, j, i) that an output voxel depends on, either side; or WHOLE."""
        ...

    def cost(self, shape: Sequence[int]) -> float:
        """Multiply-accumulates for an input of this shape."""
        ...


class Stage(Step, Protocol):
    """A step whose factors are whole ones but where it takes an axis in one piece."""

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        """Refine ``array``; return the refined ``keep`` (a region in input voxels)."""
        ...


@dataclass(frozen=True)
class StageRegion:
    """What one stage reads and gives, in its own input voxels."""

    needed: Region
    kept: Region


def stage_regions(stages: Sequence[Step], shape: Sequence[int], inner: Region) -> list[StageRegion]:
    """What each stage of a chain must read so that ``inner`` comes out refined by all.

    Args:
        stages: in order of application.
        shape: of the whole input volume.
        inner: region of the input volume.
    """
    shapes = [tuple(shape)]
    for stage in stages:
        shapes.append(tuple(round(n * f) for n, f in zip(shapes[-1], stage.factors)))
    regions: list[StageRegion] = []
    wanted = on_grid(inner, shape, shapes[-1])
    for stage, lengths in zip(reversed(stages), reversed(shapes[:-1])):
        axes = [_axis_region(*axis) for axis in zip(wanted, stage.factors, stage.halo, lengths, shape)]
        regions.append(StageRegion(tuple(needed for needed, _ in axes), tuple(kept for _, kept in axes)))
        wanted = regions[-1].needed
    return regions[::-1]


def _axis_region(wanted: tuple[int, int], factor: int | float, halo: int, length: int, input_length: int) -> Region:
    """What a stage needs and what it gives along an axis of ``length`` voxels, refined from ``input_length`` ones of the volume."""
    if halo >= WHOLE:
        return (0, length), (0, length)
    first, last = int(wanted[0] // factor), min(length, int(-(-wanted[1] // factor)))
    # Rounded outwards to whole voxels of the input volume, so that the stage before fits.
    unit = length // input_length
    return (max(0, (first - halo) // unit * unit), min(length, -(-(last + halo) // unit) * unit)), (first, last)


def blocks(shape: Sequence[int], block: Sequence[int]) -> Iterator[Region]:
    """Regions of at most ``block`` voxels an axis that cover ``shape`` once, evenly sized."""
    cuts = []
    for length, size in zip(shape, block):
        count = -(-length // min(size, length))
        edges = np.linspace(0, length, count + 1).round().astype(int).tolist()
        cuts.append(list(zip(edges, edges[1:])))
    yield from product(*cuts)


def extent(region: Region) -> tuple[int, ...]:
    """Lengths of a region."""
    return tuple(b - a for a, b in region)


def whole(shape: Sequence[int]) -> Region:
    """The region that is all of an array."""
    return tuple((0, n) for n in shape)


def cut(array: np.ndarray, region: Region) -> np.ndarray:
    """A view of ``array`` (..., k, j, i) on ``region``, which tells of its last axes, however many."""
    place: tuple[EllipsisType | slice, ...] = (..., *(slice(a, b) for a, b in region))
    return array[place]


def within(inner: Region, window: Region) -> Region:
    """A region's place in a window around it."""
    return tuple((a - start, b - start) for (a, b), (start, _) in zip(inner, window))


def scaled(region: Region, factors: Sequence[int | float]) -> Region:
    """The same region on a grid finer by ``factors``."""
    return tuple((round(a * f), round(b * f)) for (a, b), f in zip(region, factors))


def on_grid(region: Region, shape: Sequence[int], other: Sequence[int]) -> Region:
    """The same region on another grid over the same extent, to whole voxels; neighbours stay neighbours.

    Args:
        region: in voxels of the grid of ``shape``.
        shape, other: of the two grids, (k, j, i).
    """
    return tuple(tuple((2 * edge * count + length) // (2 * length) for edge in edges) for edges, length, count in zip(region, shape, other))  # type: ignore[misc]  # of two numbers each


def around(region: Region, shape: Sequence[int], other: Sequence[int]) -> Region:
    """The smallest region of another grid over the same extent that covers a region; arguments as :func:`on_grid`."""
    return tuple((start * count // length, -(-stop * count // length)) for (start, stop), length, count in zip(region, shape, other))


def choose_block(stages: Sequence[Step], shape: Sequence[int], budget: int) -> tuple[int, ...]:
    """The largest block whose working set stays within ``budget`` bytes, as far as the stages let an axis be cut.

    The depth stays whole as long as possible: a cut there costs the most repeated work.
    """
    block = list(shape)
    divisible = [axis for axis in (0, 1, 2) if all(stage.halo[axis] < WHOLE for stage in stages)]
    while working_bytes(stages, shape, block) > budget:
        rows_columns = [axis for axis in divisible if axis and block[axis] > 32] or [axis for axis in divisible if block[axis] > 8]
        if not rows_columns:
            break
        longest = max(rows_columns, key=lambda axis: block[axis])
        block[longest] = -(-block[longest] // 2)
    return tuple(block)


def working_bytes(stages: Sequence[Step], shape: Sequence[int], block: Sequence[int]) -> int:
    """Bytes of the float32 arrays that one block keeps alive at once."""
    middle = tuple((length // 2 - size // 2, length // 2 - size // 2 + size) for length, size in zip(shape, block))
    total = 0
    for stage, region in zip(stages, stage_regions(stages, shape, middle)):
        refined = prod(extent(scaled(region.kept, stage.factors)))
        total = max(total, 4 * (2 * prod(extent(region.needed)) + 3 * refined))
    return total
