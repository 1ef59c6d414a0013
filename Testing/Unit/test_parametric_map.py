"""The error map as a DICOM parametric map: read back by pydicom and highdicom, checked by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from superres3d import read_volume
from superres3d.scan.dicom.parametric_map_out import ERROR, stage_parametric_map
from superres3d.staging import Staging
from typer.testing import CliRunner

from . import dicom_scans as scans

hd = pytest.importorskip("highdicom")


def written(folder, image):
    """(map, series, its files): errors that rise along every axis, on the slices of a series given in another order."""
    series = scans.series(folder / "in", image)
    scan = read_volume(series)
    k, j, i = np.indices(scan.voxels.shape)
    errors = replace(scan, voxels=(k + 10 * j + 0.125 * i).astype(np.float32))
    files = sorted(series.iterdir(), reverse=True)
    with Staging() as staging:
        stage_parametric_map(errors, ERROR, files, folder / "errors.dcm", staging)
        staging.commit()
    return pydicom.dcmread(folder / "errors.dcm"), errors, files


@pytest.mark.parametrize("image, unit", [(scans.mr_image, "1"), (scans.ct_image, "[hnsf'U]")])
def test_values_and_places_are_those_of_the_map(tmp_path, image, unit):
    dataset, errors, files = written(tmp_path, image())
    assert dataset.SOPClassUID == pydicom.uid.ParametricMapStorage
    pixels = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(errors.voxels.shape)
    for pixel, frame in zip(pixels, dataset.PerFrameFunctionalGroupsSequence):
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        k = int(np.argmin([np.linalg.norm(np.array(errors.position((0, 0, n))) - place) for n in range(len(errors.voxels))]))
        np.testing.assert_allclose(errors.position((0, 0, k)), place, atol=1e-4)
        np.testing.assert_array_equal(pixel, errors.voxels[k])
    groups = dataset.SharedFunctionalGroupsSequence[0]
    mapping = groups.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == unit and (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    source = pydicom.dcmread(files[0])
    assert (dataset.PatientID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID) == (source.PatientID, source.StudyInstanceUID, source.FrameOfReferenceUID)
    assert dataset.RecognizableVisualFeatures == "YES"
    assert dataset.SeriesInstanceUID != source.SeriesInstanceUID and "not for diagnosis" in dataset.ContentDescription
    volume = hd.pm.ParametricMap.from_dataset(dataset).get_volume(apply_real_world_transform=True)
    assert sorted(volume.array.ravel())[-1] == pytest.approx(float(errors.voxels.max()))


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of Debian's dicom3tools is not installed")
@pytest.mark.parametrize("image", [scans.mr_image, scans.ct_image])
def test_dciodvfy_finds_no_error(tmp_path, image):
    written(tmp_path, image())
    told = subprocess.run(["dciodvfy", tmp_path / "errors.dcm"], capture_output=True, text=True)
    assert "ParametricMap" in told.stderr + told.stdout and "Error" not in told.stderr, told.stderr


def test_on_the_command_line(models, tmp_path):
    from superres3d.cli import app

    series = scans.series(tmp_path / "in", scans.mr_image())
    asked = ["upscale", series, tmp_path / "out/", "--axes", "in-plane", "--method", "two-stage-residual", "--preset", "fast", "--progress", "none"]
    done = CliRunner().invoke(app, [str(part) for part in (*asked, "--error-map", tmp_path / "e.dcm", "--residual-map", tmp_path / "r.nii.gz")])
    assert done.exit_code == 0, done.output
    dataset, result = pydicom.dcmread(tmp_path / "e.dcm"), read_volume(tmp_path / "out")
    assert (dataset.NumberOfFrames, dataset.Rows, dataset.Columns) == result.voxels.shape
    assert dataset.SeriesInstanceUID != pydicom.dcmread(next((tmp_path / "out").iterdir())).SeriesInstanceUID
    scan, residual = read_volume(series), read_volume(tmp_path / "r.nii.gz")
    means = result.voxels.reshape(len(scan.voxels), scan.voxels.shape[1], 2, scan.voxels.shape[2], 2).mean(axis=(2, 4))
    np.testing.assert_allclose(residual.voxels, means - scan.voxels, atol=0.01)
    assert residual.origin == pytest.approx(scan.origin, abs=1e-3)


@pytest.mark.parametrize("image", [scans.mr_image, scans.ct_image])
@pytest.mark.parametrize("region", [[], ["--region", "ijk=5:17,3:15,1:5"]])
def test_residual_and_errors_of_a_part_lie_where_they_belong(models, tmp_path, image, region):
    """The residual has the scan's grid and values below 0, and still refers to the result's slices; both are read back by highdicom."""
    from superres3d.cli import app

    series = scans.series(tmp_path / "in", image())
    asked = ["upscale", series, tmp_path / "out/", "--axes", "in-plane", "--method", "two-stage-residual", "--preset", "fast", "--progress", "none", *region]
    maps = [part for name in ("e", "r") for part in (f"--{'error' if name == 'e' else 'residual'}-map", tmp_path / f"{name}.dcm")]
    done = CliRunner().invoke(app, [str(part) for part in (*asked, *maps)])
    assert done.exit_code == 0, done.output
    scan, result = read_volume(series), read_volume(tmp_path / "out")
    part = scan.voxels[1:5, 3:15, 5:17] if region else scan.voxels
    means = result.voxels.reshape(len(part), part.shape[1], 2, part.shape[2], 2).mean(axis=(2, 4))
    for name, values, first in (("r", means - part, scan.position((5, 3, 1) if region else (0, 0, 0))), ("e", None, result.origin)):
        dataset = pydicom.dcmread(tmp_path / f"{name}.dcm")
        volume = hd.pm.ParametricMap.from_dataset(dataset).get_volume(apply_real_world_transform=True)
        measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        spacing = scan.spacing if name == "r" else result.spacing
        assert [*measures.PixelSpacing, measures.SpacingBetweenSlices] == pytest.approx([spacing[1], spacing[0], spacing[2]]) and spacing[0] != spacing[1]
        at = volume.map_reference_to_indices(np.array([first]))[0]
        assert at == pytest.approx(np.round(at), abs=1e-3) and set(np.round(at).astype(int)) <= {0, len(part) - 1}
        found = np.frombuffer(dataset.FloatPixelData, np.float32).reshape(dataset.NumberOfFrames, dataset.Rows, dataset.Columns)
        if values is not None:
            places = [np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float) for frame in dataset.PerFrameFunctionalGroupsSequence]
            order = np.argsort([float(place @ scan.direction[:, 2]) for place in places])
            np.testing.assert_allclose(found[order], values, atol=0.01)
            assert found.min() < 0 and dataset.SeriesDescription.startswith("residual")
        else:
            assert found.shape == result.voxels.shape and found.min() >= 0
        if shutil.which("dciodvfy"):
            told = subprocess.run(["dciodvfy", tmp_path / f"{name}.dcm"], capture_output=True, text=True).stderr
            assert "ParametricMap" in told and "Error" not in told, told


@pytest.mark.parametrize("option", ["--error-map", "--residual-map"])
def test_a_map_needs_a_series(models, tmp_path, option):
    from superres3d.cli import app

    series = scans.series(tmp_path / "in", scans.mr_image())
    done = CliRunner().invoke(app, ["upscale", str(series), str(tmp_path / "out.nii.gz"), option, str(tmp_path / "e.dcm"), "--progress", "none"])
    assert done.exit_code != 0 and {path.name for path in tmp_path.iterdir()} == {"in", "models"}
