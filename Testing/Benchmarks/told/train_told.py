#!/usr/bin/env python
"""Teach a told network what the estimator says, in place of the truth, on a processor.

    python Testing/Benchmarks/told/train_told.py SAMPLES.npz HELD.npz told-mr-plane-x2.safetensors --start FOLDER --steps 1600

Begins from a network of the same name in FOLDER that was told the truth (Testing/Benchmarks/gpu/told.py), or goes on with OUT where that is there.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from simulate import UNITS
from superres3d.networks.module import sub_pixel
from told import SIZES, Told, conditions_of
from train import cubic

_NO_NOISE = 0.06


def conditions(told: Tensor, keep: Tensor, coarse: Tensor | None) -> Tensor:
    """(N, conditions) of estimates (N, axes, 12), in the order of :func:`superres3d.networks.told.told_of`."""
    noise = 10 ** told[:, :, 4].mean(1)
    middle = [torch.where(noise < _NO_NOISE, torch.zeros_like(noise), noise), keep, torch.ones_like(keep)]
    middle += [] if coarse is None else [coarse]
    return torch.cat([told[:, :, :4].clamp(0.0, 1.1).flatten(1) - 0.5, torch.stack(middle, 1), 10 * told[:, :, 6:10].mean(2), 5 * (1 - told[:, :, 5])], 1)


class Training:
    """A told network and its samples."""

    def __init__(self, samples: Path, held: Path, stage: str, scale: int, batch: int, seed: int):
        self._told = torch.tensor(np.load(held)["told"])
        loaded = np.load(samples)
        owner = loaded[f"owner{scale}"]
        kept = owner < len(self._told)
        # What is so unsure is not told, see superres3d/detail/telling.py.
        kept[kept] = (self._told[owner[kept]][:, :, 6:10].mean(2).amax(1) < 0.2).numpy()
        self._owner = owner[kept]
        self._crops = [loaded[f"{part}{scale}"][kept] for part in ("low", "high", "noise")]
        self._coarse = torch.tensor(loaded["coarse"], dtype=torch.float32)
        self.stage, self.batch, self.factors = stage, batch, (scale, scale if stage == "plane" else 1)
        filters, blocks = SIZES[stage, scale]
        self.net = Told(self.factors, filters, blocks, conditions_of(stage) + 2 * self._told.shape[1]).to(memory_format=torch.channels_last)
        self._bases = [cubic(side, factor, "cpu") if factor > 1 else None for side, factor in zip(self._crops[0].shape[2:], self.factors)]
        self._rng = np.random.default_rng(seed)

    def begin(self, start: Path, out: Path) -> None:
        """From a network that is told less: what is new has no effect yet."""
        if out.is_file():
            self.net.load_tensors(load_file(out))
            return
        tensors = load_file(start)
        first = tensors["modulation.0.weight"]
        tensors["modulation.0.weight"] = torch.cat([first, torch.zeros(len(first), self.net.conditions - first.shape[1])], 1)
        self.net.load_tensors(tensors)

    def loss(self) -> Tensor:
        """Of one batch: the root mean square error of each crop."""
        low, high, noise, told, coarse = self._drawn()
        keep = torch.tensor(self._rng.random(self.batch) < 0.5, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            phases = self.net.correction(low.contiguous(memory_format=torch.channels_last), conditions(told, keep, coarse if self.stage == "depth" else None))
        refined = self._base(low) + sub_pixel(phases.float(), self.factors)
        wanted = high + keep[:, None, None, None] * self._base(noise)
        return (refined - wanted).square().flatten(1).mean(1).add(1e-10).sqrt().mean()

    def _drawn(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        which, crop = self._rng.integers(0, len(self._owner), self.batch), self._rng.integers(0, self._crops[0].shape[1], self.batch)
        low, high, noise = (torch.from_numpy(part[which, crop].astype(np.float32) / UNITS)[:, None] for part in self._crops)
        told, coarse = self._told[self._owner[which]], self._coarse[self._owner[which]]
        if self.stage == "plane" and self._rng.random() < 0.5:
            low, high, noise, told = low.transpose(2, 3), high.transpose(2, 3), noise.transpose(2, 3), told.flip(1)
        for axis in (2, 3):
            if self._rng.random() < 0.5:
                low, high, noise = low.flip(axis), high.flip(axis), noise.flip(axis)
        return low, high, noise, told, coarse

    def _base(self, low: Tensor) -> Tensor:
        rows, columns = self._bases
        low = low if rows is None else rows @ low
        return low if columns is None else low @ columns.T


def main(
    samples: Path, held: Path, out: Path, start: Annotated[Path, typer.Option()], steps: Annotated[int, typer.Option()] = 1600, batch: Annotated[int, typer.Option()] = 8,
    rate: Annotated[float, typer.Option()] = 6e-4, seed: Annotated[int, typer.Option()] = 1,
) -> None:  # fmt: skip
    """See above."""
    torch.set_num_threads(1)
    named = re.fullmatch(r"told-\w+-(plane|depth)-x(\d)", out.stem)
    if not named:
        raise SystemExit(f"Error: {out.name} does not say which network it is; name it as told-mr-plane-x2.safetensors.")
    training = Training(samples, held, named[1], int(named[2]), batch, seed)
    training.begin(start / out.name, out)
    adam, began, sums = torch.optim.Adam(training.net.parameters(), rate), time.monotonic(), 0.0
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps)) * min(1.0, (step + 1) / 50)
        loss = training.loss()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(training.net.parameters(), 0.5)
        adam.step()
        sums += float(loss.detach())
        if (step + 1) % 200 == 0 or step + 1 == steps:
            print(f"{step + 1} steps, {time.monotonic() - began:.0f} s, loss {sums / ((step % 200) + 1):.6f}", flush=True)
            sums = 0.0
            save_file({name: tensor.detach().contiguous() for name, tensor in training.net.stored_tensors().items()}, out)


if __name__ == "__main__":
    typer.run(main)
