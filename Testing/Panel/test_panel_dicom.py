"""A result saved as a derived DICOM series: right by pydicom, dciodvfy and the scan's own places."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import slicer
import slicer.util
from panel_steps import volumes
from superres3d.scan.dicom.write import write_dicom_series
from SuperResolution3DLib.choices import Part, Scale


@pytest.fixture(scope="module")
def scans():
    root = str(Path(__file__).resolve().parents[2])
    sys.path.insert(0, root)
    yield importlib.import_module("Testing.Unit.dicom_scans")
    sys.path.remove(root)


@pytest.fixture(params=["ct", "mr"])
def loaded(request, panel, scans, tmp_path, monkeypatch):
    """A series as Slicer's DICOM module loads it: the node knows its instances, the database their files; returns (node, source files)."""
    volume = scans.classic(scans.ct_image() if request.param == "ct" else scans.mr_image())
    paths = write_dicom_series(volume, tmp_path / "scan", {})
    files = {str(pydicom.dcmread(path).SOPInstanceUID): str(path) for path in paths}
    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(fileForInstance=lambda uid: files.get(uid, "")), raising=False)
    node = slicer.util.addVolumeFromArray(volume.voxels, name="4: Head")
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1, -1, 1]) @ volume.direction * volume.spacing
    matrix[:3, 3] = np.diag([-1, -1, 1]) @ volume.origin
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    node.CreateDefaultDisplayNodes()
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    node.SetAttribute("DICOM.Modality", volume.modality)
    panel.parameters.inputVolume = node
    panel.parameters.scale = Scale.TWO
    panel.choose_cubic()
    return node, [pydicom.dcmread(path) for path in paths]


def upscale_and_save(panel, folder):
    panel.ui.applyButton.click()
    panel.finish()
    panel.widget.panel.dicom.ask_folder = lambda: str(folder)
    panel.widget.panel.refresh()
    assert panel.ui.saveDicomButton.enabled, panel.ui.saveDicomButton.toolTip
    panel.ui.saveDicomButton.click()
    panel.wait(lambda: panel.status.startswith("The DICOM series was saved"), 60)
    (made,) = [path for path in folder.iterdir() if path.is_dir()]
    return sorted(made.iterdir())


def values(dataset):
    return dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


def test_the_series_is_right(panel, loaded, tmp_path):
    _node, source = loaded
    out = tmp_path / "out"
    out.mkdir()
    paths = upscale_and_save(panel, out)
    result = panel.parameters.lastResult
    made = sorted((pydicom.dcmread(path) for path in paths), key=lambda file: file.InstanceNumber)
    voxels = slicer.util.arrayFromVolume(result)
    assert len(made) == len(voxels)
    first = made[0]
    assert first.Modality == source[0].Modality and first.ImageType[:2] == ["DERIVED", "SECONDARY"]
    for kept in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[kept].value == source[0][kept].value
    assert first.SeriesInstanceUID != source[0].SeriesInstanceUID and first.SeriesNumber > source[0].SeriesNumber
    assert "resampled (cubic), not for diagnosis" in first.SeriesDescription and "by cubic" in first.DerivationDescription
    matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
    result.GetIJKToRASMatrix(matrix)
    for k, file in enumerate(made):
        np.testing.assert_array_equal(values(file), voxels[k])
        ras = slicer.util.arrayFromVTKMatrix(matrix) @ [0, 0, k, 1]
        np.testing.assert_allclose(file.ImagePositionPatient, [-ras[0], -ras[1], ras[2]], atol=1e-6)
    panel.picture("dicom-saved")


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of Debian's dicom3tools is not installed")
def test_a_part_of_a_result_passes_dciodvfy(panel, loaded, tmp_path):
    """And when the scan has left the scene."""
    node, _ = loaded
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    crosshair.SetCrosshairRAS([(bounds[n] + bounds[n + 1]) / 2 for n in (0, 2, 4)])
    panel.parameters.boxSize = 8.0
    panel.parameters.part = Part.CROSSHAIR
    out = tmp_path / "out"
    out.mkdir()
    paths = upscale_and_save(panel, out)
    for path in paths:
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert "Image" in told and "Error" not in told, told
    slicer.mrmlScene.RemoveNode(node)
    panel.widget.panel.refresh()
    assert panel.ui.saveDicomButton.enabled, panel.ui.saveDicomButton.toolTip


def test_a_second_time_it_gets_a_folder_of_its_own(panel, loaded, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    upscale_and_save(panel, out)
    panel.ui.saveDicomButton.click()
    panel.wait(lambda: panel.status.endswith(" 2."), 60)
    assert len(list(out.iterdir())) == 2


def test_why_it_cannot_be(panel, loaded, make_volume, monkeypatch, tmp_path):
    """No result; not from DICOM; files that are gone, from the database or from the disk; a folder that is closed."""
    panel.widget.panel.refresh()
    button = panel.ui.saveDicomButton
    assert not button.enabled and "no result yet" in button.toolTip
    panel.ui.applyButton.click()
    panel.finish()
    database = slicer.dicomDatabase
    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(fileForInstance=lambda uid: ""))
    panel.widget.panel.refresh()
    assert not button.enabled and "not in Slicer's DICOM database any more" in button.toolTip
    monkeypatch.setattr(slicer, "dicomDatabase", SimpleNamespace(fileForInstance=lambda uid: database.fileForInstance(uid) + ".gone"))
    panel.widget.panel.refresh()
    panel.widget.panel.dicom.ask_folder = lambda: str(tmp_path)
    button.click()
    panel.wait(lambda: "is not there any more; import the series" in panel.status, 60)
    monkeypatch.setattr(slicer, "dicomDatabase", database)
    panel.widget.panel.dicom.ask_folder = lambda: str(tmp_path / "nowhere")
    button.click()
    panel.wait(lambda: "nowhere" in panel.status and not panel.status.startswith("Writing"), 60)
    panel.parameters.inputVolume = make_volume("Plain")
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    assert not button.enabled and "was not loaded from DICOM" in button.toolTip
    assert all(not name.startswith("IM") for name in volumes())
