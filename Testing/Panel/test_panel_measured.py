"""The line on what a volume shows of its own resolution: told when it is known, beside the window, and of this volume."""

import threading

import numpy as np
import pytest
import slicer
import slicer.util
from scipy import ndimage
from superres3d.errors import ModelError
from SuperResolution3DLib import measuring
from SuperResolution3DLib.choices import Modality
from SuperResolution3DLib.measuring import Measured, Measurement, measured


def soft_scan(name="Head"):
    """Half of the spectrum is empty along its rows and columns."""
    voxels = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((24, 80, 96)), 1.0)
    for axis in (1, 2):
        transform = np.fft.rfft((voxels > 0.1) * 1.0 if axis == 1 else voxels, axis=axis)
        np.moveaxis(transform, axis, 0)[transform.shape[axis] // 2 :] = 0
        voxels = np.fft.irfft(transform, n=voxels.shape[axis], axis=axis)
    node = slicer.util.addVolumeFromArray((900 * voxels + 400).astype("int16"), name=name)
    node.SetSpacing(0.5, 0.5, 3.0)
    return node


def test_the_line_appears_with_a_tip(panel):
    panel.ui.inputSelector.setCurrentNode(soft_scan())
    panel.wait(lambda: panel.ui.measuredLabel.text.startswith("Measured:"))
    line, tip = panel.ui.measuredLabel.text, panel.ui.measuredLabel.toolTip
    found = [float(part) for part in line.split(":")[1].split(" mm")[0].split("\u00d7")]
    assert 0.9 < found[0] < 1.3 and 0.9 < found[1] < 1.3 and "(stored 0.5 \u00d7 0.5 \u00d7 3)" in line and "noise about" in line
    assert "Axis i: stored at 0.5 mm, resolution about" in tip and "Axis k" in tip
    panel.picture("13-measured")


def test_the_window_does_not_wait_and_the_line_is_of_the_last_volume(panel, monkeypatch):
    gates = {0.5: threading.Event(), 0.7: threading.Event()}

    def slow(voxels, spacing, modality):
        gates[spacing[0]].wait(20)
        return Measured(f"of {spacing[0]} mm", "")

    monkeypatch.setattr(measuring, "measured", slow)
    first, second = soft_scan("First"), soft_scan("Second")
    second.SetSpacing(0.7, 0.7, 3.0)
    panel.ui.inputSelector.setCurrentNode(first)
    assert panel.ui.measuredLabel.text == "Measuring its resolution..." and panel.ui.applyButton.enabled
    panel.ui.inputSelector.setCurrentNode(second)
    gates[0.7].set()
    panel.wait(lambda: panel.ui.measuredLabel.text == "of 0.7 mm")
    gates[0.5].set()
    section = panel.widget.panel.measured
    section._look()
    assert panel.ui.measuredLabel.text == "of 0.7 mm"


def test_a_panel_that_ends_meanwhile_is_told_nothing(panel, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(measuring, "measured", lambda *_: gate.wait(20) and Measured("too late", ""))
    panel.ui.inputSelector.setCurrentNode(soft_scan())
    section = panel.widget.panel.measured
    timer, label = section._timer, panel.ui.measuredLabel
    assert timer.isActive()
    with monkeypatch.context() as patched:
        patched.setattr(section, "_show", lambda *_: pytest.fail("told"))
        section.stop()
        gate.set()
        panel.wait(lambda: True)
        assert not timer.isActive() and label.text == "Measuring its resolution..."


def test_a_changed_modality_measures_again_and_no_volume_clears(panel):
    panel.ui.inputSelector.setCurrentNode(soft_scan())
    panel.wait(lambda: panel.ui.measuredLabel.text.startswith("Measured:"))
    before = panel.widget.panel.measured._of
    panel.parameters.modality = Modality.CT if panel.parameters.modality is Modality.MR else Modality.MR
    panel.wait(lambda: panel.ui.measuredLabel.text.startswith("Measured:"))
    assert panel.widget.panel.measured._of != before
    panel.parameters.inputVolume = None
    assert not panel.ui.measuredLabel.isVisible()


def test_an_axis_that_is_too_short_is_left_open(panel, make_volume):
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.wait(lambda: "Measuring" not in panel.ui.measuredLabel.text)
    assert "\u00d7 ? mm (stored" in panel.ui.measuredLabel.text and "Axis k: too short" in panel.ui.measuredLabel.toolTip


@pytest.mark.parametrize("error", [ModelError("The estimator is missing."), ImportError("safetensors")])
def test_what_cannot_be_measured_leaves_no_line(panel, monkeypatch, error):
    """The packages come with the first Apply."""

    def fail(*_):
        raise error

    monkeypatch.setattr(measuring, "measured", fail)
    panel.ui.inputSelector.setCurrentNode(soft_scan())
    panel.wait(lambda: not panel.ui.measuredLabel.isVisible())
    assert panel.ui.applyButton.enabled


def test_the_middle_is_copied_and_no_torch_is_needed(monkeypatch):
    voxels = np.arange(6 * 4 * 5, dtype=np.int16).reshape(6, 4, 5)
    monkeypatch.setattr(measuring, "_MOST_VOXELS", 2 * 4 * 5)
    seen = []
    measurement = Measurement(voxels, (1.0, 1.0, 3.0), "MR", lambda *given: seen.append(given) or Measured("done", ""))
    measurement._thread.join()
    assert measurement.found == Measured("done", "")
    np.testing.assert_array_equal(seen[0][0], voxels[2:4])
    assert not np.shares_memory(seen[0][0], voxels)
    with monkeypatch.context() as patched:
        patched.setitem(__import__("sys").modules, "torch", None)  # an import of it fails
        assert measured(np.zeros((4, 8, 8), np.int16) + np.arange(8, dtype=np.int16), (1.0, 1.0, 1.0), "MR").line.startswith("The volume is too small")
