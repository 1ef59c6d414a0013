"""A line brought to fewer voxels by leaving out the frequencies that it does not hold: what zero-filling added is taken away again.

The line is continued by its mirror image (half-sample symmetric), so its transform is the cosine transform (DCT-II): the first voxel and the last
have nothing to do with each other, and the new voxels fill exactly the same extent.

>>> import numpy as np
>>> cropped_matrix(6, 3).sum(axis=1).round(9).tolist()
[1.0, 1.0, 1.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from .regridding import apply_along


@lru_cache(maxsize=8)
def cropped_matrix(length: int, count: int) -> np.ndarray:
    """Matrix (count, length), ``count <= length``: the lowest ``count`` frequencies of a line, at the centres of ``count`` voxels over the same extent."""
    frequencies = np.arange(count)
    analysis = np.cos(np.pi * np.outer(frequencies, (np.arange(length) + 0.5) / length)) / length
    synthesis = np.cos(np.pi * np.outer((np.arange(count) + 0.5) / count, frequencies)) * np.where(frequencies, 2.0, 1.0)
    matrix = synthesis @ analysis
    matrix.setflags(write=False)
    return matrix


def cropped(voxels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An array on a coarser grid over the same extent, float32; within the range of its values, beyond which cut spectra ring.

    Args:
        voxels: any axes, any real dtype.
        shape: wanted, at most that of ``voxels``.
    """
    made = voxels.astype(np.float32)
    for axis, (length, count) in enumerate(zip(voxels.shape, shape)):
        if count < length:
            made = apply_along(made, axis, cropped_matrix(length, count))
    return np.clip(made, np.float32(voxels.min()), np.float32(voxels.max()))
