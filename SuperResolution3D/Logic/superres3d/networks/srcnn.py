"""SRCNN in three dimensions: the 9-1-5 model of Dong 2016 with each kernel expanded (Kudo 2019, section 4.2)."""

from __future__ import annotations

from .blueprint import Drawing, T


def srcnn(draw: Drawing[T], image: T, *, filters: int = 64) -> T:
    """Patch extraction, non-linear mapping to half as many channels, reconstruction."""
    features = draw.relu(draw.conv("extraction", image, filters, kernel=9))
    features = draw.relu(draw.conv("mapping", features, filters // 2, kernel=1))
    return draw.conv("reconstruction", features, 1, kernel=5)
