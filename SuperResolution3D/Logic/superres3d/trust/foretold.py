"""From the gains of a self-check to the gain that is to be expected at the scan's own scale.

Where a scan has clearly lost detail, the way in which it lost it tells nearly alone what a method can bring back (measured: Testing/Benchmarks/selfcheck.py).
Where it is sharp, how it lost its detail cannot be told from the scan, and the mean over the ways is the best guess.

>>> weights(["own", "bicubic", "means", "cut"], 0.0)
[0.25, 0.25, 0.25, 0.25]
>>> weights(["own", "bicubic", "means"], 1.0)
[1.0, 0.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import numpy as np

from ..detail.estimator import AxisDetail
from .coarser import OWN

_AT = 2  # of the frequencies at which the transfer is told: 0.8 of Nyquist
_SOFT, _WIDTH = 0.45, 0.05  # share of the detail left there, below which a loss is clear
#: of what networks that are told gain one scale coarser, so much is left at the scan's own, where the loss is clear and where it is mild; training scans.
#: A scan has less noise one scale coarser.
TOLD_SHARE = {"MR": (0.6, 1.0), "CT": (0.8, 0.6)}
#: dB: four of five validation cases were not farther off, with a clear loss of detail and without
WITHIN = {True: 1.2, False: 1.4}
CLEAR = 0.5  # from here on a loss is called clear


def clearness(axes: Sequence[AxisDetail | None]) -> float:
    """How clearly a scan has lost detail along the axes that are refined, 0 to 1; 0 where it could not be measured."""
    measured = [axis for axis in axes if axis is not None]
    if len(measured) < len(axes) or not measured:
        return 0.0
    left = float(np.mean([axis.transfer[_AT] for axis in measured]))
    return 1.0 / (1.0 + exp(min(50.0, (left - _SOFT) / _WIDTH)))


def weights(ways: Sequence[str], clear: float) -> list[float]:
    """How much each way counts; they sum to one.

    Args:
        ways: their names.
        clear: by :func:`clearness`.
    """
    clear = clear if OWN in ways else 0.0
    return [(1.0 - clear) / len(ways) + (clear if way == OWN else 0.0) for way in ways]


def expected_gain(ways: Sequence[str], gains: Sequence[float], clear: float, told_modality: str) -> float:
    """Gain over Lanczos that is to be expected at the scan's own scale, dB.

    Args:
        ways, gains: names, and gains one scale coarser, dB.
        clear: by :func:`clearness`.
        told_modality: "CT" or "MR" where the networks are told of the scan's loss; "" where not.
    """
    of_clear, of_mild = TOLD_SHARE.get(told_modality, (1.0, 1.0))
    clear = clear if OWN in ways else 0.0
    mild = sum(gains) / len(gains) * of_mild
    return (1.0 - clear) * mild + (clear * of_clear * gains[list(ways).index(OWN)] if clear else 0.0)
