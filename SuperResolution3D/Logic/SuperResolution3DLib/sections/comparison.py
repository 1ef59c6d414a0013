"""The volumes of the last run: in the views, and side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer.util

from ..comparison import ComparisonView, any_in_views, panes
from ..job import Finished
from .state import PanelState


class ComparisonSection:
    """Shows a result, and the comparison when it is asked for.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        view: lays the volumes out.
        scene_parameters: returns the parameters of the scene, where the panel is connected to none.
        refresh: called when the comparison was entered or left, for all sections.

    Attributes:
        view: as given.
    """

    def __init__(self, ui: Any, state: PanelState, view: ComparisonView, scene_parameters: Callable[[], Any], refresh: Callable[[], None]):
        self._ui = ui
        self._state = state
        self._scene_parameters = scene_parameters
        self._refresh = refresh
        self.view = view
        ui.showComparisonButton.connect("clicked(bool)", self._enter)
        ui.leaveComparisonButton.connect("clicked(bool)", self._leave)

    def refresh(self) -> None:
        """Show what can be entered or left."""
        parameters = self._state.parameters
        self._ui.showComparisonButton.enabled = parameters.lastSource is not None and parameters.lastResult is not None
        self._ui.leaveComparisonButton.enabled = self.view.active

    def take(self, finished: Finished) -> None:
        """Remember the volumes of a run with the scene, and show them."""
        parameters = self._state.parameters or self._scene_parameters()
        # Views that show the scan, or what was made of it, stay where they are; others may show another place.
        earlier = (parameters.lastResult, parameters.lastComparison) if parameters.lastSource is finished.source else ()
        fit = not any_in_views(finished.source, finished.result, *earlier)
        with slicer.util.NodeModify(parameters):
            parameters.lastSource, parameters.lastResult, parameters.lastComparison = finished.source, finished.result, finished.comparison
        if self.view.laid_out:
            self._show(parameters)
        else:
            slicer.util.setSliceViewerLayers(background=finished.result, fit=fit)

    def resume(self) -> None:
        """Go on with a comparison during which the scene was saved: labels and links are not in the file."""
        parameters = self._state.parameters
        if parameters and self.view.interrupted and parameters.lastSource and parameters.lastResult:
            self._show(parameters)
            self._refresh()
        self.view.tidy()

    def _show(self, parameters: Any) -> None:
        self.view.show(panes(parameters.lastSource, parameters.lastComparison, parameters.lastResult), parameters.orientation)

    def _enter(self) -> None:
        self._show(self._state.parameters)
        self._refresh()

    def _leave(self) -> None:
        self.view.leave()
        self._refresh()
