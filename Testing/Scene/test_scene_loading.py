"""Results come into the scene in pieces, once, and are kept where the scene cannot take them."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
import SimpleITK  # noqa: E402
import slicer  # noqa: E402
import slicer.util  # noqa: E402
from superres3d import read_volume  # noqa: E402
from superres3d.errors import Cancelled, InputError, SuperResolutionError  # noqa: E402
from superres3d.scan.nrrd import mapped_nrrd  # noqa: E402
from SuperResolution3DLib import job as job_module  # noqa: E402
from SuperResolution3DLib import loading  # noqa: E402
from SuperResolution3DLib.job import Job  # noqa: E402
from SuperResolution3DLib.request import Request  # noqa: E402
from SuperResolution3DLib.run import PanelRun  # noqa: E402
from SuperResolution3DLib.worker import BlockingRunner  # noqa: E402
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

CUBIC = Request(scale=2, axes="all", method="cubic", modality="MR")


def drained(generator):
    """All that a generator yields, and what it returns."""
    shares = []
    while True:
        try:
            shares.append(next(generator))
        except StopIteration as end:
            return shares, end.value


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "uint16", "int32"])
def test_pieces_are_the_file(tmp_path, dtype, monkeypatch):
    voxels = np.random.default_rng(3).integers(0, 200, (7, 5, 4)).astype(dtype)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(voxels), str(tmp_path / "a.nrrd"))
    monkeypatch.setattr(loading, "PIECE_BYTES", 3 * voxels[0].nbytes)
    shares, image = drained(loading.image_in_pieces(tmp_path / "a.nrrd"))
    assert shares == pytest.approx([3 / 7, 6 / 7, 1])
    np.testing.assert_array_equal(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]), voxels)


def test_big_endian_and_what_is_no_plain_file(tmp_path):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 2\nendian: big\nencoding: raw\nspace dimension: 3\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n\n"
    (tmp_path / "b.nrrd").write_bytes(head.encode() + np.arange(12, dtype=">i2").tobytes())
    np.testing.assert_array_equal(mapped_nrrd(tmp_path / "b.nrrd"), read_volume(tmp_path / "b.nrrd").voxels)
    _shares, image = drained(loading.image_in_pieces(tmp_path / "b.nrrd"))
    np.testing.assert_array_equal(vtk_to_numpy(image.GetPointData().GetScalars()), np.arange(12))
    (tmp_path / "c.nrrd").write_bytes(head.encode() + b"12345")
    (tmp_path / "d.nrrd").write_bytes(head.replace("raw", "gzip").encode() + b"12345")
    for name in ("c", "d"):
        with pytest.raises(InputError):
            mapped_nrrd(tmp_path / f"{name}.nrrd")


@pytest.fixture
def panel_run(scene, make_volume, tmp_path, monkeypatch):
    """A run whose worker has already finished, to be loaded step by step; returns (run, steps, said)."""
    monkeypatch.setattr(loading, "PIECE_BYTES", 1)
    job = Job(scene, make_volume("MR head"), CUBIC, temporary_folder=str(tmp_path))
    job.handing_over.wait()
    report = BlockingRunner()(job.command(), job.workspace, lambda progress: None)
    steps, said = [], []

    class Runner:
        def __init__(self, on_progress, on_success, on_failure):
            self.on_success = on_success

        def cancel(self):
            said.append("worker cancelled")

        def abort(self):
            pass

    run = PanelRun(job, Runner, lambda p: said.append((p.stage, p.share)), said.append, lambda error, log: said.append(error), steps.append)
    run._runner.on_success(report)
    yield run, steps, said
    run.abort()


def test_the_window_has_its_turn_between_the_pieces(panel_run, scene, tmp_path):
    _run, steps, said = panel_run
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)) == 1
    count = 0
    while steps:
        steps.pop()()
        count += 1
    assert count >= 12 + 12 + 2 + 1  # slices of the result and of Lanczos, two nodes, and the end, which may have to wait for the files to go
    assert [entry for entry in said[:-1]] == [("loading", 0.0)] + [("loading", pytest.approx(min(n, 24) / 24)) for n in range(1, 27)]
    assert said[-1].result.GetImageData().GetDimensions() == (16, 18, 12)
    assert said[-1].source is slicer.util.getNode("MR head")
    assert not list(tmp_path.iterdir())


def test_cancel_while_loading(panel_run, scene, tmp_path):
    run, steps, said = panel_run
    steps.pop()()
    run.cancel()
    steps.pop()()
    assert isinstance(said[-1], Cancelled) and "worker cancelled" not in said and not steps
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", ["cancel", "abort", "no source"])
def test_an_end_between_two_nodes_leaves_none_of_them(panel_run, scene, tmp_path, end):
    run, steps, said = panel_run
    while len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)) < 2:
        steps.pop()()
    said.clear()
    if end == "no source":
        scene.RemoveNode(slicer.util.getNode("MR head"))
    else:
        getattr(run, end)()
    steps.pop()()
    assert [type(entry) for entry in said] == {"cancel": [Cancelled], "abort": [], "no source": [InputError]}[end]
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)) == (end != "no source") and not list(tmp_path.iterdir())


def test_closing_while_loading(panel_run, tmp_path):
    run, steps, said = panel_run
    steps.pop()()
    run.abort()
    said.clear()
    steps.pop()()
    assert said == [] and not steps and not list(tmp_path.iterdir())


@pytest.mark.parametrize("trouble", [MemoryError(), RuntimeError("no")])
def test_what_was_computed_is_kept_where_the_scene_cannot_take_it(panel_run, monkeypatch, tmp_path, trouble):
    _run, steps, said = panel_run

    def fail(*_):
        raise trouble

    monkeypatch.setattr(job_module, "put_into_scene", fail)
    while steps:
        steps.pop()()
    assert isinstance(said[-1], SuperResolutionError)
    kept = Path(str(said[-1]).split("kept in ")[1].split(": load")[0])
    assert kept.parent == tmp_path and sorted(path.name for path in kept.iterdir()) == ["lanczos.nrrd", "result.nrrd"]
    assert read_volume(kept / "result.nrrd").voxels.shape == (12, 18, 16)
    assert [path for path in tmp_path.iterdir()] == [kept]


def test_nothing_is_kept_of_a_run_whose_input_is_gone(panel_run, scene, tmp_path):
    _run, steps, said = panel_run
    scene.RemoveNode(slicer.util.getNode("MR head"))
    while steps:
        steps.pop()()
    assert isinstance(said[-1], InputError) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("aborted", [False, True])
def test_the_window_has_its_turns_while_large_files_are_removed(panel_run, monkeypatch, tmp_path, aborted):
    """The end is told when they are gone, and of an aborted run not at all."""
    run, steps, said = panel_run
    close = run._job.close
    monkeypatch.setattr(run._job, "close", lambda: (time.sleep(0.3), close()))
    turns = 0
    while steps:
        steps.pop()()
        if said and not isinstance(said[-1], tuple):
            break
        if ("loading", 1.0) in said:
            turns += 1
        if aborted and turns == 3:
            run.abort()
            said.clear()
    assert 3 <= turns < 30 and not list(tmp_path.iterdir())
    assert aborted != (bool(said) and hasattr(said[-1], "result"))
