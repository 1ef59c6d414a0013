"""What the panel offers as compute devices, found without importing torch."""

from __future__ import annotations

import shutil
import sys


def offered_devices() -> list[str]:
    """The names that can mean something on this machine; the worker has the last word."""
    found = ["auto", "cpu"]
    if sys.platform == "darwin":
        found.append("mps")
    elif shutil.which("nvidia-smi"):  # comes with the driver
        found.append("cuda")
    return found
