"""``superres3d live``: a worker that stays, for the panel's preview.  Hidden: its words may change with any version.

Each line of standard input is an object: ``{"scan": FILE}`` reads a scan, ``{"number": N, "region": [[k, k], [j, j], [i, i]], "choices": {...},
"output": FILE.npy}`` upscales a part of it.  The latest request counts: one under way is given up for it.  Standard output tells, a line each,
``{"event": "ready"}``, ``{"event": "part", "number": N, "output": FILE, "report": {...}}`` and ``{"event": "error", "number": N, "kind": ..., "message": ...}``.
It ends with its standard input, or when nothing was asked for a while.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Cancelled, InputError, SuperResolutionError, in_words

if TYPE_CHECKING:
    from ..live import LiveScan

_IDLE_SECONDS = 900.0


def live(idle: float = _IDLE_SECONDS) -> None:
    """Upscale parts of a scan as they are asked for on standard input."""
    asked: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    _warm()
    scan: LiveScan | None = None
    while True:
        try:
            request = asked.get(timeout=idle)
        except queue.Empty:
            break
        if request is None:
            break
        try:
            if "scan" in request:
                scan = _read(Path(request["scan"]))
                _tell({"event": "ready"})
            elif asked.empty():  # else there is a later one
                _tell(_part(scan, request, lambda: not asked.empty()))
        except Cancelled:
            pass
        except (MemoryError, SuperResolutionError, OSError) as error:
            told = in_words(error)
            _tell({"event": "error", "number": request.get("number"), "kind": type(told).__name__, "message": str(told)})
    raise typer.Exit()


def _listen(asked: queue.Queue[dict[str, Any] | None]) -> None:
    """os.read, not sys.stdin: its lock would be held at the interpreter's end."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            asked.put(json.loads(line))
    asked.put(None)


def _warm() -> None:
    """What takes long to load is loaded while the scan is still being written."""
    from contextlib import suppress

    with suppress(Exception):  # which engine there is, is told with the first part
        from ..engine import openvino_cpu  # noqa: F401


def _read(path: Path) -> LiveScan:
    from ..live import LiveScan
    from ..scan.images import read_volume

    return LiveScan(read_volume(path))


def _part(scan: LiveScan | None, request: dict[str, Any], cancelled: Any) -> dict[str, Any]:
    import numpy as np

    if scan is None:
        raise InputError("No scan was named before a part of it.")
    result = scan.part(request["region"], cancelled=cancelled, **request["choices"])
    output = Path(request["output"])
    np.save(output, result.volume.voxels, allow_pickle=False)
    return {"event": "part", "number": request["number"], "output": str(output), "report": result.report}


def _tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
