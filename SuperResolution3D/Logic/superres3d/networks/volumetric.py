"""A blueprint as a PyTorch module: for training, and for graphics cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..interpolation import sampling_matrix
from .blueprint import padding
from .families import VolumeArchitecture

# Batches are small: statistics are gathered over more of them than PyTorch's default of ten.
_MOMENTUM = 0.02


class BlueprintNet(nn.Module):
    """The network of an architecture.

    Args:
        architecture: a residual one begins as the identity: its last convolution is zero.

    Shape:
        input and output (N, 1, D, H, W) float; each side a multiple of ``architecture.survey.step``.
    """

    def __init__(self, architecture: VolumeArchitecture):
        super().__init__()
        self.architecture = architecture
        self.layers = nn.ModuleDict()
        architecture.blueprint(_Maker(self.layers), 1)
        self.last = [name for name, layer in self.layers.items() if isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d))][-1]
        if architecture.residual:
            nn.init.zeros_(self.layers[self.last].weight)
            nn.init.zeros_(self.layers[self.last].bias)

    def forward(self, image: Tensor) -> Tensor:
        output = self.correction(image)
        # In half precision only the correction may be rounded, never the scan itself.
        return image + output.float() if self.architecture.residual else output

    def correction(self, image: Tensor) -> Tensor:
        """What the layers give: of a residual network, what is to be added to the input."""
        return self.architecture.blueprint(_Runner(self.layers), image)

    def part(self, draw: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """A part of the network (see :class:`~superres3d.networks.blueprint.Parts`)."""
        return draw(_Runner(self.layers), *inputs)

    def parameter_groups(self, rate: float, last_share: float) -> list[dict[str, Any]]:
        """For an optimiser: all layers, and the last convolution with a learning rate of its own.

        What a residual network has to add is small on the scale of the intensities; a last convolution that moves as fast as the others seems to
        overshoot it at every step (models/EXPERIMENTS.md).
        """
        last = list(self.layers[self.last].parameters())
        others = [parameter for parameter in self.parameters() if all(parameter is not kept for kept in last)]
        return [{"params": others, "lr": rate}, {"params": last, "lr": rate * last_share}]

    def freeze_norm(self) -> None:
        """Normalisations keep their statistics from now on (until ``train()`` is called)."""
        for layer in self.layers.values():
            if isinstance(layer, nn.BatchNorm3d):
                layer.eval()

    def stored_tensors(self) -> dict[str, Tensor]:
        """Name -> tensor as the weights file holds them; counters are left out."""
        return {name.removeprefix("layers."): value for name, value in self.state_dict().items() if not name.endswith("num_batches_tracked")}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors` (RuntimeError if they do not fit)."""
        own = {name for name in self.stored_tensors()}
        if own != set(tensors):
            raise RuntimeError(f"tensors {', '.join(sorted(own ^ set(tensors))[:3])} differ")
        self.load_state_dict({f"layers.{name}": value for name, value in tensors.items()}, strict=False)


class MultiTaskNet(nn.Module):
    """A network with layers of its own for each way of refining, and others that all share.

    Args:
        architectures: one a task, of one family with the same options.

    Shape:
        input (N, 1, D, H, W) float, output (N, 1, D * factors[0], H * factors[1], W * factors[2]).
    """

    def __init__(self, architectures: Sequence[VolumeArchitecture]):
        super().__init__()
        self.tasks = {architecture.factors: architecture for architecture in architectures}
        self.layers = nn.ModuleDict()
        for architecture in architectures:
            architecture.blueprint(_Maker(self.layers), 1)
        for name, layer in self.layers.items():
            if name.startswith("last-"):  # it begins as the interpolation
                nn.init.zeros_(layer.weight)
            elif name.startswith("block") and name.endswith("-b"):  # each block begins as nearly nothing
                layer.weight.data.mul_(0.1)

    def forward(self, low: Tensor, factors: tuple[int, int, int]) -> Tensor:
        """The scan refined by one of the :attr:`tasks`."""
        phases = self.tasks[factors].blueprint(_ZeroSumRunner(self.layers), low)
        # In half precision only the correction may be rounded, never the scan itself.
        return interpolated(low, factors) + sub_pixel_volume(phases, factors).float()

    @property
    def architecture(self) -> VolumeArchitecture:
        """Of the task with the most arithmetic."""
        return max(self.tasks.values(), key=lambda architecture: architecture.multiply_accumulates)

    def stored_tensors(self) -> dict[str, Tensor]:
        """As :meth:`BlueprintNet.stored_tensors`."""
        tensors = {name.removeprefix("layers."): value for name, value in self.state_dict().items()}
        return {name: zero_sum(value) if _sums_to_zero(name) and name.endswith("weight") else value for name, value in tensors.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors`; those of other tasks are left out (RuntimeError if one is missing or does not fit)."""
        own = {name: tensors[name] for name in self.stored_tensors() if name in tensors}
        self.load_state_dict({f"layers.{name}": value for name, value in own.items()})


def sub_pixel_volume(phases: Tensor, factors: tuple[int, int, int]) -> Tensor:
    """Rearrange (N, prod(factors), D, H, W) to (N, 1, D * f0, H * f1, W * f2): Shi 2016 in three dimensions, each axis by its own factor."""
    count, _, *shape = phases.shape
    phases = phases.reshape(count, *factors, *shape).permute(0, 4, 1, 5, 2, 6, 3)
    return phases.reshape(count, 1, *(n * f for n, f in zip(shape, factors)))


@torch.no_grad()
def interpolated(low: Tensor, factors: tuple[int, int, int]) -> Tensor:
    """Cubic interpolation in single precision, as :func:`superres3d.interpolation.resize` does it."""
    result = low.float()
    for axis, factor in enumerate(factors, start=2):
        if factor > 1:
            length = result.shape[axis]
            matrix = torch.from_numpy(sampling_matrix(length, length * factor, "cubic")).to(result)
            with torch.autocast(low.device.type, enabled=False):
                result = torch.tensordot(result, matrix, dims=([axis], [1])).movedim(-1, axis)
    return result


class _Maker:
    """Makes the layers; a feature map is its number of channels.  A layer that is there already is shared."""

    def __init__(self, layers: nn.ModuleDict):
        self._layers = layers

    def conv(self, name: str, features: int, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> int:
        if name in self._layers:
            return outputs
        layer = nn.Conv3d(features, outputs, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(layer.weight, a=0.2)
        if bias:
            nn.init.zeros_(layer.bias)
        self._layers[name] = layer
        return outputs

    def transposed(self, name: str, features: int, outputs: int) -> int:
        self._layers[name] = nn.ConvTranspose3d(features, outputs, 4, 2, padding=1)
        return outputs

    def norm(self, name: str, features: int) -> int:
        self._layers[name] = nn.BatchNorm3d(features, momentum=_MOMENTUM)
        return features

    def prelu(self, name: str, features: int) -> int:
        self._layers[name] = nn.PReLU(features)
        return features

    def relu(self, features: int) -> int:
        return features

    def leaky_relu(self, features: int, slope: float) -> int:
        return features

    def elu(self, features: int) -> int:
        return features

    def concat(self, maps: Sequence[int]) -> int:
        return sum(maps)

    def add(self, first: int, second: int) -> int:
        return max(first, second)

    def upsample(self, features: int) -> int:
        return features


class _Runner:
    """Computes with the layers; a feature map is a tensor."""

    def __init__(self, layers: nn.ModuleDict):
        self._layers = layers

    def conv(self, name: str, features: Tensor, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> Tensor:
        before, after = padding(kernel, stride)
        layer = self._layers[name]
        if before == after:
            return functional.conv3d(features, layer.weight, layer.bias, stride, before)
        return layer(functional.pad(features, (before, after) * 3))

    def transposed(self, name: str, features: Tensor, outputs: int) -> Tensor:
        return self._layers[name](features)

    def norm(self, name: str, features: Tensor) -> Tensor:
        return self._layers[name](features)

    def prelu(self, name: str, features: Tensor) -> Tensor:
        return self._layers[name](features)

    def relu(self, features: Tensor) -> Tensor:
        return torch.relu(features)

    def leaky_relu(self, features: Tensor, slope: float) -> Tensor:
        return functional.leaky_relu(features, slope)

    def elu(self, features: Tensor) -> Tensor:
        return functional.elu(features)

    def concat(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(maps), dim=1)

    def add(self, first: Tensor, second: Tensor) -> Tensor:
        return first + second

    def upsample(self, features: Tensor) -> Tensor:
        return functional.interpolate(features, scale_factor=2, mode="trilinear", align_corners=False)


class _ZeroSumRunner(_Runner):
    """First convolutions whose kernels sum to zero: a brighter scan has the same detail, and what is to be added to it has no part in its brightness."""

    def conv(self, name: str, features: Tensor, outputs: int, kernel: int = 3, stride: int = 1, bias: bool = True) -> Tensor:
        if not _sums_to_zero(name):
            return super().conv(name, features, outputs, kernel, stride, bias)
        layer = self._layers[name]
        return functional.conv3d(features, zero_sum(layer.weight), layer.bias, padding=padding(kernel, stride)[0])


def _sums_to_zero(name: str) -> bool:
    return name.startswith("first-")


def zero_sum(weight: Tensor) -> Tensor:
    """Kernels (outputs, inputs, ...) less their means."""
    return weight - weight.mean(dim=tuple(range(2, weight.ndim)), keepdim=True)
