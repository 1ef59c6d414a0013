#!/usr/bin/env python
"""Teach a told network what the estimator says, in place of the truth, on a processor.

    python Testing/Benchmarks/told/train_told.py SAMPLES.npz HELD.npz mr.pack told-mr-plane-x2.safetensors --start models --steps 2000

Begins from the network of the same name in a folder of models, or goes on with OUT where that is there.  Each batch is a few groups of crops; a group lost
its detail in one way and is told one thing, see mixture.py.  Some lost it clearly and are told so by the estimator (SAMPLES, HELD; see simulate.py and
fit_detail.py); the others, drawn from the scans of a pack (Testing/Benchmarks/gpu/pack.py), lost little: see mild.py.
"""

from __future__ import annotations

import re
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from clear import ClearLosses
from groups import Group
from mild import MildLosses
from mixture import Mixture
from superres3d.networks.module import sub_pixel
from superres3d.networks.stored import read_tensors
from superres3d.resampling.interpolation import sampling_matrix
from told import SIZES, conditions_of

_VARIANTS_FASTER = 1.5  # than the network that they are added to


class Lesson:
    """What a told network learns from: crops that lost their detail clearly, and those that lost little.

    Args:
        clear, mild: the samples.
        stage, scale: of the network.
    """

    net: Mixture

    def __init__(self, clear: ClearLosses, mild: MildLosses, stage: str, scale: int):
        self._clear, self._mild = clear, mild
        self.factors = (scale, scale if stage == "plane" else 1)
        self.conditions = conditions_of(stage)

    def groups(self, count: int, clear_share: float, crops: int, random: np.random.Generator) -> list[Group]:
        """Of one batch."""
        clear = int((random.random(count) < clear_share).sum()) if self._clear.any else 0
        return [self._clear(crops) for _ in range(clear)] + (self._mild(count - clear) if clear < count else [])

    def _along(self, image: Tensor, kernel: str) -> Tensor:
        """Interpolated."""
        rows, columns = (matrix(length, factor, kernel) for length, factor in zip(image.shape[2:], self.factors))
        return rows @ image @ columns.T

    def loss(self, group: Group) -> Tensor:
        """Of one group."""
        raise NotImplementedError

    def descend(self, groups: list[Group], adam: torch.optim.Optimizer) -> float:
        """One step; the loss before it."""
        loss = torch.stack([self.loss(group) for group in groups]).mean()
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 0.5)
        adam.step()
        return float(loss.detach())


class Training(Lesson):
    """A told network and its samples."""

    def __init__(self, clear: ClearLosses, mild: MildLosses, stage: str, scale: int, overshoot: float, variants: int):
        super().__init__(clear, mild, stage, scale)
        self.overshoot = overshoot
        self.net = Mixture(self.factors, *SIZES[stage, scale], self.conditions, variants)

    def loss(self, group: Group) -> Tensor:
        """The root mean square error of each crop; what is added to Lanczos beyond the truth counts more."""
        with torch.autocast("cpu", torch.bfloat16):
            phases = self.net.correction(group.low.contiguous(memory_format=torch.channels_last), group.told)
        refined = self._along(group.low, "cubic") + sub_pixel(phases.float(), self.factors)
        error = refined - group.high - (self._along(group.noise, "lanczos") if group.keep else 0.0)
        squared = error.square()
        if self.overshoot:
            squared = squared * (1 + self.overshoot * (error * (refined - self._along(group.low, "lanczos")) > 0))
        return squared.flatten(1).mean(1).add(1e-10).sqrt().mean()

    def optimiser(self, rate: float) -> torch.optim.Adam:
        """Of the network and, faster, its variants."""
        variants = [*self.net.varied.parameters(), *self.net.mixing.parameters()]
        others = [*self.net.plain.parameters(), *self.net.modulation.parameters()]
        return torch.optim.Adam([{"params": others, "share": 1.0}, {"params": variants, "share": _VARIANTS_FASTER}], rate, betas=(0.9, 0.99))


@lru_cache(maxsize=16)
def matrix(length: int, factor: int, kernel: str) -> Tensor:
    """Interpolation of a line."""
    return torch.from_numpy(sampling_matrix(length, length * factor, kernel).astype(np.float32)) if factor > 1 else torch.eye(length)


def main(
    samples: Path, held: Path, pack: Path, out: Path, start: Annotated[Path, typer.Option()], steps: Annotated[int, typer.Option()] = 1800, groups: Annotated[int, typer.Option()] = 4,
    crops: Annotated[int, typer.Option()] = 4, side: Annotated[int, typer.Option()] = 32, rate: Annotated[float, typer.Option()] = 8e-4, overshoot: Annotated[float, typer.Option()] = 0.0,
    clear_share: Annotated[float, typer.Option()] = 0.35, variants: Annotated[int, typer.Option(help="0: as modulation alone, and of mild losses the noise alone is told.")] = 2, seed: Annotated[int, typer.Option()] = 1,
) -> None:  # fmt: skip
    """See above."""
    torch.set_num_threads(1)
    named = re.fullmatch(r"told-(mr|ct)-(plane|depth)-x(\d)", out.stem)
    if not named:
        raise SystemExit(f"Error: {out.name} does not say which network it is; name it as told-mr-plane-x2.safetensors.")
    stage, scale, random = named[2], int(named[3]), np.random.default_rng(seed)
    torch.manual_seed(seed)
    clear, mild = ClearLosses(samples, held, named[1].upper(), stage, scale, side, random), MildLosses(pack, stage, scale, side, crops, random, variants > 0)
    training = Training(clear, mild, stage, scale, overshoot, variants)
    begun = read_tensors(out if out.is_file() else start / f"two-stage-{out.stem}" / "weights.safetensors")
    training.net.load_tensors({name: torch.from_numpy(tensor) for name, tensor in begun.items()})
    adam, began, sums = training.optimiser(rate), time.monotonic(), 0.0
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * group["share"] * max(0.01, 0.5 * (1 + np.cos(np.pi * step / steps))) * min(1.0, (step + 1) / 50)
        drawn = training.groups(groups, clear_share, crops, random)
        if not drawn:
            continue
        sums += training.descend(drawn, adam)
        if (step + 1) % 200 == 0 or step + 1 == steps:
            print(f"{step + 1} steps, {time.monotonic() - began:.0f} s, loss {sums / ((step % 200) + 1):.6f}", flush=True)
            sums = 0.0
            save_file(training.net.stored_tensors(), out)


if __name__ == "__main__":
    typer.run(main)
