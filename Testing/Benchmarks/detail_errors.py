#!/usr/bin/env python
"""How far the measured detail of a scan is off: against losses that are made here, and beside what the catalogue says of each scan.

    python Testing/Benchmarks/detail_errors.py SCANS split.csv catalogue.csv --subset val

Losses along one axis, as ``told/simulate.py`` does not make them: the spectrum cut by a Fourier transform with and without a Hamming window, and a Gaussian profile
over the slices.  The catalogue's column ``native`` is in words, and so is printed beside what ``superres3d info`` measures.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import ndimage
from superres3d import read_volume
from superres3d.detail.acquisition import noise_kind, profile_width
from superres3d.detail.measured_grid import detail_with_ends
from superres3d.detail.words import resolutions
from superres3d.evaluation.protocol import read_subjects
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.volume import find_slice_axis

_SHARES, _WIDTHS = (0.5, 0.65, 0.8), (1.0, 1.5, 2.0)
_NAMES = ("across", "rows", "columns")
_LEAST = 64  # voxels along an axis whose spectrum is cut
_CUT = 0.93  # extent below which an end is told


def main(
    data: Path, split: Path, catalogue: Path,
    subset: Annotated[str, typer.Option()] = "val",
    simulate: Annotated[bool, typer.Option(help="Also make losses; else only the scans as they are.")] = True,
) -> None:  # fmt: skip
    """Print what was measured of each scan, then the errors."""
    native = {row["id"]: row["native"] for row in csv.DictReader(catalogue.open(encoding="utf-8"))}
    errors: dict[tuple[str, str], list[float | None]] = {}
    print("| scan | stored, mm | measured, mm | catalogue |\n| --- | --- | --- | --- |")
    for subject in read_subjects(data, split, subset):
        volume = read_volume(subject.path)
        axis = find_slice_axis(volume.spacing)
        slices = np.moveaxis(volume.voxels, axis, 0)
        found = resolutions(detail_with_ends(slices, subject.modality), volume.spacing, axis)
        name = subject.path.name.split(".")[0]
        print(f"| {name} | {_product(volume.spacing)} | {_product(found)} | {native.get(name, '')} |", flush=True)
        for kind, error in _errors(slices, subject.modality) if simulate else ():
            errors.setdefault((subject.modality, kind), []).append(error)
    print("\n| modality, what was made | scans and axes | not found | mean error | largest |\n| --- | ---: | ---: | ---: | ---: |")
    for (modality, kind), rows in errors.items():
        known = np.array([row for row in rows if row is not None])
        told = f"{known.mean():+.3f} | {np.abs(known).max():.3f}" if len(known) else " | "
        print(f"| {modality}, {kind} | {len(rows)} | {len(rows) - len(known)} | {told} |")


def _product(sizes: object) -> str:
    return " x ".join("?" if size is None else f"{size:.3g}" for size in sizes)  # type: ignore[attr-defined]


def _errors(slices: np.ndarray, modality: str) -> Iterator[tuple[str, float | None]]:
    """Kind of loss, and the error of what is measured of it: of the share of the frequencies, of the width over the distance of the slices, 0 or 1 of the noise."""
    for window, said in ((1.0, ""), (0.54, ", Hamming")):
        for share in _SHARES:
            for axis in (axis for axis in range(3) if slices.shape[axis] >= _LEAST):
                part = getattr(detail_with_ends(_as_stored(_cut(slices, axis, share, window), slices, modality), modality), _NAMES[axis])
                yield f"end of the spectrum at {share:.0%}{said}", part.extent - share if part and part.extent < _CUT else None
    for width in _WIDTHS:
        sigma = width / np.sqrt(8 * np.log(2))
        across = detail_with_ends(_as_stored(ndimage.gaussian_filter1d(slices.astype(np.float32), sigma, axis=0), slices, modality), modality).across
        found = profile_width(across)
        yield f"slices {width:g} times as thick as they are apart", None if found is None else found - width
    white = 0.02 * intensity_scale(slices, modality).span * np.random.default_rng(0).standard_normal(slices.shape).astype(np.float32)
    coloured = ndimage.gaussian_filter(white, (0, 0.8, 0.8))
    for kind, noise in (("white", white), ("coloured", coloured * (white.std() / coloured.std()))):
        found_kind = noise_kind(_as_stored(slices + noise, slices, modality), modality)
        yield f"{kind} noise of 2 %", float(found_kind != kind) if found_kind else None


def _as_stored(made: np.ndarray, scan: np.ndarray, modality: str) -> np.ndarray:
    made = np.abs(made) if modality == "MR" and scan.min() >= 0 else made
    return np.rint(made) if scan.dtype.kind in "iu" else made


def _cut(slices: np.ndarray, axis: int, share: float, window: float) -> np.ndarray:
    transform = np.fft.rfft(slices.astype(np.float32), axis=axis)
    place = np.arange(transform.shape[axis]) / (share * (transform.shape[axis] - 1))
    weights = np.where(place <= 1, window + (1 - window) * np.cos(np.pi * np.minimum(place, 1)), 0.0)
    return np.fft.irfft(transform * np.expand_dims(weights, [other for other in range(3) if other != axis]), n=slices.shape[axis], axis=axis).astype(np.float32)


if __name__ == "__main__":
    typer.run(main)
