"""A self-check in words that a clinician can use."""

from __future__ import annotations

from dataclasses import replace

from .coarser import OWN
from .foretold import CLEAR
from .ground import CT_THRESHOLD_HU, MR_THRESHOLD
from .result import CheckResult, WayResult

CANNOT_SHOW = (
    "The check looks at the scan made coarser: what happens at the scan's own, finer scale it can only let expect.",
    "The detail was taken away by computation; how the scanner lost its own is not known.",
    "What is smaller than the scan's voxels was never measured: the check cannot tell whether it is right.",
    "A mean over many voxels says nothing of a single structure.",
)
_TIMES = {2: "twice", 4: "four times"}
_NOISY, _QUIET = 1.05, 0.77
_LEVEL = 0.05
_COUNTS = 0.1  # weight of a way


def in_words(result: CheckResult) -> CheckResult:
    """The result with its sentences."""
    return replace(result, statement=statement(result), sentences=tuple(sentences(result)), warnings=tuple(warnings(result)), cannot_show=CANNOT_SHOW)


def statement(result: CheckResult) -> str:
    """The one sentence to remember."""
    came = "; ".join([_came(result.gain_db), *_noise(result)])
    return f"On this scan, made {_TIMES.get(max(result.factors_ijk), f'{max(result.factors_ijk)} times')} as coarse, {result.called} {came}."


def _came(gain: float) -> str:
    if abs(gain) <= _LEVEL:
        return "came as close to the scan as Lanczos"
    return f"came {gain:.1f} dB closer to the scan than Lanczos" if gain > 0 else f"stayed {-gain:.1f} dB farther from the scan than Lanczos"


def _noise(result: CheckResult) -> list[str]:
    return [] if result.noise is None else [f"noise {result.noise:.1f} times that of Lanczos"]


def sentences(result: CheckResult) -> list[str]:
    """What was found, one sentence each, the most important first."""
    return [statement(result), *_expected(result), *_ways(result), *_where(result), *_sample(result)]


def _ways(result: CheckResult) -> list[str]:
    if len(result.ways) < 2:
        return []
    said = f"It depends on how the scan is made coarser: {', '.join(f'{way.gain_db:+.1f} dB by {way.words}' for way in result.ways)}."
    if result.clear > CLEAR and result.ways[0].way == OWN:
        return [said, "The scan has clearly lost detail, so the first of these counts."]
    return [said]


def _expected(result: CheckResult) -> list[str]:
    if result.expected_db is None or result.expected_within_db is None:
        return []
    if not result.agreed:
        return ["Whether it is ahead at the scan's own scale cannot be told: that depends on how the scan lost its detail."]
    return [f"At the scan's own scale about {result.expected_db:+.1f} dB may be expected; on four of five scans that had been made coarse by computation it came within {result.expected_within_db:.1f} dB of that."]


def _where(result: CheckResult) -> list[str]:
    """Regions, axes and flicker."""
    names = {"edges": "at edges", "flat": "in flat places", "bright": "at small bright structures"}
    regions = [f"{gain:+.1f} dB {words}" for gain, words in ((result.region(name), words) for name, words in names.items()) if gain is not None]
    axes = [f"{gain:+.1f} dB along {axis}" for gain, axis in ((result.along(axis), axis) for axis in "ijk") if gain is not None]
    lines = [f"By region: {', '.join(regions)}."] if regions else []
    lines += [f"Of the differences between neighbours: {', '.join(axes)}."] if axes else []
    flicker, lanczos = result.mean("flicker"), result.mean("flicker_lanczos")
    if flicker is not None and lanczos is not None:
        lines.append(f"From slice to slice {100 * flicker:.0f} % of the change is wrong (Lanczos {100 * lanczos:.0f} %).")
    return [*lines, *_ground(result)]


def _ground(result: CheckResult) -> list[str]:
    """What is added over Lanczos, against the scan."""
    without, half = result.added("without"), result.added("half")
    unit = f"{CT_THRESHOLD_HU:g} HU" if result.modality == "CT" else f"{100 * MR_THRESHOLD:g} % of the range"
    if without is None or half is None:
        return [f"It adds more than {unit} over Lanczos hardly anywhere."]
    return [f"Where it adds more than {unit} over Lanczos, the scan has at least half of it in {100 * half:.0f} % of the places, and nothing of the kind in {_percent(without)} (one scale coarser; finer detail is harder)."]


def _percent(share: float) -> str:
    """None is claimed where a few may be."""
    return "under 1 %" if share < 0.005 else f"{100 * share:.0f} %"


def _sample(result: CheckResult) -> list[str]:
    return [f"Looked at: {result.sample['words']}, {100 * result.sample['share']:.0f} % of it."]


def warnings(result: CheckResult) -> list[str]:
    """What speaks against the method on this scan, one sentence each, with what to do."""
    told = [] if result.ahead else [f"{result.called} is not ahead of Lanczos on this scan; take Lanczos, or show both."]
    behind = [way for way, weight in zip(result.ways, result.weights) if way.gain_db < -_LEVEL and weight > _COUNTS]
    if result.ahead and behind:
        told.append(f"{result.called} is behind Lanczos if the scan lost its detail as by {_listed(behind)}; compare with Lanczos before you believe fine detail.")
    rough = result.mean("noise_of_scan")
    if rough is not None and rough > _NOISY:
        told.append(f"In flat places the result is {rough:.1f} times as rough as the scan itself; do not judge fine texture.")
    if result.noise is not None and result.noise < _QUIET:
        told.append(f"Fine texture and noise come out {result.noise:.1f} times as strong as by Lanczos: faint texture may have been smoothed away.")
    flat = result.region("flat")
    if result.ahead and flat is not None and flat < -_LEVEL:
        told.append(f"In flat places it is {-flat:.1f} dB behind Lanczos: what it draws there is not in the scan.")
    return told


def _listed(ways: list[WayResult]) -> str:
    return " or ".join(way.words for way in ways)
