"""A large scan in slabs, by several workers: the result of the whole, whatever happens to a worker."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import SimpleITK as sitk
from superres3d.batch import slabs
from superres3d.batch.choices import Choices
from superres3d.batch.finding import find_scans
from superres3d.batch.planning import Filters, Planned
from superres3d.batch.run import Batch, Settings
from superres3d.batch.slabs import Cut, CuttingCrew, cuts_of
from superres3d.batch.task import CANCELLED, DONE, FAILED, Outcome, Task
from superres3d.batch.teller import Teller
from superres3d.batch.work import perform

from .batch_scans import results
from .conftest import smooth_noise, write

GIB = 1 << 30
WAYS = [
    {"method": "two-stage-told", "scale": 2},
    {"method": "two-stage-residual", "scale": (1, 4), "slice_axis": "j"},
    {"method": "two-stage-residual", "spacing": 0.9, "noise": "keep"},
    {"method": "two-stage-residual", "scale": 2, "consistency": 2},
]


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """A folder with one scan that counts as large; it has values outside the networks' range at one end alone."""
    monkeypatch.setattr(slabs, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(slabs, "_MOST_REPEATED", 9.0)  # of so small a scan the surroundings are most
    voxels = np.rint(smooth_noise((10, 40, 46)) * 900)
    voxels[2:4, 3:6, 4:7] = 9000
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "large.nrrd", voxels.astype(np.int16), (1.0, 1.0, 3.0))
    return tmp_path / "in"


def run(source: Path, out: Path, workers: int, method: str = "two-stage-residual", **asked) -> tuple[np.ndarray, dict]:
    """The result (k, j, i) and its report."""
    asked = {"preset": "fast", "ensemble": "none", "precision": "single", "modality": "MR", **asked}
    summary = Batch(source, out, Choices(method, asked), Filters(), Settings(workers), Teller()).run()
    assert summary.exit_code == 0, summary
    [name] = results(out)
    assert not list((out / "batch" / "work").iterdir())
    return sitk.GetArrayFromImage(sitk.ReadImage(str(out / name))), json.loads((out / "batch" / "scans" / f"{name}.json").read_text())


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_slabs_are_the_whole(way, large, tmp_path):
    """Rounded values may differ where a float lies in the middle; what is told of the result is the same."""
    whole, told = run(large, tmp_path / "whole", 1, **way)
    joined, of_slabs = run(large, tmp_path / "slabs", 2, **way)
    assert of_slabs["slabs"] == 2 and "slabs" not in told
    assert joined.shape == whole.shape and joined.dtype == whole.dtype
    differing = joined.astype(int) - whole
    assert np.abs(differing).max() <= 1 and np.count_nonzero(differing) <= 1e-4 * whole.size
    machine = {"blocks", "cpu_threads", "peak_memory_bytes", "result", "seconds", "batch", "slabs"}
    assert {name: value for name, value in of_slabs.items() if name not in machine} == {name: value for name, value in told.items() if name not in machine}
    assert of_slabs["seconds"].keys() == told["seconds"].keys() and of_slabs["batch"]["models"] == told["batch"]["models"]


def test_a_killed_worker_s_slab_is_done_again(large, tmp_path):
    whole, _ = run(large, tmp_path / "whole", 1)
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for child in psutil.Process().children():
                if "superres3d.batch.child" in " ".join(child.cmdline()):
                    time.sleep(0.3)
                    child.kill()
                    killed.append(child.pid)
                    break
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    joined, told = run(large, tmp_path / "slabs", 2)
    thread.join()
    assert killed and told["slabs"] == 2 and np.abs(joined.astype(int) - whole).max() <= 1


class _InTurn:
    """Computes in this process, the last that was given out first; what it is told to answer for a slab it answers."""

    def __init__(self, answers: dict[int, Outcome]) -> None:
        self.answers, self.given, self.done = answers, {}, []

    window = 4

    def submit(self, task: Task) -> str:
        self.given[task.ticket] = task
        return task.ticket

    def wait(self, running):
        ticket = list(running)[-1]
        task = self.given.pop(ticket)
        self.done.append(ticket)
        return [(ticket, self.answers.get(task.slab) or perform(task))]

    def stop(self) -> None:
        """Nothing runs."""

    close = stop


def task(source: Path, out: Path) -> Task:
    """For the scan, whole."""
    work = out / "batch" / "work"
    work.mkdir(parents=True)
    beside = [str(out / "batch" / name) for name in ("report.json", "picture.png")]
    refinement = {"method": "two-stage-residual", "preset": "fast", "ensemble": "none", "precision": "single", "modality": "MR"}
    return Task("key", "large", "file", [str(source / "large.nrrd")], "stamp", "MR", refinement, "cpu", 4 * GIB, False, str(out / "large.nrrd"), False, *beside, "", str(work / "one"))


CUT = {"key": Cut((((0, 10), (0, 11), (0, 46)), ((0, 10), (11, 25), (0, 46)), ((0, 10), (25, 40), (0, 46))), 2 * GIB)}


@pytest.mark.parametrize("number,state", [(0, FAILED), (2, CANCELLED)])
def test_a_slab_that_fails_is_the_scan_s_failure(number, state, large, tmp_path):
    """Told once, when no slab is at work any more; nothing is written."""
    given = task(large, tmp_path / "out")
    inner = _InTurn({number: Outcome(state, ["why"]), 1: Outcome(DONE)})
    crew = CuttingCrew(inner, CUT)
    ticket = crew.submit(given)
    assert crew.wait([ticket]) == [(ticket, Outcome(state, ["why"]))]
    assert len(inner.done) == 3 and not Path(given.result).exists() and not list(Path(given.work).parent.iterdir())


def test_a_slab_that_is_there_is_not_done_again(large, tmp_path, monkeypatch):
    """As when a worker was lost after its work; and a result that was there before is found by the first slab."""
    given = task(large, tmp_path / "out")
    crew = CuttingCrew(_InTurn({}), CUT)
    assert crew.wait([crew.submit(given)])[0][1].state == DONE
    again = CuttingCrew(_InTurn({}), CUT)
    monkeypatch.setattr("superres3d.upscaling.upscale", None)  # would be seen
    outcome = again.wait([again.submit(given)])[0][1]
    assert outcome.state == DONE and outcome.kept
    Path(given.result).unlink()
    whole = CuttingCrew(_InTurn({}), CUT)
    ticket = whole.submit(given)
    for slab in list(whole.crew.given.values()):
        parts = Path(slab.parts)
        parts.mkdir(exist_ok=True)
        (parts / f"{slab.slab}.npy").write_bytes(b"")
        assert perform(slab).state == DONE
    assert ticket == "key"


@pytest.mark.parametrize("changed", [0, 1, 3], ids=["the first slab saw another", "the second did", "whoever joins them does"])
def test_slabs_of_a_scan_that_changed_are_not_joined(changed, large, tmp_path):
    """Every process reads the file for itself: half of one scan and half of another would look like a scan."""
    given = task(large, tmp_path / "out")
    inner = _InTurn({})
    crew = CuttingCrew(inner, CUT)
    ticket, work = crew.submit(given), inner.wait

    def change_then_work(running):
        if len(inner.done) == (2 - changed if changed < 3 else 3):  # the last slab comes first
            image = sitk.ReadImage(given.files[0])
            sitk.WriteImage(image + 1, given.files[0])
        return work(running)

    inner.wait = change_then_work
    outcome = crew.wait([ticket])[0][1]
    assert outcome.state == FAILED and "The scan changed while it was computed" in outcome.messages[0]
    assert not Path(given.result).exists() and not list(Path(given.work).parent.iterdir())


def planned(source: Path, seconds: dict[str, float]) -> list[Planned]:
    """Scans of the folder with guessed times."""
    found = find_scans(source, source / "out", Filters(), lambda *_: None)
    return [Planned(scan, scan.name, scan.name, seconds=seconds[scan.name]) for scan in found.scans]


@pytest.mark.parametrize(
    "method,seconds,workers,memory,asked,cut",
    [
        ("two-stage-residual", {"a": 100, "b": 10, "c": 10}, 2, 4 * GIB, {}, {"a": 2}),
        ("two-stage-residual", {"a": 100, "b": 10, "c": 10}, 3, 4 * GIB, {}, {"a": 3}),
        ("two-stage-residual", {"a": 100, "b": 90, "c": 80}, 2, 4 * GIB, {}, {}),  # all workers are busy to the end
        ("two-stage-residual", {"a": 50, "b": 10, "c": 10}, 2, 4 * GIB, {}, {}),  # not worth it
        ("two-stage-residual", {"a": 100, "b": 10, "c": 10}, 1, 4 * GIB, {}, {}),
        ("two-stage-residual", {"a": 100, "b": 10, "c": 10}, 2, GIB // 2, {}, {}),  # too little memory for two at once
        ("two-stage-residual", {"a": 100, "b": 10, "c": 10}, 2, 4 * GIB, {"careful": True}, {}),  # which looks at the whole result
        ("lanczos", {"a": 100, "b": 10, "c": 10}, 2, 4 * GIB, {}, {}),
    ],
)
def test_what_is_cut(method, seconds, workers, memory, asked, cut, tmp_path, monkeypatch):
    monkeypatch.setattr(slabs, "_MOST_REPEATED", 9.0)
    for name in seconds:
        write(tmp_path / f"{name}.nrrd", np.zeros((8, 48, 40), np.int16), (1.0, 1.0, 3.0))
    items = planned(tmp_path, {f"{name}.nrrd": value for name, value in seconds.items()})
    found = cuts_of(items, Choices(method, asked), workers, memory)
    assert {name.removesuffix(".nrrd"): len(told.slabs) for name, told in found.items()} == cut
    for told in found.values():
        spans = sorted({slab[1] for slab in told.slabs})  # the longest axis is cut
        assert spans[0][0] == 0 and spans[-1][1] == 48 and all(one[1] == other[0] for one, other in zip(spans, spans[1:])) and told.memory <= memory


def test_on_a_cluster_of_which_a_worker_is_lost(large, tmp_path):
    """Its slab goes to another worker."""
    pytest.importorskip("distributed", reason="needs the PyPI package distributed")
    from superres3d.batch.cluster import connected

    from .test_batch_cluster import Cluster

    whole, _ = run(large, tmp_path / "whole", 1)
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask")
    try:
        doomed = cluster.add_worker()
        cluster.add_worker()
        crew = connected(cluster.address, "run", {}, lambda _: None)
        crew._client.wait_for_workers(2, timeout=60)  # type: ignore[no-untyped-call]
        timer = threading.Timer(1.5, doomed.kill)
        timer.start()
        batch = Batch(large, tmp_path / "out", Choices("two-stage-residual", {"preset": "fast", "ensemble": "none", "precision": "single", "modality": "MR"}), Filters(), Settings(crew=lambda _: crew), Teller())
        assert batch.run().exit_code == 0
        timer.join()
        [name] = results(tmp_path / "out")
        assert json.loads((tmp_path / "out" / "batch" / "scans" / f"{name}.json").read_text())["slabs"] == 2
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / name))), whole)
    finally:
        cluster.stop()
