"""Networks that are told how a scan lost its detail.

What they are told modulates their residual blocks: inner channels are shifted before the ReLU and scaled after it
(FiLM: Perez, Strub, de Vries, Dumoulin, Courville. AAAI 2018).  For one scan it is constant, so that it folds into the
convolutions: a told network has the layers, and the arithmetic, of one that is told nothing.  A network may also have variants of its
convolutions, of which it adds as much as it is told to (CondConv: Yang, Bender, Le, Ngiam. NeurIPS 2019); they fold in the same way.

A file of weights holds the plain network's tensors under ``net.``, those of the modulation, two linear layers with a
ReLU between them, under ``modulation.``, the variants (number, ...) of each of its tensors under ``variants.``, and a
linear layer after the same ReLU that gives their shares (number, convolutions) under ``mixing.``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NETWORK, MODULATION, MIXING, VARIANTS = "net.", "modulation.", "mixing.", "variants."
_FREQUENCIES = 4  # where the transfer function is told


def told_of(
    transfers: Sequence[Sequence[float]], known: bool, clear: bool, noise: float, keep_noise: bool, coarse: bool | None, *others: Sequence[float]
) -> tuple[float, ...]:
    """What a network is told, in the order in which it learnt it.

    Args:
        transfers: along each axis that it refines, what is left of the detail at four frequencies.
        known: they are told.
        clear: what they show is to be undone; else it only tells one mild loss from another.
        noise: standard deviation, in the modality's unit.
        keep_noise: it is to stay.
        coarse: whether the slices are still to be refined themselves; None for a network within the slices.
        others: further numbers, each a value an axis.
    """
    middle = (noise, float(keep_noise), float(clear), *(() if coarse is None else (float(coarse),)))
    return (*(known * (value - 0.5) for transfer in transfers for value in transfer), *middle, *(value for values in others for value in values))


def crossed(conditions: tuple[float, ...]) -> tuple[float, ...]:
    """What a network within the slices is told of a slice whose rows and columns are exchanged."""
    both = 2 * _FREQUENCIES
    transfers, middle, others = conditions[:both], conditions[both : both + 3], conditions[both + 3 :]
    exchanged = [value for first, second in zip(others[::2], others[1::2]) for value in (second, first)]
    return (*transfers[_FREQUENCIES:], *transfers[:_FREQUENCIES], *middle, *exchanged)


def folded(tensors: Mapping[str, np.ndarray], conditions: Sequence[float]) -> dict[str, np.ndarray]:
    """The tensors of the plain network that does for one scan what the told one does.

    Args:
        tensors: of a told network, as its file holds them.
        conditions: what it is told, as many numbers as its first linear layer takes.

    Raises:
        KeyError, ValueError: tensors of another kind of network, or another number of conditions.
    """
    hidden = _hidden(tensors, np.asarray(conditions, np.float32))
    shifts, scales = _modulation(tensors, hidden)
    plain = _mixed(tensors, hidden)
    for number, (shift, scale) in enumerate(zip(shifts, scales)):
        inner, outer = f"blocks.{number}.0.bias", f"blocks.{number}.1.weight"
        plain[inner] = plain[inner] + shift
        plain[outer] = plain[outer] * (1.0 + scale)[None, :, None, None]
    return plain


def _hidden(tensors: Mapping[str, np.ndarray], conditions: np.ndarray) -> np.ndarray:
    return np.maximum(_linear(tensors, f"{MODULATION}0.", conditions), 0.0)


def _linear(tensors: Mapping[str, np.ndarray], layer: str, values: np.ndarray) -> np.ndarray:
    return tensors[f"{layer}weight"] @ values + tensors[f"{layer}bias"]


def _modulation(tensors: Mapping[str, np.ndarray], hidden: np.ndarray) -> np.ndarray:
    """(shift or scale, blocks, channels)."""
    channels = tensors[f"{NETWORK}blocks.0.0.bias"].size
    return _linear(tensors, f"{MODULATION}2.", hidden).reshape(2, -1, channels)


def _mixed(tensors: Mapping[str, np.ndarray], hidden: np.ndarray) -> dict[str, np.ndarray]:
    """The plain network's tensors, with their shares of the variants where there are any."""
    plain = {name.removeprefix(NETWORK): tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
    if f"{MIXING}weight" not in tensors:
        return plain
    layers = layers_of(plain)
    shares = _linear(tensors, MIXING, hidden).reshape(-1, len(layers))
    for number, layer in enumerate(layers):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            plain[name] = plain[name] + np.tensordot(shares[:, number], tensors[f"{VARIANTS}{name}"].astype(np.float32), 1)
    return plain


def layers_of(plain: Mapping[str, np.ndarray]) -> list[str]:
    """The convolutions in the order in which they run, which is that of their shares."""
    blocks = sum(name.startswith("blocks.") and name.endswith(".0.bias") for name in plain)
    return ["head", *(f"blocks.{block}.{half}" for block in range(blocks) for half in (0, 1)), "tail"]
