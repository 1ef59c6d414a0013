"""The process that computes scans: tasks come as JSON lines, outcomes go as JSON lines.

It ends when its standard input does: then its parent wants no more, or is no more.  What libraries print goes to standard error.
"""

from __future__ import annotations

import _thread
import json
import os
import queue
import signal
import threading
from contextlib import suppress
from typing import Any, TextIO

from .task import Task


def main() -> None:
    """Work until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer
    signal.signal(signal.SIGTERM, _interrupt)
    channel = _own_channel()
    tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    ended = threading.Event()
    threading.Thread(target=_listen, args=(tasks, ended), daemon=True).start()
    with suppress(KeyboardInterrupt, BrokenPipeError):
        while (told := tasks.get()) is not None:
            channel.write(json.dumps(_performed(Task(**told), ended)) + "\n")
            channel.flush()


def _performed(task: Task, ended: threading.Event) -> dict[str, Any]:
    from .work import perform

    _bind(task.cores)
    return perform(task, ended.is_set).as_dict()


def _own_channel() -> TextIO:
    """Standard output for the protocol alone; file descriptor 1 becomes standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _listen(tasks: queue.SimpleQueue[dict[str, Any] | None], ended: threading.Event) -> None:
    rest = b""
    while block := os.read(0, 1 << 16):  # not sys.stdin: its lock would be held at the interpreter's end
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            tasks.put(json.loads(line))
    ended.set()
    tasks.put(None)
    _thread.interrupt_main(signal.SIGTERM)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _bind(cores: int) -> None:
    """To as many cores as are its share, so that several scans at once do not wait for each other."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return
    mine = sorted(os.sched_getaffinity(0))
    if cores < len(mine):
        start = int(os.environ.get("SUPERRES3D_SLOT", "0")) * cores % len(mine)
        os.sched_setaffinity(0, [mine[(start + number) % len(mine)] for number in range(cores)])


if __name__ == "__main__":
    main()
