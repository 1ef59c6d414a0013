"""What is learned of the machine's speed, and that a damaged memory of it spoils nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from superres3d import speed
from superres3d.plan import plan_upscaling
from superres3d.upscaling import upscale


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERRES3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "speed.json"


def plan(**choices):
    return plan_upscaling((64, 256, 256), (1.0, 1.0, 1.0), "int16", 2, **choices)


def test_arithmetic_is_that_of_the_shipped_networks():
    """Closed form: each stage's multiply-accumulates a pixel (printed, for the published form), times pixels, times members."""
    voxels = 64 * 256 * 256
    depth, plane = 9 * 32 * (1 + 8 * 32 + 2), 9 * 32 * (1 + 12 * 32 + 4)
    assert plan(method="georgescu2020").accumulates == 8 * (voxels * 114_336 + 4 * voxels * 75_744)
    assert plan().accumulates == 8 * (voxels * depth + 2 * voxels * plane)
    assert plan().accumulates < 0.73 * plan(method="georgescu2020").accumulates  # depth first: 27 % less
    assert plan(preset="balanced").accumulates * 2 == plan().accumulates
    assert plan(preset="fast").accumulates == 2 * voxels * depth + 2 * voxels * plane
    assert plan(method="lanczos").accumulates == 0


def test_the_estimate_follows_what_was_measured(models, cache):
    assert not speed.is_known("half")
    guessed = plan().seconds
    speed._keep("cpu", "half", 1e9)
    assert speed.is_known("half") and not speed.is_known("single") and not speed.is_known("eight")
    assert plan().seconds == pytest.approx(plan().accumulates / 1e9, rel=0.01) and plan().seconds > guessed
    speed._keep("cpu", "half", 1e8, "4x")  # a factor's own rate is the other's only as long as it is unknown
    assert plan().seconds == pytest.approx(plan().accumulates / 1e9, rel=0.01)
    four = plan_upscaling((64, 256, 256), (1.0, 1.0, 1.0), "int16", 4)
    assert four.seconds == pytest.approx(four.accumulates / 1e8, rel=0.01)
    speed._keep("cuda", "half", 1e13)  # where there is a graphics card, it will compute
    assert plan().seconds < guessed


def test_measuring_the_scan_is_in_the_estimate(cache):
    """Of a network that is told of it; the arithmetic is the same."""
    told, blind = plan(method="two-stage-told"), plan(method="two-stage-residual")
    assert told.accumulates == blind.accumulates
    assert told.seconds - blind.seconds == pytest.approx(speed.measuring_seconds(64 * 256 * 256)) and speed.measuring_seconds(600 * 512 * 512) < 2


def test_calibration_measures_once_and_is_kept(models, cache):
    speed.calibrate("MR", "best")
    first = cache.read_text()
    rate = next(iter(json.loads(first).values()))
    assert 1e8 < rate < 1e14
    speed.calibrate("MR", "best")
    assert cache.read_text() == first


def test_a_busy_machine_is_found_and_told(monkeypatch):
    """A thread that gets a third of its core."""
    monkeypatch.setattr(speed.time, "thread_time", lambda: speed.time.perf_counter() / 3)
    assert speed.busy() == pytest.approx(3, rel=0.05)
    assert "2.4 times" in speed.busy_words(2.4) and not speed.busy_words(1.1)


def test_an_idle_machine_is_not_faster_than_itself(monkeypatch):
    monkeypatch.setattr(speed.time, "thread_time", lambda: 2 * speed.time.perf_counter())
    assert speed.busy() == 1.0


def test_what_is_kept_is_the_speed_of_an_idle_machine(models, scan, cache, monkeypatch):
    """On a machine that gives this process a tenth of its time: of four seconds by the clock a tenth was its own, half of it on one thread."""
    from superres3d.engine import progress

    clock = iter(range(0, 4000, 4))
    monkeypatch.setattr(progress.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(progress.time, "process_time", iter(np.arange(0, 400, 0.4)).__next__)
    monkeypatch.setattr(progress.time, "thread_time", iter(np.arange(0, 200, 0.2)).__next__)
    monkeypatch.setattr(progress, "usable_cores", lambda: 4)
    watch = progress.Watch(None, None)
    watch.begin_early(0.5)
    watch.early("learning", 1.0)
    assert watch.seconds == {"learning": 4.0} and watch.own_seconds["learning"] == pytest.approx(0.2 + 0.2 / 4)


def test_a_processor_is_judged_by_its_own_time_and_a_card_by_the_clock(models, scan, cache, monkeypatch):
    from superres3d import upscaling
    from superres3d.engine.progress import Watch

    told = []
    monkeypatch.setattr(upscaling, "remember_speed", lambda *given: told.append(given[-1]))
    monkeypatch.setattr(Watch, "__init__", _watch_that_knows(Watch.__init__))
    upscale(scan, 2, preset="fast", method="two-stage-residual", device="cpu")
    assert told == [3.0]


def _watch_that_knows(begin):
    def made(watch, *given):
        begin(watch, *given)
        watch._spent = lambda name: None
        watch.own_seconds, watch.seconds = {"plane": 1.0, "depth": 2.0}, {"plane": 10.0, "depth": 20.0}

    return made


def test_calibration_counts_its_own_time(models, cache, monkeypatch):
    """On a machine where only every hundredth second is its own."""
    monkeypatch.setattr(speed.time, "process_time", lambda: speed.time.perf_counter() / 100)
    speed.calibrate("MR", "best")
    hurried = next(iter(json.loads(cache.read_text()).values()))
    cache.unlink()
    monkeypatch.undo()
    monkeypatch.setenv("SUPERRES3D_CACHE", str(cache.parent))
    monkeypatch.setattr(speed.time, "process_time", lambda: 1e6 * speed.time.perf_counter())
    speed.calibrate("MR", "best")
    assert hurried > 5 * next(iter(json.loads(cache.read_text()).values()))


def test_info_tells_times_of_the_machine_as_it_is(models, scan, tmp_path, monkeypatch):
    from superres3d import write_volume
    from superres3d.cli import app
    from typer.testing import CliRunner

    write_volume(scan, tmp_path / "scan.nrrd")
    monkeypatch.setattr("superres3d.cli.info._modality", lambda volume, asked: ("MR", "the file", [], ""))
    made = {}
    for times in (1.0, 5.0):
        monkeypatch.setattr(speed, "busy", lambda times=times: times)
        made[times] = [CliRunner().invoke(app, ["info", str(tmp_path / "scan.nrrd"), *options]).output for options in ([], ["--json"])]
    alone, busy = (json.loads(made[times][1])["upscaling"][0]["seconds"]["best"] for times in (1.0, 5.0))
    assert busy == pytest.approx(5 * alone) and json.loads(made[5.0][1])["busy"] == 5.0
    assert "5.0 times" in made[5.0][0] and "computes" not in made[1.0][0]


@pytest.mark.parametrize("asked", [{"slice_spacing": 1}, {"spacing": 0.7}, {"scale": 2}, {"scale": (1, 4)}])
def test_a_run_of_any_kind_teaches_the_next_estimate(models, scan, cache, monkeypatch, asked):
    """Slices of 1 mm, too: kept under the key under which they are looked up.  A part teaches nothing."""
    from superres3d.upscaling import plan_for

    monkeypatch.setattr(speed, "_ENOUGH_SECONDS", 0.0)
    way = {"method": "two-stage-residual", "preset": "fast", **asked}
    guessed = plan_for(scan, **way)[0]
    upscale(scan, region=((0, 6), (0, 9), (0, 12)), **way)
    assert not cache.exists()
    upscale(scan, **way)
    (rate,) = json.loads(cache.read_text()).values()
    learnt = plan_for(scan, **way)[0]
    assert learnt.seconds != guessed.seconds
    assert learnt.seconds == pytest.approx(speed._START_SECONDS + learnt.accumulates / rate, rel=0.01)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"cpu single 2x 2 cores": 1e400}', '{"cpu single 2x 2 cores": 1e-300}', '{"cpu single 2x 2 cores": ' + "9" * 400 + "}", '{"cpu": "fast"}', '{"cpu single 2x 2 cores": -1}', "null"])
def test_a_damaged_file_is_as_none(models, scan, cache, content):
    cache.parent.mkdir()
    cache.write_text(content)
    assert plan().seconds > 0
    assert upscale(scan, 2, preset="fast").report["engine"]


def test_a_folder_that_cannot_be_written_spoils_nothing(models, scan, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUPERRES3D_CACHE", str(tmp_path / "file" / "below"))
    speed.calibrate("MR", "fast")
    assert upscale(scan, 2, preset="fast").report["engine"]


def test_slices_of_one_value_are_not_counted():
    """Closed form: half of the slices are zero, and a quarter of the columns; each stage's share of its own slicings."""
    from superres3d.scan.uneven import uneven_shares

    voxels = np.random.default_rng(0).integers(1, 99, (64, 256, 256)).astype("int16")
    voxels[:32], voxels[:, :, 192:] = 0, 0
    shares = uneven_shares(voxels)
    assert shares == (0.5, 1.0, 0.75)
    depth, plane = (64 * 256 * 256 * 9 * 32 * layers for layers in (1 + 8 * 32 + 2, 2 * (1 + 12 * 32 + 4)))
    assert plan(uneven=shares).accumulates == 8 * (depth * (1.0 + 0.75) / 2 + plane * 0.5)
    across = plan_upscaling((256, 256, 64), (5.0, 1.0, 1.0), "int16", 2, uneven=(0.75, 1.0, 0.5))
    assert across.slice_axis == 2 and across.accumulates == plan(uneven=(0.5, 0.75, 1.0)).accumulates


def test_a_run_plans_without_its_air_and_a_region_with_all(models, scan):
    from superres3d.upscaling import plan_for

    voxels = scan.voxels.copy()
    count, air = len(voxels), len(voxels) // 2
    voxels[:air] = voxels.min()
    half = replace(scan, voxels=voxels)
    way = {"method": "two-stage-residual", "axes": "in-plane", "modality": "MR"}
    assert plan_for(half, 2, **way)[0].accumulates == pytest.approx(plan_for(scan, 2, **way)[0].accumulates * (count - air) / count)
    region = ((0, 6), (0, 9), (0, 12))
    assert plan_for(half, 2, region=region, **way)[0].accumulates == plan_for(scan, 2, region=region, **way)[0].accumulates


def test_the_race_tells_how_busy_the_machine_is_and_keeps_its_speed(models, cache, monkeypatch):
    from superres3d.cli import app
    from typer.testing import CliRunner

    monkeypatch.setattr("superres3d.cli.race.stop_at_end_of_input", lambda: None)
    monkeypatch.setattr(speed, "busy", lambda: 2.5)
    assert CliRunner().invoke(app, ["race", "MR", "--device", "cpu"]).output == "2.50\n"
    assert speed.is_known("half", "cpu") and speed.is_known("eight", "cpu")


@pytest.mark.skipif(not hasattr(os, "setpriority"), reason="no priorities")
def test_a_worker_takes_the_usual_priority_where_it_may():
    """In a process of its own; only root may, others stay as they are."""
    program = "import os; os.nice(7); from superres3d.cli.worker import take_usual_priority; take_usual_priority(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    told = int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
    assert told <= (0 if os.geteuid() == 0 else 19)
