"""Are larger networks ahead on this very scan?  Asked one scale coarser, before they run.

Large networks know their training scans well, and may take another kind of scan for what it is not.  So a part of the scan is made coarser in two ways
and refined by the method and by the one that it is an alternative to; it is used where it comes closer to the scan in both.
Thick slices are often too few to be made fewer.  Then the rows take their place: whether a network knows such a scan shows there as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

import numpy as np

from .methods import ENSEMBLES
from .networks.weights import Model
from .resampling.degradation import antialiased_bicubic

Refine = Callable[[np.ndarray, str, int, str], np.ndarray]
_AXES = {"plane": "in-plane", "depth": "through-plane"}
_SLICES, _ROWS, _LEAST = 12, 48, 40  # slices, or rows of all slices, that are looked at; voxels along a refined axis


def smallest_gain(source: np.ndarray, stages: Mapping[str, int], method: str, other: str, refine: Refine) -> float | None:
    """By how many dB a method is ahead of another at least, over its stages and the ways of making the scan coarser; None if the scan is too small, or too empty, to tell.

    Args:
        source: the scan (slices, rows, columns).
        stages: of the method, "plane", "depth", each with its factor.
        method, other: names from the catalogue.
        refine: (coarse voxels float32, axes, factor, method) -> refined voxels.
    """
    gains: list[float] = []
    if any(_looked_at(_ordered(source.shape, *stage), *stage) is None for stage in stages.items()):
        return None  # before any of them is computed
    for stage, factor in stages.items():
        factors = _factors(stage, factor)
        part = _part(np.transpose(source, _order(source.shape, stage, factor)), stage, factor)
        if part.min() == part.max():
            return None
        for coarse in (antialiased_bicubic(part, factors), _means(part, factors)):
            errors = [float(np.mean(np.square(refine(coarse.astype(np.float32), _AXES[stage], factor, name).astype(np.float64) - part))) for name in (method, other)]
            gains.append(10.0 * np.log10(max(errors[1], 1e-12) / max(errors[0], 1e-12)))
    return min(gains, default=None)


def why_left(method: str, other: str, gain: float | None) -> str:
    """One sentence for a user: why the other method was used, by what :func:`smallest_gain` told."""
    if gain is None:
        return f"The scan is too small, or too empty in its middle, to tell whether {method}'s networks are ahead here; {other} was used."
    if gain > -0.05:
        return f"Made coarser once more, this scan came out no better with {method}; {other} was used."
    return f"Made coarser once more, this scan came out {-gain:.1f} dB worse with {method}, so it is not known that its networks are ahead here; {other} was used."


def work_of_asking(shape: Sequence[int], models: Iterable[tuple[str, int, Model]]) -> float:
    """Multiply-accumulates of :func:`smallest_gain` on a scan (slices, rows, columns), for the models of both methods, each with its stage and factor."""
    total = 0.0
    for stage, factor, model in models:
        spans = _looked_at(_ordered(shape, stage, factor), stage, factor)
        if spans is None:
            return 0.0
        voxels = prod((stop - start) // f for (start, stop), f in zip(spans, _factors(stage, factor)))
        total += 2 * voxels * ENSEMBLES["none"][stage] * model.multiply_accumulates
    return total


def _factors(stage: str, factor: int) -> tuple[int, int, int]:
    """Along (slices, rows, columns)."""
    return (1, factor, factor) if stage == "plane" else (factor, 1, 1)


def _order(shape: Sequence[int], stage: str, factor: int) -> tuple[int, int, int]:
    """The axes of a scan as they are looked at: rows first where its slices are too few."""
    return (1, 0, 2) if stage == "depth" and shape[0] // factor * factor < _LEAST else (0, 1, 2)


def _ordered(shape: Sequence[int], stage: str, factor: int) -> list[int]:
    return [shape[axis] for axis in _order(shape, stage, factor)]


def _looked_at(shape: Sequence[int], stage: str, factor: int) -> list[tuple[int, int]] | None:
    """The middle of a scan, (start, stop) along each axis, its sizes multiples of the factors; None if it is too small."""
    factors, (axis, most) = _factors(stage, factor), (0, _SLICES) if stage == "plane" else (1, _ROWS)
    sizes = [min(n, most) if number == axis else n for number, n in enumerate(shape)]
    sizes = [n // f * f for n, f in zip(sizes, factors)]
    if any(n < _LEAST for n, f in zip(sizes, factors) if f > 1):
        return None
    first = [max(0, (n - most) // 2) if number == axis else 0 for number, n in enumerate(shape)]
    return [(start, start + n) for start, n in zip(first, sizes)]


def _part(source: np.ndarray, stage: str, factor: int) -> np.ndarray:
    """What is looked at of a scan that is large enough, float64."""
    return source[tuple(slice(*span) for span in _looked_at(source.shape, stage, factor) or [])].astype(np.float64)


def _means(part: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Of each block of voxels."""
    shape = [size for n, factor in zip(part.shape, factors) for size in (n // factor, factor)]
    return part.reshape(shape).mean(axis=(1, 3, 5))
