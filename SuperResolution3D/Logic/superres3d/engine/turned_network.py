"""A network for slices on a graphics card, with its self-ensemble.

The turned copies of a slice are never made.  A network of convolutions on a turned slice is, turned back, the network with turned kernels on
the slice itself, so each member is a set of kernels.  All members read the same slices and give the same grid.

In half precision the scan is not rounded: it enters as two channels, its nearest float16 and what that leaves out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from ..networks.blueprint import Drawing
from ..networks.families import Architecture
from ..networks.module import BlueprintNet, sub_pixel, used_weight
from ..networks.weights import Model, architecture_of, load_network
from .convolution_forms import CONVOLUTIONS, FusedConvolution, PlainConvolution, Race
from .ensemble import Turn, exact_median
from .fused_drawing import FusedDrawing, Map, Roles

_FILTERS = 32  # what `pixels` is counted for
_INPUTS, _OUTPUTS = 16, 8  # channels of half precision come in multiples of these
_RACE_PIXELS = 1 << 16  # fewer tell nothing
_KEPT_GRAPHS = 12
_AGREEMENT = {torch.float16: 2e-2, torch.float32: 1e-4}  # of a candidate with the plain form, of the largest value


@dataclass(frozen=True)
class Style:
    """How a device computes; the defaults are for a graphics card.

    Attributes:
        half: float16, the sums in float32.
        convolution: a key of :data:`CONVOLUTIONS`, or "auto": a race of those that are right on this device.
        graphs: record the launches of a chunk once (CUDA graphs), replay them after.
        channels_last: the channels of a pixel lie together.
        pixels: of a chunk, for a network of 32 channels.
        search: cuDNN tries its kernels on each new shape.
    """

    half: bool = True
    convolution: str = "auto"
    graphs: bool = True
    channels_last: bool = True
    pixels: int = 1 << 19
    search: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Of the feature maps."""
        return torch.float16 if self.half else torch.float32


@contextlib.contextmanager
def full_float32(search: bool = False) -> Iterator[None]:
    """Single precision means float32: no TF32 (10 bits) in convolutions and products; ``search`` as in :class:`Style`."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = False, False, search
    try:
        yield
    finally:
        cudnn.allow_tf32, products.allow_tf32, cudnn.benchmark = before


#: of the races so far: (device, dtype, channels last, architecture) -> form
_WINNERS: dict[tuple[Any, ...], type[PlainConvolution]] = {}


class TurnedNetwork:
    """Median of a network over the members of its self-ensemble.

    Args:
        model: of a method in two stages.
        turns: members; with quarter turns only where both axes are refined alike.
        device: of PyTorch.
        style: see :class:`Style`.
    """

    def __init__(self, model: Model, turns: Sequence[Turn], device: str, style: Style):
        net = load_network(model)
        self.architecture: Architecture = net.architecture
        self.style = style
        self.convolution: PlainConvolution | None = None if style.convolution == "auto" else CONVOLUTIONS[style.convolution]()
        self.raced: dict[str, float | str] = {}
        self._device = torch.device(device)
        self._roles = Roles.of(self.architecture.blueprint, self.architecture.residual)
        exchanged = net if model.exchanged is model else load_network(model.exchanged)
        self._members = [self._layers(exchanged if turn[0] % 2 else net, turn) for turn in turns]
        self._graphs: dict[tuple[int, ...], tuple[Any, Tensor, Tensor]] = {}
        self._pool: Any = None
        self._replays = style.graphs and self._device.type == "cuda"

    def together(self, height: int, width: int, pixels: int) -> int:
        """How many slices make a chunk of so many ``pixels``."""
        return max(1, int(pixels * _FILTERS / (height * width * self.architecture.survey.live_floats / 2)))

    def __call__(self, images: Tensor) -> Tensor:
        """The refined slices; of a residual network, what is to be added to the cubic interpolation.

        Args:
            images: (N, H, W) float32 on the device, in network units.

        Returns:
            (N, H * factors[0], W * factors[1]) float32; the next call with this shape may write over it.
        """
        for _ in self.prepare(images):
            pass
        if not self._replays:
            return self._median(images)
        graph, given, made = self._graphs[tuple(images.shape)]
        given.copy_(images)
        graph.replay()
        return made

    def prepare(self, images: Tensor) -> Iterator[None]:
        """Get ready for slices (N, H, W) of this shape, which can take seconds at first; steps, so that a stop comes through."""
        if self.convolution is None:
            yield from self._race(images)
        if self._replays and tuple(images.shape) not in self._graphs:
            self._record(images)
            yield

    def _median(self, images: Tensor) -> Tensor:
        given = Map(0, images[:, None])
        members = [self._member(given, layers, self.convolution or PlainConvolution()) for layers in self._members]
        median = _median_in_float(members)
        return sub_pixel(median, self._roles.finer)[:, 0] if self._roles.finer else median[:, 0]

    def _prepared(self, images: Tensor) -> Tensor:
        """(N, channels, H, W): in single precision the slices; in half their nearest float16, the rest, and zeros."""
        if not self.style.half:
            return images[:, None].contiguous(memory_format=self._format)
        nearest = images.half()
        prepared = torch.empty((len(images), _INPUTS, *images.shape[1:]), dtype=torch.float16, device=images.device, memory_format=self._format).zero_()
        prepared[:, 0] = nearest
        prepared[:, 1] = images - nearest.float()
        return prepared

    @property
    def _format(self) -> torch.memory_format:
        return torch.channels_last if self.style.channels_last else torch.contiguous_format

    def _member(self, given: Map, layers: dict[str, tuple[Tensor, Tensor]], by: PlainConvolution) -> Tensor:
        """(N, phases of a pixel, H, W)."""
        drawing = FusedDrawing(layers, by, self._roles, self._prepared)
        return drawing.phases(self.architecture.blueprint(cast(Drawing[Any], drawing), given))  # the roles have shown that it asks for no other layers

    def _layers(self, net: BlueprintNet, turn: Turn) -> dict[str, tuple[Tensor, Tensor]]:
        """Name -> weight and bias of a member.  Layers that give a picture stay in float32."""
        layers = {}
        for name in self.architecture.survey.layers:
            layer = net.layer(name)
            weight = _turned_back(used_weight(layer).detach(), turn)
            bias = layer.get_parameter("bias").detach() if self.architecture.survey.layers[name].bias else weight.new_zeros(len(weight))
            if name in self._roles.phases:
                weight, bias = _turned_phases(weight, bias, self._roles.phases[name], turn)
            picture = name in self._roles.pictures
            if self.style.half:
                weight, bias = _filled(weight if picture else _rounded(weight), bias, outputs=not picture)
            dtype = torch.float32 if picture else self.style.dtype
            layers[name] = (weight.to(self._device, dtype).contiguous(memory_format=self._format), bias.to(self._device, dtype))
        return layers

    def _race(self, images: Tensor) -> Iterator[None]:
        """Choose the form that is right and fastest on these slices.  Once for each kind of network and device."""
        kind_of_work = (self._device, self.style.dtype, self.style.channels_last, self.architecture)
        if kind_of_work in _WINNERS or self._device.type != "cuda":
            self.convolution = _WINNERS.get(kind_of_work, PlainConvolution)()
            return
        given, layers = Map(0, images[:, None]), self._members[0]
        tells = images.numel() >= _RACE_PIXELS
        race = Race(partial(self._member, given, layers), _AGREEMENT[self.style.dtype], self._device, self._replays)
        # Few slices are not timed: with the bias inside, a layer is rounded once, where PyTorch's own are rounded twice.
        for _ in race.run(CONVOLUTIONS) if tells else race.enter({"fused": FusedConvolution}):
            yield
        self.convolution, self.raced = race.winner, self.raced | race.told
        if tells:
            _WINNERS[kind_of_work] = type(self.convolution)

    def _record(self, images: Tensor) -> None:
        """A graph for the shape; where that fails, no graphs from now on."""
        try:
            given = images.clone(memory_format=torch.contiguous_format)
            self._median(given)  # what is chosen on first use must be chosen before
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()  # while a graph is recorded nothing can be given back
            graph = torch.cuda.CUDAGraph()
            self._pool = self._pool or torch.cuda.graph_pool_handle()
            with torch.cuda.graph(graph, pool=self._pool):
                made = self._median(given)
            while len(self._graphs) >= _KEPT_GRAPHS:
                del self._graphs[next(iter(self._graphs))]
            self._graphs[tuple(images.shape)] = graph, given, made
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            self.raced["graphs"] = f"{type(error).__name__}: {str(error)[:200]}"
            self._replays = False
            self._graphs.clear()


def turns_by_kernels(architecture: Architecture) -> bool:
    """Whether a turned copy of a slice needs nothing but turned kernels, so that :class:`TurnedNetwork` can compute the network."""
    try:
        Roles.of(architecture.blueprint, architecture.residual)
    except NotImplementedError:
        return False
    return True


def fits_device(models: dict[str, Model]) -> bool:
    """Whether all of a method's networks can be computed so; others go stage by stage."""
    return all(turns_by_kernels(architecture_of(model)) for model in models.values())


def _median_in_float(members: Sequence[Tensor]) -> Tensor:
    """The middle values are found in the members' own type; their mean is taken in float32."""

    def minimum(a: _Member, b: _Member) -> _Member:
        return _Member(torch.minimum(a.tensor, b.tensor))

    def maximum(a: _Member, b: _Member) -> _Member:
        return _Member(torch.maximum(a.tensor, b.tensor))

    median = exact_median([_Member(member) for member in members], minimum, maximum)
    return median.tensor.float() if isinstance(median, _Member) else median


@dataclass(frozen=True)
class _Member:
    """A member whose sum with another is float32."""

    tensor: Tensor

    def __add__(self, other: _Member) -> Tensor:
        return self.tensor.float() + other.tensor.float()


def _turned_back(images: Tensor, turn: Turn, axes: tuple[int, int] = (-2, -1)) -> Tensor:
    """The inverse of :func:`superres3d.engine.ensemble.apply_turn` on two axes."""
    quarter, flip = turn
    return torch.rot90(images.flip(axes[1]) if flip else images, -quarter, axes)


def _turned_phases(weight: Tensor, bias: Tensor, factors: tuple[int, ...], turn: Turn) -> tuple[Tensor, Tensor]:
    """The finer pixels of a pixel, which are channels, change places like the kernels' taps."""
    placed = _turned_back(weight.reshape(*factors, *weight.shape[1:]), turn, (0, 1))
    return placed.reshape(weight.shape), _turned_back(bias.reshape(factors), turn).reshape(-1)


def _rounded(weight: Tensor) -> Tensor:
    """Kernels of float16 numbers whose sums are those of the kernels, so that what is smooth keeps its level.

    From the largest tap on, each takes over what rounding has left of those before it.
    """
    taps = weight.flatten(2)
    order = taps.abs().argsort(dim=2, descending=True)
    ordered, rest = taps.gather(2, order), torch.zeros_like(taps[..., 0])
    rounded = torch.empty_like(ordered)
    for tap in range(ordered.shape[2]):
        rounded[..., tap] = (ordered[..., tap] + rest).half().float()
        rest = ordered[..., tap] + rest - rounded[..., tap]
    return torch.zeros_like(taps).scatter_(2, order, rounded).reshape(weight.shape)


def _filled(weight: Tensor, bias: Tensor, outputs: bool) -> tuple[Tensor, Tensor]:
    """Channels filled with zeros to what a card multiplies together; an only input channel is there twice, for the slices and what float16 leaves out."""
    if weight.shape[1] == 1:
        weight = weight.repeat(1, 2, 1, 1)
    inputs, more = -weight.shape[1] % _INPUTS, -weight.shape[0] % _OUTPUTS if outputs else 0
    return functional.pad(weight, (0, 0, 0, 0, 0, inputs, 0, more)), functional.pad(bias, (0, more))
