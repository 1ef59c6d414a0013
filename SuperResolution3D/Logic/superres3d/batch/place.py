"""The output folder of a batch: which files are the batch's own, and who works in it."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..staging import reason_of
from .tree import OWN_FILE

_FOLDER = "batch"


class Place:
    """The output folder; results lie in it, everything else in its folder ``batch``.

    Args:
        root: the output folder.

    Attributes:
        root: the output folder, absolute.
        own: its folder ``batch``.
        ledger, page, table: files in there.
        lock: of the system's own kind: it ends with the process that has it.
        work: a folder in there for results that are not whole yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))
        self.own = self.root / _FOLDER
        self.ledger, self.page, self.table = self.own / OWN_FILE, self.own / "report.html", self.own / "scans.csv"
        self.work = self.own / "work"
        self.lock = self.own / "superres3d-lock"
        self._lock: sqlite3.Connection | None = None

    def report_of(self, result: str) -> Path:
        """The JSON of a result; ``result`` is relative to the output folder, with slashes."""
        return self.own / "scans" / f"{result}.json"

    def thumbnail_of(self, result: str) -> Path:
        """Its picture; may be missing."""
        return self.own / "scans" / f"{result}.png"

    def check(self, source: Path) -> None:
        """Refuse an output folder that would harm the input (InputError)."""
        if os.path.realpath(source) == os.path.realpath(self.root):
            raise InputError(f"{self.root} is the folder of the scans, which stays as it is; give the results another folder, which may lie in it.")
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise InputError(f"{self.root} is a file; give the name of a folder for the results.")
        if self.own.is_dir() and not self.ledger.exists() and not self.lock.exists() and any(self.own.iterdir()):
            raise InputError(f"{self.own} is there and is not of an earlier batch; give another folder for the results.")

    def claim(self) -> None:
        """Make the folder, and keep every other batch out of it until this process ends.

        Raises:
            InputError: it cannot be written to, or another batch works in it.
        """
        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The folder {self.root} cannot be written to ({reason_of(error)}); choose another for the results.") from None
        self._lock = sqlite3.connect(self.lock, timeout=0, isolation_level=None)
        try:  # a lock of the system's own: it ends with the process, however that ends
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._lock.close()
            raise InputError(self._refusal(error)) from None
        self._sign()

    def _refusal(self, error: sqlite3.Error) -> str:
        if "locked" in str(error):
            return f"Another batch works in {self.root}{self._signature()}; wait for its end, or give this one another folder."
        return f"The folder {self.own} cannot be written to ({error}); check its permissions and the free space, or choose another for the results."

    def _sign(self) -> None:
        with suppress(OSError):
            (self.own / "running").write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def _signature(self) -> str:
        with suppress(OSError):
            return f" ({(self.own / 'running').read_text(encoding='utf-8')})"
        return ""

    def tidy(self) -> None:
        """Take away what runs that were killed left half-written; only while this process has the folder."""
        for left in self.work.iterdir() if self.work.is_dir() else ():
            shutil.rmtree(left, ignore_errors=True)

    def leave(self) -> None:
        """Let others in."""
        if self._lock:
            with suppress(OSError):
                (self.own / "running").unlink()
            self._lock.close()
            self._lock = None
