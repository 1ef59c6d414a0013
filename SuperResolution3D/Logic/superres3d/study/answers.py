"""A reader's answers: a text file that only grows, each line tied to the one before by a hash.

A line is ``<sha256> <sha256 of the line before> <JSON>``: the first is that of the rest of the line; the line before the first is the
study's sheet.  A line that was changed, a gap and a torn end are found, and all other lines stay of use.  Whoever rewrites every line after a
change is not found by the file alone: the last hash, which the reader is shown as a receipt, tells.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, ResourceError
from ..staging import unwritable
from .sheet import sha256_of

SUFFIX = ".answers"
_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}) (\{.*\})")
_RECEIPT = 12  # digits


@dataclass(frozen=True)
class Line:
    """A whole line of the file; ``digest`` and ``previous`` are in hexadecimal digits."""

    digest: str
    previous: str
    body: dict[str, Any]
    number: int


@dataclass(frozen=True)
class Record:
    """What a file of answers holds.

    Attributes:
        lines: those that can be relied on.
        problems: what was found besides, one sentence each.
        receipt: first digits of the last hash; "" for a file without a line.
        size: bytes of the file.
        whole: the file ends with the end of a line.
    """

    lines: list[Line]
    problems: list[str]
    receipt: str
    size: int
    whole: bool


def line_of(previous: str, body: dict[str, Any]) -> tuple[str, bytes]:
    """(hash, the line with its end) of what comes after the hash ``previous``."""
    rest = f"{previous} {json.dumps(body, ensure_ascii=False)}".encode()
    digest = sha256_of(rest)
    return digest, digest.encode() + b" " + rest + b"\n"


def parse(content: bytes, anchor: str) -> Record:
    """The lines of a file of answers.

    Args:
        content: the file.
        anchor: SHA-256 of the study's sheet.
    """
    pieces = content.split(b"\n")
    found, problems = _whole_lines(pieces)
    kept = []
    for index, line in enumerate(found):
        following = found[index + 1] if index + 1 < len(found) else None
        problem = _problem(line, found[index - 1] if index else None, following, anchor)
        if problem:
            problems.append(problem)
        if not problem.endswith("dropped."):
            kept.append(line)
    return Record(kept, problems, found[-1].digest[:_RECEIPT] if found else "", len(content), not pieces[-1])


def _whole_lines(pieces: list[bytes]) -> tuple[list[Line], list[str]]:
    found, problems = [], []
    for number, piece in enumerate(pieces, 1):
        parts = _LINE.fullmatch(piece.removesuffix(b"\r"))
        body = _json(parts[3]) if parts else None
        if parts and body is not None:
            same = sha256_of(parts[2] + b" " + parts[3]) == parts[1].decode()
            found.append(Line(parts[1].decode() if same else "", parts[2].decode(), body, number))
        elif piece:
            problems.append(f"line {number} is torn and was dropped.")
    return found, problems


def _json(text: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) and isinstance(body.get("n"), int) and isinstance(body.get("kind"), str) else None


def _problem(line: Line, before: Line | None, after: Line | None, anchor: str) -> str:
    """What is wrong with a line, "" if nothing."""
    if not line.digest:
        return f"line {line.number} was edited and was dropped."
    if after and after.previous != line.digest and after.body["n"] == line.body["n"] + 1:
        return f"line {line.number} is not the one that the next line follows and was dropped."
    expected = anchor if before is None else before.digest
    if expected and line.previous != expected:
        missing = line.body["n"] - (before.body["n"] if before else 0) - 1
        return f"{missing} lines before line {line.number} are missing." if missing > 0 else f"the order of the lines before line {line.number} was changed." if missing < 0 else ""
    return ""


def read_record(path: Path, anchor: str) -> Record:
    """See :func:`parse` (InputError: the file cannot be read, or is of another study)."""
    try:
        record = parse(path.read_bytes(), anchor)
    except OSError:
        raise InputError(f"The answers {path} cannot be read; check the name and its permissions.") from None
    if not record.lines:
        raise InputError(f"{path} holds no answers of a reader study.")
    return _of_this_study(path, record, anchor)


def _of_this_study(path: Path, record: Record, anchor: str) -> Record:
    if record.lines and record.lines[0].body.get("sheet", anchor) != anchor:
        raise InputError(f"The answers {path} are of another study; give them with the study that they were given in.")
    return record


class AnswerFile:
    """The file that a session writes: each line is on the disk before the next case is shown.

    Args:
        path: made if it is missing; its folder must exist.
        anchor: SHA-256 of the study's sheet.

    Raises:
        InputError: a file of another study.
        ResourceError: the disk refuses.
    """

    def __init__(self, path: Path, anchor: str):
        self.path, self._anchor = path, anchor
        self.record = _of_this_study(path, parse(path.read_bytes() if path.exists() else b"", anchor), anchor)
        last = self.record.lines[-1] if self.record.lines else None
        self._previous = last.digest if last else anchor
        self._number: int = last.body["n"] if last else 0
        self._size = self.record.size
        if not self.record.whole:  # a torn end stays where it is, and becomes a line of its own
            self._write(b"\n")

    @property
    def receipt(self) -> str:
        """First digits of the last hash."""
        return self._previous[:_RECEIPT]

    def append(self, kind: str, **content: Any) -> None:
        """One more line, on the disk when this returns (ResourceError: the disk refuses, or another program writes there, too)."""
        digest, line = line_of(self._previous, {"n": self._number + 1, "kind": kind, **content})
        self._write(line)
        self._previous, self._number = digest, self._number + 1

    def _write(self, content: bytes) -> None:
        try:
            new = not self.path.exists()
            with open(self.path, "ab") as file:
                if file.seek(0, os.SEEK_END) != self._size:
                    raise ResourceError(f"{self.path} is being written by another program, too; close the study there and open it here once more.")
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if new and os.name == "posix":
                folder = os.open(self.path.parent, os.O_RDONLY)
                os.fsync(folder)
                os.close(folder)
        except OSError as error:
            raise unwritable(self.path, error) from None
        self._size += len(content)
