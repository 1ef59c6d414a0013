"""Figures of a reader study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .findings import Comparison, Findings, Rated

_FIRST, _SECOND, _LINE = "#1b6ca8", "#c9c9c9", "#222222"
_DPI = 160


def draw(findings: Findings, folder: Path) -> list[Path]:
    """Write the figures of a study, PNG.

    Args:
        findings: what is drawn.
        folder: an existing one.
    """
    made = []
    for pair in dict.fromkeys((c.method, c.other) for c in findings.comparisons):
        path = folder / f"figure-{pair[0]}-{pair[1]}.png"
        _preferences([c for c in findings.comparisons if (c.method, c.other) == pair], findings, path)
        made.append(path)
    for rated in findings.rated:
        path = folder / f"figure-ratings-{rated.method}-{rated.other}-x{rated.scale}.png"
        _ratings(rated, findings, path)
        made.append(path)
    for scale in findings.strengths:
        path = folder / f"figure-strengths-x{scale}.png"
        _strengths(scale, findings, path)
        made.append(path)
    return made


def _preferences(comparisons: list[Comparison], findings: Findings, path: Path) -> None:
    """Like Table VI as a picture: a bar a reader, with the exact interval; the last row is all of them."""
    rows = len(findings.answers.readers) + 1
    figure = Figure(figsize=(1.6 + 3.6 * len(comparisons), 1.3 + 0.26 * rows), layout="constrained")
    axes = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
    for place, comparison in zip(axes, comparisons):
        _bars(place, comparison)
    axes[0].set_yticks(range(rows), [*(reader.name for reader in findings.answers.readers), "together"])
    axes[0].invert_yaxis()
    figure.suptitle(_title(findings, f"{comparisons[0].method} (blue) against {comparisons[0].other} (grey)"), fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _bars(axes: Axes, comparison: Comparison) -> None:
    shares = [count.share for count in comparison.readers.values()] + [comparison.together]
    places = np.arange(len(shares))
    values = np.array([share.value for share in shares])
    known = np.isfinite(values)
    axes.barh(places[known], np.ones(known.sum()), color=_SECOND, height=0.7)
    axes.barh(places[known], values[known], color=_FIRST, height=0.7)
    low, high = (np.array([getattr(share, name) for share in shares]) for name in ("low", "high"))
    axes.errorbar(values[known], places[known], xerr=[(values - low)[known], (high - values)[known]], fmt="none", ecolor=_LINE, capsize=2, linewidth=1)
    axes.axvline(0.5, color=_LINE, linestyle=":", linewidth=1)
    axes.axhline(len(shares) - 1.5, color=_LINE, linewidth=0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the answers, 95 % interval")
    axes.set_title(f"{comparison.scale}x", fontsize=9)


def _ratings(rated: Rated, findings: Findings, path: Path) -> None:
    figure = Figure(figsize=(5.2, 2.6), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(rated.items))
    axes.bar(places - 0.2, [item.mean for item in rated.items], 0.38, color=_FIRST, label=rated.method)
    axes.bar(places + 0.2, [item.other for item in rated.items], 0.38, color=_SECOND, label=rated.other)
    axes.set_xticks(places, [f"{item.item}\n{item.value:+.2f} [{item.low:+.2f}, {item.high:+.2f}]" for item in rated.items], fontsize=7)
    axes.set_ylim(1, 5)
    axes.set_ylabel("mean rating")
    axes.legend(fontsize=7)
    axes.set_title(_title(findings, f"Ratings, {rated.scale}x"), fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _strengths(scale: int, findings: Findings, path: Path) -> None:
    scaled = findings.strengths[scale]
    figure = Figure(figsize=(5.2, 1.0 + 0.35 * len(scaled)), layout="constrained")
    axes = figure.subplots()
    values = np.array([s.value for s in scaled])
    ends = [values - [s.low for s in scaled], [s.high for s in scaled] - values]
    axes.errorbar(values, range(len(scaled)), xerr=np.maximum(ends, 0), fmt="o", color=_FIRST, ecolor=_LINE, capsize=3)
    axes.set_yticks(range(len(scaled)), [s.method for s in scaled])
    axes.invert_yaxis()
    axes.set_xlabel("log odds over the last method, 95 % interval")
    axes.set_title(_title(findings, f"Bradley-Terry, {scale}x"), fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _title(findings: Findings, text: str) -> str:
    return f"SIMULATED READERS. {text}" if findings.simulated else text
