"""The Slicer module for readers of a study: registration and a widget; the work is done in SuperResolution3DLib and superres3d.study."""

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

# Installed, the Logic of SuperResolution3D lies beside this file; in the sources it is in the folder beside.
for _folder in (Path(__file__).resolve().parent / "Logic", Path(__file__).resolve().parents[1] / "SuperResolution3D" / "Logic"):
    if _folder.is_dir() and str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

_HOMEPAGE = "https://github.com/SuperResolution3D/SlicerSuperResolution3D/blob/main/docs/reader-study.md"


class SuperResolution3DReaderStudy(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Super-Resolution 3D Reader Study")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = ["SuperResolution3D"]
        self.parent.contributors = ["SuperResolution3D developers"]
        self.parent.helpText = _('For readers of a study that "superres3d study make" wrote: which picture is better? See <a href="{url}">how</a>.').format(url=_HOMEPAGE)
        self.parent.acknowledgementText = _("After the study in Georgescu and others 2020, Table VI.")


class SuperResolution3DReaderStudyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Life cycle of the panel; what it shows and does is in SuperResolution3DLib.study_panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)

    def setup(self) -> None:
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from SuperResolution3DLib.study_panel import StudyPanel
        from SuperResolution3DLib.study_views import StudyViews

        views = StudyViews(slicer.mrmlScene, slicer.app.layoutManager())
        self.panel = StudyPanel(self.layout, self.parent, views)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.panel.listen(True)

    def exit(self) -> None:
        """Called each time the user opens another module: keys are that module's, and a case is hidden."""
        self.panel.leave_for_now()

    def cleanup(self) -> None:
        """Called when Slicer closes and before a reload."""
        self.removeObservers()
        self.panel.close()

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        """The pictures are about to go; the answers are on the disk."""
        self.panel.close()
