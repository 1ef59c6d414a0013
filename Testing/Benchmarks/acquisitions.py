#!/usr/bin/env python
"""How much a method gains when a scan lost its detail in another way than antialiased bicubic.

    python Testing/Benchmarks/acquisitions.py SCANS split.csv --subset val --axes in-plane

No scanner averages with a cubic kernel.  Here the truth is reduced by means over the larger voxels, by Gaussian profiles (FWHM in larger voxels), and by a
cut of the spectrum at the coarse Nyquist frequency: whole, with an outer part that was not measured and is zero-filled, and filtered; of MR the magnitude is taken.
That is truncated k-space; CT is measured otherwise, but a sharp kernel leaves such a spectrum as well.  Noise, where asked for, passes the same filter.  The gain is over Lanczos on
the same scan, in PSNR and SSIM as ``superres3d evaluate`` measures them, mean over subjects with the smallest and the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from superres3d import read_volume
from superres3d.errors import InputError, SuperResolutionError
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import BASELINE, Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS, Task
from superres3d.methods import METHODS, MODALITIES
from superres3d.resampling.degradation import antialiased_bicubic_matrix, cosine_matrices, interval_means, slice_profile_matrix, spectral_window
from superres3d.scan.volume import find_slice_axis
from superres3d.upscaling import upscale

_SIGMA = 1 / (8 * np.log(2)) ** 0.5  # of a Gaussian, over its full width at half maximum
_TASKS = {"in-plane": TASKS["in-plane"], "3-D": TASKS["3-D"], "through-plane": replace(TASKS["3-D"], name="through-plane", axes="through-plane")}


@dataclass(frozen=True)
class Way:
    """To lose detail.

    Attributes:
        matrix: (length, factor) -> the matrix (length // factor, length) that shortens a line.
        weights: of the n frequencies of a coarse line; None for averages, which let noise through as it is.
    """

    matrix: Callable[[int, int], np.ndarray]
    weights: Callable[[int], np.ndarray] | None = None

    def noise(self, count: int, _: int) -> np.ndarray:
        """The matrix (count, count) that noise on a coarse line passes, whatever the factor."""
        if self.weights is None:
            return np.eye(count)
        synthesis, analysis = cosine_matrices(count, 1)
        return synthesis * self.weights(count) @ analysis


def spectral_way(extent: float, window: float) -> Way:
    """A cut of the spectrum, of which a share was measured, under a raised cosine (1: none)."""

    def weights(count: int) -> np.ndarray:
        return spectral_window(count, extent, window)

    def matrix(length: int, factor: int) -> np.ndarray:
        synthesis, analysis = cosine_matrices(length, factor)
        return synthesis * weights(len(synthesis)) @ analysis

    return Way(matrix, weights)


def gaussian_way(width: float) -> Way:
    """A Gaussian profile; its full width at half maximum in coarse voxels."""
    return Way(lambda length, factor: slice_profile_matrix(length, factor, width * _SIGMA * factor))


WAYS = {
    "antialiased bicubic": Way(antialiased_bicubic_matrix),
    "means": Way(lambda length, factor: interval_means(length, length // factor)),
    "Gaussian, FWHM 0.6": gaussian_way(0.6),
    "Gaussian, FWHM 1": gaussian_way(1.0),
    "Gaussian, FWHM 1.4": gaussian_way(1.4),
    "spectrum cut": spectral_way(1.0, 1.0),
    "80 %, zero-filled": spectral_way(0.8, 1.0),
    "65 %, zero-filled": spectral_way(0.65, 1.0),
    "Hamming": spectral_way(1.0, 0.54),
    "65 %, zero-filled, Hamming": spectral_way(0.65, 0.54),
}


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    axes: Annotated[str, typer.Option(help="in-plane, 3-D or through-plane.")] = "in-plane",
    method: Annotated[str, typer.Option()] = "two-stage-residual",
    slices: Annotated[int, typer.Option(help="Central slices of each scan.")] = 48,
    preset: Annotated[str, typer.Option()] = "fast",
    modality: Annotated[str, typer.Option(help="CT or MR; both if not given.")] = "",
    noise: Annotated[float, typer.Option(help="Standard deviation of white noise on the coarse scan, share of the data range.")] = 0.0,
) -> None:
    """Print a table for each modality and factor."""
    try:
        for name, given, known in (("axes", axes, _TASKS), ("modality", modality, ("", *MODALITIES))):
            if given not in known:
                raise InputError(f"The {name} {given!r} are not known; give one of {', '.join(filter(None, known))}.")
        for kind in (modality,) if modality else MODALITIES:
            subjects = [subject for subject in read_subjects(data, split, subset) if subject.modality == kind]
            for scale in _TASKS[axes].scales if subjects and kind in METHODS[method].modalities else ():
                if scale in METHODS[method].scales:
                    _table(subjects, scale, _TASKS[axes], method, slices, preset, noise)
    except SuperResolutionError as error:
        raise SystemExit(f"Error: {error}") from None


def _table(subjects: list[Subject], scale: int, task: Task, method: str, slices: int, preset: str, noise: float) -> None:
    gains: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for subject in subjects:
        for name, gain in _gains(subject, scale, task, method, slices, preset, noise):
            gains[name].append(gain)
    print(f"\n{subjects[0].modality} ({len(subjects)}), {task.name} {scale}x, {method}, noise {noise:.1%}\n\n| detail lost by | PSNR over Lanczos, dB | smallest, largest | SSIM |\n| --- | ---: | ---: | ---: |")
    for name, rows in gains.items():
        psnr, ssim = np.array(rows).T
        print(f"| {name} | {psnr.mean():+.2f} | {psnr.min():+.2f}, {psnr.max():+.2f} | {ssim.mean():+.4f} |", flush=True)


def _gains(subject: Subject, scale: int, task: Task, method: str, slices: int, preset: str, noise: float) -> Iterator[tuple[str, list[float]]]:
    """Name of a way, and the gain in PSNR and SSIM over Lanczos."""
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = task.factors(scale, axis)
    truth = central_crop(volume, axis, slices, factors)
    reference = make_reference(truth.voxels, subject.modality, axis)
    geometry = task.low_resolution(truth, factors, axis)
    for name, way in WAYS.items():
        low = replace(geometry, voxels=coarsened(truth.voxels, factors, way, noise * reference.data_range, subject.modality == "MR"))
        values = [measure(reference, upscale(low, scale, axes=task.axes, method=by, modality=subject.modality, preset=preset, slice_axis="kji"[axis]).volume.voxels) for by in (BASELINE, method)]
        yield name, [values[1][metric] - values[0][metric] for metric in ("psnr", "ssim")]


def coarsened(voxels: np.ndarray, factors: tuple[int, int, int], way: Way, noise: float, magnitude: bool) -> np.ndarray:
    """A truth (k, j, i) that has lost its detail.

    Args:
        voxels: the truth.
        factors: along (k, j, i).
        way: how it is lost.
        noise: standard deviation of white noise, which passes the same filter; always the same noise.
        magnitude: take the magnitude where the spectrum was cut.
    """
    coarse = _along(voxels.astype(np.float32), factors, way.matrix)
    if noise:
        white = np.float32(noise) * np.random.default_rng(0).standard_normal(coarse.shape, dtype=np.float32)
        coarse = coarse + _along(white, factors, way.noise)
    return np.abs(coarse) if way.weights and magnitude else coarse


def _along(voxels: np.ndarray, factors: tuple[int, int, int], matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """The matrix for (length, factor) applied along each axis that is refined."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            voxels = np.moveaxis(np.tensordot(matrix(voxels.shape[axis], factor).astype(np.float32), voxels, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(voxels)


if __name__ == "__main__":
    typer.run(main)
