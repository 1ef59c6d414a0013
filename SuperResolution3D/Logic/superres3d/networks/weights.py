"""Finding a trained model and making sure that it is the one its card describes.

A model is a folder ``<name>`` with ``weights.safetensors`` and ``card.json``.  Nothing is
unpickled and nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError, ModelError
from ..staging import Staging
from .eight_bits import CARD_KEY, RANGES, Ranges, ranges_of
from .families import FAMILIES, Architecture
from .stored import unpacked
from .told import crossed, folded

if TYPE_CHECKING:
    from .module import BlueprintNet

WEIGHTS, CARD = "weights.safetensors", "card.json"
_HERE = Path(__file__).resolve().parents[1]  # the package
_VARIABLE = "SUPERRES3D_MODELS"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Model:
    """A model that was found; its weights are not read yet.

    Attributes:
        name: the folder's name.
        folder: where it is.
        card: the content of ``card.json``.
        conditions: what a network that can be told how a scan lost its detail is told; empty for the others.
        content: of ``weights.safetensors``, for a model that is nowhere but in memory; empty for one in a folder.
    """

    name: str
    folder: Path
    card: dict[str, Any]
    conditions: tuple[float, ...] = ()
    content: bytes = field(default=b"", repr=False)

    @property
    def exchanged(self) -> Model:
        """For slices whose rows and columns are exchanged: this model, unless it was told different things of the two."""
        conditions = crossed(self.conditions) if self.card.get("stage") == "plane" else self.conditions
        return self if conditions == self.conditions else replace(self, conditions=conditions)

    @property
    def sha256(self) -> str:
        """Of ``weights.safetensors``, as the card says; 64 hexadecimal digits."""
        return self.card["sha256"]

    @property
    def network(self) -> dict[str, Any]:
        """As :meth:`superres3d.networks.families.Architecture.from_card` takes it."""
        return dict(self.card["network"])

    @property
    def multiply_accumulates(self) -> int:
        """Per input pixel of a slice; of a volumetric network per voxel of the result."""
        return int(self.card["multiply_accumulates_per_pixel"])


def model_folders() -> list[Path]:
    """Where models are looked for, in order: ``SUPERRES3D_MODELS``, the installed package, the source tree."""
    named = os.environ.get(_VARIABLE)
    candidates = [Path(named)] if named else []
    candidates += [_HERE / "models", _HERE.parent / "models"]
    if len(_HERE.parents) > 2:
        candidates.append(_HERE.parents[2] / "models")
    return [folder for folder in candidates if os.path.isdir(folder)]  # which is false, too, for a name that no disk takes


def check_folder() -> None:
    """Refuse a folder of models that was named and is none: others would be used in its place (ModelError)."""
    named = os.environ.get(_VARIABLE)
    if named and not (os.path.isdir(named) and os.access(named, os.R_OK | os.X_OK)):
        raise ModelError(f"{_VARIABLE} is {named[:120]!a}, which is no folder that can be read; correct it, or unset it.")


def find_model(name: str) -> Model:
    """The model called ``name``.

    Raises:
        ModelError: there is none, its card is damaged, or the folder that was named is none.
    """
    check_folder()
    for folder in model_folders():
        if os.path.isfile(folder / name / WEIGHTS):
            return _read_card(name, folder / name)
    raise ModelError(f"The model {name} is not installed; install the package again, train it, or set SUPERRES3D_MODELS to the folder that holds it.")


def has_model(name: str) -> bool:
    """Whether there is a model called ``name``."""
    return any(os.path.isfile(folder / name / WEIGHTS) for folder in model_folders())


def _read_card(name: str, folder: Path) -> Model:
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        card["sha256"], card["network"], card["multiply_accumulates_per_pixel"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"The card of the model {name} cannot be used ({type(error).__name__}: {error}); install the model again.") from None
    return Model(name, folder, card)


def verified_weights(model: Model) -> bytes:
    """The bytes of ``weights.safetensors``.

    Raises:
        ModelError: unreadable, or its SHA-256 is not the card's.
    """
    return _verified(model.folder / WEIGHTS, model.sha256, "weights", model.content)


def load_ranges(model: Model) -> dict[str, Ranges]:
    """By convolution what is rounded to 8 bits; nothing of a model that is not made for them.

    Raises:
        ModelError: unreadable, not those that the card names, or no ranges.
    """
    wanted = model.card.get(CARD_KEY)
    if not wanted:
        return {}
    from safetensors.numpy import load

    content = _verified(model.folder / RANGES, wanted, "8-bit ranges")
    try:
        ranges = ranges_of(load(content))
    except Exception as error:  # safetensors' own kind has no stable name
        raise ModelError(f"The 8-bit ranges of the model {model.name} cannot be read ({error}); install the model again.") from None
    if not all(one.channels.ndim == 1 and np.isfinite(one.channels).all() and (one.channels > 0).all() for one in ranges.values()):
        raise ModelError(f"The 8-bit ranges of the model {model.name} are no numbers above 0; install the model again.")
    return ranges


def _verified(path: Path, sha256: str, what: str, content: bytes = b"") -> bytes:
    """The bytes of a file, or those that are in memory, if they are what the card says."""
    try:
        content = content or path.read_bytes()
    except OSError as error:
        raise ModelError(f"The {what} {path} cannot be read ({error.strerror}); install the model again.") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"The {what} {path} are not those of their card (SHA-256 differs): damaged or swapped; install the model again.")
    return content


def architecture_of(model: Model, factors: tuple[int, ...] | None = None) -> Architecture:
    """The network that the card describes (ModelError if it describes none).

    Args:
        model: found.
        factors: along (slices, rows, columns), the task of a network that has several.
    """
    kind = model.network.get("family", model.network.get("form"))
    if isinstance(kind, str) and kind not in FAMILIES:
        raise ModelError(f"The model {model.name} is a network of the kind {kind!r}, which this version does not know; update SuperResolution3D, or choose another method.")
    try:
        return Architecture.from_card(model.network, factors)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The card of the model {model.name} cannot be used ({type(error).__name__}: {error}); install the model again.") from None


def tasks_of(model: Model) -> tuple[tuple[int, int, int], ...]:
    """What a network that refines was trained for: factors along (slices, rows, columns).

    Raises:
        ModelError: the card does not tell.
    """
    try:
        tasks = tuple((int(slices), int(rows), int(columns)) for slices, rows, columns in model.network["tasks"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"The card of the model {model.name} cannot be used (tasks: {type(error).__name__}: {error}); install the model again.") from None
    return tasks


def check_kind(model: Model, axes: int) -> None:
    """ModelError if the card describes a network for slices where one for volumes (3 axes) is wanted, or the other way round."""
    if ("family" if axes == 2 else "form") in model.network:
        raise ModelError(f"The card of the model {model.name} cannot be used (no network for {'slices' if axes == 2 else 'volumes'}); install the model again.")


def load_tensors(model: Model, architecture: Architecture) -> dict[str, np.ndarray]:
    """The trained tensors of an architecture by name (shapes: its survey's), float32, without torch; of a network with several tasks, those of one.

    Raises:
        ModelError: see :func:`verified_weights`, or not a safetensors file, or tensors that do not fit the network.
    """
    from safetensors.numpy import load

    content = verified_weights(model)
    try:
        tensors = unpacked(load(content))
    except Exception as error:  # safetensors' own kind has no stable name
        raise ModelError(f"The weights of the model {model.name} cannot be read ({error}); install the model again.") from None
    wanted = architecture.survey.shapes
    if model.conditions:
        tensors = _told(model, tensors)
    if architecture.family.tasks:
        tensors = {name: tensor for name, tensor in tensors.items() if name in wanted}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != wanted:
        wrong = sorted(set(found.items()) ^ set(wanted.items()))[0][0]
        raise ModelError(f"The weights of the model {model.name} do not fit its network ({wrong}); install the model again.")
    return tensors


def _told(model: Model, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the plain network (ModelError if it cannot be told what it is told)."""
    try:
        return folded(tensors, model.conditions)
    except (KeyError, ValueError) as error:
        raise ModelError(f"The weights of the model {model.name} do not fit what it is told ({type(error).__name__}: {error}); install the model again.") from None


def load_network(model: Model, factors: tuple[int, ...] | None = None) -> BlueprintNet:
    """The trained network as a PyTorch module, float32, in evaluation mode, on the CPU.

    Args:
        model: found.
        factors: as :func:`architecture_of` takes them.

    Raises:
        ModelError: as :func:`load_tensors`.
    """
    import torch

    from .module import BlueprintNet

    architecture = architecture_of(model, factors)
    net = BlueprintNet(architecture)
    net.load_tensors({name: torch.from_numpy(tensor) for name, tensor in load_tensors(model, architecture).items()})
    return net.eval()


def is_plain_name(name: str) -> bool:
    """Whether a name can be a folder's: letters, digits, dots, hyphens and underscores, and no way out of the folder that it is in."""
    return bool(_PLAIN.fullmatch(name))


def in_memory(net: BlueprintNet, model: Model, name: str) -> Model:
    """A model called ``name`` with the weights of ``net``, which went on from those of ``model``; nothing is written."""
    from safetensors.torch import save

    content = save({key: tensor.cpu().contiguous() for key, tensor in net.stored_tensors().items()})
    card = {**model.card, CARD_KEY: None, "name": name, "sha256": hashlib.sha256(content).hexdigest(), "start": model.sha256}
    return Model(name, model.folder, card, content=content)


def save_model(net: BlueprintNet, name: str, folder: Path, card: dict[str, Any]) -> Model:
    """Write ``folder/name`` with the weights of ``net`` and ``card`` completed by hash and network size.

    Raises:
        InputError: the name is no plain one.
        OSError, ResourceError: it cannot be written.
    """
    from safetensors.torch import save

    if not is_plain_name(name):
        raise InputError(f"A model cannot be called {name!r}; use letters, digits, dots, hyphens and underscores.")
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)  # weights and card come to their places together
    content = save({key: tensor.contiguous() for key, tensor in net.stored_tensors().items()})
    card = {
        "name": name,
        **card,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
        "multiply_accumulates_per_pixel": net.architecture.multiply_accumulates,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    with Staging() as staging:
        staging.path(target / WEIGHTS).write_bytes(content)
        staging.path(target / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        staging.commit()
    return Model(name, target, card)
