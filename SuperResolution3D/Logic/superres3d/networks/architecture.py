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
        has_intermediate: it gives an intermediate output, which has a loss of its own.
        description: of the layers, for a card's page.
    """

    factors: tuple[int, int] = (2, 2)
    filters: int = 32

    form: ClassVar[str]
    residual: ClassVar[bool]

    @property
    @abstractmethod
    def has_intermediate(self) -> bool: ...

    @property
    @abstractmethod
    def description(self) -> str: ...

    @property
    def phases(self) -> int:
        """Output pixels of an input pixel."""
        return self.factors[0] * self.factors[1]

    @property
    @abstractmethod
    def halo(self) -> tuple[int, int]:
        """Input pixels (rows, columns) that an output pixel depends on, on either side."""

    @property
    @abstractmethod
    def widest(self) -> int:
        """Floats per input pixel of the largest feature map: what a call's memory goes with."""

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
    def has_intermediate(self) -> bool:
        return self.second_block

    @property
    def description(self) -> str:
        left_out = [name.replace("_", " ") for name in ("second_block", "short_skips", "long_skip") if not getattr(self, name)]
        return f"{self.filters} filters, the published form" + (f" without {' and '.join(left_out)}" if left_out else "")

    @property
    def halo(self) -> tuple[int, int]:
        """Six 3x3 layers see 6 pixels; the four after the sub-pixel layer see 4 high-resolution ones."""
        high = _HIGH_LAYERS if self.second_block else 0
        rows, columns = self.factors
        return _LOW_LAYERS + -(-high // rows), _LOW_LAYERS + -(-high // columns)

    @property
    def widest(self) -> int:
        return self.filters * (self.phases if self.second_block else 1)

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
    def has_intermediate(self) -> bool:
        return False

    @property
    def description(self) -> str:
        return f"{self.blocks} residual blocks of {self.filters} filters over cubic interpolation"

    @property
    def halo(self) -> tuple[int, int]:
        """One for each layer; the cubic interpolation sees two."""
        reach = 2 + 2 * self.blocks
        return reach, reach

    @property
    def widest(self) -> int:
        return max(self.filters, self.phases)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        inner = [(f"blocks.{block}.{layer}", self.filters, self.filters) for block in range(self.blocks) for layer in (0, 1)]
        return _convolution_shapes([("head", 1, self.filters), *inner, ("tail", self.filters, self.phases)])

    @property
    def multiply_accumulates(self) -> int:
        return _KERNEL**2 * self.filters * (1 + 2 * self.blocks * self.filters + self.phases)


ARCHITECTURES: dict[str, type[Architecture]] = {kind.form: kind for kind in (IntermediateLossArchitecture, EDSRArchitecture)}


def architecture_from_card(network: Mapping[str, Any]) -> Architecture:
    """From the card's ``network``.

    Raises:
        KeyError: an unknown form, or none, or no factors.
        TypeError, ValueError: a switch that does not exist, or a size that is no whole number above 0.
    """
    switches = {name: value for name, value in network.items() if name != "form"}
    rows, columns = network["factors"]
    architecture = ARCHITECTURES[network["form"]](**{**switches, "factors": (rows, columns)})
    sizes = (rows, columns, *(getattr(architecture, name) for name in ("filters", "blocks") if hasattr(architecture, name)))
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"sizes {sizes}")
    return architecture


def _convolution_shapes(layers: Iterable[tuple[str, int, int]]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of weight and bias of 3x3 convolutions (name, inputs, outputs)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs in layers:
        shapes[f"{name}.weight"] = (outputs, inputs, _KERNEL, _KERNEL)
        shapes[f"{name}.bias"] = (outputs,)
    return shapes
