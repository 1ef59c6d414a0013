"""The networks for slices as OpenVINO graphs, made from the trained tensors; no torch, no second file of weights.

The graphs differ from the PyTorch modules in two ways that leave the result the same:

* Of a residual network they give only the correction; the cubic interpolation, the same for all
  members of an ensemble, is added once in float32.
* The last convolution of the paper's network has one output channel, which wastes a vector unit.  It is written
  as a strided convolution that gives a block of 4 x 4 output pixels as 16 channels, then rearranged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..networks.architecture import Architecture, EDSRArchitecture, IntermediateLossArchitecture
from .openvino_import import op, ov

_BLOCK = 4
_PAD = (1, 1)


def build_graph(architecture: Architecture, tensors: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> ov.Model:
    """A model for inputs (N, 1, H, W) float32 of one shape.

    Args:
        architecture: sizes and switches of the network.
        tensors: the trained tensors by their names in ``weights.safetensors``.
        shape: (N, H, W).

    Returns:
        Output (N, 1, H * factors[0], W * factors[1]): the correction of a residual network, else the result.
    """
    count, height, width = shape
    image = op.parameter([count, 1, height, width], np.float32, name="image")
    layer = _Layers(tensors)
    return ov.Model([op.result(_DRAWINGS[architecture.form](layer, image, architecture))], [image], "superres3d")


def _edsr(layer: _Layers, image, architecture: EDSRArchitecture):
    features = layer.convolve(image, "head")
    for block in range(architecture.blocks):
        first = op.relu(layer.convolve(features, f"blocks.{block}.0"))
        features = op.add(features, layer.convolve(first, f"blocks.{block}.1"))
    return _sub_pixel(layer.convolve(features, "tail"), architecture.factors)


def _intermediate_loss_net(layer: _Layers, image, architecture: IntermediateLossArchitecture):
    phases = op.relu(layer.convolve(_trunk(layer, "low", 5, image, architecture), "low.5"))
    intermediate = _sub_pixel(phases, architecture.factors)
    if not architecture.second_block:
        return intermediate
    return op.relu(_last(layer, _trunk(layer, "high", 3, intermediate, architecture)))


_DRAWINGS: dict[str, Callable] = {"intermediate-loss": _intermediate_loss_net, "edsr": _edsr}


class _Layers:
    """The convolutions by name."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.tensors = tensors

    def convolve(self, features, name: str):
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        convolved = op.convolution(features, op.constant(weight), [1, 1], _PAD, _PAD, [1, 1])
        return op.add(convolved, op.constant(bias.reshape(1, -1, 1, 1)))


def _trunk(layer: _Layers, block: str, count: int, image, architecture: IntermediateLossArchitecture):
    """conv, ReLU, with the first layer's output added after the third and fifth."""
    first = features = op.relu(layer.convolve(image, f"{block}.0"))
    for index in range(2, count + 1):
        features = op.relu(layer.convolve(features, f"{block}.{index - 1}"))
        if (index == 3 and architecture.short_skips) or (index == 5 and architecture.long_skip):
            features = op.add(features, first)
    return features


def _last(layer: _Layers, features):
    """``high.3``, one output channel, as a convolution of stride 4 to 16 channels."""
    weight, bias = layer.tensors["high.3.weight"], layer.tensors["high.3.bias"]
    height, width = (features.get_output_shape(0)[axis] for axis in (2, 3))
    beyond = [-height % _BLOCK, -width % _BLOCK]
    strided = np.zeros((_BLOCK, _BLOCK, weight.shape[1], _BLOCK + 2, _BLOCK + 2), np.float32)
    for row in range(_BLOCK):
        for column in range(_BLOCK):
            strided[row, column, :, row : row + 3, column : column + 3] = weight[0]
    kernel = op.constant(strided.reshape(_BLOCK**2, *strided.shape[2:]))
    blocks = op.convolution(features, kernel, [_BLOCK, _BLOCK], _PAD, [1 + extra for extra in beyond], [1, 1])
    pixels = _sub_pixel(op.add(blocks, op.constant(bias.reshape(1, 1, 1, 1))), (_BLOCK, _BLOCK))
    if not any(beyond):
        return pixels
    ends = [np.array(values, np.int64) for values in ([0, 0], [height, width], [1, 1], [2, 3])]
    return op.slice(pixels, *(op.constant(values) for values in ends))


def _sub_pixel(phases, factors: tuple[int, int]):
    """(N, r * s, H, W) to (N, 1, H * r, W * s)."""
    rows, columns = factors
    if rows == columns:
        return op.depth_to_space(phases, "depth_first", rows)
    count, _, height, width = phases.get_output_shape(0)
    split = op.reshape(phases, op.constant(np.array([count, rows, columns, height, width], np.int64)), False)
    ordered = op.transpose(split, op.constant(np.array([0, 3, 1, 4, 2], np.int64)))
    return op.reshape(ordered, op.constant(np.array([count, 1, height * rows, width * columns], np.int64)), False)
