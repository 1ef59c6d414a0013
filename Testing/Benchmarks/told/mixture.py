"""Told networks whose convolutions are mixed for what they are told (CondConv: Yang, Bender, Le, Ngiam. NeurIPS 2019).

W = W0 + sum of a_k W_k, the shares a_k from what the network is told, beside the modulation of Testing/Benchmarks/gpu/told.py.  As that it folds into
plain weights: :func:`superres3d.networks.told.folded`.  One batch is told one thing, so that a training costs as little as one of the plain network.
"""

from __future__ import annotations

import torch
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.told import MIXING, MODULATION, NETWORK, VARIANTS, layers_of
from torch import Tensor, nn
from torch.nn.functional import conv2d

_HIDDEN = 64
_SPREAD = 0.15  # of the shares at the start: variants, which begin at zero, then learn to differ


class Mixture(nn.Module):
    """The default's network with modulated blocks and mixed convolutions.

    Args:
        factors: along (rows, columns).
        filters, blocks: see :func:`superres3d.networks.edsr.edsr`.
        conditions: how many numbers it is told.
        variants: of each convolution, beside the first; 0: a network that is modulated alone.
    """

    def __init__(self, factors: tuple[int, int], filters: int, blocks: int, conditions: int, variants: int):
        super().__init__()
        self.conditions, self.variants, self.factors, self._blocks = conditions, variants, factors, blocks
        plain = BlueprintNet(Architecture.make("edsr", {"filters": filters, "blocks": blocks}, True, factors)).stored_tensors()
        self._layers = layers_of(plain)
        self.plain = _parameters(plain)
        self.varied = _parameters({name: torch.zeros(variants, *tensor.shape) for name, tensor in plain.items()} if variants else {})
        self.modulation = nn.Sequential(nn.Linear(conditions, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 2 * filters * blocks))
        self.mixing = nn.Linear(_HIDDEN, variants * len(self._layers)) if variants else nn.Identity()
        for parameter in self.modulation[-1].parameters():
            nn.init.zeros_(parameter)
        if isinstance(self.mixing, nn.Linear):
            nn.init.normal_(self.mixing.weight, std=_SPREAD)
            nn.init.zeros_(self.mixing.bias)

    def correction(self, image: Tensor, told: Tensor) -> Tensor:
        """Phases (N, r * s, H, W) that are to be added to the interpolation of an image (N, 1, H, W); all are told the same (conditions,)."""
        with torch.autocast("cpu", enabled=False):
            weights = self._folded(told)
        features = _conv(weights, "head", image)
        for number in range(self._blocks):
            inner = torch.relu(_conv(weights, f"blocks.{number}.0", features))
            features = features + _conv(weights, f"blocks.{number}.1", inner)
        return _conv(weights, "tail", features)

    def _folded(self, told: Tensor) -> dict[str, Tensor]:
        """Those of :func:`superres3d.networks.told.folded`, to be learnt through."""
        hidden = torch.relu(self.modulation[0](told))
        shifts, scales = self.modulation[2](hidden).reshape(2, self._blocks, -1)
        weights = dict(_named(self.plain))
        shares = self.mixing(hidden).reshape(self.variants, len(self._layers)) if self.variants else hidden
        for name, variants in _named(self.varied):
            weights[name] = weights[name] + torch.tensordot(shares[:, self._layers.index(name.rpartition(".")[0])], variants, 1)
        for number in range(self._blocks):
            inner, outer = f"blocks.{number}.0.bias", f"blocks.{number}.1.weight"
            weights[inner] = weights[inner] + shifts[number]
            weights[outer] = weights[outer] * (1.0 + scales[number])[None, :, None, None]
        return weights

    def stored_tensors(self) -> dict[str, Tensor]:
        """As the file of weights holds them."""
        parts = [(NETWORK, _named(self.plain)), (VARIANTS, _named(self.varied))]
        parts += [(part, list(layer.state_dict().items())) for part, layer in ((MODULATION, self.modulation), (MIXING, self.mixing))]
        return {f"{part}{name}": tensor.detach().clone() for part, tensors in parts for name, tensor in tensors}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`stored_tensors`; of a network without variants, they are left as they are."""
        own = {**{f"{NETWORK}{name}": part for name, part in _named(self.plain)}, **{f"{VARIANTS}{name}": part for name, part in _named(self.varied)}}
        own |= {f"{part}{name}": parameter for part, layer in ((MODULATION, self.modulation), (MIXING, self.mixing)) for name, parameter in layer.named_parameters()}
        with torch.no_grad():
            for name, parameter in own.items():
                if name in tensors or not name.startswith((VARIANTS, MIXING)):
                    parameter.copy_(tensors[name])


def _conv(weights: dict[str, Tensor], layer: str, features: Tensor) -> Tensor:
    return conv2d(features, weights[f"{layer}.weight"], weights[f"{layer}.bias"], padding=1)


def _parameters(tensors: dict[str, Tensor]) -> nn.ParameterDict:
    """A module's names may hold no dots."""
    return nn.ParameterDict({name.replace(".", "/"): nn.Parameter(tensor.detach().clone()) for name, tensor in tensors.items()})


def _named(parameters: nn.ParameterDict) -> list[tuple[str, Tensor]]:
    return [(name.replace("/", "."), parameter) for name, parameter in parameters.items()]
