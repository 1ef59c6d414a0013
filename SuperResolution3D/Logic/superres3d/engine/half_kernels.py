"""Which precision to compute in: told by the kernels that were compiled and a short race, not by a list of processors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..networks.eight_bits import Ranges
from .openvino_graph import build_graph

if TYPE_CHECKING:
    from .openvino_import import ov

#: parts of the names of kernels that are clearly faster than single precision, the fastest first: matrix units, then pairs of products
_FASTER = (("amx", "f16", "float16"), ("amx", "bf16", "bfloat16"), ("avx512", "f16", "float16"), ("avx512", "bf16", "bfloat16"))

_LAYERS = ("second", "third", "fourth")
#: (channels, side) by axes: about a millisecond.  With fewer channels what is not convolution weighs more, and 8 bits win by so little that the race ends now so, now so.
_FORMS = {2: (64, 48), 3: (32, 24)}
_WEIGHT, _RANGE = 0.01, 0.02
_ROUNDS = 12
_WORTH = 0.9  # of the time in single precision: less is not worth the rounding
#: of the time in half precision, for 8 bits: where they win they need 0.7 of it, beside other work on the same core up to 0.9, and imitated ones more than all of it
WORTH_OF_EIGHT = 1.0


def chosen(halves: Mapping[str, ov.CompiledModel], wins: Callable[[str], bool]) -> str:
    """The precision to compute in: "float16", "bfloat16" or "float32".

    Args:
        halves: a network as "float16" and "bfloat16", as far as it can be compiled; a processor replaces a precision
            that it does not have by another without a word, so only the kernels tell.
        wins: whether a precision is faster than single; see :func:`is_faster`.
    """
    kernels = {precision: _convolutions(compiled) for precision, compiled in halves.items()}
    for unit, kind, precision in _FASTER:
        if any(unit in kernel and kernel.endswith(f"_{kind}") for kernel in kernels.get(precision, ())):
            return precision if wins(precision) else "float32"
    return "float32"


def racer(axes: int, in_eight: bool = False) -> ov.Model:
    """What races: always the same layers, clearly on one side, where a small network might win today and lose tomorrow; ``axes`` are 2 or 3.

    ``in_eight`` bits every map of an image of ones reaches the end of its range: the largest sums that there can be.
    """
    channels, side = _FORMS[axes]
    weights = {"first": (channels, 1), **dict.fromkeys(_LAYERS, (channels, channels))}
    tensors = {f"{name}.weight": np.full((*shape, *(3,) * axes), _WEIGHT, np.float32) for name, shape in weights.items()}
    tensors |= {f"{name}.bias": np.zeros(channels, np.float32) for name in weights}

    def draw(drawing: Any, image: Any) -> Any:
        features = drawing.relu(drawing.conv("first", image, channels))
        for name in _LAYERS:
            features = drawing.relu(drawing.conv(name, features, channels))
        return features

    ranges = {name: Ranges(np.full(channels, _RANGE, np.float32), signed=False) for name in _LAYERS} if in_eight else None
    return build_graph(draw, tensors, [(1, 1, *(side,) * axes)], ranges)


def is_exact(eight: ov.CompiledModel) -> bool:
    """Whether 8-bit products are added up as they are: older processors cut the sum of two of them to 16 bits."""
    made = next(iter(eight([np.ones(eight.input().shape, np.float32)]).values()))
    inside = made[..., len(_LAYERS) + 1 : -len(_LAYERS) - 1, len(_LAYERS) + 1 : -len(_LAYERS) - 1]
    return bool(np.allclose(inside, _FORMS[2][0] * 9 * _WEIGHT * _RANGE, rtol=0.01))


def is_faster(half: ov.CompiledModel, single: ov.CompiledModel, worth: float = _WORTH) -> bool:
    """Whether it really is, by needing less than a share of the time: some processors only imitate a precision, three times as slowly, with kernels of the same name.

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
    return least[0] < worth * least[1]


def _convolutions(compiled: ov.CompiledModel) -> list[str]:
    told = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops()]
    return [str(info["primitiveType"].value) for info in told if "primitiveType" in info and "onvolution" in str(info["layerType"].value)]
