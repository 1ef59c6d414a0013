"""What the networks are told of a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..networks.told import told_of
from ..networks.weights import Model, find_model
from .estimator import FREQUENCIES, AxisDetail
from .measure import Detail, measure_detail

#: in the card of a network that is told what was measured where a loss is mild, too: it has learnt how little that tells of a scan's own softness
OF_MILD = "told_of_mild_losses"
#: in the card of a network: the name of the one that takes its place where a scan is sharp by nature, as those of sharp CT kernels are
FOR_SHARP = "for_sharp_scans"
_WHERE = {"depth": "between the slices", "plane": "within the slices"}
_NO_NOISE = 0.06  # below, in units of noise, there is none
_UNSURE_UNIT, _EXTENT_UNIT = 0.1, 0.2
_MOST_UNSURE, _MOST_APART, _FARTHEST, _FARTHEST_ACROSS = 0.2, 0.15, 1.5, 1.2
_CLEAR_LOSS = 0.72  # share of the detail left at 0.55 of the Nyquist frequency
_CLEARLY_EMPTY = {"MR": 0.87, "CT": 0.72}  # extent
_WHOLE = 0.93  # extent
#: modality, stage and factor that are told of clear losses alone: no validation scan has slices enough to see what a mild one does
_CLEAR_ALONE = ("CT", "depth", 4)
_SHARP = 0.95  # what seems left at 0.55 of the Nyquist frequency, which no loss leaves of scans that are not sharp


def axes_of(detail: Detail, stage: str) -> tuple[AxisDetail | None, ...]:
    """Those that a stage refines: of "plane" rows and columns, of "depth" the axis across the slices."""
    return (detail.rows, detail.columns) if stage == "plane" else (detail.across,)


def is_sure(axes: Sequence[AxisDetail | None]) -> bool:
    """Whether what was measured along the axes of a stage is sure enough to be told."""
    measured = [axis for axis in axes if axis is not None]
    farthest = _FARTHEST_ACROSS if len(axes) == 1 else _FARTHEST
    return len(measured) == len(axes) and all(axis.unsure < _MOST_UNSURE and axis.apart < _MOST_APART and axis.far < farthest for axis in measured)


def is_clear(axes: Sequence[AxisDetail], modality: str) -> bool:
    """Whether the loss of detail along the axes of a stage is clear enough to be undone.

    Scans differ in how soft they are by nature.  A mild loss cannot be told from that, and to undo what was never lost would sharpen too much: there
    networks are told the noise alone, or learn how far what was measured is to be believed.  Between the slices of CT, which are means, networks have met no spectrum that ends.
    """
    soft = all(axis.transfer[1] < _CLEAR_LOSS for axis in axes)
    empty = any(axis.extent < _CLEARLY_EMPTY[modality] for axis in axes)
    return soft and axes[0].extent > _WHOLE if len(axes) == 1 and modality == "CT" else soft or empty


def is_worth_telling(axes: Sequence[AxisDetail | None], modality: str) -> bool:
    """Whether the loss of detail itself is told: sure, and clear."""
    return is_sure(axes) and is_clear([axis for axis in axes if axis is not None], modality)


def is_sharp(axes: Sequence[AxisDetail]) -> bool:
    """Whether so much detail is left along the axes of a stage that the scan must be sharper by nature than others."""
    return float(np.mean([axis.transfer[1] for axis in axes])) > _SHARP


def conditions(
    axes: Sequence[AxisDetail], keep_noise: bool, coarse: bool | None = None, clear: bool = True, least_noise: float = 0.0, of_mild: bool = False
) -> tuple[float, ...]:
    """The numbers that a network is told, in the order in which it learnt them.

    Args:
        axes: that it refines.
        keep_noise: the noise is to stay.
        coarse: for "depth": the slices are still to be refined themselves.
        clear: the loss of detail is, see :func:`is_clear`.
        least_noise: where a clear loss is undone, which would make noise that passed for detail stronger.
        of_mild: a loss that is not clear is told as well.
    """
    noise = float(np.prod([axis.noise ** (1 / len(axes)) for axis in axes]))
    noise = max(noise, least_noise) if clear else noise
    known = clear or of_mild
    unsure = [known * axis.unsure / _UNSURE_UNIT for axis in axes]
    extents = [(1.0 - axis.extent) / _EXTENT_UNIT for axis in axes]
    return told_of([axis.transfer for axis in axes], known, clear, noise if noise >= _NO_NOISE else 0.0, keep_noise, coarse, unsure, extents)


@dataclass(frozen=True)
class Told:
    """The networks of a run, and what they were told.

    Attributes:
        models: by stage, in their order; where what was measured is unsure, those that need not be told.
        notes: for a user, one sentence each.
        report: ready for JSON.
    """

    models: dict[str, Model]
    notes: tuple[str, ...]
    report: dict[str, Any]


def tell(models: Mapping[str, Model], blind: Mapping[str, Model], voxels: np.ndarray, modality: str, keep_noise: bool, detail: Detail | None = None) -> Told:
    """Measure a scan, and tell its networks.

    Args:
        models: of a method that is told, by stage.
        blind: those that step in.
        voxels: (slices, rows, columns), any real dtype.
        modality: "CT" or "MR".
        keep_noise: the scan's noise is to stay.
        detail: of these voxels, where it has been measured.

    Raises:
        ModelError: the estimator is missing or damaged.
    """
    detail = detail or measure_detail(voxels, modality)
    sure = [stage for stage in models if is_sure(axes_of(detail, stage))]
    clear = [stage for stage in sure if is_clear(measured(detail, stage), modality)]
    told = [stage for stage in sure if stage in clear or (modality, stage, models[stage].card.get("scale")) != _CLEAR_ALONE]
    chosen = {stage: _told(model, detail, stage, stage in clear, keep_noise, "plane" in models) if stage in told else blind[stage] for stage, model in models.items()}
    unmeasured = [_WHERE[stage] for stage in models if None in axes_of(detail, stage)]
    notes = (f"The scan is too small or too empty to measure its detail {' and '.join(unmeasured)}; the networks there take it as usual.",) if unmeasured else ()
    return Told(chosen, notes, {"measured": in_report(detail), "noise": "keep" if keep_noise else "reduce", "told": told, "clear": clear})


def measured(detail: Detail, stage: str) -> list[AxisDetail]:
    """The axes of a stage without those that could not be measured."""
    return [axis for axis in axes_of(detail, stage) if axis is not None]


def _told(model: Model, detail: Detail, stage: str, clear: bool, keep_noise: bool, coarse: bool) -> Model:
    axes, least = measured(detail, stage), detail.least_noise if stage == "plane" else 0.0
    if FOR_SHARP in model.card and is_sharp(axes):
        model = find_model(model.card[FOR_SHARP])
    of_mild = bool(model.card.get(OF_MILD))
    return replace(model, conditions=conditions(axes, keep_noise, coarse if stage == "depth" else None, clear, least, of_mild))


def in_report(detail: Detail) -> dict[str, Any]:
    """What was measured, ready for JSON: the axes across the slices, and along the rows' and the columns' numbers; the noise in the scan's own units."""
    axes = {name: getattr(detail, name) for name in ("across", "rows", "columns")}
    rounded = {name: None if axis is None else {key: np.round(value, 3).tolist() for key, value in asdict(axis).items()} for name, axis in axes.items()}
    noises = [axis.noise * detail.noise_unit for axis in axes.values() if axis is not None]
    return {"frequencies": FREQUENCIES, **rounded, "noise_sd": float(np.median(noises)) if noises else None}
