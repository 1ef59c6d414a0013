"""What a run leaves behind, how its results are named, and what is said of it and of the machine."""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import slicer
import slicer.util
from panel_steps import start_large_run, volumes, worker_pids
from superres3d.engine.memory import usable_cores
from superres3d.methods import METHODS
from superres3d.speed import work_of
from SuperResolution3DLib import devices
from SuperResolution3DLib.checks import volume_facts
from SuperResolution3DLib.choices import Axes, Scale
from SuperResolution3DLib.estimate import estimate
from SuperResolution3DLib.worker import Workspace


def test_an_input_that_is_removed_ends_the_run_at_once(panel, make_volume):
    volume = start_large_run(panel, make_volume)
    started = time.monotonic()
    slicer.mrmlScene.RemoveNode(volume)
    assert panel.run is None and time.monotonic() - started < 2
    assert "was removed from the scene during the run" in panel.status
    panel.wait(lambda: worker_pids() == [])
    assert not panel.ui.cancelButton.enabled and volumes() == {}


def test_another_node_that_is_removed_does_not(panel, make_volume):
    other = make_volume("Other")
    start_large_run(panel, make_volume)
    slicer.mrmlScene.RemoveNode(other)
    assert panel.run is not None
    panel.ui.cancelButton.click()
    panel.finish()


def test_opening_the_module_sweeps_what_a_crash_left(panel):
    """Gigabytes do not wait for the next run; the window does not wait for them."""
    left = Path(slicer.app.temporaryPath) / "SuperResolution3D-crashed"
    left.mkdir()
    (left / "owner.txt").write_text("999999999")
    (left / "result.nrrd").write_bytes(b"0")
    panel.widget.panel.tidy()
    panel.wait(lambda: not left.exists())


def test_folders_of_crashed_runs_are_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    crashed = Workspace(tmp_path)
    (crashed.folder / "owner.txt").write_text(str(gone.pid))
    foreign = tmp_path / "SuperResolution3D-of-somebody"
    foreign.mkdir()
    alive = Workspace(tmp_path)
    assert not crashed.folder.exists() and foreign.exists()
    Workspace(tmp_path).close()
    assert alive.folder.exists()
    alive.close()


def test_what_was_said_of_other_choices_goes(panel, make_volume):
    start_large_run(panel, make_volume)
    panel.ui.cancelButton.click()
    panel.finish()
    assert panel.status.startswith("Cancelled")
    panel.widget.panel.refresh()
    assert panel.status.startswith("Cancelled")
    panel.parameters.scale = Scale.TWO
    assert panel.status == ""


def test_names_tell_method_and_quality_where_two_differ(panel, make_volume):
    panel.parameters.inputVolume = volume = make_volume()
    panel.parameters.scale, panel.parameters.compare = Scale.TWO, False
    earlier = make_volume("MR head Cubic x2 through-plane")
    earlier.SetAttribute("SuperResolution3D.Method", "two-stage-residual")
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.parameters.lastResult.GetName() == "MR head Cubic x2 through-plane (cubic)"
    assert panel.parameters.lastSource is volume
    report = panel.ui.reportLabel.text
    assert report.startswith('"MR head Cubic x2 through-plane (cubic)"')


def test_methods_to_compare_with_are_not_offered(panel, make_volume, monkeypatch):
    monkeypatch.setattr("SuperResolution3DLib.request.is_installed", lambda method, modality: True)
    panel.parameters.inputVolume = make_volume()
    panel.parameters.axes, panel.parameters.scale = Axes.IN_PLANE, Scale.TWO
    box = panel.ui.methodComboBox
    assert box.findData("mdcsrn") >= 0 and box.findData("srdensenet-3d") < 0
    panel.parameters.method = "srdensenet-3d"  # by a script
    assert box.itemData(box.currentIndex) == "srdensenet-3d"


@pytest.mark.parametrize("factor, key", [(1, "2x"), (2, "2x"), (3, "4x"), (4, "4x"), (4.8, "4x")])
def test_rates_are_kept_where_they_are_looked_up(factor, key):
    assert work_of(METHODS["two-stage-residual"], factor) == key


def test_the_estimate_counts_comparison_files_and_loading(panel, make_volume):
    panel.parameters.inputVolume = make_volume(shape=(20, 200, 200))
    panel.choose_cubic()
    facts = volume_facts(panel.parameters.inputVolume)
    panel.parameters.compare = False
    alone = estimate(facts, panel.request())
    panel.parameters.compare = True
    both = estimate(facts, panel.request())
    assert both.seconds - alone.seconds == pytest.approx(both.result_bytes / 60e6 + 2 * both.result_bytes / 150e6)
    assert alone.seconds > alone.result_bytes / 60e6


@pytest.mark.parametrize("card, torch, words", [("", True, "the processor ("), ("NVIDIA H100, 80 GiB", True, "NVIDIA H100, 80 GiB"), ("NVIDIA H100", False, "PyTorch, which NVIDIA H100 needs, is not installed")])
def test_what_auto_will_use(panel, make_volume, monkeypatch, card, torch, words):
    monkeypatch.setattr(devices, "_graphics_card", lambda: card)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: torch or None)
    assert words in devices.automatic_device()


def test_free_memory_of_what_auto_will_use(panel, make_volume, monkeypatch):
    monkeypatch.setattr(devices, "_graphics_card", lambda: "")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * 2**30))
    assert devices.automatic_device() == f"the processor ({usable_cores()} cores, 3.0 GiB of memory free)"


def test_a_card_with_its_free_memory(monkeypatch):
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices.shutil, "which", lambda name: name)
    monkeypatch.setattr(devices.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="NVIDIA H100 80GB HBM3, 81559 MiB, 81000 MiB\nNVIDIA T4, 1 MiB, 1 MiB\n"))
    devices._graphics_card.cache_clear()
    try:
        assert devices._graphics_card() == "NVIDIA H100 80GB HBM3 (81559 MiB, 81000 MiB free)"
    finally:
        devices._graphics_card.cache_clear()


def test_what_auto_will_use_stands_in_the_estimate(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.parameters.method = "two-stage-residual"
    assert re.search(r"auto will use the processor \(\d+ cores, [\d.]+ GiB of memory free\)\.$", panel.ui.estimateLabel.text)
    panel.ui.deviceComboBox.setCurrentText("cpu")
    assert "auto will use" not in panel.ui.estimateLabel.text


def test_the_time_that_is_told_is_from_apply_to_shown(panel, make_volume):
    from SuperResolution3D import SuperResolution3DLogic

    started = time.monotonic()
    finished = SuperResolution3DLogic().upscale(make_volume(), scale=2, method="cubic", modality="MR")
    assert finished.report["seconds"]["total"] < finished.report["seconds"]["shown"] <= time.monotonic() - started + 0.01


def test_a_disk_that_is_full_at_once_ends_the_run(panel, make_volume, monkeypatch):
    from SuperResolution3DLib import handing_over

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(handing_over, "_write_all", full)
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status.startswith('"MR head" could not be written: the disk is full') and panel.ui.applyButton.enabled and not panel.ui.cancelButton.enabled
