#!/usr/bin/env python
"""Make a model folder of what train.py has trained.

    python Testing/Benchmarks/gpu/export.py OUT/mr mr.pack SCANS models
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))

import pack
from samples import LOSSES, Losses
from superres3d import __version__
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import save_model
from superres3d.training.export import _intensity, read_attribution
from train import SHARES, TASKS

METHOD = "mdsr-3d"


def main(trained: Path, packed: Path, scans: Path, models: Path) -> None:
    """See above."""
    lines = [json.loads(line) for line in (trained / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    settings = next(line for line in lines if "features" in line)
    modality, entries = pack.read_pack(packed)
    options = {"features": settings["features"], "blocks": settings["blocks"]}
    net = BlueprintNet(*[Architecture.make("mdsr", options, True, task) for task in TASKS])
    net.load_tensors(load_file(trained / "weights.safetensors"))
    card = {
        "method": METHOD,
        "modality": modality,
        "stage": "volume",
        "network": {"family": "mdsr", "options": options, "residual": True, "tasks": [list(task) for task in TASKS]},
        "intensity": _intensity(modality),
        "training_subjects": _subjects([scan.name for scan, _ in entries if scan.subset == "train"], scans),
        "validation_subjects": [scan.name for scan, _ in entries if scan.subset == "val"],
        "degradation": _degradation(LOSSES[modality]),
        "schedule": _schedule(settings, [line for line in lines if "steps" in line], modality),
        "software": f"SuperResolution3D {__version__}",
        "intended_use": "Research; not for diagnosis.",
    }
    model = save_model(net, f"{METHOD}-{modality.lower()}", models, card)
    print(model.folder, model.sha256)


def _subjects(names: list[str], scans: Path) -> list[dict[str, str]]:
    """With licence and source, as far as they are known."""
    attribution = read_attribution(scans)
    known = {"id": "", "licence": "unknown", "source": "unknown"}
    return [{**known, **attribution.get(name, {}), "id": name} for name in names]


def _schedule(settings: dict[str, Any], runs: list[dict[str, Any]], modality: str) -> dict[str, Any]:
    """What a training's lines tell of it: the first of its settings, one of each run."""
    return {
        "steps": sum(run["steps"] for run in runs),
        "seconds": round(sum(run["seconds"] for run in runs)),
        "device": settings["device"],
        "batch": settings["batch"],
        "crop": [settings["depth"], settings["side"], settings["side"]],
        "learning_rate": settings["rate"],
        "schedule": "cosine to zero, over the seconds",
        "loss": "rms",
        "precision": "bfloat16, intensities and interpolation in single",
        "shares": SHARES if modality == "MR" else {},
        "tasks": {"x".join(map(str, task)): share for task, share in TASKS.items()},
        **asdict(LOSSES[modality]),
    }


def _degradation(losses: Losses) -> str:
    bicubic = 1.0 - losses.gaussian - losses.spectral
    return (
        f"antialiased bicubic (Keys, a = -0.5, stretched by the factor), edges mirrored, on {bicubic:.0%} of the samples; {losses.gaussian:.0%} Gaussian profiles or means; "
        f"{losses.spectral:.0%} a spectrum cut to the coarse matrix, of these {losses.zero_filled:.0%} zero-filled and {losses.filtered:.0%} filtered; "
        f"white noise up to {losses.noise:.1%} of the scale on {losses.noise_share:.0%}"
    )


if __name__ == "__main__":
    typer.run(main)
