"""Cutting a volume into blocks that give exactly the result of the whole.

A :class:`Stage` refines a region of a volume and says how far it looks (its halo).  A
chain of stages is run block by block: each block is cut with the halo that the whole chain
needs on its inner sides, and with the volume's own border elsewhere.  Nothing is blended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np

Region = tuple[tuple[int, int], ...]  # (start, stop) along (k, j, i)
Tick = Callable[[float], None]  # called with the finished share of a stage's work, 0 to 1


class Stage(Protocol):
    """Refines an array (k, j, i) by whole ``factors``."""

    name: str
    factors: tuple[int, int, int]
    halo: tuple[int, int, int]  # input voxels that an output voxel depends on, either side

    def cost(self, shape: Sequence[int]) -> float:
        """Multiply-accumulates for an input of this shape."""
        ...

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        """Refine ``array``; return the refined ``keep`` (a region in input voxels)."""
        ...


@dataclass(frozen=True)
class StageRegion:
    """What one stage reads and gives, in its own input voxels."""

    needed: Region
    kept: Region


def stage_regions(stages: Sequence[Stage], shape: Sequence[int], inner: Region) -> list[StageRegion]:
    """What each stage of a chain must read so that ``inner`` comes out refined by all.

    Args:
        stages: in order of application.
        shape: of the whole input volume.
        inner: region of the input volume.
    """
    scale = [1, 1, 1]
    scales = []
    for stage in stages:
        scales.append(tuple(scale))
        scale = [s * f for s, f in zip(scale, stage.factors)]
    regions: list[StageRegion] = []
    wanted: Region = tuple((a * s, b * s) for (a, b), s in zip(inner, scale))
    for stage, scale_in in zip(reversed(stages), reversed(scales)):
        kept = tuple((a // f, -(-b // f)) for (a, b), f in zip(wanted, stage.factors))
        needed = []
        for axis, (a, b) in enumerate(kept):
            # Rounded outwards to whole voxels of the input volume, so that the stage before fits.
            unit, length = scale_in[axis], shape[axis] * scale_in[axis]
            start = (a - stage.halo[axis]) // unit * unit
            stop = -(-(b + stage.halo[axis]) // unit) * unit
            needed.append((max(0, start), min(length, stop)))
        regions.append(StageRegion(tuple(needed), kept))
        wanted = tuple(needed)
    return regions[::-1]


def run_chain(stages: Sequence[Stage], array: np.ndarray, regions: Sequence[StageRegion], tick: Callable[[int, float], None]) -> np.ndarray:
    """Run a chain on one block.

    Args:
        stages: in order of application.
        array: the first stage's ``needed`` region of the volume.
        regions: from :func:`stage_regions`.
        tick: called with (stage number, finished share).
    """
    for number, (stage, region) in enumerate(zip(stages, regions)):
        offset = [start for start, _ in region.needed]
        keep = tuple((a - o, b - o) for (a, b), o in zip(region.kept, offset))
        array = stage(array, keep, lambda share, number=number: tick(number, share))
    return array


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


def cut(array: np.ndarray, region: Region) -> np.ndarray:
    """A view of ``array`` on ``region``."""
    return array[tuple(slice(a, b) for a, b in region)]


def within(inner: Region, window: Region) -> Region:
    """A region's place in a window around it."""
    return tuple((a - start, b - start) for (a, b), (start, _) in zip(inner, window))


def scaled(region: Region, factors: Sequence[int]) -> Region:
    """The same region on a grid finer by ``factors``."""
    return tuple((a * f, b * f) for (a, b), f in zip(region, factors))


def choose_block(stages: Sequence[Stage], shape: Sequence[int], budget: int) -> tuple[int, ...]:
    """The largest block whose working set stays within ``budget`` bytes.

    The depth stays whole as long as possible: a cut there costs the most repeated work.
    """
    block = list(shape)
    while working_bytes(stages, shape, block) > budget and max(block) > 8:
        rows_columns = [axis for axis in (1, 2) if block[axis] > 32] or [axis for axis in (0, 1, 2) if block[axis] > 8]
        longest = max(rows_columns, key=lambda axis: block[axis])
        block[longest] = -(-block[longest] // 2)
    return tuple(block)


def working_bytes(stages: Sequence[Stage], shape: Sequence[int], block: Sequence[int]) -> int:
    """Bytes of the float32 arrays that one block keeps alive at once."""
    middle = tuple((length // 2 - size // 2, length // 2 - size // 2 + size) for length, size in zip(shape, block))
    total = 0
    for stage, region in zip(stages, stage_regions(stages, shape, middle)):
        voxels = int(np.prod(extent(region.needed)))
        refined = int(np.prod([n * f for n, f in zip(extent(region.kept), stage.factors)]))
        total = max(total, 4 * (2 * voxels + 3 * refined))
    return total
