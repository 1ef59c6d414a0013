"""How large a run is: shapes, bytes and arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeVar

from .engine.part_cost import share_of_work
from .engine.parted import computed_accumulates
from .engine.tiling import Region, extent, on_grid
from .methods import ENSEMBLES
from .networks.weights import Model, architecture_of

T = TypeVar("T")


def slices_first(items: Sequence[T], slice_axis: int) -> tuple[T, ...]:
    """What belongs to the axes (k, j, i), with the slice axis (0 = k) first."""
    return (items[slice_axis], *(item for axis, item in enumerate(items) if axis != slice_axis))


@dataclass(frozen=True)
class Sizes:
    """Of a request: shapes (k, j, i), the slice axis, what the networks refine by along (slices, rows, columns), bytes of a voxel, inputs still to be read, the region."""

    shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    axis: int
    factors: tuple[int | float, int, int]
    itemsize: int
    inputs: int
    region: Region | None = None

    @property
    def kept(self) -> Region | None:
        """The region in the result."""
        return self.region and on_grid(self.region, self.shape, self.output_shape)

    @property
    def made(self) -> tuple[int, ...]:
        """Voxels of the result that are computed."""
        return extent(self.kept) if self.kept else self.output_shape

    @property
    def slices_first(self) -> tuple[int, ...]:
        """The scan's shape as the networks take it."""
        return slices_first(self.shape, self.axis)

    @property
    def refined(self) -> tuple[int, ...]:
        """The shape that the networks give, slices first."""
        return tuple(round(n * f) for n, f in zip(self.slices_first, self.factors))

    @property
    def result(self) -> int:
        """Bytes."""
        return prod(self.made) * self.itemsize


def accumulates_of(models: dict[str, Model], ensemble: str, sizes: Sizes, working: int, uneven: Sequence[float] = (1.0, 1.0, 1.0)) -> float:
    """Of a region what lies around it as well.

    Args:
        models: by stage.
        ensemble: a key of :data:`superres3d.methods.ENSEMBLES`.
        sizes: of the request.
        working: bytes that a volumetric network's feature maps may take.
        uneven: of the scan, from :func:`superres3d.scan.uneven.uneven_shares`.
    """
    total = _of_all(models, ensemble, sizes.slices_first, sizes.factors, working, slices_first(tuple(uneven), sizes.axis))
    if not models or not sizes.region:
        return total
    task = task_of(sizes.factors) if "volume" in models and "tasks" in models["volume"].network else None
    return total * share_of_work(models, ensemble, sizes.slices_first, slices_first(sizes.region, sizes.axis), task)


def _of_all(models: dict[str, Model], ensemble: str, shape: Sequence[int], factors: Sequence[int | float], working: int, uneven: Sequence[float]) -> float:
    """The later stage works on what the earlier one refined, a volumetric network on the scan or on its interpolation, and on its tiles' margins.

    Args:
        models: by stage.
        ensemble: a key of :data:`superres3d.methods.ENSEMBLES`.
        shape, factors: along (slices, rows, columns).
        working: bytes that a volumetric network's feature maps may take.
        uneven: shares of the slices across (slices, rows, columns) that are computed.
    """
    if "volume" in models:
        model = models["volume"]
        task = task_of(factors) if "tasks" in model.network else None
        architecture, given = architecture_of(model, task), shape if task else tuple(round(n * f) for n, f in zip(shape, factors))
        return computed_accumulates(architecture, given, working) * ENSEMBLES[ensemble]["volume"]
    pixels, total = float(prod(shape)), 0.0
    for stage, model in models.items():
        computed = uneven[0] if stage == "plane" else (uneven[1] + uneven[2]) / 2  # the depth network sees both slicings
        total += pixels * model.multiply_accumulates * ENSEMBLES[ensemble][stage] * computed
        pixels *= factors[1] * factors[2] if stage == "plane" else factors[0]
    return total


def task_of(factors: Sequence[int | float]) -> tuple[int, ...]:
    """Of a network that refines by whole factors along (slices, rows, columns)."""
    return tuple(int(factor) for factor in factors)
