"""Random patches of real scans.

A sample is a high-resolution patch with a margin; degradation happens on the whole batch
and cuts the margin off (:mod:`.degrader`).  Sample n depends on (seed, n) alone: a resumed run sees what an
uninterrupted one would have seen, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..engine.memory import usable_cores
from ..resampling.degradation import antialiased_bicubic, kspace_truncation
from ..scan.images import find_volume, read_volume
from ..scan.intensity import intensity_scale
from .degrader import MARGIN, margin_of
from .recipe import Recipe

if TYPE_CHECKING:
    from lightning import LightningDataModule

_TRIES = 8
_FLAT = 0.01  # a patch whose standard deviation is below this is mostly air


class PatchDataset(Dataset):
    """High-resolution patches with margin, (1, rows, columns) float32 in network units."""

    def __init__(self, recipe: Recipe, volumes: dict[str, np.ndarray], length: int, first: int = 0):
        self._recipe = recipe
        self._volumes = list(volumes.items())
        shares = np.array([recipe.shares.get(name, 1.0) for name in volumes])
        self._shares = shares / shares.sum()
        self._coarse = self._coarse_volumes() if recipe.stage == "depth" and recipe.coarse_across else {}
        self._length = length
        self._first = first
        rows, columns = recipe.patch_shape
        margin = margin_of(recipe)
        self._overhang = tuple((margin - MARGIN) * factor for factor in recipe.factors)
        self._shape = ((rows + 2 * margin) * recipe.scale, (columns + 2 * margin) * recipe.factors[1])

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Tensor:
        random = np.random.default_rng([self._recipe.seed, self._first + index])
        for _ in range(_TRIES):
            patch = self._cut(random)
            if patch.std() > _FLAT:
                break
        if self._recipe.augment_exact:
            patch = self._turn(patch, random)
        gain = np.log(self._recipe.gain)
        patch = patch * np.float32(np.exp(random.uniform(-gain, gain)))
        return torch.from_numpy(np.ascontiguousarray(patch)[None])

    def _cut(self, random: np.random.Generator) -> np.ndarray:
        name, voxels = self._volumes[random.choice(len(self._volumes), p=self._shares)]
        across = int(random.integers(3)) if name in self._recipe.all_axes else 0
        if self._recipe.stage == "plane":
            rows, columns = (axis for axis in (0, 1, 2) if axis != across)
        else:
            rows, voxels = across, self._met_by_depth(name, across, voxels, random)
            others = [axis for axis in (0, 1, 2) if axis != rows]
            across = others.pop(int(random.integers(2)))
            columns = others[0]
        image = np.moveaxis(voxels, across, 0)[random.integers(voxels.shape[across])]
        return _window(image.T if rows > columns else image, self._shape, self._overhang, random)

    def _met_by_depth(self, name: str, depth: int, voxels: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """The scan, or on a share of the samples one of its coarse versions."""
        if not self._coarse or random.random() >= self._recipe.coarse_across:
            return voxels
        ways = self._coarse[name, depth]
        return ways[-1] if len(ways) > 1 and random.random() < self._recipe.spectral_share else ways[0]

    def _coarse_volumes(self) -> dict[tuple[str, int], list[np.ndarray]]:
        """What the depth network meets when it comes first: (name, depth axis) -> the scan at full depth, coarse in-plane; averaged, and truncated where the recipe asks for that.

        Which of them is drawn does not depend on what becomes of the depth: slices are averages of a thickness also where the pixels were measured in k-space.
        """
        coarse = {}
        for name, voxels in self._volumes:
            for depth in (0, 1, 2) if name in self._recipe.all_axes else (0,):
                factors = [self._recipe.scale] * 3
                factors[depth] = 1
                coarse[name, depth] = [antialiased_bicubic(voxels, tuple(factors))]
                if self._recipe.spectral_share:
                    even = voxels[tuple(slice(length - length % factor) for length, factor in zip(voxels.shape, factors))]
                    coarse[name, depth].append(kspace_truncation(even, tuple(factors)))
        return coarse

    def _turn(self, patch: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() < 0.5:
            patch = patch[::-1]
        if random.random() < 0.5:
            patch = patch[:, ::-1]
        if patch.shape[0] == patch.shape[1] and self._recipe.stage == "plane" and random.random() < 0.5:
            patch = patch.T
        return patch


def _window(image: np.ndarray, shape: tuple[int, int], overhang: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """A random window, which may reach over the edges by ``overhang``; an image is mirrored there, and where it is smaller than the window."""
    pads = [max(2 * over, need - have) for over, need, have in zip(overhang, shape, image.shape)]
    if any(pads):
        image = np.pad(image, [(pad // 2, pad - pad // 2) for pad in pads], mode="symmetric")
    start = [int(random.integers(have - need + 1)) for need, have in zip(shape, image.shape)]
    return image[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]


def data_workers() -> int:
    """Processes that make samples beside the training: none where the processor trains, for it is busy; sample n is the same with any number."""
    return min(8, usable_cores() // 2) if torch.cuda.is_available() else 0


def epoch_of(data: LightningDataModule) -> int:
    """The number of the training's epoch, from 0, whose samples are asked for."""
    assert data.trainer is not None, "samples are asked for by a trainer"
    return data.trainer.current_epoch


def load_volumes(names: tuple[str, ...], folder: Path, modality: str) -> dict[str, np.ndarray]:
    """Read scans into network units: name -> (k, j, i) float32.

    Raises:
        InputError: a name that matches no file or folder.
    """
    volumes = {}
    for name in names:
        path = find_volume(name, folder)
        voxels = read_volume(path).voxels
        scale = intensity_scale(voxels, modality)
        volumes[name] = scale.split(scale.normalise(voxels))[0]
    return volumes
