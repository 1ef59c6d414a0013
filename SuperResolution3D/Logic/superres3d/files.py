"""Output folders and text files: checked early, written whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from .errors import InputError
from .staging import Staging, unwritable


def check_output_folder(path: str | os.PathLike) -> None:
    """Refuse a file path whose folder is missing or read-only, before any work starts.

    Raises:
        InputError: see above, or ``path`` itself is a folder.
    """
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise InputError(f"The output folder {folder} does not exist; create it first.")
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give a file name.")
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be written to ({error.strerror}); choose another.") from None


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents if they are missing (InputError if that fails)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be made ({error.strerror}); choose another.") from None
    return folder


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all (ResourceError with the reason)."""
    with Staging() as staging:
        stage_text(staging, path, text)
        staging.commit()


def stage_text(staging: Staging, path: Path, text: str) -> None:
    """A UTF-8 file among others that appear together (ResourceError with the reason)."""
    try:
        staging.path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise unwritable(path, error) from None
