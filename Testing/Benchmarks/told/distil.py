#!/usr/bin/env python
"""Teach a told network of half the arithmetic to do what a larger one does, on a processor.

    python Testing/Benchmarks/told/distil.py SAMPLES.npz HELD.npz mr.pack told-mr-plane-x2-small.safetensors --teacher models --steps 12000

It is told what its teacher is told, of crops that lost their detail clearly or little as those of train_told.py, and learns from the truth and from the
teacher's result (Hinton, Vinyals, Dean. arXiv:1503.02531, 2015).  It begins with every other block of its teacher.  Stopped and called again, it goes on from
OUT.state.safetensors and makes what an uninterrupted run would have made.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from clear import ClearLosses
from groups import Group
from mild import MildLosses
from mixture import Mixture
from superres3d.networks.module import sub_pixel
from superres3d.networks.stored import read_tensors
from superres3d.networks.told import MODULATION, NETWORK
from told import SIZES
from train_told import Lesson

_EVERY = 250  # steps between two states
_WARM_UP = 100


class Distillation(Lesson):
    """A small network, its teacher and their samples.

    Args:
        clear, mild: the samples.
        stage, scale: of the networks.
        filters, blocks: of the small one.
        of_teacher: share of the loss that is measured from the teacher's result; the rest from the truth.
    """

    def __init__(self, clear: ClearLosses, mild: MildLosses, stage: str, scale: int, filters: int, blocks: int, of_teacher: float):
        super().__init__(clear, mild, stage, scale)
        self._of_teacher = of_teacher
        self.net, self.teacher = (Mixture(self.factors, *size, self.conditions, 0) for size in ((filters, blocks), SIZES[stage, scale]))

    def begin(self, weights: Mapping[str, Tensor]) -> None:
        """From those of the teacher."""
        self.teacher.load_tensors(dict(weights))
        self.net.load_tensors(thinned(weights, self.net.stored_tensors()))

    def loss(self, group: Group) -> Tensor:
        """Root mean square errors of each crop."""
        image = group.low.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                wanted = sub_pixel(self.teacher.correction(image, group.told).float(), self.factors)
            given = sub_pixel(self.net.correction(image, group.told).float(), self.factors)
        truth = group.high + (self._along(group.noise, "lanczos") if group.keep else 0.0) - self._along(group.low, "cubic")
        return self._of_teacher * _apart(given, wanted) + (1 - self._of_teacher) * _apart(given, truth)


def thinned(weights: Mapping[str, Tensor], small: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of a told network's tensors those with which a smaller one begins: each of its blocks is as the last of as many of the larger one's, and told as that is."""
    width, last, large = len(small[f"{NETWORK}head.bias"]), f"{MODULATION}2.", len(weights[f"{NETWORK}head.bias"])
    blocks, all_blocks = (sum(name.startswith(f"{NETWORK}blocks.") and name.endswith(".0.bias") for name in tensors) for tensors in (small, weights))
    kept = [(number + 1) * all_blocks // blocks - 1 for number in range(blocks)]
    begun = {}
    for name, tensor in small.items():
        source = weights[re.sub(r"blocks\.(\d+)", lambda found: f"blocks.{kept[int(found[1])]}", name)]
        if name.startswith(last):
            source = source.reshape(2, all_blocks, large, *source.shape[1:])[:, kept, :width].flatten(0, 2)
        begun[name] = source[tuple(slice(length) for length in tensor.shape)].clone()
    return begun


def _apart(given: Tensor, wanted: Tensor) -> Tensor:
    return (given - wanted).square().flatten(1).mean(1).add(1e-10).sqrt().mean()


class State:
    """What a run goes on with: weights, both moments of Adam, steps.

    Args:
        path: of the file, whether it is there or not.
        net: that is trained.
        adam: its optimiser.
    """

    def __init__(self, path: Path, net: Mixture, adam: torch.optim.Adam):
        self._path, self._net, self._adam = path, net, adam

    def read(self) -> int:
        """Take up what is there; steps done."""
        if not self._path.is_file():
            return 0
        kept = load_file(self._path)
        self._net.load_tensors({name.removeprefix("weights."): tensor for name, tensor in kept.items() if name.startswith("weights.")})
        for number, parameter in enumerate(self._net.parameters()):
            own = {name.rpartition(".")[2]: tensor for name, tensor in kept.items() if name.startswith(f"adam.{number}.")}
            if own:
                self._adam.state[parameter] = own
        return int(kept["steps"])

    def write(self, steps: int) -> None:
        """Whole, or not at all."""
        kept = {f"weights.{name}": tensor for name, tensor in self._net.stored_tensors().items()} | {"steps": torch.tensor(steps)}
        for number, parameter in enumerate(self._net.parameters()):
            kept |= {f"adam.{number}.{name}": value.contiguous() for name, value in self._adam.state[parameter].items()}
        new = self._path.with_suffix(".new")
        save_file(kept, new)
        new.replace(self._path)


def main(
    samples: Path, held: Path, pack: Path, out: Path, teacher: Annotated[Path, typer.Option()], steps: Annotated[int, typer.Option()] = 12000, filters: Annotated[int, typer.Option()] = 32,
    blocks: Annotated[int, typer.Option()] = 3, groups: Annotated[int, typer.Option()] = 4, crops: Annotated[int, typer.Option()] = 4, side: Annotated[int, typer.Option()] = 32,
    rate: Annotated[float, typer.Option()] = 1.5e-3, clear_share: Annotated[float, typer.Option()] = 0.4, of_teacher: Annotated[float, typer.Option()] = 0.5, seed: Annotated[int, typer.Option()] = 1,
) -> None:  # fmt: skip
    """See above."""
    torch.set_num_threads(1)
    named = re.fullmatch(r"told-((mr|ct)-(plane|depth)-x(\d))-small", out.stem)
    if not named:
        raise SystemExit(f"Error: {out.name} does not say which network it is; name it as told-mr-plane-x2-small.safetensors.")
    stage, scale, random = named[3], int(named[4]), np.random.default_rng(seed)
    clear = ClearLosses(samples, held, named[2].upper(), stage, scale, side, random)
    distillation = Distillation(clear, MildLosses(pack, stage, scale, side, crops, random, told=False), stage, scale, filters, blocks, of_teacher)
    distillation.begin({name: torch.from_numpy(tensor) for name, tensor in read_tensors(teacher / f"two-stage-told-{named[1]}" / "weights.safetensors").items()})
    adam = torch.optim.Adam(distillation.net.parameters(), rate, betas=(0.9, 0.99))
    state = State(out.with_suffix(".state.safetensors"), distillation.net, adam)
    first, began = state.read(), time.monotonic()
    for start in range(first, steps, _EVERY):
        # Each part draws its own numbers, so that it does not matter where a run was stopped.
        torch.manual_seed(seed + start)
        random.bit_generator.state = np.random.default_rng([seed, start]).bit_generator.state
        losses = []
        for step in range(start, min(start + _EVERY, steps)):
            adam.param_groups[0]["lr"] = rate * max(0.01, 0.5 * (1 + np.cos(np.pi * step / steps))) * min(1.0, (step + 1) / _WARM_UP)
            drawn = distillation.groups(groups, clear_share, crops, random)
            if drawn:
                losses.append(distillation.descend(drawn, adam))
        print(f"{step + 1} steps, {time.monotonic() - began:.0f} s, loss {np.mean(losses):.6f}", flush=True)
        state.write(step + 1)
        save_file(distillation.net.stored_tensors(), out)


if __name__ == "__main__":
    typer.run(main)
