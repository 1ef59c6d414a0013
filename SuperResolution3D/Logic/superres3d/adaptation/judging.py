"""Whether what was learnt helps: on slices that were kept apart."""

from __future__ import annotations

from collections.abc import Callable
from math import log10

import numpy as np
import torch

from ..networks.module import BlueprintNet
from ..resampling.interpolation import resize_axis
from .pairs import OwnDetail, Pairs

_LEAST = 1e-12  # mean square error
_WORTH_DB = 0.05  # in the mean of directions and profiles; in none of them a loss


def gains(net: BlueprintNet, detail: OwnDetail, noise: float, device: str, tick: Callable[[], None]) -> tuple[float, ...]:
    """How much closer to the scan's own slices a network comes than Lanczos, dB, in each direction and for each profile.

    Args:
        net: on ``device``.
        detail: of which the slices that were kept apart are looked at.
        noise: standard deviation that is added to the coarse slices, always the same noise.
        device: as PyTorch names it.
        tick: called after each slice; may raise to stop.
    """
    return tuple(_gain(net, pairs, noise, device, tick) for pairs in detail.kept)


def helps(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
    """Whether the gains of the adapted network are worth more than those of the network as it was."""
    more = np.subtract(after, before)
    return bool(more.mean() >= _WORTH_DB and more.min() >= 0.0)


@torch.inference_mode()
def _gain(net: BlueprintNet, pairs: Pairs, noise: float, device: str, tick: Callable[[], None]) -> float:
    random, factor = np.random.default_rng(0), net.architecture.factors[0]
    errors = np.zeros(2)
    for coarse, fine in zip(pairs.coarse, pairs.fine):
        coarse = coarse + np.float32(noise) * random.standard_normal(coarse.shape, dtype=np.float32)
        refined = net(torch.from_numpy(coarse)[None, None].to(device))[0, 0].cpu().numpy()
        errors += [float(np.square(image - fine).sum()) for image in (resize_axis(coarse, 0, factor), refined)]
        tick()
    lanczos, refined_error = np.maximum(errors, _LEAST)
    return 10.0 * log10(lanczos / refined_error)
