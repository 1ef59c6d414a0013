"""A blueprint drawn layer by layer on a graphics card: bias, ReLU and skip inside the convolution, float16 where that does not round the scan.

The first reading (:class:`Roles`) tells what the layers are for; the second (:class:`FusedDrawing`) computes.  Both number
the maps in the order in which the blueprint draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..networks.blueprint import Blueprint, Kernel
from ..networks.module import sub_pixel


class Convolution(Protocol):
    """3x3 convolutions in one of the forms that a device may choose; features (N, C, H, W)."""

    def relu(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution and a ReLU."""
        ...

    def linear(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution."""
        ...

    def add(self, skip: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``skip`` and the convolution, in the memory of ``skip``."""
        ...


@dataclass
class _Read:
    """A map as :class:`Roles` knows it: its number, the convolution that it comes from with nothing but a ReLU between, and factors of finer pixels just made."""

    number: int
    convolution: str = ""
    factors: tuple[int, ...] = ()


@dataclass
class Roles:
    """What the layers of a network for slices are for.

    Attributes:
        phases: convolution -> factors, where its channels become finer pixels.
        finer: factors of finer pixels that are the output's last layer; none: another layer is.
        pictures: convolutions that give the intensities of a picture, not a correction to them.
        uses: how often each map is read.
    """

    phases: dict[str, tuple[int, ...]] = field(default_factory=dict)
    finer: tuple[int, ...] = ()
    pictures: set[str] = field(default_factory=set)
    uses: list[int] = field(default_factory=lambda: [0])

    @classmethod
    def of(cls, blueprint: Blueprint, residual: bool) -> Roles:
        """Of a network (NotImplementedError if a turned copy of a slice needs more than turned kernels, or a layer is not known here)."""
        roles = cls()
        output = blueprint(roles, _Read(0))
        roles.finer = output.factors
        if not residual:
            roles.pictures = {output.convolution, *roles.phases}
        return roles

    def conv(self, name: str, features: _Read, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, **_: Any) -> _Read:
        if stride != 1 or kernel not in (3, (3, 3)):
            raise NotImplementedError(f"{name}: a stride of {stride} or a kernel of {kernel}")
        return self._made(features, convolution=name)

    def relu(self, features: _Read) -> _Read:
        return self._made(features, convolution=features.convolution)

    def add(self, first: _Read, second: _Read) -> _Read:
        return self._made(first, second)

    def sub_pixel(self, phases: _Read, factors: tuple[int, ...]) -> _Read:
        if not phases.convolution:
            raise NotImplementedError("finer pixels that do not come from a convolution")
        self.phases[phases.convolution] = factors
        return self._made(phases, convolution=phases.convolution, factors=factors)

    def intermediate(self, features: _Read) -> _Read:
        return features

    def __getattr__(self, layer: str) -> Any:
        if layer.startswith("_"):
            raise AttributeError(layer)
        raise NotImplementedError(layer)

    def _made(self, *read: _Read, convolution: str = "", factors: tuple[int, ...] = ()) -> _Read:
        for one in read:
            self.uses[one.number] += 1
        self.uses.append(0)
        return _Read(len(self.uses) - 1, convolution, factors)


@dataclass
class Map:
    """A map that may still have to be computed.

    Attributes:
        number: in the order of drawing.
        tensor: (N, C, H, W), once it is computed.
        waiting: before that, what a convolution reads, its name, and the number of the map that it reads.
        factors: of finer pixels whose phases ``tensor`` holds.
        prepared: as a convolution takes it, once one has asked.
    """

    number: int
    tensor: Tensor | None = None
    waiting: tuple[Tensor, str, int] | None = None
    factors: tuple[int, ...] = ()
    prepared: Tensor | None = None


class FusedDrawing:
    """Computes a member of a self-ensemble.

    Args:
        layers: name -> weight and bias of the member.
        by: the form of the convolutions.
        roles: of the network.
        prepare: (N, H, W) float32 to (N, channels, H, W) as a first convolution takes them.
    """

    def __init__(self, layers: dict[str, tuple[Tensor, Tensor]], by: Convolution, roles: Roles, prepare: Callable[[Tensor], Tensor]):
        self._layers, self._by, self._roles, self._prepare = layers, by, roles, prepare
        self._reads = [0] * len(roles.uses)
        self._made_so_far = 0

    def conv(self, name: str, features: Map, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, **_: Any) -> Map:
        if features.prepared is None:
            read = self._read(features)
            features.prepared = self._prepare(read[:, 0]) if read.shape[1] == 1 else read
        missing = self._layers[name][0].shape[1] - features.prepared.shape[1]  # channels that only fill up, after a narrow layer
        given = functional.pad(features.prepared, (0, 0, 0, 0, 0, missing)) if missing > 0 else features.prepared
        return self._made(waiting=(given, name, features.number))

    def relu(self, features: Map) -> Map:
        if self._fuses(features):
            return self._made(self._by.relu(*self._convolved(features)))
        read = self._read(features)
        self._is_last(features.number)
        return self._made(torch.relu(read))

    def add(self, first: Map, second: Map) -> Map:
        skip = self._read(first)
        free = self._is_last(first.number)  # nobody reads it any more: it may be written over
        if free and self._fuses(second):
            return self._made(self._by.add(skip, *self._convolved(second)))
        more = self._read(second)
        self._is_last(second.number)
        return self._made(skip.add_(more) if free else skip + more)

    def sub_pixel(self, phases: Map, factors: tuple[int, ...]) -> Map:
        return self._made(self._read(phases), factors=factors)  # not counted: what it holds must not be written over

    def intermediate(self, features: Map) -> Map:
        return features

    def phases(self, output: Map) -> Tensor:
        """The output; where its last layer makes finer pixels of channels, those channels."""
        if not output.factors:
            return self._read(output)
        assert output.tensor is not None
        return output.tensor[:, : prod(output.factors)]  # not those that only fill up

    def _read(self, features: Map) -> Tensor:
        """The map's numbers."""
        if features.waiting:
            fuses = self._fuses(features)
            given, weight, bias = self._convolved(features)
            features.tensor = self._by.linear(given, weight, bias) if fuses else functional.conv2d(given.float(), weight, bias, padding=1)
        assert features.tensor is not None
        return sub_pixel(features.tensor[:, : prod(features.factors)], features.factors) if features.factors else features.tensor

    def _fuses(self, features: Map) -> bool:
        """Whether it waits for a convolution that is computed in the form that was chosen; pictures are float32."""
        return features.waiting is not None and features.waiting[1] not in self._roles.pictures

    def _convolved(self, features: Map) -> tuple[Tensor, Tensor, Tensor]:
        """What the convolution reads, its weight and its bias; it waits no longer."""
        assert features.waiting
        given, name, source = features.waiting
        features.waiting = None
        self._is_last(source)
        return given, *self._layers[name]

    def _is_last(self, number: int) -> bool:
        """Counts a reading of a map; the slices themselves are the caller's."""
        self._reads[number] += 1
        return number > 0 and self._reads[number] == self._roles.uses[number]

    def _made(self, tensor: Tensor | None = None, **what: Any) -> Map:
        self._made_so_far += 1
        return Map(self._made_so_far, tensor, **what)
