"""The batch example over real files; only the two functions of the application that it calls are stood in for."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
pytest.importorskip("PySide6", reason="needs the PyPI package PySide6-Essentials (real Qt)", exc_type=ImportError)
import slicer  # noqa: E402
import slicer.util  # noqa: E402


def load_volume(path):
    """As the application does it: MRML's own storage node; a file that cannot be read raises."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", Path(path).name.split(".")[0])
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(path)
    if not storage.ReadData(node):
        raise RuntimeError(f"Failed to load node from file: {path}")
    return node


def save_node(node, path):
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(path)
    return bool(storage.WriteData(node))


@pytest.fixture
def batch(monkeypatch, pytestconfig):
    monkeypatch.setattr(slicer.util, "loadVolume", load_volume, raising=False)
    monkeypatch.setattr(slicer.util, "saveNode", save_node, raising=False)
    slicer.mrmlScene.Clear(True)
    spec = importlib.util.spec_from_file_location("batch_upscale", pytestconfig.rootpath / "Examples" / "batch_upscale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    slicer.mrmlScene.Clear(True)


@pytest.fixture
def scans(tmp_path):
    """Two good scans, one that is no scan, one that is a single slice, and a text file."""
    folder = tmp_path / "in"
    folder.mkdir()
    voxels = np.random.default_rng(0).integers(0, 900, (6, 8, 10), dtype=np.int16)
    for name in ("a.nii.gz", "d.nrrd"):
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((1.0, 1.0, 4.0))
        sitk.WriteImage(image, str(folder / name))
    (folder / "b.nrrd").write_text("not a scan")
    sitk.WriteImage(sitk.GetImageFromArray(voxels[:1]), str(folder / "c.mha"))
    (folder / "notes.txt").write_text("left alone")
    return folder


def test_goes_on_after_bad_files_and_says_so(batch, scans, tmp_path, capsys):
    out = tmp_path / "out"
    assert batch.main([str(scans), str(out), "2", "through-plane", "cubic"]) == 1
    told = capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["a-SR-x2.nii.gz", "d-SR-x2.nrrd"]
    result = sitk.ReadImage(str(out / "a-SR-x2.nii.gz"))
    assert result.GetSize() == (10, 8, 12) and result.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(result.GetSpacing(), (1.0, 1.0, 2.0))
    np.testing.assert_allclose(result.GetOrigin(), (0.0, 0.0, -1.0))
    assert "b.nrrd: failed" in told and "single slice" in told
    assert "2 of 4 scans have their result" in told and "Without result: b.nrrd, c.mha" in told
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_goes_on_where_it_stopped(batch, scans, tmp_path, capsys):
    for name in ("b.nrrd", "c.mha"):
        (scans / name).unlink()
    out = tmp_path / "out"
    assert batch.main([str(scans), str(out), "2", "in-plane", "linear"]) == 0
    first = (out / "d-SR-x2.nrrd").read_bytes()
    (out / "a-SR-x2.nii.gz").unlink()
    (out / "d-SR-x2.nrrd").write_bytes(first + b" ")  # would be replaced if it were made again
    assert batch.main([str(scans), str(out), "2", "in-plane", "linear"]) == 0
    assert (out / "a-SR-x2.nii.gz").exists() and (out / "d-SR-x2.nrrd").read_bytes() == first + b" "
    assert "already there" in capsys.readouterr().out


def test_slices_of_1_mm(batch, scans, tmp_path, capsys):
    """By the default network, and by a method that is named; one that is not for MR is refused."""
    for name in ("b.nrrd", "c.mha"):
        (scans / name).unlink()
    out = tmp_path / "out"
    assert batch.main([str(scans), str(out), "1mm", "through-plane", "virtual-thin-slice"]) == 1
    assert "virtual-thin-slice is not for MR" in capsys.readouterr().out
    assert batch.main([str(scans), str(tmp_path / "network"), "1mm"]) == 0
    assert batch.main([str(scans), str(out), "1mm", "through-plane", "lanczos"]) == 0
    by_network, by_lanczos = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "d-SR-1mm.nrrd"))) for folder in (tmp_path / "network", out))
    assert by_network.shape == by_lanczos.shape and not np.array_equal(by_network, by_lanczos)
    assert sorted(path.name for path in out.iterdir()) == ["a-SR-1mm.nii.gz", "d-SR-1mm.nrrd"]
    result = sitk.ReadImage(str(out / "d-SR-1mm.nrrd"))
    assert result.GetSize() == (10, 8, 24)
    np.testing.assert_allclose(result.GetSpacing(), (1.0, 1.0, 1.0))


def test_a_network_that_may_invent_is_told(batch, scans, tmp_path, capsys, install):
    install("mdcsrn-gan-mr")
    for name in ("b.nrrd", "c.mha", "d.nrrd"):
        (scans / name).unlink()
    assert batch.main([str(scans), str(tmp_path / "out"), "2", "in-plane", "mdcsrn-gan", "fast"]) == 0
    assert "caution: It is trained against a discriminator" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments,told",
    [
        ([], "Two to six arguments"),
        (["{missing}", "{out}"], "does not exist"),
        (["{in}", "{in}"], "the same"),
        (["{in}", "{out}", "3"], "factor 3"),
        (["{in}", "{out}", "2", "sideways"], "axes sideways"),
        (["{in}", "{out}", "1mm", "in-plane"], "Slices of 1 mm refine through-plane"),
        (["{empty}", "{out}"], "holds no scan"),
    ],
)
def test_arguments_that_cannot_be_used(batch, scans, tmp_path, capsys, arguments, told):
    places = {"in": scans, "out": tmp_path / "out", "missing": tmp_path / "missing", "empty": tmp_path}
    assert batch.main([argument.format(**places) for argument in arguments]) == 2
    assert told in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
