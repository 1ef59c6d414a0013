"""The panel's choices as a command line, to be given outside of Slicer: for a script, a cluster, or many scans."""

from __future__ import annotations

import shlex
from typing import Any

from .request import Request


def command_line(request: Request, volume: Any) -> str:
    """What ``superres3d`` is given to do the same.

    Args:
        request: the panel's choices.
        volume: the node; the file that it was loaded from is named where it is one file, else SCAN stands in its place.
    """
    return shlex.join(["superres3d", "upscale", _file_of(volume) or "SCAN", "RESULT", *request.arguments()])


def _file_of(volume: Any) -> str:
    storage = volume.GetStorageNode() if volume else None
    return (storage.GetFileName() or "") if storage and storage.GetNumberOfFileNames() < 2 else ""
