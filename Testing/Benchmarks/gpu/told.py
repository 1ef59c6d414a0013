#!/usr/bin/env python
"""Train the default method's networks, told how the scan lost its detail, on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/told.py OUT mr.pack ct.pack --said said-mr.npz --said said-ct.npz --seconds 100

The networks of each pack learn at the same time, each on a stream of its own: one alone is far too small for a card.

The network is the default's; what it is told (the transfer function along each refined axis at four frequencies, the noise, whether noise is to be
kept, how unsure all of that is, how far the spectrum reaches) modulates its features: each block's inner channels are shifted before the ReLU and scaled
after it (FiLM: Perez, Strub, de Vries, Dumoulin, Courville. AAAI 2018).  For a scan the conditions are constants, so that both fold into the
convolutions: told networks cost nothing when they run.  What is told is what the estimator would say, not the truth: see said.py.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

import pack
from loop import Optimizer, Steps, Tell, cosine, telling, within
from said import CLEAR, MILD, Losing, Sayer, Softening
from samples import FREQUENCIES, Degrader, DeviceScans, Losses, Pairs
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, Runner, sub_pixel
from superres3d.networks.stored import read_tensors
from superres3d.resampling.interpolation import sampling_matrix
from train import saved, set_up, with_reduced

_MARGIN = 8
_HIDDEN = 64
_CLEAR_SHARE = 0.5  # of a batch whose detail is lost by what may be clear
#: what is added to Lanczos beyond the truth counts so much more
OVERSHOOT = {"MR": 0.4, "CT": 0.15}
#: filters and blocks of the default's networks
SIZES = {("plane", 2): (32, 6), ("plane", 4): (48, 8), ("depth", 2): (32, 4), ("depth", 4): (32, 6)}
#: of a network for a graphics card
LARGE = (64, 16)
_LARGE = "-large"
_LARGE_RATE = 0.5  # of the learning rate
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
    """Along the refined axes the transfer function, how unsure it is and how far the spectrum reaches; noise, noise kept, clear; between slices whether they are coarse within."""
    return (2 if stage == "plane" else 1) * (len(FREQUENCIES) + 2) + (3 if stage == "plane" else 4)


class Training:
    """A told network, its optimiser, and the scans on the device.

    Args:
        scans: on the device.
        said: what said_of.py wrote of them.
        modality, stage, scale: of the network.
        side: coarse pixels of a crop.
        batch: crops of a step.
        device: of all.
        large: the network has :data:`LARGE` filters and blocks.
    """

    def __init__(self, scans: DeviceScans, said: Mapping[str, np.ndarray], modality: str, stage: str, scale: int, side: int, batch: int, device: str, large: bool = False):
        self.device, self.modality, self.stage, self.scale, self.batch, self.kind = device, modality, stage, scale, batch, torch.device(device).type
        self.name = f"{modality.lower()}-{stage}-x{scale}{_LARGE if large else ''}"
        self.scans, self.sayer, self.overshoot = scans, Sayer(said, modality, stage, scale, device), OVERSHOOT[modality]
        self.factors = (scale, scale if stage == "plane" else 1)
        self.net = Told(self.factors, *(LARGE if large else SIZES[stage, scale]), conditions_of(stage)).to(device, memory_format=torch.channels_last)
        low_shape, factors = ((1, side, side), (1, scale, scale)) if stage == "plane" else ((side, 1, side), (scale, 1, 1))
        self.degraders = [Losing(modality, low_shape, factors, losses[modality], device, _MARGIN) for losses in (CLEAR, MILD)]
        inner, margins = self.degraders[0].inner, self.degraders[0].margins
        depth = inner[0] + 2 * margins[0]
        self.across = Degrader((depth, 1, side), (1, scale, scale), Losses(gaussian=0.3, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0), device, 3)
        self.softening = Softening((inner[0] + 2 * margins[0], inner[1] + 2 * margins[1], inner[2] + 2 * margins[2]), modality, device, 1.0 if stage == "plane" else 0.5)
        self.lines = {kernel: [along(side, f, kernel, device) if f > 1 else None for f in self.factors] for kernel in ("cubic", "lanczos")}
        self.optimizer = Optimizer(self.net)
        self._random = np.random.default_rng(2026)

    def next_kind(self) -> bool:
        """Whether the slices of the next batch are coarse within."""
        return self.stage == "depth" and bool(self._random.random() < _COARSE_ACROSS[self.scale])

    def step(self, coarse: bool) -> Tensor:
        """One batch, of which some lost their detail by what may be clear; the loss, still on the device."""
        clear = round(self.batch * _CLEAR_SHARE)
        with torch.no_grad():
            batches = [self.samples(degrader, count, coarse) for degrader, count in zip(self.degraders, (clear, self.batch - clear))]
            low, high, noise = (torch.cat([_slices(pairs[part]) for pairs, *_ in batches]) for part in range(3))
            told, keep = (torch.cat([batch[part] for batch in batches]) for part in (1, 2))
            wanted = high + keep[:, None, None, None] * self.along(noise, "lanczos")
        loss = self.errors(low, told, wanted).mean()
        self.optimizer.adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 0.5, foreach=True)
        self.optimizer.adam.step()
        return loss.detach()

    def samples(self, degrader: Losing, count: int, coarse: bool) -> tuple[Pairs, Tensor, Tensor]:
        """So many, what is said of them, and which are to keep their noise."""
        inner, margins = degrader.inner, degrader.margins
        if coarse:
            inner, margins = (inner[0], self.scale, inner[2] * self.scale), (margins[0], *self.across.margins[1:])
        drawn = self.scans.drawn(count, inner, margins, self.stage == "depth")
        crops = self.across(drawn.crops).low[:, 0] if coarse else drawn.crops
        strength = torch.zeros(count, device=self.device)
        if degrader is self.degraders[-1]:  # where softness is what a mild loss is taken for
            crops, strength = self.softening(crops)
        pairs = degrader(crops)
        keep = (torch.rand(count, device=self.device) < 0.5).float()
        extents = degrader.extents[-2:] if self.stage == "plane" else degrader.extents[-1:]
        between = None if self.stage == "plane" else torch.full_like(keep, float(coarse))
        return pairs, self.sayer(pairs, extents, self.sayer.sharpness(drawn.scan, drawn.order, strength), keep, between), keep

    def errors(self, low: Tensor, told: Tensor, wanted: Tensor) -> Tensor:
        """(N,): root mean square of each crop; what is added to Lanczos beyond what is wanted counts more."""
        refined = self.refined(low, told)
        error = refined - wanted
        beyond = error * (refined.detach() - self.along(low, "lanczos")) > 0
        return (error.square() * (1.0 + self.overshoot * beyond)).flatten(1).mean(1).add(1e-10).sqrt()

    def refined(self, low: Tensor, told: Tensor) -> Tensor:
        """(N, 1, rows, columns), finer."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.kind == "cuda", cache_enabled=False):
            phases = self.net.correction(low.contiguous(memory_format=torch.channels_last), told)
        return self.along(low, "cubic") + sub_pixel(phases.float(), self.factors)

    @torch.no_grad()
    def along(self, low: Tensor, kernel: str) -> Tensor:
        """Interpolated, single precision."""
        rows, columns = self.lines[kernel]
        low = rows @ low
        return low if columns is None else low @ columns.T


def along(length: int, factor: int, kernel: str, device: str) -> Tensor:
    """Interpolation of a line as a matrix."""
    return torch.from_numpy(sampling_matrix(length, length * factor, kernel).astype(np.float32)).to(device)


def _slices(image: Tensor) -> Tensor:
    """(N, 1, D, H, W) with one axis of length 1 to (N, 1, rows, columns)."""
    return image.squeeze(2) if image.shape[2] == 1 else image.squeeze(3)


def begin(training: Training, folder: Path) -> None:
    """From a told network of the same name in a folder of trainings or of models, where there is one."""
    method, name = ("large" if training.name.endswith(_LARGE) else "told"), training.name.removesuffix(_LARGE)
    for path in (folder / f"told-{training.name}.safetensors", folder / f"two-stage-{method}-{name}" / "weights.safetensors"):
        if path.is_file():
            training.net.load_tensors({name: torch.from_numpy(tensor) for name, tensor in read_tensors(path).items()})
            return


def scans_of(path: Path, device: str) -> tuple[str, DeviceScans]:
    """The modality and the training scans of a pack."""
    modality, scans = pack.read_pack(path)
    trained = [entry for entry in scans if entry[0].subset == "train"]
    return modality, DeviceScans([volume for scan, values in trained for volume in with_reduced(scan, values, device)], pack.span(modality), device)


def trainings(path: Path, said: Mapping[str, np.ndarray], side: int, batch: int, device: str, start: Path | None, networks: Sequence[str]) -> Iterator[Training]:
    """One for each network that is named, or for each of the four of the usual size, on the scans of a pack."""
    modality, scans = scans_of(path, device)
    for stage, scale in SIZES:
        for large in (False, True):
            name = f"{modality.lower()}-{stage}-x{scale}{_LARGE if large else ''}"
            if name in networks or not (networks or large):
                training = Training(scans, said, modality, stage, scale, side, batch, device, large)
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
        self._share = _LARGE_RATE if training.name.endswith(_LARGE) else 1.0

    def advance(self, rate: float) -> None:
        """One step; does not wait for it."""
        with torch.cuda.stream(self._stream) if self._stream else contextlib.nullcontext():
            self.training.optimizer.set_rate(self._share * rate)
            self._sum += self._steps(self.training.next_kind())
            self.done += 1
            if self.done % self._every == 0:
                self._tell(network=self.training.name, step=self.done, loss=round(float(self._sum) / self._every, 6))
                self._sum.zero_()


def main(
    out: Path,
    packs: list[Path],
    seconds: float = 100.0,
    said: Annotated[list[Path] | None, typer.Option(help="What said_of.py wrote of the packs.")] = None,
    side: int = 32,
    batch: int = 96,
    rate: float = 1e-3,
    device: str = "cuda",
    start: Annotated[Path | None, typer.Option(help="Folder of told networks, or of models, that are begun from.")] = None,
    network: Annotated[list[str] | None, typer.Option(help="One that is trained, mr-plane-x2 or ct-depth-x4-large, say; without it all of the usual size.")] = None,
) -> None:
    """See above."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    with telling(out / "told.jsonl", began) as tell:
        known = {name: array for path in said or [] for name, array in np.load(path).items()}
        learners = [_Learner(training, tell) for path in packs for training in trainings(path, known, side, batch, device, start, network or [])]
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
