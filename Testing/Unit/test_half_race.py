"""The precision that a processor is fastest in: chosen by what was compiled and measured, not by what it is called."""

import numpy as np
import pytest
from superres3d.engine import half_race
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_import import op, ov
from superres3d.networks.weights import find_model


class Told:
    """A layer that says which kernel it was given."""

    def __init__(self, kind, kernel):
        self._told = {"layerType": ov.OVAny(kind), "primitiveType": ov.OVAny(kernel)}

    def get_rt_info(self):
        return self._told


class Compiled:
    """A compiled network of layers, which takes so long."""

    def __init__(self, *layers):
        self._layers = [Told(*layer) for layer in layers]

    def get_runtime_model(self):
        return self

    def get_ops(self):
        return self._layers


SINGLE = Compiled(("Convolution", "brgconv_avx512_f32"))
HALF = Compiled(("Reorder", "jit_uni_f32"), ("Convolution", "brgconv_avx512_amx_f16"))
BRAIN = Compiled(("Reorder", "jit_uni_f32"), ("Convolution", "brgconv_avx512_bf16"))


@pytest.mark.parametrize(
    "seconds, expected",
    [
        ({"float32": 1.0, "float16": 0.3, "bfloat16": 0.29}, "float16"),  # nearly as fast, and more exact
        ({"float32": 1.0, "float16": 0.6, "bfloat16": 0.2}, "bfloat16"),
        ({"float32": 1.0, "float16": 0.95, "bfloat16": 0.9}, "float32"),  # not worth the rounding
        ({"float32": 1.0, "float16": 2.0, "bfloat16": 3.0}, "float32"),
    ],
)
def test_the_race_decides(monkeypatch, seconds, expected):
    monkeypatch.setattr(half_race, "_race", lambda racers, shape: {name: seconds[name] for name in racers})
    assert half_race.fastest(SINGLE, {"float16": HALF, "bfloat16": BRAIN}, (1, 1, 8, 8)) == expected


def test_what_computes_in_another_precision_does_not_race(monkeypatch):
    """A processor without float16 is given bfloat16 for it, or single, without a word."""
    raced = []
    monkeypatch.setattr(half_race, "_race", lambda racers, shape: raced.append(list(racers)) or dict.fromkeys(racers, 0.1) | {"float32": 1.0})
    assert half_race.fastest(SINGLE, {"float16": BRAIN, "bfloat16": BRAIN}, (1, 1, 8, 8)) == "bfloat16"
    assert raced == [["float32", "bfloat16"]]
    assert half_race.fastest(SINGLE, {"float16": SINGLE, "bfloat16": SINGLE}, (1, 1, 8, 8)) == "float32"
    assert len(raced) == 1


def test_a_real_race_takes_the_faster():
    """The same kernel on a thousand times the work is the slower one, whatever it is called."""
    core = ov.Core()

    def convolutions(count, name):
        image = op.parameter([1, 8, 64, 64], np.float32)
        made = image
        for _ in range(count):
            made = op.convolution(made, op.constant(np.ones((8, 8, 3, 3), np.float32)), [1, 1], [1, 1], [1, 1], [1, 1])
        return core.compile_model(ov.Model([op.result(made)], [image], name), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    seconds = half_race._race({"float32": convolutions(60, "slow"), "bfloat16": convolutions(1, "fast")}, (1, 8, 64, 64))
    assert 0 < seconds["bfloat16"] < seconds["float32"]


def test_a_picture_itself_is_not_rounded_to_bfloat16():
    """The published networks give the picture, not a correction to it; and single precision is single."""
    runtime = OpenVINORuntime(half=True)
    runtime.load(find_model("georgescu2020-mr-plane-x2"))
    assert runtime.precision in ("float16", "float32")
    runtime = OpenVINORuntime(half=False)
    runtime.load(find_model("two-stage-residual-mr-plane-x2"))
    assert runtime.precision == "float32"


def test_a_precision_that_does_not_compile_is_left_out(monkeypatch):
    runtime = OpenVINORuntime(half=True)
    compile_as = runtime.compile

    def refusing(graph, streams, precision=None):
        if precision in ("float16", "bfloat16"):
            raise RuntimeError("object is not initialized")
        return compile_as(graph, streams, precision)

    monkeypatch.setattr(runtime, "compile", refusing)
    runtime.load(find_model("two-stage-residual-mr-plane-x2"))
    assert runtime.precision == "float32"
