"""Pairs of coarse and fine crops, drawn, turned and degraded on the device: the scans lie in its memory, there is no loader.

A crop is one gather: flips, the choice of the slice axis and the mirror image beyond a scan's border are arithmetic on its indices.  Its loss of
detail along an axis is one matrix a sample, so that one batch mixes several ways of losing it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from superres3d.detail.estimator import FREQUENCIES
from superres3d.resampling.degradation import antialiased_bicubic_matrix, cosine_matrices, interval_means
from torch import Tensor

MARGIN = 6  # coarse voxels around a crop: two for the cubic kernel and one for the blur; a cut spectrum rings as far as there is room
_PROBES = 5  # points a side at which a crop is looked at before it is taken
_CANDIDATES = 3  # for each crop
_PIXEL = (0.6 / 2.355, 1.4 / 2.355)  # as Losses.profile, within the slices
_FLAT = 0.02  # standard deviation, in network units, below which a crop is mostly air

Factors = tuple[int, int, int]


@dataclass(frozen=True)
class Losses:
    """Shares of the samples that lose their detail in each way, and how much noise they have.

    Attributes:
        gaussian: within slices, Gaussian profiles or means; between slices, Gaussian slice profiles or means.
        spectral: within slices (MR also between them), a cut spectrum.
        zero_filled: of the spectral ones, those that were measured less far.
        filtered: of the spectral ones, those with a window from Hann to none.
        noise: upper end of the standard deviation of white noise on the coarse voxels, in network units.
        noise_share: of the samples that have it.
        spectral_slices: whether slices may be partitions measured in k-space.
        magnitude: whether measured images are magnitudes.
        filtered_slices: of the samples, those whose spectrum between slices has such a window, too.
        profile: range of the sigma of a slice profile over the distance of the slices.
        gain, gamma: intensities are multiplied by exp(U(-log, log)), and raised to such a power.
    """

    gaussian: float = 0.15
    spectral: float = 0.25
    zero_filled: float = 0.5
    filtered: float = 0.2
    noise: float = 0.02
    noise_share: float = 0.3
    spectral_slices: bool = True
    magnitude: bool = True
    filtered_slices: float = 0.0
    profile: tuple[float, float] = (0.22, 0.48)
    gain: float = 1.5
    gamma: float = 1.3


LOSSES = {"MR": Losses(), "CT": Losses(spectral=0.15, filtered=0.1, noise=0.012, spectral_slices=False, magnitude=False, gamma=1.0)}


class Drawn(NamedTuple):
    """Crops of scans.

    Attributes:
        crops: (N, D, H, W) float32 in network units.
        scan: (N,) the number of the scan that each is from.
        order: (N, 3) which of its axes each axis of the crop is.
    """

    crops: Tensor
    scan: Tensor
    order: Tensor


class DeviceScans:
    """Scans in one flat tensor on the device.  Drawing from it copies nothing to the device and waits for nothing, so it can be captured.

    Args:
        volumes: whole numbers (slices, rows, columns), each with (sharp slices, any axis, share).
        span: the whole number that is 1 in network units.
        device: of the tensors.
    """

    def __init__(self, volumes: list[tuple[np.ndarray, bool, bool, float]], span: int, device: str):
        self.device = device
        self.span = span
        self._flat = torch.cat([torch.from_numpy(np.ascontiguousarray(values).reshape(-1).astype(np.int16 if values.dtype == np.uint16 else values.dtype)) for values, *_ in volumes]).to(device)
        sizes = [values.size for values, *_ in volumes]
        self._offsets = torch.tensor(np.concatenate([[0], np.cumsum(sizes)[:-1]]), device=device)
        self._shapes = torch.tensor([values.shape for values, *_ in volumes], device=device)
        self._strides = torch.tensor([(values.shape[1] * values.shape[2], values.shape[2], 1) for values, *_ in volumes], device=device)
        self._any_axis = torch.tensor([any_axis for *_, any_axis, _ in volumes], device=device)
        shares = torch.tensor([share for *_, share in volumes], dtype=torch.float64)
        sharp = torch.tensor([sharp for _, sharp, *_ in volumes], dtype=torch.float64)
        self._bounds = {alone: (kept.cumsum(0) / kept.sum().clamp(min=1e-9)).float().to(device) for alone, kept in ((False, shares), (True, shares * sharp))}
        self._last = len(volumes) - 1
        # slice axis first: as it is; rows and columns exchanged; with each other axis in its place
        self._orders = torch.tensor([(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)], device=device)

    def crops(self, count: int, inner: Factors, margins: Factors, refines_slices: bool, turn: bool = True) -> Tensor:
        """Random crops (count, D, H, W) float32 in network units, see :meth:`drawn`."""
        return self.drawn(count, inner, margins, refines_slices, turn).crops

    def drawn(self, count: int, inner: Factors, margins: Factors, refines_slices: bool, turn: bool = True) -> Drawn:
        """Random crops, and where they are from.

        Args:
            count: of crops.
            inner: voxels (D, H, W) that lie within a scan where it is large enough.
            margins: voxels around them, mirrored at a scan's border.
            refines_slices: only scans with sharp slices.
            turn: flips and exchanged axes.
        """
        tried = count * _CANDIDATES
        scan = torch.searchsorted(self._bounds[refines_slices], torch.rand(tried, device=self.device), right=True).clamp(max=self._last)
        most = 2 + 4 * self._any_axis[scan] if turn else torch.ones_like(scan)
        order = self._orders[(torch.rand(tried, device=self.device) * most).long()]
        shape, stride = self._shapes[scan].gather(1, order), self._strides[scan].gather(1, order)
        room = torch.stack([(shape[:, axis] - length).clamp(min=0) + 1 for axis, length in enumerate(inner)], 1)
        start = (torch.rand(tried, 3, device=self.device) * room).long()
        flip = torch.rand(tried, 3, device=self.device) < (0.5 if turn else 0.0)
        probes = [(torch.linspace(0.1, 0.9, _PROBES, device=self.device) * n).long() for n in inner]
        flat = self._gather(scan, shape, stride, start, flip, probes).flatten(1).std(1) < _FLAT
        chosen = torch.topk(-(flat.float() + 0.5 * torch.rand(tried, device=self.device)), count).indices
        lines = [torch.arange(-m, n + m, device=self.device) for n, m in zip(inner, margins)]
        return Drawn(self._gather(*(table[chosen] for table in (scan, shape, stride, start, flip)), lines), scan[chosen], order[chosen])

    def _gather(self, scan: Tensor, shape: Tensor, stride: Tensor, start: Tensor, flip: Tensor, lines: list[Tensor]) -> Tensor:
        index = self._offsets[scan][:, None, None, None]
        for axis, line in enumerate(lines):
            length = shape[:, axis, None]
            place = torch.remainder(start[:, axis, None] + line, 2 * length)
            place = torch.where(place < length, place, 2 * length - 1 - place)
            place = torch.where(flip[:, axis, None], length - 1 - place, place)
            view = [len(scan), 1, 1, 1]
            view[axis + 1] = len(line)
            index = index + (place * stride[:, axis, None]).view(view)
        return self._flat[index].float() / self.span


class Pairs(NamedTuple):
    """A batch.

    Attributes:
        low: (N, 1, D, H, W) float32 in network units.
        high: (N, 1, D * f0, H * f1, W * f2).
        noise: what of ``low`` is noise.
        transfer: (N, refined axes, 4): share of the scan's own detail that is left at :data:`FREQUENCIES`.
        sigma: (N,) standard deviation of the noise before the scanner's filter.
    """

    low: Tensor
    high: Tensor
    noise: Tensor
    transfer: Tensor
    sigma: Tensor


class Degrader:
    """Coarse twins of fine crops: each sample, along each axis, by a matrix of its own.

    Args:
        low_shape: coarse voxels (D, H, W) of a sample.
        factors: along (slices, rows, columns).
        losses: how detail is lost.
        device: of the tensors.
        margin: coarse voxels around a sample along the refined axes.
    """

    def __init__(self, low_shape: Factors, factors: Factors, losses: Losses, device: str, margin: int = MARGIN):
        self.low_shape, self.factors, self.losses, self.device, self.margin = low_shape, factors, losses, device, margin
        self._lines = [_Line(length, factor, device, margin) if factor > 1 else None for length, factor in zip(low_shape, factors)]

    @property
    def inner(self) -> Factors:
        """Fine voxels of a crop."""
        (d, h, w), (slices, rows, columns) = self.low_shape, self.factors
        return d * slices, h * rows, w * columns

    @property
    def margins(self) -> Factors:
        """Fine voxels around it."""
        slices, rows, columns = (self.margin * factor if factor > 1 else 0 for factor in self.factors)
        return slices, rows, columns

    def __call__(self, crops: Tensor) -> Pairs:
        """Of crops with :attr:`margins`: intensities varied, detail lost, noise added."""
        crops = self._varied(crops)
        count, losses = len(crops), self.losses
        kind = self._uniform(count)
        spectral, averaged = kind < losses.spectral, kind > 1.0 - losses.gaussian
        extent = self._extent(count)
        window = 1.0 - 0.5 * self._uniform(count) * (self._uniform(count) < losses.filtered)
        sigma = losses.noise * self._uniform(count) * (self._uniform(count) < losses.noise_share)
        low, transfers = crops, []
        noise = self._white(count) * sigma[:, None, None, None]
        for axis, line in enumerate(self._lines):
            if line is None:
                continue
            cut = spectral if axis > 0 or losses.spectral_slices else torch.zeros_like(spectral)
            # Each direction is measured as far as it is; slices are partitions, seldom with a filter, or means.
            along = extent if axis == 1 else self._extent(count)
            filtered = window if axis > 0 else torch.where(self._uniform(count) < losses.filtered_slices, window, torch.ones_like(window))
            profile = losses.profile if axis == 0 else _PIXEL
            matrix, passed = line.matrices(cut, averaged, along, filtered, self._uniform(count), self._uniform(count), profile)
            low, noise = _along(matrix, low, axis), _along(passed, noise, axis)
            transfers.append(line.transfer(matrix))
        low = low + noise
        if losses.magnitude:
            low = torch.where(spectral[:, None, None, None], low.abs(), low)
        high = crops[(slice(None), *(slice(m, m + n) for m, n in zip(self.margins, self.inner)))]
        return Pairs(low[:, None], high[:, None], noise[:, None], torch.stack(transfers, 1), sigma)

    def _white(self, count: int) -> Tensor:
        """Noise of standard deviation 1 on the coarse voxels with their margin."""
        shape = [n + 2 * self.margin if f > 1 else n for n, f in zip(self.low_shape, self.factors)]
        return torch.randn(count, *shape, device=self.device)

    def _varied(self, crops: Tensor) -> Tensor:
        losses = self.losses
        if losses.gamma > 1.0:
            power = torch.exp(math.log(losses.gamma) * (2 * self._uniform(len(crops)) - 1) * (self._uniform(len(crops)) < 0.5))
            crops = crops.clamp(min=0.0) ** power[:, None, None, None]
        return crops * torch.exp(math.log(losses.gain) * (2 * self._uniform(len(crops)) - 1))[:, None, None, None] if losses.gain > 1.0 else crops

    def _extent(self, count: int) -> Tensor:
        """Share of the frequencies that was measured."""
        return 1.0 - 0.45 * self._uniform(count) * (self._uniform(count) < self.losses.zero_filled)

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, device=self.device)


class _Line:
    """The ways of losing detail along one axis, as matrices (length, padded fine length) for the inner coarse samples."""

    def __init__(self, length: int, factor: int, device: str, margin: int = MARGIN):
        self._length, self._factor, self._device, self._margin = length, factor, device, margin
        self._padded = length + 2 * margin
        inner = slice(margin, margin + length)
        angles = torch.tensor(FREQUENCIES)[:, None] * (math.pi / factor) * torch.arange(self._padded * factor)
        self._waves = torch.stack([torch.cos(angles), torch.sin(angles)]).to(device)
        synthesis, analysis = cosine_matrices(self._padded * factor, factor)
        self._cubic = self._tensor(antialiased_bicubic_matrix(self._padded * factor, factor)[inner])
        self._means = self._tensor(interval_means(self._padded * factor, self._padded)[inner])
        self._synthesis, self._analysis = self._tensor(synthesis[inner]), self._tensor(analysis)
        self._noise = self._tensor(cosine_matrices(self._padded, 1)[1])
        self._white = self._tensor(np.eye(self._padded)[inner])

    def matrices(self, cut: Tensor, averaged: Tensor, extent: Tensor, window: Tensor, width: Tensor, chance: Tensor, profile: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """For the scan (N, length, padded fine length) and for noise on its coarse voxels (N, length, padded length).

        Args:
            cut, averaged: which samples lose their detail by a cut spectrum, and by Gaussians or means.
            extent, window: of the spectrum, see :func:`superres3d.resampling.degradation.spectral_window`.
            width, chance: random, 0 to 1.
            profile: range of the sigma of Gaussian profiles, over the distance of the coarse samples.
        """
        blurred = self._blurred(0.5 * width * (chance >= 0.5))
        low, high = profile
        averages = torch.where((chance < 0.25)[:, None, None], self._means, self._gaussian((low + (high - low) * width) * self._factor))
        weights = self._weights(extent, window)
        spectral = (self._synthesis * weights[:, None, :]) @ self._analysis
        matrix = torch.where(cut[:, None, None], spectral, torch.where(averaged[:, None, None], averages, blurred))
        passed = (self._synthesis * weights[:, None, :]) @ self._noise
        return matrix, torch.where(cut[:, None, None], passed, self._white)

    def transfer(self, matrix: Tensor) -> Tensor:
        """(N, 4): what the matrices' middle rows leave of waves of :data:`FREQUENCIES`."""
        cosine, sine = (matrix[:, self._length // 2] @ wave.T for wave in self._waves)
        return torch.hypot(cosine, sine)

    def _blurred(self, sigma: Tensor) -> Tensor:
        """Antialiased bicubic after the three-tap Gaussian of Georgescu 2020, section III-C."""
        side = (torch.exp(-0.5 / sigma.clamp(min=0.01) ** 2) * (sigma > 0.01))[:, None, None]
        padded = torch.nn.functional.pad(self._cubic, (1, 1))
        return (self._cubic + side * (padded[:, :-2] + padded[:, 2:])) / (1.0 + 2.0 * side)

    def _gaussian(self, sigma: Tensor) -> Tensor:
        """Means under a Gaussian of ``sigma`` fine voxels."""
        centres = (torch.arange(self._length, device=self._device) + self._margin + 0.5) * self._factor - 0.5
        distance = torch.arange(self._padded * self._factor, device=self._device)[None, :] - centres[:, None]
        weights = torch.exp(-0.5 * (distance / sigma[:, None, None].clamp(min=0.3)) ** 2)
        return weights / weights.sum(2, keepdim=True)

    def _weights(self, extent: Tensor, window: Tensor) -> Tensor:
        """See :func:`superres3d.resampling.degradation.spectral_window`."""
        share = torch.arange(self._padded, device=self._device)[None, :] / (extent[:, None] * self._padded)
        value = window[:, None] + (1.0 - window[:, None]) * torch.cos(math.pi * share.clamp(max=1.0))
        return torch.where(share < 1.0, value, torch.zeros_like(value))

    def _tensor(self, matrix: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(matrix, dtype=np.float32)).to(self._device)


def _along(matrix: Tensor, volumes: Tensor, axis: int) -> Tensor:
    """A matrix a sample (N, new, old) applied along one axis of (N, D, H, W)."""
    count, *shape = volumes.shape
    if axis == 0:
        refined = torch.bmm(matrix, volumes.reshape(count, shape[0], -1))
        return refined.reshape(count, -1, shape[1], shape[2])
    if axis == 1:
        return matrix[:, None] @ volumes
    return volumes @ matrix.transpose(1, 2)[:, None]
