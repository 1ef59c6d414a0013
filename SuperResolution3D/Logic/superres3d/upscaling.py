"""The one public entry: :func:`upscale`.

>>> import numpy as np
>>> from superres3d import Volume
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

from .adaptation.adapt import Adapted
from .adaptation.adapt import adapt as adapt_to_scan
from .adaptation.budget import Budget
from .ahead import smallest_gain, why_left
from .detail.measure import Detail
from .detail.measured_grid import AXES, MeasuredGrid, finer_than_measured, in_report, measured_grid, sentences
from .detail.telling import tell
from .engine.chain import Chain, Window, blocks_of, refine_block
from .engine.memory import kept_heap
from .engine.part_cost import can_be_cut
from .engine.progress import Progress, Watch, after, within_share
from .engine.stages import NetworkStage, Regridding, Resampling
from .engine.tiling import Stage, around
from .errors import InputError
from .methods import DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET, INVENTS, MODALITIES, NOISES, needs_modality
from .networks.weights import verified_weights
from .plan import Plan, blind_models, left_to, named_by_networks, on_measured_grid, own_stages, plan_upscaling
from .refinement import factors_between
from .resampling.spectral_crop import cropped
from .run_report import NOT_FOR_DIAGNOSIS as NOT_FOR_DIAGNOSIS
from .run_report import report_of
from .scan.intensity import IntensityScale, intensity_scale
from .scan.modality import contradiction, guess_modality
from .scan.region import Spans, asked_region, checked_spans, cut_out
from .scan.uneven import WHOLLY, uneven_shares
from .scan.volume import Volume, accepted, check_steps, triple
from .speed import remember_speed, work_of

if TYPE_CHECKING:
    from .engine.engine import Engine

_INTERPOLATION_BYTES = 64 << 20  # of a block: larger ones are no faster
_ADAPTATION = "adaptation"  # a stage before the networks'
#: arguments of :func:`upscale` that :func:`plan_for` does not take
NOT_PLANNED = ("device", "noise", "as_stored")


@dataclass(frozen=True)
class Result:
    """An upscaled scan and how it came about.

    Attributes:
        volume: the scan's field of view, dtype and intensity scale.
        report: ready for JSON.
        spread: where it was asked for: how the networks' turned copies differ in each voxel (standard deviation, float32, the scan's units).
    """

    volume: Volume
    report: dict[str, Any]
    spread: np.ndarray | None = None


def upscale(
    volume: Volume,
    scale: int | tuple[int, int] | None = None,
    *,
    axes: str | None = None,
    slice_spacing: float | None = None,
    spacing: float | Sequence[float] | str | None = None,
    method: str = DEFAULT_METHOD,
    modality: str = "auto",
    preset: str = DEFAULT_PRESET,
    ensemble: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    slice_axis: str = "auto",
    consistency: int = 0,
    noise: str = DEFAULT_NOISE,
    as_stored: bool = False,
    adapt: float | Budget | None = None,
    memory_limit: int | None = None,
    part_of: np.ndarray | None = None,
    region: str | Sequence[Sequence[int]] | None = None,
    spread: bool = False,
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
        spacing: millimetres of the result's voxels, in place of a factor: one number, three along (i, j, k), or "isotropic" (the scan's smallest,
            along every axis).  Networks refine by the factors that fit, one resampling brings their result to the grid, and an axis that is finer
            than asked is averaged.  The voxels fill the scan's extent exactly, so it is met to half a voxel in all.
        method: see ``superres3d methods``.
        modality: "CT", "MR", or "auto": what the file says, else what the intensities tell; an interpolation needs neither.
        preset: "best", "balanced" or "fast": how much work a network may spend.
        ensemble: copies whose median is the result: "none", "4", "8", or "auto", as the preset says.
        precision: "auto", half where the machine is faster in it, 8 bits with "balanced" and "fast" (only the correction of a base in single is
            rounded: see docs/safety.md), "half" or "single".
        device: "auto", "cuda", "cuda:<n>", "mps" or "cpu".
        slice_axis: "auto", "i", "j" or "k".
        consistency: back-projections that bring the result closer to one whose downsampled version is the scan; see :mod:`superres3d.resampling.consistency`.
        noise: "keep": as strong as an interpolation leaves it; "reduce": as far as the networks can; for methods that are told of the scan.
        as_stored: do not bring a scan that is stored finer than it was measured back before the networks; see :mod:`superres3d.detail.measured_grid`.
        adapt: seconds for which the network between the slices goes on learning on the scan's own detail within them, or a
            :class:`superres3d.adaptation.budget.Budget`; it is used only where it then does better on slices that were kept apart; None: not at all.
        memory_limit: bytes for the whole process; None: what is free.
        region: of the scan: as :func:`superres3d.scan.region.asked_region` takes it, or (start, stop) along (k, j, i) in voxels; the result is that
            part of the whole scan's result. Everything that is measured is measured on the whole scan; None: all of it.
        part_of: the whole scan (k, j, i) where the volume is a part of it: intensity scale, loss of detail and noise are taken from there, and a network learns there.
        spread: tell, too, how the networks' turned copies differ; see :class:`Result`.
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
    plan, assumed = plan_for(
        volume, scale, axes=axes, slice_spacing=slice_spacing, spacing=spacing, method=method, modality=modality, preset=preset, ensemble=ensemble,
        precision=precision, slice_axis=slice_axis, consistency=consistency, adapt=adapt, memory_limit=memory_limit, region=region,
    )  # fmt: skip
    whole = volume.voxels if part_of is None else part_of
    asked, (plan, judged) = plan, settled(plan, whole, device, progress, cancelled, memory_limit)
    prepared = prepared_for(plan, volume, whole, noise, as_stored, memory_limit)
    notes = [*volume.notes, *assumed, *judged, *prepared.notes]
    watch = Watch(after(progress, asked.share_of_asking), cancelled)
    engine = engine_of(prepared.plan, device) if plan.method.networks else None
    try:
        with kept_heap():
            prepared, adapted = _adapted(prepared, volume if part_of is None else replace(volume, voxels=part_of), engine, watch, noise)
            differing = np.empty(plan.made_shape, np.float32) if spread and engine else None
            voxels, block_count = computed(prepared, volume.voxels.dtype, engine, watch, whole, differing)
    finally:
        if engine:
            engine.close()
    _remember(prepared.plan, engine if part_of is None and region is None and plan is asked else None, watch)
    notes += [*(adapted.notes if adapted else ()), *plan.notes, *(engine.notes if engine else ()), *([INVENTS] if plan.method.adversarial else [])]
    told = named_by_networks(replace(plan, models=prepared.plan.models))
    report = report_of(told, volume, watch, block_count, engine, notes, time.perf_counter() - started) | {"detail": prepared.detail, "adaptation": adapted.report if adapted else None}
    return Result(placed_result(volume, voxels, plan), report, differing)


def plan_for(volume: Volume, scale: int | tuple[int, int] | None = None, *, modality: str = "auto", **choices: Any) -> tuple[Plan, list[str]]:
    """The plan for a scan that is in memory, and what was assumed of it, one sentence each; arguments as :func:`upscale`.

    Raises:
        InputError, ModelError, ResourceError: see :func:`superres3d.plan.plan_upscaling`.
    """
    modality, notes = taken_as(volume, modality, choices.get("method", DEFAULT_METHOD))
    try:
        choices["result_spacing"] = choices.pop("spacing", None)
        choices["region"] = spans_of(volume, choices.get("region"))
        plan = plan_upscaling(
            volume.voxels.shape, volume.spacing, volume.voxels.dtype, scale, modality=modality, inputs_in_memory=0,
            uneven=WHOLLY if choices["region"] else uneven_shares(volume.voxels), **choices,
        )  # fmt: skip
    except InputError as error:
        if notes and not volume.modality and f"is not for {modality}" in str(error):
            raise InputError(f"{str(error).rstrip('.')} (taken as {modality} from its intensities; if it is not, give the modality).") from None
        raise
    return plan, notes


def spans_of(volume: Volume, region: str | Sequence[Sequence[int]] | None) -> Spans | None:
    """A region in voxels along (k, j, i), from any of the forms of :func:`upscale` (InputError: it cannot be understood, or lies outside)."""
    if region is None:
        return None
    return asked_region(region).voxels(volume) if isinstance(region, str) else checked_spans(region, volume.voxels.shape)


def refined_part(volume: Volume, report: dict[str, Any]) -> Volume:
    """The part of a scan that a run refined, by its report."""
    return cut_out(volume, tuple((start, stop) for start, stop in report["region"]["voxels_ijk"][::-1])) if report["region"] else volume


def placed_result(volume: Volume, voxels: np.ndarray, plan: Plan) -> Volume:
    """The result's voxels, of a region where one was asked for, in their place."""
    finer = volume.refined(voxels, plan.factors)
    return replace(finer, origin=triple(finer.position([start for start, _ in plan.window[::-1]])))


def taken_as(volume: Volume, asked: str, method: str = DEFAULT_METHOD) -> tuple[str, list[str]]:
    """The modality that a scan is taken as, and what there is to say of it, one sentence each.

    Args:
        volume: with the file's own word, or without.
        asked: "CT", "MR" or "auto".
        method: an interpolation takes any scan: what the file says, or "unknown".

    Raises:
        InputError: a network is asked for, and the scan is neither CT nor MR, or that is not clear.
    """
    told = volume.modality
    if asked != "auto":
        differs = told and told != asked and needs_modality(method)
        return asked, [f"The file says {told}; taken as {asked} because that was asked for."] if differs else []
    if not needs_modality(method):
        return told or guess_modality(volume.voxels).modality or "unknown", []
    if told in MODALITIES:
        return told, []
    if told:
        raise InputError(f"The file says {told}, and the networks are for CT and MR; use --method lanczos, or give --modality CT or MR if the file is wrong.")
    guess = guess_modality(volume.voxels)
    if not guess.modality:
        raise InputError(f"The file does not tell its modality, and its intensities do not either ({guess.reason}); give --modality CT or MR.")
    return guess.modality, [f"The file does not tell its modality; taken as {guess.modality} from its intensities ({guess.reason})."]


@dataclass(frozen=True)
class Prepared:
    """A run when the scan has been measured.

    Attributes:
        plan: with networks that know of the scan, where its method has such; for the grid of ``voxels``.
        voxels: (k, j, i) as the networks take them: the scan's, or those of its measured grid.
        notes: for a user, one sentence each.
        detail: for the report.
    """

    plan: Plan
    voxels: np.ndarray
    notes: tuple[str, ...] = ()
    detail: dict[str, Any] | None = None

    def moved(self, plan: Plan) -> Prepared:
        """The same for the region of another plan of the same scan and choices."""
        region = plan.region and around(plan.region, plan.shape, self.plan.shape)
        return replace(self, plan=replace(self.plan, region=region, kept=plan.kept, working_bytes=plan.working_bytes))


def grid_of(plan: Plan, whole: np.ndarray, as_stored: bool, detail: Detail | None = None) -> MeasuredGrid:
    """Where the spectrum of a whole scan (k, j, i) ends, as a run needs it; ``detail``: what was measured on it, where that is known."""
    stages = () if as_stored or plan.consistency or plan.adaptation else plan.models
    return measured_grid(np.moveaxis(whole, plan.slice_axis, 0), plan.modality, stages, detail)


def prepared_for(plan: Plan, volume: Volume, whole: np.ndarray, noise: str, as_stored: bool, memory_limit: int | None, grid: MeasuredGrid | None = None) -> Prepared:
    """Arguments as :func:`upscale`; ``whole`` is what is measured, ``grid`` what :func:`grid_of` told of it, where that is known."""
    if noise not in NOISES:
        raise InputError(f"The noise cannot be {noise!r}; use {' or '.join(NOISES)}.")
    doubt: tuple[str, ...] = ()
    if plan.method.networks:
        check_steps(volume.voxels, "The scan")
        doubt = tuple(filter(None, (contradiction(whole, plan.modality),)))
    if not plan.method.blind:
        return Prepared(plan, volume.voxels, doubt)
    axes = (plan.slice_axis, *(axis for axis in range(3) if axis != plan.slice_axis))
    names, spacing = ["kji"[axis] for axis in axes], [volume.spacing[2 - axis] for axis in axes]
    source = np.moveaxis(whole, plan.slice_axis, 0)
    grid = grid or grid_of(plan, whole, as_stored)
    voxels, measured = volume.voxels, source
    if grid.used:
        plan = on_measured_grid(plan, plan.stored_order(grid.shape(plan.slices_first(plan.shape))), memory_limit)
        voxels, measured = cropped(voxels, plan.shape), cropped(source, grid.shape(source.shape))
    told = tell(plan.models, blind_models(plan), measured, plan.modality, noise == "keep", None if grid.used else grid.detail)
    wanted = [distance * count / finer for distance, count, finer in zip(spacing, np.moveaxis(volume.voxels, plan.slice_axis, 0).shape, plan.slices_first(plan.output_shape))]
    knows = [axis for stage in told.report["told"] for axis in AXES[stage]]  # networks that are told how far a spectrum reaches need no certain end
    grid = replace(grid, unsure=tuple(axis for axis in grid.unsure if axis not in knows))
    notes = (*doubt, *sentences(grid, spacing, names), *told.notes, *finer_than_measured(grid, spacing, wanted, names))
    return Prepared(replace(plan, models=told.models), voxels, notes, told.report | {"measured_grid": in_report(grid, spacing, names)})


def settled(
    plan: Plan, whole: np.ndarray, device: str, progress: Progress | None = None, cancelled: Callable[[], bool] | None = None, memory_limit: int | None = None
) -> tuple[Plan, tuple[str, ...]]:  # fmt: skip
    """A plan whose larger networks are left to the usual ones where they are not ahead on the scan (k, j, i), one scale coarser; what to say of it."""
    other, stages, done = plan.method.otherwise, own_stages(plan.method, plan.models), 0.0
    if not other:
        return plan, ()
    if not stages:
        return left_to(plan, other), (f"{plan.method.name} has no networks of its own for what is refined here (MR by 2, and by 4 between slices); {other} was used.",)

    def refine(coarse: np.ndarray, axes: str, factor: int, method: str) -> np.ndarray:
        nonlocal done
        part = Volume(coarse, (1.0, 1.0, 1.0), modality=plan.modality)
        small = plan_for(part, factor, axes=axes, method=method, modality=plan.modality, preset="fast", slice_axis="k", memory_limit=memory_limit)[0]
        watch = Watch(within_share(progress, done, small.accumulates, plan.accumulates + plan.asking), cancelled)
        done += small.accumulates
        return computed(prepared_for(small, part, coarse, DEFAULT_NOISE, True, memory_limit), coarse.dtype, engine, watch, coarse)[0]

    engine = engine_of(plan, device)
    try:
        gain = smallest_gain(np.moveaxis(whole, plan.slice_axis, 0), stages, plan.method.name, other, refine)
    finally:
        engine.close()
    if gain is not None and gain > 0:
        return plan, ()
    return left_to(plan, other), (why_left(plan.method.name, other, gain),)


def _adapted(prepared: Prepared, volume: Volume, engine: Engine | None, watch: Watch, noise: str) -> tuple[Prepared, Adapted | None]:
    """With the depth network that learnt on the scan, where that was asked for and helped."""
    plan = prepared.plan
    if not plan.adaptation or not engine:
        return prepared, None
    watch.begin_early(plan.adaptation.seconds / max(plan.seconds, plan.adaptation.seconds))
    adapted = adapt_to_scan(
        plan.models["depth"], volume, plan.slice_axis, plan.modality, plan.adaptation, engine.runtime.device,
        lambda share: watch.early(_ADAPTATION, share), noise == "reduce",
    )  # fmt: skip
    return replace(prepared, plan=replace(plan, models={**plan.models, "depth": adapted.model})), adapted


def computed(
    prepared: Prepared, dtype: np.dtype, engine: Engine | None, watch: Watch, whole: np.ndarray, spread: np.ndarray | None = None,
    intensities: IntensityScale | None = None,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """The result's voxels, and in how many blocks they were computed."""
    plan, voxels = prepared.plan, prepared.voxels
    result = np.empty(plan.made_shape, dtype)
    # The chain takes the slice axis first; both are views.
    source, target = np.moveaxis(voxels, plan.slice_axis, 0), np.moveaxis(result, plan.slice_axis, 0)
    differing = None if spread is None else np.moveaxis(spread, plan.slice_axis, 0)
    chain = chain_of(plan, source, engine, spread is not None, whole, intensities)
    if engine and engine.runtime.block_share and plan.method.kind == "two-stage" and not plan.consistency and spread is None and not plan.region:
        from .engine.device_block import chain_on_device, made_bytes
        from .engine.turned_network import fits_device

        fits = fits_device(plan.models) and made_bytes(chain, source.shape) <= plan.working_bytes
        count = chain_on_device(chain, plan.models, plan.preset.ensemble, source, target, engine, watch) if fits else 0
        if count:
            return result, count
    region = plan.slices_first(plan.region) if plan.region else None
    window = Window(plan.slices_first(plan.output_shape), plan.slices_first(plan.window)) if region else None
    pieces = blocks_of(chain, source.shape, plan.working_bytes if engine else min(plan.working_bytes, _INTERPOLATION_BYTES), *([region] if region else []))
    for number, block in enumerate(pieces):
        watch.begin_block(number, len(pieces), chain.all_steps, block.regions)
        refine_block(chain, source, block, target, watch.tick, differing, window)
    return result, len(pieces)


def chain_of(plan: Plan, source: np.ndarray, engine: Engine | None, spread: bool = False, whole: np.ndarray | None = None, known: IntensityScale | None = None) -> Chain:
    """What a plan does to a scan.

    Args:
        plan: of the scan.
        source: the scan (k, j, i), slices first.
        engine: None for an interpolation.
        spread: the networks tell how their members differ.
        whole: the scan that gives the scale of intensities, where the source is a part of it.
        known: that scale, where it is known already.
    """
    wanted = plan.slices_first(plan.output_shape)
    if engine is None:
        factors = factors_between(source.shape, wanted)
        if not all(factor == int(factor) for factor in factors):
            return Chain([], regridding=Regridding(plan.method.name, source.shape, wanted))
        return Chain([Resampling(plan.method.name, factors)], back_projections=plan.consistency)
    factors = plan.network_factors
    intensities, ensemble = known or intensity_scale(source if whole is None else whole, plan.modality), plan.preset.ensemble
    if plan.method.kind == "volume":
        network = NetworkStage(engine, plan.models["volume"], "volume", ensemble, working_bytes=plan.working_bytes, whole=plan.region is None or not can_be_cut(plan.models["volume"]), spread=spread)
        return Chain([Resampling(plan.method.base, factors), network], intensities, keeps_means=plan.method.keeps_means)
    regridding = None
    if plan.network_slices:
        regridding = Regridding("cubic", [round(n * factor) for n, factor in zip(source.shape, factors)], wanted)
    if plan.method.kind == "sub-pixel":
        task = tuple(int(factor) for factor in factors)
        stages: list[Stage] = [NetworkStage(engine, plan.models["volume"], "volume", ensemble, factors=task, working_bytes=plan.feature_bytes, spread=spread)]
    else:
        stages = [NetworkStage(engine, model, stage, ensemble, spread=spread) for stage, model in plan.models.items()]
    return Chain(stages, intensities, regridding, plan.consistency)


def engine_of(plan: Plan, device: str) -> Engine:
    from .engine.engine import Engine

    engine = Engine(device, plan.preset.precision)
    for model in plan.models.values():  # before the first stage has taken its time
        verified_weights(model)
    return engine


def _remember(plan: Plan, engine: Engine | None, watch: Watch) -> None:
    """How fast this machine was; a run that changed engines tells of neither, and one of a small part (None) of little."""
    if engine and not engine.notes:
        spent = watch.own_seconds if engine.runtime.device == "cpu" else watch.seconds
        seconds = sum(seconds for name, seconds in spent.items() if name != _ADAPTATION)
        remember_speed(engine.runtime.device, plan.preset.precision, work_of(plan.method, max(plan.network_factors)), plan.accumulates, seconds)
