"""Whole runs with the real worker process and a real scene: results, failures, nothing left behind."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
import slicer  # noqa: E402
import slicer.util  # noqa: E402
from superres3d.errors import DeviceError, InputError, ModelError, ResourceError  # noqa: E402
from superres3d.upscaling import upscale  # noqa: E402
from SuperResolution3DLib.checks import volume_facts  # noqa: E402
from SuperResolution3DLib.estimate import estimate  # noqa: E402
from SuperResolution3DLib.job import Job, Outputs  # noqa: E402
from SuperResolution3DLib.nodes import volume_from_node  # noqa: E402
from SuperResolution3DLib.request import Request, fitting_methods  # noqa: E402
from SuperResolution3DLib.run import run_and_wait  # noqa: E402
from SuperResolution3DLib.worker import BlockingRunner, Done, EventParser, Failed, Progress, Workspace, command, kill_tree, outcome  # noqa: E402

CUBIC = Request(scale=2, axes="through-plane", method="cubic", modality="CT")


def quiet(progress):
    pass


def run(scene, volume, request=CUBIC, outputs=Outputs(), runner=None, tmp_path=None, on_progress=quiet):
    return run_and_wait(Job(scene, volume, request, outputs, tmp_path), on_progress, runner or BlockingRunner())


def test_result_is_the_packages_own_and_nothing_is_left_behind(scene, make_volume, tmp_path):
    volume = make_volume()
    told = []
    finished = run(scene, volume, tmp_path=tmp_path, on_progress=told.append)
    expected = upscale(volume_from_node(volume), 2, axes="through-plane", method="cubic", modality="CT").volume
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(finished.result), expected.voxels)
    assert finished.result.GetName() == "CT chest Cubic x2 through-plane"
    assert finished.comparison.GetName() == "CT chest Lanczos x2 through-plane"
    assert finished.result.GetAttribute("SuperResolution3D.Method") == "cubic"
    assert finished.comparison.GetAttribute("SuperResolution3D.Method") == "lanczos"
    assert finished.result.GetAttribute("SuperResolution3D.Factors") == "1 1 2"
    assert finished.result.GetAttribute("SuperResolution3D.Software").startswith("SuperResolution3D ")
    assert finished.result.GetAttribute("SuperResolution3D.Source") == "CT chest"
    assert told and told[-1].share == 1.0
    assert list(tmp_path.iterdir()) == []


def test_input_under_a_transform(scene, make_volume):
    volume = make_volume()
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    matrix = np.eye(4)
    matrix[:3, 3] = 5, -6, 7
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    result = run(scene, volume).result
    before, after = [0.0] * 6, [0.0] * 6
    volume.GetRASBounds(before)  # in world coordinates
    result.GetRASBounds(after)
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_double_precision_becomes_float32_and_that_is_told(scene, make_volume):
    finished = run(scene, make_volume(dtype="float64"))
    assert slicer.util.arrayFromVolume(finished.result).dtype == np.float32
    assert any("float64 to float32" in warning for warning in finished.warnings)


def test_existing_outputs_are_updated_in_place(scene, make_volume):
    volume, output, comparison = make_volume(), make_volume("Mine"), make_volume("Mine too")
    finished = run(scene, volume, outputs=Outputs(output, comparison))
    assert finished.result is output and output.GetName() == "Mine"
    assert finished.comparison is comparison
    assert slicer.util.arrayFromVolume(output).shape == (12, 9, 8)


def test_lanczos_is_not_compared_with_itself(scene, make_volume):
    finished = run(scene, make_volume(), Request(method="lanczos", modality="CT"))
    assert finished.comparison is None and finished.result.GetName() == "CT chest Lanczos x2"


class KilledRunner(BlockingRunner):
    """Kills the worker as soon as it says anything, as a user or the system's memory killer would."""

    def __call__(self, arguments, workspace, on_progress):
        self.arguments = arguments

        def kill(progress):
            import psutil

            for child in psutil.Process().children():
                kill_tree(child.pid)

        return super().__call__(arguments, workspace, kill)


def test_killed_worker_is_one_message_and_the_scene_stays(scene, make_volume, snapshot, tmp_path):
    # Large enough that the worker is still at work when its first words arrive.
    volume = make_volume(voxels=np.random.default_rng(1).integers(0, 99, (60, 220, 220)).astype("int16"))
    before = snapshot()
    with pytest.raises(ResourceError, match="ended from outside or crashed"):
        run(scene, volume, Request(scale=2, method="lanczos", modality="CT"), runner=KilledRunner(), tmp_path=tmp_path)
    assert snapshot() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is a Linux program")
def test_full_disk_is_one_message_and_the_scene_stays(scene, make_volume, snapshot, tmp_path):
    class NoRoom(BlockingRunner):
        def __call__(self, arguments, workspace, on_progress):
            return super().__call__(["prlimit", "--fsize=2000", *arguments], workspace, on_progress)

    volume = make_volume(shape=(20, 20, 20))
    before = snapshot()
    with pytest.raises(ResourceError, match="could not be written") as caught:
        run(scene, volume, runner=NoRoom(), tmp_path=tmp_path)
    assert "\n" not in str(caught.value)
    assert snapshot() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("gone", ["input", "output"])
def test_node_removed_during_the_run(scene, make_volume, snapshot, tmp_path, gone):
    volume, output = make_volume(), make_volume("Mine")
    job = Job(scene, volume, CUBIC, Outputs(output), tmp_path)
    scene.RemoveNode(volume if gone == "input" else output)
    before = snapshot()
    with pytest.raises(InputError, match="was removed from the scene during the run"):
        run_and_wait(job, quiet)
    assert snapshot() == before
    assert list(tmp_path.iterdir()) == []


def test_interpolation_works_without_an_engine_and_a_network_says_what_is_missing(scene, make_volume, monkeypatch, tmp_path, fake_model):
    for name in ("openvino", "torch"):
        broken = tmp_path / "broken" / name
        broken.mkdir(parents=True)
        (broken / "__init__.py").write_text(f"raise ImportError('half-installed', name='{name}')")

    class BrokenEngines(BlockingRunner):
        """The worker's path starts with the extension's own folder, so the broken packages must lie in the folder it starts in."""

        def __call__(self, arguments, workspace, on_progress):
            program, _m, module, *rest = arguments
            code = f"import sys; sys.path.insert(0, {str(tmp_path / 'broken')!r}); sys.argv[0] = 'superres3d'; from {module} import main; main()"
            return super().__call__([program, "-c", code, *rest], workspace, on_progress)

    volume = make_volume()
    assert run(scene, volume, runner=BrokenEngines()).report["method"] == "cubic"
    fake_model("two-stage-residual-mr-plane-x2")
    with pytest.raises(DeviceError, match="No engine for the networks can be loaded"):
        run(scene, volume, Request(axes="in-plane", modality="MR"), runner=BrokenEngines())


def test_missing_and_damaged_models(scene, make_volume, fake_model, snapshot, monkeypatch, tmp_path):
    volume = make_volume()
    fake_model("two-stage-residual-mr-plane-x2")
    before = snapshot()
    with pytest.raises(ModelError, match="damaged or swapped"):
        run(scene, volume, Request(axes="in-plane", modality="MR", method="two-stage-residual"))
    assert snapshot() == before
    (tmp_path / "models" / "two-stage-residual-mr-plane-x2" / "card.json").write_text("{")
    with pytest.raises(ModelError, match="card of the model"):
        estimate(volume_facts(volume), Request(axes="in-plane", modality="MR", method="two-stage-residual"))


def test_estimate_tells_sizes_and_refuses_what_does_not_fit(make_volume):
    facts = volume_facts(make_volume(shape=(10, 20, 30)))
    told = estimate(facts, Request(scale=4, axes="through-plane", method="cubic", modality="CT"))
    assert told.shape == (30, 20, 40)
    assert told.result_bytes == 30 * 20 * 40 * 2
    assert told.disk_bytes == 2 * told.result_bytes + 30 * 20 * 10 * 2
    assert "30 \u00d7 20 \u00d7 40 voxels" in told.text()
    from dataclasses import replace

    with pytest.raises(ResourceError, match="memory"):
        estimate(replace(facts, shape=(20000, 20000, 20000)), Request(scale=4, method="cubic", modality="CT"))


def test_output_equal_to_input_or_to_the_comparison_is_refused(scene, make_volume, snapshot, tmp_path):
    volume, other = make_volume(), make_volume("Other")
    before = snapshot()
    with pytest.raises(InputError, match="is the input volume itself"):
        Job(scene, volume, CUBIC, Outputs(volume), tmp_path)
    with pytest.raises(InputError, match="are the same"):
        Job(scene, volume, CUBIC, Outputs(other, other), tmp_path)
    assert snapshot() == before
    assert list(tmp_path.iterdir()) == []


def test_impossible_choices_are_refused():
    with pytest.raises(InputError, match="does not exist"):
        Request(method="magic")
    with pytest.raises(InputError, match="factor 3 cannot be used"):
        Request(method="cubic", scale=3)
    with pytest.raises(InputError, match="modality 'PT' does not exist"):
        Request(modality="PT")
    assert {m.name for m in fitting_methods("CT", "all", 2)} >= {"lanczos", "cubic", "two-stage-residual"}


# ---------------------------------------------------------------------- the worker's words


def test_events_arrive_whole_whatever_the_pieces():
    text = b'{"event": "progress", "stage": "plane", "share": 0.5, "seconds_left": 3}\nnot json\n{"event": "done", "output": "x", "report": {"a": 1}}\n'
    for size in (1, 7, len(text)):
        parser = EventParser()
        events = [event for start in range(0, len(text), size) for event in parser.feed(text[start : start + size])]
        assert events == [Progress("plane", 0.5, 3), Done({"a": 1})]
        assert parser.log == ["not json"]


def test_outcomes_name_the_cause():
    with pytest.raises(ModelError, match="gone"):
        outcome(next(EventParser().feed(b'{"event": "error", "kind": "ModelError", "message": "gone"}\n')), 3, False, "")
    with pytest.raises(DeviceError, match="typer is missing"):
        outcome(None, 1, False, "Traceback\nModuleNotFoundError: No module named 'typer'\n")
    with pytest.raises(ResourceError, match="code 9"):
        outcome(None, 9, True, "")
    with pytest.raises(Exception, match="see the log"):
        outcome(None, 1, False, "Traceback: a defect")
    assert isinstance(Failed(InputError("x")).error, InputError)


def test_interpreter_that_cannot_be_started(scene, make_volume, tmp_path):
    job = Job(scene, make_volume(), CUBIC, Outputs(), tmp_path)
    with pytest.raises(DeviceError, match="cannot be started"):
        BlockingRunner()(command(CUBIC, job.workspace, str(tmp_path / "nowhere")), job.workspace, quiet)
    job.close()


@pytest.mark.skipif(os.name == "nt", reason="uses signals")
def test_worker_ends_with_its_parent(scene, make_volume, tmp_path):
    """Slicer crashes: the worker sees the end of its input and stops."""
    import psutil

    volume = make_volume(voxels=np.random.default_rng(1).integers(0, 99, (60, 220, 220)).astype("int16"))
    job = Job(scene, volume, Request(scale=2, method="lanczos", modality="CT"), Outputs(), tmp_path)
    job.handing_over.wait()
    pids = tmp_path / "pid"
    code = (
        "import subprocess, sys; from SuperResolution3DLib.worker import environment; import os;"
        f"p = subprocess.Popen({command(job.request, job.workspace)!r}, stdin=subprocess.PIPE, env={{**os.environ, **environment()}});"
        f"open({str(pids)!r}, 'w').write(str(p.pid)); p.wait()"
    )
    logic = Path(__file__).resolve().parents[2] / "SuperResolution3D" / "Logic"
    stub = tmp_path / "stub" / "slicer"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    (stub / "i18n.py").write_text("tr = str")
    import subprocess

    parent = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": f"{stub.parent}{os.pathsep}{logic}"})
    until = time.monotonic() + 60
    while not (pids.exists() and pids.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    worker = psutil.Process(int(pids.read_text()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _gone, alive = psutil.wait_procs([worker], timeout=30)
    assert not alive
    job.close()


def test_workspace_in_a_missing_folder(tmp_path):
    with pytest.raises(ResourceError, match="No temporary folder"):
        Workspace(tmp_path / "missing")


def test_no_room_for_the_input_is_told_of_the_volume(scene, make_volume, tmp_path, monkeypatch):
    """Not of its temporary file; and no folder is left."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("SuperResolution3DLib.handing_over._write_all", full)
    with pytest.raises(ResourceError, match=r'^"Chest" could not be written: the disk is full') as told:
        run_and_wait(Job(scene, make_volume(name="Chest"), CUBIC, Outputs(), tmp_path), quiet)
    assert str(tmp_path) not in str(told.value) and list(tmp_path.iterdir()) == []
