"""A series sent to an Orthanc server comes back as a derived one: Orthanc's own Lua hook, ``superres3d batch --watch`` and storescu."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from Testing.Servers.test_orthanc import Server, pytestmark  # noqa: F401  the mark holds here as well
from Testing.Unit import dicom_scans as scans

HOOK = Path(__file__).resolve().parents[2] / "Examples" / "orthanc_hook.lua"
SECONDS = 90


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "orthanc").mkdir()
    (tmp_path / "in").mkdir()
    monkeypatch.setenv("SUPERRES3D_WATCHED", str(tmp_path / "in"))
    running = Server(tmp_path / "orthanc", LuaScripts=[str(HOOK)], StableAge=1)
    try:
        yield running
    finally:
        running.stop()


def series_of(server: Server) -> dict[str, int]:
    """Series number -> how many instances."""
    return {entry["MainDicomTags"]["SeriesNumber"]: len(entry["Instances"]) for entry in server.ask("/series?expand")}


def test_a_series_comes_back_as_a_derived_one(server: Server, tmp_path: Path) -> None:
    send = f"storescu -aec TEST --scan-directories 127.0.0.1 {server.dicom_port}"
    command = [sys.executable, "-m", "superres3d.cli", "batch", tmp_path / "in", tmp_path / "out", "--method", "cubic", "--watch", "0.5", "--after", send, "--progress", "none"]
    batch = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    try:
        source = tmp_path / "source"
        source.mkdir()
        for k in range(scans.SHAPE[0]):
            scans.save(scans.slice_of(scans.mr_image(), k, SOPInstanceUID=f"1.2.3.9.{k + 1}"), source / f"{k}.dcm")
        server.store(source)
        deadline = time.monotonic() + SECONDS
        while series_of(server).get("402", 0) < 2 * scans.SHAPE[0]:
            assert time.monotonic() < deadline and batch.poll() is None
            time.sleep(0.2)
        time.sleep(4)  # time to go round once more, if it did
    finally:
        batch.send_signal(signal.SIGINT)
        said = batch.communicate(timeout=SECONDS)[1]
    assert batch.returncode == 0, said
    assert series_of(server) == {"4": scans.SHAPE[0], "402": 2 * scans.SHAPE[0]}
    assert "1 of 1 scan" in said
    (study,) = server.ask("/studies?expand")
    assert len(study["Series"]) == 2 and os.listdir(tmp_path / "in") == [entry for entry in os.listdir(tmp_path / "in") if not entry.startswith(".")]
