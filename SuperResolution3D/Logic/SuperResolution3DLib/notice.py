"""Telling a user who is elsewhere, and asking one who is about to close Slicer during a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import slicer.util
from slicer.i18n import tr as _

_SHOWN_MILLISECONDS = 15_000


def tell_elsewhere(text: str) -> None:
    """In the status bar, with the system's sound and its mark on the task bar; nothing is taken from the user."""
    window = slicer.util.mainWindow()
    if not window:
        return
    import qt  # only the application has it

    slicer.util.showStatusMessage(text, _SHOWN_MILLISECONDS)
    qt.QApplication.beep()
    qt.QApplication.alert(window)


def ask_to_stop(question: str) -> bool:
    """Whether to stop what runs; the buttons say what they do, and Return or Escape stops nothing."""
    import qt

    if slicer.app.testingEnabled():
        return True  # nobody is there to answer
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setIcon(qt.QMessageBox.Warning)
    box.windowTitle = _("A run is under way")
    box.text = question
    stop = box.addButton(_("Stop the run and close"), qt.QMessageBox.DestructiveRole)
    wait = box.addButton(_("Keep running"), qt.QMessageBox.RejectRole)
    box.setDefaultButton(wait)
    box.setEscapeButton(wait)
    box.exec_()
    stops = box.clickedButton() == stop
    box.deleteLater()
    return stops


class ExitGuard:
    """Asks before the main window closes during a run.

    Args:
        window: the main window, or None.
        is_running: whether there is something to lose.
        ask: shows a question, and returns whether the user agrees.
    """

    def __init__(self, window: Any, is_running: Callable[[], bool], ask: Callable[[str], bool]):
        self._window = window
        self._is_running = is_running
        self._ask = ask
        self._filter = _filter_for(self.may_close) if window else None
        if self._filter:
            window.installEventFilter(self._filter)

    def may_close(self) -> bool:
        """False if the user would rather wait for the run."""
        return not self._is_running() or self._ask(_("A run of Super-Resolution 3D is under way. Close Slicer and stop it? Nothing of it would be kept."))

    def remove(self) -> None:
        """Ask no more."""
        if self._filter:
            self._window.removeEventFilter(self._filter)
            self._filter = None


def _filter_for(may_close: Callable[[], bool]) -> Any:
    import qt  # only the application has it

    class CloseFilter(qt.QObject):
        def eventFilter(self, watched: Any, event: Any) -> bool:  # noqa: ARG002  # Qt's signature
            if event.type() != qt.QEvent.Close or may_close():
                return False
            event.ignore()
            return True

    return CloseFilter()
