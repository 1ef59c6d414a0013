"""The small network that tells the error to expect from the traces that errors leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import ModelError
from ..networks.weights import find_model, verified_weights
from .traces import NAMES, Trace

MODEL = "error-map"
#: after :data:`superres3d.trust.traces.NAMES`, the same for all voxels: the largest factor is 4, one axis is refined, three are, there are turned copies, there is a spread
TOLD = ("fourfold", "one axis", "three axes", "turned copies", "spread known")
_FARTHEST = np.float32(4.0)  # standard deviations from the mean of what it has met


@dataclass(frozen=True)
class Head:
    """A perceptron of one hidden layer.

    Attributes:
        mean, deviation: of the inputs, :data:`superres3d.trust.traces.NAMES` and then :data:`TOLD`.
        hidden, hidden_bias: (units, inputs) and (units,); a negative sum counts as zero.
        output, output_bias: (units,) and a number.
        ensemble: whether the networks had turned copies.
    """

    mean: np.ndarray
    deviation: np.ndarray
    hidden: np.ndarray
    hidden_bias: np.ndarray
    output: np.ndarray
    output_bias: float
    ensemble: bool

    def expected(self, trace: Trace, factors: tuple[float, ...]) -> np.ndarray:
        """The error to expect in some rows of cells, float32; where there is nothing to see, none.

        Args:
            trace: what there is to see.
            factors: from the scan's grid to the result's, along (k, j, i).
        """
        refined = sum(factor > 1 for factor in factors)
        told = np.array([min(max(np.log2(max(factors)) - 1, 0), 1), refined == 1, refined == 3, self.ensemble, "spread" in trace.logarithms], np.float32)
        known = [number for number, name in enumerate(NAMES) if name in trace.logarithms]
        weights = self.hidden[:, known] / self.deviation[known]
        bias = self.hidden_bias + self.hidden[:, len(NAMES) :] @ ((told - self.mean[len(NAMES) :]) / self.deviation[len(NAMES) :]) - weights @ self.mean[known]
        nearest, farthest = (self.mean[known, None] + side * _FARTHEST * self.deviation[known, None] for side in (-1, 1))
        values = np.stack([trace.logarithms[NAMES[number]].ravel() for number in known])
        units = weights @ np.clip(values, nearest, farthest, out=values)
        units += bias[:, None]
        error = self.output @ np.maximum(units, 0, out=units)
        error += np.float32(self.output_bias)
        error *= np.float32(0.5)
        np.exp(error, out=error)
        error *= np.sqrt(trace.level).ravel()
        return error.reshape(trace.level.shape)


def head_of(modality: str, ensemble: bool) -> Head:
    """The trained network.

    Args:
        modality: "CT" or "MR".
        ensemble: whether the networks had turned copies.

    Raises:
        ModelError: the model is missing or damaged.
    """
    names = ("mean", "deviation", "hidden.weight", "hidden.bias", "output.weight", "output.bias")
    mean, deviation, hidden, hidden_bias, output, output_bias = (tensor_of(f"{modality.lower()}.{name}") for name in names)
    return Head(mean, deviation, hidden, hidden_bias, output, float(output_bias[0]), ensemble)


def tensor_of(name: str) -> np.ndarray:
    """One of the model's (ModelError: it is missing or damaged)."""
    try:
        return _tensors()[name]
    except (KeyError, ValueError) as error:
        raise ModelError(f"The model {MODEL} cannot be used ({type(error).__name__}: {error}); install the package again.") from None


def _tensors() -> Mapping[str, np.ndarray]:
    from safetensors.numpy import load

    return load(verified_weights(find_model(MODEL)))
