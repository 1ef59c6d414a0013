"""What an answer should not depend on: the side, and how many cases came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .preference import Share, exact
from .records import Answer


@dataclass(frozen=True)
class Order:
    """The first half of each reader's answers against the second.

    Attributes:
        first, second: share that preferred the method.
        p: Fisher's exact test, two-sided.
        seconds: median seconds a case, in either half.
    """

    first: Share
    second: Share
    p: float
    seconds: tuple[float, float]


def side(answers: Sequence[Answer]) -> Share:
    """How often the left one was preferred; sides are balanced, so one half is to be expected. "No difference" is left out."""
    decided = [a for a in answers if a.chosen is not None and a.left]
    return exact(sum(a.chosen == a.left for a in decided), len(decided))


def order(answers: Sequence[Answer], method: str) -> Order:
    """Whether the preference, or the time, changes from the first half of the answers to the second."""
    middle = {reader: np.median([a.position for a in answers if a.reader == reader]) for reader in {a.reader for a in answers}}
    halves = [[a for a in answers if (a.position > middle[a.reader]) == late] for late in (False, True)]
    counts = [(sum(a.chosen == method for a in half), sum(a.chosen is not None for a in half)) for half in halves]
    p = float(stats.fisher_exact([[chosen, count - chosen] for chosen, count in counts]).pvalue)
    first, second = (exact(*pair) for pair in counts)
    seconds = [float(np.median([a.seconds for a in half])) if half else float("nan") for half in halves]
    return Order(first, second, p, (seconds[0], seconds[1]))
