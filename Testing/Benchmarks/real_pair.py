#!/usr/bin/env python
"""A real thick-slice scan against a thin-slice reconstruction of the same acquisition: no simulated degradation.

    python Testing/Benchmarks/real_pair.py thick.nii.gz thin.nii.gz --out picture.png

Both must cover the same extent with the same pixels, the thin one with slices a whole number of times as dense.
Every method gets the thick scan alone.  The numbers are those of ``superres3d evaluate``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from superres3d import Volume, read_volume
from superres3d.errors import InputError, SuperResolutionError
from superres3d.evaluation.figures import draw_comparison
from superres3d.evaluation.metrics import make_reference, measure, measure_detail
from superres3d.evaluation.tasks import SPLINE, SPLINE_MEANS
from superres3d.methods import METHODS, fits_slices, is_installed
from superres3d.resampling.consistency import with_means_of
from superres3d.resampling.interpolation import resize
from superres3d.scan.modality import guess_modality
from superres3d.scan.volume import find_slice_axis
from superres3d.upscaling import upscale

_SHOWN = ("lanczos", "two-stage-residual")


def main(
    thick_scan: Annotated[Path, typer.Argument()],
    thin_scan: Annotated[Path, typer.Argument()],
    out: Annotated[Path | None, typer.Option(help="A PNG of the middle cut across the slices.")] = None,
    preset: Annotated[str, typer.Option()] = "best",
) -> None:
    """Print a table: how close each method comes to the thin scan."""
    try:
        _compare(read_volume(thick_scan), read_volume(thin_scan), out, preset)
    except SuperResolutionError as error:
        raise SystemExit(f"Error: {error}") from None


def _compare(thick: Volume, thin: Volume, out: Path | None, preset: str) -> None:
    axis = find_slice_axis(thick.spacing)
    factors = _factors(thick, thin, axis)
    modality = thick.modality or guess_modality(thick.voxels).modality
    reference = make_reference(thin.voxels, modality, axis)
    results = {}
    print("| Method | SSIM | PSNR | PSNR, foreground | MAE, HU | bias, HU | blur |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    networks = [method.name for method in METHODS.values() if method.networks and is_installed(method, modality)]
    for name in ("nearest", "linear", "cubic", "lanczos", SPLINE, SPLINE_MEANS, *networks):
        voxels = _refined(thick, name, factors, axis, modality, thin.spacing[2 - axis], preset)
        if voxels is None:
            continue
        results[name] = voxels
        values = {**measure(reference, voxels), **measure_detail(reference, voxels, factors)}
        print(_line(name, values), flush=True)
    print(f"\nBlur of the thin scan: {values['blur_truth']:.3f}.")
    if out:
        _draw(out, thick, thin, axis, modality, results)


def _line(name: str, values: dict[str, float]) -> str:
    """Of the table."""
    hounsfield = " | ".join(f"{values[metric]:+.2f}" if metric in values else "n.a." for metric in ("mae_hu", "bias_hu"))
    return f"| {name} | {values['ssim']:.4f} | {values['psnr']:.2f} | {values['psnr_foreground']:.2f} | {hounsfield} | {values['blur']:.3f} |"


def _draw(out: Path, thick: Volume, thin: Volume, axis: int, modality: str, results: dict[str, np.ndarray]) -> None:
    """The middle cut across the slices, as a PNG."""
    across = 1 if axis == 0 else 0
    cut = make_reference(thin.voxels, modality, across)
    middle = cut.slices.shape[0] // 2
    shown = {name: cut.prepare(results[name])[middle] for name in _SHOWN if name in results}
    draw_comparison(out, "Real thick slices", thin, cut, middle, np.moveaxis(thick.voxels, across, 0)[middle].astype(np.float32), shown)


def _factors(thick: Volume, thin: Volume, axis: int) -> tuple[int, int, int]:
    """Of the refinement, along (k, j, i); InputError if the scans do not cover the same extent."""
    factors = tuple(large // small for large, small in zip(thin.voxels.shape, thick.voxels.shape))
    across = [f for n, f in enumerate(factors) if n != axis]
    same = tuple(n * f for n, f in zip(thick.voxels.shape, factors)) == thin.voxels.shape and across == [1, 1]
    expected = thick.position(tuple((1 / f - 1) / 2 for f in factors[::-1]))  # the centre of the first thin voxel
    if not same or not np.allclose(expected, thin.origin, atol=0.05) or not np.allclose(thick.direction, thin.direction, atol=1e-3):
        raise InputError("The two scans do not cover the same extent with the same pixels; give two reconstructions of one acquisition.")
    return factors


def _refined(thick: Volume, name: str, factors: tuple[int, int, int], axis: int, modality: str, distance: float, preset: str) -> np.ndarray | None:
    """Voxels on the thin scan's grid; None where the method is for another refinement."""
    if name in (SPLINE, SPLINE_MEANS):
        voxels = resize(thick.voxels.astype(np.float32), factors, SPLINE)
        if name == SPLINE_MEANS:
            with_means_of(*(np.moveaxis(array.astype(np.float32, copy=False), axis, 0) for array in (thick.voxels, voxels)))
        return voxels
    method, factor = METHODS[name], factors[axis]
    if method.networks and (fits_slices(method, distance, factor * distance) or "through-plane" not in method.axes):
        return None
    choices = {"slice_spacing": distance}
    return upscale(thick, **choices, method=name, modality=modality, preset=preset, slice_axis="kji"[axis]).volume.voxels


if __name__ == "__main__":
    typer.run(main)
