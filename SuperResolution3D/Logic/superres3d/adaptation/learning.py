"""The loop: a network for slices learns from pairs until its time is up."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..networks.module import BlueprintNet
from .budget import Budget
from .pairs import OwnDetail, Pairs

_BATCH, _PATCH = 32, (12, 24)  # patches a step; their coarse pixels along a line, and beside it
_RATE, _WARM_UP = 1e-3, 20  # of Adam; steps until it is reached
_TRIES, _FLAT = 8, 0.01  # a patch whose standard deviation is below is mostly air
_LEAST_SQUARE = 1e-6  # as in training: the root stays smooth where a patch is met exactly


def learn(net: BlueprintNet, detail: OwnDetail, budget: Budget, noise: float, device: str, tick: Callable[[float], None]) -> int:
    """Teach ``net`` in place, with Adam, a cosine from its rate to nothing, and the root mean square error of each patch; returns the steps.

    Args:
        net: on ``device``; in evaluation mode afterwards.
        detail: what it learns from.
        budget: time or steps.
        noise: standard deviation that is added to coarse patches, network units, and is not in the fine ones: what is to be taken away.
        device: as PyTorch names it.
        tick: told the finished share after each step; may raise to stop.
    """
    random, step = np.random.default_rng(budget.seed), 0
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # PyTorch declares no overload with it
    adam = torch.optim.Adam(net.train().parameters(), _RATE)
    began = time.perf_counter()  # what PyTorch loads for its optimiser is none of the time to learn
    while (share := budget.share(step, began)) < 1.0:
        for group in adam.param_groups:
            group["lr"] = _RATE * 0.5 * (1 + np.cos(np.pi * share)) * min(1.0, (step + 1) / _WARM_UP)
        coarse, fine = (part.to(device) for part in _batch(detail.learnt, net.architecture.factors[0], noise, random))
        loss = ((net(coarse) - fine).square().mean(dim=(1, 2, 3)) + _LEAST_SQUARE).sqrt().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        step += 1
        tick(share)
    net.eval()
    return step


def _batch(directions: tuple[Pairs, ...], factor: int, noise: float, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    drawn = [_patch(directions, factor, random) for _ in range(_BATCH)]
    coarse, fine = (np.stack(part)[:, None] for part in zip(*drawn))
    if noise:
        coarse = coarse + np.float32(noise) * random.standard_normal(coarse.shape, dtype=np.float32)
    return torch.from_numpy(coarse), torch.from_numpy(fine)


def _patch(directions: tuple[Pairs, ...], factor: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A coarse patch and its fine one, turned at random; where a scan is smaller than a patch, mirrored at its end."""
    for _ in range(_TRIES):
        pairs = directions[random.integers(len(directions))]
        number = random.integers(len(pairs.coarse))
        rows, columns = (min(most, side) for most, side in zip(_PATCH, pairs.coarse.shape[1:]))
        top, left = (int(random.integers(side - taken + 1)) for side, taken in zip(pairs.coarse.shape[1:], (rows, columns)))
        coarse = pairs.coarse[number, top : top + rows, left : left + columns]
        if coarse.std() > _FLAT:
            break
    fine = pairs.fine[number, top * factor : (top + rows) * factor, left : left + columns]
    turns = tuple(slice(None, None, int(step)) for step in random.choice((-1, 1), 2))
    missing = (_PATCH[0] - rows, _PATCH[1] - columns)
    return tuple(
        np.pad(image[turns], ((0, missing[0] * by), (0, missing[1])), mode="symmetric") for image, by in ((coarse, 1), (fine, factor))
    )  # type: ignore[return-value]
