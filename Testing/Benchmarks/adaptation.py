#!/usr/bin/env python
"""A network that goes on learning on the scan, beside the default and, if asked for, beside ECLARE, which learns from nothing.

    python Testing/Benchmarks/adaptation.py SCANS split.csv --subset val --seconds 60
    python Testing/Benchmarks/adaptation.py SCANS split.csv --subset test --subjects mr_t2_M2307 --times 4 --eclare VENV/bin/python --patches 30000

Thin scans become slices four and five times as far apart by a slice profile as thick as their distance (``--profile``, ``--share``), and are brought back to the thin
ones' grid: CT is halved within its slices before.  The network does not learn of the profile but by itself ("adapted"); in a further row, where ``--tell`` asks for it, it is told ("adapted, told").  ECLARE
(Remedios et al. 2025, PyPI ``eclare``, in an environment of its own) is always told the thickness; its profile is Gaussian.

PSNR, SSIM and flicker are those of ``superres3d evaluate``; gradient: the mean difference between neighbouring slices within the foreground, over the truth's; without ground:
see :mod:`superres3d.trust.ground`.  Seconds are those of one processor core, all threads and processes together, the upscaling included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from superres3d import Volume, read_volume, upscale, write_volume
from superres3d.adaptation.budget import Budget
from superres3d.errors import SuperResolutionError
from superres3d.evaluation.metrics import Reference, make_reference, measure, measure_flicker
from superres3d.evaluation.protocol import Subject, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.methods import DEFAULT_METHOD, SCALES
from superres3d.resampling.interpolation import sampling_matrix
from superres3d.resampling.profiles import PROFILES, profile_matrix
from superres3d.resampling.regridding import apply_along
from superres3d.scan.volume import find_slice_axis
from superres3d.trust.ground import figures_of

_LEAST_THICK = 8  # slices


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    subjects: Annotated[str, typer.Option(help="Some of the subset, with commas between.")] = "",
    times: Annotated[str, typer.Option(help="How many times as far apart as the thin slices.")] = "4,5",
    profile: Annotated[str, typer.Option(help=f"Of the thick slices: {', '.join(PROFILES)}.")] = "gaussian",
    share: Annotated[float, typer.Option(help="Thickness over distance.")] = 1.0,
    seconds: Annotated[float, typer.Option(help="Of learning.")] = 60.0,
    steps: Annotated[int, typer.Option(help="Steps of learning, in place of the seconds.")] = 0,
    tell: Annotated[bool, typer.Option(help="Also tell the network the thickness and the profile.")] = False,
    method: Annotated[str, typer.Option()] = DEFAULT_METHOD,
    preset: Annotated[str, typer.Option()] = "fast",
    eclare: Annotated[str, typer.Option(help="The Python of an environment with ECLARE.")] = "",
    patches: Annotated[int, typer.Option(help="That ECLARE learns from; its default is 1,000,000.")] = 1_000_000,
    batch: Annotated[int, typer.Option(help="Of ECLARE; its default is 128.")] = 128,
    work: Annotated[Path, typer.Option(help="Where ECLARE's input and output stay; what is there is not computed again.")] = Path("build/eclare"),
) -> None:
    """Print a row for each method."""
    named = set(filter(None, subjects.split(",")))
    print("| subject | slices | method | PSNR, dB | SSIM | gradient | flicker | without ground | seconds |\n| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    try:
        for subject in read_subjects(data, split, subset):
            for ratio in map(int, times.split(",")):
                if named and subject.name not in named:
                    continue
                case = _Case(subject, ratio, profile, share, work)
                if case.thick.voxels.shape[case.axis] < _LEAST_THICK:
                    continue
                budgets = {"adapted": Budget(seconds, steps), **({"adapted, told": Budget(seconds, steps, thickness=share * case.distance, profile=profile)} if tell else {})}
                lanczos = case.row("Lanczos", lambda case=case: case.refined("lanczos", preset))
                case.row(method, lambda case=case: case.refined(method, preset), lanczos)
                for name, budget in budgets.items():
                    case.row(name, lambda case=case, budget=budget: case.refined(method, preset, budget), lanczos)
                if eclare:
                    case.row(f"ECLARE, {patches:,} patches", lambda case=case: case.by_eclare(eclare, patches, batch, share, work), lanczos)
    except SuperResolutionError as error:
        raise SystemExit(f"Error: {error}") from None


class _Case:
    """A subject, and its thick slices."""

    def __init__(self, subject: Subject, ratio: int, profile: str, share: float, work: Path):
        volume = read_volume(subject.path)
        self.subject, self.axis, self.ratio, self.told = subject, find_slice_axis(volume.spacing), ratio, {}
        volume = TASKS["thick-slice"].thin(volume, self.axis) if subject.modality == "CT" else volume
        count = volume.voxels.shape[self.axis] // ratio
        first = (volume.voxels.shape[self.axis] - count * ratio) // 2
        self.truth = np.take(volume.voxels, range(first, first + count * ratio), self.axis).astype(np.float32)
        matrix = profile_matrix(count * ratio, count, PROFILES[profile], share * ratio)
        spacing = list(volume.spacing)
        spacing[2 - self.axis] *= ratio
        self.distance = spacing[2 - self.axis]
        self.source = work / f"{subject.name}_{ratio}.nii.gz"  # what ECLARE was given
        thick = read_volume(self.source).voxels if self.source.is_file() else apply_along(self.truth, self.axis, matrix)
        self.thick = Volume(thick, tuple(spacing), modality=subject.modality)
        self.reference: Reference = make_reference(self.truth, subject.modality, self.axis)

    def refined(self, method: str, preset: str, budget: Budget | None = None) -> tuple[np.ndarray, float]:
        """Result and seconds; what became of an adaptation is kept."""
        asked: dict[str, Any] = {"scale": (1, self.ratio)} if self.ratio in SCALES else {"slice_spacing": self.distance / self.ratio}
        began = time.process_time()
        result = upscale(self.thick, method=method, preset=preset, slice_axis="kji"[self.axis], precision="single", adapt=budget, **asked)
        self.told = result.report["adaptation"] or {}
        return result.volume.voxels, time.process_time() - began

    def by_eclare(self, python: str, patches: int, batch: int, share: float, work: Path) -> tuple[np.ndarray, float]:
        """Result on the truth's grid, and seconds; in units of pixels ECLARE takes the thickness."""
        self.told = {}
        source, out = self.source, work / f"{self.source.name.removesuffix('.nii.gz')}-{patches}"
        if not (out / "seconds.json").is_file():
            out.mkdir(parents=True, exist_ok=True)
            write_volume(self.thick, source)
            pixels = [self.thick.spacing[2 - axis] for axis in range(3) if axis != self.axis]
            asked = ["--relative-slice-thickness", f"{share * self.distance / min(pixels):g}", "--n-patches", str(patches), "--batch-size", str(batch)]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([python, "-c", "from eclare.main import main; main()", "--in-fpath", str(source), "--out-dir", str(out), *asked], check=True, capture_output=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            (out / "seconds.json").write_text(json.dumps(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
        made = read_volume(next(out.glob("*_eclare.nii*"))).voxels
        return _on_grid(made, self.truth.shape), json.loads((out / "seconds.json").read_text())

    def row(self, name: str, make: Callable[[], tuple[np.ndarray, float]], lanczos: np.ndarray | None = None) -> np.ndarray:
        """Print a line of the table; returns the result."""
        voxels, seconds = make()
        values = {**measure(self.reference, voxels), **measure_flicker(self.reference, voxels, self.ratio)}
        ground = figures_of(self.truth, voxels if lanczos is None else lanczos, voxels, self.subject.modality, self.reference.data_range).get("ungrounded")
        print(
            f"| {self.subject.name} | {self.distance:.3g} mm | {name} | {values['psnr']:.2f} | {values['ssim']:.4f} | {self._gradient(voxels):.0%} | {values['flicker']:.3f} | "
            f"{'' if ground is None else f'{ground:.1%}'} | {seconds:.0f} |",
            flush=True,
        )
        if self.told:
            print(f"<!-- {json.dumps({key: value for key, value in self.told.items() if key not in ('start', 'adapted')})} -->", flush=True)
        return voxels

    def _gradient(self, voxels: np.ndarray) -> float:
        """Across the slices, over the truth's."""
        foreground = self.reference.foreground[1:] | self.reference.foreground[:-1]
        given, truth = (np.abs(np.diff(self.reference.prepare(array), axis=0))[foreground] for array in (voxels, self.truth))
        return float(given.sum(dtype=np.float64) / truth.sum(dtype=np.float64))


def _on_grid(voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interpolated over the same extent where the number of voxels differs (ECLARE makes them as large as the pixels)."""
    for axis, count in enumerate(shape):
        if voxels.shape[axis] != count:
            voxels = apply_along(voxels.astype(np.float32), axis, sampling_matrix(voxels.shape[axis], count, "cubic"))
    return voxels


if __name__ == "__main__":
    typer.run(main)
