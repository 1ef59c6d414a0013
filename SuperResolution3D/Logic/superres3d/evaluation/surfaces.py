"""Surfaces that are read off CT: bone, lung, and the vessels in the lung, by their Hounsfield units (marching cubes)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

TOLERANCE_MM = 0.5
_BONE_HU, _LUNG_HU, _VESSEL_HU = 200.0, -500.0, -500.0
_LEAST_LUNG_ML, _LEAST_POINTS = 50.0, 2000
_AROUND_MM, _INSIDE_MM = 5.0, 2.0
STATEMENT = (
    f"Surfaces of CT by marching cubes: bone above {_BONE_HU:g} HU, lung below {_LUNG_HU:g} HU (within {_AROUND_MM:g} mm of the truth's lungs), vessels above {_VESSEL_HU:g} HU "
    f"deeper than {_INSIDE_MM:g} mm in the truth's lungs; where is looked is the truth's for all methods, so that membership of parts decides nothing. "
    f"Told is the share of both surfaces that lies within {TOLERANCE_MM:g} mm of the other's (surface Dice at that tolerance; Nikolov 2021), by the areas of the triangles, and the volume over the truth's. "
    f"Lungs of less than {_LEAST_LUNG_ML:g} ml, and surfaces of fewer than {_LEAST_POINTS:,} points, are left out.",
)


class _Surface(NamedTuple):
    """Points on a surface, in mm, with the area that each stands for."""

    points: np.ndarray
    areas: np.ndarray


def prepare_surfaces(truth: np.ndarray, spacing: Sequence[float]) -> Callable[[np.ndarray], dict[str, float]]:
    """A function that compares voxels on the truth's grid with it: for each surface that the truth has ``<name>_surface`` (0 to 1) and ``<name>_volume`` (1 is the truth's).

    Args:
        truth: (k, j, i), HU.
        spacing: millimetres along (k, j, i).
    """
    places = {name: (level, where) for name, level, where in _places(truth, spacing)}
    surfaces = {name: _surface(truth, level, where, spacing) for name, (level, where) in places.items()}
    kept = {name: surface for name, surface in surfaces.items() if surface is not None and len(surface.points) >= _LEAST_POINTS}

    def compare(voxels: np.ndarray) -> dict[str, float]:
        values = {}
        for name, surface in kept.items():
            level, where = places[name]
            other = _surface(voxels, level, where, spacing)
            values[f"{name}_surface"] = 0.0 if other is None else _share_within(surface, other)
            values[f"{name}_volume"] = _volume(voxels, level, where, name) / _volume(truth, level, where, name)
        return values

    return compare


def _places(truth: np.ndarray, spacing: Sequence[float]) -> list[tuple[str, float, np.ndarray]]:
    """Name, level and where it is looked for."""
    found = [("bone", _BONE_HU, np.ones(truth.shape, bool))]
    lungs = _lungs(truth, spacing)
    if lungs.any():
        outside, inside = (ndimage.distance_transform_edt(mask, sampling=spacing) for mask in (~lungs, lungs))
        found += [("lung", _LUNG_HU, outside <= _AROUND_MM), ("vessel", _VESSEL_HU, inside > _INSIDE_MM)]
    return found


def _lungs(truth: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Air that is cut off from the slices' edges, with the vessels in it."""
    parts, count = ndimage.label(truth < _LUNG_HU)
    edges = {int(label) for axis in (1, 2) for end in (0, -1) for label in np.unique(parts.take(end, axis=axis))}
    sizes = np.bincount(parts.ravel(), minlength=count + 1) * float(np.prod(spacing)) / 1000.0
    kept = [label for label in range(1, count + 1) if label not in edges and sizes[label] >= _LEAST_LUNG_ML]
    lungs = np.isin(parts, kept)
    return np.stack([ndimage.binary_fill_holes(image) for image in lungs]) if kept else lungs


def _surface(voxels: np.ndarray, level: float, where: np.ndarray, spacing: Sequence[float]) -> _Surface | None:
    """None where there is none."""
    inside = voxels[where]
    if not inside.size or not float(inside.min()) < level < float(inside.max()):
        return None
    try:
        corners, faces, _, _ = marching_cubes(voxels.astype(np.float32), level, spacing=tuple(spacing), mask=where)
    except RuntimeError:  # no cube of the place holds the level
        return None
    triangles = corners[faces]
    areas = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1) / 2.0
    return _Surface(triangles.mean(axis=1), areas)


def _share_within(first: _Surface, second: _Surface) -> float:
    near = [cKDTree(there.points).query(here.points, distance_upper_bound=TOLERANCE_MM)[0] <= TOLERANCE_MM for here, there in ((first, second), (second, first))]
    close = float(first.areas[near[0]].sum() + second.areas[near[1]].sum())
    return close / float(first.areas.sum() + second.areas.sum())


def _volume(voxels: np.ndarray, level: float, where: np.ndarray, name: str) -> float:
    inside = voxels[where] < level if name == "lung" else voxels[where] > level
    return float(np.count_nonzero(inside))
