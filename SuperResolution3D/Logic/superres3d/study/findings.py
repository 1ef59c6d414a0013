"""What a study shows, in numbers: everything that the tables, the figures and ``results.json`` tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from .agreement import Kappa, between, within
from .bias import Order, order, side
from .mixed import Mixed, fit
from .preference import Share, exact, overall
from .ratings import Difference, differences
from .records import Answer, Answers, Reader
from .strength import Strength, strengths

LEAST_CATCHES = 0.8  # of them right: a reader below paid no attention, or misunderstood


@dataclass(frozen=True)
class Count:
    """How often a reader preferred one method, the other, and neither."""

    method: int
    other: int
    same: int
    share: Share


@dataclass(frozen=True)
class Comparison:
    """Two methods at one factor.

    Attributes:
        method, other: names.
        scale: the factor.
        readers: reader -> count.
        together: share over all readers and cases; "no difference" is left out.
        attentive: the same without readers who missed trials with a known answer; None if there are none such.
        strata: stratum -> the same of its cases.
        between: agreement of the readers.
        side, order: what should not matter.
        mixed: the mixed logistic model; None: too few answers, or all alike.
    """

    method: str
    other: str
    scale: int
    readers: dict[int, Count]
    together: Share
    attentive: Share | None
    strata: dict[str, Share]
    between: Kappa
    side: Share
    order: Order
    mixed: Mixed | None


@dataclass(frozen=True)
class Rated:
    """Ratings of two methods at one factor, by item; ``between`` is the readers' agreement on each item."""

    method: str
    other: str
    scale: int
    items: list[Difference]


@dataclass(frozen=True)
class Findings:
    """All of it.

    Attributes:
        answers: what it is made of.
        catches: reader -> (right, all).
        inattentive: readers with fewer than :data:`LEAST_CATCHES` right.
        within: reader -> agreement with themselves.
        seconds: reader -> median time of a case.
        comparisons: of a study of choices.
        strengths: factor -> Bradley-Terry scale, with three methods or more.
        rated: of a study of ratings.
    """

    answers: Answers
    catches: dict[int, tuple[int, int]]
    inattentive: list[int]
    within: dict[int, tuple[Kappa, Share]]
    seconds: dict[int, float]
    comparisons: list[Comparison]
    strengths: dict[int, list[Strength]]
    rated: list[Rated]

    @property
    def simulated(self) -> bool:
        """At least one reader is no person."""
        return any(reader.simulated for reader in self.answers.readers)


def find(answers: Answers) -> Findings:
    """Analyse the answers of a study."""
    readers = [reader.number for reader in answers.readers]
    catches = {reader: answers.catches(reader) for reader in readers}
    inattentive = [reader for reader, (right, count) in catches.items() if count and right < LEAST_CATCHES * count]
    choices = [answer for answer in answers.main if not answer.ratings]
    pairs = list(combinations(answers.key.methods, 2))
    return Findings(
        answers, catches, inattentive,
        within={reader: _within(answers, reader) for reader in readers},
        seconds={reader: float(np.median([a.seconds for a in answers.all if a.reader == reader] or [np.nan])) for reader in readers},
        comparisons=[_comparison(answers, choices, *pair, scale, inattentive) for pair in pairs for scale in answers.scales] if choices else [],
        strengths={scale: strengths([a for a in choices if a.told.scale == scale], answers.key.methods) for scale in answers.scales} if choices and len(pairs) > 1 else {},
        rated=[_rated(answers, *pair, scale) for pair in pairs for scale in answers.scales] if not choices else [],
    )  # fmt: skip


def _within(answers: Answers, reader: int) -> tuple[Kappa, Share]:
    pairs = answers.repeats(reader)
    if any(one.ratings for one, _ in pairs):
        return within([(one.ratings[item], other.ratings[item]) for one, other in pairs for item in one.ratings], weighted=True)
    return within([(one.chosen or "same", other.chosen or "same") for one, other in pairs])


def _comparison(answers: Answers, choices: Sequence[Answer], method: str, other: str, scale: int, inattentive: Sequence[int]) -> Comparison:
    here = [a for a in choices if a.told.scale == scale and set(a.trial.panels) == {method, other}]
    attentive = [a for a in here if a.reader not in inattentive]
    strata = sorted({a.told.stratum for a in here})
    return Comparison(
        method, other, scale,
        readers={reader.number: _count(here, reader, method) for reader in answers.readers},
        together=overall(_table(here, method)),
        attentive=overall(_table(attentive, method)) if inattentive else None,
        strata={stratum: overall(_table([a for a in here if a.told.stratum == stratum], method)) for stratum in strata} if len(strata) > 1 else {},
        between=between(_of_all(here, method)),
        side=side(here), order=order(here, method), mixed=_mixed(here, method),
    )  # fmt: skip


def _count(answers: Sequence[Answer], reader: Reader, method: str) -> Count:
    mine = [a for a in answers if a.reader == reader.number]
    chosen, same = sum(a.chosen == method for a in mine), sum(a.chosen is None for a in mine)
    return Count(chosen, len(mine) - same - chosen, same, exact(chosen, len(mine) - same))


def _table(answers: Sequence[Answer], method: str) -> np.ndarray:
    """(readers, cases): 1 where the method was preferred, 0 where it was not, NaN else."""
    readers, cases = sorted({a.reader for a in answers}), sorted({a.trial.case for a in answers})
    table = np.full((len(readers), len(cases)), np.nan)
    for answer in answers:
        if answer.chosen is not None:
            table[readers.index(answer.reader), cases.index(answer.trial.case)] = answer.chosen == method
    return table


def _of_all(answers: Sequence[Answer], method: str) -> np.ndarray:
    """(readers, cases) as whole numbers, of the cases that all readers answered who answered half of them at least."""
    cases = sorted({a.trial.case for a in answers})
    given = {(a.reader, a.trial.case): 2 if a.chosen is None else int(a.chosen == method) for a in answers}
    counts = {reader: sum((reader, case) in given for case in cases) for reader in sorted({a.reader for a in answers})}
    readers = [reader for reader, count in counts.items() if 2 * count >= len(cases)]
    shared = [case for case in cases if all((reader, case) in given for reader in readers)]
    return np.array([[given[reader, case] for case in shared] for reader in readers], int).reshape(len(readers), len(shared))


def _mixed(answers: Sequence[Answer], method: str) -> Mixed | None:
    decided = [a for a in answers if a.chosen is not None]
    last = {reader: max(a.position for a in decided if a.reader == reader) or 1 for reader in {a.reader for a in decided}}
    columns = [(a.chosen == method, a.left == method, a.position / last[a.reader], a.reader, a.trial.case) for a in decided]
    return fit(*(np.array(column) for column in zip(*columns))) if columns else None


def _rated(answers: Answers, method: str, other: str, scale: int) -> Rated:
    return Rated(method, other, scale, differences(answers.of("main", scale=scale), method, other))


def as_json(value: Any) -> Any:
    """Numbers and names alone; what is not a number becomes null."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: as_json(getattr(value, name)) for name in value.__dataclass_fields__ if name not in ("all", "key")}
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
