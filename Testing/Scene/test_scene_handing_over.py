"""Voxels out of the scene to the worker: right on the disk, beside the window, and ended at any time."""

import time

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from superres3d import Volume
from superres3d.errors import Cancelled, InputError, ResourceError
from SuperResolution3DLib import handing_over
from SuperResolution3DLib.handing_over import HandingOver
from SuperResolution3DLib.job import Job
from SuperResolution3DLib.nodes import volume_from_node
from SuperResolution3DLib.request import Request
from SuperResolution3DLib.run import PanelRun

CUBIC = Request(scale=2, method="cubic", modality="CT", compare=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_voxels_and_place_are_read_by_others(make_volume, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(handing_over, "PIECE_BYTES", 200)  # several pieces
    voxels = (np.random.default_rng(3).normal(50, 20, (7, 9, 8))).astype(dtype)
    volume = volume_from_node(make_volume(voxels=voxels))
    HandingOver((volume, tmp_path / "a.nrrd")).wait()
    stored, header = nrrd.read(str(tmp_path / "a.nrrd"), index_order="C")
    assert stored.dtype == dtype and np.array_equal(stored, voxels)
    assert header["space"] == "left-posterior-superior"
    image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(image), voxels)
    assert np.allclose(image.GetSpacing(), volume.spacing, atol=1e-12) and np.allclose(image.GetOrigin(), volume.origin, atol=1e-12)
    assert np.allclose(np.reshape(image.GetDirection(), (3, 3)), volume.direction, atol=1e-12)


def test_voxels_that_do_not_lie_one_behind_the_other(tmp_path):
    voxels = np.arange(4 * 5 * 6, dtype="int16").reshape(6, 5, 4).transpose()
    HandingOver((Volume(voxels), tmp_path / "a.nrrd")).wait()
    assert np.array_equal(nrrd.read(str(tmp_path / "a.nrrd"), index_order="C")[0], voxels)


def test_a_disk_that_takes_only_a_part_at_a_time():
    class Slow:
        def __init__(self):
            self.got = b""

        def write(self, rest):
            self.got += bytes(rest[:3])
            return len(rest[:3])

    slow = Slow()
    handing_over._write_all(slow, memoryview(b"0123456789"))
    assert slow.got == b"0123456789"


@pytest.fixture
def slow_disk(monkeypatch):
    """Every piece, which is a slice, takes a moment; returns how many were written."""
    written, write = [], handing_over._write_all
    monkeypatch.setattr(handing_over, "PIECE_BYTES", 1)
    monkeypatch.setattr(handing_over, "_write_all", lambda file, rest: (time.sleep(0.05), written.append(1), write(file, rest)))
    return written


class Runner:
    """Notes what is asked of it."""

    def __init__(self, on_progress, on_success, on_failure):
        self.said = []

    def start(self, arguments, workspace):
        self.said.append("started")

    def cancel(self):
        self.said.append("cancelled")

    def abort(self):
        self.said.append("aborted")


@pytest.fixture
def begun(scene, make_volume, slow_disk, tmp_path):
    """A run whose input is being written; returns (run, node, steps that wait, what was told)."""
    node = make_volume("Chest", shape=(20, 9, 8))
    steps, told = [], []
    run = PanelRun(Job(scene, node, CUBIC, temporary_folder=str(tmp_path)), Runner, told.append, told.append, lambda error, log: told.append(error), steps.append)
    run.start()
    yield run, node, steps, told
    run.abort()
    assert list(tmp_path.iterdir()) == []


def work_off(steps):
    turns = 0
    while steps:
        steps.pop(0)()
        turns += 1
    return turns


def test_the_window_has_its_turns_before_the_worker_starts(begun, slow_disk):
    run, _node, steps, told = begun
    assert run._runner.said == [] and steps
    assert work_off(steps) >= 10
    assert run._runner.said == ["started"] and told == [] and len(slow_disk) == 20


def test_cancel_while_it_is_written(begun, slow_disk):
    run, _node, steps, told = begun
    run.cancel()
    work_off(steps)
    assert run._runner.said == [] and len(told) == 1 and isinstance(told[0], Cancelled) and len(slow_disk) < 5


def test_closing_while_it_is_written(begun, slow_disk, tmp_path):
    run, _node, steps, told = begun
    run.abort()
    assert list(tmp_path.iterdir()) == [] and len(slow_disk) < 5
    work_off(steps)
    assert run._runner.said == [] and told == []


def test_voxels_that_change_meanwhile_are_not_used(begun):
    run, node, steps, told = begun
    assert told == []
    slicer.util.arrayFromVolume(node)[...] = 5
    slicer.util.arrayFromVolumeModified(node)
    work_off(steps)
    assert run._runner.said == [] and [str(error) for error in told] == ['"Chest" was changed while the run began; apply again.']
    assert isinstance(told[0], InputError)


def test_the_disk_fills_meanwhile(begun, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    run, _node, steps, told = begun
    monkeypatch.setattr(handing_over, "_write_all", full)
    work_off(steps)
    assert run._runner.said == [] and isinstance(told[0], ResourceError) and str(told[0]).startswith('"Chest" could not be written: the disk is full')
