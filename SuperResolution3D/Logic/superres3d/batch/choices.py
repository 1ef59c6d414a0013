"""What is asked of every scan of a batch, and how that is told in names.

Two results of one scan differ in what was asked for, and so do their names.  What is the default does not stand in a name, but for the method.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from ..methods import DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET, METHODS
from .scans import digest

#: as arguments of :func:`superres3d.upscaling.upscale`; what is not another result is not among them: device and memory
DEFAULTS: dict[str, Any] = {
    "scale": None, "axes": None, "slice_spacing": None, "spacing": None, "modality": "auto", "preset": DEFAULT_PRESET, "ensemble": "auto",
    "precision": "auto", "slice_axis": "auto", "consistency": 0, "noise": DEFAULT_NOISE,
    "as_stored": False, "careful": False, "adapt": None,
}  # fmt: skip
FORMATS = ("auto", "nii.gz", "nii", "nrrd", "mha", "dicom")
_SAID = ("scale", "axes", "slice_spacing", "spacing", "preset", "consistency", "noise", "as_stored", "careful", "adapt")  # the others go into a short hash


@dataclass(frozen=True)
class Choices:
    """What to do with each scan.

    Attributes:
        method: of the catalogue.
        asked: other arguments of :func:`superres3d.upscaling.upscale`; those that are left out are the defaults.
        format: of the results, one of :data:`FORMATS`; "auto": that of the scan.
        anonymize: leave the patient out of derived DICOM series, and out of the names of folders.
        device: where to compute.
        check: also check each scan on itself; the result is the same with and without.
        labels: pattern of the label maps that come along, see :mod:`superres3d.batch.labels`; "": none do.
    """

    method: str = DEFAULT_METHOD
    asked: dict[str, Any] = field(default_factory=dict)
    format: str = "auto"
    anonymize: bool = False
    device: str = "auto"
    check: bool = False
    labels: str = ""

    @property
    def refinement(self) -> dict[str, Any]:
        """Arguments for :func:`superres3d.upscaling.upscale`, with the method, without device and memory."""
        return {"method": self.method, **self.asked}

    @property
    def unusual(self) -> dict[str, Any]:
        """What is neither the default nor what the method does by itself."""
        method = METHODS.get(self.method)
        own = {"scale": method.scales[0] if method and method.scales else None, "axes": method.axes[0] if method else None}
        return {name: value for name, value in sorted(self.asked.items()) if value != DEFAULTS.get(name) and value != own.get(name, DEFAULTS.get(name))}

    @property
    def identity(self) -> str:
        """The same for the same results."""
        return digest((self.method, self.unusual, self.format, self.anonymize, *([self.labels] if self.labels else [])))

    @property
    def grid_words(self) -> list[str]:
        """Of the result's grid, such as "x2", "through-plane"."""
        asked = self.unusual
        if "spacing" in asked:
            return [_millimetres(asked["spacing"])]
        if "slice_spacing" in asked:
            return [f"slices-{_millimetres(asked['slice_spacing'])}"]
        method = METHODS.get(self.method)
        scale = asked.get("scale") or (method.scales[0] if method and method.scales else None)
        factor = "x" + "x".join(map(str, scale)) if isinstance(scale, (tuple, list)) else f"x{scale}" if scale else ""
        return [word for word in (factor, asked.get("axes", "")) if word]

    @property
    def other_words(self) -> list[str]:
        """Of everything else that is not the default."""
        asked = self.unusual
        words = [asked[name] for name in ("preset", "noise") if name in asked]
        words += [word for name, word in (("as_stored", "as-stored"), ("careful", "careful")) if name in asked]
        words += [f"c{asked['consistency']}"] if "consistency" in asked else []
        words += [f"adapt{asked['adapt']:g}s"] if "adapt" in asked else []
        hidden = {name: value for name, value in asked.items() if name not in _SAID}
        return [*words, *(["anonymous"] if self.anonymize else []), *(["labelled"] if self.labels else []), *([digest(hidden)[:6]] if hidden else [])]

    @property
    def tag(self) -> str:
        """All of it, for the name of a file: "two-stage-residual-x2-through-plane-fast"."""
        return "-".join((self.method, *self.grid_words, *self.other_words))

    @property
    def resolution_label(self) -> str:
        """The value of the entity ``res``: letters and digits alone."""
        return _alphanumeric("-".join(self.grid_words)) or "fine"

    @property
    def description_label(self) -> str:
        """The value of the entity ``desc``."""
        return _alphanumeric("-".join((self.method, *self.other_words)))


def for_plan(refinement: dict[str, Any]) -> dict[str, Any]:
    """Those of the arguments of :func:`superres3d.upscaling.upscale` that a plan knows, as :func:`superres3d.plan.plan_upscaling` calls them, without the modality."""
    from inspect import signature

    from ..plan import plan_upscaling

    named = {"result_spacing" if name == "spacing" else name: value for name, value in refinement.items() if name != "modality"}
    return {name: value for name, value in named.items() if name in signature(plan_upscaling).parameters}


def _millimetres(asked: Any) -> str:
    if isinstance(asked, str):
        return asked
    return "x".join(f"{value:g}" for value in (asked if isinstance(asked, (tuple, list)) else (asked,))) + "mm"


def _alphanumeric(words: str) -> str:
    """ "two-stage-residual" becomes "twoStageResidual", "0.5mm" "0p5mm"."""
    first, *others = re.split(r"[^A-Za-z0-9]+", words.replace(".", "p"))
    return first + "".join(word[:1].upper() + word[1:] for word in others)
