"""Numbers in words: sizes, durations, memory, and the stages of a run."""

from __future__ import annotations

from collections.abc import Sequence

from slicer.i18n import tr as _
from superres3d.methods import METHODS, Method


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


def title(method: Method | str) -> str:
    """A method of the catalogue, or its name, as the panel shows it; the catalogue itself knows no languages."""
    name = method if isinstance(method, str) else method.name
    told = {
        "two-stage-told": _("Two-stage CNN, told of the scan"),
        "two-stage-large": _("Two-stage CNN, large"),
        "two-stage-residual": _("Two-stage CNN, residual"),
        "georgescu2020": _("Two-stage CNN, as published"),
        "mdsr-3d": _("Volumetric CNN, all axes at once"),
        "mdcsrn-gan": _("mDCSRN-GAN"),
        "virtual-thin-slice": _("Virtual Thin Slice, light"),
        "virtual-thin-slice-gan": _("Virtual Thin Slice with GAN"),
        "lanczos": _("Lanczos interpolation"),
        "cubic": _("Cubic interpolation"),
        "linear": _("Linear interpolation"),
        "nearest": _("Nearest-neighbour interpolation"),
    }
    return told.get(name, METHODS[name].title)  # what bears the name of a paper's network alone is the same in all languages
