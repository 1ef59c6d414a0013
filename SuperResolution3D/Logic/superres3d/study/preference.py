"""How often one method was preferred, with intervals that cover what they say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """A share with its interval.

    Attributes:
        value: 0 to 1; NaN if there is nothing.
        low, high: of the interval (95 %).
        p: two-sided, against one half.
        count: of what it is a share, whole numbers for one reader.
    """

    value: float
    low: float
    high: float
    p: float
    count: float


NONE = Share(float("nan"), 0.0, 1.0, 1.0, 0)


def exact(chosen: int, count: int) -> Share:
    """Of one reader: exact binomial test against one half, and the exact (Clopper-Pearson) interval."""
    if not count:
        return NONE
    found = stats.binomtest(chosen, count)
    interval = found.proportion_ci(CONFIDENCE, method="exact")
    return Share(chosen / count, float(interval.low), float(interval.high), float(found.pvalue), count)


def overall(table: np.ndarray) -> Share:
    """Of all readers and cases like these: both are taken as drawn at random.

    The variance of the mean is that of two crossed random effects, (MS_readers + MS_cases - MS_rest) / (readers x cases) for a full table; the
    interval is the exact binomial one of so many independent answers as would have that variance (Korn and Graubard 1998, with
    Satterthwaite's degrees of freedom).  Where all answers agree, there are as many as readers or cases, whichever are fewer.

    Args:
        table: (readers, cases), 1 where the method was preferred, 0 where it was not, NaN where there is no answer.
    """
    table = table[~np.isnan(table).all(axis=1)][:, ~np.isnan(table).all(axis=0)]
    if table.size == 0:
        return NONE
    if min(table.shape) == 1:
        return exact(int(np.nansum(table)), int(np.isfinite(table).sum()))
    mean, count = float(np.nanmean(table)), int(np.isfinite(table).sum())
    if mean in (0.0, 1.0):
        return _of_effective(mean, float(min(table.shape)))
    variance, freedom = _variance(table, mean)
    shrink = (stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1) / stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) ** 2
    return _of_effective(mean, mean * (1 - mean) / variance * shrink)


def _variance(table: np.ndarray, mean: float) -> tuple[float, float]:
    """Of the mean, and its degrees of freedom (Satterthwaite), no fewer than the readers or cases have."""
    readers, cases = table.shape
    known = np.isfinite(table)
    count = known.sum()
    away = np.where(known, table - mean, 0.0)
    by_reader, by_case = away.sum(axis=1), away.sum(axis=0)
    rest = np.where(known, away - (by_reader / known.sum(axis=1))[:, None] - (by_case / known.sum(axis=0))[None, :], 0.0)
    parts = (
        (float((by_reader**2).sum()) / count**2 * readers / (readers - 1), readers - 1),
        (float((by_case**2).sum()) / count**2 * cases / (cases - 1), cases - 1),
        (-float((rest**2).sum()) / count / max(count - readers - cases + 1, 1), (readers - 1) * (cases - 1)),
    )
    variance, least = sum(part for part, _ in parts), mean * (1 - mean) / count
    if variance <= least:  # readers and cases do not differ more than chance makes them: the answers are as good as independent
        return least, float(count - 1)
    return variance, max(float(min(readers, cases) - 1), variance**2 / sum(part**2 / freedom for part, freedom in parts))


def _of_effective(mean: float, count: float) -> Share:
    """The exact interval and test of a number of answers that need not be whole."""
    chosen, tail = mean * count, (1 - CONFIDENCE) / 2
    low = float(stats.beta.ppf(tail, chosen, count - chosen + 1)) if mean > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, chosen + 1, count - chosen)) if mean < 1 else 1.0
    as_many = float(stats.beta.cdf(0.5, chosen, count - chosen + 1)) if mean > 0 else 1.0
    as_few = float(stats.beta.sf(0.5, chosen + 1, count - chosen)) if mean < 1 else 1.0
    return Share(mean, low, high, min(1.0, 2 * min(as_many, as_few)), count)
