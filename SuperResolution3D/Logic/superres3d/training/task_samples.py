"""Random crops of real scans for a network with several tasks: each step takes one task.

A crop is cut with a margin, degraded as one that is cut out of the degraded scan, and the margin
is cut off.  Beyond its border a scan goes on mirrored, as the degradation does it.
Step n depends on (seed, n) alone, as for the slices (:mod:`superres3d.training.samples`).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..resampling.degradation import antialiased_bicubic_matrix, gaussian_kernel_3, reduction_matrix, slice_profile_matrix
from ..resampling.interpolation import mirrored
from ..scan.images import find_volume, read_volume
from ..scan.intensity import intensity_scale
from ..scan.volume import find_slice_axis
from .recipe import MultiTaskRecipe

_MARGIN = 3  # low-resolution voxels: two for the antialiased cubic kernel, one for the blur
_TRIES = 8
_FLAT = 0.01  # a crop whose standard deviation is below this is mostly air
_PROFILE = (0.25, 0.45)  # sigma of a slice profile over the slices' distance: contiguous slices and thinner


class Batch(NamedTuple):
    """A step's samples: low (N, 1, D, H, W), high (N, 1, D * f0, H * f1, W * f2), both float32 in network units."""

    low: Tensor
    high: Tensor
    factors: tuple[int, int, int]


class Source(NamedTuple):
    """A scan, slices first, in network units.

    Attributes:
        sharp_slices: it may teach tasks that refine the slice axis.
        any_axis: each axis may be taken as the slice axis.
    """

    voxels: np.ndarray
    sharp_slices: bool
    any_axis: bool


class TaskBatches(Dataset):
    """A batch a step."""

    def __init__(self, recipe: MultiTaskRecipe, sources: list[Source], length: int, first: int = 0):
        self._recipe = recipe
        self._sources = sources
        self._sharp = [source for source in sources if source.sharp_slices]
        self._length = length
        self._first = first

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Batch:
        random = np.random.default_rng([self._recipe.seed, self._first + index])
        factors = self._recipe.tasks[random.integers(len(self._recipe.tasks))]
        pairs = [self.pair(factors, random) for _ in range(self._recipe.batch)]
        low, high = (torch.from_numpy(np.stack(images)[:, None]) for images in zip(*pairs))
        return Batch(low, high, factors)

    def pair(self, factors: tuple[int, int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One sample in network units, float32: low (D, H, W), and high, finer by ``factors``."""
        for _ in range(_TRIES):
            crop = self._cut(factors, random)
            if crop.std() > _FLAT:
                break
        recipe = self._recipe
        crop = _turned(crop, random) if recipe.augment_exact else crop
        if recipe.gamma > 1.0 and random.random() < 0.5:
            crop = np.sign(crop) * np.abs(crop) ** np.float32(_around_one(recipe.gamma, random))
        crop = crop * np.float32(_around_one(recipe.gain, random))
        return self._degraded(crop, factors, random)

    def _cut(self, factors: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
        sources = self._sharp if factors[0] > 1 else self._sources
        source = sources[random.integers(len(sources))]
        axis = int(random.integers(3)) if source.any_axis else 0
        voxels = np.moveaxis(source.voxels, axis, 0)
        places = []
        for length, low, factor in zip(voxels.shape, self._low_shape, factors):
            margin = _MARGIN * factor if factor > 1 else 0
            start = int(random.integers(max(0, length - low * factor) + 1))
            wanted = np.arange(start - margin, start + low * factor + margin)
            places.append(mirrored(wanted, length))
        return voxels[np.ix_(*places)]

    @property
    def _low_shape(self) -> tuple[int, int, int]:
        return self._recipe.patch_depth, self._recipe.patch, self._recipe.patch

    def _degraded(self, crop: np.ndarray, factors: tuple[int, int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        sigma = float(random.uniform(0.0, self._recipe.blur_sigma)) if random.random() < self._recipe.blur_probability else 0.0
        low, inner = crop, []
        for axis, (length, factor) in enumerate(zip(self._low_shape, factors)):
            margin = _MARGIN * factor if factor > 1 else 0
            inner.append(slice(margin, margin + length * factor))
            if factor == 1:
                continue
            profile = float(random.uniform(*_PROFILE)) if axis == 0 and random.random() < self._recipe.profile_share else 0.0
            matrix = _blurred(_inner_matrix(length, factor, profile), sigma)
            low = np.moveaxis(np.tensordot(matrix.astype(np.float32), low, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(low), np.ascontiguousarray(crop[tuple(inner)])


def load_sources(names: tuple[str, ...], recipe: MultiTaskRecipe, folder: Path) -> list[Source]:
    """Read scans into network units, each as it is and reduced.

    Raises:
        InputError: a name that matches no file or folder.
    """
    sources = []
    for name in names:
        volume = read_volume(find_volume(name, folder))
        scale = intensity_scale(volume.voxels, recipe.modality)
        axis = find_slice_axis(volume.spacing)
        voxels = np.moveaxis(scale.split(scale.normalise(volume.voxels))[0], axis, 0)
        any_axis = name in recipe.all_axes
        sharp = any_axis or name in recipe.through_plane
        sources.append(Source(voxels, sharp, any_axis))
        for factor in recipe.reductions:
            reduced = voxels
            for line in (0, 1, 2) if any_axis else (1, 2):
                matrix = reduction_matrix(reduced.shape[line], factor).astype(np.float32)
                reduced = np.moveaxis(np.tensordot(matrix, reduced, axes=(1, line)), 0, line)
            sources.append(Source(np.ascontiguousarray(reduced), sharp, any_axis))
    return sources


def _inner_matrix(length: int, factor: int, profile: float) -> np.ndarray:
    """Degradation of a line with margins, only the ``length`` inner samples."""
    padded = (length + 2 * _MARGIN) * factor
    whole = slice_profile_matrix(padded, factor, profile * factor) if profile else antialiased_bicubic_matrix(padded, factor)
    return whole[_MARGIN : _MARGIN + length]


def _blurred(matrix: np.ndarray, sigma: float) -> np.ndarray:
    """The degradation after the three-tap Gaussian of Georgescu 2020, section III-C."""
    if not sigma:
        return matrix
    side, middle, _ = gaussian_kernel_3(np.array([sigma]))[0]
    padded = np.pad(matrix, ((0, 0), (1, 1)))
    return middle * matrix + side * (padded[:, :-2] + padded[:, 2:])


def _turned(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Flips along all axes, and a quarter turn of the slices."""
    for axis in (0, 1, 2):
        if random.random() < 0.5:
            crop = np.flip(crop, axis)
    return crop.swapaxes(1, 2) if random.random() < 0.5 else crop


def _around_one(most: float, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(-np.log(most), np.log(most))))
