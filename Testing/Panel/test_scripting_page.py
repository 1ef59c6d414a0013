"""The examples of docs/scripting.md, one after the other as a reader tries them, over the real scene and the real worker."""

import json
import re

import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
pytest.importorskip("PySide6", reason="needs the PyPI package PySide6-Essentials (real Qt)", exc_type=ImportError)
import slicer
import slicer.util


@pytest.fixture
def scene(make_ct, tmp_path, monkeypatch):
    """A scene with the volume that the page names; what is written or kept goes into a temporary folder."""
    slicer.mrmlScene.Clear(True)
    monkeypatch.setattr(slicer.util, "getNode", slicer.mrmlScene.GetFirstNodeByName, raising=False)
    monkeypatch.setattr(slicer.app, "temporaryPath", str(tmp_path))
    monkeypatch.setenv("SUPERRES3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield make_ct(2.5, name="CTChest")
    slicer.mrmlScene.Clear(True)


def test_examples_run_in_their_order(scene, pytestconfig, tmp_path, capsys):
    page = (pytestconfig.rootpath / "docs" / "scripting.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python slicer\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    kept = {"slicer": slicer, "__name__": "console"}
    shapes = []
    for block in blocks:
        exec(compile(block, "docs/scripting.md", "exec"), kept)
        shapes.append(slicer.util.arrayFromVolume(kept["finished"].result).shape)
    slices, rows, columns = slicer.util.arrayFromVolume(scene).shape
    assert shapes[0] == (4 * slices, rows, columns)  # 4x through-plane
    assert shapes[1] == (20, rows, columns)  # eight slices of 2.5 mm are twenty of 1 mm
    assert shapes[2] == (2 * slices, 2 * rows, 2 * columns)  # 2x, as nothing is said
    said = capsys.readouterr().out
    assert "CTChest" in said and "depth" in said and "100%" in said and "sha256" in said
    assert json.loads((tmp_path / "report.json").read_text())["method"] == "two-stage-told"
