#!/usr/bin/env python
"""How much of a scan's own noise no method can bring back: an upper limit of the PSNR in the in-plane task.

    python Testing/Benchmarks/noise_limit.py SCANS split.csv --subset test

White noise of standard deviation s keeps 1 / r^2 of its power in a scan reduced r-fold in-plane; the rest, (1 - 1 / r^2) s^2, is an error that even
a perfect method makes against the noisy truth.  s is estimated from the diagonal Haar coefficients of the foreground (Donoho and Johnstone,
Biometrika 81(3), 1994), which fine texture raises, so the limit is a little too low where there is much of it.  Beside it stands the share of
the power above half of the Nyquist frequency along each axis, in dB below that beneath it: an axis without any has nothing to bring back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from superres3d import read_volume
from superres3d.evaluation.metrics import MR_FOREGROUND, MR_PERCENTILE
from superres3d.evaluation.protocol import central_crop, read_subjects
from superres3d.scan.intensity import CT_RANGE_HU
from superres3d.scan.volume import find_slice_axis

_SLICES = 48
_MAD = 0.6745  # of a normal distribution, median absolute value over standard deviation


def main(data: Path, split: Path, subset: Annotated[str, typer.Option()] = "test") -> None:
    """Print a table."""
    print("| Subject | noise, share of the data range | limit 2x, dB | limit 4x, dB | rows, dB | columns, dB | slices, dB |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for subject in read_subjects(data, split, subset):
        volume = read_volume(subject.path)
        axis = find_slice_axis(volume.spacing)
        slices = np.moveaxis(central_crop(volume, axis, _SLICES, (2, 2, 2)).voxels, axis, 0).astype(np.float64)
        low, high = CT_RANGE_HU if subject.modality == "CT" else (slices.min(), np.percentile(slices, MR_PERCENTILE))
        slices = np.clip((slices - low) / (high - low), 0.0, None)
        noise = _noise(slices)
        limits = " | ".join(f"{-10 * np.log10((1 - 1 / r**2) * noise**2):.1f}" for r in (2, 4))
        bands = " | ".join(f"{_upper_band(slices, line):.1f}" for line in (1, 2, 0))
        print(f"| {subject.name} | {noise:.2%} | {limits} | {bands} |", flush=True)


def _noise(slices: np.ndarray) -> float:
    """Standard deviation, from pixels of the foreground."""
    a, b, c, d = (slices[:, row::2, column::2][:, : slices.shape[1] // 2, : slices.shape[2] // 2] for row in (0, 1) for column in (0, 1))
    foreground = np.minimum.reduce((a, b, c, d)) > MR_FOREGROUND
    return float(np.median(np.abs((a - b - c + d) / 2)[foreground]) / _MAD)


def _upper_band(slices: np.ndarray, line: int) -> float:
    """Power above half of the Nyquist frequency over that below it (without the mean), dB, along an axis."""
    windowed = (slices - slices.mean()) * np.hanning(slices.shape[line]).reshape([-1 if axis == line else 1 for axis in range(3)])
    power = np.abs(np.fft.rfft(windowed, axis=line)) ** 2
    power = power.mean(axis=tuple(axis for axis in range(3) if axis != line))
    half = len(power) // 2
    return float(10 * np.log10(power[half:].sum() / power[1:half].sum()))


if __name__ == "__main__":
    typer.run(main)
