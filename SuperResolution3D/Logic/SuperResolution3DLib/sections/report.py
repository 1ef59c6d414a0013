"""What the panel tells of a run: the status, the report and its page, and the log of what failed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError
from superres3d.files import replace_text

from ..job import Finished
from ..package_words import in_language
from ..summary import report_text
from ..worker import own_folder
from .controls import show


def open_in_browser(path: Path) -> None:
    """Show a file of this machine in the user's browser."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))


class ReportSection:
    """Tells of the last run until it is cleared.

    Args:
        ui: the widgets of the form.
        temporary_folder: returns where the page may lie while the browser shows it; None: the system's place.
        open_page: shows it.
    """

    def __init__(self, ui: Any, temporary_folder: Callable[[], str | None] = lambda: None, open_page: Callable[[Path], None] = open_in_browser):
        self._ui = ui
        self._temporary_folder = temporary_folder
        self._open_page = open_page
        self._page = self._name = ""
        self._shown: Path | None = None
        ui.reportButton.connect("clicked(bool)", self._open)
        ui.saveReportButton.connect("clicked(bool)", self._ask_and_save)
        self.clear()

    @property
    def log(self) -> str:
        """The log that is shown, or an empty string."""
        return self._ui.logText.plainText

    def clear(self, status: str = "") -> None:
        """Forget the last run; ``status`` is all that is said of it."""
        self.tell(status)
        show(self._ui.reportLabel, "")
        self._show_log("")
        self._keep_page("", "")

    def tell(self, status: str) -> None:
        """Say in one line what goes on."""
        show(self._ui.statusLabel, status)

    def tell_result(self, finished: Finished) -> None:
        """Say how the result was made, and what it may invent."""
        self.tell(_("Done"))
        show(self._ui.reportLabel, report_text(finished))
        self._keep_page(finished.page, finished.result.GetName())

    def tell_failure(self, reason: str, log: str) -> None:
        """Say in one sentence what went wrong; a log that is not empty can be unfolded below it."""
        self.tell(reason)
        self._show_log(log)

    def add_install_line(self, line: str) -> None:
        """Show a line of an installation, which takes minutes."""
        self._ui.logCollapsibleButton.visible = True
        self._ui.logCollapsibleButton.collapsed = False
        self.tell(_("Installing PyTorch"))
        self._ui.logText.appendPlainText(line)

    def add_log_line(self, line: str) -> None:
        """A line of the log, which may be watched while a run goes on."""
        self._ui.logText.appendPlainText(f"{time.strftime('%H:%M:%S')}  {line}")
        self._ui.logCollapsibleButton.visible = True

    def save_page(self, path: str) -> None:
        """Write the page of the last run to a file; what the disk refuses is said in the status."""
        try:
            replace_text(Path(path), self._page)
        except SuperResolutionError as error:
            self.tell(in_language(str(error)))
        else:
            self.tell(_("The report was saved as {path}.").format(path=path))

    def _keep_page(self, page: str, name: str) -> None:
        """The file of an earlier page goes: the browser has read it."""
        self._page, self._name = page, name
        self._ui.reportButton.enabled = self._ui.saveReportButton.enabled = bool(page)
        if self._shown:
            shutil.rmtree(self._shown, ignore_errors=True)
            self._shown = None

    def _open(self) -> None:
        try:
            if self._shown is None:
                self._shown = own_folder("SuperResolution3D-report-", self._temporary_folder())
            path = self._shown / "report.html"
            replace_text(path, self._page)
        except (SuperResolutionError, OSError) as error:
            self.tell(_("The report could not be shown ({reason}); save it elsewhere.").format(reason=error))
        else:
            self._open_page(path)

    def _ask_and_save(self) -> None:
        name = "".join(letter if letter.isalnum() or letter in " -_." else "_" for letter in self._name)
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), _("Save report as"), f"{name} report.html", _("Web page") + " (*.html)")
        if path:
            self.save_page(path)

    def _show_log(self, text: str) -> None:
        self._ui.logText.plainText = text
        self._ui.logCollapsibleButton.visible = bool(text)
