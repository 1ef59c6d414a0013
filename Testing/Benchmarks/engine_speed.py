"""The engine against a plain eager per-slice loop and against the machine's matrix product, in one run.

The plain loop is what a reader of the paper would write: one slice at a time, channels first,
plane then depth, eight turned copies, numpy.median.  Each of its slices costs the same, so it is
timed on evenly spaced ones and scaled up; the engine runs the whole volume with each preset.
Every side runs in a process of its own; rounds alternate, and medians are compared.  On a machine where other work runs, too, the ratio of what the
processor spent on each side tells more than that of the clock; a side whose threads wait for each other looks better by it than it is.

    python Testing/Benchmarks/engine_speed.py                                  the small scan, x2, five rounds
    python Testing/Benchmarks/engine_speed.py --workload small-x4 --rounds 1
    python Testing/Benchmarks/engine_speed.py --growth                         32 to 512 slices, preset fast
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import gaussian_filter
from superres3d import Volume, __version__
from superres3d.methods import PRESETS
from superres3d.networks.weights import find_model, load_network
from superres3d.plan import plan_upscaling
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import upscale


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
    "long-x2": Workload((512, 96, 96), 2, "MR"),
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


def run_engine(arguments: argparse.Namespace) -> dict:
    """The whole volume with one preset."""
    workload = WORKLOADS[arguments.workload]
    scan = synthetic_scan(workload, arguments.slices)
    options = {"method": arguments.method, "modality": workload.modality, "device": arguments.device, "preset": arguments.preset}
    started, spent = time.perf_counter(), time.process_time()
    report = upscale(scan, workload.scale, **options, precision=arguments.precision).report
    seconds, processor = time.perf_counter() - started, time.process_time() - spent
    plan = plan_upscaling(scan.voxels.shape, scan.spacing, "float32", workload.scale, method=arguments.method, modality=workload.modality, preset=arguments.preset)
    networks = sum(report["seconds"][stage] for stage in plan.models)
    difference = _from_single(scan, workload, options, arguments.precision)
    return {
        "rmse_of_255": float(np.sqrt(np.mean(difference**2))), "largest_of_255": float(difference.max()),
        "seconds": seconds, "processor": processor, "networks": networks, "gflops": 2 * plan.accumulates / networks / 1e9,
        "peak": report["peak_memory_bytes"], "engine": f"{report['engine']}, {report['device']}, {report['precision']}", "warnings": report["warnings"],
    }  # fmt: skip


def _from_single(scan: Volume, workload: Workload, options: dict, precision: str) -> np.ndarray:
    """Of a corner of the scan: distance of the result from that in single precision, 255 being the intensity scale."""
    corner = Volume(scan.voxels[:24, :128, :128], scan.spacing, modality=scan.modality)
    scale = intensity_scale(corner.voxels, workload.modality)
    mine, single = (scale.normalise(upscale(corner, workload.scale, **options, precision=each).volume.voxels) for each in (precision, "single"))
    return 255 * np.abs(mine - single)


def run_plain(arguments: argparse.Namespace) -> dict:
    """Sampled slices through the plain loop; seconds are for all slices of both stages."""
    workload = WORKLOADS[arguments.workload]
    scan = synthetic_scan(workload, arguments.slices)
    chosen = np.linspace(0, scan.voxels.shape[0] - 1, min(arguments.samples, scan.voxels.shape[0])).astype(int)
    voxels = scan.voxels[chosen]
    voxels = intensity_scale(voxels, workload.modality).normalise(voxels)
    plain = PlainLoop(arguments.method, workload, arguments.device)
    plain.plane(voxels[0])
    clocks = [(time.perf_counter(), time.process_time())]
    planes = [plain.plane(np.clip(image, 0, None)) for image in voxels]
    clocks.append((time.perf_counter(), time.process_time()))
    depth_slices = [width * workload.scale for width in scan.voxels.shape[1:]]
    images = [np.resize(planes[0], (scan.voxels.shape[0], width)) for width in depth_slices]
    plain.depth(images[0])
    clocks.append((time.perf_counter(), time.process_time()))
    for _ in range(arguments.samples):
        for image in images:
            plain.depth(image)
    clocks.append((time.perf_counter(), time.process_time()))
    plane_times, _, depth_times = (np.subtract(after, before) for before, after in zip(clocks, clocks[1:]))
    plane, depth = plane_times / len(voxels) * scan.voxels.shape[0], depth_times / (2 * arguments.samples) * sum(depth_slices)
    return {"seconds": float(plane[0] + depth[0]), "processor": float(plane[1] + depth[1]), "plane": float(plane[0]), "depth": float(depth[0])}


def run_gemm(arguments: argparse.Namespace) -> dict:
    """float32 matrix products of 2048 on all cores: the most that convolutions could reach."""
    a = torch.rand(2048, 2048, device=arguments.device)
    rates = []
    for _ in range(12):
        started = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        rates.append(2 * 2048**3 / (time.perf_counter() - started) / 1e9)
    return {"gflops": statistics.median(rates[2:])}


def measure(arguments: argparse.Namespace) -> dict:
    """All sides, alternating, each in a process with an untouched allocator; medians over the rounds."""
    sides = {**{preset: (preset, "auto") for preset in PRESETS}, "best, single": ("best", "single")}
    sides = {name: side for name, side in sides.items() if name in (arguments.only or sides)}
    rounds: dict[str, list[dict]] = {name: [] for name in ("gemm", "plain", *sides)}
    for _ in range(arguments.rounds):
        rounds["gemm"].append(_child(arguments, "gemm"))
        rounds["plain"].append(_child(arguments, "plain"))
        for name, (preset, precision) in sides.items():
            rounds[name].append(_child(arguments, "engine", preset, precision))
    plain, gemm = _median(rounds["plain"], "seconds"), _median(rounds["gemm"], "gflops")
    presets = {name: _compared(rounds[name], rounds["plain"], gemm) for name in sides}
    shape = (min(arguments.slices or 10**9, WORKLOADS[arguments.workload].shape[0]), *WORKLOADS[arguments.workload].shape[1:])
    return {
        "when": time.strftime("%Y-%m-%d"), "software": __version__, "workload": f"{arguments.workload}, {' x '.join(map(str, shape[::-1]))}",
        "machine": f"{platform.machine()}, {torch.get_num_threads()} cores, {arguments.device}", "rounds": arguments.rounds,
        "method": arguments.method, "plain_seconds": plain, "float32_gemm_gflops": gemm, "presets": presets,
    }  # fmt: skip


def _compared(runs: list[dict], plain: list[dict], gemm: float) -> dict:
    """Runs of the engine beside those of the plain loop and the rate of matrix products."""
    return {
        "engine": runs[0]["engine"],
        "seconds": _median(runs, "seconds"),
        "times_as_fast_as_plain": statistics.median(p["seconds"] / r["seconds"] for p, r in zip(plain, runs)),
        "by_processor_time": statistics.median(p["processor"] / r["processor"] for p, r in zip(plain, runs)),
        "processor_seconds": _median(runs, "processor"),
        "share_of_float32_gemm": _median(runs, "gflops") / gemm,
        "peak_GiB": max(run["peak"] for run in runs) / 2**30,
        "from_single_precision_rmse_of_255": runs[0]["rmse_of_255"],
        "from_single_precision_largest_of_255": runs[0]["largest_of_255"],
    }


def measure_growth(arguments: argparse.Namespace) -> dict:
    """Seconds a slice for longer and longer scans: constant if the cost is linear."""
    seconds = {}
    for slices in (32, 64, 128, 256, 512):
        arguments.slices = slices
        seconds[slices] = _child(arguments, "engine", "fast")["networks"]
    return {"when": time.strftime("%Y-%m-%d"), "workload": "long-x2", "milliseconds_a_slice": {n: 1000 * s / n for n, s in seconds.items()}}


def _median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _child(arguments: argparse.Namespace, side: str, preset: str = "best", precision: str = "auto") -> dict:
    options = {name: getattr(arguments, name) for name in ("workload", "samples", "method", "device", "slices") if getattr(arguments, name) is not None}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "--side", side, "--preset", preset, "--precision", precision, *words]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def show(row: dict) -> None:
    """A row of the history as a table."""
    console = Console(width=150)
    console.print(f"{row['workload']}; {row['machine']}; plain loop {row['plain_seconds']:.0f} s; float32 GEMM {row['float32_gemm_gflops']:.0f} GFLOP/s; medians of {row['rounds']}")
    table = Table("preset", "engine", "seconds", "times as fast as the plain loop", "by processor time", "share of float32 GEMM", "peak GiB", "from single precision: RMSE, largest, of 255")
    for preset, found in row["presets"].items():
        table.add_row(
            preset, found["engine"], f"{found['seconds']:.1f}", f"{found['times_as_fast_as_plain']:.1f}", f"{found['by_processor_time']:.1f}",
            f"{found['share_of_float32_gemm']:.0%}", f"{found['peak_GiB']:.2f}",
            f"{found['from_single_precision_rmse_of_255']:.3f}, {found['from_single_precision_largest_of_255']:.2f}",
        )  # fmt: skip
    console.print(table)


def main() -> None:
    """See above."""
    arguments = _parser().parse_args()
    if arguments.side:
        print(json.dumps({"engine": run_engine, "plain": run_plain, "gemm": run_gemm}[arguments.side](arguments)))
        return
    if arguments.growth:
        arguments.workload = "long-x2"
    row = measure_growth(arguments) if arguments.growth else measure(arguments)
    with open(arguments.history, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    if arguments.growth:
        print(json.dumps(row, indent=1))
    else:
        show(row)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="small-x2")
    parser.add_argument("--slices", type=int, help="only so many slices of the scan")
    parser.add_argument("--samples", type=int, default=2, help="slices on which the plain loop is timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="two-stage-residual")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps; all sides run on it")
    parser.add_argument("--history", type=Path, default=Path(__file__).with_name("history.jsonl"), help="a line a run is added to this file")
    parser.add_argument("--only", action="append", help="only this preset, or \"best, single\"; may be given more than once")
    parser.add_argument("--growth", action="store_true", help="instead: seconds a slice for 32 to 512 slices")
    parser.add_argument("--side", choices=("engine", "plain", "gemm"), help=argparse.SUPPRESS)
    parser.add_argument("--preset", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
