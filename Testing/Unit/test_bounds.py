"""A network's result stays near the scan: at masked edges, in blocks, on a device; and what is no number is refused."""

import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, minimum_filter
from superres3d import Volume
from superres3d.engine import chain as chain_module
from superres3d.engine import device_finish
from superres3d.errors import ModelError, ResourceError
from superres3d.networks.weights import save_model
from superres3d.resampling.bounds import FLAT_MARGIN, REACH, bounded, margin_of, near, sources
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import upscale

from .conftest import random_network, slice_network, smooth_noise
from .test_device_block import on_device  # noqa: F401  # a fixture

RNG = np.random.default_rng(11)
SHAPE = (7, 20, 23)


def masked_scan(shape=SHAPE):
    """Texture with a hole and a border of one value, and a thin gap; a plateau that is brighter than what lies around it is no mask."""
    voxels = smooth_noise(shape, 3) * 900 + 100
    voxels[1:6, 8:10, 2:9] = 0
    voxels[1:5, 14:16, 3:6] = 950
    voxels[:, :5, :] = 0
    voxels[2:, 11:18, 12:19] = 0
    return voxels.astype(np.float32)


def thin_masks(scan, block):
    """Voxels of a block of one value that are the least of those two voxels around them."""
    found = np.zeros(scan.shape, bool)
    for place in np.ndindex(*(n - size + 1 for n, size in zip(scan.shape, block))):
        part = tuple(slice(start, start + size) for start, size in zip(place, block))
        found[part] |= np.ptp(scan[part]) == 0
    return found & (scan == minimum_filter(scan, (5 if block[0] > 1 else 1, 5, 5), mode="nearest"))


def limits(scan, factors):
    """By scipy's filters, on the result's grid."""
    edge = 3 if factors[0] > 1 else 1
    low, high = (one(scan, (edge, 3, 3), mode="nearest") for one in (minimum_filter, maximum_filter))
    reach = high - low
    flat = minimum_filter(reach, (2 * edge - 1, 5, 5), mode="nearest") == 0
    masked = maximum_filter(thin_masks(scan, (2 if edge > 1 else 1, 2, 2)), (2 * edge - 1, 5, 5), mode="constant")
    assert (masked & ~flat).any()
    flat |= masked
    reach *= np.where(flat, FLAT_MARGIN, margin_of(factors)).astype(np.float32)
    places = np.minimum(((np.arange(round(len(scan) * factors[0])) + 0.5) / factors[0]).astype(int), len(scan) - 1)
    return [limit[places].repeat(factors[1], 1).repeat(factors[2], 2) for limit in (low - reach, high + reach)]


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (1, 4, 4), (4, 1, 1), (2.6, 1, 1)])
def test_bounds_are_those_of_the_neighbours(factors, monkeypatch):
    scan = masked_scan()
    refined = (RNG.standard_normal([round(n * f) for n, f in zip(SHAPE, factors)]) * 2000).astype(np.float32)
    expected = np.clip(refined, *limits(scan, factors))
    assert (expected != refined).mean() > 0.2 and (expected == refined).mean() > 0.05
    monkeypatch.setattr("superres3d.resampling.bounds._LEAST_ROWS", 3)
    for size, slices, workers in ((1 << 22, 32, 1), (1, 2, 1), (1, 1, 3), (23 * 4 * 15 * 13, 7, 2)):  # as it is, a few slices and rows at a time, and threads
        monkeypatch.setattr("superres3d.resampling.bounds._TILE_BYTES", size)
        monkeypatch.setattr("superres3d.resampling.bounds._TILE_SLICES", slices)
        np.testing.assert_allclose(bounded(refined.copy(), scan, tuple((0, n) for n in SHAPE), factors, workers), expected, rtol=1e-6)


def test_a_part_has_the_bounds_of_the_whole():
    scan = masked_scan()
    refined = (RNG.standard_normal([2 * n for n in SHAPE]) * 2000).astype(np.float32)
    whole = bounded(refined.copy(), scan, tuple((0, n) for n in SHAPE), (2, 2, 2))
    region = ((3, 6), (7, 15), (9, 20))
    around = near(region, SHAPE)
    part = refined[6:12, 14:30, 18:40].copy()
    given = scan[tuple(slice(a, b) for a, b in around)]
    made = bounded(part, given, tuple((a - first, b - first) for (a, b), (first, _) in zip(region, around)), (2, 2, 2))
    np.testing.assert_array_equal(made, whole[6:12, 14:30, 18:40])
    assert REACH == 4


def test_slices_of_any_distance_lie_in_their_voxel():
    assert sources(5, (0, 2), 2.5).tolist() == [0, 0, 1, 1, 1]
    assert sources(6, (4, 7), 2).tolist() == [4, 4, 5, 5, 6, 6]


@pytest.fixture
def inventing(models):
    """Networks whose correction is far too large."""
    for stage, factors in (("plane", (2, 2)), ("depth", (2, 1))):
        network = random_network("edsr", factors, seed=4)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2.0)
        for modality in ("mr", "ct"):
            save_model(network, f"two-stage-residual-{modality}-{stage}-x2", models, {"network": slice_network("edsr", factors)})
    return models


def inside(scan, result, factors, modality):
    scale = intensity_scale(scan, modality)
    low, high = limits(np.clip(scale.normalise(scan), 0, scale.ceiling), factors)
    made = scale.normalise(result)
    floor = (scale.floor - scale.offset) / scale.span
    assert (made >= np.maximum(low, floor) - 1e-3).all() and (made <= np.maximum(high, floor) + 1e-3).all()
    return float(((made < low + 1e-4) | (made > high - 1e-4)).mean())


@pytest.mark.parametrize("axes, factors", [("all", (2, 2, 2)), ("in-plane", (1, 2, 2)), ("through-plane", (2, 1, 1))])
def test_nothing_is_invented_beside_a_mask(inventing, axes, factors):
    scan = masked_scan()
    result = upscale(Volume(scan), 2, axes=axes, modality="MR", preset="fast", device="cpu", slice_axis="k").volume.voxels
    assert inside(scan, result, factors, "MR") > 0.05  # the bounds were met at many voxels


@pytest.mark.parametrize("budget", [1 << 14, 1 << 17])
def test_blocks_have_the_bounds_of_the_whole(inventing, monkeypatch, budget):
    scan = Volume(masked_scan((12, 40, 44)))
    whole = upscale(scan, 2, modality="MR", preset="fast", device="cpu").volume.voxels
    monkeypatch.setattr("superres3d.upscaling.blocks_of", lambda chain, shape, _: chain_module.blocks_of(chain, shape, budget))
    result = upscale(scan, 2, modality="MR", preset="fast", device="cpu")
    assert result.report["blocks"] > 1
    np.testing.assert_allclose(result.volume.voxels, whole, atol=0.02)


@pytest.mark.parametrize("axes", ["all", "in-plane", "through-plane"])
def test_a_device_has_the_same_bounds(inventing, on_device, axes):  # noqa: F811
    scan = Volume(masked_scan())
    expected = upscale(scan, 2, axes=axes, modality="MR", preset="fast", device="cpu", precision="single", slice_axis="k").volume.voxels
    result = on_device(scan, 2, axes=axes, modality="MR", preset="fast", precision="single", slice_axis="k")
    assert result.report["device"] == "cpu:0"
    np.testing.assert_allclose(result.volume.voxels, expected, atol=1.5)  # of sums that are a thousand times as large


def test_results_are_not_below_what_the_scan_can_hold(inventing):
    padded = masked_scan() - 1024
    padded[padded == -1024] = -2000
    result = upscale(Volume(padded.astype(np.int16)), 2, modality="CT", preset="fast", device="cpu").volume.voxels
    assert result.min() >= -2000
    magnitude = upscale(Volume(masked_scan()), 2, modality="MR", preset="fast", device="cpu").volume.voxels
    assert magnitude.min() == 0
    signed = masked_scan() - 400
    assert upscale(Volume(signed), 2, modality="MR", preset="fast", device="cpu").volume.voxels.min() == signed.min()


@pytest.mark.parametrize("modality, shift", [("CT", -1024), ("MR", 0), ("MR", -400)])
@pytest.mark.parametrize("choices", [{"scale": 2}, {"slice_spacing": 0.7}])
def test_a_device_does_not_go_below_it_either(inventing, on_device, modality, shift, choices):  # noqa: F811
    scan = masked_scan() + shift
    volume = Volume(scan, (1.0, 1.0, 1.3))
    result = on_device(volume, choices.get("scale"), modality=modality, preset="fast", precision="single", slice_spacing=choices.get("slice_spacing"))
    assert result.report["device"] == "cpu:0" and result.volume.voxels.min() >= (scan.min() if modality == "CT" else min(0, scan.min()))


@pytest.fixture
def overflowing(models):
    """Networks whose weights are finite and whose sums are not."""
    for stage, factors in (("plane", (2, 2)), ("depth", (2, 1))):
        network = random_network("edsr", factors)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1e12)
        save_model(network, f"two-stage-residual-mr-{stage}-x2", models, {"network": slice_network("edsr", factors)})
    return models


@pytest.mark.parametrize("axes", ["all", "in-plane", "through-plane"])
@pytest.mark.parametrize("preset", ["fast", "best"])
def test_a_result_that_is_no_number_is_refused(overflowing, axes, preset):
    with pytest.raises(ModelError, match="The network gave values that are no numbers; try --precision single"):
        upscale(Volume(masked_scan()), 2, axes=axes, modality="MR", preset=preset, device="cpu")


@pytest.mark.parametrize("axes", ["all", "in-plane", "through-plane"])
def test_a_device_refuses_it_too(overflowing, on_device, axes):  # noqa: F811
    with pytest.raises(ModelError, match="no numbers"):
        on_device(Volume(masked_scan()), 2, axes=axes, modality="MR", preset="fast")


def test_an_interpolation_that_overflows_is_refused():
    scan = np.zeros((4, 6, 6), np.float32)
    scan[:, 2:4, 2:4] = 3.3e38
    with pytest.raises(ResourceError, match="too large to be stored"):
        upscale(Volume(scan), 2, method="lanczos")


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 4, 4), (4, 1, 1)])
@pytest.mark.parametrize("voxels, steps", [(1, 1), (20 * 23 * 3, 2), (1 << 21, 5)])
def test_a_device_finds_the_bounds_of_some_slices_at_once(monkeypatch, factors, voxels, steps):
    monkeypatch.setattr(device_finish, "_SLAB_VOXELS", voxels)
    scan, keep = masked_scan() / 1000, ((1, 6), (3, 18), (2, 21))
    refined = RNG.normal(0.5, 1.0, [(b - a) * factor for (a, b), factor in zip(keep, factors)]).astype(np.float32)
    bounds = device_finish._Bounds(torch.from_numpy(scan), keep, factors)
    wider = torch.from_numpy(np.pad(refined, [(0, 0), (0, 0), (1, 2)]))[:, :, 1:-2]  # as a part of a larger tensor, too
    for start in range(0, len(refined), steps):
        place = slice(start, min(len(refined), start + steps))
        np.testing.assert_array_equal(bounds(wider[place], place).numpy(), bounded(refined.copy(), scan, keep, factors)[place])


def test_watching_sees_one_value_of_many():
    finish = device_finish.Finish(intensity_scale(masked_scan(), "MR"), np.dtype("float32"), None, torch.zeros(SHAPE), tuple((0, n) for n in SHAPE), (1, 2, 2))
    finish.watch(torch.ones(3, 4))
    assert finish.finite
    for value in ("inf", "-inf", "nan"):
        finish = device_finish.Finish(intensity_scale(masked_scan(), "MR"), np.dtype("float32"), None, torch.zeros(SHAPE), tuple((0, n) for n in SHAPE), (1, 2, 2))
        finish.watch(torch.tensor([1.0, float(value), 0.0]))
        finish.watch(torch.ones(3, 4))
        assert not finish.finite
