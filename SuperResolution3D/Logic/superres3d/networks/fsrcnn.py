"""FSRCNN in three dimensions (Dong 2016b), as Chen 2020 compares with it (section 4.2): a convolution of the same
scale in place of the transposed one."""

from __future__ import annotations

from .blueprint import Drawing, T


def fsrcnn(draw: Drawing[T], image: T, *, features: int = 56, shrunk: int = 12, mappings: int = 4) -> T:
    """Extraction, shrinking, mapping, expanding, reconstruction: FSRCNN(d, s, m) of that paper, with PReLU between."""
    values = draw.prelu("extraction-slope", draw.conv("extraction", image, features, kernel=5))
    values = draw.prelu("shrinking-slope", draw.conv("shrinking", values, shrunk, kernel=1))
    for number in range(mappings):
        values = draw.prelu(f"mapping{number}-slope", draw.conv(f"mapping{number}", values, shrunk))
    values = draw.prelu("expanding-slope", draw.conv("expanding", values, features, kernel=1))
    return draw.conv("reconstruction", values, 1, kernel=9)
