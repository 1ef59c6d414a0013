"""The ten-layer network as an OpenVINO graph, made from the trained tensors; no torch, no second file of weights.

The graph differs from the PyTorch module in two ways that leave the result the same:

* Of a residual network it gives only the correction; the cubic interpolation, the same for all
  members of an ensemble, is added once in float32.
* The last convolution has one output channel, which wastes a vector unit.  It is written as a
  strided convolution that gives a block of 4 x 4 output pixels as 16 channels, then rearranged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..networks.architecture import Architecture
from .openvino_import import op, ov

_BLOCK = 4
_PAD = (1, 1)


def build_graph(architecture: Architecture, tensors: Mapping[str, np.ndarray], shape: tuple[int, int, int]) -> ov.Model:
    """A model for inputs (N, 1, H, W) float32 of one shape.

    Args:
        architecture: the switches of the network.
        tensors: the trained tensors by their names in ``weights.safetensors``.
        shape: (N, H, W).

    Returns:
        Output (N, 1, H * factors[0], W * factors[1]): the correction of a residual network, else the result.
    """
    count, height, width = shape
    image = op.parameter([count, 1, height, width], np.float32, name="image")
    layer = _Layers(tensors)
    phases = layer.convolve(_trunk(layer, "low", 5, image, architecture), "low.5")
    if architecture.residual:
        base = op.constant(_cubic_kernel(architecture.factors))
        rows, columns = (size // 2 for size in base.shape[2:])
        edge = np.array([0, 0, rows, columns], np.int64)
        padded = op.pad(image, op.constant(edge), op.constant(edge), "edge")
        full = op.add(phases, op.convolution(padded, base, [1, 1], [0, 0], [0, 0], [1, 1]))
    else:
        full = phases = op.relu(phases)
    middle = _sub_pixel(full, architecture.factors)
    if not architecture.second_block:
        return _finish(_sub_pixel(phases, architecture.factors), image)
    final = _last(layer, _trunk(layer, "high", 3, middle, architecture))
    if architecture.residual:
        return _finish(op.add(final, _sub_pixel(phases, architecture.factors)), image)
    return _finish(op.relu(final), image)


class _Layers:
    """The convolutions by name."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self.tensors = tensors

    def convolve(self, features, name: str):
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        convolved = op.convolution(features, op.constant(weight), [1, 1], _PAD, _PAD, [1, 1])
        return op.add(convolved, op.constant(bias.reshape(1, -1, 1, 1)))


def _trunk(layer: _Layers, block: str, count: int, image, architecture: Architecture):
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


def _cubic_kernel(factors: tuple[int, int]) -> np.ndarray:
    """Cubic interpolation as one convolution: (phases, 1, taps, taps)."""
    from ..interpolation import phase_weights

    rows, columns = (phase_weights(factor, "cubic") if factor > 1 else np.ones((1, 1)) for factor in factors)
    return np.einsum("ph,qw->pqhw", rows, columns).reshape(-1, 1, rows.shape[1], columns.shape[1]).astype(np.float32)


def _finish(output, image) -> ov.Model:
    return ov.Model([op.result(output)], [image], "superres3d")
