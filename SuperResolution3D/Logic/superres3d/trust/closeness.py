"""How much closer to a truth one image is than another, gathered slab by slab.

PSNR and SSIM are those of the tables of results, taken over the body alone; tests compare them with scikit-image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from typing import Any

import numpy as np

from .ground import FEWEST, Ground, ground_of

SSIM_WINDOW = 7
_K1, _K2 = 0.01, 0.03  # Wang et al., IEEE TIP 13(4), 2004
_LEAST_SSIM = 1e-12
_MOST_NOISE = 0.8  # of an error
_MOST_SSIM = 100_000  # pixels of a slab that SSIM looks at: it takes longer than all else
_EXACT = 1e-10  # mean square error over the square of the range: below it is rounding


def ssim_map(truth: np.ndarray, image: np.ndarray, span: float) -> np.ndarray:
    """SSIM of two slices where the window of 7 x 7 pixels fits; as scikit-image defines it, with a uniform window.

    Args:
        truth, image: (rows, columns), any real dtype, at least 7 x 7.
        span: of the values.

    Returns:
        (rows - 6, columns - 6) float64.
    """
    x, y = truth.astype(np.float64), image.astype(np.float64)
    mean_x, mean_y = _box(x), _box(y)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1.0)
    xx, yy, xy = (unbiased * (_box(a * b) - m * n) for a, b, m, n in ((x, x, mean_x, mean_x), (y, y, mean_y, mean_y), (x, y, mean_x, mean_y)))
    c1, c2 = (_K1 * span) ** 2, (_K2 * span) ** 2
    bottom = (mean_x**2 + mean_y**2 + c1) * (xx + yy + c2)
    return (2 * mean_x * mean_y + c1) * (2 * xy + c2) / np.maximum(bottom, _LEAST_SSIM)


def _box(array: np.ndarray) -> np.ndarray:
    """Means over 7 x 7 pixels."""
    for axis in (0, 1):
        sums = np.cumsum(array, axis=axis)
        head = np.take(sums, range(SSIM_WINDOW - 1, array.shape[axis]), axis=axis)
        tail = np.take(sums, range(array.shape[axis] - SSIM_WINDOW), axis=axis)
        head[(slice(None),) * axis + (slice(1, None),)] -= tail
        array = head / SSIM_WINDOW
    return array


def rough(image: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """What an image holds beyond the mean of its neighbours either side: mostly noise where it is flat; same shape, float32."""
    padded = np.pad(image, [(1, 1) if axis in axes else (0, 0) for axis in range(image.ndim)], mode="edge")
    total = np.zeros(image.shape, np.float32)
    for axis in axes:
        for start in (0, 2):
            total += padded[tuple(slice(start if a == axis else 1, (start if a == axis else 1) + n) if a in axes else slice(None) for a, n in enumerate(image.shape))]
    return image - total / np.float32(2 * len(axes))


def decibels(before: float, after: float, span: float) -> float:
    """Of two mean square errors; what is exact counts as an error of a hundred thousandth of the range."""
    least = _EXACT * span * span
    return 10.0 * log10(max(before, least) / max(after, least))


@dataclass
class Tally:
    """Errors of a result and of a baseline against the same truth, added up slab by slab.

    Attributes:
        span: of the truth's values.
        axes: along which voxels are neighbours, of the arrays (slices, rows, columns).
        slices_refined: whether what changes from slice to slice is measured.
        threshold: what counts as added; see :mod:`superres3d.trust.ground`.
        noise_variance: of the truth's own noise, of which no method can know.
    """

    span: float
    axes: Sequence[int]
    slices_refined: bool
    threshold: float
    noise_variance: float = 0.0
    ground: Ground = field(default_factory=Ground)
    sums: dict[tuple[str, str], float] = field(default_factory=dict)  # (what, of whom)

    def _add(self, what: str, whose: str, values: np.ndarray) -> None:
        key = what, whose
        self.sums[key] = self.sums.get(key, 0.0) + float(np.sum(values, dtype=np.float64))

    def add(self, truth: np.ndarray, images: Mapping[str, np.ndarray], body: np.ndarray, regions: Mapping[str, np.ndarray]) -> None:
        """One slab.

        Args:
            truth: (slices, rows, columns) float32.
            images: "result" and "baseline", of that shape.
            body: bool, what is measured.
            regions: parts of it, by name.
        """
        masks = {"body": body, **regions}
        for name, mask in masks.items():
            self._add(f"count {name}", "", mask)
        for whose, image in images.items():
            error = np.square(image - truth)
            for name, mask in masks.items():
                self._add(f"error {name}", whose, error[mask])
            for axis in self.axes:
                self._differences(truth, image, body, axis, whose)
            self._add("rough", whose, np.square(rough(image, self.axes)[regions["flat"]]))
            self._similarity(truth, image, body, whose)
        self.ground += ground_of(truth, images["baseline"], images["result"], self.threshold, body)
        self._add("rough", "truth", np.square(rough(truth, self.axes)[regions["flat"]]))

    def _differences(self, truth: np.ndarray, image: np.ndarray, body: np.ndarray, axis: int, whose: str) -> None:
        first, second = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        both = body[first] & body[second]
        self._add(f"differences {axis}", whose, np.square(np.diff(image - truth, axis=axis)[both]))
        if whose == "result":
            self._add(f"differences {axis}", "truth", np.square(np.diff(truth, axis=axis)[both]))

    def _similarity(self, truth: np.ndarray, image: np.ndarray, body: np.ndarray, whose: str) -> None:
        if min(truth.shape[1:]) < SSIM_WINDOW:
            return
        edge, step = SSIM_WINDOW // 2, max(1, min(len(truth), truth.size // _MOST_SSIM))
        for one, other, mask in zip(truth[step // 2 :: step], image[step // 2 :: step], body[step // 2 :: step, edge:-edge, edge:-edge]):
            if mask.any():
                self._add("ssim", whose, ssim_map(one, other, self.span)[mask])
                self._add("count ssim", whose, mask)

    def of(self, what: str, whose: str = "") -> float:
        """A sum; 0 where nothing was added."""
        return self.sums.get((what, whose), 0.0)

    def gain(self, name: str = "body") -> float | None:
        """How much closer the result is than the baseline within a part, dB; None for an empty part."""
        count = self.of(f"count {name}")
        return decibels(self.of(f"error {name}", "baseline") / count, self.of(f"error {name}", "result") / count, self.span) if count else None

    def clean_gain(self) -> float | None:
        """The gain without the truth's own noise in either error, dB."""
        count = self.of("count body")
        if not count:
            return None
        errors = [self.of("error body", whose) / count for whose in ("baseline", "result")]
        noise = min(self.noise_variance, _MOST_NOISE * min(errors))
        return decibels(errors[0] - noise, errors[1] - noise, self.span)

    def psnr(self, whose: str) -> float:
        """Within the body, dB."""
        return decibels(self.span**2, self.of("error body", whose) / max(self.of("count body"), 1.0), self.span)

    def ssim(self, whose: str) -> float | None:
        """Within the body; None where no window fits."""
        count = self.of("count ssim", whose)
        return self.of("ssim", whose) / count if count else None

    def along(self, axis: int) -> float | None:
        """How much closer the differences between neighbours along an axis of the array are, dB; None where there are none."""
        if not self.of(f"differences {axis}", "truth"):
            return None
        return decibels(self.of(f"differences {axis}", "baseline"), self.of(f"differences {axis}", "result"), self.span * max(self.of("count body"), 1.0) ** 0.5)

    def noise(self) -> float | None:
        """How strong what looks like noise is in flat places of the result, over that of the baseline; None where there is none."""
        below = self.of("rough", "baseline")
        return (self.of("rough", "result") / below) ** 0.5 if below else None

    def noise_of_scan(self) -> float | None:
        """The same over that of the truth."""
        truth = self.of("rough", "truth")
        return (self.of("rough", "result") / truth) ** 0.5 if truth else None

    def flicker(self, whose: str) -> float | None:
        """Error of the differences between neighbouring slices over the truth's: 0 the truth, 1 no change at all; None where slices are not refined."""
        truth = self.of("differences 0", "truth")
        return (self.of("differences 0", whose) / truth) ** 0.5 if truth and self.slices_refined else None

    def told(self) -> dict[str, Any]:
        """Everything, ready for JSON; axes by their number in the array, gains in dB."""
        regions = {what.removeprefix("count "): count for (what, _), count in self.sums.items() if what.startswith("count ") and what not in ("count ssim", "count body")}
        body = max(self.of("count body"), 1.0)
        return {
            "gain_db": self.gain(),
            "clean_db": self.clean_gain(),
            "psnr": self.psnr("result"),
            "psnr_lanczos": self.psnr("baseline"),
            "ssim": self.ssim("result"),
            "ssim_lanczos": self.ssim("baseline"),
            "along": {axis: self.along(axis) for axis in self.axes},
            "regions": {name: {"share": count / body, "gain_db": self.gain(name)} for name, count in regions.items()},
            "noise": self.noise(),
            "noise_of_scan": self.noise_of_scan(),
            "flicker": self.flicker("result"),
            "flicker_lanczos": self.flicker("baseline"),
            "ground": self._grounded(),
        }

    def _grounded(self) -> dict[str, float | None]:
        """Shares; what rests on too few voxels is None."""
        found = self.ground
        enough = found.added >= FEWEST
        return {
            "added": found.added_share,
            "without": found.without_share if enough else None,
            "half": found.half_share if enough else None,
            "recall": found.recall if found.detail >= FEWEST else None,
        }
