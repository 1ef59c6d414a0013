"""Crops that lost their detail in one way, and what is told of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from superres3d.detail.estimator import AxisDetail
from superres3d.detail.telling import is_clear
from torch import Tensor

_NO_NOISE = 0.06
_HELD = (0.0, 0.2)  # members' differences and distances of what was held out are not known: those of a sure estimate


class Group(NamedTuple):
    """Crops (N, 1, rows, columns) in network units.

    Attributes:
        low, high, noise: coarse, fine, and what of the coarse ones is noise.
        told: (conditions,), see :func:`superres3d.networks.told.told_of`.
        keep: the noise is to stay.
    """

    low: Tensor
    high: Tensor
    noise: Tensor
    told: Tensor
    keep: bool


def vector(said: Tensor, keep: bool, clear: bool, known: bool, coarse: bool | None) -> Tensor:
    """What is told, in the order of :func:`superres3d.networks.told.told_of`.

    Args:
        said: (axes, 12), as the members of the estimator say it: transfer at four frequencies, logarithm of the noise, extent, errors of the transfer (2 spare).
        keep: the noise is to stay.
        clear: the loss is.
        known: the transfer is told.
        coarse: the slices are, too; None within the slices.
    """
    noise = float(10 ** said[:, 4].mean())
    middle = [0.0 if noise < _NO_NOISE else noise, float(keep), float(clear), *([] if coarse is None else [float(coarse)])]
    transfer, unsure = (said[:, :4].clamp(0.0, 1.1).flatten() - 0.5) * known, 10 * said[:, 6:10].mean(1) * known
    return torch.cat([transfer, torch.tensor(middle), unsure, 5 * (1 - said[:, 5])])


def are_clear(said: np.ndarray, modality: str) -> np.ndarray:
    """Which estimates (N, axes, 12) show a clear loss, as :mod:`superres3d.detail.telling` decides."""

    def axis(values: np.ndarray) -> AxisDetail:
        return AxisDetail(tuple(values[:4]), float(values[5]), float(10 ** values[4]), float(values[6:10].mean()), *_HELD)

    return np.array([is_clear([axis(values) for values in axes], modality) for axes in said])
