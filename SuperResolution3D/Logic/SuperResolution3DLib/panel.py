"""The panel: its sections, put together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import slicer
import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError

from .comparison import ComparisonView
from .job import Finished
from .machine import Machine
from .nodes import proposed_input
from .notice import ExitGuard, ask_to_stop
from .sections.comparison import ComparisonSection
from .sections.dicom import DicomSection
from .sections.errors import ErrorsSection
from .sections.inputs import InputsSection
from .sections.measured import MeasuredSection
from .sections.method import MethodSection
from .sections.outputs import OutputsSection
from .sections.packages import PackagesSection
from .sections.part import PartSection
from .sections.preview import PreviewSection
from .sections.queue import QueueSection
from .sections.report import ReportSection
from .sections.run import RunLogic, RunSection
from .sections.segmentation import SegmentationSection, show_in_scene
from .sections.state import PanelState
from .worker import sweep


class PanelLogic(RunLogic, Protocol):
    """What the panel needs of the module's logic."""

    def getParameterNode(self) -> Any:
        """The choices of the panel, of the scene."""


class Panel:
    """Makes the sections and keeps them up to date; the module's widget gives it the parameter node.

    Args:
        ui: the widgets of the form, by name.
        logic: the module's.
        view: lays out the comparison.
        is_open: whether the user is in this module.
    """

    def __init__(self, ui: Any, logic: PanelLogic, view: ComparisonView, is_open: Callable[[], bool] = lambda: True):
        self.state = PanelState()
        self.report = ReportSection(ui, lambda: slicer.app.temporaryPath)
        self.errors = ErrorsSection(ui, self.state, logic.getParameterNode)
        self.comparison = ComparisonSection(ui, self.state, view, logic.getParameterNode, self.refresh, is_open)
        self.machine = Machine(self.refresh, lambda: not self.measured.under_way)
        self.run = RunSection(ui, self.state, logic, self.report, self.machine, self._take, self.refresh)
        self.inputs = InputsSection(ui, self.state, on_new_volume=self._forget)
        self.measured = MeasuredSection(ui, self.state)
        self.method = MethodSection(ui, self.state)
        self.packages = PackagesSection(ui, self.report)
        self.dicom = DicomSection(ui, self.state, self.report, lambda: slicer.app.temporaryPath)
        self.part = PartSection(ui, self.state, self.refresh)
        self.preview = PreviewSection(ui, self.state, lambda: slicer.app.temporaryPath, self.run.ensure_packages)
        self.queue = QueueSection(ui, self.state, logic, self.run.ensure_packages, self.run.lend)
        self.segmentation = SegmentationSection(ui, self.state, logic.getParameterNode, show_in_scene)
        self.outputs = OutputsSection(ui, self.state)
        self._proposed: Any = ()  # what was chosen when a volume was proposed last
        self.guard = ExitGuard(slicer.util.mainWindow(), lambda: self.run.under_way, ask_to_stop)

    def refresh(self, caller: Any = None, event: Any = None) -> None:
        """Show what follows from the choices: facts, proposals, methods, estimate, and whether Apply may be clicked."""
        if not self.state.parameters or self.state.refreshing:
            return
        self.state.refreshing = True
        try:
            self._refresh_sections()
        finally:
            self.state.refreshing = False

    def _refresh_sections(self) -> None:
        """From top to bottom: a section may propose what those below it build on."""
        facts = self.inputs.refresh()
        self.measured.refresh(facts)
        self.method.refresh(facts)
        self.part.refresh()
        self.preview.refresh()
        self.outputs.refresh()
        self.segmentation.refresh()
        self.comparison.refresh()
        self.errors.refresh(self.comparison.waiting)
        self.dicom.refresh()
        self.queue.refresh()
        self.run.refresh()

    def tidy(self) -> None:
        """Remove what crashed runs left; gigabytes take a second, beside the window."""
        threading.Thread(target=sweep, args=(Path(slicer.app.temporaryPath),)).start()

    def propose(self) -> None:
        """Choose the volume that is shown, unless the user has chosen one, or something else for the one that was proposed."""
        parameters = self.state.parameters
        if not parameters or self.run.under_way:
            return
        if parameters.inputVolume is not None and self._proposed != self._chosen():
            return
        shown = proposed_input(slicer.mrmlScene)
        if shown is not None and shown.GetImageData() is not None and shown is not parameters.inputVolume:
            parameters.inputVolume = shown
            self._proposed = self._chosen()

    def _chosen(self) -> Any:
        """The volume, and what is asked of it."""
        try:
            return self.state.parameters.inputVolume.GetID(), self.state.request()
        except SuperResolutionError:  # choices that do not go together are the user's
            return None

    def close_scene(self) -> None:
        """The volumes are about to go: so do the run and the comparison."""
        stopped = self.run.abort()
        self.report.clear(_("The run was stopped because the scene was closed.") if stopped else "")
        self.errors.clear()
        self.part.stop()
        self.preview.close()
        self.dicom.stop()
        self.queue.abort()
        self.comparison.view.leave()

    def close(self) -> None:
        """The module is closed: a run and its files end here, and the page of an earlier one goes."""
        self.guard.remove()
        self.run.abort()
        self.machine.stop()
        self.measured.stop()
        self.part.stop()
        self.preview.close()
        self.dicom.stop()
        self.queue.abort()
        self.report.clear()

    def _take(self, finished: Finished) -> None:
        self._proposed = ()  # a run is a choice
        self.comparison.take(finished)
        self.errors.take(finished, self.comparison.waiting)
        self.segmentation.take(finished)

    def _forget(self) -> None:
        """Another volume was chosen; a run under way goes on telling."""
        self.run.forget()
        if self.run.current is None:
            self.errors.clear()
