"""The method, and how much work it may spend where."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _
from superres3d.methods import Method

from .. import summary, wording
from ..checks import VolumeFacts
from ..choices import Ensemble, Preset, Scale
from ..devices import offered_devices
from ..request import fitting_isotropic_methods, fitting_methods, fitting_slice_methods, proposed_method
from .controls import fill, rich, show
from .state import PanelState


class MethodSection:
    """Offers the installed methods that fit the choices; where the chosen one does not, proposes another.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
    """

    def __init__(self, ui: Any, state: PanelState):
        self._ui = ui
        self._state = state
        ui.methodComboBox.connect("currentIndexChanged(int)", self._choose_method)
        ui.deviceComboBox.connect("currentTextChanged(QString)", self._choose_device)
        ui.deviceComboBox.addItems(offered_devices())

    def refresh(self, facts: VolumeFacts | None) -> None:
        """Show the methods for an input (None: one that cannot be used), and the choices of the chosen one."""
        fitting = self._fitting(facts)
        chosen, proposed = self._offer(fitting), proposed_method(fitting)
        self._describe(chosen, proposed)
        self._show_effort(chosen)
        self._show_device()

    def _fitting(self, facts: VolumeFacts | None) -> list[Method]:
        """For the chosen factor and axes, or for what takes its place; never none."""
        parameters = self._state.parameters
        modality, distance = parameters.modality.value, parameters.scale.slice_spacing
        if parameters.scale is Scale.ISOTROPIC:
            return facts and fitting_isotropic_methods(modality, facts.shape, facts.spacing) or fitting_isotropic_methods(modality)
        if not distance:
            return fitting_methods(modality, parameters.axes.value, parameters.scale.factor)
        return facts and fitting_slice_methods(modality, distance, facts.slice_distance) or fitting_slice_methods(modality, distance)

    def _offer(self, methods: list[Method]) -> Method:
        """Fill the list; returns the method that is chosen in it."""
        parameters, box = self._state.parameters, self._ui.methodComboBox
        # What is only there to be compared with is for benchmarks; a scene or a script may ask for it.
        methods = [method for method in methods if not method.compared or method.name == parameters.method]
        names = [method.name for method in methods]
        fill(box, [(wording.title(method), method.name) for method in methods])
        for index, method in enumerate(methods):
            box.setItemData(index, rich(summary.method_tip(method)), qt.Qt.ToolTipRole)
        if parameters.method not in names:
            parameters.method = proposed_method(methods).name
        box.currentIndex = names.index(parameters.method)
        return methods[names.index(parameters.method)]

    def _describe(self, method: Method, proposed: Method) -> None:
        """The tip tells all; below the box stands what another than the proposed one does, so that Apply is in sight on a small screen."""
        ui = self._ui
        ui.methodComboBox.toolTip = rich(_("The methods for this modality, factor and axes.") + "\n" + summary.method_tip(method))
        show(ui.methodCautionLabel, summary.method_caution(method) or summary.missing_networks(self._state.parameters.modality.value))
        show(ui.methodSummaryLabel, "" if method is proposed else summary.method_text(method))

    def _show_effort(self, method: Method) -> None:
        """The choices that only networks have, in the words of the kind of network."""
        for name in ("preset", "ensemble", "device"):
            for control in (f"{name}Label", f"{name}ComboBox"):
                getattr(self._ui, control).enabled = method.networks
        self._ui.noiseLabel.enabled = self._ui.noiseComboBox.enabled = bool(method.blind)
        self._ui.checkCheckBox.enabled = method.name != "lanczos"
        self._ui.carefulCheckBox.enabled = self._ui.errorMapCheckBox.enabled = method.networks
        self._ui.consistencyCheckBox.enabled = self._state.can_be_consistent
        _name_items(self._ui.presetComboBox, [preset.label(method.volumetric) for preset in Preset])
        _name_items(self._ui.ensembleComboBox, [ensemble.label(method.volumetric) for ensemble in Ensemble])

    def _show_device(self) -> None:
        box, device = self._ui.deviceComboBox, self._state.parameters.device
        if box.currentText != device:
            box.setCurrentText(device)

    def _choose_method(self, index: int) -> None:
        parameters, name = self._state.editable, self._ui.methodComboBox.itemData(index)
        if parameters and name:
            parameters.method = name

    def _choose_device(self, text: str) -> None:
        parameters = self._state.editable
        if parameters:
            parameters.device = text.strip() or "auto"


def _name_items(box: Any, labels: list[str]) -> None:
    for index in range(box.count):
        box.setItemText(index, labels[index])
