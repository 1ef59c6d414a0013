"""What a chain is made of: trained networks and interpolations.

Georgescu 2020 (figure 1) has a plane CNN on slices and a depth CNN across them; the volumetric methods have one network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..networks.weights import Model, architecture_of
from ..resampling.interpolation import KERNELS, resize
from ..resampling.regridding import apply_along, regrid_matrix, regrid_reach
from .engine import Engine
from .ensemble import MEMBERS, variance_of
from .tiling import WHOLE, Region, Tick, cut, extent, on_grid, scaled, stage_regions

#: how a block (k, j, i) meets a network: the axis along which its slices follow each other, then the axes of a slice; a volume has three
SLICINGS = {"plane": ((0, 1, 2),), "depth": ((1, 0, 2), (2, 0, 1)), "volume": ((0, 1, 2),)}


class NetworkStage:
    """A network on a block, in each of its slicings; the result is their mean.

    Args:
        engine: runs it; None where only its reach and its cost are asked for.
        model: found.
        name: "plane", "depth" or "volume".
        ensemble: a key of :data:`superres3d.engine.ensemble.MEMBERS`.
        factors: along (slices, rows, columns), the task of a model that has several.
        working_bytes: that the feature maps of a volume may take.
        whole: it takes its input in one piece, and cuts it by itself.
        spread: it tells, too, how its members differ.

    Attributes:
        variance: of all members and slicings about their mean, of the latest call, of the shape of what it gave; None where it does not tell.
        name, factors, halo: see :class:`superres3d.engine.tiling.Stage`.
    """

    def __init__(
        self, engine: Engine | None, model: Model, name: str, ensemble: str, *,
        factors: tuple[int, ...] | None = None, working_bytes: int = 0, whole: bool = False, spread: bool = False,
    ):  # fmt: skip
        self.name = name
        self._engine, self._model = engine, model
        self._turns = MEMBERS[name][ensemble]
        self._task, self._working_bytes, self._spread = factors, working_bytes, spread
        self.variance: np.ndarray | None = None
        architecture = architecture_of(model, factors)
        self._accumulates = architecture.multiply_accumulates * len(self._turns) * len(SLICINGS[name])
        finer, halo = [1, 1, 1], [0, 0, 0]  # along an axis of the block, the most of any slicing
        for order in SLICINGS[name]:
            for axis, factor, reach in zip(order[3 - architecture.axes :], architecture.factors, architecture.halo):
                # The turned members look as far along the columns as along the rows.
                finer[axis], halo[axis] = max(finer[axis], factor), max(halo[axis], reach)
        self.factors, self.halo = tuple(finer), (WHOLE,) * 3 if whole else tuple(halo)

    def cost(self, shape: Sequence[int]) -> float:
        """Multiply-accumulates of all members and slicings for an input (k, j, i)."""
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        orders = SLICINGS[self.name]
        variances: list[np.ndarray] = []
        made = [self._slicing(array, order, keep, _share_of(tick, number, len(orders)), variances) for number, order in enumerate(orders)]
        if self._spread:  # within the slicings, and between them
            self.variance = sum(variances[1:], start=variances[0]) / np.float32(len(orders)) + (variance_of(made) if len(orders) > 1 else np.float32(0.0))
        return _mean(made) if len(orders) > 1 else made[0]

    def _slicing(self, array: np.ndarray, order: tuple[int, ...], keep: Region, tick: Tick, variances: list[np.ndarray]) -> np.ndarray:
        """The refined ``keep``; each slicing needs a halo only within its own slices."""
        assert self._engine
        shape = extent(scaled(keep, self.factors))
        spread = np.empty([shape[axis] for axis in order], np.float32) if self._spread else None
        if spread is not None:
            variances.append(spread.transpose(np.argsort(order)))
        if self.name == "volume":
            volume = np.ascontiguousarray(array)[None]
            return self._engine.run(self._model, volume, self._turns, tick, factors=self._task, keep=keep, working_bytes=self._working_bytes, variance=None if spread is None else spread[None])[0]
        (first, last), *within = (keep[axis] for axis in order)
        images = np.ascontiguousarray(array.transpose(order)[first:last])
        return self._engine.run(self._model, images, self._turns, tick, keep=tuple(within), variance=spread).transpose(np.argsort(order))


def _mean(made: Sequence[np.ndarray]) -> np.ndarray:
    """Of volumes (k, j, i), whose memory lies in different orders: a slice at a time, so that it stays in the cache."""
    mean = np.empty(made[0].shape, np.float32)
    for out, *slices in zip(mean, *made):
        np.add(slices[0], slices[1], out=out)
        for other in slices[2:]:
            out += other
        out *= np.float32(1 / len(made))
    return mean


def _share_of(tick: Tick, number: int, count: int) -> Tick:
    """Tells of one of ``count`` equal parts of the work."""
    return lambda share: tick((number + share) / count)


class Resampling:
    """An interpolation to a finer grid.

    Args:
        kernel: a key of :data:`superres3d.resampling.interpolation.KERNELS`, or "spline".
        factors: along (k, j, i), 1 or more.

    Attributes:
        name, factors, halo: see :class:`superres3d.engine.tiling.Stage`.
    """

    name = "interpolation"

    def __init__(self, kernel: str, factors: tuple[int | float, ...]):
        self._kernel = kernel
        self.factors = factors
        self.halo = tuple(0 if factor == 1 else KERNELS[kernel][1] if factor == int(factor) and kernel in KERNELS else WHOLE for factor in factors)

    def cost(self, shape: Sequence[int]) -> float:
        """One a voxel: next to nothing beside a network."""
        return float(np.prod(shape))

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        # float32 cannot hold all 32-bit integers.
        array = array.astype(np.float64) if array.dtype.itemsize == 4 and array.dtype.kind in "iu" else array
        refined = resize(array, self.factors, self._kernel)
        tick(1.0)
        return np.ascontiguousarray(cut(refined, scaled(keep, self.factors)))


class Regridding:
    """The last step, to any grid over the same extent; an axis that becomes coarser is averaged (antialiased bicubic).

    Args:
        kernel: a key of :data:`superres3d.resampling.interpolation.KERNELS`.
        given, wanted: shapes (k, j, i) of the whole, before and after.

    Attributes:
        name, factors, halo: see :class:`superres3d.engine.tiling.Step`.
    """

    name = "interpolation"

    def __init__(self, kernel: str, given: Sequence[int], wanted: Sequence[int]):
        self._given, self._wanted = tuple(given), tuple(wanted)
        self.factors = tuple(count / length for length, count in zip(given, wanted))
        self.halo = tuple(regrid_reach(length, count, kernel) for length, count in zip(given, wanted))
        self._matrices = [None if length == count else regrid_matrix(length, count, kernel) for length, count in zip(given, wanted)]

    def cost(self, shape: Sequence[int]) -> float:
        """One a voxel: next to nothing beside a network."""
        return float(np.prod(shape))

    def regions(self, inner: Region) -> tuple[Region, Region]:
        """For a region of the given grid: what it is computed from, and where its result lies in the wanted grid."""
        return stage_regions([self], self._given, inner)[0].needed, on_grid(inner, self._given, self._wanted)

    def __call__(self, array: np.ndarray, needed: Region, wanted: Region, tick: Tick) -> np.ndarray:
        """A region of the wanted grid.

        Args:
            array: the region ``needed`` of the given grid, (k, j, i).
            needed: what the wanted region depends on, or more.
            wanted: region of the wanted grid.
            tick: told when it is done.

        Returns:
            Array, float32 (float64 of 32-bit integers, which float32 cannot hold).
        """
        wide = array.dtype.itemsize == 4 and array.dtype.kind in "iu"
        array = array.astype(np.float64 if wide else np.float32, copy=False)
        for axis in np.argsort(self.factors, kind="stable"):  # first the axes that leave less to do
            matrix, (first, last), (start, stop) = self._matrices[axis], needed[axis], wanted[axis]
            if matrix is None:
                array = array[(slice(None),) * axis + (slice(start - first, stop - first),)]
            else:
                array = apply_along(array, int(axis), matrix[start:stop, first:last])
        tick(1.0)
        return array
