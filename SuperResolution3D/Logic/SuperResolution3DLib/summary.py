"""What the panel tells of a volume, of a proposal and of a finished run."""

from __future__ import annotations

from slicer.i18n import tr as _
from superres3d.methods import METHODS

from . import wording
from .checks import VolumeFacts
from .choices import Axes
from .job import Finished

_CLEARLY = 1.5


def facts_text(facts: VolumeFacts) -> str:
    """Matrix, spacing, voxel type, and the frame of a sequence."""
    text = _("{shape} voxels of {spacing} mm, {dtype}.").format(
        shape=wording.dimensions(facts.shape), spacing=wording.dimensions(facts.spacing), dtype=facts.dtype
    )
    if facts.frame:
        number, count = facts.frame
        text += " " + _("Frame {number} of {count} of a sequence: only this frame is upscaled.").format(number=number, count=count)
    return text


def proposed_axes(facts: VolumeFacts) -> Axes:
    """The axes in which the scan is clearly poorer; all, where it is poor in none."""
    if facts.thickness > _CLEARLY:
        return Axes.THROUGH_PLANE
    return Axes.IN_PLANE if facts.thickness < 1 / _CLEARLY else Axes.ALL


def axes_hint(facts: VolumeFacts) -> str:
    """Why these axes were proposed."""
    if facts.thickness > _CLEARLY:
        return _("Proposed: through-plane, because the slices are {ratio} times as thick as the pixels are wide.").format(ratio=f"{facts.thickness:.1f}")
    if facts.thickness < 1 / _CLEARLY:
        return _("Proposed: in-plane, because the pixels are {ratio} times as wide as the slices are thick.").format(ratio=f"{1 / facts.thickness:.1f}")
    return _("Proposed: all axes, because the voxels are nearly cubes.")


def report_text(finished: Finished) -> str:
    """A short report: result, method, models, seconds, warnings."""
    report = finished.report
    output = report["output"]
    lines = [
        _('"{name}": {shape} voxels of {spacing} mm, {method}, {time} on {device}.').format(
            name=finished.result.GetName(), shape=wording.dimensions(output["shape_ijk"]), spacing=wording.dimensions(output["spacing_mm"]),
            method=METHODS[report["method"]].title, time=wording.duration(report["seconds"]["total"]),
            device=_("{device} in half precision").format(device=report["device"]) if report["precision"] == "float16" else report["device"],
        )  # fmt: skip
    ]
    if finished.comparison is not None:
        lines.append(_('Compare with "{name}".').format(name=finished.comparison.GetName()))
    lines += [_("Model {name}, SHA-256 {hash}.").format(name=model["name"], hash=model["sha256"][:12]) for model in report["models"].values()]
    lines += [_("Note: {text}").format(text=warning) for warning in finished.warnings]
    lines.append(_("Research software, not for diagnosis."))
    return "\n".join(lines)
