"""A network that labels brains, from a folder that the user names: MeshNet (Fedorov 2017), as brainchop publishes it.

The folder holds ``weights.safetensors`` (``<n>.weight``, ``<n>.bias``) and ``model.json`` with ``layers``, a list in the order of the
network: in_channels, out_channels, kernel, dilation, bias, instance_norm and activation (elu, relu, gelu; "" for the last).
It sees 256 x 256 x 256 voxels of 1 mm whose axes run to the patient's left, feet and front, in 8 bits of the truth's intensities.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..scan.volume import Volume
from ..scan.writing import to_image

if TYPE_CHECKING:
    import SimpleITK as sitk
    from torch import Tensor

_SIDE, _SPACING = 256, (1.0, 1.0, 1.0)
_LEFT_FEET_FRONT = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, -1.0, 0.0)  # columns are LPS directions
_MOST = 0.999  # of the voxels above the least are not brighter than 255
_FOREGROUND, _FEW = 20, 20  # of 255; voxels of a plane that are not yet a body
_AROUND_HEAD, _AROUND_BRAIN = 16, 8  # voxels
_SLAB = 8
_MOST_LABELS = 256  # of 8 bits
_LAYER = {"in_channels": int, "out_channels": int, "kernel": int, "dilation": int, "bias": bool, "instance_norm": bool}
_KEYS = ("minmax", "q05_95", "q02_98_clip")
Window = tuple[slice, ...]
Scale = tuple[float, float]


class MeshNet:
    """The network of a folder.

    Attributes:
        name: of the folder.
        identity: what its labels depend on, ready for JSON.

    Raises:
        InputError: the folder does not hold such a network.
    """

    def __init__(self, folder: Path):
        self.name = folder.name
        description, self._weights = _read(folder)  # channels last, as the features: twice as fast on a processor
        self._layers: list[dict[str, Any]] = description["layers"]
        self._key = description.get("input", {}).get("key", "minmax")
        self.identity = {"name": self.name, "sha256": hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()}

    def prepare(self, truth: Volume) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, ...]]:
        """A function that labels voxels on the truth's grid, and the spacing of its result: grid, intensities and the window around the brain are the truth's for all.

        The result is uint8 on the network's grid, cut to the window (axes left, feet, front).
        """
        grid = _grid_of(truth)
        scale = _scale_of(truth.voxels)
        seen = _conformed(truth, grid, scale)
        head = _window(seen > _FOREGROUND, _FEW, _AROUND_HEAD)
        if head is None:
            return lambda voxels: np.zeros((1, 1, 1), np.uint8), _SPACING
        brain = _window(_within(self._labels(seen, head), head, seen.shape) > 0, 0, _AROUND_BRAIN) or head
        return lambda voxels: self._labels(_conformed(replace(truth, voxels=voxels), grid, scale), brain), _SPACING

    def _labels(self, seen: np.ndarray, window: Window) -> np.ndarray:
        import torch

        given = np.ascontiguousarray(_normalised(seen, self._key)[window])
        with torch.inference_mode():
            features = torch.from_numpy(given)[None, None].contiguous(memory_format=torch.channels_last_3d)
            for number, layer in enumerate(self._layers[:-1]):
                features = _activated(self._convolved(number, features), layer)
            last = len(self._layers) - 1
            slabs = [self._convolved(last, features[:, :, first : first + _SLAB]).argmax(1)[0].to(torch.uint8) for first in range(0, given.shape[0], _SLAB)]
            return torch.cat(slabs).numpy()

    def _convolved(self, number: int, features: Tensor) -> Tensor:
        from torch.nn import functional

        layer = self._layers[number]
        padding = layer["dilation"] * (layer["kernel"] // 2)
        return functional.conv3d(features, self._weights[f"{number}.weight"], self._weights.get(f"{number}.bias"), padding=padding, dilation=layer["dilation"])


def _activated(features: Tensor, layer: dict[str, Any]) -> Tensor:
    from torch.nn import functional

    if layer["instance_norm"]:
        features = functional.instance_norm(features)
    activations: dict[str, Callable[[Tensor], Tensor]] = {"elu": functional.elu, "relu": functional.relu, "gelu": functional.gelu}
    return activations[layer["activation"]](features)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """model.json and the weights, which fit together (InputError if not)."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not folder.is_dir():
        raise InputError(f"The segmenter {folder} is no folder; give one with model.json and weights.safetensors, or the word tissue.")
    try:
        description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        weights = load_file(str(folder / "weights.safetensors"))
    except (OSError, ValueError, SafetensorError):
        raise InputError(f"The segmenter {folder} has no model.json and weights.safetensors that can be read; give the folder of such a network, or the word tissue.") from None
    wrong = _misfit(description, weights)
    if wrong:
        raise InputError(f"The segmenter {folder} does not fit: {wrong}; give the folder of a MeshNet, or the word tissue.")
    return description, {name: weight.float().contiguous(memory_format=torch.channels_last_3d) if weight.ndim == 5 else weight.float() for name, weight in weights.items()}


def _misfit(description: Any, weights: dict[str, Tensor]) -> str:
    """What is wrong with a folder, in words; empty if nothing is."""
    layers = description.get("layers") if isinstance(description, dict) else None
    if not isinstance(layers, list) or len(layers) < 2:
        return "model.json lists no layers"
    channels = 1
    for number, layer in enumerate(layers):
        wrong = [name for name, kind in _LAYER.items() if not isinstance(layer, dict) or type(layer.get(name)) is not kind]
        if wrong or (number < len(layers) - 1 and layer.get("activation") not in ("elu", "relu", "gelu")):
            return f"model.json does not tell {(wrong or ['activation'])[0]} of layer {number}"
        if not layer["kernel"] % 2 or min(layer[name] for name in ("kernel", "dilation", "out_channels")) < 1:
            return f"layer {number} of model.json has a kernel, a dilation or channels that no such network has"
        shapes = {f"{number}.weight": (layer["out_channels"], layer["in_channels"], *[layer["kernel"]] * 3)} | ({f"{number}.bias": (layer["out_channels"],)} if layer["bias"] else {})
        found = {name: tuple(weights[name].shape) for name in (f"{number}.weight", f"{number}.bias") if name in weights}
        if layer["in_channels"] != channels or found != shapes:
            return f"the weights of layer {number} are not those that model.json describes"
        if not all(weights[name].is_floating_point() and bool(weights[name].isfinite().all()) for name in shapes):
            return f"the weights of layer {number} are no numbers that can be computed with"
        channels = layer["out_channels"]
    if channels > _MOST_LABELS:
        return f"it draws {channels} labels, and at most {_MOST_LABELS} can be told apart"
    read = description.get("input", {})
    return "" if isinstance(read, dict) and read.get("key", "minmax") in _KEYS else "model.json asks for intensities that are not known here"


def _grid_of(truth: Volume) -> sitk.Image:
    """1 mm, centred on the field of view."""
    import SimpleITK as sitk

    grid = sitk.Image(_SIDE, _SIDE, _SIDE, sitk.sitkFloat32)
    grid.SetDirection(_LEFT_FEET_FRONT)
    centre = truth.position([(size - 1) / 2 for size in truth.voxels.shape[::-1]])
    grid.SetOrigin((centre - np.reshape(_LEFT_FEET_FRONT, (3, 3)) @ np.full(3, (_SIDE - 1) / 2)).tolist())
    return grid


def _scale_of(voxels: np.ndarray) -> Scale:
    """What becomes 0 and 255."""
    least = float(voxels.min())
    return least, float(np.quantile(voxels[voxels > least], _MOST))


def _conformed(volume: Volume, grid: sitk.Image, scale: Scale) -> np.ndarray:
    """uint8 (left, feet, front); what is finer than 1 mm is averaged first."""
    import SimpleITK as sitk

    image = to_image(replace(volume, voxels=volume.voxels.astype(np.float32)))
    sigmas = [0.5 * float(np.sqrt(1.0 - size * size)) if size <= 0.7 else 0.0 for size in volume.spacing]
    if any(sigmas):
        image = sitk.SmoothingRecursiveGaussian(image, [max(sigma, 1e-3) for sigma in sigmas])
    found = sitk.GetArrayFromImage(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, scale[0], sitk.sitkFloat32))
    return np.clip(np.rint((found - scale[0]) / (scale[1] - scale[0]) * 255.0), 0, 255).astype(np.uint8).transpose(2, 1, 0)


def _normalised(seen: np.ndarray, key: str) -> np.ndarray:
    values = seen.astype(np.float32)
    if key == "minmax":
        low, high = float(values.min()), float(values.max())
    else:
        low, high = (float(value) for value in np.quantile(values, (0.05, 0.95) if key == "q05_95" else (0.02, 0.98)))
    scaled = (values - low) / max(high - low, 1e-3)
    return np.clip(scaled, 0.0, 1.0) if key == "q02_98_clip" else scaled


def _window(mask: np.ndarray, few: int, margin: int) -> Window | None:
    """Around the planes with more than ``few`` voxels of a mask; None if there is none."""
    window = []
    for axis in range(3):
        there = np.flatnonzero(mask.sum(axis=tuple(other for other in range(3) if other != axis)) > few)
        if not there.size:
            return None
        window.append(slice(max(0, int(there[0]) - margin), min(mask.shape[axis], int(there[-1]) + 1 + margin)))
    return tuple(window)


def _within(labels: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    whole = np.zeros(shape, np.uint8)
    whole[window] = labels
    return whole
