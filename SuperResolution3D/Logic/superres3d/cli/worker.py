"""How a worker ends when its parent wants no more of it."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from contextlib import suppress
from typing import Any

_USUAL = 0  # priority


def stop_at_end_of_input() -> None:
    """From now on the end of standard input ends the command as Ctrl+C does: a parent that closes the pipe, or dies."""
    threading.Thread(target=_watch_input, daemon=True).start()


def take_usual_priority() -> None:
    """On Linux Slicer gives itself the lowest priority (it means a thread of its own), and its children inherit it; where that may be undone, it is."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0), _USUAL))


def interrupt(*_: Any) -> None:
    """Signal handler: SIGTERM is a request to stop, not to drop everything."""
    raise KeyboardInterrupt


def _watch_input() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock would be held at the interpreter's end
        pass
    _thread.interrupt_main(signal.SIGTERM)  # handled by main() even where SIGINT is ignored, as in background jobs
