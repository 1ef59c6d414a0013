"""How many readers and cases a study needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from ..errors import InputError
from .preference import overall
from .simulating import Taste, mean_share, table


@dataclass(frozen=True)
class Components:
    """Variances of an answer (0 or 1): between readers, between cases, and the rest; they add up to share (1 - share)."""

    readers: float
    cases: float
    rest: float

    def of_mean(self, readers: int, cases: int) -> float:
        """Of the share over so many of them."""
        return self.readers / readers + self.cases / cases + self.rest / (readers * cases)


@lru_cache
def components(taste: Taste) -> Components:
    """The variances that a taste has, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = weights / weights.sum()
    centre = taste.centre
    by_reader = np.array([mean_share(centre + taste.readers * node, taste.cases) for node in nodes])
    by_case = np.array([mean_share(centre + taste.cases * node, taste.readers) for node in nodes])
    readers, cases = (float((weights * (shares - taste.share) ** 2).sum()) for shares in (by_reader, by_case))
    return Components(readers, cases, taste.share * (1 - taste.share) - readers - cases)


def one_reader(share: float, cases: int, alpha: float = 0.05) -> float:
    """Power of one reader's two-sided exact binomial test against one half; closed formula.

    >>> round(one_reader(0.7, 50), 3)
    0.859
    """
    chosen = np.arange(cases + 1)
    two_sided = np.minimum(1.0, 2 * np.minimum(stats.binom.cdf(chosen, cases, 0.5), stats.binom.sf(chosen - 1, cases, 0.5)))
    return float(stats.binom.pmf(chosen, cases, share)[two_sided <= alpha].sum())


def all_readers(taste: Taste, readers: int, cases: int, alpha: float = 0.05) -> float:
    """Power of the test of all readers, both readers and cases taken as drawn at random; noncentral t with the degrees of freedom of the analysis."""
    if readers < 2:
        return one_reader(taste.share, cases, alpha)
    found = components(taste)
    rest = found.rest / (readers * cases)
    parts = np.array([found.readers / readers + rest, found.cases / cases + rest, -rest])  # the expected mean squares, as the analysis finds them
    freedom = max(min(readers, cases) - 1, parts.sum() ** 2 / (parts**2 / np.array([readers - 1, cases - 1, (readers - 1) * (cases - 1)])).sum())
    away, needed = (taste.share - 0.5) / np.sqrt(parts.sum()), stats.t.ppf(1 - alpha / 2, freedom)
    power = float(stats.nct.sf(needed, freedom, away) + stats.nct.cdf(-needed, freedom, away))
    return power if np.isfinite(power) else float(stats.norm.sf(needed - away))  # so far away that its series does not end


def simulated(taste: Taste, readers: int, cases: int, alpha: float = 0.05, times: int = 1000, seed: int = 2020) -> float:
    """The same by simulated studies, each analysed as a real one is."""
    rng = np.random.default_rng(seed)
    return float(np.mean([overall(table(taste, readers, cases, rng)).p <= alpha for _ in range(times)]))


def least_cases(taste: Taste, readers: int, power: float, alpha: float = 0.05, most: int = 2000) -> int | None:
    """The fewest cases with which so many readers have the power; None: no number up to ``most`` is enough."""
    if not 0 < power < 1:
        raise InputError(f"The power {power:g} cannot be reached; give a share between 0 and 1, such as 0.9.")
    return next((cases for cases in range(5, most + 1) if all_readers(taste, readers, cases, alpha) >= power), None)
