"""The volume, what is known of it, and what is proposed for it: modality, factor and axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError
from superres3d.methods import Method

from .. import samples, summary
from ..checks import VolumeFacts, check_input, volume_facts
from ..choices import Axes, Scale
from ..modality import contradiction
from ..request import fitting_isotropic_methods, fitting_slice_methods
from .controls import fill, show
from .state import PanelState


class InputsSection:
    """Proposes modality and axes once for each volume; then they are the user's.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
        on_new_volume: called before something is proposed for a volume.
    """

    def __init__(self, ui: Any, state: PanelState, on_new_volume: Callable[[], None]):
        self._ui = ui
        self._state = state
        self._on_new_volume = on_new_volume
        ui.sampleButton.connect("clicked(bool)", self._load_sample)
        ui.scaleComboBox.connect("currentIndexChanged(int)", self._choose_scale)

    def refresh(self) -> VolumeFacts | None:
        """Show and propose; returns the facts on the input, None if it cannot be used."""
        parameters = self._state.parameters
        self._ui.sampleButton.visible = parameters.inputVolume is None
        facts = _facts(parameters.inputVolume)
        if facts and parameters.proposedFor != parameters.inputVolume.GetID():
            self._on_new_volume()
            self._propose(facts)
        self._show_facts(facts)
        self._offer_scales(facts)
        self._show_axes(facts)
        return facts

    def _show_facts(self, facts: VolumeFacts | None) -> None:
        parameters = self._state.parameters
        node = parameters.inputVolume
        told = [summary.facts_text(facts), summary.again_text(node), contradiction(node, parameters.modality)] if facts else []
        show(self._ui.factsLabel, " ".join(filter(None, told)))
        self._ui.modalitySourceLabel.text = f"({summary.modality_source(facts.modality, parameters.modality)})" if facts else ""

    def _propose(self, facts: VolumeFacts) -> None:
        parameters = self._state.parameters
        with slicer.util.NodeModify(parameters):
            parameters.proposedFor = parameters.inputVolume.GetID()
            parameters.modality = facts.modality.modality
            parameters.axes = summary.proposed_axes(facts)
            self._keep_or_reset_scale(facts)

    def _keep_or_reset_scale(self, facts: VolumeFacts) -> None:
        """A factor was for another volume; what takes its place stays where the chosen method makes it of the new volume, too."""
        parameters = self._state.parameters
        if parameters.scale.factor or parameters.method not in [m.name for m in self._makers(parameters.scale, facts)]:
            parameters.scale = summary.proposed_scale(facts)

    def _makers(self, scale: Scale, facts: VolumeFacts) -> list[Method]:
        """The methods that make of a volume what takes a factor's place."""
        modality = self._state.parameters.modality.value
        if scale.slice_spacing:
            return fitting_slice_methods(modality, scale.slice_spacing, facts.slice_distance)
        return fitting_isotropic_methods(modality, facts.shape, facts.spacing)

    def _offer_scales(self, facts: VolumeFacts | None) -> None:
        """The factors, a distance of the slices where the scan's are farther apart, and voxels of one size where they are not."""
        box, chosen = self._ui.scaleComboBox, self._state.parameters.scale
        # A choice of a scene or a script that does not fit stays in sight, and the reason is told below Apply.
        offered = [scale for scale in Scale if scale is chosen or self._fits(scale, facts)]
        fill(box, [(scale.label(), scale.name) for scale in offered])
        box.currentIndex = offered.index(chosen)

    def _fits(self, scale: Scale, facts: VolumeFacts | None) -> bool:
        return bool(scale.factor) or (facts is not None and bool(self._makers(scale, facts)))

    def _show_axes(self, facts: VolumeFacts | None) -> None:
        """What takes a factor's place leaves no choice of axes."""
        parameters, ui = self._state.parameters, self._ui
        distance = parameters.scale.slice_spacing
        if distance and parameters.axes is not Axes.THROUGH_PLANE:
            parameters.axes = Axes.THROUGH_PLANE
        ui.axesComboBox.enabled = ui.axesLabel.enabled = bool(parameters.scale.factor)
        show(ui.axesHintLabel, self._hint(facts) if facts else "")

    def _hint(self, facts: VolumeFacts) -> str:
        parameters = self._state.parameters
        if parameters.scale.slice_spacing:
            return summary.slices_hint(facts, parameters.modality.value, parameters.scale.slice_spacing)
        return summary.axes_hint(facts, parameters.scale, parameters.axes) if parameters.scale.factor else summary.isotropic_hint(facts, parameters.modality.value)

    def _choose_scale(self, index: int) -> None:
        """From a factor to what takes its place, or back, a method is proposed anew."""
        parameters, name = self._state.editable, self._ui.scaleComboBox.itemData(index)
        if not parameters or not name:
            return
        with slicer.util.NodeModify(parameters):
            if not (parameters.scale.factor and Scale[name].factor) and parameters.scale is not Scale[name]:
                parameters.method = ""
            parameters.scale = Scale[name]

    def _load_sample(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The sample scan could not be loaded; check the internet connection."), waitCursor=True):
            node = samples.load_first_sample()
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            self._state.parameters.inputVolume = node


def _facts(node: Any) -> VolumeFacts | None:
    try:
        check_input(node)
        return volume_facts(node)
    except SuperResolutionError:
        return None  # said as the reason why Apply is disabled
