"""Groups of crops of simulated scans whose loss of detail the estimator calls clear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from groups import Group, are_clear, vector
from simulate import UNITS
from superres3d.detail.measure import NOISE_UNIT
from torch import Tensor

_COLOURED = 0.5  # share of the CT groups whose noise is not white
_MOST_COLOURED = 0.006  # standard deviation, in network units
_MOST_UNSURE = 0.2  # what is so unsure is not told, see superres3d/detail/telling.py


class ClearLosses:
    """See above.

    Args:
        samples, held: files of simulate.py and fit_detail.py.
        modality, stage, scale: of the network.
        side: of a crop within the slices, coarse pixels; None: as the samples are.
        random: draws.
    """

    def __init__(self, samples: Path, held: Path, modality: str, stage: str, scale: int, side: int | None, random: np.random.Generator):
        self._said, self._stage, self._random, self._scale, self._side = torch.tensor(np.load(held)["told"]), stage, random, scale, side
        loaded = np.load(samples)
        owner = loaded[f"owner{scale}"]
        kept = (self._said[:, :, 6:10].mean(2).amax(1) < _MOST_UNSURE).numpy() & are_clear(self._said.numpy(), modality)
        chosen = np.array([number < len(kept) and kept[number] for number in owner])
        self._owner, self._crops = owner[chosen], [loaded[f"{part}{scale}"][chosen] for part in ("low", "high", "noise")]
        self.any = len(self._owner) > 0
        self._coarse = loaded["coarse"]
        self._coloured = modality == "CT" and stage == "plane"

    def __call__(self, count: int) -> Group:
        random, plane = self._random, self._stage == "plane"
        entry, turned = int(random.integers(len(self._owner))), plane and random.random() < 0.5
        owner = self._owner[entry]
        said = self._said[owner].flip(0) if turned else self._said[owner]
        low, high, noise = (torch.from_numpy(np.stack(crops) / np.float32(UNITS))[:, None] for crops in zip(*[self._crop(entry, turned) for _ in range(count)]))
        if self._coloured and random.random() < _COLOURED:
            added, said = self._with_coloured_noise(low, said)
            low, noise = low + added, noise + added
        keep = bool(random.random() < 0.5)
        return Group(low, high, noise, vector(said, keep, True, True, None if plane else bool(self._coarse[owner])), keep)

    def _crop(self, entry: int, turned: bool) -> list[np.ndarray]:
        """One of a scan's crops, a part of it, flipped; whole numbers."""
        random, parts = self._random, [part[entry, 0] for part in self._crops]
        number, (rows, columns) = int(random.integers(self._crops[0].shape[1])), parts[0].shape
        side = min(self._side or rows, rows) if self._stage == "plane" else rows
        width = min(self._side or columns, columns)
        first, left, flips = int(random.integers(rows - side + 1)), int(random.integers(columns - width + 1)), random.random(2) < 0.5
        made = []
        for part, factor in zip(self._crops, (1, self._scale, 1)):
            across = factor if self._stage == "plane" else 1
            image = part[entry, number][first * factor : (first + side) * factor, left * across : (left + width) * across]
            image = image.T if turned else image
            made.append(image[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1])
        return made

    def _with_coloured_noise(self, low: Tensor, said: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel of a CT passes a band of its noise, which is told too weak or too strong: else what is soft by nature is sharpened with its noise."""
        random = self._random
        sigma, strength = random.uniform(0.45, 0.9), random.uniform(0.0, _MOST_COLOURED)
        white = torch.randn_like(low)
        noise = _smooth(white, sigma) - random.uniform(0.0, 0.8) * _smooth(white, 2 * sigma)
        told = said.clone()
        told[:, 4] = torch.hypot(10 ** said[:, 4], torch.tensor(strength / NOISE_UNIT["CT"] * np.exp(random.uniform(-1.2, 0.9)), dtype=torch.float32)).log10()
        return noise / noise.std() * strength, told


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """Under a Gaussian, along rows and columns."""
    line = torch.exp(-0.5 * (torch.arange(-4, 5) / sigma) ** 2)
    line = line / line.sum()
    image = torch.nn.functional.conv2d(image, line.view(1, 1, 9, 1), padding=(4, 0))
    return torch.nn.functional.conv2d(image, line.view(1, 1, 1, 9), padding=(0, 4))
