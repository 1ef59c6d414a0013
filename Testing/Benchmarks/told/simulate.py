#!/usr/bin/env python
"""Scans that lost their detail in known ways: what the estimator of the detail, and the networks that are told of it, learn from.

    python Testing/Benchmarks/told/simulate.py SCANS split.csv OUT.npz --modality MR --stage plane --count 6000 --seed 21

Each sample is a part of a training scan, its sharpness, contrast and background varied, made coarser along the axes of the stage in one of the ways
that scanners and reconstructions lose detail.  Kept are its spectra, what is true of it, and three crops with their truth and their noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer
from superres3d import read_volume
from superres3d.detail.estimator import FREQUENCIES
from superres3d.detail.measure import NOISE_UNIT
from superres3d.detail.spectrum import spectrum_along
from superres3d.evaluation.protocol import read_subjects
from superres3d.resampling.degradation import antialiased_bicubic_matrix, cosine_matrices, interval_means, slice_profile_matrix, spectral_window
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.volume import find_slice_axis

UNITS = 8000.0  # of a crop's whole numbers, in network units
SIDES = {("plane", 2): (56, 56), ("plane", 4): (36, 36), ("depth", 2): (20, 56), ("depth", 4): (14, 56)}  # of a coarse crop
_CROPS = 3
_SAVED_EVERY = 500
_SOFT_SLICES = ("fcp0001", "rider0117", "openms", "uta4", "rorden_112")  # no truth between the slices, though CT kernels to know
_ISOTROPIC = 1.4
_LEAST = {"plane": 24, "depth": 20}  # coarse voxels of an axis

Matrices = tuple[np.ndarray, np.ndarray | None]  # of the scan, and of noise on the coarse voxels


@dataclass(frozen=True)
class Scan:
    """A training scan in network units, slices first."""

    name: str
    voxels: np.ndarray
    any_axis: bool
    sharp_slices: bool


@dataclass
class Samples:
    """What is written; the numbers of a sample have its place along the first axis.

    Attributes:
        spectra: (2, COUNT): of "plane" rows and columns, of "depth" the axis across the slices and the mean of those within.
        truth: (axes, 6): transfer function, noise, extent.
    """

    spectra: list[np.ndarray] = field(default_factory=list)
    truth: list[np.ndarray] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    coarse: list[bool] = field(default_factory=list)
    crops: dict[int, list[tuple[int, list[tuple[np.ndarray, ...]]]]] = field(default_factory=lambda: {2: [], 4: []})

    def write(self, path: Path) -> None:
        """Whole, or not at all."""
        arrays: dict[str, Any] = {"spectra": np.array(self.spectra, np.float32), "truth": np.array(self.truth, np.float32), "names": np.array(self.names), "coarse": np.array(self.coarse)}
        for scale, kept in self.crops.items():
            arrays[f"owner{scale}"] = np.array([owner for owner, _ in kept], int)
            for number, part in enumerate(("low", "high", "noise")):
                arrays[f"{part}{scale}"] = np.array([[crop[number] for crop in crops] for _, crops in kept])
        beside = path.with_suffix(".part.npz")
        np.savez(beside, **arrays)
        beside.replace(path)


def load(data: Path, split: Path, modality: str, stage: str, subset: str) -> list[Scan]:
    """Those that the stage can learn from."""
    scans = []
    for subject in read_subjects(data, split, subset):
        if subject.modality != modality:
            continue
        volume = read_volume(subject.path)
        axis = find_slice_axis(volume.spacing)
        voxels = np.moveaxis(intensity_scale(volume.voxels, modality).normalise(volume.voxels), axis, 0)
        sharp = not any(part in subject.name for part in _SOFT_SLICES)
        if stage == "plane" or sharp or modality == "CT":
            even = max(volume.spacing) / min(volume.spacing) < _ISOTROPIC and "uta4" not in subject.name
            scans.append(Scan(subject.name, voxels.astype(np.float16 if modality == "MR" else np.float32), even, sharp))
    return scans


class Simulation:
    """Draws samples.

    Args:
        scans: of one modality.
        modality: "CT" or "MR".
        stage: "plane" or "depth".
        seed: of all that is random.
    """

    def __init__(self, scans: Sequence[Scan], modality: str, stage: str, seed: int):
        self._scans, self._modality, self._stage = scans, modality, stage
        self._rng = np.random.default_rng(seed)
        self._axes = (1, 2) if stage == "plane" else (0,)

    def into(self, samples: Samples) -> None:
        """One more sample, unless what was drawn is too small or too empty."""
        rng, stage = self._rng, self._stage
        scan = self._scans[rng.integers(len(self._scans))]
        scale = int(rng.choice([2, 4, 3], p=[0.5, 0.4, 0.1]))
        factors = self._factors(scale)
        fine = self._part(scan, factors)
        if fine is None:
            return
        fine = self._varied(fine)
        fine, coarse, noise, truth = self._coarsened(fine, factors)
        spectra = [spectrum_along(coarse, axis) for axis in ((1, 2) if stage == "plane" else (0, 1, 2))]
        found = [spectrum for spectrum in spectra if spectrum is not None]
        if len(found) < len(spectra):
            return
        crops = self._crops(fine, coarse, noise, scale) if stage == "plane" or scan.sharp_slices else []
        if crops:
            samples.crops[scale].append((len(samples.names), crops))
        samples.spectra.append(np.stack(found if stage == "plane" else [found[0], (found[1] + found[2]) / 2]))
        samples.truth.append(truth)
        samples.names.append(scan.name)
        samples.coarse.append(stage == "depth" and factors[1] > 1)

    def _factors(self, scale: int) -> tuple[int, int, int]:
        """Along (slices, rows, columns); before the networks between the slices the slices are often coarse themselves."""
        if self._stage == "plane":
            return 1, scale, scale
        if self._rng.random() >= {2: 0.5, 3: 0.4, 4: 0.35}[scale]:
            return scale, 1, 1
        within = 4 if scale == 4 and self._rng.random() < 0.5 else 2
        return scale, within, within

    def _part(self, scan: Scan, factors: Sequence[int]) -> np.ndarray | None:
        """Some slices, or some rows of all slices, turned at random; None if the scan is too small."""
        rng, voxels = self._rng, scan.voxels
        if scan.any_axis and rng.random() < 0.6:
            voxels = np.moveaxis(voxels, rng.integers(3), 0)
        if self._stage == "plane":
            count, edge = min(len(voxels), int(rng.integers(6, 20))), len(voxels) // 8
            first = int(rng.integers(edge, max(edge + 1, len(voxels) - count - edge)))
            part = voxels[first : first + count]
        else:
            first = int(rng.integers(0, max(1, voxels.shape[1] - 96)))
            part = voxels[:, first : first + 96]
        part = part.swapaxes(1, 2) if rng.random() < 0.5 else part
        part = part[::-1] if rng.random() < 0.5 else part
        cuts = [self._cut(axis, part.shape[axis], factors[axis]) for axis in range(3)]
        return None if any(cut is None for cut in cuts) else part[tuple(cut for cut in cuts if cut is not None)].astype(np.float32)

    def _cut(self, axis: int, length: int, factor: int) -> slice | None:
        """Of an axis, a multiple of its factor; often a part of it."""
        if axis == 0 and self._stage == "plane":
            return slice(None)
        if length < factor * _LEAST["depth"]:
            return None
        scale = factor if factor in (2, 4) else 2
        sides = SIDES[self._stage, scale]
        side = sides[0] if axis == self._axes[0] else sides[1] if axis == 2 else 1
        least = min(max(factor * _LEAST[self._stage], factor * side), length // factor * factor)
        wanted = int(length * self._rng.uniform(0.6, 1.0)) if self._rng.random() < 0.5 else length
        if axis == 0 and self._rng.random() < 0.75:  # stacks of few slices
            wanted = int(least * (length / least) ** self._rng.random())
        kept = min(max(least, wanted // factor * factor), length // factor * factor)
        first = int(self._rng.integers(0, length - kept + 1))
        return slice(first, first + kept)

    def _varied(self, fine: np.ndarray) -> np.ndarray:
        """Another sharpness; of MR another contrast and strength, and sometimes a background that was taken away."""
        rng = self._rng
        share, sharpest = (0.75, -1.6) if self._modality == "CT" else (0.3, -0.35)  # reconstruction kernels differ more than MR does
        if rng.random() < share:
            fine = _filtered(fine, (1, 2) if self._stage == "plane" else (0, 1, 2), rng.uniform(sharpest, 0.9))
        if self._modality == "CT":
            return fine
        if rng.random() < 0.5:
            fine = fine.clip(min=0.0) ** math.exp(math.log(1.5) * rng.uniform(-1, 1))
        fine = fine * np.float32(math.exp(math.log(1.3) * rng.uniform(-1, 1)))
        return np.where(fine > np.percentile(fine, rng.uniform(20, 50)), fine, 0) if rng.random() < 0.2 else fine

    def _coarsened(self, fine: np.ndarray, factors: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The truth for the stage, the coarse part, its noise, and what is true of the stage's axes."""
        rng, depth = self._rng, self._stage == "depth"
        share = 0.0 if depth and self._modality == "CT" else 0.4
        kind = str(rng.choice(["spectral", "averaged", "bicubic"], p=[share, 0.35, 0.65 - share]))
        window = 1.0 - 0.5 * rng.random() if rng.random() < (0.15 if depth else 0.5) else 1.0
        extents = [1.0 - 0.5 * rng.random() * (rng.random() < 0.5) for _ in range(3)]
        extents[1] = extents[2] if rng.random() < 0.3 else extents[1]
        coarse, lines = fine, {}
        for axis in (axis for axis in range(3) if factors[axis] > 1):
            own = axis in self._axes
            lines[axis] = self._matrices(fine.shape[axis], factors[axis], kind if own else "bicubic", extents[axis], window)
            coarse = _along(lines[axis][0], coarse, axis)
            fine = fine if own else _along(lines[axis][0], fine, axis)
        sigma = NOISE_UNIT[self._modality] * rng.random() * (rng.random() < 0.65) * (2 if rng.random() < 0.15 else 1)
        noise = (sigma * rng.standard_normal(coarse.shape)).astype(np.float32)
        for axis, (_, passed) in lines.items():
            noise = noise if passed is None else _along(passed, noise, axis)
        truth = [
            [*_transfer(lines[axis][0], factors[axis]), sigma / NOISE_UNIT[self._modality], extents[axis] if kind == "spectral" else 1.0] for axis in self._axes
        ]
        return fine, self._stored(coarse + noise, kind), noise, np.array(truth)

    def _matrices(self, length: int, factor: int, kind: str, extent: float, window: float) -> Matrices:
        rng = self._rng
        if kind == "spectral":
            weights = spectral_window(length // factor, np.array(extent), np.array(window))
            (synthesis, analysis), (_, white) = cosine_matrices(length, factor), cosine_matrices(length // factor, 1)
            return synthesis * weights @ analysis, synthesis * weights @ white
        if kind == "bicubic":
            return _blurred(antialiased_bicubic_matrix(length, factor), rng.uniform(0, 0.5) if rng.random() < 0.5 else 0.0), None
        if rng.random() < 0.25:
            return interval_means(length, length // factor), None
        return slice_profile_matrix(length, factor, rng.uniform(0.5, 1.5) / 2.355 * factor), None

    def _stored(self, coarse: np.ndarray, kind: str) -> np.ndarray:
        """As scanners store it: magnitudes, whole numbers."""
        rng = self._rng
        if self._modality == "MR" and (kind == "spectral" or rng.random() < 0.5):
            coarse = np.abs(coarse)
        elif self._modality == "CT" and rng.random() < 0.7:
            coarse = coarse.clip(min=0.0)
        levels = 4095 if self._modality == "CT" else rng.choice([255, 1000, 4095])
        return (np.round(coarse * levels) / levels if rng.random() < 0.8 else coarse).astype(np.float32)

    def _crops(self, fine: np.ndarray, coarse: np.ndarray, noise: np.ndarray, scale: int) -> list[tuple[np.ndarray, ...]]:
        """(coarse, fine, noise) as whole numbers of 1 / :data:`UNITS`; none for a factor that no network has."""
        sides = SIDES.get((self._stage, scale))
        axes = (1, 2) if self._stage == "plane" else (0, 2)
        if sides is None or any(coarse.shape[axis] < side for axis, side in zip(axes, sides)):
            return []
        finer = (1, scale, scale) if self._stage == "plane" else (scale, 1, 1)
        return [self._crop(fine, coarse, noise, finer, dict(zip(axes, sides))) for _ in range(_CROPS)]

    def _crop(self, fine: np.ndarray, coarse: np.ndarray, noise: np.ndarray, finer: Sequence[int], sides: dict[int, int]) -> tuple[np.ndarray, ...]:
        """The liveliest of a few."""
        rng, best = self._rng, (-1.0, (coarse, fine, noise))
        for _ in range(4):
            starts = [int(rng.integers(0, n - sides.get(axis, 1) + 1)) for axis, n in enumerate(coarse.shape)]
            near = tuple(slice(start, start + sides[axis]) if axis in sides else start for axis, start in enumerate(starts))
            far = tuple(slice(start * f, (start + sides[axis]) * f) if axis in sides else start for axis, (start, f) in enumerate(zip(starts, finer)))
            best = max(best, (float(coarse[near].std()), (coarse[near], fine[far], noise[near])), key=lambda found: found[0])
            if rng.random() < 0.3:
                break
        return tuple(np.clip(np.rint(values * UNITS), -32768, 32767).astype(np.int16) for values in best[1])


def _along(matrix: np.ndarray, voxels: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(np.tensordot(matrix.astype(np.float32), voxels, axes=(1, axis)), 0, axis)


def _transfer(matrix: np.ndarray, factor: int) -> np.ndarray:
    """What the middle row of a matrix (coarse, fine) leaves of waves of the told frequencies."""
    waves = np.exp(1j * np.array(FREQUENCIES)[:, None] * np.pi / factor * np.arange(matrix.shape[1]))
    return np.abs(waves @ matrix[len(matrix) // 2])


def _blurred(matrix: np.ndarray, sigma: float) -> np.ndarray:
    """After the three-tap Gaussian of Georgescu 2020, section III-C."""
    if sigma < 0.01:
        return matrix
    side, padded = math.exp(-0.5 / sigma**2), np.pad(matrix, ((0, 0), (1, 1)), mode="edge")
    return (matrix + side * (padded[:, :-2] + padded[:, 2:])) / (1.0 + 2.0 * side)


def _filtered(voxels: np.ndarray, axes: tuple[int, ...], strength: float) -> np.ndarray:
    """Softer, or sharper (up to f^2 = 0.5) where ``strength`` is negative: exp(-strength f^2), f over the Nyquist frequency."""
    edge = 8
    padded = np.pad(voxels, [(edge, edge) if axis in axes else (0, 0) for axis in range(3)], mode="reflect")
    spectrum, squared = np.fft.rfftn(padded, axes=axes), np.zeros(())
    for axis in axes:
        frequencies = np.fft.rfftfreq(padded.shape[axis]) if axis == axes[-1] else np.fft.fftfreq(padded.shape[axis])
        view = [1, 1, 1]
        view[axis] = -1
        squared = squared + (2 * frequencies.reshape(view)) ** 2
    filtered = np.fft.irfftn(spectrum * np.exp(-strength * np.minimum(squared, 0.5 if strength < 0 else 1.0)), s=[padded.shape[axis] for axis in axes], axes=axes)
    return filtered[tuple(slice(edge, -edge) if axis in axes else slice(None) for axis in range(3))].astype(np.float32)


def main(data: Path, split: Path, out: Path, modality: str = "MR", stage: str = "plane", count: int = 6000, seed: int = 1, subset: str = "train") -> None:
    """See above."""
    simulation, samples, began = Simulation(load(data, split, modality, stage, subset), modality, stage, seed), Samples(), time.monotonic()
    while len(samples.names) < count:
        before = len(samples.names)
        simulation.into(samples)
        if len(samples.names) > before and len(samples.names) % _SAVED_EVERY == 0:
            print(f"{len(samples.names)} in {time.monotonic() - began:.0f} s", flush=True)
            samples.write(out)
    samples.write(out)


if __name__ == "__main__":
    typer.run(main)
