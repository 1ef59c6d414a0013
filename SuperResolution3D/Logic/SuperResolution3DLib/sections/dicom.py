"""The last result as a DICOM series that is derived from its scan's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError

from ..dicom_export import DicomExport, folder_for, source_files
from ..package_words import in_language
from ..qtrunner import QtRunner
from .report import ReportSection
from .state import PanelState


class DicomSection:
    """One export at a time.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        report: where it is told what became of it.
        temporary_folder: returns where files of the exchange may lie.
        ask_folder: asks for the folder in which the series' folder is made; an empty text: none.
    """

    def __init__(self, ui: Any, state: PanelState, report: ReportSection, temporary_folder: Callable[[], str | None], ask_folder: Callable[[], str] | None = None):
        self._ui = ui
        self._state = state
        self._report = report
        self._temporary_folder = temporary_folder
        self.ask_folder = ask_folder or _ask_folder
        self._under_way: DicomExport | None = None
        ui.saveDicomButton.connect("clicked(bool)", self._save)

    def refresh(self) -> None:
        """The button's tip says why it cannot be used."""
        result, reason = self._state.parameters.lastResult, ""
        if result is None:
            reason = _("There is no result yet.")
        else:
            try:
                source_files(result)
            except SuperResolutionError as error:
                reason = in_language(str(error))
        self._ui.saveDicomButton.enabled = not reason and self._under_way is None
        self._ui.saveDicomButton.toolTip = reason or _("Write the last result as a series of its own, derived from the scan's: same patient, study and frame of reference.")

    def stop(self) -> None:
        """The scene or the module closes."""
        export, self._under_way = self._under_way, None
        if export:
            export.abort()

    def _save(self) -> None:
        parent = self.ask_folder()
        if not parent:
            return
        node = self._state.parameters.lastResult
        try:
            export = DicomExport(node, folder_for(node, Path(parent)), self._temporary_folder(), QtRunner, self._saved, self._failed, lambda step: qt.QTimer.singleShot(0, step))
        except SuperResolutionError as error:
            self._report.tell(in_language(str(error)))
            return
        self._under_way = export
        self._ui.saveDicomButton.enabled = False
        self._report.tell(_("Writing the DICOM series"))
        export.start()

    def _saved(self, folder: Path, count: int) -> None:
        self._under_way = None
        self._report.tell(_("The DICOM series was saved: {count} files in {folder}.").format(count=count, folder=folder))
        self._ui.saveDicomButton.enabled = True

    def _failed(self, error: Exception) -> None:
        self._under_way = None
        self._report.tell(in_language(str(error)))
        self._ui.saveDicomButton.enabled = True


def _ask_folder() -> str:
    return qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Folder for the DICOM series"))
