"""Numbers in words: sizes, durations, memory, and the stages of a run."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _


def dimensions(counts: Sequence[float]) -> str:
    """``256 x 256 x 30`` or ``0.9 x 0.9 x 5`` (the order that is given)."""
    return " \N{MULTIPLICATION SIGN} ".join(f"{count:.4g}" for count in counts)


def memory(count: int) -> str:
    """Bytes in MiB or GiB."""
    if count < 2**30:
        return _("{number} MiB").format(number=max(1, round(count / 2**20)))
    return _("{number} GiB").format(number=f"{count / 2**30:.1f}")


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as coarse as an estimate is."""
    if seconds < 60:
        return _("{number} s").format(number=max(1, round(seconds)))
    if seconds < 5400:
        return _("{number} min").format(number=round(seconds / 60))
    return _("{number} h").format(number=f"{seconds / 3600:.1f}")


def stage(name: str) -> str:
    """A stage of the worker's progress, as the panel shows it."""
    return {
        "adaptation": _("Learning on the scan"),
        "plane": _("In-plane network"),
        "depth": _("Through-plane network"),
        "volume": _("Volumetric network"),
        "interpolation": _("Interpolation"),
        "reading": _("Reading"),
        "checking": _("Checking on this scan"),
        "writing": _("Writing the result"),
        "loading": _("Loading the result"),
    }.get(name, name.capitalize())
