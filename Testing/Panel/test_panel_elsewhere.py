"""A run that ends while its user does something else: nothing is taken from them, and nothing is lost unasked."""

import pytest
import slicer
import slicer.util
from panel_steps import start_large_run, worker_pids
from PySide6 import QtCore, QtTest, QtWidgets
from standin.pythonqt import wrap
from SuperResolution3DLib.notice import ExitGuard, ask_to_stop


@pytest.fixture
def told(panel):
    """What a user who is elsewhere is told."""
    words = []
    panel.widget.panel.comparison._tell = words.append
    return words


def in_views():
    return {node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def upscale(panel, volume):
    panel.parameters.inputVolume = volume
    panel.choose_cubic()
    panel.ui.applyButton.click()


def test_in_another_module_the_views_stay(panel, make_volume, told):
    volume = make_volume()
    slicer.util.setSliceViewerLayers(background=volume)
    upscale(panel, volume)
    panel.raw.setProperty("isEntered", False)
    panel.finish()
    assert in_views() == {volume.GetID()}
    assert told == [f'"{panel.parameters.lastResult.GetName()}" is ready; the module Super-Resolution 3D shows it.']
    panel.raw.setProperty("isEntered", True)
    assert panel.ui.showResultButton.visible
    panel.ui.showResultButton.click()
    assert in_views() == {panel.parameters.lastResult.GetID()}
    assert not panel.ui.showResultButton.visible


def test_who_looks_at_another_scan_keeps_it(panel, make_volume, told):
    scan, other = make_volume(), make_volume("Other")
    slicer.util.setSliceViewerLayers(background=other)
    upscale(panel, scan)
    panel.finish()
    assert in_views() == {other.GetID()} and len(told) == 1
    slicer.mrmlScene.RemoveNode(panel.parameters.lastResult)
    assert not panel.ui.showResultButton.visible


def test_who_waits_sees_the_result_at_once(panel, make_volume, told):
    scan = make_volume()
    slicer.util.setSliceViewerLayers(background=scan)
    upscale(panel, scan)
    panel.finish()
    assert in_views() == {panel.parameters.lastResult.GetID()}
    assert told == [] and not panel.ui.showResultButton.visible


@pytest.mark.parametrize("running, agrees, closes", [(False, False, True), (True, False, False), (True, True, True)])
def test_closing_slicer_during_a_run_asks(running, agrees, closes):
    asked = []
    guard = ExitGuard(None, lambda: running, lambda question: (asked.append(question), agrees)[1])
    assert guard.may_close() is closes
    assert len(asked) == running
    guard.remove()


class Exit:
    """A window that is closed by its user; answers are clicks on the buttons of the question.

    Attributes:
        questions: texts of all that were asked.
        buttons: what the last one offered, the default one first.
    """

    def __init__(self, answer: str):
        self.questions, self.buttons = [], []
        self.window = QtWidgets.QMainWindow()
        self.window.show()
        self._answer = answer

    def close(self) -> bool:
        """Whether the window went."""
        QtCore.QTimer.singleShot(0, self._look)
        self.window.close()
        return not self.window.isVisible()

    def _look(self) -> None:
        box = QtWidgets.QApplication.activeModalWidget()
        if box is None:
            return
        self.questions.append(box.text())
        self.buttons = sorted((button.text() for button in box.buttons()), key=lambda text: text != box.defaultButton().text())
        if self._answer == "Escape":
            QtTest.QTest.keyClick(box, QtCore.Qt.Key_Escape)
        elif self._answer == "Return":
            QtTest.QTest.keyClick(box, QtCore.Qt.Key_Return)
        else:
            next(button for button in box.buttons() if button.text() == self._answer).click()


@pytest.mark.parametrize("answer, goes", [("Stop the run and close", True), ("Keep running", False), ("Escape", False), ("Return", False)])
def test_each_answer_to_the_question_at_exit_does_what_it_says(panel, make_volume, monkeypatch, answer, goes):
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    leaving = Exit(answer)
    start_large_run(panel, make_volume)
    guard = ExitGuard(wrap(leaving.window), lambda: panel.widget.panel.run.under_way, ask_to_stop)
    assert leaving.close() is goes
    assert leaving.buttons == ["Keep running", "Stop the run and close"] and len(leaving.questions) == 1
    assert panel.run is not None and worker_pids(), "the answer alone stops nothing: Slicer may ask more"
    if goes:
        panel.widget.cleanup()  # as Slicer does when its window has gone
        assert worker_pids() == []
    else:
        panel.ui.cancelButton.click()
        panel.finish()
        assert leaving.close() and len(leaving.questions) == 1, "without a run nothing is asked"
    guard.remove()
