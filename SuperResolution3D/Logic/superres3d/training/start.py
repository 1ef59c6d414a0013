"""Beginning from a trained model."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from ..errors import InputError


def load_start(net: nn.Module, folder: Path) -> None:
    """Give ``net`` the weights of a trained model; an EDSR may be larger than it (:meth:`superres3d.networks.edsr.EDSR.grow_from`).

    Raises:
        InputError: the folder holds no weights, or those of another network (a residual volumetric one differs by its card alone).
    """
    from safetensors.torch import load_file

    path = folder / "weights.safetensors"
    if not path.is_file():
        raise InputError(f"The recipe's start is {folder}, which holds no weights.safetensors; name the folder of a trained model.")
    card = folder / "card.json"
    try:
        load = getattr(net, "grow_from", None) or getattr(net, "load_tensors", net.load_state_dict)
        load(load_file(path))
        if card.is_file() and json.loads(card.read_text(encoding="utf-8"))["network"].get("residual", net.architecture.residual) != net.architecture.residual:
            raise ValueError("one of them is residual, the other is not")
    except Exception as error:  # safetensors and torch each raise their own kinds
        reason = str(error).splitlines()[-1].strip().rstrip(".")
        raise InputError(f"The weights {path} do not fit the recipe's network ({reason}); name a model that was trained with the same options (of the form edsr also a smaller one).") from None
