#!/usr/bin/env python
"""Train the network for all factors (models/recipes/mdsr-3d.toml) on a graphics card within a number of seconds.

    python Testing/Benchmarks/gpu/train.py mr.pack OUT --seconds 290

The first seconds measure how fast a step is; the learning rate then follows the clock (a cosine to zero at the end of the budget), so the budget is
kept whatever the card.  ``state.pt`` in OUT is written every half minute: the same command goes on from it (``--more`` seconds are a new cosine).  At the end
OUT holds weights.safetensors as a model folder has it, and results.jsonl with a line each time something was measured.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parent))

import pack
from samples import LOSSES, Degrader, DeviceScans, Factors, Losses
from superres3d.interpolation import sampling_matrix
from superres3d.networks.families import VolumeArchitecture
from superres3d.networks.mdsr import task_name
from superres3d.networks.volumetric import MultiTaskNet, _ZeroSumRunner, sub_pixel_volume, zero_sum

#: how often each task is drawn
TASKS: dict[Factors, float] = {(1, 2, 2): 1.0, (2, 1, 1): 1.0, (2, 2, 2): 1.5, (1, 4, 4): 1.0, (4, 1, 1): 1.0, (4, 4, 4): 1.5, (2, 4, 4): 0.5, (4, 2, 2): 0.5}
#: scans that are drawn more often: few of their kind
SHARES = {"mr_t2_M2265": 3.0, "mr_t2_rorden_112": 2.0, "mr_openms_01_T2W": 1.5, "mr_openms_03_T2W": 1.5, "mr_openms_04_FLAIR": 1.5, "mr_breast_uta4_p1": 1.5, "mr_t1gd_vs001_fc": 1.5}
_CLEAN = Losses(gaussian=0.0, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0)
_REDUCTION = 1.4  # each scan is also taken reduced: other spacings, other sizes of a body
_STATE = "state.pt"


class _PaddedRunner(_ZeroSumRunner):
    """The same layers with the channels of the first and last convolution filled up to a multiple of eight by zeros: matrix units want no less."""

    def conv(self, name: str, features: Tensor, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> Tensor:
        if not name.startswith(("first-", "last-")):
            return super().conv(name, features, outputs, kernel, stride, bias)
        layer = self._layers[name]
        weight = zero_sum(layer.weight) if name.startswith("first-") else layer.weight
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
        self.scans = DeviceScans([volume for scan, values in trained for volume in _with_reduced(scan, values)], pack.span(modality), device)
        self.held = [DeviceScans([(values, True, False, 1.0)], pack.span(modality), device) for _, values in held]
        options = {"features": features, "blocks": blocks}
        self.net = MultiTaskNet([VolumeArchitecture.make("mdsr", options, True, task) for task in TASKS]).to(device, memory_format=torch.channels_last_3d)
        self.degraders = {task: Degrader(low_shape, task, self.losses, device) for task in TASKS}
        self.bases = {task: [_cubic(n, f, device) if f > 1 else None for n, f in zip(low_shape, task)] for task in TASKS}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.0, betas=(0.9, 0.99), fused=self.kind == "cuda")
        self.step_number = 0
        self._norm = torch.zeros((), device=device)
        self._random = np.random.default_rng(2026)

    def step(self, rate: float) -> Tensor:
        """One task, one batch; the loss, still on the device."""
        tasks = list(TASKS)
        task = tasks[self._random.choice(len(tasks), p=np.array(list(TASKS.values())) / sum(TASKS.values()))]
        degrader = self.degraders[task]
        with torch.no_grad():
            low, high, *_ = degrader(self.scans.crops(self.batch, degrader.inner, degrader.margins, task[0] > 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = (self.refined(low, task) - high).square().flatten(1).mean(1).add(1e-10).sqrt().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._limit_gradients()
        self.optimizer.step()
        self.step_number += 1
        return loss.detach()

    def refined(self, low: Tensor, task: Factors) -> Tensor:
        """As :meth:`MultiTaskNet.forward`, with the interpolation's matrices kept on the device."""
        with torch.autocast(self.kind, torch.bfloat16, enabled=self.kind == "cuda"):
            phases = self.net.tasks[task].blueprint(_PaddedRunner(self.net.layers), low.contiguous(memory_format=torch.channels_last_3d))
        return self.base(low, task) + sub_pixel_volume(phases.float(), task)

    @torch.no_grad()
    def base(self, low: Tensor, task: Factors) -> Tensor:
        """Cubic interpolation, single precision."""
        for axis, matrix in enumerate(self.bases[task], start=2):
            if matrix is not None:
                low = torch.movedim(torch.tensordot(low, matrix, dims=([axis], [1])), -1, axis)
        return low

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
        self._norm = torch.where(finite, 0.99 * usual + 0.01 * torch.minimum(norm, 3 * usual), self._norm)

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
                inner = (slice(None), slice(None), *(slice(4 * f if f > 1 else 2, -4 * f if f > 1 else -2) for f in task))
                errors += [float((image - high)[inner].square().mean()) for image in (self.refined(low, task), self.base(low, task))]
            found[task_name(task)] = 10 * math.log10(max(errors[1], 1e-20) / max(errors[0], 1e-20))
        return found

    def snapshot(self) -> dict[str, Tensor]:
        """Copies of the weights."""
        return {name: value.detach().clone() for name, value in self.net.state_dict().items()}

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Weights of a :meth:`snapshot`; the optimiser forgets what led away from them."""
        self.net.load_state_dict(weights)
        self.optimizer.state.clear()

    def save(self, path: Path) -> None:
        """The optimiser's moments are rounded to bfloat16: half the bytes that have to travel, and their noise is larger."""
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {
            number: {name: value.bfloat16() if name.startswith("exp_avg") else value for name, value in moments.items()} for number, moments in optimizer["state"].items()
        }
        torch.save({"net": self.net.state_dict(), "optimizer": optimizer, "step": self.step_number, "norm": self._norm}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number, self._norm = state["step"], state["norm"]


def _with_reduced(scan: pack.Scan, values: np.ndarray) -> list[tuple[np.ndarray, bool, bool, float]]:
    """A scan as it is and reduced, with its share."""
    from superres3d.degradation import reduction_matrix

    share = SHARES.get(scan.name, 1.0)
    reduced = values.astype(np.float32)
    for axis in (0, 1, 2) if scan.any_axis else (1, 2):
        matrix = reduction_matrix(reduced.shape[axis], _REDUCTION).astype(np.float32)
        reduced = np.moveaxis(np.tensordot(matrix, reduced, axes=(1, axis)), 0, axis)
    reduced = np.clip(np.rint(reduced), 0, values.max()).astype(values.dtype)
    return [(values, scan.sharp_slices, scan.any_axis, share), (reduced, scan.sharp_slices, scan.any_axis, 0.3 * share)]


def _cubic(length: int, factor: int, device: str) -> Tensor:
    return torch.from_numpy(sampling_matrix(length, length * factor, "cubic").astype(np.float32)).to(device)


def accumulates_a_step(training: Training) -> float:
    """Multiply-accumulates of a step, forwards and twice that backwards."""
    mean = np.average([architecture.multiply_accumulates for architecture in training.net.tasks.values()], weights=list(TASKS.values()))
    return 3.0 * float(mean) * math.prod(training.low_shape) * training.batch


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
    results = open(out / "results.jsonl", "a", encoding="utf-8")

    def tell(**what) -> None:
        line = json.dumps({"at": round(time.perf_counter() - began, 1), **what})
        print(line, flush=True)
        results.write(line + "\n")
        results.flush()

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(2026)
    modality, scans = pack.read_pack(data)
    name = torch.cuda.get_device_name() if torch.device(device).type == "cuda" else device
    tell(read=len(scans), modality=modality, features=features, blocks=blocks, batch=batch, side=side, depth=depth, rate=rate, device=name, torch=torch.__version__)
    training = Training(scans, modality, features, blocks, (depth, side, side), batch, device)
    begun_at = 0
    for path in (out / _STATE, start):
        if path and path.is_file():
            training.load(path)
            begun_at = training.step_number
            tell(goes_on_from=begun_at)
            break
    sync = torch.cuda.synchronize if training.kind == "cuda" else lambda: None
    operations = 2.0 * accumulates_a_step(training)
    tell(parameters=sum(p.numel() for p in training.net.parameters()), tera_operations_a_step=round(operations / 1e12, 3), predicted_steps_a_second_at_200_tflops=round(2e14 / operations, 1))
    loss_sum, counted, saved, measured = torch.zeros((), device=device), 0, time.perf_counter(), False
    first_timed, timed_from, best = None, 0, None
    reserve = 8.0 if training.kind == "cuda" else 0.1 * seconds
    loop_began = time.perf_counter()
    while True:
        now = time.perf_counter()
        share = (now - loop_began) / max(1e-6, seconds - reserve - (loop_began - began))
        if share >= 1.0:
            break
        done = training.step_number - begun_at
        loss_sum += training.step(rate * min(1.0, (done + 1) / warm_up) * 0.5 * (1.0 + math.cos(math.pi * share)))
        counted += 1
        if done % 20 == 0:
            sync()  # the clock must not run ahead of the device
            if first_timed is None and now - loop_began > min(12.0, 0.1 * seconds):
                first_timed, timed_from = time.perf_counter(), training.step_number
            elif first_timed is not None and not measured and time.perf_counter() - first_timed > min(8.0, 0.1 * seconds):
                speed = (training.step_number - timed_from) / (time.perf_counter() - first_timed)
                tell(steps_a_second=round(speed, 2), tflops=round(speed * operations / 1e12, 1), steps_expected=round(done + speed * (seconds - reserve - (now - began))), gib=_peak(training))
                measured = True
                if training.kind == "cuda":
                    tell(kernels=_profiled(training))
        if counted == (500 if training.kind == "cuda" else 50):
            mean = float(loss_sum) / counted
            tell(step=training.step_number, loss=round(mean, 6), norm=round(float(training._norm), 4))
            loss_sum.zero_()
            counted = 0
            if best is not None and not mean < 1.5 * best[0]:  # also where it is not a number
                training.restore(best[1])
                rate *= 0.5
                tell(went_back_with_rate=rate)
            elif best is None or mean < best[0]:
                best = mean, training.snapshot()
        if time.perf_counter() - saved > 40.0:
            training.save(out / _STATE)
            saved = time.perf_counter()
    sync()
    tell(step=training.step_number, seconds=round(time.perf_counter() - began, 1), steps=training.step_number - begun_at)
    save_file({name: tensor.detach().float().cpu().contiguous() for name, tensor in training.net.stored_tensors().items()}, out / "weights.safetensors")
    training.save(out / _STATE)
    tell(gains=training.gains())


def _profiled(training: Training) -> dict[str, list[float]]:
    """Of four steps, at a learning rate of zero: kernels that took longest, with milliseconds on the device and calls."""
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]) as profile:
            for _ in range(4):
                training.step(0.0)
            torch.cuda.synchronize()
        events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)[:14]
        return {event.key[:90]: [round(event.self_device_time_total / 1e3, 2), event.count] for event in events}
    except Exception as error:  # a profiler that does not work here must not end a training
        return {f"{type(error).__name__}: {error}"[:200]: []}


def _peak(training: Training) -> float:
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if training.kind == "cuda" else 0.0


if __name__ == "__main__":
    typer.run(main)
