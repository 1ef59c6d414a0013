"""Folders with more than one volume, and with files that are none: never mixed, never left out without a word."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pydicom
import pytest
from superres3d import read_volume
from superres3d.errors import InputError

from .conftest import run_cli
from .dicom_files import stored, write_series


def two(folder, first, second, **options):
    """A second set of slices at the same places in the same series."""
    write_series(folder, stored(), change=first, **options)
    return write_series(folder, stored(seed=1), change=second, first=7, **options)


def setting(keyword, value):
    return lambda header, k: setattr(header, keyword, value)


@pytest.mark.parametrize(
    "keyword, values, told",
    [
        ("EchoTime", ("10", "80"), ("echo time 10 ms", "echo time 80 ms")),
        ("EchoNumbers", (1, 2), ("echo 1", "echo 2")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), (r"image type ORIGINAL\\PRIMARY\\M", r"image type ORIGINAL\\PRIMARY\\P")),
        ("ComplexImageComponent", ("REAL", "IMAGINARY"), ("component REAL", "component IMAGINARY")),
        ("ConvolutionKernel", ("B30f", "B70f"), ("kernel B30f", "kernel B70f")),
        ("DiffusionBValue", (0.0, 1000.0), ("b-value 0 s/mm2", "b-value 1000 s/mm2")),
        ("RescaleType", ("HU", "US"), ("kind of values HU", "kind of values US")),
        ("Units", ("BQML", "CNTS"), ("units BQML", "units CNTS")),
        ("TemporalPositionIdentifier", (1, 2), ("time point 1", "time point 2")),
        ("TriggerTime", ("0", "350.5"), ("trigger time 0 ms", "trigger time 350.5 ms")),
        ("AcquisitionNumber", (1, 2), ("acquisition 1", "acquisition 2")),
        ("AcquisitionTime", ("120000", "120500.5"), ("time of acquisition 120000", "time of acquisition 120500.5")),
        ("InversionTime", ("100", "900"), ("inversion time 100 ms", "inversion time 900 ms")),
        ("FlipAngle", ("5", "20"), ("flip angle 5 degrees", "flip angle 20 degrees")),
        ("RepetitionTime", ("500", "2500"), ("repetition time 500 ms", "repetition time 2500 ms")),
        ("SequenceName", ("ep_b0", "ep_b1000"), ("sequence ep_b0", "sequence ep_b1000")),
        ("KVP", ("80", "140"), ("tube voltage 80 kV", "tube voltage 140 kV")),
        ("PatientID", ("A1", "B2"), ("patient A1", "patient B2")),
        ("FrameOfReferenceUID", ("1.2.3", "1.2.4"), ("frame of reference 1.2.3", "frame of reference 1.2.4")),
        ("PhotometricInterpretation", ("MONOCHROME1", "MONOCHROME2"), ("photometric interpretation MONOCHROME1", "photometric interpretation MONOCHROME2")),
    ],
)
def test_what_tells_volumes_apart(tmp_path, keyword, values, told):
    folder = two(tmp_path / "a", *(setting(keyword, value) for value in values))
    with pytest.raises(InputError, match=rf"holds 2 volumes; choose one with --volume and its number \(1: 6 slices of 12 x 14, {told[0]}.*; 2: 6 slices of 12 x 14, {told[1]}"):
        read_volume(folder)
    for number in (1, 2):
        volume = read_volume(folder, volume=number)
        np.testing.assert_array_equal(volume.voxels, stored(seed=number - 1))
        assert volume.notes[0].startswith(f"Volume {number} of 2: 6 slices of 12 x 14")


@pytest.mark.parametrize("keyword", ["EchoTime", "ConvolutionKernel", "ImageType", "RescaleType", "ComplexImageComponent"])
def test_what_is_never_mixed_even_at_places_of_their_own(tmp_path, keyword):
    """Every other slice is of another kind: no volume is made of both."""
    values = {"EchoTime": ("10", "20"), "ImageType": (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"])}.get(keyword, ("A", "B"))
    with pytest.raises(InputError, match="holds 2 volumes"):
        read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: setattr(header, keyword, values[k % 2])))


def test_acquisitions_that_follow_each_other_are_one_volume(tmp_path):
    """Step and shoot: a number for each pair of slices."""
    volume = read_volume(write_series(tmp_path / "a", stored(), change=lambda header, k: setattr(header, "AcquisitionNumber", 1 + k // 2)))
    np.testing.assert_array_equal(volume.voxels, stored())


@pytest.mark.parametrize(
    "modality, keyword, values",
    [("CT", "AcquisitionNumber", (1, 2)), ("CT", "KVP", ("80", "140")), ("MR", "InversionTime", ("100", "900")), ("MR", "TemporalPositionIdentifier", (1, 2))],
)
@pytest.mark.parametrize("beside", [1.25, 1.0, 0.004])
def test_volumes_whose_slices_lie_between_each_other(tmp_path, modality, keyword, values, beside):
    """The second begins a part of a step beside the first: no place is held twice."""
    for number, value in enumerate(values):
        places = 2.5 * np.arange(6) + beside * number
        write_series(tmp_path / "a", stored(seed=number), places, modality=modality, change=setting(keyword, value), first=1 + 6 * number)
    with pytest.raises(InputError, match="holds 2 volumes"):
        read_volume(tmp_path / "a")
    for number in (1, 2):
        volume = read_volume(tmp_path / "a", volume=number)
        np.testing.assert_array_equal(volume.voxels, stored(seed=number - 1))
        assert volume.spacing[2] == pytest.approx(2.5)


def test_packages_of_every_other_slice_are_one_volume(tmp_path):
    """Interleaved 2D MR: a number and a time for the even slices, another for the odd ones."""

    def change(header, k):
        header.AcquisitionNumber, header.AcquisitionTime, header.TriggerTime = 1 + k % 2, f"12000{k % 2}", str(k % 2 * 400)

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", stored(8), modality="MR", change=change)).voxels, stored(8))


def test_times_of_a_few_slices_at_once_are_one_volume(tmp_path):
    """Two slices are excited together: three time offsets, of two slices each."""
    voxels = stored()
    change = lambda header, k: setattr(header, "TemporalPositionTimeOffset", float(k % 3))  # noqa: E731
    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", voxels, modality="MR", change=change)).voxels, voxels)


def test_private_b_values(tmp_path):
    def siemens(value):
        def change(header, k):
            block = header.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0C, "IS", str(value))

        return change

    with pytest.raises(InputError, match="b-value 50 s/mm2.*b-value 800 s/mm2"):
        read_volume(two(tmp_path / "a", siemens(50), siemens(800)))


def test_two_labels_together(tmp_path):
    """Two flip angles at two times: neither alone is enough."""
    folder = tmp_path / "a"
    for number, (angle, time) in enumerate([("5", 0), ("5", 1), ("20", 0), ("20", 1)]):

        def change(header, k, angle=angle, time=time):
            header.FlipAngle, header.TriggerTime = angle, time

        write_series(folder, stored(seed=number), change=change, first=6 * number + 1)
    with pytest.raises(InputError, match="holds 4 volumes"):
        read_volume(folder)
    np.testing.assert_array_equal(read_volume(folder, volume=3).voxels, stored(seed=2))


def test_the_fewest_volumes(tmp_path):
    """Two times; the acquisitions within each are no volumes of their own, nor are the slices' own times."""

    def change(time):
        def at(header, k):
            header.TemporalPositionIdentifier, header.AcquisitionNumber, header.AcquisitionTime = time, 10 * time + k // 2, f"12{time:02d}{k:02d}"

        return at

    folder = two(tmp_path / "a", change(1), change(2))
    with pytest.raises(InputError, match="holds 2 volumes.*time point 1; 2: .*time point 2"):
        read_volume(folder)


def test_times_of_slices_make_no_volumes(tmp_path):
    """Every slice has a time of its own: nothing says which belong together."""
    folder = two(tmp_path / "a", lambda header, k: setattr(header, "AcquisitionTime", f"1200{k:02d}"), lambda header, k: setattr(header, "AcquisitionTime", f"1300{k:02d}"))
    with pytest.raises(InputError, match="several slices at one position"):
        read_volume(folder)


def test_localizers_are_left_out(tmp_path):
    folder = write_series(tmp_path / "a", stored(), change=setting("ImageType", ["ORIGINAL", "PRIMARY", "AXIAL"]))
    write_series(folder, stored(1, 30, 20), axes=(1, 0, 0, 0, 0, -1), first=7, change=setting("ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, stored())
    assert volume.notes == ("1 localizer image of the series left out.",)


def test_directions_of_a_series(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    write_series(folder, stored(seed=1), axes=(0, 1, 0, 0, 0, -1), first=7)
    with pytest.raises(InputError, match="direction axial; 2: .*direction sagittal"):
        read_volume(folder)


def test_sizes_of_a_series(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    write_series(folder, stored(6, 16, 16), first=7)
    with pytest.raises(InputError, match="6 slices of 12 x 14.*6 slices of 16 x 16"):
        read_volume(folder)


def test_several_series(tmp_path):
    folder = write_series(tmp_path / "a", stored(), change=setting("SeriesDescription", "first"))

    def other(header, k):
        header.SeriesInstanceUID, header.SeriesNumber, header.SeriesDescription = "1.2.3.4", 2, "second"

    write_series(folder, stored(seed=1), change=other, name="b{:04d}.dcm")
    with pytest.raises(InputError, match=r"holds 2 DICOM series; choose one with --series and its number \(1: CT, 6 files, first; 2: CT, 6 files, second\)"):
        read_volume(folder)
    for series in (2, "2", "1.2.3.4"):
        volume = read_volume(folder, series=series)
        np.testing.assert_array_equal(volume.voxels, stored(seed=1))
        assert volume.notes == ("Series 2 of 2: CT, 6 files, second.",)
    for series in (0, 3, "x", "-1"):
        with pytest.raises(InputError, match=f"nothing that --series {series} means; give a number from 1 to 2"):
            read_volume(folder, series=series)


def test_choice_on_the_command_line(tmp_path):
    folder = two(tmp_path / "a", setting("EchoTime", "10"), setting("EchoTime", "80"))
    refused = run_cli("info", folder)
    assert refused.returncode == 2 and "--volume" in refused.stderr and "80 ms" in refused.stderr
    assert run_cli("info", folder, "--volume", 2, "--json").returncode == 0
    done = run_cli("upscale", folder, tmp_path / "o.nii.gz", "--method", "nearest", "--volume", 2, "--series", 1, "--progress", "none")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_volume(tmp_path / "o.nii.gz").voxels[::2, ::2, ::2], stored(seed=1))


def test_copies_of_a_slice(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    shutil.copy(folder / "IM0003.dcm", folder / "IM0003 copy.dcm")
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, stored())
    assert volume.notes == ("1 exact copy of a slice counted once.",)


def test_a_slice_that_was_written_twice_and_differs(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    header = pydicom.dcmread(folder / "IM0003.dcm")
    header.PixelData = stored(1, seed=5).tobytes()
    header.save_as(folder / "IM0003 copy.dcm")
    with pytest.raises(InputError, match="several slices at one position"):
        read_volume(folder)


@pytest.mark.parametrize("name", ["IM0001.dcm", "IM0004.dcm", "IM0006.dcm"])
@pytest.mark.parametrize("kept", [0, 100, 200, 600, -1])
def test_cut_files(tmp_path, name, kept):
    """First, last and in between; nothing left, cut in the preamble, in the header, and in the pixels."""
    folder = write_series(tmp_path / "a", stored())
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:kept])
    with pytest.raises(InputError, match=rf"{name} (is empty|is damaged|is cut)"):
        read_volume(folder)


def test_a_damaged_file_of_another_name(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    (folder / "other.IMA").write_bytes(b"x" * 500)
    with pytest.raises(InputError, match=r"other\.IMA is damaged or no DICOM, and is named like a slice"):
        read_volume(folder)


@pytest.mark.parametrize("kept", [0, 100])
def test_cut_files_without_suffix(tmp_path, kept):
    folder = write_series(tmp_path / "a", stored(), name="IM{:04d}")
    (folder / "IM0006").write_bytes((folder / "IM0006").read_bytes()[:kept])
    with pytest.raises(InputError, match="IM0006 is"):
        read_volume(folder)


def test_damage_in_the_header(tmp_path):
    """Zeros, as a bad disk leaves them."""
    folder = write_series(tmp_path / "a", stored())
    content = bytearray((folder / "IM0006.dcm").read_bytes())
    content[300:500] = bytes(200)
    (folder / "IM0006.dcm").write_bytes(content)
    with pytest.raises(InputError, match=r"IM0006\.dcm"):
        read_volume(folder)


def test_files_that_are_no_dicom(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    for name in (".DS_Store", "README.txt", "thumbs.db"):
        (folder / name).write_text("something else")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(40))
    (folder / "sub").mkdir()
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, stored())
    assert volume.notes == ("Files that are no DICOM were left out: README.txt, thumbs.db.",)


def test_other_objects_beside_the_scan(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    header = pydicom.dcmread(folder / "IM0001.dcm", stop_before_pixels=True)
    for keyword in ("Rows", "Columns", "PixelSpacing"):
        delattr(header, keyword)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    header.Modality = "RTSTRUCT"
    header.save_as(folder / "rs.dcm")
    assert read_volume(folder).notes == ("Files that hold no scan were left out: rs.dcm.",)
    with pytest.raises(InputError, match="holds no DICOM images, only other DICOM objects"):
        read_volume(folder / "rs.dcm")


@pytest.mark.parametrize("kind", ["1.2.840.10008.5.1.4.1.1.88.67", "1.3.12.2.1107.5.9.1"])
def test_a_dose_report_or_a_makers_own_object_beside_the_scan(tmp_path, kind):
    folder = write_series(tmp_path / "a", stored())
    header = pydicom.dcmread(folder / "IM0001.dcm", stop_before_pixels=True)
    for keyword in ("Rows", "Columns", "PixelSpacing"):
        delattr(header, keyword)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = kind
    header.SeriesInstanceUID = "1.2.3.77"
    header.private_block(0x0029, "ACME", create=True).add_new(0x10, "OB", b"no picture")
    header.save_as(folder / "IM0007.dcm")
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.voxels, stored())
    assert volume.notes == ("Files that hold no scan were left out: IM0007.dcm.",)


def test_a_slice_of_no_known_class_is_no_makers_object(tmp_path):
    """Its class and its size are damaged: it belongs to the series, and is not left out."""
    folder = write_series(tmp_path / "a", stored())
    for name, uid in (("IM0001.dcm", "1.2.840.10006.5.1.4.1.1.2"), ("IM0006.dcm", "1.2.840.10008.5.1.4.1.1.40")):
        header = pydicom.dcmread(folder / name, stop_before_pixels=True)
        saved = (folder / name).read_bytes()
        del header.Rows, header.Columns, header.PixelRepresentation
        header.SOPClassUID = uid
        header.private_block(0x0029, "ACME", create=True).add_new(0x10, "OB", b"what was pixels")
        header.save_as(folder / name)
        with pytest.raises(InputError, match=rf"{name} is damaged: its header does not tell the size"):
            read_volume(folder)
        header.SeriesInstanceUID, header.SOPClassUID = "1.2.3.77", "1.2.840.10006.5.1.4.1.1.2"  # the file meta information still knows it
        header.save_as(folder / name)
        with pytest.raises(InputError, match=rf"{name} is damaged: its header does not tell the size"):
            read_volume(folder)
        (folder / name).write_bytes(saved)


def test_an_element_of_an_unknown_kind_and_no_value(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    data = (folder / "IM0003.dcm").read_bytes()
    place = data.index(b"\x08\x00\x60\x00CS") + 5
    for count in (1, 3, 10, 40):
        (folder / "IM0003.dcm").write_bytes(data[:place] + bytes(count) + data[place + count :])
        with pytest.raises(InputError):
            read_volume(folder)


def test_a_makers_own_picture_without_its_size_is_damaged(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    header = pydicom.dcmread(folder / "IM0001.dcm")
    del header.Rows
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"
    header.save_as(folder / "IM0001.dcm")
    with pytest.raises(InputError, match=r"IM0001\.dcm is damaged"):
        read_volume(folder)


def test_slices_in_folders_below(tmp_path):
    write_series(tmp_path / "study" / "CT1", stored())
    with pytest.raises(InputError, match=r"holds no DICOM series itself, and its folders \(CT1\) are not searched"):
        read_volume(tmp_path / "study")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_cannot_be_opened(tmp_path):
    folder = write_series(tmp_path / "a", stored())
    (folder / "IM0006.dcm").chmod(0)
    with pytest.raises(InputError, match=r"IM0006\.dcm cannot be opened"):
        read_volume(folder)


def test_named_dicom_and_none(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all" * 40)
    (tmp_path / "b.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.dcm is damaged or no DICOM"):
        read_volume(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"b\.dcm is empty"):
        read_volume(tmp_path / "b.dcm")


def test_series_of_another_format(tmp_path):
    from .conftest import write

    with pytest.raises(InputError, match="is no DICOM, which alone has series"):
        read_volume(write(tmp_path / "a.nrrd", stored()), series=1)
