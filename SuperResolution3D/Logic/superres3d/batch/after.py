"""A command of the user's for every finished result, such as one that sends it to a PACS."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from ..errors import InputError

_SECONDS = 3600
_TAIL = 300  # letters of what it said


def check_command(command: str) -> None:
    """Refuse what is no command line (InputError)."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--after {command!r} is no command ({error}); close its quotation marks.") from None
    if not words:
        raise InputError("--after names no command; give one, such as 'storescu -aec PACS host 104 --scan-directories'.")


def hand_on(command: str, result: Path) -> str:
    """Run a command with the result's path as its last word; returns why it failed, "" if it did not.

    Args:
        command: words as a shell has them; no shell is started.
        result: file, or folder of a DICOM series.
    """
    try:
        done = subprocess.run([*shlex.split(command), str(result)], capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"The result is there, but the command of --after could not be run ({getattr(error, 'strerror', None) or 'it took too long'}); the next run tries it again."
    if done.returncode == 0:
        return ""
    said = " ".join((done.stderr or done.stdout).split())[-_TAIL:]
    return f"The result is there, but the command of --after ended with {done.returncode}{f' and said: {said}' if said else ''}; the next run tries it again."
