"""How fast is a graphics card, how near to what it can do, and which way of computing is best on it?

    python Testing/Benchmarks/gpu/fast.py --out OUT                         where the card is; a minute and a half
    python Testing/Benchmarks/gpu/fast.py --out OUT --device cpu --tiny     a rehearsal

Everything is measured in one process on one card: the card's own matrix product and copy, whole scans, a file to a file, a plain loop over
slices with the same networks, and the forms of the convolution.  Results are JSON lines in fast.jsonl and a table at the end.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lines import Lines, rehearse_on_the_processor, texture
from nifti import read_nifti, write_nifti
from superres3d import Volume
from superres3d.engine import turned_network
from superres3d.engine.convolution_forms import CONVOLUTIONS, TritonConvolution
from superres3d.engine.device_block import run_on_device
from superres3d.engine.engine import Engine
from superres3d.engine.ensemble import MEMBERS, Turn
from superres3d.engine.pytorch import PyTorchRuntime
from superres3d.engine.stages import NetworkStage
from superres3d.engine.turned_network import Style, TurnedNetwork
from superres3d.methods import ENSEMBLES, find_preset
from superres3d.networks.families import Architecture
from superres3d.networks.weights import Model, architecture_of, find_model, load_network
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import upscale

TFLOP = 1e12
TINY = (4, 10, 12)
#: rows, columns, warps and stages of a program of the convolution in Triton
TILES = ((1, 128, 4, 4), (1, 128, 4, 3), (4, 32, 4, 3), (8, 32, 8, 3), (4, 32, 4, 1), (8, 32, 8, 1), (8, 16, 4, 1), (8, 32, 4, 1), (16, 16, 8, 1))
GOALS = {"2x best": 0.25, "4x best": 1.3, "CT file to file": 5.0}  # seconds


class Bench:
    """What the measurements share.

    Args:
        device: "cuda" or, for a rehearsal, "cpu".
        tiny: sizes of a rehearsal.
    """

    def __init__(self, device: str, tiny: bool):
        self.device = "cuda:0" if device == "cuda" else "cpu"
        self.cuda = device == "cuda"
        self.tiny = tiny
        self.style = Style(half=self.cuda, **({"pixels": 1 << 9} if tiny else {}))
        self.rate, self.bandwidth = 1.0, 1.0  # until measured: FLOP and bytes a second
        self.table: list[tuple[str, str]] = []

    def wait(self) -> None:
        """Until the card has done what it was given."""
        if self.cuda:
            torch.cuda.synchronize()

    def median(self, work: Callable[[], Any], rounds: int = 5, most: float = 4.0) -> float:
        """Seconds, after one round that is not counted."""
        work()
        self.wait()
        seconds: list[float] = []
        while len(seconds) < (1 if self.tiny else rounds) and (sum(seconds) < most or len(seconds) < 2):
            started = time.perf_counter()
            work()
            self.wait()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)

    def peak(self) -> dict[str, int]:
        """The most memory of the card since :meth:`reset_peak`; nothing in a rehearsal."""
        return {"peak_MiB": torch.cuda.max_memory_allocated() >> 20, "reserved_MiB": torch.cuda.max_memory_reserved() >> 20} if self.cuda else {}

    def reset_peak(self) -> None:
        """Begin to count the card's memory anew."""
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    # What the card can do.

    def ceilings(self) -> dict[str, Any]:
        """A large product in half precision on random numbers, a copy within the card's memory, and copies from and to pinned memory."""
        side, dtype = (256 if self.tiny else 8192), torch.float16 if self.cuda else torch.float32
        a, b = (torch.randn(side, side, device=self.device).to(dtype) for _ in range(2))
        self.rate = 2 * side**3 / self.median(lambda: a @ b, 10)
        source = torch.randn(1 << (16 if self.tiny else 28), device=self.device)
        target = torch.empty_like(source)
        self.bandwidth = 2 * source.nbytes / self.median(lambda: target.copy_(source), 10)
        content = {"product_TFLOPs": self.rate / TFLOP, "copy_GBs": self.bandwidth / 1e9, **(self._card_alone(source) if self.cuda else {})}
        self.table.append(("ceilings", ", ".join(f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in content.items())))
        return content

    def _card_alone(self, source: torch.Tensor) -> dict[str, Any]:
        """What a rehearsal has not: pinned memory, and the product of a narrow layer."""
        host = torch.empty(min(1 << 26, len(source)), pin_memory=True)
        part = source[: len(host)]
        wide = torch.randn(1 << 16, 288, device=self.device).half()
        narrow = torch.randn(288, 32, device=self.device).half()
        return {
            "to_card_GBs": host.nbytes / self.median(lambda: part.copy_(host, non_blocking=True)) / 1e9,
            "from_card_GBs": host.nbytes / self.median(lambda: host.copy_(part, non_blocking=True)) / 1e9,
            "product_288_to_32_TFLOPs": 2 * wide.numel() * 32 / self.median(lambda: wide @ narrow, 10) / TFLOP,
            "device": torch.cuda.get_device_name(),
        }

    # Whole scans.

    def whole(self, name: str, scale: int, preset: str, style: Style | None = None) -> dict[str, Any]:
        """256 x 256 x 64 refined on all axes: on the card alone, and as a call of ``upscale`` in a process that is warm."""
        shape = TINY if self.tiny else (64, 256, 256)
        voxels = texture(shape, "MR")
        content = {"goal": GOALS.get(name), **self._on_card_alone(voxels, scale, find_preset(preset).ensemble, style or self.style)}
        if style is None:
            scan = Volume(voxels, (1.0, 1.0, 1.0), modality="MR")
            device = "cuda" if self.cuda else "cpu"
            content["upscale_seconds"] = self.median(lambda: upscale(scan, scale, modality="MR", preset=preset, device=device), 3)
        told = ", ".join(f"{key} {content[key]:.3g}" for key in ("seconds", "first_seconds", "upscale_seconds", "TFLOPs", "share_of_product", "share_of_floor") if key in content)
        self.table.append((name, told))
        return content

    def _on_card_alone(self, voxels: np.ndarray, scale: int, ensemble: str, style: Style) -> dict[str, Any]:
        """The blocks of a scan without what is around them: seconds, memory, which form each network took, and how near to the roof."""
        models = {stage: find_model(f"two-stage-residual-mr-{stage}-x{scale}") for stage in ("depth", "plane")}
        target = np.empty([n * scale for n in voxels.shape], voxels.dtype)
        intensities = intensity_scale(voxels, "MR")
        engine = self.engine(style)
        stages = [NetworkStage(engine, model, stage, ensemble) for stage, model in models.items()]
        work = lambda: run_on_device(models, ensemble, stages, voxels, target, intensities, engine, _Watch())  # noqa: E731
        self.reset_peak()
        began = time.perf_counter()
        work()
        first = time.perf_counter() - began
        seconds = self.median(work)
        content = {"seconds": seconds, "first_seconds": first, **self.peak(), "raced": _raced(engine), **self.roofline(models, ensemble, voxels.shape, seconds)}
        assert not engine.notes, engine.notes
        engine.close()
        return content

    def engine(self, style: Style) -> Engine:
        """With the networks computed in one style."""
        engine = Engine("cpu") if not self.cuda else Engine("cuda", "half" if style.half else "single")
        runtime = PyTorchRuntime("cpu") if not self.cuda else engine.runtime
        runtime.style, runtime.chunk_pixels, runtime.block_share = style, style.pixels, 0.5
        engine.runtime = runtime
        return engine

    def roofline(self, models: dict[str, Model], ensemble: str, shape: Sequence[int], seconds: float) -> dict[str, Any]:
        """Operations, and the bytes that layer after layer must move; the floor is the larger of both times, measured rates."""
        voxels, operations, moved = float(np.prod(shape)), 0.0, 0.0
        for stage, model in models.items():
            architecture, members = architecture_of(model), ENSEMBLES[ensemble][stage]
            operations += 2 * voxels * architecture.multiply_accumulates * members
            moved += voxels * map_bytes(architecture, 2 if self.cuda else 4) * members
            voxels *= np.prod(architecture.factors)
        floor = max(operations / self.rate, moved / self.bandwidth)
        return {
            "TFLOP": operations / TFLOP, "GB": moved / 1e9, "TFLOPs": operations / seconds / TFLOP, "GBs": moved / seconds / 1e9,
            "share_of_product": operations / self.rate / seconds, "floor_seconds": floor, "share_of_floor": floor / seconds,
        }  # fmt: skip

    def file_to_file(self, folder: Path) -> dict[str, Any]:
        """A CT of 512 x 512 x 300, 2x on all axes: uncompressed NIfTI to the same."""
        shape = TINY if self.tiny else (300, 512, 512)
        source, made = folder / "in.nii", folder / "out.nii"
        write_nifti(source, texture(shape, "CT"), (0.7, 0.7, 1.0))
        times: list[dict[str, float]] = []
        self.reset_peak()
        for _ in range(1 if self.tiny else 3):
            seconds, report = self._from_file_to_file(source, made)
            times.append(seconds)
        best = sorted(times, key=lambda run: run["all"])[len(times) // 2]
        models = {stage: find_model(f"{report['method']}-ct-{stage}-x2") for stage in ("depth", "plane")}
        content = {"method": report["method"], "runs": times, "goal": GOALS["CT file to file"], "blocks": report["blocks"], "warnings": report["warnings"], **self.peak()}
        content.update(self.roofline(models, "8", shape, best["depth"] + best["plane"] or best["upscale"]))
        self.table.append(("CT file to file", ", ".join(f"{key} {value:.3g}" for key, value in best.items()) + f", {content['TFLOPs']:.3g} TFLOPs on the card"))
        source.unlink()
        made.unlink()
        return content

    def _from_file_to_file(self, source: Path, made: Path) -> tuple[dict[str, float], dict[str, Any]]:
        """Seconds of each part, and the report."""
        marks = [time.perf_counter()]
        voxels, spacing = read_nifti(source)
        marks.append(time.perf_counter())
        result = upscale(Volume(voxels, spacing, modality="CT"), 2, modality="CT", device="cuda" if self.cuda else "cpu")
        marks.append(time.perf_counter())
        write_nifti(made, result.volume.voxels, result.volume.spacing)
        marks.append(time.perf_counter())
        parts = {name: b - a for name, a, b in zip(("read", "upscale", "write"), marks, marks[1:])}
        stages = {name: result.report["seconds"][name] for name in ("depth", "plane")}
        # Beside the networks: planning, measuring the scan for networks that are told of it, the memory of the result.
        return {**parts, "beside the networks": parts["upscale"] - sum(stages.values()), **stages, "all": marks[-1] - marks[0]}, result.report

    # The plain loop.

    def plain_loop(self, scale: int, half: bool, together: int) -> dict[str, Any]:
        """Each network on ``together`` slices a call, channels first, a call for each turned copy, ``torch.median``; timed on some calls and scaled up."""
        shape = TINY if self.tiny else (64, 256, 256)
        depth, height, width = shape
        total = 0.0
        for stage, sizes in (("depth", ((height, depth, width), (width, depth, height))), ("plane", ((depth * scale, height, width),))):
            net = load_network(find_model(f"two-stage-residual-mr-{stage}-x{scale}")).to(self.device)
            turns = MEMBERS[stage]["8"]
            for count, rows, columns in sizes:
                images = torch.rand(min(together, count), 1, rows, columns, device=self.device)
                call = lambda: _plain_call(net, images, turns, half)  # noqa: E731, B023
                total += self.median(call, 3, 1.0) * count / len(images)
        name = f"plain loop {scale}x, {'fp16 autocast' if half else 'fp32 (PyTorch default: TF32)'}, {together} a call"
        self.table.append((name, f"seconds {total:.3g}"))
        return {"seconds": total, "autocast": half, "slices_a_call": together}

    # Ways of computing.

    def variants(self, lines: Lines) -> Style:
        """The forms of the convolution on chunks of the plane 2x network, each a line; the best style of them."""
        base = replace(self.style, convolution="fused", graphs=self.cuda)
        tried: list[tuple[float, Style]] = []
        tiles: list[tuple[float, dict[str, int]]] = []
        for name, style, tile in self._ways(base):
            if lines.left() < 12:
                break
            if tiles and tile is None:  # from here on with the best of them
                TritonConvolution.tile = min(tiles, key=lambda timed: timed[0])[1]

            def work(style: Style = style, tile: dict[str, int] | None = tile, name: str = name) -> dict[str, Any]:
                content = self.chunk("plane", 2, style, tile)
                if tile is not None:
                    tiles.append((content["seconds_a_pixel"], tile))
                if style.half == base.half:
                    tried.append((content["seconds_a_pixel"], style))
                self.table.append((f"variant {name}", f"{content['TFLOPs']:.4g} TFLOPs"))
                return content

            lines.step(f"variant {name}", work)
        return min(tried, key=lambda timed: timed[0])[1] if tried else base

    def _ways(self, base: Style) -> Iterator[tuple[str, Style, dict[str, int] | None]]:
        yield "plain, channels first", replace(base, convolution="plain", channels_last=False, graphs=False), None
        yield "plain", replace(base, convolution="plain", graphs=False), None
        yield "plain, graph", replace(base, convolution="plain"), None
        if not self.cuda:
            return
        yield "fused", replace(base, graphs=False), None
        yield "fused, graph", base, None
        yield "fused, graph, search", replace(base, search=True), None
        yield "fused-add, graph", replace(base, convolution="fused-add"), None
        yield "fused-add, graph, search", replace(base, convolution="fused-add", search=True), None
        for rows, columns, warps, stages in TILES:
            tile = {"rows": rows, "columns": columns, "warps": warps, "stages": stages}
            yield f"triton {rows} x {columns}, {warps} warps, {stages} stages, graph", replace(base, convolution="triton"), tile
        for bits in (16, 17, 18, 20, 21):
            for convolution in ("fused-add", "triton"):
                yield f"{convolution}, graph, 2^{bits} pixels", replace(base, convolution=convolution, pixels=1 << bits), None
        yield "float32, graph", replace(base, half=False, convolution="fused"), None

    def chunk(self, stage: str, scale: int, style: Style, tile: dict[str, int] | None = None) -> dict[str, Any]:
        """One chunk with all members."""
        model = find_model(f"two-stage-residual-mr-{stage}-x{scale}")
        turns = MEMBERS[stage]["8"]
        side = 12 if self.tiny else 256
        before = TritonConvolution.tile
        TritonConvolution.tile = tile or before
        try:
            with torch.inference_mode(), turned_network.full_float32(style.search):
                network = TurnedNetwork(model, turns, self.device, style)
                images = torch.rand(network.together(side, side, style.pixels), side, side, device=self.device)
                seconds = self.median(lambda: network(images), 5, 0.3)
        finally:
            TritonConvolution.tile = before
        operations = 2 * images.numel() * network.architecture.multiply_accumulates * len(turns)
        content = {"seconds": seconds, "seconds_a_pixel": seconds / images.numel(), "TFLOPs": operations / seconds / TFLOP, "slices": len(images), "raced": network.raced}
        if self.cuda and style.graphs and not network._graphs:
            content["error"] = "no graph was recorded"
        return content

    def others(self) -> dict[str, Any]:
        """The other networks with each form: TFLOP/s."""
        found: dict[str, Any] = {}
        for stage, scale in (("depth", 2), ("plane", 4), ("depth", 4)):
            for convolution in CONVOLUTIONS if self.cuda else ("plain",):
                try:
                    found[f"{stage} {scale}x {convolution}"] = round(self.chunk(stage, scale, replace(self.style, convolution=convolution))["TFLOPs"], 1)
                except Exception as error:
                    found[f"{stage} {scale}x {convolution}"] = f"{type(error).__name__}: {error}"[:120]
        self.table.extend((f"network {name}", f"{value} TFLOPs") for name, value in found.items())
        return found

    def profile(self, scale: int, style: Style) -> dict[str, Any]:
        """Which kernels the time goes to, for one chunk of the plane network."""
        from torch.profiler import ProfilerActivity, profile

        model = find_model(f"two-stage-residual-mr-plane-x{scale}")
        with torch.inference_mode(), turned_network.full_float32():
            network = TurnedNetwork(model, MEMBERS["plane"]["8"], self.device, replace(style, graphs=False))
            side = 12 if self.tiny else 256
            images = torch.rand(network.together(side, side, style.pixels), side, side, device=self.device)
            network(images)
            self.wait()
            with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.cuda else [])]) as kept:
                network(images)
                self.wait()
        averages = [event for event in kept.key_averages() if not self.cuda or str(event.device_type).endswith("CUDA")]
        spent = lambda event: getattr(event, "self_device_time_total", 0) if self.cuda else event.self_cpu_time_total  # noqa: E731
        total = sum(spent(event) for event in averages) or 1
        return {"microseconds": total, "kernels": [(event.key[:110], event.count, round(spent(event) / total, 3)) for event in sorted(averages, key=spent, reverse=True)[:10]]}


class _Watch:
    """Of a run that tells nobody."""

    def begin_block(self, *_: Any) -> None:
        """Nothing."""

    def tick(self, *_: Any) -> None:
        """Nothing."""


def _raced(engine: Engine) -> dict[str, dict[str, Any]]:
    """Stage -> seconds of the forms that were tried, the one that was taken, and how many graphs were recorded."""
    chains = engine.kept("blocks on the device", lambda: None)
    return {stage: {**network.raced, "by": type(network.convolution).__name__, "graphs": len(network._graphs)} for stage, network in chains.networks.items()}


def _plain_call(net: torch.nn.Module, images: torch.Tensor, turns: Sequence[Turn], half: bool) -> torch.Tensor:
    members = []
    with torch.inference_mode(), torch.autocast(images.device.type, torch.float16, enabled=half):
        for quarter, flip in turns:
            turned = torch.rot90(images, quarter, (-2, -1))
            refined = net(turned.flip(-1) if flip else turned)
            members.append(torch.rot90(refined.flip(-1) if flip else refined, -quarter, (-2, -1)))
        return torch.stack(members).median(dim=0).values


def map_bytes(architecture: Architecture, number: int) -> float:
    """Bytes an input pixel that a member moves at least, each layer for itself: what it reads once, what it writes once.

    Args:
        architecture: of a residual network.
        number: bytes of a number.
    """
    assert architecture.name == "edsr"
    width, blocks = architecture.settings["filters"], architecture.settings["blocks"]
    return number * (1 + width + blocks * (2 * width + 3 * width) + width + np.prod(architecture.factors))


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build/gpu/out"))
    parser.add_argument("--work", type=Path, help="folder for the files of the CT; none: a temporary one")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget", type=float, default=100.0, help="seconds")
    given = parser.parse_args()
    if given.device == "cpu":
        rehearse_on_the_processor()
    lines, bench = Lines(given.out / "fast.jsonl", given.budget), Bench(given.device, given.tiny)
    lines.say("about", torch=torch.__version__, device=given.device, tiny=given.tiny)
    measure_scans(bench, lines, given.work or Path(tempfile.mkdtemp()))
    measure_ways(bench, lines)
    lines.say("done", failed=lines.failed, left=round(lines.left(), 1))
    for name, told in bench.table:
        print(f"{name:45s} {told}")


def measure_scans(bench: Bench, lines: Lines, work: Path) -> None:
    """The card's ceilings, whole scans, and a file to a file in the folder ``work``."""
    lines.step("ceilings", bench.ceilings)
    lines.step("2x best", lambda: bench.whole("2x best", 2, "best"))
    lines.step("4x best", lambda: bench.whole("4x best", 4, "best"))
    lines.step("CT file to file", lambda: bench.file_to_file(work))
    lines.step("2x fast", lambda: bench.whole("2x fast", 2, "fast"), needs=30)
    lines.step("4x fast", lambda: bench.whole("4x fast", 4, "fast"), needs=30)


def measure_ways(bench: Bench, lines: Lines) -> None:
    """The forms of the convolution, whole scans with the best of them, a plain loop, and where the time goes."""
    best = bench.variants(lines)
    lines.say("best variant", style=vars(best), tile=TritonConvolution.tile)
    lines.step("2x best, best variant", lambda: bench.whole("2x best, best variant", 2, "best", best), needs=10)
    lines.step("4x best, best variant", lambda: bench.whole("4x best, best variant", 4, "best", best), needs=10)
    lines.step("other networks", bench.others, needs=12)
    for half, together in ((False, 1), (True, 1), (False, 16), (True, 16))[:: 1 if bench.cuda else 2]:
        lines.step(f"plain loop 2x {half} {together}", lambda half=half, together=together: bench.plain_loop(2, half, together), needs=6)
    lines.step("plain loop 4x", lambda: bench.plain_loop(4, bench.cuda, 16), needs=6)
    for scale in (2, 4):
        lines.step(f"profile {scale}x", lambda scale=scale: bench.profile(scale, best), needs=4)


if __name__ == "__main__":
    main()
