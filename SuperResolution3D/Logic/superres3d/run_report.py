"""What a run tells of itself, ready for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import __version__
from .engine.memory import peak_bytes, usable_cores
from .engine.progress import Watch
from .methods import ENSEMBLES, INVENTS
from .plan import Plan
from .scan.region import in_report
from .scan.volume import Volume

if TYPE_CHECKING:
    from .engine.engine import Engine

NOT_FOR_DIAGNOSIS = "Research software, not for diagnosis."


def report_of(plan: Plan, volume: Volume, watch: Watch, block_count: int, engine: Engine | None, notes: list[str], seconds: float) -> dict[str, Any]:
    """Of a finished run.

    Args:
        plan: with the models that were used.
        volume: the scan.
        watch: knows the seconds of the stages.
        block_count: in how many blocks it was computed.
        engine: None for an interpolation.
        notes: for a user, one sentence each.
        seconds: from first to last.
    """
    dtype = str(volume.voxels.dtype)
    return {
        "software": f"SuperResolution3D {__version__}",
        "statement": NOT_FOR_DIAGNOSIS,
        **_choices_told(plan),
        "input": {"shape_ijk": list(plan.shape[::-1]), "spacing_mm": list(volume.spacing), "dtype": dtype},
        "output": {
            "shape_ijk": list(plan.made_shape[::-1]),
            "spacing_mm": [s / f for s, f in zip(volume.spacing, plan.factors[::-1])],
            "dtype": dtype,
        },
        "region": in_report(volume, plan.region, plan.window) if plan.region else None,
        "device": engine.runtime.device if engine else "cpu",
        "engine": engine.runtime.name if engine else None,
        "precision": engine.runtime.precision if engine else "float32",
        "blocks": block_count,
        "seconds": {**{name: round(value, 3) for name, value in watch.seconds.items()}, "total": round(seconds, 3)},
        "peak_memory_bytes": peak_bytes(),
        "cpu_threads": usable_cores(),
        "warnings": notes,
    }


def _choices_told(plan: Plan) -> dict[str, Any]:
    """What was chosen, for the report."""
    return {
        "method": plan.method.name,
        "paper": plan.method.paper,
        "invents": INVENTS if plan.method.adversarial else None,
        "models": {stage: {"name": model.name, "sha256": model.sha256} for stage, model in plan.models.items()},
        "modality": plan.modality,
        "factors_ijk": list(plan.factors[::-1]),
        "slice_spacing_mm": plan.slice_spacing or None,
        "spacing_mm": list(plan.spacing) if plan.spacing else None,
        "slice_axis": "kji"[plan.slice_axis],
        "preset": plan.preset.name if plan.method.networks else None,
        "ensemble": plan.preset.ensemble if plan.method.networks else None,
        "back_projections": plan.consistency,
        "turned_copies": {stage: ENSEMBLES[plan.preset.ensemble][stage] for stage in plan.models} or None,
    }
