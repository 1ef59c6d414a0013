"""A run that ends while its user does something else: nothing is taken from them, and nothing is lost unasked."""

import pytest
import slicer
import slicer.util
from SuperResolution3DLib.notice import ExitGuard


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
