"""A small good scan of each format, which bytes of it are its header, and who reads it independently."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

SHAPE = (8, 9, 10)  # (k, j, i)
_MATRIX = np.array([[-0.48, 0.72, 0, -30], [0.64, 0.54, 0, 12], [0, 0, 2.5, 7], [0, 0, 0, 1]])  # RAS
_NRRD = """NRRD0004
# made by hand
type: short
dimension: 3
space: left-posterior-superior
sizes: 10 9 8
space directions: (0.48,-0.64,0) (-0.72,-0.54,0) (0,0,2.5)
kinds: domain domain domain
endian: little
encoding: {encoding}
space origin: (30,-12,7)
space units: "mm" "mm" "mm"
"""
_META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = {packed}{size}
TransformMatrix = 0.6 -0.8 0 -0.8 -0.6 0 0 0 1
Offset = 30 -12 7
CenterOfRotation = 0 0 0
AnatomicalOrientation = RAI
ElementSpacing = 0.8 0.9 2.5
DimSize = 10 9 8
ElementType = MET_SHORT
ElementDataFile = {file}
"""


@dataclass(frozen=True)
class Format:
    """A good scan, to be altered.

    Attributes:
        name: of the file to read.
        files: name to content, all that belongs to it.
        header: bytes at the beginning of the file ``name`` that are altered.
        reader: of :mod:`.readers`, the independent one.
        packed: the file is gzipped after its header was altered.
    """

    name: str
    files: dict[str, bytes]
    header: int
    reader: str
    packed: bool = False

    def altered(self, edits: list[tuple[int, int]]) -> dict[str, bytes]:
        """The files with (offset, byte) put into the header."""
        content = bytearray(self.files[self.name])
        for offset, byte in edits:
            content[offset] = byte
        return {**self.files, self.name: gzip.compress(content, 1, mtime=0) if self.packed else bytes(content)}


def _voxels() -> np.ndarray:
    """int16, with neither few values nor NaN in any type that an altered header may name."""
    k, j, i = np.indices(SHAPE)
    return (37 * i + 113 * j + 211 * k + 13 * i * j - 300).astype("<i2")


def _nifti(kind: str, name: str) -> Format:
    import nibabel as nib

    image = getattr(nib, kind)(_voxels().T, None)
    image.set_qform(_MATRIX, 1)
    image.set_sform(_MATRIX, 2)
    image.header.set_xyzt_units("mm")
    return _of_nibabel(image, name)


def _analyze() -> Format:
    import nibabel as nib

    image = nib.Spm2AnalyzeImage(_voxels().T, None)
    image.header.set_zooms((0.8, 0.9, 2.5))
    return _of_nibabel(image, "scan.hdr")


def _of_nibabel(image: object, name: str) -> Format:
    import io

    import nibabel as nib

    maps = {key: nib.FileHolder(fileobj=io.BytesIO()) for key in image.file_map}  # type: ignore[attr-defined]
    image.to_file_map(maps)  # type: ignore[attr-defined]
    names = {"image": name.replace(".hdr", ".img"), "header": name}
    files = {names[key]: holder.fileobj.getvalue() for key, holder in maps.items() if key in names and holder.fileobj.getvalue()}
    return Format(name, files, len(image.header.binaryblock), "nibabel", name.endswith(".gz"))  # type: ignore[attr-defined]


def _mgh() -> Format:
    import nibabel as nib

    return Format("scan.mgh", {"scan.mgh": nib.MGHImage(_voxels().astype(np.int16).T, _MATRIX).to_bytes()}, 90, "nibabel")


def _text(header: str, name: str, reader: str, voxels: bytes, beside: str = "") -> Format:
    begin = header.encode()
    files = {name: begin, beside: voxels} if beside else {name: begin + voxels}
    return Format(name, files, len(begin), reader)


def _nrrd(name: str, encoding: str) -> Format:
    voxels = gzip.compress(_voxels().tobytes(), 1, mtime=0) if encoding == "gzip" else _voxels().tobytes()
    beside = "scan.raw" if name.endswith(".nhdr") else ""
    return _text(_NRRD.format(encoding=encoding) + (f"data file: {beside}\n" if beside else "\n"), name, "pynrrd", voxels, beside)


def _meta(name: str, packed: bool) -> Format:
    voxels = zlib.compress(_voxels().tobytes()) if packed else _voxels().tobytes()
    beside = "scan.raw" if name.endswith(".mhd") else ""
    return _text(_META.format(packed=packed, size=f"\nCompressedDataSize = {len(voxels)}" if packed else "", file=beside or "LOCAL"), name, "simpleitk", voxels, beside)


MAKERS: dict[str, Callable[[], Format]] = {
    "nifti1": lambda: _nifti("Nifti1Image", "scan.nii"),
    "nifti1-gz": lambda: _nifti("Nifti1Image", "scan.nii.gz"),
    "nifti1-pair": lambda: _nifti("Nifti1Pair", "scan.hdr"),
    "nifti2": lambda: _nifti("Nifti2Image", "scan.nii"),
    "analyze": _analyze,
    "mgh": _mgh,
    "nrrd": lambda: _nrrd("scan.nrrd", "raw"),
    "nrrd-gz": lambda: _nrrd("scan.nrrd", "gzip"),
    "nhdr": lambda: _nrrd("scan.nhdr", "raw"),
    "mha": lambda: _meta("scan.mha", False),
    "mha-packed": lambda: _meta("scan.mha", True),
    "mhd": lambda: _meta("scan.mhd", False),
}


@cache
def format_of(name: str) -> Format:
    """The good scan of a format."""
    return MAKERS[name]()
