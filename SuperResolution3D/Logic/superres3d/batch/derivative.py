"""Results as a BIDS derivative: description, sidecars with the provenance, scans.tsv.

Rules: bids-specification.readthedocs.io, "Derived dataset and pipeline description", "Preprocessed, coregistered and/or resampled volumes", "Scans file".
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from .. import __version__
from ..errors import InputError
from ..files import replace_text
from .bids import DESCRIPTION
from .results import read_report
from .task import Task

_VERSION = "1.9.0"
_NAME = "SuperResolution3D"
_COLUMNS = {
    "filename": {"Description": "The result, relative to the folder of this file."},
    "source": {"Description": "The scan that it was made of, as a BIDS URI."},
    "seconds": {"Description": "Seconds that it took.", "Units": "s"},
    "sha256": {"Description": "SHA-256 of the result."},
}


def check_derivative(folder: Path) -> None:
    """Refuse a folder that is a data set of somebody else (InputError)."""
    path = folder / DESCRIPTION
    if path.exists() and not _is_ours(path):
        raise InputError(f"{path} is there and is not of this command; give the results another folder.")


def _is_ours(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["GeneratedBy"][0]["Name"] == _NAME
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_description(folder: Path, source: Path) -> None:
    """``dataset_description.json``, and a note for validators on the folder that is not of BIDS.

    Args:
        folder: of the results.
        source: of the raw data set; its name, licence and authors are told.
    """
    raw = json.loads((source / DESCRIPTION).read_text(encoding="utf-8"))
    taken = {name: raw[name] for name in ("License", "Authors", "HowToAcknowledge", "DatasetDOI", "SourceDatasets") if name in raw}
    content = {
        "Name": f"{raw.get('Name', 'A data set')}, upscaled by {_NAME}",
        "BIDSVersion": _VERSION,
        "DatasetType": "derivative",
        **{name: value for name, value in taken.items() if name in ("License", "Authors")},
        "GeneratedBy": [{"Name": _NAME, "Version": __version__, "Description": "Super-resolution of CT and MR; research software, not for diagnosis."}],
        "SourceDatasets": [{"URL": source.absolute().as_uri(), **({"DOI": taken["DatasetDOI"]} if "DatasetDOI" in taken else {})}],
        "DatasetLinks": {"raw": os.path.relpath(source, folder).replace(os.sep, "/")},
    }
    replace_text(folder / DESCRIPTION, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    replace_text(folder / ".bidsignore", "batch\n")
    readme = f"{content['Name']}. Each result tells its method, its networks and its source in the JSON file beside it. Research software, not for diagnosis.\n"
    replace_text(folder / "README", readme)


def sidecar(task: Task, report: dict[str, Any]) -> dict[str, Any]:
    """What stands beside a result.

    Args:
        task: of the scan.
        report: of :func:`superres3d.upscaling.upscale`.
    """
    return {
        "Description": f"Upscaled by {report['method']}; {report['statement']}",
        "Sources": [task.entities["uri"]],
        "Resolution": _resolution(report),
        "SkullStripped": _is_stripped(Path(task.files[0])),
        "SuperResolution": report,
    }


def sidecar_of_labels(task: Task, report: dict[str, Any]) -> dict[str, Any]:
    """What stands beside its label map; arguments as :func:`sidecar`."""
    return {
        "Description": f"Label map on the grid of a result of {report['method']}; {report['statement']}",
        "Sources": [task.entities["uri"], Path(task.labels).as_uri()],
        "Resolution": _resolution(report),
    }


def _resolution(report: dict[str, Any]) -> str:
    made, given = (" x ".join(f"{size:.4g}" for size in report[name]["spacing_mm"]) for name in ("output", "input"))
    return f"{made} mm, made of {given} mm by {report['method']}"


def _is_stripped(source: Path) -> bool:
    """As the raw data say it; where they do not, they are raw: not stripped."""
    beside = source.with_name(source.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    return bool(read_report(beside).get("SkullStripped"))


def write_scans_tables(folder: Path, results: Iterable[tuple[str, str, float, str]]) -> None:
    """A ``scans.tsv`` for each subject, or session, with the dictionary of its columns.

    Args:
        folder: of the results.
        results: (path relative to it, BIDS URI of the source, seconds, SHA-256) of each finished result.
    """
    tables: dict[PurePosixPath, list[str]] = defaultdict(list)
    for result, *others in sorted(results):
        path = PurePosixPath(result)
        home = path.parent.parent
        prefix = "_".join(home.parts)
        tables[home / f"{prefix}_scans.tsv"].append("\t".join((str(path.relative_to(home)), *map(str, others))))
    for name, rows in tables.items():
        replace_text(folder / name, "\n".join(["\t".join(_COLUMNS), *rows]) + "\n")
        replace_text(folder / name.with_suffix(".json"), json.dumps(_COLUMNS, indent=2) + "\n")
