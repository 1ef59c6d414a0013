"""DICOM segmentations in and out: made and read back by highdicom, checked by dciodvfy."""

from __future__ import annotations

import builtins
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from superres3d import read_labels, read_volume, upscale, upscale_labels
from superres3d.errors import InputError
from superres3d.scan.dicom.segmentation_out import check_segmentation
from superres3d.scan.labels import on_grid_of

from . import dicom_scans as scans
from .conftest import run_cli

hd = pytest.importorskip("highdicom")


def described(count: int) -> list:
    return [hd.seg.SegmentDescription(number, f"Part {number}", codes.SCT.Organ, codes.SCT.Kidney, "MANUAL") for number in range(1, count + 1)]


def headers(folder: Path) -> list[pydicom.Dataset]:
    read = [pydicom.dcmread(file) for file in folder.iterdir()]
    return sorted(read, key=lambda header: header.ImagePositionPatient[2])


def segmentation(images: list[pydicom.Dataset], pixels: np.ndarray, kind: str = "BINARY", count: int = 2, **more) -> hd.seg.Segmentation:
    return hd.seg.Segmentation(images, pixels, kind, described(count), hd.UID(), 7, hd.UID(), 1, "Maker", "Model", "1", "2", **more)


@pytest.fixture
def series(tmp_path):
    return scans.series(tmp_path / "in", scans.mr_image())


@pytest.fixture
def parts(series):
    """(k, j, i): two segments in two of the six slices."""
    labels = np.zeros(scans.SHAPE, np.uint8)
    labels[2:4, 3:11, 4:12], labels[2:4, 5:8, 6:8], labels[3, 15, 20] = 1, 2, 2
    return labels


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("complete", [True, False])
def test_segments_become_labels_in_their_places(tmp_path, series, parts, kind, complete):
    """Frames in any order, empty ones there or left out."""
    images = headers(series)
    order = [3, 0, 5, 1, 4, 2]
    segmentation([images[k] for k in order], parts[order], kind, omit_empty_frames=not complete).save_as(tmp_path / "seg.dcm")
    scan = read_volume(series)
    read = read_labels(tmp_path / "seg.dcm", scan)
    labels = on_grid_of(read, scan, "seg.dcm")
    assert labels.voxels.dtype == np.uint8
    assert len(read.voxels) == (6 if complete else 2)
    np.testing.assert_array_equal(labels.voxels, parts)
    np.testing.assert_allclose([*labels.origin, *labels.spacing], [*scan.origin, *scan.spacing], atol=1e-6)
    np.testing.assert_array_equal(on_grid_of(read_labels(tmp_path / "seg.dcm"), scan, "seg.dcm").voxels, parts)


def test_one_slice_in_a_folder_needs_no_neighbours(tmp_path, series, parts):
    (tmp_path / "seg").mkdir()
    parts[:3] = 0
    segmentation(headers(series), parts).save_as(tmp_path / "seg" / "1")
    scan = read_volume(series)
    np.testing.assert_array_equal(on_grid_of(read_labels(tmp_path / "seg", scan), scan, "seg").voxels, parts)


def test_fractions_from_one_half_on(tmp_path, series, parts):
    shares = np.stack([np.select([parts == 1, parts == 2], [0.9, 0.55], 0.4), np.select([parts == 1, parts == 2], [0.6, 0.9], 0.2)], axis=-1)
    segmentation(headers(series), shares, "FRACTIONAL").save_as(tmp_path / "seg.dcm")
    scan = read_volume(series)
    labels = on_grid_of(read_labels(tmp_path / "seg.dcm", scan), scan, "seg.dcm")
    np.testing.assert_array_equal(labels.voxels, parts)
    assert labels.notes == ("Fractions of segments were taken as labels from one half on.",)


def test_fractions_of_an_unknown_whole_are_refused(tmp_path, series, parts):
    segmentation(headers(series), (parts > 0)[..., None] * 0.7, "FRACTIONAL", 1).save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match=r"which value of its fractions is the whole \(Maximum Fractional Value is 300\)"):
        read_labels(changed(tmp_path / "seg.dcm", MaximumFractionalValue=300))


def test_overlapping_segments_are_refused(tmp_path, series, parts):
    segmentation(headers(series), np.stack([parts > 0, parts == 2], axis=-1)).save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match=r"seg.dcm has segments that overlap, 1 \(Part 1\) and 2 \(Part 2\)"):
        read_labels(tmp_path / "seg.dcm")


def changed(path: Path, **values: object) -> Path:
    header = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(header, keyword, value)
    header.save_as(path)
    return path


def test_what_cannot_be_read_for_certain_is_refused(tmp_path, series, parts):
    scan = read_volume(series)
    made = segmentation(headers(series), parts)
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="unknown type"):
        read_labels(changed(tmp_path / "seg.dcm", SegmentationType="CONTOURS"))
    made.save_as(tmp_path / "seg.dcm")
    labels = read_labels(changed(tmp_path / "seg.dcm", FrameOfReferenceUID="1.2.3.4.77"), scan)
    with pytest.raises(InputError, match="another frame of reference"):
        on_grid_of(labels, scan, "seg.dcm")
    made.save_as(tmp_path / "seg.dcm")
    data = (tmp_path / "seg.dcm").read_bytes()
    (tmp_path / "seg.dcm").write_bytes(data[:-100])
    with pytest.raises(InputError, match="damaged or cut"):
        read_labels(tmp_path / "seg.dcm")
    frames = made.PerFrameFunctionalGroupsSequence
    frames[0].PlanePositionSequence[0].ImagePositionPatient[2] += 1.2
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="do not lie on slices 3.6 mm apart"):
        read_labels(tmp_path / "seg.dcm", scan)
    frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 3
    frames[0].PlanePositionSequence[0].ImagePositionPatient[2] += 3.6 * 9000 - 1.2
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="do not lie on slices 3.6 mm apart"):
        read_labels(tmp_path / "seg.dcm", scan)
    frames[0].PlanePositionSequence[0].ImagePositionPatient[2] -= 3.6 * 9000
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="to which segment"):
        read_labels(tmp_path / "seg.dcm", scan)
    del frames[0].SegmentIdentificationSequence
    made.save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="to which segment"):
        read_labels(tmp_path / "seg.dcm")


def test_a_segmentation_is_no_scan(tmp_path, series, parts):
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    with pytest.raises(InputError, match="holds a segmentation, not a scan"):
        read_volume(tmp_path / "seg.dcm")


def run(*arguments: object):
    return run_cli("upscale", *arguments, "--method", "linear", "--progress", "none", "--scale", "2,4")


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_in_and_one_out(tmp_path, series, parts, kind):
    pixels = np.stack([parts == 1, parts == 2], axis=-1).astype(float) if kind == "FRACTIONAL" else parts
    segmentation(headers(series), pixels, kind).save_as(tmp_path / "seg.dcm")
    done = run(series, tmp_path / "out", "--labels", tmp_path / "seg.dcm", "--labels-out", tmp_path / "fine.dcm")
    assert (done.returncode, done.stderr) == (0, "")
    result = read_volume(tmp_path / "out")
    expected = upscale_labels(on_grid_of(read_labels(tmp_path / "seg.dcm"), read_volume(series), ""), result)
    written = hd.seg.segread(tmp_path / "fine.dcm")
    images = {str(image.SOPInstanceUID): image for image in headers(tmp_path / "out")}
    assert written.segmentation_type.value == "BINARY"
    assert [written.get_segment_description(number).segment_label for number in (1, 2)] == ["Part 1", "Part 2"]
    one = next(iter(images.values()))
    assert all(written[word].value == one[word].value for word in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"))
    assert written.SeriesInstanceUID != one.SeriesInstanceUID and written.SeriesDescription.endswith("not for diagnosis")
    # By highdicom: planes by the slices that they refer to, and places by its own volume.
    names = [str(image.SOPInstanceUID) for image in headers(tmp_path / "out")]
    planes = written.get_pixels_by_source_instance(names, combine_segments=True, assert_missing_frames_are_empty=True, ignore_spatial_locations=True)
    np.testing.assert_array_equal(planes, expected.voxels)
    volume = written.get_volume(combine_segments=True)
    assert volume.spacing == pytest.approx(result.spacing[::-1])
    first = np.flatnonzero(expected.voxels.any(axis=(1, 2)))[[0, -1]]
    ends = [volume.map_indices_to_reference(np.array([[0, 0, 0]]))[0], volume.map_indices_to_reference(np.array([[len(volume.array) - 1, 0, 0]]))[0]]
    np.testing.assert_allclose(sorted(ends, key=lambda end: end[2]), [result.position((0, 0, k)) for k in first], atol=1e-4)
    np.testing.assert_array_equal(on_grid_of(read_labels(tmp_path / "fine.dcm", result), result, "").voxels, expected.voxels)


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of Debian's dicom3tools is not installed")
@pytest.mark.parametrize("image", [scans.mr_image, scans.ct_image])
def test_dciodvfy_finds_no_error(tmp_path, parts, image):
    series = scans.series(tmp_path / image.__name__, image())
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    assert run(series, tmp_path / "out", "--labels", tmp_path / "seg.dcm", "--labels-out", tmp_path / "fine.dcm").returncode == 0
    told = subprocess.run(["dciodvfy", tmp_path / "fine.dcm"], capture_output=True, text=True).stderr
    assert "Segmentation" in told + subprocess.run(["dciodvfy", tmp_path / "fine.dcm"], capture_output=True, text=True).stdout
    assert "Error" not in told, told


def test_the_same_run_gives_the_same_uids(tmp_path, series, parts):
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    for name in "ab":
        assert run(series, tmp_path / name, "--labels", tmp_path / "seg.dcm", "--labels-out", tmp_path / f"{name}.dcm").returncode == 0
    one, two = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "ab")
    assert (one.SOPInstanceUID, one.SeriesInstanceUID) == (two.SOPInstanceUID, two.SeriesInstanceUID)


def test_a_segmentation_as_plain_labels_and_an_empty_one(tmp_path, series, parts):
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    assert run(series, tmp_path / "out.nii", "--labels", tmp_path / "seg.dcm", "--labels-out", tmp_path / "fine.nii").returncode == 0
    assert set(np.unique(read_labels(tmp_path / "fine.nii").voxels)) == {0, 1, 2}
    segmentation(headers(series), parts * 0, omit_empty_frames=False).save_as(tmp_path / "none.dcm")
    done = run(series, tmp_path / "out", "--labels", tmp_path / "none.dcm", "--labels-out", tmp_path / "fine.dcm")
    assert (done.returncode, done.stderr) == (0, "")
    assert not hd.seg.segread(tmp_path / "fine.dcm").pixel_array.any()


REFUSALS = {
    "result is a file": (["out.nii", "--labels", "seg.dcm", "--labels-out", "fine.dcm"], "belongs to a DICOM series; give the result the name of a folder"),
    "anonymous": (["out", "--labels", "seg.dcm", "--labels-out", "fine.dcm", "--anonymize"], "cannot know whether the words of a segmentation name the patient"),
    "plain labels": (["out", "--labels", "plain.nii", "--labels-out", "fine.dcm"], "does not tell what its labels are"),
    "over the segmentation": (["out", "--labels", "seg.dcm", "--labels-out", "seg.dcm"], "are the same"),
    "into the series": (["out", "--labels", "seg.dcm", "--labels-out", "in/fine.dcm"], "stays as it is"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_sentence_and_write_nothing(tmp_path, series, parts, case, monkeypatch):
    from superres3d import Volume, write_volume

    monkeypatch.chdir(tmp_path)
    segmentation(headers(series), parts).save_as("seg.dcm")
    scan = read_volume(series)
    write_volume(Volume(parts, scan.spacing, scan.origin, scan.direction), "plain.nii")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    arguments, sentence = REFUSALS[case]
    done = run("in", *arguments)
    assert done.returncode not in (0, 1)
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_highdicom_a_sentence_says_so(tmp_path, series, parts, monkeypatch):
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    labels, found = read_labels(tmp_path / "seg.dcm"), builtins.__import__

    def missing(name, *more, **kept):
        if name == "highdicom":
            raise ModuleNotFoundError(name="highdicom")
        return found(name, *more, **kept)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"package highdicom, which is not installed here; run: pip install highdicom"):
        check_segmentation(labels, "seg.dcm")


def test_labels_from_a_segmentation_in_python(tmp_path, series, parts):
    segmentation(headers(series), parts).save_as(tmp_path / "seg.dcm")
    scan = read_volume(series)
    result = upscale(scan, 2, method="linear").volume
    fine = upscale_labels(on_grid_of(read_labels(tmp_path / "seg.dcm", scan), scan, "seg.dcm"), result)
    assert fine.voxels.shape == result.voxels.shape and set(np.unique(fine.voxels)) == {0, 1, 2}
