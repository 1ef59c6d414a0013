"""``superres3d live``: a worker that stays, for the panel's preview.  Hidden: its words may change with any version.

Each line of standard input is an object: ``{"scan": FILE}`` reads a scan, ``{"number": N, "region": [[k, k], [j, j], [i, i]], "choices": {...},
"output": FILE.npy}`` upscales a part of it.  The latest request counts: one under way is given up for it.  Standard output tells, a line each,
``{"event": "ready"}``, ``{"event": "part", "number": N, "output": FILE, "report": {...}}`` and ``{"event": "error", "number": N, "kind": ..., "message": ...}``.
A line that is no request is told as such an error, and so are parts after a scan that could not be read.
It ends with its standard input, or when nothing was asked for a while.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import Cancelled, InputError, SuperResolutionError, in_words
from .worker import take_usual_priority

if TYPE_CHECKING:
    from ..live import LiveScan

_IDLE_SECONDS = 900.0
_PART = {"number", "region", "choices", "output"}  # what a request for a part holds


def live(idle: float = _IDLE_SECONDS) -> None:
    """Upscale parts of a scan as they are asked for on standard input."""
    take_usual_priority()
    asked: queue.Queue[bytes | None] = queue.Queue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    _warm()
    held = _Held()
    with suppress(queue.Empty):
        while (line := asked.get(timeout=idle)) is not None:
            _answer(line, held, lambda: not asked.empty())
    raise typer.Exit()


@dataclass
class _Held:
    """The scan that parts are asked of; None: none was named, or the last one that was cannot be used, and why."""

    scan: LiveScan | None = None
    why_none: str = "There is no scan to take a part of; name one that can be read."


def _answer(line: bytes, held: _Held, later: Callable[[], bool]) -> None:
    """What is asked is done and told; ``later`` answers whether there is another request."""
    request: dict[str, Any] = {}
    try:
        request = _request(line)
        if "scan" in request:
            held.scan = None  # whatever comes of this one, parts of the one before are not meant any more
            held.scan = _read(Path(request["scan"]))
            _tell({"event": "ready"})
        elif not later():
            _tell(_part(held, request, later))
    except Cancelled:
        pass
    except (MemoryError, SuperResolutionError, OSError) as error:
        told = in_words(error)
        held.why_none = str(told) if "scan" in request else held.why_none  # parts that were asked of it are answered with that
        _tell({"event": "error", "number": request.get("number"), "kind": type(told).__name__, "message": str(told)})


def _listen(asked: queue.Queue[bytes | None]) -> None:
    """os.read, not sys.stdin: its lock would be held at the interpreter's end."""
    rest = b""
    while data := os.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            asked.put(line)
    asked.put(None)


def _request(line: bytes) -> dict[str, Any]:
    """InputError: it is none."""
    try:
        request = json.loads(line)
    except ValueError:
        request = None
    if isinstance(request, dict) and (isinstance(request.get("scan"), str) or _PART <= request.keys()):
        return request
    raise InputError(f"The request {line[:80].decode('utf-8', 'replace')!r} cannot be understood; name a scan, or {', '.join(sorted(_PART))}.")


def _warm() -> None:
    """What takes long to load is loaded while the scan is still being written."""
    with suppress(Exception):  # which engine there is, is told with the first part
        from ..engine.openvino_cpu import OpenVINORuntime

        OpenVINORuntime("eight").settle_for_slices()


def _read(path: Path) -> LiveScan:
    from ..live import LiveScan
    from ..scan.images import read_volume

    return LiveScan(read_volume(path))


def _part(held: _Held, request: dict[str, Any], cancelled: Callable[[], bool]) -> dict[str, Any]:
    import numpy as np

    if held.scan is None:
        raise InputError(held.why_none)
    result = held.scan.part(request["region"], cancelled=cancelled, **request["choices"])
    output = Path(request["output"])
    np.save(output, result.volume.voxels, allow_pickle=False)
    return {"event": "part", "number": request["number"], "output": str(output), "report": result.report}


def _tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()
