"""The end of a chain on a graphics card: bounds, what lay outside the trained range, and the scan's own numbers again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..resampling.bounds import FLAT_MARGIN, REACH, blocks_of_one_value, bounded_axes, margin_of, sources
from ..resampling.interpolation import sampling_matrix
from ..scan.intensity import IntensityScale
from .tiling import Region

_OUTSIDE = "linear"
#: dtypes that not every card converts -> (numpy, torch) of the same size, a wider one, and the bits
SAME_BITS = {"uint16": (np.int16, torch.int16, torch.int32, 0xFFFF), "uint32": (np.int32, torch.int32, torch.int64, 0xFFFFFFFF)}


class Finish:
    """From network units to the result's numbers, what lay outside the trained range added.

    Args:
        outside: of the block (D, H, W), or None.
        inside: the block as the networks take it.
        keep: the region of the block that is wanted.
        factors: along (k, j, i).
    """

    def __init__(self, intensities: IntensityScale, dtype: np.dtype, outside: Tensor | None, inside: Tensor, keep: Region, factors: Sequence[int]):
        self._intensities = intensities
        self._dtype = dtype
        self._bounds = _Bounds(inside, keep, factors)
        self._finite = torch.ones((), dtype=torch.bool, device=inside.device)
        self._outside: Tensor | None = None
        if outside is None:
            return
        depth, self._down, self._along = (
            line_matrix(length, factor, _OUTSIDE, outside)[a * factor : b * factor] for length, factor, (a, b) in zip(outside.shape, factors, keep)
        )
        self._outside = (depth @ outside.reshape(len(outside), -1)).reshape(-1, *outside.shape[1:])

    def watch(self, made: Tensor) -> None:
        """Remember whether there was a value that is no number; the device is not waited for."""
        self._finite &= torch.isfinite(made).all()

    @property
    def finite(self) -> bool:
        """Whether all that was watched was."""
        return bool(self._finite)

    def __call__(self, refined: Tensor, place: slice) -> Tensor:
        self.watch(refined)
        refined = self._bounds(refined, place)
        if self._outside is not None:
            refined = refined + self._down @ self._outside[place] @ self._along.T
        restored = refined * float(np.float32(self._intensities.span)) + float(np.float32(self._intensities.offset))
        if self._intensities.floor is not None:
            restored.clamp_(min=self._intensities.floor)
        if self._dtype.kind == "f":
            return restored
        limits = np.iinfo(self._dtype)
        if self._dtype.itemsize == 4:  # float32 cannot hold the limits of 32-bit integers
            restored = restored.double()
        rounded = restored.round_().clamp_(limits.min, limits.max)
        if self._dtype.name in SAME_BITS:
            _, same, wider, _ = SAME_BITS[self._dtype.name]
            return rounded.to(wider).to(same)
        return rounded.to(getattr(torch, self._dtype.name))


class _Bounds:
    """:mod:`superres3d.resampling.bounds` on the device, some slices at a time; arguments as :class:`Finish` takes them."""

    def __init__(self, inside: Tensor, keep: Region, factors: Sequence[int]):
        self._inside, self._keep, self._factors = inside, keep, factors
        self._margin = margin_of(factors)
        self._axes = bounded_axes(factors)
        edges = [3 if axis in self._axes else 1 for axis in (0, 1, 2)]
        self._window, self._padding = edges, [edge // 2 for edge in edges]

    def __call__(self, refined: Tensor, place: slice) -> Tensor:
        (begin, end), (top, bottom), (left, right) = self._keep
        slices = sources((end - begin) * self._factors[0], (begin, end), self._factors[0])[place]
        start = max(0, int(slices[0]) - REACH)
        slab = self._inside[start : int(slices[-1]) + REACH + 1][None]
        low, high = self._least(slab), self._most(slab)
        reach = high - low
        masked = blocks_of_one_value(slab[0], self._axes, torch.zeros_like(slab[0], dtype=torch.bool))[None] & (slab == self._least(low))
        beside = (self._least(self._least(reach)) == 0) | (self._most(self._most(masked.to(slab.dtype))) > 0)
        reach *= torch.where(beside, FLAT_MARGIN, self._margin)
        chosen = torch.from_numpy(slices - start).to(slab.device)
        for limit, function in ((low - reach, torch.maximum), (high + reach, torch.minimum)):
            finer = limit[0, :, top:bottom, left:right][chosen]
            for axis in (1, 2):
                finer = finer.repeat_interleave(self._factors[axis], axis) if self._factors[axis] > 1 else finer
            refined = function(refined, finer)
        return refined

    def _most(self, slab: Tensor) -> Tensor:
        return torch.nn.functional.max_pool3d(slab, self._window, 1, self._padding)

    def _least(self, slab: Tensor) -> Tensor:
        return -self._most(-slab)


def line_matrix(length: int, factor: int, kernel: str, like: Tensor) -> Tensor:
    """Interpolation of a line, (length * factor, length) float32."""
    return torch.from_numpy(sampling_matrix(length, length * factor, kernel).astype(np.float32)).to(like.device)
