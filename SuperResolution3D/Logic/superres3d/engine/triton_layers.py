"""Layers that cuDNN does not offer in one piece, written in Triton, for half precision with the channels of a pixel together.

Used only where a race on the card shows that they are right and faster (:class:`superres3d.engine.convolution_forms.Race`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 4096
_MOST_NUMBERS = 1 << 31
_WIDE_CHUNK, _NARROW_CHUNK = 32, 16  # input channels of a product


@dataclass(frozen=True)
class Tile:
    """What a program of the convolution computes, and how.

    Attributes:
        rows, columns: pixels, powers of two.
        warps: of the program.
        stages: loads are so many products ahead, past the first cache; 1: through it, where neighbouring taps find each other's pixels.
    """

    rows: int = 1
    columns: int = 128
    warps: int = 4
    stages: int = 4


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
    """Whether :func:`convolve` takes the layer: features (N, C, H, W) and weight (outputs, C, 3, 3), their kind, order in memory and size."""
    outputs, inputs = weight.shape[:2]
    return (
        inputs % _NARROW_CHUNK == 0
        and outputs % 8 == 0
        and features.dtype == weight.dtype == torch.float16
        and features.is_contiguous(memory_format=torch.channels_last)
        and weight.is_contiguous(memory_format=torch.channels_last)
        and max(features.numel(), features.numel() // inputs * outputs) < _MOST_NUMBERS
    )


def convolve(features: Tensor, weight: Tensor, bias: Tensor, tile: Tile, relu: bool = False, skip: Tensor | None = None) -> Tensor:
    """3x3 convolution with zero padding and bias, then ReLU or a sum with ``skip``, in float32 until the end.

    Args:
        features: (N, C, H, W) float16, channels last; see :func:`fits`.
        weight: (outputs, C, 3, 3) float16, channels last.
        bias: (outputs,) float16.
        tile: see :class:`Tile`.
        relu: negative results become zero.
        skip: (N, outputs, H, W); the result is written into it.

    Returns:
        (N, outputs, H, W) float16, channels last.

    Raises:
        ValueError: the channels of ``skip`` do not lie together.
    """
    count, inputs, height, width = features.shape
    outputs = weight.shape[0]
    result = skip
    if result is None:
        result = torch.empty((count, outputs, height, width), dtype=features.dtype, device=features.device, memory_format=torch.channels_last)
    if not result.is_contiguous(memory_format=torch.channels_last):
        raise ValueError("the channels of the skip do not lie together")
    grid = (count * triton.cdiv(height, tile.rows) * triton.cdiv(width, tile.columns),)
    _convolution[grid](
        features, weight, bias, result, height, width,
        INPUTS=inputs, CHUNK=_WIDE_CHUNK if inputs % _WIDE_CHUNK == 0 else _NARROW_CHUNK, OUTPUTS=outputs, WIDE=triton.next_power_of_2(max(16, outputs)),
        RELU=relu, SKIP=skip is not None, ROWS=tile.rows, COLUMNS=tile.columns, num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return result


@triton.jit
def _add(skip: tl.tensor, features: tl.tensor, bias: tl.tensor, count: tl.tensor, CHANNELS: tl.constexpr, BLOCK: tl.constexpr) -> None:
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = place < count
    total = tl.load(skip + place, mask=mask).to(tl.float32) + tl.load(features + place, mask=mask).to(tl.float32)
    total += tl.load(bias + place % CHANNELS).to(tl.float32)
    tl.store(skip + place, total.to(skip.dtype.element_ty), mask=mask)


@triton.jit
def _convolution(
    features: tl.tensor, weight: tl.tensor, bias: tl.tensor, result: tl.tensor, height: tl.tensor, width: tl.tensor,
    INPUTS: tl.constexpr, CHUNK: tl.constexpr, OUTPUTS: tl.constexpr, WIDE: tl.constexpr,
    RELU: tl.constexpr, SKIP: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """A program computes ROWS x COLUMNS pixels of an image, a product for each tap and chunk of input channels."""
    across = tl.cdiv(width, COLUMNS)
    down = tl.cdiv(height, ROWS)
    program = tl.program_id(0)
    image = program // (across * down)
    pixel = tl.arange(0, ROWS * COLUMNS)
    row = program // across % down * ROWS + pixel // COLUMNS
    column = program % across * COLUMNS + pixel % COLUMNS
    inside = (row < height) & (column < width)
    place = (image * height + row) * width + column
    inputs = tl.arange(0, CHUNK)
    outputs = tl.arange(0, WIDE)
    total = tl.zeros((ROWS * COLUMNS, WIDE), dtype=tl.float32)
    CHUNKS: tl.constexpr = INPUTS // CHUNK
    for number in range(9 * CHUNKS):
        tap = number // CHUNKS
        channels = number % CHUNKS * CHUNK + inputs
        dy = tap // 3 - 1
        dx = tap % 3 - 1
        valid = inside & (row + dy >= 0) & (row + dy < height) & (column + dx >= 0) & (column + dx < width)
        near = tl.load(features + (place + dy * width + dx)[:, None] * INPUTS + channels[None, :], mask=valid[:, None], other=0.0)
        kernel = tl.load(weight + outputs[None, :] * (9 * INPUTS) + tap * INPUTS + channels[:, None], mask=outputs[None, :] < OUTPUTS, other=0.0)
        total = tl.dot(near, kernel, total)
    total += tl.load(bias + outputs, mask=outputs < OUTPUTS, other=0.0).to(tl.float32)[None, :]
    where = place[:, None] * OUTPUTS + outputs[None, :]
    mask = inside[:, None] & (outputs[None, :] < OUTPUTS)
    if RELU:
        total = tl.maximum(total, 0.0)
    if SKIP:
        total += tl.load(result + where, mask=mask, other=0.0).to(tl.float32)
    tl.store(result + where, total.to(result.dtype.element_ty), mask=mask)
