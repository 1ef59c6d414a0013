"""What the scripts for a graphics card share: results line by line, steps that fail alone, and scans that need no data."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "SuperResolution3D" / "Logic"))
os.environ.setdefault("SUPERRES3D_CACHE", tempfile.mkdtemp())  # what is learned there is of no use here
os.environ.setdefault("TRITON_CACHE_DIR", str(Path(tempfile.gettempdir()) / "triton-cache"))

import numpy as np  # noqa: E402

_SHOWN = 300


class Lines:
    """Results as JSON lines, written as they come.

    Args:
        path: of the file.
        budget: seconds for all steps.
    """

    def __init__(self, path: Path, budget: float):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._started = time.perf_counter()
        self._budget = budget
        self.failed: list[str] = []

    def say(self, check: str, **content: Any) -> None:
        """One line, to the file and to standard output."""
        line = json.dumps({"check": check, "at": round(time.perf_counter() - self._started, 2), **content}, default=str)
        self._file.write(line + "\n")
        self._file.flush()
        print(line, flush=True)

    def left(self) -> float:
        """Seconds of the budget."""
        return self._budget - (time.perf_counter() - self._started)

    def step(self, check: str, work: Callable[[], dict[str, Any]], needs: float = 0.0) -> None:
        """A step whose failure hides no other; ``work`` gives what to say, with ``ok`` unless there is nothing to judge."""
        if self.left() < needs:
            self.say(check, skipped=f"{self.left():.0f} s left, {needs:.0f} needed")
            return
        started = time.perf_counter()
        try:
            content = work()
        except Exception as error:
            told = traceback.format_exc().strip().splitlines()
            content = {"ok": False, "error": f"{type(error).__name__}: {error}"[:_SHOWN], "trace": told[-7:]}
        if "ok" in content:
            content["ok"] = bool(content["ok"])  # numpy's would be written as a word
        if content.get("ok") is False:
            self.failed.append(check)
        self.say(check, took=round(time.perf_counter() - started, 3), **content)


def texture(shape: tuple[int, int, int], modality: str, dtype: str = "int16", seed: int = 0) -> np.ndarray:
    """Band-limited texture over the intensities of the modality, made quickly: a noise of half the size, made finer."""
    half = np.random.default_rng(seed).standard_normal([n // 2 + 2 for n in shape], dtype=np.float32)
    for axis, length in enumerate(shape):
        half = (half + np.roll(half, 1, axis)) / 2
        fine = np.repeat(half, 2, axis)
        fine = (fine + np.roll(fine, 1, axis)) / 2
        half = np.take(fine, range(1, length + 1), axis)
    low, high = (-1000.0, 1500.0) if modality == "CT" else (0.0, 1000.0)
    half -= half.min()
    half *= (high - low) / half.max()
    half += low
    return half.astype(dtype)


def rehearse_on_the_processor() -> None:
    """The device "cpu" takes the path of a card from now on."""
    from superres3d.engine import engine
    from superres3d.engine.pytorch import PyTorchRuntime

    def runtime(device: str, half: bool) -> tuple[Any, list[str]]:
        made = PyTorchRuntime("cpu")
        made.block_share = 0.5
        return made, []

    engine.choose_runtime = runtime
