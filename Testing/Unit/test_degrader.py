"""Training patches and their low-resolution twins, against scipy's transforms and degraded slices."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import fft, ndimage
from superres3d.resampling.degradation import antialiased_bicubic
from superres3d.training.degrader import Degrader, margin_of
from superres3d.training.samples import PatchDataset

from .conftest import small_recipe as small
from .conftest import smooth_noise

MEASURED = {"blur_probability": 0.0, "spectral_share": 1.0}


def side_of(recipe) -> int:
    """Of a square patch with margin, in pixels of the coarse grid."""
    return recipe.patch + 2 * margin_of(recipe)


def test_samples_depend_on_their_number_alone():
    volumes = {"a": smooth_noise((20, 60, 60))}
    recipe = small(volumes=("a",), gain=1.5)
    first, later = PatchDataset(recipe, volumes, 10), PatchDataset(recipe, volumes, 10, first=4)
    assert torch.equal(first[7], later[3])
    assert not torch.equal(first[7], first[3])


def test_a_volume_is_drawn_as_often_as_its_share_says():
    """One of three volumes, each of a value of its own, three times as often as either other: three of five patches."""
    volumes = {name: np.full((20, 60, 60), value, np.float32) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    drawn = PatchDataset(small(volumes=tuple(volumes), shares={"b": 3.0}), volumes, 600)
    values = np.array([float(drawn[number].mean()) for number in range(600)])
    assert [np.mean(values == value) for value in (1.0, 2.0, 3.0)] == pytest.approx([0.2, 0.6, 0.2], abs=0.06)


def test_depth_samples_run_along_the_depth():
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 64, 64)).copy()
    recipe = small(stage="depth", volumes=("a",), augment_exact=False)
    for number in range(6):
        patch = PatchDataset(recipe, {"a": ramp}, 10)[number][0]
        assert torch.all(patch.diff(dim=0) == 1) and torch.all(patch.diff(dim=1) == 0)


def test_any_axis_of_a_scan_that_is_sharp_along_all_is_taken_as_the_depth():
    """Steps tell the axes: rows of a patch run along the depth, columns along one of the others, in all six ways."""
    steps = 100 ** np.arange(3)
    volume = np.tensordot(steps, np.indices((64, 64, 64)), axes=1).astype(np.float32)
    samples = PatchDataset(small(stage="depth", volumes=("a",), all_axes=("a",), augment_exact=False), {"a": volume}, 60)
    patches = [samples[number][0] for number in range(60)]
    seen = {(int(patch[1, 0] - patch[0, 0]), int(patch[0, 1] - patch[0, 0])) for patch in patches}
    assert seen == {(int(rows), int(columns)) for rows in steps for columns in steps if rows != columns}


def test_degraded_patches_are_patches_of_the_degraded_slice():
    """Training cuts first and degrades then; the result must not differ from the other order."""
    image = smooth_noise((96, 96))
    for stage in ("plane", "depth"):
        recipe = small(stage=stage, patch=12, patch_across=10, blur_probability=0.0)
        rows, columns = recipe.patch_shape
        top, left = 8, 12  # low-resolution pixels (full-resolution columns for the depth stage)
        r, c = recipe.factors
        margin = margin_of(recipe)
        window = image[(top - margin) * r : (top + rows + margin) * r, (left - margin) * c : (left + columns + margin) * c]
        low, high = Degrader(recipe)(torch.from_numpy(window.copy())[None, None], np.random.default_rng(0))
        whole = antialiased_bicubic(image, (r, c))
        np.testing.assert_allclose(low[0, 0].numpy(), whole[top : top + rows, left : left + columns], atol=1e-6)
        np.testing.assert_array_equal(high[0, 0].numpy(), image[top * r : (top + rows) * r, left * c : (left + columns) * c])


def test_slices_of_a_box_are_means_of_what_they_hold(monkeypatch):
    """Thickness times slices of the patch: scipy's uniform filter, sampled at the slices' middles."""
    monkeypatch.setattr("superres3d.training.degrader.THICKNESSES", {"box": (1.25, 1.25)})
    recipe = small(stage="depth", scale=4, patch=8, patch_across=10, profile_share=1.0)
    fine = smooth_noise((4 * (8 + 2 * margin_of(recipe)), 10 + 2 * margin_of(recipe)))
    low, _ = Degrader(recipe)(torch.from_numpy(fine.copy())[None, None], np.random.default_rng(0))
    halves = np.repeat(fine.astype(np.float64), 2, axis=0)  # a slice's middle lies between two voxels
    means = ndimage.uniform_filter1d(halves, 2 * 5 + 1, axis=0) * 11 - 0.5 * (np.roll(halves, 5, axis=0) + np.roll(halves, -5, axis=0))
    expected = _middles(means / 10)[margin_of(recipe) : -margin_of(recipe), margin_of(recipe) : -margin_of(recipe)]
    np.testing.assert_allclose(low[0, 0].numpy(), expected, atol=1e-5)


def _middles(halves: np.ndarray) -> np.ndarray:
    """Of slices of four voxels, each given as two halves: the mean of those on either side."""
    return (halves[3::8] + halves[4::8]) / 2


def test_a_share_of_the_patches_has_slice_profiles():
    recipe = small(stage="depth", scale=2, patch=8, patch_across=8, blur_probability=0.0, profile_share=0.3)
    side = 8 + 2 * margin_of(recipe)
    patches = torch.from_numpy(smooth_noise((2 * side, side)).copy())[None, None].repeat(400, 1, 1, 1)
    plain = Degrader(replace(recipe, profile_share=0.0))(patches[:1], np.random.default_rng(0))[0]
    low, _ = Degrader(recipe)(patches, np.random.default_rng(0))
    differ = (low - plain).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert 0.2 < float(differ.float().mean()) < 0.4
    assert len({round(float(value), 6) for value in low[differ].std(dim=(1, 2, 3))}) > 50  # each its own thickness


def test_half_precision_does_not_reach_the_scan():
    recipe = small(spectral_share=0.5)
    patches = torch.rand(6, 1, side_of(recipe) * 2, side_of(recipe) * 2)
    exact, _ = Degrader(recipe)(patches, np.random.default_rng(0))
    with torch.autocast("cpu", torch.bfloat16):
        low, _ = Degrader(recipe)(patches, np.random.default_rng(0))
    assert low.dtype == torch.float32 and torch.equal(low, exact)


def test_noise_is_of_the_stated_strength_on_the_stated_share():
    """Patches of one value: what varies in the low-resolution ones is the noise."""
    recipe = small(noise=0.02, noise_share=0.5, blur_probability=0.0)
    patches = torch.full((400, 1, *(side_of(recipe) * 2,) * 2), 0.3)
    low, high = Degrader(recipe)(patches, np.random.default_rng(0))
    spread = low.std(dim=(1, 2, 3))
    assert torch.all(high == 0.3)
    assert float((spread > 1e-6).float().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(spread.max()) < 0.026
    assert float(spread[spread > 1e-6].mean()) == pytest.approx(0.01, abs=0.002)  # of a uniform distribution up to 0.02
    assert float(low.mean()) == pytest.approx(0.3, abs=1e-3)
    quiet, _ = Degrader(small(blur_probability=0.0))(patches, np.random.default_rng(0))
    assert torch.allclose(quiet, torch.full_like(quiet, 0.3))


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("stage", ["plane", "depth"])
def test_measured_patches_are_truncated_ones(stage, modality):
    """Everything measured: scipy's transforms of the patch with its margin; of MR the magnitude."""
    recipe = small(stage=stage, modality=modality, **MEASURED)
    side, margin = side_of(recipe), margin_of(recipe)
    patches = torch.randn(3, 1, side * 2, side * recipe.factors[1])
    low, high = Degrader(recipe)(patches, np.random.default_rng(0))
    axes = (-2, -1) if stage == "plane" else (-2,)
    spectrum = fft.dctn(patches.numpy(), axes=axes, norm="ortho")[:, :, :side, :side]
    expected = fft.idctn(spectrum, axes=axes, norm="ortho") / 2 ** (len(axes) / 2)
    expected = (np.abs(expected) if modality == "MR" else expected)[:, :, margin:-margin, margin:-margin]
    np.testing.assert_allclose(low, expected, atol=1e-5)
    assert (low.min() < -0.1) == (modality == "CT")
    assert high.shape[-2:] == (16, 8 * recipe.factors[1])


@pytest.mark.parametrize("turned", [False, True])
def test_some_measured_patches_are_zero_filled(turned):
    """A wave along the rows or columns, 29 of 32 frequencies: whole where it was measured, zero where not."""
    side = side_of(small(**MEASURED))
    assert side == 32
    wave = np.cos(np.pi * 29 * (np.arange(2 * side) + 0.5) / (2 * side))
    image = np.tile(wave, (2 * side, 1))
    patches = torch.from_numpy(np.tile(image.T if turned else image, (600, 1, 1, 1))).float()

    def kept(**changes) -> np.ndarray:
        low, _ = Degrader(small(modality="CT", **{**MEASURED, **changes}))(patches, np.random.default_rng(1))
        return low.abs().amax(dim=(1, 2, 3)).numpy()

    whole = kept()[0]
    half = kept(spectral_share=0.5)
    averaged = half[half < 0.9 * whole]
    assert len(averaged) / 600 == pytest.approx(0.5, abs=0.07) and np.ptp(averaged) < 1e-5 and np.allclose(half[half >= 0.9 * whole], whole, atol=1e-4)
    filled = kept(spectral_extent=0.6)
    # On half of the patches an extent from 0.6 to 1, of which (29/32 - 0.6) / 0.4 do not reach the wave.
    assert np.mean(filled < 1e-4) == pytest.approx(0.5 * (29 / 32 - 0.6) / 0.4, abs=0.06)


def test_noise_is_measured_as_far_as_the_scan():
    """White where everything was measured, of the stated strength; without the frequencies that were not."""
    quiet = {"modality": "CT", "noise": 0.02, "noise_share": 1.0, **MEASURED}
    recipe = small(**quiet)
    patches = torch.full((300, 1, *(side_of(recipe) * 2,) * 2), 0.3)
    white, _ = Degrader(recipe)(patches, np.random.default_rng(0))
    assert float((white - 0.3).square().mean().sqrt()) == pytest.approx(0.02 / 3**0.5, rel=0.05)  # of a uniform distribution up to 0.02
    some, _ = Degrader(small(**quiet, spectral_extent=0.1))(patches, np.random.default_rng(0))
    smooth = (some.diff(dim=-1).square().mean((1, 2, 3)) / (some - 0.3).square().mean((1, 2, 3))).numpy()  # 2 for white noise
    assert np.mean(smooth < 1.0) == pytest.approx(0.5 * 0.6, abs=0.12) and np.median(smooth[smooth > 1.5]) == pytest.approx(2.0, abs=0.1)


def test_scans_coarse_in_plane_are_truncated_as_often():
    """A wave across the slices just below the coarse Nyquist frequency: truncation keeps it whole, averaging does not."""
    wave = np.cos(np.pi * 0.45 * np.arange(80))
    volume = np.broadcast_to(wave, (40, 80, 80)).astype(np.float32)

    def spans(share: float) -> np.ndarray:
        recipe = small(stage="depth", volumes=("a",), coarse_across=1.0, spectral_share=share, augment_exact=False)
        samples = PatchDataset(recipe, {"a": volume}, 200)
        found = [float(patch.max() - patch.min()) for patch in (samples[number] for number in range(200))]
        return np.array([span for span in found if span > 0.1])  # the others lie along the wave's crests

    averaged, truncated = spans(0.0).max(), spans(1.0).min()
    assert averaged < 1.6 < truncated
    assert np.mean(spans(0.5) > 1.6) == pytest.approx(0.5, abs=0.12)


def test_windows_reach_over_the_edges_of_a_scan():
    """With the wider margin patches come as near to the edges as with the narrow one: three low-resolution pixels."""
    ramp = np.arange(80.0, dtype=np.float32) / 80
    volume = np.broadcast_to(ramp, (3, 80, 80)).copy()
    recipe = small(volumes=("a",), spectral_share=0.5, augment_exact=False)
    samples = PatchDataset(recipe, {"a": volume}, 300)
    _, high = Degrader(recipe)(torch.stack([samples[number] for number in range(300)]), np.random.default_rng(0))
    assert high.min() == ramp[6] and high.max() == ramp[-7]
