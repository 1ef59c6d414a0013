"""How tensors lie in memory: channels last, as convolutions are fastest."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..networks.module import BlueprintNet


def channels_last(volume: Tensor) -> Tensor:
    """A volume (N, C, D, H, W) in the layout in which convolutions are fastest."""
    return volume.contiguous(memory_format=torch.channels_last_3d)


def laid_out(net: BlueprintNet, layout: torch.memory_format) -> BlueprintNet:
    """The same network with its weights in another layout."""
    move: Callable[..., BlueprintNet] = net.to  # PyTorch's types leave this argument out
    return move(memory_format=layout)
