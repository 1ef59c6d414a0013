"""What became of every scan, in an SQLite file beside the results: it survives whatever ends a run.

One process writes it: the one that was started by the user.  A change is on the disk before the next scan is given out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import InputError, ResourceError

WAITING, RUNNING, DONE, FAILED, KILLED, LEFT_OUT = "waiting", "running", "done", "failed", "killed", "left out"
_FIELDS = ("key", "name", "source", "result", "state", "stamp", "choices", "sha256", "bytes", "seconds", "attempts", "models", "messages", "facts", "changed")
_JSON = ("choices", "models", "messages", "facts")
_TABLE = """
CREATE TABLE IF NOT EXISTS scans (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, result TEXT NOT NULL, state TEXT NOT NULL, stamp TEXT NOT NULL, choices TEXT NOT NULL,
    sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, seconds REAL NOT NULL, attempts INTEGER NOT NULL, models TEXT NOT NULL, messages TEXT NOT NULL, facts TEXT NOT NULL,
    changed TEXT NOT NULL
)
"""
_VERSION = 1


@dataclass
class Entry:
    """A scan with what was asked for.

    Attributes:
        key: of :func:`superres3d.batch.naming.key_of`.
        name: how the scan is told.
        source: its first file.
        result: relative to the output folder, with slashes.
        state: one of the words above.
        stamp: of the scan when it was worked on.
        choices: method and what else was asked for.
        sha256: of the result, once it is done.
        bytes: of the result.
        seconds: that it took.
        attempts: how often it was begun.
        models: name -> SHA-256 of the weights.
        messages: one sentence each; of a failure the reason.
        facts: for the reports: shapes, spacings, device, memory, what a self-check found.
        changed: when, UTC.
    """

    key: str
    name: str = ""
    source: str = ""
    result: str = ""
    state: str = WAITING
    stamp: str = ""
    choices: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    bytes: int = 0
    seconds: float = 0.0
    attempts: int = 0
    models: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    changed: str = ""


class Ledger:
    """See the module.

    Args:
        path: of the file; made if it is missing.
        read_only: look at it alone; a file that is missing is an empty one.

    Raises:
        InputError: it is no ledger, or cannot be written to.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path = path
        try:
            if read_only:
                self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) if path.exists() else sqlite3.connect(":memory:")
            else:
                self._db = sqlite3.connect(path, timeout=5)
            if not read_only or not path.exists():
                self._make()
            self._check_version()
        except sqlite3.Error as error:
            raise InputError(f"The ledger {path} cannot be used ({error}); check its permissions and the free space, or move it away to begin anew.") from None

    def _make(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(_TABLE)
            if self._version() == 0:
                self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _check_version(self) -> None:
        if self._version() != _VERSION:
            raise InputError(f"The ledger {self._path} is of another version of this program; use that version, or another folder for the results.")

    def entries(self) -> Iterator[Entry]:
        """All, in the order in which they came."""
        for row in self._db.execute(f"SELECT {', '.join(_FIELDS)} FROM scans ORDER BY rowid"):
            values = dict(zip(_FIELDS, row))
            yield Entry(**{name: json.loads(value) if name in _JSON else value for name, value in values.items()})

    def put(self, *entries: Entry) -> None:
        """Write or replace (ResourceError: the disk refuses)."""
        for entry in entries:
            entry.changed = datetime.now(timezone.utc).isoformat(timespec="seconds")
        rows = [[json.dumps(value) if name in _JSON else value for name, value in vars(entry).items()] for entry in entries]
        marks = ", ".join("?" * len(_FIELDS))
        updates = ", ".join(f"{name} = excluded.{name}" for name in _FIELDS[1:])
        with self._telling(), self._db:
            self._db.executemany(f"INSERT INTO scans ({', '.join(_FIELDS)}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {updates}", rows)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ResourceError(
                f"The ledger {self._path} could not be written ({error}); free some space or check the disk, and give the same command again: finished results are kept."
            ) from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
