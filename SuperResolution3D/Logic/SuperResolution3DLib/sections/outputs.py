"""Where the result and its comparison go."""

from __future__ import annotations

from typing import Any

from .state import PanelState


class OutputsSection:
    """Proposes the names of new volumes.

    Args:
        ui: the widgets of the form.
        state: shared with the other sections.
    """

    def __init__(self, ui: Any, state: PanelState):
        self._ui = ui
        self._state = state

    def refresh(self) -> None:
        """Show what follows from the choices."""
        parameters, ui = self._state.parameters, self._ui
        ui.comparisonSelector.enabled = ui.comparisonLabel.enabled = parameters.compare
        name = parameters.inputVolume.GetName() if parameters.inputVolume else ""
        ui.outputSelector.baseName = f"{name} SR".strip()
        ui.comparisonSelector.baseName = f"{name} Lanczos".strip()
