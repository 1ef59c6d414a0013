"""What the estimator would say of samples that were made on a graphics card, where it cannot run beside a training.

It is off by two things.  A scan's own softness cannot be told from a loss: how soft each packed scan seems was measured, and that of a crop that is made
softer is known.  Whatever else it gets wrong is drawn from what it said of simulated scans that it had not learnt from (Testing/Benchmarks/told/said_of.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from samples import Degrader, Factors, Losses, Pairs
from superres3d.detail.estimator import FREQUENCIES
from superres3d.detail.measure import NOISE_UNIT
from superres3d.resampling.degradation import cosine_matrices
from torch import Tensor

#: crops that are made sharper or softer: the range of exp(-s f^2), f over the Nyquist frequency, and how many; brains and soft kernels may be as soft as that
SOFTER = {"MR": (-0.3, 4.0, 0.25), "CT": (-0.8, 3.0, 0.4)}
_SHARPENED_TO = 0.25  # f^2 up to which it is made sharper, along an axis
_NEIGHBOURS = 6  # of a sample, among the simulated scans: one is drawn
_CLEAR, _MILD = 1.0, 0.3  # share of a neighbour's error: simulated scans are small, and of mild losses the estimator errs less on whole ones
SOFTNESS_ERROR = {"MR": 0.07, "CT": 0.1}
NO_DETAIL = 0.05  # transfer near the Nyquist frequency of a spectrum that ends before
_NOISE_ERROR, _SEEMING_NOISE, _SEEMS, _NO_NOISE = 0.2, 0.08, 0.7, 0.06
_CLEAR_LOSS, _WHOLE = 0.72, 0.93  # as superres3d/detail/telling.py
_CLEARLY_EMPTY = {"MR": 0.87, "CT": 0.72}
_COLOURED = 0.5  # share of the CT samples whose noise is not white
_TISSUES, _OTHER_CONTRAST = 6, 0.2  # values that a contrast has of its own, share of the MR samples
_PURE = 0.25  # share of the samples without a blur before the kernel


class Losing(Degrader):
    """It is known how far the spectra of its samples reach; some have no blur, of CT some have coloured noise, of MR some another contrast."""

    def __init__(self, modality: str, *arguments: Any):
        super().__init__(*arguments)
        self._coloured, self._contrasts = modality == "CT", modality == "MR"
        self.extents: list[Tensor] = []
        self._pure = torch.zeros(())
        for line in self._lines:
            if line is not None:
                line._blurred = self._sometimes(line._blurred)  # type: ignore[method-assign]

    def __call__(self, crops: Tensor) -> Pairs:
        self.extents, self._pure = [], self._uniform(len(crops)) < _PURE
        return super().__call__(crops)

    def _varied(self, crops: Tensor) -> Tensor:
        varied = super()._varied(crops)
        if not self._contrasts:
            return varied
        other = other_contrast(crops, torch.rand(len(crops), _TISSUES, device=self.device))
        return torch.where((self._uniform(len(crops)) < _OTHER_CONTRAST)[:, None, None, None], other, varied)

    def _sometimes(self, blurred: Any) -> Any:
        return lambda sigma: blurred(torch.where(self._pure, torch.zeros_like(sigma), sigma))

    def _extent(self, count: int) -> Tensor:
        self.extents.append(super()._extent(count))
        return self.extents[-1]

    def _white(self, count: int) -> Tensor:
        noise = super()._white(count)
        if not self._coloured:
            return noise
        side = (self._uniform(count) < _COLOURED) * (0.5 * self._uniform(count) - 0.2)
        for axis, length in enumerate(noise.shape[1:], 1):
            if length > 1:
                view = (count, 1, 1, 1)
                noise = (noise + side.view(view) * (noise.roll(1, axis) + noise.roll(-1, axis))) / (1 + 2 * side**2).sqrt().view(view)
        return noise


def other_contrast(crops: Tensor, values: Tensor) -> Tensor:
    """As another sequence might show them: air stays dark, what was at k/5 of the range becomes ``values`` (N, 6), linear in between.

    Args:
        crops: (N, D, H, W) in network units; what lies above the range is at its end.
        values: (N, 6) in network units; the first does not count.
    """
    last = values.shape[1] - 1
    place = crops.clamp(0.0, 1.0) * last
    knot = place.floor().clamp(max=last - 1).long()
    table = torch.cat([torch.zeros_like(values[:, :1]), values[:, 1:]], 1)[:, :, None, None, None].expand(-1, -1, *crops.shape[1:])
    below, above = (table.gather(1, (knot + step)[:, None])[:, 0] for step in (0, 1))
    return below + (place - knot) * (above - below)


class Softening:
    """Makes some crops of a shape softer or sharper along the axes that are longer than 1.

    Args:
        shape: (D, H, W).
        modality: "MR" or "CT".
        device: of the crops.
        most: share of the range that is used.
    """

    def __init__(self, shape: Factors, modality: str, device: str, most: float = 1.0):
        least, largest, share = SOFTER[modality]
        self._range, self._device = (most * least, most * largest, share), device
        self._bases = []
        for axis, length in enumerate(shape):
            if length > 1:
                synthesis, analysis = (torch.from_numpy(np.array(matrix, np.float32)).to(device) for matrix in cosine_matrices(length, 1))
                self._bases.append((axis, synthesis, analysis, (torch.arange(length, device=device) / length).square()))

    def __call__(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (N, D, H, W), and the strength s of each (N,)."""
        least, most, share = self._range
        count = len(crops)
        strength = (least + (most - least) * torch.rand(count, device=self._device)) * (torch.rand(count, device=self._device) < share)
        for axis, synthesis, analysis, squares in self._bases:
            line = torch.where(strength[:, None] < 0, squares.clamp(max=_SHARPENED_TO), squares)
            matrix = (synthesis * torch.exp(-strength[:, None] * line)[:, None, :]) @ analysis
            moved = crops.movedim(axis + 1, -1)
            crops = (moved.flatten(1, -2) @ matrix.transpose(1, 2)).reshape(moved.shape).movedim(-1, axis + 1)
        return crops, strength


class Sayer:
    """Says of a batch what the estimator would.

    Args:
        of: what said_of.py wrote.
        modality, stage, scale: of the network.
        device: of the samples.
    """

    def __init__(self, of: Mapping[str, np.ndarray], modality: str, stage: str, scale: int, device: str):
        self._modality, self._stage, self._scale, self._device = modality, stage, scale, device
        name = f"{modality.lower()}-{stage}"
        self._truth, self._off, self._unsure, self._was_clear = (self._tensor(of[f"{name}-{part}"]) for part in ("truth", "off", "unsure", "clear"))
        seeming = self._tensor(of[f"{modality.lower()}-sharpness-{scale}"])
        self._sharpness = torch.cat([seeming.mean(1, keepdim=True), seeming], 1)  # along (slices, rows, columns)
        self._squares = torch.tensor(FREQUENCIES, device=device).square()

    def sharpness(self, scan: Tensor, order: Tensor, strength: Tensor) -> Tensor:
        """(N, axes): how sharp samples seem along the refined axes, as s in exp(s f^2).

        Args:
            scan: (N,) from which they are.
            order: (N, 3) which axis of it each of theirs is.
            strength: (N,) by which they were made softer.
        """
        axes = order[:, 1:] if self._stage == "plane" else order[:, :1]
        return self._sharpness[scan].gather(1, axes) - strength[:, None] / self._scale**2

    def __call__(self, pairs: Pairs, extents: list[Tensor], sharp: Tensor, keep: Tensor, coarse: Tensor | None) -> Tensor:
        """(N, conditions) in the order of :func:`superres3d.networks.told.told_of`, of a batch whose spectra reach ``extents``, one (N,) for each refined axis."""
        true, extent = pairs.transfer, torch.stack(extents, 1)
        ends = (true[:, :, 3] < NO_DETAIL) & (extent <= 0.97)
        reach = torch.where(ends, (extent + 0.01 * self._normal(extent)).clamp(max=1.0), 1 - 0.005 * torch.rand_like(extent) * (torch.rand_like(extent) < 0.5))
        neighbour = self._neighbour(true, torch.where(ends, extent, torch.ones_like(extent)))
        transfer, unsure = self._transfer(true, sharp, neighbour), self._unsure[neighbour]
        noise = self._noise(pairs.sigma)
        clear = self._clear(transfer, reach).float()
        middle = [noise, keep, clear, *([] if coarse is None else [coarse])]
        parts = [(transfer.flatten(1) - 0.5) * clear[:, None], torch.stack(middle, 1), 10 * unsure * clear[:, None], 5 * (1 - reach)]
        return torch.cat(parts, 1)

    def _neighbour(self, true: Tensor, extent: Tensor) -> Tensor:
        """(N,): a simulated scan that lost its detail much alike."""
        apart = torch.cdist(torch.cat([true, extent[:, :, None]], 2).flatten(1), self._truth)
        nearest = apart.topk(_NEIGHBOURS, largest=False).indices
        return nearest.gather(1, (torch.rand(len(true), 1, device=self._device) * _NEIGHBOURS).long())[:, 0]

    def _transfer(self, true: Tensor, sharp: Tensor, neighbour: Tensor) -> Tensor:
        """(N, axes, 4)."""
        error, (count, axes, _) = SOFTNESS_ERROR[self._modality], true.shape
        softer = sharp + error * torch.randn(count, 1, device=self._device) + 0.05 * self._normal(sharp)
        less = 1 - 0.1 * torch.rand(count, axes, 1, device=self._device) * self._squares * (true > 0.9)  # what was not lost at all is estimated too low
        seems = true * torch.exp(softer[:, :, None] * self._squares) * less + 0.02 * torch.randn(count, 1, 4, device=self._device) + 0.015 * self._normal(true)
        share = torch.where(self._was_clear[neighbour] > 0, _CLEAR, _MILD)
        return torch.where(true < NO_DETAIL, true, seems + share[:, None, None] * self._off[neighbour]).clamp(0.0, 1.1)

    def _noise(self, sigma: Tensor) -> Tensor:
        found = sigma / NOISE_UNIT[self._modality] * torch.exp(_NOISE_ERROR * self._normal(sigma))
        seeming = _SEEMING_NOISE * torch.rand_like(sigma) * (torch.rand_like(sigma) < _SEEMS)
        noise = torch.where(sigma > 0, found, seeming)
        return torch.where(noise < _NO_NOISE, torch.zeros_like(noise), noise)

    def _clear(self, transfer: Tensor, reach: Tensor) -> Tensor:
        """As :func:`superres3d.detail.telling.is_clear`."""
        soft = (transfer[:, :, 1] < _CLEAR_LOSS).all(1)
        if self._stage == "depth" and self._modality == "CT":
            return soft & (reach[:, 0] > _WHOLE)
        return soft | (reach < _CLEARLY_EMPTY[self._modality]).any(1)

    @staticmethod
    def _normal(like: Tensor) -> Tensor:
        return torch.randn_like(like)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(array, np.float32)).to(self._device)


#: losses that are clear, and losses that are not
CLEAR = {
    "MR": Losses(gaussian=0.35, spectral=0.55, zero_filled=0.6, filtered=0.7, noise=0.025, noise_share=0.65, filtered_slices=0.3, profile=(0.21, 0.64), gain=2.0, gamma=1.5),
    "CT": Losses(gaussian=0.45, spectral=0.5, zero_filled=0.6, filtered=0.7, noise=0.02, noise_share=0.65, spectral_slices=False, magnitude=False, profile=(0.21, 0.64), gain=1.0, gamma=1.0),
}
MILD = {
    "MR": Losses(gaussian=0.15, spectral=0.3, zero_filled=0.4, filtered=0.0, noise=0.025, noise_share=0.45, gain=2.0),
    "CT": Losses(gaussian=0.1, spectral=0.2, zero_filled=0.4, filtered=0.0, noise=0.02, noise_share=0.45, spectral_slices=False, magnitude=False, gain=1.0, gamma=1.0),
}
