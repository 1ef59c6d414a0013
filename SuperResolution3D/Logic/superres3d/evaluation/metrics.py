"""How close a result is to the truth.

PSNR and SSIM are taken slice by slice and averaged (Georgescu 2020, section IV-B); identical
air inflates both, so the error on the foreground is measured as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import numpy as np
from skimage.measure import blur_effect
from skimage.metrics import normalized_root_mse, structural_similarity

from ..scan.intensity import CT_RANGE_HU
from ..trust import ground

SSIM_WINDOW = 7
PSNR_CEILING = 100.0  # dB: what an exact copy gets, so that a mean stays finite
MR_PERCENTILE = 99.9
MR_FOREGROUND = 0.1  # of the data range, above the truth's minimum
CT_FOREGROUND_HU = -500.0
FLAT = 0.01  # of the data range: a slice of the truth with less contrast is not measured

_LOW, _HIGH = CT_RANGE_HU
STATEMENT = (
    "PSNR and SSIM: a slice at a time (across the slice axis, on the truth's grid), then the mean over slices; as scikit-image defines them, "
    f"SSIM with a uniform {SSIM_WINDOW} x {SSIM_WINDOW} window. PSNR is capped at {PSNR_CEILING:g} dB.",
    f"Data range, CT: {_HIGH - _LOW:g} HU, truth and result clipped to {_LOW:g} to {_HIGH:g} HU and shifted so that {_LOW:g} HU is 0. "
    f"MR: the truth's {MR_PERCENTILE} percentile minus its minimum (over the whole crop); nothing is clipped, the minimum is shifted to 0.",
    f"Slices of the truth that span less than {FLAT:.0%} of the data range (empty slices) are left out and counted.",
    f"Foreground: truth above {CT_FOREGROUND_HU:g} HU (CT) or above {MR_FOREGROUND:.0%} of the data range (MR). Foreground PSNR, and for CT the mean absolute "
    "error and the bias (result minus truth) in HU, are taken over all foreground voxels of the crop at once.",
)
FLICKER_STATEMENT = (
    "Flicker, where slices are refined: the root of the mean square error of the differences between neighbouring slices, over that of the truth's differences; "
    "0 is the truth, 1 a result that does not change from slice to slice.",
    "Swing, where slices are refined: how much sharper (mean in-plane gradient) the slices at the sharpest place between two slices of the scan are than those at the softest, "
    "as a share of the mean sharpness. It needs no truth; the truth's own value beside it is what anatomy alone gives.",
)
DETAILED_STATEMENT = (
    "NRMSE: a slice at a time, the root of the mean square error over that of the truth (scikit-image, Euclidean), then the mean over slices.",
    "Blur: scikit-image's blur_effect (Crete 2007) on the whole crop, mean over the refined axes; 0 sharp, 1 blurred. It looks at sharpness alone: noise, ringing and "
    "invented texture lower it as detail does, so it is to be read beside the truth's own value, never as closeness to the truth.",
    "Seconds for a million voxels of the result: on the machine of this run, single precision, reading of the models included; for comparison within a table only.",
)


@dataclass(frozen=True)
class Reference:
    """The truth, made ready to be compared with.

    Attributes:
        slices: (slice, row, column), float32, shifted so that the scale begins at 0.
        data_range: the peak of PSNR and SSIM, in the scan's units.
        offset: what was subtracted.
        clipped: True if values are held within [0, data_range] (CT).
        foreground: bool, as ``slices``.
        measured: indices of the slices that are not flat.
        slice_axis: of the volume that it was made from.
    """

    slices: np.ndarray
    data_range: float
    offset: float
    clipped: bool
    foreground: np.ndarray
    measured: tuple[int, ...]
    slice_axis: int

    def prepare(self, voxels: np.ndarray) -> np.ndarray:
        """A result (k, j, i) on the scale and in the order of ``slices``."""
        return _shifted(np.moveaxis(voxels, self.slice_axis, 0), self.offset, self.data_range if self.clipped else None)

    def why_not(self) -> str:
        """Why nothing can be measured, as the end of a sentence; empty if it can."""
        if min(self.slices.shape[1:]) < SSIM_WINDOW:
            return f"its slices are smaller than {SSIM_WINDOW} x {SSIM_WINDOW} pixels"
        if not self.measured:
            return "all its slices are empty"
        return "" if self.foreground.any() else "it has no foreground"


def make_reference(truth: np.ndarray, modality: str, slice_axis: int = 0) -> Reference:
    """Make the truth ready.

    Args:
        truth: (k, j, i), HU for CT.
        modality: "CT" or "MR".
        slice_axis: array axis of the slices.
    """
    if modality == "CT":
        low, high = CT_RANGE_HU
        threshold = CT_FOREGROUND_HU - low
    else:
        low, high = float(truth.min()), float(np.percentile(truth, MR_PERCENTILE))
        threshold = MR_FOREGROUND * (high - low)
    data_range = high - low
    slices = _shifted(np.moveaxis(truth, slice_axis, 0), low, data_range if modality == "CT" else None)
    contrast = np.ptp(slices, axis=(1, 2))
    measured = tuple(int(n) for n in np.flatnonzero(contrast >= max(FLAT * data_range, np.finfo(np.float32).tiny)))
    return Reference(slices, data_range, low, modality == "CT", slices > threshold, measured, slice_axis)


def measure(reference: Reference, voxels: np.ndarray) -> dict[str, float]:
    """All metrics of one result.

    Args:
        reference: with something to measure (``why_not()`` is empty).
        voxels: (k, j, i), of the truth's shape.

    Returns:
        psnr and psnr_foreground in dB, ssim; for CT also mae_hu and bias_hu.
    """
    result = reference.prepare(voxels)
    error = (result - reference.slices)[reference.foreground].astype(np.float64)
    values = {
        "psnr": float(np.mean([slice_psnr(reference, result, n) for n in reference.measured])),
        "ssim": float(np.mean([slice_ssim(reference, result, n) for n in reference.measured])),
        "psnr_foreground": psnr(float(np.mean(error**2)), reference.data_range),
    }
    if reference.clipped:
        values |= {"mae_hu": float(np.abs(error).mean()), "bias_hu": float(error.mean())}
    return values


def measure_ground(reference: Reference, interpolated: np.ndarray, voxels: np.ndarray) -> dict[str, float]:
    """What a result adds over Lanczos without ground in the truth; see :mod:`superres3d.trust.ground`.

    Args:
        reference: with something to measure.
        interpolated: the scan by Lanczos, (k, j, i), of the truth's shape.
        voxels: the result, likewise.

    Returns:
        the shares that :func:`superres3d.trust.ground.figures_of` tells.
    """
    modality = "CT" if reference.clipped else "MR"
    truth, lanczos, result = (array + np.float32(reference.offset) for array in (reference.slices, *map(reference.prepare, (interpolated, voxels))))
    return ground.figures_of(truth, lanczos, result, modality, reference.data_range)


def measure_detail(reference: Reference, voxels: np.ndarray, factors: tuple[int, int, int]) -> dict[str, float]:
    """What the tables of Chen 2020 add (NRMSE), and a perceptual measure.

    Args:
        reference: with something to measure.
        voxels: (k, j, i), of the truth's shape.
        factors: of the refinement, along (k, j, i).

    Returns:
        nrmse, blur and blur_truth.
    """
    result = reference.prepare(voxels)
    ordered = (factors[reference.slice_axis], *(f for axis, f in enumerate(factors) if axis != reference.slice_axis))
    refined = [axis for axis, factor in enumerate(ordered) if factor > 1]
    return {
        "nrmse": float(np.mean([normalized_root_mse(reference.slices[n], result[n]) for n in reference.measured])),
        "blur": _blur(result, refined),
        "blur_truth": _blur(reference.slices, refined),
    }


def measure_flicker(reference: Reference, voxels: np.ndarray, factor: int) -> dict[str, float]:
    """How a result changes from slice to slice, where slices were refined.

    Args:
        reference: with something to measure.
        voxels: (k, j, i), of the truth's shape.
        factor: slices of the result for one of the scan.

    Returns:
        flicker: root of the mean square error of the differences between neighbouring slices, over that of the truth's differences:
        0 for the truth, 1 for a result that does not change at all.
        swing and swing_truth: how much sharper (mean in-plane gradient) the slices at the sharpest place between
        two slices of the scan are than those at the softest, as a share of the mean sharpness.
    """
    result = reference.prepare(voxels)
    changes, errors = np.diff(reference.slices, axis=0), np.diff(result - reference.slices, axis=0)
    return {
        "flicker": float(np.sqrt(np.mean(np.square(errors)) / max(float(np.mean(np.square(changes))), np.finfo(np.float32).tiny))),
        "swing": _swing(result, factor),
        "swing_truth": _swing(reference.slices, factor),
    }


def _swing(slices: np.ndarray, factor: int) -> float:
    """Of the sharpness over the places between the scan's slices."""
    whole = slices[: len(slices) // factor * factor]
    sharpness = np.array([np.mean(np.hypot(*np.gradient(image))) for image in whole]).reshape(-1, factor).mean(axis=0)
    return float(np.ptp(sharpness) / max(float(sharpness.mean()), np.finfo(np.float32).tiny))


def psnr(mean_square_error: float, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, at most :data:`PSNR_CEILING`.

    >>> psnr(1.0, 10.0), psnr(0.0, 10.0)
    (20.0, 100.0)
    """
    if mean_square_error <= 0.0:
        return PSNR_CEILING
    return min(PSNR_CEILING, 10.0 * log10(data_range**2 / mean_square_error))


def slice_psnr(reference: Reference, result: np.ndarray, index: int) -> float:
    """PSNR of one slice of a prepared result, dB."""
    error = result[index].astype(np.float64) - reference.slices[index]
    return psnr(float(np.mean(error**2)), reference.data_range)


def slice_ssim(reference: Reference, result: np.ndarray, index: int) -> float:
    """SSIM of one slice of a prepared result."""
    truth, image = reference.slices[index].astype(np.float64), result[index].astype(np.float64)
    return float(structural_similarity(truth, image, win_size=SSIM_WINDOW, gaussian_weights=False, data_range=reference.data_range))


def _blur(slices: np.ndarray, axes: list[int]) -> float:
    along = blur_effect(slices, reduce_func=None)
    return float(np.mean([along[axis] for axis in axes]))


def _shifted(slices: np.ndarray, offset: float, ceiling: float | None) -> np.ndarray:
    values = slices.astype(np.float32) - np.float32(offset)
    return values if ceiling is None else np.clip(values, 0.0, np.float32(ceiling))
