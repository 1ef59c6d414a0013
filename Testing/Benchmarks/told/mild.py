"""Groups of crops that lost little, and what an estimator might say of it.

A mild loss cannot be told from how soft or sharp a scan is by nature: an estimate is off by that softness.  So it is measured on each scan as it is packed, and what is
said of its crops is off by as much: the network learns to tell what was lost (by a cubic kernel, by means, by a cut spectrum) from what the scan shows and what is said of it.
Of a soft scan a mild loss may seem clear.  Then that is said, and the network learns not to sharpen all that it is told of.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from groups import Group, are_clear, vector
from pack import read_pack, span
from said import NO_DETAIL, SOFTER, SOFTNESS_ERROR, Losing
from samples import Degrader, DeviceScans, Losses
from simulate import SIDES
from superres3d.detail.estimator import FREQUENCIES
from superres3d.detail.measure import NOISE_UNIT, measure_detail
from superres3d.resampling.degradation import antialiased_bicubic_matrix
from torch import Tensor
from train import with_reduced

_MARGIN = 8
_NOISE_ERROR = 0.2
_SEEMING_NOISE, _SEEMS = 0.08, 0.7  # that is told of a scan that has none, and how often
_SOFTEST, _SHARPEST = -1.2, 0.8  # that an estimate may say
_SLICES = 16  # on which a scan's softness is measured
_COARSE_ACROSS = {2: 0.5, 4: 0.35}
LOSSES = {
    "MR": Losses(gaussian=0.15, spectral=0.3, zero_filled=0.4, filtered=0.0, noise=0.025, noise_share=0.45),
    "CT": Losses(gaussian=0.1, spectral=0.2, zero_filled=0.4, filtered=0.0, noise=0.02, noise_share=0.45, spectral_slices=False, magnitude=False, gamma=1.0),
}


class _Alike(Losing):
    """The crops of a group lose their detail alike."""

    def __init__(self, crops: int, *arguments: Any):
        super().__init__(*arguments)
        self._crops = crops

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(-(-count // self._crops)).repeat_interleave(self._crops)[:count]


class MildLosses:
    """See above.

    Args:
        pack: of Testing/Benchmarks/gpu/pack.py.
        stage, scale: of the network.
        side: of a crop within the slices, coarse pixels; None: as those of simulated scans.
        crops: of a group.
        random: draws.
        told: a loss that does not seem clear is told; else the noise and how far the spectrum reaches.
    """

    def __init__(self, pack: Path, stage: str, scale: int, side: int | None, crops: int, random: np.random.Generator, told: bool = True):
        self.modality, packed = read_pack(pack)
        volumes = [volume for scan, values in packed if scan.subset == "train" for volume in with_reduced(scan, values, "cpu") if stage == "plane" or scan.sharp_slices]
        self._scans = [DeviceScans([volume], span(self.modality), "cpu") for volume in volumes]
        self._shares = np.array([share for *_, share in volumes]) / sum(share for *_, share in volumes)
        self._sharpness = [sharpness(values, self.modality, scale) for values, *_ in volumes]
        self._stage, self._scale, self._crops, self._random, self._told = stage, scale, crops, random, told
        rows, columns = SIDES[stage, scale]
        rows, columns = (side or rows, side or columns) if stage == "plane" else (rows, side or columns)
        low, factors = ((1, rows, columns), (1, scale, scale)) if stage == "plane" else ((rows, 1, columns), (scale, 1, 1))
        self._degrader = _Alike(crops, self.modality == "CT", low, factors, LOSSES[self.modality], "cpu", _MARGIN)
        depth = self._degrader.inner[0] + 2 * self._degrader.margins[0]
        self._across = Degrader((depth, 1, columns), (1, scale, scale), replace(Losses(), gaussian=0.3, spectral=0.0, noise=0.0, magnitude=False, gain=1.0, gamma=1.0), "cpu", 3)

    def __call__(self, groups: int) -> list[Group]:
        """So many; those whose loss the estimator would call clear are told that it is."""
        degrader, depth = self._degrader, self._stage == "depth"
        inner, margins = degrader.inner, degrader.margins
        coarse = depth and bool(self._random.random() < _COARSE_ACROSS[self._scale])
        if coarse:
            inner, margins = (inner[0], self._scale, inner[2] * self._scale), (margins[0], *self._across.margins[1:])
        crops, sharp = zip(*[self._drawn(inner, margins, depth) for _ in range(groups)])
        drawn = torch.cat(crops)
        pairs = degrader(self._across(drawn).low[:, 0] if coarse else drawn)
        images = [image.squeeze(3 if depth else 2).split(self._crops) for image in pairs[:3]]
        extents = torch.stack(degrader.extents[-1:] if depth else degrader.extents[-2:], 1)
        made = []
        for number, (low, high, noise) in enumerate(zip(*images)):
            first = number * self._crops
            said = self._said(pairs.transfer[first], extents[first], float(pairs.sigma[first]), sharp[number])
            clear, keep = bool(are_clear(said[None].numpy(), self.modality)[0]), bool(self._random.random() < 0.5)
            made.append(Group(low, high, noise, vector(said, keep, clear, clear or self._told, coarse if depth else None), keep))
        return made

    def _drawn(self, inner: tuple[int, int, int], margins: tuple[int, int, int], depth: bool) -> tuple[Tensor, list[float]]:
        """Crops of one scan, and how sharp it is along the refined axes."""
        random = self._random
        number = int(random.choice(len(self._scans), p=self._shares))
        crops, sharp = self._scans[number].crops(self._crops, inner, margins, depth, turn=False), list(self._sharpness[number])
        if not depth and random.random() < 0.5:
            crops, sharp = crops.transpose(2, 3), sharp[::-1]
        crops = crops.flip([axis for axis in (1, 2, 3) if random.random() < 0.5])
        least, most, share = SOFTER[self.modality]
        if not depth and random.random() < share:
            strength = float(random.uniform(least, most))
            crops, sharp = softened(crops, strength), [value - strength / self._scale**2 for value in sharp]
        return crops.contiguous(), [float(np.mean(sharp))] if depth else sharp

    def _said(self, transfer: Tensor, extent: Tensor, sigma: float, sharp: list[float]) -> Tensor:
        """(axes, 12) of a true transfer (axes, 4), how far a cut spectrum reaches, noise, and how sharp the scan is."""
        axes, squares = len(transfer), torch.tensor(FREQUENCIES) ** 2
        softer = torch.tensor(sharp)[:, None] + SOFTNESS_ERROR[self.modality] * torch.randn(1) + 0.05 * torch.randn(axes, 1)
        off = 0.02 * torch.randn(1, 4) + 0.015 * torch.randn(axes, 4)
        less = 1 - 0.1 * torch.rand(axes, 1) * squares * (transfer > 0.9)  # what was not lost at all is estimated too low
        said = torch.zeros(axes, 12)
        said[:, :4] = torch.where(transfer < NO_DETAIL, transfer, (transfer * torch.exp(softer * squares) * less + off).clamp(0.0, 1.1))
        ends = (transfer[:, 3] < NO_DETAIL) & (extent <= 0.97)
        said[:, 5] = torch.where(ends, (extent + 0.01 * torch.randn(axes)).clamp(max=1.0), 1 - 0.005 * torch.rand(axes) * (torch.rand(axes) < 0.5))
        said[:, 6:10] = (0.035 + 0.06 * torch.rand(1) * (0.3 + 0.7 * transfer[:, 3].clamp(0.0, 1.0)))[:, None]
        noise = sigma / NOISE_UNIT[self.modality] * float(torch.exp(_NOISE_ERROR * torch.randn(1)))
        noise = noise or _SEEMING_NOISE * float(self._random.random()) * (self._random.random() < _SEEMS)
        said[:, 4] = float(np.log10(max(noise, 1e-3)))
        return said


def sharpness(values: np.ndarray, modality: str, scale: int) -> list[float]:
    """How much sharper than it is a scan (slices, rows, columns, as packed) seems along rows and columns: s in exp(s f^2), by which the estimate of a cubic kernel is off.

    f is over the Nyquist frequency of what is ``scale`` times as coarse.
    """
    first = max(0, (len(values) - _SLICES) // 2)
    rows, columns = (antialiased_bicubic_matrix(length // scale * scale, scale) for length in values.shape[1:])
    fine = values[first : first + _SLICES, : rows.shape[1], : columns.shape[1]].astype(np.float32)
    detail = measure_detail(rows @ fine @ columns.T - (1024 if modality == "CT" else 0), modality)
    squares, waves = np.square(FREQUENCIES), np.exp(1j * np.array(FREQUENCIES)[:, None] * np.pi / scale * np.arange(rows.shape[1]))
    true = np.abs(waves @ rows[len(rows) // 2])
    found = [None if axis is None else np.log(np.maximum(axis.transfer, 0.02) / true) @ squares / (squares @ squares) for axis in (detail.rows, detail.columns)]
    return [0.0 if off is None else float(np.clip(off, _SOFTEST, _SHARPEST)) for off in found]


def softened(crops: Tensor, strength: float) -> Tensor:
    """Crops (N, slices, rows, columns), softer, or sharper (up to f^2 = 0.5) where ``strength`` is negative: exp(-strength f^2), f over the Nyquist frequency."""
    rows, columns = crops.shape[2:]
    squares = (2 * torch.fft.fftfreq(rows)).square()[:, None] + (2 * torch.fft.rfftfreq(columns)).square()
    passed = torch.exp(-strength * (squares.clamp(max=0.5) if strength < 0 else squares))
    return torch.fft.irfft2(torch.fft.rfft2(crops) * passed, s=(rows, columns))
