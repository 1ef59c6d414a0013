"""Interpolation against SimpleITK, scipy and closed forms."""

import numpy as np
import pytest
import SimpleITK as sitk
from superres3d.interpolation import KERNELS, phase_weights, resize, resize_axis

from .conftest import smooth_noise


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 4, 4), (4, 1, 1), (2, 1, 4)])
def test_constants_stay_exact(kernel, factors):
    result = resize(np.full((5, 6, 7), 1234.5, np.float32), factors, kernel)
    assert result.shape == tuple(n * f for n, f in zip((5, 6, 7), factors))
    np.testing.assert_allclose(result, 1234.5, rtol=1e-6)


@pytest.mark.parametrize("kernel, itk", [("nearest", sitk.sitkNearestNeighbor), ("linear", sitk.sitkLinear)])
@pytest.mark.parametrize("factor", [2, 4])
def test_agrees_with_simpleitk_on_the_same_grid(kernel, itk, factor):
    voxels = smooth_noise((6, 7, 8)).astype(np.float64)
    image = sitk.GetImageFromArray(voxels)
    shift = (1 / factor - 1) / 2
    expected = sitk.Resample(
        image, [n * factor for n in image.GetSize()], sitk.Transform(), itk, [shift] * 3, [1 / factor] * 3, image.GetDirection(), 0.0, sitk.sitkFloat64, True
    )  # fmt: skip
    inner = (slice(factor, -factor),) * 3
    result = resize(voxels, (factor,) * 3, kernel)
    np.testing.assert_allclose(result[inner], sitk.GetArrayFromImage(expected)[inner], atol=1e-12)


def test_cubic_agrees_with_keys_formula_through_pillow():
    """Pillow's BICUBIC is Keys' kernel with a = -0.5, like ours, away from the border."""
    from PIL import Image

    image = smooth_noise((20, 30))
    expected = np.asarray(Image.fromarray(image).resize((60, 40), Image.Resampling.BICUBIC))
    result = resize(image, (2, 2), "cubic")
    np.testing.assert_allclose(result[6:-6, 6:-6], expected[6:-6, 6:-6], atol=2e-6)


def test_lanczos_agrees_with_pillow():
    from PIL import Image

    image = smooth_noise((24, 24))
    expected = np.asarray(Image.fromarray(image).resize((96, 96), Image.Resampling.LANCZOS))
    result = resize(image, (4, 4), "lanczos")
    np.testing.assert_allclose(result[16:-16, 16:-16], expected[16:-16, 16:-16], atol=2e-6)


@pytest.mark.parametrize("kernel", ["linear", "cubic"])
def test_a_straight_line_stays_straight(kernel):
    line = np.arange(12, dtype=np.float64)
    result = resize_axis(line, 0, 4, kernel)
    expected = (np.arange(48) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(result[12:-12], expected[12:-12], atol=1e-12)


def test_nearest_keeps_every_value():
    labels = np.arange(60, dtype=np.float64).reshape(3, 4, 5) * 1e7 + 1
    np.testing.assert_array_equal(resize(labels, (2, 2, 2), "nearest"), labels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_a_sine_below_nyquist_survives_lanczos_better_than_linear():
    def wave(x):
        return np.sin(2 * np.pi * x / 5.0)

    coarse, fine = np.arange(64.0), (np.arange(128) + 0.5) / 2 - 0.5
    errors = {kernel: np.abs(resize_axis(wave(coarse), 0, 2, kernel) - wave(fine))[12:-12].max() for kernel in KERNELS}
    assert errors["lanczos"] < 0.03 < errors["linear"] < errors["nearest"]


def test_phases_mirror_each_other():
    weights = phase_weights(4, "lanczos")
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-15)
