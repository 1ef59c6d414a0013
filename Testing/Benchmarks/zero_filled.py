#!/usr/bin/env python
"""Scans that are stored at twice the matrix that was measured, or less: upscaled as they are stored, and from their measured grid.

    python Testing/Benchmarks/zero_filled.py SCANS split.csv --subset val

The truth is cut to half of its matrix by a Fourier transform, as a scanner's; of that a share was measured, under a window or not, and the rest is zero.  Of MR
the magnitude is taken.  The gain is over Lanczos on the same stored scan, in PSNR as ``superres3d evaluate`` measures it, by subject.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from superres3d import read_volume
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.resampling.regridding import apply_along
from superres3d.scan.volume import Volume, find_slice_axis, triple
from superres3d.upscaling import upscale

_HAMMING, _NONE = 0.54, 1.0
#: name -> (share along the first axis, along the second, a of the window a + (1 - a) cos)
WAYS = {
    "50 %": (0.5, 0.5, _NONE),
    "65 %": (0.65, 0.65, _NONE),
    "80 %": (0.8, 0.8, _NONE),
    "50 % of rows": (0.5, 1.0, _NONE),
    "50 %, Hamming": (0.5, 0.5, _HAMMING),
    "65 %, Hamming": (0.65, 0.65, _HAMMING),
    "50 % of rows, Hamming": (0.5, 1.0, _HAMMING),
}
_WITHIN = 112  # rows and columns of a scan whose slices are refined


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    axes: Annotated[str, typer.Option(help="in-plane or through-plane.")] = "in-plane",
    slices: Annotated[int, typer.Option(help="Central slices of each scan, in-plane.")] = 4,
    preset: Annotated[str, typer.Option()] = "fast",
    noise: Annotated[float, typer.Option(help="Standard deviation of white noise on the stored scan, share of the data range.")] = 0.0,
) -> None:
    """Print a line for each subject and way, then the means."""
    gains: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for subject in read_subjects(data, split, subset):
        for way in WAYS:
            found = _gain(subject, way, axes, slices, preset, noise)
            gains.setdefault((subject.modality, way), []).append(found[:2])
            print(f"{subject.path.name} {way}: as stored {found[0]:+.2f}, usual {found[1]:+.2f} dB; measured grid {found[2]}", flush=True)
    print("\n| modality, stored twice as fine as | as stored, dB | usual, dB |\n| --- | ---: | ---: |")
    for (modality, way), rows in gains.items():
        print(f"| {modality} ({len(rows)}), {way} | {np.mean([row[0] for row in rows]):+.2f} | {np.mean([row[1] for row in rows]):+.2f} |")


def _gain(subject: Subject, way: str, axes: str, slices: int, preset: str, noise: float) -> tuple[float, float, list]:
    """In PSNR over Lanczos: as stored, and as usual; and what was measured."""
    volume = read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    truth = central_crop(volume, axis, slices, TASKS["in-plane"].factors(2, axis)) if axes == "in-plane" else _middle(volume, axis)
    refined = [axis] if axes == "through-plane" else [other for other in range(3) if other != axis]
    reference = make_reference(truth.voxels, subject.modality, axis)
    stored = replace(truth, voxels=stored_as(truth.voxels, refined, WAYS[way], noise * reference.data_range, subject.modality == "MR"))
    stored = replace(stored, spacing=triple(spacing * (2 if 2 - number in refined else 1) for number, spacing in enumerate(truth.spacing)))
    choices = {"axes": axes, "modality": subject.modality, "preset": preset, "slice_axis": "kji"[axis]}
    results = [upscale(stored, 2, method="lanczos", **choices), *(upscale(stored, 2, as_stored=given, **choices) for given in (True, False))]
    lanczos, as_stored, usual = (float(measure(reference, result.volume.voxels)["psnr"]) for result in results)
    return as_stored - lanczos, usual - lanczos, results[2].report["detail"]["measured_grid"]


def _middle(volume: Volume, axis: int) -> Volume:
    """All slices, an even number, of the middle of a scan."""
    cut = []
    for number, count in enumerate(volume.voxels.shape):
        kept = count // 2 * 2 if number == axis else min(_WITHIN, count)
        cut.append(slice((count - kept) // 2, (count - kept) // 2 + kept))
    return replace(volume, voxels=volume.voxels[tuple(cut)])


def stored_as(voxels: np.ndarray, axes: list[int], way: tuple[float, float, float], noise: float, magnitude: bool) -> np.ndarray:
    """A scan as it is stored: half of the truth's matrix along ``axes``, of which a share was measured; arguments after ``way`` as standard deviation and bool."""
    shares, made = way[:2], voxels.astype(np.float32)
    white = np.float32(noise) * np.random.default_rng(0).standard_normal([n // 2 if axis in axes else n for axis, n in enumerate(voxels.shape)], dtype=np.float32)
    for axis, share in zip(axes, shares):
        made = apply_along(made, axis, _stored_matrix(voxels.shape[axis], voxels.shape[axis] // 2, share, way[2]))
        white = apply_along(white, axis, _stored_matrix(white.shape[axis], white.shape[axis], share, way[2])) if noise else white
    made = made + white if noise else made
    return np.abs(made) if magnitude else made


def _stored_matrix(length: int, count: int, share: float, window: float) -> np.ndarray:
    """Matrix (count, length): the Fourier transform of a line, its lowest frequencies weighed, and back at ``count`` places."""
    frequencies = np.fft.fftfreq(count, 1 / count).round()
    place = np.abs(frequencies) / (share * count / 2)
    weights = np.where(place <= 1, window + (1 - window) * np.cos(np.pi * np.minimum(place, 1)), 0.0)
    forth = np.exp(-2j * np.pi * np.outer(frequencies, (np.arange(length) + 0.5) / length)) / length
    back = np.exp(2j * np.pi * np.outer((np.arange(count) + 0.5) / count, frequencies))
    return (back * weights @ forth).real


if __name__ == "__main__":
    typer.run(main)
