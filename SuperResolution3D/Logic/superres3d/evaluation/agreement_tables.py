"""The results of the task ``segmentation`` as Markdown, like table 3 of Chen 2020."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean, stdev

from ..methods import METHODS
from ..upscaling import NOT_FOR_DIAGNOSIS
from .protocol import BASELINE
from .statistics import paired_gain
from .tables import Row, groups_of, markdown, ordered

#: metric -> heading and format
_MEASURES = {
    "dice": ("Dice", "{:.4f}"), "dice_median": ("Dice, median", "{:.4f}"), "jaccard": ("Jaccard", "{:.4f}"), "surface_mm": ("surface, mm", "{:.3f}"), "surface95_mm": ("95 %, mm", "{:.2f}"),
    **{f"{part}_{what}": (f"{part}, {what}", "{:.3f}") for part in ("bone", "lung", "vessel") for what in ("surface", "volume")}, "psnr": ("PSNR, dB", "{:.2f}"),
}  # fmt: skip
_TESTED = ("dice", "jaccard", "surface_mm", "bone_surface", "lung_surface", "vessel_surface")


def render(statement: list[str], source: str, rows: list[Row], skipped: list[Row]) -> str:
    """All tables.

    Args:
        statement: the protocol, an item each.
        source: which subjects, in words.
        rows: a result each, as :func:`superres3d.evaluation.run.row_of` gives them.
        skipped: cells that were left out: subject, task, scale, reason.
    """
    parts = ["# Agreement of segmentations", f"{NOT_FOR_DIAGNOSIS} Subjects: {source}.", "## Protocol", "\n".join(f"- {line}" for line in statement)]
    if skipped:
        parts += ["Left out:", "\n".join(f"- {row['subject']}, {row['task']} {row['scale']}x: not measured, {row['reason']}." for row in skipped)]
    parts.append("## Results")
    for group, members in groups_of(rows).items():
        own = [row for row in rows if row["subject"] in members]
        for task, scale in dict.fromkeys((row["task"], row["scale"]) for row in own):
            here = [row for row in own if (row["task"], row["scale"]) == (task, scale)]
            parts += [f"### {group}, {task} {scale}x", f"Subjects: {len({row['subject'] for row in here})}. Mean, with the standard deviation over subjects in brackets.", _means(here), "Gain over Lanczos, mean over subjects [95% interval], and p:", _gains(here)]
    return "\n\n".join(parts) + "\n"


def _means(rows: list[Row]) -> str:
    names = [name for name in _MEASURES if any(name in row for row in rows)]
    lines = [[method, *(_spread(rows, method, name, _MEASURES[name][1].format) for name in names)] for method in _methods(rows)]
    return markdown(["Method", *(_MEASURES[name][0] for name in names)], lines)


def _spread(rows: list[Row], method: str, name: str, text: Callable[[float], str]) -> str:
    values = [row[name] for row in rows if row["method"] == method and name in row]
    return f"{text(mean(values))}{f' ({text(stdev(values))})' if len(values) > 1 else ''}" if values else "n.a."


def _gains(rows: list[Row]) -> str:
    names = [name for name in _TESTED if any(name in row for row in rows)]
    lines = [[method, *(text for name in names for text in _gain(rows, method, name))] for method in _methods(rows) if method in METHODS and method != BASELINE]
    return markdown(["Method", *(text for name in names for text in (_MEASURES[name][0], "p"))], lines)


def _gain(rows: list[Row], method: str, name: str) -> tuple[str, str]:
    values, baseline = ({row["subject"]: row[name] for row in rows if row["method"] == one and name in row} for one in (method, BASELINE))
    gain = paired_gain(values, baseline)
    if gain is None:
        return "n.a.", "n.a."
    interval = f" [{gain.interval[0]:+.4f}, {gain.interval[1]:+.4f}]" if gain.interval else ""
    return f"{gain.mean:+.4f}{interval}", "n.a." if gain.p is None else f"{gain.p:.2g}"


def _methods(rows: list[Row]) -> list[str]:
    """As in the other tables; what is no method comes last."""
    return ordered({row["method"] for row in rows})
