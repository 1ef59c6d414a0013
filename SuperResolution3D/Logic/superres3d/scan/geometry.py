"""From a matrix of a file to the grid of a :class:`.volume.Volume`, and back."""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from .volume import Volume, triple

#: RAS (NIfTI, MGH) to LPS (DICOM, ITK) and back
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


class Grid(TypedDict):
    """The fields of a :class:`.volume.Volume` that place it."""

    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray


def grid_of(matrix: np.ndarray) -> Grid:
    """The grid of an LPS matrix (4, 4), index (i, j, k, 1) to millimetres; what makes no grid is refused later, by :func:`.volume.accepted`."""
    with np.errstate(all="ignore"):
        spacing = np.linalg.norm(matrix[:3, :3], axis=0)
        direction = matrix[:3, :3] / spacing
    return {"spacing": triple(spacing), "origin": triple(matrix[:3, 3]), "direction": direction}


def matrix_of(volume: Volume) -> np.ndarray:
    """The LPS matrix (4, 4) of a volume, index (i, j, k, 1) to millimetres."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(volume.direction) * np.asarray(volume.spacing)
    matrix[:3, 3] = volume.origin
    return matrix


def farthest(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> float:
    """How far two matrices (4, 4) put a corner of a grid apart, at most, in their unit; ``shape`` is (i, j, k)."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    with np.errstate(all="ignore"):  # what is absurd is refused later
        difference = (first - second)[:3, :3] @ corners + (first - second)[:3, 3:]
        return float(np.linalg.norm(difference, axis=0).max())
