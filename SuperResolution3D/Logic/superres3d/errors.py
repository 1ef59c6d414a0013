"""Errors meant for a user's eyes.

Every message is one sentence: what was given, what is accepted, what to do.
``exit_code`` is what the command line ends with.
"""

from __future__ import annotations

import os

_LONGEST_NAME = 120  # of a file, in a message


class SuperResolutionError(Exception):
    """Base of all errors that the package raises on purpose."""

    exit_code = 1


class InputError(SuperResolutionError):
    """The scan, a file or an option cannot be used as given."""

    exit_code = 2


class ModelError(SuperResolutionError):
    """A trained model is missing, damaged, or not the one its card describes."""

    exit_code = 3


class DeviceError(SuperResolutionError):
    """The compute device that was named, or a library for it, is not usable here."""

    exit_code = 4


class ResourceError(SuperResolutionError):
    """The result would not fit into memory or onto the disk."""

    exit_code = 5


class NotAhead(SuperResolutionError):
    """A self-check did not find the method ahead of Lanczos on the scan; nothing failed."""

    exit_code = 6


class Cancelled(SuperResolutionError):
    """The caller asked to stop; nothing was written."""

    exit_code = 130

    def __init__(self, message: str = "Cancelled; nothing was written."):
        super().__init__(message)


def in_words(error: BaseException) -> SuperResolutionError:
    """What a user is told of an error that ended a command: memory, the system's refusal of a named file, an interrupt."""
    if isinstance(error, SuperResolutionError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("Memory ran out; use a smaller factor, fewer axes, or a part of the scan.")
    if isinstance(error, OSError):
        return InputError(f"{_short(os.fsdecode(error.filename))} cannot be used ({error.strerror or 'the system refused it'}); check its name and its permissions.")
    return Cancelled()


def bytes_in_words(count: float) -> str:
    """A size for a message, in GiB or, where that would be 0.something, in MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 1 << 30 else f"{max(count, 0) / 2**20:.0f} MiB"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME // 2]}...{name[-_LONGEST_NAME // 2:]}"
