"""8 bits: the numbers of the graph against the formula in PyTorch, what the shipped networks lose, and what is refused."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load
from superres3d import Volume, upscale
from superres3d.engine import openvino_cpu
from superres3d.engine.ensemble import IDENTITY
from superres3d.engine.half_kernels import is_exact, racer
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_graph import build_graph
from superres3d.errors import ModelError
from superres3d.networks.eight_bits import CARD_KEY, RANGES, Ranges, stored
from superres3d.networks.weights import CARD, WEIGHTS, find_model, in_memory, load_network, load_ranges, model_folders
from torch.nn import functional

from .conftest import random_network, slice_network, smooth_noise
from .test_engine import NEVER, rms

TOLD = sorted(path.parent.name for folder in model_folders() for path in folder.glob(f"*/{RANGES}"))


@pytest.fixture
def forced(monkeypatch):
    """As on a processor that is faster in 8 bits."""
    monkeypatch.setattr(OpenVINORuntime, "_eight_wins", lambda self: True)


def rounded(net, images: torch.Tensor, ranges) -> torch.Tensor:
    """The correction of a network, by the functions that PyTorch has for training in 8 bits."""
    convolve = functional.conv2d

    def maps(features, one):
        scaled = features / torch.from_numpy(one.channels)[:, None, None]
        scale, least, most = (1 / 127, -128, 127) if one.signed else (1 / 255, 0, 255)
        return torch.fake_quantize_per_tensor_affine(scaled, scale, 0, least, most)

    def weights(weight, one):
        scaled = weight * torch.from_numpy(one.channels)[None, :, None, None]
        steps = scaled.abs().amax((1, 2, 3)) / 127
        return torch.fake_quantize_per_channel_affine(scaled, steps, torch.zeros(len(steps), dtype=torch.int32), 0, -127, 127)

    names = {tensor.data_ptr(): name.removesuffix(".weight") for name, tensor in net.stored_tensors().items()}

    def conv2d(features, weight, *others):
        one = ranges.get(names[weight.data_ptr()])
        return convolve(*((maps(features, one), weights(weight, one)) if one else (features, weight)), *others)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(functional, "conv2d", conv2d)
        return net.correction(images)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A network with ranges of its own, in a folder of models."""
    from superres3d.networks.weights import save_model

    net = random_network("edsr", (2, 2), seed=3, filters=8, blocks=2)
    save_model(net, "a", tmp_path, {"network": slice_network("edsr", (2, 2), filters=8, blocks=2), "stage": "plane"})
    draw = np.random.default_rng(4)
    channels = {name: draw.uniform(0.3, 1.5, 8).astype(np.float32) for name in ("blocks.0.1", "blocks.1.0", "blocks.1.1", "tail")}
    ranges = {name: Ranges(values, signed=not name.endswith(".1")) for name, values in channels.items()}
    give(tmp_path / "a", ranges)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    return net, ranges


def give(folder, ranges):
    (folder / RANGES).write_bytes(stored(ranges))
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps({**card, CARD_KEY: hashlib.sha256(stored(ranges)).hexdigest()}))


@pytest.mark.parametrize("shape", [(24, 24), (19, 34)])
def test_the_graph_computes_the_formula(small, shape):
    net, ranges = small
    images = smooth_noise((1, *shape))[:, None]
    tensors = {name: tensor.detach().numpy() for name, tensor in net.stored_tensors().items()}
    graph = build_graph(net.architecture.blueprint, tensors, [images.shape], ranges)
    (made,) = OpenVINORuntime().compile(graph, 1)(images).values()
    expected, exact = (rounded(net, torch.from_numpy(images), used).numpy() for used in (ranges, {}))
    lost = rms(expected - exact)
    assert lost > 1e-4, "something is rounded"
    assert rms(made - expected) < 0.1 * lost  # a number between two steps may go either way
    assert rms(made - exact) == pytest.approx(lost, rel=0.1)


def test_products_are_those_of_eight_bits():
    """What is fed to a processor in 8 bits is found to be so; elsewhere nothing is won."""
    compiled = OpenVINORuntime().compile(racer(2, in_eight=True), 1)
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    kernels = [str(info["primitiveType"].value) for info in told if "onvolution" in str(info["layerType"].value)]
    assert sum(kernel.lower().endswith("i8") for kernel in kernels) == 3, kernels


def test_sums_that_are_cut_are_found():
    """Older processors keep the sum of two products in 16 bits: of the largest ones, half is lost."""
    compiled = OpenVINORuntime().compile(racer(2, in_eight=True), 1)

    class Cut:
        def __call__(self, inputs):
            return {name: 0.5 * made for name, made in compiled(inputs).items()}

        def input(self):
            return compiled.input()

    assert is_exact(compiled)
    assert not is_exact(Cut())


def test_the_race_decides(small, monkeypatch):
    monkeypatch.setattr(openvino_cpu, "_WON", {})
    for faster, exact, expected in ((True, True, True), (True, False, False), (False, True, False)):
        openvino_cpu._WON.clear()
        monkeypatch.setattr(openvino_cpu, "is_faster", lambda eight, other, worth=0.9, faster=faster: faster)
        monkeypatch.setattr(openvino_cpu, "is_exact", lambda eight, exact=exact: exact)
        runtime = OpenVINORuntime("eight")
        runtime.load(find_model("a"))
        assert (runtime.precision == "int8") == expected


def test_only_what_is_asked_for_and_made_for_it(small, forced, tmp_path):
    for asked, expected in (("eight", True), ("half", False), ("single", False)):
        runtime = OpenVINORuntime(asked)
        runtime.load(find_model("a"))
        assert (runtime.precision == "int8") == expected
    card = json.loads((tmp_path / "a" / CARD).read_text())
    del card[CARD_KEY]
    (tmp_path / "a" / CARD).write_text(json.dumps(card))
    runtime = OpenVINORuntime("eight")
    runtime.load(find_model("a"))
    assert runtime.precision != "int8"


def test_a_network_that_learnt_on_is_none_of_them(small):
    """The ranges were measured for other weights."""
    assert load_ranges(find_model("a")) and not load_ranges(in_memory(small[0], find_model("a"), "adapted"))


@pytest.mark.parametrize("damage, told", [(lambda path: path.unlink(), "cannot be read"), (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"), "SHA-256 differs")])
def test_ranges_that_are_not_those_of_the_card(small, tmp_path, damage, told):
    damage(tmp_path / "a" / RANGES)
    with pytest.raises(ModelError, match=told):
        OpenVINORuntime("eight").load(find_model("a"))
    assert OpenVINORuntime("half").load(find_model("a")), "it is not needed there"


@pytest.mark.parametrize("content, told", [(b"", "cannot be read"), (stored({"first": Ranges(np.array([1.0, 0.0], np.float32), False)}), "no numbers above 0")])
def test_ranges_that_are_none(small, tmp_path, content, told):
    """Though the card names them."""
    (tmp_path / "a" / RANGES).write_bytes(content)
    card = json.loads((tmp_path / "a" / CARD).read_text())
    (tmp_path / "a" / CARD).write_text(json.dumps(card | {CARD_KEY: hashlib.sha256(content).hexdigest()}))
    with pytest.raises(ModelError, match=told):
        load_ranges(find_model("a"))


def neutral(model):
    """Told nothing, where it can be told of a scan."""
    tensors = load((model.folder / WEIGHTS).read_bytes())
    return replace(model, conditions=(0.0,) * tensors["modulation.0.weight"].shape[1]) if "modulation.0.weight" in tensors else model


@pytest.mark.parametrize("name", TOLD)
def test_shipped_networks_lose_little(name, forced):
    images = 0.3 + 0.3 * (smooth_noise((1, 64, 56)) - 0.5)  # no scan changes over its whole range from pixel to pixel
    eight, single = OpenVINORuntime("eight"), OpenVINORuntime()
    model = neutral(find_model(name))
    made, exact = (runtime.load(model).ensemble(images, (IDENTITY,), *NEVER) for runtime in (eight, single))
    assert eight.precision == "int8" and set(load_ranges(model)) < {key.removesuffix(".weight") for key in load_network(model).stored_tensors()}
    from superres3d.engine.tiled import interpolated, whole

    correction = rms(exact - interpolated(images, single.load(model).architecture.factors, whole(images.shape[1:])))
    assert 1e-5 < rms(made - exact) < 0.3 * correction + 1e-3


def test_the_methods_that_are_offered_have_them():
    """Those for sharp kernels too."""
    assert len(TOLD) == 19 and {name.removesuffix("-sharp").rsplit("-", 3)[0] for name in TOLD} == {"two-stage-residual", "two-stage-told", "two-stage-large"}


def test_the_report_says_so(forced):
    scan = Volume(100 * smooth_noise((8, 24, 24)), (1.0, 1.0, 3.0), modality="MR")
    made = {asked: upscale(scan, 2, axes="in-plane", method="two-stage-residual", preset="fast", precision=asked) for asked in ("auto", "half")}
    assert made["auto"].report["precision"] == "int8" != made["half"].report["precision"]
    assert upscale(scan, 2, axes="in-plane", method="two-stage-residual", preset="best").report["precision"] != "int8"
