"""Which part of the volume is upscaled: all of it, an ROI, what the views show, or a box around the crosshair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer.util
import vtk
from slicer.i18n import tr as _
from superres3d.errors import InputError

from .. import wording
from ..choices import Part
from ..regions import ROI_CLASS, place_crosshair
from .controls import show
from .state import PanelState

_SETTLED = 200  # milliseconds after the last change of what is dragged
#: of the scene, whose changes are followed
_FOLLOWED = {Part.ROI: ROI_CLASS, Part.VIEWS: "vtkMRMLSliceNode", Part.CROSSHAIR: "vtkMRMLCrosshairNode"}


class PartSection:
    """Shows what the chosen part holds, and follows it while it is dragged.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        refresh: called when the part has changed, for all sections.
    """

    def __init__(self, ui: Any, state: PanelState, refresh: Callable[[], None]):
        self._ui = ui
        self._state = state
        self._observed: list[tuple[Any, int]] = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(_SETTLED)
        self._timer.connect("timeout()", refresh)
        ui.roiSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._choose_roi)

    def refresh(self) -> None:
        """Show what follows from the choice."""
        parameters, ui = self._state.parameters, self._ui
        part = parameters.part
        for control, wanted in (("roi", Part.ROI), ("boxSize", Part.CROSSHAIR)):
            getattr(ui, f"{control}Label").visible = part is wanted
            getattr(ui, "roiSelector" if control == "roi" else "boxSizeSpinBox").visible = part is wanted
        if ui.roiSelector.currentNode() is not parameters.roi:
            ui.roiSelector.setCurrentNode(parameters.roi)
        if part is Part.CROSSHAIR and parameters.inputVolume:
            place_crosshair(parameters.inputVolume)
        self._follow(part)
        show(ui.partHintLabel, self._told())

    def stop(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []

    def _told(self) -> str:
        """How much the part is; what is wrong with it is told below Apply."""
        try:
            spans = self._state.region()
        except InputError:
            return ""
        if not spans:
            return ""
        shape = self._state.parameters.inputVolume.GetImageData().GetDimensions()
        part = wording.dimensions([stop - start for start, stop in spans[::-1]])
        return _("{part} of {shape} voxels; the networks see what lies around them.").format(part=part, shape=wording.dimensions(shape))

    def _follow(self, part: Part) -> None:
        """The nodes that say where the part is."""
        wanted = slicer.util.getNodesByClass(_FOLLOWED[part]) if part in _FOLLOWED else []
        if [node for node, _tag in self._observed] == wanted:
            return
        self.stop()
        self._observed = [(node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._timer.start())) for node in wanted]

    def _choose_roi(self, node: Any) -> None:
        parameters = self._state.editable
        if parameters:
            parameters.roi = node
