"""A blueprint as a PyTorch module: for training, and for graphics cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..resampling.interpolation import sampling_matrix
from .blueprint import Kernel, Layer, padding
from .families import BASE, Architecture

# Batches are small: statistics are gathered over more of them than PyTorch's default of ten.
_MOMENTUM = 0.02
_LINEAR = {2: "bilinear", 3: "trilinear"}
_DOT, _MARK = "/", "layer "  # what a module's name has for the dot in the name of a tensor, and before it: a layer may be called "half"


class BlueprintNet(nn.Module):
    """The network of an architecture, or of several that share layers.

    Args:
        architectures: one for each way of refining, of one family with the same options; a residual one begins as the
            interpolation: its last convolution is zero.

    Shape:
        input (N, 1, [D,] H, W) float, each side a multiple of ``architecture.survey.step``; output finer by the factors.
    """

    def __init__(self, *architectures: Architecture):
        super().__init__()
        self.tasks = {architecture.factors: architecture for architecture in architectures}
        self.layers = nn.ModuleDict()
        for architecture in architectures:
            layers = {_key(name): layer for name, layer in architecture.survey.layers.items()}
            for name, layer in layers.items():
                if name not in self.layers:  # else another task has it as well
                    self.layers[name] = _made(layer, architecture)
            self.last = [name for name, layer in layers.items() if layer.sides][-1]
            if architecture.residual:
                for parameter in self.layers[self.last].parameters():
                    nn.init.zeros_(parameter)

    @property
    def architecture(self) -> Architecture:
        """Of the task with the most arithmetic."""
        return max(self.tasks.values(), key=lambda architecture: architecture.multiply_accumulates)

    def forward(self, image: Tensor, factors: tuple[int, ...] | None = None) -> Tensor:
        """The image (N, 1, [D,] H, W) refined by one of the tasks (None: the one with the most arithmetic; KeyError for one that it has not)."""
        return self.outputs(image, factors)[0]

    def outputs(self, image: Tensor, factors: tuple[int, ...] | None = None) -> tuple[Tensor, ...]:
        """The final output (N, 1, [D,] H, W), and intermediate ones where the network has them; arguments as :meth:`forward` takes them."""
        architecture = self.tasks[factors] if factors else self.architecture
        runner = Runner(self.layers)
        made = (architecture.blueprint(runner, image), *runner.between)
        if not architecture.residual:
            return made
        # In half precision only the correction may be rounded, never the scan itself.
        return tuple(interpolated(image, architecture.factors) + output.float() for output in made)

    def correction(self, image: Tensor) -> Tensor:
        """What the layers give, (N, 1, [D,] H, W): of a residual network, what is to be added to the input or to its interpolation."""
        return self.part(self.architecture.blueprint, image)

    def part(self, draw: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """A part of the network (see :class:`~superres3d.networks.blueprint.Parts`), or its blueprint."""
        return draw(Runner(self.layers), *inputs)

    def layer(self, name: str) -> nn.Module:
        """By its name in the blueprint."""
        return self.layers[_key(name)]

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
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()

    def stored_tensors(self) -> dict[str, Tensor]:
        """Name -> tensor as ``weights.safetensors`` holds them, the shapes those of :attr:`superres3d.networks.blueprint.Survey.shapes`; counters are left out."""
        tensors = {}
        for layer, module in self.layers.items():
            for part, tensor in module.state_dict().items():
                if part != "num_batches_tracked":
                    tensors[f"{layer.removeprefix(_MARK).replace(_DOT, '.')}.{part}"] = used_weight(module).detach() if part == "weight" else tensor
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors` (RuntimeError if they do not fit); those of other tasks are left out."""
        own = self.stored_tensors()
        if self.architecture.family.tasks:
            tensors = {name: tensor for name, tensor in tensors.items() if name in own}
        if set(own) != set(tensors):
            raise RuntimeError(f"tensors {', '.join(sorted(set(own) ^ set(tensors))[:3])} differ")
        stems = ((*name.rpartition("."), tensor) for name, tensor in tensors.items())
        self.load_state_dict({f"layers.{_key(stem)}.{part}": tensor for stem, _, part, tensor in stems}, strict=False)


def _key(name: str) -> str:
    """Of a layer among the modules."""
    return _MARK + name.replace(".", _DOT)


def sub_pixel(phases: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Rearrange (N, C * prod(factors), *shape) to (N, C, *finer shape), each axis by its own factor, the phase along the last one fastest (Shi 2016)."""
    count, _, *shape = phases.shape
    axes = len(shape)
    split = phases.reshape(count, -1, *factors, *shape)
    order = [place for axis in range(axes) for place in (2 + axes + axis, 2 + axis)]
    return split.permute(0, 1, *order).reshape(count, -1, *(n * f for n, f in zip(shape, factors)))


@torch.no_grad()
def interpolated(low: Tensor, factors: tuple[int, ...]) -> Tensor:
    """Cubic interpolation of (N, 1, *shape) in single precision, as :func:`superres3d.resampling.interpolation.resize` does it; as it is for factors of 1."""
    result = low.float() if max(factors) > 1 else low
    for axis, factor in enumerate(factors, start=2):
        if factor > 1:
            matrix = _matrix(result.shape[axis], factor).to(result)
            with torch.autocast(low.device.type, enabled=False):
                result = torch.tensordot(result, matrix, dims=([axis], [1])).movedim(-1, axis)
    return result


@lru_cache(maxsize=64)
def _matrix(length: int, factor: int) -> Tensor:
    return torch.from_numpy(sampling_matrix(length, length * factor, BASE))


def _made(layer: Layer, architecture: Architecture) -> nn.Module:
    """Before its training."""
    axes = architecture.axes
    if layer.kind == "norm":
        return getattr(nn, f"BatchNorm{axes}d")(layer.outputs, momentum=_MOMENTUM)
    if layer.kind == "prelu":
        return nn.PReLU(layer.outputs)
    if layer.kind == "transposed":
        return getattr(nn, f"ConvTranspose{axes}d")(layer.inputs, layer.outputs, layer.sides, layer.stride, padding=1)
    made = getattr(nn, f"Conv{axes}d")(layer.inputs, layer.outputs, layer.sides, layer.stride, bias=layer.bias)
    if architecture.family.xavier:
        nn.init.xavier_uniform_(made.weight)
    else:
        nn.init.kaiming_normal_(made.weight, a=0.2)
    if layer.bias:
        nn.init.zeros_(made.bias)
    made.weight.data.mul_(layer.gain)
    made.zero_sum = layer.zero_sum
    return made


class Runner:
    """Computes with the layers; a feature map is a tensor (N, channels, [D,] H, W).

    Args:
        layers: by the names of the blueprint's tensors, each dot a slash.

    Attributes:
        between: the intermediate outputs of the blueprint that was run.
    """

    relu = staticmethod(torch.relu)
    leaky_relu = staticmethod(functional.leaky_relu)
    elu = staticmethod(functional.elu)
    add = staticmethod(torch.add)
    sub_pixel = staticmethod(sub_pixel)

    def __init__(self, layers: nn.ModuleDict):
        self._layers = layers
        self.between: list[Tensor] = []

    def layer(self, name: str) -> nn.Module:
        """By its name in the blueprint."""
        return self._layers[_key(name)]

    def conv(self, name: str, features: Tensor, outputs: int, kernel: Kernel = 3, stride: int = 1, bias: bool = True, **_: Any) -> Tensor:
        """See :meth:`superres3d.networks.blueprint.Drawing.conv`."""
        layer = cast(nn.modules.conv._ConvNd, self.layer(name))
        pads = [padding(side, stride) for side in layer.kernel_size]
        if any(before != after for before, after in pads):
            features = functional.pad(features, [pad for pair in reversed(pads) for pad in pair])
            pads = [(0, 0)] * len(pads)
        convolve = getattr(functional, f"conv{len(pads)}d")
        return convolve(features, used_weight(layer), layer.bias, stride, [before for before, _ in pads])

    def norm(self, name: str, features: Tensor, *_: int) -> Tensor:
        """See :meth:`superres3d.networks.blueprint.Drawing.norm`; the layer is PyTorch's own, as are PReLU and the transposed convolution."""
        return self.layer(name)(features)

    prelu = transposed = norm

    def concat(self, maps: Sequence[Tensor]) -> Tensor:
        """See :meth:`superres3d.networks.blueprint.Drawing.concat`."""
        return torch.cat(list(maps), dim=1)

    def upsample(self, features: Tensor) -> Tensor:
        """See :meth:`superres3d.networks.blueprint.Drawing.upsample`."""
        return functional.interpolate(features, scale_factor=2, mode=_LINEAR[features.ndim - 2], align_corners=False)

    def intermediate(self, features: Tensor) -> Tensor:
        """See :meth:`superres3d.networks.blueprint.Drawing.intermediate`; kept in ``between``."""
        self.between.append(features)
        return features


def used_weight(layer: nn.Module) -> Tensor:
    """A layer's weight (outputs, inputs, *kernel) as it is used: less the mean of each kernel where they sum to zero."""
    weight = cast(Tensor, layer.weight)
    return weight - weight.mean(dim=tuple(range(2, weight.ndim)), keepdim=True) if getattr(layer, "zero_sum", False) else weight
