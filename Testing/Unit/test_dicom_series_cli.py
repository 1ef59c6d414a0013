"""``superres3d upscale SERIES OUT_FOLDER/``: a derived series appears whole or not at all, and only where nothing is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pydicom
import pytest
import SimpleITK as sitk
from superres3d import read_volume, write_volume
from superres3d.cli.outputs import Outputs
from superres3d.errors import ResourceError
from superres3d.scan.dicom import write
from superres3d.scan.dicom.write import write_dicom_series

from . import dicom_scans as scans
from .conftest import run_cli


@pytest.fixture
def series(tmp_path):
    return scans.series(tmp_path / "in", scans.mr_image())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def upscale(*arguments: object):
    return run_cli("upscale", *arguments, "--method", "linear", "--progress", "none")


def test_result_and_comparison_are_series_of_their_own(tmp_path, series, models):
    before = contents(series)
    done = run_cli("upscale", series, tmp_path / "out", "--compare", f"{tmp_path}/lanczos/", "--report", tmp_path / "r.json", "--preset", "fast", "--progress", "none")
    assert (done.returncode, done.stderr) == (0, "")
    result, lanczos = (pydicom.dcmread(tmp_path / name / "IM0001.dcm") for name in ("out", "lanczos"))
    assert (result.SeriesNumber, lanczos.SeriesNumber) == (401, 402) and result.SeriesInstanceUID != lanczos.SeriesInstanceUID
    assert result.SeriesDescription.endswith("derived by super-resolution, not for diagnosis")
    assert "two-stage-residual" in result.DerivationDescription and "lanczos" in lanczos.SeriesDescription
    report = json.loads((tmp_path / "r.json").read_text())
    assert all(model["sha256"] in result.DerivationDescription for model in report["models"].values()) and report["models"]
    assert len(list((tmp_path / "out").iterdir())) == len(list((tmp_path / "lanczos").iterdir())) == 12
    assert contents(series) == before and sorted(path.name for path in tmp_path.iterdir()) == ["in", "lanczos", "models", "out", "r.json"]


def test_a_series_of_any_spacing(tmp_path, series):
    """Slices denser, pixels coarser: SimpleITK reads the grid of the file that is written beside it."""
    scan = read_volume(series)
    wanted = [2 * scan.spacing[0], 2 * scan.spacing[1], scan.spacing[2] / 1.5]
    asked = ("--spacing", ",".join(f"{value:.9g}" for value in wanted))
    for name in ("out", "out.nrrd"):
        done = upscale(series, tmp_path / name, *asked)
        assert done.returncode == 0, done.stderr
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "out"))
    found, expected = sitk.ReadImage(files), sitk.ReadImage(str(tmp_path / "out.nrrd"))
    assert found.GetSize() == expected.GetSize()
    for one, other in ((found.GetSpacing(), expected.GetSpacing()), (found.GetOrigin(), expected.GetOrigin()), (found.GetDirection(), expected.GetDirection())):
        assert one == pytest.approx(other, abs=1e-5)
    header = pydicom.dcmread(tmp_path / "out" / "IM0001.dcm")
    assert "times the voxels (columns x rows x slices)" in header.DerivationDescription


def test_a_second_run_gives_the_same_uids(tmp_path, series):
    for name in "ab":
        assert upscale(series, tmp_path / name).returncode == 0
    one, two = ({pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / name).iterdir()} for name in "ab")
    assert one == two and len(one) == 12


def test_a_file_and_a_series_side_by_side(tmp_path, series):
    assert upscale(series, tmp_path / "out", "--compare", tmp_path / "lanczos.nii.gz").returncode == 0
    assert upscale(series, tmp_path / "out.nii.gz").returncode == 0
    from_series, from_file = read_volume(tmp_path / "out"), read_volume(tmp_path / "out.nii.gz")
    assert (from_series.voxels == from_file.voxels).all()


def test_an_empty_folder_is_filled(tmp_path, series):
    (tmp_path / "there.v1").mkdir()
    assert upscale(series, tmp_path / "there.v1").returncode == 0
    assert len(list((tmp_path / "there.v1").iterdir())) == 12


def test_anonymous_output_and_report_tell_no_names(tmp_path, series):
    named = series.rename(tmp_path / "Doe^Jane")
    done = upscale(named, tmp_path / "out", "--anonymize", "--report", tmp_path / "r.json")
    assert (done.returncode, done.stderr) == (0, "")
    told = pydicom.dcmread(tmp_path / "out" / "IM0001.dcm")
    assert told.PatientIdentityRemoved == "YES" and "Doe" not in str(told) and "Doe" not in (tmp_path / "r.json").read_text()


REFUSALS = {
    "not empty": (["in", "full"], "is not empty; give a new one"),
    "no DICOM": (["scan.nii.gz", "out"], "written only from DICOM"),
    "no DICOM, slash": (["scan.nii.gz", "out.v1/"], "written only from DICOM"),
    "unknown suffix": (["in", "out.png"], "with / at its end, for DICOM"),
    "in the source": (["in", "in/out/"], "lies in the folder of the scan"),
    "the source": (["in", "in/"], "the same"),
    "twice": (["in", "out", "--compare", "out/"], "the same"),
    "no parent": (["in", "no/out"], "does not exist"),
    "a file": (["in", "file"], "is a file; give the name of a new folder"),
    "anonymous file": (["in", "out.nii.gz", "--anonymize"], "leaves the patient out of DICOM series"),
    "anonymous comparison": (["in", "out", "--compare", "c.nrrd", "--anonymize"], "leaves the patient out of DICOM series"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_refused_in_one_sentence_and_nothing_written(tmp_path, series, scan, kind):
    arguments, message = REFUSALS[kind]
    write_volume(scan, tmp_path / "scan.nii.gz")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "IM0001.dcm").write_text("someone's")
    (tmp_path / "file").write_text("someone's")
    before = contents(tmp_path)
    done = upscale(*(argument if argument.startswith("--") else f"{tmp_path}/{argument}" for argument in arguments))
    assert done.returncode == 2 and message in done.stderr.replace("\n", " ") and "Traceback" not in done.stderr
    assert contents(tmp_path) == before and not (tmp_path / "out").exists()


def test_a_failure_at_the_last_slice_leaves_nothing(tmp_path, series, monkeypatch):
    whole, count = write._write, iter(range(100))

    def full(dataset, folder):
        if next(count) == 11:
            raise OSError(28, "No space left on device")
        return whole(dataset, folder)

    monkeypatch.setattr(write, "_write", full)
    volume = read_volume(series)
    write_dicom_series(volume, tmp_path / "short")  # 6 slices, which are written
    with pytest.raises(ResourceError, match="the disk is full"):
        write_dicom_series(volume, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "short"]


def test_what_is_a_series(tmp_path):
    (tmp_path / "there.v1").mkdir()
    outputs = Outputs.named("new.v1" + os.sep, str(tmp_path / "there.v1"), None, False)
    assert outputs.is_series(Path("new.v1")) and outputs.is_series(tmp_path / "there.v1") and outputs.is_series(Path("plain"))
    assert not any(outputs.is_series(Path(name)) for name in ("new.v2", "a.nii.gz", "a.NRRD", "a.png"))
