"""How a scan lost its detail along an axis, estimated from its power spectrum.

The estimator is a few small perceptrons, each of which has learnt on scans that lost their detail in known ways and has not seen a quarter of the
training subjects; their median is the estimate.  Weights: ``models/detail-<modality>``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..networks.weights import Model, find_model, verified_weights

#: where the transfer function is told, as shares of the scan's Nyquist frequency
FREQUENCIES = (0.3, 0.55, 0.8, 0.95)
_FARTHEST = 5.0  # standard deviations from the mean of what the estimator has met
_HIGHEST_TRANSFER = 1.1


@dataclass(frozen=True)
class AxisDetail:
    """What is left of a scan's detail along one axis.

    Attributes:
        transfer: share of the detail of a finer scan that is left at :data:`FREQUENCIES`, 0 to 1.1.
        extent: share of the frequencies up to the Nyquist frequency that was measured; the others are empty (zero-filling, interpolation).
        noise: standard deviation, over the modality's unit of noise.
        unsure: how far the transfer is likely to be off, as the estimator tells.
        apart: how far its members differ from their median.
        far: how far the spectrum lies from those that they have met: 1 is the edge of them.
    """

    transfer: tuple[float, ...]
    extent: float
    noise: float
    unsure: float
    apart: float
    far: float


def estimate(spectra: np.ndarray, modality: str, stage: str) -> AxisDetail:
    """From the spectrum along an axis.

    Args:
        spectra: that spectrum, and that of the axis to compare it with, one after the other; see :func:`superres3d.detail.spectrum.spectrum_along`.
        modality: "CT" or "MR".
        stage: "plane" for an axis within the slices, beside the other one; "depth" for that across them, beside the mean of both.

    Raises:
        ModelError: the estimator is missing or damaged.
    """
    tensors = _tensors(find_model(f"detail-{modality.lower()}"))
    try:
        part = {name.removeprefix(f"{stage}."): tensor for name, tensor in tensors.items() if name.startswith(f"{stage}.")}
        distance = (spectra - part["mean"]) / part["std"]
        told = np.stack([_perceptron(part, number, distance.clip(-_FARTHEST, _FARTHEST)) for number in range(_count(part))])
    except (KeyError, ValueError) as error:
        raise ModelError(f"The estimator of the detail in {modality} cannot be used ({type(error).__name__}: {error}); install the package again.") from None
    # The middle of the members: one that has seen nothing like this scan may be far off, and says so.
    middle = np.median(told, axis=0)
    transfer, noise, extent = np.split(middle[:6], (4, 5))
    return AxisDetail(
        tuple(float(value) for value in transfer.clip(0.0, _HIGHEST_TRANSFER)), float(extent[0].clip(0.0, 1.0)), float(10 ** noise[0]),
        float(np.exp(middle[6:10]).mean()), float(np.median(np.abs(told[:, :4] - middle[:4]), axis=0).mean()), float(np.quantile(np.abs(distance), 0.9) / _FARTHEST),
    )  # fmt: skip


def _tensors(model: Model) -> Mapping[str, np.ndarray]:
    from safetensors.numpy import load

    return load(verified_weights(model))


def _count(part: Mapping[str, np.ndarray]) -> int:
    return len({name.split(".")[0] for name in part if name[0].isdigit()})


def _perceptron(part: Mapping[str, np.ndarray], number: int, values: np.ndarray) -> np.ndarray:
    """(12,): transfer at four frequencies, logarithm of the noise, extent; then logarithms of their errors."""
    for layer in range(3):
        values = part[f"{number}.{layer}.weight"] @ values + part[f"{number}.{layer}.bias"]
        if layer < 2:
            values = values / (1.0 + np.exp(-values))  # SiLU
    return values
