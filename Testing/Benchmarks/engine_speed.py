"""Seconds and peak memory of the engine against a plain eager per-slice loop, in one run.

The plain loop is what a reader of the paper would write: one slice at a time, channels first,
eight turned copies, numpy.median.  Each of its slices costs the same, so it is timed on evenly
spaced ones and scaled up; the engine runs the whole volume.  Results are compared on those slices.

    python Testing/Benchmarks/engine_speed.py                       the small scan, x2
    python Testing/Benchmarks/engine_speed.py --workload small-x4 --workload ct-x2 --slices 16
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from superres3d.intensity import intensity_scale
from superres3d.upscaling import upscale
from superres3d.volume import Volume
from superres3d.weights import find_model, load_network


@dataclass(frozen=True)
class Workload:
    """A scan of ``shape`` (k, j, i) to be refined on all axes."""

    shape: tuple[int, int, int]
    scale: int
    modality: str


WORKLOADS = {
    "small-x2": Workload((64, 256, 256), 2, "MR"),
    "small-x4": Workload((64, 256, 256), 4, "MR"),
    "ct-x2": Workload((200, 512, 512), 2, "CT"),
}


def synthetic_scan(workload: Workload, slices: int | None) -> Volume:
    """Band-limited texture over the intensity range of the modality, float32."""
    shape = (min(slices or workload.shape[0], workload.shape[0]), *workload.shape[1:])
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(shape, dtype=np.float32), 1.5)
    low, high = (-1000, 1500) if workload.modality == "CT" else (0, 1000)
    texture = np.clip(texture, *np.percentile(texture, (0.3, 99.3)))  # inside the networks' range
    texture = (texture - texture.min()) / np.ptp(texture) * (high - low) + low
    return Volume(texture.astype(np.float32), (0.7, 0.7, 1.5), modality=workload.modality)


class PlainLoop:
    """One slice at a time, as the paper's text reads."""

    def __init__(self, method: str, workload: Workload, device: str):
        modality = workload.modality.lower()
        self._device = device
        self._nets = {stage: load_network(find_model(f"{method}-{modality}-{stage}-x{workload.scale}")).to(device) for stage in ("plane", "depth")}

    def plane(self, image: np.ndarray) -> np.ndarray:
        """Median of eight: four quarter turns, each with and without a flip."""
        members = []
        for quarter in range(4):
            for flip in (False, True):
                turned = np.rot90(image, quarter)
                output = self._run("plane", turned[:, ::-1] if flip else turned)
                members.append(np.rot90(output[:, ::-1] if flip else output, -quarter))
        return np.median(members, axis=0)

    def depth(self, image: np.ndarray) -> np.ndarray:
        """Median of four: flips along either axis; rows run along the depth."""
        turns = [(rows, columns) for rows in (1, -1) for columns in (1, -1)]
        return np.median([self._run("depth", image[::r, ::c])[::r, ::c] for r, c in turns], axis=0)

    def _run(self, stage: str, image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._nets[stage](torch.from_numpy(np.ascontiguousarray(image)).to(self._device)[None, None])[0, 0].cpu().numpy()


def run_engine(name: str, arguments: argparse.Namespace) -> dict:
    """The whole volume through the engine; the refined slices that the plain loop will make are kept."""
    workload = WORKLOADS[name]
    scan = synthetic_scan(workload, arguments.slices)
    options = {"method": arguments.method, "modality": workload.modality, "device": arguments.device}
    report = upscale(scan, workload.scale, **options).report
    chosen = sampled(scan.voxels.shape[0], arguments.samples)
    few = Volume(scan.voxels[chosen], scan.spacing, modality=scan.modality)
    planes = upscale(few, (workload.scale, 1), **options).volume.voxels
    np.save(arguments.planes, intensity_scale(few.voxels, workload.modality).normalise(planes))
    return {"seconds": report["seconds"], "peak": report["peak_memory_bytes"], "threads": torch.get_num_threads()}


def run_plain(name: str, arguments: argparse.Namespace) -> dict:
    """Sampled slices through the plain loop, in a process of its own; seconds are for all slices."""
    workload = WORKLOADS[name]
    scan = synthetic_scan(workload, arguments.slices)
    voxels = scan.voxels[sampled(scan.voxels.shape[0], arguments.samples)]
    voxels = intensity_scale(voxels, workload.modality).normalise(voxels)
    plain = PlainLoop(arguments.method, workload, arguments.device)
    plain.plane(voxels[0])
    started = time.perf_counter()
    planes = np.stack([plain.plane(np.clip(image, 0, None)) for image in voxels])
    plane_seconds = (time.perf_counter() - started) / len(voxels) * scan.voxels.shape[0]
    depth_slices = [width * workload.scale for width in scan.voxels.shape[1:]]
    images = [np.resize(planes[0], (scan.voxels.shape[0], width)) for width in depth_slices]
    plain.depth(images[0])
    started = time.perf_counter()
    for _ in range(arguments.samples):
        for image in images:
            plain.depth(image)
    depth_seconds = (time.perf_counter() - started) / (2 * arguments.samples) * sum(depth_slices)
    difference = np.abs(planes - np.load(arguments.planes)).max()
    return {"seconds": {"plane": plane_seconds, "depth": depth_seconds}, "difference": float(difference * 255)}


def sampled(count: int, samples: int) -> np.ndarray:
    """Indices of evenly spaced slices."""
    return np.linspace(0, count - 1, min(samples, count)).astype(int)


def measure(name: str, arguments: argparse.Namespace) -> dict:
    """A row of the table: both sides, one after the other, each in a process with an untouched allocator."""
    with tempfile.TemporaryDirectory() as folder:
        common = ["--samples", str(arguments.samples), "--method", arguments.method, "--device", arguments.device]
        common += ["--planes", str(Path(folder) / "planes.npy"), *(["--slices", str(arguments.slices)] if arguments.slices else [])]
        engine, plain = (_child(side, name, common) for side in ("engine", "plain"))
    shape = (min(arguments.slices or 10**9, WORKLOADS[name].shape[0]), *WORKLOADS[name].shape[1:])
    ours, theirs = engine["seconds"], plain["seconds"]
    return {
        "workload": f"{name}, {' x '.join(map(str, shape[::-1]))}",
        "device": arguments.device if arguments.device != "cpu" else f"cpu, {engine['threads']} threads",
        "engine_seconds": {stage: ours[stage] for stage in ("plane", "depth")},
        "plain_seconds": theirs,
        "ratio": {
            **{stage: theirs[stage] / ours[stage] for stage in ("plane", "depth")},
            "both": sum(theirs.values()) / (ours["plane"] + ours["depth"]),
        },
        "peak_memory_GiB": engine["peak"] / 2**30,
        "largest_difference_of_255": plain["difference"],
    }


def _child(side: str, name: str, options: list[str]) -> dict:
    command = [sys.executable, __file__, "--side", side, "--workload", name, *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def show(rows: list[dict]) -> None:
    table = Table("workload", "device", "engine s (plane + depth)", "plain loop s", "plane", "depth", "times as fast", "peak GiB", "difference of 255")
    for row in rows:
        engine, plain, ratio = row["engine_seconds"], row["plain_seconds"], row["ratio"]
        table.add_row(
            row["workload"], row["device"], f"{engine['plane']:.1f} + {engine['depth']:.1f}", f"{plain['plane']:.1f} + {plain['depth']:.1f}",
            f"{ratio['plane']:.2f}", f"{ratio['depth']:.2f}", f"{ratio['both']:.2f}", f"{row['peak_memory_GiB']:.2f}", f"{row['largest_difference_of_255']:.4f}",
        )  # fmt: skip
    Console(width=180).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", action="append", choices=WORKLOADS)
    parser.add_argument("--slices", type=int, help="only so many slices of the scan")
    parser.add_argument("--samples", type=int, default=6, help="slices on which the plain loop is timed")
    parser.add_argument("--method", default="two-stage-residual")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps; both sides run on it")
    parser.add_argument("--json", type=Path, help="append the rows to this file, one JSON object a line")
    parser.add_argument("--side", choices=("engine", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--planes", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.workload or ["small-x2"]
    if arguments.side:
        print(json.dumps((run_engine if arguments.side == "engine" else run_plain)(names[0], arguments)))
        return
    rows = []
    for name in names:
        rows.append(measure(name, arguments))
        if arguments.json:
            with open(arguments.json, "a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
