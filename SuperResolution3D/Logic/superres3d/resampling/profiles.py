"""Slice profiles: how much each place along the slice axis counts in a thick slice.

- :func:`gaussian`: what SMORE and ECLARE assume of MR (Zhao, Dewey, Pham, Calabresi, Reich, Prince. IEEE TMI 40(3), 2021, section II-A; Remedios et al. 2025).
- :func:`box`: a mean over the thickness, as CT reconstructions average and 3-D partitions nearly do.
- :func:`slr`: the profile of a 90 degree pulse designed by the Shinnar-Le Roux transform (Pauly, Le Roux, Nishimura, Macovski. IEEE TMI 10(1), 1991):
  flat in the middle, with a transition whose width the time-bandwidth product sets.

A slice may be thinner than the distance to the next (a gap) or thicker (an overlap).

>>> profile_matrix(8, 2, box, 4.0)[0].tolist()
[0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log, log10

import numpy as np

from .interpolation import matrix_of_taps

#: relative weight at distances from the middle of a slice, in thicknesses
Profile = Callable[[np.ndarray], np.ndarray]
_PARTS = 16  # of a fine voxel, over which a profile is averaged
_RIPPLE = 0.01  # of the SLR pulse, in the slice and beside it
_REACH = 2.0  # thicknesses from the middle of a slice beyond which nothing counts


def gaussian(distance: np.ndarray) -> np.ndarray:
    """Full width at half maximum: the thickness."""
    return np.exp(-4.0 * log(2.0) * np.square(distance))


def box(distance: np.ndarray) -> np.ndarray:
    """The same weight over the thickness, none beside it."""
    return (np.abs(distance) < 0.5).astype(np.float64)


def slr(distance: np.ndarray, time_bandwidth: float = 4.0) -> np.ndarray:
    """The transverse magnetisation 2 |b| sqrt(1 - |b|^2) after a 90 degree pulse (Pauly 1991, equation 13).

    The polynomial b falls from sin 45 degrees to nothing over the width that linear-phase filters of that length have (section V: D(0.01, 0.01) over the
    time-bandwidth product), here along a raised cosine and without ripples.
    """
    width = _transition(_RIPPLE) / time_bandwidth
    share = np.clip((np.abs(distance) - 0.5) / width + 0.5, 0.0, 1.0)
    b = np.sqrt(0.5) * 0.5 * (1.0 + np.cos(np.pi * share))
    return 2.0 * b * np.sqrt(1.0 - np.square(b))


#: by the names that reports and benchmarks use
PROFILES: dict[str, Profile] = {"gaussian": gaussian, "box": box, "slr": slr}


def profile_matrix(length: int, count: int, profile: Profile, thickness: float) -> np.ndarray:
    """Matrix (count, length) that makes slices of a finer line over the same extent; rows sum to one, edges are mirrored.

    Args:
        length: fine voxels.
        count: slices; slice ``o`` lies at ``(o + 0.5) * length / count - 0.5``.
        profile: see :data:`PROFILES`.
        thickness: of a slice, in fine voxels.

    Raises:
        ValueError: no thickness.
    """
    if thickness <= 0:
        raise ValueError(f"a slice cannot be {thickness} voxels thick")
    centres = (np.arange(count) + 0.5) * length / count - 0.5
    reach = ceil(_REACH * thickness) + 1
    taps = np.floor(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)[None, :]
    parts = (np.arange(_PARTS) + 0.5) / _PARTS - 0.5
    weights = profile((taps[..., None] + parts - centres[:, None, None]) / thickness).mean(axis=2)
    weights /= weights.sum(axis=1, keepdims=True)
    return matrix_of_taps(taps, weights, length)


def _transition(ripple: float) -> float:
    """D of equal ripples in and beside the slice: time-bandwidth product times the width of the transition, in thicknesses (Pauly 1991, section V)."""
    level = log10(ripple)
    first = 5.309e-3 * level**2 + 7.114e-2 * level - 4.761e-1
    last = -2.66e-3 * level**2 - 5.941e-1 * level - 4.278e-1
    return first * level + last
