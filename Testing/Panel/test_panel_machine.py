"""The estimate knows the machine: measured once beside the window, and told how busy it is."""

import json
import time

import pytest
import qt
import slicer.util
from superres3d import speed
from SuperResolution3DLib import machine


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRES3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "_SETTLED", 10)
    return tmp_path / "cache" / "speed.json"


@pytest.fixture
def script(tmp_path, monkeypatch):
    """What runs in place of the measurement: a Python program that sees its arguments."""

    def put(text):
        program = tmp_path / "race"
        program.write_text(f"#!/usr/bin/env python3\nimport sys, time, pathlib\npathlib.Path({str(tmp_path / 'asked')!r}).open('a').write(' '.join(sys.argv[1:]) + chr(10))\n{text}\n")
        program.chmod(0o755)
        monkeypatch.setattr(machine, "find_python", lambda: str(program))
        return tmp_path / "asked"

    return put


def keeping(cache, rate):
    """A program that leaves a speed behind and tells that the machine is idle."""
    rates = {speed._key("cpu", precision, "2x"): rate for precision in speed.PRECISIONS}
    return f"time.sleep(0.3); pathlib.Path({str(cache.parent)!r}).mkdir(exist_ok=True); pathlib.Path({str(cache)!r}).write_text({json.dumps(rates)!r}); print('1.0')"


def test_the_first_estimate_is_measured_and_the_window_does_not_wait(cache, script, panel, make_volume):
    asked = script(keeping(cache, 1e9))
    started = time.monotonic()
    panel.ui.inputSelector.setCurrentNode(make_volume())
    assert time.monotonic() - started < 5 and "the speed of this machine is being measured" in panel.ui.estimateLabel.text
    guessed = panel.ui.estimateLabel.text
    panel.wait(lambda: "guess" not in panel.ui.estimateLabel.text)
    assert panel.ui.estimateLabel.text != guessed
    assert asked.read_text().splitlines()[0] == "-m superres3d.cli race MR --device auto"


@pytest.mark.parametrize("text", ["sys.exit(3)", "print('nonsense')"])
def test_a_machine_that_cannot_be_measured_leaves_a_guess_and_is_not_asked_for_ever(cache, script, panel, make_volume, text):
    asked = script(text)
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.wait(lambda: panel.widget.panel.machine._looked is not None and "runs teach this module" in panel.ui.estimateLabel.text)
    times = len(asked.read_text().splitlines())
    for _turn in range(5):
        panel.widget.panel.refresh()
    end = time.monotonic() + 0.5
    panel.wait(lambda: time.monotonic() > end)
    assert len(asked.read_text().splitlines()) == times <= 2 and panel.ui.applyButton.enabled


def test_a_busy_machine_is_told_and_the_time_is_as_much_longer(cache, script, panel, make_volume):
    from SuperResolution3DLib.checks import volume_facts
    from SuperResolution3DLib.estimate import MachineNow, estimate

    script("print('3.00')")
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.wait(lambda: "3.0 times" in panel.ui.estimateLabel.text)
    facts = volume_facts(panel.parameters.inputVolume)
    alone, busy = (estimate(facts, panel.request(), machine=MachineNow(times)).seconds for times in (1.0, 3.0))
    files = 3 * alone - busy  # twice what does not compute
    assert 0 < files < 0.2 and busy > 2.5 * alone


def test_a_run_ends_the_measurement(cache, script, panel, make_volume):
    """What would be measured is the run; and the process does not outlive the panel (its fixture looks)."""
    asked = script("time.sleep(60)")
    panel.ui.inputSelector.setCurrentNode(make_volume())
    panel.wait(asked.exists)
    watched = panel.widget.panel.machine
    process = watched._process
    panel.choose_cubic()
    panel.ui.applyButton.click()
    assert watched._process is None and process.state() == qt.QProcess.NotRunning
    panel.finish()
    panel.widget.panel.refresh()
    assert panel.widget.panel.machine._process is None, "an interpolation needs no measurement"


def test_air_is_not_in_the_estimate(panel, make_volume):
    """A head in a box twice as wide, of which networks skip what is one value; ends of the box and middle count alike."""
    from SuperResolution3DLib.checks import volume_facts
    from SuperResolution3DLib.estimate import estimate
    from SuperResolution3DLib.request import Request

    node = make_volume(shape=(64, 64, 64), spacing=(1.0, 1.0, 1.0))
    request = Request(scale=2, axes="in-plane", modality="MR", method="two-stage-residual")
    before = volume_facts(node)
    whole = estimate(before, request).seconds
    voxels = slicer.util.arrayFromVolume(node)
    voxels[:32] = 0
    slicer.util.arrayFromVolumeModified(node)
    facts = volume_facts(node)
    assert before.uneven == (1.0, 1.0, 1.0) and facts.uneven == (0.5, 1.0, 1.0)
    assert estimate(facts, request).seconds < whole
