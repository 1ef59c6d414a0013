"""A reader in a process of its own: paths come line by line on standard input, an answer to each goes out as a line of JSON.

``python -m Testing.Fuzz.server READER WARM_UP MIB``: the reader's name, a good file to load all libraries with, and the memory that may be taken after it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

import numpy as np

SECONDS = 10
Read = Callable[[Path], tuple[np.ndarray, np.ndarray, list[str]]]


class Slow(BaseException):
    """A file took longer than it may."""


def main(reader: str, warm_up: str, mebibytes: str) -> None:
    """Answer until the input ends."""
    module, _, name = reader.rpartition(".")
    read: Read = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w")
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 1)
        os.dup2(noise.fileno(), 2)
        read(Path(warm_up))
        _limit_memory(int(mebibytes))
        signal.signal(signal.SIGALRM, _slow)
        for line in sys.stdin:
            answers.write(json.dumps(_answer(read, Path(line.rstrip("\n")), noise)) + "\n")
            answers.flush()


def _limit_memory(mebibytes: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    most = pages * resource.getpagesize() + mebibytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _slow(signum: int, frame: FrameType | None) -> None:
    raise Slow


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _answer(read: Read, path: Path, noise: IO[bytes]) -> dict[str, Any]:
    """What came of one file; voxels and matrix go into a file beside it."""
    noise.seek(0)
    noise.truncate()
    try:
        with _within(SECONDS):
            voxels, matrix, notes = read(path)
        np.savez(path.parent / f"{read.__name__}.npz", voxels=voxels, matrix=matrix)
        answer = {"outcome": "read", "notes": notes}
    except Slow:
        answer = {"outcome": "slow"}
    except MemoryError:
        answer = {"outcome": "memory"}
    except Exception as error:
        refused = "superres3d.errors" in {cls.__module__ for cls in type(error).__mro__}
        answer = {"outcome": "refused", "message": str(error)} if refused else {"outcome": "trace", "message": traceback.format_exc()[-1500:]}
    sys.stdout.flush()
    noise.seek(0)
    return {**answer, "noise": noise.read(2000).decode("utf-8", "replace")}


if __name__ == "__main__":
    main(*sys.argv[1:])
