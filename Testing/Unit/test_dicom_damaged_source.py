"""A source whose header is not what the standard wants: a derived series is sound all the same, and tells nothing that is not so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import config
from superres3d import read_volume
from superres3d.scan.dicom.write import write_dicom_series

from . import dicom_scans as scans

NONE: tuple[Any, ...] = (None, "", [])  # missing or empty
#: kind -> (what the source has, what the result must have: a value, or None for missing or empty)
CT_KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "terms that do not exist": (
        {"PatientSex": "X", "SmokingStatus": "UNKNOW", "Laterality": "X", "BurnedInAnnotation": "MAYBE", "RotationDirection": "UP"},
        {"PatientSex": None, "SmokingStatus": None, "Laterality": None, "BurnedInAnnotation": None, "RotationDirection": None},
    ),
    "dates and ages of another form": ({"StudyDate": "2021-03-04", "AcquisitionDate": "20211399", "PatientAge": "71"}, {"StudyDate": None, "AcquisitionDate": None, "PatientAge": None}),
    "two values where one may be": ({"KVP": ["120", "80"]}, {"KVP": None}),
    "longer numbers than may be": ({"KVP": "120.00000000000000000001"}, {"KVP": 120}),
    "an image type of small letters": ({"ImageType": "original"}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
    "no image type": ({"ImageType": None}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL"]}),
    "a centre without a width": ({"WindowWidth": None}, {"WindowCenter": None, "WindowWidth": None, "WindowCenterWidthExplanation": None}),
    "more centres than widths": ({"WindowCenter": ["1", "2", "3"]}, {"WindowCenter": None, "WindowWidth": None}),
    "a window of no width": ({"WindowWidth": ["0", "0"]}, {"WindowCenter": None, "WindowWidth": None}),
    "explanations of another count": ({"WindowCenterWidthExplanation": "ONE"}, {"WindowWidth": [80, 2800], "WindowCenterWidthExplanation": None}),
    "no thickness": ({"SliceThickness": None}, {"SliceThickness": 3.6}),
    "a thickness of 0": ({"SliceThickness": "0"}, {"SliceThickness": 3.6}),
    "an unknown character set": ({"SpecificCharacterSet": "KLINGON"}, {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "MRN-4711"}),
    "names in three scripts": (
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}, {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}
    ),
    "an umlaut": ({"SeriesDescription": "Schädel-CT"}, {"SeriesDescription": "Schädel-CT resampled (derived), not for diagnosis"}),
    "a name that is too long": ({"PatientName": "X" * 80}, {"PatientName": "X" * 80}),  # it is the patient's
    "no study": ({"StudyInstanceUID": None}, {"PatientID": "MRN-4711"}),
    "no series": ({"SeriesInstanceUID": None}, {"ReferencedSeriesSequence": None}),
    "no frame of reference": ({"FrameOfReferenceUID": None}, {"PatientID": "MRN-4711"}),
    "a frame of reference with a leading zero": ({"FrameOfReferenceUID": "1.02.3"}, {"FrameOfReferenceUID": "1.02.3"}),
    "an impossible time zone": ({"TimezoneOffsetFromUTC": "-9999"}, {"StudyTime": "101112"}),
    "the largest series number": ({"SeriesNumber": "2147483647"}, {"SeriesNumber": 2147483647}),
    "a large series number": ({"SeriesNumber": "21474837"}, {"SeriesNumber": 21474839}),
    "no series number": ({"SeriesNumber": None}, {"SeriesNumber": 2}),
    "an unnamed part of the body": ({"BodyPartExamined": None}, {"Laterality": None}),
    "one of two knees": ({"BodyPartExamined": "KNEE"}, {"BodyPartExamined": "KNEE", "Laterality": None}),
    "half of a trial": ({"ClinicalTrialSponsorName": "S"}, {"ClinicalTrialSponsorName": None}),
    "a trial": (
        {"ClinicalTrialSponsorName": "S", "ClinicalTrialProtocolID": "P", "ClinicalTrialSubjectID": "7"}, {"ClinicalTrialSponsorName": "S", "ClinicalTrialSubjectID": "7", "ClinicalTrialSiteID": None}
    ),
    "an animal": ({"PatientSpeciesDescription": "dog", "ResponsiblePerson": "x^y"}, {"PatientSpeciesDescription": "dog", "ResponsiblePerson": None}),
    "nobody, and not said how": ({"PatientIdentityRemoved": "YES"}, {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "not told by the source"}),
    "a contrast medium without a name": ({"ContrastBolusAgent": None, "ContrastBolusVolume": "100"}, {"ContrastBolusVolume": 100, "ContrastBolusAgent": None}),
    "no patient": ({"PatientName": "", "PatientID": "", "PatientBirthDate": None, "Manufacturer": ""}, {"PatientName": None, "PatientID": None}),
    "numbers that fall": ({"InstanceNumber": None}, {"InstanceNumber": 1}),
    "a tilt that the grid no longer has": ({"GantryDetectorTilt": "12"}, {"GantryDetectorTilt": None}),
}  # fmt: skip
MR_KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no sequence at all": (
        dict.fromkeys(("ScanningSequence", "SequenceVariant", "ScanOptions", "EchoTime", "RepetitionTime", "EchoTrainLength", "MRAcquisitionType")),
        {"ScanningSequence": "RM", "SequenceVariant": "NONE", "EchoTime": None, "InversionTime": None},
    ),
    "inversion without its time": ({"InversionTime": None}, {"InversionTime": None, "ScanningSequence": ["SE", "IR"]}),
    "gated without a trigger": ({"ScanOptions": ["CG", "PFP"]}, {"TriggerTime": None, "ScanOptions": ["CG", "PFP"]}),
    "a function without a window": ({"VOILUTFunction": "SIGMOID"}, {"VOILUTFunction": None}),
}
KINDS = {**{f"CT, {kind}": (scans.ct_image, *case) for kind, case in CT_KINDS.items()}, **{f"MR, {kind}": (scans.mr_image, *case) for kind, case in MR_KINDS.items()}}
NOT_OURS = ("leading zero", "too long")  # dciodvfy rightly complains of what is the patient's


@pytest.fixture
def no_validation():
    """pydicom writes whatever it is given."""
    config.settings.writing_validation_mode = config.IGNORE
    yield
    config.settings.writing_validation_mode = None


def derived(tmp_path: Path, image: Any, changes: dict[str, Any]) -> list[Path]:
    scans.series(tmp_path / "in", image(), **changes)
    config.settings.writing_validation_mode = None
    return write_dicom_series(read_volume(tmp_path / "in"), tmp_path / "out")


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is wrong in these sources
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_sound_stays_behind(tmp_path, no_validation, kind):
    image, changes, expected = KINDS[kind]
    files = derived(tmp_path, image, changes)
    told = pydicom.dcmread(files[0])
    for keyword, value in expected.items():
        found = told.get(keyword)
        assert found in NONE if value is None else found == value, (keyword, found)
    assert told.StudyInstanceUID and told.FrameOfReferenceUID
    if shutil.which("dciodvfy") and not any(word in kind for word in NOT_OURS):
        complaints = subprocess.run(["dciodvfy", files[0]], capture_output=True, text=True).stderr
        assert "Error" not in complaints, complaints


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_images_without_names_are_not_referred_to(tmp_path, keyword):
    for path in scans.series(tmp_path / "in", scans.ct_image()).iterdir():
        header = pydicom.dcmread(path)
        delattr(header, keyword)
        header.save_as(path)
    first = pydicom.dcmread(write_dicom_series(read_volume(tmp_path / "in"), tmp_path / "out")[0])
    assert "SourceImageSequence" not in first and "ReferencedSeriesSequence" not in first


@pytest.mark.parametrize("keyword, element", [("SOPInstanceUID", b"\x08\x00\x18\x00UI"), ("SOPClassUID", b"\x08\x00\x16\x00UI"), ("FrameOfReferenceUID", b"\x20\x00\x52\x00UI")])
@pytest.mark.parametrize("damage", ["kind", "value"])
def test_damaged_names_are_not_taken_over(tmp_path, keyword, element, damage):
    """An element of a kind that does not exist, or a name that is none, in one file or in all."""
    scans.series(tmp_path / "in", scans.ct_image())
    for path in (tmp_path / "in").iterdir():
        data = path.read_bytes()
        place = data.index(element)
        place += 5 if damage == "kind" else 9
        path.write_bytes(data[:place] + b"Q" + data[place + 1 :])
    first = pydicom.dcmread(write_dicom_series(read_volume(tmp_path / "in"), tmp_path / "out")[0])
    assert ("SourceImageSequence" in first) == (keyword == "FrameOfReferenceUID")
    assert first.FrameOfReferenceUID and first.FrameOfReferenceUID.is_valid


def test_a_padding_value_of_an_unknown_kind_stays_behind(tmp_path):
    for path in scans.series(tmp_path / "in", scans.ct_image(), PixelPaddingValue=7).iterdir():
        path.write_bytes(path.read_bytes().replace(b"\x28\x00\x20\x01US", b"\x28\x00\x20\x01TS"))
    assert "PixelPaddingValue" not in pydicom.dcmread(write_dicom_series(read_volume(tmp_path / "in"), tmp_path / "out")[0])


@pytest.mark.parametrize("damaged", [b"abc", b"12,0", b"nan", b"1 2", b"\xff\xfe"])
def test_words_for_numbers_stay_behind(tmp_path, damaged):
    for path in scans.series(tmp_path / "in", scans.ct_image(), KVP="98765.4321").iterdir():
        path.write_bytes(path.read_bytes().replace(b"98765.4321", damaged.ljust(10)))
    first = pydicom.dcmread(write_dicom_series(read_volume(tmp_path / "in"), tmp_path / "out")[0])
    assert "KVP" in first and first.KVP is None


def test_numbers_of_slices_run_as_those_of_the_source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(scans.SHAPE[0]):
        scans.save(scans.slice_of(scans.ct_image(), k, InstanceNumber=90 - k), folder / f"{k}.dcm")
    files = [pydicom.dcmread(path) for path in write_dicom_series(read_volume(folder), tmp_path / "out")]
    assert [file.InstanceNumber for file in files] == [1, 2, 3, 4, 5, 6]
    assert [round(float(file.ImagePositionPatient[2]), 1) for file in files] == [25.1, 21.5, 17.9, 14.3, 10.7, 7.1]


LOSSY = {
    "told": ({"LossyImageCompression": "01", "LossyImageCompressionRatio": "7.5", "LossyImageCompressionMethod": "ISO_10918_1"}, "1.2.840.10008.1.2.1", ("01", 7.5, "ISO_10918_1")),
    "told in part": ({"LossyImageCompression": "01"}, "1.2.840.10008.1.2.1", ("01", 1, None)),
    "only in the syntax": ({}, "1.2.840.10008.1.2.4.51", ("01", 1, "ISO_10918_1")),
    "lossless in a syntax of both": ({"LossyImageCompression": "00"}, "1.2.840.10008.1.2.4.91", ("00", None, None)),
    "lossless": ({}, "1.2.840.10008.1.2.4.70", (None, None, None)),
}


@pytest.mark.parametrize("kind", LOSSY)
def test_what_once_lost_detail_stays_marked(tmp_path, kind):
    changes, syntax, expected = LOSSY[kind]
    volume = scans.classic(scans.ct_image(), **changes)
    for header in volume.source.headers:
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = syntax
    first = pydicom.dcmread(write_dicom_series(volume, tmp_path / "out")[0])
    assert tuple(first.get(f"LossyImageCompression{word}") for word in ("", "Ratio", "Method")) == expected
