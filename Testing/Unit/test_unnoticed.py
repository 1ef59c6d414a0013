"""Faults that once would have passed all tests: each test here fails when its fault is put in by hand."""

import nibabel
import numpy as np
import pytest
from superres3d import Volume, read_volume, write_volume
from superres3d import plan as planning
from superres3d.engine.chain import as_dtype
from superres3d.errors import ResourceError
from superres3d.plan import plan_upscaling
from superres3d.resampling.consistency import back_projected, grown
from superres3d.scan.intensity import MR_PERCENTILES, intensity_scale
from superres3d.speed import cache_folder
from superres3d.upscaling import upscale

RNG = np.random.default_rng(8)


def test_tests_teach_the_user_s_own_cache_nothing(monkeypatch):
    ours = cache_folder()
    monkeypatch.delenv("SUPERRES3D_CACHE")
    assert ours != cache_folder() and "superres3d" in cache_folder().name


@pytest.mark.parametrize("method", ["lanczos", "two-stage-residual"])
@pytest.mark.parametrize("inputs", [0, 1])
def test_the_memory_plan_counts_the_result_and_the_scan(models, method, inputs):
    """Voxels of four bytes in place of two: all that grows is the scan and its result."""
    shape, refined = (40, 100, 120), (80, 200, 240)
    two, four = (
        plan_upscaling(shape, (1, 1, 1), dtype, 2, method=method, modality="MR", memory_limit=8 << 30, inputs_in_memory=inputs) for dtype in ("int16", "float32")
    )
    assert (two.result_bytes, four.result_bytes) == (2 * np.prod(refined), 4 * np.prod(refined))
    assert four.memory_bytes - two.memory_bytes == 2 * (np.prod(refined) + inputs * np.prod(shape))


def test_free_memory_is_what_a_run_may_use(models, monkeypatch):
    free = type("Memory", (), {"available": 600 << 20})
    monkeypatch.setattr(planning.psutil, "virtual_memory", lambda: free)
    with pytest.raises(ResourceError, match="and 600 MiB are free"):
        plan_upscaling((300, 512, 512), (1, 1, 1), "int16", 2, method="lanczos")
    assert plan_upscaling((100, 256, 256), (1, 1, 1), "int16", 2, method="lanczos").memory_bytes <= free.available
    free.available = 64 << 30
    assert plan_upscaling((300, 512, 512), (1, 1, 1), "int16", 2, method="lanczos").result_bytes == 2 * 8 * 300 * 512 * 512


def test_a_bright_voxel_does_not_make_an_mr_dark():
    voxels = RNG.gamma(2.0, 100.0, (20, 30, 40))
    scale = intensity_scale(voxels, "MR")
    low, high = np.percentile(voxels, MR_PERCENTILES)
    assert (scale.offset, scale.span) == pytest.approx((low, high - low))
    assert scale.span < 0.75 * np.ptp(voxels)
    voxels[3, 4, 5] = 1e6
    assert intensity_scale(voxels, "MR").span == pytest.approx(scale.span, rel=1e-3)


def test_32_bit_integers_keep_their_ends_and_their_last_digit(tmp_path):
    ends = np.array([2**31, -(2**31), 2.0**31 + 300], np.float32)
    np.testing.assert_array_equal(as_dtype(ends, np.dtype("int32")).astype(np.int32), [2**31 - 1, -(2**31), 2**31 - 1])
    voxels = RNG.integers(2**31 - 4000, 2**31 - 1, (4, 6, 8)).astype(np.int32)
    voxels[0, 0, 0] = -(2**31)
    write_volume(Volume(voxels), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj).T, voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").voxels, voxels)
    pixels = 2**30 + 1000 * np.arange(16).reshape(4, 4)  # no neighbours are equal, as those of a label map are
    steps = (np.arange(8)[:, None, None] + pixels).astype(np.int32)
    result = upscale(Volume(steps, modality="MR"), 2, axes="through-plane", method="linear", slice_axis="k").volume.voxels
    exact = np.clip((np.arange(16) + 0.5) / 2 - 0.5, 0, 7)[:, None, None] + pixels
    np.testing.assert_array_equal(result, np.rint(exact))


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("count", [1, 2])
def test_a_block_is_grown_as_far_as_a_back_projection_looks(factor, count):
    """The least weight of the farthest voxel is seen."""
    scan, factors = RNG.standard_normal((40, 3, 3)), (factor, 1, 1)
    refined = RNG.standard_normal((40 * factor, 3, 3))
    whole = back_projected(refined, scan, factors, count)
    region = ((18, 21), (0, 3), (0, 3))
    (first, last), *_ = grown(region, scan.shape, factors, count)
    part = back_projected(refined[first * factor : last * factor], scan[first:last], factors, count)
    np.testing.assert_allclose(part[(18 - first) * factor :][: 3 * factor], whole[18 * factor : 21 * factor], atol=1e-6)
