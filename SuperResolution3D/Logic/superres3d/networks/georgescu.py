"""The ten-layer network with an intermediate output (Georgescu 2020, section III-A, figure 2).

One class serves both stages.  The plane CNN refines both axes of a slice,
``factors=(r, r)``; the depth CNN refines the rows of a slice whose rows run along
the depth, ``factors=(r, 1)``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import IntermediateLossArchitecture


class IntermediateLossNet(nn.Module):
    """Six convolutions at low resolution, a sub-pixel layer, four at high resolution; ReLU after each, the output included.

    Args:
        factors: refinement of (rows, columns): (2, 2), (4, 4), (2, 1) or (4, 1).
        filters: width of the hidden layers; the paper uses 32 and tries 64 and 128.
        second_block: without it the sub-pixel layer gives the output, as in ESPCN.
        short_skips: add conv 1 to conv 3, and conv 7 to conv 9.
        long_skip: add conv 1 to conv 5.

    Shape:
        input (N, 1, H, W) float, output (N, 1, H * factors[0], W * factors[1]).
    """

    def __init__(
        self,
        factors: tuple[int, int] = (2, 2),
        filters: int = 32,
        *,
        second_block: bool = True,
        short_skips: bool = True,
        long_skip: bool = True,
    ):
        super().__init__()
        self.architecture = IntermediateLossArchitecture(tuple(factors), filters, second_block, short_skips, long_skip)
        widths = [1] + [filters] * 5 + [self.architecture.phases]
        self.low = nn.ModuleList(_conv(a, b) for a, b in zip(widths, widths[1:]))
        widths = [1] + [filters] * 3 + [1]
        self.high = nn.ModuleList(_conv(a, b) for a, b in zip(widths, widths[1:])) if second_block else None

    def forward(self, image: Tensor) -> Tensor:
        """The final output; see :meth:`outputs`."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> tuple[Tensor, ...]:
        """The final and the intermediate output, each (N, 1, H * factors[0], W * factors[1]); without the second block only the final one."""
        phases = torch.relu(self.low[-1](self._trunk(self.low[:-1], image)))
        intermediate = sub_pixel(phases, self.architecture.factors)
        if self.high is None:
            return (intermediate,)
        return torch.relu(self.high[-1](self._trunk(self.high[:-1], intermediate))), intermediate

    def _trunk(self, layers, image: Tensor) -> Tensor:
        """conv, ReLU, with the first layer's output added after the third and fifth."""
        first = torch.relu_(layers[0](image))  # in place: a convolution's backward needs only its input
        features = first
        for index, layer in enumerate(layers[1:], start=2):
            features = torch.relu_(layer(features))
            if (index == 3 and self.architecture.short_skips) or (index == 5 and self.architecture.long_skip):
                features = features + first
        return features


def sub_pixel(phases: Tensor, factors: tuple[int, int]) -> Tensor:
    """Rearrange (N, r * s, H, W) to (N, 1, H * r, W * s): Shi 2016 for r = s, and the paper's
    one-axis form (section III-A, figure 4) for s = 1."""
    count, _, height, width = phases.shape
    rows, columns = factors
    phases = phases.reshape(count, rows, columns, height, width).permute(0, 3, 1, 4, 2)
    return phases.reshape(count, 1, height * rows, width * columns)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
