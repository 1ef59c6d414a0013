#!/usr/bin/env python
"""Fit the estimator of a scan's detail, and estimate every sample by members that have not seen its subject.

    python Testing/Benchmarks/told/fit_detail.py SAMPLES.npz mr-plane.safetensors --held mr-plane-held.npz --validation VAL.npz

Each member leaves a quarter of the subjects out.  What it says of those is what the networks learn to be told: they meet its errors, and the
uncertainty that it states, as they will on a scan of a user.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor, nn

MEMBERS = 4
_SOURCES = ("ds000011", "ds002748", "ctmd", "openms", "ubermuda")
_HIDDEN, _DROPPED, _JITTER, _BATCH = 96, 0.15, 0.1, 256
_LEAST_NOISE = 0.02  # in units of noise; below it is none
_LOWEST, _HIGHEST = -5.0, 2.0  # logarithms of the errors


def pairs(samples: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spectra, what is to be estimated (N, 6), and the subjects; of two axes both, each with the other to compare it with."""
    spectra, truth, names = samples["spectra"], samples["truth"], samples["names"]
    order = [(0, 1), (1, 0)] if truth.shape[1] == 2 else [(0, 1)]
    given = np.concatenate([np.concatenate([spectra[:, own], spectra[:, other]], 1) for own, other in order])
    wanted = np.concatenate([truth[:, own] for own, _ in order]).astype(np.float32)
    wanted[:, 4] = np.log10(np.maximum(wanted[:, 4], _LEAST_NOISE))
    return given, wanted, np.concatenate([names] * len(order))


def member(given: Tensor, wanted: Tensor, steps: int, seed: int) -> nn.Sequential:
    """Learns values and their errors: the likelihood of Laplace distributions."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Linear(given.shape[1], _HIDDEN), nn.SiLU(), nn.Dropout(_DROPPED), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Dropout(_DROPPED), nn.Linear(_HIDDEN, 12)
    )
    adam = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        drawn = torch.randint(len(given), (_BATCH,))
        value, spread = net(given[drawn] + _JITTER * torch.randn(_BATCH, given.shape[1])).chunk(2, 1)
        spread = spread.clamp(_LOWEST, _HIGHEST)
        loss = ((wanted[drawn] - value).abs() / spread.exp() + spread).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
    return net.eval()


def main(
    samples: Path, out: Path, held: Annotated[Path, typer.Option()], validation: Annotated[Path | None, typer.Option()] = None, steps: Annotated[int, typer.Option()] = 3000,
) -> None:  # fmt: skip
    """See above."""
    torch.set_num_threads(1)
    given, wanted, names = pairs(dict(np.load(samples)))
    mean, deviation = given.mean(0), given.std(0) + 1e-3
    names = np.array([_source(name) for name in names]) if len(np.load(samples)["truth"][0]) == 1 else names
    known = sorted(set(names))
    part = dict(zip((known[index] for index in np.random.default_rng(0).permutation(len(known))), np.arange(len(known)) % MEMBERS))
    parts = np.array([part[name] for name in names])

    def prepared(spectra: np.ndarray) -> Tensor:
        return torch.tensor(((spectra - mean) / deviation).clip(-5, 5), dtype=torch.float32)

    told, nets = np.zeros((len(given), 12), np.float32), []
    for number in range(MEMBERS):
        seen, left = np.flatnonzero(parts != number), np.flatnonzero(parts == number)
        nets.append(member(prepared(given[seen]), torch.tensor(wanted[seen]), steps, number))
        with torch.no_grad():
            values = nets[-1](prepared(given[left]))
        values[:, 6:] = values[:, 6:].clamp(_LOWEST, _HIGHEST).exp()
        told[left] = values.numpy()
    _tell("subjects left out", told[:, :6] - wanted)
    axes = len(told) // len(np.load(samples)["names"])
    np.savez(held, told=told.reshape(axes, -1, 12).transpose(1, 0, 2))
    if validation:
        given, wanted, _ = pairs(dict(np.load(validation)))
        with torch.no_grad():
            _tell("validation, all members", torch.stack([net(prepared(given))[:, :6] for net in nets]).mean(0).numpy() - wanted)
    tensors = {"mean": torch.tensor(mean), "std": torch.tensor(deviation)}
    for number, net in enumerate(nets):
        for layer, linear in enumerate(piece for piece in net if isinstance(piece, nn.Linear)):
            tensors |= {f"{number}.{layer}.weight": linear.weight.detach(), f"{number}.{layer}.bias": linear.bias.detach()}
    save_file({name: tensor.float().contiguous() for name, tensor in tensors.items()}, out)


def _source(name: str) -> str:
    """Across the slices there are few sources, and each is left out whole."""
    return next((source for source in _SOURCES if source in name), name)


def _tell(what: str, errors: np.ndarray) -> None:
    print(f"{what}: mean error of the transfer function {np.abs(errors[:, :4]).mean(0).round(3)}, of log10 noise {np.abs(errors[:, 4]).mean():.3f}, of the extent {np.abs(errors[:, 5]).mean():.3f}")


if __name__ == "__main__":
    typer.run(main)
