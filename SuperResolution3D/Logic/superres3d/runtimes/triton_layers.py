"""Layers that cuDNN does not offer in one piece, written in Triton, for half precision with the channels of a pixel together.

Used only where a race on the card shows that they are right and faster (:class:`superres3d.runtimes.turned_network.TurnedNetwork`).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096
#: pixels, warps and stages of a program of the convolution
TILE = {"BLOCK": 128, "num_warps": 4, "num_stages": 4}
_MOST_NUMBERS = 1 << 31


def add_with_bias(skip: Tensor, features: Tensor, bias: Tensor) -> Tensor:
    """``skip + features + bias`` in the memory of ``skip``.

    Args:
        skip, features: (N, C, H, W) float16, channels last.
        bias: (C,) float16.
    """
    if not (skip.is_contiguous(memory_format=torch.channels_last) and features.is_contiguous(memory_format=torch.channels_last)):
        return skip.add_(features).add_(bias[:, None, None])
    count = skip.numel()
    _add[(triton.cdiv(count, _BLOCK),)](skip, features, bias, count, CHANNELS=skip.shape[1], BLOCK=_BLOCK, num_warps=8)
    return skip


def fits(features: Tensor, weight: Tensor) -> bool:
    """Whether :func:`convolve` takes the layer: widths that are powers of two from 16 on."""
    outputs, inputs = weight.shape[:2]
    return (
        all(count >= 16 and count & (count - 1) == 0 for count in (inputs, outputs))
        and features.dtype == weight.dtype == torch.float16
        and features.is_contiguous(memory_format=torch.channels_last)
        and weight.is_contiguous(memory_format=torch.channels_last)
        and max(features.numel(), features.numel() // inputs * outputs) < _MOST_NUMBERS
    )


def convolve(features: Tensor, weight: Tensor, bias: Tensor, relu: bool = False, skip: Tensor | None = None) -> Tensor:
    """3x3 convolution with zero padding and bias, then ReLU or a sum with ``skip``, in float32 until the end.

    Args:
        features: (N, C, H, W) float16, channels last; see :func:`fits`.
        weight: (outputs, C, 3, 3) float16, channels last.
        bias: (outputs,) float16.
        relu: negative results become zero.
        skip: (N, outputs, H, W); the result is written into it.
    """
    count, inputs, height, width = features.shape
    outputs = weight.shape[0]
    result = skip if skip is not None else torch.empty((count, outputs, height, width), dtype=features.dtype, device=features.device, memory_format=torch.channels_last)
    if not result.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("the channels of the skip do not lie together")
    pixels = count * height * width
    _convolution[(triton.cdiv(pixels, TILE["BLOCK"]),)](
        features, weight, bias, result, height, width, pixels, INPUTS=inputs, OUTPUTS=outputs, RELU=relu, SKIP=skip is not None, **TILE
    )  # fmt: skip
    return result


@triton.jit
def _add(skip, features, bias, count, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = place < count
    total = tl.load(skip + place, mask=mask).to(tl.float32) + tl.load(features + place, mask=mask).to(tl.float32)
    total += tl.load(bias + place % CHANNELS).to(tl.float32)
    tl.store(skip + place, total.to(skip.dtype.element_ty), mask=mask)


@triton.jit
def _convolution(
    features, weight, bias, result, height, width, pixels,
    INPUTS: tl.constexpr, OUTPUTS: tl.constexpr, RELU: tl.constexpr, SKIP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program computes BLOCK pixels that follow each other in memory, a product a tap."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < pixels
    column = place % width
    row = (place // width) % height
    inputs = tl.arange(0, INPUTS)
    outputs = tl.arange(0, OUTPUTS)
    total = tl.zeros((BLOCK, OUTPUTS), dtype=tl.float32)
    for tap in range(9):
        down = tap // 3 - 1
        along = tap % 3 - 1
        valid = inside & (row + down >= 0) & (row + down < height) & (column + along >= 0) & (column + along < width)
        near = tl.load(features + (place + down * width + along)[:, None] * INPUTS + inputs[None, :], mask=valid[:, None], other=0.0)
        kernel = tl.load(weight + outputs[None, :] * (9 * INPUTS) + tap * INPUTS + inputs[:, None])
        total = tl.dot(near, kernel, total)
    total += tl.load(bias + outputs).to(tl.float32)[None, :]
    where = place[:, None] * OUTPUTS + outputs[None, :]
    if RELU:
        total = tl.maximum(total, 0.0)
    if SKIP:
        total += tl.load(result + where, mask=inside[:, None]).to(tl.float32)
    tl.store(result + where, total.to(result.dtype.element_ty), mask=inside[:, None])
