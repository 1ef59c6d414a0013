"""The two stages of Georgescu 2020 (figure 1), the plane CNN on slices and the depth CNN across them; and the volumetric networks' one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .degradation import interval_means
from .engine import Engine
from .ensemble import DEPTH_MEMBERS, PLANE_MEMBERS, VOLUME_MEMBERS
from .interpolation import KERNELS, resize, spline_matrix
from .tiling import Region, Tick, cut, scaled
from .weights import Model, architecture_of, volume_architecture_of

_SUB_PIXEL_BASE = "cubic"


class PlaneStage:
    """The plane CNN on every slice (axis k) of a block."""

    name = "plane"

    def __init__(self, engine: Engine, model: Model, ensemble_name: str):
        self._engine = engine
        self._model = model
        self._turns = PLANE_MEMBERS[ensemble_name]
        architecture = architecture_of(model)
        self.factors = (1, *architecture.factors)
        # The turned members look as far along the columns as along the rows.
        self.halo = (0, *architecture.halo)
        self._accumulates = architecture.multiply_accumulates * len(self._turns)

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        (first, last), *plane = keep
        refined = self._engine.run(self._model, array[first:last], self._turns, tick)
        (top, bottom), (left, right) = ((a * f, b * f) for (a, b), f in zip(plane, self.factors[1:]))
        return refined[:, top:bottom, left:right]


class DepthStage:
    """The depth CNN on the orthogonal slices of a block, and the mean of both slicings."""

    name = "depth"

    def __init__(self, engine: Engine, model: Model, ensemble_name: str):
        self._engine = engine
        self._model = model
        self._turns = DEPTH_MEMBERS[ensemble_name]
        architecture = architecture_of(model)
        self.factors = (architecture.factors[0], 1, 1)
        along, across = architecture.halo
        self.halo = (along, across, across)
        self._accumulates = architecture.multiply_accumulates * len(self._turns) * 2

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        (first, last), (top, bottom), (left, right) = keep
        depth = slice(first * self.factors[0], last * self.factors[0])
        # Width x depth: one slice a row.  Each slicing needs a halo only within its own slices.
        slices = np.ascontiguousarray(array[:, top:bottom].transpose(1, 0, 2))
        rows = self._engine.run(self._model, slices, self._turns, lambda done: tick(0.5 * done))
        # Height x depth: one slice a column.
        slices = np.ascontiguousarray(array[:, :, left:right].transpose(2, 0, 1))
        columns = self._engine.run(self._model, slices, self._turns, lambda done: tick(0.5 + 0.5 * done))
        return (rows[:, depth, left:right].transpose(1, 0, 2) + columns[:, depth, top:bottom].transpose(1, 2, 0)) * np.float32(0.5)


class VolumeStage:
    """A volumetric network on the interpolated volume (Chen 2020, section 3.4; Kudo 2019, figure 2); takes the volume whole.

    Args:
        keeps_means: see :func:`with_means_of`.
    """

    name = "volume"

    def __init__(
        self, engine: Engine, model: Model, ensemble_name: str, factors: tuple[float, float, float], base: str, working_bytes: int, keeps_means: bool = False
    ):  # fmt: skip
        self._engine = engine
        self._model = model
        self._turns = VOLUME_MEMBERS[ensemble_name]
        self._factors = factors
        self._base = base
        self._working_bytes = working_bytes
        self._keeps_means = keeps_means

    def __call__(self, array: np.ndarray, tick: Tick) -> np.ndarray:
        """Refine (k, j, i), slices first, in network units."""
        interpolated = np.ascontiguousarray(resize(array, self._factors, self._base))
        refined = self._engine.run_volume(self._model, interpolated, self._turns, tick, self._working_bytes)
        return with_means_of(array, refined) if self._keeps_means else refined


class SubPixelStage:
    """A network that gives the finer voxels of each voxel (:mod:`superres3d.networks.mdsr`), over a cubic interpolation.

    Args:
        factors: along (slices, rows, columns).
        feature_bytes: that its feature maps may take.
    """

    name = "volume"

    def __init__(self, engine: Engine, model: Model, ensemble_name: str, factors: tuple[int, int, int], feature_bytes: int):
        self._engine = engine
        self._model = model
        self._turns = VOLUME_MEMBERS[ensemble_name]
        self._feature_bytes = feature_bytes
        architecture = volume_architecture_of(model, factors)
        self.factors = factors
        self.halo = (max(architecture.survey.radius, KERNELS[_SUB_PIXEL_BASE][1]),) * 3
        self._accumulates = architecture.multiply_accumulates * len(self._turns)

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        array = np.ascontiguousarray(array)
        refined = self._engine.run_volume(self._model, array, self._turns, tick, self._feature_bytes, self.factors, keep)
        # Only what the kernel reaches is interpolated.
        reach = KERNELS[_SUB_PIXEL_BASE][1]
        near = tuple((max(0, a - reach), min(n, b + reach)) for (a, b), n in zip(keep, array.shape))
        inner = tuple((a - start, b - start) for (a, b), (start, _) in zip(keep, near))
        refined += cut(resize(cut(array, near), self.factors, _SUB_PIXEL_BASE), scaled(inner, self.factors))
        return refined


def with_means_of(thick: np.ndarray, thin: np.ndarray) -> np.ndarray:
    """Thin slices brought towards averaging to the thick ones whose place they take: one step of back-projection, a spline between the slices.

    A network's correction need not have the mean zero; with this the mean of the scan stays.  Voxel by voxel the averages
    agree only approximately: one step does not solve for them.

    Args:
        thick: (slice, row, column) float32.
        thin: (more slices, row, column) float32; changed in place.
    """
    back = spline_matrix(len(thick), len(thin)).astype(np.float32)
    means = interval_means(len(thin), len(thick))
    for row in range(thin.shape[1]):  # a row at a time: the correction of all would be another volume
        thin[:, row] += back @ (thick[:, row] - means @ thin[:, row])
    return thin


def make_stages(models: dict[str, Model], ensemble_name: str, engine: Engine) -> list[PlaneStage | DepthStage]:
    """The chain for models by stage ("plane", "depth"), in their order."""
    kinds: dict[str, type[PlaneStage] | type[DepthStage]] = {"plane": PlaneStage, "depth": DepthStage}
    return [kinds[stage](engine, model, ensemble_name) for stage, model in models.items()]
