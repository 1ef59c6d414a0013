"""Compressed pixels: the same values as before, by pydicom's decoders; without a decoder a sentence."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000Lossless, RLELossless
from superres3d import read_volume
from superres3d.errors import InputError
from superres3d.scan.dicom.streams import told_size, unpacked

from .dicom_files import enhanced, save, stored, write_series


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless(tmp_path, syntax):
    voxels = stored(4, 48, 40)

    def compress(header, k):
        header.BitsStored, header.HighBit = 16, 15
        header.compress(syntax, generate_instance_uid=False)

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", voxels, change=compress)).voxels, voxels)


def test_multi_frame(tmp_path):
    voxels = stored(5)
    order = [3, 0, 4, 1, 2]
    header = enhanced(voxels[order], 2.5 * np.array(order))
    header.compress(RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_volume(save(header, tmp_path / "mr.dcm")).voxels, voxels)


@pytest.mark.parametrize("program, options", [("dcmcjpeg", ["+e1"]), ("dcmcjpeg", ["+el"]), ("dcmcjpls", ["+el"]), ("dcmcrle", [])])
def test_what_dcmtk_compressed(tmp_path, program, options):
    """JPEG (processes 14 and 14 SV1), JPEG-LS and RLE of another encoder."""
    if not shutil.which(program) or not importlib.util.find_spec("libjpeg"):
        pytest.skip("needs dcmtk and pylibjpeg-libjpeg")
    voxels = np.abs(stored(4, 20, 16))
    folder = write_series(tmp_path / "a", voxels, change=lambda header, k: setattr(header, "PixelRepresentation", 0))
    for file in folder.iterdir():
        subprocess.run([program, *options, file, file], check=True, capture_output=True)
    header = pydicom.dcmread(next(folder.iterdir()))
    assert header.file_meta.TransferSyntaxUID.is_compressed
    assert told_size(get_frame(header.PixelData, 0, number_of_frames=1)) == (None if program == "dcmcrle" else (20, 16))
    np.testing.assert_array_equal(read_volume(folder).voxels, voxels)


def test_loss_is_told(tmp_path):
    folder = write_series(tmp_path / "a", stored(), change=lambda header, k: setattr(header, "LossyImageCompression", "01"))
    assert read_volume(folder).notes == ("The scan was compressed with loss before.",)


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.100", "1.2.3.4.5", "1.2.840.10008.1.2.4.94"])
def test_what_cannot_be_decoded(tmp_path, syntax):
    """A private syntax, MPEG, an unknown one, and JPIP."""

    def change(header, k):
        header.compress(RLELossless, generate_instance_uid=False)

    folder = write_series(tmp_path / "a", stored(), change=change)
    for file in folder.iterdir():
        content = file.read_bytes()
        old, new = b"1.2.840.10008.1.2.5\0", syntax.encode() + b"\0" * (len(syntax) % 2)
        length = len(new).to_bytes(2, "little")
        assert content.count(b"\x02\x00\x10\x00UI\x14\x00" + old) == 1
        file.write_bytes(content.replace(b"\x02\x00\x10\x00UI\x14\x00" + old, b"\x02\x00\x10\x00UI" + length + new))
    with pytest.raises(InputError, match=r"IM0001\.dcm (stores its pixels in a way that is not read|is compressed as|is damaged)"):
        read_volume(folder)


@pytest.fixture
def no_plug_ins(monkeypatch):
    """No decoder of pydicom's is installed."""
    from pydicom.pixels.decoders.base import Decoder

    monkeypatch.setattr(Decoder, "is_available", property(lambda self: False))


def test_a_decoder_that_is_not_installed(tmp_path, no_plug_ins):
    folder = write_series(tmp_path / "a", stored(6, 48, 40), change=lambda header, k: header.compress(JPEG2000Lossless, generate_instance_uid=False))
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"UI\x16\x001.2.840.10008.1.2.4.90", b"UI\x18\x001.2.840.10008.1.2.4.201\0"))
    with pytest.raises(InputError, match=r"is compressed as High-Throughput JPEG 2000 .*, and the package for that is not installed; run: pip install pylibjpeg pylibjpeg-openjpeg"):
        read_volume(folder)


@pytest.mark.parametrize("sign", [0, 1])
def test_without_plug_ins(tmp_path, no_plug_ins, sign):
    """SimpleITK decodes; slope, intercept and MONOCHROME1 are not applied twice."""
    voxels = stored(4, 48, 40) if sign else np.abs(stored(4, 48, 40))

    def change(header, k):
        header.PixelRepresentation, header.PhotometricInterpretation, header.RescaleSlope, header.RescaleIntercept = sign, "MONOCHROME1", 2, -100
        header.compress(JPEG2000Lossless, generate_instance_uid=False)

    np.testing.assert_array_equal(read_volume(write_series(tmp_path / "a", voxels, change=change)).voxels, 2 * voxels - 100)


@pytest.mark.parametrize("program, option", [("dcmcjpeg", "+e1"), ("dcmcjpeg", "+el"), ("dcmcjpls", "+el")])
@pytest.mark.parametrize("sign", [0, 1])
def test_what_dcmtk_compressed_without_plug_ins(tmp_path, no_plug_ins, program, option, sign):
    if not shutil.which(program):
        pytest.skip("needs dcmtk")
    voxels = stored(4, 20, 16) if sign else np.abs(stored(4, 20, 16))
    folder = write_series(tmp_path / "a", voxels, change=lambda header, k: setattr(header, "PixelRepresentation", sign))
    for file in folder.iterdir():
        subprocess.run([program, option, file, file], check=True, capture_output=True)
    np.testing.assert_array_equal(read_volume(folder).voxels, voxels)
    file = folder / "IM0002.dcm"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"IM0002\.dcm"):
        read_volume(folder)


def test_multi_frame_without_plug_ins(tmp_path, no_plug_ins):
    voxels = stored(4, 48, 40)
    header = enhanced(voxels[[1, 0, 3, 2]], 2.5 * np.array([1, 0, 3, 2]))
    header.compress(JPEG2000Lossless, generate_instance_uid=False)
    np.testing.assert_array_equal(read_volume(save(header, tmp_path / "mr.dcm")).voxels, voxels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_cut_pixels(tmp_path, syntax):
    folder = write_series(tmp_path / "a", stored(6, 48, 40), change=lambda header, k: header.compress(syntax, generate_instance_uid=False))
    file = folder / "IM0006.dcm"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"IM0006\.dcm is damaged or cut: its pixels cannot be read"):
        read_volume(folder)


@pytest.mark.parametrize("rows, columns", [(14, 8), (14, 11), (14, 13), (13, 12), (15, 12)])
def test_rle_of_another_size(tmp_path, rows, columns):
    """Also less than there is, which pydicom takes with a warning."""

    def change(header, k):
        header.compress(RLELossless, generate_instance_uid=False)
        header.Rows, header.Columns = rows, columns

    with pytest.raises(InputError, match=r"IM0001\.dcm is damaged or cut: its pixels cannot be read"):
        read_volume(write_series(tmp_path / "a", stored(), change=change))


@pytest.mark.parametrize("itemsize", [1, 2, 4])
def test_rle_against_pydicom(itemsize):
    from pydicom.pixels.encoders.native import _encode_segment

    words = (np.random.default_rng(itemsize).integers(0, 3, (5, 300)) * (2 ** (8 * itemsize - 2) // 3)).astype(f">u{itemsize}")
    words[2] = 7
    planes = words.view(np.uint8).reshape(5, 300, itemsize)
    segments = [bytes(_encode_segment(planes[..., byte].tobytes(), 300)) for byte in range(itemsize)]
    offsets = [64 + sum(map(len, segments[:index])) for index in range(itemsize)]
    frame = np.array([itemsize, *offsets, *[0] * (15 - itemsize)], "<u4").tobytes() + b"".join(segments)
    np.testing.assert_array_equal(unpacked(frame, (5, 300), itemsize), words)


def test_turned_pictures(tmp_path):
    """As many pixels, but rows for columns: only the stream tells."""

    def change(header, k):
        header.compress(JPEG2000Lossless, generate_instance_uid=False)
        header.Rows, header.Columns = header.Columns, header.Rows

    with pytest.raises(InputError, match=r"IM0001\.dcm holds pictures of another size than its header tells \(48 x 40 pixels\)"):
        read_volume(write_series(tmp_path / "a", stored(2, 48, 40), change=change))


def test_another_size_than_the_header_tells(tmp_path):
    def change(header, k):
        header.compress(JPEG2000Lossless, generate_instance_uid=False)
        header.Rows = 47

    with pytest.raises(InputError, match=r"IM0001\.dcm"):
        read_volume(write_series(tmp_path / "a", stored(2, 48, 40), change=change))


def test_a_size_beyond_all_measure(tmp_path):
    def change(header, k):
        header.compress(RLELossless, generate_instance_uid=False)
        header.Rows, header.Columns = 65000, 65000

    with pytest.raises(InputError, match="more than it can hold"):
        read_volume(write_series(tmp_path / "a", stored(2), change=change))
