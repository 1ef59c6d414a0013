"""Which runtime computes here: what was asked for, else the next that works, and says so."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from ..errors import DeviceError
from .runtime import Runtime

DEVICES = ("auto", "cuda", "mps", "cpu")
NO_ENGINE = "install OpenVINO (pip install openvino) or PyTorch, or use an interpolation."


def choose_runtime(device: str = "auto", precision: str = "single") -> tuple[Runtime, list[str]]:
    """The runtime for a device, and what had to be given up for it, one sentence each.

    Args:
        device: "auto" (a graphics card that PyTorch can use, else the CPU), "cuda", "cuda:<n>", "mps" or "cpu".
        precision: the coarsest that it may compute in: "single", "half" or "eight" (bits).

    Raises:
        DeviceError: the device does not exist or is not there, or no engine can be loaded.
    """
    kind, _, number = device.partition(":")
    if kind not in DEVICES or (":" in device and not (kind == "cuda" and number.isdigit())):
        raise DeviceError(f"The device {device!r} does not exist; use one of {', '.join(DEVICES)}, or cuda:<number>.")
    if kind in ("cuda", "mps"):
        return _graphics_card(device, precision), []
    notes: list[str] = []
    if kind == "auto" and graphics_card_is_likely():
        found = _any_graphics_card(precision, notes)
        if found:
            return found, notes
    return cpu_runtime(precision, notes), notes


def cpu_runtime(precision: str, notes: list[str]) -> Runtime:
    """OpenVINO, else PyTorch; what was wrong with OpenVINO is added to ``notes`` (DeviceError if neither can be had)."""
    try:
        from .openvino_cpu import OpenVINORuntime

        return OpenVINORuntime(precision)
    except Exception as error:  # a library that is missing, damaged, too old or not for this processor
        reason = _first_line(error)
    try:
        from .pytorch import PyTorchRuntime
    except Exception:
        raise DeviceError(f"No engine for the networks can be loaded ({reason}); {NO_ENGINE}") from None
    notes.append(f"OpenVINO could not be used ({reason}); PyTorch computed on the CPU, which takes about twice as long.")
    return PyTorchRuntime("cpu")


def graphics_card_is_likely() -> bool:
    """Whether importing torch, which takes a second, could find a graphics card."""
    if importlib.util.find_spec("torch") is None:
        return False
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def _any_graphics_card(precision: str, notes: list[str]) -> Runtime | None:
    for name in ("mps",) if sys.platform == "darwin" else ("cuda",):
        try:
            return _graphics_card(name, precision)
        except DeviceError as error:
            notes.append(f"No graphics card could be used; the CPU computed. ({str(error).split(';')[0]}.)")
    return None


def _graphics_card(device: str, precision: str) -> Runtime:
    try:
        import torch

        from .pytorch import PyTorchRuntime
    except Exception as error:  # missing, or half-installed
        raise DeviceError(f"The device {device} needs PyTorch, which cannot be loaded ({_first_line(error)}); install PyTorch, or use the device cpu.") from None
    kind, _, number = device.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count()
        if int(number or 0) >= count:
            raise DeviceError(f"The device {device} is not there ({count} CUDA devices found); use cpu or auto.")
        return PyTorchRuntime(f"cuda:{int(number or 0)}", precision != "single")
    if not torch.backends.mps.is_available():
        raise DeviceError("The device mps is not there; use cpu or auto.")
    return PyTorchRuntime("mps")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
