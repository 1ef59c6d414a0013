"""Parts of one scan, one after the other: each is what a run of its own gives; the worker that stays takes the latest request and ends in time."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from superres3d import Volume, upscale, write_volume
from superres3d.errors import Cancelled, InputError
from superres3d.live import LiveScan

from .conftest import smooth_noise
from .test_detail import anatomy
from .test_measured_grid import filtered

REGIONS = (((3, 9), (4, 21), (7, 19)), ((2, 8), (10, 27), (5, 17)), ((0, 4), (0, 9), (20, 30)))


@pytest.fixture
def stored_finer() -> Volume:
    """Brought back to its measured grid before the networks."""
    voxels = np.rint(900 * np.abs(filtered(filtered(anatomy((20, 96, 96), 2), 1, 0.6), 2, 0.6))).astype(np.int16)
    return Volume(voxels, (0.9, 0.9, 3.0), modality="MR")


@pytest.mark.parametrize("way", [
    {"scale": 2, "preset": "fast"}, {"scale": 4, "axes": "in-plane", "preset": "fast", "noise": "reduce"}, {"spacing": 0.6, "method": "cubic"}, {"slice_spacing": 1, "preset": "fast"},
])  # fmt: skip
def test_each_part_is_that_of_a_run_of_its_own(way):
    """With the networks that are shipped; the second and the third part use what the first one measured."""
    scan = Volume((smooth_noise((14, 40, 42)) * 900).astype(np.float32), (0.8, 0.9, 3.0), (1.0, 2.0, 3.0), modality="MR")
    live = LiveScan(scan)
    for region in REGIONS:
        expected, found = upscale(scan, region=region, precision="single", **way), live.part(region, precision="single", **way)
        np.testing.assert_allclose(found.volume.voxels, expected.volume.voxels, atol=2e-3)
        assert found.volume.origin == expected.volume.origin and found.report["region"] == expected.report["region"]
        assert found.report["detail"] == expected.report["detail"]
    live.close()


def test_on_its_measured_grid(stored_finer):
    live, way = LiveScan(stored_finer), {"scale": (2, 1), "preset": "fast", "precision": "single"}
    first = live.part(REGIONS[0], **way)
    assert any(axis["brought_back"] for axis in first.report["detail"]["measured_grid"])
    for region in (((3, 9), (40, 61), (50, 71)), REGIONS[1]):
        expected = upscale(stored_finer, region=region, **way).volume.voxels.astype(int)
        assert np.abs(live.part(region, **way).volume.voxels - expected).max() <= 1
    whole = upscale(stored_finer, **way).volume.voxels[3:9, 8:42, 14:38].astype(int)
    assert np.abs(first.volume.voxels - whole).max() <= 1


def test_what_does_not_depend_on_the_part_is_done_once(monkeypatch):
    import superres3d.live as module

    counted = {"prepared_for": 0, "engine_of": 0, "intensity_scale": 0}
    for name in counted:
        def count(*given, made=getattr(module, name), name=name):
            counted[name] += 1
            return made(*given)

        monkeypatch.setattr(module, name, count)
    live = LiveScan(Volume(smooth_noise((14, 40, 42)) * 900, (0.8, 0.9, 3.0), modality="MR"))
    for region in REGIONS:
        live.part(region, scale=2, preset="fast")
    assert set(counted.values()) == {1}
    live.part(REGIONS[0], scale=2, preset="fast", noise="reduce")
    assert counted == {"prepared_for": 2, "engine_of": 1, "intensity_scale": 1}


def test_bad_regions_and_cancel(scan):
    live = LiveScan(scan)
    with pytest.raises(InputError, match="lies outside"):
        live.part("lps=500:600,0:1,0:1", scale=2, method="cubic")
    with pytest.raises(Cancelled):
        live.part(((0, 4), (0, 9), (2, 12)), scale=2, method="cubic", cancelled=lambda: True)


def test_a_network_that_computes_everything_has_none(volume_models):
    live = LiveScan(Volume((smooth_noise((12, 30, 28)) * 900 - 800).astype(np.float32), (0.8, 0.8, 3.0), modality="CT"))
    with pytest.raises(InputError, match="there is no preview of it; choose another method"):
        live.part(REGIONS[0], method="virtual-thin-slice")
    live = LiveScan(Volume((smooth_noise((12, 30, 28)) * 900).astype(np.float32), (0.8, 0.8, 3.0), modality="MR"))
    assert live.part(REGIONS[0], method="mdcsrn", ensemble="none").volume.voxels.shape == (6, 34, 24)


class Worker:
    """``superres3d live``, as the panel talks to it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-m", "superres3d.cli", "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)

    def ask(self, **request):
        self.process.stdin.write((json.dumps(request) + "\n").encode())
        self.process.stdin.flush()

    def hear(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def end(self) -> int:
        self.process.stdin.close()
        code = self.process.wait(10)
        self.process.stdout.close()
        return code


@pytest.fixture
def worker():
    made = Worker()
    limit = threading.Timer(120, made.process.kill)
    limit.start()
    yield made
    limit.cancel()
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    for stream in (made.process.stdin, made.process.stdout):
        stream.close()


CHOICES = {"scale": 2, "method": "cubic", "modality": "MR"}


def test_the_worker_stays_and_ends_with_its_input(worker, scan, tmp_path):
    write_volume(scan, tmp_path / "scan.nrrd")
    worker.ask(scan=str(tmp_path / "scan.nrrd"))
    assert worker.hear() == {"event": "ready"}
    for number, region in enumerate((((0, 4), (0, 9), (2, 12)), ((2, 8), (5, 9), (0, 6)))):
        worker.ask(number=number, region=region, choices=CHOICES, output=str(tmp_path / f"{number}.npy"))
        told = worker.hear()
        assert (told["event"], told["number"]) == ("part", number)
        np.testing.assert_array_equal(np.load(told["output"]), upscale(scan, region=region, **CHOICES).volume.voxels)
    assert worker.end() == 0


def test_the_worker_tells_errors_and_goes_on(worker, scan, tmp_path):
    worker.ask(number=1, region=((0, 4), (0, 9), (2, 12)), choices=CHOICES, output=str(tmp_path / "a.npy"))
    assert worker.hear()["kind"] == "InputError"
    worker.ask(scan=str(tmp_path / "none.nrrd"))
    told = worker.hear()
    assert told["event"] == "error" and told["number"] is None and "none.nrrd" in told["message"]
    write_volume(scan, tmp_path / "scan.nrrd")
    worker.ask(scan=str(tmp_path / "scan.nrrd"))
    assert worker.hear() == {"event": "ready"}
    worker.ask(number=2, region=((0, 40), (0, 9), (2, 12)), choices=CHOICES, output=str(tmp_path / "a.npy"))
    assert "give a region inside the scan" in worker.hear()["message"]
    assert worker.end() == 0


def test_a_line_that_is_no_request_is_told_and_the_next_one_done(worker, scan, tmp_path):
    write_volume(scan, tmp_path / "scan.nrrd")
    for line in (b"garbage", b"[1]", b'{"number": 3, "choices": {}}', b"\xff\x00"):
        worker.process.stdin.write(line + b"\n")
        worker.process.stdin.flush()
        told = worker.hear()
        assert (told["event"], told["kind"]) == ("error", "InputError") and "cannot be understood" in told["message"]
    worker.ask(scan=str(tmp_path / "scan.nrrd"))
    assert worker.hear() == {"event": "ready"}
    assert worker.end() == 0


def test_no_part_of_the_scan_before(worker, scan, tmp_path):
    """A scan that cannot be read: parts that are asked for after it are not taken from the one that was read earlier."""
    write_volume(scan, tmp_path / "scan.nrrd")
    worker.ask(scan=str(tmp_path / "scan.nrrd"))
    assert worker.hear() == {"event": "ready"}
    worker.ask(scan=str(tmp_path / "none.nrrd"))
    assert "none.nrrd" in worker.hear()["message"]
    worker.ask(number=1, region=((0, 4), (0, 9), (2, 12)), choices=CHOICES, output=str(tmp_path / "a.npy"))
    told = worker.hear()
    assert (told["event"], told["number"]) == ("error", 1) and "none.nrrd does not exist" in told["message"]
    assert not (tmp_path / "a.npy").exists() and worker.end() == 0


def test_the_latest_request_counts(worker, scan, tmp_path):
    """Ten at once: the last one is answered, and few of the others."""
    write_volume(scan, tmp_path / "scan.nrrd")
    worker.ask(scan=str(tmp_path / "scan.nrrd"))
    assert worker.hear() == {"event": "ready"}
    for number in range(10):
        worker.ask(number=number, region=((0, 4), (0, 9), (2, 12)), choices=CHOICES, output=str(tmp_path / f"{number}.npy"))
    heard = []
    while not heard or heard[-1] != 9:
        heard.append(worker.hear()["number"])
    assert heard == sorted(heard)


def test_the_worker_ends_when_nobody_asks():
    done = subprocess.run([sys.executable, "-m", "superres3d.cli", "live", "--idle", "0.5"], stdin=subprocess.PIPE, capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr
