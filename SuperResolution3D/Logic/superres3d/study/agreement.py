"""Whether readers agree with themselves, and with each other."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from .preference import CONFIDENCE, Share, exact

_RESAMPLES, _SEED = 1000, 2020


@dataclass(frozen=True)
class Kappa:
    """Agreement beyond chance.

    Attributes:
        value: 1 for full agreement, 0 for chance; None where all answers are the same, so that chance alone agrees as much.
        low, high: 95 % interval; None where there is none.
        agreement: share of equal answers (between readers: of equal pairs of them).
        count: of questions.
    """

    value: float | None
    low: float | None
    high: float | None
    agreement: float
    count: int


def within(pairs: Sequence[tuple[Hashable, Hashable]], weighted: bool = False) -> tuple[Kappa, Share]:
    """Of one reader with themselves: Cohen's kappa on what was asked twice, and the share of equal answers with its exact interval.

    Args:
        pairs: (first, second) answer.
        weighted: answers are numbers, and a small difference counts less (quadratic weights).
    """
    share = exact(sum(one == other for one, other in pairs), len(pairs))
    categories = sorted({answer for pair in pairs for answer in pair}, key=str)
    if len(categories) < 2:
        return Kappa(None, None, None, share.value, len(pairs)), share
    table = np.zeros((len(categories),) * 2)
    for one, other in pairs:
        table[categories.index(one), categories.index(other)] += 1
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = cohens_kappa(table, weights=np.array(categories, float) if weighted else None, wt="quadratic" if weighted else None)
    return Kappa(_finite(found.kappa), _finite(found.kappa_low), _finite(found.kappa_upp), share.value, len(pairs)), share


def between(answers: np.ndarray) -> Kappa:
    """Of the readers with each other: Fleiss' kappa, with a bootstrap interval over the questions.

    Args:
        answers: (readers, questions), whole numbers from 0, one a kind of answer; only questions that all of them answered.
    """
    readers, count = answers.shape
    kinds = int(answers.max()) + 1 if answers.size else 0
    if readers < 2 or count < 1:
        return Kappa(None, None, None, float("nan"), count)
    table = np.stack([(answers == kind).sum(axis=0) for kind in range(kinds)], axis=1)
    agreement = float(((table * (table - 1)).sum(axis=1) / (readers * (readers - 1))).mean())
    if np.count_nonzero(table.sum(axis=0)) < 2:
        return Kappa(None, None, None, agreement, count)
    rng = np.random.default_rng(_SEED)
    with np.errstate(all="ignore"):
        drawn = [_fleiss(table[rng.integers(count, size=count)]) for _ in range(_RESAMPLES)]
    tail = (1 - CONFIDENCE) / 2
    known = [value for value in drawn if value is not None]
    low, high = (float(np.quantile(known, at)) for at in (tail, 1 - tail)) if known else (None, None)
    return Kappa(_fleiss(table), low, high, agreement, count)


def _fleiss(table: np.ndarray) -> float | None:
    if np.count_nonzero(table.sum(axis=0)) < 2:
        return None
    return _finite(fleiss_kappa(table))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
