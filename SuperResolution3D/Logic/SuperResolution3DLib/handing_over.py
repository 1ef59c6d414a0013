"""Voxels of the scene onto the disk for a worker, beside the window: it stays alive while gigabytes are written."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from superres3d import Volume
from superres3d.errors import Cancelled
from superres3d.scan.volume import placed
from superres3d.staging import unwritable

#: bytes between two looks at whether it shall go on
PIECE_BYTES = 32 * 2**20
_TURN_SECONDS = 0.02
_NRRD_TYPES = {"float32": "float", "float64": "double"}  # integers are called as numpy calls them


class HandingOver:
    """Writes volumes in a thread of its own; single use.

    Args:
        files: (volume, path of a .nrrd in a folder of this run's own); the voxels are read while they are written.
    """

    def __init__(self, *files: tuple[Volume, Path]):
        self._files = files
        self._error: Exception | None = None
        self._halted = threading.Event()
        self._muted = False
        self._thread = threading.Thread(target=self._write)

    def wait(self) -> None:
        """Write, and return when it is done (ResourceError: the disk refuses; InputError: no place of a volume)."""
        self._write()
        if self._error:
            raise self._error

    def beside(self, later: Callable[[Callable[[], None]], None], done: Callable[[Exception | None], None]) -> None:
        """Write beside the window.

        Args:
            later: calls a function when the window has had its turn.
            done: called once with None or an error (see :meth:`wait`; Cancelled after :meth:`halt`), unless :meth:`stop` was.
        """
        self._thread.start()
        later(lambda: self._look(later, done))  # not before the caller knows that it runs

    def halt(self) -> None:
        """Write no more than the piece under way; that it was cancelled is told."""
        self._halted.set()

    def discard(self) -> None:
        """:meth:`stop`, and remove the files."""
        self.stop()
        for _volume, path in self._files:
            path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Write no more, and tell nobody: the files may go now."""
        self._muted = True
        self._halted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _look(self, later: Callable[[Callable[[], None]], None], done: Callable[[Exception | None], None]) -> None:
        self._thread.join(_TURN_SECONDS)
        if self._muted:
            return
        if self._thread.is_alive():
            later(lambda: self._look(later, done))
        else:
            done(self._error)

    def _write(self) -> None:
        try:
            for volume, path in self._files:
                self._write_one(placed(volume, "The volume"), path)
        except OSError as error:
            self._error = unwritable(path, error)
        except Exception as error:  # told on the main thread
            self._error = error

    def _write_one(self, volume: Volume, path: Path) -> None:
        """In pieces: of voxels that do not lie one behind the other only a piece is copied."""
        slices = max(PIECE_BYTES // max(volume.voxels[0].nbytes, 1), 1)
        with open(path, "wb", buffering=0) as file:
            file.write(header_of(volume))
            for begin in range(0, len(volume.voxels), slices):
                if self._halted.is_set():
                    raise Cancelled()
                _write_all(file, np.ascontiguousarray(volume.voxels[begin : begin + slices]).data.cast("B"))


def header_of(volume: Volume) -> bytes:
    """The header of a NRRD with the voxels behind it, as they lie in memory."""
    kind = str(volume.voxels.dtype)
    i, j, k = (_vector(volume.direction[:, axis] * volume.spacing[axis]) for axis in range(3))
    lines = (
        "NRRD0004", f"type: {_NRRD_TYPES.get(kind, kind)}", "dimension: 3", "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in volume.voxels.shape[::-1])}", f"space directions: {i} {j} {k}",
        "kinds: domain domain domain", f"endian: {sys.byteorder}", "encoding: raw", f"space origin: {_vector(volume.origin)}",
    )  # fmt: skip
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(values: np.ndarray | tuple[float, ...]) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def _write_all(file: IO[bytes], rest: memoryview) -> None:
    """A disk that is nearly full takes a part, and refuses the next."""
    while rest:
        rest = rest[file.write(rest) :]
