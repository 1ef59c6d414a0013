"""What an upscaling will be, before any of it is done: sizes, models, memory; refusals.

Needs no torch, so the panel can show it while the user still chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import psutil

from .adaptation.budget import Budget, adaptation_bytes
from .ahead import work_of_asking
from .engine.memory import usable_cores
from .engine.parted import kept_bytes, working_bytes
from .engine.tiling import Region, around, extent, whole
from .errors import InputError, ResourceError, bytes_in_words
from .methods import DEFAULT_METHOD, DEFAULT_PRESET, ENSEMBLES, MODALITIES, Method, Preset, find_method, find_preset, needs_modality
from .networks.weights import Model, architecture_of, check_kind, find_model, tasks_of
from .refinement import Asked, Refinement, Triple, factors_between, network_factor
from .resampling.consistency import MOST
from .scan.region import checked_spans
from .scan.uneven import WHOLLY, Shares
from .scan.volume import find_slice_axis
from .sizes import Sizes, T, accumulates_of, slices_first, task_of
from .speed import expected_seconds, measuring_seconds, work_of

MINIMUM_SLICES = 4
NEAREST_TRAINED, FARTHEST_TRAINED = 2.0, 8.0  # times the distance of the result's slices
DEFAULT_WORKING_BYTES = 1 << 30
_ENGINE_BYTES = 150 << 20  # the libraries
_WORKER_BYTES = 120 << 20  # the activations of a tile, for each core
_LEAST_FEATURE_BYTES = 1 << 28
_MOST_VOLUME_BYTES = 3 << 30  # of a volumetric network's feature maps: with more, tiles are hardly larger
_AXIS_NAMES = ("k", "j", "i")
_FINISHED, _INTERPOLATED = 200e6, 60e6  # bytes of a result a second, after the networks, and by an interpolation alone


@dataclass(frozen=True)
class Plan:
    """An upscaling that can be done.  Axis orders are (k, j, i) unless a name says otherwise.

    Attributes:
        method: from the catalogue.
        modality: "CT" or "MR"; of an interpolation the file's own word, or "unknown".
        in_plane: factor, 1, 2 or 4; where a spacing was asked for, what networks make of it.
        through_plane: factor, 1, 2 or 4; any where a spacing or a distance of slices was asked for.
        slice_axis: array axis (0 = k, 1 = j, 2 = i) that is the depth.
        preset: ensemble and precision.
        shape, output_shape: voxels.
        result_bytes: size of the result.
        memory_bytes: input, result and working set together.
        working_bytes: the part of it that may be spent on blocks in work.
        accumulates: multiply-accumulates of the networks, as far as ``uneven`` tells.
        seconds: a guess for this machine; see :mod:`superres3d.speed`.
        models: by stage, "plane" and "depth" in the order in which they run, or "volume".
        notes: what was assumed, one sentence each.
        slice_spacing: millimetres between the slices of the result that were asked for; 0: a factor was.
        feature_bytes: that the feature maps of a network of the kind "sub-pixel" may take, beside the blocks.
        consistency: back-projections.
        network_slices: what the networks make of one slice where an interpolation to the wanted grid follows them; 0: none does.
        spacing: millimetres along (i, j, k) that were asked for; None: a factor or a distance of slices was.
        adaptation: how long the depth network goes on learning on the scan; None: not at all.
        region: of the scan, (start, stop) in voxels of ``shape``; None: all of it.
        kept: that region in voxels of ``output_shape``.
        uneven: share of the scan's slices across each axis that is not one value; see :func:`superres3d.scan.uneven.uneven_shares`.
        asking: multiply-accumulates with which the scan is asked first whether larger networks are ahead on it; see :mod:`superres3d.ahead`.
    """

    method: Method
    modality: str
    in_plane: int
    through_plane: int | float
    slice_axis: int
    preset: Preset
    shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    result_bytes: int
    memory_bytes: int
    working_bytes: int
    accumulates: float
    seconds: float
    models: dict[str, Model]
    notes: tuple[str, ...] = ()
    slice_spacing: float = 0.0
    feature_bytes: int = 0
    consistency: int = 0
    network_slices: int = 0
    spacing: Triple | None = None
    adaptation: Budget | None = None
    region: Region | None = None
    kept: Region | None = None
    uneven: Shares = WHOLLY
    asking: float = 0.0

    @property
    def window(self) -> Region:
        """What is made of the whole grid of the result."""
        return self.kept or whole(self.output_shape)

    @property
    def made_shape(self) -> tuple[int, ...]:
        """Voxels of what is made."""
        return extent(self.window)

    @property
    def share_of_asking(self) -> float:
        """Of the run's work."""
        return self.asking / (self.asking + self.accumulates) if self.asking else 0.0

    @property
    def refinement(self) -> dict[str, Any]:
        """The arguments with which any interpolation gives the same grid."""
        if self.spacing:
            return {"spacing": self.spacing}
        return {"slice_spacing": self.slice_spacing} if self.slice_spacing else {"scale": (self.in_plane, int(self.through_plane))}

    @property
    def factors(self) -> tuple[int | float, ...]:
        """Refinement along (k, j, i) of the scan's own array; below 1 where it becomes coarser."""
        return factors_between(self.shape, self.output_shape)

    @property
    def network_factors(self) -> tuple[int | float, int, int]:
        """What the networks refine by along (slices, rows, columns); of an interpolation to a spacing not all that is done."""
        return self.network_slices or self.through_plane, self.in_plane, self.in_plane

    def slices_first(self, shape: Sequence[T]) -> tuple[T, ...]:
        """A shape, or a region, (k, j, i) with the slice axis first."""
        return slices_first(shape, self.slice_axis)

    def stored_order(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape with the slice axis first, as (k, j, i)."""
        within = list(shape[1:])
        within.insert(self.slice_axis, shape[0])
        return tuple(within)


def plan_upscaling(
    shape: Sequence[int],
    spacing: Sequence[float],
    dtype: np.dtype | str,
    scale: int | tuple[int, int] | None = None,
    *,
    axes: str | None = None,
    slice_spacing: float | None = None,
    result_spacing: float | Sequence[float] | str | None = None,
    method: str = DEFAULT_METHOD,
    modality: str = "MR",
    preset: str = DEFAULT_PRESET,
    ensemble: str = "auto",
    precision: str = "auto",
    device: str = "auto",
    slice_axis: str = "auto",
    consistency: int = 0,
    adapt: float | Budget | None = None,
    memory_limit: int | None = None,
    inputs_in_memory: int = 1,
    region: Sequence[Sequence[int]] | None = None,
    uneven: Shares = WHOLLY,
) -> Plan:
    """Check the choices against the scan and the machine.

    Args:
        shape: voxels along (k, j, i).
        spacing: millimetres along (i, j, k).
        dtype: of the scan, and so of the result.
        scale: 2 or 4, used on ``axes``; or a pair (in-plane, through-plane) of 1, 2 or 4; None: 2, or what the method is made for.
        axes: "all", "in-plane" or "through-plane"; not used with a pair; None: the first that the method has.
        slice_spacing: millimetres between the slices of the result, in place of a factor; the nearest that fills the same extent.
        result_spacing: millimetres of the result's voxels, one number, or three along (i, j, k), or "isotropic" (the scan's smallest); in
            place of a factor; the nearest that fills the same extent.
        method: a name from the catalogue.
        modality: "CT" or "MR"; for an interpolation any word.
        preset: "best", "balanced" or "fast".
        ensemble: "auto" (the preset's), "none", "4" or "8".
        precision: "auto" (the coarsest of its preset that the machine is faster in), "half" or "single".
        device: for the estimate of the time only.
        slice_axis: "auto" (the clearly coarsest axis, else k), "i", "j" or "k".
        consistency: back-projections, 0 to 10; only where the method refines by a factor and assumes the loss of detail that they undo.
        adapt: seconds, or a budget, for which the depth network goes on learning on the scan; None: not at all.
        memory_limit: bytes that the process may use; None: what the machine has free.
        inputs_in_memory: 1 if the scan is still to be read into memory, 0 if it is there already.
        region: of the scan, (start, stop) along (k, j, i) in voxels; None: all of it.
        uneven: for the estimate of the time: share of the slices across (k, j, i) that is not one value.

    Raises:
        InputError: a choice that does not exist or does not fit the scan.
        ModelError: a model that is not installed.
        ResourceError: the result does not fit into memory.
    """
    chosen = find_preset(preset, ensemble, precision)
    wanted = modality if needs_modality(method) else ""
    if wanted and wanted not in MODALITIES:
        raise InputError(f"The modality {modality!r} does not exist; use one of {', '.join(MODALITIES)}.")
    axis, notes = _slice_axis(spacing, slice_axis)
    refinement = Refinement.of(find_method(method, wanted), Asked(scale, axes, slice_spacing, result_spacing), shape, spacing, axis)
    found = find_method(method, wanted, refinement.axes, refinement.scale)
    _check_consistency(consistency, found, refinement)
    in_plane, network_slices = refinement.in_plane, refinement.network_slices
    made = network_slices or refinement.through_plane
    models = _models(found, modality, in_plane, made, int(shape[axis]))
    if found.blind:  # whether they are needed is known when the scan has been measured
        _models(find_method(found.blind), modality, in_plane, made, int(shape[axis]))
    notes += _notes(found, refinement)
    budget = _adaptation(adapt, found, models)
    part = None if region is None else checked_spans(region, shape)
    sizes = Sizes(tuple(int(n) for n in shape), refinement.shape, axis, (made, in_plane, in_plane), np.dtype(dtype).itemsize, inputs_in_memory, part)
    space = _share_memory(found, models, sizes, chosen.ensemble, memory_limit, refinement.smaller, adaptation_bytes(sizes.slices_first) if budget else 0)
    accumulates = accumulates_of(models, chosen.ensemble, sizes, space.features or space.working, uneven)
    asking = _asking(found, models, modality, sizes)
    seconds = expected_seconds(accumulates + asking, chosen.precision, device, work_of(found, max(sizes.factors))) + sizes.result / (_FINISHED if models else _INTERPOLATED)
    seconds += measuring_seconds(prod(sizes.shape)) if found.blind else 0.0
    seconds += budget.seconds if budget else 0.0
    return Plan(
        found, modality, in_plane, refinement.through_plane, axis, chosen, sizes.shape, sizes.output_shape, sizes.result, space.total, space.working,
        accumulates, seconds, models, notes, refinement.slice_spacing, space.features, consistency, network_slices, refinement.spacing, budget, part, sizes.kept, uneven, asking,
    )  # fmt: skip


def _adaptation(asked: float | Budget | None, method: Method, models: dict[str, Model]) -> Budget | None:
    """InputError where nothing can learn on the scan."""
    if asked is None:
        return None
    if "depth" not in models:
        what = "nothing is refined between the slices here" if method.kind == "two-stage" else f"the method {method.name} has none"
        raise InputError(f"It is the network between the slices that goes on learning on the scan, and {what}; leave --adapt out.")
    return Budget.of(asked)


@dataclass(frozen=True)
class _Space:
    """Bytes: of the whole run, of the blocks in work, and of a "sub-pixel" network's feature maps."""

    total: int
    working: int
    features: int


def _share_memory(method: Method, models: dict[str, Model], sizes: Sizes, ensemble: str, limit: int | None, smaller: str, learning: int) -> _Space:
    """ResourceError if it is not enough; ``learning`` are the bytes of an adaptation, of which PyTorch stays in memory during the run."""
    fixed = learning + sizes.result + prod(sizes.shape) * sizes.itemsize * sizes.inputs + (_ENGINE_BYTES + usable_cores() * _WORKER_BYTES if models else 0)
    least, most, features = DEFAULT_WORKING_BYTES // 8, DEFAULT_WORKING_BYTES, 0
    available = limit or psutil.virtual_memory().available
    if method.kind == "volume":
        # The whole interpolated scan, its padded copy and the whole result lie in memory as float32, and the interpolation needs a copy.
        architecture = architecture_of(models["volume"])
        fixed += int((17 + kept_bytes(architecture, ENSEMBLES[ensemble]["volume"])) * prod(sizes.made))
        least, most = (min(count, _MOST_VOLUME_BYTES) for count in working_bytes(architecture, sizes.refined))
    if method.kind == "sub-pixel":
        # Its feature maps, beside the blocks in work: as much as they can use, but the blocks first.
        wanted = min(_MOST_VOLUME_BYTES, working_bytes(architecture_of(models["volume"], task_of(sizes.factors)), sizes.slices_first)[1])
        features = max(min(wanted, _LEAST_FEATURE_BYTES), min(wanted, available - fixed - most))
        fixed += features
    working = min(most, max(available - fixed, 0))
    if working < least:
        size = " x ".join(str(n) for n in sizes.made[::-1])
        raise ResourceError(
            f"The result ({size} voxels) needs {bytes_in_words(fixed + least)} of memory and "
            f"{f'the limit is {bytes_in_words(available)}' if limit else f'{bytes_in_words(available)} are free'}; "
            f"{'raise the limit, or ' if limit else ''}use {smaller}a part of the scan."
        )
    in_work = working if method.kind == "volume" else min(working, max(map(_largest_working_set, (sizes.output_shape, sizes.refined))))
    return _Space(fixed + in_work, working, features)


def _notes(method: Method, refinement: Refinement) -> tuple[str, ...]:
    """What the user should know of a grid that no factor gives, one sentence each."""
    through_plane = refinement.through_plane
    if refinement.notes or method.kind != "volume" or not method.slice_spacing or NEAREST_TRAINED <= through_plane <= FARTHEST_TRAINED:
        return refinement.notes
    until = f"up to {FARTHEST_TRAINED:g} times" if through_plane > FARTHEST_TRAINED else f"from {NEAREST_TRAINED:g} times on"
    return (f"The slices lie {through_plane:.1f} times as far apart as those of the result; the network was trained {until}.",)


def _check_consistency(count: int, method: Method, refinement: Refinement) -> None:
    """InputError for a number that cannot be, or a method whose result they would spoil."""
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MOST:
        raise InputError(f"{count} back-projections cannot be done; give a whole number from 0 to {MOST}.")
    if count and (method.kind == "volume" or not refinement.scale):
        raise InputError(
            f"Back-projections undo an antialiased bicubic by a factor, and {method.name} is asked for something else here; leave the consistency out."
        )


def _models(method: Method, modality: str, in_plane: int, through_plane: int | float, slices: int) -> dict[str, Model]:
    """The models by stage (InputError if the scan has too few slices, ModelError if one is missing)."""
    if not method.networks:
        return {}
    if through_plane > 1 and slices < MINIMUM_SLICES:
        instead = "use the axes in-plane" if "in-plane" in method.axes else "use an interpolation"
        raise InputError(f"The scan has {slices} slices, and the {'network' if method.volumetric else 'depth network'} needs at least {MINIMUM_SLICES}; {instead}.")
    if method.volumetric:
        return {"volume": _volumetric_model(method, modality, in_plane, through_plane)}
    factors = {"plane": in_plane, "depth": through_plane}
    models = {stage: find_model(_knows(method, modality, stage, factors[stage]).model_name(modality, stage, int(factors[stage]))) for stage in method.order if factors[stage] > 1}
    for model in models.values():
        check_kind(model, 2)
    return models


def _asking(method: Method, models: dict[str, Model], modality: str, sizes: Sizes) -> float:
    """As :class:`Plan` has it."""
    own = own_stages(method, models)
    others = {stage: find_model(find_method(method.otherwise).model_name(modality, stage, factor)) for stage, factor in own.items()}
    return work_of_asking(sizes.slices_first, [(stage, factor, model) for stage, factor in own.items() for model in (models[stage], others[stage])])


def own_stages(method: Method, models: dict[str, Model]) -> dict[str, int]:
    """Of a method that leaves some networks to another: the stages whose networks are its own, with their factors."""
    return {stage: int(model.card["scale"]) for stage, model in models.items() if model.name.startswith(f"{method.name}-")} if method.otherwise else {}


def named_by_networks(plan: Plan) -> Plan:
    """With the name of the method whose networks ran, where a scan's measured grid left all of them to another."""
    return replace(plan, method=find_method(plan.method.otherwise)) if plan.method.otherwise and not own_stages(plan.method, plan.models) else plan


def left_to(plan: Plan, name: str) -> Plan:
    """The plan for another two-stage method, with the same factors (ModelError if it is not installed)."""
    method = find_method(name)
    models = _models(method, plan.modality, plan.in_plane, plan.network_slices or plan.through_plane, plan.shape[plan.slice_axis])
    made, in_plane, _ = plan.network_factors
    sizes = Sizes(plan.shape, plan.output_shape, plan.slice_axis, (int(made), in_plane, in_plane), plan.result_bytes // prod(plan.made_shape), 0, plan.region)
    return replace(plan, method=method, models=models, accumulates=accumulates_of(models, plan.preset.ensemble, sizes, plan.working_bytes, plan.uneven), asking=0.0)


def _knows(method: Method, modality: str, stage: str, factor: int | float) -> Method:
    """The method whose network it is: it, or the one that it leaves it to."""
    return method if method.has(modality, stage, factor) else find_method(method.otherwise)


def on_measured_grid(plan: Plan, shape: Sequence[int], memory_limit: int | None = None) -> Plan:
    """The plan for a scan that was brought to another grid over the same extent before the networks; the result is the same.

    Args:
        plan: for the scan as it is stored, of a two-stage method.
        shape: voxels along (k, j, i) of the other grid.
        memory_limit: as :func:`plan_upscaling` takes it.

    Raises:
        ModelError, ResourceError: as :func:`plan_upscaling`.
    """
    axis, ratios = plan.slice_axis, factors_between(shape, plan.output_shape)
    in_plane, between = network_factor(max(ratio for number, ratio in enumerate(ratios) if number != axis)), network_factor(ratios[axis])
    models = _models(plan.method, plan.modality, in_plane, between, int(shape[axis]))
    part = plan.region and around(plan.region, plan.shape, shape)
    sizes = Sizes(tuple(shape), plan.output_shape, axis, (between, in_plane, in_plane), plan.result_bytes // prod(plan.made_shape), 2, part)
    space = _share_memory(plan.method, models, sizes, plan.preset.ensemble, memory_limit, "a smaller factor, ", 0)
    made = tuple(n * (between if number == axis else in_plane) for number, n in enumerate(shape))
    return replace(
        plan, shape=sizes.shape, in_plane=in_plane, through_plane=ratios[axis], models=models, network_slices=0 if made == plan.output_shape else between,
        memory_bytes=space.total, working_bytes=space.working, region=part,
        accumulates=accumulates_of(models, plan.preset.ensemble, sizes, space.working, plan.uneven),
    )  # fmt: skip


def blind_models(plan: Plan) -> dict[str, Model]:
    """Of a method that is told of the scan: the models by stage that step in where nothing can be told (ModelError if one is missing)."""
    return _models(find_method(plan.method.blind), plan.modality, plan.in_plane, plan.network_slices or plan.through_plane, plan.shape[plan.slice_axis])


def _volumetric_model(method: Method, modality: str, in_plane: int, through_plane: int | float) -> Model:
    """InputError for factors that it was not trained for."""
    model = find_model(method.model_name(modality, "volume", in_plane))
    check_kind(model, 3)
    if method.kind == "sub-pixel" and (through_plane, in_plane, in_plane) not in tasks_of(model):
        known = ", ".join(f"{rows},{slices}" for slices, rows, _ in tasks_of(model))
        raise InputError(f"The model {model.name} was not trained for the factors {in_plane},{through_plane} (in-plane,through-plane) but for {known}; use {DEFAULT_METHOD}.")
    return model


def _slice_axis(spacing: Sequence[float], wanted: str) -> tuple[int, tuple[str, ...]]:
    if wanted in _AXIS_NAMES:
        return _AXIS_NAMES.index(wanted), ()
    if wanted != "auto":
        raise InputError(f"The slice axis {wanted!r} does not exist; use auto, i, j or k.")
    axis = find_slice_axis(spacing)
    return axis, (f"The axis {_AXIS_NAMES[axis]} has by far the coarsest spacing and was taken as the slice axis.",) if axis else ()


def _largest_working_set(output_shape: Sequence[int]) -> int:
    """A block of slices never needs more than about this for a small scan."""
    return 16 * int(np.prod(output_shape, dtype=np.int64))
