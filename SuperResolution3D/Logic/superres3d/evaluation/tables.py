"""The results as Markdown: the protocol first, then tables like III to V of Georgescu 2020, 2 of Chen 2020 and 1 of Kudo 2019."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..methods import METHODS
from ..upscaling import NOT_FOR_DIAGNOSIS
from .protocol import BASELINE, Protocol
from .statistics import Gain, paired_gain
from .tasks import SPLINE, SPLINE_MEANS, TASKS

Row = dict[str, Any]
_NONE = "n.a."
#: what is added over Lanczos (see superres3d.trust.ground) -> heading
GROUND = {
    "added": "added to", "ungrounded": "without ground", "half_grounded": "at least half", "recall": "recall",
    "ungrounded_air": "without ground, air and lung", "ungrounded_soft": "soft tissue", "ungrounded_bone": "bone",
}  # fmt: skip
_FORMATS = {"ssim": "{:.4f}", "psnr": "{:.2f}", "psnr_foreground": "{:.2f}", "mae_hu": "{:.2f}", "bias_hu": "{:+.2f}", "nrmse": "{:.4f}", "blur": "{:.3f}", "flicker": "{:.3f}", "swing": "{:.1%}", "pace": "{:.2f}", **dict.fromkeys(GROUND, "{:.1%}")}
_HEADINGS = {"ssim": "SSIM", "psnr": "PSNR", "psnr_foreground": "PSNR", "mae_hu": "MAE, HU", "bias_hu": "bias, HU", "nrmse": "NRMSE", "blur": "blur", "flicker": "flicker", "swing": "swing", "pace": "s per Mvoxel", **GROUND}
#: metric -> what is best about it: the largest of these
_MERITS: dict[str, Callable[[float], float]] = {"mae_hu": lambda value: -value, "bias_hu": lambda value: -abs(value), "nrmse": lambda value: -value, "flicker": lambda value: -value, **dict.fromkeys([name for name in GROUND if name.startswith("ungrounded")], lambda value: -value)}
_NOT_RANKED = ("blur", "swing", "pace", "added")


def render(protocol: Protocol, source: str, rows: list[Row], skipped: list[Row]) -> str:
    """All tables.

    Args:
        protocol: the settings.
        source: which subjects, in words.
        rows: a result each: subject, modality, group, task, scale, method and metrics.
        skipped: cells that were left out: subject, task, scale, reason.
    """
    parts = ["# Evaluation", f"{NOT_FOR_DIAGNOSIS} Subjects: {source}.", "## Protocol", _items(protocol.statement()), *_left_out(rows, skipped)]
    groups = groups_of(rows)
    parts.append("## Results")
    for group, members in groups.items():
        for task in protocol.tasks:
            here = [row for row in rows if row["subject"] in members and row["task"] == task]
            parts += _results(group, task, here) if here else []
    parts += ["## Gain over Lanczos", "Mean over subjects [95% interval], and p; PSNR in dB.", _gains(protocol, groups, rows)]
    for method in dict.fromkeys(filter(None, map(protocol.featured, protocol.tasks))):
        parts += [f"## Gain of {method} over Lanczos, by subject", _by_subject(method, _cells_of(method, protocol), rows)]
    return "\n\n".join(parts) + "\n"


def _cells_of(method: str, protocol: Protocol) -> list[tuple[str, int]]:
    """(task, factor) wherever a method is the featured one."""
    return [(task, scale) for task in protocol.tasks if protocol.featured(task) == method for scale in protocol.scales_of(task)]


def groups_of(rows: list[Row]) -> dict[str, set[str]]:
    """Heading -> subjects: each modality, and the sequence groups of MR where there is more than one."""
    groups: dict[str, set[str]] = {}
    for modality in sorted({row["modality"] for row in rows}):
        here = _where(rows, modality=modality)
        groups[modality] = {row["subject"] for row in here}
        parts = sorted({row["group"] for row in here})
        for part in parts if len(parts) > 1 else ():
            groups[f"{modality} {part}"] = {row["subject"] for row in _where(here, group=part)}
    return groups


def _where(rows: Iterable[Row], **wanted: str | int) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _left_out(rows: list[Row], skipped: list[Row]) -> list[str]:
    lines = [f"{row['subject']}, {row['task']} {row['scale']}x: not measured, {row['reason']}." for row in skipped]
    counts = {(row["subject"], row["task"], row["scale"]): row for row in rows if row["slices_left_out"]}
    lines += [f"{row['subject']}, {row['task']} {row['scale']}x: {row['slices_left_out']} of {row['slices']} slices are empty." for row in counts.values()]
    return ["Left out:", _items(lines)] if lines else []


def _results(group: str, task: str, rows: list[Row]) -> list[str]:
    """The table of the paper, and the one on the foreground."""
    scales = sorted({row["scale"] for row in rows})
    counts = ", ".join(f"{scale}x: {len({row['subject'] for row in rows if row['scale'] == scale})}" for scale in scales)
    foreground = ("psnr_foreground", *(("mae_hu", "bias_hu") if "mae_hu" in rows[0] else ()))
    parts = [
        f"### {group}, {task}",
        f"Subjects: {counts}.",
        _means(rows, scales, ("ssim", "psnr")),
        "On the foreground:",
        _means(rows, scales, foreground),
    ]
    parts += _ground(rows, scales)
    if TASKS[task].refines_slices:
        parts += ["From slice to slice:", f"Swing of the truth: {_of_truth(rows, scales, 'swing')}.", _means(rows, scales, ("flicker", "swing"))]
    return parts + _details(rows, scales) if TASKS[task].detailed else parts


def _ground(rows: list[Row], scales: list[int]) -> list[str]:
    """What each method adds over Lanczos, and what of it the truth has."""
    adding = [row for row in rows if "added" in row]
    tissues = [name for name in GROUND if name.startswith("ungrounded_") and any(name in row for row in adding)]
    tables = [("added", "ungrounded", "half_grounded", "recall"), *([tuple(tissues)] if tissues else [])]
    return ["Added over Lanczos, and its ground in the truth:", *(_means(adding, scales, names) for names in tables)] if adding else []


def _details(rows: list[Row], scales: list[int]) -> list[str]:
    """NRMSE, blur, parameters and time."""
    paced = [{**row, "pace": row["seconds"] / row["voxels"] * 1e6} for row in rows]
    return [f"Blur of the truth: {_of_truth(rows, scales, 'blur')}.", _means(paced, scales, ("nrmse", "blur", "pace"), parameters=True)]


def _of_truth(rows: list[Row], scales: list[int], metric: str) -> str:
    return ", ".join(f"{scale}x: {_FORMATS[metric].format(_mean(row[f'{metric}_truth'] for row in rows if row['scale'] == scale))}" for scale in scales)


def _means(rows: list[Row], scales: list[int], metrics: tuple[str, ...], parameters: bool = False) -> str:
    """Rows methods, columns a metric at a factor (and perhaps the number of parameters); the best of each column is bold."""
    methods = ordered({row["method"] for row in rows})
    columns = []
    for scale in scales:
        for metric in metrics:
            values = [_mean(row[metric] for row in _where(rows, scale=scale, method=method) if metric in row) for method in methods]
            columns.append(_bold_best(values, metric))
    heading = ["Method", *(f"{_HEADINGS[metric]} {scale}x" for scale in scales for metric in metrics)]
    if parameters:
        heading.insert(1, "parameters")
        columns.insert(0, [f"{_where(rows, method=method)[0]['parameters']:,}" for method in methods])
    return markdown(heading, [[name, *cells] for name, *cells in zip(methods, *columns)])


def _bold_best(values: list[float | None], metric: str) -> list[str]:
    """Texts; what reads the same as the best is bold as well."""
    texts = [_NONE if value is None else _FORMATS[metric].format(value) for value in values]
    if metric in _NOT_RANKED:
        return texts
    merit = _MERITS.get(metric, lambda value: value)
    present = [value for value in values if value is not None]
    best = _FORMATS[metric].format(max(present, key=merit)) if present else ""
    return [f"**{text}**" if text == best else text for text in texts]


def _gains(protocol: Protocol, groups: dict[str, set[str]], rows: list[Row]) -> str:
    lines = []
    cells = [(task, scale) for task in protocol.tasks for scale in protocol.scales_of(task)]
    for group, members in groups.items():
        own = [row for row in rows if row["subject"] in members]
        for task, scale in cells:
            lines += [[group, task, f"{scale}x", *texts] for texts in _gains_of_cell(_where(own, task=task, scale=scale))]
    heading = ["Group", "Task", "Factor", "Method", "Subjects", "PSNR", "p", "SSIM", "p", "PSNR, foreground", "p"]
    return markdown(heading, lines, words=4)


def _gains_of_cell(rows: list[Row]) -> Iterator[list[str]]:
    """Of each method but the baseline: its name, the number of subjects, and a gain and p a metric."""
    for method in ordered({row["method"] for row in rows} - {BASELINE}):
        gains = [gain_of(rows, method, metric) for metric in ("psnr", "ssim", "psnr_foreground")]
        texts = [text for gain, digits in zip(gains, (2, 4, 2)) for text in _gain(gain, digits)]
        yield [method, str(gains[0].subjects if gains[0] else 0), *texts]


def gain_of(rows: list[Row], method: str, metric: str) -> Gain | None:
    """Gain of a method over the baseline in the rows of one cell; None if no subject has both."""
    values, baseline = ({row["subject"]: row[metric] for row in rows if row["method"] == name} for name in (method, BASELINE))
    return paired_gain(values, baseline)


def _gain(gain: Gain | None, digits: int) -> tuple[str, str]:
    """Mean with interval, and p."""
    if gain is None:
        return _NONE, _NONE
    interval = _NONE if gain.interval is None else f"{gain.interval[0]:+.{digits}f}, {gain.interval[1]:+.{digits}f}"
    return f"{gain.mean:+.{digits}f} [{interval}]", _NONE if gain.p is None else f"{gain.p:.2g}"


def _by_subject(method: str, cells: list[tuple[str, int]], rows: list[Row]) -> str:
    lines = []
    for subject in dict.fromkeys(row["subject"] for row in rows if (row["task"], row["scale"]) in cells and row["method"] == method):
        here = [_where(rows, subject=subject, task=task, scale=scale) for task, scale in cells]
        lines.append([subject, *(text for cell in here for text in _mean_gains(cell, method))])
    heading = ["Subject", *(f"{task} {scale}x {name}" for task, scale in cells for name in ("PSNR", "SSIM"))]
    return markdown(heading, lines)


def _mean_gains(rows: list[Row], method: str) -> Iterator[str]:
    """Of one cell: PSNR and SSIM."""
    for metric, digits in (("psnr", 2), ("ssim", 4)):
        gain = gain_of(rows, method, metric)
        yield f"{gain.mean:+.{digits}f}" if gain else _NONE


def ordered(methods: Iterable[str]) -> list[str]:
    """As in the paper's tables: the simplest first, the networks last, and after them what is no method."""
    order = [SPLINE_MEANS, SPLINE, *METHODS]
    place = {name: (METHODS[name].networks if name in METHODS else False, -number) for number, name in enumerate(order)}
    return sorted(methods, key=lambda name: place.get(name, (2, 0)))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def markdown(heading: list[str], lines: list[list[str]], words: int = 1) -> str:
    """Markdown; the first ``words`` columns to the left, numbers to the right."""
    rule = ["---"] * words + ["---:"] * (len(heading) - words)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (heading, rule, *lines))
