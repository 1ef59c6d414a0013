"""What Dockerfile and Apptainer.def do, step by step without a builder: a package from the files that they copy, installed without an index, run as an ordinary
user, without network, on a read-only disk.  ``make test-containers``; minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.Unit.batch_scans import bids

ROOT = Path(__file__).resolve().parents[2]
USER = "1000"
pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")), reason="needs Linux, root, and unshare and setpriv of util-linux"
)


def python() -> str:
    """An interpreter that an ordinary user may start, as that of an image is: one in the home of root is none."""
    for path in map(Path, (getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3")):
        if path.exists() and all(folder.stat().st_mode & 0o1 for folder in path.resolve().parents):
            return str(path)
    pytest.skip("needs a Python outside of the home of root")


def copied() -> dict[str, list[tuple[str, str]]]:
    """(source, target) of what each of the two files takes along."""
    docker = re.findall(r"^COPY (?!--)(.+) (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    told = [(name, target) for names, target in docker for name in names.split()]
    section = (ROOT / "Apptainer.def").read_text().split("%files")[1].split("%post")[0]
    return {"Dockerfile": told, "Apptainer.def": [tuple(line.split()) for line in section.split("\n") if line.strip()]}


def test_both_copy_the_same():
    assert {name for name, _ in copied()["Dockerfile"]} == {name for name, _ in copied()["Apptainer.def"]}


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Path:
    """A virtual environment as the final image has it, readable by all."""
    place = Path("/tmp") / f"superres3d-steps-{os.getpid()}"
    source = place / "source"
    for name, _ in copied()["Dockerfile"]:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / name, target) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, target)
    subprocess.run([python(), "-m", "venv", place / "build"], check=True)
    subprocess.run([python(), "-m", "venv", place / "venv"], check=True)
    builder, installer = ([place / name / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"] for name in ("build", "venv"))
    subprocess.run([*builder, "wheel", "--no-cache-dir", "--wheel-dir", place / "wheels", f"{source}[batch]"], check=True)
    subprocess.run([*installer, "install", "--no-cache-dir", "--no-index", *sorted((place / "wheels").glob("*.whl"))], check=True)
    yield place / "venv" / "bin"
    shutil.rmtree(place)


def contained(out: Path, *command: object) -> subprocess.CompletedProcess:
    """Everything read-only but ``out``, no network, no home, an ordinary user."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && cd / && exec setpriv --reuid "$1" --regid "$1" --clear-groups env -i PATH=/usr/bin:/bin "$@"'
    words = [str(out), USER, *map(str, command)]
    script = script.replace('"$@"', '"${@:2}"')
    return subprocess.run(["unshare", "--net", "--mount", "bash", "-c", script, *words], capture_output=True, text=True)


@pytest.fixture
def places(tmp_path):
    base = Path("/tmp") / f"superres3d-run-{os.getpid()}"
    base.mkdir()
    data = bids(base / "data", "sub-01/anat/sub-01_T2w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    out = base / "out"
    out.mkdir()
    os.chown(out, int(USER), int(USER))
    yield data, out
    shutil.rmtree(base)


def test_the_cage_is_one(places):
    data, out = places
    assert contained(out, "touch", out / "ok").returncode == 0
    assert contained(out, "touch", data / "no").returncode != 0 and contained(out, "touch", "/tmp/no").returncode != 0
    assert contained(out, "id", "-u").stdout.strip() == USER


@pytest.mark.parametrize("options", [("--method", "cubic"), ("--preset", "fast", "--axes", "in-plane", "--method", "two-stage-residual")], ids=["interpolation", "networks"])
def test_a_bids_app_in_the_cage(environment, places, options):
    data, out = places
    done = contained(out, environment / "superres3d-bids", data, out, "participant", "--participant_label", "01", "sub-02", "--progress", "none", *options)
    assert done.returncode == 0, done.stderr
    assert len(list(out.rglob("*_T2w.nii.gz"))) == 2
    assert json.loads((out / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    again = contained(out, environment / "superres3d-bids", data, out, "participant", "--progress", "none", *options)
    assert again.returncode == 0 and "2 of them from before" in again.stderr


def test_the_self_test_of_the_image(environment, places):
    """As %test of Apptainer.def has it."""
    for words in (("--version",), ("methods",)):
        assert contained(places[1], environment / "superres3d", *words).returncode == 0
