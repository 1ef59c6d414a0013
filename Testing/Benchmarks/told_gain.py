#!/usr/bin/env python
"""What it is worth to tell a network how a scan lost its detail.

    python Testing/Benchmarks/told_gain.py TOLD SCANS split.csv --modality MR --scale 2

In-plane, on validation subjects, one pass (no turned copies): gain over Lanczos in dB of the default's plane network, of the told network
(``told-mr-plane-x2.safetensors`` in TOLD) that is told nothing, and of the same that is told the transfer function and the noise as they were; and what
became of the noise (standard deviation of the difference from the result without noise, over that of the noise in the scan).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from acquisitions import WAYS, Way, coarsened
from safetensors.torch import load_file
from superres3d import read_volume
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import BASELINE, Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.networks.module import BlueprintNet
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.volume import find_slice_axis
from superres3d.upscaling import upscale

sys.path.insert(0, str(Path(__file__).parent / "gpu"))

from samples import FREQUENCIES
from told import LOSSES, SIZES, Told, conditions_of, told_vector

_TOLD = ((False, False), (False, True), (True, True))  # whether noise is to be kept, and whether anything is told


def transfer(matrix: np.ndarray, factor: int) -> np.ndarray:
    """What the middle row of a matrix (coarse, fine) leaves of waves of the told frequencies."""
    waves = np.exp(1j * np.array(FREQUENCIES)[:, None] * np.pi / factor * np.arange(matrix.shape[1]))
    return np.abs(waves @ matrix[len(matrix) // 2])


def vector(modality: str, way: Way, factor: int, length: int, sigma: float, keep: bool, known: bool) -> torch.Tensor:
    """As the network is told it."""
    along = torch.tensor(transfer(way.matrix(length, factor), factor), dtype=torch.float32)
    one = torch.ones(1)
    return told_vector(torch.stack([along, along])[None], sigma * one, keep * one, known * one, None, LOSSES[modality].noise)[0]


def refine(network: Told, told: torch.Tensor, voxels: np.ndarray, axis: int, modality: str) -> np.ndarray:
    """Slices of a scan (k, j, i) by the network for what it is told."""
    plain = BlueprintNet(network.net.architecture)
    plain.load_tensors(network.folded(told))
    scale = intensity_scale(voxels, modality)
    images = np.moveaxis(scale.split(scale.normalise(voxels))[0], axis, 0)
    with torch.inference_mode():
        refined = torch.cat([plain(torch.from_numpy(image.copy())[None, None]) for image in images])[:, 0].numpy()
    return np.moveaxis(scale.restore(refined), 0, axis)


def gains_of(subject: Subject, network: Told, scale: int, slices: int, noise: float) -> Iterator[tuple[str, list[float]]]:
    """Name of a way to lose detail, and gains over Lanczos in dB: of the default, and of the told network told nothing, all, and all with its noise kept."""
    modality, volume = subject.modality, read_volume(subject.path)
    axis = find_slice_axis(volume.spacing)
    factors = TASKS["in-plane"].factors(scale, axis)
    truth = central_crop(volume, axis, slices, factors)
    reference = make_reference(truth.voxels, modality, axis)
    geometry = TASKS["in-plane"].low_resolution(truth, factors, axis)
    sigma = noise * reference.data_range / intensity_scale(truth.voxels, modality).span
    length = min(n for n, f in zip(truth.voxels.shape, factors) if f > 1) // scale * scale
    for name, way in WAYS.items():
        low = replace(geometry, voxels=coarsened(truth.voxels, factors, way, noise * reference.data_range, modality == "MR"))
        results = [upscale(low, scale, axes="in-plane", method=by, modality=modality, preset="fast", slice_axis="kji"[axis]).volume.voxels for by in (BASELINE, "two-stage-residual")]
        vectors = [vector(modality, way, scale, length, sigma, keep, known) for keep, known in _TOLD]
        results += [refine(network, told, low.voxels, axis, modality) for told in vectors]
        psnr = [measure(reference, np.ascontiguousarray(result))["psnr"] for result in results]
        yield name, [value - psnr[0] for value in psnr[1:]]


def main(
    told: Path, data: Path, split: Path, modality: str = "MR", scale: int = 2, subset: str = "val", slices: Annotated[int, typer.Option()] = 8,
    noise: Annotated[float, typer.Option(help="Standard deviation of white noise on the coarse scan, share of the data range.")] = 0.0,
) -> None:  # fmt: skip
    """Print a table."""
    filters, blocks = SIZES["plane", scale]
    network = Told((scale, scale), filters, blocks, conditions_of("plane"))
    network.load_tensors(load_file(told / f"told-{modality.lower()}-plane-x{scale}.safetensors"))
    network.eval()
    rows: dict[str, list[list[float]]] = {name: [] for name in WAYS}
    for subject in [subject for subject in read_subjects(data, split, subset) if subject.modality == modality]:
        for name, found in gains_of(subject, network, scale, slices, noise):
            rows[name].append(found)
    print(f"\n{modality}, in-plane {scale}x, noise {noise:.1%}\n\n| detail lost by | default | told nothing | told | told, noise kept | smallest of told |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, gains in rows.items():
        mean = np.mean(gains, axis=0)
        print(f"| {name} | " + " | ".join(f"{value:+.2f}" for value in mean) + f" | {np.min(gains, axis=0)[2]:+.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
