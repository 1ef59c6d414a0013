"""EDSR for slices: residual blocks at low resolution over a cubic interpolation (Lim, Son, Kim, Nah, Lee. CVPR workshops 2017, section 3.1).

The paper's plane and depth networks (:mod:`.georgescu`) do half (depth 2x) to seven eighths (plane 4x) of their arithmetic on the refined
slice.  Here all layers work on the scan's own pixels, so the same arithmetic pays for more layers or wider ones.  Against EDSR there is no
convolution after the blocks, no scaling of the blocks, and the skip around them is a cubic interpolation of the slice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..interpolation import sub_pixel_kernel
from .architecture import EDSRArchitecture
from .georgescu import sub_pixel

_BLOCK_GAIN = 0.3  # of a block's second convolution at the start: a sum of many blocks must not grow


class EDSR(nn.Module):
    """Residual blocks of two 3x3 convolutions with a ReLU between, then a sub-pixel layer; begins as cubic interpolation.

    Args:
        factors: refinement of (rows, columns): (2, 2), (4, 4), (2, 1) or (4, 1).
        filters: width of the hidden layers.
        blocks: how many.

    Shape:
        input (N, 1, H, W) float, output (N, 1, H * factors[0], W * factors[1]).
    """

    def __init__(self, factors: tuple[int, int] = (2, 2), filters: int = 32, blocks: int = 6):
        super().__init__()
        self.architecture = EDSRArchitecture(tuple(factors), filters, blocks)
        self.head = nn.Conv2d(1, filters, 3, padding=1)
        self.blocks = nn.ModuleList(nn.ModuleList(nn.Conv2d(filters, filters, 3, padding=1) for _ in range(2)) for _ in range(blocks))
        self.tail = nn.Conv2d(filters, self.architecture.phases, 3, padding=1)
        self.register_buffer("interpolation", torch.from_numpy(sub_pixel_kernel(self.architecture.factors, "cubic")), persistent=False)
        self._initialise()

    def forward(self, image: Tensor) -> Tensor:
        """The refined slices."""
        return self.outputs(image)[0]

    def outputs(self, image: Tensor) -> tuple[Tensor]:
        """As a network with intermediate outputs gives them: there are none."""
        features = self.head(image)
        for first, second in self.blocks:
            features = features + second(torch.relu(first(features)))
        # In half precision only the correction may be rounded, never the scan itself.
        phases = self.tail(features).float() + self._interpolated_phases(image)
        return (sub_pixel(phases, self.architecture.factors),)

    def _interpolated_phases(self, image: Tensor) -> Tensor:
        rows, columns = (size // 2 for size in self.interpolation.shape[-2:])
        with torch.autocast(image.device.type, enabled=False):
            padded = functional.pad(image.float(), (columns, columns, rows, rows), mode="replicate")
            return functional.conv2d(padded, self.interpolation)

    def grow_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Begin as a narrower or shallower network of the same factors: its function is kept, the new filters and blocks are there to be learned.

        What is new reads everything and is read by nothing old yet (Net2Net: Chen, Goodfellow, Shlens. ICLR 2016).

        Args:
            tensors: of the smaller network, by their names.

        Raises:
            ValueError: it is none, or one of other factors.
        """
        own, size = self.state_dict(), self.architecture
        width, depth = len(tensors.get("head.bias", ())), sum(name.endswith(".1.bias") for name in tensors)
        smaller = EDSRArchitecture(size.factors, width, depth)
        if width > size.filters or depth > size.blocks or {name: tuple(tensor.shape) for name, tensor in tensors.items()} != smaller.tensor_shapes():
            raise ValueError("it is no network of this form and these factors, or a larger one")
        with torch.no_grad():
            for name, tensor in own.items():
                if name.endswith("weight") and not name.startswith("head"):
                    old = slice(None) if name.startswith("tail") else slice(width)
                    tensor[old, width:] = 0.0
                    if name not in tensors and name.endswith("1.weight"):
                        tensor[:width] = 0.0
                if name in tensors:
                    tensor[tuple(slice(length) for length in tensors[name].shape)] = tensors[name]

    def _initialise(self) -> None:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.xavier_uniform_(self.head.weight)
        for first, second in self.blocks:
            nn.init.kaiming_normal_(first.weight)
            nn.init.kaiming_normal_(second.weight)
            with torch.no_grad():
                second.weight.mul_(_BLOCK_GAIN)
