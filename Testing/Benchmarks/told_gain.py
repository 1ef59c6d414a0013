#!/usr/bin/env python
"""What it is worth to tell a network how a scan lost its detail.

    python Testing/Benchmarks/told_gain.py TOLD SCANS split.csv --modality MR --scale 2

In-plane, on validation subjects, one pass (no turned copies): gain over Lanczos in dB of the default's plane network, of the told network
(``told-mr-plane-x2.safetensors`` in TOLD) that is told nothing, and of the same that is told the transfer function and the noise as they were; and what
became of the noise (standard deviation of the difference from the result without noise, over that of the noise in the scan).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from acquisitions import WAYS, _along
from safetensors.torch import load_file
from superres3d import read_volume
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import BASELINE, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.networks.module import BlueprintNet
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.volume import find_slice_axis
from superres3d.upscaling import upscale

sys.path.insert(0, str(Path(__file__).parent / "gpu"))

from samples import FREQUENCIES
from told import LOSSES, SIZES, Told, conditions_of, told_vector


def transfer(matrix: np.ndarray, factor: int) -> np.ndarray:
    """What the middle row of a matrix (coarse, fine) leaves of waves of the told frequencies."""
    waves = np.exp(1j * np.array(FREQUENCIES)[:, None] * np.pi / factor * np.arange(matrix.shape[1]))
    return np.abs(waves @ matrix[len(matrix) // 2])


def vector(modality: str, way, factor: int, length: int, sigma: float, keep: bool, known: bool) -> torch.Tensor:
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
        volume = read_volume(subject.path)
        axis = find_slice_axis(volume.spacing)
        factors = TASKS["in-plane"].factors(scale, axis)
        truth = central_crop(volume, axis, slices, factors)
        reference = make_reference(truth.voxels, modality, axis)
        geometry = TASKS["in-plane"].low_resolution(truth, factors, axis)
        span = intensity_scale(truth.voxels, modality).span
        for name, way in WAYS.items():
            clean = _along(truth.voxels.astype(np.float32), factors, way.matrix)
            white = np.float32(noise * reference.data_range) * np.random.default_rng(0).standard_normal(clean.shape, dtype=np.float32)
            coarse = clean + _along(white, factors, way.noise) if noise else clean
            coarse = np.abs(coarse) if way.weights and modality == "MR" else coarse
            low = replace(geometry, voxels=coarse)
            sigma = noise * reference.data_range / span
            results = [upscale(low, scale, axes="in-plane", method=by, modality=modality, preset="fast", slice_axis="kji"[axis]).volume.voxels for by in (BASELINE, "two-stage-residual")]
            length = min(n for n, f in zip(truth.voxels.shape, factors) if f > 1) // scale * scale
            for keep, known in ((False, False), (False, True), (True, True)):
                results.append(refine(network, vector(modality, way, scale, length, sigma, keep, known), coarse, axis, modality))
            psnr = [measure(reference, np.ascontiguousarray(result))["psnr"] for result in results]
            rows[name].append([value - psnr[0] for value in psnr[1:]])
    print(f"\n{modality}, in-plane {scale}x, noise {noise:.1%}\n\n| detail lost by | default | told nothing | told | told, noise kept | smallest of told |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, gains in rows.items():
        mean = np.mean(gains, axis=0)
        print(f"| {name} | " + " | ".join(f"{value:+.2f}" for value in mean) + f" | {np.min(gains, axis=0)[2]:+.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
