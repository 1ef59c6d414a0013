"""The sections of the panel alone, with what they work with stood in for."""

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
from standin.application import MODULE_PATH
from superres3d.errors import Cancelled, InputError
from SuperResolution3DLib.choices import Axes, Ensemble, Modality, Noise, Part, Preset, Scale
from SuperResolution3DLib.estimate import MachineNow
from SuperResolution3DLib.sections.outputs import OutputsSection
from SuperResolution3DLib.sections.report import ReportSection
from SuperResolution3DLib.sections.run import RunSection
from SuperResolution3DLib.sections.state import PanelState
from SuperResolution3DLib.worker import Progress

SECTIONS = sorted((MODULE_PATH.parent / "Logic" / "SuperResolution3DLib" / "sections").glob("[a-z]*.py"))


class Widget(SimpleNamespace):
    """Takes any property; remembers what is connected."""

    def __init__(self):
        super().__init__(enabled=True, visible=True, text="", plainText="", receivers=[])

    def connect(self, signal, receiver):
        self.receivers.append(receiver)

    def parent(self):
        return None

    def setRange(self, low, high):
        self.range = (low, high)

    def appendPlainText(self, line):
        self.plainText += line + "\n"


class Form:
    """The form's widgets, made as they are asked for."""

    def __getattr__(self, name):
        setattr(self, name, Widget())
        return getattr(self, name)


def volume(name):
    return SimpleNamespace(GetName=lambda: name, GetStorageNode=lambda: None)


@pytest.fixture
def state():
    made = PanelState()
    made.parameters = SimpleNamespace(
        inputVolume=volume("Head"), outputVolume=None, comparisonVolume=None, modality=Modality.MR, method="cubic", scale=Scale.TWO, axes=Axes.ALL,
        preset=Preset.BEST, ensemble=Ensemble.AUTO, noise=Noise.KEEP, device="auto", memoryLimit=0.0, compare=True, consistency=False, check=False, careful=False, errorMap=False,
        part=Part.WHOLE, roi=None, boxSize=50.0, bringSegmentation=False, segmentation=None,
    )  # fmt: skip
    return made


class Logic:
    """Accepts everything and starts nothing; ``starting`` is raised by ``start``."""

    def __init__(self):
        self.refusal = self.starting = None
        self.runs = []

    def check(self, volume, request, outputs):
        if self.refusal:
            raise self.refusal

    def estimate(self, volume, request, machine):
        return "A second."

    def ensureDependencies(self, request, installer):
        installer._log("Collecting torch")

    def start(self, volume, request, outputs, onProgress, onSuccess, onFailure):
        if self.starting:
            raise self.starting
        self.callbacks = (onProgress, onSuccess, onFailure)
        self.runs.append(SimpleNamespace(cancel=lambda: self.runs.append("cancelled"), abort=lambda: self.runs.append("aborted")))
        return self.runs[-1]


@pytest.fixture
def parts(state):
    """A run section and all that it works with."""
    ui, logic, shown = Form(), Logic(), []
    report = ReportSection(ui)
    machine = SimpleNamespace(look=lambda request: None, stop=lambda: None, now=MachineNow())
    run = RunSection(ui, state, logic, report, machine, on_success=shown.append, refresh=lambda: (shown.append("refreshed"), run.refresh()))
    return SimpleNamespace(ui=ui, logic=logic, report=report, run=run, shown=shown)


@pytest.mark.parametrize("path", SECTIONS, ids=lambda path: path.stem)
def test_a_section_gets_the_others_through_its_constructor(path: Path):
    """Only shared helpers are imported from beside it; the report is what a run tells into."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level == 1]
    assert {node.module for node in nodes} <= {"controls", "state", "report"}


def test_there_are_sections():
    assert len(SECTIONS) == 16


def test_refusal_and_estimate_take_turns(parts):
    parts.run.refresh()
    assert parts.ui.applyButton.enabled and parts.ui.estimateLabel.text == "A second." and not parts.ui.reasonLabel.visible
    parts.logic.refusal = InputError("Not this one.")
    parts.run.refresh()
    assert not parts.ui.applyButton.enabled and parts.ui.applyButton.toolTip == parts.ui.reasonLabel.text == "Not this one."
    assert not parts.ui.estimateLabel.visible
    parts.run.apply()  # the shortcut
    assert parts.logic.runs == []


@pytest.mark.parametrize("error, words", [(MemoryError(), "Memory ran out"), (RuntimeError("odd"), "could not be started (odd)"), (InputError("It left."), "It left.")])
def test_a_run_that_does_not_start_is_told_and_apply_stays(parts, error, words):
    parts.logic.starting = error
    parts.run.apply()
    assert words in parts.ui.statusLabel.text and parts.run.current is None and parts.shown == ["refreshed"]
    assert parts.ui.applyButton.enabled and parts.ui.inputsCollapsibleButton.enabled


def test_the_log_of_an_installation_stays_with_a_refusal_and_goes_with_the_next_run(parts):
    parts.logic.starting = InputError("It left.")
    parts.run.apply()
    assert parts.report.log == "Collecting torch\n" and parts.ui.logCollapsibleButton.visible
    parts.logic.ensureDependencies = lambda request, installer: None
    parts.logic.starting = None
    parts.run.apply()
    assert parts.ui.statusLabel.text == "Starting" and "Collecting" not in parts.report.log


def test_progress_then_cancel(parts):
    parts.run.apply()
    on_progress, _on_success, on_failure = parts.logic.callbacks
    assert not parts.ui.applyButton.enabled and parts.ui.cancelButton.enabled and parts.ui.progressBar.range == (0, 0)
    on_progress(Progress("depth", 0.25, 90.0))
    assert parts.ui.progressBar.value == 25 and parts.ui.statusLabel.text == "Through-plane network: about 2 min left"
    parts.run.refresh()  # a choice that a script changes meanwhile
    assert not parts.ui.applyButton.enabled
    cancel = parts.ui.cancelButton.receivers[0]
    cancel()
    assert parts.logic.runs[-1] == "cancelled" and not parts.ui.cancelButton.enabled
    on_failure(Cancelled(), "a log")
    assert parts.ui.statusLabel.text.startswith("Cancelled") and parts.report.log.startswith("Collecting torch\n") and parts.report.log.endswith("  Through-plane network\n")
    cancel()
    assert parts.logic.runs.count("cancelled") == 1


def test_abort_says_whether_there_was_a_run(parts):
    assert parts.run.abort() is False
    parts.run.apply()
    assert parts.run.abort() is True and parts.logic.runs[-1] == "aborted" and parts.run.current is None
    assert parts.shown == []  # without a word


def test_a_new_volume_clears_the_report_but_not_of_a_run_under_way(parts):
    parts.report.tell("Done")
    parts.run.forget()
    assert parts.ui.statusLabel.text == ""
    parts.run.apply()
    parts.run.forget()
    assert parts.ui.statusLabel.text == "Starting"


def test_names_of_new_volumes_come_from_the_input(state):
    ui = Form()
    section = OutputsSection(ui, state)
    section.refresh()
    assert (ui.outputSelector.baseName, ui.comparisonSelector.baseName, ui.comparisonSelector.enabled) == ("Head SR", "Head Lanczos", True)
    state.parameters.inputVolume, state.parameters.compare = None, False
    section.refresh()
    assert (ui.outputSelector.baseName, ui.comparisonSelector.enabled) == ("SR", False)


def test_consistency_needs_a_refinement_by_a_factor(state):
    state.parameters.consistency = True
    assert state.request().consistency > 0
    state.parameters.scale = Scale.SLICES_1_MM
    assert state.request().consistency == 0 and state.request().axes is None
    state.parameters.scale, state.parameters.method = Scale.TWO, "virtual-thin-slice"
    assert not state.can_be_consistent
    state.parameters.method = "method of another version"
    assert not state.can_be_consistent


def test_what_the_panel_writes_itself_is_no_choice(state):
    assert state.editable is state.parameters
    state.refreshing = True
    assert state.editable is None


FORM = ElementTree.parse(SECTIONS[0].parents[3] / "Resources" / "UI" / "SuperResolution3D.ui").getroot()


def properties(widget):
    """Of a widget of the form, by name."""
    return {found.get("name"): found for found in widget.findall("property")}


def test_long_text_does_not_widen_the_panel():
    """A wrapped label asks for a room of its own that grows with its text, unless that is ignored."""
    wrapped = [widget for widget in FORM.iter("widget") if widget.get("class") == "QLabel" and "wordWrap" in properties(widget)]
    assert len(wrapped) > 10
    assert [widget.get("name") for widget in wrapped if properties(widget)["sizePolicy"].find("sizepolicy").get("hsizetype") != "Ignored"] == []


def test_headers_of_sections_have_accessible_names():
    headers = [properties(widget) for widget in FORM.iter("widget") if widget.get("class") == "ctkCollapsibleButton"]
    assert len(headers) == 8 and all(found["accessibleName"].findtext("string") == found["text"].findtext("string") != "" for found in headers)
