"""What the panel offers as compute devices, found without importing torch."""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys

from slicer.i18n import tr as _
from superres3d.engine.memory import usable_cores

from . import wording


def offered_devices() -> list[str]:
    """The names that can mean something on this machine; the worker has the last word."""
    found = ["auto", "cpu"]
    if sys.platform == "darwin":
        found.append("mps")
    elif shutil.which("nvidia-smi"):  # comes with the driver
        found.append("cuda")
    return found


def automatic_device() -> str:
    """In words, what the worker takes for "auto" where nothing goes wrong, and the memory that is free there (ImportError: psutil is not installed yet)."""
    import psutil

    processor = _("the processor ({count} cores, {free} of memory free)").format(count=usable_cores(), free=wording.memory(psutil.virtual_memory().available))
    card = _graphics_card()
    if not card:
        return processor
    if importlib.util.find_spec("torch") is None:
        return _("{processor}; PyTorch, which {card} needs, is not installed").format(processor=processor, card=card)
    return card


@functools.cache
def _graphics_card() -> str:
    """Name, memory and free memory of the first one, or an empty string; asked once, which takes a moment."""
    if sys.platform == "darwin":
        return _("the graphics processor of this Mac") if importlib.util.find_spec("torch") else ""
    program = shutil.which("nvidia-smi")
    if not program:
        return ""
    try:
        told = subprocess.run([program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"], capture_output=True, text=True, timeout=3, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return _in_words(told.splitlines()[0]) if told.strip() else ""


def _in_words(told: str) -> str:
    """Of a line of nvidia-smi: name, memory, free memory."""
    name, *memory = (part.strip() for part in told.rsplit(",", 2))
    return _("{name} ({memory}, {free} free)").format(name=name, memory=memory[0], free=memory[1]) if len(memory) == 2 else name
