#!/usr/bin/env python
"""Train the default method's networks, told how the scan lost its detail, on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/told.py OUT mr.pack ct.pack --seconds 100

The four networks of each pack learn at the same time, each on a stream of its own: one alone is far too small for a card.

The network is the default's; what it is told (the transfer function along each refined axis at four frequencies, the noise, whether noise is to be
kept) modulates its features: each block's inner channels are shifted before the ReLU and scaled after it (FiLM: Perez, Strub, de Vries, Dumoulin,
Courville. AAAI 2018).  For a scan the conditions are constants, so that both fold into the convolutions: told networks cost nothing when they run.
On a share of the samples it is told nothing, and has to do as the default does.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

import pack
from loop import Optimizer, Steps, Tell, cosine, telling, within
from samples import FREQUENCIES, Degrader, DeviceScans, Losses, Pairs
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, Runner, sub_pixel
from train import cubic, saved, set_up, with_reduced

_MARGIN = 12
_HIDDEN = 64
_UNKNOWN = 0.15  # share of the samples that are told nothing
_UNSURE = 0.1  # standard deviation of the error of what is told, as a share of it
LOSSES = {
    "MR": Losses(gaussian=0.2, spectral=0.4, zero_filled=0.5, filtered=0.4, noise=0.025, noise_share=0.6),
    "CT": Losses(gaussian=0.3, spectral=0.3, zero_filled=0.4, filtered=0.4, noise=0.02, noise_share=0.6, spectral_slices=False, magnitude=False, gamma=1.0),
}
#: filters and blocks of the default's networks
SIZES = {("plane", 2): (32, 6), ("plane", 4): (48, 8), ("depth", 2): (32, 4), ("depth", 4): (32, 6)}
_COARSE_ACROSS = {2: 0.5, 4: 0.35}


class Told(nn.Module):
    """The default's network with modulated blocks.

    Args:
        factors: along (rows, columns).
        filters, blocks: see :func:`superres3d.networks.edsr.edsr`.
        conditions: how many numbers it is told.
    """

    def __init__(self, factors: tuple[int, int], filters: int, blocks: int, conditions: int):
        super().__init__()
        self.net = BlueprintNet(Architecture.make("edsr", {"filters": filters, "blocks": blocks}, True, factors))
        self.filters, self.blocks, self.conditions = filters, blocks, conditions
        self.modulation = nn.Sequential(nn.Linear(conditions, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2 * filters * blocks))
        nn.init.zeros_(self.modulation[-1].weight)
        nn.init.zeros_(self.modulation[-1].bias)

    def correction(self, image: Tensor, told: Tensor) -> Tensor:
        """Phases (N, r * s, H, W) that are to be added to the interpolation; ``told`` is (N, conditions)."""
        shifts, scales = self.modulation(told).reshape(len(told), 2, self.blocks, -1, 1, 1).unbind(1)
        draw, (rows, columns) = Runner(self.net.layers), self.net.architecture.factors
        features = draw.conv("head", image, self.filters)
        for number in range(self.blocks):
            inner = draw.conv(f"blocks.{number}.0", features, self.filters) + shifts[:, number].to(features)
            inner = torch.relu(inner) * (1.0 + scales[:, number].to(features))
            features = features + draw.conv(f"blocks.{number}.1", inner, self.filters)
        return draw.conv("tail", features, rows * columns)

    def stored_tensors(self) -> dict[str, Tensor]:
        """As the file of weights holds them."""
        modulation = {f"modulation.{name}": tensor for name, tensor in self.modulation.state_dict().items()}
        return {**{f"net.{name}": tensor for name, tensor in self.net.stored_tensors().items()}, **modulation}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors`."""
        for part, load in (("net.", self.net.load_tensors), ("modulation.", self.modulation.load_state_dict)):
            load({name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)})


def conditions_of(stage: str) -> int:
    """Transfer function along the refined axes, noise, noise kept, told or not; between slices also whether the slices are coarse within."""
    return (2 if stage == "plane" else 1) * len(FREQUENCIES) + (3 if stage == "plane" else 4)


def told_vector(transfer: Tensor, sigma: Tensor, keep: Tensor, known: Tensor, coarse: Tensor | None, noise_unit: float) -> Tensor:
    """(N, conditions).

    Args:
        transfer: (N, refined axes, 4), 0 to 1.
        sigma: (N,) standard deviation of the noise, in network units.
        keep: (N,) 1 where noise is to stay.
        known: (N,) 0 where nothing is told of the loss of detail and of the noise.
        coarse: (N,) 1 where the slices are coarse within; between slices alone.
        noise_unit: that is told as 1.
    """
    loss = torch.cat([transfer.flatten(1) - 0.5, (sigma / noise_unit)[:, None]], 1) * known[:, None]
    rest = [keep, known] if coarse is None else [keep, known, coarse]
    return torch.cat([loss, torch.stack(rest, 1)], 1)


class Training:
    """A told network, its optimiser, and the scans on the device."""

    def __init__(self, scans: DeviceScans, modality: str, stage: str, scale: int, side: int, batch: int, device: str):
        self.device, self.stage, self.scale, self.batch, self.kind = device, stage, scale, batch, torch.device(device).type
        self.name = f"{modality.lower()}-{stage}-x{scale}"
        self.losses, self.scans = LOSSES[modality], scans
        filters, blocks = SIZES[stage, scale]
        self.factors = (scale, scale if stage == "plane" else 1)
        self.net = Told(self.factors, filters, blocks, conditions_of(stage)).to(device, memory_format=torch.channels_last)
        low_shape, factors = ((1, side, side), (1, scale, scale)) if stage == "plane" else ((side, 1, side), (scale, 1, 1))
        self.degrader = Degrader(low_shape, factors, self.losses, device, _MARGIN)
        depth = self.degrader.inner[0] + 2 * self.degrader.margins[0]
        self.across = Degrader((depth, 1, side), (1, scale, scale), Losses(gaussian=0.3, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0), device, 3)
        self.bases = [cubic(side, f, device) if f > 1 else None for f in self.factors]
        self.optimizer = Optimizer(self.net)
        self._random = np.random.default_rng(2026)

    def next_kind(self) -> bool:
        """Whether the slices of the next batch are coarse within."""
        return self.stage == "depth" and bool(self._random.random() < _COARSE_ACROSS[self.scale])

    def pairs(self, coarse: bool) -> Pairs:
        """A batch."""
        degrader = self.degrader
        if coarse:
            inner = (degrader.inner[0], self.scale, degrader.inner[2] * self.scale)
            margins = (degrader.margins[0], *self.across.margins[1:])
            crops = self.scans.crops(self.batch, inner, margins, True)
            return degrader(self.across(crops).low[:, 0])
        return degrader(self.scans.crops(self.batch, degrader.inner, degrader.margins, self.stage == "depth"))

    def step(self, coarse: bool) -> Tensor:
        """One batch; the loss, still on the device."""
        with torch.no_grad():
            pairs = self.pairs(coarse)
            low, high, noise = (_slices(image) for image in pairs[:3])
            keep, known = (self._uniform() < 0.5).float(), (self._uniform() >= _UNKNOWN).float()
            unsure = torch.exp(_UNSURE * torch.randn_like(pairs.transfer))
            sigma = pairs.sigma * torch.exp(2 * _UNSURE * torch.randn_like(pairs.sigma))
            told = told_vector(
                (pairs.transfer * unsure).clamp(max=1.1), sigma, keep, known, None if self.stage == "plane" else torch.full_like(keep, float(coarse)), self.losses.noise
            )
            wanted = high + keep[:, None, None, None] * self.base(noise)
        loss = (self.refined(low, told) - wanted).square().flatten(1).mean(1).add(1e-10).sqrt().mean()
        self.optimizer.adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 0.5, foreach=True)
        self.optimizer.adam.step()
        return loss.detach()

    def refined(self, low: Tensor, told: Tensor) -> Tensor:
        """(N, 1, rows, columns), finer."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.kind == "cuda", cache_enabled=False):
            phases = self.net.correction(low.contiguous(memory_format=torch.channels_last), told)
        return self.base(low) + sub_pixel(phases.float(), self.factors)

    @torch.no_grad()
    def base(self, low: Tensor) -> Tensor:
        """Cubic interpolation, single precision."""
        rows, columns = self.bases
        low = rows @ low
        return low if columns is None else low @ columns.T

    def _uniform(self) -> Tensor:
        return torch.rand(self.batch, device=self.device)


def _slices(image: Tensor) -> Tensor:
    """(N, 1, D, H, W) with one axis of length 1 to (N, 1, rows, columns)."""
    return image.squeeze(2) if image.shape[2] == 1 else image.squeeze(3)


def begin_as(net: Told, weights: Mapping[str, Tensor]) -> None:
    """The default's weights; what is told has no effect yet."""
    net.net.load_tensors(weights)


def begin(training: Training, folder: Path) -> None:
    """From a told network of the same name in a folder, else from the default's."""
    told = folder / f"told-{training.name}.safetensors"
    if told.is_file():
        training.net.load_tensors(load_file(told))
    else:
        begin_as(training.net, load_file(folder / f"two-stage-residual-{training.name}" / "weights.safetensors"))


def scans_of(path: Path, device: str) -> tuple[str, DeviceScans]:
    """The modality and the training scans of a pack."""
    modality, scans = pack.read_pack(path)
    trained = [entry for entry in scans if entry[0].subset == "train"]
    return modality, DeviceScans([volume for scan, values in trained for volume in with_reduced(scan, values, device)], pack.span(modality), device)


def trainings(path: Path, side: int, batch: int, device: str, start: Path | None) -> Iterator[Training]:
    """One for each of the four networks, on the scans of a pack."""
    modality, scans = scans_of(path, device)
    for stage, scale in SIZES:
        training = Training(scans, modality, stage, scale, side, batch, device)
        if start:
            begin(training, start)
        yield training


class _Learner:
    """A training on a stream of its own."""

    def __init__(self, training: Training, tell: Tell):
        self.training, self._tell, self.done = training, tell, 0
        on_card = training.kind == "cuda"
        self._stream = torch.cuda.Stream() if on_card else None
        self._steps = Steps(training.step, on_card, tell, self._stream)
        self._sum = torch.zeros((), device=training.device)
        self._every = 2000 if on_card else 20

    def advance(self, rate: float) -> None:
        """One step; does not wait for it."""
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            self.training.optimizer.set_rate(rate)
            self._sum += self._steps(self.training.next_kind())
            self.done += 1
            if self.done % self._every == 0:
                self._tell(network=self.training.name, step=self.done, loss=round(float(self._sum) / self._every, 6))
                self._sum.zero_()


def main(
    out: Path,
    packs: list[Path],
    seconds: float = 100.0,
    side: int = 32,
    batch: int = 48,
    rate: float = 1e-3,
    device: str = "cuda",
    start: Annotated[Path | None, typer.Option(help="Folder of told networks, or of models, whose default is begun from.")] = None,
) -> None:
    """See above."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    with telling(out / "told.jsonl", began) as tell:
        learners = [_Learner(training, tell) for path in packs for training in trainings(path, side, batch, device, start)]
        tell(networks=len(learners))
        sync = torch.cuda.synchronize if learners[0].training.kind == "cuda" else lambda: None
        for share in within(seconds - 3.0 - (time.perf_counter() - began), sync):
            for learner in learners:
                learner.advance(rate * cosine(share, learner.done, 200))
        tell(steps={learner.training.name: learner.done for learner in learners}, seconds=round(time.perf_counter() - began, 1), batch=batch)
    for learner in learners:
        save_file(saved(learner.training.net), out / f"told-{learner.training.name}.safetensors")


if __name__ == "__main__":
    typer.run(main)
