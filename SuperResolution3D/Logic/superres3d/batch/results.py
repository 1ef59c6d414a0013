"""Finished results on the disk: whole, and the ones that this batch made."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


def hash_of(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and hashes (OSError: it cannot be read)."""
    if path.is_dir():
        listed = "".join(f"{file.name} {hash_of(file)}\n" for file in sorted(path.iterdir()))
        return hashlib.sha256(listed.encode()).hexdigest()
    running = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            running.update(chunk)
    return running.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def is_whole(path: Path, sha256: str) -> bool:
    """Whether a result is there as it was written."""
    try:
        return bool(sha256) and hash_of(path) == sha256
    except OSError:
        return False


def read_report(path: Path) -> dict[str, Any]:
    """The JSON that was written with a result; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
