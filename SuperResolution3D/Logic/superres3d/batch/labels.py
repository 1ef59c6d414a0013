"""Label maps beside the scans of a batch: found by a pattern, and brought to the grid of the results.

A pattern is a path, relative to the folder of the scan.  In it ``{name}`` is the scan's name without its suffix (of BIDS without its last part, such as _T2w) and
``{folder}`` its folder within the input; ``*`` stands for anything.
"""

from __future__ import annotations

import glob
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..scan.companions import split_name
from .results import hash_of, is_whole, read_report
from .scans import BatchScan, Found, relative_name, stamp_of
from .task import Task
from .tree import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from ..scan.volume import Volume
    from ..upscaling import Result

NO_LABELS = "No label map fits the scan; its result has none."
_PLACES = ("{name}", "{folder}")


def check_pattern(pattern: str) -> None:
    """InputError where every scan would get the same label map."""
    if not any(place in pattern for place in _PLACES):
        raise InputError(f"--labels {pattern} names one file for all scans; write {{name}} where the name of each scan stands, such as {{name}}_seg.nii.gz.")


def with_labels(found: Found, pattern: str, root: Path) -> None:
    """Give each scan its label map; label maps are no scans any more.

    Args:
        found: what is in the folder; changed.
        pattern: see the module.
        root: the folder.

    Raises:
        InputError: several files fit one scan.
    """
    maps = {scan.name: path for scan in found.scans if (path := _labels_of(scan, pattern, root))}
    taken = {os.path.realpath(path) for path in maps.values()}
    scans = []
    for scan in found.scans:
        if os.path.realpath(scan.files[0]) in taken:
            found.leave_out(scan.name, "a label map")
        else:
            scans.append(_labelled(scan, maps.get(scan.name)))
    found.scans[:] = scans


def _labelled(scan: BatchScan, path: Path | None) -> BatchScan:
    """A changed label map makes another stamp, so the scan is done again."""
    return replace(scan, labels=str(path), stamp=f"{scan.stamp} {stamp_of(path)}") if path else scan


def _labels_of(scan: BatchScan, pattern: str, root: Path) -> Path | None:
    name = scan.stem if scan.kind == "DICOM" else split_name(scan.path, IMAGE_SUFFIXES)[0]
    name = name.rpartition("_")[0] if scan.kind == "BIDS" else name
    folder = scan.path if scan.path.is_dir() else scan.path.parent
    filled = pattern.replace("{name}", glob.escape(name)).replace("{folder}", glob.escape(relative_name(folder, root)))
    found = [path for path in glob.glob(os.path.join(glob.escape(str(folder)), filled)) if os.path.isfile(path) and os.path.realpath(path) != os.path.realpath(scan.files[0])]
    if len(found) > 1:
        raise InputError(f"{len(found)} files fit the label map of {scan.name} ({Path(found[0]).name}, {Path(found[1]).name}, ...); write --labels so that one does.")
    return Path(os.path.abspath(found[0])) if found else None


def place_of(result: str, is_bids: bool) -> str:
    """Where the label map of a result lies, beside it; of BIDS with the suffix dseg, and what it was before in the entity desc, which comes last."""
    folder, slash, file = result.rpartition("/")
    stem, suffix = split_name(Path(file), IMAGE_SUFFIXES)
    stem = f"{''.join(stem.rsplit('_', 1))}_dseg" if is_bids else f"{stem if suffix else file}_labels"
    return f"{folder}{slash}{stem}{suffix or '.nii.gz'}"


def read(task: Task, scan: Volume) -> Volume | None:
    """On the scan's grid; None: the scan has none.

    Raises:
        InputError: no label map, one that lies elsewhere, or something at its result's place that this batch did not write.
    """
    if not task.labels:
        return None
    from ..scan.labels import on_grid_of, read_labels

    ours = (read_report(Path(task.report)).get("batch", {}).get("facts") or {}).get("labels") or {}
    if os.path.lexists(task.labels_out) and not is_whole(Path(task.labels_out), ours.get("sha256", "")):
        raise InputError(f"{task.labels_out} is there and is not what this command wrote; move it away, or give another folder for the results.")
    return on_grid_of(read_labels(task.labels, scan), scan, task.labels)


def write(task: Task, labels: Volume, result: Result, work: Path) -> tuple[Path, dict[str, Any]]:
    """On the grid of the result, into the folder for what is not whole yet; returns the file, and what is told of it."""
    from ..scan.labels import upscale_labels
    from ..scan.writing import write_volume

    fine = upscale_labels(labels, result.volume)
    staged = work / Path(task.labels_out).name
    write_volume(fine, staged, {"ITK_FileNotes": "Label map, upscaled by SuperResolution3D; not for diagnosis"})
    source = {} if task.anonymize else {"source": task.labels}
    result.report["labels"] = {**source, "output": task.labels_out, "dtype": str(fine.voxels.dtype), "notes": list(labels.notes)}
    return staged, {"output": Path(task.labels_out).name, "sha256": hash_of(staged)}


def is_there(result: Path, facts: dict[str, Any]) -> bool:
    """Whether the label map that was written with a result is there as well, whole; True where there was none."""
    told = facts.get("labels")
    return not told or is_whole(result.parent / told["output"], told["sha256"])
