"""The volumes of the last run: in the views, side by side, or two of them in one view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from ..choices import CompareMode
from ..comparison import ComparisonView, any_in_views, nothing_in_views, panes, panes_of_scan, run_text
from ..job import Finished
from ..notice import tell_elsewhere
from ..one_view import Pane
from .controls import fill, show
from .state import PanelState

_PERCENT = 100


class ComparisonSection:
    """Shows a result, and the comparison when it is asked for.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        view: lays the volumes out.
        scene_parameters: returns the parameters of the scene, where the panel is connected to none.
        refresh: called when the comparison was entered or left, for all sections.
        is_open: whether the user is in this module.
        tell: tells a user who is elsewhere.

    Attributes:
        view: as given.
    """

    def __init__(
        self, ui: Any, state: PanelState, view: ComparisonView, scene_parameters: Callable[[], Any], refresh: Callable[[], None],
        is_open: Callable[[], bool] = lambda: True, tell: Callable[[str], None] = tell_elsewhere,
    ):  # fmt: skip
        self._is_open = is_open
        self._tell = tell
        self._waiting = False  # a result that was made while the user was elsewhere
        self._ui = ui
        self._state = state
        self._scene_parameters = scene_parameters
        self._refresh = refresh
        self._shown: tuple[Any, ...] | None = None  # the choices that the views follow
        self.view = view
        ui.showComparisonButton.connect("clicked(bool)", self._enter)
        ui.leaveComparisonButton.connect("clicked(bool)", self._leave)
        ui.showResultButton.connect("clicked(bool)", self._show_result)
        ui.flipButton.connect("clicked(bool)", self._flip)
        ui.comparisonSlider.connect("valueChanged(int)", self._slide)
        for box in (ui.firstComboBox, ui.secondComboBox):
            box.connect("currentIndexChanged(int)", self._chosen)

    @property
    def waiting(self) -> bool:
        """Whether a result is there that its user has not been shown."""
        return self._waiting

    def refresh(self) -> None:
        """Show which run is compared, and what can be entered or left; views that compare follow the choices."""
        parameters, ui = self._state.parameters, self._ui
        there = parameters.lastSource is not None and parameters.lastResult is not None
        ui.showComparisonButton.enabled = there
        ui.leaveComparisonButton.enabled = self.view.active
        show(ui.comparisonRunLabel, run_text(parameters.lastSource, parameters.lastResult) if there else "")
        self._offer(self._panes() if there else [])
        mode = parameters.comparisonMode
        for widget in (ui.firstLabel, ui.firstComboBox, ui.secondLabel, ui.secondComboBox):
            widget.visible = mode is not CompareMode.SIDE_BY_SIDE
        ui.comparisonSlider.visible = ui.comparisonSliderLabel.visible = mode.has_amount
        ui.flipButton.visible = mode is not CompareMode.SIDE_BY_SIDE
        ui.flipButton.enabled = self.view.one_view is not None
        self._waiting = self._waiting and there
        ui.showResultButton.visible = self._waiting
        if there and self._shown is not None and self._shown != self._choices():
            qt.QTimer.singleShot(0, self._follow)

    def take(self, finished: Finished) -> None:
        """Remember the volumes of a run with the scene, and show them; a user who looks at something else is told, and shows them when it suits."""
        parameters = self._state.parameters or self._scene_parameters()
        # Views that show the scan, or what was made of it, stay where they are; others may show another place.
        earlier = (parameters.lastResult, parameters.lastComparison) if parameters.lastSource is finished.source else ()
        looked_at = any_in_views(finished.source, finished.result, *earlier)
        self._waiting = not self._is_open() or not (looked_at or nothing_in_views() or self.view.laid_out)
        with slicer.util.NodeModify(parameters):
            parameters.lastSource, parameters.lastResult, parameters.lastComparison = finished.source, finished.result, finished.comparison
        self._offer(self._panes(parameters))
        self._choose_pair(parameters)
        if self._waiting:
            self._tell(_('"{name}" is ready; the module Super-Resolution 3D shows it.').format(name=finished.result.GetName()))
        elif self.view.laid_out:
            self._show(parameters)
        else:
            _show_result_of(finished.source, finished.result, fit=not looked_at)
        self._ui.showResultButton.visible = self._waiting

    def _show_result(self) -> None:
        """The result of a run that ended while the user was elsewhere."""
        parameters = self._state.parameters
        self._waiting = self._ui.showResultButton.visible = False
        if parameters and parameters.lastResult is not None:
            self.view.leave()
            _show_result_of(parameters.lastSource, parameters.lastResult, fit=not any_in_views(parameters.lastSource, parameters.lastResult))
            self._refresh()

    def resume(self) -> None:
        """Go on with a comparison during which the scene was saved: labels and links are not in the file."""
        parameters = self._state.parameters
        if parameters and self.view.interrupted and parameters.lastSource and parameters.lastResult:
            self._show(parameters)
            self._refresh()
        self.view.tidy()

    def _show(self, parameters: Any) -> None:
        self._shown = self._choices()
        pair = self._pair(parameters)
        if parameters.comparisonMode is CompareMode.SIDE_BY_SIDE or len(pair) < 2:
            self.view.show(panes(parameters.lastSource, parameters.lastComparison, parameters.lastResult), parameters.orientation)
        else:
            self.view.show_in_one(pair[0], pair[1], parameters.orientation, parameters.comparisonMode)
            self._slide(self._ui.comparisonSlider.value)

    def _follow(self) -> None:
        """Another choice while the comparison is shown."""
        parameters = self._state.parameters
        if parameters and self.view.laid_out and parameters.lastSource and parameters.lastResult and self._shown != self._choices():
            self._show(parameters)
            self._refresh()

    def _choices(self) -> tuple[Any, ...]:
        parameters, ui = self._state.parameters or self._scene_parameters(), self._ui
        return parameters.orientation, parameters.comparisonMode, ui.firstComboBox.currentData, ui.secondComboBox.currentData, parameters.lastResult

    def _panes(self, parameters: Any = None) -> list[Pane]:
        parameters = parameters or self._state.parameters
        made = [volume for volume in (parameters.lastComparison, parameters.lastResult) if volume is not None]
        return panes_of_scan(parameters.lastSource, made)

    def _pair(self, parameters: Any) -> list[Pane]:
        """First and second as chosen; fewer where a volume has left the scene."""
        offered = {pane.volume.GetID(): pane for pane in self._panes(parameters)}
        chosen = (self._ui.firstComboBox.currentData, self._ui.secondComboBox.currentData)
        return [offered[identity] for identity in chosen if identity in offered]

    def _offer(self, offered: list[Pane]) -> None:
        before = [box.currentData for box in (self._ui.firstComboBox, self._ui.secondComboBox)]
        entries = [(pane.label.split("\n")[0], pane.volume.GetID()) for pane in offered]
        for box, kept in zip((self._ui.firstComboBox, self._ui.secondComboBox), before):
            was_blocked = box.blockSignals(True)
            fill(box, entries)
            box.currentIndex = max(box.findData(kept), 0) if kept else box.currentIndex
            box.blockSignals(was_blocked)
        if entries and before == [None, None]:
            self._choose_pair(self._state.parameters or self._scene_parameters())

    def _choose_pair(self, parameters: Any) -> None:
        """Lanczos, where there is one, against the result."""
        first = parameters.lastComparison or parameters.lastSource
        for box, volume in ((self._ui.firstComboBox, first), (self._ui.secondComboBox, parameters.lastResult)):
            was_blocked = box.blockSignals(True)
            box.currentIndex = box.findData(volume.GetID())
            box.blockSignals(was_blocked)

    def _chosen(self) -> None:
        if self._state.editable:
            self._refresh()

    def _slide(self, value: int) -> None:
        mode = (self._state.parameters or self._scene_parameters()).comparisonMode
        if self.view.one_view and mode is not CompareMode.SIDE_BY_SIDE:
            self.view.one_view.choose(mode, value / _PERCENT)

    def _flip(self) -> None:
        if self.view.one_view:
            self.view.one_view.flip()

    def _enter(self) -> None:
        self._show(self._state.parameters)
        self._refresh()

    def _leave(self) -> None:
        self._shown = None
        self.view.leave()
        self._refresh()


def _show_result_of(source: Any, result: Any, fit: bool) -> None:
    """In all views; a part lies over its scan."""
    if source is not None and result.GetAttribute("SuperResolution3D.Region") not in (None, "none"):
        slicer.util.setSliceViewerLayers(background=source, foreground=result, foregroundOpacity=1.0, fit=fit)
    else:
        slicer.util.setSliceViewerLayers(background=result, fit=fit)
