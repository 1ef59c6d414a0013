#!/usr/bin/env python
"""How much a method gains when a scan lost its detail in another way than antialiased bicubic.

    python Testing/Benchmarks/acquisitions.py SCANS split.csv --subset val --axes in-plane

No scanner averages with a cubic kernel.  Here the truth is reduced by means over the larger pixels, by Gaussian profiles (FWHM in larger pixels), and by truncation of
k-space: whole, with an outer part that was not measured and is zero-filled, and filtered.  The gain is over Lanczos on the same scan,
in PSNR and SSIM as ``superres3d evaluate`` measures them, mean over subjects with the smallest and the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from superres3d.degradation import antialiased_bicubic_matrix, cosine_matrices, interval_means, kspace_filter, slice_profile_matrix
from superres3d.errors import SuperResolutionError
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import BASELINE, Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import PUBLISHED_TASKS, TASKS
from superres3d.upscaling import upscale
from superres3d.volume import find_slice_axis, read_volume

_SIGMA = 1 / (8 * np.log(2)) ** 0.5  # of a Gaussian, over its full width at half maximum


def _kspace(extent: float, pedestal: float) -> Callable[[int, int], np.ndarray]:
    def matrix(length: int, factor: int) -> np.ndarray:
        synthesis, analysis = cosine_matrices(length, factor)
        return synthesis * kspace_filter(len(synthesis), extent, pedestal) @ analysis

    return matrix


# Name -> the matrix (length // factor, length) that shortens a line.
WAYS: dict[str, Callable[[int, int], np.ndarray]] = {
    "antialiased bicubic": antialiased_bicubic_matrix,
    "means": lambda length, factor: interval_means(length, length // factor),
    "Gaussian, FWHM 0.6": lambda length, factor: slice_profile_matrix(length, factor, 0.6 * _SIGMA * factor),
    "Gaussian, FWHM 1": lambda length, factor: slice_profile_matrix(length, factor, _SIGMA * factor),
    "Gaussian, FWHM 1.4": lambda length, factor: slice_profile_matrix(length, factor, 1.4 * _SIGMA * factor),
    "k-space, whole": _kspace(1.0, 1.0),
    "k-space, 80 % and zeros": _kspace(0.8, 1.0),
    "k-space, 65 % and zeros": _kspace(0.65, 1.0),
    "k-space, Hamming": _kspace(1.0, 0.54),
    "k-space, 65 %, Hamming": _kspace(0.65, 0.54),
}


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "test",
    axes: Annotated[str, typer.Option(help="in-plane or 3-D")] = PUBLISHED_TASKS[0],
    method: Annotated[str, typer.Option()] = "two-stage-residual",
    slices: Annotated[int, typer.Option(help="Central slices of each scan.")] = 16,
    preset: Annotated[str, typer.Option()] = "fast",
    modality: Annotated[str, typer.Option(help="CT or MR; both if not given.")] = "",
) -> None:
    """Print a table for each modality and factor."""
    try:
        subjects = [subject for subject in read_subjects(data, split, subset) if modality in ("", subject.modality)]
        for kind in sorted({subject.modality for subject in subjects}):
            for scale in TASKS[axes].scales:
                _table([subject for subject in subjects if subject.modality == kind], scale, axes, method, slices, preset)
    except SuperResolutionError as error:
        raise SystemExit(f"Error: {error}") from None


def _table(subjects: list[Subject], scale: int, axes: str, method: str, slices: int, preset: str) -> None:
    gains: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    for subject in subjects:
        volume = read_volume(subject.path)
        axis = find_slice_axis(volume.spacing)
        factors = TASKS[axes].factors(scale, axis)
        truth = central_crop(volume, axis, slices, factors)
        reference = make_reference(truth.voxels, subject.modality, axis)
        geometry = TASKS[axes].low_resolution(truth, factors, axis)
        for way, matrix in WAYS.items():
            low = replace(geometry, voxels=_reduced(truth.voxels, factors, matrix))
            values = [_measured(reference, upscale(low, scale, axes=TASKS[axes].axes, method=name, modality=subject.modality, preset=preset, slice_axis="kji"[axis]).volume.voxels) for name in (BASELINE, method)]
            gains[way].append(values[1] - values[0])
    print(f"\n{subjects[0].modality} ({len(subjects)}), {axes} {scale}x, {method}\n\n| detail lost by | PSNR over Lanczos, dB | smallest, largest | SSIM |\n| --- | ---: | ---: | ---: |")
    for way, rows in gains.items():
        psnr, ssim = np.array(rows).T
        print(f"| {way} | {psnr.mean():+.2f} | {psnr.min():+.2f}, {psnr.max():+.2f} | {ssim.mean():+.4f} |", flush=True)


def _reduced(voxels: np.ndarray, factors: tuple[int, int, int], matrix: Callable[[int, int], np.ndarray]) -> np.ndarray:
    result = voxels.astype(np.float32)
    for axis, factor in enumerate(factors):
        if factor > 1:
            result = np.moveaxis(np.tensordot(matrix(result.shape[axis], factor).astype(np.float32), result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def _measured(reference, voxels: np.ndarray) -> np.ndarray:
    values = measure(reference, voxels)
    return np.array([values["psnr"], values["ssim"]])


if __name__ == "__main__":
    typer.run(main)
