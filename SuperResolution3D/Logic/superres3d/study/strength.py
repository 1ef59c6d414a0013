"""Bradley-Terry: one scale for more than two methods (choix)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import choix
import numpy as np
from scipy.special import expit

from .preference import CONFIDENCE
from .records import Answer

_RESAMPLES, _SEED = 1000, 2020
_ALPHA = 0.1  # so much of a win for each against each: finite where a method wins always


@dataclass(frozen=True)
class Strength:
    """A method's strength over the last one's, in log odds, with its bootstrap interval over readers and cases; and as a share of wins against it."""

    method: str
    value: float
    low: float
    high: float

    @property
    def wins(self) -> float:
        """Expected share of comparisons with the last method that it wins."""
        return float(expit(self.value))


def strengths(answers: Sequence[Answer], methods: Sequence[str]) -> list[Strength]:
    """The scale of the methods; "no difference" is half a win for each.

    Args:
        answers: of main trials with two panels.
        methods: the last one is 0.
    """
    readers, cases = sorted({a.reader for a in answers}), sorted({a.trial.case for a in answers})
    if not answers:
        return []
    wins = np.zeros((len(readers), len(cases), len(methods), len(methods)))
    for answer in answers:
        one, other = (methods.index(name) for name in answer.trial.panels)
        place = wins[readers.index(answer.reader), cases.index(answer.trial.case)]
        share = 0.5 if answer.chosen is None else float(answer.chosen == answer.trial.panels[0])
        place[one, other] += share
        place[other, one] += 1 - share
    rng, tail = np.random.default_rng(_SEED), (1 - CONFIDENCE) / 2
    drawn = np.array([_scale(_resampled(wins, rng)) for _ in range(_RESAMPLES)])
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return [Strength(name, *map(float, values)) for name, *values in zip(methods, _scale(wins.sum(axis=(0, 1))), low, high)]


def _resampled(wins: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Readers and cases drawn with replacement."""
    readers, cases = (np.bincount(rng.integers(n, size=n), minlength=n) for n in wins.shape[:2])
    return np.einsum("r,c,rcij->ij", readers, cases, wins)


def _scale(wins: np.ndarray) -> np.ndarray:
    found = choix.ilsr_pairwise_dense(wins, alpha=_ALPHA)
    return found - found[-1]
