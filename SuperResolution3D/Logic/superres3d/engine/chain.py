"""The one way from a scan to its result: a chain of stages over blocks, then one step to the wanted grid.

Networks work in units of their own: before and after them intensities are scaled, and what lies outside
their range is split off, interpolated and added back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from ..errors import ModelError, ResourceError
from ..resampling.bounds import bounded, near
from ..resampling.consistency import back_projected, grown, with_means_of
from ..resampling.interpolation import resize
from ..resampling.threads import in_parts
from ..scan.intensity import IntensityScale
from .memory import usable_cores
from .stages import Regridding
from .tiling import WHOLE, Region, Stage, StageRegion, Step, blocks, choose_block, cut, extent, on_grid, scaled, stage_regions, whole, within


@dataclass(frozen=True)
class Chain:
    """What is done to a scan (k, j, i), slices first.

    Attributes:
        stages: in order of application.
        intensities: of the scan, for stages in network units; None for stages that take it as it is.
        regridding: the last step, in the scan's own intensities; None where the stages give the wanted grid.
        back_projections: after the stages; see :mod:`superres3d.resampling.consistency`.
        keeps_means: after the stages; see :func:`superres3d.resampling.consistency.with_means_of`.
    """

    stages: Sequence[Stage]
    intensities: IntensityScale | None = None
    regridding: Regridding | None = None
    back_projections: int = 0
    keeps_means: bool = False

    @property
    def all_steps(self) -> list[Step]:
        """The last one included."""
        return [*self.stages, *([self.regridding] if self.regridding else [])]


@dataclass(frozen=True)
class Block:
    """A piece of the result, in voxels of the scan.

    Attributes:
        inner: the region that it is for.
        wanted: the region that is computed: as far around ``inner`` as back-projections look.
        regions: what each stage reads and gives.
    """

    inner: Region
    wanted: Region
    regions: list[StageRegion]


@dataclass(frozen=True)
class Window:
    """The part of a result that is kept.

    Attributes:
        shape: of the whole result, (k, j, i).
        region: of it.
    """

    shape: tuple[int, ...]
    region: Region

    def written(self, place: Region) -> Region:
        """What of a place is kept; an axis along which nothing is has no length."""
        return tuple((max(a, start), max(a, start, min(b, stop))) for (a, b), (start, stop) in zip(place, self.region))


def blocks_of(chain: Chain, shape: Sequence[int], budget: int, region: Region | None = None) -> list[Block]:
    """The blocks of a scan of this shape (k, j, i), or of a region of it, each with a working set of about ``budget`` bytes."""
    steps = chain.all_steps
    factors = _factors(steps)
    covered = whole(shape) if region is None else _in_one_piece(steps, shape, region)
    pieces = blocks(extent(covered), choose_block(steps, shape, budget))
    regions = [tuple((first + a, first + b) for (a, b), (first, _) in zip(piece, covered)) for piece in pieces]
    wanted = [grown(inner, shape, factors, chain.back_projections) for inner in regions]
    return [Block(inner, around, stage_regions(steps, shape, around)) for inner, around in zip(regions, wanted)]


def _in_one_piece(steps: Sequence[Step], shape: Sequence[int], region: Region) -> Region:
    """A region with all of those axes that a step takes in one piece."""
    return tuple((0, n) if any(step.halo[axis] >= WHOLE for step in steps) else span for axis, (n, span) in enumerate(zip(shape, region)))


def refine_block(
    chain: Chain, source: np.ndarray, block: Block, target: np.ndarray, tick: Callable[[int, float], None], spread: np.ndarray | None = None,
    window: Window | None = None,
) -> None:  # fmt: skip
    """Compute one block of the result.

    Args:
        chain: what is done.
        source: the whole scan (k, j, i) in its own dtype; only the block's surroundings are read.
        block: from :func:`blocks_of`.
        target: the whole result in the same dtype; only the block's ``inner`` is written.
        tick: called with (stage number, finished share).
        spread: float32, of the target's shape; the block's ``inner`` is filled with the standard deviation of the networks' members, in the scan's units.
        window: the part of the result that ``target`` and ``spread`` are; None: the whole.
    """
    window = window or Window(target.shape, whole(target.shape))
    place = on_grid(block.inner, source.shape, window.shape)
    kept = window.written(place)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked for
        variances = _Variances() if spread is not None else None
        values = _through_stages(chain, source, block, tick, variances)
        if spread is not None and variances:
            _write_spread(chain, variances, block, source.shape, spread, kept, window)
        if chain.regridding:
            values = chain.regridding(values, block.regions[-1].needed, place, partial(tick, len(chain.stages)))
        else:
            values = cut(values, scaled(within(block.inner, block.wanted), _factors(chain.stages)))
        floor = chain.intensities.floor if chain.intensities else None
        written, planes = cut(target, within(kept, window.region)), cut(values, within(kept, place))

        def finish(start: int, stop: int) -> None:
            for number in range(start, stop):  # one at a time: a rounded copy of all would be another block
                written[number] = finished(planes[number], target.dtype, floor)

        in_parts(finish, len(planes), usable_cores())


class _Variances:
    """Of the stages' members, added up on the way: what one stage is unsure of, the next hands on."""

    def __init__(self) -> None:
        self.total: np.ndarray | None = None

    def add(self, stage: Stage, region: StageRegion) -> None:
        """After a stage has given its ``kept``."""
        made = getattr(stage, "variance", None)
        handed_on = None if self.total is None else cut(self.total, within(region.kept, region.needed))
        if handed_on is not None:
            for axis, factor in enumerate(stage.factors):
                handed_on = handed_on.repeat(int(factor), axis=axis) if factor > 1 else handed_on
        self.total = handed_on if made is None else made if handed_on is None else made + handed_on


def _write_spread(chain: Chain, variances: _Variances, block: Block, shape: Sequence[int], spread: np.ndarray, place: Region, window: Window) -> None:
    """The nearest of the networks' grid on the wanted one."""
    target = cut(spread, within(place, window.region))
    if variances.total is None:
        target[...] = 0.0
        return
    factors = _factors(chain.stages)
    first = [kept[0] * factor for kept, factor in zip(block.wanted, factors)]
    if chain.regridding:
        first = [int(a // factor) * factor for (a, _), factor in zip(block.regions[-1].needed, factors)]
    scales = [n * factor / wanted for n, factor, wanted in zip(shape, factors, window.shape)]
    axes = [
        np.clip(((np.arange(*along) + 0.5) * scale).astype(int) - int(start), 0, n - 1)
        for along, scale, start, n in zip(place, scales, first, variances.total.shape)
    ]
    span = chain.intensities.span if chain.intensities else 1.0
    np.sqrt(variances.total[np.ix_(*axes)], out=target)
    target *= np.float32(span)


def _through_stages(
    chain: Chain, source: np.ndarray, block: Block, tick: Callable[[int, float], None], variances: _Variances | None = None
) -> np.ndarray:  # fmt: skip
    """The refined block in the scan's intensities, float32: what the last step reads, or the wanted region."""
    factors, needed = _factors(chain.stages), block.regions[0].needed
    covered = block.wanted
    if chain.regridding:
        covered = tuple((int(a // f), int(b // f)) for (a, b), f in zip(block.regions[-1].needed, factors))
    keep, given = within(covered, needed), cut(source, needed)
    inside, outside = chain.intensities.split(chain.intensities.normalise(given)) if chain.intensities else (given, None)
    refined = np.ascontiguousarray(inside)
    for number, (stage, region) in enumerate(zip(chain.stages, block.regions)):
        refined = stage(refined, within(region.kept, region.needed), partial(tick, number))
        if variances:
            variances.add(stage, region)
        if chain.intensities:
            check_finite(is_finite(refined))
    if chain.intensities:
        around = near(covered, source.shape)
        neighbours, _ = chain.intensities.split(chain.intensities.normalise(cut(source, around)))
        refined = bounded(refined, neighbours, within(covered, around), factors, usable_cores())
    if chain.keeps_means:
        refined = with_means_of(cut(inside, keep), refined)
    refined = back_projected(refined, cut(inside, keep), factors, chain.back_projections)
    if outside is not None:
        refined += cut(resize(outside, factors, "linear"), scaled(keep, factors))
    if not chain.intensities:
        return refined
    _restore(chain.intensities, refined)
    return refined


def _restore(intensities: IntensityScale, values: np.ndarray) -> None:
    """Network units (k, j, i) to the scan's, in place; nothing below their floor."""

    def restore(start: int, stop: int) -> None:
        for plane in values[start:stop]:
            intensities.restore(plane, out=plane)
            if intensities.floor is not None:
                np.maximum(plane, np.float32(intensities.floor), out=plane)

    in_parts(restore, len(values), usable_cores())


def is_finite(values: np.ndarray) -> bool:
    """Whether no value is NaN or infinite, without a copy."""
    return bool(np.isfinite([values.min(), values.max()]).all())


def check_finite(finite: bool) -> None:
    """ModelError if what a network gave is not: a layer's sums were too large for its numbers, or its weights are no good."""
    if not finite:
        raise ModelError("The network gave values that are no numbers; try --precision single or another method, and report it if that is one of this program's own.")


def finished(values: np.ndarray, dtype: np.dtype, floor: float | None = None) -> np.ndarray:
    """Values of any shape as they are stored.

    Args:
        values: float, in the scan's intensities.
        dtype: of the scan.
        floor: what they must not be below, or None.

    Raises:
        ResourceError: a value is too large for the type, or none at all.
    """
    if not is_finite(values):
        raise ResourceError("The result has values that are too large to be stored; divide the scan's values by a power of ten first.")
    return as_dtype(values if floor is None else np.maximum(values, values.dtype.type(floor)), dtype)


def as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values of any shape, rounded and clipped where the scan has integers (in float32, or float64 for 32-bit ones); float values as they are."""
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    if dtype.itemsize == 4:  # float32 cannot hold the limits of 32-bit integers
        values = values.astype(np.float64)
    return np.clip(np.rint(values), limits.min, limits.max)


def _factors(stages: Sequence[Step]) -> tuple[int | float, ...]:
    """Of a chain, along (k, j, i)."""
    return tuple(prod(stage.factors[axis] for stage in stages) for axis in (0, 1, 2))
