"""``superres3d derive``: a result of the panel as a DICOM series that is derived from its scan's.  Hidden: its words may change with any version."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from .common import StyleChoice, reporting
from .worker import stop_at_end_of_input

if TYPE_CHECKING:
    from ..scan.volume import Volume


def derive(
    result: Annotated[Path, typer.Argument(help="The result, in any format.")],
    target: Annotated[Path, typer.Argument(help="A folder that is empty, or does not exist.")],
    files: Annotated[Path, typer.Option(help="JSON: the files of the scan's series, or of series that hold it.")],
    report: Annotated[Path, typer.Option(help="JSON: of the run that made the result.")],
    progress: StyleChoice = StyleChoice("json"),
    stop_with_parent: bool = False,
) -> None:
    """Write a derived series."""
    from ..scan.dicom.write import write_dicom_series

    if stop_with_parent:
        stop_at_end_of_input()
    with reporting(progress.value) as reporter:
        told = json.loads(report.read_text(encoding="utf-8"))
        derived = _derived(result, [Path(name) for name in json.loads(files.read_text(encoding="utf-8"))])
        reporter.progress("writing", 0.0)
        written = write_dicom_series(derived, target, told)
        reporter.done(str(target), {"files": len(written), "folder": str(target)})


def _derived(result: Path, files: list[Path]) -> Volume:
    """The result with what the scan's headers tell (InputError: it does not lie where the scan does)."""
    from ..scan.dicom.reading import read_series
    from ..scan.images import read_volume

    missing = next((file for file in files if not file.is_file()), None)
    if missing:
        raise InputError(f"The file {missing} of the scan's series is not there any more; import the series into Slicer's DICOM database again.")
    volume, scan = read_volume(result), read_series(files)
    if not _touch(volume, scan):
        raise InputError("The result does not lie where its DICOM series lies; was it moved, or hardened with a transform?")
    return replace(volume, modality=scan.modality, source=scan.source)


def _touch(result: Volume, scan: Any) -> bool:
    """Whether the middle of a result lies in its scan."""
    import numpy as np

    middle = result.position((np.array(result.voxels.shape[::-1]) - 1) / 2)
    place = np.linalg.solve(np.asarray(scan.direction), middle - np.asarray(scan.origin)) / np.asarray(scan.spacing)
    return bool(((place > -1) & (place < np.array(scan.voxels.shape[::-1]))).all())
