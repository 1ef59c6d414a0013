"""Which pictures a case shows, on which side, how often, and in which order: no picture is touched here.

>>> trials = plan_trials(["CT", "CT"], ("a", "b"), 2, repeats=0, catches=0, rng=np.random.default_rng(1))
>>> sorted(trial.panels for trial in trials)
[('a', 'b'), ('b', 'a')]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

MAIN, REPEAT, CATCH = "main", "repeat", "catch"
#: what a catch trial shows in place of results: everybody prefers the first to the second
CLEAR, SPOILT = "clear", "spoilt"
_FARTHEST = 10  # trials between a case and its repeat, where there are enough
_TRIES = 2000


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes:
        case: index of the case.
        kind: :data:`MAIN`, :data:`REPEAT` or :data:`CATCH`.
        panels: names of methods (or :data:`CLEAR`, :data:`SPOILT`), first panel first.
        of: index of the trial that a repeat repeats, its sides swapped.
    """

    case: int
    kind: str
    panels: tuple[str, ...]
    of: int | None = None


def plan_trials(strata: Sequence[str], methods: Sequence[str], panels: int, repeats: int, catches: int, rng: np.random.Generator) -> list[Trial]:
    """Every question of a study.

    Sides are random and balanced: in each stratum, for each pair of methods, one is first in half of the cases (off by one at most),
    and so it is over all strata.

    Args:
        strata: of each case.
        methods: two or more; with more than two every pair of them is asked of each case.
        panels: 2 for a choice, 1 for a rating, which asks each method of each case.
        repeats: main trials that come a second time; no more than there are.
        catches: trials with a known answer.
        rng: every choice comes from it.
    """
    groups = list(combinations(methods, 2)) if panels == 2 else [(method,) for method in methods]
    main = [trial for group in groups for trial in _balanced(strata, group, rng)]
    chosen = rng.choice(len(main), size=min(repeats, len(main)), replace=False)
    again = [Trial(main[of].case, REPEAT, main[of].panels[::-1], int(of)) for of in chosen]
    return [*main, *again, *_catches(len(strata), panels, catches, rng)]


def _balanced(strata: Sequence[str], group: tuple[str, ...], rng: np.random.Generator) -> list[Trial]:
    """Sides by turns, along the cases in the order of their strata and at random within one."""
    order = sorted(rng.permutation(len(strata)), key=lambda case: strata[case])
    first = int(rng.integers(2))
    return [Trial(int(case), MAIN, group if (turn + first) % 2 == 0 else group[::-1]) for turn, case in enumerate(order)]


def _catches(cases: int, panels: int, count: int, rng: np.random.Generator) -> list[Trial]:
    first = int(rng.integers(2))
    chosen = [int(case) for round_ in range(-(-count // cases)) for case in rng.permutation(cases)][:count]
    sides = [(CLEAR, SPOILT), (SPOILT, CLEAR)] if panels == 2 else [(SPOILT,)] * 2
    return [Trial(case, CATCH, sides[(turn + first) % 2]) for turn, case in enumerate(chosen)]


def orders(trials: Sequence[Trial], readers: int, rng: np.random.Generator) -> tuple[list[list[int]], list[bool]]:
    """For each reader: the order of the trials, and whether all sides are swapped; of two neighbours one has them swapped.

    A case and its repeat stand at least :data:`_FARTHEST` trials apart, or a quarter of a short study.
    """
    apart = min(_FARTHEST, len(trials) // 4)
    turned = [bool(side) for _ in range(-(-readers // 2)) for side in rng.permutation(2)]
    return [_spread(rng.permutation(len(trials)).tolist(), trials, apart, rng) for _ in range(readers)], turned[:readers]


def _spread(order: list[int], trials: Sequence[Trial], apart: int, rng: np.random.Generator) -> list[int]:
    """Move what is too near to its repeat, again and again."""
    pairs = [(number, trial.of) for number, trial in enumerate(trials) if trial.of is not None]
    for _ in range(_TRIES):
        near = [number for number, of in pairs if abs(order.index(number) - order.index(of)) < apart]
        if not near:
            break
        order.remove(near[0])
        order.insert(int(rng.integers(len(order) + 1)), near[0])
    return order
