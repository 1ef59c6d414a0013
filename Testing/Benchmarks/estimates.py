"""How near the estimate of a run's time is, for kinds of runs that the machine has never done, and after a run of another kind.

What a run takes is told by the processor's own time: what its main thread spent, and of what all threads spent the share of a core.  So it is what the run would
take by the clock if nothing else computed, and can be measured on a machine that is busy (which makes it a tenth or three longer: cores share their caches).
The second that is planned for starting a program is left out, since all runs are made in one.

    python Testing/Benchmarks/estimates.py --out estimates.jsonl
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

os.environ["SUPERRES3D_CACHE"] = tempfile.mkdtemp()  # a machine that was never measured

from engine_speed import Workload, synthetic_scan  # noqa: E402
from superres3d import Volume, speed, write_volume  # noqa: E402
from superres3d.methods import PRESETS  # noqa: E402
from superres3d.upscaling import plan_for, upscale  # noqa: E402

SHAPES = {"small": (24, 128, 128), "middle": (40, 192, 192), "flat": (20, 384, 384), "large": (64, 256, 256)}
#: (factor, axes, size)
WAYS = (
    (2, "all", "small"), (2, "in-plane", "middle"), (2, "through-plane", "middle"), (2, "in-plane", "flat"), (2, "all", "large"),
    (4, "all", "small"), (4, "in-plane", "small"), (4, "through-plane", "middle"),
)  # fmt: skip


def scan_of(size: str, modality: str) -> Volume:
    """Texture in whole numbers."""
    scan = synthetic_scan(Workload(SHAPES[size], 2, modality), None)
    return Volume(np.rint(scan.voxels).astype(np.int16), scan.spacing, modality=modality)


def own_seconds(work: Callable[[], Any]) -> tuple[Any, float]:
    """What a work gives, and what it takes when nothing else computes."""
    before = time.process_time(), time.thread_time()
    made = work()
    whole, alone = time.process_time() - before[0], time.thread_time() - before[1]
    return made, alone + (whole - alone) / speed.usable_cores()


class Kinds:
    """Every kind of run, done once; ``learned`` is what the cache holds before the first and after each."""

    def __init__(self, folder: Path, out: Path):
        self._file, self._written = speed.cache_folder() / "speed.json", folder / "made.nii.gz"
        for preset in PRESETS:
            speed.calibrate("MR", preset, "cpu")
        self._fresh = self._file.read_text()
        self._scans = {(size, modality): scan_of(size, modality) for size in SHAPES for modality in ("MR", "CT")}
        self.rows: list[dict[str, Any]] = []
        for modality in ("MR", "CT"):
            for preset in PRESETS:
                for way in WAYS:
                    self._run((modality, preset, *way))
                    with out.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(self.rows[-1]) + "\n")

    def said(self, kind: tuple[Any, ...], learned: str) -> float:
        """The estimate with those rates, without the start of a program."""
        self._file.write_text(learned)
        modality, preset, scale, axes, size = kind
        scan = self._scans[size, modality]
        return plan_for(scan, scale, axes=axes, modality=modality, preset=preset, device="cpu")[0].seconds - speed._START_SECONDS

    def _run(self, kind: tuple[Any, ...]) -> None:
        modality, preset, scale, axes, size = kind
        said, scan = self.said(kind, self._fresh), self._scans[size, modality]
        result, computing = own_seconds(lambda: upscale(scan, scale, axes=axes, modality=modality, preset=preset, device="cpu"))
        learned = self._file.read_text()
        writing = own_seconds(lambda: write_volume(result.volume, self._written))[1]
        self.rows.append({"kind": kind, "said": said, "taken": computing + writing, "learned": None if learned == self._fresh else learned})
        print(f"{' '.join(map(str, kind)):40s} said {said:6.2f}, taken {computing + writing:6.2f}: {said / (computing + writing):.2f}", flush=True)

    def after_others(self) -> list[float]:
        """Said over taken, of every kind after every run of another kind that taught something."""
        teachers = [row for row in self.rows if row["learned"]]
        return [self.said(row["kind"], teacher["learned"]) / row["taken"] for teacher in teachers for row in self.rows if row is not teacher]


def main(out: Annotated[Path, typer.Option(help="A line for each kind of run is added to this file.")] = Path("estimates.jsonl")) -> None:
    """See above."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = Kinds(Path(folder), out)
    ratios = [row["said"] / row["taken"] for row in kinds.rows]
    print(f"never measured: said is {min(ratios):.2f} to {max(ratios):.2f} times what is taken, {len(ratios)} kinds")
    others = kinds.after_others()
    print(f"after another kind: {min(others):.2f} to {max(others):.2f}, median {np.median(others):.2f}, {len(others)} pairs; within 1.5 times: {np.mean([1 / 1.5 <= ratio <= 1.5 for ratio in others]):.1%}")


if __name__ == "__main__":
    typer.run(main)
