"""Two stacks of slices in one patient: where both are, how far one has moved, and one as the other would have seen it."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np

from ..scan.volume import Volume

_SAMPLE_POINTS = 60_000  # that the registration looks at
_STEPS, _FIRST_STEP_MM, _LAST_STEP_MM = 120, 2.0, 0.005
_SMOOTHING_MM = (3.0, 1.0)
_FINE_ENOUGH_MM = 1.2  # what is finer is averaged for the registration
_MOST_PARTS = 12  # of a voxel, along an axis
_ROUNDING = 1e-3  # headers hold 1 mm as 0.9999
_SLAB_VOXELS = 4_000_000
_SEED = 1


def as_image(volume: Volume) -> Any:
    """A SimpleITK image of 32-bit floats."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(volume.voxels.astype(np.float32))
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.reshape(-1).tolist())
    return image


def _reduced(volume: Volume) -> Any:
    import SimpleITK as sitk

    factors = [max(1, min(int(_FINE_ENOUGH_MM / spacing), size // 8)) for spacing, size in zip(volume.spacing, volume.voxels.shape[::-1])]
    return sitk.BinShrink(as_image(volume), factors)


def overlap(volume: Volume, other: Volume) -> float:
    """Share of the other stack's voxels whose centres lie within a volume's field of view.

    Args:
        volume, other: with their places in the patient.
    """
    parts = [np.linspace(0, n - 1, min(n, 40)) for n in other.voxels.shape[::-1]]
    places = np.stack(np.meshgrid(*parts, indexing="ij")).reshape(3, -1) * np.asarray(other.spacing)[:, None]
    patient = np.asarray(other.origin)[:, None] + other.direction @ places
    index = volume.direction.T @ (patient - np.asarray(volume.origin)[:, None]) / np.asarray(volume.spacing)[:, None]
    sizes = np.asarray(volume.voxels.shape[::-1])[:, None]
    return float(np.mean(((index >= -0.5) & (index <= sizes - 0.5)).all(axis=0)))


def shift_between(volume: Volume, other: Volume) -> np.ndarray:
    """How far what a volume shows lies from what the other stack shows, LPS millimetres: what the patient moved from the other to it.

    The translation with the largest correlation (SimpleITK), looked for from none on.

    Args:
        volume, other: overlapping.
    """
    import SimpleITK as sitk

    fixed, moving = _reduced(other), _reduced(volume)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, _SAMPLE_POINTS / fixed.GetNumberOfPixels()), _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(_FIRST_STEP_MM, _LAST_STEP_MM, _STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([1] * len(_SMOOTHING_MM))
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    found = sitk.TranslationTransform(3)
    method.SetInitialTransform(found, inPlace=True)
    method.Execute(fixed, moving)
    return np.array(found.GetOffset())


def seen_by(volume: Volume, other: Volume, shift: np.ndarray, thickness: float) -> np.ndarray:
    """A volume as the other stack would have seen it: its mean over each of the other's voxels; float32, NaN where it is not.

    Args:
        volume: interpolated by a cubic spline.
        other: gives the grid (k, j, i).
        shift: by :func:`shift_between`.
        thickness: of the other's slices along its axis k, millimetres; a slice takes in everything within it alike.
    """
    import SimpleITK as sitk

    coefficients = sitk.BSplineDecomposition(as_image(volume), 3)  # a cubic spline: linear interpolation would blur
    finest = min(volume.spacing)
    widths = np.array([other.spacing[0], other.spacing[1], thickness])
    parts = [min(_MOST_PARTS, max(1, ceil(width / finest - _ROUNDING))) for width in widths]
    result = np.empty(other.voxels.shape, np.float32)
    count = max(1, _SLAB_VOXELS // max(1, other.voxels[0].size))
    for first in range(0, len(result), count):
        shape = other.voxels[first : first + count].shape
        total = np.zeros(shape, np.float32)
        for index in np.ndindex(*parts):
            offset = (np.array(index) + 0.5) / parts - 0.5  # of a voxel
            start = other.position((0, 0, first)) + other.direction @ (offset * widths)
            moved, turned = sitk.TranslationTransform(3, shift.tolist()), other.direction.reshape(-1).tolist()
            grid = sitk.Resample(coefficients, shape[::-1], moved, sitk.sitkBSplineResampler, start.tolist(), other.spacing, turned, np.nan)
            total += sitk.GetArrayViewFromImage(grid)
        result[first : first + count] = total / np.float32(np.prod(parts))
    return result
