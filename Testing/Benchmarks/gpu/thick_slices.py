"""Crops of thin slices and what thick ones make of them, on the device: the scans lie in its memory, and one matrix a sample, of a table, makes the slices thick."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pack
import torch
from superres3d.resampling.degradation import slice_profile_matrix
from superres3d.resampling.interpolation import spline_matrix
from superres3d.training.recipe import BODY_PARTS, VolumeRecipe
from torch import Tensor

_SIGMAS = 64  # widths of the slice profile between the least and the largest
_TRIES, _FLAT = 4, 0.01  # a crop whose standard deviation is below this is mostly air, and another is taken
_FEWEST_SLICES = 4  # thick ones of a scan


class Crops(NamedTuple):
    """A batch: ``given`` and ``truth`` (N, 1, D, H, W) float32 in network units, ``condition`` (N, 8)."""

    given: Tensor
    truth: Tensor
    condition: Tensor


class ThickSlices:
    """As :class:`superres3d.training.volume_samples.ThickSliceCrops`, on the device: one matrix a sample, of a table, makes the slices thick and brings them back.

    Args:
        scans: name -> whole numbers (slices, rows, columns) with thin slices, :data:`pack.CT_SPAN` for 1.
        recipe: any of the table's.
        batch: crops that are drawn at a time.
        device: of the tensors.
    """

    def __init__(self, scans: dict[str, np.ndarray], recipe: VolumeRecipe, batch: int, device: str):
        self._recipe, self._batch, self._device = recipe, batch, device
        self._flat = torch.cat([torch.from_numpy(values.astype(np.int16).reshape(-1)) for values in scans.values()]).to(device)
        self._offsets = self._numbers(np.cumsum([0, *(values.size for values in scans.values())])[:-1])
        self._shapes = self._numbers([values.shape for values in scans.values()])
        # (scan, factor, width) by number; a factor that leaves too few slices is replaced by the smallest
        factors = [[f if len(values) // f >= _FEWEST_SLICES else min(recipe.slice_factors) for f in recipe.slice_factors] for values in scans.values()]
        self._lengths = self._numbers([[len(values) // f * f for f in row] for values, row in zip(scans.values(), factors)])
        self._rows = int(self._lengths.max())
        self._thick = max(self._rows // f for f in recipe.slice_factors)
        tables = [self._tables(len(values) // f * f, f) for values, row in zip(scans.values(), factors) for f in row]
        self.matrices, self.splines = (torch.stack(table).to(device) for table in zip(*tables))
        self._parts = torch.eye(len(BODY_PARTS), device=device)[self._numbers([BODY_PARTS.index(recipe.body_parts[name]) for name in scans])]
        wide = [[int(f > np.mean([min(recipe.slice_factors), max(recipe.slice_factors)])) for f in row] for row in factors]
        self._either = torch.eye(2, device=device)
        self._wide = self._either[self._numbers(wide)]

    def _numbers(self, values: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, dtype=np.int64)).to(self._device)

    def _tables(self, length: int, factor: int) -> tuple[Tensor, Tensor]:
        """Of each width what thick slices and a spline make of a line, (widths, rows, rows), and the spline, (rows, thick); zeros fill them up."""
        recipe = self._recipe
        largest = recipe.slice_sigma * (factor / max(recipe.slice_factors) if recipe.sigma_grows else 1.0)
        spline = spline_matrix(length // factor, length)
        matrices, splines = torch.zeros(_SIGMAS, self._rows, self._rows), torch.zeros(self._rows, self._thick)
        for number in range(_SIGMAS):
            sigma = largest * (recipe.least_sigma + (1 - recipe.least_sigma) * (number + 0.5) / _SIGMAS)
            matrices[number, :length, :length] = torch.from_numpy(spline @ slice_profile_matrix(length, factor, sigma))
        splines[:length, : length // factor] = torch.from_numpy(np.array(spline))
        return matrices, splines

    def __call__(self) -> Crops:
        """A batch; waits for nothing, so it can be captured."""
        recipe, batch = self._recipe, self._batch
        scan, factor, width = self._below(torch.full((batch,), len(self._shapes), device=self._device)), self._below(len(recipe.slice_factors)), self._below(_SIGMAS)
        length, shape = self._lengths[scan, factor], self._shapes[scan]
        begin, top, lines, columns = self._places(scan, length, shape)
        kind = scan * len(recipe.slice_factors) + factor
        window = top[:, None] + torch.arange(recipe.patch_depth, device=self._device)
        # what of the scan lies beyond its last whole thick slice meets zeros of the matrix
        places = (begin[:, None] + torch.arange(self._rows, device=self._device)).minimum(shape[:, :1] - 1)
        whole = self._gathered(scan, shape, places, lines, columns).flatten(2)
        given = self.matrices[kind, width][torch.arange(batch, device=self._device)[:, None], window] @ whole
        noise = recipe.slice_noise * torch.rand(batch, 1, 1, device=self._device) * torch.randn(batch, self._thick, whole.shape[2], device=self._device)
        given = given + self.splines[kind][torch.arange(batch, device=self._device)[:, None], window] @ noise
        truth = whole.gather(1, window[:, :, None].expand(-1, -1, whole.shape[2]))
        pair = self._turned(torch.stack([given, truth], 1).unflatten(3, (recipe.patch, recipe.patch)))
        condition = torch.cat([self._parts[scan], self._wide[scan, factor], self._either[(width >= _SIGMAS // 2).long()]], 1)
        return Crops(pair[:, :1], pair[:, 1:], condition)

    def _below(self, most: Tensor | int) -> Tensor:
        """A random whole number for each sample."""
        count = most.shape if isinstance(most, Tensor) else (self._batch,)
        return (torch.rand(count, device=self._device) * most).long()

    def _places(self, scan: Tensor, length: Tensor, shape: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First slice of the whole, of the window in it, rows and columns (N, patch) of the first of some crops that is not flat."""
        recipe = self._recipe
        tries = [-1, _TRIES]
        begin = self._below((shape[:, :1] - length[:, None] + 1).expand(tries))
        top = self._below((length[:, None] - recipe.patch_depth + 1).expand(tries))
        first = [self._below((shape[:, axis, None] - recipe.patch + 1).expand(tries)) for axis in (1, 2)]
        line = torch.arange(recipe.patch, device=self._device)
        found = []
        for number in range(_TRIES):
            places = begin[:, number, None] + top[:, number, None] + torch.arange(0, recipe.patch_depth, 2, device=self._device)
            crop = self._gathered(scan, shape, places, *(start[:, number, None] + line[::2] for start in first))
            found.append(crop.flatten(1).std(1) > _FLAT)
        chosen = torch.stack(found, 1).float().argmax(1, keepdim=True)
        lines, columns = (start.gather(1, chosen) + line for start in first)
        return begin.gather(1, chosen)[:, 0], top.gather(1, chosen)[:, 0], lines, columns

    def _gathered(self, scan: Tensor, shape: Tensor, slices: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(N, slices, rows, columns) in network units."""
        index = (slices[:, :, None, None] * shape[:, 1, None, None, None] + rows[:, None, :, None]) * shape[:, 2, None, None, None] + columns[:, None, None, :]
        return self._flat[index + self._offsets[scan, None, None, None]].float() / pack.CT_SPAN

    def _turned(self, pair: Tensor) -> Tensor:
        """Flips along all axes, and a quarter turn of the slices, (N, 2, D, H, W)."""
        for axis in (2, 3, 4):
            pair = torch.where(self._coin(), pair.flip(axis), pair)
        return torch.where(self._coin(), pair.transpose(3, 4), pair)

    def _coin(self) -> Tensor:
        return torch.rand(self._batch, 1, 1, 1, 1, device=self._device) < 0.5
