"""Gains over the baseline, with subjects as the statistical unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 2020
MINIMUM_FOR_P = 6

STATEMENT = (
    "Statistics: the unit is the subject. Gain: method minus Lanczos on the same subject; "
    f"{CONFIDENCE:.0%} percentile bootstrap interval of its mean over subjects ({RESAMPLES:,} resamples, seed {SEED}); "
    "two-sided paired Wilcoxon signed-rank p, not corrected for the number of comparisons.",
    f"With fewer than {MINIMUM_FOR_P} subjects p is n.a.: even if all agree it cannot fall below {2 * 0.5 ** (MINIMUM_FOR_P - 1):g}; "
    "the interval of so few subjects only describes them (n.a. for one subject).",
)


@dataclass(frozen=True)
class Gain:
    """Mean paired difference over subjects.

    Attributes:
        mean: method minus baseline.
        interval: its bootstrap interval; None for a single subject.
        p: of the paired Wilcoxon test; None for fewer than :data:`MINIMUM_FOR_P` subjects.
        subjects: how many.
    """

    mean: float
    interval: tuple[float, float] | None
    p: float | None
    subjects: int


def paired_gain(values: Mapping[str, float], baseline: Mapping[str, float]) -> Gain | None:
    """The gain over the subjects that have both values; None if no subject has.

    Args:
        values, baseline: subject -> metric.
    """
    differences = [value - baseline[subject] for subject, value in values.items() if subject in baseline]
    if not differences:
        return None
    return Gain(float(np.mean(differences)), bootstrap_interval(differences), wilcoxon_p(differences), len(differences))


def bootstrap_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean; None for fewer than two values.  Always the same for the same values."""
    if len(differences) < 2:
        return None
    found = stats.bootstrap(
        (np.asarray(differences),), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        method="percentile", random_state=np.random.default_rng(SEED),
    )  # fmt: skip
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def wilcoxon_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of the signed-rank test; None for fewer than :data:`MINIMUM_FOR_P` values."""
    if len(differences) < MINIMUM_FOR_P:
        return None
    if not np.any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)
