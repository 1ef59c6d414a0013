"""What the panel offers as compute devices, found without importing torch."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys

from slicer.i18n import tr as _
from superres3d.engine.memory import usable_cores


def offered_devices() -> list[str]:
    """The names that can mean something on this machine; the worker has the last word."""
    found = ["auto", "cpu"]
    if sys.platform == "darwin":
        found.append("mps")
    elif shutil.which("nvidia-smi"):  # comes with the driver
        found.append("cuda")
    return found


@functools.cache
def automatic_device() -> str:
    """In words, what the worker takes for "auto" where nothing goes wrong; found once."""
    processor = _("the processor ({count} cores)").format(count=usable_cores())
    card = _graphics_card()
    if not card:
        return processor
    if importlib.util.find_spec("torch") is None:
        return _("{processor}; PyTorch, which {card} needs, is not installed").format(processor=processor, card=card)
    return card


def _graphics_card() -> str:
    """Name and memory of the first one, or an empty string."""
    if sys.platform == "darwin":
        return _("the graphics processor of this Mac") if importlib.util.find_spec("torch") else ""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        told = subprocess.run([program, "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True, timeout=3, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.splitlines()[0].strip() if told.strip() else ""
