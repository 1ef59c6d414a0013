"""Measured quality into the cards of the models, and each card as a page to read."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import replace_text
from ..methods import METHODS
from ..networks.weights import CARD
from ..upscaling import NOT_FOR_DIAGNOSIS
from .tables import GROUND, gain_of

Row = dict[str, Any]
_TASKS = {"plane": "in-plane", "depth": "3-D"}  # where a network's own work shows


def check_cards(models: Path, methods: Collection[str], overwrite: bool) -> None:
    """Refuse before an evaluation to replace published figures by it, unless that was asked for.

    Args:
        models: folder of models.
        methods: that will be evaluated.
        overwrite: it was.

    Raises:
        InputError: see above, or no such folder.
    """
    if not models.is_dir():
        raise InputError(f"The folder {models} of the models does not exist; correct --cards.")
    cards = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(models.glob(f"*/{CARD}"))}
    measured = [name for name, card in cards.items() if card.get("method") in methods and card.get("metrics")]
    if measured and not overwrite:
        raise InputError(f"The cards of {len(measured)} models in {models} have metrics, such as that of {measured[0]}; evaluate without --cards, or replace them with --overwrite.")


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
        metrics = _metrics(card, content)
        if metrics is None:  # evaluated in another task than its own
            continue
        card["metrics"] = metrics
        replace_text(path, json.dumps(card, indent=2) + "\n")
        replace_text(path.parent / "README.md", card_page(card))
        changed.append(path.parent)
    return changed


def _metrics(card: dict[str, Any], content: dict[str, Any]) -> dict[str, Any] | None:
    """None if the evaluation has nothing on the network's own task."""
    task = _own_task(card)
    rows = [row for row in content["results"] if _is_of(card, task, row)]
    if not rows:
        return None
    return {
        "subset": content["protocol"]["subset"],
        "task": f"{task}, together with the plane network of the same factor" if card["stage"] == "depth" else task,
        "subjects": sorted({row["subject"] for row in rows}),
        "gain_over_lanczos": _gains_by_factor(rows, card["method"]),
        "protocol": "models/EVALUATION-VOLUMETRIC.md" if card["stage"] == "volume" else "models/EVALUATION.md",
    }


def _own_task(card: dict[str, Any]) -> str:
    """The task that shows a network's own work; one that refines a volume is measured where it refines all axes."""
    return card["schedule"].get("degradation", "3-D") if card["stage"] == "volume" else _TASKS[card["stage"]]


def _is_of(card: dict[str, Any], task: str, row: Row) -> bool:
    """Whether a row is of the scans, the task and the factor of a network."""
    return row["modality"] == card["modality"] and row["task"] == task and (card["stage"] == "volume" or row["scale"] == card["scale"])


def _gains_by_factor(rows: list[Row], method: str) -> dict[str, Any]:
    scales = sorted({row["scale"] for row in rows})
    return {f"{scale}x": _gains([row for row in rows if row["scale"] == scale], method) for scale in scales}


def _gains(rows: list[Row], method: str) -> dict[str, Any]:
    gains = {metric: gain_of(rows, method, metric) for metric in ("psnr", "ssim", "psnr_foreground")}
    told = {metric: {"mean": gain.mean, "interval_95": gain.interval} for metric, gain in gains.items() if gain}
    return told | {"ground": _mean_ground([row for row in rows if row["method"] == method])}


def _mean_ground(rows: list[Row]) -> dict[str, float]:
    """Name of a share of :data:`superres3d.evaluation.tables.GROUND` -> its mean over the subjects that have it."""
    values = {name: [row[name] for row in rows if name in row] for name in GROUND}
    return {name: sum(found) / len(found) for name, found in values.items() if found}


def card_page(card: dict[str, Any]) -> str:
    """A model card as Markdown."""
    schedule = card["schedule"]
    metrics = card.get("metrics")
    subjects = "\n".join(f"| {s['id']} | {s['licence']} | {s['source']} |" for s in card["training_subjects"])
    what, degradation, size = _volume_texts(card) if card["stage"] == "volume" else _two_stage_texts(card)
    caution = f"**{card['caution']}**\n\n" if "caution" in card else ""
    return f"""# {card["name"]}

{NOT_FOR_DIAGNOSIS}

{caution}{what}

- Intensities: {card["intensity"]}.
- Degradation in training: {card["degradation"]}; {degradation}intensity gain up to {schedule["gain"]}.
{_shares_text(schedule)}{_noise_text(schedule)}{_coarse_text(schedule)}{_loss_text(schedule)}{_start_text(schedule)}- Schedule as run: {schedule["steps"]:,} steps of {schedule["batch"]} {size}, Adam, learning rate {schedule["learning_rate"]:g}, {schedule["schedule"]}, {schedule["precision"]}, seed {schedule["seed"]}.
- Validation subjects: {", ".join(card["validation_subjects"])}.
- SHA-256 of `weights.safetensors`: `{card["sha256"]}`.

{_metrics_text(metrics) if metrics else "Not evaluated yet."}

## Training subjects

| subject | licence | source |
|---|---|---|
{subjects}
"""


def _two_stage_texts(card: dict[str, Any]) -> tuple[str, str, str]:
    """What it is, more on the degradation, and what a sample is."""
    schedule = card["schedule"]
    return (
        f"The {card['stage']} network of the method `{card['method']}` for {card['modality']}, factor {card['scale']}: {card['parameters']:,} parameters,\n"
        f"{card['multiply_accumulates_per_pixel']:,} multiply-accumulates per input pixel, "
        f"{_form_text(card['network'])}.",
        f"blur with probability {schedule['blur_probability']}, sigma up to {schedule['blur_sigma']} pixel; ",
        f"patches ({schedule['patch']} low-resolution pixels)",
    )


def _form_text(network: dict[str, Any]) -> str:
    """Of a network for slices."""
    if network["form"] == "edsr":
        return f"{network['blocks']} residual blocks of {network['filters']} filters over cubic interpolation"
    left_out = " and ".join(name.replace("_", " ") for name in ("second_block", "short_skips", "long_skip") if not network.get(name, True))
    return f"{network['filters']} filters, the published form" + (f" without {left_out}" if left_out else "")


def _volume_texts(card: dict[str, Any]) -> tuple[str, str, str]:
    """As :func:`_two_stage_texts`, for a volumetric network."""
    network, schedule = card["network"], card["schedule"]
    options = ", ".join(f"{value} {name}" for name, value in network["options"].items())
    base = METHODS[card["method"]].base if card["method"] in METHODS else "its"
    grid = "scan" if "tasks" in network else "result"
    return (
        f"The network of the method `{card['method']}` for {card['modality']} (family {network['family']}{f', {options}' if options else ''}): {card['parameters']:,} parameters,\n"
        f"{card['multiply_accumulates_per_pixel']:,} multiply-accumulates per voxel of the {grid}, {f'added to the {base} interpolation' if network['residual'] else 'the published form'}.",
        "",
        f"crops ({schedule['patch_depth']} x {schedule['patch']} x {schedule['patch']} voxels of the {grid})",
    )


def _shares_text(schedule: dict[str, Any]) -> str:
    told = ", ".join(f"{name} {share:g}" for name, share in schedule.get("shares", {}).items())
    return f"- How often a subject is drawn, against 1 for the others: {told}.\n" if told else ""


def _noise_text(schedule: dict[str, Any]) -> str:
    if not schedule.get("noise"):
        return ""
    return f"- White noise on {schedule['noise_share']:.0%} of the low-resolution patches, standard deviation up to {schedule['noise']:.1%} of the intensity scale.\n"


def _loss_text(schedule: dict[str, Any]) -> str:
    loss = schedule.get("loss", "l1")
    told = {"l1": "", "rms": "the root mean square error of each patch"}.get(loss, loss)  # a card may tell of a change on the way
    return f"- Loss: {told}.\n" if told else ""


def _start_text(schedule: dict[str, Any]) -> str:
    return f"- Begun from an earlier training: {schedule['start']}.\n" if schedule.get("start") else ""


def _coarse_text(schedule: dict[str, Any]) -> str:
    share = schedule.get("coarse_across", 0.0)
    return f"- {share:.0%} of the training patches from scans made coarser in-plane by the factor, as the network meets them when it runs first.\n" if share else ""


def _metrics_text(metrics: dict[str, Any]) -> str:
    lines = "".join(f"- {_gain_text(factor, gains)}\n" for factor, gains in metrics["gain_over_lanczos"].items())
    return (
        f"Gain over Lanczos on the {metrics['subset']} subjects ({metrics['task']}; {len(metrics['subjects'])} subjects, 95% interval):\n\n{lines}\n"
        f"Subjects: {', '.join(metrics['subjects'])}. Protocol: {metrics['protocol']}."
    )


def _gain_text(factor: str, gains: dict[str, Any]) -> str:
    def text(metric: str, digits: int, unit: str) -> str:
        gain = gains[metric]
        interval = f" [{gain['interval_95'][0]:+.{digits}f}, {gain['interval_95'][1]:+.{digits}f}]" if gain["interval_95"] else ""
        return f"{gain['mean']:+.{digits}f}{interval}{unit}"

    return f"{factor}: PSNR {text('psnr', 2, ' dB')}, on the foreground {text('psnr_foreground', 2, ' dB')}, SSIM {text('ssim', 4, '')}.{_ground_text(gains.get('ground', {}))}"


def _ground_text(ground: dict[str, float]) -> str:
    """What is added without ground; empty where that was not measured."""
    if "ungrounded" not in ground:
        return ""
    tissues = ", ".join(f"{GROUND[name].rsplit(', ', 1)[-1]} {ground[name]:.0%}" for name in GROUND if name.startswith("ungrounded_") and name in ground)
    return f" Of what it adds over Lanczos {ground['ungrounded']:.0%} is without ground{f' ({tissues})' if tissues else ''}; recall of the truth's detail {ground['recall']:.0%}."
