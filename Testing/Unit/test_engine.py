"""The engine and its runtimes: the same result from each, tiles, threads, and what happens when one gives out."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from superres3d.engine import openvino_cpu
from superres3d.engine.engine import Engine
from superres3d.engine.ensemble import IDENTITY, MEMBERS
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.engine.tiled import windows
from superres3d.engine.tiling import extent
from superres3d.errors import Cancelled, DeviceError, ResourceError
from superres3d.networks.weights import find_model, load_network, model_folders

from .conftest import random_network, slice_network, smooth_noise

NAME = "two-stage-residual-mr-plane-x2"
#: those that are told of a scan have tests of their own (test_told.py)
EVERY = sorted(card.parent.name for root in model_folders() for card in root.glob("*/card.json") if not card.parent.name.startswith(("detail-", "error-map", "two-stage-told-", "two-stage-large-")))
VOLUMETRIC = [name for name in EVERY if find_model(name).card["stage"] == "volume"]
SHIPPED = [name for name in EVERY if name not in VOLUMETRIC]


NEVER = (lambda: None, lambda: False)  # alive, stopped


def quiet(share):
    pass


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def rounding(net, images: torch.Tensor, precision: str) -> float:
    """What the layers lose in a precision as PyTorch computes it, RMS; ``images`` (N, 1, [D,] H, W)."""
    if precision == "float32":
        return 1e-6
    with torch.inference_mode(), torch.autocast("cpu", getattr(torch, precision)):
        half = net.correction(images).float()
    with torch.inference_mode():
        return rms((half - net.correction(images)).numpy())


def by_torch(name: str, images: np.ndarray) -> np.ndarray:
    """The network of the weights file as PyTorch computes it."""
    with torch.inference_mode():
        return load_network(find_model(name))(torch.from_numpy(images)[:, None])[:, 0].numpy()


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 19, 34)])
def test_the_graph_is_the_trained_network(name, shape):
    """Every shipped model: OpenVINO's graph against PyTorch's module, sizes that are no multiple of four included."""
    images = smooth_noise(shape)
    refined = OpenVINORuntime().load(find_model(name)).ensemble(images, (IDENTITY,), *NEVER)
    np.testing.assert_allclose(refined, by_torch(name, images), atol=0.001 / 255, rtol=0)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", VOLUMETRIC)
def test_the_volumetric_graph_is_the_trained_network(name, half):
    """As the two tests of networks on slices; in half precision the machine may choose single."""
    volume = smooth_noise((16, 32, 33))
    with torch.inference_mode():
        net = load_network(find_model(name))
        filled = np.pad(volume, [(0, -n % net.architecture.survey.step) for n in volume.shape], mode="edge")
        expected = net(torch.from_numpy(filled)[None, None])[0, 0].numpy()[:, :, :33]
    runtime = OpenVINORuntime("half" if half else "single")
    refined = runtime.load(find_model(name)).ensemble(volume[None], (IDENTITY,), *NEVER)[0]
    assert np.abs(refined - volume).max() > 1e-3
    if half:
        assert rms(refined - expected) < 1.5 * rounding(net, torch.from_numpy(filled)[None, None], runtime.precision)
    else:
        np.testing.assert_allclose(refined, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", SHIPPED)
def test_half_precision_stays_close(name):
    """Where the processor computes in half precision; elsewhere float32 is used and said."""
    runtime = OpenVINORuntime("half")
    images = smooth_noise((1, 48, 40))
    refined = runtime.load(find_model(name)).ensemble(images, (IDENTITY,), *NEVER)
    net = load_network(find_model(name))
    assert runtime.precision in ("float16", "float32", *(["bfloat16"] if net.architecture.residual else []))
    lost = rounding(net, torch.from_numpy(images)[:, None], runtime.precision)
    assert rms(refined - by_torch(name, images)) < 1.5 * lost < 1e-3


@pytest.mark.parametrize(
    "form, switches",
    [("intermediate-loss", {switch: False}) for switch in ("second_block", "short_skips", "long_skip")]
    + [("intermediate-loss", {"filters": 48}), ("edsr", {"filters": 8, "blocks": 1})],
)
def test_the_graph_of_every_ablation(tmp_path, monkeypatch, form, switches):
    from superres3d.networks.weights import save_model

    net = random_network(form, (2, 2), seed=1, **switches)
    save_model(net, "a", tmp_path, {"network": slice_network(form, (2, 2), **switches)})
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    images = smooth_noise((1, 20, 22))
    refined = OpenVINORuntime().load(find_model("a")).ensemble(images, (IDENTITY,), *NEVER)
    np.testing.assert_allclose(refined, by_torch("a", images), atol=2e-5, rtol=0)


@pytest.mark.parametrize("make", [OpenVINORuntime, lambda: PyTorchRuntime("cpu")], ids=["openvino", "pytorch"])
def test_tiles_and_threads_give_the_whole(models, make):
    images = smooth_noise((3, 90, 70))
    results = []
    for slice_bytes, workers in ((1 << 33, 1), (1 << 19, 3)):
        engine = Engine("cpu")
        engine.runtime = make()
        engine.runtime.slice_bytes, engine.runtime.workers = slice_bytes, workers
        results.append(engine.run(find_model(NAME), images, MEMBERS["plane"]["8"], quiet))
    np.testing.assert_allclose(*results, atol=2e-6, rtol=0)


@pytest.mark.parametrize("make", [OpenVINORuntime, lambda: PyTorchRuntime("cpu")], ids=["openvino", "pytorch"])
@pytest.mark.parametrize("name", SHIPPED)
def test_margins_of_tiles_are_little_work(name, make):
    """Of a whole slice of a usual scan each pixel is computed less than one and a half times."""
    network = make().load(find_model(name))
    for length in (256, 512):
        computed = [np.prod(extent(window)) for _, window in windows((length, length), network.architecture.survey, network._most_voxels(network.architecture.survey, 1))]
        assert network.pieces((1, length, length), (IDENTITY,)) == len(computed) and sum(computed) < 1.5 * length**2


def test_constant_tiles_are_computed_once_and_exactly(models):
    runtime = OpenVINORuntime()
    runtime.slice_bytes = 1 << 20
    images = np.full((1, 160, 160), 0.25, np.float32)
    images[0, :50, :50] = smooth_noise((50, 50))
    network = runtime.load(find_model(NAME))
    inner, calls = network._median, []
    network._median = lambda *given: calls.append(given) or inner(*given)
    with_skipping = network.ensemble(images, (IDENTITY,), *NEVER)
    tiles = network.pieces(images.shape, (IDENTITY,))
    assert len(calls) < tiles
    network._constants = type("Forgetful", (dict,), {"get": lambda self, key: None})()
    np.testing.assert_array_equal(network.ensemble(images, (IDENTITY,), *NEVER), with_skipping)


def test_progress_rises_to_one_and_a_stop_is_prompt(models):
    images = smooth_noise((6, 64, 64))
    told = []
    Engine("cpu").run(find_model(NAME), images, MEMBERS["plane"]["8"], told.append)
    assert told == sorted(told) and told[-1] == 1.0

    def stop(share):
        raise Cancelled

    with pytest.raises(Cancelled):
        Engine("cpu").run(find_model(NAME), np.tile(images, (50, 1, 1)), MEMBERS["plane"]["8"], stop)


class FailingNetwork:
    """Raises what a card or a library raises; the real network answers what is small enough."""

    def __init__(self, network, limit, error):
        self._network, self._limit, self._error, self.architecture = network, limit, error, network.architecture

    def pieces(self, *given):
        return self._network.pieces(*given)

    def ensemble(self, images, *given):
        if images.size > self._limit:
            raise self._error
        return self._network.ensemble(images, *given)


class FailingRuntime:
    """A graphics card that is not there."""

    name, device, precision, workers = "PyTorch 2", "cuda:0", "float32", 1

    def __init__(self, limit, error):
        self.slice_bytes, self._limit, self._error = 3 << 20, limit, error

    def load(self, model, factors):
        return FailingNetwork(OpenVINORuntime().load(model, factors), self._limit, self._error)

    def give_up_memory(self):
        if self.slice_bytes < 1 << 18:
            return None
        self.slice_bytes //= 2
        return f"went on with batches of {self.slice_bytes} bytes."

    def close(self):
        pass


def with_runtime(runtime) -> Engine:
    engine = Engine("cpu")
    engine.runtime = runtime
    return engine


def test_memory_running_out_means_smaller_batches_and_is_said(models):
    images = smooth_noise((8, 40, 40))
    expected = Engine("cpu").run(find_model(NAME), images, (IDENTITY,), quiet)
    engine = with_runtime(FailingRuntime(3000, MemoryError()))
    np.testing.assert_allclose(engine.run(find_model(NAME), images, (IDENTITY,), quiet), expected, atol=1e-6, rtol=0)
    assert engine.runtime.device == "cuda:0" and "batches" in engine.notes[0]


@pytest.mark.parametrize("error, told", [(MemoryError(), "smallest batch"), (RuntimeError("no kernel image"), "no kernel image")])
def test_a_card_that_gives_out_for_good_means_the_cpu(models, error, told):
    images = smooth_noise((1, 24, 24))
    expected = Engine("cpu").run(find_model(NAME), images, (IDENTITY,), quiet)
    engine = with_runtime(FailingRuntime(10, error))
    np.testing.assert_allclose(engine.run(find_model(NAME), images, (IDENTITY,), quiet), expected, atol=1e-6, rtol=0)
    assert engine.runtime.device == "cpu" and told in engine.notes[-1], engine.notes


def test_memory_running_out_on_the_cpu_is_said_plainly(models):
    runtime = FailingRuntime(10, MemoryError())
    runtime.device = "cpu"
    with pytest.raises(ResourceError, match="Memory ran out; use a smaller factor"):
        with_runtime(runtime).run(find_model(NAME), smooth_noise((1, 24, 24)), (IDENTITY,), quiet)


def test_torchs_errors_on_memory_are_memory_errors():
    from superres3d.engine.tiled import memory_errors

    with pytest.raises(MemoryError, match="Tried to allocate"), memory_errors():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(MemoryError), memory_errors():
        raise RuntimeError("Exception from src/plugins/intel_cpu: std::bad_alloc")
    with pytest.raises(RuntimeError, match="size"), memory_errors():
        raise RuntimeError("size mismatch")


def test_errors_of_the_caller_are_not_the_engines(models):
    """What a progress function raises comes out as it is, and changes nothing."""
    for error in (RuntimeError("deleted"), MemoryError()):

        def fails(share, error=error):
            raise error

        engine = Engine("cpu")
        with pytest.raises(type(error)):
            engine.run(find_model(NAME), smooth_noise((2, 24, 24)), (IDENTITY,), fails)
        assert engine.notes == [] and engine.runtime.name.startswith("OpenVINO")


@pytest.mark.parametrize("error", [RuntimeError("Unsupported CPU"), AttributeError("compile_model"), OSError("WinError 126")])
def test_no_engine_that_works_is_one_sentence(models, monkeypatch, error):
    """OpenVINO fails at work, and torch is half-installed."""

    def fails(*_):
        raise error

    monkeypatch.setattr(OpenVINORuntime, "compile", fails)
    monkeypatch.setitem(sys.modules, "superres3d.engine.pytorch", None)
    with pytest.raises(DeviceError, match="failed .* no other engine; install OpenVINO"):
        Engine("cpu").run(find_model(NAME), smooth_noise((1, 24, 24)), (IDENTITY,), quiet)


def test_compiled_graphs_are_let_go(models, monkeypatch):
    """Each holds the activations of a tile for every thread."""
    made, real = [], openvino_cpu._Graphs
    monkeypatch.setattr(openvino_cpu, "_Graphs", lambda *given: made.append(real(*given)) or made[-1])
    network = OpenVINORuntime().load(find_model(NAME))
    (graphs,) = made
    for size in range(20, 40, 2):
        network.ensemble(smooth_noise((1, size, size)), (IDENTITY,), *NEVER)
    assert 0 < len(graphs._compiled) <= 2


def test_memory_stays_within_the_plan():
    """Peak of a process with four workers, eight members and large slices, against what was planned."""
    program = """
import json, numpy as np
from superres3d.plan import plan_upscaling
from superres3d.upscaling import upscale
from superres3d import Volume
texture = (np.random.default_rng(0).random((6, 640, 640)) * 900).astype(np.int16)
import superres3d.engine.openvino_cpu as runtime, superres3d.plan as planning
runtime.usable_cores = planning.usable_cores = lambda: 4
planned = plan_upscaling(texture.shape, (1, 1, 1), "int16", (2, 1), inputs_in_memory=1).memory_bytes
report = upscale(Volume(texture, modality="MR"), (2, 1), device="cpu").report
print(json.dumps([planned, report["peak_memory_bytes"]]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    planned, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak < 1.2 * planned


def test_without_openvino_torch_computes_and_it_is_said(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    for name in [name for name in sys.modules if name.startswith("superres3d.engine.openvino")]:
        monkeypatch.delitem(sys.modules, name)
    engine = Engine("cpu")
    images = smooth_noise((1, 24, 24))
    np.testing.assert_allclose(engine.run(find_model(NAME), images, (IDENTITY,), quiet), by_torch(NAME, images), atol=4e-6, rtol=0)
    assert engine.runtime.name.startswith("PyTorch") and "OpenVINO could not be used" in engine.notes[0]


def test_an_openvino_that_is_too_old_is_not_used(monkeypatch):
    monkeypatch.setattr("superres3d.engine.openvino_cpu.MINIMUM", (9999, 0))
    engine = Engine("cpu")
    assert engine.runtime.name.startswith("PyTorch") and "older than 9999.0" in engine.notes[0]


def test_an_openvino_that_fails_at_work_is_left(models, monkeypatch):
    def fails(*_):
        raise RuntimeError("Unsupported CPU")

    monkeypatch.setattr(OpenVINORuntime, "compile", fails)
    engine = Engine("cpu")
    images = smooth_noise((1, 24, 24))
    np.testing.assert_allclose(engine.run(find_model(NAME), images, (IDENTITY,), quiet), by_torch(NAME, images), atol=4e-6, rtol=0)
    assert "Unsupported CPU" in engine.notes[0] and engine.runtime.name.startswith("PyTorch")


def test_without_any_engine_there_is_one_sentence(monkeypatch):
    for name in ("openvino", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [name for name in sys.modules if name.startswith(("superres3d.engine.openvino", "superres3d.engine.pytorch"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DeviceError, match="No engine .*pip install openvino"):
        Engine("cpu")
    with pytest.raises(DeviceError, match="needs PyTorch"):
        Engine("cuda")


def test_nothing_is_sent_anywhere(models):
    """A whole run in a process of its own, watched by Python's audit hook and for OpenVINO's telemetry."""
    program = """
import sys
sys.addaudithook(lambda event, details: event in ("socket.connect", "socket.getaddrinfo") and sys.exit(f"{event} {details}"))
import numpy as np
from superres3d.upscaling import upscale
from superres3d import Volume
texture = np.random.default_rng(0).random((8, 16, 16), dtype=np.float32)
assert upscale(Volume(texture, modality="MR"), 2, device="cpu").report["engine"].startswith("OpenVINO")
assert not [name for name in sys.modules if "telemetry" in name and "stub" not in name and "ovc" not in name]
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_peak_memory_is_this_process_own():
    """A small program that a large one started is small."""
    ballast = np.ones(1 << 27, np.uint8)
    told = subprocess.run([sys.executable, "-c", "from superres3d.engine.memory import peak_bytes; print(peak_bytes())"], capture_output=True, text=True, check=True)
    assert int(told.stdout) < ballast.nbytes + (40 << 20)
