"""How the turned copies differ: against members computed one by one, in blocks and whole."""

import numpy as np
import pytest
from superres3d import Volume
from superres3d.engine.engine import Engine
from superres3d.engine.ensemble import MEMBERS, exact_median, variance_of
from superres3d.networks.weights import find_model
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import upscale

from .conftest import smooth_noise


def _members(engine, name, images, turns):
    """The network's opinion on each turned copy, one run a member."""
    return np.stack([engine.run(find_model(name), images, (turn,), lambda share: None) for turn in turns])


def test_variance_is_numpys():
    members = list(np.random.default_rng(0).normal(size=(8, 5, 6)).astype(np.float32))
    np.testing.assert_allclose(variance_of(members), np.var(members, axis=0), rtol=1e-5)
    assert not variance_of([members[0]]).any()


@pytest.mark.parametrize("ensemble", ["none", "4", "8"])
def test_spread_within_slices_is_that_of_the_members(models, ensemble):
    voxels = smooth_noise((5, 16, 19)) * 900
    found = upscale(Volume(voxels, modality="MR"), (2, 1), method="two-stage-residual", ensemble=ensemble, precision="single", spread=True)
    scale = intensity_scale(voxels, "MR")
    inside = scale.split(scale.normalise(voxels))[0]
    members = _members(Engine("cpu"), "two-stage-residual-mr-plane-x2", inside, MEMBERS["plane"][ensemble])
    np.testing.assert_allclose(found.spread, members.std(axis=0) * scale.span, atol=scale.span * 1e-6, rtol=1e-3)
    assert found.spread.any() == (ensemble != "none")


def test_spread_of_both_stages_adds_up(models):
    """Depth: each slicing's members, and what the slicings differ by; plane: its own, over what depth hands on."""
    voxels = smooth_noise((6, 12, 15)) * 900
    found = upscale(Volume(voxels, modality="MR"), 2, method="two-stage-residual", ensemble="8", precision="single", spread=True)
    engine, scale = Engine("cpu"), intensity_scale(voxels, "MR")
    inside = scale.split(scale.normalise(voxels))[0]
    slicings = []
    for order in ((1, 0, 2), (2, 0, 1)):
        made = _members(engine, "two-stage-residual-mr-depth-x2", np.ascontiguousarray(inside.transpose(order)), MEMBERS["depth"]["8"])
        slicings.append(made.transpose(0, *(1 + np.argsort(order))))
    refined = np.mean([exact_median(list(members)) for members in slicings], axis=0)
    depth = np.mean([members.var(axis=0) for members in slicings], axis=0) + np.var([exact_median(list(members)) for members in slicings], axis=0)
    plane = _members(engine, "two-stage-residual-mr-plane-x2", refined.astype(np.float32), MEMBERS["plane"]["8"]).var(axis=0)
    expected = np.sqrt(plane + depth.repeat(2, axis=1).repeat(2, axis=2)) * scale.span
    np.testing.assert_allclose(found.spread, expected, atol=scale.span * 1e-6, rtol=2e-3)


@pytest.mark.parametrize("asked", [{"scale": 2}, {"scale": (4, 1)}, {"scale": (1, 2)}, {"spacing": 0.7}])
@pytest.mark.parametrize("slice_axis", ["k", "i"])
def test_spread_in_blocks_is_that_of_the_whole(models, monkeypatch, asked, slice_axis):
    scan = Volume(smooth_noise((18, 27, 31)) * 900, modality="MR")
    kept = {"method": "two-stage-residual", "ensemble": "4", "slice_axis": slice_axis, "precision": "single", "spread": True, **asked}
    whole = upscale(scan, **kept)
    monkeypatch.setattr("superres3d.engine.chain.choose_block", lambda *_: (9, 14, 16))
    tiled = upscale(scan, **kept)
    assert whole.report["blocks"] == 1 and tiled.report["blocks"] > 1
    assert whole.spread.shape == whole.volume.voxels.shape and whole.spread.any()
    np.testing.assert_allclose(tiled.spread, whole.spread, atol=900 * 2e-6, rtol=1e-3)


def test_the_result_is_the_same_with_and_without(models):
    scan = Volume(np.rint(smooth_noise((6, 20, 24)) * 900).astype(np.int16), modality="MR")
    with_spread, without = (upscale(scan, 2, method="two-stage-residual", spread=spread) for spread in (True, False))
    np.testing.assert_array_equal(with_spread.volume.voxels, without.volume.voxels)
    assert without.spread is None and upscale(scan, 2, method="lanczos", spread=True).spread is None
