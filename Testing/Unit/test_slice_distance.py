"""Slices of any distance by networks that refine by a factor, and an interpolation after them; with untrained networks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from superres3d import Volume, upscaling
from superres3d.engine import chain as chain_module
from superres3d.engine import tiling
from superres3d.errors import InputError
from superres3d.plan import plan_upscaling
from superres3d.upscaling import upscale

from .conftest import smooth_noise

QUICK = {"preset": "fast", "precision": "single", "device": "cpu", "modality": "MR"}


def scan(distance: float, dtype=np.float32, slices: int = 8) -> Volume:
    return Volume((smooth_noise((slices, 18, 22)) * 900).astype(dtype), (0.7, 0.8, distance), (-20.5, 12.25, 7.0), modality="MR")


@pytest.mark.parametrize("distance, made, count", [(5.0, 4, 40), (3.0, 4, 24), (1.5, 2, 12), (2.0, 0, 16), (4.0, 0, 32)])
def test_the_networks_refine_by_the_next_factor(models, distance, made, count):
    plan = plan_upscaling((8, 18, 22), (0.7, 0.8, distance), "float32", slice_spacing=1.0, method="two-stage-residual", modality="MR")
    assert plan.network_slices == made and plan.output_shape == (count, 18, 22)
    assert set(plan.models) == {"depth"} and plan.models["depth"].name.endswith("x2" if distance <= 2 else "x4")


@pytest.mark.parametrize("distance, count", [(5.0, 40), (3.0, 24)])
def test_what_comes_after_the_networks_is_an_interpolation(models, distance, count):
    """Against Pillow's, which has the same cubic kernel, and widens it too where slices become fewer; its edges differ."""
    given = scan(distance)
    result = upscale(given, slice_spacing=1.0, method="two-stage-residual", **QUICK)
    by_factor = upscale(given, (1, 4), method="two-stage-residual", **QUICK).volume.voxels
    columns = Image.fromarray(np.ascontiguousarray(by_factor.reshape(32, -1)))
    expected = np.asarray(columns.resize((columns.width, count), Image.Resampling.BICUBIC)).reshape(count, 18, 22)
    np.testing.assert_allclose(result.volume.voxels[4:-4], np.maximum(expected, 0)[4:-4], atol=1e-2)  # magnitudes stay above zero
    assert result.volume.voxels.shape == (count, 18, 22)
    np.testing.assert_allclose(result.volume.spacing, (0.7, 0.8, 1.0))
    edge = np.array(result.volume.origin)[2] - 0.5
    assert edge == pytest.approx(7.0 - distance / 2)
    assert any("slices of one" in note for note in result.report["warnings"])
    assert result.report["slice_spacing_mm"] == 1.0


def test_a_whole_factor_needs_no_interpolation(models):
    given = scan(4.0)
    result = upscale(given, slice_spacing=1.0, method="two-stage-residual", **QUICK)
    np.testing.assert_array_equal(result.volume.voxels, upscale(given, (1, 4), method="two-stage-residual", **QUICK).volume.voxels)
    assert not any("slices of one" in note for note in result.report["warnings"])


@pytest.mark.parametrize("distance", [5.0, 3.0])
@pytest.mark.parametrize("method", ["two-stage-residual", "cubic"])
def test_blocks_keep_the_depth_whole_and_give_the_whole(models, monkeypatch, method, distance):
    """Also where a voxel beyond what a network takes lies in the halo of a block."""
    given = scan(distance)
    given.voxels[4, 9, 11] = 30_000
    whole = upscale(given, slice_spacing=1.0, method=method, **QUICK)
    monkeypatch.setattr(tiling, "working_bytes", lambda stages, shape, block: int(np.prod(block[1:])))
    monkeypatch.setattr(upscaling, "blocks_of", lambda chain, shape, budget: chain_module.blocks_of(chain, shape, 80))
    parts = upscale(given, slice_spacing=1.0, method=method, **QUICK)
    assert whole.report["blocks"] == 1 and parts.report["blocks"] >= 6
    np.testing.assert_allclose(parts.volume.voxels, whole.volume.voxels, atol=2e-3, rtol=3e-7)  # float32 has steps of 0.002 at 25,000


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float64])
def test_the_type_is_kept_and_rounded_once(models, dtype):
    given = scan(5.0)
    exact = upscale(Volume((given.voxels / 4).astype(dtype).astype(np.float32), given.spacing), slice_spacing=1.0, method="two-stage-residual", **QUICK).volume.voxels
    result = upscale(Volume((given.voxels / 4).astype(dtype), given.spacing), slice_spacing=1.0, method="two-stage-residual", **QUICK).volume.voxels
    assert result.dtype == (np.float32 if dtype is np.float64 else dtype)
    limits = np.iinfo(dtype) if np.issubdtype(dtype, np.integer) else None
    expected = exact if limits is None else np.clip(np.rint(exact), limits.min, limits.max)
    np.testing.assert_allclose(result, expected, atol=1e-3 if limits is None else 1.0)


@pytest.mark.parametrize("distance, words", [(5.2, "from at most 5 mm; ask for a larger distance"), (0.9, "closer than the 1 mm"), (1.0, "too close")])
def test_refusals(models, distance, words):
    with pytest.raises(InputError, match=words):
        upscale(scan(distance), slice_spacing=1.0, method="two-stage-residual", **QUICK)
