"""Both libraries that pack and unpack, each against the other and the standard library."""

import gzip
import io
import sys
import zlib

import numpy as np
import pytest
from superres3d import Volume, read_volume, write_volume
from superres3d.errors import InputError
from superres3d.scan import deflate

CONTENT = np.random.default_rng(0).normal(0, 40, 300_000).astype(np.int16).tobytes()


@pytest.fixture(params=["isal", "zlib"])
def library(request, monkeypatch):
    """Which one is at work; without isal as where it was never installed."""
    if request.param == "zlib":
        for name in ("igzip_threaded", "isal_zlib"):
            monkeypatch.setattr(deflate, name, None)
        monkeypatch.setattr(deflate, "Damaged", (zlib.error,))
    else:
        pytest.importorskip("isal")
    return request.param


def packed(pieces=(CONTENT,), file=None):
    file = file or io.BytesIO()
    with deflate.gzip_writer(file) as out:
        for piece in pieces:
            out.write(piece)
    return file.getvalue()


def test_the_standard_library_unpacks_what_is_written(library):
    made = packed((CONTENT[:1001], CONTENT[1001:]))
    assert gzip.decompress(made) == CONTENT
    assert made[4:8] == bytes(4) and not made[3], "neither time nor name"
    assert len(made) < 1.03 * len(gzip.compress(CONTENT, 2)), "as small as zlib makes it"


def test_written_by_the_library_that_is_there(library):
    with deflate.gzip_writer(io.BytesIO()) as out:
        assert isinstance(out, gzip.GzipFile) == (library == "zlib")


def test_the_number_of_threads_does_not_show(library, monkeypatch):
    """Of content of several parts, which a part of the threads pack; some of it cannot be packed."""
    content = (CONTENT * 6, np.random.default_rng(1).bytes(2_500_000), CONTENT)
    made = []
    for cores in ({0}, {0, 1, 2}, set(range(64))):
        monkeypatch.setattr(deflate.os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        made.append(packed(content))
    assert made[0] == made[1] == made[2] and gzip.decompress(made[0]) == b"".join(content)


def test_a_full_disk_is_an_error_of_the_system(library):
    class Full(io.BytesIO):
        def write(self, content):
            if self.tell() + len(content) > 200_000:
                raise OSError(28, "No space left on device")
            return super().write(content)

    with pytest.raises(OSError, match="No space left"):
        packed([CONTENT] * 40, Full())


@pytest.mark.parametrize("container", [deflate.GZIP, deflate.ZLIB])
def test_unpacks_what_the_standard_library_packs(library, container):
    made = (gzip.compress if container == deflate.GZIP else zlib.compress)(CONTENT)
    member, found, rest = deflate.unpacker(container), b"", made + b"what follows"
    while not member.eof:
        found += member.decompress(rest, 50_000)
        rest = member.unconsumed_tail
    assert found == CONTENT
    assert member.unused_data == b"what follows"


@pytest.mark.parametrize("container", [deflate.GZIP, deflate.ZLIB])
@pytest.mark.parametrize("place", [-1, -3, 5000])
def test_damage_is_found(library, container, place):
    made = bytearray((gzip.compress if container == deflate.GZIP else zlib.compress)(CONTENT))
    made[place - 4 if container == deflate.GZIP and place < 0 else place] ^= 0x55  # gzip's checksum comes before its length
    member = deflate.unpacker(container)
    try:
        member.decompress(bytes(made))
    except deflate.Damaged:
        return
    assert not member.eof, "its reader says that it ends early"


def test_a_scan_there_and_back(library, tmp_path):
    voxels = np.frombuffer(CONTENT, np.int16)[: 64 * 60 * 50].reshape(50, 60, 64)
    write_volume(Volume(voxels, (1.0, 1.0, 2.0)), tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "scan.nii.gz").voxels, voxels)
    cut = (tmp_path / "scan.nii.gz").read_bytes()
    (tmp_path / "scan.nii.gz").write_bytes(cut[: len(cut) // 2])
    with pytest.raises(InputError, match="incomplete"):
        read_volume(tmp_path / "scan.nii.gz")


def test_without_isal_the_module_still_imports(monkeypatch):
    monkeypatch.setitem(sys.modules, "isal", None)
    monkeypatch.delitem(sys.modules, "superres3d.scan.deflate")
    from importlib import import_module

    alone = import_module("superres3d.scan.deflate")
    assert alone.igzip_threaded is None and zlib.error in alone.Damaged
    file = io.BytesIO()
    with alone.gzip_writer(file) as out:
        out.write(CONTENT)
    assert gzip.decompress(file.getvalue()) == CONTENT
