"""Apply, progress and Cancel; the estimate, or the reason why Apply is disabled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Protocol

import qt
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import Cancelled, ResourceError, SuperResolutionError

from .. import wording
from ..command_line import command_line
from ..dependencies import Installer, SlicerInstaller
from ..estimate import MachineNow
from ..job import Finished, Outputs
from ..machine import Machine
from ..package_words import in_language
from ..request import Request
from ..run import PanelRun
from ..worker import Progress
from .controls import reveal, show
from .report import ReportSection
from .state import PanelState


class RunLogic(Protocol):
    """What the section needs of the module's logic."""

    def check(self, inputVolume: Any, request: Request, outputs: Outputs) -> None:
        """Refuse choices that cannot be run (InputError)."""

    def estimate(self, inputVolume: Any, request: Request, machine: MachineNow) -> str:
        """What a run takes, in words (a SuperResolutionError says why it does not fit)."""

    def ensureDependencies(self, request: Request, installer: Installer) -> None:
        """The packages that a run needs (DeviceError with what to do)."""

    def start(self, inputVolume: Any, request: Request, outputs: Outputs, onProgress: Callable, onSuccess: Callable, onFailure: Callable) -> PanelRun:
        """Start a run under the event loop."""


class RunSection:
    """One run at a time.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        logic: checks, estimates and starts.
        report: where the run tells of itself.
        machine: what the estimate must know of it.
        on_success: called with the nodes of a run, before ``refresh``.
        refresh: called when a run has ended, for all sections.

    Attributes:
        current: the run under way, or None.
    """

    def __init__(
        self, ui: Any, state: PanelState, logic: RunLogic, report: ReportSection, machine: Machine,
        on_success: Callable[[Finished], None], refresh: Callable[[], None],
    ):  # fmt: skip
        self._ui = ui
        self._state = state
        self._logic = logic
        self._report = report
        self._machine = machine
        self._on_success = on_success
        self._refresh = refresh
        self._installing = self._lent = False
        self._stage = ""  # that the log told last
        self._choices: Any = None
        self._failed_choices: Any = None  # for which the last run failed
        self.current: PanelRun | None = None
        ui.applyButton.connect("clicked(bool)", self.apply)
        ui.cancelButton.connect("clicked(bool)", self._cancel)
        self._set_idle()

    def refresh(self) -> None:
        """Show whether Apply may be clicked, and what it would take."""
        volume = self._state.parameters.inputVolume
        reason = estimate = command = ""
        try:
            request = self._state.request()
            command = command_line(request, volume)
            self._logic.check(volume, request, self._state.outputs())
            if not self.under_way:
                self._machine.look(request)
            estimate = self._logic.estimate(volume, request, self._machine.now)
        except SuperResolutionError as error:
            reason = in_language(str(error))
        self._ui.commandLineEdit.text = command
        self._choices = (volume, command)
        if self._failed_choices not in (None, self._choices) and self.current is None:
            self._report.clear()  # what was said of other choices
            self._failed_choices = None
        show(self._ui.estimateLabel, estimate)
        self._show_reason(reason)

    def apply(self) -> None:
        """Make sure of the packages, then start the run."""
        if not self._ui.applyButton.enabled:
            return  # the shortcut
        self._report.clear()
        try:
            if self.ensure_packages(self._state.request()):
                self._refresh()  # the estimate is seen before minutes are spent
                self._report.tell(_("The packages are installed. The estimate stands above Apply, which starts the run."))
                return
            self._machine.stop()
            self.current = self._logic.start(
                self._state.parameters.inputVolume, self._state.request(), self._state.outputs(),
                onProgress=self._show_progress, onSuccess=self._succeeded, onFailure=self._failed,
            )  # fmt: skip
        except SuperResolutionError as error:
            self._failed(error, self._report.log)
        except MemoryError:
            self._failed(ResourceError(_("Memory ran out; close other volumes or programs, or use a smaller factor.")), "")
        except Exception as error:  # a defect must not leave Apply disabled without a word
            logging.exception("SuperResolution3D: the run could not be started")
            self._failed(SuperResolutionError(_("The run could not be started ({reason}); see the Python console.").format(reason=error)), "")
        else:
            self._set_busy(_("Starting"))

    @property
    def under_way(self) -> bool:
        """Whether something computes that would be lost; the queue counts, too."""
        return self.current is not None or self._lent

    def abort(self) -> bool:
        """End a run without a word; True if there was one."""
        run, self.current = self.current, None
        if run:
            run.abort()
            self._set_idle()
        return run is not None

    def stop_without_input(self) -> None:
        """A node left the scene: without its input a run has nothing to put its result beside."""
        run = self.current
        if not run:
            return
        try:
            run.check_source()
        except SuperResolutionError as error:
            self.current = None  # what it takes out of the scene brings us here again
            run.abort()
            self._failed(error, "")

    def lend(self, lent: bool) -> None:
        """Whether another section runs something; meanwhile the choices stay as they are."""
        self._lent = lent
        if lent:
            self._machine.stop()
        self._set_choices_enabled(not lent)
        self._refresh()

    def forget(self) -> None:
        """Clear the report of an earlier run; one under way goes on telling."""
        if self.current is None:
            self._report.clear()

    def ensure_packages(self, request: Request) -> bool:
        """Install what a request needs; asks the user (SuperResolutionError: not to be had).  True if packages were installed just now."""
        before, self._installing = self._ui.applyButton.enabled, True
        self._ui.applyButton.enabled = False
        try:
            installer = SlicerInstaller(slicer.util.confirmOkCancelDisplay, self._report.add_install_line)
            self._logic.ensureDependencies(request, installer)
            return installer.installed
        finally:
            self._installing = False
            self._ui.applyButton.enabled = before

    def _cancel(self) -> None:
        if self.current:
            self._ui.cancelButton.enabled = False
            self._report.tell(_("Cancelling"))
            self.current.cancel()

    def _show_progress(self, progress: Progress) -> None:
        self._ui.progressBar.setRange(0, 100)
        self._ui.progressBar.value = int(100 * progress.share)
        text = wording.stage(progress.stage)
        if text != self._stage:
            self._stage = text
            self._report.add_log_line(text)
        if progress.seconds_left is not None and progress.share < 1:
            text = _("{stage}: about {time} left").format(stage=text, time=wording.duration(progress.seconds_left))
        self._report.tell(text)

    def _succeeded(self, finished: Finished) -> None:
        self.current = None
        self._set_idle()
        self._report.tell_result(finished)
        self._on_success(finished)
        self._refresh()

    def _failed(self, error: Exception, log: str) -> None:
        self.current = None
        self._set_idle()
        if isinstance(error, Cancelled):
            self._report.tell(_("Cancelled; the scene is as before."))
        else:
            self._report.tell_failure(in_language(str(error)), log)
            logging.error(f"SuperResolution3D: {error}\n{log}")
        self._failed_choices = None
        self._refresh()
        self._failed_choices = self._choices

    def _show_reason(self, reason: str) -> None:
        busy = self.current is not None or self._installing or self._lent
        self._ui.applyButton.enabled = not reason and not busy
        self._ui.applyButton.toolTip = reason or _("Upscale the volume (Ctrl+Return).")
        show(self._ui.reasonLabel, "" if busy else reason)

    def _set_busy(self, text: str) -> None:
        self._set_choices_enabled(False)
        self._ui.applyButton.enabled = False
        self._ui.cancelButton.enabled = True
        show(self._ui.reasonLabel, "")
        self._ui.progressBar.setRange(0, 0)
        self._ui.progressBar.visible = True
        self._report.tell(text)
        self._stage = ""
        self._report.add_log_line(self._ui.commandLineEdit.text)
        qt.QTimer.singleShot(0, lambda: reveal(self._ui.statusLabel))  # when the bar has its place

    def _set_idle(self) -> None:
        self._set_choices_enabled(True)
        self._ui.cancelButton.enabled = False
        self._ui.progressBar.visible = False

    def _set_choices_enabled(self, enabled: bool) -> None:
        for section in (self._ui.inputsCollapsibleButton, self._ui.partCollapsibleButton, self._ui.outputsCollapsibleButton, self._ui.advancedCollapsibleButton):
            section.enabled = enabled
