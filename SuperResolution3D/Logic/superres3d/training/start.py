"""Beginning from a trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..networks.families import Architecture
from ..networks.module import BlueprintNet
from ..networks.stored import read_tensors


def load_start(net: BlueprintNet, folder: Path) -> None:
    """Give ``net`` the weights of a trained model; an EDSR may be larger than it (:func:`grow_from`).

    Raises:
        InputError: the folder holds no weights, or those of another network (a residual volumetric one differs by its card alone).
    """
    path = folder / "weights.safetensors"
    if not path.is_file():
        raise InputError(f"The recipe's start is {folder}, which holds no weights.safetensors; name the folder of a trained model.")
    card = folder / "card.json"
    try:
        tensors = {name: torch.from_numpy(tensor) for name, tensor in read_tensors(path).items()}
        if net.architecture.name == "edsr":
            grow_from(net, tensors)
        else:
            net.load_tensors(tensors)
        if card.is_file() and json.loads(card.read_text(encoding="utf-8"))["network"].get("residual", net.architecture.residual) != net.architecture.residual:
            raise ValueError("one of them is residual, the other is not")
    except Exception as error:  # safetensors and torch each raise their own kinds
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise InputError(f"The weights {path} do not fit the recipe's network ({reason}); name a model that was trained with the same options (of the form edsr also a smaller one).") from None


def grow_from(net: BlueprintNet, tensors: Mapping[str, Tensor]) -> None:
    """Begin an EDSR as a narrower or shallower one of the same factors: its function is kept, the new filters and blocks are there to be learned.

    What is new reads everything and is read by nothing old yet (Net2Net: Chen, Goodfellow, Shlens. ICLR 2016).

    Args:
        net: the larger network.
        tensors: of the smaller one, by their names.

    Raises:
        ValueError: it is none, or one of other factors.
    """
    own, width = net.stored_tensors(), len(tensors.get("head.bias", ()))
    if not _is_smaller(net.architecture, tensors):
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


def _is_smaller(larger: Architecture, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the tensors are those of an EDSR that is no larger."""
    width, depth = len(tensors.get("head.bias", ())), sum(name.endswith(".1.bias") for name in tensors)
    sizes = larger.settings
    if not 0 < width <= sizes["filters"] or not 0 < depth <= sizes["blocks"]:
        return False
    smaller = Architecture.make("edsr", {"filters": width, "blocks": depth}, True, larger.factors)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()} == smaller.survey.shapes
