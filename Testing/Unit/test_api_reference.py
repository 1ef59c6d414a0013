"""The API reference builds, without a warning, and has what a reader looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """In a process of its own: the program changes the package that it tells of."""
    folder = tmp_path_factory.mktemp("api")
    ended = subprocess.run([sys.executable, str(ROOT / "docs" / "api.py"), str(folder)], capture_output=True, encoding="utf-8", timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")
    return folder


@pytest.mark.parametrize("page", ["scan/volume", "networks/blueprint", "engine/runtime", "training/recipe", "upscaling", "methods"])
def test_every_room_has_its_pages(reference, page):
    assert (reference / "superres3d" / f"{page}.html").is_file()


def test_public_names_stand_on_the_first_page(reference):
    page = (reference / "superres3d.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in page for name in ("Volume", "read_volume", "upscale", "write_volume"))
    assert "Upscale a scan." in page
