"""Where to look twice: the places of a result with the largest errors to expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..scan.volume import Volume

COUNT = 10
APART_MM = 10.0
_CUBE = 4
_MOST = 20_000  # cubes that are looked at


@dataclass(frozen=True)
class Place:
    """One of them.

    Attributes:
        voxel_ijk: of the result.
        position_ras_mm: in the patient: right, anterior, superior.
        expected_error: in the scan's units.
    """

    voxel_ijk: tuple[int, int, int]
    position_ras_mm: tuple[float, float, float]
    expected_error: float

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"voxel_ijk": list(self.voxel_ijk), "position_ras_mm": [round(x, 2) for x in self.position_ras_mm], "expected_error": float(f"{self.expected_error:.4g}")}

    def words(self, unit: str) -> str:
        """For people, such as "about 120 HU at R 12.0, A 3.5, S 40.0 mm (voxel 10, 20, 30)"."""
        where = ", ".join(f"{names[x < 0]} {abs(x):.1f}" for names, x in zip(("RL", "AP", "SI"), self.position_ras_mm))
        return f"about {self.expected_error:.3g}{f' {unit}' if unit else ''} at {where} mm (voxel {', '.join(map(str, self.voxel_ijk))})"


def doubtful_places(volume: Volume, body: np.ndarray | None = None, count: int = COUNT, apart_mm: float = APART_MM) -> list[Place]:
    """The largest values of an error map, none nearer to another than a distance; largest first.

    Args:
        volume: the map.
        body: bool (k, j, i), where to look; None: everywhere.
        count: at most so many.
        apart_mm: the distance.
    """
    error = volume.voxels if body is None else np.where(body, volume.voxels, np.float32(0.0))
    found: list[tuple[tuple[int, ...], np.ndarray]] = []
    for index in _peaks(error):
        position = np.asarray(volume.position(index[::-1]))
        if all(np.linalg.norm(position - other) >= apart_mm for _, other in found):
            found.append((tuple(int(n) for n in index), position))
            if len(found) == count:
                break
    return [_place(index, position, float(error[index])) for index, position in found]


def inner(shape: Sequence[int], factors: Sequence[float]) -> np.ndarray:
    """All but the voxels that come of the scan's first and last along each axis that is refined: errors are always large there; bool (k, j, i).

    Args:
        shape: of the result.
        factors: of the refinement, along (k, j, i).
    """
    where = np.zeros(shape, bool)
    margins = [int(np.ceil(factor)) if factor > 1 else 0 for factor in factors]
    where[tuple(slice(margin, n - margin) for margin, n in zip(margins, shape))] = True
    return where


def _place(index: Sequence[int], lps: np.ndarray, error: float) -> Place:
    k, j, i = index
    return Place((i, j, k), (-float(lps[0]), -float(lps[1]), float(lps[2])), error)


def _peaks(error: np.ndarray) -> np.ndarray:
    """(n, 3): the largest voxel of each small cube, largest first; a voxel beside a larger one comes after it, and is too near to it to be taken."""
    cubes = [-(-n // _CUBE) for n in error.shape]
    padded = np.pad(error, [(0, cube * _CUBE - n) for cube, n in zip(cubes, error.shape)])
    parts = padded.reshape(cubes[0], _CUBE, cubes[1], _CUBE, cubes[2], _CUBE).transpose(0, 2, 4, 1, 3, 5).reshape(-1, _CUBE**3)
    within = parts.argmax(axis=1)
    values = parts[np.arange(len(parts)), within]
    best = np.argsort(-values, kind="stable")[: min(_MOST, int(np.count_nonzero(values > 0)))]
    return np.stack(np.unravel_index(best, cubes), axis=1) * _CUBE + np.stack(np.unravel_index(within[best], (_CUBE,) * 3), axis=1)
