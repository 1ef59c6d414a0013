"""Random patches of real scans, and their low-resolution twins.

A sample is a high-resolution patch with a margin; degradation happens on the whole batch
and the margin is cut off, so that a patch is exactly what cutting it out of a degraded
scan would give.  Sample n depends on (seed, n) alone: a resumed run sees what an
uninterrupted one would have seen, with any number of workers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from ..degradation import antialiased_bicubic, antialiased_bicubic_matrix, cosine_matrices, gaussian_kernel_3, kspace_filter, kspace_truncation
from ..intensity import intensity_scale
from ..memory import usable_cores
from ..volume import find_volume, read_volume
from .recipe import Recipe

MARGIN = 3  # low-resolution pixels: two for the antialiased cubic kernel, one for the blur
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
        self._shape = ((rows + 2 * MARGIN) * recipe.scale, (columns + 2 * MARGIN) * recipe.factors[1])

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
        anywhere = name in self._recipe.all_axes
        if self._recipe.stage == "plane":
            across = int(random.integers(3)) if anywhere else 0
            lines = tuple(axis for axis in (0, 1, 2) if axis != across)
        else:
            depth = int(random.integers(3)) if anywhere else 0
            if self._coarse and random.random() < self._recipe.coarse_across:
                truncated = self._recipe.kspace_share and random.random() < self._recipe.kspace_share
                voxels = self._coarse[name, depth][1 if truncated else 0]
            others = [axis for axis in (0, 1, 2) if axis != depth]
            across = others.pop(int(random.integers(2)))
            lines = (depth, others[0])
        image = np.moveaxis(voxels, across, 0)[random.integers(voxels.shape[across])]
        if lines[0] > lines[1]:
            image = image.T
        return _window(image, self._shape, random)

    def _coarse_volumes(self) -> dict[tuple[str, int], list[np.ndarray]]:
        """What the depth network meets when it comes first: (name, depth axis) -> the scan at full depth, coarse in-plane by each way of losing detail."""
        ways = [antialiased_bicubic, kspace_truncation] if self._recipe.kspace_share else [antialiased_bicubic]
        coarse = {}
        for name, voxels in self._volumes:
            for depth in (0, 1, 2) if name in self._recipe.all_axes else (0,):
                factors = [self._recipe.scale] * 3
                factors[depth] = 1
                even = voxels[tuple(slice(length - length % factor) for length, factor in zip(voxels.shape, factors))]
                coarse[name, depth] = [way(even, tuple(factors)) for way in ways]
        return coarse

    def _turn(self, patch: np.ndarray, random: np.random.Generator) -> np.ndarray:
        if random.random() < 0.5:
            patch = patch[::-1]
        if random.random() < 0.5:
            patch = patch[:, ::-1]
        if patch.shape[0] == patch.shape[1] and self._recipe.stage == "plane" and random.random() < 0.5:
            patch = patch.T
        return patch


def _window(image: np.ndarray, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """A random window; an image smaller than the window is mirrored at its edges."""
    pads = [max(0, need - have) for need, have in zip(shape, image.shape)]
    if any(pads):
        image = np.pad(image, [(pad // 2, pad - pad // 2) for pad in pads], mode="symmetric")
    start = [int(random.integers(have - need + 1)) for need, have in zip(shape, image.shape)]
    return image[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]


class Degrader:
    """Turns a batch of high-resolution patches with margin into (low, high) pairs without it."""

    def __init__(self, recipe: Recipe):
        self._recipe = recipe
        rows, columns = recipe.patch_shape
        self._rows = _inner_matrix(rows, recipe.factors[0])
        self._columns = _inner_matrix(columns, recipe.factors[1])
        self._lines = tuple(zip((rows, columns), recipe.factors))

    def __call__(self, patches: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """
        Args:
            patches: (N, 1, H, W) with the margin of :data:`MARGIN` low-resolution pixels.
            random: for the blur, the k-space and the noise.

        Returns:
            low (N, 1, rows, columns), high (N, 1, rows * factor, columns * factor).
        """
        blurred = self._blur(patches, random)
        low = self._rows.to(patches) @ blurred @ self._columns.to(patches).T
        if self._recipe.kspace_share:
            low = self._truncated(low, blurred, random)
        row, column = (MARGIN * factor for factor in self._recipe.factors)
        return self._noisy(low, random), patches[..., row:-row, column:-column]

    def _truncated(self, low: Tensor, patches: Tensor, random: np.random.Generator) -> Tensor:
        """``low`` with a share of the patches as a scanner would have measured them with fewer phase encodings, some zero-filled or filtered."""
        chosen = torch.from_numpy(random.random(len(low)) < self._recipe.kspace_share).to(low.device)
        count = int(chosen.sum())
        rows, columns = (self._measured(length, factor, count, random).to(low) for length, factor in self._lines)
        low = low.clone()
        low[chosen] = rows @ patches[chosen] @ columns.transpose(-1, -2)
        return low

    def _measured(self, length: int, factor: int, count: int, random: np.random.Generator) -> Tensor:
        """(count, 1, length, padded length): one matrix a patch."""
        if factor == 1:
            return _inner_matrix(length, 1)[None, None]
        synthesis, analysis = cosine_matrices((length + 2 * MARGIN) * factor, factor)
        extent, pedestal = (np.where(random.random(count) < 0.5, 1.0, random.uniform(least, 1.0, count)) for least in (self._recipe.kspace_extent, self._recipe.kspace_pedestal))
        weights = kspace_filter(len(analysis), extent, pedestal)
        return torch.from_numpy((synthesis[MARGIN : MARGIN + length] * weights[:, None]) @ analysis)[:, None].float()

    def _noisy(self, low: Tensor, random: np.random.Generator) -> Tensor:
        """White noise, a standard deviation a patch, on a share of the patches: what a scanner adds after the detail is lost."""
        if not self._recipe.noise:
            return low
        sigma = random.uniform(0.0, self._recipe.noise, len(low)) * (random.random(len(low)) < self._recipe.noise_share)
        drawn = random.standard_normal(low.shape, dtype=np.float32) * sigma[:, None, None, None].astype(np.float32)
        return low + torch.from_numpy(drawn).to(low)

    def _blur(self, patches: Tensor, random: np.random.Generator) -> Tensor:
        """The 3x3 Gaussian of section III-C, a sigma a patch, on a share of the patches."""
        count = len(patches)
        sigma = np.full(count, self._recipe.blur_sigma)
        if self._recipe.blur_variable:
            sigma = random.uniform(0.0, self._recipe.blur_sigma, count)
        sigma = np.where(random.random(count) < self._recipe.blur_probability, sigma, 0.0)
        line = torch.from_numpy(gaussian_kernel_3(sigma)).to(patches)
        square = (line[:, :, None] * line[:, None, :])[:, None]
        images = functional.pad(patches.transpose(0, 1), (1, 1, 1, 1), mode="replicate")
        return functional.conv2d(images, square, groups=count).transpose(0, 1)


def _inner_matrix(length: int, factor: int) -> Tensor:
    """Antialiased bicubic of a padded line, only the ``length`` inner samples."""
    padded = (length + 2 * MARGIN) * factor
    if factor == 1:
        matrix = np.eye(padded)
    else:
        matrix = antialiased_bicubic_matrix(padded, factor)
    return torch.from_numpy(matrix[MARGIN : MARGIN + length].copy()).float()


def data_workers() -> int:
    """Processes that make samples beside the training: none where the processor trains, for it is busy; sample n is the same with any number."""
    return min(8, usable_cores() // 2) if torch.cuda.is_available() else 0


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
