"""The slice profile of a scan where its file tells it: slices that overlap, or leave gaps.

>>> profile_matrix(6, 2, 1.0).tolist() == WAYS["means"].matrix(6, 2).tolist()
True
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..scan.volume import Volume
from .coarser import WAYS, Way

_TOUCHING = 0.1  # of a distance: slices are as thick as they are apart
_RATIOS = 0.2, 4.0  # of thickness to distance that are believed


def thickness_of(volume: Volume) -> float | None:
    """Thickness of the slices in millimetres as the file tells it, DICOM's SliceThickness (0018,0050); None where it does not."""
    headers = getattr(volume.source, "headers", ())
    told = [_number(header) for header in headers]
    return told[0] if told and told[0] and all(value == told[0] for value in told) else None


def _number(header: Any) -> float | None:
    try:
        return float(header.get("SliceThickness"))
    except (TypeError, ValueError, AttributeError):
        return None


def profile_matrix(length: int, factor: int, ratio: float) -> np.ndarray:
    """Matrix (length // factor, length): slices ``factor`` times as far apart, ``ratio`` times as thick as far apart, each a mean over its thickness."""
    edges = np.arange(length + 1)
    centres = (np.arange(length // factor) + 0.5) * factor
    low, high = (centres + side * ratio * factor / 2 for side in (-1, 1))
    overlap = np.minimum(high[:, None], edges[None, 1:]) - np.maximum(low[:, None], edges[None, :-1])
    weights = np.clip(overlap, 0.0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def profile_way(thickness: float | None, distance: float) -> Way | None:
    """The scan's own profile; None where it is not known, or slices touch, which means show.

    Args:
        thickness: of the slices, millimetres.
        distance: between them, millimetres.
    """
    ratio = thickness / distance if thickness and distance else 1.0
    if abs(ratio - 1.0) <= _TOUCHING or not _RATIOS[0] <= ratio <= _RATIOS[1]:
        return None
    return Way("profile", f"its own slice profile ({thickness:g} mm thick, {distance:g} mm apart)", lambda length, factor: profile_matrix(length, factor, ratio))


def with_profile(way: Way, refined: list[int]) -> dict[int, Way]:
    """By axis of the array, slices first: the profile between the slices, means within them."""
    return {axis: way if axis == 0 else WAYS["means"] for axis in refined}
