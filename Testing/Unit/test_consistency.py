"""Data consistency: back-projections."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from superres3d import Volume
from superres3d.engine import chain
from superres3d.errors import InputError
from superres3d.resampling.consistency import REACH, back_projected, grown
from superres3d.resampling.degradation import antialiased_bicubic
from superres3d.upscaling import upscale

FACTORS = (2, 4, 2)


@pytest.fixture(scope="module")
def scan() -> Volume:
    random = np.random.default_rng(3)
    smooth = gaussian_filter(random.random((24, 28, 32)), 1.0).astype(np.float32)
    return Volume(smooth * 1000, spacing=(1.0, 1.0, 2.0))


def lack(result: np.ndarray, scan: np.ndarray) -> float:
    """What the downsampled result lacks of the scan (RMS)."""
    factors = tuple(a // b for a, b in zip(result.shape, scan.shape))
    return float(np.sqrt(np.mean((antialiased_bicubic(result, factors) - scan) ** 2)))


def test_the_downsampled_result_comes_to_the_scan(scan: Volume):
    """The limit is the solution of a linear system: with many back-projections nothing is lacking any more."""
    start = np.zeros(tuple(n * f for n, f in zip(scan.voxels.shape, FACTORS)), np.float32)
    lacks = [lack(back_projected(start, scan.voxels, FACTORS, count), scan.voxels) for count in (0, 1, 3, 60)]
    assert lacks[0] > 2 * lacks[1] > 4 * lacks[2]
    assert lacks[3] < 1e-2 * lacks[0]


def test_a_consistent_result_stays_as_it_is():
    fine = gaussian_filter(np.random.default_rng(4).random((16, 16, 16)), 1.0).astype(np.float32)
    same = back_projected(fine, antialiased_bicubic(fine, (2, 2, 2)), (2, 2, 2), 4)
    np.testing.assert_allclose(same, fine, atol=1e-6)


@pytest.mark.parametrize("scale", [2, (1, 4), (4, 1)])
def test_blocks_give_the_same_as_the_whole(scan: Volume, scale, monkeypatch):
    whole = upscale(scan, scale, method="lanczos", modality="MR", consistency=2)
    assert whole.report["blocks"] == 1 and whole.report["back_projections"] == 2
    monkeypatch.setattr(chain, "choose_block", lambda *_: (13, 10, 16))
    cut = upscale(scan, scale, method="lanczos", modality="MR", consistency=2)
    assert cut.report["blocks"] > 4
    np.testing.assert_allclose(cut.volume.voxels, whole.volume.voxels, atol=1e-3)
    # The margin is needed: with a quarter of it the blocks differ.
    monkeypatch.setattr("superres3d.resampling.consistency.REACH", REACH // 4)
    short = upscale(scan, scale, method="lanczos", modality="MR", consistency=2)
    assert np.abs(short.volume.voxels - whole.volume.voxels).max() > 1e-2


def test_the_region_grows_only_along_refined_axes():
    assert grown(((10, 20), (0, 5), (3, 9)), (40, 5, 12), (2, 1, 2), 2) == ((2, 28), (0, 5), (0, 12))


def test_integers_stay_integers_and_values_keep_their_scale(scan: Volume):
    whole = Volume(np.rint(scan.voxels).astype(np.int16), spacing=scan.spacing)
    result = upscale(whole, 2, method="cubic", modality="MR", consistency=3).volume.voxels
    assert result.dtype == np.int16
    assert lack(result, whole.voxels) < 0.4 * lack(upscale(whole, 2, method="cubic", modality="MR").volume.voxels, whole.voxels)


@pytest.mark.parametrize(
    "choices,word",
    [({"consistency": 11}, "0 to 10"), ({"consistency": -1}, "0 to 10"), ({"consistency": 1, "slice_spacing": 0.5, "scale": None}, "leave the consistency out")],
)
def test_what_cannot_be_is_refused_in_one_sentence(scan: Volume, choices, word):
    with pytest.raises(InputError, match=word):
        upscale(scan, **{"scale": 2, "method": "linear", "modality": "MR", **choices})


def test_a_method_for_another_loss_of_detail_refuses(scan: Volume):
    with pytest.raises(InputError, match="mdcsrn"):
        upscale(scan, 2, axes="in-plane", method="mdcsrn", modality="MR", consistency=1)
