"""How fast this machine computes, learned from its own runs and kept between them.

The rate of a run is the arithmetic of its networks over the seconds that it would have taken had nothing else computed.  It is kept for each kind of
device, and for each precision that presets ask for, in a small file of the user's cache folder; nothing else is.
"""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from .engine.memory import usable_cores
from .files import replace_text
from .networks.eight_bits import PRECISIONS

if TYPE_CHECKING:
    from .methods import Method

# Before the first run: what a core of a current laptop does, in multiply-accumulates a second.
_FIRST_GUESS_PER_CORE = 35e9
_ENOUGH_SECONDS = 3.0  # a shorter run says more about starting up than about the machine
_START_SECONDS = 1.0
_CALIBRATION_SECONDS = 0.4
_FACTORS = ("2x", "4x")
_PROBED = "two-stage-residual"  # the default's layers and arithmetic, and nothing that must be told
_MEASURING_START, _MEASURED_VOXELS = 0.3, 200e6  # what a scan shows is measured on a part of it; its range of intensities is not
_SLOWEST, _FASTEST = 1e6, 1e16  # anything else is damage
_PROBE_SECONDS, _PROBE = 0.12, bytes(1 << 16)  # hashing it needs no lock of Python's
#: times as long as alone: from here on it is worth a word
BUSY = 1.25


def work_of(method: Method, factor: float) -> str:
    """What has a rate of its own: each factor (what lies outside the networks weighs more at 4x), each volumetric network."""
    return method.name if method.volumetric else _FACTORS[factor > 2]


def expected_seconds(accumulates: float, precision: str, device: str = "auto", work: str = "2x") -> float:
    """A guess of the seconds for so many multiply-accumulates on a device (0 gives 0); ``work`` is from :func:`work_of`."""
    if not accumulates:
        return 0.0
    rates = _read()
    kinds = ("cuda", "mps", "cpu") if device == "auto" else (device.split(":")[0],)
    wanted = [_key(kind, asked, known) for kind in kinds for asked in dict.fromkeys((precision, *PRECISIONS)) for known in dict.fromkeys((work, *_FACTORS))]
    known = [rates[key] for key in wanted if key in rates]
    return _START_SECONDS + accumulates / (known[0] if known else _FIRST_GUESS_PER_CORE * usable_cores())


def busy() -> float:
    """How many times as long a computation on all cores takes now as it would if nothing else computed on this machine; at least 1."""

    def work(_: int) -> tuple[float, float]:
        started, spent = time.perf_counter(), time.thread_time()
        while time.perf_counter() - started < _PROBE_SECONDS:
            sha256(_PROBE)
        return time.perf_counter() - started, time.thread_time() - spent

    cores = usable_cores()
    with ThreadPoolExecutor(cores) as pool:
        whole, own = map(sum, zip(*pool.map(work, range(cores))))
    return max(1.0, whole / max(own, 1e-3))


def busy_words(times: float) -> str:
    """What there is to say of :func:`busy`, one sentence; nothing of a machine that is idle."""
    return f"Something else computes on this machine now: the times are {times:.1f} times those that it would take alone." if times >= BUSY else ""


def measuring_seconds(voxels: int) -> float:
    """What it takes to measure a scan of so many voxels, for networks that are told of it; the processor does that, whatever the device."""
    return _MEASURING_START + voxels / _MEASURED_VOXELS


def is_known(precision: str, device: str = "auto", method: Method | None = None) -> bool:
    """Whether this machine's own speed is known for that precision and device (and, of a volumetric network, for the method)."""
    works = (method.name,) if method and method.volumetric else _FACTORS
    kinds = ("cuda", "mps", "cpu") if device == "auto" else (device.split(":")[0],)
    return any(_key(kind, precision, work) in _read() for kind in kinds for work in works)


def remember_speed(device: str, precision: str, work: str, accumulates: float, seconds: float) -> None:
    """Keep what a finished run tells of the machine; arguments as :func:`expected_seconds` takes them, with the ``seconds`` that it takes when nothing else computes."""
    if seconds >= _ENOUGH_SECONDS:
        _keep(device, precision, accumulates / seconds, work)


def calibrate(modality: str, preset_name: str, device: str = "auto") -> None:
    """Measure this machine for half a second with a shipped network, unless it is known already or no engine can be loaded."""
    from .methods import METHODS, find_preset

    precision = find_preset(preset_name).precision
    if is_known(precision, device):
        return
    import numpy as np

    from .engine.engine import Engine
    from .engine.ensemble import IDENTITY
    from .errors import SuperResolutionError
    from .networks.weights import find_model

    try:
        model = find_model(METHODS[_PROBED].model_name(modality, "plane", 2))
        engine = Engine(device, precision)
        slice_ = np.random.default_rng(0).random((1, 192, 192), dtype=np.float32)
        count = engine.runtime.workers
        for _ in range(3):  # the first time compiles; then as many slices as take long enough to tell
            images = np.repeat(slice_, count, axis=0)
            started, spent = time.perf_counter(), time.process_time()
            engine.run(model, images, (IDENTITY,), lambda share: None)
            seconds = time.perf_counter() - started
            if engine.runtime.device == "cpu":  # its own time: what else computes is none of the machine's speed
                seconds = min(seconds, (time.process_time() - spent) / engine.runtime.workers)
            count = engine.runtime.workers * max(1, min(32, round(_CALIBRATION_SECONDS / seconds * count / engine.runtime.workers)))
        engine.close()
    except SuperResolutionError:
        return
    _keep(engine.runtime.device, precision, images.size * model.multiply_accumulates / seconds)


def cache_folder() -> Path:
    """Where this program keeps what it learned: ``SUPERRES3D_CACHE``, else the user's cache folder."""
    named = os.environ.get("SUPERRES3D_CACHE")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "superres3d"


def _keep(device: str, precision: str, rate: float, work: str = "2x") -> None:
    try:
        rates, key = _read(), _key(device.split(":")[0], precision, work)
        # One run beside other work must not spoil it.
        rates[key] = round((rates.get(key, rate) + rate) / 2)
        cache_folder().mkdir(parents=True, exist_ok=True)
        replace_text(cache_folder() / "speed.json", json.dumps(rates, indent=1) + "\n")
    except Exception:  # what was learned is not worth a result
        pass


def _read() -> dict[str, float]:
    try:
        content = json.loads((cache_folder() / "speed.json").read_text(encoding="utf-8"))
        rates = {str(key): float(rate) for key, rate in content.items()}
        return {key: rate for key, rate in rates.items() if _SLOWEST < rate < _FASTEST}
    except Exception:  # missing, damaged, or a user without a home
        return {}


def _key(kind: str, precision: str, work: str) -> str:
    return f"{kind} {precision} {work} {usable_cores()} cores"
