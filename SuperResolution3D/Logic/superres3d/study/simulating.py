"""Readers who do not exist: for rehearsing a study, for its power, and for checking that intervals cover.

A simulated reader prefers the first method with probability expit(m + r + c + s), where r is the reader's own taste, c the case, and s the
side; m is set so that the share over all readers and cases is the one that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from ..errors import InputError
from .answers import SUFFIX
from .key import Key
from .session import DONE, LEFT, RIGHT, Session, check_reader
from .sheet import Sheet
from .trials import CATCH, CLEAR, SPOILT, Trial

_NODES = 41  # of the quadrature over tastes and cases
_FARTHEST_NODE = 13  # none is so far out, in standard deviations
_SURE = 800.0  # log odds of what is as good as certain
_WIDEST = 10.0  # standard deviation, in log odds


@dataclass(frozen=True)
class Taste:
    """How simulated readers answer.

    Attributes:
        share: of their answers for the first method, over all readers and cases, 0 to 1.
        readers, cases: standard deviation of tastes and of cases, in log odds.
        left: what the left side adds, in log odds.
        attentive: share of trials with a known answer that they get right.
        seconds: median time of a case.

    Raises:
        InputError: a share, a spread or a side that is none.
    """

    share: float = 0.8
    readers: float = 0.5
    cases: float = 0.5
    left: float = 0.0
    attentive: float = 0.98
    seconds: float = 6.0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise InputError(f"The preference {self.share:g} is none; give a share between 0 and 1, such as 0.8.")
        for spread in (self.readers, self.cases):
            if not 0 <= spread <= _WIDEST:
                raise InputError(f"Readers or cases cannot differ by {spread:g}; give a standard deviation in log odds from 0 to {_WIDEST:g}, such as 0.5.")
        if not np.isfinite(self.left):
            raise InputError(f"The left side cannot add {self.left:g} to an answer; give log odds such as 0.5.")

    @property
    def centre(self) -> float:
        """The log odds of a typical reader before a typical case."""
        return _centre(self.share, float(np.hypot(self.readers, self.cases)))


@lru_cache
def _centre(share: float, spread: float) -> float:
    end = _SURE + _FARTHEST_NODE * spread
    return float(brentq(lambda middle: mean_share(middle, spread) - share, -end, end))


def mean_share(centre: float, spread: float) -> float:
    """The mean of expit over a normal distribution (Gauss-Hermite quadrature)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    return float((weights * expit(centre + spread * nodes)).sum() / weights.sum())


def table(taste: Taste, readers: int, cases: int, rng: np.random.Generator) -> np.ndarray:
    """Answers of simulated readers, (readers, cases): 1 where the first method was preferred."""
    odds = taste.centre + taste.readers * rng.standard_normal((readers, 1)) + taste.cases * rng.standard_normal((1, cases))
    return (rng.random((readers, cases)) < expit(odds)).astype(float)


def simulate(sheet: Sheet, key: Key, folder: Path, readers: int, taste: Taste, seed: int) -> None:
    """Let simulated readers do a study; their files say that nobody answered.

    Args:
        sheet, key: of the study; the key is what tells them which answer to give.
        folder: for the answers; must exist.
        readers: how many.
        taste: how they answer.
        seed: every choice comes from it.

    Raises:
        InputError, ResourceError: see :class:`superres3d.study.session.Session`, or somebody's answers are there already, which are not touched.
    """
    check_reader(sheet, readers)
    there = next(iter(sorted(folder.glob(f"*{SUFFIX}"))), None)
    if there:
        raise InputError(f"{there} holds answers already; give an empty folder.")
    rng = np.random.default_rng(seed)
    by_case = taste.cases * rng.standard_normal(len(key.cases))
    for reader in range(1, readers + 1):
        clock = _Clock()
        session = Session(sheet, folder, reader, "simulated reader", clock, simulated=True)
        _answer_all(session, key, taste, taste.centre + taste.readers * rng.standard_normal() + by_case, clock, rng)


class _Clock:
    """Time that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _answer_all(session: Session, key: Key, taste: Taste, odds: np.ndarray, clock: _Clock, rng: np.random.Generator) -> None:
    session.begin()
    while session.state != DONE:
        clock.now += taste.seconds * float(np.exp(0.4 * rng.standard_normal()))
        trial = key.trials[session.trial.name]
        if session.item:
            session.rate(_rating(trial, session.item.name, key, odds[trial.case], rng))
        else:
            session.choose(_side(session, trial, key, taste, odds[trial.case], rng))


def _side(session: Session, trial: Trial, key: Key, taste: Taste, odds: float, rng: np.random.Generator) -> str:
    on_left, on_right = (trial.panels[panel] for panel in session.sides)
    if trial.kind == CATCH:
        return LEFT if (on_left == CLEAR) == (rng.random() < taste.attentive) else RIGHT
    chance = expit(odds * (_rank(on_left, key) - _rank(on_right, key)) + taste.left)
    return LEFT if rng.random() < chance else RIGHT


def _rank(method: str, key: Key) -> float:
    """From 1 for the first method to 0 for the last."""
    return 1 - key.methods.index(method) / (len(key.methods) - 1)


def _rating(trial: Trial, item: str, key: Key, odds: float, rng: np.random.Generator) -> int:
    if trial.panels[0] == SPOILT:
        return 1 if item in ("sharpness", "confidence") else 4
    better = odds * (_rank(trial.panels[0], key) - 0.5) * (-0.3 if item == "noise" else 1.0)
    return int(np.clip(np.rint(3.2 + 0.8 * better + 0.7 * rng.standard_normal()), 1, 5))
