"""Volumetric networks at work: OpenVINO against PyTorch, tiles against the whole, memory, a prompt stop."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from superres3d import Volume
from superres3d.engine import tiled as tiles
from superres3d.engine.engine import Engine
from superres3d.engine.ensemble import FLIPS, IDENTITY
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.parted import PartedNetwork, computed_accumulates
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.engine.tiled import PieceStopped, TiledNetwork, best_tile, median_of, voxel_bytes, windows
from superres3d.engine.tiling import blocks, extent
from superres3d.errors import Cancelled
from superres3d.networks.families import Architecture
from superres3d.networks.weights import find_model
from superres3d.plan import plan_upscaling
from superres3d.upscaling import upscale

from .conftest import SMALL_OPTIONS, ensemble, pieces, random_blueprint, save_blueprint, smooth_noise

NEVER = (lambda: None, lambda: False)  # alive, stopped


def quiet(share):
    pass


def by_torch(net):
    """What :class:`TiledNetwork` runs on windows."""

    @torch.inference_mode()
    def infer(window, stopped):
        return net.correction(torch.from_numpy(window)[:, None])[:, 0].numpy()

    return infer


def tiled(net, voxels: int, infer=None) -> TiledNetwork:
    """A network whose windows may have so many voxels."""
    network = TiledNetwork(net.architecture, median_of(infer or by_torch(net)), lambda: 0)
    network._budget = lambda: int(voxels * voxel_bytes(net.architecture.survey)) + 1
    return network


# The same network in every library

EVERY_FORM = [
    *((family, SMALL_OPTIONS[family]) for family in SMALL_OPTIONS),
    ("mdcsrn", {**SMALL_OPTIONS["mdcsrn"], "reconstruction": True}),
    ("virtual-thin-slice", {"filters": 2, "detail": 3}),
]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("family, options", EVERY_FORM)
def test_openvino_and_torch_agree(tmp_path, monkeypatch, family, options, residual):
    """Both against the module itself, with random weights and statistics; a shape that must be filled up for the networks with strides."""
    net = random_blueprint(family, options, residual)
    save_blueprint(net, "a", tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    volume = smooth_noise((11, 14, 17))
    results = [ensemble(make.load(find_model("a")), volume, (IDENTITY,), *NEVER) for make in (OpenVINORuntime(), PyTorchRuntime("cpu"))]
    with torch.inference_mode():
        step = net.architecture.survey.step
        filled = np.pad(volume, [(0, -n % step) for n in volume.shape], mode="edge")
        expected = net(torch.from_numpy(filled)[None, None])[0, 0, :11, :14, :17].numpy()
    assert expected.std() > 1e-3 and np.abs(expected - volume).max() > 1e-2
    for result in results:
        np.testing.assert_allclose(result, expected, atol=1e-5 * max(1.0, np.abs(expected).max()), rtol=0)


@pytest.mark.parametrize("make", [OpenVINORuntime, lambda: PyTorchRuntime("cpu")], ids=["openvino", "pytorch"])
def test_the_ensemble_is_the_median_of_turned_copies(volume_models, make):
    network = make().load(find_model("mdcsrn-mr"))
    volume = smooth_noise((7, 10, 13))
    members = []
    for rows in (1, -1):
        for columns in (1, -1):
            turned = np.ascontiguousarray(volume[:, ::rows, ::columns])
            members.append(ensemble(network, turned, (IDENTITY,), *NEVER)[:, ::rows, ::columns])
    expected = np.median(members, axis=0)
    np.testing.assert_allclose(ensemble(network, volume, FLIPS, *NEVER), expected, atol=1e-5, rtol=0)
    assert np.abs(members[0] - expected).max() > 1e-3


# Tiles

AWKWARD = [
    ("mdcsrn", (37, 41, 23), 15_000),
    ("mdcsrn", (5, 64, 61), 6_000),
    ("fsrcnn", (19, 26, 40), 12_000),
    ("virtual-thin-slice", (20, 13, 331), 32 * 16 * 176),
    ("virtual-thin-slice", (275, 17, 9), 32 * 16 * 176),
    ("pix2pix", (90, 13, 75), 56 * 16 * 56),
]


@pytest.mark.parametrize("family, shape, voxels", AWKWARD)
def test_tiles_give_the_whole(family, shape, voxels):
    net, volume = random_blueprint(family, residual=True), smooth_noise(shape)
    whole, parts = tiled(net, 10**9), tiled(net, voxels)
    turns = FLIPS[1:3]
    assert pieces(whole, shape, turns) == 2 and pieces(parts, shape, turns) >= 4
    expected = ensemble(whole, volume, turns, *NEVER)
    assert expected.shape == shape
    np.testing.assert_allclose(ensemble(parts, volume, turns, *NEVER), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("family, keep", [("pix2pix", ((3, 19), (0, 13), (5, 30))), ("pix2pix", ((17, 20), (2, 13), (11, 12))), ("mdcsrn", ((3, 19), (0, 13), (5, 30)))])
@pytest.mark.parametrize("voxels", [10**9, 24 * 16 * 24])
def test_a_region_is_that_of_the_whole(family, keep, voxels):
    """Also where it ends between the samples of a coarse map."""
    net, volume, told = random_blueprint(family, residual=True), smooth_noise((20, 13, 31)), []
    expected = ensemble(tiled(net, 10**9), volume, FLIPS[1:3], *NEVER)[tuple(slice(a, b) for a, b in keep)]
    network = tiled(net, voxels)
    result = ensemble(network, volume, FLIPS[1:3], lambda: told.append(1), lambda: False, keep)
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)
    assert len(told) == pieces(network, volume.shape, FLIPS[1:3], keep)


@pytest.mark.parametrize("family, halo", [("mdcsrn", 4), ("virtual-thin-slice", 48)])
def test_too_small_a_halo_would_be_seen(family, halo, monkeypatch):
    """The tile test can fail."""
    (_, shape, voxels) = next(case for case in AWKWARD if case[0] == family)
    net, volume = random_blueprint(family, residual=True), smooth_noise(shape)
    expected = ensemble(tiled(net, 10**9), volume, (IDENTITY,), *NEVER)
    monkeypatch.setattr(tiles, "halo_of", lambda survey: (halo,) * 3)
    assert np.abs(ensemble(tiled(net, voxels // 2), volume, (IDENTITY,), *NEVER) - expected).max() > 1e-5


@pytest.mark.parametrize("family, halo", [("mdcsrn", 5), ("virtual-thin-slice", 80), ("pix2pix", 24), ("fsrcnn", 8)])
def test_the_halo_is_the_radius_in_whole_steps(family, halo):
    """What random weights bring from the farthest voxels is too little for the tests above."""
    architecture = random_blueprint(family).architecture
    (radius,) = set(architecture.survey.radius)
    assert tiles.halo_of(architecture.survey) == (halo,) * 3 and halo >= radius > halo - architecture.survey.step


def parted(net, budget: int) -> PartedNetwork:
    @torch.inference_mode()
    def infer(draw, inputs, stopped):
        return net.part(draw, *map(torch.from_numpy, inputs)).numpy()

    return PartedNetwork(net.architecture, infer, lambda: budget)


@pytest.mark.parametrize("detail", [0, 3])
@pytest.mark.parametrize("shape, budget", [((37, 61, 47), 4 << 20), ((37, 61, 47), 1 << 20), ((5, 100, 90), 2 << 20)])
def test_parts_give_the_whole(detail, shape, budget):
    net, volume = random_blueprint("virtual-thin-slice", {"filters": 4, "detail": detail}, residual=True), smooth_noise(shape)
    turns, told = FLIPS[1:3], []
    expected = ensemble(tiled(net, 10**9), volume, turns, *NEVER)
    network = parted(net, budget)
    result = ensemble(network, volume, turns, lambda: told.append(1), lambda: False)
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)
    assert len(told) == pieces(network, shape, turns) > 2 * 3 == pieces(parted(net, 1 << 40), shape, turns)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_too_small_a_halo_of_any_part_would_be_seen(part, monkeypatch):
    net, volume = random_blueprint("virtual-thin-slice", {"filters": 4, "detail": 3}, residual=True), smooth_noise((37, 61, 47))
    expected = ensemble(tiled(net, 10**9), volume, (IDENTITY,), *NEVER)
    spoiled, true_halo = net.architecture.part_surveys[part], tiles.halo_of
    monkeypatch.setattr(tiles, "halo_of", lambda survey: (0, 0, 0) if survey is spoiled else true_halo(survey))
    assert np.abs(ensemble(parted(net, 1 << 20), volume, (IDENTITY,), *NEVER) - expected).max() > 1e-5


def test_margins_of_a_chest_cost_less_than_the_chest():
    """512 x 512 voxels, thick slices of a whole chest to 300 thin ones, within 3 GiB; as one network, tiles would be nearly all margin."""
    architecture = Architecture.make("virtual-thin-slice", {"filters": 16, "detail": 16}, True)
    shape = (300, 512, 512)
    needed = np.prod(shape) * architecture.multiply_accumulates
    assert needed < computed_accumulates(architecture, shape, 3 << 30) < 2 * needed
    survey, whole = architecture.survey, tiles.padded_shape(shape, architecture.survey.step)
    as_one = sum(np.prod(extent(window)) for _, window in windows(whole, survey, int((3 << 30) / voxel_bytes(survey)))) * architecture.multiply_accumulates
    assert as_one > 20 * needed


def test_openvino_in_tiles(volume_models):
    runtime, volume = OpenVINORuntime(), smooth_noise((23, 29, 38))
    network = runtime.load(find_model("mdcsrn-mr"))
    expected = ensemble(network, volume, (IDENTITY,), *NEVER)
    runtime.volume_bytes = int(9_000 * voxel_bytes(network.architecture.survey))
    assert pieces(network, volume.shape, (IDENTITY,)) > 4
    np.testing.assert_allclose(ensemble(network, volume, (IDENTITY,), *NEVER), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("family, shape, voxels", [("mdcsrn", (20, 60, 62), 10_000), ("virtual-thin-slice", (16, 16, 640), 16 * 16 * 176)])
def test_constant_windows_are_computed_once_and_exactly(family, shape, voxels):
    net = random_blueprint(family, residual=True)
    volume = np.full(shape, 0.25, np.float32)
    volume[:, :, shape[2] // 2 :] = 0.75
    volume[:, : shape[1] // 3, : shape[2] // 8] = smooth_noise((shape[0], shape[1] // 3, shape[2] // 8))
    calls, infer = [], by_torch(net)

    def counted(window, stopped):
        calls.append(window.shape)
        return infer(window, stopped)

    network, told, turns = tiled(net, voxels, counted), [], FLIPS[:2]
    result = ensemble(network, volume, turns, lambda: told.append(1), lambda: False)
    assert len(told) == pieces(network, shape, turns) > len(calls)
    np.testing.assert_allclose(result, ensemble(tiled(net, 10**9), volume, turns, *NEVER), atol=2e-6, rtol=0)


def test_windows_have_one_shape_and_stay_within_their_budget():
    """Each shape of a window is compiled anew, which takes seconds."""
    net, shapes = random_blueprint("mdcsrn", residual=True), set()
    infer = by_torch(net)
    network = tiled(net, 15_000, lambda window, stopped: shapes.add(window.shape) or infer(window, stopped))
    ensemble(network, smooth_noise((37, 41, 23)), (IDENTITY,), *NEVER)
    (shape,) = shapes
    assert np.prod(shape) <= 15_000


@pytest.mark.parametrize("shape, halo, step, most", [((64, 96, 112), 16, 16, 300_000), ((20, 31, 27), 3, 1, 4_000), ((16, 16, 16), 0, 4, 100)])
def test_no_other_even_tile_costs_less(shape, halo, step, most):
    """Against a search through every tile."""

    def voxels(tile):
        return int(np.prod([min(n, t + 2 * halo) for n, t in zip(shape, tile)]))

    def cost(tile):
        return voxels(tile) * len(list(blocks(shape, tile)))

    tile = best_tile(shape, shape, (halo,) * 3, step, most)
    assert all(t % step == 0 for t in tile) and voxels(tile) <= most
    fitting = [t for t in np.ndindex(*(n // step for n in shape)) if voxels([(n + 1) * step for n in t]) <= most]
    assert cost(tile) <= min(cost([(n + 1) * step for n in t]) for t in fitting)


# Memory


def test_the_plan_of_a_paper_sized_scan_is_bounded(tmp_path, monkeypatch):
    """320 x 320 x 256 voxels, doubled in-plane; whole, the feature maps alone would take 120 GiB."""
    net = random_blueprint("mdcsrn", {}, residual=True)
    save_blueprint(net, "mdcsrn-mr", tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    voxels = 256 * 640 * 640
    assert net.architecture.survey.live_floats * 4 * voxels > 120 << 30
    for limit in (3 << 30, 6 << 30, 1 << 40):
        plan = plan_upscaling((256, 320, 320), (0.7, 0.7, 0.7), "int16", method="mdcsrn", memory_limit=limit)
        assert plan.output_shape == (256, 640, 640) and plan.factors == (1, 2, 2)
        assert 256 << 20 <= plan.working_bytes <= 3 << 30
        assert plan.memory_bytes <= min(limit, (3 << 30) + voxels * 20 + (1 << 30) + 64 * (120 << 20))
        # the work, with the margins of the tiles
        once = voxels * net.architecture.multiply_accumulates * 4
        assert once < plan.accumulates < (8 if limit == 3 << 30 else 3) * once


def test_memory_stays_within_the_plan(tmp_path):
    """What a process of its own takes for the work, against what was planned for it; in one piece it would take more."""
    save_blueprint(random_blueprint("mdcsrn", {"blocks": 2, "units": 2}, residual=True), "mdcsrn-mr", tmp_path)
    program = """
import json, numpy as np, psutil
from superres3d import plan as planning
from superres3d.upscaling import upscale
from superres3d import Volume
texture = (np.random.default_rng(0).random((24, 96, 96)) * 900).astype(np.int16)
choices = {"method": "mdcsrn", "ensemble": "none", "precision": "single"}
limit = (300 << 20) + planning._ENGINE_BYTES + planning.usable_cores() * planning._WORKER_BYTES
plan = planning.plan_upscaling(texture.shape, (1, 1, 1), "int16", inputs_in_memory=0, memory_limit=limit, **choices)
upscale(Volume(texture[:4, :16, :16], modality="MR"), device="cpu", **choices)
before = psutil.Process().memory_info().rss
report = upscale(Volume(texture, modality="MR"), device="cpu", memory_limit=limit, **choices).report
print(json.dumps([limit, plan.memory_bytes, plan.working_bytes, before, report["peak_memory_bytes"]]))
"""
    environment = {**os.environ, "SUPERRES3D_MODELS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True, env=environment)
    limit, planned, working, before, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak < planned == limit
    assert peak - before < 300 << 20 < 24 * 192 * 192 * 144 * 4  # the largest layer's maps of the whole: 24 + 2 * 48 channels to 24
    assert working > 256 << 20


# Stopping


def test_a_stop_reaches_a_long_piece(tmp_path, monkeypatch):
    """One window that would take many seconds; the stop is asked for while it is at work."""
    save_blueprint(random_blueprint("srresnet", {"blocks": 16, "filters": 48}, residual=True), "mdcsrn-mr", tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    began, asked = [], []

    def cancelled():
        began.append(time.perf_counter())
        if began[-1] - began[0] > 0.7:
            asked.append(began[-1])
        return bool(asked)

    told = []
    scan = Volume((smooth_noise((32, 56, 56)) * 900).astype(np.int16), modality="MR")
    with pytest.raises(Cancelled):
        upscale(scan, method="mdcsrn", ensemble="none", device="cpu", cancelled=cancelled, progress=lambda stage, share: told.append(share))
    assert time.perf_counter() - asked[0] < 2.0
    assert max(told) < 1.0


def test_pieces_are_stopped_by_what_they_ask(volume_models):
    network = OpenVINORuntime().load(find_model("mdcsrn-mr"))
    volume = smooth_noise((64, 128, 128))
    with pytest.raises(PieceStopped):
        ensemble(network, volume, (IDENTITY,), lambda: None, lambda: True)
    small = smooth_noise((5, 6, 7))
    assert np.isfinite(ensemble(network, small, (IDENTITY,), *NEVER)).all()  # it can go on


def test_an_error_of_progress_is_not_the_engines(volume_models):
    def fails(share):
        raise RuntimeError("deleted")

    engine = Engine("cpu")
    with pytest.raises(RuntimeError, match="deleted"):
        engine.run(find_model("mdcsrn-mr"), smooth_noise((1, 6, 20, 20)), (IDENTITY,), fails)
    assert engine.notes == []


def test_memory_running_out_means_smaller_windows_and_is_said(volume_models):
    volume = smooth_noise((20, 40, 40))
    expected = Engine("cpu").run(find_model("mdcsrn-mr"), volume[None], (IDENTITY,), quiet, working_bytes=1 << 30)[0]
    engine = Engine("cpu")
    load = engine.runtime.load

    def scarce(model, factors):
        network = load(model, factors)
        median = network._median

        def fails(window, *given):
            if window.size > 16_000:
                raise MemoryError("std::bad_alloc")
            return median(window, *given)

        network._median = fails
        return network

    engine.runtime.load = scarce
    result = engine.run(find_model("mdcsrn-mr"), volume[None], (IDENTITY,), quiet, working_bytes=8 << 20)[0]
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)
    assert engine.notes and all("smaller tiles" in note for note in engine.notes)


def test_an_openvino_that_fails_at_work_is_left(volume_models, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Unsupported CPU")

    monkeypatch.setattr(OpenVINORuntime, "compile", fails)
    volume, engine = smooth_noise((6, 20, 20)), Engine("cpu")
    result = engine.run(find_model("mdcsrn-mr"), volume[None], (IDENTITY,), quiet)[0]
    expected = ensemble(PyTorchRuntime("cpu").load(find_model("mdcsrn-mr")), volume, (IDENTITY,), *NEVER)
    np.testing.assert_array_equal(result, expected)
    assert "Unsupported CPU" in engine.notes[0] and engine.runtime.name.startswith("PyTorch")
