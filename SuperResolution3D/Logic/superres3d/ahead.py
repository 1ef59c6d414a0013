"""Are larger networks ahead on this very scan?  Asked one scale coarser, before they run.

Large networks know their training scans well, and may take another kind of scan for what it is not.  So a part of the scan is made coarser in two ways
and refined by the method and by the one that it is an alternative to; it is used where it comes closer to the scan in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from .resampling.degradation import antialiased_bicubic

Refine = Callable[[np.ndarray, str, str], np.ndarray]
#: the axes that a stage refines, and its factors along (slices, rows, columns)
_STAGES = {"plane": ("in-plane", (1, 2, 2)), "depth": ("through-plane", (2, 1, 1))}
_SLICES, _ROWS, _LEAST = 12, 48, 40  # slices, or rows of all slices, that are looked at; voxels along a refined axis


def smallest_gain(source: np.ndarray, stages: Iterable[str], method: str, other: str, refine: Refine) -> float | None:
    """By how many dB a method is ahead of another at least, over its stages and the ways of making the scan coarser; None if the scan is too small to tell.

    Args:
        source: the scan (slices, rows, columns).
        stages: of the method: "plane", "depth".
        method, other: names from the catalogue.
        refine: (coarse voxels float32, axes, method) -> refined voxels.
    """
    gains = []
    for stage in stages:
        axes, factors = _STAGES[stage]
        part = _part(source, stage, factors)
        if part is None:
            return None
        for coarse in (antialiased_bicubic(part, factors), _means(part, factors)):
            errors = [float(np.mean(np.square(refine(coarse.astype(np.float32), axes, name).astype(np.float64) - part))) for name in (method, other)]
            gains.append(10.0 * np.log10(max(errors[1], 1e-12) / max(errors[0], 1e-12)))
    return min(gains, default=None)


def _part(source: np.ndarray, stage: str, factors: tuple[int, int, int]) -> np.ndarray | None:
    """The middle of a scan, float64, its sizes multiples of the factors; None if it is too small."""
    axis, most = (0, _SLICES) if stage == "plane" else (1, _ROWS)
    first = max(0, (source.shape[axis] - most) // 2)
    part = source[(slice(None),) * axis + (slice(first, first + most),)]
    part = part[tuple(slice(0, n // factor * factor) for n, factor in zip(part.shape, factors))]
    large_enough = all(n >= _LEAST for n, factor in zip(part.shape, factors) if factor > 1)
    return part.astype(np.float64) if large_enough else None


def _means(part: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Of each block of voxels."""
    shape = [size for n, factor in zip(part.shape, factors) for size in (n // factor, factor)]
    return part.reshape(shape).mean(axis=(1, 3, 5))
