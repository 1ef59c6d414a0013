"""What networks have to compute for a part of a scan: the part, and as far around it as they look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ..networks.weights import Model, architecture_of
from .stages import SLICINGS, NetworkStage
from .tiling import Region, extent, stage_regions


def can_be_cut(model: Model) -> bool:
    """Whether a volumetric network gives a part alone: one that pools counts its voxels from the scan's first."""
    return architecture_of(model).survey.step == 1


def share_of_work(models: Mapping[str, Model], ensemble: str, shape: Sequence[int], region: Region, factors: tuple[int, ...] | None = None) -> float:
    """Of the arithmetic for the whole scan.

    Args:
        models: by stage, in the order in which they run; none: an interpolation.
        ensemble: a key of :data:`superres3d.engine.ensemble.MEMBERS`.
        shape: of the scan, slices first.
        region: of it.
        factors: the task of a model that has several.
    """
    if "volume" in models:
        if not can_be_cut(models["volume"]):
            return 1.0
        reach = architecture_of(models["volume"], factors).halo
        return prod(min(n, stop - start + 2 * far) for (start, stop), far, n in zip(region, reach, shape)) / prod(shape)
    if not models:
        return prod(extent(region)) / prod(shape)
    stages = [NetworkStage(None, model, name, ensemble) for name, model in models.items()]
    part = sum(_cost(stage, needed.needed, needed.kept) for stage, needed in zip(stages, stage_regions(stages, shape, region)))
    all_of_it = tuple((0, n) for n in shape)
    return part / sum(_cost(stage, needed.needed, needed.kept) for stage, needed in zip(stages, stage_regions(stages, shape, all_of_it)))


def _cost(stage: NetworkStage, needed: Region, kept: Region) -> float:
    """A slicing takes the kept slices, and each of them as far as it is needed."""
    shapes = ([kept[axis] if axis == order[0] else needed[axis] for axis in (0, 1, 2)] for order in SLICINGS[stage.name])
    return sum(stage.cost(extent(tuple(shape))) for shape in shapes)
