"""``superres3d batch --watch`` and ``--after``: scans that arrive while it runs, and what is done with their results."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .batch_scans import batch, images, results, series, table
from .test_batch_survives import begun, leftovers, times, wait_for


def stopped(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=60)[0]


@pytest.fixture
def sending(tmp_path) -> str:
    """A command that copies what it is given, and what it leaves."""
    (tmp_path / "sent").mkdir()
    script = tmp_path / "send it.py"
    script.write_text("import pathlib, shutil, sys\nsource = pathlib.Path(sys.argv[2])\n(shutil.copytree if source.is_dir() else shutil.copy)(source, pathlib.Path(sys.argv[1]) / source.name)\n")
    return f"'{sys.executable}' '{script}' '{tmp_path / 'sent'}'"


def test_scans_that_arrive_are_taken_once_they_are_whole(tmp_path, sending):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    process = begun(source, out, "--watch", "1", "--after", sending)
    try:
        wait_for((out / "batch").is_dir)
        whole = series(tmp_path / "series", "P1", 1)
        shutil.copytree(whole, source / "part", ignore=lambda folder, names: [name for name in names if name > "1-3z"])
        os.utime(source / "part" / "1-0.dcm", (time.time() + 3600,) * 2)  # still arriving
        images(source, "a.nrrd")
        (source / "broken.nrrd").write_text("no scan")
        wait_for(lambda: any("a_" in name for name in results(out)))
        assert not any("P1" in name for name in results(out))
        for name in ("1-4.dcm", "1-5.dcm", "1-0.dcm"):
            shutil.copy(whole / name, source / "part" / name)
        wait_for(lambda: sum("P1" in name for name in results(out)) == 12)
        wait_for(lambda: len(os.listdir(tmp_path / "sent")) == 2)
    finally:
        said = stopped(process)
    assert sum('"name": "P1 / ' in line for line in said.splitlines()) <= 1  # never in part
    assert process.returncode == 1 and said.count('"broken.nrrd"') == 2  # failed once, not again and again: the scan, and the summary
    assert {row["state"] for name, row in table(out).items() if "broken" not in name} == {"done"} and not leftovers(out)


def test_results_are_handed_on_once(tmp_path, sending):
    source, out = images(tmp_path / "in", "a.nrrd", "b c.nrrd"), tmp_path / "out"
    assert batch(source, out, "--after", sending).returncode == 0
    assert sorted(os.listdir(tmp_path / "sent")) == ["a_cubic-x2.nrrd", "b c_cubic-x2.nrrd"]
    sent = times(tmp_path / "sent")
    assert batch(source, out, "--after", sending).returncode == 0 and times(tmp_path / "sent") == sent


@pytest.mark.parametrize("command,told", [("false", "ended with 1"), ("/no/such/program", "could not be run"), ("sh -c 'echo too late >&2; exit 3'", "ended with 3 and said: too late")])
def test_a_command_that_fails_is_told_and_tried_again(command, told, tmp_path, sending):
    source, out = images(tmp_path / "in", "a.nrrd"), tmp_path / "out"
    done = batch(source, out, "--after", command)
    assert done.returncode == 1 and told in done.stderr and "1 of 1 scan has its result; 1 not handed on" in done.stderr
    before = times(out)
    assert batch(source, out, "--after", sending).returncode == 0
    assert times(out) == before and os.listdir(tmp_path / "sent") == ["a_cubic-x2.nrrd"]


@pytest.mark.parametrize("command", ["'open", "  "])
def test_what_is_no_command(command, tmp_path):
    done = batch(images(tmp_path / "in", "a.nrrd"), tmp_path / "out", "--after", command)
    assert done.returncode == 2 and "--after" in done.stderr and not Path(tmp_path / "out").exists()
