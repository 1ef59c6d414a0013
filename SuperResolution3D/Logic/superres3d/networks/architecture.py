"""What is known of the ten-layer network without building it (Georgescu 2020, section III-A)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_KERNEL = 3
_LOW_LAYERS, _HIGH_LAYERS = 6, 4


@dataclass(frozen=True)
class Architecture:
    """The switches of :class:`superres3d.networks.georgescu.IntermediateLossNet`, as a model's card holds them."""

    factors: tuple[int, int] = (2, 2)
    filters: int = 32
    second_block: bool = True
    short_skips: bool = True
    long_skip: bool = True
    residual: bool = False

    @classmethod
    def from_card(cls, network: Mapping[str, Any]) -> Architecture:
        """From the card's ``network`` (TypeError for a switch that does not exist)."""
        return cls(**{**network, "factors": tuple(network["factors"])})

    @property
    def phases(self) -> int:
        """Output pixels of an input pixel."""
        return self.factors[0] * self.factors[1]

    @property
    def halo(self) -> tuple[int, int]:
        """Input pixels (rows, columns) that an output pixel depends on, on either side.

        Six 3x3 layers see 6 pixels; the four after the sub-pixel layer see 4 high-resolution ones.
        """
        high = _HIGH_LAYERS if self.second_block else 0
        rows, columns = self.factors
        return _LOW_LAYERS + -(-high // rows), _LOW_LAYERS + -(-high // columns)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of the trained tensors."""
        blocks = {"low": [1] + [self.filters] * (_LOW_LAYERS - 1) + [self.phases]}
        if self.second_block:
            blocks["high"] = [1] + [self.filters] * (_HIGH_LAYERS - 1) + [1]
        shapes: dict[str, tuple[int, ...]] = {}
        for block, widths in blocks.items():
            for number, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
                shapes[f"{block}.{number}.weight"] = (outputs, inputs, _KERNEL, _KERNEL)
                shapes[f"{block}.{number}.bias"] = (outputs,)
        return shapes

    @property
    def multiply_accumulates(self) -> int:
        """Per input pixel, of the convolutions with trained weights."""
        wide = self.filters * self.filters
        low = self.filters + (_LOW_LAYERS - 2) * wide + self.filters * self.phases
        high = 2 * self.filters + (_HIGH_LAYERS - 2) * wide if self.second_block else 0
        return _KERNEL**2 * (low + self.phases * high)
