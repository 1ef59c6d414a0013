"""Report and pictures as one HTML page that needs nothing else."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from ..detail.estimator import AxisDetail
from ..detail.words import resolution
from ..files import replace_text
from ..methods import METHODS
from ..networks.weights import find_model
from .pictures import View

_AXES = " x "
_PARTS = {"check": "Self-check: on this scan, made coarser once more", "fit": "How the result fits the scan"}


def render(report: dict[str, Any], views: list[View]) -> str:
    """The page.

    Args:
        report: of :func:`superres3d.upscaling.upscale`, with ``check``, ``fit`` and ``error_map`` where they were asked for.
        views: see :func:`superres3d.page.pictures.views_of`.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((resources.files(__package__) / "page.html").read_text(encoding="utf-8"))
    return template.render(
        report=report, check=report.get("check"), views=views, grids=_grids(report), choices=_choices(report), found=_found(report), models=_models(report),
        doubtful=_doubtful(report), assumes=METHODS[report["method"]].assumes, warnings=report["warnings"], source=Path(report["source"]).name if "source" in report else "", everything=json.dumps(report, indent=2),
    )  # fmt: skip


def write_page(path: Path, report: dict[str, Any], views: list[View]) -> None:
    """Write it (ResourceError: the disk refuses); arguments as :func:`render` takes them."""
    replace_text(path, render(report, views))


def _grids(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(what, of the scan, of the result)."""
    scan, result = report["input"], report["output"]
    return [
        ("Voxels (i, j, k)", _AXES.join(map(str, scan["shape_ijk"])), _AXES.join(map(str, result["shape_ijk"]))),
        ("Spacing in mm", _AXES.join(f"{value:.4g}" for value in scan["spacing_mm"]), _AXES.join(f"{value:.4g}" for value in result["spacing_mm"])),
        ("Type of the voxels", scan["dtype"], result["dtype"]),
    ]


def _choices(report: dict[str, Any]) -> list[tuple[str, str]]:
    seconds = report["seconds"]["total"]
    told = [
        ("Method", report["method"]),
        ("Preset", report["preset"] or "none"),
        ("Modality", report["modality"] or "not needed"),
        ("Finer by (i, j, k)", _AXES.join(f"{value:.4g}" for value in report["factors_ijk"])),
        ("Noise", {"keep": "kept", "reduce": "reduced"}.get((report.get("detail") or {}).get("noise", ""), "as the method leaves it")),
        ("Careful", "what the networks add was made smaller" if report.get("careful") else "no"),
        ("Computed on", f"{report['device']}, {report['precision']}, in {seconds:.3g} s"),
        ("Software", report["software"]),
    ]
    return told if not report["invents"] else [*told, ("Caution", report["invents"])]


def _found(report: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """(headline, sentences) of whatever was looked at."""
    told = [("The scan's own resolution", _resolution(report))]
    for key, title in _PARTS.items():
        told.append((title, list((report.get(key) or {}).get("sentences", []))))
    errors = report.get("error_map")
    told.append(("Expected error", [errors["what"], errors["statement"]] if errors else []))
    return [(title, lines) for title, lines in told if lines]


def _resolution(report: dict[str, Any]) -> list[str]:
    measured = (report.get("detail") or {}).get("measured")
    if not measured:
        return []
    slices = "ijk".index(report["slice_axis"])
    rows, columns = sorted({0, 1, 2} - {slices}, reverse=True)  # of the scan's array, whose order is (k, j, i)
    lines = []
    for key, axis in (("across", slices), ("rows", rows), ("columns", columns)):
        found, spacing = measured.get(key), report["input"]["spacing_mm"][axis]
        if found:
            lines.append(f"Along {'ijk'[axis]}: stored every {spacing:.3g} mm, measured {resolution(AxisDetail(**found), spacing):.3g} mm.")
    told = report["detail"]["told"]
    lines.append(f"The networks were told of it ({' and '.join(told)})." if told else "The loss of detail is not clear enough to tell the networks of it; they take the scan as usual.")
    return lines


def _doubtful(report: dict[str, Any]) -> list[dict[str, str]]:
    told = report.get("error_map") or {}
    return [{"where": ", ".join(f"{value:.1f}" for value in place["position_ras_mm"]), "error": f"{place['expected_error']:.3g} {told['unit']}".strip()} for place in told.get("doubtful", [])]


def _models(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"stage": stage, **model, "subjects": _subjects(model["name"], report.get("adaptation") or {})} for stage, model in report["models"].items()]


def _subjects(name: str, adaptation: dict[str, Any]) -> list[dict[str, Any]]:
    """On whom a model was trained; of one that went on learning on the scan, that which it began with: it lies in no folder itself."""
    if adaptation.get("used") and name == adaptation["adapted"]["name"]:
        name = adaptation["start"]["name"]
    return find_model(name).card.get("training_subjects", [])
