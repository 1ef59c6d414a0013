"""Is a graphics card right?  Every shipped method against the processor's engine, and what happens when something gives out.

    python Testing/Benchmarks/gpu/right.py references --scans SCANS --data build/gpu      here, with OpenVINO: at most 8 MiB
    python Testing/Benchmarks/gpu/right.py check --data build/gpu --out OUT               where the card is; a minute
    python Testing/Benchmarks/gpu/right.py check --data build/gpu --out OUT --device cpu --tiny     a rehearsal

On the card nothing is needed but PyTorch, numpy, psutil and safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from lines import Lines, rehearse_on_the_processor, texture
from superres3d import Volume
from superres3d.engine.turned_network import CONVOLUTIONS
from superres3d.errors import Cancelled
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import Result, upscale

FILE = "references.npz"
MOST_BYTES = 8 << 20
CROPS = {"CT": ("ct_chest_ctmd_cap001", (20, 170, 200)), "MR": ("mr_t1_ds002748_sub22", (80, 120, 140))}
MOST_SINGLE = 1e-4  # of the scale
MOST_HALF = {"CT": (0.2, "HU"), "MR": (0.05, "of 255")}  # RMSE
TWO_STAGE = ("two-stage-residual", "georgescu2020")
VOLUMETRIC = {"MR": ("mdcsrn", "fsrcnn-3d", "srdensenet-3d"), "CT": ("virtual-thin-slice", "srcnn-3d")}
KEPT_BYTES = 64 << 20  # that PyTorch's libraries keep for themselves: workspaces


@dataclass(frozen=True)
class Case:
    """One call of ``upscale`` on a crop (k, j, i)."""

    method: str
    modality: str
    scale: int | None = 2
    axes: str | None = "all"
    preset: str = "best"
    dtype: str = "float32"
    shape: tuple[int, int, int] = (8, 24, 28)
    slice_axis: str = "k"

    @property
    def name(self) -> str:
        return " ".join(str(part) for part in (self.method, self.modality, self.scale, self.axes, self.preset, self.dtype, self.slice_axis))

    def run(self, crop: np.ndarray, device: str, half: bool) -> Result:
        """Slices 5 mm apart."""
        spacing = (1.0, 1.0, 5.0) if self.slice_axis == "k" else (5.0, 1.0, 1.0)
        return upscale(
            Volume(crop, spacing, modality=self.modality), self.scale, axes=self.axes, method=self.method, modality=self.modality, preset=self.preset,
            precision="auto" if half else "single", device=device, slice_axis=self.slice_axis,
        )  # fmt: skip


def cases(tiny: bool = False) -> Iterator[Case]:
    """The default method first."""
    for method, modality in product(TWO_STAGE, ("CT", "MR")):
        yield Case(method, modality)
        if tiny:
            break
        yield Case(method, modality, preset="balanced")
        yield Case(method, modality, preset="fast")
        yield Case(method, modality, 4, shape=(6, 14, 17))
        yield Case(method, modality, 4, preset="fast", shape=(6, 14, 17))
        yield Case(method, modality, 2, "in-plane", "balanced")
        yield Case(method, modality, 4, "in-plane", "best", shape=(4, 24, 28))
        yield Case(method, modality, 2, "through-plane", "best")
        yield Case(method, modality, 4, "through-plane", "balanced")
        yield Case(method, modality, dtype="int16", shape=(8, 32, 40))
    if not tiny:
        yield Case(TWO_STAGE[0], "CT", dtype="int16", preset="fast", shape=(24, 24, 9), slice_axis="i")
    for modality, methods in VOLUMETRIC.items():
        for method in methods[: 0 if tiny else None]:
            choices = {"scale": 2, "axes": "in-plane", "shape": (8, 32, 36)} if modality == "MR" else {"scale": None, "axes": None, "shape": (6, 32, 36)}
            yield Case(method, modality, **choices)


def crop_for(case: Case, volumes: dict[str, np.ndarray]) -> np.ndarray:
    """Of the scan of its modality; with voxels beyond what a network takes."""
    start = CROPS[case.modality][1]
    crop = volumes[case.modality][tuple(slice(a, a + n) for a, n in zip(start, case.shape))].astype(np.float32)
    assert crop.shape == case.shape, crop.shape
    if case.modality == "CT":
        crop[1, 2:5, 3:7] = -2000
        crop[2, 3, 4] = 8000
    return np.rint(crop).astype(case.dtype)


def write_references(scans: Path | None, data: Path, tiny: bool) -> None:
    """Inputs and the processor's results, single precision, as one file."""
    volumes = {modality: texture((48, 240, 240), modality, "float32") for modality in CROPS}
    if scans:
        from superres3d import read_volume
        from superres3d.scan.images import find_volume

        volumes = {modality: read_volume(find_volume(name, scans)).voxels for modality, (name, _) in CROPS.items()}
    else:
        volumes = {modality: np.pad(volume, [(s, 0) for s in CROPS[modality][1]], mode="wrap") for modality, volume in volumes.items()}
    arrays: dict[str, np.ndarray] = {}
    for number, case in enumerate(cases(tiny)):
        arrays[f"{number} input"] = crop = crop_for(case, volumes)
        arrays[f"{number} name"] = np.array(case.name)
        arrays[f"{number} output"] = case.run(crop, "cpu", half=False).volume.voxels
        print(case.name, arrays[f"{number} output"].shape, flush=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    assert len(packed.getvalue()) <= MOST_BYTES, len(packed.getvalue())
    data.mkdir(parents=True, exist_ok=True)
    (data / FILE).write_bytes(packed.getvalue())
    print(f"{data / FILE}: {len(packed.getvalue()) / 2**20:.1f} MiB, {len(arrays) // 3} cases")


def compare(case: Case, crop: np.ndarray, expected: np.ndarray, device: str, half: bool) -> dict[str, Any]:
    """A case on the card against the processor's result."""
    result = case.run(crop, device, half)
    found, report = result.volume.voxels, result.report
    scale = intensity_scale(crop, case.modality)
    difference = found.astype(np.float64) - expected.astype(np.float64)
    whole = found.dtype == expected.dtype and found.shape == expected.shape and bool(np.isfinite(difference).all())
    rms, most = float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())
    unit, span = (1.0, "HU") if case.modality == "CT" else (255.0 / scale.span, "of 255")
    content = {"rmse": f"{rms * unit:.4g} {span}", "most_of_scale": float(f"{most / scale.span:.3g}"), "precision": report["precision"], "notes": report["warnings"]}
    rounding = 0.0 if expected.dtype.kind == "f" else 1.0  # a value at a half may go the other way
    if half:
        limit = MOST_HALF[case.modality][0]
        content["ok"] = whole and rms * unit <= (limit**2 + (rounding * unit) ** 2 / 6) ** 0.5
    else:
        content["ok"] = whole and most <= MOST_SINGLE * scale.span + rounding and (not rounding or float((difference != 0).mean()) < 0.02)
    content["ok"] &= report["device"].startswith(device.split(":")[0]) and not any("failed" in note or "memory" in note for note in report["warnings"])
    return content


class Card:
    """What is asked of the card beside its numbers; on the device "cpu" a rehearsal."""

    def __init__(self, device: str, tiny: bool):
        import torch

        self.torch = torch
        self.device = device
        self.cuda = device.startswith("cuda")
        self.tiny = tiny
        self.shape = (8, 40, 48) if tiny else (64, 256, 256)

    def scan(self, shape: tuple[int, int, int] | None = None, modality: str = "MR") -> Volume:
        return Volume(texture(shape or self.shape, modality), (1.0, 1.0, 3.0), modality=modality)

    def held(self) -> int:
        """Bytes of the card that this process uses now."""
        return self.torch.cuda.memory_allocated() if self.cuda else 0

    def about(self) -> dict[str, Any]:
        torch = self.torch
        if not self.cuda:
            return {"torch": torch.__version__, "device": self.device}
        properties = torch.cuda.get_device_properties(0)
        return {
            "torch": torch.__version__, "cudnn": torch.backends.cudnn.version(), "device": properties.name, "free_GiB": torch.cuda.mem_get_info()[0] >> 30,
            "tf32": [torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32],
        }  # fmt: skip

    def tiles(self, half: bool) -> dict[str, Any]:
        """Blocks of a scan give what the whole gives."""
        scan = Volume(self.scan(modality="CT").voxels.astype(np.float32), (1.0, 1.0, 3.0), modality="CT")
        precision = "auto" if half else "single"
        results = []
        for budget in (None, (1 << 20 if self.tiny else 100 << 20)):
            with _free_memory(budget):
                results.append(upscale(scan, 2, modality="CT", precision=precision, device=self.device, preset="balanced"))
        difference = np.abs(results[0].volume.voxels - results[1].volume.voxels)
        blocks = [result.report["blocks"] for result in results]
        most = 4.0 if half else 0.1
        rms, largest = float(np.sqrt(np.mean(difference**2))), float(difference.max())
        return {"blocks": blocks, "most_HU": largest, "rms_HU": rms, "ok": blocks[1] > 1 and largest <= most}

    def out_of_memory(self, spare: int, whole: np.ndarray, shape: tuple[int, int, int], scale: int = 2) -> dict[str, Any]:
        """With ``spare`` bytes of the card: the result is the same, it is said, and memory comes back."""
        torch, before = self.torch, self.held()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + spare) / total))
        try:
            result = upscale(self.scan(shape), scale, modality="MR", preset="fast", device=self.device)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        difference = np.abs(result.volume.voxels.astype(np.int32) - whole)
        after, notes = self.held(), result.report["warnings"]
        torch.cuda.empty_cache()
        return {
            "spare_MiB": spare >> 20, "notes": notes[:2] + notes[-1:], "count": len(notes), "device": result.report["device"], "blocks": result.report["blocks"],
            "most": int(difference.max()), "held_MiB": [before >> 20, after >> 20], "reserved_MiB": torch.cuda.memory_reserved() >> 20,
            "ok": any("memory" in note for note in notes) and int(difference.max()) <= 4 and after <= before + KEPT_BYTES,
        }  # fmt: skip

    def cancel(self) -> dict[str, Any]:
        """A stop in the middle of much work, and what is held afterwards."""
        scan = self.scan((16, 64, 64) if self.tiny else (160, 384, 384))
        asked: list[float] = []
        wait = 0.02 if self.tiny else 1.0
        began = time.perf_counter()

        def cancelled() -> bool:
            now = time.perf_counter()
            if now - began > wait and not asked:
                asked.append(began + wait)  # the user's moment, not the engine's
            return bool(asked)

        try:
            upscale(scan, 4, modality="MR", device=self.device, cancelled=cancelled)
            return {"ok": False, "error": "it was done before the stop"}
        except Cancelled:
            seconds = time.perf_counter() - asked[0]
        return {"seconds_until_stopped": round(seconds, 3), "held_MiB": self.held() >> 20, "ok": seconds < 2.0 and self.held() <= KEPT_BYTES}

    def two_processes(self, out: Path) -> dict[str, Any]:
        """Both at once on one card; each waits until the other is ready."""
        names = ["first", "second"]
        for name in names:
            (out / f"{name}.ready").unlink(missing_ok=True)
        command = [sys.executable, __file__, "child", "--out", str(out), "--device", self.device] + (["--tiny"] if self.tiny else [])
        children = [subprocess.Popen([*command, "--name", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for name in names]
        try:
            told = [child.communicate(timeout=90)[0] for child in children]
        finally:
            for child in children:
                child.kill()
        results = [out / f"{name}.npz" for name in names]
        codes = [child.returncode for child in children]
        if any(codes) or not all(path.exists() for path in results):
            return {"ok": False, "codes": codes, "told": [text[-400:] for text in told]}
        first, second = (np.load(path) for path in results)
        difference = np.abs(first["voxels"].astype(np.int32) - second["voxels"])
        overlap = min(first["until"], second["until"]) - max(first["since"], second["since"])
        for name in names:
            (out / f"{name}.npz").unlink()
            (out / f"{name}.ready").unlink()
        return {"most": int(difference.max()), "overlapping_seconds": round(float(overlap), 2), "ok": int(difference.max()) <= 4 and overlap > 0}


class _form:
    """Networks on the card with one form of the convolution, on slices of any size."""

    def __init__(self, name: str):
        self._name = name

    def __enter__(self) -> None:
        from superres3d.engine import pytorch

        self._module, self._before = pytorch, pytorch.Style
        pytorch.Style = partial(self._before, convolution=self._name)

    def __exit__(self, *_: Any) -> None:
        self._module.Style = self._before


class _free_memory:
    """Blocks as if the card had so many bytes free (None: what it has)."""

    def __init__(self, count: int | None):
        self._count = count

    def __enter__(self) -> None:
        from superres3d.engine import device_block

        self._module, self._before = device_block, device_block._free_bytes
        if self._count is not None:
            device_block._free_bytes = lambda device: self._count

    def __exit__(self, *_: Any) -> None:
        self._module._free_bytes = self._before


def child(out: Path, name: str, device: str, tiny: bool) -> None:
    """One of two processes."""
    card = Card(device, tiny)
    scan = card.scan()
    upscale(scan, 2, modality="MR", device=device, preset="fast")
    (out / f"{name}.ready").touch()
    other = out / f"{({'first': 'second', 'second': 'first'})[name]}.ready"
    until = time.time() + 60
    while not other.exists() and time.time() < until:
        time.sleep(0.01)
    since = time.time()
    for _ in range(1 if tiny else 4):
        result = upscale(scan, 2, modality="MR", device=device)
    assert not result.report["warnings"], result.report["warnings"]
    np.savez(out / f"{name}.npz", voxels=result.volume.voxels[::4, ::4, ::4], since=since, until=time.time())


def check(data: Path, out: Path, device: str, tiny: bool, budget: float) -> int:
    """All checks; the number of those that failed."""
    lines = Lines(out / "right.jsonl", budget)
    card = Card(device, tiny)
    lines.step("about", card.about)
    references = np.load(data / FILE)
    script = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    lines.say("references", cases=len(references.files) // 3, script=script)
    numbered = list(enumerate(cases(tiny)))
    halves = (False, True) if card.cuda else (False,)

    def compared(number: int, case: Case, half: bool) -> dict[str, Any]:
        assert str(references[f"{number} name"]) == case.name
        return compare(case, references[f"{number} input"], references[f"{number} output"], device, half)

    def comparisons(chosen: list[tuple[int, Case]]) -> None:
        for (number, case), half in product(chosen, halves):
            lines.step(f"{'half' if half else 'single'}: {case.name}", partial(compared, number, case, half), needs=3)

    default = [(number, case) for number, case in numbered if case.method == TWO_STAGE[0]]
    comparisons(default)
    for form in CONVOLUTIONS if card.cuda else ():
        with _form(form):
            for number, case in default:
                if case.preset == "best" and case.axes == "all" and case.dtype == "float32":
                    lines.step(f"{form}: {case.name}", partial(compared, number, case, True), needs=3)
    lines.step("cancel", card.cancel, needs=10)
    for half in halves:
        lines.step(f"tiles {'half' if half else 'single'}", partial(card.tiles, half), needs=5)
    if card.cuda:
        small = (16, 96, 96)
        whole = {shape: upscale(card.scan(shape), 2, modality="MR", preset="fast", device=device).volume.voxels.astype(np.int32) for shape in (card.shape, small)}
        lines.step("out of memory, a little", lambda: card.out_of_memory(160 << 20, whole[card.shape], card.shape), needs=5)
        lines.step("out of memory, much", lambda: card.out_of_memory(96 << 20, whole[card.shape], card.shape), needs=5)
        lines.step("out of memory, for good", lambda: card.out_of_memory(1 << 20, whole[small], small), needs=5)
    lines.step("two processes", lambda: card.two_processes(out), needs=15)
    comparisons([pair for pair in numbered if pair not in default])
    lines.say("done", failed=lines.failed, left=round(lines.left(), 1))
    return len(lines.failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("references", "check", "child"))
    parser.add_argument("--data", type=Path, default=Path("build/gpu"), help="folder of the references")
    parser.add_argument("--scans", type=Path, help="folder of scans; none: texture")
    parser.add_argument("--out", type=Path, default=Path("build/gpu/out"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds")
    parser.add_argument("--name", help="of a child")
    given = parser.parse_args()
    if given.what == "references":
        write_references(given.scans, given.data, given.tiny)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    if given.device == "cpu":
        rehearse_on_the_processor()
    if given.what == "child":
        child(given.out, given.name, given.device, given.tiny)
        return
    sys.exit(min(100, check(given.data, given.out, given.device, given.tiny, given.budget)))


if __name__ == "__main__":
    main()
