"""A depth network goes on learning on the scan, and is used where that helped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from ..detail.measure import Detail, measure_detail
from ..errors import ResourceError
from ..networks.weights import Model, architecture_of, has_model, in_memory
from ..resampling.profiles import PROFILES, profile_matrix
from ..scan.intensity import intensity_scale
from ..scan.volume import Volume
from .budget import Budget
from .pairs import OwnDetail, SliceProfile, own_detail
from .thickness import thickness_of

Tick = Callable[[float], None]
_LEARNING = (0.03, 0.97)  # of the progress; before and after it is judged
_MANY_SLICES = 64  # whose middle row shows how much of the noise a thick slice averages away


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes:
        model: to be used: the adapted one, or that which was given.
        notes: for a user, one sentence each.
        report: ready for JSON.
    """

    model: Model
    notes: tuple[str, ...]
    report: dict[str, Any]


def adapt(model: Model, volume: Volume, slice_axis: int, modality: str, budget: Budget, device: str, tick: Tick, reduce_noise: bool = False) -> Adapted:
    """Let a network between the slices learn on what a scan shows within them.

    Args:
        model: of the stage "depth", told what it is to be told.
        volume: the scan, (k, j, i).
        slice_axis: 0 = k, 1 = j, 2 = i.
        modality: "CT" or "MR".
        budget: checked.
        device: as PyTorch names it.
        tick: told the finished share often; may raise to stop.
        reduce_noise: it also learns to take away as much noise as slices have more than lines that were made coarse.

    Raises:
        ModelError: the model, or the estimator of the detail, is damaged.
        ResourceError: memory ran out.
    """
    voxels = np.moveaxis(volume.voxels, slice_axis, 0)
    spacing = [volume.spacing[2 - axis] for axis in (slice_axis, *(axis for axis in range(3) if axis != slice_axis))]
    scale, factor = intensity_scale(voxels, modality), architecture_of(model).factors[0]
    measured = measure_detail(voxels, modality) if has_model(f"detail-{modality.lower()}") else None
    thickness = thickness_of(volume, slice_axis, modality, measured.across if measured else None, budget)
    detail = own_detail(voxels, lambda slices: scale.split(scale.normalise(slices))[0], spacing, factor, thickness.profiles)
    report = {"asked_seconds": budget.seconds, "seed": budget.seed, "used": False, **thickness.report(spacing[0])}
    if detail is None:
        note = f"The scan is too small to learn from: {' x '.join(str(n) for n in voxels.shape[:0:-1])} pixels and {len(voxels)} slices; the network as shipped was used."
        return Adapted(model, (*thickness.notes, note), report)
    noise = _missing_noise(measured, scale.span, factor, thickness.profiles[0]) if reduce_noise else 0.0
    learnt, told = _somewhere(model, detail, budget, noise, device, tick)
    report |= told
    moved = () if told["device"] == device else (f"The network could not learn on {device}; it learnt on the CPU.",)
    return Adapted(learnt if report["used"] else model, (*thickness.notes, *moved, _sentence(report)), report)


def _somewhere(model: Model, detail: OwnDetail, budget: Budget, noise: float, device: str, tick: Tick) -> tuple[Model, dict[str, Any]]:
    """As :func:`_learnt`, on the CPU where the device gives out (ResourceError if memory ran out there as well)."""
    try:
        return _learnt(model, detail, budget, noise, device, tick)
    except (RuntimeError, AssertionError) as error:  # what PyTorch raises, its out-of-memory errors included
        if device == "cpu" and "alloc" in str(error):
            raise ResourceError("Memory ran out while the network learnt on the scan; leave --adapt out, or use a part of the scan.") from None
        if device == "cpu":
            raise
    return _learnt(model, detail, budget, noise, "cpu", tick)


def _learnt(model: Model, detail: OwnDetail, budget: Budget, noise: float, device: str, tick: Tick) -> tuple[Model, dict[str, Any]]:
    """The adapted model, and what there is to report of it."""
    from ..networks.weights import load_network
    from .judging import gains, helps
    from .learning import learn

    first, last = _LEARNING
    net, began = load_network(model).to(device), time.perf_counter()
    before = gains(net, detail, noise, device, lambda: tick(0.0))
    steps = learn(net, detail, budget, noise, device, lambda share: tick(first + (last - first) * share))
    after = gains(net, detail, noise, device, lambda: tick(last))
    adapted = in_memory(net, model, f"{model.name}-adapted")
    return adapted, {
        "used": helps(before, after),
        "device": device,
        "seconds": round(time.perf_counter() - began, 1),
        "steps": steps,
        "slices_learnt": detail.slices[0],
        "slices_kept_apart": detail.slices[1],
        "gain_before_db": [round(gain, 2) for gain in before],
        "gain_after_db": [round(gain, 2) for gain in after],
        "start": {"name": model.name, "sha256": model.sha256},
        "adapted": {"name": adapted.name, "sha256": adapted.sha256},
    }


def _sentence(report: dict[str, Any]) -> str:
    before, after = (float(np.mean(report[name])) for name in ("gain_before_db", "gain_after_db"))
    figures = f"on slices of this scan kept apart it came {after:.2f} dB closer than Lanczos, before {before:.2f} dB"
    if report["used"]:
        return f"The network between the slices went on learning on this scan for {report['seconds']:.0f} s: {figures}."
    return f"The network as shipped was better on this scan; it was used (after learning: {figures})."


def _missing_noise(measured: Detail | None, span: float, factor: int, profile: SliceProfile) -> float:
    """Standard deviation, network units, that lines within the slices lose when they are made coarse; a real slice has it."""
    axes = [axis for axis in (measured.rows, measured.columns) if axis] if measured else []
    if not measured or not axes:
        return 0.0
    weights = profile_matrix(_MANY_SLICES * factor, _MANY_SLICES, PROFILES[profile.name], profile.share * factor)[_MANY_SLICES // 2]
    return float(np.mean([axis.noise for axis in axes])) * measured.noise_unit / span * sqrt(max(0.0, 1.0 - float(np.square(weights).sum())))
