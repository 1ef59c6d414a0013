"""Is a graphics card right?  Every shipped method against the processor's engine, and what happens when something gives out.

    python Testing/Benchmarks/gpu/right.py references --scans SCANS --data build/gpu      here, with OpenVINO: at most 8 MiB
    python Testing/Benchmarks/gpu/right.py check --data build/gpu --out OUT               where the card is; a minute
    python Testing/Benchmarks/gpu/right.py check --data build/gpu --out OUT --device cpu --tiny     a rehearsal

On the card nothing is needed but PyTorch, numpy, psutil and safetensors.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from lines import Lines, rehearse_on_the_processor, texture
from references import FILE, TWO_STAGE, Case, cases, write_references
from superres3d import Volume
from superres3d.engine.convolution_forms import CONVOLUTIONS
from superres3d.errors import Cancelled
from superres3d.scan.intensity import intensity_scale
from superres3d.upscaling import upscale

MOST_SINGLE = 1e-4  # of the scale
MOST_HALF = {"CT": (0.2, "HU"), "MR": (0.05, "of 255")}  # RMSE
_CHILDREN = ("first", "second")  # names of two processes on one card
KEPT_BYTES = 64 << 20  # that PyTorch's libraries keep for themselves: workspaces


def compare(case: Case, crop: np.ndarray, expected: np.ndarray, device: str, half: bool) -> dict[str, Any]:
    """A case on the card against the processor's result."""
    result = case.run(crop, device, half)
    found, report = result.volume.voxels, result.report
    span = intensity_scale(crop, case.modality).span
    difference = found.astype(np.float64) - expected.astype(np.float64)
    rms, most = float(np.sqrt(np.mean(difference**2))), float(np.abs(difference).max())
    unit, name = (1.0, "HU") if case.modality == "CT" else (255.0 / span, "of 255")
    rounding = 0.0 if expected.dtype.kind == "f" else 1.0  # a value at a half may go the other way
    if half:
        near = rms * unit <= (MOST_HALF[case.modality][0] ** 2 + (rounding * unit) ** 2 / 6) ** 0.5
    else:
        near = most <= MOST_SINGLE * span + rounding and (not rounding or float((difference != 0).mean()) < 0.02)
    whole = found.dtype == expected.dtype and found.shape == expected.shape and bool(np.isfinite(difference).all())
    return {
        "rmse": f"{rms * unit:.4g} {name}", "most_of_scale": float(f"{most / span:.3g}"), "precision": report["precision"], "notes": report["warnings"],
        "ok": whole and near and _was_on(device, report),
    }  # fmt: skip


def _was_on(device: str, report: dict[str, Any]) -> bool:
    """Whether a run was on the device to its end."""
    return report["device"].startswith(device.split(":")[0]) and not any("failed" in note or "memory" in note.lower() for note in report["warnings"])


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
        """Texture; pixels of 1 mm, slices of 3 mm."""
        return Volume(texture(shape or self.shape, modality), (1.0, 1.0, 3.0), modality=modality)

    def held(self) -> int:
        """Bytes of the card that this process uses now."""
        return self.torch.cuda.memory_allocated() if self.cuda else 0

    def about(self) -> dict[str, Any]:
        """The card and its libraries."""
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
            "ok": any("memory" in note.lower() for note in notes) and int(difference.max()) <= 4 and after <= before + KEPT_BYTES,
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
        for name in _CHILDREN:
            (out / f"{name}.ready").unlink(missing_ok=True)
        codes, told = self._run_children(out)
        results = [out / f"{name}.npz" for name in _CHILDREN]
        if any(codes) or not all(path.exists() for path in results):
            return {"ok": False, "codes": codes, "told": told}
        first, second = (np.load(path) for path in results)
        difference = np.abs(first["voxels"].astype(np.int32) - second["voxels"])
        overlap = min(first["until"], second["until"]) - max(first["since"], second["since"])
        for name in _CHILDREN:
            (out / f"{name}.npz").unlink()
            (out / f"{name}.ready").unlink()
        return {"most": int(difference.max()), "overlapping_seconds": round(float(overlap), 2), "ok": int(difference.max()) <= 4 and overlap > 0}

    def _run_children(self, out: Path) -> tuple[list[int | None], list[str]]:
        """Exit codes, and the end of what each told."""
        command = [sys.executable, __file__, "child", "--out", str(out), "--device", self.device] + (["--tiny"] if self.tiny else [])
        children = [subprocess.Popen([*command, "--name", name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for name in _CHILDREN]
        try:
            told = [child.communicate(timeout=90)[0] for child in children]
        finally:
            for child in children:
                child.kill()
        return [child.returncode for child in children], [text[-400:] for text in told]


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
    upscale(scan, 2, modality="MR", method="two-stage-residual", device=device, preset="fast")  # told, a small scan says that it cannot be measured
    (out / f"{name}.ready").touch()
    other = out / f"{next(other for other in _CHILDREN if other != name)}.ready"
    until = time.time() + 60
    while not other.exists() and time.time() < until:
        time.sleep(0.01)
    since = time.time()
    for _ in range(1 if tiny else 4):
        result = upscale(scan, 2, modality="MR", method="two-stage-residual", device=device)
    assert not result.report["warnings"], result.report["warnings"]
    np.savez(out / f"{name}.npz", voxels=result.volume.voxels[::4, ::4, ::4], since=since, until=time.time())


class Checks:
    """All checks of a card, each a step that fails alone.

    Args:
        data: folder of the references.
        out: where the lines go.
        device: "cuda", or "cpu" for a rehearsal.
        tiny: sizes of a rehearsal.
        budget: seconds.
    """

    def __init__(self, data: Path, out: Path, device: str, tiny: bool, budget: float):
        self._out, self._device = out, device
        self._lines = Lines(out / "right.jsonl", budget)
        self._card = Card(device, tiny)
        self._lines.step("about", self._card.about)
        self._references = np.load(data / FILE)
        self._numbered = list(enumerate(cases(tiny)))
        self._default = [(number, case) for number, case in self._numbered if case.method == TWO_STAGE[0]]
        self._halves = (False, True) if self._card.cuda else (False,)

    def run(self) -> int:
        """The default method first; the number of checks that failed."""
        lines, card = self._lines, self._card
        script = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
        lines.say("references", cases=len(self._references.files) // 3, script=script)
        self._compare(self._default)
        self._forms()
        lines.step("cancel", card.cancel, needs=10)
        for half in self._halves:
            lines.step(f"tiles {'half' if half else 'single'}", partial(card.tiles, half), needs=5)
        self._memory()
        lines.step("two processes", lambda: card.two_processes(self._out), needs=15)
        self._compare([pair for pair in self._numbered if pair not in self._default])
        lines.say("done", failed=lines.failed, left=round(lines.left(), 1))
        return len(lines.failed)

    def _compare(self, chosen: list[tuple[int, Case]]) -> None:
        for (number, case), half in product(chosen, self._halves):
            self._lines.step(f"{'half' if half else 'single'}: {case.name}", partial(self._compared, number, case, half), needs=3)

    def _compared(self, number: int, case: Case, half: bool) -> dict[str, Any]:
        assert str(self._references[f"{number} name"]) == case.name
        return compare(case, self._references[f"{number} input"], self._references[f"{number} output"], self._device, half)

    def _forms(self) -> None:
        """Each form of the convolution, on the plainest cases."""
        plainest = [(n, case) for n, case in self._default if (case.preset, case.axes, case.dtype) == ("best", "all", "float32")]
        for form in CONVOLUTIONS if self._card.cuda else ():
            with _form(form):
                for number, case in plainest:
                    self._lines.step(f"{form}: {case.name}", partial(self._compared, number, case, True), needs=3)

    def _memory(self) -> None:
        """What happens when the card's memory runs out."""
        card, lines = self._card, self._lines
        if not card.cuda:
            return
        small = (16, 96, 96)
        whole = {shape: upscale(card.scan(shape), 2, modality="MR", preset="fast", device=self._device).volume.voxels.astype(np.int32) for shape in (card.shape, small)}
        lines.step("out of memory, a little", lambda: card.out_of_memory(160 << 20, whole[card.shape], card.shape), needs=5)
        lines.step("out of memory, much", lambda: card.out_of_memory(96 << 20, whole[card.shape], card.shape), needs=5)
        lines.step("out of memory, for good", lambda: card.out_of_memory(1 << 20, whole[small], small), needs=5)


def main() -> None:
    """See above."""
    given = _parser().parse_args()
    if given.what == "references":
        write_references(given.scans, given.data, given.tiny)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    if given.device == "cpu":
        rehearse_on_the_processor()
    if given.what == "child":
        child(given.out, given.name, given.device, given.tiny)
        return
    sys.exit(min(100, Checks(given.data, given.out, given.device, given.tiny, given.budget).run()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("references", "check", "child"))
    parser.add_argument("--data", type=Path, default=Path("build/gpu"), help="folder of the references")
    parser.add_argument("--scans", type=Path, help="folder of scans; none: texture")
    parser.add_argument("--out", type=Path, default=Path("build/gpu/out"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds")
    parser.add_argument("--name", help="of a child")
    return parser


if __name__ == "__main__":
    main()
