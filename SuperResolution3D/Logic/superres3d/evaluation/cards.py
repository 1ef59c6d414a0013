"""Measured quality into the cards of the models, and each card as a page to read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import replace_text
from ..upscaling import NOT_FOR_DIAGNOSIS
from ..weights import CARD
from .tables import gain_of

Row = dict[str, Any]
_TASKS = {"plane": "in-plane", "depth": "3-D"}  # where a network's own work shows


def update_cards(results: Path, models: Path) -> list[Path]:
    """Put the gains of an evaluation into the cards whose weights it used, and rewrite their pages.

    Args:
        results: ``results.json`` of an evaluation.
        models: folder of models; a model with other weights than the evaluated is left alone.

    Returns:
        The folders that were changed.
    """
    content = json.loads(results.read_text(encoding="utf-8"))
    changed = []
    for name, sha256 in content["models"].items():
        path = models / name / CARD
        if not path.is_file():
            continue
        card = json.loads(path.read_text(encoding="utf-8"))
        if card["sha256"] != sha256:
            continue
        card["metrics"] = _metrics(card, content)
        replace_text(path, json.dumps(card, indent=2) + "\n")
        replace_text(path.parent / "README.md", card_page(card))
        changed.append(path.parent)
    return changed


def _metrics(card: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    task = _TASKS[card["stage"]]
    rows = [row for row in content["results"] if (row["modality"], row["task"], row["scale"]) == (card["modality"], task, card["scale"])]
    gains = {metric: gain_of(rows, card["method"], metric) for metric in ("psnr", "ssim", "psnr_foreground")}
    return {
        "subset": content["protocol"]["subset"],
        "task": task if task == "in-plane" else f"{task}, together with the plane network of the same factor",
        "subjects": sorted({row["subject"] for row in rows}),
        "gain_over_lanczos": {metric: {"mean": gain.mean, "interval_95": gain.interval} for metric, gain in gains.items()},
        "protocol": "models/EVALUATION.md",
    }


def card_page(card: dict[str, Any]) -> str:
    """A model card as Markdown."""
    network, schedule = card["network"], card["schedule"]
    metrics = card.get("metrics")
    subjects = "\n".join(f"| {s['id']} | {s['licence']} | {s['source']} |" for s in card["training_subjects"])
    return f"""# {card["name"]}

{NOT_FOR_DIAGNOSIS}

The {card["stage"]} network of the method `{card["method"]}` for {card["modality"]}, factor {card["scale"]}: {card["parameters"]:,} parameters,
{card["multiply_accumulates_per_pixel"]:,} multiply-accumulates per input pixel, {"residual over cubic interpolation" if network["residual"] else "the published form"}, {network["filters"]} filters.

- Intensities: {card["intensity"]}.
- Degradation in training: {card["degradation"]}; blur with probability {schedule["blur_probability"]}, sigma up to {schedule["blur_sigma"]} pixel; intensity gain up to {schedule["gain"]}.
{_coarse_text(schedule)}- Schedule as run: {schedule["steps"]:,} steps of {schedule["batch"]} patches ({schedule["patch"]} low-resolution pixels), Adam, learning rate {schedule["learning_rate"]:g}, {schedule["schedule"]}, {schedule["precision"]}, seed {schedule["seed"]}.
- Validation subjects: {", ".join(card["validation_subjects"])}.
- SHA-256 of `weights.safetensors`: `{card["sha256"]}`.

{_metrics_text(metrics) if metrics else "Not evaluated yet."}

## Training subjects

| subject | licence | source |
|---|---|---|
{subjects}
"""


def _coarse_text(schedule: dict[str, Any]) -> str:
    share = schedule.get("coarse_across", 0.0)
    return f"- {share:.0%} of the training patches from scans made coarser in-plane by the factor, as the network meets them when it runs first.\n" if share else ""


def _metrics_text(metrics: dict[str, Any]) -> str:
    gains = metrics["gain_over_lanczos"]

    def text(metric: str, digits: int, unit: str) -> str:
        gain = gains[metric]
        interval = f" [{gain['interval_95'][0]:+.{digits}f}, {gain['interval_95'][1]:+.{digits}f}]" if gain["interval_95"] else ""
        return f"{gain['mean']:+.{digits}f}{interval}{unit}"

    return (
        f"Gain over Lanczos on the {metrics['subset']} subjects ({metrics['task']}; {len(metrics['subjects'])} subjects, 95% interval): "
        f"PSNR {text('psnr', 2, ' dB')}, on the foreground {text('psnr_foreground', 2, ' dB')}, SSIM {text('ssim', 4, '')}.\n"
        f"Subjects: {', '.join(metrics['subjects'])}. Protocol: {metrics['protocol']}."
    )
