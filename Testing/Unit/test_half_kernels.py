"""The precision to compute in: chosen by the kernels that were compiled."""

import numpy as np
import pytest
from superres3d.engine import half_kernels, openvino_cpu
from superres3d.engine.half_kernels import chosen
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
    """A compiled network of layers."""

    def __init__(self, *layers):
        self._layers = [Told(*layer) for layer in layers]

    def get_runtime_model(self):
        return self

    def get_ops(self):
        return self._layers


SINGLE = Compiled(("Convolution", "brgconv_avx512_f32"))
HALF = Compiled(("Reorder", "jit_uni_f32"), ("Convolution", "brgconv_avx512_amx_f16"))
VECTOR_HALF = Compiled(("Convolution", "brgconv_avx512_f16"))
BRAIN = Compiled(("Reorder", "jit_uni_f32"), ("Convolution", "brgconv_avx512_bf16"))
MATRIX_BRAIN = Compiled(("Convolution", "brgconv_avx512_amx_bf16"))
SLOW_BRAIN = Compiled(("Convolution", "ref_any_bf16"))


@pytest.mark.parametrize(
    "half, brain, expected",
    [
        (HALF, MATRIX_BRAIN, "float16"),
        (VECTOR_HALF, MATRIX_BRAIN, "bfloat16"),  # matrix units are several times as fast
        (VECTOR_HALF, BRAIN, "float16"),  # as fast, and eight times as exact
        (BRAIN, BRAIN, "bfloat16"),  # what was asked for as float16 was replaced without a word
        (SINGLE, SINGLE, "float32"),
        (SLOW_BRAIN, SLOW_BRAIN, "float32"),  # emulated
    ],
)
def test_the_kernels_decide(half, brain, expected):
    assert chosen({"float16": half, "bfloat16": brain}, lambda precision: True) == expected
    assert chosen({}, lambda precision: True) == "float32"


def test_a_precision_that_is_only_imitated_is_not_taken():
    """Processors with AVX-512 and no bfloat16 have kernels of the same name."""
    assert chosen({"bfloat16": BRAIN}, lambda precision: False) == "float32"


@pytest.mark.parametrize("axes, channels", [(2, 64), (3, 32)])
def test_what_races_is_made_of_convolutions(axes, channels):
    compiled = ov.Core().compile_model(half_kernels.racer(axes), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made = compiled([np.ones(compiled.input().shape, np.float32)])[0]
    assert made.shape[1] == channels and np.allclose(made[0, :, 12], made[0, :1, 12]) and made.min() > 0


def test_the_race_tells_less_work_from_more():
    core = ov.Core()

    def convolutions(count):
        image = op.parameter([1, 8, 64, 64], np.float32)
        made = image
        for _ in range(count):
            made = op.convolution(made, op.constant(np.ones((8, 8, 3, 3), np.float32)), [1, 1], [1, 1], [1, 1], [1, 1])
        return core.compile_model(ov.Model([op.result(made)], [image], "convolutions"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    little, much = convolutions(3), convolutions(60)
    assert half_kernels.is_faster(little, much)
    assert not half_kernels.is_faster(much, little)
    assert not half_kernels.is_faster(much, much)
    assert half_kernels.is_faster(much, much, worth=3.0)


def test_a_reordering_in_half_precision_does_not_count():
    assert chosen({"bfloat16": Compiled(("Reorder", "jit_avx512_bf16"), ("Convolution", "brgconv_avx512_f32"))}, lambda precision: True) == "float32"


def test_it_is_the_same_each_time(monkeypatch):
    """A scan comes out the same on a busy machine."""
    found = set()
    for _ in range(3):
        monkeypatch.setattr(openvino_cpu, "_CHOSEN", {})
        monkeypatch.setattr(openvino_cpu, "_WON", {})
        runtime = OpenVINORuntime("half")
        runtime.load(find_model("two-stage-residual-mr-depth-x2"))
        found.add(runtime.precision)
    assert len(found) == 1


def test_a_picture_itself_is_not_rounded_to_bfloat16():
    """The published networks give the picture, not a correction to it; and single precision is single."""
    runtime = OpenVINORuntime("half")
    runtime.load(find_model("georgescu2020-mr-plane-x2"))
    assert runtime.precision in ("float16", "float32")
    runtime = OpenVINORuntime()
    runtime.load(find_model("two-stage-residual-mr-plane-x2"))
    assert runtime.precision == "float32"


def test_a_precision_that_does_not_compile_is_left_out(monkeypatch):
    monkeypatch.setattr(openvino_cpu, "_CHOSEN", {})
    runtime = OpenVINORuntime("half")
    compile_as = runtime.compile

    def refusing(graph, streams, precision=None):
        if precision in ("float16", "bfloat16"):
            raise RuntimeError("object is not initialized")
        return compile_as(graph, streams, precision)

    monkeypatch.setattr(runtime, "compile", refusing)
    runtime.load(find_model("two-stage-residual-mr-plane-x2"))
    assert runtime.precision == "float32"


def test_the_race_beforehand_is_the_one_that_a_network_asks_for(monkeypatch):
    monkeypatch.setattr(openvino_cpu, "_CHOSEN", {})
    monkeypatch.setattr(openvino_cpu, "_WON", {})
    early = OpenVINORuntime("eight")
    early.settle_for_slices()
    monkeypatch.setattr(openvino_cpu, "is_faster", lambda *_: pytest.fail("raced again"))
    later = OpenVINORuntime("eight")
    later.load(find_model("two-stage-residual-mr-plane-x2"))
    assert later.precision == early.precision
