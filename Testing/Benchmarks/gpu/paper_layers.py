"""The network of Georgescu 2020 with all of its weights in one tensor, and its way of losing detail on the device.

The network is so small that a step is as long as the list of its kernels: with one tensor there is one rounding to bfloat16, one gradient and one update.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from superres3d.networks.module import BlueprintNet, Runner
from superres3d.resampling.degradation import antialiased_bicubic_matrix
from superres3d.training.degrader import MARGIN
from superres3d.training.recipe import Recipe
from torch import Tensor, nn
from torch.nn import functional

_EIGHT = 8  # matrix units want channels in multiples of it


class FlatNet(nn.Module):
    """A network of convolutions for slices; channels are filled up to multiples of eight by zeros, whose gradient is zero.

    Args:
        net: with the first weights.
    """

    def __init__(self, net: BlueprintNet):
        super().__init__()
        self.architecture = net.architecture
        stored = net.stored_tensors()
        self._shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
        self._room = {name: tuple(-(-n // _EIGHT) * _EIGHT if axis < 2 else n for axis, n in enumerate(shape)) for name, shape in self._shapes.items()}
        self._sizes = [int(np.prod(room)) for room in self._room.values()]
        self.flat = nn.Parameter(torch.zeros(sum(self._sizes)))
        self.load_tensors(stored)

    def stored_tensors(self) -> dict[str, Tensor]:
        """As :meth:`superres3d.networks.module.BlueprintNet.stored_tensors`."""
        with torch.no_grad():
            return {name: view[tuple(slice(n) for n in self._shapes[name])] for name, view in self._views(self.flat).items()}

    @torch.no_grad()
    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors`, in place."""
        for name, place in self.stored_tensors().items():
            place.copy_(tensors[name])

    def outputs(self, image: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
        """The final and the intermediate output, (N, 1, H, W) float32, of (N, 1, h, w); ``half``: computed in bfloat16."""
        kind = torch.bfloat16 if half else torch.float32
        draw = _FlatRunner(self._views(self.flat.to(kind)))
        final = self.architecture.blueprint(draw, image.to(kind))
        return final.float(), draw.between[0].float()

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        """Kernels lie with their channels last."""
        return {name: _kernel(piece, room) for (name, room), piece in zip(self._room.items(), flat.split(self._sizes))}


def _kernel(piece: Tensor, room: tuple[int, ...]) -> Tensor:
    if len(room) == 1:
        return piece
    outputs, inputs, rows, columns = room
    return piece.view(outputs, rows, columns, inputs).permute(0, 3, 1, 2)


class _FlatRunner(Runner):
    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__(nn.ModuleDict())
        self._tensors = tensors

    def conv(self, name: str, features: Tensor, outputs: int, *_: Any, **__: Any) -> Tensor:
        weight = self._tensors[f"{name}.weight"]
        if missing := weight.shape[1] - features.shape[1]:
            features = functional.pad(features, (0, 0, 0, 0, 0, missing)).contiguous(memory_format=torch.channels_last)
        made = functional.conv2d(features, weight, self._tensors[f"{name}.bias"], padding=weight.shape[2] // 2)
        return made if made.shape[1] == outputs else made[:, :outputs]


class Coarsening:
    """As :class:`superres3d.training.degrader.Degrader` without noise and spectra, on the device: the blur and antialiased bicubic are one matrix a patch and direction.

    Args:
        recipe: for the patches' size and the blur.
        device: of all tensors.
    """

    def __init__(self, recipe: Recipe, device: str):
        self._recipe, self._device = recipe, device
        self._lines = [self._line(length, factor) for length, factor in zip(recipe.patch_shape, recipe.factors)]
        self._edges = [slice(MARGIN * factor, (MARGIN + length) * factor) for length, factor in zip(recipe.patch_shape, recipe.factors)]

    def __call__(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """(low, high), (N, 1, rows, columns), of patches (N, rows, columns) with their margin; each has a blur of its own."""
        recipe, count = self._recipe, len(patches)
        sigma = recipe.blur_sigma * (torch.rand(count, device=self._device) if recipe.blur_variable else torch.ones(count, device=self._device))
        return self.coarse(patches, sigma * (torch.rand(count, device=self._device) < recipe.blur_probability))

    def coarse(self, patches: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """With Gaussians of ``sigma`` (N,) fine pixels."""
        side = (torch.exp(-0.5 / sigma.clamp(min=0.01) ** 2) * (sigma > 0.01))[:, None, None]
        rows, columns = ((line + side * (_moved(line, 1) + _moved(line, -1))) / (1.0 + 2.0 * side) for line in self._lines)
        return (rows @ patches @ columns.transpose(1, 2))[:, None], patches[:, self._edges[0], self._edges[1]][:, None]

    def _line(self, length: int, factor: int) -> Tensor:
        padded = (length + 2 * MARGIN) * factor
        whole = antialiased_bicubic_matrix(padded, factor) if factor > 1 else np.eye(padded)
        return torch.from_numpy(np.array(whole[MARGIN : MARGIN + length], np.float32)).to(self._device)


def _moved(line: Tensor, by: int) -> Tensor:
    """Its columns, by one; they end in zeros."""
    return functional.pad(line, (by, -by))
