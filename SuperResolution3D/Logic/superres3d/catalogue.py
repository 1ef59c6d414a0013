"""What the catalogue tells of a method to a reader: with cost, and whether its models are here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .methods import DEFAULT_PRESET, INVENTS, Method, is_installed
from .plan import Plan, plan_upscaling

_NOMINAL = (40, 512, 512)  # voxels (k, j, i) of the scan that the cost is told for: margins of tiles weigh on large ones
_NOMINAL_SPACING = (0.8, 0.8, 5.0)  # mm along (i, j, k)
_ENOUGH_MEMORY = 64 << 30


def describe_method(method: Method) -> dict[str, Any]:
    """A method's entry, ready for JSON: its fields, and

    - refines: its factors or its distance of slices, in words;
    - installed: the modalities for which its models are here;
    - cost: one sentence, for a million voxels of the result; "" for interpolations;
    - caution: of methods that may invent.
    """
    installed = [modality for modality in method.modalities if is_installed(method, modality)]
    refines = f"x{', x'.join(map(str, method.scales))}" if method.scales else f"slices of {method.slice_spacing:g} mm from {method.slice_range[0]:g} to {method.slice_range[1]:g} mm"
    return {
        **asdict(method),
        "refines": refines,
        "installed": installed,
        "cost": _cost(method, installed),
        "caution": INVENTS if method.adversarial and INVENTS not in method.when_not else "",
    }


def _cost(method: Method, installed: list[str]) -> str:
    if not method.networks:
        return ""
    if not installed:
        return "Not installed: its models come by training; see models/recipes and docs/development.md."
    plan = plan_upscaling(_NOMINAL, _NOMINAL_SPACING, "int16", method=method.name, modality=installed[0], memory_limit=_ENOUGH_MEMORY, inputs_in_memory=0)
    return f"Cost of a million voxels of the result: {_operations(plan):.2g} tera multiply-accumulates, here about {_seconds(plan):.2g} s (preset {DEFAULT_PRESET})."


def _million(plan: Plan) -> float:
    """Million voxels of the result."""
    return plan.output_shape[0] * plan.output_shape[1] * plan.output_shape[2] / 1e6


def _operations(plan: Plan) -> float:
    return plan.accumulates / _million(plan) / 1e12


def _seconds(plan: Plan) -> float:
    return plan.seconds / _million(plan)
