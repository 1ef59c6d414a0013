"""Random crops of real scans and their degraded twins, for the volumetric networks.

Sample n depends on (seed, n) alone, as for the slices (:mod:`superres3d.training.samples`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..resampling.degradation import antialiased_bicubic, kspace_truncation, slice_profile_matrix
from ..resampling.interpolation import resize, spline_matrix
from ..scan.images import find_volume, read_volume
from ..scan.intensity import intensity_scale
from ..scan.volume import find_slice_axis
from .recipe import BODY_PARTS, VolumeRecipe

KSPACE_FACTORS = (1, 2, 2)  # the paper's 2 x 2 x 1; the slice axis is first
_TRIES = 8
_FLAT = 0.01  # a crop whose standard deviation is below this is mostly air
_FEWEST_SLICES = 4
CONDITIONS = len(BODY_PARTS) + 4  # body part, interval and thickness, one-hot (Kudo 2019, section 3.4)


class Crops(NamedTuple):
    """A sample or a batch.

    Attributes:
        given: (..., 1, D, H, W), the degraded scan on the fine grid, in network units.
        truth: (..., 1, D, H, W).
        condition: (..., 8), one-hot; zeros where the degradation has none.
    """

    given: Tensor
    truth: Tensor
    condition: Tensor


def make_dataset(recipe: VolumeRecipe, volumes: dict[str, Scan], length: int, first: int = 0) -> KSpaceCrops | ThickSliceCrops:
    """The dataset of a recipe's degradation; samples are :class:`Crops`."""
    if recipe.degradation == "k-space":
        return KSpaceCrops(recipe, volumes, length, first)
    return ThickSliceCrops(recipe, volumes, length, first)


class Scan(NamedTuple):
    """Voxels (slice, row, column) in network units, and how far its slices are apart in millimetres."""

    voxels: np.ndarray
    slices_mm: float


class _Crops(Dataset):
    def __init__(self, recipe: VolumeRecipe, volumes: dict[str, Scan], length: int, first: int = 0):
        self._recipe = recipe
        self._names = list(volumes)
        self._length = length
        self.first = first

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Crops:
        random = np.random.default_rng([self._recipe.seed, self.first + index])
        for _ in range(_TRIES):
            given, truth, condition = self._cut(self._names[random.integers(len(self._names))], random)
            if truth.std() > _FLAT:
                break
        pair = np.stack([given, truth])
        if self._recipe.augment_exact:
            pair = _turned(pair, random)
        gain = np.log(self._recipe.gain)
        tensors = torch.from_numpy(pair * np.float32(np.exp(random.uniform(-gain, gain))))
        return Crops(tensors[:1], tensors[1:], torch.from_numpy(condition))

    def _cut(self, name: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raise NotImplementedError


class KSpaceCrops(_Crops):
    """Crops of whole scans that were degraded once (Chen 2020, section 3.4)."""

    def __init__(self, recipe: VolumeRecipe, volumes: dict[str, Scan], length: int, first: int = 0):
        super().__init__(recipe, volumes, length, first)
        self._pairs = {name: [_kspace_pair(voxels) for voxels in self._orientations(name, scan)] for name, scan in volumes.items()}

    def _orientations(self, name: str, scan: Scan) -> Iterator[np.ndarray]:
        for axis in (0, 1, 2) if name in self._recipe.all_axes else (0,):
            yield np.moveaxis(scan.voxels, axis, 0)

    def _cut(self, name: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given, truth = self._pairs[name][random.integers(len(self._pairs[name]))]
        shape = (self._recipe.patch_depth, self._recipe.patch, self._recipe.patch)
        start = [int(random.integers(max(0, have - need) + 1)) for have, need in zip(truth.shape, shape)]
        window = tuple(slice(begin, begin + need) for begin, need in zip(start, shape))
        return _filled(given[window], shape), _filled(truth[window], shape), np.zeros(CONDITIONS, np.float32)


class ThickSliceCrops(_Crops):
    """The Degrader (Kudo 2019, section 3.3): Gaussian profile, few slices, noise, spline back.

    Noise is put on the thick slices, where a scanner has it, not on the interpolated ones.
    """

    def __init__(self, recipe: VolumeRecipe, volumes: dict[str, Scan], length: int, first: int = 0):
        super().__init__(recipe, volumes, length, first)
        self._thin = {name: _thin_slices(scan, recipe.coarsest_slices_mm) for name, scan in volumes.items()}

    def _cut(self, name: str, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        recipe, thin = self._recipe, self._thin[name]
        factors = [f for f in recipe.slice_factors if len(thin) // f >= _FEWEST_SLICES] or [min(recipe.slice_factors)]
        factor = int(factors[random.integers(len(factors))])
        largest = recipe.slice_sigma * (factor / max(recipe.slice_factors) if recipe.sigma_grows else 1.0)
        sigma = float(random.uniform(recipe.least_sigma * largest, largest))
        length = len(thin) // factor * factor
        begin = int(random.integers(len(thin) - length + 1))
        start = [int(random.integers(max(0, have - recipe.patch) + 1)) for have in thin.shape[1:]]
        columns = (slice(start[0], start[0] + recipe.patch), slice(start[1], start[1] + recipe.patch))
        truth = thin[slice(begin, begin + length), columns[0], columns[1]]
        given = self._thick_and_back(truth, factor, sigma, random)
        shape = (recipe.patch_depth, recipe.patch, recipe.patch)
        top = int(random.integers(max(0, length - recipe.patch_depth) + 1))
        window = slice(top, top + recipe.patch_depth)
        return _filled(given[window], shape), _filled(truth[window], shape), self._condition(name, factor, sigma, largest)

    def _thick_and_back(self, truth: np.ndarray, factor: int, sigma: float, random: np.random.Generator) -> np.ndarray:
        """Thin slices (a multiple of ``factor``) as thick noisy ones that a spline brings back to the thin grid."""
        length = len(truth)
        flat = np.ascontiguousarray(truth).reshape(length, -1)
        thick = slice_profile_matrix(length, factor, sigma).astype(np.float32) @ flat
        noise = float(random.uniform(0.0, self._recipe.slice_noise))
        thick += noise * random.standard_normal(thick.shape, dtype=np.float32)
        return (spline_matrix(length // factor, length).astype(np.float32) @ thick).reshape(truth.shape)

    def _condition(self, name: str, factor: int, sigma: float, largest: float) -> np.ndarray:
        """Body part, narrow or wide interval, thin or thick profile."""
        condition = np.zeros(CONDITIONS, np.float32)
        if name in self._recipe.body_parts:
            condition[BODY_PARTS.index(self._recipe.body_parts[name])] = 1.0
        wide = factor > np.mean([min(self._recipe.slice_factors), max(self._recipe.slice_factors)])
        condition[len(BODY_PARTS) + int(wide)] = 1.0
        condition[len(BODY_PARTS) + 2 + int(sigma > largest * (1 + self._recipe.least_sigma) / 2)] = 1.0
        return condition


def load_scans(names: tuple[str, ...], folder: Path, modality: str) -> dict[str, Scan]:
    """Read scans into network units, slices first.

    Raises:
        InputError: a name that matches no file or folder.
    """
    scans = {}
    for name in names:
        volume = read_volume(find_volume(name, folder))
        axis = find_slice_axis(volume.spacing)
        scale = intensity_scale(volume.voxels, modality)
        voxels = scale.split(scale.normalise(np.moveaxis(volume.voxels, axis, 0)))[0]
        scans[name] = Scan(voxels, volume.spacing[2 - axis])
    return scans


def _kspace_pair(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(degraded and linearly interpolated, truth), cropped to whole factors."""
    truth = voxels[tuple(slice(0, n - n % f) for n, f in zip(voxels.shape, KSPACE_FACTORS))]
    return resize(kspace_truncation(truth, KSPACE_FACTORS), KSPACE_FACTORS, "linear"), truth


def _thin_slices(scan: Scan, coarsest_mm: float) -> np.ndarray:
    """The scan, or, where its slices are wide, the same reduced in-plane by two: a smaller body with thin slices."""
    if scan.slices_mm <= coarsest_mm:
        return scan.voxels
    even = scan.voxels[:, : scan.voxels.shape[1] // 2 * 2, : scan.voxels.shape[2] // 2 * 2]
    return antialiased_bicubic(even, (1, 2, 2))


def _filled(crop: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A crop of a scan that is smaller than it: mirrored at its edges."""
    missing = [need - have for need, have in zip(shape, crop.shape)]
    return np.pad(crop, [(0, n) for n in missing], mode="symmetric") if any(missing) else crop


def _turned(pair: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flips along all axes, and a quarter turn of the slices."""
    for axis in (1, 2, 3):
        if random.random() < 0.5:
            pair = np.flip(pair, axis)
    if random.random() < 0.5:
        pair = pair.swapaxes(2, 3)
    return np.ascontiguousarray(pair)
