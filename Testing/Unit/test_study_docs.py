"""The page on reader studies: its options are those of the commands, and its example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import typer
from superres3d.cli import app

from .conftest import run_cli
from .study_files import make_scans

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reader-study.md"


def _options(*names: str) -> set[str]:
    commands = typer.main.get_command(app).commands["study"].commands
    return {option for name in names for parameter in commands[name].params for option in parameter.opts if option.startswith("--")}


def _told(heading: str) -> set[str]:
    return set(re.findall(r"^\| `(--[a-z-]+)` \|", PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0], flags=re.MULTILINE))


def test_options_are_documented():
    assert _told("Options of make") == _options("make")
    assert _told("Options of plan, simulate and analyse") == _options("plan", "simulate", "analyse")


def test_the_worked_example_runs_from_start_to_end(tmp_path, monkeypatch):
    """On small made-up scans, line by line as it stands there."""
    (tmp_path / "scans").mkdir()
    make_scans(tmp_path / "scans").rename(tmp_path / "split.csv")
    monkeypatch.chdir(tmp_path)
    lines = re.search(r"## A worked example.*?```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1].splitlines()
    for line in lines:
        done = run_cli(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)
    assert len(lines) == 4 and "Simulated readers" in (tmp_path / "tables" / "tables.md").read_text()
