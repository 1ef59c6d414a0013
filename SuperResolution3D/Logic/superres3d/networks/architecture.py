"""What is known of the networks for slices without building them: :mod:`.georgescu` and :mod:`.edsr`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

_KERNEL = 3
_LOW_LAYERS, _HIGH_LAYERS = 6, 4


@dataclass(frozen=True)
class Architecture(ABC):
    """A network for slices.

    Attributes:
        factors: refinement of (rows, columns).
        filters: width of the hidden layers.
        form: how a card calls this kind of network.
        residual: the network computes what is to be added to a cubic interpolation.
    """

    factors: tuple[int, int] = (2, 2)
    filters: int = 32

    form: ClassVar[str]
    residual: ClassVar[bool]

    @property
    def phases(self) -> int:
        """Output pixels of an input pixel."""
        return self.factors[0] * self.factors[1]

    @property
    @abstractmethod
    def halo(self) -> tuple[int, int]:
        """Input pixels (rows, columns) that an output pixel depends on, on either side."""

    @abstractmethod
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the trained tensors."""

    @property
    @abstractmethod
    def multiply_accumulates(self) -> int:
        """Per input pixel, of the convolutions with trained weights."""


@dataclass(frozen=True)
class IntermediateLossArchitecture(Architecture):
    """The switches of :class:`superres3d.networks.georgescu.IntermediateLossNet` (Georgescu 2020, section III-A), as a model's card holds them."""

    second_block: bool = True
    short_skips: bool = True
    long_skip: bool = True

    form: ClassVar[str] = "intermediate-loss"
    residual: ClassVar[bool] = False

    @property
    def halo(self) -> tuple[int, int]:
        """Six 3x3 layers see 6 pixels; the four after the sub-pixel layer see 4 high-resolution ones."""
        high = _HIGH_LAYERS if self.second_block else 0
        rows, columns = self.factors
        return _LOW_LAYERS + -(-high // rows), _LOW_LAYERS + -(-high // columns)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        low = [1] + [self.filters] * (_LOW_LAYERS - 1) + [self.phases]
        high = [1] + [self.filters] * (_HIGH_LAYERS - 1) + [1] if self.second_block else []
        layers = [(f"{block}.{number}", *pair) for block, widths in (("low", low), ("high", high)) for number, pair in enumerate(zip(widths, widths[1:]))]
        return _convolution_shapes(layers)

    @property
    def multiply_accumulates(self) -> int:
        wide = self.filters * self.filters
        low = self.filters + (_LOW_LAYERS - 2) * wide + self.filters * self.phases
        high = 2 * self.filters + (_HIGH_LAYERS - 2) * wide if self.second_block else 0
        return _KERNEL**2 * (low + self.phases * high)


@dataclass(frozen=True)
class EDSRArchitecture(Architecture):
    """The sizes of :class:`superres3d.networks.edsr.EDSR`, as a model's card holds them."""

    blocks: int = 6

    form: ClassVar[str] = "edsr"
    residual: ClassVar[bool] = True

    @property
    def halo(self) -> tuple[int, int]:
        """One for each layer; the cubic interpolation sees two."""
        reach = 2 + 2 * self.blocks
        return reach, reach

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        inner = [(f"blocks.{block}.{layer}", self.filters, self.filters) for block in range(self.blocks) for layer in (0, 1)]
        return _convolution_shapes([("head", 1, self.filters), *inner, ("tail", self.filters, self.phases)])

    @property
    def multiply_accumulates(self) -> int:
        return _KERNEL**2 * self.filters * (1 + 2 * self.blocks * self.filters + self.phases)


ARCHITECTURES: dict[str, type[Architecture]] = {kind.form: kind for kind in (IntermediateLossArchitecture, EDSRArchitecture)}


def architecture_from_card(network: Mapping[str, Any]) -> Architecture:
    """From the card's ``network`` (KeyError for a form or sizes that are missing or unknown, TypeError for a switch that does not exist)."""
    switches = {name: value for name, value in network.items() if name != "form"}
    return ARCHITECTURES[network["form"]](**{**switches, "factors": tuple(network["factors"])})


def _convolution_shapes(layers: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of weight and bias of 3x3 convolutions (name, inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs in layers:
        shapes[f"{name}.weight"] = (outputs, inputs, _KERNEL, _KERNEL)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes
