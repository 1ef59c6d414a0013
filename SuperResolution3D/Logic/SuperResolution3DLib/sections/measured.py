"""What the chosen volume shows of its own resolution and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer.util
from slicer.i18n import tr as _

from ..checks import VolumeFacts
from ..measuring import Measurement
from ..package_words import in_language
from .controls import rich, show
from .state import PanelState

_EVERY = 100  # milliseconds


class MeasuredSection:
    """Measures once for each volume and modality, beside the window, and shows it when it is known.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        measure: starts a measurement.
    """

    def __init__(self, ui: Any, state: PanelState, measure: Callable[..., Measurement] = Measurement):
        self._ui = ui
        self._state = state
        self._measure = measure
        self._of: tuple | None = None
        self._under_way: Measurement | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_EVERY)
        self._timer.connect("timeout()", self._look)
        self._show("", "")

    def refresh(self, facts: VolumeFacts | None) -> None:
        """Measure an input (None: one that cannot be used) unless that was done."""
        wanted = self._key(facts)
        if wanted == self._of:
            return
        self._of, self._under_way = wanted, None
        self._show(_("Measuring its resolution...") if facts else "", "")
        if facts:
            voxels = slicer.util.arrayFromVolume(self._state.parameters.inputVolume)
            self._under_way = self._measure(voxels, facts.spacing, self._state.parameters.modality.value)
            self._timer.start()

    @property
    def under_way(self) -> bool:
        """Whether something is measured now."""
        return self._under_way is not None

    def stop(self) -> None:
        """The module is closed; what is under way tells nobody."""
        self._timer.stop()
        self._under_way = None

    def _key(self, facts: VolumeFacts | None) -> tuple | None:
        """What the measurement is of: the voxels as they are now, their spacing, and what they are taken for."""
        if not facts:
            return None
        node = self._state.parameters.inputVolume
        image = node.GetImageData()
        return node.GetID(), image.GetAddressAsString(""), image.GetMTime(), facts.spacing, self._state.parameters.modality

    def _look(self) -> None:
        found = self._under_way.found if self._under_way else None
        if found is None and self._under_way:
            return
        self._timer.stop()
        self._under_way = None
        if found:
            self._show(found.line, "\n".join(map(in_language, found.tip.split("\n"))))

    def _show(self, line: str, tip: str) -> None:
        show(self._ui.measuredLabel, line)
        self._ui.measuredLabel.toolTip = rich(tip) if tip else ""
