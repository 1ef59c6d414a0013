"""The networks for slices by what their cards say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .architecture import architecture_from_card
from .edsr import EDSR
from .georgescu import IntermediateLossNet

_NETWORKS: dict[str, type[nn.Module]] = {"intermediate-loss": IntermediateLossNet, "edsr": EDSR}


def build_network(network: Mapping[str, Any]) -> nn.Module:
    """An untrained network.

    Args:
        network: as a card holds it.

    Raises:
        KeyError, TypeError, ValueError: as :func:`superres3d.networks.architecture.architecture_from_card`.
    """
    architecture = architecture_from_card(network)
    return _NETWORKS[architecture.form](**vars(architecture))
