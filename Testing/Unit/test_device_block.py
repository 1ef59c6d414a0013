"""Blocks that stay on a device: computed on the device "cpu" in single precision, they must be what the processor's engine gives."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from superres3d import Volume
from superres3d.engine import device_block
from superres3d.engine import engine as engine_module
from superres3d.engine.convolution_forms import CONVOLUTIONS
from superres3d.engine.ensemble import MEMBERS, apply_turn, exact_median, undo_turn
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.engine.turned_network import Style, TurnedNetwork
from superres3d.errors import Cancelled
from superres3d.networks.weights import find_model, load_network
from superres3d.upscaling import upscale as upscale_scan

from .conftest import smooth_noise

METHODS = ("two-stage-residual", "georgescu2020")


def upscale(volume, scale=None, method=METHODS[0], **choices):
    """By networks that are told nothing: scans as small as these cannot be measured, and that would be noted."""
    return upscale_scan(volume, scale, method=method, **choices)


class Device(PyTorchRuntime):
    """The path of a graphics card, on the processor."""

    def __init__(self, half: bool = False, **style):
        super().__init__("cpu")
        self.device = "cpu:0"  # as a card's, not the name of the processor
        self.block_share = 0.5
        self.style = Style(**{"half": half, "pixels": 1 << 12, **style})
        self.chunk_pixels = self.style.pixels


@pytest.fixture
def on_device(monkeypatch):
    """Runs ``upscale`` on a given runtime, and counts what went through it."""

    def run(volume, scale=2, runtime=None, **choices):
        calls = []
        inner = device_block.run_on_device
        with monkeypatch.context() as patched:
            patched.setattr(engine_module, "choose_runtime", lambda device, half: (runtime or Device(), []))
            patched.setattr(device_block, "run_on_device", lambda *given: calls.append(inner(*given)) or calls[-1])
            result = upscale(volume, scale, **choices)
        assert calls
        return result

    return run


def scan_of(dtype: str, shape=(7, 20, 23), modality="MR") -> Volume:
    """With values beyond what a network takes."""
    values = smooth_noise(shape) * 900
    if modality == "CT":
        values = values * 3 - 1000
        values[2:4, 3:9, 5:11] = -1500
        values[1, 2, 3], values[5, 18, 20] = 9000, 4000
    elif dtype not in ("uint8", "int8"):
        values[3, 4, 5] = 20000
    if dtype in ("uint8", "int8"):
        values = values / 8
    if dtype == "uint32":
        values = values * 1e5
    return Volume(values.astype(dtype), (0.8, 0.9, 3.0), modality=modality)


def assert_same(result, expected, span, fell_back=False):
    """To 1e-5 of the scale; of integers also a value that is rounded the other way.  And by the device, unless it fell back, which would hide anything."""
    assert bool(result.report["warnings"]) == fell_back, result.report["warnings"]
    dtype = expected.volume.voxels.dtype
    assert result.volume.voxels.dtype == dtype and result.volume.voxels.shape == expected.volume.voxels.shape
    difference = np.abs(result.volume.voxels.astype(np.float64) - expected.volume.voxels.astype(np.float64))
    if dtype.kind == "f":
        assert difference.max() <= 1e-5 * span
    else:
        assert difference.max() <= max(1, 1e-5 * span) and (span > 1e6 or (difference > 0).mean() < 0.01)


@pytest.mark.parametrize("preset", ["best", "balanced", "fast"])
@pytest.mark.parametrize("axes", ["all", "in-plane", "through-plane"])
@pytest.mark.parametrize("method", METHODS)
def test_it_is_the_engine_of_the_processor(models, on_device, method, axes, preset):
    volume = scan_of("float32", modality="CT")
    choices = {"axes": axes, "method": method, "modality": "CT", "preset": preset, "precision": "single"}
    assert_same(on_device(volume, **choices), upscale(volume, 2, device="cpu", **choices), 4095)


@pytest.mark.parametrize("method", METHODS)
def test_four_times(models, on_device, method):
    volume = scan_of("float32", (6, 12, 14))
    expected = upscale(volume, 4, method=method, modality="MR", precision="single", device="cpu")
    assert_same(on_device(volume, 4, method=method, modality="MR", precision="single"), expected, np.ptp(volume.voxels))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_every_dtype_comes_back(models, on_device, dtype):
    volume = scan_of(dtype)
    choices = {"modality": "MR", "preset": "fast", "precision": "single"}
    assert_same(on_device(volume, **choices), upscale(volume, 2, device="cpu", **choices), 900e5 if dtype == "uint32" else 900)


@pytest.mark.parametrize("slice_axis", ["k", "j", "i"])
def test_any_slice_axis_and_blocks(models, on_device, monkeypatch, slice_axis):
    """Blocks as small as they get, of a scan whose slices lie along any axis: nothing shows."""
    volume = scan_of("float32", (20, 40, 44), "CT")
    choices = {"modality": "CT", "preset": "fast", "precision": "single", "slice_axis": slice_axis}
    whole = on_device(volume, **choices)
    monkeypatch.setattr(device_block, "_free_bytes", lambda device: 1 << 20)
    parts = on_device(volume, **choices)
    assert parts.report["blocks"] > whole.report["blocks"] == 1
    np.testing.assert_allclose(parts.volume.voxels, whole.volume.voxels, atol=0.02, rtol=0)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize("distance", [1.3, 0.7])
def test_slices_of_any_distance(models, on_device, dtype, distance):
    """An interpolation follows the networks, of a result that is not yet rounded."""
    volume = scan_of(dtype)
    choices = {"scale": None, "slice_spacing": distance, "modality": "MR", "preset": "fast", "precision": "single"}
    result, expected = on_device(volume, **choices), upscale(volume, device="cpu", **choices)
    assert result.report["warnings"] == expected.report["warnings"] and len(expected.report["warnings"]) == 1
    difference = np.abs(result.volume.voxels.astype(np.float64) - expected.volume.voxels)
    assert difference.max() <= (1 if dtype == "int16" else 1e-5 * np.ptp(volume.voxels)) and (difference > 0.5).mean() < 0.01


@pytest.mark.parametrize("pixels", [1, 350, 1000])
def test_chunks_that_do_not_divide_the_slices(models, on_device, monkeypatch, pixels):
    """The last chunk reaches back; no slice counts twice."""
    monkeypatch.setattr(device_block, "_LEAST_PIXELS", 1)
    volume = scan_of("float32", (9, 19, 23), "CT")
    choices = {"modality": "CT", "preset": "fast", "precision": "single"}
    assert_same(on_device(volume, runtime=Device(pixels=pixels), **choices), upscale(volume, 2, device="cpu", **choices), 4095)


def test_memory_that_runs_out_makes_blocks_smaller_then_leaves_the_device(models, on_device, monkeypatch):
    """The same result, and it is said."""
    volume, choices = scan_of("int16"), {"modality": "MR", "preset": "fast", "precision": "single"}
    expected = upscale(volume, 2, device="cpu", **choices)
    inner, failures = TurnedNetwork.__call__, []

    def fail(network, images):
        if len(failures) < most:
            failures.append(images.shape)
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return inner(network, images)

    monkeypatch.setattr(TurnedNetwork, "__call__", fail)
    most, runtime = 2, Device()
    result = on_device(volume, runtime=runtime, **choices)
    assert_same(result, expected, 900, fell_back=True)
    assert len(result.report["warnings"]) == 2 and all("Memory ran short on cpu:0" in note for note in result.report["warnings"])
    assert runtime.block_share == 0.125 and runtime.chunk_pixels == 1 << 10
    most, failures[:] = 100, []
    result = on_device(volume, **choices)
    assert_same(result, expected, 900, fell_back=True)
    assert "went on with the CPU" in result.report["warnings"][-1] and result.report["device"] == "cpu"


def test_an_error_of_the_device_leaves_it(models, on_device, monkeypatch):
    def fail(network, images):
        raise RuntimeError("CUDA error: unspecified launch failure")

    volume, choices = scan_of("int16"), {"modality": "MR", "preset": "fast", "precision": "single"}
    expected = upscale(volume, 2, device="cpu", **choices)
    monkeypatch.setattr(TurnedNetwork, "__call__", fail)
    result = on_device(volume, **choices)
    np.testing.assert_allclose(result.volume.voxels, expected.volume.voxels, atol=1)
    assert "unspecified launch failure" in " ".join(result.report["warnings"])


def test_progress_and_stop(models, on_device):
    shares = []
    on_device(scan_of("int16", (7, 60, 60)), modality="MR", runtime=Device(pixels=1 << 10), progress=lambda stage, share: shares.append((stage, share)))
    assert shares[-1][1] == pytest.approx(1.0) and [share for _, share in shares] == sorted(share for _, share in shares)
    assert {stage for stage, _ in shares} == {"depth", "plane"} and len(shares) > 6
    seen = []
    with pytest.raises(Cancelled):
        on_device(scan_of("int16", (7, 60, 60)), modality="MR", runtime=Device(pixels=1 << 10), progress=lambda stage, share: seen.append(share), cancelled=lambda: len(seen) > 2)
    assert len(seen) == 3


def test_an_error_of_the_caller_stays_the_callers(models, on_device):
    def progress(stage, share):
        raise RuntimeError("out of memory, says the caller")

    with pytest.raises(RuntimeError, match="says the caller"):
        on_device(scan_of("int16"), modality="MR", progress=progress)


def test_networks_that_do_not_fit_go_stage_by_stage(models, monkeypatch):
    """A network whose turned copies need more than turned kernels is computed as on a processor, with the same result."""
    from superres3d.engine import turned_network

    scan = scan_of("float32")
    expected = upscale(scan, 2, device="cpu", preset="fast", precision="single").volume.voxels
    monkeypatch.setattr(turned_network, "turns_by_kernels", lambda architecture: False)
    monkeypatch.setattr(engine_module, "choose_runtime", lambda device, half: (Device(), []))
    monkeypatch.setattr(device_block, "run_on_device", lambda *given: pytest.fail("it went the device's way"))
    np.testing.assert_allclose(upscale(scan, 2, preset="fast").volume.voxels, expected, atol=1e-5 * 900)


@pytest.mark.parametrize("form", ["plane-x2", "plane-x4", "depth-x2", "depth-x4"])
@pytest.mark.parametrize("method", METHODS)
def test_turned_kernels_are_turned_slices(models, method, form):
    """Against copies that are really turned, in double precision as far as the kernels allow."""
    model = find_model(f"{method}-mr-{form}")
    turns = MEMBERS["plane" if "plane" in form else "depth"]["8"]
    images = smooth_noise((2, 11, 14))
    with torch.inference_mode():
        net, network = load_network(model), TurnedNetwork(model, turns, "cpu", Style(half=False))
        for number, turn in enumerate(turns):
            turned = torch.from_numpy(apply_turn(images, turn).copy())[:, None]
            expected = undo_turn(net(turned)[:, 0].numpy(), turn)
            network_alone = TurnedNetwork(model, turns[number : number + 1], "cpu", Style(half=False))
            made = network_alone(torch.from_numpy(images)).numpy()
            np.testing.assert_allclose(made + base(images, network_alone), expected, atol=2e-6)
        members = [undo_turn(net(torch.from_numpy(apply_turn(images, turn).copy())[:, None])[:, 0].numpy(), turn) for turn in turns]
        np.testing.assert_allclose(network(torch.from_numpy(images)).numpy() + base(images, network), exact_median(members), atol=2e-6)


def base(images: np.ndarray, network: TurnedNetwork) -> np.ndarray:
    from superres3d.resampling.interpolation import resize

    return resize(images, (1, *network.architecture.factors), "cubic") if network.architecture.residual else np.float32(0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_half_precision_stays_close(modality, method):
    """The shipped networks in float16 as a processor computes it: within 0.2 HU or 0.05 of 255, RMSE."""
    images = torch.from_numpy(smooth_noise((1, 40, 36)) * 0.6)
    with torch.inference_mode():
        model = find_model(f"{method}-{modality}-plane-x2")
        single, half = (TurnedNetwork(model, MEMBERS["plane"]["none"], "cpu", Style(half=half))(images) for half in (False, True))
    error = float((half - single).square().mean().sqrt())
    assert 0 < error < (0.2 / 4095 if modality == "ct" else 0.05 / 255)


def test_every_form_of_convolution_has_its_steps():
    features, weight, bias = torch.randn(1, 8, 5, 6), torch.randn(8, 8, 3, 3), torch.randn(8)
    plain = torch.nn.functional.conv2d(features, weight, bias, padding=1)
    by = CONVOLUTIONS["plain"]()
    torch.testing.assert_close(by.relu(features, weight, bias), plain.relu())
    torch.testing.assert_close(by.add(features.clone(), features, weight, bias), plain + features)


def test_layers_in_triton_compute_what_the_layers_compute():
    """In Triton's interpreter, which needs no card; against double precision."""
    pytest.importorskip("triton")
    done = subprocess.run([sys.executable, "-c", _IN_TRITON], capture_output=True, text=True, timeout=120, env={**os.environ, "TRITON_INTERPRET": "1"})
    assert done.returncode == 0, done.stderr


_IN_TRITON = """
import torch
from superres3d.engine.triton_layers import Tile, add_with_bias, convolve, fits

torch.manual_seed(0)
last = torch.channels_last
for count, inputs, outputs, height, width, tile in (
    (2, 32, 32, 9, 13, Tile(4, 16, 4, 1)), (1, 16, 32, 16, 8, Tile(1, 32, 4, 4)), (2, 48, 48, 5, 30, Tile(2, 16, 4, 3)), (1, 32, 8, 7, 50, Tile(1, 64, 4, 4))
):
    features, skip, more = (torch.randn(count, channels, height, width).half().contiguous(memory_format=last) for channels in (inputs, outputs, outputs))
    weight, bias = (torch.randn(outputs, inputs, 3, 3) / 10).half().contiguous(memory_format=last), torch.randn(outputs).half()
    assert fits(features, weight)
    exact = torch.nn.functional.conv2d(features.double(), weight.double(), bias.double(), padding=1)
    torch.testing.assert_close(convolve(features, weight, bias, tile).double(), exact, atol=5e-3, rtol=2e-3)
    torch.testing.assert_close(convolve(features, weight, bias, tile, relu=True).double(), exact.relu(), atol=5e-3, rtol=2e-3)
    expected = skip.double() + exact
    torch.testing.assert_close(convolve(features, weight, bias, tile, skip=skip).double(), expected, atol=5e-3, rtol=2e-3)
    expected = skip.double() + more.double() + bias.double()[:, None, None]
    torch.testing.assert_close(add_with_bias(skip, more, bias).double(), expected, atol=5e-3, rtol=2e-3)
"""
