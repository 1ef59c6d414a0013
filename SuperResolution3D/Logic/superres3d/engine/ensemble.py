"""Self-ensemble: the mean opinion of one network on turned and mirrored copies of a slice.

Georgescu 2020, section IV-E: outputs on the turned inputs are turned back and their
median is taken.  The median of an even number is the mean of the two middle values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Turn = tuple[int, bool]  # quarter turns, then a left-right flip

IDENTITY: Turn = (0, False)
#: rotation by 180 degrees and flips along either axis: possible where the axes differ in kind
FLIPS: tuple[Turn, ...] = (IDENTITY, (0, True), (2, False), (2, True))
ALL_TURNS: tuple[Turn, ...] = tuple((quarter, flip) for quarter in range(4) for flip in (False, True))

#: stage -> self-ensemble -> turned copies; the depth network takes the mean of two slicings, and a volumetric network's copies are turned in their slices
MEMBERS: dict[str, dict[str, tuple[Turn, ...]]] = {
    "plane": {"none": (IDENTITY,), "4": FLIPS, "8": ALL_TURNS},
    "depth": {"none": (IDENTITY,), "4": (IDENTITY, (2, False)), "8": FLIPS},
    "volume": {"none": (IDENTITY,), "4": (IDENTITY, (2, False)), "8": FLIPS},
}


def apply_turn(images: np.ndarray, turn: Turn) -> np.ndarray:
    """Turn images (..., H, W); a view."""
    quarter, flip = turn
    turned = np.rot90(images, quarter, (-2, -1))
    return turned[..., ::-1] if flip else turned


def undo_turn(images: np.ndarray, turn: Turn) -> np.ndarray:
    """The inverse of :func:`apply_turn` on images (..., H, W); a view."""
    quarter, flip = turn
    return np.rot90(images[..., ::-1] if flip else images, -quarter, (-2, -1))


def variance_of(members: Sequence[np.ndarray]) -> np.ndarray:
    """Element-wise variance of members of one shape (mean square distance from their mean), float32; it needs no copy of them all."""
    mean = sum(members[1:], start=members[0]) / np.float32(len(members))
    return np.asarray(sum(np.square(member - mean) for member in members) / np.float32(len(members)))


def exact_median(members: Sequence[Any], minimum: Callable = np.minimum, maximum: Callable = np.maximum) -> Any:
    """Element-wise median of 1, 2, 4 or 8 arrays of one shape, by compare-exchanges alone.

    ``torch.median`` would give the lower middle value, a bias of a quarter grey level.

    Args:
        members: numpy arrays, or torch tensors with torch's ``minimum`` and ``maximum``.

    Raises:
        ValueError: any other number of members.
    """
    if len(members) == 1:
        return members[0]
    if len(members) == 2:
        return (members[0] + members[1]) / 2

    def exchange(a: Any, b: Any) -> tuple[Any, Any]:
        return minimum(a, b), maximum(a, b)

    def sort_four(a: Any, b: Any, c: Any, d: Any) -> tuple[Any, ...]:
        a, b = exchange(a, b)
        c, d = exchange(c, d)
        a, c = exchange(a, c)
        b, d = exchange(b, d)
        b, c = exchange(b, c)
        return a, b, c, d

    if len(members) == 4:
        _, low, high, _ = sort_four(*members)
        return (low + high) / 2
    if len(members) == 8:
        # Half-cleaner of a bitonic merge: the four smaller and the four larger of all eight.
        pairs = zip(sort_four(*members[:4]), reversed(sort_four(*members[4:])))
        (s0, l0), (s1, l1), (s2, l2), (s3, l3) = [exchange(a, b) for a, b in pairs]
        fourth = maximum(maximum(s0, s1), maximum(s2, s3))
        fifth = minimum(minimum(l0, l1), minimum(l2, l3))
        return (fourth + fifth) / 2
    raise ValueError(f"a median of {len(members)} members is not defined here; give 1, 2, 4 or 8")
