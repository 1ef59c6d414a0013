"""The error map: how large the errors of a result are to be expected, around each of its voxels.

"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import InputError
from ..plan import Plan
from ..scan.volume import Volume
from ..upscaling import Result
from .calibration import COVERAGE, Calibration, calibrate, inside
from .doubtful import Place, doubtful_places
from .expected import SIGMA, expected_error, weights_of


@dataclass(frozen=True)
class ErrorMap:
    """What is to be expected of a result.

    Attributes:
        volume: the expected local error, float32, in the scan's units, on the result's grid.
        bound: times the map, a bound that is to hold for 90 % of the voxels inside the body.
        places: where to look twice.
        report: ready for JSON, the sentences included.
    """

    volume: Volume
    bound: float
    places: list[Place]
    report: dict[str, Any]


def check_plan(plan: Plan) -> None:
    """Refuse, before the work, what has no error map (InputError)."""
    if not plan.method.networks:
        raise InputError(f"An error map tells how far networks may be off, and {plan.method.name} has none; leave --error-map out, or choose another method.")


def map_errors(
    volume: Volume, result: Result, plan: Plan, choices: Mapping[str, Any],
    progress: Callable[[float], None] | None = None, cancelled: Callable[[], bool] | None = None,
) -> ErrorMap:  # fmt: skip
    """The error map of a result.

    Args:
        volume: the scan.
        result: of :func:`superres3d.upscaling.upscale` with ``spread=True``.
        plan: of that run; see :func:`superres3d.upscaling.plan_for`.
        choices: its arguments; the scan is made coarser once more and upscaled again with them.
        progress: told the share of that work that is done.
        cancelled: asked often; a true answer stops it.

    Raises:
        InputError: an interpolation, or a scan too small to be made coarser.
        ModelError, DeviceError, ResourceError, Cancelled: see :mod:`superres3d.errors`.
    """
    check_plan(plan)
    ensemble = plan.preset.ensemble != "none"
    found = calibrate(volume, plan, choices, progress, cancelled)
    weights = weights_of(plan.modality, ensemble, found.checked)
    expected = expected_error(volume.voxels, result.volume.voxels, result.spread, weights)
    scale = found.scale * weights.transfer
    expected *= np.float32(scale)
    bound = found.bound / found.scale
    told = replace(result.volume, voxels=expected)
    body = inside(result.volume.voxels, plan.modality)
    places = doubtful_places(told, body)
    return ErrorMap(told, bound, places, _report(plan, found, expected, body, bound, places))


def _report(plan: Plan, found: Calibration, expected: np.ndarray, body: np.ndarray, bound: float, places: list[Place]) -> dict[str, Any]:
    unit = "HU" if plan.modality == "CT" else ""
    asked, by = found.checked.split("-")
    typical = float(np.median(expected[body][:: max(1, int(body.sum()) // 1_000_000)])) if body.any() else 0.0
    return {
        "what": f"Expected error: root of the mean square error under a Gaussian window of {SIGMA:g} voxels of the result, in the scan's units{f' ({unit})' if unit else ''}.",
        "unit": unit,
        "typical": float(f"{typical:.4g}"),
        "bound": float(f"{bound:.4g}"),
        "coverage": COVERAGE,
        "statement": (
            f"Made coarser {by} times once more by antialiased bicubic and upscaled again, this scan's own local error was below {bound:.2f} times the expected one in {COVERAGE:.0%} of its voxels inside the body. "
            "Where the scan lost its detail in that way the bound is to hold for about as many voxels of the result. "
            "It was measured one scale coarser and does not know how the scanner lost detail: it says nothing of single voxels or of structures that left no trace in the scan."
            + ("" if asked == by else f" The scan was too small to be made coarser {asked} times.")
        ),
        "doubtful": [place.told() for place in places],
        "doubtful_words": [place.words(unit) for place in places],
    }
