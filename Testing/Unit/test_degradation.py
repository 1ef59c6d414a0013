"""The paper's degradation (MATLAB's antialiased imresize) against independent implementations."""

import numpy as np
import pytest
import torch
from PIL import Image
from superres3d.degradation import antialiased_bicubic, antialiased_bicubic_matrix, gaussian_kernel_3
from superres3d.interpolation import resize

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


def test_degraded_patches_are_patches_of_the_degraded_slice():
    """Training cuts first and degrades then; the result must not differ from the other order."""
    from superres3d.training.recipe import Recipe
    from superres3d.training.samples import MARGIN, Degrader

    image = smooth_noise((96, 96))
    for stage in ("plane", "depth"):
        recipe = Recipe(stage=stage, scale=2, patch=12, patch_across=10, blur_probability=0.0, volumes=("x",))
        rows, columns = recipe.patch_shape
        top, left = 8, 12  # low-resolution pixels (full-resolution columns for the depth stage)
        r, c = recipe.factors
        window = image[(top - MARGIN) * r : (top + rows + MARGIN) * r, (left - MARGIN) * c : (left + columns + MARGIN) * c]
        low, high = Degrader(recipe)(torch.from_numpy(window.copy())[None, None], np.random.default_rng(0))
        whole = antialiased_bicubic(image, (r, c))
        np.testing.assert_allclose(low[0, 0].numpy(), whole[top : top + rows, left : left + columns], atol=1e-6)
        np.testing.assert_array_equal(high[0, 0].numpy(), image[top * r : (top + rows) * r, left * c : (left + columns) * c])
