"""A scan's own detail within its slices, as it is and made coarse as its slices are: what a network between the slices can learn from.

The idea is that of SMORE (Zhao, Dewey, Pham, Calabresi, Reich, Prince. IEEE TMI 40(3), 2021): lines within a slice show what lines across the slices would, were the slices thin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ..resampling.profiles import PROFILES, profile_matrix
from ..resampling.regridding import apply_along, regrid_matrix

MOST_BYTES = 192 << 20  # of all pairs
_CLEARLY_FINER = 1.05  # lines this much finer than the result's slices are brought to their distance
_KEPT_AT, _KEPT_SHARE, _LONGEST_RUN = (0.3, 0.7), 0.1, 3  # two runs of slices are kept apart, a tenth of all each, and no more than so many
_MANY = 16  # slices from which the neighbours of a run are left out as well
LEAST_COARSE = 8  # coarse pixels of a line


@dataclass(frozen=True)
class SliceProfile:
    """How a slice may weigh the places along the slice axis.

    Attributes:
        name: a key of :data:`superres3d.resampling.profiles.PROFILES`.
        share: thickness over the distance of the slices: below 1 gaps, above 1 overlaps.
    """

    name: str
    share: float


@dataclass(frozen=True)
class Pairs:
    """Slices whose first axis is a line that was made coarse; float32 in network units.

    Attributes:
        coarse: (slices, rows, columns).
        fine: (slices, rows * factor, columns).
    """

    coarse: np.ndarray
    fine: np.ndarray


@dataclass(frozen=True)
class OwnDetail:
    """What is learnt from, and what is kept apart, each for every profile along the columns, and then along the rows.

    Attributes:
        learnt, kept: pairs.
        slices: how many were learnt from, and how many kept apart.
    """

    learnt: tuple[Pairs, ...]
    kept: tuple[Pairs, ...]
    slices: tuple[int, int]


def own_detail(
    voxels: np.ndarray, units: Callable[[np.ndarray], np.ndarray], spacing: Sequence[float], factor: int, profiles: Sequence[SliceProfile], most_bytes: int = MOST_BYTES,
) -> OwnDetail | None:  # fmt: skip
    """The pairs of a scan; None for one that is too small for them.

    Args:
        voxels: (slices, rows, columns), any real dtype; evenly spaced slices of it are taken, if all would need more than ``most_bytes``.
        units: brings slices to network units, float32.
        spacing: millimetres along (slices, rows, columns).
        factor: of the network.
        profiles: that the slices may have.
        most_bytes: of all pairs.
    """
    learnt, kept = chosen_slices(voxels.shape, most_bytes)
    lengths = [_length(voxels.shape[axis], spacing[axis], spacing[0] / factor, factor) for axis in (1, 2)]
    if not len(learnt) or not len(kept) or min(lengths) < LEAST_COARSE * factor:
        return None
    made = [
        tuple(pairs for axis, length in zip((1, 2), lengths) for pairs in _pairs(units(voxels[which]), axis, length, factor, profiles))
        for which in (learnt, kept)
    ]  # fmt: skip
    return OwnDetail(made[0], made[1], (len(learnt), len(kept)))


def pair_bytes(shape: Sequence[int], most_bytes: int = MOST_BYTES) -> int:
    """What the pairs of a scan of this shape (slices, rows, columns) take at most while they are made."""
    return min(most_bytes, 4 * _COPIES * prod(shape)) + 4 * prod(shape)


_COPIES = 4  # of a slice: fine and several times coarse, in two directions


def chosen_slices(shape: Sequence[int], most_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the slices that are learnt from, and of those that are kept apart: two runs."""
    count = shape[0]
    run = min(max(1, round(_KEPT_SHARE * count)), _LONGEST_RUN)
    starts = [int(place * count) - run // 2 for place in _KEPT_AT]
    kept = np.unique([start + n for start in starts for n in range(run) if 0 <= start + n < count])
    around = 1 if count >= _MANY else 0
    beside = {int(n) + step for n in kept for step in range(-around, around + 1)}
    learnt = np.array([n for n in range(count) if n not in beside], dtype=int)
    most = max(1, most_bytes // (4 * _COPIES * shape[1] * shape[2]) - len(kept))
    if len(learnt) > most:
        learnt = learnt[np.linspace(0, len(learnt) - 1, most).round().astype(int)]
    return learnt, kept


def _length(count: int, spacing: float, wanted: float, factor: int) -> int:
    """Of a line at the distance of the result's slices, or at its own if that is wider; a multiple of the factor."""
    length = round(count * spacing / wanted) if spacing * _CLEARLY_FINER < wanted else count
    return length // factor * factor


def _pairs(slices: np.ndarray, axis: int, length: int, factor: int, profiles: Sequence[SliceProfile]) -> Iterator[Pairs]:
    lines = np.ascontiguousarray(np.moveaxis(slices, axis, 1))
    if length < lines.shape[1] - factor:
        lines = apply_along(lines, 1, regrid_matrix(lines.shape[1], length, "cubic"))
    fine = np.ascontiguousarray(lines[:, :length])
    for profile in profiles:
        yield Pairs(apply_along(fine, 1, profile_matrix(length, length // factor, PROFILES[profile.name], profile.share * factor)), fine)
