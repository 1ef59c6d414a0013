"""Networks for slices in 8 bits: what of a convolution is rounded, and to which numbers.

A convolution reads maps x (channels) and has weights w (outputs, inputs, rows, columns).  With a range r for each input channel

    x' = round(clip(x / r, -128 / 127, 1) * 127) / 127      (maps that are nowhere negative: 0 to 1, in steps of 1 / 255)
    w' = round(w * r / s) * s,   s = max |w * r| / 127, of each output channel

take the places of x and w: their products are those of 8-bit numbers, which processors add up two to four times as fast as half precision.  The ranges
shift what is hard to round from the maps to the weights and back (Xiao, Lin, Seznec, Wu, Demouth, Han. SmoothQuant. ICML 2023, section 4).

The ranges were measured on training scans, and lie beside the weights in ``eight_bits.safetensors``.  A convolution without ranges, such as the
first ones, whose maps are as bright as the scan, is not rounded so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: what networks may be computed in, the finest first
PRECISIONS = ("single", "half", "eight")
RANGES, CARD_KEY = "eight_bits.safetensors", "eight_bits_sha256"  # beside the weights; in their card
SIGNED, UNSIGNED = 127, 255  # steps to the end of a range
_KINDS = {".signed": True, ".unsigned": False}


@dataclass(frozen=True)
class Ranges:
    """Of the maps that a convolution reads.

    Attributes:
        channels: (inputs,) float32, greater than 0: the value of each channel that becomes the largest 8-bit number.
        signed: whether the maps may be negative.
    """

    channels: np.ndarray
    signed: bool

    @property
    def least(self) -> float:
        """The smallest x'."""
        return -(SIGNED + 1) / SIGNED if self.signed else 0.0

    def maps(self, features: np.ndarray) -> np.ndarray:
        """Maps (N, inputs, rows, columns) as the convolution sees them, over their ranges: x'."""
        steps = SIGNED if self.signed else UNSIGNED
        return np.round(np.clip(features / self.channels[:, None, None], self.least, 1.0) * steps) / np.float32(steps)

    def weights(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """w * r, and the end of its range for each output channel, 127 s, (outputs, 1, 1, 1); not rounded yet."""
        scaled = (weight * self.channels[None, :, None, None]).astype(np.float32)
        ends = np.abs(scaled).max(axis=(1, 2, 3), keepdims=True)
        return scaled, np.where(ends > 0, ends, 1.0).astype(np.float32)


def ranges_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Ranges]:
    """By convolution, from the content of ``eight_bits.safetensors``."""
    return {name.removesuffix(kind): Ranges(tensor, signed) for name, tensor in tensors.items() for kind, signed in _KINDS.items() if name.endswith(kind)}


def stored(ranges: Mapping[str, Ranges]) -> bytes:
    """The content of ``eight_bits.safetensors``."""
    from safetensors.numpy import save

    return save({f"{name}{'.signed' if one.signed else '.unsigned'}": np.ascontiguousarray(one.channels, np.float32) for name, one in ranges.items()})
