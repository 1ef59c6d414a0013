"""The error map: how large the errors around each voxel of a result are to be expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import psutil

from ..engine.memory import kept_heap
from ..engine.progress import Progress
from ..errors import InputError, ResourceError, bytes_in_words
from ..plan import Plan
from ..scan.intensity import floor_of
from ..scan.volume import Volume, accepted
from ..upscaling import NOT_PLANNED, Result, plan_for, upscale
from .body import body_mask
from .calibration import COVERAGE, Calibration, calibrate, root_mean_square
from .careful import Restraint
from .careful import careful as taken_back
from .doubtful import Place, doubtful_places, inner
from .expected import SIGMA, Bound, bound_of, expected_error, transfer_of
from .head import head_of

_FLOAT = 4
CHECKING = 0.1  # of the progress
_SAMPLE = 1_000_000
SCANS = 0.95  # of the scans on which the bound was fitted: there it held for the coverage or more


@dataclass(frozen=True)
class ErrorMap:
    """What is to be expected of a result.

    Attributes:
        volume: the expected local error, float32, in the scan's units, on the result's grid.
        bound: times the map, it was above the local error for 90 % of the voxels inside the body or more on 19 of 20 scans whose truth is known and that are about as sharp;
            None: the scan is too small to tell.
        places: where to look twice.
        report: ready for JSON, the sentences included.
    """

    volume: Volume
    bound: float | None
    places: list[Place]
    report: dict[str, Any]


def upscale_with_doubt(
    volume: Volume, scale: int | tuple[int, int] | None = None, *, errors: bool = True, careful: bool = False,
    progress: Progress | None = None, cancelled: Callable[[], bool] | None = None, **choices: Any,
) -> tuple[Result, ErrorMap | None]:  # fmt: skip
    """Upscale a scan, and tell how far the result may be off.

    Args:
        volume: voxels (k, j, i), not changed.
        scale, choices: as :func:`superres3d.upscaling.upscale` takes them.
        errors: make the error map; the scan is made coarser once more and upscaled again for it.
        careful: take back what the networks add over Lanczos where the expected error exceeds it.
        progress: called with (stage, share of the whole that is done).
        cancelled: asked often; a true answer stops the work.

    Raises:
        InputError: an interpolation, or a scan too small to be made coarser.
        ModelError, DeviceError, ResourceError, Cancelled: see :mod:`superres3d.errors`.
    """
    volume = accepted(volume, "The scan")
    plan = check_doubt(volume, scale, errors, careful, **choices)
    restraint = Restraint.of(volume.voxels, plan.modality, plan.network_factors) if careful else None
    before = 1.0 - CHECKING if errors else 1.0
    checking = (lambda share: progress("checking", before + CHECKING * share)) if progress else None
    told = (lambda stage, share: progress(stage, before * share)) if progress else None
    result = upscale(volume, scale, spread=members_differ(plan), progress=told, cancelled=cancelled, **choices)
    used = choices | {"method": result.report["method"]}  # perhaps not what was asked for: see superres3d.ahead
    found, why = asked_of(volume, plan, used, restraint, checking, cancelled) if errors else (None, "")
    drawn, head = result.volume.voxels, head_of(plan.modality, plan.preset.ensemble != "none")
    result.report["careful"] = careful
    expected = expected_error(volume.voxels, drawn, result.spread, head)
    if restraint:
        result = replace(result, volume=replace(result.volume, voxels=taken_back(volume.voxels, drawn, expected, restraint, floor_of(volume.voxels, plan.modality))))
    if not errors:
        return result, None
    made = told_errors(result, plan, found, why, expected)
    return result, made


def told_errors(result: Result, plan: Plan, found: Calibration | None, why: str, expected: np.ndarray, rougher: float = 1.0) -> ErrorMap:
    """The map of a result, whose report tells of it.

    Args:
        result: with its volume.
        plan: of the run.
        found: what the scan told; None: it could not be asked.
        why: the reason for that.
        expected: of the result's shape; see :func:`superres3d.trust.expected.expected_error`; changed.
        rougher: of a part: so many times as rough the scan is as a whole.
    """
    with kept_heap():
        made = _told(result, plan, found, expected, rougher)
    if found is None:
        result.report["warnings"].append(f"The error map is not calibrated on this scan: {why}")
    result.report["error_map"] = made.report
    return made


def _told(result: Result, plan: Plan, found: Calibration | None, expected: np.ndarray, rougher: float) -> ErrorMap:
    body = body_mask(result.volume.voxels, plan.modality)
    if found is not None:
        across_alone = max(plan.network_factors[1:]) <= 1
        found = found.carried_over(transfer_of(plan.modality, found.checked[0], across_alone), rougher * root_mean_square(expected[body]))
        expected = found.applied(expected)
    return _map_of(result, plan, found, expected, body)


def asked_of(volume: Volume, *given: Any) -> tuple[Calibration | None, str]:
    """What the scan told, or why it could not be asked; arguments as :func:`superres3d.trust.calibration.calibrate`."""
    try:
        return calibrate(volume, *given), ""
    except InputError as error:
        return None, str(error)


def members_differ(plan: Plan) -> bool:
    """Whether the networks of a run have turned copies, or two slicings between the slices, that can differ."""
    return plan.preset.ensemble != "none" or plan.network_factors[0] > 1


def check_doubt(volume: Volume, scale: int | tuple[int, int] | None, errors: bool, careful: bool, **choices: Any) -> Plan:
    """Refuse before the work what has no error map (InputError), or would not fit into memory (ResourceError); returns the plan."""
    plan, _ = plan_for(volume, scale, **{key: value for key, value in choices.items() if key not in NOT_PLANNED})
    if not plan.method.networks:
        what = "An error map tells how far networks may be off" if errors else "Careful takes back what networks add"
        raise InputError(f"{what}, and {plan.method.name} has none; leave {'the error map' if errors else 'careful'} out, or choose another method.")
    each = (2 * _FLOAT if errors else _FLOAT) + (volume.voxels.itemsize if careful else 0)
    needed, free = prod(plan.output_shape) * each + plan.result_bytes, choices.get("memory_limit") or psutil.virtual_memory().available
    if needed > free:
        raise ResourceError(f"The result and how far it may be off need {bytes_in_words(needed)} of memory and {bytes_in_words(free)} are free or allowed; use a smaller factor, or go without.")
    return plan


def _map_of(result: Result, plan: Plan, found: Calibration | None, expected: np.ndarray, body: np.ndarray) -> ErrorMap:
    told = replace(result.volume, voxels=expected)
    places = doubtful_places(told, body & inner(body.shape, plan.factors))
    values = expected[body]
    typical = float(np.median(values[:: max(1, values.size // _SAMPLE)])) if values.size else 0.0
    unit = "HU" if plan.modality == "CT" else ""
    bound = bound_of(found.fall) if found and found.fall is not None else None
    report = {
        "what": f"Expected error: root of the mean square error under a Gaussian window of {SIGMA:g} voxels of the result, in {unit or 'the units of the scan'}.",
        "unit": unit,
        "typical": float(f"{typical:.4g}"),
        "calibrated": found is not None,
        "bound": float(f"{bound.most:.4g}") if bound else None,
        "coverage": COVERAGE if bound else None,
        "held_for": [round(share, 3) for share in bound.most_held] if bound else None,
        "middle": {"times": float(f"{bound.middle:.4g}"), "held_for": [round(share, 3) for share in bound.middle_held]} if bound else None,
        "statement": _statement(found, bound),
        "doubtful": [place.told() for place in places],
        "doubtful_words": [place.words(unit) for place in places],
    }
    return ErrorMap(told, bound.most if bound else None, places, report)


def _statement(found: Calibration | None, bound: Bound | None) -> str:
    if found is None:
        return "The size of these errors is that of other scans; no bound is claimed for this one. Use the map to see where errors are likelier than elsewhere."
    asked, by = found.checked
    measured = f"How large the errors are was measured on this scan itself, made coarser {by} times by {found.way} and upscaled again, and carried over as on other scans whose truth is known."
    smaller = f" The scan is too small to be made coarser {asked} times." if asked != by else ""
    use = f"Go by where the map is bright rather than by its numbers. They are for many voxels together, not for a single voxel or finding.{smaller}"
    if bound is None:
        return f"No bound is claimed: the scan is too small to tell how far these numbers may be off. {measured} {use}"
    return (
        f"On {SCANS:.0%} of other scans that are about as sharp and whose truth is known, {bound.most:.2f} times the map was above the local error for {COVERAGE:.0%} of the voxels inside the body or more. "
        f"On the others it was not: it is no promise for this scan. {bound.middle:.2f} times the map was so for {COVERAGE:.0%} in the middle of those scans, and for between {bound.middle_held[0]:.0%} and "
        f"{bound.middle_held[1]:.0%} on nine of ten: a scan does not tell better how large its errors are. {measured} {use}"
    )
