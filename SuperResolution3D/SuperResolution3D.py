"""The Slicer module SuperResolution3D: registration, parameters, life cycle of the panel, scripting logic and self-test.

The work is done in ``Logic/superres3d`` (the package, in a child process) and in
``Logic/SuperResolution3DLib`` (sections of the panel, nodes, child process, comparison view).
Neither torch nor any other package that Slicer does not ship is imported here.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import qt
import slicer
import vtk
from slicer import vtkMRMLNode, vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

_LOGIC_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Logic")
if _LOGIC_FOLDER not in sys.path:
    sys.path.insert(0, _LOGIC_FOLDER)

from SuperResolution3DLib.choices import Axes, CompareMode, Ensemble, Modality, Noise, Orientation, Part, Preset, Scale  # noqa: E402

if TYPE_CHECKING:
    from SuperResolution3DLib.dependencies import Installer
    from SuperResolution3DLib.estimate import MachineNow
    from SuperResolution3DLib.job import Finished, Job, Outputs
    from SuperResolution3DLib.request import Request
    from SuperResolution3DLib.run import PanelRun

#: what the choices may name; such a node that comes or goes may change what can be chosen
_CHOSEN = ("vtkMRMLScalarVolumeNode", "vtkMRMLMarkupsROINode", "vtkMRMLSegmentationNode")
_HOMEPAGE = "https://github.com/SuperResolution3D/SlicerSuperResolution3D"
_CITATION = (
    "Georgescu M-I, Ionescu RT, Verga N. Convolutional Neural Networks with Intermediate Loss for 3D Super-Resolution "
    "of CT and MRI Scans. IEEE Access 8:49112-49124, 2020. doi:10.1109/ACCESS.2020.2980266"
)


class SuperResolution3D(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Super-Resolution 3D")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        self.parent.dependencies = []
        self.parent.contributors = ["SuperResolution3D developers"]
        self.parent.helpText = _(
            "Upscales CT and MR volumes 2x or 4x by convolutional networks: all axes, in-plane, or between thick slices; makes 1 mm slices of thick ones. "
            'Research software, not for diagnosis. See the <a href="{url}">documentation and tutorial</a>.'
        ).format(url=_HOMEPAGE)
        self.parent.acknowledgementText = _("Please cite: {citation} The tip of each other method names its own paper.").format(citation=_CITATION)
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Add the sample scans to the Sample Data module, and the comparison to the layouts."""
    from SuperResolution3DLib.comparison import register_layouts
    from SuperResolution3DLib.samples import register_sample_data

    register_sample_data()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout:
        register_layouts(layout)


@parameterNodeWrapper
class SuperResolution3DParameterNode:
    """The choices of the panel, saved with the scene.

    inputVolume, outputVolume, comparisonVolume - the volumes; no output means a new one.
    modality, scale, axes, preset, ensemble, noise, orientation, comparisonMode - see SuperResolution3DLib.choices; scale may be a distance of the slices, or isotropic voxels.
    method - name in the catalogue; empty means the default.
    compare - also make a Lanczos interpolation.
    device - auto, cpu, cuda, cuda:<n> or mps.
    memoryLimit - GiB for the computation; 0 means what is free.
    consistency - back-projections after a method that refines by a factor.
    part, roi, boxSize - which part of the volume; the ROI's box, or millimetres around the crosshair.
    bringSegmentation, segmentation - whether a segmentation comes along, and which; none: the only one of the scene.
    lastDrawn, lastSegmentation - of the last run that brought one along.
    proposedFor - ID of the volume that modality and axes were proposed for.
    check, careful, errorMap - see superres3d check, --careful and --error-map.
    lastSource, lastResult, lastComparison, lastErrorMap - volumes of the last run, for the comparison view.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    modality: Modality = Modality.MR
    method: str = ""
    scale: Scale = Scale.TWO
    axes: Axes = Axes.ALL
    outputVolume: vtkMRMLScalarVolumeNode
    compare: bool = True
    comparisonVolume: vtkMRMLScalarVolumeNode
    preset: Preset = Preset.BEST
    ensemble: Ensemble = Ensemble.AUTO
    noise: Noise = Noise.KEEP
    device: str = "auto"
    memoryLimit: Annotated[float, WithinRange(0, 1024)] = 0.0
    consistency: bool = False
    check: bool = False
    careful: bool = False
    errorMap: bool = False
    part: Part = Part.WHOLE
    roi: vtkMRMLNode
    boxSize: Annotated[float, WithinRange(2, 1000)] = 50.0
    bringSegmentation: bool = False
    segmentation: vtkMRMLNode
    lastDrawn: vtkMRMLNode
    lastSegmentation: vtkMRMLNode
    orientation: Orientation = Orientation.AXIAL
    comparisonMode: CompareMode = CompareMode.SIDE_BY_SIDE
    proposedFor: str = ""
    lastSource: vtkMRMLScalarVolumeNode
    lastResult: vtkMRMLScalarVolumeNode
    lastComparison: vtkMRMLScalarVolumeNode
    lastErrorMap: vtkMRMLScalarVolumeNode


class SuperResolution3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Life cycle of the panel; what it shows and does is in SuperResolution3DLib.panel."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode: Any = None
        self._parameterNodeGuiTag = None

    def setup(self) -> None:
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from SuperResolution3DLib.comparison import ComparisonView
        from SuperResolution3DLib.panel import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SuperResolution3D.ui"))
        self.layout.addWidget(uiWidget)
        self._form = uiWidget
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SuperResolution3DLogic()
        self.panel = Panel(self.ui, self.logic, ComparisonView(slicer.mrmlScene, slicer.app.layoutManager()), lambda: bool(self.parent.isEntered))
        self.panel.tidy()
        self._applyShortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Return"), uiWidget)
        self._applyShortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        self._applyShortcut.connect("activated()", self.panel.run.apply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self.onNodeRemoved)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self._newNodes = qt.QTimer()  # a volume gets its voxels, and is shown, after it was added
        self._newNodes.setSingleShot(True)
        self._newNodes.setInterval(300)
        self._newNodes.connect("timeout()", self.onNewNodes)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEnd)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when Slicer closes and before a reload: a run and its files end here."""
        self._newNodes.stop()
        self.panel.close()
        self.setParameterNode(None)
        self.removeObservers()
        self.panel.comparison.view.leave()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self._form.setFocus()  # keys reach the panel without a click
        qt.QTimer.singleShot(0, self.panel.comparison.resume)

    def exit(self) -> None:
        """Called each time the user opens another module; a run goes on."""
        self._disconnectParameterNode()

    def onReload(self) -> None:
        """Reload the helper packages too, so that a developer sees every change."""
        for name in [n for n in sys.modules if n.split(".")[0] in ("SuperResolution3DLib", "superres3d")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller: Any, event: str) -> None:
        """The volumes are about to go."""
        self.panel.close_scene()
        self.setParameterNode(None)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        """Perhaps it was the input of the run under way, or one of two ROIs."""
        self.panel.run.stop_without_input()
        self.panel.queue.queue.stop_without_input()
        self.onNodeAdded(caller, event, node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        """Perhaps a scan that was loaded, or an ROI that was drawn, while the panel is open."""
        if self.parent.isEntered and any(node.IsA(kind) for kind in _CHOSEN):
            self._newNodes.start()

    def onNewNodes(self) -> None:
        """The nodes have settled: propose one, and look again at what can be done."""
        self.panel.propose()
        self.panel.refresh()

    def onSceneEnd(self, caller: Any, event: str) -> None:
        """The scene was closed, or another one was loaded: its choices count now."""
        if self.parent.isEntered:
            self.initializeParameterNode()
            qt.QTimer.singleShot(0, self.panel.comparison.resume)  # when the views of the scene are there

    def initializeParameterNode(self) -> None:
        """Make sure that there is a parameter node; choose the volume that is shown if the user has chosen none."""
        self.setParameterNode(self.logic.getParameterNode())
        self.panel.propose()

    def setParameterNode(self, parameterNode: SuperResolution3DParameterNode | None) -> None:
        """Connect the panel to a parameter node, or to none."""
        self._disconnectParameterNode()
        self._parameterNode = self.panel.state.parameters = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.refresh)
            self.panel.refresh()

    def _disconnectParameterNode(self) -> None:
        if self._parameterNode and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.panel.refresh)


class SuperResolution3DLogic(ScriptedLoadableModuleLogic):
    """Upscaling for scripts and for the panel; shows no dialogs.

    >>> from SuperResolution3D import SuperResolution3DLogic
    >>> finished = SuperResolution3DLogic().upscale(volumeNode, scale=2, axes="through-plane")
    >>> finished.result.GetName(), finished.report["seconds"]["total"]
    """

    def getParameterNode(self) -> Any:
        """The :class:`SuperResolution3DParameterNode` of the scene; made where there is none."""
        wrapper: Any = SuperResolution3DParameterNode  # the decorator gives it a constructor
        return wrapper(super().getParameterNode())

    def upscale(
        self, inputVolume: vtkMRMLScalarVolumeNode, scale: int | None = None, axes: str | None = None,
        method: str = "", modality: str = "", preset: str = "best", ensemble: str = "auto", precision: str = "auto", device: str = "auto",
        memoryLimit: float | None = None, compare: bool = False,
        outputVolume: vtkMRMLScalarVolumeNode | None = None, comparisonVolume: vtkMRMLScalarVolumeNode | None = None,
        progress: Callable[[str, float, float | None], None] | None = None, sliceSpacing: float | None = None, consistency: int = 0,
        spacing: str | None = None, noise: str = "keep", check: bool = False, careful: bool = False, errorMap: bool = False,
        region: "str | vtkMRMLNode | None" = None, segmentation: vtkMRMLNode | None = None,
    ) -> "Finished":  # fmt: skip
        """Upscale a volume and wait for the result.

        :param inputVolume: scalar volume; of a sequence, the current frame.
        :param scale: 2 or 4; None: 2, or what the method is made for.
        :param axes: "all", "in-plane" or "through-plane"; None: the first that the method has.
        :param method: name in the catalogue (see ``superres3d methods``); empty: the default network,
            with ``sliceSpacing`` the first that makes it.
        :param modality: "CT" or "MR"; empty: from DICOM, the units or the intensities.
        :param preset: "best", "balanced" or "fast": how much work a network may spend.
        :param ensemble: turned copies: "8", "4", "none", or "auto", as the preset says.
        :param precision: "auto" (half where the machine is faster in it) or "single".
        :param device: "auto", "cpu", "cuda", "cuda:<n>" or "mps".
        :param memoryLimit: GiB for the computation; None: what is free.
        :param compare: also make a Lanczos interpolation.
        :param outputVolume, comparisonVolume: nodes to update in place; None: new ones beside the input.
        :param progress: called with (stage, share done, seconds left or None).
        :param sliceSpacing: millimetres between the slices of the result, in place of scale and axes.
        :param consistency: back-projections that bring the downsampled result to the scan, 0 to 10.
        :param spacing: "isotropic", in place of scale and axes: the scan's smallest spacing along every axis.
        :param noise: "keep" or "reduce": what becomes of the scan's noise, by networks that are told of it.
        :param check: also see on this scan, made coarser once more, whether the method is ahead of Lanczos: ``report["check"]``.
        :param careful: make what networks add smaller, most where large errors are expected.
        :param errorMap: also make a volume of the error to expect around each voxel; for networks.
        :param region: of the volume: an ROI node, or text as ``--region`` takes it, such as "ras=-40:20,10:70,-300:-250"; None: all of it.
        :param segmentation: of the volume, to be brought to the result's grid in a new segmentation; None: none.
        :return: object with ``source``, ``result``, ``comparison`` (node or None), ``report`` (dict), ``warnings``,
            ``page`` (the report as HTML, or empty), ``error_map`` and ``segmentation`` (nodes or None).
        :raises superres3d.errors.SuperResolutionError: one sentence for the user; the scene is as before.
        """
        from SuperResolution3DLib.dependencies import NoInstaller
        from SuperResolution3DLib.job import Outputs
        from SuperResolution3DLib.run import run_and_wait
        from SuperResolution3DLib.scripting import request_for

        request = request_for(
            inputVolume, method, modality, sliceSpacing, scale=scale, axes=axes, preset=preset, ensemble=ensemble, precision=precision,
            device=device, memory_limit_gib=memoryLimit, compare=compare, consistency=consistency, spacing=spacing, noise=noise,
            check=check, careful=careful, error_map=errorMap, region=region,
        )  # fmt: skip
        outputs = Outputs(outputVolume, comparisonVolume, segmentation)
        self.check(inputVolume, request, outputs)
        self.ensureDependencies(request, NoInstaller())
        self.estimate(inputVolume, request)
        tell = progress or (lambda stage, share, secondsLeft: None)
        return run_and_wait(self._job(inputVolume, request, outputs), lambda event: tell(event.stage, event.share, event.seconds_left))

    def check(self, inputVolume: vtkMRMLScalarVolumeNode | None, request: "Request", outputs: "Outputs") -> None:
        """Refuse choices that cannot be run (InputError)."""
        from SuperResolution3DLib.job import check_choices

        check_choices(inputVolume, request, outputs)

    def estimate(self, inputVolume: vtkMRMLScalarVolumeNode, request: "Request", machine: "MachineNow | None" = None) -> str:
        """What a run takes, in words (a SuperResolutionError says why it does not fit)."""
        from SuperResolution3DLib.checks import volume_facts
        from SuperResolution3DLib.estimate import MachineNow, estimate_text

        return estimate_text(volume_facts(inputVolume), request, self._temporaryFolder(), machine or MachineNow())

    def ensureDependencies(self, request: "Request", installer: "Installer") -> None:
        """The Python packages that a run needs (DeviceError with what to do)."""
        from SuperResolution3DLib.dependencies import ensure_packages_for

        ensure_packages_for(request, Path(_LOGIC_FOLDER).parent / "Resources", installer)

    def start(
        self, inputVolume: vtkMRMLScalarVolumeNode | None, request: "Request", outputs: "Outputs", onProgress: Callable, onSuccess: Callable, onFailure: Callable
    ) -> "PanelRun":
        """Start a run under the event loop; returns an object with ``cancel()`` and ``abort()``."""
        from SuperResolution3DLib.qtrunner import QtRunner
        from SuperResolution3DLib.run import PanelRun

        self.check(inputVolume, request, outputs)
        self.estimate(inputVolume, request)
        run = PanelRun(self._job(inputVolume, request, outputs), QtRunner, onProgress, onSuccess, onFailure, lambda step: qt.QTimer.singleShot(0, step))
        run.start()
        return run

    def _job(self, inputVolume: vtkMRMLScalarVolumeNode | None, request: "Request", outputs: "Outputs") -> "Job":
        from SuperResolution3DLib.job import Job

        return Job(slicer.mrmlScene, inputVolume, request, outputs, self._temporaryFolder())

    @staticmethod
    def _temporaryFolder() -> str | None:
        application = getattr(slicer, "app", None)
        return application.temporaryPath if application else None


class SuperResolution3DTest(ScriptedLoadableModuleTest):
    """Reload and Test: a tiny volume end to end, by interpolation, and by the networks where their packages are installed."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """All steps; the first that fails ends the test."""
        from SuperResolution3DLib.selftest import SelfTest

        steps = SelfTest(self, SuperResolution3DLogic())
        for step in (steps.upscale, steps.networks, steps.refusal):
            self.setUp()
            step()
