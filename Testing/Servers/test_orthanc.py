"""A derived series stored to an Orthanc server by C-STORE, and fetched by REST: a target of its own, ``make test-servers``."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from superres3d import read_volume, upscale
from superres3d.scan.dicom.write import write_dicom_series

from Testing.Unit import dicom_scans as scans

ORTHANC = shutil.which("Orthanc", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
pytestmark = pytest.mark.skipif(not (ORTHANC and shutil.which("storescu")), reason="Orthanc and dcmtk (Debian packages orthanc and dcmtk) are not installed")
SECONDS_TO_START = 30


class Server:
    """An Orthanc of one's own: empty, on free ports of this machine alone."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.dicom_port, self.http_port = _free_ports()
        settings = {
            "Name": "TEST", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"), "DicomAet": "TEST", "DicomPort": self.dicom_port,
            "HttpPort": self.http_port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "Plugins": [], "HttpsCACertificates": "", **more,
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.log = open(folder / "log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen([ORTHANC, folder / "orthanc.json"], stdout=self.log, stderr=self.log)
        self._wait()

    def _wait(self) -> None:
        for _ in range(10 * SECONDS_TO_START):
            try:
                self.get("/system")
                return
            except OSError:
                assert self.process.poll() is None, Path(self.log.name).read_text()
                time.sleep(0.1)
        raise TimeoutError("Orthanc did not start")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return answer.read()

    def ask(self, path: str) -> Any:
        return json.loads(self.get(path))

    def store(self, folder: Path) -> None:
        """As a scanner would: C-STORE, every file accepted."""
        command = ["storescu", "-aec", "TEST", "--scan-directories", "127.0.0.1", str(self.dicom_port), str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("orthanc"))
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("image", [scans.ct_image, scans.mr_image], ids=["CT", "MR"])
def test_source_and_derived_series_lie_in_one_study_and_come_back_unchanged(server: Server, tmp_path: Path, image: Any) -> None:
    names = {"PatientID": f"MRN-{image().Modality}", "StudyInstanceUID": f"1.2.3.{ord(image().Modality[0])}"}
    source = tmp_path / "source"
    source.mkdir()
    for k in range(scans.SHAPE[0]):
        scans.save(scans.slice_of(image(), k, **names, SOPInstanceUID=f"{names['StudyInstanceUID']}.{k + 1}"), source / f"{k}.dcm")
    result = upscale(read_volume(source), 2, method="cubic")
    files = write_dicom_series(result.volume, tmp_path / "derived", result.report)
    server.store(source)
    server.store(tmp_path / "derived")
    server.store(tmp_path / "derived")  # again: nothing doubles

    (patient,) = [patient for patient in server.ask("/patients?expand") if patient["MainDicomTags"]["PatientID"] == names["PatientID"]]
    (study,) = server.ask(f"/patients/{patient['ID']}/studies")
    series = {entry["MainDicomTags"]["SeriesNumber"]: entry for entry in server.ask(f"/studies/{study['ID']}/series")}
    assert {number: len(entry["Instances"]) for number, entry in series.items()} == {"4": 6, "402": 12}
    _check_unchanged(server, series["402"], files)


def _check_unchanged(server: Server, series: dict[str, Any], files: list[Path]) -> None:
    sent = {file.SOPInstanceUID: file for file in map(pydicom.dcmread, files)}
    for name in series["Instances"]:
        fetched = pydicom.dcmread(io.BytesIO(server.get(f"/instances/{name}/file")))
        original = sent.pop(fetched.SOPInstanceUID)
        assert fetched == original
        np.testing.assert_array_equal(fetched.pixel_array, original.pixel_array)
    assert not sent


def test_a_server_renders_the_slices(server: Server) -> None:
    """Its own picture of a slice, with the window that the slice tells: neither black nor white all over."""
    pillow = pytest.importorskip("PIL.Image")
    (entry, *_) = [entry for entry in server.ask("/series?expand") if entry["MainDicomTags"]["SeriesNumber"] == "402"]
    with pillow.open(io.BytesIO(server.get(f"/instances/{entry['Instances'][0]}/rendered"))) as picture:
        assert picture.size == (2 * scans.SHAPE[2], 2 * scans.SHAPE[1]) and np.ptp(np.asarray(picture.convert("L"))) > 100
