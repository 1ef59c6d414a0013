"""CT or MR, from the intensities of a scan whose file does not tell, or that they do not tell it either.

CT is known by Hounsfield units: air near -1000 and soft tissue near 0, and nothing between air and the padding.  MR is known
by what it has not: no values below zero, a dark background, and a spread of tissue that is none of a CT stored 1024 too high.
A shifted or windowed CT, eight bits, a PET or a map of anything would all pass for MR on fewer signs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAMPLE = 1_000_000
_AIR, _SOFT = (-1100.0, -850.0), (-200.0, 200.0)  # HU
_LEAST_AIR, _LEAST_SOFT = 0.01, 0.03
_MOST_STRANGE = 0.005  # of the voxels: below air and not padding, or negative in MR
_MOST_UP = 0.3  # of the share of air: as far above 0
_OVERSHOOT = 0.05  # below 0, of the 99.5th percentile: of an interpolation
_SHIFT, _NEAR_WATER, _MOST_NEAR_WATER = 1024, 130, 0.3  # of a CT that is stored without a sign
_PEAK, _LOWEST_PEAK, _MOST_IN_PEAK = 0.06, 0.3, 0.22  # width either side, of its distance to air; least place, of the 99.5th percentile; share
_LEAST_BACKGROUND, _DARK = 0.03, 0.06  # share, and of the 99.5th percentile
_LEAST_TOP = 130.0  # a CT of the brain alone ends below it, and so do uptake values
_HEAVY_TAIL = 8.0  # of the brightest voxels over the middle of the foreground: of PET and dose, not of MR


@dataclass(frozen=True)
class ModalityGuess:
    """What the intensities tell.

    Attributes:
        modality: "CT", "MR", or "" where they do not tell.
        reason: in a few words: what speaks for it, or why it is not clear.
    """

    modality: str
    reason: str


def guess_modality(voxels: np.ndarray) -> ModalityGuess:
    """The modality, where the intensities leave no doubt.

    Args:
        voxels: (k, j, i), any real dtype, finite.
    """
    step = max(1, round((voxels.size / _SAMPLE) ** (1 / 3)))
    sample = voxels[tuple(slice(step // 2 if n > step else 0, None, step) for n in voxels.shape)].astype(np.float64).ravel()
    return _as_ct(_without_padding(sample)) or _as_mr(sample, voxels.dtype)


def contradiction(voxels: np.ndarray, modality: str) -> str:
    """A sentence if the intensities leave no doubt that a scan is of another modality, else an empty string; arguments as :func:`guess_modality` and its answer."""
    seen = guess_modality(voxels)
    return f"The scan was taken as {modality}, and its intensities look like {seen.modality} ({seen.reason}); check the modality." if seen.modality not in ("", modality) else ""


def _as_ct(sample: np.ndarray) -> ModalityGuess | None:
    """None if nothing speaks for Hounsfield units."""
    air, soft = _share(sample, *_AIR), _share(sample, *_SOFT)
    if air < _LEAST_AIR:
        return None
    if soft < _LEAST_SOFT:
        return ModalityGuess("", "there is what could be air at -1000 HU, but no soft tissue near 0")
    if _is_one_value(sample[sample < 0]):
        return ModalityGuess("", "all that is below 0 has one value, which may fill the corners of an MR as well as be a CT's air")
    # A phase image, or any map with both signs, reaches as far up as down.
    if float((sample < _AIR[0]).mean()) > _MOST_STRANGE or _share(sample, -_AIR[1], np.inf) > max(_MOST_UP * air, _LEAST_SOFT):
        return ModalityGuess("", "values reach air at -1000 HU, but lie about it in a way that a CT's do not")
    return ModalityGuess("CT", f"{air:.0%} of the voxels are air near -1000 HU and {soft:.0%} lie within 200 HU of water")


def _as_mr(sample: np.ndarray, dtype: np.dtype) -> ModalityGuess:
    top = float(np.percentile(sample, 99.5))
    least = 0.0 if bool((sample == np.rint(sample)).all()) else -_OVERSHOOT * max(top, 0.0)
    if float((sample < least).mean()) > _MOST_STRANGE:
        return ModalityGuess("", "there are values below 0, which MR seldom has, and no air at -1000 HU, which CT has")
    if dtype.itemsize == 1:
        return ModalityGuess("", "values of eight bits may be a CT's window as well as MR")
    dark = sample <= _DARK * top
    background, foreground = float(dark.mean()), sample[~dark]
    if background < _LEAST_BACKGROUND or not foreground.size:
        return ModalityGuess("", "there is no dark background, as in a part of a scan")
    return _as_mr_with_background(foreground, sample[dark], top, background)


def _as_mr_with_background(foreground: np.ndarray, dark: np.ndarray, top: float, background: float) -> ModalityGuess:
    masked = float((dark == dark.min()).mean()) > 0.95
    if top < _LEAST_TOP and (masked or bool((foreground != np.rint(foreground)).any())):
        return ModalityGuess("", f"values up to {top:.3g} may be uptake values, a map, or a CT of the brain alone as well as MR")
    if _share(foreground, _SHIFT - _NEAR_WATER, _SHIFT + _NEAR_WATER) > _MOST_NEAR_WATER:
        return ModalityGuess("", "it may be a CT whose values were stored 1024 too high")
    if _in_peak(foreground, float(np.median(dark)), top) > _MOST_IN_PEAK:
        return ModalityGuess("", "most tissue has nearly one value, as in a CT that was shifted or rescaled")
    if _saturated(foreground):
        return ModalityGuess("", "many voxels have the highest value, as in a CT's window")
    if float(np.percentile(foreground, 99.9)) > _HEAVY_TAIL * float(np.median(foreground)):
        return ModalityGuess("", "few voxels are far brighter than the rest, as in PET or dose")
    return ModalityGuess("MR", f"no values lie below 0, and {background:.0%} of the voxels are a dark background")


def _in_peak(foreground: np.ndarray, air: float, top: float) -> float:
    """The share of the foreground near its commonest value: a CT's soft tissue has one density, MR shows tissues apart."""
    counts, edges = np.histogram(foreground, bins=150, range=(_LOWEST_PEAK * top, top))
    mode = float(edges[int(np.convolve(counts, np.ones(5), "same").argmax())] + edges[1] - edges[0])
    return _share(foreground, mode - _PEAK * (mode - air), mode + _PEAK * (mode - air))


def _saturated(foreground: np.ndarray) -> bool:
    return float((foreground == foreground.max()).mean()) > 0.01


def _without_padding(sample: np.ndarray) -> np.ndarray:
    """What lies below air and is one value, or two, was never measured: -2000, -3024, -32768."""
    below = sample[sample < _AIR[0]]
    values = np.unique(below[:4096])
    return sample[~np.isin(sample, values)] if 0 < len(values) <= 2 else sample


def _is_one_value(part: np.ndarray) -> bool:
    return float((part == np.median(part)).mean()) > 0.999


def _share(sample: np.ndarray, low: float, high: float) -> float:
    return float(((sample >= low) & (sample <= high)).mean()) if sample.size else 0.0
