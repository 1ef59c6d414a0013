"""From one grid to another over the same extent: an axis that becomes finer is interpolated, one that becomes coarser averaged.

>>> import numpy as np
>>> regrid_matrix(4, 2, "linear").sum(axis=1).tolist(), regrid_matrix(1, 2, "linear").tolist()
([1.0, 1.0], [[1.0], [1.0]])
"""

from __future__ import annotations

import math

import numpy as np

from .degradation import reduction_matrix
from .interpolation import KERNELS, sampling_matrix

_ROWS = 64  # of a matrix at once: each looks at few voxels of a line


def regrid_matrix(length: int, count: int, kernel: str) -> np.ndarray:
    """Matrix (count, length) that brings a line of voxels to ``count`` places over the same extent; rows sum to one.

    Args:
        length, count: voxels before and after; fewer are made by an antialiased bicubic (:func:`superres3d.resampling.degradation.reduction_matrix`).
        kernel: of :data:`superres3d.resampling.interpolation.KERNELS`, where they become more.
    """
    return sampling_matrix(length, count, kernel) if count >= length else reduction_matrix(length, length / count)


def regrid_reach(length: int, count: int, kernel: str) -> int:
    """Voxels of the line, either side of where a new voxel lies, that it depends on; what is rounded included."""
    if count == length:
        return 0
    return 2 + (KERNELS[kernel][1] if count > length else math.ceil(2 * length / count))


def apply_along(array: np.ndarray, axis: int, matrix: np.ndarray) -> np.ndarray:
    """A matrix (count, length), most of whose elements are zero, on an axis of an array of any shape; in the array's dtype, a float."""
    lines = np.moveaxis(array, axis, 0)
    given = np.ascontiguousarray(lines).reshape(len(lines), -1)
    made = np.empty((len(matrix), given.shape[1]), array.dtype)
    for first in range(0, len(matrix), _ROWS):
        rows = matrix[first : first + _ROWS]
        used = np.flatnonzero(rows.any(axis=0))
        columns = slice(used[0], used[-1] + 1)
        np.matmul(rows[:, columns].astype(array.dtype), given[columns], out=made[first : first + _ROWS])
    return np.moveaxis(made.reshape(len(matrix), *lines.shape[1:]), 0, axis)
