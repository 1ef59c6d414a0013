"""Upscaling with the network of several tasks (mdsr-3d): the way of a scan, tiles and blocks against the whole, models that cannot be used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from superres3d import Volume
from superres3d.engine import tiled as tiles
from superres3d.engine.ensemble import FLIPS, IDENTITY
from superres3d.engine.parted import working_bytes
from superres3d.engine.tiled import TiledNetwork, median_of
from superres3d.errors import Cancelled, InputError, ModelError
from superres3d.methods import METHODS, find_method, is_installed
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet, interpolated
from superres3d.networks.weights import find_model
from superres3d.plan import plan_upscaling
from superres3d.resampling.interpolation import resize
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.writing import to_image
from superres3d.upscaling import upscale

from ..untrained_models import TASKS, save_untrained
from .conftest import ensemble, pieces, random_blueprint, save_blueprint, smooth_noise
from .multi_task import (
    ALONE,
    OPTIONS,
    REFINEMENTS,
    RUNTIMES,
    architecture,
    ct,
    each_engine,  # noqa: F401  # a fixture
    installed_tasks,  # noqa: F401  # a fixture
    linear,
    random_tasks,
    refined_by_hand,
    save_tasks,
)

pytestmark = pytest.mark.usefixtures("unbounded")  # networks of random weights: what they give, not what a scan allows
NEVER = (lambda: None, lambda: False)  # alive, stopped


# The way of a scan


@pytest.mark.parametrize("refinement, factors", REFINEMENTS)
def test_a_scan_is_refined_as_by_hand(installed, engine, refinement, factors):
    scan = ct()
    result = upscale(scan, **refinement, **ALONE)
    expected = refined_by_hand(installed, (scan.voxels + 1024) / 4095, factors) * 4095 - 1024
    plain = resize(scan.voxels, factors, "cubic")
    assert result.report["factors_ijk"] == list(factors[::-1]) and result.report["engine"].lower().startswith(engine)
    assert result.report["models"]["volume"]["name"] == "mdsr-3d-ct"
    assert np.abs(expected - plain).max() > 50
    np.testing.assert_allclose(result.volume.voxels, expected, atol=0.02)


def test_the_default_is_twice_along_all_axes(installed):
    assert upscale(ct(), **ALONE).report["factors_ijk"] == [2, 2, 2]


def test_what_the_network_cannot_take_is_interpolated_and_added(installed):
    """A far too bright voxel and a wrong padding value, in CT and MR."""
    voxels = ct((5, 9, 8)).voxels
    voxels[2, 3, 4], voxels[1, 7, 1] = 30_000, -2000
    for modality in ("CT", "MR"):
        scale = intensity_scale(voxels, modality)
        units = (voxels.astype(np.float64) - scale.offset) / scale.span
        inside = np.clip(units, 0, scale.ceiling)
        assert (inside != units).any()
        expected = (refined_by_hand(installed, inside, (1, 2, 2)) + linear(units - inside, (1, 2, 2))) * scale.span + scale.offset
        result = upscale(Volume(voxels, modality=modality), 2, axes="in-plane", **ALONE).volume.voxels
        np.testing.assert_allclose(result, expected, atol=2e-5 * scale.span)


@pytest.mark.parametrize("axis", "ijk")
def test_slices_may_lie_along_any_axis(installed, axis):
    """Found by their spacing, and told."""
    scan, at = ct(), "kji".index(axis)
    expected = upscale(scan, (2, 4), **ALONE).volume.voxels
    spacing = tuple(3.0 if name == axis else 0.7 for name in "ijk")
    for turned, told in ((spacing, "auto"), ((1.0, 1.0, 1.0), axis)):
        result = upscale(Volume(np.moveaxis(scan.voxels, 0, at).copy(), turned, modality="CT"), (2, 4), slice_axis=told, **ALONE)
        assert result.report["slice_axis"] == axis
        np.testing.assert_allclose(np.moveaxis(result.volume.voxels, at, 0), expected, atol=1e-3)


@pytest.mark.parametrize("scale", [(2, 1), (1, 4), (2, 4)])
def test_the_field_of_view_stays(installed, scale):
    """Its corners, by SimpleITK."""
    scan = ct()
    images = [to_image(scan), to_image(upscale(scan, scale, **ALONE).volume)]
    assert images[1].GetSize() == tuple(n * f for n, f in zip(images[0].GetSize(), (scale[0], scale[0], scale[1])))
    for corner in np.ndindex(2, 2, 2):
        ends = [[(n - 0.5 if end else -0.5) for end, n in zip(corner, image.GetSize())] for image in images]
        np.testing.assert_allclose(*(image.TransformContinuousIndexToPhysicalPoint(end) for image, end in zip(images, ends)), atol=1e-9)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_the_dtype_stays_and_nothing_wraps(installed, dtype):
    """The result of the same numbers as float32, rounded and cut off."""
    limits = np.iinfo(dtype)
    low, high = (limits.min, limits.max) if limits.bits < 32 else (0, 60_000)
    voxels = np.rint(smooth_noise((4, 8, 9)) * (high - low) + low)
    voxels[2, 4, 4], voxels[1, 2, 2] = high, low
    exact = upscale(Volume(voxels.astype(np.float32), modality="MR"), (2, 1), **ALONE).volume.voxels
    result = upscale(Volume(voxels.astype(dtype), modality="MR"), (2, 1), **ALONE).volume.voxels
    assert result.dtype == dtype
    assert limits.bits == 32 or exact.min() < low or exact.max() > high
    assert np.abs(result.astype(np.float64) - np.clip(exact, limits.min, limits.max)).max() <= 0.5 + 1e-5 * (high - low)


@pytest.mark.parametrize("ensemble, members", [("4", [(1, 1), (-1, -1)]), ("8", [(1, 1), (1, -1), (-1, 1), (-1, -1)])])
def test_the_result_is_the_median_over_turned_copies(installed, engine, ensemble, members):
    scan = ct()
    turned = [
        upscale(replace(scan, voxels=scan.voxels[:, ::rows, ::columns].copy()), (2, 4), **ALONE).volume.voxels[:, ::rows, ::columns] for rows, columns in members
    ]
    expected = np.median(turned, axis=0)
    assert np.abs(turned[0] - expected).max() > 10
    result = upscale(scan, (2, 4), **{**ALONE, "ensemble": ensemble})
    assert result.report["turned_copies"] == {"volume": len(members)}
    np.testing.assert_allclose(result.volume.voxels, expected, atol=0.01)


def test_a_constant_scan_is_refused_and_a_nearly_constant_one_stays(installed, tmp_path):
    """An untrained network; the one bright voxel is far from nearly everything."""
    flat = np.full((6, 14, 14), 40, np.int16)
    with pytest.raises(InputError, match="same value"):
        upscale(Volume(flat, modality="CT"), **ALONE)
    save_tasks(BlueprintNet(*[architecture(task) for task in TASKS]), "mdsr-3d-ct", tmp_path / "models")
    flat[0, 0, 0] = 100
    result = upscale(Volume(flat, modality="CT"), (2, 4), **ALONE).volume.voxels
    assert result.max() > 60 and (result[:, 6:] == 40).all() and (result[:, :, 6:] == 40).all()


@pytest.mark.parametrize("shape", [(4, 2, 2), (5, 3, 17), (4, 40, 3), (13, 2, 5)])
def test_awkward_shapes(installed, shape):
    voxels = (np.random.default_rng(1).random(shape) * 500).astype(np.float32)
    expected = refined_by_hand(installed, (voxels + 1024) / 4095, (2, 4, 4)) * 4095 - 1024
    np.testing.assert_allclose(upscale(Volume(voxels, modality="CT"), (4, 2), **ALONE).volume.voxels, expected, atol=0.02)


def test_two_slices_are_enough_in_plane_alone(installed):
    scan = ct((2, 8, 9))
    assert upscale(scan, 2, axes="in-plane", **ALONE).volume.voxels.shape == (2, 16, 18)
    with pytest.raises(InputError, match="use the axes in-plane"):
        upscale(scan, 2, **ALONE)


def test_progress_and_a_stop(installed):
    told = []
    upscale(ct(), progress=lambda stage, share: told.append((stage, share)), **ALONE)
    shares = [share for _, share in told]
    assert set(dict(told)) == {"volume"} and shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0)
    with pytest.raises(Cancelled):
        upscale(ct(), cancelled=lambda: True, **ALONE)


def test_the_scan_is_not_changed(installed):
    scan = ct()
    before = scan.voxels.copy()
    upscale(scan, **{**ALONE, "ensemble": "8"})
    np.testing.assert_array_equal(scan.voxels, before)


def test_the_untrained_model_of_the_panels_tests(tmp_path, monkeypatch):
    save_untrained(tmp_path, "mdsr-3d-ct", "mdcsrn-mr")
    monkeypatch.setattr("superres3d.networks.weights.model_folders", lambda: [tmp_path])
    scan = ct()
    for refinement, factors in REFINEMENTS:
        result = upscale(scan, **refinement, **ALONE).volume.voxels
        assert 0.1 < np.abs(result - resize(scan.voxels, factors, "cubic")).max() < 2000
    assert is_installed(METHODS["mdsr-3d"], "CT") and not is_installed(METHODS["mdsr-3d"], "MR")


def test_a_distance_of_slices_may_be_a_factor(installed):
    """Slices 3 mm apart brought to 1.5 mm."""
    assert find_method("mdsr-3d", "CT", "all", 4).kind == "sub-pixel"
    result = upscale(ct(), slice_spacing=1.5, **ALONE)
    np.testing.assert_array_equal(result.volume.voxels, upscale(ct(), 2, axes="through-plane", **ALONE).volume.voxels)


# Tiles and blocks


def tiled(net: BlueprintNet, factors: tuple[int, int, int], voxels: int) -> TiledNetwork:
    """A network whose windows may have so many voxels."""

    @torch.inference_mode()
    def infer(window, stopped):
        low = torch.from_numpy(window)[:, None]
        return (net(low, factors) - interpolated(low, factors))[:, 0].numpy()

    network = TiledNetwork(net.tasks[factors], median_of(infer), lambda: 0)
    network._budget = lambda: int(voxels * tiles.voxel_bytes(network.architecture.survey)) + 1
    return network


KEPT = [((0, 12), (0, 31), (0, 25)), ((2, 9), (0, 25), (5, 20)), ((0, 4), (20, 31), (11, 12)), ((11, 12), (30, 31), (0, 25))]


@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("factors", [(4, 1, 1), (2, 4, 4)])
def test_tiles_of_a_region_give_the_whole(factors, keep):
    net, volume = random_tasks(), smooth_noise((12, 31, 25))
    whole, parts, told, turns = tiled(net, factors, 10**9), tiled(net, factors, 5_500), [], FLIPS[1:3]
    expected = ensemble(whole, volume, turns, *NEVER)
    assert expected.shape == tuple(n * f for n, f in zip(volume.shape, factors)) and pieces(whole, volume.shape, turns) == 2
    expected = expected[tuple(slice(a * f, b * f) for (a, b), f in zip(keep, factors))]
    result = ensemble(parts, volume, turns, lambda: told.append(1), lambda: False, keep)
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)
    assert len(told) == pieces(parts, volume.shape, turns, keep)
    assert np.prod([b - a for a, b in keep]) < 200 or len(told) >= 4


def test_too_small_a_halo_would_be_seen(monkeypatch):
    """The tile test can fail."""
    net, volume, factors = random_tasks(), smooth_noise((12, 31, 25)), (1, 2, 2)
    assert tiles.halo_of(net.tasks[factors].survey) == (7, 7, 7)
    expected = ensemble(tiled(net, factors, 10**9), volume, (IDENTITY,), *NEVER)
    monkeypatch.setattr(tiles, "halo_of", lambda survey: (4, 4, 4))
    assert np.abs(ensemble(tiled(net, factors, 3_000), volume, (IDENTITY,), *NEVER) - expected).max() > 1e-5


def test_air_is_computed_once_and_exactly():
    net, factors = random_tasks(), (2, 2, 2)
    volume = np.zeros((12, 37, 80), np.float32)
    volume[:, :, :10] = smooth_noise((12, 37, 10))
    network, calls = tiled(net, factors, 8_000), []
    median = network._median
    network._median = lambda *given: calls.append(1) or median(*given)
    result = ensemble(network, volume, (IDENTITY,), *NEVER)
    assert len(calls) < pieces(network, volume.shape, (IDENTITY,))
    np.testing.assert_allclose(result, ensemble(tiled(net, factors, 10**9), volume, (IDENTITY,), *NEVER), atol=2e-6, rtol=0)


@pytest.mark.parametrize("make", RUNTIMES.values(), ids=RUNTIMES)
def test_a_runtime_in_tiles(installed, make):
    runtime, volume, factors = make(), smooth_noise((9, 26, 28)), (4, 2, 2)
    network = runtime.load(find_model("mdsr-3d-mr"), factors)
    whole = ensemble(network, volume, (IDENTITY,), *NEVER)
    np.testing.assert_allclose(whole, refined_by_hand(installed, volume, factors), atol=1e-5)
    runtime.volume_bytes = int(5_000 * tiles.voxel_bytes(network.architecture.survey))
    keep = ((1, 9), (3, 26), (0, 20))
    assert pieces(network, volume.shape, (IDENTITY,)) >= 4 and pieces(network, volume.shape, (IDENTITY,), keep) >= 2
    np.testing.assert_allclose(ensemble(network, volume, (IDENTITY,), *NEVER), whole, atol=2e-6, rtol=0)
    np.testing.assert_allclose(ensemble(network, volume, (IDENTITY,), *NEVER, keep), whole[4:36, 6:52, :40], atol=2e-6, rtol=0)


def scarce(monkeypatch, working: int, features: int) -> None:
    """Plans with other memory for blocks and for feature maps."""
    monkeypatch.setattr("superres3d.upscaling.plan_upscaling", lambda *args, **kwargs: replace(plan_upscaling(*args, **kwargs), working_bytes=working, feature_bytes=features))


@pytest.mark.parametrize("scale", [(2, 1), (1, 2), (2, 4)])
def test_blocks_and_tiles_give_the_whole(installed, engine, monkeypatch, scale):
    scan = ct((9, 36, 34))
    scan.voxels[4, 18, 17] = 5000  # beyond what the network takes, where blocks meet
    whole = upscale(scan, scale, **{**ALONE, "ensemble": "4"})
    scarce(monkeypatch, 4 * scan.voxels.size * (2 + scale[0] ** 2 * scale[1]), 1 << 20)
    parts = upscale(scan, scale, **{**ALONE, "ensemble": "4"})
    assert whole.report["blocks"] == 1 and 4 <= parts.report["blocks"] <= 32
    np.testing.assert_allclose(parts.volume.voxels, whole.volume.voxels, atol=1e-4 * np.ptp(scan.voxels), rtol=0)
    assert np.abs(whole.volume.voxels - resize(scan.voxels, (scale[1], scale[0], scale[0]), "cubic")).max() > 50


@pytest.mark.parametrize(
    "make",
    RUNTIMES.values(),
    ids=RUNTIMES,
)
@pytest.mark.parametrize("shape", [(5, 11, 9), (16, 17, 18)])
def test_a_small_scan_is_hardly_cut(installed, make, shape):
    """With the memory that its plan gives to the feature maps."""
    plan = plan_upscaling(shape, (0.7, 0.8, 3.0), "float32", (2, 1), method="mdsr-3d", modality="CT")
    runtime = make()
    runtime.volume_bytes = plan.feature_bytes
    assert pieces(runtime.load(plan.models["volume"], (1, 2, 2)), shape, (IDENTITY,)) <= 8


def test_the_most_that_a_volume_takes_is_enough_for_one_window():
    """Of any shape."""
    made = Architecture.make("mdsr", {"features": 32, "blocks": 8}, True, (1, 2, 2))
    for shape in np.random.default_rng(0).integers(40, 80, (20, 3)).tolist():
        most = int(working_bytes(made, shape)[1] / tiles.voxel_bytes(made.survey))
        assert len(list(tiles.windows(tuple(shape), made.survey, most))) == 1


@pytest.mark.parametrize("limit", [3 << 30, 6 << 30, 1 << 40])
def test_the_plan_of_a_chest_is_bounded(tmp_path, monkeypatch, limit):
    """512 x 512 x 200 voxels, all axes doubled, by a network of the recipe's size."""
    folder = save_tasks(BlueprintNet(*[Architecture.make("mdsr", {"features": 32, "blocks": 8}, True, task) for task in TASKS]), "mdsr-3d-ct", tmp_path)
    monkeypatch.setattr("superres3d.networks.weights.model_folders", lambda: [folder.parent])
    shape = (200, 512, 512)
    plan = plan_upscaling(shape, (0.7, 0.7, 1.5), "int16", 2, method="mdsr-3d", modality="CT", memory_limit=limit)
    assert plan.output_shape == (400, 1024, 1024) and plan.memory_bytes <= limit
    assert 0 < plan.feature_bytes and plan.feature_bytes + plan.working_bytes < limit
    once = np.prod(shape) * plan.models["volume"].multiply_accumulates * 4
    assert 0.4 * once < plan.accumulates < 5 * once  # the card tells the largest task's arithmetic


# Models that cannot be used


def edit(folder: Path, **changes) -> None:
    card = json.loads((folder / "card.json").read_text())
    card["network"] = {name: value for name, value in {**card["network"], **changes}.items() if value is not None}
    (folder / "card.json").write_text(json.dumps(card))


def one_bit(folder: Path) -> None:
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def shorter(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def fewer_tasks(folder: Path) -> None:
    """The card promises a task whose layers are not among the weights."""
    save_tasks(random_tasks(((1, 2, 2), (2, 2, 2))), folder.name, folder.parent)
    edit(folder, tasks=[list(task) for task in TASKS])


def other_width(folder: Path) -> None:
    edit(folder, options={**OPTIONS, "features": 5})


def more_blocks(folder: Path) -> None:
    edit(folder, options={**OPTIONS, "blocks": 3})


HARMS = [
    (one_bit, "SHA-256 differs"),
    (shorter, "SHA-256 differs"),
    (fewer_tasks, r"do not fit its network \((first|last)-4x2x2"),
    (other_width, "do not fit its network"),
    (more_blocks, r"do not fit its network \(block2-"),
    (lambda folder: edit(folder, family="unet"), "network of the kind .unet., which this version does not know"),
    (lambda folder: edit(folder, options={"colour": 1}), "card of the model mdsr-3d-ct cannot be used"),
    (lambda folder: edit(folder, tasks=None), "card of the model mdsr-3d-ct cannot be used"),
]


@pytest.mark.parametrize("harm, sentence", HARMS)
def test_damaged_models_are_refused(installed, engine, tmp_path, harm, sentence):
    harm(tmp_path / "models" / "mdsr-3d-ct")
    with pytest.raises(ModelError, match=sentence) as refusal:
        upscale(ct(), (2, 4), **ALONE)
    assert "\n" not in str(refusal.value) and str(refusal.value).endswith(".")
    for make in RUNTIMES.values():
        with pytest.raises(ModelError, match=sentence):
            make().load(find_model("mdsr-3d-ct"), (4, 2, 2))


def test_a_model_without_a_task_still_does_the_others(installed, tmp_path):
    """The user is told what it can do; whoever asks for the network itself hears that the card has no such task."""
    save_tasks(random_tasks(((1, 2, 2), (4, 2, 2))), "mdsr-3d-ct", tmp_path / "models")
    assert upscale(ct(), 2, axes="in-plane", **ALONE).volume.voxels.shape == (5, 22, 18)
    for refuse in (lambda: upscale(ct(), 2, **ALONE), lambda: plan_upscaling((5, 11, 9), (1, 1, 3), "int16", 2, method="mdsr-3d", modality="CT")):
        with pytest.raises(InputError, match=r"mdsr-3d-ct was not trained for the factors 2,2 \(in-plane,through-plane\) but for 2,1, 2,4; use .*\.$") as refusal:
            refuse()
        assert "\n" not in str(refusal.value)
    for make in RUNTIMES.values():
        with pytest.raises(ModelError, match=r"card of the model mdsr-3d-ct cannot be used.*no task \(2, 2, 2\).*install the model again\.$") as refusal:
            make().load(find_model("mdsr-3d-ct"), (2, 2, 2))
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("tasks", [7, [7], [[1, 2]]])
def test_a_card_whose_tasks_are_none(installed, tmp_path, tasks):
    edit(tmp_path / "models" / "mdsr-3d-ct", tasks=tasks)
    with pytest.raises(ModelError, match="card of the model mdsr-3d-ct cannot be used"):
        RUNTIMES["openvino"]().load(find_model("mdsr-3d-ct"), (4, 2, 2))


@pytest.mark.parametrize("tasks", [7, [7], [[1, 2]]])
def test_an_upscaling_with_a_card_whose_tasks_are_none(installed, tmp_path, tasks):
    edit(tmp_path / "models" / "mdsr-3d-ct", tasks=tasks)
    with pytest.raises((ModelError, InputError)):
        upscale(ct(), (2, 4), **ALONE)


def test_a_model_that_is_not_there(installed, monkeypatch):
    monkeypatch.setattr("superres3d.networks.weights.model_folders", list)
    with pytest.raises(ModelError, match="The model mdsr-3d-ct is not installed"):
        upscale(ct(), **ALONE)


def test_a_network_that_does_not_refine_is_refused(installed, tmp_path):
    """Another method's model, whole and undamaged, under this one's name."""
    save_blueprint(random_blueprint("mdcsrn", residual=True), "mdsr-3d-ct", tmp_path / "models")
    with pytest.raises(ModelError):
        upscale(ct(), **ALONE)
