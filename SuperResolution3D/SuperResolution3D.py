"""The Slicer module SuperResolution3D: registration, parameters, panel, logic and self-test.

The work is done in ``Logic/superres3d`` (the package, in a child process) and in
``Logic/SuperResolution3DLib`` (nodes, child process, comparison view).  Neither torch nor any
other package that Slicer does not ship is imported here.
"""

import logging
import os
import re
import sys
from collections.abc import Callable
from html import escape
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
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

from SuperResolution3DLib.choices import Axes, Ensemble, Modality, Orientation, Preset, Scale  # noqa: E402

_LONG_WORD = re.compile(r"\S{40,}")
_HOMEPAGE = "https://github.com/SuperResolution3D/SlicerSuperResolution3D"
_CITATION = (
    "Georgescu M-I, Ionescu RT, Verga N. Convolutional Neural Networks with Intermediate Loss for 3D Super-Resolution "
    "of CT and MRI Scans. IEEE Access 8:49112-49124, 2020. doi:10.1109/ACCESS.2020.2980266"
)


class SuperResolution3D(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent):
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
    modality, scale, axes, preset, ensemble, orientation - see SuperResolution3DLib.choices; scale may be a distance of the slices.
    method - name in the catalogue; empty means the default.
    compare - also make a Lanczos interpolation.
    device - auto, cpu, cuda, cuda:<n> or mps.
    memoryLimit - GiB for the computation; 0 means what is free.
    consistency - back-projections after a method that refines by a factor.
    proposedFor - ID of the volume that modality and axes were proposed for.
    lastSource, lastResult, lastComparison - volumes of the last run, for the comparison view.
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
    device: str = "auto"
    memoryLimit: Annotated[float, WithinRange(0, 1024)] = 0.0
    consistency: bool = False
    orientation: Orientation = Orientation.AXIAL
    proposedFor: str = ""
    lastSource: vtkMRMLScalarVolumeNode
    lastResult: vtkMRMLScalarVolumeNode
    lastComparison: vtkMRMLScalarVolumeNode


class SuperResolution3DWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._run = None
        self._installing = False
        self._refreshing = False

    def setup(self) -> None:
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from SuperResolution3DLib.comparison import ComparisonView
        from SuperResolution3DLib.devices import offered_devices

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SuperResolution3D.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SuperResolution3DLogic()
        self.comparison = ComparisonView(slicer.mrmlScene, slicer.app.layoutManager())
        self._applyShortcut = qt.QShortcut(qt.QKeySequence("Ctrl+Return"), uiWidget)
        self._applyShortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        self._connect()
        self.ui.deviceComboBox.addItems(offered_devices())
        self._setIdle()
        self._clearReport()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEnd)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEnd)
        self.initializeParameterNode()

    def _connect(self) -> None:
        self._applyShortcut.connect("activated()", self.onApplyButton)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.ui.cancelButton.connect("clicked(bool)", self.onCancelButton)
        self.ui.sampleButton.connect("clicked(bool)", self.onSampleButton)
        self.ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChanged)
        self.ui.scaleComboBox.connect("currentIndexChanged(int)", self.onScaleChanged)
        self.ui.deviceComboBox.connect("currentTextChanged(QString)", self.onDeviceChanged)
        self.ui.showComparisonButton.connect("clicked(bool)", self.onShowComparisonButton)
        self.ui.leaveComparisonButton.connect("clicked(bool)", self.onLeaveComparisonButton)

    def cleanup(self) -> None:
        """Called when Slicer closes and before a reload: a run and its files end here."""
        self._abortRun()
        self.setParameterNode(None)
        self.removeObservers()
        self.comparison.leave()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        qt.QTimer.singleShot(0, self._resumeComparison)

    def exit(self) -> None:
        """Called each time the user opens another module; a run goes on."""
        self._disconnectParameterNode()

    def onReload(self) -> None:
        """Reload the helper packages too, so that a developer sees every change."""
        for name in [n for n in sys.modules if n.split(".")[0] in ("SuperResolution3DLib", "superres3d")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event) -> None:
        """The volumes are about to go: so does the run."""
        stopped = self._abortRun()
        self._clearReport(_("The run was stopped because the scene was closed.") if stopped else "")
        self.comparison.leave()
        self.setParameterNode(None)

    def onSceneEnd(self, caller, event) -> None:
        """The scene was closed, or another one was loaded: its choices count now."""
        if self.parent.isEntered:
            self.initializeParameterNode()
            qt.QTimer.singleShot(0, self._resumeComparison)  # when the views of the scene are there

    # ------------------------------------------------------------------ parameters

    def initializeParameterNode(self) -> None:
        """Make sure that there is a parameter node; choose the first volume if none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            # Label maps and colour volumes count as scalar volumes, too.
            volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            first = next((node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode"), None)
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode: SuperResolution3DParameterNode | None) -> None:
        """Connect the panel to a parameter node, or to none."""
        self._disconnectParameterNode()
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._refresh)
            self._refresh()

    def _disconnectParameterNode(self) -> None:
        if self._parameterNode and self._parameterNodeGuiTag is not None:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self._parameterNodeGuiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._refresh)

    def onMethodChanged(self, index: int) -> None:
        name = self.ui.methodComboBox.itemData(index)
        if self._parameterNode and name and not self._refreshing:
            self._parameterNode.method = name

    def onScaleChanged(self, index: int) -> None:
        """From a factor to a distance of the slices, or back, a method is proposed anew."""
        parameters, name = self._parameterNode, self.ui.scaleComboBox.itemData(index)
        if not parameters or not name or self._refreshing:
            return
        with slicer.util.NodeModify(parameters):
            if parameters.scale.slice_spacing != Scale[name].slice_spacing:
                parameters.method = ""
            parameters.scale = Scale[name]

    def onDeviceChanged(self, text: str) -> None:
        if self._parameterNode and not self._refreshing:
            self._parameterNode.device = text.strip() or "auto"

    def _refresh(self, caller=None, event=None) -> None:
        """Show what follows from the choices: facts, proposals, methods, estimate, and whether Apply may be clicked."""
        if not self._parameterNode or self._refreshing:
            return
        self._refreshing = True
        try:
            self._refreshOnce()
        finally:
            self._refreshing = False

    def _refreshOnce(self) -> None:
        from superres3d.errors import SuperResolutionError

        parameters, ui = self._parameterNode, self.ui
        ui.sampleButton.visible = parameters.inputVolume is None
        facts = self._refreshFacts()
        self._refreshScales(facts)
        self._refreshAxes(facts)
        self._refreshMethods(facts)
        if ui.deviceComboBox.currentText != parameters.device:
            ui.deviceComboBox.setCurrentText(parameters.device)
        ui.comparisonSelector.enabled = ui.comparisonLabel.enabled = parameters.compare
        name = parameters.inputVolume.GetName() if parameters.inputVolume else ""
        ui.outputSelector.baseName = f"{name} SR".strip()
        ui.comparisonSelector.baseName = f"{name} Lanczos".strip()
        ui.showComparisonButton.enabled = parameters.lastSource is not None and parameters.lastResult is not None
        ui.leaveComparisonButton.enabled = self.comparison.active
        reason, estimate = "", ""
        try:
            self.logic.check(parameters.inputVolume, self._request(), self._outputs())
            estimate = self.logic.estimate(parameters.inputVolume, self._request())
        except SuperResolutionError as error:
            reason = str(error)
        _show(ui.estimateLabel, estimate)
        self._showReason(reason)

    def _refreshFacts(self):
        """Facts on the input (None if it cannot be used); modality and axes are proposed once for each volume, then they are the user's."""
        from superres3d.errors import SuperResolutionError
        from SuperResolution3DLib import summary
        from SuperResolution3DLib.checks import check_input, volume_facts

        parameters, ui = self._parameterNode, self.ui
        node = parameters.inputVolume
        facts = None
        try:
            check_input(node)
            facts = volume_facts(node)
        except SuperResolutionError:
            pass  # said below, as the reason why Apply is disabled
        _show(ui.factsLabel, summary.facts_text(facts) if facts else "")
        ui.modalitySourceLabel.text = f"({facts.modality.source})" if facts else ""
        if facts and parameters.proposedFor != node.GetID():
            if self._run is None:
                self._clearReport()  # it told of another volume
            with slicer.util.NodeModify(parameters):
                parameters.proposedFor = node.GetID()
                parameters.modality = facts.modality.modality
                parameters.axes = summary.proposed_axes(facts)
                self._keepOrResetScale(facts)
        return facts

    def _keepOrResetScale(self, facts) -> None:
        """A distance of the slices stays only where the chosen method makes it of the new volume, too."""
        from SuperResolution3DLib.request import fitting_slice_methods

        parameters = self._parameterNode
        distance = parameters.scale.slice_spacing
        if distance and parameters.method not in [m.name for m in fitting_slice_methods(parameters.modality.value, distance, facts.slice_distance)]:
            parameters.scale = Scale.TWO

    def _refreshScales(self, facts) -> None:
        """Offer the factors, and a distance of the slices where the scan's are farther apart."""
        from SuperResolution3DLib.request import fitting_slice_methods

        parameters, box = self._parameterNode, self.ui.scaleComboBox
        chosen = parameters.scale
        # A choice of a scene or a script that does not fit stays in sight, and the reason is told below Apply.
        offered = [s for s in Scale if s is chosen or not s.slice_spacing or facts and fitting_slice_methods(parameters.modality.value, s.slice_spacing, facts.slice_distance)]
        _fill(box, [(scale.label(), scale.name) for scale in offered])
        box.currentIndex = offered.index(chosen)

    def _refreshAxes(self, facts) -> None:
        """A distance of the slices leaves no choice of axes."""
        from SuperResolution3DLib import summary

        parameters, ui = self._parameterNode, self.ui
        distance = parameters.scale.slice_spacing
        if distance and parameters.axes is not Axes.THROUGH_PLANE:
            parameters.axes = Axes.THROUGH_PLANE
        ui.axesComboBox.enabled = ui.axesLabel.enabled = not distance
        hint = ""
        if facts:
            hint = summary.slices_hint(facts, parameters.modality.value, distance) if distance else summary.axes_hint(facts)
        _show(ui.axesHintLabel, hint)

    def _refreshMethods(self, facts) -> None:
        """Offer the installed methods that fit the choices; where the chosen one does not, propose another."""
        from SuperResolution3DLib import summary
        from SuperResolution3DLib.request import proposed_method

        parameters, ui = self._parameterNode, self.ui
        methods = self._offeredMethods(facts)
        names = [method.name for method in methods]
        _fill(ui.methodComboBox, [(method.title, method.name) for method in methods])
        for index, method in enumerate(methods):
            ui.methodComboBox.setItemData(index, _rich(summary.method_tip(method)), qt.Qt.ToolTipRole)
        if parameters.method not in names:
            parameters.method = proposed_method(methods).name
        ui.methodComboBox.currentIndex = names.index(parameters.method)
        chosen = methods[names.index(parameters.method)]
        ui.methodComboBox.toolTip = _rich(_("The methods for this modality, factor and axes.") + "\n" + summary.method_tip(chosen))
        _show(ui.methodCautionLabel, summary.method_caution(chosen) or summary.missing_networks(parameters.modality.value))
        ui.methodSummaryLabel.text = summary.method_text(chosen)
        self._refreshEffort(chosen)

    def _offeredMethods(self, facts) -> list:
        """For the chosen factor and axes, or for the distance of the slices; never none."""
        from SuperResolution3DLib.request import fitting_methods, fitting_slice_methods

        parameters = self._parameterNode
        modality, distance = parameters.modality.value, parameters.scale.slice_spacing
        if not distance:
            return fitting_methods(modality, parameters.axes.value, parameters.scale.factor)
        return facts and fitting_slice_methods(modality, distance, facts.slice_distance) or fitting_slice_methods(modality, distance)

    def _refreshEffort(self, method) -> None:
        """The choices that only networks have, in the words of the kind of network."""
        for name in ("preset", "ensemble", "device"):
            for control in (f"{name}Label", f"{name}ComboBox"):
                getattr(self.ui, control).enabled = method.networks
        self.ui.consistencyCheckBox.enabled = self._canBeConsistent()
        for box, choices in ((self.ui.presetComboBox, Preset), (self.ui.ensembleComboBox, Ensemble)):
            for index in range(box.count):
                box.setItemText(index, list(choices)[index].label(method.volumetric))

    def _canBeConsistent(self) -> bool:
        """Whether the chosen method refines by a factor here, so that its result can be downsampled to the scan."""
        from superres3d.methods import METHODS

        method = METHODS.get(self._parameterNode.method)
        return method is not None and method.kind != "volume" and not self._parameterNode.scale.slice_spacing

    def _request(self):
        from SuperResolution3DLib.request import CONSISTENCY, Request

        p = self._parameterNode
        return Request(
            scale=p.scale.factor, axes=None if p.scale.slice_spacing else p.axes.value, slice_spacing=p.scale.slice_spacing,
            method=p.method, modality=p.modality.value, preset=p.preset.value, ensemble=p.ensemble.value,
            device=p.device, memory_limit_gib=p.memoryLimit or None, compare=p.compare, consistency=CONSISTENCY if p.consistency and self._canBeConsistent() else 0,
        )  # fmt: skip

    def _outputs(self):
        from SuperResolution3DLib.job import Outputs

        return Outputs(self._parameterNode.outputVolume, self._parameterNode.comparisonVolume)

    def _showReason(self, reason: str) -> None:
        busy = self._run is not None or self._installing
        self.ui.applyButton.enabled = not reason and not busy
        self.ui.applyButton.toolTip = reason or _("Upscale the volume (Ctrl+Return).")
        _show(self.ui.reasonLabel, "" if busy else reason)

    # ------------------------------------------------------------------ run

    def onApplyButton(self) -> None:
        """Make sure of the packages, then start the run."""
        from superres3d.errors import ResourceError, SuperResolutionError

        if not self.ui.applyButton.enabled:
            return  # the shortcut
        self._clearReport()
        try:
            self._ensureDependencies()
            self._run = self.logic.start(
                self._parameterNode.inputVolume, self._request(), self._outputs(),
                onProgress=self._onProgress, onSuccess=self._onSuccess, onFailure=self._onFailure,
            )  # fmt: skip
        except SuperResolutionError as error:
            self._onFailure(error, self.ui.logText.plainText)
        except MemoryError:
            self._onFailure(ResourceError(_("Memory ran out; close other volumes or programs, or use a smaller factor.")), "")
        except Exception as error:  # a defect must not leave Apply disabled without a word
            logging.exception("SuperResolution3D: the run could not be started")
            self._onFailure(SuperResolutionError(_("The run could not be started ({reason}); see the Python console.").format(reason=error)), "")
        else:
            self._setBusy(_("Starting"))

    def _ensureDependencies(self) -> None:
        from SuperResolution3DLib.dependencies import SlicerInstaller

        self._installing = True
        self.ui.applyButton.enabled = False
        try:
            installer = SlicerInstaller(slicer.util.confirmOkCancelDisplay, self._onInstallLine)
            self.logic.ensureDependencies(self._request(), installer)
        finally:
            self._installing = False

    def _onInstallLine(self, line: str) -> None:
        self.ui.logCollapsibleButton.visible = True
        self.ui.logCollapsibleButton.collapsed = False
        _show(self.ui.statusLabel, _("Installing PyTorch"))
        self.ui.logText.appendPlainText(line)

    def onCancelButton(self) -> None:
        if self._run:
            self.ui.cancelButton.enabled = False
            _show(self.ui.statusLabel, _("Cancelling"))
            self._run.cancel()

    def _onProgress(self, progress) -> None:
        from SuperResolution3DLib import wording

        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.value = int(100 * progress.share)
        text = wording.stage(progress.stage)
        if progress.seconds_left is not None and progress.share < 1:
            text = _("{stage}: about {time} left").format(stage=text, time=wording.duration(progress.seconds_left))
        _show(self.ui.statusLabel, text)

    def _onSuccess(self, finished) -> None:
        from SuperResolution3DLib.comparison import any_in_views
        from SuperResolution3DLib.summary import report_text

        self._run = None
        self._setIdle()
        _show(self.ui.statusLabel, _("Done"))
        _show(self.ui.reportLabel, report_text(finished))
        parameters = self._parameterNode or self.logic.getParameterNode()
        # Views that show the scan, or what was made of it, stay where they are; others may show another place.
        earlier = (parameters.lastResult, parameters.lastComparison) if parameters.lastSource is finished.source else ()
        fit = not any_in_views(finished.source, finished.result, *earlier)
        with slicer.util.NodeModify(parameters):
            parameters.lastSource, parameters.lastResult, parameters.lastComparison = finished.source, finished.result, finished.comparison
        if self.comparison.laid_out:
            self._showComparison(parameters)
        else:
            slicer.util.setSliceViewerLayers(background=finished.result, fit=fit)
        self._refresh()

    def _onFailure(self, error: Exception, log: str) -> None:
        from superres3d.errors import Cancelled

        self._run = None
        self._setIdle()
        if isinstance(error, Cancelled):
            _show(self.ui.statusLabel, _("Cancelled; the scene is as before."))
        else:
            _show(self.ui.statusLabel, str(error))
            self._showLog(log)
            logging.error(f"SuperResolution3D: {error}\n{log}")
        self._refresh()

    def _abortRun(self) -> bool:
        """End a run without a word; True if there was one."""
        run, self._run = self._run, None
        if run:
            run.abort()
            self._setIdle()
        return run is not None

    def _setBusy(self, text: str) -> None:
        self._setChoicesEnabled(False)
        self.ui.applyButton.enabled = False
        self.ui.cancelButton.enabled = True
        _show(self.ui.reasonLabel, "")
        self.ui.progressBar.setRange(0, 0)
        self.ui.progressBar.visible = True
        _show(self.ui.statusLabel, text)

    def _setIdle(self) -> None:
        self._setChoicesEnabled(True)
        self.ui.cancelButton.enabled = False
        self.ui.progressBar.visible = False

    def _clearReport(self, status: str = "") -> None:
        """Forget what the panel told of the last run."""
        _show(self.ui.statusLabel, status)
        _show(self.ui.reportLabel, "")
        self._showLog("")

    def _showLog(self, text: str) -> None:
        self.ui.logText.plainText = text
        self.ui.logCollapsibleButton.visible = bool(text)

    def _setChoicesEnabled(self, enabled: bool) -> None:
        for section in (self.ui.inputsCollapsibleButton, self.ui.outputsCollapsibleButton, self.ui.advancedCollapsibleButton):
            section.enabled = enabled

    # ------------------------------------------------------------------ sample and comparison

    def onSampleButton(self) -> None:
        from SuperResolution3DLib.samples import load_first_sample

        with slicer.util.tryWithErrorDisplay(_("The sample scan could not be loaded; check the internet connection."), waitCursor=True):
            node = load_first_sample()
            slicer.util.setSliceViewerLayers(background=node, fit=True)
            self._parameterNode.inputVolume = node

    def onShowComparisonButton(self) -> None:
        self._showComparison(self._parameterNode)
        self._refresh()

    def _showComparison(self, parameters: SuperResolution3DParameterNode) -> None:
        from SuperResolution3DLib.comparison import panes

        shown = panes(parameters.lastSource, parameters.lastComparison, parameters.lastResult)
        self.comparison.show(shown, parameters.orientation)

    def _resumeComparison(self) -> None:
        """Go on with a comparison during which the scene was saved: labels and links are not in the file."""
        parameters = self._parameterNode
        if parameters and self.comparison.interrupted and parameters.lastSource and parameters.lastResult:
            self._showComparison(parameters)
            self._refresh()
        self.comparison.tidy()

    def onLeaveComparisonButton(self) -> None:
        self.comparison.leave()
        self._refresh()


def _show(label, text: str) -> None:
    """Set a label's text; an empty one takes no room."""
    # A long name may break at its underscores; else it would widen the panel.
    label.text = _LONG_WORD.sub(lambda word: word.group().replace("_", "_\u200b"), text)
    label.visible = bool(text)


def _fill(box, entries) -> None:
    """Fill a combo box with (text, data) unless it holds the same data already."""
    if [box.itemData(index) for index in range(box.count)] != [data for _text, data in entries]:
        box.clear()
        for text, data in entries:
            box.addItem(text, data)


def _rich(text: str) -> str:
    """Lines of text for a tip; Qt breaks long lines of rich text only."""
    return "<p>" + "<br>".join(escape(line) for line in text.split("\n")) + "</p>"


class SuperResolution3DLogic(ScriptedLoadableModuleLogic):
    """Upscaling for scripts and for the panel; shows no dialogs.

    >>> from SuperResolution3D import SuperResolution3DLogic
    >>> finished = SuperResolution3DLogic().upscale(volumeNode, scale=2, axes="through-plane")
    >>> finished.result.GetName(), finished.report["seconds"]["total"]
    """

    def getParameterNode(self) -> SuperResolution3DParameterNode:
        return SuperResolution3DParameterNode(super().getParameterNode())

    def upscale(
        self,
        inputVolume: vtkMRMLScalarVolumeNode,
        scale: int | None = None,
        axes: str | None = None,
        method: str = "",
        modality: str = "",
        preset: str = "best",
        ensemble: str = "auto",
        precision: str = "auto",
        device: str = "auto",
        memoryLimit: float | None = None,
        compare: bool = False,
        outputVolume: vtkMRMLScalarVolumeNode | None = None,
        comparisonVolume: vtkMRMLScalarVolumeNode | None = None,
        progress: Callable[[str, float, float | None], None] | None = None,
        sliceSpacing: float | None = None,
        consistency: int = 0,
    ):
        """Upscale a volume and wait for the result.

        :param inputVolume: scalar volume; of a sequence, the current frame.
        :param scale: 2 or 4; None: 2, or what the method is made for.
        :param axes: "all", "in-plane" or "through-plane"; None: the first that the method has.
        :param method: name in the catalogue (see ``superres3d methods``); empty: the default network,
            with ``sliceSpacing`` the first that makes it.
        :param modality: "CT" or "MR"; empty: from DICOM, the units or the intensities.
        :param preset: "best", "balanced" or "fast": how much work a network may spend.
        :param ensemble: turned copies: "8", "4", "none", or "auto", as the preset says.
        :param precision: "auto" (half where the machine has units for it) or "single".
        :param device: "auto", "cpu", "cuda", "cuda:<n>" or "mps".
        :param memoryLimit: GiB for the computation; None: what is free.
        :param compare: also make a Lanczos interpolation.
        :param outputVolume, comparisonVolume: nodes to update in place; None: new ones beside the input.
        :param progress: called with (stage, share done, seconds left or None).
        :param sliceSpacing: millimetres between the slices of the result, in place of scale and axes.
        :param consistency: back-projections that bring the downsampled result to the scan, 0 to 10.
        :return: object with ``source``, ``result``, ``comparison`` (node or None), ``report`` (dict), ``warnings``.
        :raises superres3d.errors.SuperResolutionError: one sentence for the user; the scene is as before.
        """
        from SuperResolution3DLib.checks import check_input, volume_facts
        from SuperResolution3DLib.dependencies import NoInstaller
        from SuperResolution3DLib.job import Job, Outputs
        from SuperResolution3DLib.modality import guess_modality
        from SuperResolution3DLib.request import Request, default_method
        from SuperResolution3DLib.run import run_and_wait

        check_input(inputVolume)
        modality = modality or guess_modality(inputVolume).modality.value
        method = method or default_method(modality, sliceSpacing, volume_facts(inputVolume).slice_distance)
        request = Request(scale, axes, sliceSpacing, method, modality, preset, ensemble, precision, device, memoryLimit, compare, consistency)
        outputs = Outputs(outputVolume, comparisonVolume)
        self.check(inputVolume, request, outputs)
        self.ensureDependencies(request, NoInstaller())
        self.estimate(inputVolume, request)
        job = Job(slicer.mrmlScene, inputVolume, request, outputs, self._temporaryFolder())
        tell = progress or (lambda stage, share, secondsLeft: None)
        return run_and_wait(job, lambda event: tell(event.stage, event.share, event.seconds_left))

    def check(self, inputVolume, request, outputs) -> None:
        """Refuse choices that cannot be run (InputError)."""
        from SuperResolution3DLib.job import check_choices

        check_choices(inputVolume, request, outputs)

    def estimate(self, inputVolume, request) -> str:
        """What a run takes, in words (a SuperResolutionError says why it does not fit)."""
        from SuperResolution3DLib.checks import volume_facts
        from SuperResolution3DLib.estimate import estimate

        try:
            return estimate(volume_facts(inputVolume), request, self._temporaryFolder()).text()
        except ImportError as error:
            return _("The estimate needs the Python package {name}, which is installed with the first Apply.").format(name=error.name)

    def ensureDependencies(self, request, installer) -> None:
        """The Python packages that a run needs (DeviceError with what to do)."""
        from pathlib import Path

        from SuperResolution3DLib.dependencies import MINIMUM_TORCH

        resources = Path(_LOGIC_FOLDER).parent / "Resources"
        installer.ensure_packages(resources / ("requirements-networks.txt" if request.catalogued.networks else "requirements.txt"))
        if request.needs_torch:
            installer.ensure_torch(MINIMUM_TORCH)

    def start(self, inputVolume, request, outputs, onProgress, onSuccess, onFailure):
        """Start a run under the event loop; returns an object with ``cancel()`` and ``abort()``."""
        from SuperResolution3DLib.job import Job
        from SuperResolution3DLib.qtrunner import QtRunner
        from SuperResolution3DLib.run import PanelRun

        self.check(inputVolume, request, outputs)
        self.estimate(inputVolume, request)
        job = Job(slicer.mrmlScene, inputVolume, request, outputs, self._temporaryFolder())
        run = PanelRun(job, QtRunner, onProgress, onSuccess, onFailure)
        run.start()
        return run

    @staticmethod
    def _temporaryFolder() -> str | None:
        application = getattr(slicer, "app", None)
        return application.temporaryPath if application else None


class SuperResolution3DTest(ScriptedLoadableModuleTest):
    """Reload and Test: a tiny volume end to end, by interpolation, and by the networks where their packages are installed."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_upscale, self.test_networks, self.test_refusal):
            self.setUp()
            test()

    def test_upscale(self) -> None:
        """The result covers the same space, keeps the dtype, and says how it was made."""
        import numpy as np

        self.delayDisplay("Upscaling a tiny volume")
        voxels = np.arange(8 * 10 * 12, dtype=np.int16).reshape(8, 10, 12)
        volume = slicer.util.addVolumeFromArray(voxels, name="Tiny")
        volume.SetSpacing(1.0, 1.0, 4.0)
        finished = SuperResolution3DLogic().upscale(volume, scale=2, axes="through-plane", method="cubic", compare=True)
        self.assertEqual(slicer.util.arrayFromVolume(finished.result).shape, (16, 10, 12))
        self.assertEqual(slicer.util.arrayFromVolume(finished.result).dtype, np.int16)
        before, after = [0.0] * 6, [0.0] * 6
        volume.GetRASBounds(before)
        finished.result.GetRASBounds(after)
        np.testing.assert_allclose(after, before, atol=1e-9)
        self.assertEqual(finished.comparison.GetName(), "Tiny Lanczos x2 through-plane")
        self.assertEqual(finished.result.GetAttribute("SuperResolution3D.Factors"), "1 1 2")
        thin = SuperResolution3DLogic().upscale(volume, sliceSpacing=1.0, method="lanczos")
        self.assertEqual(slicer.util.arrayFromVolume(thin.result).shape, (32, 10, 12))
        self.assertEqual(thin.result.GetName(), "Tiny Lanczos 1 mm slices")
        self.delayDisplay("Upscaling passed")

    def test_networks(self) -> None:
        """The networks add what interpolation misses, and the result names them."""
        import numpy as np
        from superres3d.errors import DeviceError
        from SuperResolution3DLib.dependencies import NoInstaller
        from SuperResolution3DLib.request import Request

        logic = SuperResolution3DLogic()
        try:
            logic.ensureDependencies(Request(), NoInstaller())
        except DeviceError as error:
            self.delayDisplay(f"Networks not tested: {error}")
            return
        self.delayDisplay("Upscaling by the networks")
        k, j, i = np.indices((8, 20, 24))
        volume = slicer.util.addVolumeFromArray((500 + 400 * np.sin(0.8 * i) * np.sin(0.7 * j + 0.4 * k)).astype(np.int16), name="Waves")
        finished = logic.upscale(volume, scale=2, preset="fast", modality="MR", device="cpu", compare=True)
        self.assertIn("sha256:", finished.result.GetAttribute("SuperResolution3D.Models"))
        upscaled, lanczos = (slicer.util.arrayFromVolume(node).astype(float) for node in (finished.result, finished.comparison))
        self.assertEqual(upscaled.shape, (16, 40, 48))
        self.assertGreater(np.corrcoef(upscaled.ravel(), lanczos.ravel())[0, 1], 0.98)
        self.assertTrue((upscaled != lanczos).any())
        self.delayDisplay("Networks passed")

    def test_refusal(self) -> None:
        """A label map is refused, and the scene stays as it was."""
        from superres3d.errors import InputError

        label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Liver")
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaisesRegex(InputError, "label map"):
            SuperResolution3DLogic().upscale(label)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.delayDisplay("Refusal passed")
