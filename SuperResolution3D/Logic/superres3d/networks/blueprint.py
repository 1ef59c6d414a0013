"""Networks, each written once and read three ways.

A blueprint is a function that draws a network with the layers of a :class:`Drawing`, for slices (two axes) or
volumes (three).  Three drawings exist: :class:`Survey` (here; no library: shapes of the trained tensors, arithmetic, receptive
field), :class:`superres3d.networks.module.BlueprintNet` (PyTorch, for training and graphics
cards) and :func:`superres3d.engine.openvino_graph.build_graph` (OpenVINO on the processor).
What a card says of a network and what computes it can therefore not drift apart.

All layers work on channel-first maps; convolutions keep the size (zero padding, one voxel more at
the end for even kernels) or, with stride 2, halve an even one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, prod
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Kernel = int | tuple[int, ...]  # voxels a side, or along each axis


class Drawing(Protocol[T]):
    """The layers a blueprint may use; ``T`` is a feature map (N, channels, [D,] H, W) in the drawing's own kind."""

    def conv(
        self, name: str, features: T, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, *, gain: float = 1.0, zero_sum: bool = False
    ) -> T:  # fmt: skip
        """Convolution.

        Args:
            name: of its tensors, ``<name>.weight`` (outputs, inputs, *kernel) and ``<name>.bias`` (outputs,).
            features: what it reads.
            outputs: channels.
            kernel: voxels a side, or along each axis.
            stride: 1, or 2 to halve the size.
            bias: with an offset a channel.
            gain: of its weights before training, over the usual ones.
            zero_sum: its kernels sum to zero: a brighter scan has the same detail, and what is to be added to it has no part in its brightness.
        """
        ...

    def transposed(self, name: str, features: T, outputs: int) -> T:
        """Transposed convolution to twice the size, kernel 4."""
        ...

    def norm(self, name: str, features: T) -> T:
        """Batch normalisation; its statistics are frozen outside training."""
        ...

    def relu(self, features: T) -> T:
        """Negative numbers become zero."""
        ...

    def leaky_relu(self, features: T, slope: float) -> T:
        """Negative numbers are multiplied by ``slope``."""
        ...

    def elu(self, features: T) -> T:
        """Negative numbers x become exp(x) - 1 (Clevert, Unterthiner, Hochreiter. arXiv:1511.07289, 2015, eq. 14, alpha = 1)."""
        ...

    def prelu(self, name: str, features: T) -> T:
        """Leaky ReLU with a learned slope a channel."""
        ...

    def concat(self, maps: Sequence[T]) -> T:
        """All channels of all maps, in their order."""
        ...

    def add(self, first: T, second: T) -> T:
        """The sum; a map of one channel is added to all of the other's."""
        ...

    def upsample(self, features: T) -> T:
        """Twice the size by linear interpolation along all axes (edges of the field of view aligned)."""
        ...

    def sub_pixel(self, phases: T, factors: tuple[int, ...]) -> T:
        """Channels to the finer voxels of each voxel, the phase along the last axis fastest (Shi 2016, each axis by its own factor)."""
        ...

    def intermediate(self, features: T) -> T:
        """An output of its own, which training compares with the truth as well; returns ``features``."""
        ...


Blueprint = Callable[[Drawing, Any], Any]  # (drawing, image) -> map of one channel, finer than the image by the network's factors


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


def padding(side: int, stride: int) -> tuple[int, int]:
    """Zeros (before, after) an axis of a convolution."""
    if stride == 1:
        return (side - 1) // 2, side // 2
    before = (side - stride) // 2
    return before, side - stride - before


@dataclass(frozen=True)
class Layer:
    """A layer with tensors of its own.

    Attributes:
        kind: "conv", "transposed", "norm" or "prelu".
        inputs, outputs: channels.
        sides: of a kernel, along each axis.
        stride, bias, gain, zero_sum: as :meth:`Drawing.conv` takes them.
    """

    kind: str
    inputs: int
    outputs: int
    sides: tuple[int, ...] = ()
    stride: int = 1
    bias: bool = True
    gain: float = 1.0
    zero_sum: bool = False

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Part of the name -> shape of the trained tensors."""
        channels = (self.inputs, self.outputs) if self.kind == "transposed" else (self.outputs, self.inputs)
        weight = (*channels, *self.sides) if self.sides else (self.outputs,)
        return {"weight": weight, "bias": (self.outputs,)} if self.bias else {"weight": weight}

    @property
    def statistics(self) -> dict[str, tuple[int, ...]]:
        """Part of the name -> shape of the others."""
        return {"running_mean": (self.outputs,), "running_var": (self.outputs,)} if self.kind == "norm" else {}


@dataclass(frozen=True)
class _Map:
    """A feature map: channels, voxels of the input a sample along each axis, and how far (before, after) it depends on the input."""

    channels: int
    step: tuple[Fraction, ...]
    before: tuple[Fraction, ...]
    after: tuple[Fraction, ...]

    @classmethod
    def given(cls, channels: int, axes: int, step: int = 1) -> _Map:
        """An input."""
        return cls(channels, (Fraction(step),) * axes, (Fraction(0),) * axes, (Fraction(0),) * axes)

    @property
    def floats(self) -> Fraction:
        """Per voxel of the input."""
        return self.channels / prod(self.step, start=Fraction(1))


@dataclass
class Survey:
    """What is known of a network without building it.

    Attributes:
        axes: 2 for slices, 3 for volumes.
        layers: name -> layer, in the order in which they are drawn.
        multiply_accumulates: per voxel of the input, of the convolutions with trained weights.
        live_floats: per voxel of the input, that the largest convolution reads and writes.
        step: voxels of the input a sample of the coarsest map; tiles begin at multiples of it.
        radius: voxels of the input along each axis, either side, that an output voxel depends on.
        intermediates: outputs with a loss of their own.
    """

    axes: int = 3
    layers: dict[str, Layer] = field(default_factory=dict)
    multiply_accumulates: int = 0
    live_floats: float = 0.0
    step: int = 1
    radius: tuple[int, ...] = ()
    intermediates: int = 0
    _accumulates: Fraction = Fraction(0)

    @classmethod
    def of(cls, blueprint: Blueprint, axes: int = 3, factors: Sequence[int] = ()) -> Survey:
        """Of a network that refines by ``factors`` (none: ones)."""
        survey, output = cls._drawn(blueprint, _Map.given(1, axes))
        if output.channels != 1 or output.step != tuple(Fraction(1, factor) for factor in factors or (1,) * axes):
            size = " x ".join(str(1 / step) for step in output.step)
            raise ValueError(
                f"the network ends with {output.channels} channels of {size} times the size; it must end with one, finer by its factors, "
                "as sub_pixel(conv(name, features, prod(factors)), factors) is"
            )
        return survey

    @classmethod
    def of_parts(cls, parts: Parts, axes: int = 3) -> tuple[Survey, Survey, Survey]:
        """Of head, inner and tail; the inner one in samples of the halved map, the others in voxels."""
        image, halved = _Map.given(1, axes), _Map.given(parts.channels, axes)
        head, made = cls._drawn(parts.head, image)
        inner, output = cls._drawn(parts.inner, halved)
        assert made.floats * 2**axes == output.floats == parts.channels
        return head, inner, cls._drawn(parts.tail, image, _Map.given(parts.channels, axes, 2))[0]

    @classmethod
    def _drawn(cls, draw: Callable[..., _Map], *inputs: _Map) -> tuple[Survey, _Map]:
        survey = cls(axes=len(inputs[0].step), step=max(int(max(given.step)) for given in inputs))
        output = draw(survey, *inputs)
        survey.radius = tuple(ceil(max(reach)) for reach in zip(output.before, output.after))
        survey.multiply_accumulates = round(survey._accumulates)
        return survey, output

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the tensors of ``weights.safetensors``."""
        return {f"{name}.{part}": shape for name, layer in self.layers.items() for part, shape in (layer.shapes | layer.statistics).items()}

    @property
    def trained(self) -> int:
        """How many numbers are trained; statistics of a normalisation are not."""
        return sum(prod(shape) for layer in self.layers.values() for shape in layer.shapes.values())

    def conv(self, name: str, features: _Map, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, **training: Any) -> _Map:
        """See :meth:`Drawing.conv`; its arithmetic and reach are counted."""
        size = (kernel,) * self.axes if isinstance(kernel, int) else kernel
        if stride not in (1, 2) or len(size) != self.axes or min(size) < 1:
            raise ValueError(f"the layer {name} has a stride of {stride} and a kernel of {kernel}; give a stride of 1 or 2, and a whole number above 0 for each of {self.axes} axes")
        self._add(name, Layer("conv", features.channels, outputs, size, stride, bias, **training))
        before = [padding(side, stride)[0] for side in size]
        # A strided window counts from its first sample's own place.
        after = [side - 1 - first for side, first in zip(size, before)]
        step = [old * stride for old in features.step]
        self._accumulates += prod(size) * features.channels * outputs / prod(step, start=Fraction(1))
        reach = ([n * old for n, old in zip(reach, features.step)] for reach in (before, after))
        return self._written(features, outputs, step, *reach)

    def transposed(self, name: str, features: _Map, outputs: int) -> _Map:
        """See :meth:`Drawing.transposed`; its arithmetic and reach are counted."""
        self._add(name, Layer("transposed", features.channels, outputs, (4,) * self.axes, 2))
        self._accumulates += 4**self.axes * features.channels * outputs / prod(features.step)
        return self._doubled(features, outputs)

    def norm(self, name: str, features: _Map) -> _Map:
        """See :meth:`Drawing.norm`; only its tensors count."""
        self._add(name, Layer("norm", features.channels, features.channels))
        return features

    def prelu(self, name: str, features: _Map) -> _Map:
        """See :meth:`Drawing.prelu`; only its tensors count."""
        self._add(name, Layer("prelu", features.channels, features.channels, bias=False))
        return features

    def relu(self, features: _Map, *_: float) -> _Map:
        """See :meth:`Drawing.relu`; nothing counts of it."""
        return features

    elu = leaky_relu = relu

    def concat(self, maps: Sequence[_Map]) -> _Map:
        """See :meth:`Drawing.concat`; it reaches as far as any of the maps."""
        return _joined(sum(m.channels for m in maps), maps)

    def add(self, first: _Map, second: _Map) -> _Map:
        """See :meth:`Drawing.add`; it reaches as far as either (AssertionError for maps that do not fit)."""
        if first.step != second.step or (first.channels != second.channels and 1 not in (first.channels, second.channels)):
            raise ValueError(f"maps of {first.channels} and {second.channels} channels, or of different sizes, are added")
        return _joined(max(first.channels, second.channels), (first, second))

    def upsample(self, features: _Map) -> _Map:
        """See :meth:`Drawing.upsample`; its reach is counted."""
        return self._doubled(features, features.channels)

    def sub_pixel(self, phases: _Map, factors: tuple[int, ...]) -> _Map:
        """See :meth:`Drawing.sub_pixel`; it looks no farther than its input."""
        finer = [step / factor for step, factor in zip(phases.step, factors)]
        return _Map(phases.channels // prod(factors), tuple(finer), phases.before, phases.after)

    def intermediate(self, features: _Map) -> _Map:
        """See :meth:`Drawing.intermediate`; counted."""
        self.intermediates += 1
        return features

    def _add(self, name: str, layer: Layer) -> None:
        if name in self.layers or not name or "/" in name:
            raise ValueError(f"the layer name {name!r} is used twice, empty, or has a slash; give each layer a name of its own")
        self.layers[name] = layer

    def _doubled(self, features: _Map, channels: int) -> _Map:
        """A fine sample at an even place uses the coarse one at its place and the one before; at an odd one, the one after."""
        finer = [step / 2 for step in features.step]
        return self._written(features, channels, finer, features.step, finer)

    def _written(self, read: _Map, channels: int, step: Sequence[Fraction], *reach: Sequence[Fraction]) -> _Map:
        """A map whose samples depend on so much before and after those of the map that was read."""
        before, after = (tuple(a + b for a, b in zip(old, more)) for old, more in zip((read.before, read.after), reach))
        written = _Map(channels, tuple(step), before, after)
        self.step = max(self.step, ceil(max(step)))
        self.live_floats = max(self.live_floats, float(read.floats + written.floats))
        return written


def _joined(channels: int, maps: Sequence[_Map]) -> _Map:
    before, after = (tuple(max(reach) for reach in zip(*(getattr(m, side) for m in maps))) for side in ("before", "after"))
    return _Map(channels, maps[0].step, before, after)
