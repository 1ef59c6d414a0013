"""The end of a chain on a graphics card: bounds, what lay outside the trained range, and the scan's own numbers again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..resampling.bounds import FLAT_MARGIN, REACH, blocks_of_one_value, bounded_axes, margin_of, sources
from ..resampling.interpolation import sampling_matrix
from ..scan.intensity import IntensityScale
from .tiling import Region

_OUTSIDE = "linear"
_SLAB_VOXELS = 1 << 21  # whose bounds are found at once, beside REACH slices either side that they depend on
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
        self._finite &= torch.isfinite(torch.stack(torch.aminmax(made))).all()  # no map of its size beside it

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
    """:mod:`superres3d.resampling.bounds` on the device, some slices at a time; arguments as :class:`Finish` takes them.

    Results come in the order of their slices, a few at a time; the bounds of more slices of the scan are found at once and kept until all of them were asked for.
    """

    def __init__(self, inside: Tensor, keep: Region, factors: Sequence[int]):
        self._inside, self._keep, self._factors = inside, keep, factors
        self._margin = margin_of(factors)
        self._axes = bounded_axes(factors)
        self._together = max(1, _SLAB_VOXELS // inside[0].numel())
        self._sources = sources((keep[0][1] - keep[0][0]) * factors[0], keep[0], factors[0])
        self._sent = torch.from_numpy(self._sources).to(inside.device)  # once: to send a little for each chunk would wait for all that is under way
        self._known = (0, 0)
        self._limits: tuple[Tensor, Tensor] = (inside, inside)

    def __call__(self, refined: Tensor, place: slice) -> Tensor:
        first, last = int(self._sources[place][0]), int(self._sources[place][-1])
        if not self._known[0] <= first <= last < self._known[1]:
            self._known = first, max(last + 1, min(self._keep[0][1], first + self._together))
            self._limits = self._found(*self._known)
        chosen = self._sent[place] - self._known[0]
        low, high = (limit[chosen][:, :, None, :, None] for limit in self._limits)
        _, rows, columns = self._factors
        pixels = refined.unflatten(2, (-1, columns)).unflatten(1, (-1, rows))
        return torch.clamp(pixels, low, high).flatten(3, 4).flatten(1, 2)

    def _found(self, first: int, stop: int) -> tuple[Tensor, Tensor]:
        """The least and the most that a result in these slices may be, of the kept rows and columns."""
        start = max(0, first - REACH)
        slab = self._inside[start : stop + REACH]
        low, high = self._extreme(slab, torch.minimum), self._extreme(slab, torch.maximum)
        reach = high - low
        masked = blocks_of_one_value(slab, self._axes, torch.zeros_like(slab, dtype=torch.bool)) & (slab == self._extreme(low, torch.minimum))
        beside = self._extreme(self._extreme(reach, torch.minimum), torch.minimum) == 0
        beside |= self._extreme(self._extreme(masked, torch.logical_or), torch.logical_or)
        reach *= torch.where(beside, FLAT_MARGIN, self._margin)
        kept = (slice(first - start, stop - start), *(slice(*along) for along in self._keep[1:]))
        return low.sub_(reach)[kept], high.add_(reach)[kept]

    def _extreme(self, slab: Tensor, function: Callable[..., Tensor]) -> Tensor:
        """As :func:`superres3d.resampling.bounds.extreme`."""
        for axis in self._axes:
            rest = slab.shape[axis] - 1
            found = slab.clone()
            for here, there in ((1, 0), (0, 1)):
                part = found.narrow(axis, here, rest)
                function(part, slab.narrow(axis, there, rest), out=part)
            slab = found
        return slab


def line_matrix(length: int, factor: int, kernel: str, like: Tensor) -> Tensor:
    """Interpolation of a line, (length * factor, length) float32."""
    return torch.from_numpy(sampling_matrix(length, length * factor, kernel).astype(np.float32)).to(like.device)
