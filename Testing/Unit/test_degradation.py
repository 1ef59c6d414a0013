"""The papers' degradations (MATLAB's antialiased imresize, k-space truncation, slice profiles) against independent implementations."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import fft
from scipy.ndimage import gaussian_filter1d
from superres3d.resampling.degradation import (
    antialiased_bicubic,
    antialiased_bicubic_matrix,
    cosine_matrices,
    gaussian_kernel_3,
    interval_means,
    kspace_truncation,
    reduction_matrix,
    slice_profile_matrix,
    spectral_window,
)
from superres3d.resampling.interpolation import resize

from .conftest import smooth_noise


@pytest.mark.parametrize("factor", [2, 4])
def test_interior_agrees_with_pillow(factor):
    """Pillow stretches the same kernel; only its border differs (cut off instead of mirrored)."""
    image = smooth_noise((64, 48))
    expected = np.asarray(Image.fromarray(image).resize((48 // factor, 64 // factor), Image.Resampling.BICUBIC))
    result = antialiased_bicubic(image, (factor, factor))
    np.testing.assert_allclose(result[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-6)
    assert np.abs(result - expected).max() > 1e-4  # the borders do differ: ours is not Pillow's


@pytest.mark.parametrize("factor", [2, 4])
def test_border_is_mirrored(factor):
    """Mirroring by hand, then an interior-only computation by Pillow, gives the same border."""
    image = smooth_noise((32, 32), seed=3)
    pad = 4 * factor
    mirrored = np.pad(image, pad, mode="symmetric")
    wide = np.asarray(Image.fromarray(mirrored).resize((mirrored.shape[1] // factor,) * 2, Image.Resampling.BICUBIC))
    np.testing.assert_allclose(antialiased_bicubic(image, (factor, factor)), wide[4:-4, 4:-4], atol=1e-6)


def test_published_weights_for_a_factor_of_two():
    """MATLAB's kernel at half scale: cubic((0.25 + n/2)) / 2, as printed in many re-implementations."""
    row = antialiased_bicubic_matrix(32, 2)[8]
    expected = np.array([-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875])
    np.testing.assert_allclose(row[13:21], expected, atol=1e-12)
    assert np.count_nonzero(row) == 8


def test_rows_sum_to_one_and_odd_lengths_round_up():
    matrix = antialiased_bicubic_matrix(31, 4)
    assert matrix.shape == (8, 31)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["cubic", "lanczos"])
def test_round_trip_brings_a_smooth_volume_back(kernel):
    fine = (np.arange(48) + 0.5) / 48
    volume = np.cos(np.pi * fine)[:, None, None] * np.cos(2 * np.pi * fine)[None, :, None] * np.cos(np.pi * fine)[None, None, :]
    back = resize(antialiased_bicubic(volume, (2, 2, 2)), (2, 2, 2), kernel)
    assert np.abs(back - volume)[6:-6, 6:-6, 6:-6].max() < 0.01


def test_blur_kernel_is_a_normalised_gaussian():
    kernels = gaussian_kernel_3(np.array([0.0, 0.5]))
    np.testing.assert_allclose(kernels[0], [0, 1, 0])
    np.testing.assert_allclose(kernels[1, 0] / kernels[1, 1], np.exp(-2.0))
    np.testing.assert_allclose(kernels.sum(axis=1), 1.0)


# K-space (Chen 2020)


def truncated_by_numpy(array: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """All axes at once: the middle of the centred spectrum, moved to the centres of the larger voxels."""
    spectrum = np.fft.fftshift(np.fft.fftn(array))
    for axis, factor in enumerate(factors):
        length = array.shape[axis]
        first = length // 2 - length // factor // 2
        kept = np.arange(first, first + length // factor)
        spectrum = np.moveaxis(np.take(spectrum, kept, axis), axis, -1)
        spectrum = np.moveaxis(spectrum * np.exp(2j * np.pi * (kept - length // 2) * (factor - 1) / 2 / length) / factor, -1, axis)
    return np.fft.ifftn(np.fft.ifftshift(spectrum)).real


@pytest.mark.parametrize("shape, factors", [((9, 20, 28), (1, 2, 2)), ((8, 12, 30), (4, 3, 2)), ((6, 18, 20), (2, 2, 4)), ((5, 14, 22), (1, 1, 1))])
def test_kspace_is_cut_as_numpy_cuts_it(shape, factors):
    """Kept lengths even and odd; a real scan whose Nyquist frequencies are not zero."""
    array = smooth_noise(shape) + np.random.default_rng(1).normal(0, 0.2, shape).astype(np.float32)
    result = kspace_truncation(array, factors)
    assert result.dtype == np.float32 and result.shape == tuple(n // f for n, f in zip(shape, factors))
    np.testing.assert_allclose(result, truncated_by_numpy(array, factors), atol=2e-6)


@pytest.mark.parametrize("length, factor", [(32, 2), (24, 4), (30, 3)])
@pytest.mark.parametrize("phase", [0.0, 0.7])
def test_waves_below_the_cut_survive_and_those_above_vanish(length, factor, phase):
    """A wave has its value at the centre of every larger voxel, by the formula."""
    kept = length // factor
    for periods in range(length // 2):
        line = np.cos(2 * np.pi * periods * (np.arange(length) + 0.5) / length + phase)
        expected = np.cos(2 * np.pi * periods * (np.arange(kept) + 0.5) / kept + phase) if periods < kept / 2 else np.zeros(kept)
        if periods != kept / 2:
            np.testing.assert_allclose(kspace_truncation(line, (factor,)), expected, atol=1e-6)


def test_kspace_keeps_the_mean_and_does_not_shift():
    _k, j, i = np.mgrid[:8, :64, :48]
    blob = 100 * np.exp(-((j - 25.3) ** 2 + (i - 20.8) ** 2) / 40.0) + 7
    short = kspace_truncation(blob, (1, 2, 2))
    np.testing.assert_allclose(short.mean(), blob.mean(), rtol=1e-6)
    rows, columns = (np.mgrid[:32, :24] + 0.5) * 2 - 0.5  # where the larger voxels lie
    weight = short[0] - 7
    np.testing.assert_allclose([(weight * rows).sum() / weight.sum(), (weight * columns).sum() / weight.sum()], [25.3, 20.8], atol=1e-3)


def test_kspace_of_lengths_that_do_not_divide():
    with pytest.raises(ValueError, match="axis of 9 voxels cannot be shortened by 2"):
        kspace_truncation(np.zeros((4, 9, 8)), (1, 2, 2))


@pytest.mark.parametrize("length, factor", [(60, 2), (60, 4), (36, 3)])
def test_the_cosine_form_is_truncation_of_the_mirrored_line(length, factor):
    """Against scipy's transforms, and against the Fourier form on the line and its mirror image."""
    line = np.random.default_rng(2).normal(size=length)
    synthesis, analysis = cosine_matrices(length, factor)
    kept = length // factor
    short = synthesis @ analysis @ line
    np.testing.assert_allclose(short, fft.idct(fft.dct(line, norm="ortho")[:kept], norm="ortho") / np.sqrt(factor), atol=1e-12)
    np.testing.assert_allclose(short, kspace_truncation(np.concatenate([line, line[::-1]]), (factor,))[:kept], atol=1e-6)
    with pytest.raises(ValueError, match="61 voxels cannot be shortened by 2"):
        cosine_matrices(61, 2)


def test_filters_of_kspace():
    """Numpy's windows, whose middle is the frequency zero; what was not measured is zero."""
    np.testing.assert_allclose(spectral_window(16, 1.0, 0.54), np.hamming(33)[16:-1], atol=1e-12)
    np.testing.assert_allclose(spectral_window(16, 1.0, 0.5), np.hanning(33)[16:-1], atol=1e-12)
    np.testing.assert_allclose(spectral_window(16, np.array([1.0, 0.5]), np.array([1.0, 0.54])), [np.ones(16), np.r_[np.hamming(17)[8:-1], np.zeros(8)]], atol=1e-12)


# Slice profiles (Kudo 2019)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("sigma", [0.5, 1.3, 3.2])
def test_thick_slices_are_scipys_gaussian_at_their_middles(factor, sigma):
    """On a grid twice as fine, so that the middle of an even number of slices is a sample; over an edge the profile is cut off."""
    length = 48
    line = np.random.default_rng(2).random(length)
    fine, present = np.zeros(2 * length), np.zeros(2 * length)
    fine[::2], present[::2] = line, 1.0
    blurred, weight = (gaussian_filter1d(x, 2 * sigma, mode="constant", radius=2 * length) for x in (fine, present))
    middles = 2 * np.arange(length // factor) * factor + factor - 1
    matrix = slice_profile_matrix(length, factor, sigma)
    assert matrix.shape == (length // factor, length)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(matrix @ line, (blurred / weight)[middles], atol=1e-9)


def test_a_thin_profile_takes_the_nearest_slices():
    np.testing.assert_allclose(slice_profile_matrix(9, 3, 0.0), np.eye(9)[1::3], atol=0.01)
    np.testing.assert_allclose(slice_profile_matrix(8, 4, 0.0), (np.eye(8)[1::4] + np.eye(8)[2::4]) / 2, atol=0.01)


def test_thickness_is_the_width_at_half_height():
    """2.35 sigma, as DICOM's slice thickness is measured."""
    row = slice_profile_matrix(41 * 3, 41, 10.0)[1]
    wide = np.count_nonzero(row >= row.max() / 2)
    assert abs(wide - 23.5) < 1


@pytest.mark.parametrize("fine, coarse", [(12, 4), (16, 6), (13, 5)])
def test_interval_means_are_integrals(fine, coarse):
    line = np.random.default_rng(4).random(fine)
    integral = np.interp(np.linspace(0, fine, coarse + 1), np.arange(fine + 1), np.concatenate([[0.0], np.cumsum(line)]))
    np.testing.assert_allclose(interval_means(fine, coarse) @ line, np.diff(integral) * coarse / fine, atol=1e-6)


# Reductions by any factor


@pytest.mark.parametrize("factor", [1.2, 1.4, 2, 3.3])
@pytest.mark.parametrize("length", [31, 64])
def test_reductions_keep_the_mean_and_the_extent(length, factor):
    """A constant stays, and away from the ends a straight line stays where it is."""
    matrix = reduction_matrix(length, factor)
    count = round(length / factor)
    assert matrix.shape == (count, length)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    centres = (np.arange(count) + 0.5) * length / count - 0.5
    reach = math.ceil(2 * length / count) + 1
    inner = (centres > reach) & (centres < length - 1 - reach)
    assert inner.any()
    np.testing.assert_allclose((matrix @ np.arange(length))[inner], centres[inner], atol=0.03 * length / count)


@pytest.mark.parametrize("length, factor", [(32, 2), (24, 4), (30, 3)])
def test_whole_reductions_are_the_antialiased_bicubic(length, factor):
    np.testing.assert_allclose(reduction_matrix(length, factor), antialiased_bicubic_matrix(length, factor), atol=1e-12)


@pytest.mark.parametrize("factor", [1.4, 2.5])
def test_reductions_agree_with_pillow(factor):
    image = smooth_noise((64, 48))
    counts = [round(n / factor) for n in image.shape]
    expected = np.asarray(Image.fromarray(image).resize((counts[1], counts[0]), Image.Resampling.BICUBIC))
    result = reduction_matrix(64, factor) @ image @ reduction_matrix(48, factor).T
    np.testing.assert_allclose(result[3:-3, 3:-3], expected[3:-3, 3:-3], atol=2e-6)
