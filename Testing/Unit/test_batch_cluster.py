"""``superres3d batch`` on a Dask cluster of real processes, some of which are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from superres3d import read_volume, upscale
from superres3d.batch.task import FAILED, Task
from superres3d.batch.work import perform

from .batch_scans import batch, images, results, table
from .test_batch_survives import begun, leftovers, times, wait_for

distributed = pytest.importorskip("distributed", reason="needs the PyPI package distributed")
SECONDS = 120


class Cluster:
    """A scheduler and its workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.workers = folder, []
        self.scheduler = self._start("scheduler", "--port", "0", "--dashboard-address", ":0", "--scheduler-file", str(folder / "scheduler.json"))
        told = folder / "scheduler.json"
        wait_for(lambda: told.exists() and told.read_text().strip().endswith("}"))  # it is there before it is whole
        self.address = json.loads((folder / "scheduler.json").read_text())["address"]

    def _start(self, what: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

    def add_worker(self, *arguments: str) -> subprocess.Popen:
        """Without a nanny, so that a killed one stays away."""
        self.workers.append(self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder), *arguments))
        return self.workers[-1]

    def stop(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path) -> Iterator[Cluster]:
    (tmp_path / "dask").mkdir()
    running = Cluster(tmp_path / "dask")
    try:
        yield running
    finally:
        running.stop()


def check_results(source: Path, out: Path, count: int) -> None:
    """Each scan once, each right."""
    assert len(results(out)) == count and {row["state"] for row in table(out).values()} == {"done"} and not leftovers(out)
    for path in source.iterdir():
        expected = upscale(read_volume(path), 2, method="cubic").volume.voxels
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(out / f"{path.stem}_cubic-x2.nrrd"))), expected)


def test_only_workers_with_the_label_compute(cluster, tmp_path):
    source, out = images(tmp_path / "in", *(f"{number}.nrrd" for number in range(4))), tmp_path / "out"
    cluster.add_worker()
    able = cluster.add_worker("--resources", "GPU=1")
    process = begun(source, out, "--scheduler", cluster.address, "--resource", "GPU")
    wait_for(lambda: psutil.Process(able.pid).children())
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    check_results(source, out, 4)
    assert not psutil.Process(cluster.workers[0].pid).children()


def test_workers_killed_at_random_and_replaced(cluster, tmp_path):
    """Nothing is lost, and nothing is there twice."""
    source, out = images(tmp_path / "in", *(f"{number}.nrrd" for number in range(40))), tmp_path / "out"
    for _ in range(2):
        cluster.add_worker()
    process = begun(source, out, "--scheduler", cluster.address)
    draw = np.random.default_rng(0)
    wait_for(lambda: out.exists() and results(out))
    for number in range(4):
        cluster.add_worker()
        os.kill(cluster.workers[number].pid, signal.SIGKILL)
        time.sleep(float(draw.uniform(0.1, 0.6)))
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    check_results(source, out, 40)


def test_the_scheduler_killed_and_the_command_given_again(cluster, tmp_path):
    source, out = images(tmp_path / "in", *(f"{number}.nrrd" for number in range(60))), tmp_path / "out"
    cluster.add_worker()
    process = begun(source, out, "--scheduler", cluster.address)
    wait_for(lambda: out.exists() and results(out))
    cluster.stop()
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 5 and "The scheduler is gone" in said + _, said + _
    before = times(out)
    assert 0 < len(before) < 60
    done = batch(source, out)  # on this machine: the same batch
    assert done.returncode == 0, done.stderr
    check_results(source, out, 60)
    assert before.items() <= times(out).items()


def test_no_scheduler(tmp_path):
    done = batch(images(tmp_path / "in", "a.nrrd"), tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2 and "No scheduler answers at tcp://127.0.0.1:1" in done.stderr


def test_a_machine_that_does_not_see_the_output_folder(tmp_path):
    """Nothing is written beside it."""
    path = images(tmp_path / "in", "a.nrrd") / "a.nrrd"
    elsewhere = tmp_path / "not" / "here"
    task = Task(
        "key", "a", "file", [str(path)], "", "", {"method": "cubic"}, "cpu", 0, False, str(elsewhere / "a.nrrd"), False, str(elsewhere / "batch/a.json"), str(elsewhere / "batch/a.png"), "",
        str(elsewhere / "batch" / "work" / "x"),
    )  # fmt: skip
    outcome = perform(task)
    assert outcome.state == FAILED and "does not see the folder" in outcome.messages[0] and not elsewhere.exists()


def test_jobs_of_slurm_ask_for_what_was_said(tmp_path):
    pytest.importorskip("dask_jobqueue", reason="needs the PyPI package dask-jobqueue")
    from superres3d.batch.cluster import job_script

    script = job_script("short", 12.0, tmp_path / "jobs", {"GPU": 1.0})
    assert f"{tmp_path}/jobs" in script and "#SBATCH -p short" in script and "#SBATCH --mem=12G" in script and "--nthreads 1" in script and "--resources GPU=1" in script


@pytest.mark.parametrize(
    "options,told",
    [
        (("--scheduler", "tcp://a:1", "--slurm", "q"), "give one of them"),
        (("--resource", "GPU"), "--resource is a label of a cluster's workers"),
        (("--scheduler", "tcp://a:1", "--resource", "GPU=some"), "such as GPU=1"),
    ],
)
def test_options_that_do_not_go_together(options, told, tmp_path):
    done = batch(images(tmp_path / "in", "a.nrrd"), tmp_path / "out", *options)
    assert done.returncode == 2 and told in done.stderr and not (tmp_path / "out").exists()
