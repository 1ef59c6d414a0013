"""Which precision a processor is fastest in: no list of processors, but the kernels that were compiled, and a short race of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .openvino_import import ov

_ROUNDS = 4
_WORTH = 0.8  # of the seconds in single precision: less is not worth the rounding
_CLOSE = 1.15  # float16 keeps eight times as much as bfloat16, so it wins where it is nearly as fast
_MARKS = {"float16": "_f16", "bfloat16": "_bf16"}  # of a kernel's name: what it multiplies in


def fastest(single: ov.CompiledModel, halves: Mapping[str, ov.CompiledModel], shape: Sequence[int]) -> str:
    """The precision to compute in.

    Args:
        single: a network in float32.
        halves: the same in others ("float16", "bfloat16"), the most exact first.
        shape: of its input.

    Returns:
        "float32", unless another really computes in what it is called, and in clearly less time.
    """
    racers = {"float32": single, **{name: compiled for name, compiled in halves.items() if computes_in(compiled, name)}}
    if len(racers) == 1:
        return "float32"
    seconds = _race(racers, shape)
    best = min(seconds.values())
    if best > _WORTH * seconds["float32"]:
        return "float32"
    return next(name for name in seconds if name != "float32" and seconds[name] <= _CLOSE * best)


def computes_in(compiled: ov.CompiledModel, precision: str) -> bool:
    """Whether its convolutions do: what a processor cannot do is replaced by another precision without a word."""
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    kernels = [str(info["primitiveType"].value) for info in told if "primitiveType" in info and "layerType" in info and "onvolution" in str(info["layerType"].value)]
    return any(kernel.endswith(_MARKS[precision]) for kernel in kernels)


def _race(racers: Mapping[str, ov.CompiledModel], shape: Sequence[int]) -> dict[str, float]:
    """The least seconds of each, one after the other, so that what else computes meets all."""
    given = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    requests = {name: compiled.create_infer_request() for name, compiled in racers.items()}
    taken: dict[str, float] = {}
    for number in range(1 + _ROUNDS):
        for name, request in requests.items():
            started = time.perf_counter()
            request.infer([given])
            if number:  # the first sets up
                taken[name] = min(taken.get(name, np.inf), time.perf_counter() - started)
    return taken
