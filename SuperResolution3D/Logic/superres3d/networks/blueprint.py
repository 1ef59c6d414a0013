"""Volumetric networks, each written once and read three ways.

A blueprint is a function that draws a network with the layers of a :class:`Drawing`.  Three
drawings exist: :class:`Survey` (here; no library: shapes of the trained tensors, arithmetic, receptive
field), :class:`superres3d.networks.volumetric.BlueprintNet` (PyTorch, for training and graphics
cards) and :func:`superres3d.runtimes.openvino_volume.build_volume_graph` (OpenVINO on the processor).
What a card says of a network and what computes it can therefore not drift apart.

All layers work on one channel-first volume; convolutions keep the size (zero padding, one voxel more at
the end for even kernels) or, with stride 2, halve an even one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Drawing(Protocol[T]):
    """The layers a blueprint may use; ``T`` is a feature map (N, channels, D, H, W) in the drawing's own kind."""

    def conv(self, name: str, features: T, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> T:
        """Convolution, ``kernel`` voxels a side."""
        ...

    def transposed(self, name: str, features: T, outputs: int) -> T:
        """Transposed convolution to twice the size, kernel 4."""
        ...

    def norm(self, name: str, features: T) -> T:
        """Batch normalisation; its statistics are frozen outside training."""
        ...

    def relu(self, features: T) -> T: ...

    def leaky_relu(self, features: T, slope: float) -> T: ...

    def elu(self, features: T) -> T: ...

    def prelu(self, name: str, features: T) -> T:
        """Leaky ReLU with a learned slope a channel."""
        ...

    def concat(self, maps: Sequence[T]) -> T: ...

    def add(self, first: T, second: T) -> T: ...

    def upsample(self, features: T) -> T:
        """Twice the size by trilinear interpolation (edges of the field of view aligned)."""
        ...


Blueprint = Callable[[Drawing, Any], Any]  # (drawing, image) -> map of one channel, or of the finer voxels of each voxel


@dataclass(frozen=True)
class Parts:
    """A network cut in three, each part to be computed for the whole volume before the next: what reaches far works on a map of half the size.

    Attributes:
        channels: of the halved maps.
        head: (drawing, image) -> halved map.
        inner: (drawing, halved map) -> halved map.
        tail: (drawing, image, halved map) -> map of one channel.
    """

    channels: int
    head: Callable[[Drawing, Any], Any]
    inner: Callable[[Drawing, Any], Any]
    tail: Callable[[Drawing, Any, Any], Any]


def padding(kernel: int, stride: int) -> tuple[int, int]:
    """Zeros (before, after) each axis of a convolution."""
    if stride == 1:
        return (kernel - 1) // 2, kernel // 2
    before = (kernel - stride) // 2
    return before, kernel - stride - before


@dataclass(frozen=True)
class _Map:
    """A feature map: channels, voxels of the input a sample, and how far (before, after) it depends on the input."""

    channels: int
    step: int = 1
    before: float = 0.0
    after: float = 0.0


@dataclass
class Survey:
    """What is known of a network without building it.

    Attributes:
        shapes: name -> shape of the tensors of ``weights.safetensors``.
        trained: how many numbers of them are trained (statistics of a normalisation are not).
        multiply_accumulates: per voxel of the input.
        live_floats: per voxel of the input, that the largest layer reads and writes.
        step: voxels of the input a sample of the coarsest map; tiles begin at multiples of it.
        radius: voxels of the input, either side, that an output voxel depends on.
        outputs: channels of the output.
    """

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    trained: int = 0
    multiply_accumulates: int = 0
    live_floats: float = 0.0
    step: int = 1
    radius: int = 0
    outputs: int = 1
    _accumulates: float = 0.0

    @classmethod
    def of(cls, blueprint: Blueprint) -> Survey:
        survey, output = cls._drawn(blueprint, _Map(1))
        assert output.step == 1
        survey.outputs = output.channels
        return survey

    @classmethod
    def of_parts(cls, parts: Parts) -> tuple[Survey, Survey, Survey]:
        """Of head, inner and tail; the inner one in samples of the halved map, the others in voxels."""
        head, halved = cls._drawn(parts.head, _Map(1))
        inner, output = cls._drawn(parts.inner, _Map(parts.channels))
        assert (halved.channels, halved.step, output.channels, output.step) == (parts.channels, 2, parts.channels, 1)
        return head, inner, cls._drawn(parts.tail, _Map(1), _Map(parts.channels, 2))[0]

    @classmethod
    def _drawn(cls, draw: Callable[..., _Map], *inputs: _Map) -> tuple[Survey, _Map]:
        survey = cls(step=max(given.step for given in inputs))
        output = draw(survey, *inputs)
        survey.radius = round(max(output.before, output.after))
        survey.multiply_accumulates = round(survey._accumulates)
        return survey, output

    def conv(self, name: str, features: _Map, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> _Map:
        self._tensor(f"{name}.weight", (outputs, features.channels, kernel, kernel, kernel))
        if bias:
            self._tensor(f"{name}.bias", (outputs,))
        before, after = padding(kernel, stride)
        if stride > 1:
            after = kernel - 1 - before  # the window of the first sample, from its own place
        step = features.step * stride
        self.step = max(self.step, step)
        self._accumulates += kernel**3 * features.channels * outputs / step**3
        return self._written(features, _Map(outputs, step, features.before + before * features.step, features.after + after * features.step))

    def transposed(self, name: str, features: _Map, outputs: int) -> _Map:
        self._tensor(f"{name}.weight", (features.channels, outputs, 4, 4, 4))
        self._tensor(f"{name}.bias", (outputs,))
        step = features.step // 2
        self._accumulates += 4**3 * features.channels * outputs / features.step**3
        return self._written(features, _Map(outputs, step, features.before + features.step, features.after + step))

    def norm(self, name: str, features: _Map) -> _Map:
        for part in ("weight", "bias"):
            self._tensor(f"{name}.{part}", (features.channels,))
        for part in ("running_mean", "running_var"):
            self.shapes[f"{name}.{part}"] = (features.channels,)
        return features

    def relu(self, features: _Map) -> _Map:
        return features

    def leaky_relu(self, features: _Map, slope: float) -> _Map:
        return features

    def elu(self, features: _Map) -> _Map:
        return features

    def prelu(self, name: str, features: _Map) -> _Map:
        self._tensor(f"{name}.weight", (features.channels,))
        return features

    def concat(self, maps: Sequence[_Map]) -> _Map:
        return _Map(sum(m.channels for m in maps), maps[0].step, max(m.before for m in maps), max(m.after for m in maps))

    def add(self, first: _Map, second: _Map) -> _Map:
        assert (first.channels, first.step) == (second.channels, second.step) or 1 in (first.channels, second.channels)
        return _Map(max(first.channels, second.channels), first.step, max(first.before, second.before), max(first.after, second.after))

    def upsample(self, features: _Map) -> _Map:
        # A fine sample at an even place uses the coarse one at its place and the one before; at an odd one, the one after.
        step = features.step // 2
        return self._written(features, _Map(features.channels, step, features.before + features.step, features.after + step))

    def _tensor(self, name: str, shape: tuple[int, ...]) -> None:
        assert name not in self.shapes, name
        self.shapes[name] = shape
        self.trained += prod(shape)

    def _written(self, read: _Map, written: _Map) -> _Map:
        self.live_floats = max(self.live_floats, read.channels / read.step**3 + written.channels / written.step**3)
        return written
