"""The worker under Slicer's event loop: the views stay alive while it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from superres3d.errors import Cancelled, SuperResolutionError

from .worker import GRACE_SECONDS, Done, Event, EventParser, Failed, Progress, Workspace, cannot_start, environment, kill_tree, outcome


class QtRunner:
    """One worker process; single use.

    Callbacks come from the event loop, on the main thread: ``on_progress(Progress)`` and, once,
    ``on_success(report)`` or ``on_failure(error)``.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None],
        on_success: Callable[[dict[str, Any]], None],
        on_failure: Callable[[SuperResolutionError], None],
    ):
        self._on_progress = on_progress
        self._on_success = on_success
        self._on_failure = on_failure
        self._parser = EventParser()
        self._last: Event | None = None
        self._cancelled = False
        self._ended = False
        self._process = qt.QProcess()
        self._killer = qt.QTimer()
        self._killer.setSingleShot(True)
        self._killer.setInterval(int(GRACE_SECONDS * 1000))

    def start(self, arguments: list[str], workspace: Workspace) -> None:
        """Start the worker; errors come through ``on_failure``."""
        self._workspace = workspace
        self._program = arguments[0]
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment().items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.setStandardErrorFile(str(workspace.log))
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._error)
        self._killer.connect("timeout()", self._kill)
        self._process.start(self._program, arguments[1:])

    def cancel(self) -> None:
        """Ask the worker to stop, and kill it if it does not; ends with ``on_failure(Cancelled)``."""
        self._cancelled = True
        self._process.closeWriteChannel()
        self._killer.start()

    def abort(self) -> None:
        """End the worker at once, without a callback (the scene or Slicer closes)."""
        self._ended = True
        self._kill()
        self._process.waitForFinished(1000)
        self._disconnect()

    def _read(self) -> None:
        for event in self._parser.feed(self._process.readAllStandardOutput().data()):
            if isinstance(event, (Done, Failed)):
                self._last = event
            elif not self._ended and not self._cancelled:
                self._on_progress(event)

    def _finished(self, exit_code: int, exit_status: int) -> None:
        self._read()
        if self._ended:
            return
        try:
            if self._cancelled:
                raise Cancelled()
            crashed = exit_status != qt.QProcess.NormalExit
            report = outcome(self._last, exit_code, crashed, self._workspace.log_text())
        except SuperResolutionError as error:
            self._end_with(self._on_failure, error)
        else:
            self._end_with(self._on_success, report)

    def _error(self, kind: int) -> None:
        # All other kinds are followed by finished().
        if kind == qt.QProcess.FailedToStart and not self._ended:
            error = cannot_start(self._program, self._process.errorString())
            # Qt tells it from within start(), when the caller does not have its run yet.
            qt.QTimer.singleShot(0, lambda: self._end_with(self._on_failure, error))

    def _end_with(self, callback: Callable, argument: Any) -> None:
        if self._ended:
            return
        self._ended = True
        self._killer.stop()
        self._disconnect()
        callback(argument)

    def _kill(self) -> None:
        if self._process.state() == qt.QProcess.NotRunning:
            return
        kill_tree(int(self._process.processId()))
        self._process.kill()

    def _disconnect(self) -> None:
        """A connection keeps this object alive."""
        self._process.disconnect("readyReadStandardOutput()", self._read)
        self._process.disconnect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.disconnect("errorOccurred(QProcess::ProcessError)", self._error)
        self._killer.disconnect("timeout()", self._kill)
