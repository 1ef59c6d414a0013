"""The one public entry: :func:`upscale`.

>>> import numpy as np
>>> from superres3d.volume import Volume
>>> scan = Volume(np.arange(64, dtype=np.int16).reshape(4, 4, 4), spacing=(1.0, 1.0, 5.0))
>>> result = upscale(scan, 2, axes="through-plane", method="linear", modality="MR")
>>> result.volume.voxels.shape, result.volume.spacing
((8, 4, 4), (1.0, 1.0, 2.5))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import __version__
from .consistency import back_projected, grown
from .degradation import reduction_matrix
from .errors import Cancelled, InputError
from .intensity import IntensityScale, intensity_scale
from .interpolation import KERNELS, resize, sampling_matrix
from .memory import kept_heap, peak_bytes, usable_cores
from .methods import DEFAULT_METHOD, DEFAULT_PRESET, ENSEMBLES, INVENTS
from .plan import Plan, guess_modality, plan_upscaling
from .speed import remember_speed
from .tiling import Region, Stage, StageRegion, Tick, blocks, choose_block, cut, extent, run_chain, scaled, stage_regions, within
from .volume import Volume, accepted
from .weights import verified_weights

if TYPE_CHECKING:
    from .engine import Engine

Progress = Callable[[str, float], None]  # (stage, finished share of the whole)
NOT_FOR_DIAGNOSIS = "Research software, not for diagnosis."


@dataclass(frozen=True)
class Result:
    """An upscaled scan and how it came about (``report`` is ready for JSON)."""

    volume: Volume
    report: dict[str, Any]


def upscale(
    volume: Volume,
    scale: int | tuple[int, int] | None = None,
    *,
    axes: str | None = None,
    slice_spacing: float | None = None,
    method: str = DEFAULT_METHOD,
    modality: str = "auto",
    preset: str = DEFAULT_PRESET,
    ensemble: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    slice_axis: str = "auto",
    consistency: int = 0,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Result:
    """Upscale a scan.

    Args:
        volume: voxels (k, j, i), not changed.
        scale: 2 or 4, applied on ``axes``; or a pair (in-plane, through-plane) of 1, 2, 4; None: 2, or what the method is made for.
        axes: "all", "in-plane" or "through-plane"; None: the first that the method has.
        slice_spacing: millimetres between the slices of the result, in place of a factor: for interpolations, and for methods
            that are made for one distance (their default).  The slices fill the scan's extent exactly, so it is met to half a slice in all.
        method: see ``superres3d methods``.
        modality: "CT", "MR", or "auto": what the file says, else a guess from the intensities.
        preset: "best", "balanced" or "fast": how much work a network may spend.
        ensemble: copies whose median is the result: "none", "4", "8", or "auto", as the preset says.
        precision: "auto", half where the machine has units for it (a correction in half precision on a base
            in single: less than 0.04 of 255, or 0.2 HU, RMSE away), or "single".
        device: "auto", "cuda", "cuda:<n>", "mps" or "cpu".
        slice_axis: "auto", "i", "j" or "k".
        consistency: back-projections that bring the result closer to one whose downsampled version is the scan; see :mod:`superres3d.consistency`.
        memory_limit: bytes for the whole process; None: what is free.
        progress: called with (stage, share of the whole that is done).
        cancelled: asked often; a true answer stops the work.

    Returns:
        The result on the same field of view, with the scan's dtype and intensity scale, and
        a report: method, models and their SHA-256, factors, device, blocks, seconds, memory.

    Raises:
        InputError, ModelError, DeviceError, ResourceError: see :mod:`superres3d.errors`.
        Cancelled: ``cancelled`` answered true.
    """
    started = time.perf_counter()
    volume = accepted(volume, "The scan")
    notes = list(volume.notes)
    plan, assumed = plan_for(
        volume, scale, axes=axes, slice_spacing=slice_spacing, method=method, modality=modality, preset=preset, ensemble=ensemble,
        precision=precision, slice_axis=slice_axis, consistency=consistency, memory_limit=memory_limit,
    )  # fmt: skip
    notes += assumed
    watch = _Watch(progress, cancelled)
    engine = _engine(plan, device) if plan.method.networks else None
    try:
        with kept_heap():
            voxels, block_count = _compute(volume.voxels, plan, engine, watch)
    finally:
        if engine:
            engine.close()
    if engine and not engine.notes:  # a run that changed engines tells of neither
        remember_speed(engine.runtime, plan, sum(watch.seconds.values()))
    notes += list(plan.notes) + (engine.notes if engine else []) + ([INVENTS] if plan.method.adversarial else [])
    report = _report(plan, volume, watch, block_count, engine, notes, time.perf_counter() - started)
    return Result(volume.refined(voxels, plan.factors), report)


def plan_for(volume: Volume, scale: int | tuple[int, int] | None = None, *, modality: str = "auto", **choices: Any) -> tuple[Plan, list[str]]:
    """The plan for a scan that is in memory, and what was assumed of it, one sentence each; arguments and errors as :func:`upscale`."""
    notes = []
    if modality == "auto":
        modality = volume.modality or guess_modality(volume.voxels)
        if not volume.modality:
            notes.append(f"The file does not tell its modality; taken as {modality} from its intensities.")
    try:
        plan = plan_upscaling(volume.voxels.shape, volume.spacing, volume.voxels.dtype, scale, modality=modality, inputs_in_memory=0, **choices)
    except InputError as error:
        if notes and f"is not for {modality}" in str(error):
            raise InputError(f"{str(error).rstrip('.')} (taken as {modality} from its intensities; if it is not, give the modality).") from None
        raise
    return plan, notes


def _compute(voxels: np.ndarray, plan: Plan, engine: Engine | None, watch: _Watch) -> tuple[np.ndarray, int]:
    """The result's voxels, and in how many blocks they were computed."""
    if plan.network_slices:
        return _run_to_distance(voxels, plan, engine, watch)
    if plan.method.kind == "volume" or plan.through_plane != int(plan.through_plane):
        return _run_whole(voxels, plan, engine, watch), 1
    if engine is None:
        return _run(voxels, plan, [_InterpolationStage(plan)], None, watch)
    from .stages import SubPixelStage, make_stages

    stages: Sequence[Stage]
    if plan.method.kind == "sub-pixel":
        factors = (int(plan.through_plane), plan.in_plane, plan.in_plane)
        stages = [SubPixelStage(engine, plan.models["volume"], plan.preset.ensemble, factors, plan.feature_bytes)]
    else:
        stages = make_stages(plan.models, plan.preset.ensemble, engine)
    return _run(voxels, plan, stages, intensity_scale(voxels, plan.modality), watch, engine)


def _run_whole(voxels: np.ndarray, plan: Plan, engine: Engine | None, watch: _Watch) -> np.ndarray:
    """A volumetric network, or an interpolation to a distance of slices: the depth in one piece."""
    result = np.empty(plan.output_shape, voxels.dtype)
    source, target = np.moveaxis(voxels, plan.slice_axis, 0), np.moveaxis(result, plan.slice_axis, 0)
    factors = (plan.through_plane, plan.in_plane, plan.in_plane)
    if engine is None:
        watch.begin("interpolation")
        for row in range(source.shape[1]):
            target[:, row] = _as_dtype(resize(_exact(source[:, row]), (plan.through_plane, 1), plan.method.name), voxels.dtype)
            watch.tick(0, (row + 1) / source.shape[1])
        return result
    from .stages import VolumeStage

    stage = VolumeStage(engine, plan.models["volume"], plan.preset.ensemble, factors, plan.method.base, plan.working_bytes, plan.method.keeps_means)
    watch.begin(stage.name)
    intensities = intensity_scale(voxels, plan.modality)
    inside, outside = intensities.split(intensities.normalise(source))
    refined = stage(inside, lambda share: watch.tick(0, share))
    if outside is not None:
        refined += resize(outside, factors, "linear")
    for index, image in enumerate(refined):
        target[index] = _as_dtype(intensities.restore(image), voxels.dtype)
    return result


def _run_to_distance(voxels: np.ndarray, plan: Plan, engine: Engine | None, watch: _Watch) -> tuple[np.ndarray, int]:
    """Networks that refine by a factor, then an interpolation to the slices that were asked for."""
    made = list(plan.shape)
    made[plan.slice_axis] *= plan.network_slices
    by_factor = replace(plan, through_plane=plan.network_slices, output_shape=tuple(made), network_slices=0)
    # Rounded once, at the end.
    refined, block_count = _compute(voxels if voxels.dtype.kind == "f" else voxels.astype(np.float32), by_factor, engine, watch)
    result = np.empty(plan.output_shape, voxels.dtype)
    source, target = np.moveaxis(refined, plan.slice_axis, 0), np.moveaxis(result, plan.slice_axis, 0)
    count = target.shape[0]
    matrix = sampling_matrix(len(source), count, "cubic") if count >= len(source) else reduction_matrix(len(source), len(source) / count)
    matrix = matrix.astype(refined.dtype)
    for row in range(source.shape[1]):  # a row at a time: float32 of all would be another volume
        target[:, row] = _as_dtype(matrix @ source[:, row], voxels.dtype)
    return result, block_count


def _run(
    voxels: np.ndarray, plan: Plan, stages: Sequence[Stage], intensities: IntensityScale | None, watch: _Watch, engine: Engine | None = None
) -> tuple[np.ndarray, int]:
    """Run the chain block by block into an array of the result's size and dtype."""
    result = np.empty(plan.output_shape, voxels.dtype)
    # The chain takes the slice axis first; both are views.
    source, target = np.moveaxis(voxels, plan.slice_axis, 0), np.moveaxis(result, plan.slice_axis, 0)
    if engine and plan.method.kind == "two-stage" and not plan.consistency and getattr(engine.runtime, "block_share", 0):
        from .runtimes.device_block import run_on_device

        count = run_on_device(plan.models, plan.preset.ensemble, stages, source, target, intensities, engine, watch)
        if count:
            return result, count
    factors = (plan.through_plane, plan.in_plane, plan.in_plane)
    size = choose_block(stages, source.shape, plan.working_bytes)
    regions = list(blocks(source.shape, size))
    for number, inner in enumerate(regions):
        wanted = grown(inner, source.shape, factors, plan.consistency)
        chain = stage_regions(stages, source.shape, wanted)
        watch.begin_block(number, len(regions), stages, chain)
        refined = _refine_block(source, wanted, chain, stages, factors, intensities, plan.consistency, watch)
        cut(target, scaled(inner, factors))[...] = _as_dtype(cut(refined, scaled(within(inner, wanted), factors)), voxels.dtype)
    return result, len(regions)


def _refine_block(source, wanted: Region, chain: list[StageRegion], stages, factors, intensities, back_projections: int, watch) -> np.ndarray:
    """The refined ``wanted``, a region of the scan."""
    block = cut(source, chain[0].needed)
    keep = within(wanted, chain[0].needed)
    if intensities is None:
        refined = run_chain(stages, block, chain, watch.tick)
        return back_projected(refined, cut(block, keep), factors, back_projections)
    inside, outside = intensities.split(intensities.normalise(block))
    refined = run_chain(stages, np.ascontiguousarray(inside), chain, watch.tick)
    refined = back_projected(refined, cut(inside, keep), factors, back_projections)
    if outside is not None:
        refined = refined + cut(resize(outside, factors, "linear"), scaled(keep, factors))
    return intensities.restore(refined)


def _as_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return values
    limits = np.iinfo(dtype)
    if dtype.itemsize == 4:  # float32 cannot hold the limits of 32-bit integers
        values = values.astype(np.float64)
    return np.clip(np.rint(values), limits.min, limits.max)


class _InterpolationStage:
    """An interpolation as the only stage of a chain."""

    name = "interpolation"

    def __init__(self, plan: Plan):
        self.factors = (plan.through_plane, plan.in_plane, plan.in_plane)
        self._kernel = plan.method.name
        radius = KERNELS[self._kernel][1]
        self.halo = tuple(radius if factor > 1 else 0 for factor in self.factors)

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape))

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        refined = cut(resize(_exact(array), self.factors, self._kernel), scaled(keep, self.factors))
        tick(1.0)
        return refined


def _exact(array: np.ndarray) -> np.ndarray:
    """In a type that the interpolation keeps: float32 cannot hold all 32-bit integers."""
    return array.astype(np.float64) if array.dtype.itemsize == 4 and array.dtype.kind in "iu" else array


def _engine(plan: Plan, device: str) -> Engine:
    from .engine import Engine

    engine = Engine(device, plan.preset.half)
    for model in plan.models.values():  # before the first stage has taken its time
        verified_weights(model)
    return engine


class _Watch:
    """Turns the stages' ticks into overall progress, seconds a stage, and a stop when asked for."""

    def __init__(self, progress: Progress | None, cancelled: Callable[[], bool] | None):
        self._progress = progress
        self._cancelled = cancelled
        self.seconds: dict[str, float] = {}
        self._before = 0.0
        self._told = 0.0
        self._span = 1.0
        self._starts: list[float] = [0.0, 1.0]
        self._names: list[str] = []
        self._last = time.perf_counter()

    def begin_block(self, number: int, count: int, stages: Sequence[Stage], chain: Sequence[StageRegion]) -> None:
        """Blocks are of even size, so each has the same share of the whole."""
        self._before, self._span = number / count, 1 / count
        costs = [stage.cost(extent(region.needed)) for stage, region in zip(stages, chain)]
        self._starts = [sum(costs[:n]) / sum(costs) for n in range(len(costs) + 1)]
        self._names = [stage.name for stage in stages]
        if number == 0:
            self._last = time.perf_counter()
            self._say(self._names[0], 0.0)

    def begin(self, name: str) -> None:
        """A single piece of work that is not cut into blocks."""
        self._starts, self._names, self._last = [0.0, 1.0], [name], time.perf_counter()
        self._say(name, 0.0)

    def tick(self, stage: int, share: float) -> None:
        now = time.perf_counter()
        name = self._names[stage]
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
        done = self._starts[stage] + share * (self._starts[stage + 1] - self._starts[stage])
        self._say(name, self._before + self._span * done)

    def _say(self, name: str, share: float) -> None:
        if self._cancelled and self._cancelled():
            raise Cancelled()
        self._told = max(self._told, min(1.0, share))  # a stage that begins anew on another engine goes back
        if self._progress:
            self._progress(name, self._told)


def _report(plan: Plan, volume: Volume, watch: _Watch, block_count: int, engine, notes: list[str], seconds: float) -> dict[str, Any]:
    return {
        "software": f"SuperResolution3D {__version__}",
        "statement": NOT_FOR_DIAGNOSIS,
        "method": plan.method.name,
        "paper": plan.method.paper,
        "invents": INVENTS if plan.method.adversarial else None,
        "models": {stage: {"name": model.name, "sha256": model.sha256} for stage, model in plan.models.items()},
        "modality": plan.modality,
        "factors_ijk": list(plan.factors[::-1]),
        "slice_spacing_mm": plan.slice_spacing or None,
        "slice_axis": "kji"[plan.slice_axis],
        "preset": plan.preset.name if plan.method.networks else None,
        "ensemble": plan.preset.ensemble if plan.method.networks else None,
        "back_projections": plan.consistency,
        "turned_copies": {stage: ENSEMBLES[plan.preset.ensemble][stage] for stage in plan.models} or None,
        "input": {"shape_ijk": list(plan.shape[::-1]), "spacing_mm": list(volume.spacing), "dtype": str(volume.voxels.dtype)},
        "output": {
            "shape_ijk": list(plan.output_shape[::-1]),
            "spacing_mm": [s / f for s, f in zip(volume.spacing, plan.factors[::-1])],
            "dtype": str(volume.voxels.dtype),
        },
        "device": engine.runtime.device if engine else "cpu",
        "engine": engine.runtime.name if engine else None,
        "precision": engine.runtime.precision if engine else "float32",
        "blocks": block_count,
        "seconds": {**{name: round(value, 3) for name, value in watch.seconds.items()}, "total": round(seconds, 3)},
        "peak_memory_bytes": peak_bytes(),
        "cpu_threads": usable_cores(),
        "warnings": notes,
    }
