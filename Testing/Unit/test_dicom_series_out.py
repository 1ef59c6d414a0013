"""A derived DICOM series: valid by dciodvfy and highdicom's tables, in place and value by pydicom and GDCM, and harmless."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.sr.codedict import codes
from superres3d import Volume, read_volume, upscale
from superres3d.errors import InputError
from superres3d.scan.dicom.write import write_dicom_series

from . import dicom_scans as scans

MOMENT = datetime(2026, 11, 26, 3, 30, 15, tzinfo=timezone.utc)
REPORT = {
    "software": "SuperResolution3D 9.9", "method": "two-stage-residual", "models": {"plane": {"name": "a-plane", "sha256": "ab" * 32}, "depth": {"name": "a-depth", "sha256": "cd" * 32}},
    "modality": "CT", "factors_ijk": [2, 2, 2], "preset": "best", "ensemble": "8", "precision": "half", "back_projections": 0, "invents": None,
}  # fmt: skip
SOURCES = {
    "ct": lambda: scans.classic(scans.ct_image()), "mr": lambda: scans.classic(scans.mr_image()),
    "enhanced ct": lambda: scans.enhanced("CT"), "enhanced mr": lambda: scans.enhanced("MR"),
}  # fmt: skip


def refined(volume: Volume, factors: tuple[int, int, int] = (2, 2, 2)) -> Volume:
    """By repetition of voxels: exact, and easy to tell."""
    voxels = volume.voxels
    for axis, factor in enumerate(factors):
        voxels = np.repeat(voxels, factor, axis)
    return volume.refined(voxels, factors)


def written(volume: Volume, folder: Path, **choices) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in write_dicom_series(volume, folder, **{"report": REPORT, "moment": MOMENT, **choices})]


def values(dataset: pydicom.Dataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))


@pytest.fixture(params=SOURCES)
def derived(request, tmp_path):
    """(the volume, its files read by pydicom, their folder)"""
    volume = refined(SOURCES[request.param]())
    return volume, written(volume, tmp_path / "out"), tmp_path / "out"


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of Debian's dicom3tools is not installed")
@pytest.mark.parametrize("anonymize", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(tmp_path, source, anonymize):
    for path in write_dicom_series(refined(SOURCES[source]()), tmp_path / "out", REPORT, anonymize=anonymize):
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True).stderr
        assert "Image" in told and "Error" not in told, told


def test_highdicoms_tables_of_the_standard_miss_nothing_and_know_everything(derived):
    standard = pytest.importorskip("highdicom._standard_utils")
    _, (first, *_), _ = derived
    name = standard.get_sop_class_iod_map()[first.SOPClassUID]
    modules = {module["key"] for module in standard.get_iod_module_map()[name] if module["usage"] == "M"} | {"contrast-bolus", "general-reference", "common-instance-reference"}
    for module in modules:
        standard.check_required_attributes(first, module)
    rescale_of_mr = ("RescaleSlope", "RescaleIntercept", "RescaleType") if name == "mr-image" else ()
    assert [element.keyword for element in first if not standard.is_attribute_in_iod(element.keyword, first.SOPClassUID) and element.keyword not in rescale_of_mr] == []


def test_values_and_places_are_the_volumes_by_pydicom(derived):
    volume, files, _ = derived
    assert len(files) == 12 and [file.InstanceNumber for file in files] == list(range(1, 13))
    for k, file in enumerate(files):
        np.testing.assert_array_equal(values(file), volume.voxels[k])
        np.testing.assert_allclose(file.ImagePositionPatient, volume.position((0, 0, k)), atol=1e-10)
        np.testing.assert_allclose(file.ImageOrientationPatient, volume.direction[:, :2].T.ravel(), atol=1e-12)
        assert file.PixelSpacing == [0.4, 0.35] and file.SpacingBetweenSlices == 1.8 and file.SliceThickness == 1.5
        assert (file.SmallestImagePixelValue, file.LargestImagePixelValue) == (file.pixel_array.min(), file.pixel_array.max())


def test_gdcm_reads_the_same_volume(derived):
    volume, _, folder = derived
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    np.testing.assert_allclose(image.GetSpacing(), volume.spacing, atol=1e-9)
    np.testing.assert_allclose(image.GetOrigin(), volume.origin, atol=1e-9)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), volume.direction, atol=1e-9)


def test_what_was_written_is_read_again(derived):
    volume, _, folder = derived
    back = read_volume(folder)
    np.testing.assert_array_equal(back.voxels, volume.voxels)
    np.testing.assert_allclose(back.origin, volume.origin, atol=1e-9)
    np.testing.assert_allclose(back.spacing, volume.spacing, atol=1e-9)
    assert back.modality == volume.modality


@pytest.mark.skipif(not shutil.which("dcmdump"), reason="dcmdump of dcmtk is not installed")
def test_dcmtk_reads_it(derived):
    _, files, folder = derived
    told = subprocess.run(["dcmdump", "-q", folder / "IM0001.dcm", "+P", "ImagePositionPatient", "+P", "ImageType"], capture_output=True, text=True)
    assert told.returncode == 0 and "DERIVED\\SECONDARY" in told.stdout
    position = told.stdout.split("(0020,0032) DS [")[1].split("]")[0]
    np.testing.assert_allclose([float(number) for number in position.split("\\")], files[0].ImagePositionPatient, atol=1e-12)


def test_patient_study_and_frame_stay_and_series_is_new(derived):
    _, files, _ = derived
    first = files[0]
    assert (first.PatientName, first.PatientID, first.PatientBirthDate, first.PatientSex) == ("Doe^Jane", "MRN-4711", "19500203", "F")
    assert (first.StudyInstanceUID, first.FrameOfReferenceUID, first.AccessionNumber) == ("1.2.3.4.1", "1.2.3.4.3", "ACC-0815")
    assert len({file.SOPInstanceUID for file in files}) == 12 and len({file.SeriesInstanceUID for file in files}) == 1
    assert all(uid.startswith("2.25.") and pydicom.uid.UID(uid).is_valid for uid in (first.SOPInstanceUID, first.SeriesInstanceUID))
    assert first.SeriesNumber == 401 and first.SeriesDescription == "T2 of Jane derived by super-resolution, not for diagnosis"
    assert first.ImageType[:2] == ["DERIVED", "SECONDARY"] and first.ContentQualification == "RESEARCH"
    assert first.file_meta.MediaStorageSOPInstanceUID == first.SOPInstanceUID


def test_how_it_came_about_is_told(derived):
    _, files, _ = derived
    first = files[0]
    for word in ("two-stage-residual", "best", "2 x 2 x 2", "SuperResolution3D 9.9", "ab" * 32, "cd" * 32, "not for diagnosis"):
        assert word in first.DerivationDescription
    code = first.DerivationCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == (codes.cid7203.SpatialResampling.value, "DCM")
    scanner, software = first.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.DeviceSerialNumber, scanner.PurposeOfReferenceCodeSequence[0].CodeValue) == ("ACME", "SN-998877", codes.cid7005.AcquisitionEquipment.value)
    assert (software.Manufacturer, software.PurposeOfReferenceCodeSequence[0].CodeValue) == (first.Manufacturer, codes.cid7005.ProcessingEquipment.value)
    assert first.SoftwareVersions == software.SoftwareVersions


def test_each_slice_names_those_of_the_source_that_it_lies_between(derived):
    volume, files, _ = derived
    frames = len(volume.source.headers) == 1
    for k, file in enumerate(files):
        named = [(item.ReferencedSOPInstanceUID, item.get("ReferencedFrameNumber")) for item in file.SourceImageSequence]
        place = (k + 0.5) / 2 - 0.5  # in slices of the source
        between = sorted({min(max(int(f(place)), 0), 5) for f in (np.floor, np.ceil)})
        assert named == [("1.2.3.4.6.1", m + 1) if frames else (f"1.2.3.4.5.{m + 1}", None) for m in between]
        (series,) = file.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == "1.2.3.4.2"
        assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == {uid for uid, _ in named}


def test_a_method_that_may_invent_says_so(tmp_path):
    volume = refined(scans.classic(scans.ct_image()))
    first = written(volume, tmp_path / "out", report={**REPORT, "invents": "It may invent texture."})[0]
    assert first.SyntheticData == "YES" and "It may invent texture." in first.DerivationDescription
    assert "SyntheticData" not in written(volume, tmp_path / "other")[0]


@pytest.mark.parametrize("description, told", [("", "derived"), ("T2", "T2 derived"), ("Thorax venous phase 5.0 B30f", "Thorax venous.. derived"), ("x" * 64, "x" * 15 + ".. derived")])
def test_long_descriptions_are_cut_and_the_warning_never(tmp_path, description, told):
    first = written(scans.classic(scans.ct_image(), SeriesDescription=description), tmp_path / "out")[0]
    assert first.SeriesDescription == f"{told} by super-resolution, not for diagnosis" and len(first.SeriesDescription) <= 64


def test_what_only_the_source_may_tell_is_left_out(derived):
    _, _, folder = derived
    for path in folder.iterdir():
        file = pydicom.dcmread(path)
        assert not any(element.tag.is_private or element.tag.group in (0x6000, 0x5000) for element in file.iterall())
        assert "IconImageSequence" not in file and b"phoned her husband" not in path.read_bytes() and b"private words" not in path.read_bytes()


def test_the_moment_is_told_in_the_sources_time_zone(derived):
    first = derived[1][0]
    assert (first.InstanceCreationDate, first.InstanceCreationTime) == ("20261125", "223015")  # five hours before Greenwich
    assert (first.StudyDate, first.AcquisitionDate, first.ContentDate) == ("20210304", "20210306", "20261125")


def test_enhanced_attributes_get_their_classic_names(tmp_path):
    mr = written(refined(scans.enhanced("MR")), tmp_path / "mr")
    assert (list(mr[0].ScanningSequence), mr[0].SequenceVariant, mr[0].MRAcquisitionType, mr[0].InPlanePhaseEncodingDirection) == (["SE", "IR"], "SK", "2D", "COL")
    assert (mr[0].RepetitionTime, mr[0].EchoTime, mr[0].EchoTrainLength, mr[0].FlipAngle) == (8000, 124.5, 23, 165)
    assert [file.WindowCenter for file in mr] == [40, 40, 41, 41, 42, 42, 43, 43, 44, 44, 45, 45]  # of the nearest frame
    assert (mr[-1].AcquisitionDate, mr[-1].AcquisitionTime) == ("20210306", "101213")  # the file's own word first
    ct = written(refined(scans.enhanced("CT")), tmp_path / "ct")[0]
    assert (ct.KVP, ct.ConvolutionKernel, ct.XRayTubeCurrent, ct.ExposureTime, ct.FilterType) == (120, "H30s", 200, 500, "WEDGE")
    assert ct.SOPClassUID == scans.CT and list(ct.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]


def test_of_several_volumes_in_a_file_the_chosen_ones_frames_are_told(tmp_path):
    source = scans.two_echoes(tmp_path / "echoes.dcm")
    for number, time in ((1, 12.5), (2, 98)):
        volume = read_volume(source, volume=number)
        np.testing.assert_array_equal(volume.voxels, scans.stored_values() // number)
        files = written(volume, tmp_path / str(number))
        assert {file.EchoTime for file in files} == {time}
        assert [[item.ReferencedFrameNumber for item in file.SourceImageSequence] for file in files] == [[2 * k + number] for k in range(6)]


def test_acquisition_and_window_stay(tmp_path):
    ct = written(refined(scans.classic(scans.ct_image())), tmp_path / "ct")[0]
    assert (ct.WindowCenter, ct.WindowWidth, ct.RescaleIntercept, ct.RescaleSlope, ct.RescaleType) == ([40, 600], [80, 2800], -1024, 1, "HU")
    assert list(ct.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 SPI"] and (ct.KVP, ct.ConvolutionKernel, ct.BitsStored) == (120, "H30s", 12)
    mr = written(refined(scans.classic(scans.mr_image())), tmp_path / "mr")[0]
    assert "RescaleSlope" not in mr and (mr.EchoTime, mr.InversionTime, list(mr.AcquisitionMatrix)) == (124, 2370, [0, 320, 189, 0])


def test_a_repetition_has_the_same_uids_and_the_same_bytes(tmp_path):
    volume = refined(scans.classic(scans.ct_image()))
    one, two = (write_dicom_series(volume, tmp_path / name, REPORT, moment=MOMENT) for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


OTHERS = {
    "method": lambda volume: {"report": {**REPORT, "method": "georgescu2020"}},
    "model": lambda volume: {"report": {**REPORT, "models": {"plane": {"name": "a-plane", "sha256": "ef" * 32}}}},
    "preset": lambda volume: {"report": {**REPORT, "preset": "fast"}},
    "version": lambda volume: {"report": {**REPORT, "software": "SuperResolution3D 10"}},
    "precision": lambda volume: {"report": {**REPORT, "precision": "single"}},
    "anonymous": lambda volume: {"anonymize": True},
    "voxel": lambda volume: {"volume": volume.refined(volume.voxels + (np.arange(volume.voxels.size) == 77).reshape(volume.voxels.shape).astype(volume.voxels.dtype), (1, 1, 1))},
    "factors": lambda volume: {"volume": refined(volume, (1, 1, 2))},
    "source": lambda volume: {"volume": refined(scans.classic(scans.ct_image(), SOPInstanceUID="1.2.3.99"))},
}


@pytest.mark.parametrize("other", OTHERS)
def test_any_other_result_has_other_uids(tmp_path, other):
    volume = refined(scans.classic(scans.ct_image()))
    changed = {"volume": volume, **OTHERS[other](volume)}
    one, two = written(volume, tmp_path / "a"), written(changed.pop("volume"), tmp_path / "b", **changed)
    assert not {file.SOPInstanceUID for file in one} & {file.SOPInstanceUID for file in two}
    assert one[0].SeriesInstanceUID != two[0].SeriesInstanceUID


@pytest.mark.parametrize("anonymize", [False, True])
@pytest.mark.parametrize("source", SOURCES)
def test_the_sources_headers_stay_as_they_are(tmp_path, source, anonymize):
    volume = SOURCES[source]()
    before = [header.to_json() for header in volume.source.headers]
    written(volume, tmp_path / "out", anonymize=anonymize)
    assert [header.to_json() for header in volume.source.headers] == before


@pytest.mark.parametrize("source", SOURCES)
def test_anonymous_files_tell_nothing_of_the_patient(tmp_path, source):
    volume = refined(SOURCES[source]())
    files = written(volume, tmp_path / "out", anonymize=True)
    told = b"".join(path.read_bytes()[: path.stat().st_size - 2 * 40 * 48] for path in (tmp_path / "out").iterdir())  # pixels come last
    for secret in (*scans.SECRETS.values(), "Doe", "1.2.3.4.", "ACME", "Tube 1", "20261125", "20261126"):
        assert secret.encode() not in told, secret
    first = files[0]
    assert first.PatientIdentityRemoved == "YES" and first.PatientName == first.PatientID and str(first.PatientID).startswith("ANON-")
    assert not first.PatientBirthDate and not first.PatientSex and not first.StudyDate and "PatientWeight" not in first
    assert first.SeriesDescription == "derived by super-resolution, not for diagnosis"
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in first.ContributingEquipmentSequence]
    assert purposes == [codes.cid7005.ProcessingEquipment.value, codes.cid7005.DeIdentifyingEquipment.value]
    np.testing.assert_array_equal(values(first), volume.voxels[0])


@pytest.mark.parametrize("image", [scans.ct_image, scans.mr_image])
def test_a_name_in_a_coded_attribute_does_not_stay(tmp_path, image):
    """Somebody may have typed it where a term of the standard belongs; the terms beside it stay."""
    typed = dict.fromkeys(("BodyPartExamined", "PatientPosition", "ExposureModulationType", "ContrastBolusIngredient", "ImagedNucleus"), "JANE DOE")
    volume = refined(scans.classic(image(), ImageType=["ORIGINAL", "PRIMARY", "JANE DOE", "JANE DOE"], ScanOptions=["FS", "JANE DOE"], **typed))
    header = written(volume, tmp_path / "a", anonymize=True)[0]
    assert all(b"JANE" not in path.read_bytes() for path in (tmp_path / "a").iterdir())
    assert header.ScanOptions == "FS"
    assert list(header.ImageType) == ["DERIVED", "SECONDARY", "AXIAL" if header.Modality == "CT" else "OTHER"]


def test_anonymous_series_of_one_study_stay_together(tmp_path):
    one = written(refined(scans.classic(scans.ct_image())), tmp_path / "a", anonymize=True)[0]
    two = written(refined(scans.enhanced("CT")), tmp_path / "b", anonymize=True)[0]
    other = written(refined(scans.classic(scans.ct_image(), StudyInstanceUID="1.2.3.5")), tmp_path / "c", anonymize=True)[0]
    assert (one.StudyInstanceUID, one.FrameOfReferenceUID, one.PatientID) == (two.StudyInstanceUID, two.FrameOfReferenceUID, two.PatientID)
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    assert other.StudyInstanceUID != one.StudyInstanceUID and other.PatientID != one.PatientID


def test_words_in_the_picture_are_told_or_refused(tmp_path):
    volume = refined(scans.classic(scans.ct_image(), BurnedInAnnotation="YES"))
    assert written(volume, tmp_path / "a")[0].BurnedInAnnotation == "YES"
    with pytest.raises(InputError, match="words are part of its pictures"):
        write_dicom_series(volume, tmp_path / "b", REPORT, anonymize=True)
    assert not (tmp_path / "b").exists()


def test_only_dicom_becomes_dicom(tmp_path, scan):
    with pytest.raises(InputError, match="only from DICOM"):
        write_dicom_series(scan, tmp_path / "out")
    volume = replace(scans.classic(scans.ct_image()), modality="PT")
    with pytest.raises(InputError, match="of CT and MR, and this scan is PT"):
        write_dicom_series(volume, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_stays_as_it_is(tmp_path):
    (tmp_path / "other.txt").write_text("someone's")
    with pytest.raises(InputError, match="is not empty"):
        write_dicom_series(scans.classic(scans.ct_image()), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["other.txt"]


def test_a_real_upscaling_from_folder_to_folder(tmp_path):
    source = scans.series(tmp_path / "in", scans.mr_image())
    result = upscale(read_volume(source), 2, method="cubic")
    first, *others = [pydicom.dcmread(path) for path in write_dicom_series(result.volume, tmp_path / "out", result.report)]
    assert len(others) == 11 and first.SeriesNumber == 402
    assert first.SeriesDescription == "T2 of Jane resampled (cubic), not for diagnosis"
    np.testing.assert_array_equal(read_volume(tmp_path / "out").voxels, result.volume.voxels)
