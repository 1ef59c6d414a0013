"""A blueprint as an OpenVINO graph, made from the trained tensors; no torch, no second file of weights.

Normalisations have frozen statistics here: a factor and an offset a channel.  A 1x1x1 convolution of joined maps
is written as a sum of convolutions of the maps, which spares the copy: half of the memory of a dense network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from ..networks.blueprint import padding
from .openvino_import import op, ov

_EPSILON = 1e-5  # PyTorch's, of a normalisation


def build_volume_graph(draw: Callable[..., Any], tensors: Mapping[str, np.ndarray], shapes: Sequence[Sequence[int]]) -> ov.Model:
    """A model for maps of fixed shapes.

    Args:
        draw: a blueprint, or a part of a network.
        tensors: the trained tensors by their names in ``weights.safetensors``.
        shapes: (channels, D, H, W) of each input; the sides multiples of the network's step.

    Returns:
        Inputs and output (1, channels, D, H, W) float32; of a residual network, what is to be added to the input.
    """
    inputs = [op.parameter([1, *shape], np.float32) for shape in shapes]
    output = draw(_Graph(tensors), *inputs)
    return ov.Model([op.result(_whole(output))], inputs, "volume")


class _Graph:
    """Draws nodes; see :class:`superres3d.networks.blueprint.Drawing`."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self._tensors = tensors

    def conv(self, name: str, features, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True):
        before, after = padding(kernel, stride)
        weight = self._tensors[f"{name}.weight"]
        edges = np.cumsum([part.get_output_shape(0)[1] for part in features.parts])[:-1] if isinstance(features, _Joined) else []
        if len(edges) and kernel == 1:
            parts = zip(features.parts, np.split(weight, edges, axis=1))
            convolved = reduce(op.add, (_convolution(part, piece, stride, 0, 0) for part, piece in parts))
        else:
            convolved = _convolution(_whole(features), weight, stride, before, after)
        return op.add(convolved, self._channels(f"{name}.bias")) if bias else convolved

    def transposed(self, name: str, features, outputs: int):
        weight = op.constant(self._tensors[f"{name}.weight"])
        grown = op.convolution_backprop_data(_whole(features), weight, [2] * 3, pads_begin=[1] * 3, pads_end=[1] * 3)
        return op.add(grown, self._channels(f"{name}.bias"))

    def norm(self, name: str, features):
        weight, bias, mean, variance = (self._tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        factor = weight / np.sqrt(variance + _EPSILON)
        return op.add(op.multiply(_whole(features), _per_channel(factor)), _per_channel(bias - mean * factor))

    def relu(self, features):
        return op.relu(features)

    def leaky_relu(self, features, slope: float):
        return op.prelu(features, op.constant(np.array([slope], np.float32)))

    def elu(self, features):
        return op.elu(features, 1.0)

    def prelu(self, name: str, features):
        return op.prelu(features, op.constant(self._tensors[f"{name}.weight"]))

    def concat(self, maps):
        flat = [part for features in maps for part in (features.parts if isinstance(features, _Joined) else (features,))]
        return _Joined(tuple(flat))

    def add(self, first, second):
        return op.add(first, second)

    def upsample(self, features):
        sizes = np.array([2 * n for n in features.get_output_shape(0)[2:]], np.int64)
        return op.interpolate(
            features, op.constant(sizes), "linear_onnx", "sizes",
            coordinate_transformation_mode="half_pixel", axes=op.constant(np.array([2, 3, 4], np.int64)),
        )  # fmt: skip

    def _channels(self, name: str):
        return _per_channel(self._tensors[name])


@dataclass(frozen=True)
class _Joined:
    """Maps that are joined only if a layer needs them in one piece."""

    parts: tuple


def _whole(features):
    if not isinstance(features, _Joined):
        return features
    return op.concat(list(features.parts), 1)


def _convolution(features, weight: np.ndarray, stride: int, before: int, after: int):
    constant = op.constant(np.ascontiguousarray(weight))
    return op.convolution(features, constant, [stride] * 3, [before] * 3, [after] * 3, [1] * 3)


def _per_channel(values: np.ndarray):
    return op.constant(np.ascontiguousarray(values, np.float32).reshape(1, -1, 1, 1, 1))
