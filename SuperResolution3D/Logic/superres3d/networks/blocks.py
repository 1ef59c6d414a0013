"""Blocks that more than one paper uses."""

from __future__ import annotations

from .blueprint import Drawing, T


def dense_unit(draw: Drawing[T], name: str, features: T, growth: int) -> T:
    """Batch normalisation, ELU, 3x3x3 convolution to ``growth`` channels (Chen 2020, section 3.3)."""
    return draw.conv(f"{name}-conv", draw.elu(draw.norm(f"{name}-norm", features)), growth, bias=False)


def dense_block(draw: Drawing[T], name: str, features: T, units: int, growth: int, keep_input: bool) -> T:
    """Each unit sees the block's input and all units before it.

    Args:
        keep_input: the input is part of the output (Chen 2020, figure 4a) or not (SRDenseNet, figure 4b).
    """
    made: list[T] = []
    for number in range(units):
        seen = draw.concat([features, *made]) if made else features
        made.append(dense_unit(draw, f"{name}-unit{number}", seen, growth))
    return draw.concat([features, *made] if keep_input else made)
