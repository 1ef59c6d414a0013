"""SRResNet in three dimensions (Ledig 2017), as Chen 2020 compares with it (section 4.2): a convolution of the same
scale in place of the sub-pixel layer."""

from __future__ import annotations

from .blueprint import Drawing, T


def srresnet(draw: Drawing[T], image: T, *, blocks: int = 16, filters: int = 64) -> T:
    """Residual blocks of two normalised convolutions under one long skip."""
    first = features = draw.prelu("head-slope", draw.conv("head", image, filters, kernel=9))
    for number in range(blocks):
        inner = draw.norm(f"block{number}-norm0", draw.conv(f"block{number}-conv0", features, filters))
        inner = draw.prelu(f"block{number}-slope", inner)
        inner = draw.norm(f"block{number}-norm1", draw.conv(f"block{number}-conv1", inner, filters))
        features = draw.add(features, inner)
    features = draw.add(first, draw.norm("trunk-norm", draw.conv("trunk", features, filters)))
    features = draw.prelu("tail-slope", draw.conv("tail", features, filters))
    return draw.conv("reconstruction", features, 1, kernel=9)
