#!/usr/bin/env python
"""Teach a told network what the estimator says, in place of the truth, on a processor.

    python Testing/Benchmarks/told/train_told.py SAMPLES.npz HELD.npz mr.pack told-mr-plane-x2.safetensors --start models --steps 2000

Begins from the network of the same name in a folder of models, or from what Testing/Benchmarks/gpu/told.py made, or goes on with OUT where that is there.
Part of each batch lost its detail clearly and is told so by the estimator (SAMPLES, HELD; see simulate.py and fit_detail.py); the rest, drawn from the
scans of a pack (Testing/Benchmarks/gpu/pack.py), lost little: of that the noise alone is told, and where a zero-filled spectrum ends.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
sys.path.insert(0, str(Path(__file__).parent))

from samples import Degrader, Losses
from simulate import SIDES, UNITS
from superres3d.detail.estimator import AxisDetail
from superres3d.detail.measure import NOISE_UNIT
from superres3d.detail.telling import is_clear
from superres3d.networks.module import sub_pixel
from superres3d.resampling.interpolation import sampling_matrix
from told import SIZES, Told, conditions_of, scans_of

_NO_NOISE = 0.06
_MARGIN = 12
_COLOURED = 0.5  # share of the CT crops whose noise is not white
_MOST_COLOURED = 0.006  # standard deviation, in network units
_NOISE_ERROR = 0.2
_CLEAR_SHARE = 0.375  # of a batch
_NO_DETAIL = 0.05  # transfer near the Nyquist frequency of a spectrum that ends before
_COARSE_ACROSS = {2: 0.5, 4: 0.35}
MILD = {
    "MR": Losses(gaussian=0.15, spectral=0.3, zero_filled=0.4, filtered=0.0, noise=0.025, noise_share=0.5),
    "CT": Losses(gaussian=0.1, spectral=0.15, zero_filled=0.4, filtered=0.0, noise=0.02, noise_share=0.5, spectral_slices=False, magnitude=False, gamma=1.0),
}
_HELD = (0.0, 0.2)  # members' differences and distances of what was held out are not known: those of a sure estimate


def conditions(told: Tensor, keep: Tensor, clear: Tensor, coarse: Tensor | None) -> Tensor:
    """(N, conditions) of estimates (N, axes, 12), in the order of :func:`superres3d.networks.told.told_of`; of a loss that is not clear no transfer is told."""
    noise = 10 ** told[:, :, 4].mean(1)
    middle = [torch.where(noise < _NO_NOISE, torch.zeros_like(noise), noise), keep, clear]
    middle += [] if coarse is None else [coarse]
    transfer, unsure = (told[:, :, :4].clamp(0.0, 1.1).flatten(1) - 0.5) * clear[:, None], 10 * told[:, :, 6:10].mean(2) * clear[:, None]
    return torch.cat([transfer, torch.stack(middle, 1), unsure, 5 * (1 - told[:, :, 5])], 1)


def are_clear(told: np.ndarray, modality: str) -> np.ndarray:
    """Which estimates (N, axes, 12) show a clear loss, as :mod:`superres3d.detail.telling` decides."""

    def axis(values: np.ndarray) -> AxisDetail:
        return AxisDetail(tuple(values[:4]), float(values[5]), float(10 ** values[4]), float(values[6:10].mean()), *_HELD)

    return np.array([is_clear([axis(values) for values in axes], modality) for axes in told])


class Batch(NamedTuple):
    """Crops (N, 1, rows, columns) in network units, and what is told of each.

    Attributes:
        low, high, noise: coarse, fine, and what of the coarse ones is noise.
        told: (N, axes, 12), as the estimator's members say it.
        clear: (N,) the loss is.
        coarse: (N,) the slices are, too.
        counts: (N,) 0 where a crop is not to be learnt from.
    """

    low: Tensor
    high: Tensor
    noise: Tensor
    told: Tensor
    clear: Tensor
    coarse: Tensor
    counts: Tensor


class ClearLosses:
    """Crops of simulated scans whose loss of detail the estimator calls clear."""

    def __init__(self, samples: Path, held: Path, modality: str, stage: str, scale: int, random: np.random.Generator):
        self._told, self._stage, self._random = torch.tensor(np.load(held)["told"]), stage, random
        loaded = np.load(samples)
        owner = loaded[f"owner{scale}"]
        # What is so unsure is not told, see superres3d/detail/telling.py.
        kept = (self._told[:, :, 6:10].mean(2).amax(1) < 0.2).numpy() & are_clear(self._told.numpy(), modality)
        chosen = np.array([number < len(kept) and kept[number] for number in owner])
        self._owner, self._crops = owner[chosen], [loaded[f"{part}{scale}"][chosen] for part in ("low", "high", "noise")]
        self.any = len(self._owner) > 0
        self._coarse = torch.tensor(loaded["coarse"], dtype=torch.float32)
        self._coloured = modality == "CT" and stage == "plane"

    def __call__(self, count: int) -> Batch:
        batch = self._drawn(count)
        return _with_coloured_noise(batch, self._random) if self._coloured else batch

    def _drawn(self, count: int) -> Batch:
        random = self._random
        which, crop = random.integers(0, len(self._owner), count), random.integers(0, self._crops[0].shape[1], count)
        low, high, noise = (torch.from_numpy(part[which, crop].astype(np.float32) / UNITS)[:, None] for part in self._crops)
        owner = self._owner[which]
        told = self._told[owner]
        if self._stage == "plane" and random.random() < 0.5:
            low, high, noise, told = low.transpose(2, 3), high.transpose(2, 3), noise.transpose(2, 3), told.flip(1)
        for axis in (2, 3):
            if random.random() < 0.5:
                low, high, noise = low.flip(axis), high.flip(axis), noise.flip(axis)
        return Batch(low, high, noise, told, torch.ones(count), self._coarse[owner], torch.ones(count))


def _with_coloured_noise(batch: Batch, random: np.random.Generator) -> Batch:
    """The kernel of a CT passes a band of its noise, which is told too weak or too strong: else what is soft by nature is sharpened with its noise."""
    count, sigma = len(batch.low), random.uniform(0.45, 0.9)
    white = torch.randn_like(batch.low)
    noise = _smooth(white, sigma) - random.uniform(0.0, 0.8) * _smooth(white, 2 * sigma)
    strength = torch.tensor(random.uniform(0.0, _MOST_COLOURED, count) * (random.random(count) < _COLOURED), dtype=torch.float32)
    noise = noise / noise.std() * strength[:, None, None, None]
    said = strength / NOISE_UNIT["CT"] * torch.tensor(np.exp(random.uniform(-1.2, 0.9, count)), dtype=torch.float32)
    told = batch.told.clone()
    told[:, :, 4] = torch.hypot(10 ** told[:, :, 4], said[:, None]).log10()
    return batch._replace(low=batch.low + noise, noise=batch.noise + noise, told=told)


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """Under a Gaussian, along rows and columns."""
    line = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    line = line / line.sum()
    image = torch.nn.functional.conv2d(image, line.view(1, 1, 9, 1), padding=(4, 0))
    return torch.nn.functional.conv2d(image, line.view(1, 1, 1, 9), padding=(0, 4))


class _Remembering(Degrader):
    """Keeps the extents of the spectra, and makes noise that is not white."""

    colours = False

    def __call__(self, crops: Tensor) -> Any:
        self.extents: list[Tensor] = []
        return super().__call__(crops)

    def _extent(self, count: int) -> Tensor:
        self.extents.append(super()._extent(count))
        return self.extents[-1]

    def _white(self, count: int) -> Tensor:
        noise = super()._white(count)
        if not self.colours:
            return noise
        side = (torch.rand(count) < _COLOURED) * (0.5 * torch.rand(count) - 0.2)
        for axis, length in enumerate(noise.shape[1:], 1):
            if length > 1:
                view = [count, 1, 1, 1]
                noise = (noise + side.view(view) * (noise.roll(1, axis) + noise.roll(-1, axis))) / (1 + 2 * side**2).sqrt().view(view)
        return noise


class MildLosses:
    """Crops that lost little; of those that lost much the error does not count."""

    def __init__(self, pack: Path, stage: str, scale: int, random: np.random.Generator):
        self._modality, self._scans = scans_of(pack, "cpu")
        self._stage, self._scale, self._random = stage, scale, random
        rows, columns = SIDES[stage, scale]
        low, factors = ((1, rows, columns), (1, scale, scale)) if stage == "plane" else ((rows, 1, columns), (scale, 1, 1))
        self._degrader = _Remembering(low, factors, MILD[self._modality], "cpu", _MARGIN)
        self._degrader.colours = self._modality == "CT"
        depth = self._degrader.inner[0] + 2 * self._degrader.margins[0]
        self._across = Degrader((depth, 1, columns), (1, scale, scale), Losses(gaussian=0.3, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0), "cpu", 3)

    def __call__(self, count: int) -> Batch:
        degrader, depth = self._degrader, self._stage == "depth"
        inner, margins = degrader.inner, degrader.margins
        coarse = depth and self._random.random() < _COARSE_ACROSS[self._scale]
        if coarse:
            inner, margins = (inner[0], self._scale, inner[2] * self._scale), (margins[0], *self._across.margins[1:])
        crops = self._scans.crops(count, inner, margins, depth)
        pairs = degrader(self._across(crops).low[:, 0] if coarse else crops)
        low, high, noise = (image.squeeze(3 if depth else 2) for image in pairs[:3])
        extents = torch.stack(degrader.extents[-1:] if depth else degrader.extents[-2:], 1)
        extents = torch.where(pairs.transfer[:, :, 3] < _NO_DETAIL, extents, torch.ones_like(extents))
        told = torch.zeros(count, pairs.transfer.shape[1], 12)
        told[:, :, :4], told[:, :, 5] = pairs.transfer, extents
        noise_told = pairs.sigma / NOISE_UNIT[self._modality] * torch.exp(_NOISE_ERROR * torch.randn(count))
        told[:, :, 4] = noise_told.clamp(min=1e-3).log10()[:, None]
        mild = torch.tensor(~are_clear(told.numpy(), self._modality), dtype=torch.float32)
        return Batch(low, high, noise, told, torch.zeros(count), torch.full((count,), float(coarse)), mild)


class Training:
    """A told network and its samples."""

    def __init__(self, clear: ClearLosses, mild: MildLosses, stage: str, scale: int, batch: int, overshoot: float, random: np.random.Generator):
        self._clear, self._mild, self._random = clear, mild, random
        self.stage, self.batch, self.overshoot, self.factors = stage, batch, overshoot, (scale, scale if stage == "plane" else 1)
        filters, blocks = SIZES[stage, scale]
        self.net = Told(self.factors, filters, blocks, conditions_of(stage) + 2 * (2 if stage == "plane" else 1)).to(memory_format=torch.channels_last)
        sizes = list(zip(SIDES[stage, scale], self.factors))
        self._cubic, self._lanczos = ([matrix(side, factor, kernel) if factor > 1 else None for side, factor in sizes] for kernel in ("cubic", "lanczos"))

    def begin(self, start: Path, out: Path) -> None:
        """From a network that is told less: what is new has no effect yet."""
        if out.is_file():
            self.net.load_tensors(load_file(out))
            return
        tensors = load_file(start)
        first = tensors["modulation.0.weight"]
        tensors["modulation.0.weight"] = torch.cat([first, torch.zeros(len(first), self.net.conditions - first.shape[1])], 1)
        if not self._clear.any:  # it never learns what a clear loss is: nothing of it may have an effect
            axes = 2 if self.stage == "plane" else 1
            tensors["modulation.0.weight"], tensors["modulation.0.bias"] = (part.detach().clone() for part in self.net.modulation[0].parameters())
            for place in (*range(4 * axes), 4 * axes + 2, *range(self.net.conditions - 2 * axes, self.net.conditions - axes)):
                tensors["modulation.0.weight"][:, place] = 0.0
        self.net.load_tensors(tensors)

    def loss(self) -> Tensor:
        """Of one batch: the root mean square error of each crop; what is added to Lanczos beyond the truth counts more."""
        clear = round(_CLEAR_SHARE * self.batch) if self._clear.any else 0
        drawn = self._mild(self.batch - clear)
        drawn = Batch(*(torch.cat(parts) for parts in zip(self._clear(clear), drawn))) if clear else drawn
        keep = torch.tensor(self._random.random(self.batch) < 0.5, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            given = conditions(drawn.told, keep, drawn.clear, drawn.coarse if self.stage == "depth" else None)
            phases = self.net.correction(drawn.low.contiguous(memory_format=torch.channels_last), given)
        refined = along(self._cubic, drawn.low) + sub_pixel(phases.float(), self.factors)
        error = refined - drawn.high - keep[:, None, None, None] * along(self._lanczos, drawn.noise)
        squared = error.square()
        if self.overshoot:
            squared = squared * (1 + self.overshoot * (error * (refined - along(self._lanczos, drawn.low)) > 0))
        return (squared.flatten(1).mean(1).add(1e-10).sqrt() * drawn.counts).sum() / drawn.counts.sum()


def matrix(length: int, factor: int, kernel: str) -> Tensor:
    """Interpolation of a line."""
    return torch.from_numpy(sampling_matrix(length, length * factor, kernel).astype(np.float32))


def along(matrices: list[Tensor | None], image: Tensor) -> Tensor:
    """Of rows and columns."""
    rows, columns = matrices
    image = image if rows is None else rows @ image
    return image if columns is None else image @ columns.T


def main(
    samples: Path, held: Path, pack: Path, out: Path, start: Annotated[Path, typer.Option()], steps: Annotated[int, typer.Option()] = 1600, batch: Annotated[int, typer.Option()] = 8,
    rate: Annotated[float, typer.Option()] = 6e-4, overshoot: Annotated[float, typer.Option()] = 0.0, seed: Annotated[int, typer.Option()] = 1,
) -> None:  # fmt: skip
    """See above."""
    torch.set_num_threads(1)
    named = re.fullmatch(r"told-(mr|ct)-(plane|depth)-x(\d)", out.stem)
    if not named:
        raise SystemExit(f"Error: {out.name} does not say which network it is; name it as told-mr-plane-x2.safetensors.")
    stage, scale, random = named[2], int(named[3]), np.random.default_rng(seed)
    torch.manual_seed(seed)
    clear, mild = ClearLosses(samples, held, named[1].upper(), stage, scale, random), MildLosses(pack, stage, scale, random)
    training = Training(clear, mild, stage, scale, batch, overshoot, random)
    shipped = start / f"two-stage-{out.stem}" / "weights.safetensors"
    training.begin(shipped if shipped.is_file() else start / out.name, out)
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
