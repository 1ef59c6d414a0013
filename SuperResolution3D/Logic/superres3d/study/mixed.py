"""The mixed logistic model: a typical reader before a typical case, with readers and cases as random effects.

It is fitted by statsmodels (``BinomialBayesMixedGLM``, variational Bayes).  Its own standard errors leave out what the readers and cases add to the
uncertainty of the preference, so they are taken from the curvature of the joint posterior at the fit, the spreads held fixed, and the interval from
Student's t with as many degrees of freedom as there are readers (or cases, if fewer), less one.  Its limits: the effects have weak normal priors (standard
deviation 2 in log odds), which draw nearly unanimous answers towards one half; with few readers their spread is a guess; answers that all agree say little of it.
:func:`superres3d.study.preference.overall` needs none of this.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse, stats
from scipy.special import expit
from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

from .preference import CONFIDENCE

_PRIOR_EFFECTS, _PRIOR_SPREAD = 2.0, 1.0
LEAST = 10  # answers


@dataclass(frozen=True)
class Effect:
    """An effect in log odds with its interval (95 %)."""

    value: float
    low: float
    high: float

    @property
    def share(self) -> tuple[float, float, float]:
        """The same as shares from 0 to 1."""
        return float(expit(self.value)), float(expit(self.low)), float(expit(self.high))


@dataclass(frozen=True)
class Mixed:
    """What the model says.

    Attributes:
        preference: of the method that is asked about, for a typical reader and case, both sides alike.
        side: how much more it is preferred on the left than on the right.
        later: how much more it is preferred at the end than at the beginning.
        readers, cases: standard deviation between them, in log odds.
        converged: False: the numbers are not to be relied on.
    """

    preference: Effect
    side: Effect
    later: Effect
    readers: float
    cases: float
    converged: bool


def fit(chosen: np.ndarray, left: np.ndarray, progress: np.ndarray, reader: np.ndarray, case: np.ndarray) -> Mixed | None:
    """Fit the model; None for fewer than :data:`LEAST` answers or a single reader or case, or where all answers are alike.

    Args:
        chosen: bool, whether the method was preferred; one value an answer, as all others.
        left: bool, whether it stood on the left.
        progress: 0 at the reader's first answer, 1 at the last.
        reader, case: numbers.
    """
    if len(chosen) < LEAST or min(len(np.unique(values)) for values in (chosen, reader, case)) < 2:
        return None
    effects = np.column_stack([np.ones(len(chosen)), left - 0.5, progress - 0.5])
    random, kinds = _indicators(reader, case)
    model = BinomialBayesMixedGLM(chosen.astype(float), effects, random, kinds, vcp_p=_PRIOR_SPREAD, fe_p=_PRIOR_EFFECTS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = model.fit_vb()
    spreads = np.exp(np.asarray(found.vcp_mean))
    deviations = _deviations(effects, random, np.asarray(found.fe_mean), np.asarray(found.vc_mean), spreads[kinds])
    level = 0.5 + CONFIDENCE / 2
    halves = deviations * np.array([stats.t.ppf(level, min(len(np.unique(reader)), len(np.unique(case))) - 1), *[stats.norm.ppf(level)] * 2])
    preference, side, later = (Effect(float(m), float(m - h), float(m + h)) for m, h in zip(found.fe_mean, halves))
    return Mixed(preference, side, later, float(spreads[0]), float(spreads[1]), bool(np.isfinite(halves).all()) and not told)


def _deviations(effects: np.ndarray, random: sparse.csr_matrix, mean: np.ndarray, drawn: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Standard errors of the fixed effects with everything else uncertain, too: of the inverse of the joint curvature."""
    every = np.hstack([effects, random.toarray()])
    chance = expit(effects @ mean + random @ drawn)
    known = np.concatenate([np.full(len(mean), _PRIOR_EFFECTS**-2.0), spreads**-2.0])
    curvature = every.T @ (every * (chance * (1 - chance))[:, None]) + np.diag(known)
    return np.sqrt(np.diag(np.linalg.inv(curvature)))[: len(mean)]


def _indicators(reader: np.ndarray, case: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    columns = [(values == value).astype(float) for values in (reader, case) for value in np.unique(values)]
    kinds = np.repeat([0, 1], [len(np.unique(reader)), len(np.unique(case))])
    return sparse.csr_matrix(np.column_stack(columns)), kinds
