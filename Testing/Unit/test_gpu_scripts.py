"""The scripts for a graphics card, rehearsed: each step as there, on the processor and tiny."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "Benchmarks" / "gpu"
#: what a card's machine does not have
BARE = "import sys; sys.modules.update(SimpleITK=None, openvino=None, nibabel=None); import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """A script in a process of its own, without the libraries that a card's machine lacks."""
    command = [sys.executable, "-c", BARE, str(SCRIPTS / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPTS), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def told(path: Path) -> dict[str, dict]:
    """Check -> its line."""
    return {line["check"]: line for line in map(json.loads, path.read_text().splitlines())}


@pytest.fixture(scope="module")
def references(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    subprocess.run([sys.executable, str(SCRIPTS / "right.py"), "references", "--data", str(folder), "--tiny"], check=True, timeout=300)
    return folder


def test_right(references, tmp_path):
    done = run("right.py", "check", "--data", references, "--out", tmp_path, "--device", "cpu", "--tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = told(tmp_path / "right.jsonl")
    assert {"cancel", "tiles single", "two processes"} <= set(lines) and lines["done"]["failed"] == []
    assert all(line["ok"] for check, line in lines.items() if check.startswith("single"))


def test_a_wrong_result_is_found_and_hides_no_other(references, tmp_path):
    arrays = dict(np.load(references / "references.npz"))
    name = next(key for key in arrays if key.endswith("output"))
    arrays[name] = arrays[name] + np.float32(1.0)
    np.savez(tmp_path / "references.npz", **arrays)
    done = run("right.py", "check", "--data", tmp_path, "--out", tmp_path, "--device", "cpu", "--tiny", "--budget", "14")
    lines = told(tmp_path / "right.jsonl")
    assert done.returncode == 1 and len(lines["done"]["failed"]) == 1 and lines["done"]["failed"][0].startswith("single")
    assert "skipped" in lines["two processes"]


def test_fast(tmp_path):
    done = run("fast.py", "--out", tmp_path, "--device", "cpu", "--tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = told(tmp_path / "fast.jsonl")
    assert lines["done"]["failed"] == []
    assert {"ceilings", "2x best", "4x best", "CT file to file", "best variant", "profile 2x"} <= set(lines)
    assert lines["2x best"]["TFLOP"] == pytest.approx(2 * 480 * 8 * (74592 + 2 * 112032) / 1e12)

