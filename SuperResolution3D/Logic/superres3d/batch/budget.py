"""What a machine has left: memory that several scans share, where one waits until what it needs is free; and disk."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_SPARE = 0.9  # of what is free


def free_memory() -> int:
    """Bytes that a batch may use where nothing was said."""
    return int(_SPARE * psutil.virtual_memory().available)


def free_disk(folder: Path) -> int:
    """Bytes; plenty where that cannot be known."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 1 << 62


class Budget:
    """See the module.

    Args:
        total: bytes.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken, self._holders = 0, 0
        self._changed = threading.Condition()

    @contextmanager
    def part(self, count: int) -> Iterator[None]:
        """Hold so many bytes, once they are free; more than there are means all of them, alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._holders or self._taken + count <= self.total)
            self._taken += count
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= count
                self._holders -= 1
                self._changed.notify_all()
