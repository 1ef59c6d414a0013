"""The versions of what computes, and bringing it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer.util
from slicer.i18n import tr as _
from superres3d.errors import SuperResolutionError

from ..dependencies import SlicerInstaller, versions_text
from ..package_words import in_language
from .controls import show
from .report import ReportSection

_REQUIREMENTS = Path(__file__).resolve().parents[3] / "Resources" / "requirements-networks.txt"


class PackagesSection:
    """Tells the versions when it is made and after an update.

    Args:
        ui: the widgets of the form.
        report: where an update tells of itself.
    """

    def __init__(self, ui: Any, report: ReportSection):
        self._ui = ui
        self._report = report
        ui.updateButton.connect("clicked(bool)", self._update)
        self._tell_versions()

    def _update(self) -> None:
        installer = SlicerInstaller(slicer.util.confirmOkCancelDisplay, self._report.add_install_line)
        try:
            if installer.update_packages(_REQUIREMENTS):
                self._report.tell(_("The packages are up to date. What runs from now on uses them."))
        except SuperResolutionError as error:
            self._report.tell(in_language(str(error)))
        self._tell_versions()

    def _tell_versions(self) -> None:
        show(self._ui.versionsLabel, versions_text(_REQUIREMENTS))
