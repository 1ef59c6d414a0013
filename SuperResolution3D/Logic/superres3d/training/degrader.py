"""Low-resolution twins of high-resolution patches.

Three ways of losing detail: antialiased bicubic (Georgescu 2020); between slices a slice profile, as thick slices have; and a cut of the spectrum at the coarse
Nyquist frequency, as a scanner does that measures fewer lines of k-space, and zero-fills some.  The first two reach no farther than the patch's margin, so their result is exactly
what cutting the patch out of a degraded scan would give; the third rings as if the patch with its margin were mirrored at its edges.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..resampling.degradation import antialiased_bicubic_matrix, cosine_matrices, gaussian_kernel_3, spectral_window
from ..resampling.profiles import PROFILES, profile_matrix
from .recipe import Recipe

MARGIN = 3  # low-resolution pixels: two for the antialiased cubic kernel, one for the blur; a slice profile reaches as far
#: of slices, over their distance: from gaps to overlaps
THICKNESSES = {"gaussian": (0.6, 1.4), "box": (0.8, 1.2), "slr": (0.7, 1.1)}
_RINGING_MARGIN = 12  # for the edges beyond a patch whose ringing is seen in it


def margin_of(recipe: Recipe) -> int:
    """Low-resolution pixels around a patch that the :class:`Degrader` needs and cuts off."""
    return _RINGING_MARGIN if recipe.spectral_share else MARGIN


class _Line:
    """What happens along one direction of a patch: matrices that act on columns, float32."""

    def __init__(self, length: int, factor: int, margin: int):
        self.factor, self.margin, self.padded = factor, margin, length + 2 * margin
        self._inner = inner = slice(margin, margin + length)
        if factor == 1:  # not refined: the spectral way leaves it alone as well
            whole = np.eye(self.padded)
            average, synthesis, analysis, noise = whole, whole, whole, whole
        else:
            average = antialiased_bicubic_matrix(self.padded * factor, factor)
            synthesis, analysis = cosine_matrices(self.padded * factor, factor)
            noise = cosine_matrices(self.padded, 1)[1]
        self.average, self.synthesis = _tensor(average[inner]), _tensor(synthesis[inner])
        self.analysis, self.noise = _tensor(analysis), _tensor(noise)  # to frequencies: of the scan, and of noise on the coarse grid

    def averages(self, count: int, random: np.random.Generator) -> Tensor:
        """(count, pixels, fine pixels), a slice profile and a thickness drawn for each."""
        drawn = [(name, self.factor * random.uniform(*THICKNESSES[name])) for name in random.choice(list(THICKNESSES), count)]
        matrices = (profile_matrix(self.padded * self.factor, self.padded, PROFILES[name], thickness) for name, thickness in drawn)
        return torch.stack([_tensor(matrix[self._inner]) for matrix in matrices])

    def weights(self, extent: np.ndarray) -> np.ndarray:
        """(count, frequencies), one row a patch: 1 up to a share ``extent`` of them, 0 beyond."""
        return spectral_window(self.padded, np.ones_like(extent) if self.factor == 1 else extent, np.ones(()))


class Degrader:
    """Turns a batch of high-resolution patches with margin into (low, high) pairs without it."""

    def __init__(self, recipe: Recipe):
        self._recipe = recipe
        margin = margin_of(recipe)
        self._rows, self._columns = (_Line(length, factor, margin) for length, factor in zip(recipe.patch_shape, recipe.factors))

    def __call__(self, patches: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """
        Args:
            patches: (N, 1, H, W) with the margin of :func:`margin_of`.
            random: for the blur, the noise and the spectrum.

        Returns:
            low (N, 1, rows, columns), high (N, 1, rows * factor, columns * factor).
        """
        with torch.autocast(patches.device.type, enabled=False):  # half precision would round the scan itself
            blurred = self._blur(patches, random)
            noise = self._noise(patches, random)
            low = _both(self._rows.average, blurred, self._columns.average)
            thick = np.flatnonzero(random.random(len(patches)) < self._recipe.profile_share) if self._recipe.profile_share else ()
            if len(thick):
                low[thick] = _both(self._rows.averages(len(thick), random)[:, None], patches[thick], self._columns.average)
            if noise is not None:
                low = low + _cropped(noise, (self._rows.margin, self._columns.margin))
            if self._recipe.spectral_share:
                chosen = np.flatnonzero(random.random(len(patches)) < self._recipe.spectral_share)
                low[chosen] = self._measured(blurred[chosen], None if noise is None else noise[chosen], random)
        return low, _cropped(patches, (self._rows.margin * self._rows.factor, self._columns.margin * self._columns.factor))

    def _measured(self, patches: Tensor, noise: Tensor | None, random: np.random.Generator) -> Tensor:
        """As a scanner measures: no noise where nothing was measured; MR images are magnitudes.  No filters: see EXPERIMENTS.md."""
        count, rows, columns, recipe = len(patches), self._rows, self._columns, self._recipe
        spectrum = _both(rows.analysis, patches, columns.analysis)
        if noise is not None:
            spectrum = spectrum + _both(rows.noise, noise, columns.noise)
        partial = random.random(count) < 0.5
        along = [line.weights(np.where(partial, random.uniform(recipe.spectral_extent, 1.0, count), 1.0)) for line in (rows, columns)]
        weights = torch.from_numpy(along[0][:, None, :, None] * along[1][:, None, None, :]).to(spectrum)
        low = _both(rows.synthesis, spectrum * weights, columns.synthesis)
        return low.abs() if recipe.modality == "MR" else low

    def _noise(self, patches: Tensor, random: np.random.Generator) -> Tensor | None:
        """White noise for the low-resolution patches with margin, a standard deviation a patch, on a share of them: what a scan has of its own."""
        if not self._recipe.noise:
            return None
        count = len(patches)
        sigma = random.uniform(0.0, self._recipe.noise, count) * (random.random(count) < self._recipe.noise_share)
        drawn = random.standard_normal((count, 1, self._rows.padded, self._columns.padded), dtype=np.float32)
        return torch.from_numpy(drawn * sigma[:, None, None, None].astype(np.float32)).to(patches)

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


def _both(rows: Tensor, images: Tensor, columns: Tensor) -> Tensor:
    return rows.to(images) @ images @ columns.to(images).T


def _cropped(images: Tensor, edges: tuple[int, int]) -> Tensor:
    return images[..., edges[0] : -edges[0], edges[1] : -edges[1]]


def _tensor(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(matrix)).float()
