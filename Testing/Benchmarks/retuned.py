#!/usr/bin/env python
"""How much more the default's network within the slices gains once it has learnt on other slices of the same scan.

    python Testing/Benchmarks/retuned.py SCANS split.csv --subset val

In-plane 2x, antialiased bicubic, no noise.  The network that the default would use, told what it would be told, is measured on the central slices as it is, and again after it
has learnt on all slices that lie ``--apart`` or more away from them: 16 crops of 24 x 24 coarse pixels a step, Adam with a cosine, root mean square of each crop.  Neither has turned copies or
bounds.  Gain over Lanczos in PSNR inside the body.  It is a measure of the training: what a network of this size could know of the scan, and does not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from superres3d import read_volume, upscale
from superres3d.detail.telling import tell
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.methods import METHODS
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, load_network
from superres3d.resampling.degradation import antialiased_bicubic_matrix
from superres3d.scan.intensity import IntensityScale, intensity_scale
from superres3d.scan.volume import find_slice_axis

_SIDE, _CROPS, _SCALE = 24, 16, 2
_FLAT = 0.01  # standard deviation of a crop that teaches nothing, in network units
_TRIES = 6


def coarse_of(slices: np.ndarray) -> np.ndarray:
    """(slices, rows, columns), of even size, by antialiased bicubic."""
    rows, columns = (antialiased_bicubic_matrix(length, _SCALE).astype(np.float32) for length in slices.shape[1:])
    return rows @ slices @ columns.T


def used_network(low: np.ndarray, modality: str) -> tuple[BlueprintNet, str]:
    """What the default refines these slices by, told of them and ready to learn, and its name."""
    models, blind = ({"plane": find_model(METHODS[method].model_name(modality, "plane", _SCALE))} for method in ("two-stage-told", "two-stage-residual"))
    model = tell(models, blind, low, modality, keep_noise=True).models["plane"]
    return load_network(model), model.name


class Lesson:
    """Crops of slices.

    Args:
        fine: (slices, rows, columns) in network units.
        random: draws.
    """

    def __init__(self, fine: np.ndarray, random: np.random.Generator):
        self._fine, self._low, self._random = fine, coarse_of(fine), random

    def __call__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(crops, 1, rows, columns), coarse and fine."""
        low, high = zip(*[self._crop() for _ in range(_CROPS)])
        return torch.from_numpy(np.stack(low))[:, None], torch.from_numpy(np.stack(high))[:, None]

    def _crop(self) -> tuple[np.ndarray, np.ndarray]:
        """Of a few the first that is not flat, flipped and turned."""
        random = self._random
        for _ in range(_TRIES):
            number, *starts = (int(random.integers(0, max(1, length))) for length in (len(self._low), *(n - _SIDE + 1 for n in self._low.shape[1:])))
            low = self._low[number, starts[0] : starts[0] + _SIDE, starts[1] : starts[1] + _SIDE]
            if low.std() > _FLAT:
                break
        begin, side = [_SCALE * start for start in starts], _SCALE * _SIDE
        high = self._fine[number, begin[0] : begin[0] + side, begin[1] : begin[1] + side]
        turns, mirrored = int(random.integers(4)), random.random() < 0.5
        made = [np.rot90(image, turns)[:: -1 if mirrored else 1] for image in (low, high)]
        return np.ascontiguousarray(made[0]), np.ascontiguousarray(made[1])


def learn(net: BlueprintNet, lesson: Lesson, steps: int, rate: float) -> None:
    """In place."""
    net.train()
    adam = torch.optim.Adam(net.parameters(), rate, betas=(0.9, 0.99))
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * max(0.01, 0.5 * (1 + np.cos(np.pi * step / steps)))
        low, high = lesson()
        with torch.autocast("cpu", torch.bfloat16):
            refined = net(low)
        loss = (refined.float() - high).square().flatten(1).mean(1).add(1e-10).sqrt().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    net.eval()


@torch.no_grad()
def refined(net: BlueprintNet, low: np.ndarray, scale: IntensityScale) -> np.ndarray:
    """Slices (slices, rows, columns), one by one."""
    units = torch.from_numpy(scale.normalise(low).astype(np.float32))
    return scale.restore(np.stack([net(image[None, None])[0, 0].numpy() for image in units]))


def gains(subject: Subject, slices: int, apart: int, steps: int, rate: float) -> tuple[str, float, float]:
    """The network's name, and its gain over Lanczos in dB as it is and once it has learnt."""
    volume, task = read_volume(subject.path), TASKS["in-plane"]
    axis = find_slice_axis(volume.spacing)
    factors = task.factors(_SCALE, axis)
    truth = central_crop(volume, axis, slices, factors)
    reference, low = make_reference(truth.voxels, subject.modality, axis), task.low_resolution(truth, factors, axis)
    coarse = np.moveaxis(low.voxels, axis, 0).astype(np.float32)
    net, name = used_network(coarse, subject.modality)
    scale = intensity_scale(coarse, subject.modality)
    everything = np.moveaxis(central_crop(volume, axis, volume.voxels.shape[axis], factors).voxels, axis, 0).astype(np.float32)
    first = (len(everything) - len(coarse)) // 2
    others = np.concatenate([everything[: max(0, first - apart)], everything[first + len(coarse) + apart :]])
    if not len(others):
        raise SystemExit(f"Error: {subject.name} has no slices that lie {apart} away from those that are measured; take fewer with --slices.")

    def gain() -> float:
        result = np.moveaxis(refined(net, coarse, scale), 0, axis)
        return measure(reference, result)["psnr_foreground"] - lanczos

    lanczos = measure(reference, upscale(low, _SCALE, method="lanczos", axes="in-plane", modality=subject.modality, slice_axis="kji"[axis]).volume.voxels)["psnr_foreground"]
    before = gain()
    learn(net, Lesson(scale.normalise(others).astype(np.float32), np.random.default_rng(1)), steps, rate)
    return name, before, gain()


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    slices: Annotated[int, typer.Option(help="Central slices of each scan, which are measured.")] = 4,
    apart: Annotated[int, typer.Option(help="Slices between those and the ones that teach.")] = 4,
    steps: Annotated[int, typer.Option()] = 1200,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 5e-4,
) -> None:
    """Print a row a subject: the gain as it is, once it has learnt, and the share."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    print("| subject | network | as it is | retuned | share |\n|---|---|---:|---:|---:|")
    for subject in read_subjects(data, split, subset):
        name, before, after = gains(subject, slices, apart, steps, rate)
        print(f"| {subject.name} | {name} | {before:+.2f} | {after:+.2f} | {before / after:.0%} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
