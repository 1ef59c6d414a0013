"""The layers of :mod:`superres3d.networks` and of the discriminators, computed as a graphics card is fast at them: few channels, in volumes."""

from __future__ import annotations

from typing import Any

import torch
from superres3d.networks.blueprint import padding
from superres3d.networks.module import Runner, used_weight
from torch import Tensor, nn
from torch.nn import functional

_EIGHT = 8  # matrix units want channels in multiples of it


def convolved(features: Tensor, weight: Tensor, bias: Tensor | None, stride: int, pads: list[tuple[int, int]]) -> Tensor:
    """``conv3d`` of a volume with (before, after) zeros along each axis, as a card is fast at it: one channel as a product of matrices, others filled up by zeros to multiples of eight."""
    if torch.is_autocast_enabled(features.device.type):
        features = features.to(torch.get_autocast_dtype(features.device.type))
    count, channels, *shape = features.shape
    outputs, side = weight.shape[0], weight.shape[2]
    filled = channels if channels == 1 else channels + -channels % _EIGHT
    size = [before + n + after for n, (before, after) in zip(shape, pads)]
    room = torch.empty((count, filled, *size), dtype=features.dtype, device=features.device, memory_format=torch.channels_last_3d).zero_()
    room[(slice(None), slice(channels), *(slice(before, before + n) for n, (before, _) in zip(shape, pads)))] = features
    if channels == 1:
        windows = room[:, 0].unfold(1, side, stride).unfold(2, side, stride).unfold(3, side, stride)
        taps, missing = side**3, -(side**3) % _EIGHT
        columns = room.new_zeros((*windows.shape[:4], taps + missing))
        columns[..., :taps].unflatten(-1, (side, side, side)).copy_(windows)
        return functional.linear(columns, functional.pad(weight.flatten(1), (0, missing)), bias).movedim(-1, 1)
    weight = functional.pad(weight, (0, 0, 0, 0, 0, 0, 0, filled - channels, 0, -outputs % _EIGHT)).contiguous(memory_format=torch.channels_last_3d)
    bias = bias if bias is None else functional.pad(bias, (0, -outputs % _EIGHT))
    return functional.conv3d(room, weight, bias, stride)[:, :outputs]


class CardRunner(Runner):
    """The same layers, computed as a card is fast at them."""

    def conv(self, name: str, features: Tensor, outputs: int, kernel: Any = 3, stride: int = 1, bias: bool = True, **_: Any) -> Tensor:
        layer: Any = self.layer(name)
        return convolved(features, used_weight(layer), layer.bias, stride, [padding(side, stride) for side in layer.kernel_size])

    def transposed(self, name: str, features: Tensor, *_: int) -> Tensor:  # type: ignore[override]
        layer: Any = self.layer(name)
        missing = -layer.out_channels % _EIGHT
        weight = functional.pad(layer.weight, (0, 0, 0, 0, 0, 0, 0, missing)).contiguous(memory_format=torch.channels_last_3d)
        return functional.conv_transpose3d(features, weight, functional.pad(layer.bias, (0, missing)), layer.stride, layer.padding)[:, : layer.out_channels]

    def upsample(self, features: Tensor) -> Tensor:
        """Trilinear: PyTorch's own goes back through sums in no fixed order, slowly."""
        made = features.movedim(1, -1)
        for axis in (1, 2, 3):
            last = made.shape[axis] - 1
            before = torch.cat([made.narrow(axis, 0, 1), made.narrow(axis, 0, last)], axis)
            after = torch.cat([made.narrow(axis, 1, last), made.narrow(axis, last, 1)], axis)
            made = torch.stack([torch.lerp(made, before, 0.25), torch.lerp(made, after, 0.25)], axis + 1).flatten(axis, axis + 1)
        return made.movedim(-1, 1)


class CardConv(nn.Conv3d):
    """A discriminator's convolution."""

    def forward(self, features: Tensor) -> Tensor:
        return convolved(features, self.weight, self.bias, self.stride[0], [(int(side), int(side)) for side in self.padding])
