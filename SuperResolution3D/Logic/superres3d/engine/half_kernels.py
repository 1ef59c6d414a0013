"""Which precision to compute in: told by the kernels that were compiled and a short race, not by a list of processors."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .openvino_import import ov

#: parts of the names of kernels that are clearly faster than single precision, the fastest first: matrix units, then pairs of products
_FASTER = (("amx", "f16", "float16"), ("amx", "bf16", "bfloat16"), ("avx512", "f16", "float16"), ("avx512", "bf16", "bfloat16"))

_ROUNDS = 5
_WORTH = 0.8  # of the time in single precision: less is not worth the rounding


def chosen(single: ov.CompiledModel, halves: Mapping[str, ov.CompiledModel]) -> str:
    """The precision to compute in: "float16", "bfloat16" or "float32".

    Args:
        single: a network in float32.
        halves: the same as "float16" and "bfloat16", as far as it can be compiled; a processor replaces a precision
            that it does not have by another without a word, so only the kernels tell.
    """
    kernels = {precision: _convolutions(compiled) for precision, compiled in halves.items()}
    for unit, kind, precision in _FASTER:
        if any(unit in kernel and kernel.endswith(f"_{kind}") for kernel in kernels.get(precision, ())):
            return precision if is_faster(halves[precision], single) else "float32"
    return "float32"


def is_faster(half: ov.CompiledModel, single: ov.CompiledModel) -> bool:
    """Whether it really is: some processors only imitate a precision, three times as slowly, with kernels of the same name.

    The processor's own time is compared, which tells the same on a busy machine: a scan must not come out in another precision there.
    """
    requests = [(compiled.create_infer_request(), compiled.input().shape) for compiled in (half, single)]
    least = [np.inf, np.inf]
    for number in range(1 + _ROUNDS):
        for racer, (request, shape) in enumerate(requests):
            started = time.process_time()
            request.infer([np.full(shape, 0.5, np.float32)])
            if number:  # the first sets up
                least[racer] = min(least[racer], time.process_time() - started)
    return least[0] < _WORTH * least[1]


def _convolutions(compiled: ov.CompiledModel) -> list[str]:
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    return [str(info["primitiveType"].value) for info in told if "primitiveType" in info and "onvolution" in str(info["layerType"].value)]
