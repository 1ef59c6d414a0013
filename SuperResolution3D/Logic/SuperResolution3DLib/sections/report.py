"""What the panel tells of a run: the status, the report, and the log of what failed."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..job import Finished
from ..summary import report_text
from .controls import show


class ReportSection:
    """Tells of the last run until it is cleared.

    Args:
        ui: the widgets of the form.
    """

    def __init__(self, ui: Any):
        self._ui = ui
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

    def tell(self, status: str) -> None:
        """Say in one line what goes on."""
        show(self._ui.statusLabel, status)

    def tell_result(self, finished: Finished) -> None:
        """Say how the result was made, and what it may invent."""
        self.tell(_("Done"))
        show(self._ui.reportLabel, report_text(finished))

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

    def _show_log(self, text: str) -> None:
        self._ui.logText.plainText = text
        self._ui.logCollapsibleButton.visible = bool(text)
