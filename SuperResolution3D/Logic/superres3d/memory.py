"""How much memory this process has used at most."""

from __future__ import annotations

import sys

import psutil


def peak_bytes() -> int:
    """Peak resident size of this process in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
