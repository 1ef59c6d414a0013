"""NRRD against pynrrd and SimpleITK: what they read is read so, or refused in one sentence."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import read_volume, upscale, write_volume
from superres3d.errors import InputError
from superres3d.scan.geometry import matrix_of

from .conftest import smooth_noise

SIZES = (10, 9, 8)
DIRECTIONS = np.array([[0.8 * 0.6, 0.8 * 0.8, 0.0], [-0.9 * 0.8, 0.9 * 0.6, 0.0], [0.0, 0.0, 2.5]])  # a row an axis
ORIGIN = np.array([-30.0, 12.0, 7.0])


def grey(seed: int = 0) -> np.ndarray:
    """(i, j, k)"""
    return np.rint(smooth_noise(SIZES, seed) * 1500 - 300).astype(np.int16)


def saved(path: Path, voxels: np.ndarray | None = None, **changes) -> Path:
    """By pynrrd; a field of None is left out."""
    fields = {"space": "left-posterior-superior", "space directions": DIRECTIONS, "space origin": ORIGIN, "encoding": "raw", **changes}
    nrrd.write(str(path), grey() if voxels is None else voxels, {name: value for name, value in fields.items() if value is not None})
    return path


def hand_made(path: Path, *lines: str, voxels: np.ndarray | None = None, sizes: str = "10 9 8", dimension: object = 3) -> Path:
    """A header written line by line before the voxels of :func:`grey`."""
    text = "\n".join(["NRRD0004", "type: short", f"dimension: {dimension}", f"sizes: {sizes}", "endian: little", "encoding: raw", *lines])
    path.write_bytes(text.encode() + b"\n\n" + (grey() if voxels is None else voxels).T.tobytes())
    return path


PLACE = ("space: left-posterior-superior", "space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)", "space origin: (1,2,3)")


def assert_as_simpleitk(path: Path) -> None:
    volume, there = read_volume(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayFromImage(there))
    np.testing.assert_allclose(volume.spacing, there.GetSpacing(), rtol=1e-6)
    np.testing.assert_allclose(volume.origin, there.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.direction, np.reshape(there.GetDirection(), (3, 3)), atol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_types_and_encodings(tmp_path, dtype, encoding, suffix):
    voxels = np.rint(smooth_noise(SIZES) * 120).astype(dtype)
    path = saved(tmp_path / f"scan{suffix}", voxels, encoding=encoding)
    volume = read_volume(path)
    expected, header = nrrd.read(str(path))
    np.testing.assert_array_equal(volume.voxels, expected.T)
    assert volume.voxels.dtype == dtype and volume.notes == ()
    np.testing.assert_allclose(matrix_of(volume)[:3, :3], header["space directions"].T, atol=1e-9)
    np.testing.assert_allclose(volume.origin, header["space origin"], atol=1e-9)


@pytest.mark.parametrize("space", ["left-posterior-superior", "LPS", "right-anterior-superior", "RAS", "left-anterior-superior", "LAS"])
def test_spaces_are_simpleitks(tmp_path, space):
    assert_as_simpleitk(saved(tmp_path / "scan.nrrd", space=space))


def test_the_other_byte_order(tmp_path):
    path = hand_made(tmp_path / "scan.nrrd", *PLACE, voxels=grey().astype(">i2"))
    path.write_bytes(path.read_bytes().replace(b"endian: little", b"endian: big"))
    assert_as_simpleitk(path)


def test_line_ends_comments_and_keys(tmp_path):
    path = hand_made(tmp_path / "scan.nrrd", *PLACE, "# a comment: of two", "key:=value: x", "0008|0060:=CT")
    begin, _, end = path.read_bytes().partition(b"\n\n")
    path.write_bytes(begin.replace(b"\n", b"\r\n") + b"\r\n\r\n" + end)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.voxels, grey().T)
    assert volume.modality == "CT"


@pytest.mark.parametrize("unit, millimetres", [("um", 1e-3), ("µm", 1e-3), ("microns", 1e-3), ("nm", 1e-6), ("cm", 10), ("m", 1000), ("inch", 25.4), ("mm", 1), ("", 1)])
def test_units(tmp_path, unit, millimetres):
    directions = "space directions: (8,0,0) (0,9,0) (0,0,9.5)"
    for lines in ((PLACE[0], directions, PLACE[2], f'space units: "{unit}" "{unit}" "{unit}"'), ("spacings: 8 9 9.5", f'units: "{unit}" "{unit}" "{unit}"')):
        volume = read_volume(hand_made(tmp_path / "scan.nrrd", *lines))
        np.testing.assert_allclose(volume.spacing, np.multiply((8, 9, 9.5), millimetres), rtol=1e-12)
        np.testing.assert_allclose(volume.origin, np.multiply((1, 2, 3), millimetres) if len(lines) > 2 else 0, rtol=1e-12)
        assert any("converted to millimetres" in note for note in volume.notes) == (millimetres != 1)


def test_micrometres_from_file_to_file(tmp_path):
    path = hand_made(tmp_path / "mouse.nrrd", PLACE[0], "space directions: (8,0,0) (0,8,0) (0,0,25)", "space origin: (-110,-250,600)", 'space units: "um" "um" "um"')
    write_volume(upscale(read_volume(path), 2, method="linear", modality="CT").volume, tmp_path / "out.nrrd")
    _, header = nrrd.read(str(tmp_path / "out.nrrd"))
    np.testing.assert_allclose(np.diag(header["space directions"]), (0.004, 0.004, 0.0125), rtol=1e-6)


UNTOLD = {
    "no spacings": (),
    "a spacing of NaN": ("spacings: 0.8 0.9 nan",),
    "a direction of NaN": (PLACE[0], "space directions: (0.8,0,0) (0,0.9,0) (0,0,nan)", PLACE[2]),
}


@pytest.mark.parametrize("lines", UNTOLD.values(), ids=UNTOLD)
def test_sizes_that_are_not_told_are_refused(tmp_path, lines):
    with pytest.raises(InputError, match="does not tell the size of its voxels"):
        read_volume(hand_made(tmp_path / "scan.nrrd", *lines))


def test_a_place_that_is_not_told_is_noted(tmp_path):
    for lines in (("spacings: 0.8 0.9 2.5",), ("space dimension: 3", PLACE[1], PLACE[2]), PLACE[:2]):
        volume = read_volume(hand_made(tmp_path / "scan.nrrd", *lines))
        np.testing.assert_allclose(volume.spacing, (0.8, 0.9, 2.5))
        assert "does not tell where in the patient" in volume.notes[0]


BAD = {
    "zero": (("spacings: 0.8 0.9 0",), r"has a spacing of 0\.8 x 0\.9 x 0 mm; correct its header first"),
    "decimal comma": (("spacings: 0,8 0,9 2,5",), "gives '0,8 0,9 2,5' as spacings"),
    "infinite": (("spacings: 0.8 0.9 inf",), "cannot be used"),
    "two spacings": (("spacings: 0.8 0.9",), "cannot be used"),
    "furlongs": ((*PLACE, 'space units: "furlong" "furlong" "furlong"'), 'sizes in "furlong"'),
    "unknown space": (("space: right-up-front", *PLACE[1:]), "space right-up-front, which is not read"),
    "shear": ((PLACE[0], "space directions: (0.8,0,0) (0,0.9,0) (0.5,0,2.5)", PLACE[2]), "not at right angles"),
    "two numbers": ((*PLACE[:2], "space origin: (1,2)"), "as spaceorigin"),
    "place of NaN": ((*PLACE[:2], "space origin: (1,2,nan)"), "as spaceorigin"),
    "vector in words": ((PLACE[0], "space directions: (a,0,0) (0,0.9,0) (0,0,2.5)", PLACE[2]), "as spacedirections"),
    "two directions": ((PLACE[0], "space directions: (0.8,0,0) (0,0.9,0)", PLACE[2]), "as spacedirections"),
    "twice": (("spacings: 1 1 1", "spacings: 2 2 2"), "'spacings' twice"),
    "colours": ((*PLACE, "kinds: domain domain RGB-color"), "three axes of space"),
    "elsewhere": ((*PLACE, "data file: gone.raw"), "keeps its voxels in gone.raw, which is not there"),
    "misspelt": ((*PLACE, 'space unit: "um" "um" "um"'), "'spaceunit' which is no field of NRRD"),
    "units of two kinds": ((*PLACE, 'space units: "mm" "mm" "m"'), "as spaceunits"),
    "other letters": ((*PLACE[:2], "Space origin: (1,2,3)"), "'Spaceorigin' which is no field of NRRD"),
    "a separator of files": ((*PLACE[:2], "space origin: (1,2,\x1c3)"), "as spaceorigin"),
    "no field": ((*PLACE, "hello"), "'hello' which is no field of NRRD"),
    "half a unit": ((*PLACE, 'space units: "mm" "mm" mm"'), "as spaceunits"),
    "list": ((*PLACE, "data file: LIST", "a.raw"), "several files"),
    "pattern": ((*PLACE, "data file: a%03d.raw 1 8 1"), "several files"),
    "skip": ((*PLACE, "byte skip: -5"), "as byteskip"),
    "a device": ((*PLACE, "data file: /dev/zero"), "which is not there"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_headers_are_refused_in_one_sentence(tmp_path, kind):
    lines, words = BAD[kind]
    with pytest.raises(InputError, match=words) as raised:
        read_volume(hand_made(tmp_path / "scan.nrrd", *lines))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "sizes, dimension, words",
    [
        ("10 9", 3, "as sizes"), ("10 9 0", 3, "as sizes"), ("10 9 -8", 3, "as sizes"), ("10 9 8.5", 3, "as sizes"), ("10 9 9", 3, "incomplete"),
        ("10 9 7", 3, "more voxels"), ("1000000 1000000 1000000", 3, "incomplete"), ("9" * 5000 + " 1 1", 3, "as sizes"), ("1 2", 2, "2-D"), ("1 1", 2000, "2000-D"),
        ("10 9 8", "three", "as dimension"), ("10 9 8", "", "as dimension"), ("1_0 9 8", 3, "as sizes"),
    ],
)  # fmt: skip
def test_sizes_against_the_file(tmp_path, sizes, dimension, words):
    with pytest.raises(InputError, match=words):
        read_volume(hand_made(tmp_path / "scan.nrrd", *PLACE, sizes=sizes, dimension=dimension))


@pytest.mark.parametrize("old, new, words", [("short", "shrt", "as type"), ("short", "block", "as type"), ("little", "middle", "as endian"), ("raw", "ascii", "as ascii"), ("NRRD0004", "NRRD0009", "no NRRD header")])
def test_fields_that_do_not_exist(tmp_path, old, new, words):
    path = hand_made(tmp_path / "scan.nrrd", *PLACE)
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with pytest.raises(InputError, match=words):
        read_volume(path)


@pytest.mark.parametrize("encoding, pack", [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_damaged_packed_voxels(tmp_path, encoding, pack):
    whole = hand_made(tmp_path / "scan.nrrd", *PLACE).read_bytes().replace(b"encoding: raw", f"encoding: {encoding}".encode())
    header, _, voxels = whole.partition(b"\n\n")
    packed = pack(voxels)
    middle = len(packed) // 2
    for content, words in ((packed[:middle], "incomplete"), (packed[:middle] + bytes(40) + packed[middle + 40 :], "damaged"), (pack(voxels[:-200]), "incomplete"), (pack(voxels + bytes(400)), "more voxels")):
        (tmp_path / "bad.nrrd").write_bytes(header + b"\n\n" + content)
        with pytest.raises(InputError, match=words):
            read_volume(tmp_path / "bad.nrrd")
    (tmp_path / "good.nrrd").write_bytes(header + b"\n\n" + packed)
    np.testing.assert_array_equal(read_volume(tmp_path / "good.nrrd").voxels, grey().T)


def test_bytes_to_skip(tmp_path):
    path = hand_made(tmp_path / "scan.nhdr", *PLACE, "data file: scan.raw", "byte skip: 100")
    path.write_bytes(path.read_bytes().partition(b"\n\n")[0] + b"\n")
    (tmp_path / "scan.raw").write_bytes(bytes(100) + grey().T.tobytes())
    np.testing.assert_array_equal(read_volume(path).voxels, grey().T)
    path.write_bytes(path.read_bytes().replace(b"byte skip: 100", b"byte skip: -1"))
    np.testing.assert_array_equal(read_volume(path).voxels, grey().T)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["list", "time", "none"])
def test_several_volumes(tmp_path, place, kind):
    """The axis of the volumes may be any."""
    frames = np.stack([grey(seed) for seed in range(3)], axis=place)
    directions = np.insert(DIRECTIONS, place, np.nan, axis=0)
    kinds = ["domain"] * 3
    kinds.insert(place, kind)
    path = saved(tmp_path / "scan.nrrd", frames, **{"space directions": directions, "kinds": kinds, "encoding": "gzip"})
    with pytest.raises(InputError, match=r"holds 3 volumes .* --volume N, from 1 to 3"):
        read_volume(path)
    for number in (1, 2, 3):
        volume = read_volume(path, volume=number)
        np.testing.assert_array_equal(volume.voxels, grey(number - 1).T)
        np.testing.assert_allclose(matrix_of(volume)[:3, :3], DIRECTIONS.T, atol=1e-9)
    with pytest.raises(InputError, match="number 4 was asked for"):
        read_volume(path, volume=4)


@pytest.mark.parametrize("places", [(0, 1), (0, 4), (3, 4)])
def test_volumes_along_two_axes_count_in_the_order_of_the_file(tmp_path, places):
    """The first of the two axes is the faster one."""
    frames = np.stack([np.stack([grey(2 * slow + fast) for slow in range(3)]) for fast in range(2)])  # (fast, slow, i, j, k)
    directions, kinds = DIRECTIONS, ["domain"] * 3
    for place in places:
        directions = np.insert(directions, place, np.nan, axis=0)
        kinds.insert(place, "list")
    path = saved(tmp_path / "scan.nrrd", np.moveaxis(frames, (0, 1), places), **{"space directions": directions, "kinds": kinds})
    for number in range(1, 7):
        np.testing.assert_array_equal(read_volume(path, volume=number).voxels, grey(number - 1).T)


@pytest.mark.parametrize("kind, words", [("vector", "3 components"), ("RGB-color", "3 components"), ("3-vector", "3 components"), ("complex", "complex")])
def test_vectors_and_colours_are_refused(tmp_path, kind, words):
    frames = np.stack([grey(seed) for seed in range(3)], axis=0)
    path = saved(tmp_path / "scan.nrrd", frames, **{"space directions": np.insert(DIRECTIONS, 0, np.nan, axis=0), "kinds": [kind, *["domain"] * 3]})
    with pytest.raises(InputError, match=words):
        read_volume(path)


def test_a_header_that_does_not_end(tmp_path):
    whole = hand_made(tmp_path / "scan.nrrd", *PLACE).read_bytes()
    (tmp_path / "scan.nrrd").write_bytes(whole[:60])
    with pytest.raises(InputError, match="its header does not end"):
        read_volume(tmp_path / "scan.nrrd")


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_volumes_that_simpleitk_joined(tmp_path, suffix):
    one = sitk.ReadImage(str(saved(tmp_path / "one.nrrd")))
    path = tmp_path / f"both{suffix}"
    sitk.WriteImage(sitk.JoinSeries([one, one + 5], 100.0, 2.0), str(path))
    with pytest.raises(InputError, match="2 volumes"):
        read_volume(path)
    second = read_volume(path, volume=2)
    np.testing.assert_array_equal(second.voxels, grey().T + 5)
    np.testing.assert_allclose(matrix_of(second)[:3, :3], DIRECTIONS.T, atol=1e-9)
    np.testing.assert_allclose(second.origin, ORIGIN)


def test_a_direction_in_space_and_time_is_refused(tmp_path):
    path = hand_made(tmp_path / "scan.nrrd", "space dimension: 4", "space directions: (1,0,0,1) (0,1,0,0) (0,0,1,0)")
    with pytest.raises(InputError, match="space ?directions"):
        read_volume(path)


def test_units_of_the_axes_where_the_space_has_none(tmp_path):
    volume = read_volume(hand_made(tmp_path / "scan.nrrd", *PLACE, 'units: "um" "um" "um"'))
    np.testing.assert_allclose((*volume.spacing, *volume.origin), (0.0008, 0.0009, 0.0025, 0.001, 0.002, 0.003))
    assert volume.notes == ("Sizes were converted to millimetres.",)


def test_text_is_refused_as_text(tmp_path):
    path = saved(tmp_path / "scan.nrrd", encoding="ascii")
    with pytest.raises(InputError, match="keeps its voxels as ascii"):
        read_volume(path)


def test_places_in_space_and_time(tmp_path):
    place = ("space: left-posterior-superior-time", "space directions: (0.8,0,0,0) (0,0.9,0,0) (0,0,2.5,0)", "space origin: (1,2,3,4)", 'space units: "cm" "cm" "cm" "s"')
    volume = read_volume(hand_made(tmp_path / "scan.nrrd", *place))
    np.testing.assert_allclose((*volume.spacing, *volume.origin), (8, 9, 25, 10, 20, 30))


def test_a_vector_of_one_component_is_a_scalar(tmp_path):
    path = hand_made(tmp_path / "scan.nrrd", PLACE[0], PLACE[1].replace(": ", ": none "), PLACE[2], "kinds: vector domain domain domain", sizes="1 10 9 8", dimension=4)
    np.testing.assert_array_equal(read_volume(path).voxels, grey().T)


def test_a_field_that_is_not_there_is_named(tmp_path):
    path = hand_made(tmp_path / "scan.nrrd", *PLACE)
    path.write_bytes(path.read_bytes().replace(b"endian: little\n", b""))
    with pytest.raises(InputError, match="scan.nrrd does not give endian; add it to its header"):
        read_volume(path)
