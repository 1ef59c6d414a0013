"""Several volumes at once: a list with a state for each, worked off with the panel's choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _
from superres3d.errors import InputError, SuperResolutionError
from superres3d.methods import needs_modality

from ..job import Outputs
from ..modality import guess_modality
from ..package_words import in_language
from ..queueing import Entry, Queue, State
from ..regions import spans_of
from ..request import Request
from .controls import show
from .state import PanelState


class Starter(Protocol):
    """What the section needs of the module's logic."""

    def start(self, inputVolume: Any, request: Request, outputs: Outputs, onProgress: Callable, onSuccess: Callable, onFailure: Callable) -> Any:
        """Start a run under the event loop."""


class QueueSection:
    """Adds volumes, starts, stops, and shows how far it is.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        logic: starts the runs.
        ensure_packages: installs what a request needs (SuperResolutionError).
        on_busy: told whether it works, so that no other run begins.
    """

    def __init__(self, ui: Any, state: PanelState, logic: Starter, ensure_packages: Callable[[Request], object], on_busy: Callable[[bool], None]):
        self._ui = ui
        self._state = state
        self._logic = logic
        self._ensure_packages = ensure_packages
        self._on_busy = on_busy
        self._was_going = False
        self._choices: Request | None = None
        self.queue = Queue(slicer.mrmlScene, self._start_run, self._request_for, lambda call: qt.QTimer.singleShot(0, call), self._show)
        ui.addVolumeButton.connect("clicked(bool)", lambda: self._add(lambda node: self.queue.add_volumes([node])))
        ui.addStudyButton.connect("clicked(bool)", lambda: self._add(self.queue.add_study))
        ui.addFramesButton.connect("clicked(bool)", lambda: self._add(self.queue.add_frames))
        ui.startQueueButton.connect("clicked(bool)", self._start)
        ui.stopQueueButton.connect("clicked(bool)", self.queue.stop)
        ui.clearQueueButton.connect("clicked(bool)", self.queue.clear)
        self._show()

    def refresh(self) -> None:
        """Show what can be done."""
        chosen = self._state.parameters is not None and self._state.parameters.inputVolume is not None
        for name in ("addVolumeButton", "addStudyButton", "addFramesButton"):
            getattr(self._ui, name).enabled = chosen
        self._show_buttons()

    def abort(self) -> None:
        """The scene or the module closes."""
        self.queue.abort()
        self._show()

    def _add(self, add: Callable[[Any], int]) -> None:
        try:
            count = add(self._state.parameters.inputVolume)
        except SuperResolutionError as error:
            self._tell(in_language(str(error)))
        else:
            self._tell(_("{count} added.").format(count=count) if count else _("It waits already."))

    def _start(self) -> None:
        """With the choices as they are now, for all that wait."""
        try:
            self._choices = self._state.request(whole=True)
            self._ensure_packages(self._choices)
        except SuperResolutionError as error:
            self._tell(in_language(str(error)))
            return
        for entry in self.queue.entries:
            if entry.state is State.FAILED:  # perhaps the reason is gone
                entry.state, entry.told = State.WAITING, ""
        self.queue.start()

    def _request_for(self, node: Any, frame: bool) -> Request:
        """The choices at the start, with what is each volume's own: its modality, and where the part lies in it.  Of a frame there is the result alone."""
        assert self._choices
        parameters, guess = self._state.parameters, guess_modality(node)
        if guess.doubt and needs_modality(self._choices.method):
            raise InputError(guess.doubt)
        region = spans_of(node, parameters.part, parameters.roi, parameters.boxSize) if parameters else None
        choices = replace(self._choices, compare=False, error_map=False) if frame else self._choices
        return replace(choices, modality=guess.modality.value, region=region)

    def _start_run(self, node: Any, request: Request, **callbacks: Any) -> Any:
        return self._logic.start(node, request, Outputs(), **callbacks)

    def _show(self) -> None:
        entries = self.queue.entries
        self._fill(entries)
        if self.queue.notice:
            self._tell(self.queue.notice)
        elif self.queue.going:
            done = sum(entry.state in (State.DONE, State.FAILED) for entry in entries)
            self._tell(_("{number} of {count}").format(number=min(len(entries), done + 1), count=len(entries)))
        self._show_buttons()
        if self.queue.going is not self._was_going:
            self._was_going = self.queue.going
            self._on_busy(self.queue.going)

    def _fill(self, entries: list[Entry]) -> None:
        table = self._ui.queueTable
        table.setRowCount(len(entries))
        for row, entry in enumerate(entries):
            for column, text in enumerate((entry.name, entry.line())):
                item = table.item(row, column)
                if item is None:
                    item = qt.QTableWidgetItem(text)
                    table.setItem(row, column, item)
                item.setText(text)
                item.setToolTip(text)

    def _show_buttons(self) -> None:
        ui, entries = self._ui, self.queue.entries
        ui.startQueueButton.enabled = not self.queue.going and any(entry.state in (State.WAITING, State.FAILED) for entry in entries)
        ui.stopQueueButton.enabled = self.queue.going
        ui.clearQueueButton.enabled = bool(entries) and not self.queue.going

    def _tell(self, text: str) -> None:
        show(self._ui.queueLabel, text)
