"""A result as a DICOM series that is derived from its scan's, written by a child process from the files of Slicer's DICOM database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from superres3d.errors import InputError

from .dicom import INSTANCES, REPORT
from .handing_over import HandingOver
from .nodes import volume_from_node
from .worker import Workspace, find_python


class DicomExport:
    """One export; under the event loop.

    Args:
        node: a result.
        folder: that is made; its parent exists.
        temporary_folder: where files of the exchange may lie.
        make_runner: called with the three callbacks of ``QtRunner``.
        on_success: called with the folder and the number of files.
        on_failure: called with an error.
        later: calls a function when the window has had its turn.

    Raises:
        InputError: the node is no result, or its scan's files are not known.
        ResourceError: the exchange's files cannot be written.
    """

    def __init__(
        self, node: slicer.vtkMRMLScalarVolumeNode, folder: Path, temporary_folder: str | None, make_runner: Callable[..., Any],
        on_success: Callable[[Path, int], None], on_failure: Callable[[Exception], None],
        later: Callable[[Callable[[], None]], None] = lambda step: step(),
    ):  # fmt: skip
        files, report = source_files(node), node.GetAttribute(REPORT) or "{}"
        self._on_success, self._on_failure, self._later = on_success, on_failure, later
        self._folder = folder
        self._workspace = Workspace(temporary_folder)
        self._handing_over = HandingOver((volume_from_node(node), self._workspace.input))
        try:
            (self._workspace.folder / "files.json").write_text(json.dumps(files), encoding="utf-8")
            (self._workspace.folder / "report.json").write_text(report, encoding="utf-8")
        except BaseException:
            self._workspace.close()
            raise
        self._runner = make_runner(lambda progress: None, self._succeeded, self._failed)

    def start(self) -> None:
        """Hand the result over and start the worker; what becomes of it the callbacks tell."""
        self._handing_over.beside(self._later, self._handed_over)

    def _handed_over(self, error: Exception | None) -> None:
        if error:
            self._failed(error)
            return
        place = self._workspace.folder
        self._runner.start(
            [
                find_python(), "-m", "superres3d.cli", "derive", str(self._workspace.input), str(self._folder),
                "--files", str(place / "files.json"), "--report", str(place / "report.json"), "--stop-with-parent",
            ],
            self._workspace,
        )  # fmt: skip

    def abort(self) -> None:
        """Stop now and without a word."""
        self._runner.abort()
        self._handing_over.stop()
        self._workspace.close()

    def _succeeded(self, told: dict[str, Any]) -> None:
        self._workspace.close()
        self._on_success(self._folder, told["files"])

    def _failed(self, error: Exception) -> None:
        self._workspace.close()
        self._on_failure(error)


def source_files(node: slicer.vtkMRMLScalarVolumeNode) -> list[str]:
    """The files of the series that a result was made from, by Slicer's DICOM database (InputError: not known, or gone)."""
    name = node.GetName()
    if not node.GetAttribute("SuperResolution3D.Method"):
        raise InputError(_('"{name}" is no result of this module; Slicer\'s own export writes it.').format(name=name))
    instances = (node.GetAttribute(INSTANCES) or "").split()
    if not instances:
        raise InputError(_('The scan of "{name}" was not loaded from DICOM, and another file tells of no patient; save it in another format.').format(name=name))
    database = getattr(slicer, "dicomDatabase", None)
    files = [database.fileForInstance(instance) for instance in instances] if database else []
    if not files or not all(files):
        raise InputError(_('The files of the scan of "{name}" are not in Slicer\'s DICOM database any more; import them again.').format(name=name))
    return list(dict.fromkeys(files))


def folder_for(node: slicer.vtkMRMLScalarVolumeNode, parent: Path) -> Path:
    """A new folder's name after the volume's."""
    name = "".join(letter if letter.isalnum() or letter in " -_" else "_" for letter in node.GetName()).strip() or "result"
    folder, number = parent / name, 1
    while folder.exists():
        number += 1
        folder = parent / f"{name} {number}"
    return folder
