#!/usr/bin/env python
"""Train the network for all factors (models/recipes/mdsr-3d.toml) on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/train.py mr.pack OUT --seconds 290

The first seconds measure how fast a step is; the learning rate then follows the clock (a cosine to zero at the end of the budget), so the budget is
kept whatever the card.  ``state.pt`` in OUT is written every half minute: the same command goes on from it (``--more`` seconds are a new cosine).  At the end
OUT holds weights.safetensors as a model folder has it, and results.jsonl with a line each time something was measured.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from superres3d.resampling.degradation import reduction_matrix
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

import pack
from loop import Optimizer, Steps, Tell, cosine, telling, within
from samples import LOSSES, Degrader, DeviceScans, Factors, Losses
from superres3d.networks.families import Architecture
from superres3d.networks.mdsr import task_name
from superres3d.networks.module import BlueprintNet, Runner, used_weight
from superres3d.resampling.interpolation import sampling_matrix

#: how often each task is drawn
TASKS: dict[Factors, float] = {(1, 2, 2): 1.0, (2, 1, 1): 1.0, (2, 2, 2): 1.5, (1, 4, 4): 1.0, (4, 1, 1): 1.0, (4, 4, 4): 1.5, (2, 4, 4): 0.5, (4, 2, 2): 0.5}
#: scans that are drawn more often: few of their kind
SHARES = {"mr_t2_M2265": 3.0, "mr_t2_rorden_112": 2.0, "mr_openms_01_T2W": 1.5, "mr_openms_03_T2W": 1.5, "mr_openms_04_FLAIR": 1.5, "mr_breast_uta4_p1": 1.5, "mr_t1gd_vs001_fc": 1.5}
_CLEAN = Losses(gaussian=0.0, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0)
_REDUCTION = 1.4  # each scan is also taken reduced: other spacings, other sizes of a body
_STATE = "state.pt"


class _PaddedRunner(Runner):
    """The same layers with the channels of the first and last convolution filled up to a multiple of eight by zeros: matrix units want no less."""

    def conv(self, name: str, features: Tensor, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True, **_: Any) -> Tensor:
        if not name.startswith(("first-", "last-")):
            return super().conv(name, features, outputs, kernel, stride, bias)
        layer = self.layer(name)
        weight = used_weight(layer)
        missing_in, missing_out = -features.shape[1] % 8, -outputs % 8
        if missing_in:
            filled = features.new_zeros((len(features), features.shape[1] + missing_in, *features.shape[2:])).contiguous(memory_format=torch.channels_last_3d)
            filled[:, : features.shape[1]] = features
            features = filled
        weight = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, missing_in, 0, missing_out)).contiguous(memory_format=torch.channels_last_3d)
        return functional.conv3d(features, weight, functional.pad(layer.bias, (0, missing_out)), padding=1)[:, :outputs]


class Training:
    """A network, its optimiser, and the scans on the device."""

    def __init__(self, scans: list[tuple[pack.Scan, np.ndarray]], modality: str, features: int, blocks: int, low_shape: Factors, batch: int, device: str):
        self.device, self.batch, self.low_shape = device, batch, low_shape
        self.losses = LOSSES[modality]
        self.kind = torch.device(device).type
        trained, held = ([entry for entry in scans if entry[0].subset == subset] for subset in ("train", "val"))
        span = pack.span(modality)
        self.scans = DeviceScans([volume for scan, values in trained for volume in with_reduced(scan, values, device)], span, device)
        self.held = [DeviceScans([(values, True, False, 1.0)], span, device) for _, values in held]
        options = {"features": features, "blocks": blocks}
        self.net = BlueprintNet(*[Architecture.make("mdsr", options, True, task) for task in TASKS]).to(device, memory_format=torch.channels_last_3d)
        self.degraders = {task: Degrader(low_shape, task, self.losses, device) for task in TASKS}
        self.bases = {task: [cubic(n, f, device) if f > 1 else None for n, f in zip(low_shape, task)] for task in TASKS}
        self.optimizer = Optimizer(self.net)
        self.step_number = 0
        self._norm = torch.zeros((), device=device)
        self._random = np.random.default_rng(2026)

    def next_task(self) -> Factors:
        """By their shares."""
        tasks = list(TASKS)
        self.step_number += 1
        return tasks[self._random.choice(len(tasks), p=np.array(list(TASKS.values())) / sum(TASKS.values()))]

    def step(self, task: Factors) -> Tensor:
        """One batch; the loss, still on the device."""
        degrader = self.degraders[task]
        with torch.no_grad():
            low, high, *_ = degrader(self.scans.crops(self.batch, degrader.inner, degrader.margins, task[0] > 1))
        loss = (self.refined(low, task) - high).square().flatten(1).mean(1).add(1e-10).sqrt().mean()
        self.optimizer.adam.zero_grad(set_to_none=True)
        loss.backward()
        self._limit_gradients()
        self.optimizer.adam.step()
        return loss.detach()

    def refined(self, low: Tensor, task: Factors) -> Tensor:
        """As :meth:`BlueprintNet.forward`, with the interpolation's matrices kept on the device."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.kind == "cuda", cache_enabled=False):
            correction = self.net.tasks[task].blueprint(_PaddedRunner(self.net.layers), low.contiguous(memory_format=torch.channels_last_3d))
        return self.base(low, task) + correction.float()

    @torch.no_grad()
    def base(self, low: Tensor, task: Factors) -> Tensor:
        """Cubic interpolation, single precision."""
        for axis, matrix in enumerate(self.bases[task], start=2):
            if matrix is not None:
                low = torch.movedim(torch.tensordot(low, matrix, dims=([axis], [1])), -1, axis)
        return low

    @torch.no_grad()
    def _limit_gradients(self) -> None:
        """To one and a half times their usual norm; a step that is not finite is left out.  Without waiting for the device."""
        gradients = [parameter.grad for parameter in self.net.parameters() if parameter.grad is not None]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        finite = torch.isfinite(norm)
        usual = torch.where(self._norm > 0, self._norm, norm)
        share = torch.where(finite, (1.5 * usual / norm.clamp(min=1e-12)).clamp(max=1.0), torch.zeros_like(norm))
        for gradient in gradients:
            gradient.nan_to_num_(0.0, 0.0, 0.0)  # a share of 0 would keep what is not a number
        torch._foreach_mul_(gradients, share)
        self._norm.copy_(torch.where(finite, 0.99 * usual + 0.01 * torch.minimum(norm, 3 * usual), self._norm))

    @torch.no_grad()
    def gains(self, crops: int = 6) -> dict[str, float]:
        """Gain over cubic interpolation in dB for each task, mean square error over fixed crops of the validation scans, antialiased bicubic alone."""
        found = {}
        for task in TASKS:
            degrader = Degrader(self.low_shape, task, _CLEAN, self.device)
            errors = np.zeros(2)
            for scans in self.held:
                with torch.random.fork_rng([self.device] if self.kind == "cuda" else []):
                    torch.manual_seed(0)
                    low, high, *_ = degrader(scans.crops(crops, degrader.inner, degrader.margins, task[0] > 1, turn=False))
                inner = (slice(None), slice(None), *(slice(2 * f, -2 * f) for f in task))
                errors += [float((image - high)[inner].square().mean()) for image in (self.refined(low, task), self.base(low, task))]
            found[task_name(task)] = round(10 * math.log10(max(errors[1], 1e-20) / max(errors[0], 1e-20)), 3)
        return found

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of the weights."""
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Weights of a :meth:`snapshot`; the optimiser forgets what led away from them."""
        self.net.load_state_dict(weights)
        self.optimizer.forget()

    def save(self, path: Path) -> None:
        """Everything that a later run goes on from."""
        torch.save({"net": self.net.state_dict(), "optimizer": self.optimizer.state(), "step": self.step_number, "norm": self._norm}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """The network of a :meth:`save`; its moments too, unless they are of another optimiser."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load(state["optimizer"])
        self.step_number = state["step"]
        self._norm.copy_(state["norm"])


def with_reduced(scan: pack.Scan, values: np.ndarray, device: str) -> list[tuple[np.ndarray, bool, bool, float]]:
    """A scan as it is and reduced, with its share."""
    share = SHARES.get(scan.name, 1.0)
    reduced = torch.from_numpy(values.astype(np.float32)).to(device)
    for axis in (0, 1, 2) if scan.any_axis else (1, 2):
        matrix = torch.from_numpy(reduction_matrix(reduced.shape[axis], _REDUCTION).astype(np.float32)).to(device)
        reduced = torch.movedim(torch.tensordot(reduced, matrix, dims=([axis], [1])), -1, axis)
    whole = reduced.round().clamp(0, int(values.max())).cpu().numpy().astype(values.dtype)
    return [(values, scan.sharp_slices, scan.any_axis, share), (whole, scan.sharp_slices, scan.any_axis, 0.3 * share)]


def cubic(length: int, factor: int, device: str) -> Tensor:
    """Cubic interpolation of a line as a matrix."""
    return torch.from_numpy(sampling_matrix(length, length * factor, "cubic").astype(np.float32)).to(device)


def accumulates_a_step(training: Training) -> float:
    """Multiply-accumulates of a step, forwards and twice that backwards."""
    mean = np.average([architecture.multiply_accumulates for architecture in training.net.tasks.values()], weights=list(TASKS.values()))
    return 3.0 * float(mean) * math.prod(training.low_shape) * training.batch


def set_up() -> None:
    """Random numbers and convolutions of a run: the fastest ones, none in TF32."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(2026)


class Stores(Protocol):
    """A network that a file of weights can hold."""

    def stored_tensors(self) -> dict[str, Tensor]:
        """As the file holds them."""


def saved(net: Stores) -> dict[str, Tensor]:
    """The weights for a file: single precision, on the processor."""
    return {name: tensor.detach().float().cpu().contiguous() for name, tensor in net.stored_tensors().items()}


def main(
    data: Path,
    out: Path,
    seconds: Annotated[float, typer.Option(help="For everything, the start included.")] = 290.0,
    features: int = 64,
    blocks: int = 16,
    batch: int = 10,
    side: Annotated[int, typer.Option(help="Coarse pixels of a crop's rows and columns.")] = 32,
    depth: int = 16,
    rate: float = 4e-4,
    warm_up: float = 400,
    device: str = "cuda",
    start: Annotated[Path | None, typer.Option(help="state.pt of another training to go on from; OUT/state.pt goes first.")] = None,
) -> None:
    """See above."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    set_up()
    on_card = torch.device(device).type == "cuda"
    with telling(out / "results.jsonl", began) as tell:
        modality, scans = pack.read_pack(data)
        name = torch.cuda.get_device_name() if on_card else device
        tell(read=len(scans), modality=modality, features=features, blocks=blocks, batch=batch, side=side, depth=depth, rate=rate, device=name, torch=torch.__version__)
        training = Training(scans, modality, features, blocks, (depth, side, side), batch, device)
        known = next((path for path in (out / _STATE, start) if path and path.is_file()), None)
        if known:
            training.load(known)
            tell(goes_on_from=training.step_number)
        reserve = 8.0 if on_card else 0.1 * seconds
        _train(training, seconds - reserve - (time.perf_counter() - began), rate, warm_up, out, tell)
        save_file(saved(training.net), out / "weights.safetensors")
        training.save(out / _STATE)
        tell(gains=training.gains())


def _train(training: Training, seconds: float, rate: float, warm_up: float, out: Path, tell: Tell) -> None:
    """Steps until the seconds have passed."""
    on_card = training.kind == "cuda"
    operations = 2.0 * accumulates_a_step(training)
    tell(parameters=sum(p.numel() for p in training.net.parameters()), tera_operations_a_step=round(operations / 1e12, 3), steps_a_second_at_200_tflops=round(2e14 / operations, 1))
    every = 500 if on_card else 50
    steps, watch, began_at = Steps(training.step, on_card, tell), _Watch(training, tell, operations), training.step_number
    began = saved = time.perf_counter()
    for share in within(seconds, torch.cuda.synchronize if on_card else lambda: None):
        done = training.step_number - began_at
        training.optimizer.set_rate(rate * watch.rate * cosine(share, done, warm_up))
        watch.add(steps(training.next_task()))
        if (done + 1) % every == 0:
            watch.look()
        if time.perf_counter() - saved > 40.0:
            training.save(out / _STATE)
            saved = time.perf_counter()
    tell(step=training.step_number, seconds=round(time.perf_counter() - began, 1), steps=training.step_number - began_at, gib=_peak(training))


class _Watch:
    """The mean loss of each stretch of steps; goes back to the best weights, at half the rate, where a training has run away."""

    def __init__(self, training: Training, tell: Tell, operations: float):
        self._training, self._tell, self._operations = training, tell, operations
        self._sum, self._count, self._since = torch.zeros((), device=training.device), 0, time.perf_counter()
        self._best: tuple[float, dict[str, Tensor]] | None = None
        self.rate = 1.0

    def add(self, loss: Tensor) -> None:
        self._sum += loss
        self._count += 1

    def look(self) -> None:
        """Waits for the device."""
        mean, seconds = float(self._sum) / self._count, time.perf_counter() - self._since
        speed = self._count / seconds
        self._tell(step=self._training.step_number, loss=round(mean, 6), steps_a_second=round(speed, 1), tflops=round(speed * self._operations / 1e12, 1))
        if self._best is not None and not mean < 1.5 * self._best[0]:  # also where it is not a number
            self._training.restore(self._best[1])
            self.rate *= 0.5
            self._tell(went_back_with_rate=self.rate)
        elif self._best is None or mean < self._best[0]:
            self._best = mean, self._training.snapshot()
        self._sum.zero_()
        self._count, self._since = 0, time.perf_counter()


def _peak(training: Training) -> float:
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if training.kind == "cuda" else 0.0


if __name__ == "__main__":
    typer.run(main)
