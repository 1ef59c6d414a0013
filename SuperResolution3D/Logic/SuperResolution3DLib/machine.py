"""What the estimate must know of this machine: how fast it computes, measured once, and how busy it is now."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import qt

from .dependencies import missing_packages
from .estimate import MachineNow
from .request import Request
from .worker import environment, find_python, kill_tree

_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements-networks.txt"
_SETTLED = 700  # milliseconds after the last choice
_AGAIN = 30.0  # seconds between two looks at how busy the machine is
_CHANGED = 1.2  # times: less is no news


class Machine:
    """Asks a process of its own, which competes with others as a run does; nothing waits for it.

    Args:
        on_news: called from the event loop when an estimate would be another.
        is_quiet: False while Slicer itself computes something that will soon be done.
    """

    def __init__(self, on_news: Callable[[], None], is_quiet: Callable[[], bool] = lambda: True):
        self._on_news = on_news
        self._is_quiet = is_quiet
        self._busy = 1.0  # times
        self._looked: float | None = None
        self._wanted: Request | None = None
        self._process: Any = None
        self._racing = self._packaged = False
        self._tried: set[str] = set()
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLED)
        self._timer.connect("timeout()", self._start)

    @property
    def now(self) -> MachineNow:
        """As far as it is known."""
        return MachineNow(self._busy, self._racing)

    def look(self, request: Request) -> None:
        """For an estimate of a request, while no run of our own is under way: soon measure what is not known or may have changed."""
        if not request.catalogued.networks or self._process or not self._can_compute():
            return
        self._wanted, self._racing = request, self._is_unknown(request)
        if self._racing or self._looked is None or time.monotonic() - self._looked > _AGAIN:
            self._timer.start()

    def stop(self) -> None:
        """A run begins, which would be what is measured, or the module is closed; what is under way tells nobody."""
        self._timer.stop()
        process = self._forget()
        if process and process.state() != qt.QProcess.NotRunning:
            kill_tree(int(process.processId()))
            process.kill()
            process.waitForFinished(1000)

    def _can_compute(self) -> bool:
        """Whether the packages are installed."""
        self._packaged = self._packaged or not missing_packages(_REQUIREMENTS)
        return self._packaged

    def _is_unknown(self, request: Request) -> bool:
        """Whether its speed is still to be measured; where nothing comes of that, the estimate stays a first guess."""
        from superres3d.methods import find_preset
        from superres3d.speed import is_known

        precision = find_preset(request.preset, request.ensemble, request.precision).precision
        return request.device not in self._tried and not is_known(precision, request.device)

    def _start(self) -> None:
        request = self._wanted
        if not request or self._process:
            return
        if not self._racing and not self._is_quiet():
            self._timer.start()
            return
        self._tried |= {request.device}
        self._process = qt.QProcess()
        variables = qt.QProcessEnvironment.systemEnvironment()
        for name, value in environment().items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._error)
        self._process.start(find_python(), ["-m", "superres3d.cli", "race", request.modality, "--device", request.device])

    def _finished(self, code: int, status: int) -> None:  # noqa: ARG002  # Qt's signature
        """The speed stands in the cache; how busy it is was told."""
        told, before, raced = self._process.readAllStandardOutput().data().decode(errors="replace"), self._busy, self._racing
        self._forget()
        if self._is_quiet():
            self._looked = time.monotonic()
            with suppress(ValueError):  # it failed: as before
                self._busy = max(1.0, float(told))
        if raced or max(self._busy, before) > _CHANGED * min(self._busy, before):
            self._on_news()

    def _error(self, kind: int) -> None:
        if kind == qt.QProcess.FailedToStart:
            qt.QTimer.singleShot(0, self._forget)

    def _forget(self) -> Any:
        """A connection keeps this object alive."""
        process, self._process, self._racing = self._process, None, False
        if process:
            process.disconnect("finished(int,QProcess::ExitStatus)", self._finished)
            process.disconnect("errorOccurred(QProcess::ProcessError)", self._error)
        return process
