"""Multi-frame DICOM: the same checks as for a folder of slices, and the same volume."""

from __future__ import annotations

import numpy as np
import pytest
from superres3d import read_volume
from superres3d.errors import InputError

from .dicom_files import enhanced, image_header, item, name_instance, save, stored, write_series


def test_frames_in_their_order(tmp_path):
    voxels = stored()
    file = save(enhanced(voxels), tmp_path / "a" / "mr.dcm")
    for path in (file, file.parent):
        volume = read_volume(path)
        np.testing.assert_array_equal(volume.voxels, voxels)
        assert volume.spacing == (0.8, 0.7, 2.5) and volume.origin == (-11, -25, 60) and volume.modality == "MR"
        assert volume.source.files == (file,) and len(volume.source.headers) == 1 and "PixelData" not in volume.source.headers[0]


def test_frames_out_of_order(tmp_path):
    voxels = stored()
    order = np.array([0, 2, 4, 1, 3, 5])
    volume = read_volume(save(enhanced(voxels[order], 2.5 * order), tmp_path / "mr.dcm"))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.spacing[2] == 2.5 and volume.source.frames == ((0, 3, 1, 4, 2, 5),)


def test_frames_against_the_normal(tmp_path):
    volume = read_volume(save(enhanced(stored()[::-1].copy(), -2.5 * np.arange(6)), tmp_path / "mr.dcm"))
    assert volume.origin == (-11, -25, 47.5)
    np.testing.assert_array_equal(volume.voxels, stored())


def test_slope_of_every_frame(tmp_path):
    def change(frame, k):
        frame.PixelValueTransformationSequence = [item(RescaleIntercept=k, RescaleSlope=f"{1 + k / 4:g}", RescaleType="US")]

    voxels = stored()
    volume = read_volume(save(enhanced(voxels, change=change), tmp_path / "mr.dcm"))
    k = np.arange(6)[:, None, None]
    np.testing.assert_allclose(volume.voxels, voxels * (1 + k / 4) + k)
    assert volume.voxels.dtype == np.float32


def two_directions(frame, k):
    frame.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, int(k <= 2), int(k > 2)])]
    frame.PlanePositionSequence[0].ImagePositionPatient = [-11, -25 + 2.5 * k, 60 + 2.5 * k]


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda frame, k: frame.update(item(PixelMeasuresSequence=[item(PixelSpacing=[0.7, 0.8 if k < 3 else 0.9])])), r"holds 2 volumes.*1: 3 slices of 12 x 14, pixels of 0.8 x 0.7 mm; 2: "),
        (two_directions, "direction axial; 2: .*direction coronal"),
        (lambda frame, k: k == 3 and delattr(frame, "PlanePositionSequence"), "does not tell where its slices lie"),
        (lambda frame, k: k == 3 and setattr(frame.PlanePositionSequence[0], "ImagePositionPatient", [-3, -25, 67.5]), "do not lie above each other"),
        (lambda frame, k: k > 2 and setattr(frame.PlanePositionSequence[0], "ImagePositionPatient", [-11, -25, 62.5 + 2.5 * k]), "lacks 1 slice"),
        (lambda frame, k: frame.update(item(PixelMeasuresSequence=[item(PixelSpacing=None)])), "does not tell the size of its pixels"),
    ],
)
def test_frames_that_make_no_volume(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        read_volume(save(enhanced(stored(), change=change), tmp_path / "mr.dcm"))


@pytest.mark.parametrize("count", [5, 7, 1])
def test_frames_that_are_counted_wrongly(tmp_path, count):
    header = enhanced(stored())
    header.NumberOfFrames = count
    with pytest.raises(InputError, match=f"describes 6 frames and counts {count}"):
        read_volume(save(header, tmp_path / "mr.dcm"))


def test_more_or_fewer_pixels_than_frames(tmp_path):
    for voxels in (stored(5), stored(7)):
        header = enhanced(stored())
        header.PixelData = voxels.tobytes()
        with pytest.raises(InputError, match=r"holds \d+ bytes of pixels where its header asks for 2016 \(12 x 14 pixels, 6 frames, 16 bits\)"):
            read_volume(save(header, tmp_path / "mr.dcm"))


def test_echoes_of_one_file(tmp_path):
    """Told apart by the echo time, and interleaved in the file."""

    def echo(frame, k):
        frame.MREchoSequence = [item(EffectiveEchoTime=(10.0, 80.0)[k % 2])]

    voxels = stored(12)
    path = save(enhanced(voxels, 2.5 * (np.arange(12) // 2), change=echo), tmp_path / "mr.dcm")
    with pytest.raises(InputError, match=r"holds 2 volumes; choose one with --volume .*\(1: 6 slices of 12 x 14, echo time 10 ms; 2: 6 slices of 12 x 14, echo time 80 ms\)"):
        read_volume(path)
    for number in (1, 2):
        volume = read_volume(path, volume=number)
        np.testing.assert_array_equal(volume.voxels, voxels[number - 1 :: 2])
        assert volume.source.frames == (tuple(range(number - 1, 12, 2)),)
        assert volume.notes == (f"Volume {number} of 2: 6 slices of 12 x 14, echo time {(10, 80)[number - 1]} ms.",)


def test_frames_at_one_place_that_nothing_tells_apart(tmp_path):
    with pytest.raises(InputError, match=r"several slices at one position \(up to 2\), and nothing"):
        read_volume(save(enhanced(stored(12), 2.5 * (np.arange(12) // 2)), tmp_path / "mr.dcm"))


def test_times_by_their_dimension_index(tmp_path):
    """Nothing but the indices of the dimensions tells two times apart."""

    def index(frame, k):
        frame.FrameContentSequence[0].DimensionIndexValues = [1, k % 6 + 1, k // 6 + 1]

    voxels = stored(12)
    path = save(enhanced(voxels, 2.5 * (np.arange(12) % 6), change=index), tmp_path / "mr.dcm")
    with pytest.raises(InputError, match="dimension 3 1; 2: .*dimension 3 2"):
        read_volume(path)
    np.testing.assert_array_equal(read_volume(path, volume=2).voxels, voxels[6:])


def test_legacy_converted(tmp_path):
    """What had no place in the functional groups stands in one of its own."""

    def unassigned(frame, k):
        frame.UnassignedPerFrameConvertedAttributesSequence = [item(EchoTime=str(10 + k // 6))]

    header = enhanced(stored(12), 2.5 * (np.arange(12) % 6), "CT", unassigned)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.2"
    with pytest.raises(InputError, match="echo time 10 ms; 2: .*echo time 11 ms"):
        read_volume(save(header, tmp_path / "ct.dcm"))


def test_two_files_of_one_series_are_two_volumes(tmp_path):
    voxels = stored(), stored(seed=1)
    for number, part in enumerate(voxels, 1):
        header = enhanced(part)
        name_instance(header, number)
        save(header, tmp_path / "a" / f"mr{number}.dcm")
    with pytest.raises(InputError, match="holds 2 volumes.*file mr1.dcm; 2: .*file mr2.dcm"):
        read_volume(tmp_path / "a")
    np.testing.assert_array_equal(read_volume(tmp_path / "a", volume=2).voxels, voxels[1])


def test_multi_frame_without_places(tmp_path):
    header = image_header((14, 12), "CT")
    name_instance(header, 1)
    header.NumberOfFrames, header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing = 6, [0, 0, 0], [1, 0, 0, 0, 1, 0], [0.7, 0.8]
    header.PixelData = stored().tobytes()
    with pytest.raises(InputError, match="does not tell where its slices lie"):
        read_volume(save(header, tmp_path / "cbct.dcm"))


def dose(offsets, orientation=(1, 0, 0, 0, 1, 0)):
    header = image_header((14, 12), "RTDOSE")
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    name_instance(header, 1)
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 32, 32, 31, 0
    header.NumberOfFrames, header.ImagePositionPatient, header.ImageOrientationPatient, header.PixelSpacing = len(offsets), [0, 0, 60], list(orientation), [0.7, 0.8]
    header.GridFrameOffsetVector, header.DoseGridScaling, header.DoseUnits = list(offsets), "0.0001", "GY"
    header.PixelData = np.arange(len(offsets) * 14 * 12, dtype=np.uint32).tobytes()
    return header


@pytest.mark.parametrize("offsets", [(0, 2.5, 5, 7.5), (60, 62.5, 65, 67.5)])
def test_dose(tmp_path, offsets):
    volume = read_volume(save(dose(offsets), tmp_path / "dose.dcm"))
    assert volume.modality == "RTDOSE" and volume.spacing == (0.8, 0.7, 2.5) and volume.origin == (0, 0, 60)
    np.testing.assert_allclose(volume.voxels.ravel(), np.arange(4 * 14 * 12) * 1e-4, rtol=1e-6)


def test_dose_whose_slices_go_down(tmp_path):
    """Coordinates that fall, along a normal that points down."""
    volume = read_volume(save(dose((60, 57.5, 55), (1, 0, 0, 0, -1, 0)), tmp_path / "dose.dcm"))
    np.testing.assert_allclose(volume.position((0, 0, 2)), (0, 0, 55))
    np.testing.assert_allclose(volume.voxels.ravel(), np.arange(3 * 14 * 12) * 1e-4, rtol=1e-6)


@pytest.mark.parametrize("offsets, orientation, sentence", [((30, 32.5, 35), (1, 0, 0, 0, 1, 0), "do not begin at its first slice"), ((60, 62.5, 65), (1, 0, 0, 0, 0, 1), "do not begin at its first slice")])
def test_dose_that_contradicts_itself(tmp_path, offsets, orientation, sentence):
    with pytest.raises(InputError, match=sentence):
        read_volume(save(dose(offsets, orientation), tmp_path / "dose.dcm"))


def nuclear(step, kind="RECON TOMO"):
    header = image_header((14, 12), "NM")
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.20"
    name_instance(header, 1)
    header.ImageType, header.NumberOfFrames, header.PixelSpacing, header.SpacingBetweenSlices = ["ORIGINAL", "PRIMARY", kind, "EMISSION"], 6, [0.7, 0.8], step
    header.DetectorInformationSequence = [item(ImagePositionPatient=[-11, -25, 60], ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    header.PixelData = stored().tobytes()
    return header


def test_nuclear_medicine(tmp_path):
    volume = read_volume(save(nuclear(2.5), tmp_path / "nm.dcm"))
    assert volume.modality == "NM" and volume.spacing == (0.8, 0.7, 2.5) and volume.origin == (-11, -25, 60)
    np.testing.assert_array_equal(volume.voxels, stored())
    turned = read_volume(save(nuclear(-2.5), tmp_path / "nm.dcm"))
    assert turned.origin == (-11, -25, 47.5)
    np.testing.assert_array_equal(turned.voxels, stored()[::-1])


@pytest.mark.parametrize("kind", ["TOMO", "STATIC", "DYNAMIC", "WHOLE BODY", "RECON GATED TOMO"])
def test_projections_are_no_volume(tmp_path, kind):
    with pytest.raises(InputError, match=f"of the kind {kind}, not the slices of one volume"):
        read_volume(save(nuclear(2.5, kind), tmp_path / "nm.dcm"))


def test_single_frames_of_an_enhanced_series(tmp_path):
    """One frame a file: as a classic series."""
    voxels = stored()
    for k in range(6):
        header = enhanced(voxels[k : k + 1], [2.5 * k])
        name_instance(header, k + 1)
        save(header, tmp_path / "a" / f"mr{k}.dcm")
    volume = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert len(volume.source.headers) == 6


def test_as_the_classic_series(tmp_path):
    voxels = stored()
    one, other = read_volume(write_series(tmp_path / "a", voxels, modality="MR")), read_volume(save(enhanced(voxels), tmp_path / "mr.dcm"))
    np.testing.assert_array_equal(one.voxels, other.voxels)
    assert (one.spacing, one.origin, one.modality) == (other.spacing, other.origin, other.modality)


def test_a_sequence_that_is_told_as_a_number(tmp_path):
    path = save(enhanced(stored()), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"\x20\x00\x13\x91SQ", b"\x20\x00\x13\x91SV"))  # Plane Position Sequence
    with pytest.raises(InputError, match=r"a part of its header \(PlanePositionSequence\) cannot be read"):
        read_volume(path)
