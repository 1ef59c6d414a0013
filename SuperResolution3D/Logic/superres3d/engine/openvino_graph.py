"""A blueprint as an OpenVINO graph, made from the trained tensors; no torch, no second file of weights.

Some layers are written otherwise than they are drawn, with the same result:

* Normalisations have frozen statistics here: a factor and an offset a channel.
* A 1x1x1 convolution of joined maps is a sum of convolutions of the maps, which spares the copy: half of the memory of a dense network.
* An image may come as two numbers a voxel whose sum it is (:func:`split_image`): half precision has too few digits for it, and a network that undoes a
  filter makes what they lose stronger.  The first convolution reads both as if they were channels.
* A convolution of slices to one channel wastes a vector unit.  It is a strided one that gives a block of 4 x 4 pixels as 16 channels, then rearranged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np

from ..networks.blueprint import Kernel, padding
from ..networks.eight_bits import SIGNED, Ranges
from .openvino_import import op, ov

_EPSILON = 1e-5  # PyTorch's, of a normalisation
_BLOCK = 4


def split_image(image: np.ndarray) -> np.ndarray:
    """Channels (N, channels, [D,] H, W) float32 as (N, 2 * channels, ...), the second half added to the first: each is a number of 8 digits, so that bfloat16 holds both."""
    coarse = (image.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.concatenate([coarse, image - coarse], 1)


def build_graph(
    draw: Callable[..., Any], tensors: Mapping[str, np.ndarray], shapes: Sequence[Sequence[int]], ranges: Mapping[str, Ranges] | None = None, split: bool = False
) -> ov.Model:  # fmt: skip
    """A model for maps of fixed shapes.

    Args:
        draw: a blueprint, or a part of a network.
        tensors: the trained tensors by their names in ``weights.safetensors``.
        shapes: (N, channels, [D,] H, W) of each input; the sides multiples of the network's step.
        ranges: of the convolutions of slices that are to be computed in 8 bits.
        split: the one input comes as :func:`split_image` gives it; its shape is that of the image.

    Returns:
        Inputs and output (N, channels, [D,] H, W) float32; of a residual network, what is to be added to the input or its interpolation.
    """
    inputs = [op.parameter([count, channels * (1 + split), *sides], np.float32) for count, channels, *sides in shapes]
    output = draw(_Graph(tensors, len(shapes[0]) - 2, ranges or {}), *(_Split(each) if split else each for each in inputs))
    return ov.Model([op.result(_whole(output))], inputs, "superres3d")


class _Graph:
    """Draws nodes; see :class:`superres3d.networks.blueprint.Drawing`."""

    def __init__(self, tensors: Mapping[str, np.ndarray], axes: int, ranges: Mapping[str, Ranges]):
        self._tensors = tensors
        self._axes = axes
        self._ranges = ranges

    def conv(self, name: str, features: _Map, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, **_: Any) -> ov.Node:
        weight = self._tensors[f"{name}.weight"]
        size = weight.shape[2:]
        if isinstance(features, _Split):
            features, weight = features.both, np.concatenate([weight, weight], 1)
        if name in self._ranges:
            convolved = self._in_eight_bits(_whole(features), weight, self._ranges[name], stride)
            return op.add(convolved, self._channels(self._tensors[f"{name}.bias"])) if bias else convolved
        if outputs == stride == 1 and self._axes == 2 and prod(size) > 1:
            return self._by_blocks(_whole(features), weight, self._tensors[f"{name}.bias"] if bias else np.zeros(1, np.float32), size)
        if isinstance(features, _Joined) and prod(size) == 1:
            edges = np.cumsum([part.get_output_shape(0)[1] for part in features.parts])[:-1]
            parts = zip(features.parts, np.split(weight, edges, axis=1))
            convolved = reduce(op.add, (_convolution(part, piece, stride, [(0, 0)] * self._axes) for part, piece in parts))
        else:
            convolved = _convolution(_whole(features), weight, stride, [padding(side, stride) for side in size])
        return op.add(convolved, self._channels(self._tensors[f"{name}.bias"])) if bias else convolved

    def transposed(self, name: str, features: _Map, outputs: int) -> ov.Node:
        weight, ones = op.constant(self._tensors[f"{name}.weight"]), [1] * self._axes
        grown = op.convolution_backprop_data(_whole(features), weight, [2] * self._axes, pads_begin=ones, pads_end=ones)
        return op.add(grown, self._channels(self._tensors[f"{name}.bias"]))

    def norm(self, name: str, features: _Map) -> ov.Node:
        weight, bias, mean, variance = (self._tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        factor = weight / np.sqrt(variance + _EPSILON)
        return op.add(op.multiply(_whole(features), self._channels(factor)), self._channels(bias - mean * factor))

    def relu(self, features: _Map) -> ov.Node:
        return op.relu(_whole(features))

    def leaky_relu(self, features: _Map, slope: float) -> ov.Node:
        return op.prelu(_whole(features), op.constant(np.array([slope], np.float32)))

    def elu(self, features: _Map) -> ov.Node:
        return op.elu(_whole(features), 1.0)

    def prelu(self, name: str, features: _Map) -> ov.Node:
        return op.prelu(_whole(features), op.constant(self._tensors[f"{name}.weight"]))

    def concat(self, maps: Sequence[_Map]) -> _Joined:
        flat = [part for features in maps for part in (features.parts if isinstance(features, _Joined) else (_whole(features),))]
        return _Joined(tuple(flat))

    def add(self, first: _Map, second: _Map) -> ov.Node:
        return op.add(_whole(first), _whole(second))

    def upsample(self, features: _Map) -> ov.Node:
        given = _whole(features)
        sizes = np.array([2 * n for n in given.get_output_shape(0)[2:]], np.int64)
        return op.interpolate(
            given, op.constant(sizes), "linear_onnx", "sizes",
            coordinate_transformation_mode="half_pixel", axes=op.constant(np.arange(2, 2 + self._axes)),
        )  # fmt: skip

    def sub_pixel(self, phases: _Map, factors: tuple[int, ...]) -> ov.Node:
        return _sub_pixel(_whole(phases), factors)

    def intermediate(self, features: _Map) -> _Map:
        return features

    def _in_eight_bits(self, features: ov.Node, weight: np.ndarray, ranges: Ranges, stride: int) -> ov.Node:
        """A convolution (1, inputs, rows, columns), its maps and weights rounded; OpenVINO finds from that that 8 bits are enough."""
        scaled, ends = ranges.weights(weight)
        (least, most), edges = (self._channels(np.float32(end)) for end in (ranges.least, 1.0)), (op.constant(-ends), op.constant(ends))
        maps = op.fake_quantize(op.multiply(features, self._channels(1 / ranges.channels)), least, most, least, most, 256)
        return _convolved(maps, op.fake_quantize(op.constant(scaled), *edges, *edges, 2 * SIGNED + 1), stride, [padding(side, stride) for side in weight.shape[2:]])

    def _by_blocks(self, features: ov.Node, weight: np.ndarray, bias: np.ndarray, size: tuple[int, ...]) -> ov.Node:
        """A convolution (1, inputs, rows, columns) as one of stride 4 to 16 channels."""
        shape = features.get_output_shape(0)[2:]
        strided = np.zeros((_BLOCK, _BLOCK, weight.shape[1], *(_BLOCK + side - 1 for side in size)), np.float32)
        for row, column in product(range(_BLOCK), repeat=2):
            strided[row, column, :, row : row + size[0], column : column + size[1]] = weight[0]
        pads = [(before, after + -length % _BLOCK) for (before, after), length in zip((padding(side, 1) for side in size), shape)]
        blocks = _convolution(features, strided.reshape(_BLOCK**2, *strided.shape[2:]), _BLOCK, pads)
        pixels = _sub_pixel(op.add(blocks, self._channels(bias)), (_BLOCK, _BLOCK))
        if not any(length % _BLOCK for length in shape):
            return pixels
        return op.slice(pixels, *(op.constant(np.array(values, np.int64)) for values in ([0, 0], shape, [1, 1], [2, 3])))

    def _channels(self, values: np.ndarray) -> ov.Node:
        return op.constant(np.ascontiguousarray(values, np.float32).reshape(1, -1, *(1,) * self._axes))


@dataclass(frozen=True)
class _Joined:
    """Maps that are joined only if a layer needs them in one piece."""

    parts: tuple[ov.Node, ...]


@dataclass(frozen=True)
class _Split:
    """An image as two numbers a voxel."""

    both: ov.Node


_Map: TypeAlias = "ov.Node | _Joined | _Split"  # a feature map


def _whole(features: _Map) -> ov.Node:
    if isinstance(features, _Split):
        return op.add(*op.split(features.both, op.constant(np.int64(1)), 2).outputs())
    return op.concat(list(features.parts), 1) if isinstance(features, _Joined) else features


def _convolution(features: ov.Node, weight: np.ndarray, stride: int, pads: Sequence[tuple[int, int]]) -> ov.Node:
    return _convolved(features, op.constant(np.ascontiguousarray(weight)), stride, pads)


def _convolved(features: ov.Node, weight: ov.Node, stride: int, pads: Sequence[tuple[int, int]]) -> ov.Node:
    axes = len(pads)
    return op.convolution(features, weight, [stride] * axes, [before for before, _ in pads], [after for _, after in pads], [1] * axes)


def _sub_pixel(phases: ov.Node, factors: tuple[int, ...]) -> ov.Node:
    """(N, C * prod(factors), *shape) to (N, C, *finer shape), the phase along the last axis fastest."""
    count, _, *shape = phases.get_output_shape(0)
    refined = [axis for axis, factor in enumerate(factors) if factor > 1]
    if len(set(factors)) == 1:
        return op.depth_to_space(phases, "depth_first", factors[0])
    # Axes that stay as they are need no place of their own: libraries are fast up to rank six.
    split = op.reshape(phases, op.constant(np.array([count, *(factors[axis] for axis in refined), *shape], np.int64)), False)
    places = {axis: 1 + number for number, axis in enumerate(refined)}
    order = [place for axis in range(len(shape)) for place in (1 + len(refined) + axis, *([places[axis]] if axis in places else []))]
    ordered = op.transpose(split, op.constant(np.array([0, *order], np.int64)))
    return op.reshape(ordered, op.constant(np.array([count, 1, *(n * f for n, f in zip(shape, factors))], np.int64)), False)
