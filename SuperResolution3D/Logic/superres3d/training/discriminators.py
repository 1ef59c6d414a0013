"""The networks that judge during adversarial training; no trained model contains them.

- :class:`Critic` of mDCSRN-GAN (Chen 2020, section 3.3): how real one volume looks, an unbounded number.
- :class:`PairDiscriminator` of Virtual Thin Slice (Kudo 2019, section 3.2) and of Pix2Pix (Isola 2017):
  whether a thin volume belongs to a thick one, as logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod

import torch
from torch import Tensor, nn

_SLOPE = 0.2  # of all leaky ReLUs, in all three papers


class Critic(nn.Module):
    """SRGAN's discriminator (Ledig 2017, figure 4) in three dimensions, with layer normalisation and without sigmoid.

    Args:
        shape: (D, H, W) of the volumes, which decides the size of the first dense layer.
        filters: channels of the first layer (the paper: 64).

    Shape:
        input (N, 1, D, H, W), output (N,) float32.
    """

    def __init__(self, shape: Sequence[int], filters: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv3d(1, filters, 3, padding=1), nn.LeakyReLU(_SLOPE)]
        channels = filters
        for outputs, stride in ((1, 2), (2, 1), (2, 2), (4, 1), (4, 2), (8, 1), (8, 2)):
            layers.append(_layer(channels, outputs * filters, 3, stride, _layer_norm))
            channels = outputs * filters
        self.features = nn.Sequential(*layers)
        left = prod(-(-side // 16) for side in shape)  # four convolutions of stride 2, each rounding up
        self.judge = nn.Sequential(nn.Linear(channels * left, 16 * filters), nn.LeakyReLU(_SLOPE), nn.Linear(16 * filters, 1))

    def forward(self, volume: Tensor) -> Tensor:
        """The verdict on each volume; larger looks more like a scan."""
        features = volume
        for layer in self.features:
            # On processors oneDNN's bfloat16 gradient of a 3x3x3 kernel is wrong, now and then NaN, for volumes two voxels deep.
            unsafe = volume.device.type == "cpu" and features.shape[2] == 2
            with torch.autocast("cpu", enabled=False) if unsafe else nullcontext():
                features = layer(features.float() if unsafe else features)
        # In bfloat16 the verdict would keep two digits, and the difference of two verdicts none.
        with torch.autocast(volume.device.type, enabled=False):
            return self.judge(features.float().flatten(1)).flatten()


class PairDiscriminator(nn.Module):
    """Four layers of 4x4x4 kernels with batch normalisation, then one convolution to logits.

    The papers end in a sigmoid; here it is part of the loss (binary cross-entropy with logits), which is the same
    function without its rounding to 0 and 1.

    Args:
        filters: channels of the first layer (both papers: 64).
        conditions: channels of the condition (Kudo 2019, section 3.4: 8; without condition 0).
        patches: Pix2Pix's PatchGAN, with a fourth layer of stride 1 (70 voxels a side for each logit).  Else Kudo's: stride 2,
            self-attention in the fourth layer, and the mean of the logits.

    Shape:
        thick and thin (N, 1, D, H, W), condition (N, conditions); output float32, (N,), or with ``patches`` (N, 1, D/8, H/8, W/8).
    """

    def __init__(self, filters: int = 64, *, conditions: int = 0, patches: bool = False):
        super().__init__()
        self.conditions, self.patches = conditions, patches
        widths = [2 + conditions, filters, 2 * filters, 4 * filters, 8 * filters]
        strides = (2, 2, 2, 1 if patches else 2)
        layers: list[nn.Module] = [_layer(*pair, 4, stride, nn.BatchNorm3d) for pair, stride in zip(zip(widths, widths[1:]), strides)]
        if not patches:
            layers.append(SelfAttention(widths[-1]))
        self.layers = nn.Sequential(*layers, _same_size(), nn.Conv3d(widths[-1], 1, 4))

    def forward(self, thick: Tensor, thin: Tensor, condition: Tensor) -> Tensor:
        """Logits that ``thin`` is the scan that ``thick`` was made of."""
        maps = [thick, thin]
        if self.conditions:
            maps.append(condition[:, :, None, None, None].expand(-1, -1, *thin.shape[2:]))
        logits = self.layers(torch.cat(maps, dim=1)).float()
        return logits if self.patches else logits.mean(dim=(1, 2, 3, 4))


class SelfAttention(nn.Module):
    """Every position looks at all others (Zhang 2019, section 3); begins as the identity.

    Args:
        channels: C; queries and keys have C / 8.

    Shape:
        input and output (N, C, D, H, W); memory grows with the square of D H W.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow = max(1, channels // 8)
        self.query = nn.Conv3d(channels, narrow, 1, bias=False)
        self.key = nn.Conv3d(channels, narrow, 1, bias=False)
        self.value = nn.Conv3d(channels, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """The features plus :attr:`gamma` times what each position sees (Zhang 2019, equations (1) to (3))."""
        query, key, value = (layer(features).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query.transpose(1, 2) @ key, dim=-1)  # (N, position, position it looks at)
        return features + self.gamma * (value @ weights.transpose(1, 2)).view_as(features)


def _layer(inputs: int, outputs: int, kernel: int, stride: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    """Convolution to 1/stride of the size, normalisation, leaky ReLU."""
    uneven = kernel == 4 and stride == 1
    convolution = nn.Conv3d(inputs, outputs, kernel, stride, padding=0 if uneven else 1, bias=False)
    return nn.Sequential(*([_same_size()] if uneven else []), convolution, norm(outputs), nn.LeakyReLU(_SLOPE))


def _same_size() -> nn.Module:
    """Zeros around a convolution of kernel 4 and stride 1: one voxel before, two after."""
    return nn.ConstantPad3d((1, 2) * 3, 0.0)


def _layer_norm(channels: int) -> nn.Module:
    """Layer normalisation of whole feature maps: one mean and variance a sample, so that no sample sees another."""
    return nn.GroupNorm(1, channels)
