#!/usr/bin/env python
"""8 bits: measure the ranges of a network's maps, and tell what rounding to them loses.

    python Testing/Benchmarks/eight_bits.py measure SCANS split.csv --method two-stage-told --models models
    python Testing/Benchmarks/eight_bits.py loss SCANS split.csv --method two-stage-told

``measure`` upscales scans of the training subset that lost their detail in several ways, keeps some of what each network sees, chooses the ranges that
change each convolution least, and writes them beside the weights.  ``loss`` compares PSNR, noise and flicker of the preset fast in single, in half, and in 8 bits.
``--sharp`` is for the network of scans with sharp kernels, of which the split has none: CT scans are made sharper, as in its training, and taken for sharp ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import acquisitions
import numpy as np
import superres3d.engine.engine as engine_module
import torch
import typer
from superres3d import Volume, read_volume, upscale
from superres3d.detail import telling
from superres3d.engine import openvino_graph
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.engine.openvino_import import op, ov
from superres3d.evaluation.metrics import make_reference, measure
from superres3d.evaluation.protocol import Subject, central_crop, read_subjects
from superres3d.evaluation.tasks import TASKS
from superres3d.methods import METHODS
from superres3d.networks.eight_bits import CARD_KEY, RANGES, Ranges, stored
from superres3d.networks.weights import CARD, Model, architecture_of
from superres3d.scan.volume import find_slice_axis
from torch.nn import functional

app = typer.Typer(add_completion=False)
_SIDE = 160  # pixels of what is kept of a slice
_MOST = 28  # windows a network
_PERCENTILES, _SHIFTS = (0.9999, 1.0), (0.25, 0.5, 0.75, 1.0)
_BRIGHT = ("head", "blocks.0.0")  # their maps follow the brightness of the scan, of which 8 bits are too few
_SLICES = 32
_SHARPER = 0.8  # exp(0.8 f^2), f over the Nyquist frequency, up to f^2 = 0.5: the most in the training of the network for sharp kernels


@dataclass
class Window:
    """What a network once saw, with its tensors as they were folded then."""

    model: Model
    tensors: Mapping[str, np.ndarray]
    image: np.ndarray


class _Watched(OpenVINORuntime):
    """Keeps a part of what its networks see."""

    def __init__(self) -> None:
        super().__init__("single")
        self.seen: dict[str, list[Window]] = {}
        self._draw = np.random.default_rng(0)

    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> Any:
        self._loading = model
        return super().load(model, factors)

    def network(self, architecture: Any, infer: Any, median: Any = None, exchanged: Any = None) -> Any:
        watched = [each and self._watching(each, self._loading) for each in (infer, exchanged)]
        return super().network(architecture, watched[0], median, watched[1])

    def _watching(self, infer: Any, model: Model) -> Callable[..., np.ndarray]:
        def watching(draw: Any, inputs: Sequence[np.ndarray], stopped: Any) -> np.ndarray:
            image = inputs[0]
            if image.std() > 0.02 and self._draw.random() < 0.4:
                starts = [self._draw.integers(0, max(1, length - _SIDE + 1)) for length in image.shape[2:]]
                cut = image[:1, :, starts[0] : starts[0] + _SIDE, starts[1] : starts[1] + _SIDE]
                self.seen.setdefault(model.name, []).append(Window(model, infer._tensors, np.ascontiguousarray(cut)))
            return infer(draw, inputs, stopped)

        return watching


@app.command("measure")
def measure_ranges(
    data: Path,
    split: Path,
    method: Annotated[str, typer.Option()] = "two-stage-told",
    models: Annotated[Path, typer.Option(help="Where the ranges are written.")] = Path("models"),
    subjects: Annotated[int, typer.Option(help="Of each modality.")] = 4,
    tasks: Annotated[list[str], typer.Option("--task", help="What is upscaled.")] = ["in-plane", "3-D", "through-plane"],  # noqa: B006
    slices: Annotated[int, typer.Option(help="Central slices of each scan; between slices, what is measured on a scan needs many.")] = _SLICES,
    sharp: Annotated[bool, typer.Option(help="For the networks of sharp scans alone.")] = False,
) -> None:
    """Write ``eight_bits.safetensors`` beside the weights of a method's networks, and its hash into their cards."""
    runtime = _Watched()
    engine_module.choose_runtime = lambda device, precision: (runtime, [])  # type: ignore[assignment]
    ways = [acquisitions.WAYS[name] for name in ("antialiased bicubic", "means", "Gaussian, FWHM 1.4", "65 %, zero-filled, Hamming")]
    everyone = read_subjects(data, split, "train")
    kinds = _all_are_sharp() if sharp else METHODS[method].modalities
    chosen = [subject for kind in kinds if (here := [one for one in everyone if one.modality == kind]) for subject in _spread(here, subjects)]
    for number, subject in enumerate(chosen):
        for turn, (name, scale) in enumerate((name, scale) for name in tasks for scale in METHODS[method].scales):
            low, _, slice_axis = _lowered(subject, name, scale, ways[(number + turn) % len(ways)], slices, 0.01 * (number % 2), sharp)
            upscale(low, scale, axes=acquisitions._TASKS[name].axes, method=method, modality=subject.modality, preset="fast", slice_axis=slice_axis, noise="reduce" if number % 3 == 0 else "keep")
        print(subject.name, {name: len(seen) for name, seen in runtime.seen.items()}, flush=True)
    for name, seen in sorted((name, seen) for name, seen in runtime.seen.items() if name.startswith(method) and name.endswith("-sharp") == sharp):
        some = [seen[i] for i in np.random.default_rng(1).permutation(len(seen))[:_MOST]]
        _write(models / name, _chosen(some))


def _spread(everyone: list[Subject], count: int) -> list[Subject]:
    """Evenly out of all."""
    return [everyone[i] for i in np.unique(np.linspace(0, len(everyone) - 1, count).round().astype(int))]


def _all_are_sharp() -> tuple[str, ...]:
    """From here on; the modalities that have a network for them."""
    telling._SHARP = 0.0  # type: ignore[misc]
    return ("CT",)


def _sharper(volume: Volume, axis: int) -> Volume:
    """Within the slices; see _SHARPER."""
    squares = np.add.outer(*(np.square(2 * np.fft.fftfreq(n)) for other, n in enumerate(volume.voxels.shape) if other != axis))
    passed = np.exp(_SHARPER * np.minimum(squares, 0.5))
    slices = [np.fft.ifft2(np.fft.fft2(one) * passed).real for one in np.moveaxis(volume.voxels, axis, 0)]
    return replace(volume, voxels=np.moveaxis(np.stack(slices), 0, axis).astype(np.float32))


def _lowered(subject: Subject, name: str, scale: int, way: acquisitions.Way, slices: int, noise: float, sharp: bool = False) -> tuple[Volume, Any, str]:
    volume = read_volume(subject.path)
    volume = _sharper(volume, find_slice_axis(volume.spacing)) if sharp else volume
    axis, task = find_slice_axis(volume.spacing), acquisitions._TASKS[name]
    factors = task.factors(scale, axis)
    truth = central_crop(volume, axis, slices, factors)
    reference = make_reference(truth.voxels, subject.modality, axis)
    coarse = acquisitions.coarsened(truth.voxels, factors, way, noise * reference.data_range, subject.modality == "MR")
    return replace(task.low_resolution(truth, factors, axis), voxels=coarse), reference, "kji"[axis]


class _Taps(openvino_graph._Graph):
    """Remembers what each convolution reads."""

    def __init__(self, tensors: Mapping[str, np.ndarray], axes: int):
        super().__init__(tensors, axes, {})
        self.read: dict[str, Any] = {}

    def conv(self, name: str, features: Any, outputs: int, *others: Any, **options: Any) -> Any:
        self.read[name] = openvino_graph._whole(features)
        return super().conv(name, features, outputs, *others, **options)


def _maps(window: Window) -> dict[str, np.ndarray]:
    image = op.parameter(list(window.image.shape), np.float32)
    graph = _Taps(window.tensors, 2)
    architecture_of(window.model).blueprint(graph, image)
    names = [name for name in graph.read if name not in _BRIGHT]
    compiled = ov.Core().compile_model(ov.Model([op.result(graph.read[name]) for name in names], [image], "taps"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made = compiled([window.image])
    return {name: made[number].copy() for number, name in enumerate(names)}


def _chosen(windows: list[Window]) -> dict[str, Ranges]:
    """Of each convolution, the ranges with the smallest error of its result over all windows."""
    maps = [_maps(window) for window in windows]
    found = {}
    for name in maps[0]:
        read = [each[name] for each in maps]
        weights = [window.tensors[f"{name}.weight"] for window in windows]
        candidates = [_candidate(read, weights, percentile, shift) for percentile in _PERCENTILES for shift in _SHIFTS]
        errors = [_error(read, weights, candidate) for candidate in candidates]
        found[name] = candidates[int(np.argmin(errors))]
        print(f"    {name:12s} {min(errors):.1e}", flush=True)
    return found


def _candidate(read: list[np.ndarray], weights: list[np.ndarray], percentile: float, shift: float) -> Ranges:
    """Ranges of (SmoothQuant, equation 4), the largest channel as it was."""
    ends = np.max([np.quantile(np.abs(maps[0]).reshape(maps.shape[1], -1), percentile, axis=1) for maps in read], axis=0)
    ends = np.maximum(ends, ends.max() * 1e-3)
    strength = np.maximum(np.max([np.abs(weight).max(axis=(0, 2, 3)) for weight in weights], axis=0), 1e-6)
    smooth = ends**shift / strength ** (1 - shift)
    return Ranges((smooth * (ends / smooth).max()).astype(np.float32), signed=any((maps < 0).any() for maps in read))


def _error(read: list[np.ndarray], weights: list[np.ndarray], ranges: Ranges) -> float:
    """Mean square over that of the result."""
    lost, whole = 0.0, 0.0
    for maps, weight in zip(read, weights):
        scaled, ends = ranges.weights(weight)
        rounded = np.round(scaled / ends * 127) * ends / 127
        exact, rough = (functional.conv2d(torch.from_numpy(np.float32(a)), torch.from_numpy(np.float32(b))) for a, b in ((maps, weight), (ranges.maps(maps), rounded)))
        lost += float((rough - exact).square().mean())
        whole += float(exact.square().mean())
    return lost / whole


def _write(folder: Path, ranges: Mapping[str, Ranges]) -> None:
    content = stored(ranges)
    (folder / RANGES).write_bytes(content)
    card = json.loads((folder / CARD).read_text())
    card[CARD_KEY] = hashlib.sha256(content).hexdigest()
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n")
    print(folder.name, len(ranges), "convolutions")


@app.command("loss")
def loss(
    data: Path,
    split: Path,
    method: Annotated[str, typer.Option()] = "two-stage-told",
    subset: Annotated[str, typer.Option()] = "val",
    preset: Annotated[str, typer.Option()] = "fast",
    sharp: Annotated[bool, typer.Option(help="Of the networks of sharp scans alone.")] = False,
) -> None:
    """PSNR in single precision, and what half and 8 bits lose of it; noise of the rounding and flicker."""
    print("| scan | task | way | single, dB | half, dB | 8 bits, dB | RMSE of the data range, half, 8 bits | flicker, single, 8 bits |\n|---|---|---|---:|---:|---:|---:|---:|")
    ways = {name: acquisitions.WAYS[name] for name in ("antialiased bicubic", "means", "Hamming")}
    kinds = _all_are_sharp() if sharp else METHODS[method].modalities
    for subject in [subject for subject in read_subjects(data, split, subset) if subject.modality in kinds]:
        for task, scale in (("in-plane", 2), ("in-plane", 4), ("3-D", 2), ("3-D", 4)) if not sharp else (("in-plane", 2), ("3-D", 2)):
            for way in ways if scale == 2 else list(ways)[:1]:
                low, reference, slice_axis = _lowered(subject, task, scale, ways[way], _SLICES, 0.0, sharp)
                made = {
                    precision: upscale(low, scale, axes=TASKS[task].axes, method=method, modality=subject.modality, preset=preset, precision=precision, slice_axis=slice_axis)
                    for precision in ("single", "half", "auto")
                }  # fmt: skip
                assert made["auto"].report["precision"] == "int8", made["auto"].report["precision"]
                found = {precision: measure(reference, result.volume.voxels) for precision, result in made.items()}
                apart = [float(np.sqrt(np.mean((made[p].volume.voxels - made["single"].volume.voxels) ** 2)) / reference.data_range) for p in ("half", "auto")]
                psnr = {precision: values["psnr"] for precision, values in found.items()}
                flicker = [f"{found[p]['flicker']:.3f}" if "flicker" in found[p] else "" for p in ("single", "auto")]
                print(
                    f"| {subject.name} | {task} {scale}x | {way} | {psnr['single']:.2f} | {psnr['half'] - psnr['single']:+.3f} | {psnr['auto'] - psnr['single']:+.3f} | "
                    f"{apart[0]:.5f}, {apart[1]:.5f} | {', '.join(flicker)} |", flush=True,
                )  # fmt: skip


if __name__ == "__main__":
    app()
