"""How a result fits its scan: closed forms, and numpy by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from superres3d import Volume
from superres3d.resampling.interpolation import resize
from superres3d.trust import fit
from superres3d.trust.fit import fit_of, overshoot, overshoot_of_lanczos, residual, residual_map, residual_of_lanczos, sentences_of_fit

from .conftest import smooth_noise


@pytest.fixture
def scan() -> np.ndarray:
    return np.rint(smooth_noise((8, 12, 10)) * 900).astype(np.int16)


def test_repeated_voxels_leave_nothing(scan):
    assert not residual(scan, scan.repeat(2, axis=0).repeat(4, axis=2)).any()


def test_a_shift_and_a_slope_are_found(scan):
    fine = scan.repeat(2, axis=1).astype(np.float32)
    np.testing.assert_allclose(residual(scan, fine + 5), 5, atol=1e-3)
    ramp = np.where(np.arange(24) % 2, 8.0, 0.0)[None, :, None]  # half of the voxels
    np.testing.assert_allclose(residual(scan, fine + ramp), 4, atol=1e-3)


def test_factors_that_are_not_whole():
    line = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    means = residual(np.zeros((4, 2, 2), np.float32), line)[:, 0, 0]
    np.testing.assert_allclose(means, [1 / 3, 1 + 2 / 3, 3 + 1 / 3, 4 + 2 / 3], atol=1e-6)  # overlaps of 1, 1/2 | 1/2, 1 | ...
    coarser = residual(np.zeros((6, 2, 2), np.float32), line[:3])[:, 0, 0]
    assert coarser.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("factors", [(2, 1, 1), (1, 2, 4), (4, 2, 2)])
def test_what_lanczos_leaves(scan, factors):
    there = resize(scan.astype(np.float64), factors)
    np.testing.assert_allclose(residual_of_lanczos(scan, there.shape), residual(scan, there), atol=2e-3)


def test_overshoot_against_scipy(scan):
    result = resize(scan.astype(np.float32), (2, 2, 2))
    low, high = (f(scan, size=3, mode="nearest").astype(np.float32).repeat(2, 0).repeat(2, 1).repeat(2, 2) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    far = np.maximum(result - high, low - result)
    found = overshoot(scan, result, 900.0)
    assert found.beyond == np.count_nonzero(far > 0.09) > 0 and found.largest == pytest.approx(far.max())
    assert found.dots == 0 and found.voxels == result.size


@pytest.mark.parametrize("shape", [(8, 17, 10), (13, 12, 25), (8, 36, 7)])
@pytest.mark.parametrize("slab", [1 << 25, 1])
def test_overshoot_on_any_grid_voxel_by_voxel(scan, shape, slab, monkeypatch):
    """Slabs of one slice, which cut a voxel of the scan, as well; the last shape is coarser along an axis."""
    monkeypatch.setattr(fit, "_SLAB_BYTES", slab)
    scan[:, :, :4] = 0
    result = (np.random.default_rng(0).random(shape) * 900).astype(np.float32)
    places = np.ix_(*(np.minimum(((np.arange(n) + 0.5) * count / n).astype(int), count - 1) for n, count in zip(shape, scan.shape)))
    low, high = (f(scan, size=3, mode="nearest")[places].astype(np.float32) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    flat = ndimage.minimum_filter(scan, 3, mode="nearest") == ndimage.maximum_filter(scan, 3, mode="nearest")
    far = np.maximum(result - high, low - result)
    found = overshoot(scan, result, 900.0)
    assert found.beyond == np.count_nonzero(far > 0.09) and found.largest == pytest.approx(far.max()) and found.voxels == result.size
    assert found.dots == np.count_nonzero((far > 45) & ndimage.maximum_filter(flat, 5)[places]) > 0


def test_overshoot_of_lanczos_is_that_of_its_result(scan):
    masked = scan.copy()
    masked[:, :, :5] = 0
    found = overshoot_of_lanczos(masked, (scan.shape[0] * 2, scan.shape[1], scan.shape[2] * 2), 900.0)
    expected = overshoot(masked, resize(masked.astype(np.float32), (2, 1, 2), "lanczos"), 900.0)
    assert (found.beyond, found.dots, found.voxels) == (expected.beyond, expected.dots, expected.voxels) and found.dots > 0
    assert found.largest == pytest.approx(expected.largest, rel=1e-4)


def test_dots_beside_a_mask_are_counted(scan):
    masked = scan.copy()
    masked[:, :, :5] = 0
    result = masked.repeat(2, axis=2).astype(np.float32)
    result[3, 4, 11] = 2000  # two voxels from the mask
    result[3, 4, 18] = 2000  # inside the body
    assert overshoot(masked, result, 900.0).dots == 1
    assert overshoot(masked, result, 900.0).beyond == 2


def test_figures_and_words(scan):
    volume = Volume(scan.repeat(2, axis=1), modality="MR")
    result = volume.refined(volume.voxels.repeat(2, axis=2) + np.int16(3), (1, 1, 2))
    found = fit_of(volume, result, "MR")
    assert found["residual_rms"] == pytest.approx(3) and found["residual_mean"] == pytest.approx(3) and found["residual_largest"] == pytest.approx(3)
    assert found["outside_models"] < 0.01 and found["dots"] == 0
    assert "3 from the scan" in sentences_of_fit(found, "")[0]
    assert residual_map(volume, result).voxels.shape == volume.voxels.shape


def test_a_ct_beyond_its_networks_is_told():
    voxels = np.full((6, 20, 20), 40, np.int16)
    voxels[2:4, 5:15, 5:15] = 8000
    voxels[0, 0, 0] = -1000
    volume = Volume(voxels, modality="CT")
    found = fit_of(volume, volume, "CT")
    assert found["outside_models"] == pytest.approx(200 / voxels.size)
    assert any("outside the intensities" in line for line in sentences_of_fit(found, "HU"))
