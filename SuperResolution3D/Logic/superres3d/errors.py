"""Errors meant for a user's eyes.

Every message is one sentence: what was given, what is accepted, what to do.
``exit_code`` is what the command line ends with.
"""

from __future__ import annotations


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
