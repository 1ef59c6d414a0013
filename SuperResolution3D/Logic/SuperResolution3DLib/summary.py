"""What the panel tells of a volume, of a proposal and of a finished run."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _
from superres3d.methods import INVENTS, METHODS, Method, farthest_slices, fits_slices, is_installed

from . import wording
from .checks import VolumeFacts
from .choices import Axes, Modality, Scale
from .job import Finished
from .modality import ModalityGuess
from .package_words import in_language
from .request import fits_isotropic, fitting_isotropic_methods, fitting_slice_methods

_CLEARLY = 1.5
_CLEARLY_FINER = 1.05
_FINE_ENOUGH = 1.0  # mm between slices


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


def proposed_scale(facts: VolumeFacts) -> Scale:
    """The factor that comes nearest to the pixels' width (through-plane: to 1 mm, if they are narrower), or to the slices' distance."""
    axes = proposed_axes(facts)
    if axes is Axes.ALL:
        return Scale.TWO
    pixels = facts.slice_distance / facts.thickness
    ratio = facts.slice_distance / max(pixels, _FINE_ENOUGH) if axes is Axes.THROUGH_PLANE else pixels / facts.slice_distance
    return Scale.FOUR if ratio > math.sqrt(Scale.TWO.value * Scale.FOUR.value) else Scale.TWO


def finer_than_pixels(facts: VolumeFacts, distance: float) -> str:
    """A sentence if slices so many mm apart would be closer than the pixels are wide, else an empty string."""
    pixels = facts.slice_distance / facts.thickness
    if distance > pixels / _CLEARLY_FINER:
        return ""
    return _("The slices become finer ({distance} mm) than the pixels are wide ({pixels} mm); that adds voxels, and hardly detail.").format(distance=f"{distance:.2g}", pixels=f"{pixels:.2g}")


def axes_hint(facts: VolumeFacts, scale: Scale = Scale.TWO, axes: Axes | None = None) -> str:
    """Why factor and axes were proposed, and what to think of those that are chosen."""
    distance = facts.slice_distance / (scale.factor or 1)
    finer = finer_than_pixels(facts, distance) if axes is Axes.THROUGH_PLANE else ""
    return " ".join(filter(None, (_proposal(facts), finer)))


def _proposal(facts: VolumeFacts) -> str:
    if facts.thickness > _CLEARLY:
        return _("Proposed: {factor} through-plane, because the slices are {ratio} times as thick as the pixels are wide.").format(factor=proposed_scale(facts).label(), ratio=f"{facts.thickness:.1f}")
    if facts.thickness < 1 / _CLEARLY:
        return _("Proposed: {factor} in-plane, because the pixels are {ratio} times as wide as the slices are thick.").format(factor=proposed_scale(facts).label(), ratio=f"{1 / facts.thickness:.1f}")
    return _("Proposed: all axes, because the voxels are nearly cubes.")


def slices_hint(facts: VolumeFacts, modality: str, slice_spacing: float) -> str:
    """What a distance of the slices changes; and why a network for it is not offered where only interpolations are."""
    told = _("The slices are {distance} mm apart in the scan. The pixels stay as they are.").format(distance=f"{facts.slice_distance:.3g}")
    told = " ".join(filter(None, (told, finer_than_pixels(facts, slice_spacing))))
    fitting = fitting_slice_methods(modality, slice_spacing, facts.slice_distance)
    if not fitting or any(method.networks for method in fitting):
        return told  # without any the reason stands below Apply
    networks = [method for method in fitting_slice_methods(modality, slice_spacing) if method.networks]
    farthest = max((farthest_slices(method, slice_spacing) for method in networks), default=0.0)
    if networks and facts.slice_distance > farthest:
        reason = _("The networks for {modality} do that up to {farthest} mm; beyond, choose a factor.").format(modality=modality, farthest=f"{farthest:g}")
        return f"{told} {reason}"
    refusals = (fits_slices(method, slice_spacing, facts.slice_distance) for method in networks)
    return _with_titles(" ".join([told, *map(in_language, list(filter(None, refusals))[:1])]))


def isotropic_hint(facts: VolumeFacts, modality: str) -> str:
    """How large the voxels will be; and why a network is not offered where only interpolations are."""
    told = _("Every axis gets the scan's smallest spacing, {spacing} mm.").format(spacing=f"{min(facts.spacing):.3g}")
    fitting = fitting_isotropic_methods(modality, facts.shape, facts.spacing)
    if not fitting or any(method.networks for method in fitting):
        return told  # without any the reason stands below Apply
    refusals = (fits_isotropic(method, facts.shape, facts.spacing) for method in fitting_isotropic_methods(modality) if method.networks)
    return _with_titles(" ".join([told, *map(in_language, list(filter(None, refusals))[:1])]))


def modality_source(guess: ModalityGuess, chosen: Modality) -> str:
    """Where the choice of the modality comes from."""
    if chosen is guess.modality:
        return guess.source
    return _("your choice; {modality} {source}").format(modality=guess.modality.value, source=guess.source)


def again_text(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """A sentence on a volume that is itself a result, else an empty string."""
    method = METHODS.get(node.GetAttribute("SuperResolution3D.Method") or "")
    return _('This volume is itself a result ({method}).').format(method=wording.title(method)) if method else ""


def missing_networks(modality: str) -> str:
    """A sentence if no trained network for a modality is installed, else an empty string."""
    if any(method.networks and modality in method.modalities and is_installed(method, modality) for method in METHODS.values()):
        return ""
    return _("No trained network for {modality} is installed; install the extension again, or set SUPERRES3D_MODELS to the folder that holds the models.").format(modality=modality)


def method_text(method: Method) -> str:
    """What a method does, and when not to use it, a line each; what it assumes of the scan is in :func:`method_tip`."""
    if not method.networks:
        return f"{in_language(method.summary)} {in_language(method.when_not)}"
    return _with_titles("\n".join((in_language(method.summary), _("When not: {text}").format(text=in_language(_without_caution(method.when_not))))))


def method_caution(method: Method) -> str:
    """What the panel shows beside a method that may invent, else an empty string."""
    return _("Caution: {text}").format(text=in_language(INVENTS)) if method.adversarial else ""


def method_tip(method: Method) -> str:
    """All that the catalogue tells of a method."""
    assumes = _("Assumes: {text}").format(text=in_language(method.assumes)) if method.networks else ""
    lines = [wording.title(method), method_caution(method), method_text(method), assumes, _("Source: {text}.").format(text=method.paper) if method.paper else ""]
    return "\n".join(filter(None, lines))


def _with_titles(text: str) -> str:
    """Networks by the titles that the panel's list shows, in place of the names of the command line."""
    for name in sorted((name for name, method in METHODS.items() if method.networks), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", f'"{wording.title(name)}"', text)
    return text


def _without_caution(text: str) -> str:
    """A sentence of the catalogue without the warning that stands in a place of its own."""
    rest = text.replace(INVENTS, "").strip().rstrip(";.")
    return f"{rest}."


def report_text(finished: Finished) -> str:
    """A short report: result, method, what it may invent, models, seconds, warnings."""
    report = finished.report
    lines = [*(_("Warning: {text}").format(text=_with_titles(in_language(text))) for text in check_warnings(report)), *_checked(report), _result_text(finished)]
    if report.get("careful"):
        lines.append(_("Careful: what the networks add was made smaller, most where large errors are expected. Some of what is left may still be invented."))
    if finished.error_map is not None:
        lines.append(_('Map of the expected error: "{name}". {statement} This is no promise; see the report.').format(name=finished.error_map.GetName(), statement=_first_sentence(in_language(report["error_map"]["statement"]))))
    if report["back_projections"]:
        lines.append(_("Data consistency: {count} back-projections.").format(count=report["back_projections"]))
    if report["detail"] and report["detail"]["noise"] == "reduce":
        lines.append(_("The networks were asked to reduce noise."))
    if report["invents"]:
        lines.append(_("Caution: {text}").format(text=in_language(report["invents"])))
    if finished.comparison is not None:
        lines.append(_('Compare with "{name}".').format(name=finished.comparison.GetName()))
    lines += [_("Model {name}, SHA-256 {hash}.").format(name=model["name"], hash=model["sha256"][:12]) for model in report["models"].values()]
    lines += [_("Note: {text}").format(text=in_language(warning)) for warning in finished.warnings if warning not in (report["invents"], *check_warnings(report))]
    lines.append(_("Research software, not for diagnosis."))
    return "\n".join(lines)


def check_warnings(report: Mapping[str, Any]) -> list[str]:
    """What the self-check tells against the method on this scan, or why it was not made; nothing without one."""
    if "check" not in report:
        return []
    check = report["check"]
    return list(check["warnings"]) if check else [warning for warning in report["warnings"] if warning.startswith("The check")]


def _checked(report: Mapping[str, Any]) -> list[str]:
    """What the self-check found, for a clinician, and that it is no proof."""
    check = report.get("check")
    return [_with_titles(f"{in_language(check['statement'])} {in_language(check['cannot_show'][0])}")] if check else []


def _computed_on(device: str, precision: str) -> str:
    forms = {"float32": "{device}", "int8": _("{device} in 8 bits")}
    return forms.get(precision, _("{device} in half precision")).format(device=device)


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".") + "."


def _result_text(finished: Finished) -> str:
    """What was made, by what, how fast and where."""
    report, output = finished.report, finished.report["output"]
    return _('"{name}": {shape} voxels of {spacing} mm, {method}, {time} on {device}.').format(
        name=finished.result.GetName(), shape=wording.dimensions(output["shape_ijk"]), spacing=wording.dimensions(output["spacing_mm"]),
        method=wording.title(report["method"]), time=wording.duration(report["seconds"].get("shown", report["seconds"]["total"])),
        device=_computed_on(report["device"], report["precision"]),
    )  # fmt: skip
