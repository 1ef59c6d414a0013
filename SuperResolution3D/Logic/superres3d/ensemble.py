"""Self-ensemble: the mean opinion of one network on turned and mirrored copies of a slice.

Georgescu 2020, section IV-E: outputs on the turned inputs are turned back and their
median is taken.  The median of an even number is the mean of the two middle values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Turn = tuple[int, bool]  # quarter turns, then a left-right flip

IDENTITY: Turn = (0, False)
#: rotation by 180 degrees and flips along either axis: possible where the axes differ in kind
FLIPS: tuple[Turn, ...] = (IDENTITY, (0, True), (2, False), (2, True))
ALL_TURNS: tuple[Turn, ...] = tuple((quarter, flip) for quarter in range(4) for flip in (False, True))

PLANE_MEMBERS: dict[str, tuple[Turn, ...]] = {"none": (IDENTITY,), "4": FLIPS, "8": ALL_TURNS}
#: per slicing; "none" uses one slicing, the others the mean of both
DEPTH_MEMBERS: dict[str, tuple[Turn, ...]] = {"none": (IDENTITY,), "4": (IDENTITY, (2, False)), "8": FLIPS}


def apply_turn(images: Tensor, turn: Turn) -> Tensor:
    """Turn images (..., H, W)."""
    quarter, flip = turn
    turned = torch.rot90(images, quarter, (-2, -1)) if quarter else images
    return turned.flip(-1) if flip else turned


def undo_turn(images: Tensor, turn: Turn) -> Tensor:
    """The inverse of :func:`apply_turn`."""
    quarter, flip = turn
    images = images.flip(-1) if flip else images
    return torch.rot90(images, -quarter, (-2, -1)) if quarter else images


def exact_median(members: Sequence[Tensor]) -> Tensor:
    """Element-wise median of 1, 2, 4 or 8 tensors of one shape, by compare-exchanges alone.

    ``torch.median`` would give the lower middle value, a bias of a quarter grey level.
    """
    if len(members) == 1:
        return members[0]
    if len(members) == 2:
        return (members[0] + members[1]) / 2
    if len(members) == 4:
        _, low, high, _ = _sorted_four(members)
        return (low + high) / 2
    if len(members) == 8:
        first, second = _sorted_four(members[:4]), _sorted_four(members[4:])
        # Half-cleaner of a bitonic merge: the four smaller and the four larger of all eight.
        pairs = list(zip(first, reversed(second)))
        smaller = [torch.minimum(a, b) for a, b in pairs]
        larger = [torch.maximum(a, b) for a, b in pairs]
        fourth = torch.maximum(torch.maximum(smaller[0], smaller[1]), torch.maximum(smaller[2], smaller[3]))
        fifth = torch.minimum(torch.minimum(larger[0], larger[1]), torch.minimum(larger[2], larger[3]))
        return (fourth + fifth) / 2
    raise ValueError(f"a median of {len(members)} members is not defined here; give 1, 2, 4 or 8")


def _sorted_four(members: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a, b, c, d = members
    a, b = torch.minimum(a, b), torch.maximum(a, b)
    c, d = torch.minimum(c, d), torch.maximum(c, d)
    a, c = torch.minimum(a, c), torch.maximum(a, c)
    b, d = torch.minimum(b, d), torch.maximum(b, d)
    b, c = torch.minimum(b, c), torch.maximum(b, c)
    return a, b, c, d
