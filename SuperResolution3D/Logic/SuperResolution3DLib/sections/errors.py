"""The expected error of the last run: over the views, and where to look twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer.util

from ..error_map import OPACITY, Doubtful, doubtful_places, jump_to, lay_over
from ..job import Finished
from .state import PanelState


class ErrorsSection:
    """Lays the map over the views, and jumps to the places of its table.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        scene_parameters: returns the parameters of the scene, where the panel is connected to none.
    """

    def __init__(self, ui: Any, state: PanelState, scene_parameters: Callable[[], Any]):
        self._ui = ui
        self._state = state
        self._scene_parameters = scene_parameters
        self._places: list[Doubtful] = []
        self._waits = False  # a map that was made while the user was elsewhere
        ui.errorSlider.connect("valueChanged(int)", self._fade)
        ui.doubtfulTable.connect("cellClicked(int,int)", self._jump)
        ui.doubtfulTable.connect("cellActivated(int,int)", self._jump)
        self.clear()

    def refresh(self, waiting: bool = False) -> None:
        """Without a map there is nothing to show; with ``waiting`` the result is not shown yet, and neither is its map."""
        parameters = self._state.parameters
        self._ui.errorCollapsibleButton.visible = parameters.lastErrorMap is not None
        if self._waits and not waiting and parameters.lastErrorMap is not None:
            self._waits = False
            self._lay_over(parameters.lastErrorMap, parameters.lastResult)

    def clear(self) -> None:
        """The table belongs to the last run; the map stays with the scene."""
        self._fill([])

    def take(self, finished: Finished, waiting: bool = False) -> None:
        """Show the map of a run, or take that of an earlier one away; with ``waiting`` when the result is shown."""
        parameters = self._state.parameters or self._scene_parameters()
        self._waits = waiting
        if not waiting and (finished.error_map is not None or parameters.lastErrorMap is not None):
            self._lay_over(finished.error_map, finished.result)
        parameters.lastErrorMap = finished.error_map
        self._fill(doubtful_places(finished.report))
        was_blocked = self._ui.errorSlider.blockSignals(True)
        self._ui.errorSlider.value = round(100 * OPACITY)
        self._ui.errorSlider.blockSignals(was_blocked)

    def _lay_over(self, node: Any, result: Any) -> None:
        """A part has its scan's place then: the views show it as large as they can."""
        lay_over(node, OPACITY, result)
        if node is not None and result is not None and result.GetAttribute("SuperResolution3D.Region") not in (None, "none"):
            slicer.util.setSliceViewerLayers(fit=True)

    def _fill(self, places: list[Doubtful]) -> None:
        self._places, table = places, self._ui.doubtfulTable
        table.setRowCount(len(places))
        for row, place in enumerate(places):
            for column, text in enumerate((place.words, place.size)):
                table.setItem(row, column, qt.QTableWidgetItem(text))
        table.visible = self._ui.doubtfulLabel.visible = bool(places)

    def _fade(self, value: int) -> None:
        parameters = self._state.parameters
        if parameters and parameters.lastErrorMap is not None:
            lay_over(parameters.lastErrorMap, value / 100.0, parameters.lastResult)

    def _jump(self, row: int, column: int = 0) -> None:
        node = self._state.parameters.lastErrorMap if self._state.parameters else None
        if node is not None and row < len(self._places):
            jump_to(self._places[row], node)
