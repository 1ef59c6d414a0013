"""Interpolation against SimpleITK, scipy and closed forms."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.interpolate import CubicSpline
from scipy.ndimage import map_coordinates, zoom
from superres3d import Volume
from superres3d.resampling.interpolation import KERNELS, phase_weights, resample_axis, resize, resize_axis, sampling_matrix, spline_matrix
from superres3d.scan.writing import to_image

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


# Any number of voxels over the same extent

LENGTHS = [(9, 24), (12, 17), (4, 40), (31, 32), (5, 10)]


@pytest.mark.parametrize("length, count", LENGTHS)
def test_spline_is_scipys(length, count):
    """Interpolating cubic spline with mirrored edges, the border included: periodic with the line's mirror image."""
    line = np.random.default_rng(0).random(length)
    places = (np.arange(count) + 0.5) * length / count - 0.5
    periodic = CubicSpline(np.arange(2 * length + 1), np.concatenate([line, line[::-1], line[:1]]), bc_type="periodic")
    result = spline_matrix(length, count) @ line
    np.testing.assert_allclose(result, periodic(np.mod(places, 2 * length)), atol=1e-12)
    # scipy.ndimage cuts its recursion off early on short lines
    np.testing.assert_allclose(result, map_coordinates(line, [places], order=3, mode="reflect"), atol=5e-6)
    np.testing.assert_allclose(result, zoom(line, count / length, order=3, mode="reflect", grid_mode=True), atol=5e-6)


@pytest.mark.parametrize("kernel", [*KERNELS, "spline"])
@pytest.mark.parametrize("length, count", LENGTHS)
def test_any_count_keeps_constants_and_both_ends(kernel, length, count):
    matrix = sampling_matrix(length, count, kernel)
    assert matrix.shape == (count, length)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    if kernel != "nearest":  # which has to choose a side where a place lies between two voxels
        np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("length, factor", [(7, 2), (9, 4), (4, 3)])
def test_whole_multiples_are_the_whole_factor(kernel, length, factor):
    line = np.random.default_rng(1).random(length)
    np.testing.assert_allclose(sampling_matrix(length, length * factor, kernel) @ line, resize_axis(line, 0, factor, kernel), atol=1e-12)


@pytest.mark.parametrize("kernel, itk, edge", [("linear", sitk.sitkLinear, 3), ("nearest", sitk.sitkNearestNeighbor, 3), ("spline", sitk.sitkBSpline, 30)])
def test_uneven_factors_agree_with_simpleitk_on_the_same_grid(kernel, itk, edge):
    """SimpleITK mirrors a spline otherwise at the edge; the difference falls to a quarter with each voxel."""
    scan = Volume(np.random.default_rng(2).random((26, 9, 31)), (0.8, 0.9, 2.7), (5.0, -3.0, 11.0))
    factors = (70 / 26, 1, 40 / 31)
    result = scan.refined(resize(scan.voxels, factors, kernel), factors)
    assert result.voxels.shape == (70, 9, 40)
    expected = sitk.Resample(to_image(scan), to_image(result), sitk.Transform(), itk, 0.0, sitk.sitkFloat64)
    inner = (slice(edge, -edge), slice(None), slice(6 if kernel == "spline" else 2, -6 if kernel == "spline" else -2))
    tolerance = 1e-3 if kernel == "spline" else 1e-12
    np.testing.assert_allclose(result.voxels[inner], sitk.GetArrayFromImage(expected)[inner], atol=tolerance)


def test_axes_are_resampled_one_by_one():
    array = np.random.default_rng(3).random((5, 6, 7)).astype(np.float32)
    grids = np.meshgrid(*((np.arange(m) + 0.5) * n / m - 0.5 for n, m in zip((5, 6, 7), (8, 6, 19))), indexing="ij")
    result = resize(array, (8 / 5, 1, 19 / 7), "spline")
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, map_coordinates(array.astype(float), grids, order=3, mode="reflect"), atol=1e-5)
    np.testing.assert_array_equal(result, resample_axis(resample_axis(array, 0, 8, "spline"), 2, 19, "spline"))
    assert resize(array.astype(np.float64), (1, 2, 1), "spline").dtype == np.float64
