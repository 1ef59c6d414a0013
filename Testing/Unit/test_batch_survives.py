"""``superres3d batch`` in spite of everything: killed processes, a full disk, changed files, two runs at once."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from superres3d.batch.budget import Budget
from superres3d.batch.choices import Choices
from superres3d.batch.crew import LocalCrew
from superres3d.batch.ledger import Ledger
from superres3d.batch.place import Place
from superres3d.batch.planning import Filters
from superres3d.batch.run import Batch, Settings
from superres3d.batch.teller import Teller
from superres3d.errors import InputError
from superres3d.networks.weights import save_model

from .batch_scans import batch, images, results, table
from .conftest import random_network, slice_network, write

NAMES = ("a.nii.gz", "b.nrrd", "c.mha", "d.nii")
SECONDS = 60


@pytest.fixture
def folder(tmp_path):
    return images(tmp_path / "in", *NAMES)


def begun(source: Path, out: Path, *options: str) -> subprocess.Popen:
    """A batch that goes on while the test does."""
    command = [sys.executable, "-m", "superres3d.cli", "batch", str(source), str(out), "--method", "cubic", "--progress", "json", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def times(out: Path) -> dict[str, int]:
    return {name: (out / name).stat().st_mtime_ns for name in results(out)}


def leftovers(out: Path) -> list[Path]:
    """What half-written results would be."""
    return [path for path in out.rglob("*") if path.name.startswith(".superres3d")] + list((out / "batch" / "work").iterdir())


def test_a_finished_batch_does_nothing_again(folder, tmp_path):
    out = tmp_path / "out"
    assert batch(folder, out).returncode == 0
    before = times(out)
    again = batch(folder, out)
    assert again.returncode == 0 and "4 of 4 scans have their result (4 of them from before)" in again.stderr
    assert times(out) == before and not leftovers(out)


def killer(process: subprocess.Popen, count: int) -> threading.Thread:
    """Kills the first children of a batch as soon as they are there."""

    def kill() -> None:
        killed: set[int] = set()
        while len(killed) < count and process.poll() is None:
            for child in psutil.Process(process.pid).children() if psutil.pid_exists(process.pid) else ():
                if child.pid not in killed and len(killed) < count:
                    killed.add(child.pid)
                    child.kill()
            time.sleep(0.005)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.parametrize("kills,without", [(1, 0), (2, 1)])
def test_a_scan_that_kills_its_process_is_tried_once_more_then_left_out(kills, without, folder, tmp_path):
    out = tmp_path / "out"
    process = begun(folder, out)
    thread = killer(process, kills)
    said, _ = process.communicate(timeout=SECONDS)
    thread.join()
    rows = table(out)
    summary = json.loads(said.splitlines()[-1])
    assert process.returncode == (1 if without else 0) and summary["exit_code"] == process.returncode
    assert [row["state"] for row in rows.values()].count("killed") == without and len(summary["without"]) == without
    assert "SIGKILL" in rows["a.nii.gz"]["messages"]
    if without:
        again = batch(folder, out)
        assert again.returncode == 1 and "a.nii.gz: The process of this scan was ended by SIGKILL" in again.stderr and "3 of 4" in again.stderr
        assert batch(folder, out, "--retry").returncode == 0
    assert len(results(out)) == 4 and not leftovers(out)


def test_the_parent_killed_and_started_again(folder, tmp_path):
    """Its processes end with it; what is whole stays as it is."""
    out = tmp_path / "out"
    big = np.tile(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "a.nii.gz"))), (4, 16, 16))
    write(folder / "z.nrrd", big, (1.0, 1.0, 4.0))
    process = begun(folder, out, "--scale", "4")
    wait_for(lambda: out.exists() and len(results(out)) >= 2)
    children = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = times(out)
    psutil.wait_procs(children, SECONDS)
    assert not any(child.is_running() for child in children)
    done = batch(folder, out, "--scale", "4")
    assert done.returncode == 0 and len(results(out)) == 5 and not leftovers(out)
    assert before.items() <= times(out).items()


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_batch_says_so_and_goes_on(which, folder, tmp_path):
    out = tmp_path / "out"
    for number in range(30):
        shutil.copy(folder / "b.nrrd", folder / f"more{number}.nrrd")
    process = begun(folder, out)
    wait_for(lambda: out.exists() and results(out))
    process.send_signal(which)
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    summary = json.loads(said.splitlines()[-1])
    assert summary["cancelled"] and summary["meant"] == 34 and summary["done"] == len(results(out)) < 34 and not leftovers(out)
    assert batch(folder, out).returncode == 0 and len(results(out)) == 34


def test_a_result_that_the_ledger_missed_is_taken_over(folder, tmp_path):
    """As when the process ends between the one and the other; the whole ledger may be gone as well."""
    out = tmp_path / "out"
    batch(folder, out)
    before = times(out)
    with sqlite3.connect(out / "batch" / "superres3d-ledger.sqlite") as ledger:
        ledger.execute("UPDATE scans SET state = 'running', sha256 = '' WHERE name = 'a.nii.gz'")
    ledger.close()
    assert batch(folder, out).returncode == 0 and times(out) == before
    (out / "batch" / "superres3d-ledger.sqlite").unlink()
    (out / "batch" / "superres3d-lock").unlink()
    done = batch(folder, out)
    assert done.returncode == 2 and "is not of an earlier batch" in done.stderr  # nobody knows whose it is
    Ledger(Place(out).ledger).close()
    assert batch(folder, out).returncode == 0 and times(out) == before


def test_a_changed_scan_is_computed_again(folder, tmp_path):
    out = tmp_path / "out"
    batch(folder, out)
    before = times(out)
    write(folder / "b.nrrd", np.flip(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "b.nrrd")))), (1.0, 1.0, 4.0))
    assert batch(folder, out).returncode == 0
    after = times(out)
    assert {name for name in before if before[name] != after[name]} == {"b_cubic-x2.nrrd"}


def test_a_changed_result_is_nobodys_to_overwrite(folder, tmp_path):
    out = tmp_path / "out"
    batch(folder, out)
    (out / "b_cubic-x2.nrrd").write_bytes(b"edited")
    (out / "c_cubic-x2.mha").unlink()
    done = batch(folder, out)
    assert done.returncode == 1 and "b_cubic-x2.nrrd is there and is not what this command wrote" in done.stderr
    assert (out / "b_cubic-x2.nrrd").read_bytes() == b"edited" and (out / "c_cubic-x2.mha").exists()
    (out / "b_cubic-x2.nrrd").unlink()
    assert batch(folder, out).returncode == 0


def test_a_strangers_file_stays(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "a_cubic-x2.nii.gz").write_text("mine")
    done = batch(folder, out)
    assert done.returncode == 1 and "3 of 4" in done.stderr and (out / "a_cubic-x2.nii.gz").read_text() == "mine"


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_a_stranger_puts_there_meanwhile_stays(is_folder, folder, tmp_path):
    """While the scan is computed: the result does not take its place, and the others are made."""
    out = tmp_path / "out"

    class Meanwhile(LocalCrew):
        def submit(self, task):
            if task.name != "c.mha":
                return super().submit(task)
            work = importlib.import_module("superres3d.batch.work")
            written = work._write

            def write_late(*given):
                staged = written(*given)
                path = Path(task.result) / "theirs" if is_folder else Path(task.result)
                path.parent.mkdir(exist_ok=True)
                path.write_text("kept")
                return staged

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(work, "_write", write_late)
                outcome = work.perform(task)
            future = Future()
            future.set_result(outcome)
            return future

    summary = Batch(folder, out, Choices("cubic"), Filters(), Settings(crew=lambda memory: Meanwhile(1, memory)), Teller()).run()
    ((name, reason),) = summary.without
    assert name == "c.mha" and "is not what this command wrote" in reason and summary.done == 3
    place = out / "c_cubic-x2.mha"
    assert (place / "theirs" if is_folder else place).read_text() == "kept" and not leftovers(out)


def test_two_inputs_in_one_output_folder(tmp_path):
    """Scans of one name are two results; the first stays as it is."""
    out = tmp_path / "out"
    one, other = images(tmp_path / "one", "scan.nrrd"), images(tmp_path / "other", "first.nrrd", "scan.nrrd")
    batch(one, out)
    before = times(out)
    assert batch(other, out).returncode == 0
    assert set(times(out)) == {"scan_cubic-x2.nrrd", "scan-nrrd_cubic-x2.nrrd", "first_cubic-x2.nrrd"} and before.items() <= times(out).items()


def test_two_runs_on_one_folder(folder, tmp_path):
    place = Place(tmp_path / "out")
    place.claim()
    done = batch(folder, tmp_path / "out")
    assert done.returncode == 2 and f"Another batch works in {tmp_path / 'out'} (process {os.getpid()} on " in done.stderr
    place.leave()
    assert batch(folder, tmp_path / "out").returncode == 0


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(parents=True), lambda path: path.write_bytes(b"no database" * 1000)], ids=["folder", "garbage"])
def test_a_ledger_that_cannot_be_used(spoil, folder, tmp_path):
    out = tmp_path / "out"
    (out / "batch").mkdir(parents=True)
    spoil(out / "batch" / "superres3d-ledger.sqlite")
    done = batch(folder, out)
    assert done.returncode == 2 and "The ledger" in done.stderr and "cannot be used" in done.stderr and not results(out)


def test_another_version_of_the_ledger(folder, tmp_path):
    place = Place(tmp_path)
    place.own.mkdir()
    with sqlite3.connect(place.ledger) as ledger:
        ledger.execute("PRAGMA user_version = 99")
    ledger.close()
    with pytest.raises(InputError, match="of another version"):
        Ledger(place.ledger, read_only=True)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if os.name != "posix" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_in_the_middle(tmp_path, small_disk):
    """Said, with a code that is not 0; once there is space, the same command goes on."""
    source = images(tmp_path / "in", *(f"{number}.nrrd" for number in range(30)))
    done = batch(source, small_disk)
    whole = results(small_disk)
    assert done.returncode in (1, 5) and 0 < len(whole) < 30 and ("free" in done.stderr or "disk is full" in done.stderr)
    assert f"{len(whole)} of 30 scans have their result" in done.stderr
    assert all(sitk.ReadImage(str(small_disk / name)).GetSize() == (28, 24, 12) for name in whole)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    before = times(small_disk)
    assert batch(source, small_disk).returncode == 0 and len(results(small_disk)) == 30 and before.items() <= times(small_disk).items()


class _Vanishing(LocalCrew):
    """Takes a scan away just before it is computed."""

    def submit(self, task):
        if "c.mha" in task.name:
            Path(task.files[0]).unlink()
        return super().submit(task)


def test_a_scan_that_vanishes(folder, tmp_path):
    settings = Settings(crew=lambda memory: _Vanishing(1, memory))
    summary = Batch(folder, tmp_path / "out", Choices("cubic"), Filters(), settings, Teller()).run()
    assert summary.exit_code == 1 and summary.done == 3
    ((name, reason),) = summary.without
    assert name == "c.mha" and "does not exist" in reason


def test_a_system_that_starts_no_process(folder, tmp_path, monkeypatch):
    """As one whose memory or number of processes is used up; the same command does the rest later."""
    start, refused = subprocess.Popen, [True, False]

    def popen(*given, **more):
        if refused.pop(0) if refused else False:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return start(*given, **more)

    monkeypatch.setattr("superres3d.batch.hand.subprocess.Popen", popen)
    summary = Batch(folder, tmp_path / "out", Choices("cubic"), Filters(), Settings(), Teller()).run()
    ((_, reason),) = summary.without
    assert summary.done == 3 and "could not be started (Resource temporarily unavailable)" in reason
    again = Batch(folder, tmp_path / "out", Choices("cubic"), Filters(), Settings(), Teller()).run()
    assert (again.done, again.kept, again.without) == (1, 3, [])


def test_half_of_the_files_broken(folder, tmp_path):
    for name in ("a.nii.gz", "c.mha"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    done = batch(folder, tmp_path / "out")
    assert done.returncode == 1 and "2 of 4 scans have their result" in done.stderr and done.stderr.count("Without result: ") == 2
    assert set(results(tmp_path / "out")) == {"b_cubic-x2.nrrd", "d_cubic-x2.nii"}


def test_other_weights_are_told_and_taken_on_demand(models, folder, tmp_path):
    options = ("--method", "two-stage-residual", "--axes", "in-plane", "--modality", "MR", "--preset", "fast", "--suffix", "a")
    assert batch(folder, tmp_path / "out", *options).returncode == 0
    before = times(tmp_path / "out")
    save_model(random_network("edsr", (2, 2), seed=7), "two-stage-residual-mr-plane-x2", models, {"network": slice_network("edsr", (2, 2))})
    kept = batch(folder, tmp_path / "out", *options)
    assert kept.returncode == 0 and "made by other weights of two-stage-residual-mr-plane-x2; --retry" in kept.stderr and times(tmp_path / "out") == before
    anew = batch(folder, tmp_path / "out", *options, "--retry")
    assert anew.returncode == 0 and times(tmp_path / "out") != before
    assert "other weights" not in batch(folder, tmp_path / "out", *options).stderr


def test_workers_share_memory():
    """The sum never exceeds the whole, but for one that needs more and is alone."""
    budget, at_once, most, lock = Budget(10), [], [], threading.Lock()

    def work(count: int) -> None:
        with budget.part(count):
            with lock:
                at_once.append(count)
                most.append((sum(at_once), len(at_once)))
            time.sleep(0.01)
            with lock:
                at_once.remove(count)

    threads = [threading.Thread(target=work, args=(count,)) for count in (4, 4, 4, 25, 1, 6, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(total <= 10 or count == 1 for total, count in most) and max(count for _, count in most) >= 2


def test_two_workers_give_the_same(folder, tmp_path):
    assert batch(folder, tmp_path / "one").returncode == 0
    assert batch(folder, tmp_path / "two", "--workers", "2").returncode == 0
    for name in results(tmp_path / "one"):
        one, two = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / place / name))) for place in ("one", "two"))
        np.testing.assert_array_equal(one, two)
