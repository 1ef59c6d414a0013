"""How fast the detail of a scan falls off from scale to scale.

The scan is halved twice along the axes that are refined, and each time brought back by Lanczos: what is lost at the scan's own scale, over what is
lost one scale coarser.  A sharp or noisy scan loses as much or more there; a soft one little.  The errors of its own result go on about so, and how
surely they do differs: of soft scans far less is known (models/EXPERIMENTS.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..resampling.degradation import antialiased_bicubic_matrix
from ..resampling.interpolation import resize
from ..resampling.regridding import apply_along
from .body import body_mask

_MOST = 128  # voxels along each axis: a central part
_LEAST = 3  # voxels along an axis that was halved twice; a shorter one is left as it is
_FEWEST = 500  # voxels inside the body


def fall_of(scan: np.ndarray, refined: Sequence[int], modality: str) -> float | None:
    """The logarithm of that ratio; None for a scan that is too small or too empty.

    Args:
        scan: (slices, rows, columns), any real dtype.
        refined: numbers of the axes.
        modality: "CT" or "MR".
    """
    refined = [axis for axis in refined if scan.shape[axis] >= 4 * _LEAST]
    if not refined:
        return None
    here = _middle(scan, refined)
    if here.min() == here.max():
        return None
    coarse = _halved(here, refined)
    own, coarser = _lost(here, coarse, refined, modality), _lost(coarse, _halved(coarse, refined), refined, modality)
    return float(np.log(own / coarser)) if own and coarser else None


def _middle(scan: np.ndarray, refined: Sequence[int]) -> np.ndarray:
    sizes = [min(n, _MOST) // 4 * 4 if axis in refined else min(n, _MOST) for axis, n in enumerate(scan.shape)]
    return scan[tuple(slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(scan.shape, sizes))].astype(np.float32)


def _halved(array: np.ndarray, refined: Sequence[int]) -> np.ndarray:
    for axis in refined:
        array = apply_along(array, axis, antialiased_bicubic_matrix(array.shape[axis], 2).astype(np.float32))
    return array


def _lost(array: np.ndarray, halved: np.ndarray, refined: Sequence[int], modality: str) -> float:
    """Root of the mean square inside the body; 0 where there is too little of it."""
    body = body_mask(array, modality)
    if np.count_nonzero(body) < _FEWEST:
        return 0.0
    lost = (array - resize(halved, tuple(2 if axis in refined else 1 for axis in range(3)), "lanczos"))[body]
    return float(np.sqrt(np.mean(np.square(lost, dtype=np.float64))))
