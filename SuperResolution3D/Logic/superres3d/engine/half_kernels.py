"""Which precision to compute in: told by the kernels that were compiled, not by a list of processors, and the same each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .openvino_import import ov

#: parts of the names of kernels that are clearly faster than single precision, the fastest first: matrix units, then pairs of products
_FASTER = (("amx", "f16", "float16"), ("amx", "bf16", "bfloat16"), ("avx512", "f16", "float16"), ("avx512", "bf16", "bfloat16"))


def chosen(halves: Mapping[str, ov.CompiledModel]) -> str:
    """The precision to compute in: "float16", "bfloat16" or "float32".

    A short race would tell as well, but not always the same: on a busy machine a scan would come out in one precision
    today and in another tomorrow.

    Args:
        halves: the network compiled as "float16" and "bfloat16", as far as it can be; a processor replaces a precision
            that it does not have by another without a word, so only the kernels tell.
    """
    kernels = {precision: _convolutions(compiled) for precision, compiled in halves.items()}
    for unit, kind, precision in _FASTER:
        if any(unit in kernel and kernel.endswith(f"_{kind}") for kernel in kernels.get(precision, ())):
            return precision
    return "float32"


def _convolutions(compiled: ov.CompiledModel) -> list[str]:
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    return [str(info["primitiveType"].value) for info in told if "primitiveType" in info and "onvolution" in str(info["layerType"].value)]
