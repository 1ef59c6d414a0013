"""The network of several tasks (mdsr-3d): its layers by hand, tiles and blocks against the whole, the way of a scan through it, its training."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate1d, map_coordinates
from superres3d.degradation import antialiased_bicubic, antialiased_bicubic_matrix, reduction_matrix
from superres3d.ensemble import FLIPS, IDENTITY
from superres3d.errors import Cancelled, InputError, ModelError
from superres3d.evaluation.cards import update_cards
from superres3d.intensity import intensity_scale
from superres3d.interpolation import resize
from superres3d.methods import METHODS, find_method, is_installed
from superres3d.networks.families import VolumeArchitecture
from superres3d.networks.volumetric import BlueprintNet, MultiTaskNet, interpolated, sub_pixel_volume, zero_sum
from superres3d.plan import plan_upscaling
from superres3d.runtimes import tiled_volume
from superres3d.runtimes.openvino_cpu import OpenVINORuntime
from superres3d.runtimes.parted_volume import _sub_pixel
from superres3d.runtimes.pytorch import PyTorchRuntime
from superres3d.runtimes.tiled_volume import TiledVolumeNetwork
from superres3d.training import fit as fitting
from superres3d.training import task_module
from superres3d.training.export import export_model
from superres3d.training.recipe import CommonRecipe, MultiTaskRecipe, load_recipe
from superres3d.training.schedules import make_optimizer, make_scheduler
from superres3d.training.task_module import MultiTaskModule, TaskData, validation_batches
from superres3d.training.task_samples import Source, TaskBatches, load_sources
from superres3d.upscaling import upscale
from superres3d.volume import Volume, to_image
from superres3d.weights import find_model, load_volume_network, save_model
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ..untrained_models import TASKS, save_untrained
from .conftest import random_blueprint, save_blueprint, smooth_noise, write

OPTIONS = {"features": 4, "blocks": 2}
FACTORS = [(1, 2, 2), (2, 1, 1), (2, 2, 2), (4, 2, 2), (2, 4, 4), (4, 1, 1)]
NEVER = (lambda: None, lambda: False)  # alive, stopped
ALONE = {"method": "mdsr-3d", "ensemble": "none", "precision": "single", "device": "cpu"}
RUNTIMES = {"openvino": lambda: OpenVINORuntime(half=False), "pytorch": lambda: PyTorchRuntime("cpu")}


def architecture(factors: tuple[int, int, int], **options) -> VolumeArchitecture:
    return VolumeArchitecture.make("mdsr", {**OPTIONS, **options}, True, factors)


def random_tasks(tasks=TASKS, seed: int = 0, **options) -> MultiTaskNet:
    """Every weight random, the last layers' as well, and so strong that every path is seen."""
    torch.manual_seed(seed)
    net = MultiTaskNet([architecture(task, **options) for task in tasks])
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(".weight"):
                torch.nn.init.normal_(parameter, std=0.15)
            else:
                torch.nn.init.normal_(parameter, std=0.01)
    return net.eval()


def save_tasks(net: MultiTaskNet, name: str, folder: Path) -> Path:
    options = dict(net.architecture.options)
    network = {"family": "mdsr", "options": options, "residual": True, "tasks": [list(task) for task in net.tasks]}
    return save_model(net, name, folder, {"network": network}).folder


@pytest.fixture
def installed(tmp_path, monkeypatch) -> MultiTaskNet:
    """The random network as mdsr-3d for both modalities, the only model."""
    folder = tmp_path / "models"
    for modality in ("mr", "ct"):
        save_tasks(random_tasks(), f"mdsr-3d-{modality}", folder)
    monkeypatch.setattr("superres3d.weights.model_folders", lambda: [folder])
    return random_tasks()


@pytest.fixture(params=RUNTIMES)
def engine(request, monkeypatch):
    """Each library on the processor in turn, with room for a small scan in one piece."""
    monkeypatch.setattr("superres3d.engine.choose_runtime", lambda device, half: (RUNTIMES[request.param](), []))
    monkeypatch.setattr("superres3d.upscaling.plan_upscaling", lambda *args, **kwargs: replace(plan_upscaling(*args, **kwargs), feature_bytes=1 << 28))
    return request.param


def ct(shape=(5, 11, 9), dtype=np.float32) -> Volume:
    """Soft tissue with oblique slices."""
    angle = np.radians(15)
    direction = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Volume((smooth_noise(shape) * 1200 - 400).astype(dtype), (0.7, 0.8, 3.0), (-20.5, 12.25, 7.0), direction, "CT")


# By hand


def spread(phases: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Each voxel's phases put where they belong, voxel by voxel; the phase along the columns fastest."""
    channels, *shape = phases.shape
    fine = np.full([n * f for n, f in zip(shape, factors)], np.nan, phases.dtype)
    for k, j, i in np.ndindex(*shape):
        for number, (a, b, c) in enumerate(np.ndindex(*factors)):
            fine[k * factors[0] + a, j * factors[1] + b, i * factors[2] + c] = phases[number, k, j, i]
    assert channels == math.prod(factors) and not np.isnan(fine).any()
    return fine


def added_by_hand(net: MultiTaskNet, units: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """What a task adds to the interpolation of a scan in network units: Lim 2017, figure 5, in float64."""
    weights = {name.removeprefix("layers."): value.detach().double() for name, value in net.state_dict().items()}
    task = "{}x{}x{}".format(*factors)

    def conv(name: str, maps: torch.Tensor) -> torch.Tensor:
        weight = weights[f"{name}.weight"]
        if name.startswith("first"):
            weight = weight - weight.sum(dim=(2, 3, 4), keepdim=True) / 27
        return functional.conv3d(maps, weight, weights[f"{name}.bias"], padding=1)

    first = maps = conv(f"first-{task}", torch.from_numpy(units)[None, None].double())
    for block in range(dict(net.architecture.options)["blocks"]):
        maps = maps + conv(f"block{block}-b", torch.relu(conv(f"block{block}-a", maps)))
    return spread(conv(f"last-{task}", first + conv("gathering", maps))[0].numpy(), factors)


def refined_by_hand(net: MultiTaskNet, units: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    return resize(units.astype(np.float64), factors, "cubic") + added_by_hand(net, units, factors)


def linear(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """By scipy."""
    places = np.meshgrid(*((np.arange(n * f) + 0.5) / f - 0.5 for n, f in zip(array.shape, factors)), indexing="ij")
    return map_coordinates(array.astype(np.float64), places, order=1, mode="nearest")


# Sub-pixels


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2), (1, 4, 4), (2, 4, 1)])
def test_finer_voxels_lie_in_their_voxel(factors):
    phases = np.random.default_rng(0).random((2, math.prod(factors), 3, 4, 5), dtype=np.float32)
    expected = np.stack([spread(image, factors) for image in phases])
    np.testing.assert_array_equal(sub_pixel_volume(torch.from_numpy(phases), factors)[:, 0].numpy(), expected)
    for image, fine in zip(phases, expected):
        np.testing.assert_array_equal(_sub_pixel(image, factors), fine)


@pytest.mark.parametrize("r", [2, 4])
def test_in_plane_it_is_torchs_pixel_shuffle(r):
    phases = torch.rand(1, r * r, 3, 5, 6)
    slices = functional.pixel_shuffle(phases[0].movedim(1, 0), r)[:, 0]
    assert torch.equal(sub_pixel_volume(phases, (1, r, r))[0, 0], slices)


@pytest.mark.parametrize("factors", TASKS)
def test_the_interpolation_is_the_catalogues_cubic_one(factors):
    volume = smooth_noise((5, 6, 7))
    np.testing.assert_allclose(interpolated(torch.from_numpy(volume)[None, None], factors)[0, 0].numpy(), resize(volume, factors, "cubic"), atol=2e-6)


def test_the_interpolation_is_never_rounded_to_half_precision():
    volume = torch.rand(1, 1, 6, 7, 8) + 100
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(interpolated(volume, (2, 2, 2)), interpolated(volume.clone(), (2, 2, 2)))
        half = interpolated(volume, (2, 2, 2))
    assert half.dtype == torch.float32 and torch.equal(half, interpolated(volume, (2, 2, 2)))


# The network


@pytest.mark.parametrize("factors", FACTORS)
def test_the_network_by_hand(factors):
    net, volume = random_tasks(), smooth_noise((5, 7, 6))
    with torch.inference_mode():
        output = net(torch.from_numpy(volume)[None, None], factors)[0, 0].numpy()
    expected = refined_by_hand(net, volume, factors)
    assert added_by_hand(net, volume, factors).std() > 0.02
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"features": 5, "blocks": 3}])
@pytest.mark.parametrize("factors", TASKS)
def test_size_and_arithmetic(factors, options):
    """Against the layers written out, the module and what torch counts."""
    made = VolumeArchitecture.make("mdsr", options, True, factors)
    features, blocks, phases = options.get("features", 32), options.get("blocks", 8), math.prod(factors)
    kernels = 27 * (features + (2 * blocks + 1) * features**2 + features * phases)
    with torch.device("meta"):
        net, task = BlueprintNet(made), MultiTaskNet([made])
    assert made.multiply_accumulates == kernels
    assert made.survey.trained == kernels + features * (2 + 2 * blocks) + phases
    for module in (net, task):
        assert sum(parameter.numel() for parameter in module.parameters()) == made.survey.trained
        assert {name: tuple(tensor.shape) for name, tensor in module.stored_tensors().items()} == made.tensor_shapes()
    assert (made.survey.outputs, made.survey.step, made.survey.radius) == (phases, 1, 2 * blocks + 3)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net.correction(torch.zeros(1, 1, 8, 8, 8))
    assert counter.get_total_flops() == 2 * 8**3 * kernels


def test_tasks_share_the_trunk_alone():
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    names = {name.split(".")[0] for name in net.stored_tensors()}
    assert names == {"first-1x2x2", "last-1x2x2", "first-2x1x1", "last-2x1x1", "gathering", "block0-a", "block0-b", "block1-a", "block1-b"}
    assert net.architecture.factors == (1, 2, 2)  # four phases


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("factors", [(1, 2, 2), (4, 1, 1)])
def test_one_voxel_changes_what_lies_within_the_radius(factors, blocks):
    """And changes the farthest of it; what is added by the interpolation lies nearer."""
    net = random_tasks((factors,), features=8, blocks=blocks).double()
    radius, length = net.architecture.survey.radius, 23
    volume = torch.rand(1, 1, length, length, length, dtype=torch.float64)
    poked = volume.clone()
    poked[0, 0, 11, 11, 11] += 1
    phases = [sub_pixel_volume(net.tasks[factors].blueprint(_runner(net), image), factors)[0, 0].detach() for image in (volume, poked)]
    changed = (phases[0] - phases[1]).abs() > 1e-12
    for axis, factor in enumerate(factors):
        places = changed.any(dim=tuple({0, 1, 2} - {axis})).nonzero().flatten() // factor
        assert (int(places.min()), int(places.max())) == (11 - radius, 11 + radius)


def _runner(net: MultiTaskNet):
    from superres3d.networks.volumetric import _ZeroSumRunner

    return _ZeroSumRunner(net.layers)


@pytest.mark.parametrize("factors", TASKS)
def test_an_untrained_network_is_the_interpolation(factors):
    volume = torch.rand(1, 1, 5, 6, 7)
    assert torch.equal(MultiTaskNet([architecture(factors)])(volume, factors), interpolated(volume, factors))


def test_each_task_learns_its_own_layers_and_the_trunk():
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    net(torch.rand(1, 1, 5, 6, 7), (2, 1, 1)).abs().mean().backward()
    idle = {name.split(".")[1] for name, parameter in net.named_parameters() if parameter.grad is None}
    assert idle == {"first-1x2x2", "last-1x2x2"}
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in net.parameters() if parameter.grad is not None)


# A brighter scan


def test_kernels_sum_to_zero():
    weight = zero_sum(torch.randn(6, 3, 3, 3, 3))
    torch.testing.assert_close(weight.sum(dim=(2, 3, 4)), torch.zeros(6, 3), atol=1e-5, rtol=0)
    stored = random_tasks().stored_tensors()
    for name, tensor in stored.items():
        total = float(tensor.double().sum(dim=(2, 3, 4)).abs().max()) if tensor.ndim == 5 else None
        if name.startswith("first") and tensor.ndim == 5:
            assert total < 1e-6
        elif tensor.ndim == 5:
            assert total > 0.1  # the others need not


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2)])
def test_brightness_has_no_part_in_what_is_added(factors):
    """Away from the borders, where zeros lie beyond the scan; there it has."""
    net, volume = random_tasks(blocks=1), torch.rand(1, 1, 17, 18, 19)
    radius = 5
    with torch.inference_mode():
        added = [net(volume + level, factors) - interpolated(volume + level, factors) for level in (0.0, 0.5)]
    change = (added[1] - added[0])[0, 0].abs()
    inner = tuple(slice(radius * f, -radius * f) for f in factors)
    assert added[0].std() > 0.01
    assert change[inner].max() < 1e-5 and change.max() > 1e-3


def test_brightness_has_no_part_in_what_is_added_to_a_scan(installed, engine):
    scan = ct((16, 17, 18))
    brighter = replace(scan, voxels=scan.voxels + np.float32(150))
    one, other = (upscale(given, (2, 1), **ALONE).volume.voxels for given in (scan, brighter))
    change = np.abs(other - one - 150)
    assert change[7:-7, 14:-14, 14:-14].max() < 0.01 and change.max() > 1


# The way of a scan

REFINEMENTS = [
    ({"scale": 2, "axes": "in-plane"}, (1, 2, 2)),
    ({"scale": 2, "axes": "through-plane"}, (2, 1, 1)),
    ({"scale": 2}, (2, 2, 2)),
    ({"scale": 4, "axes": "in-plane"}, (1, 4, 4)),
    ({"scale": 4, "axes": "through-plane"}, (4, 1, 1)),
    ({"scale": 4, "axes": "all"}, (4, 4, 4)),
    ({"scale": (2, 4)}, (4, 2, 2)),
    ({"scale": (4, 2)}, (2, 4, 4)),
]


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
    save_tasks(MultiTaskNet([architecture(task) for task in TASKS]), "mdsr-3d-ct", tmp_path / "models")
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
    monkeypatch.setattr("superres3d.weights.model_folders", lambda: [tmp_path])
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


def tiled(net: MultiTaskNet, factors: tuple[int, int, int], voxels: int) -> TiledVolumeNetwork:
    """A network whose windows may have so many voxels."""

    @torch.inference_mode()
    def infer(window, stopped):
        low = torch.from_numpy(window)[None, None]
        return (net(low, factors) - interpolated(low, factors))[0, 0].numpy()

    network = TiledVolumeNetwork(net.tasks[factors], infer, lambda: 0)
    network._budget = lambda: int(voxels * network._voxel_bytes) + 1
    return network


KEPT = [((0, 12), (0, 31), (0, 25)), ((2, 9), (0, 25), (5, 20)), ((0, 4), (20, 31), (11, 12)), ((11, 12), (30, 31), (0, 25))]


@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("factors", [(4, 1, 1), (2, 4, 4)])
def test_tiles_of_a_region_give_the_whole(factors, keep):
    net, volume = random_tasks(), smooth_noise((12, 31, 25))
    whole, parts, told, turns = tiled(net, factors, 10**9), tiled(net, factors, 5_500), [], FLIPS[1:3]
    expected = whole.ensemble(volume, turns, *NEVER)
    assert expected.shape == tuple(n * f for n, f in zip(volume.shape, factors)) and whole.pieces(volume.shape, turns) == 2
    expected = expected[tuple(slice(a * f, b * f) for (a, b), f in zip(keep, factors))]
    result = parts.ensemble(volume, turns, lambda: told.append(1), lambda: False, keep)
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)
    assert len(told) == parts.pieces(volume.shape, turns, keep)
    assert np.prod([b - a for a, b in keep]) < 200 or len(told) >= 4


def test_too_small_a_halo_would_be_seen(monkeypatch):
    """The tile test can fail."""
    net, volume, factors = random_tasks(), smooth_noise((12, 31, 25)), (1, 2, 2)
    assert tiled_volume.halo_of(net.tasks[factors].survey) == 7
    expected = tiled(net, factors, 10**9).ensemble(volume, (IDENTITY,), *NEVER)
    monkeypatch.setattr(tiled_volume, "halo_of", lambda survey: 4)
    assert np.abs(tiled(net, factors, 3_000).ensemble(volume, (IDENTITY,), *NEVER) - expected).max() > 1e-5


def test_air_is_computed_once_and_exactly():
    net, factors = random_tasks(), (2, 2, 2)
    volume = np.zeros((12, 37, 80), np.float32)
    volume[:, :, :10] = smooth_noise((12, 37, 10))
    network, calls = tiled(net, factors, 8_000), []
    infer = network._infer
    network._infer = lambda window, stopped: calls.append(1) or infer(window, stopped)
    result = network.ensemble(volume, (IDENTITY,), *NEVER)
    assert len(calls) < network.pieces(volume.shape, (IDENTITY,))
    np.testing.assert_allclose(result, tiled(net, factors, 10**9).ensemble(volume, (IDENTITY,), *NEVER), atol=2e-6, rtol=0)


@pytest.mark.parametrize("make", RUNTIMES.values(), ids=RUNTIMES)
def test_a_runtime_in_tiles(installed, make):
    runtime, volume, factors = make(), smooth_noise((9, 26, 28)), (4, 2, 2)
    network = runtime.load_volume(find_model("mdsr-3d-mr"), factors)
    whole = network.ensemble(volume, (IDENTITY,), *NEVER)
    np.testing.assert_allclose(whole, added_by_hand(installed, volume, factors), atol=1e-5)
    runtime.volume_bytes = int(5_000 * network._voxel_bytes)
    keep = ((1, 9), (3, 26), (0, 20))
    assert network.pieces(volume.shape, (IDENTITY,)) >= 4 and network.pieces(volume.shape, (IDENTITY,), keep) >= 2
    np.testing.assert_allclose(network.ensemble(volume, (IDENTITY,), *NEVER), whole, atol=2e-6, rtol=0)
    np.testing.assert_allclose(network.ensemble(volume, (IDENTITY,), *NEVER, keep), whole[4:36, 6:52, :40], atol=2e-6, rtol=0)


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
    assert runtime.load_volume(plan.models["volume"], (1, 2, 2)).pieces(shape, (IDENTITY,)) <= 8


def test_the_most_that_a_volume_takes_is_enough_for_one_window():
    """Of any shape."""
    survey = VolumeArchitecture.make("mdsr", {"features": 32, "blocks": 8}, True, (1, 2, 2)).survey
    for shape in np.random.default_rng(0).integers(40, 80, (20, 3)).tolist():
        most = int(tiled_volume.most_bytes(survey, shape) / tiled_volume.voxel_bytes(survey, 4))
        assert len(list(tiled_volume.windows(tuple(shape), survey, most))) == 1


@pytest.mark.parametrize("limit", [3 << 30, 6 << 30, 1 << 40])
def test_the_plan_of_a_chest_is_bounded(tmp_path, monkeypatch, limit):
    """512 x 512 x 200 voxels, all axes doubled, by a network of the recipe's size."""
    folder = save_tasks(MultiTaskNet([VolumeArchitecture.make("mdsr", {"features": 32, "blocks": 8}, True, task) for task in TASKS]), "mdsr-3d-ct", tmp_path)
    monkeypatch.setattr("superres3d.weights.model_folders", lambda: [folder.parent])
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
    (lambda folder: edit(folder, family="unet"), "card of the model mdsr-3d-ct cannot be used"),
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
            make().load_volume(find_model("mdsr-3d-ct"), (4, 2, 2))


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
            make().load_volume(find_model("mdsr-3d-ct"), (2, 2, 2))
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("tasks", [7, [7], [[1, 2]]])
def test_a_card_whose_tasks_are_none(installed, tmp_path, tasks):
    edit(tmp_path / "models" / "mdsr-3d-ct", tasks=tasks)
    with pytest.raises(ModelError, match="card of the model mdsr-3d-ct cannot be used"):
        RUNTIMES["openvino"]().load_volume(find_model("mdsr-3d-ct"), (4, 2, 2))


@pytest.mark.parametrize("tasks", [7, [7], [[1, 2]]])
def test_an_upscaling_with_a_card_whose_tasks_are_none(installed, tmp_path, tasks):
    edit(tmp_path / "models" / "mdsr-3d-ct", tasks=tasks)
    with pytest.raises((ModelError, InputError)):
        upscale(ct(), (2, 4), **ALONE)


def test_a_model_that_is_not_there(installed, monkeypatch):
    monkeypatch.setattr("superres3d.weights.model_folders", lambda: [])
    with pytest.raises(ModelError, match="The model mdsr-3d-ct is not installed"):
        upscale(ct(), **ALONE)


def test_a_network_that_does_not_refine_is_refused(installed, tmp_path):
    """Another method's model, whole and undamaged, under this one's name."""
    save_blueprint(random_blueprint("mdcsrn", residual=True), "mdsr-3d-ct", tmp_path / "models")
    with pytest.raises(ModelError):
        upscale(ct(), **ALONE)


# Recipes


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_the_recipe(modality, pytestconfig):
    recipe = load_recipe(pytestconfig.rootpath / "models" / "recipes" / "mdsr-3d.toml", {"modality": modality})
    assert isinstance(recipe, MultiTaskRecipe)
    assert (recipe.method, recipe.modality, recipe.model_name) == ("mdsr-3d", modality, METHODS["mdsr-3d"].model_name(modality, "volume", 0))
    assert {(2, 2, 2), (4, 4, 4)} <= set(recipe.tasks) <= {factors for _, factors in REFINEMENTS} == set(TASKS)
    assert [made.factors for made in recipe.architectures] == list(recipe.tasks)
    assert recipe.volumes and recipe.validation and not set(recipe.volumes) & set(recipe.validation)
    assert recipe.through_plane and set(recipe.through_plane) <= set(recipe.volumes) and set(recipe.all_axes) <= set(recipe.through_plane)
    assert (recipe.gamma == 1.0) == (modality == "CT")  # Hounsfield units keep their scale
    assert json.loads(json.dumps(recipe.network))["tasks"] == [list(task) for task in recipe.tasks]
    assert VolumeArchitecture.from_card(json.loads(json.dumps(recipe.network)), (4, 4, 4)) == recipe.architectures[recipe.tasks.index((4, 4, 4))]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("tasks = [[1, 1, 1]]", r"task \[1, 1, 1\] cannot be; give three factors out of 1, 2 and 4"),
        ("tasks = [[1, 2, 2], [3, 1, 1]]", r"task \[3, 1, 1\] cannot be"),
        ("tasks = [[2, 2]]", r"task \[2, 2\] cannot be"),
        ("tasks = [[0, 2, 2]]", r"task \[0, 2, 2\] cannot be"),
        ("tasks = ['2x2']", "give a list of tasks"),
        ("tasks = 2", "tasks is 2; give a tuple"),
        ("tasks = [[1, 2, 2]]\noptions = { colour = 1 }", "options do not fit mdsr: .*colour"),
        ("tasks = [[1, 2, 2]]\nfamily = 'unet'", "family is 'unet'; give one of"),
        ("tasks = [[1, 2, 2]]\nfamily = 'mdcsrn'", "options do not fit mdcsrn"),
        ("tasks = [[1, 2, 2]]\nbatch = 0", "batch is 0; give a whole number above 0"),
        ("tasks = [[1, 2, 2]]\npatch_depth = 0", "patch_depth is 0; give a whole number above 0"),
        ("tasks = [[1, 2, 2]]\nschedule = 'linear'", "schedule is 'linear'"),
        ("tasks = [[1, 2, 2]]\ndegradation = 'k-space'", "unknown field degradation"),
        ("options = { features = 4 }", "options do not fit mdsr"),
    ],
)
def test_bad_recipes(tmp_path, text, sentence):
    path = tmp_path / "recipe.toml"
    path.write_text(text if "family" in text else f"family = 'mdsr'\n{text}")
    with pytest.raises(InputError, match=sentence) as refusal:
        load_recipe(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["tasks = [2, 2, 2]", "tasks = []"])
def test_tasks_that_are_none(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(f"family = 'mdsr'\n{text}\n")
    with pytest.raises(InputError, match="task"):
        load_recipe(path)


# Learning rates


@pytest.mark.parametrize("steps, warm_up", [(40, 8), (25, 1), (10, 9)])
def test_the_learning_rate_rises_and_follows_the_cosine(steps, warm_up):
    recipe = CommonRecipe(steps=steps, warm_up=warm_up, schedule="cosine", learning_rate=0.5)
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(plain, steps)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    scheduler = make_scheduler(optimizer, recipe)
    for step in range(steps + 1):
        rate, whole = optimizer.param_groups[0]["lr"], 0.25 * (1 + math.cos(math.pi * step / steps))
        assert plain.param_groups[0]["lr"] == pytest.approx(whole, abs=1e-9)
        assert rate == pytest.approx(whole * min(1.0, (step + 1) / warm_up), abs=1e-9)
        for steered, schedule in ((plain, cosine), (optimizer, scheduler)):
            steered.step()
            schedule.step()


def test_without_a_warm_up_nothing_rises():
    recipe = CommonRecipe(steps=10, schedule="cosine", learning_rate=0.5)
    optimizer = make_optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    make_scheduler(optimizer, recipe)
    assert optimizer.param_groups[0]["lr"] == 0.5


# Reductions


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


# Samples


def small(**changes) -> MultiTaskRecipe:
    values = {
        "method": "trial", "volumes": ("a",), "through_plane": ("a",), "options": {"features": 4, "blocks": 1}, "tasks": ((1, 2, 2), (2, 1, 1)),
        "patch": 8, "patch_depth": 6, "batch": 2, "steps": 2,
    }  # fmt: skip
    return MultiTaskRecipe(**{**values, **changes})


def plain(**changes) -> MultiTaskRecipe:
    return small(**{"augment_exact": False, "blur_probability": 0.0, **changes})


def batches(recipe: MultiTaskRecipe, voxels: np.ndarray, length: int = 10, first: int = 0, any_axis: bool = False) -> TaskBatches:
    return TaskBatches(recipe, [Source(voxels.astype(np.float32), True, any_axis)], length, first)


class Scripted:
    """In place of a random generator: always the first place, always yes, always the upper end."""

    def integers(self, high):
        return 0

    def random(self):
        return 0.0

    def uniform(self, low, high):
        return high


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2), (2, 4, 4), (4, 4, 4)])
@pytest.mark.parametrize("shape", [(40, 60, 50), (24, 32, 32), (7, 19, 90)])
def test_crops_are_crops_of_the_degraded_scan(factors, shape):
    """Of the scan mirrored at its borders, degraded as a whole on the crop's own grid; the crop is found by its truth.  Some scans are smaller than a crop."""
    voxels = np.random.default_rng(3).random(shape).astype(np.float32)
    low_shape, edge = (6, 8, 8), 40
    wide = np.pad(voxels, edge, mode="symmetric")
    dataset, random, borders = batches(plain(), voxels), np.random.default_rng(0), 0
    for _ in range(6):
        low, high = dataset.pair(factors, random)
        assert low.shape == low_shape and high.shape == tuple(n * f for n, f in zip(low_shape, factors)) and low.dtype == high.dtype == np.float32
        (place,) = np.argwhere(voxels == high[0, 0, 0])
        wanted = place + edge
        np.testing.assert_array_equal(high, wide[tuple(slice(a, a + n) for a, n in zip(wanted, high.shape))])
        starts, first = zip(*((a % f, a // f) for a, f in zip(wanted, factors)))
        whole = antialiased_bicubic(wide[tuple(slice(a, None) for a in starts)], factors)
        np.testing.assert_allclose(low, whole[tuple(slice(a, a + n) for a, n in zip(first, low_shape))], atol=2e-6)
        borders += any(a < 2 * f or a + n > m - 2 * f for a, n, m, f in zip(place, high.shape, shape, factors) if f > 1)
    assert borders or shape == (40, 60, 50)


def test_a_crop_of_a_whole_scan_is_the_degraded_scan():
    """Its borders included: the degradation mirrors there."""
    voxels = np.random.default_rng(4).random((12, 16, 16)).astype(np.float32)
    low, high = batches(plain(), voxels).pair((2, 2, 2), np.random.default_rng(0))
    np.testing.assert_array_equal(high, voxels)
    np.testing.assert_allclose(low, antialiased_bicubic(voxels, (2, 2, 2)), atol=2e-6)


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 1, 1), (4, 2, 2)])
def test_blur_comes_before_the_degradation(factors):
    """Three taps along the refined axes, by scipy; at a corner of the scan."""
    voxels = np.random.default_rng(5).random((40, 40, 40)).astype(np.float32)
    low, high = batches(plain(blur_probability=1.0, blur_sigma=0.8), voxels).pair(factors, Scripted())
    taps = np.exp(-0.5 * np.array([-1.0, 0.0, 1.0]) ** 2 / 0.8**2)
    blurred = voxels
    for axis in (axis for axis in (0, 1, 2) if factors[axis] > 1):
        blurred = correlate1d(blurred, taps / taps.sum(), axis, mode="reflect")
    np.testing.assert_array_equal(high, voxels[tuple(slice(0, n) for n in high.shape)])  # the truth is sharp
    np.testing.assert_allclose(low, antialiased_bicubic(blurred, factors)[:6, :8, :8], atol=2e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_some_slices_are_gaussian_means(factor):
    """Sigma 0.45 of their distance at most, along the slices alone."""
    voxels = np.random.default_rng(6).random((30, 40, 40)).astype(np.float32)
    low, _ = batches(plain(profile_share=1.0), voxels).pair((factor, 2, 2), Scripted())
    wide = np.pad(voxels, [(20, 20), (0, 0), (0, 0)], mode="symmetric")
    centres = 20 + (np.arange(6) + 0.5) * factor - 0.5
    weights = np.exp(-0.5 * ((np.arange(len(wide)) - centres[:, None]) / (0.45 * factor)) ** 2)
    slices = np.tensordot(weights / weights.sum(axis=1, keepdims=True), wide, axes=1)
    np.testing.assert_allclose(low, antialiased_bicubic(slices, (1, 2, 2))[:, :8, :8], atol=5e-6)
    unchanged = batches(plain(profile_share=1.0), voxels).pair((1, 2, 2), Scripted())[0]
    np.testing.assert_allclose(unchanged, antialiased_bicubic(voxels, (1, 2, 2))[:6, :8, :8], atol=2e-6)


def test_gamma_and_gain_change_truth_and_scan_alike():
    voxels = smooth_noise((40, 40, 40), seed=7)
    low, high = batches(plain(gamma=1.3, gain=1.5), voxels).pair((2, 1, 1), Scripted())
    changed = voxels.astype(np.float64) ** 1.3 * 1.5
    np.testing.assert_allclose(high, changed[:12, :8, :8], atol=1e-5)
    np.testing.assert_allclose(low, antialiased_bicubic(changed, (2, 1, 1))[:6, :8, :8], atol=1e-5)


@pytest.mark.parametrize("factors", [(1, 2, 2), (4, 2, 2)])
def test_turned_samples_are_still_pairs(factors):
    """The truth degraded gives the scan, away from the crop's borders, and the crops are turned in all ways."""
    k, j, i = np.meshgrid(np.arange(40), np.arange(60), np.arange(60), indexing="ij")
    dataset = batches(small(blur_probability=0.0, gain=1.4, gamma=1.3), smooth_noise((40, 60, 60), seed=8))
    random, ways = np.random.default_rng(0), set()
    for _ in range(30):
        low, high = dataset.pair(factors, random)
        inner = tuple(slice(2, -2) if f > 1 else slice(None) for f in factors)
        np.testing.assert_allclose(low[inner], antialiased_bicubic(high, factors)[inner], atol=5e-6)
    ramp = batches(small(blur_probability=0.0), 0.3 * k / 40 + 0.2 * j / 60 + 0.05 * i / 60)
    for _ in range(200):
        high = ramp.pair(factors, random)[1]
        slopes = [float(np.diff(high, axis=axis).mean()) for axis in (0, 1, 2)]
        ways.add((*(slope > 0 for slope in slopes), abs(slopes[1]) > abs(slopes[2])))
    assert len(ways) == 16


def test_samples_depend_on_seed_and_number_alone():
    recipe, voxels = small(gain=1.5, gamma=1.3, profile_share=0.5, blur_probability=0.5), smooth_noise((30, 40, 40))
    first, later, seeded = batches(recipe, voxels), batches(recipe, voxels, first=4), batches(replace(recipe, seed=1), voxels)
    assert len(first) == 10
    tasks = set()
    for number in range(6):
        one, same, again = first[number + 4], later[number], first[number + 4]
        assert one.factors == same.factors and torch.equal(one.low, same.low) and torch.equal(one.high, same.high) and torch.equal(one.low, again.low)
        for other in (seeded[number + 4], first[number]):
            assert one.factors != other.factors or not torch.equal(one.high, other.high)
        assert one.low.shape == (2, 1, 6, 8, 8) and one.high.shape == (2, 1, *(n * f for n, f in zip((6, 8, 8), one.factors)))
        assert not torch.equal(one.low[0], one.low[1])
        tasks.add(one.factors)
    assert tasks == {(1, 2, 2), (2, 1, 1)}


def test_each_epoch_goes_on_with_the_numbers(scans):
    recipe = small()
    data, known = TaskData(recipe, scans, 3), TaskBatches(recipe, load_sources(recipe.volumes, recipe, scans), 9)
    for epoch in range(3):
        data.trainer = SimpleNamespace(current_epoch=epoch)
        found = list(data.train_dataloader())
        assert len(found) == 3
        assert all(torch.equal(batch.low, known[3 * epoch + number].low) for number, batch in enumerate(found))


def test_only_sharp_slices_teach_the_slice_axis():
    dull, sharp = (Source(level + 0.1 * smooth_noise((20, 30, 30)), told, False) for level, told in ((0.2, False), (0.7, True)))
    dataset, random = TaskBatches(plain(), [dull, sharp], 1), np.random.default_rng(0)
    means = {factors: [float(dataset.pair(factors, random)[1].mean()) for _ in range(30)] for factors in ((2, 1, 1), (4, 2, 2), (1, 2, 2))}
    assert min(means[2, 1, 1]) > 0.5 and min(means[4, 2, 2]) > 0.5
    assert min(means[1, 2, 2]) < 0.5 < max(means[1, 2, 2])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_of_an_isotropic_scan_may_be_the_slices(axis):
    wave = np.moveaxis(np.broadcast_to(np.cos(np.arange(32))[:, None, None], (32, 32, 32)), 0, axis) * 0.4 + 0.5
    for any_axis, expected in ((True, {True, False}), (False, {axis == 0})):
        dataset, random = batches(plain(), wave, any_axis=any_axis), np.random.default_rng(0)
        assert {bool(np.ptp(dataset.pair((2, 1, 1), random)[1], axis=0).max() > 0.1) for _ in range(30)} == expected


def test_air_is_mostly_left_out():
    """One crop in five meets the body by chance; some whose margin alone does are kept."""
    voxels = np.zeros((12, 16, 120), np.float32)
    voxels[:, :, 56:64] = 0.5 * smooth_noise((12, 16, 8)) + 0.2
    dataset, random = batches(plain(), voxels), np.random.default_rng(0)
    assert np.mean([dataset.pair((1, 2, 2), random)[1].std() > 0.01 for _ in range(100)]) > 0.45


def test_scans_come_slices_first_and_reduced(tmp_path):
    """Reduced in their slices, and along all axes where all are alike; in network units."""
    voxels = np.rint(smooth_noise((28, 30, 32)) * 900).astype(np.int16)
    write(tmp_path / "thick.nii.gz", np.moveaxis(voxels, 0, 2).copy(), (4.0, 1.0, 1.0))
    write(tmp_path / "even.nii.gz", voxels, (1.0, 1.0, 1.0))
    recipe = small(volumes=("thick", "even"), all_axes=("even",), through_plane=(), reductions=(1.4, 2.0))
    sources = load_sources(recipe.volumes, recipe, tmp_path)
    assert [source.voxels.shape for source in sources] == [(28, 30, 32), (28, 21, 23), (28, 15, 16), (28, 30, 32), (20, 21, 23), (14, 15, 16)]
    assert [(source.sharp_slices, source.any_axis) for source in sources] == [(False, False)] * 3 + [(True, True)] * 3
    scale = intensity_scale(voxels, "MR")
    units = np.clip((voxels.astype(np.float64) - scale.offset) / scale.span, 0, 8)
    for source in (sources[0], sources[3]):
        np.testing.assert_allclose(source.voxels, units, atol=1e-6)
    np.testing.assert_allclose(sources[2].voxels, antialiased_bicubic(units, (1, 2, 2)), atol=1e-5)
    np.testing.assert_allclose(sources[5].voxels, antialiased_bicubic(units, (2, 2, 2)), atol=1e-5)
    named = load_sources(("thick",), replace(recipe, through_plane=("thick",), reductions=()), tmp_path)
    assert [source.sharp_slices for source in named] == [True]
    with pytest.raises(InputError):
        load_sources(("missing",), recipe, tmp_path)


# Training


def watched(recipe: MultiTaskRecipe, net: MultiTaskNet | None = None) -> tuple[MultiTaskModule, dict]:
    """A module outside of a training, and what it logs."""
    module, logged = MultiTaskModule(recipe), {}
    module.log = lambda name, value, **_: logged.update({name: float(torch.as_tensor(value).detach())})
    if net:
        module.net = net
    return module, logged


def test_the_loss_is_the_mean_absolute_error_of_the_task():
    batch = batches(small(), smooth_noise((30, 40, 40)))[0]
    net = random_tasks(((1, 2, 2), (2, 1, 1)))
    module, logged = watched(small(), net)
    expected = np.abs(np.stack([refined_by_hand(net, low[0].numpy(), batch.factors) for low in batch.low]) - batch.high[:, 0].numpy()).mean()
    loss = float(module.training_step(batch, 0).detach())
    assert loss == pytest.approx(expected, rel=1e-4) and loss == logged["loss"]


def test_validation_tells_the_gain_over_the_interpolation():
    """In decibel: none before the training, and a network's own by the formula; the same crops each time."""
    recipe, voxels = small(), smooth_noise((30, 40, 40))
    given = validation_batches(plain(), [Source(voxels, True, False)])
    assert [batch.factors for batch in given] == [(1, 2, 2)] * 6 + [(2, 1, 1)] * 6
    assert all(torch.equal(a.low, b.low) for a, b in zip(given, validation_batches(plain(), [Source(voxels, True, False)])))
    net = random_tasks(recipe.tasks)
    for chosen in (None, net):
        module, logged = watched(recipe, chosen)
        for _ in range(2):  # the second epoch does not remember the first
            with torch.inference_mode():
                for number, batch in enumerate(given):
                    module.validation_step(batch, number)
                module.on_validation_epoch_end()
        gains = []
        for task in recipe.tasks:
            mine = [(batch.low[0, 0].numpy(), batch.high[0, 0].numpy()) for batch in given if batch.factors == task]
            cubic = np.mean([((resize(low, task, "cubic") - high) ** 2).mean() for low, high in mine])
            refined = np.mean([((refined_by_hand(net, low, task) - high) ** 2).mean() for low, high in mine]) if chosen else cubic
            gains.append(10 * np.log10(cubic / refined))
            assert logged["val_gain_{}x{}x{}".format(*task)] == pytest.approx(gains[-1], abs=1e-3)
        assert logged["val_gain"] == pytest.approx(np.mean(gains), abs=1e-3)


def test_validation_crops_are_plain(scans):
    """Whatever the training does to its crops."""
    recipe = small(validation=("a",), through_plane=("a",), volumes=("a",), tasks=((2, 1, 1),), gain=2.0, gamma=1.5, blur_probability=1.0, profile_share=1.0, reductions=(1.4,))
    (source, *_) = load_sources(("a",), recipe, scans)
    found = list(TaskData(recipe, scans, 5).val_dataloader())
    assert len(found) == 6
    for batch in found:
        low, high = batch.low[0, 0].numpy(), batch.high[0, 0].numpy()
        np.testing.assert_allclose(low[2:-2], antialiased_bicubic(high, (2, 1, 1))[2:-2], atol=2e-6)
        windows = np.lib.stride_tricks.sliding_window_view(source.voxels, high.shape)
        assert (windows[..., 0, 0, 0] == high[0, 0, 0]).any()


def moved(before: MultiTaskNet, after: MultiTaskNet) -> float:
    return math.sqrt(sum(float((one - other).detach().double().square().sum()) for one, other in zip(before.parameters(), after.parameters())))


@pytest.mark.parametrize("norm", [0.0, 1e-3])
def test_gradients_are_scaled_to_their_norm(scans, tmp_path, monkeypatch, norm):
    """A plain step of length one: the parameters move by the gradient."""
    monkeypatch.setattr(task_module, "make_optimizer", lambda parameters, recipe, betas: torch.optim.SGD(parameters, lr=1.0))
    recipe = small(steps=1, schedule="constant", gradient_norm=norm)
    torch.manual_seed(recipe.seed)
    before = MultiTaskNet(recipe.architectures)
    after = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    distance = moved(before, after)
    assert distance == pytest.approx(1e-3, rel=1e-3) if norm else distance > 3e-3


def test_adams_second_moment_is_the_recipes():
    module, _ = watched(small(second_moment=0.9, learning_rate=0.25))
    (group,) = module.configure_optimizers()["optimizer"].param_groups
    assert group["betas"] == (0.9, 0.9) and group["lr"] == 0.25


def test_some_steps_are_closer_to_the_truth_than_the_interpolation(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 40)
    recipe = small(steps=40, options={"features": 8, "blocks": 1}, learning_rate=3e-3, warm_up=5, validation=("a",), blur_probability=0.0)
    fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        gains = {name: float(value) for row in csv.DictReader(file) for name, value in row.items() if name.startswith("val_gain") and value}
    assert set(gains) == {"val_gain", "val_gain_1x2x2", "val_gain_2x1x1"} and min(gains.values()) > 0.1
    assert (tmp_path / "run" / "curves.png").exists()


def test_an_exported_network_gives_what_was_trained(scans, tmp_path, monkeypatch):
    """From recipe to result: two steps, the card, each task from the file, and a scan through it."""
    recipe = small(method="mdsr-3d", modality="MR", steps=2, learning_rate=0.02)
    net = fitting.fit(recipe, scans, tmp_path / "run", accelerator="cpu")
    assert not net.training
    folder = export_model(net, recipe, scans, tmp_path / "models").folder
    monkeypatch.setattr("superres3d.weights.model_folders", lambda: [tmp_path / "models"])
    card = json.loads((folder / "card.json").read_text())
    assert (card["name"], card["method"], card["modality"], card["stage"]) == ("mdsr-3d-mr", "mdsr-3d", "MR", "volume")
    assert card["network"] == {"family": "mdsr", "options": {"features": 4, "blocks": 1}, "residual": True, "tasks": [[1, 2, 2], [2, 1, 1]]}
    assert card["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert card["multiply_accumulates_per_pixel"] == 27 * (4 + 3 * 16 + 4 * 4)  # of the task with four phases
    assert card["training_subjects"] == [{"id": "a", "licence": "unknown", "source": "unknown"}] and card["schedule"]["steps"] == 2
    assert "bicubic" in card["degradation"] and "not for diagnosis" in card["intended_use"] and "caution" not in card
    low = torch.from_numpy(smooth_noise((7, 9, 8)))[None, None]
    for task in recipe.tasks:
        back = load_volume_network(find_model("mdsr-3d-mr"), task)
        with torch.inference_mode():
            trained, plain_one = net(low, task), interpolated(low, task)
            torch.testing.assert_close(plain_one + sub_pixel_volume(back.correction(low), task), trained, atol=2e-6, rtol=0)
        assert (trained - plain_one).abs().max() > 1e-3 and not back.training
    scan = Volume((low[0, 0].numpy() * 900).astype(np.float32), modality="MR")
    scale = intensity_scale(scan.voxels, "MR")
    units = np.clip((scan.voxels - scale.offset) / scale.span, 0, scale.ceiling)
    outside = linear((scan.voxels - scale.offset) / scale.span - units, (2, 1, 1))
    expected = (refined_by_hand(net, units, (2, 1, 1)) + outside) * scale.span + scale.offset
    np.testing.assert_allclose(upscale(scan, 2, axes="through-plane", **ALONE).volume.voxels, expected, atol=0.02)


def test_a_resumed_run_equals_an_uninterrupted_one(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "EPOCH_STEPS", 3)
    recipe = small(steps=7, warm_up=5, gradient_norm=0.05, second_moment=0.99, learning_rate=0.01)
    whole = fitting.fit(recipe, scans, tmp_path / "whole", accelerator="cpu")

    class Interrupted(Exception):
        pass

    real = MultiTaskModule.training_step

    def breaks(self, batch, index):
        if self.global_step == 4:
            raise Interrupted
        return real(self, batch, index)

    monkeypatch.setattr(MultiTaskModule, "training_step", breaks)
    with pytest.raises(Interrupted):
        fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    monkeypatch.setattr(MultiTaskModule, "training_step", real)
    begun = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert begun["global_step"] == 3
    resumed = fitting.fit(recipe, scans, tmp_path / "parts", accelerator="cpu")
    assert moved(MultiTaskNet(recipe.architectures), resumed) > 0.1
    for (name, one), other in zip(whole.stored_tensors().items(), resumed.stored_tensors().values()):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5, msg=name)


def test_a_training_may_begin_from_a_model(tmp_path):
    """Of more tasks; what a network gives at once is what the model gave.  A task that the model has not is refused."""
    net = random_tasks(((1, 2, 2), (2, 1, 1)), features=4, blocks=1)
    start = save_tasks(net, "first", tmp_path)
    volume = torch.rand(1, 1, 5, 6, 7)
    begun = MultiTaskModule(small(tasks=((2, 1, 1),), start=str(start))).net
    torch.testing.assert_close(begun(volume, (2, 1, 1)), net(volume, (2, 1, 1)), atol=2e-6, rtol=0)
    assert not any("1x2x2" in name for name in begun.stored_tensors())
    for changes, sentence in (
        ({"tasks": ((2, 1, 1), (2, 2, 2))}, "do not fit the recipe's network"),
        ({"options": {"features": 5, "blocks": 1}}, "do not fit the recipe's network"),
        ({"start": str(tmp_path)}, "holds no weights.safetensors"),
    ):
        with pytest.raises(InputError, match=sentence) as refusal:
            MultiTaskModule(small(**{"start": str(start), **changes}))
        assert "\n" not in str(refusal.value)


def test_no_sharp_slices_to_learn_from(scans, tmp_path):
    with pytest.raises(InputError):
        fitting.fit(small(through_plane=()), scans, tmp_path / "run", accelerator="cpu")


def test_a_card_tells_what_an_evaluation_found(scans, tmp_path):
    """Of a network that refines: its gains where all axes are refined, and its arithmetic a voxel of the scan."""
    recipe = small(steps=1)
    model = export_model(MultiTaskNet(recipe.architectures).eval(), recipe, scans, tmp_path / "models")
    common = {"subject": "s", "modality": recipe.modality, "task": "3-D", "scale": 2, "ssim": 0.9, "psnr_foreground": 30.0}
    rows = [{**common, "method": name, "psnr": value} for name, value in (("lanczos", 30.0), (recipe.method, 31.5))]
    content = {"models": {model.name: model.sha256}, "protocol": {"subset": "test"}, "results": rows}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert update_cards(tmp_path / "results.json", tmp_path / "models") == [model.folder]
    page = (model.folder / "README.md").read_text()
    assert "2x: PSNR +1.50" in page and "per voxel of the scan" in page and "plane network" not in page
