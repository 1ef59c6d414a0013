"""Ratings from 1 to 5: means, and differences on the same case by the same reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .preference import CONFIDENCE
from .records import Answer

_RESAMPLES, _SEED = 2000, 2020


@dataclass(frozen=True)
class Difference:
    """What a method was rated above another, with its bootstrap interval over readers and cases (95 %).

    Attributes:
        item: what was rated.
        mean, other: mean ratings of both.
        value, low, high: the mean difference.
        p: two-sided Wilcoxon test of the cases' mean differences; the readers are taken as they are.
        pairs: how many.
    """

    item: str
    mean: float
    other: float
    value: float
    low: float
    high: float
    p: float
    pairs: int


def differences(answers: Sequence[Answer], method: str, other: str) -> list[Difference]:
    """One an item, in the order of the questions.

    Args:
        answers: of main trials with ratings.
        method, other: names.
    """
    items = list(dict.fromkeys(item for answer in answers for item in answer.ratings))
    given = {name: {(a.reader, a.trial.case): a.ratings for a in answers if a.trial.panels[0] == name} for name in (method, other)}
    pairs = sorted(given[method].keys() & given[other].keys())
    return [_difference(item, [(*pair, given[method][pair][item], given[other][pair][item]) for pair in pairs]) for item in items if pairs]


def _difference(item: str, rows: list[tuple[int, int, int, int]]) -> Difference:
    readers, cases = (sorted({row[place] for row in rows}) for place in (0, 1))
    table = np.full((len(readers), len(cases)), np.nan)
    for reader, case, one, two in rows:
        table[readers.index(reader), cases.index(case)] = one - two
    low, high = _interval(table)
    by_case = np.nanmean(table, axis=0)
    p = float(stats.wilcoxon(by_case).pvalue) if np.any(by_case) else 1.0
    ones, twos = ([float(row[place]) for row in rows] for place in (2, 3))
    return Difference(item, float(np.mean(ones)), float(np.mean(twos)), float(np.nanmean(table)), low, high, p, len(rows))


def _interval(table: np.ndarray) -> tuple[float, float]:
    """Percentiles of the mean over readers and cases drawn with replacement."""
    rng, tail = np.random.default_rng(_SEED), (1 - CONFIDENCE) / 2
    known, filled = np.isfinite(table), np.nan_to_num(table)
    means = []
    for _ in range(_RESAMPLES):
        by_reader, by_case = (np.bincount(rng.integers(n, size=n), minlength=n) for n in table.shape)
        weight = np.outer(by_reader, by_case) * known
        if weight.sum():
            means.append(float((weight * filled).sum() / weight.sum()))
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
