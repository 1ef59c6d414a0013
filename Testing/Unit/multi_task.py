"""What the tests of the network of several tasks (mdsr-3d) share: networks and scans, its layers by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from superres3d import Volume
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import save_model
from superres3d.plan import plan_upscaling
from superres3d.resampling.interpolation import resize
from torch.nn import functional

from ..untrained_models import TASKS
from .conftest import smooth_noise

OPTIONS = {"features": 4, "blocks": 2}
ALONE = {"method": "mdsr-3d", "ensemble": "none", "precision": "single", "device": "cpu"}
RUNTIMES = {"openvino": OpenVINORuntime, "pytorch": lambda: PyTorchRuntime("cpu")}
REFINEMENTS = [
    ({"scale": 2, "axes": "in-plane"}, (1, 2, 2)),
    ({"scale": 2, "axes": "through-plane"}, (2, 1, 1)),
    ({"scale": 2}, (2, 2, 2)),
    ({"scale": 4, "axes": "in-plane"}, (1, 4, 4)),
    ({"scale": 4, "axes": "through-plane"}, (4, 1, 1)),
    ({"scale": 4, "axes": "all"}, (4, 4, 4)),
    ({"scale": (2, 4)}, (4, 2, 2)),
    ({"scale": (4, 2)}, (2, 4, 4)),
]


def architecture(factors: tuple[int, int, int], **options) -> Architecture:
    return Architecture.make("mdsr", {**OPTIONS, **options}, True, factors)


def random_tasks(tasks=TASKS, seed: int = 0, **options) -> BlueprintNet:
    """Every weight random, the last layers' as well, and so strong that every path is seen."""
    torch.manual_seed(seed)
    net = BlueprintNet(*[architecture(task, **options) for task in tasks])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(".weight"):
                torch.nn.init.normal_(parameter, std=0.15)
            else:
                torch.nn.init.normal_(parameter, std=0.01)
    return net.eval()


def save_tasks(net: BlueprintNet, name: str, folder: Path) -> Path:
    options = dict(net.architecture.options)
    network = {"family": "mdsr", "options": options, "residual": True, "tasks": [list(task) for task in net.tasks]}
    return save_model(net, name, folder, {"network": network}).folder


@pytest.fixture(name="installed")
def installed_tasks(tmp_path, monkeypatch) -> BlueprintNet:
    """The random network as mdsr-3d for both modalities, the only model."""
    folder = tmp_path / "models"
    for modality in ("mr", "ct"):
        save_tasks(random_tasks(), f"mdsr-3d-{modality}", folder)
    monkeypatch.setattr("superres3d.networks.weights.model_folders", lambda: [folder])
    return random_tasks()


@pytest.fixture(params=RUNTIMES, name="engine")
def each_engine(request, monkeypatch):
    """Each library on the processor in turn, with room for a small scan in one piece."""
    monkeypatch.setattr("superres3d.engine.engine.choose_runtime", lambda device, half: (RUNTIMES[request.param](), []))
    monkeypatch.setattr("superres3d.upscaling.plan_upscaling", lambda *args, **kwargs: replace(plan_upscaling(*args, **kwargs), feature_bytes=1 << 28))
    return request.param


def ct(shape=(5, 11, 9), dtype=np.float32) -> Volume:
    """Soft tissue with oblique slices."""
    angle = np.radians(15)
    direction = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Volume((smooth_noise(shape) * 1200 - 400).astype(dtype), (0.7, 0.8, 3.0), (-20.5, 12.25, 7.0), direction, "CT")


# By hand


def spread(phases: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Each voxel's phases put where they belong, voxel by voxel; the phase along the columns fastest."""
    channels, *shape = phases.shape
    fine = np.full([n * f for n, f in zip(shape, factors)], np.nan, phases.dtype)
    for k, j, i in np.ndindex(*shape):
        for number, (a, b, c) in enumerate(np.ndindex(*factors)):
            fine[k * factors[0] + a, j * factors[1] + b, i * factors[2] + c] = phases[number, k, j, i]
    assert channels == math.prod(factors) and not np.isnan(fine).any()
    return fine


def added_by_hand(net: BlueprintNet, units: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """What a task adds to the interpolation of a scan in network units: Lim 2017, figure 5, in float64."""
    weights = {name.removeprefix("layers.layer "): value.detach().double() for name, value in net.state_dict().items()}
    task = "{}x{}x{}".format(*factors)

    def conv(name: str, maps: torch.Tensor) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        if name.startswith("first"):
            weight = weight - weight.sum(dim=(2, 3, 4), keepdim=True) / 27
        return functional.conv3d(maps, weight, weights[f"{name}.bias"], padding=1)

    first = maps = conv(f"first-{task}", torch.from_numpy(units)[None, None].double())
    for block in range(dict(net.architecture.options)["blocks"]):
        maps = maps + conv(f"block{block}-b", torch.relu(conv(f"block{block}-a", maps)))
    return spread(conv(f"last-{task}", first + conv("gathering", maps))[0].numpy(), factors)


def refined_by_hand(net: BlueprintNet, units: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    return resize(units.astype(np.float64), factors, "cubic") + added_by_hand(net, units, factors)


def linear(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """By scipy."""
    places = np.meshgrid(*((np.arange(n * f) + 0.5) / f - 0.5 for n, f in zip(array.shape, factors)), indexing="ij")
    return map_coordinates(array.astype(np.float64), places, order=1, mode="nearest")
