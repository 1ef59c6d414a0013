"""NIfTI-1, NIfTI-2 and Analyze 7.5: headers by nibabel, voxels from exactly the file that was named.

Content counts, not the name: a gzipped file that is called ``.nii`` is read.  nibabel is imported where it is used, so that other formats do without.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .deflate import GZIP
from .geometry import FLIP, grid_of
from .nifti_forms import NiftiForms, centred, forms_of
from .scaling import scaled
from .several import chosen
from .stored import RAW, head, is_gzipped, stored_voxels
from .volume import Volume

if TYPE_CHECKING:
    from types import ModuleType

LONGEST_HEADER = 540
_SIZES = {348: "Nifti1Header", 540: "Nifti2Header"}  # sizeof_hdr
_MAGIC = (b"n+1\0", b"ni1\0", b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")  # anything else of 348 bytes is Analyze
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown (by habit mm), m, mm, um
_REFUSED = {1: "voxels of one bit", 32: "complex numbers", 128: "colours", 1536: "numbers of 128 bits", 1792: "complex numbers", 2048: "complex numbers", 2304: "colours"}
_VECTORS = (1005, 1006, 1007, 1008, 1009, 1010, 1011, 2003, 2004)  # intent codes: matrix, vector, point ... RGB


def nibabel(path: Path) -> ModuleType:
    """The package, or a sentence on how to get it (InputError)."""
    try:
        import nibabel as package
    except ImportError:
        raise InputError(f"{path} needs the package nibabel, which is not installed here; run: pip install nibabel") from None
    return package


def is_nifti(begin: bytes) -> bool:
    """By the size of the header in its first four bytes; Analyze counts, too."""
    return _order_and_size(begin)[1] > 0


def _order_and_size(begin: bytes) -> tuple[str, int]:
    """Byte order and size of a header, which stands in its first four bytes; 0: it is none."""
    found = [(order, size) for order in "<>" for size in _SIZES if begin[:4] == struct.pack(f"{order}i", size)]
    return found[0] if found else ("<", 0)


def is_nifti_name(path: Path) -> bool:
    """By its name alone; .img of a pair has no mark in its content."""
    return path.name.lower().removesuffix(".gz").endswith((".nii", ".hdr", ".img"))


@np.errstate(all="ignore")  # numbers that are none are refused with the rest
def read_nifti(path: Path, volume: int | None = None) -> Volume:
    """Read a NIfTI-1, NIfTI-2 or Analyze file, single or one of a pair (.hdr, .img), gzipped or not.

    The sform counts where its code is not 0, else the qform; the other one goes along in :attr:`.Volume.source`.  Sizes in metres and micrometres are
    converted.  Integers that are stored with a scale stay integers where the scale is whole numbers.

    Args:
        path: the header, the voxels, or both in one.
        volume: number from 1, of several.

    Raises:
        InputError: damaged, incomplete, not scalar, several volumes and none chosen, no valid place, or nibabel is missing.
    """
    header_file = _partner(path, "img", "hdr") or path
    header = _header(header_file, path)
    analyze = not hasattr(header, "get_sform")
    single = not analyze and header["magic"].item()[:2] == b"n+"
    shape = _shape(header, path)
    unit, notes = (1.0, []) if analyze else _unit(header)
    forms, told = (_analyze_place(header, shape, path) if analyze else forms_of(header, shape[:3], unit, path))
    voxels, scale = _voxels(header, path if single else _data_file(header_file, path), shape, volume, single, path)
    notes += _packing(path)
    return Volume(voxels, **grid_of(forms.grid), notes=(*notes, *told, *scale), source=None if analyze else forms)


def _packing(path: Path) -> list[str]:
    """A note where the name tells otherwise than the content; other programs may not read such a file."""
    if is_gzipped(path) == path.name.lower().endswith(".gz"):
        return []
    return [f"{path.name} is {'' if is_gzipped(path) else 'not '}gzipped, in spite of its name."]


def _header(header_file: Path, path: Path) -> Any:
    """nibabel's header with nothing corrected in it."""
    package = nibabel(path)
    block = head(header_file, LONGEST_HEADER)
    order, size = _order_and_size(block)
    if len(block) < size:
        raise InputError(f"{path} is incomplete: it ends within its header; fetch or copy it again.")
    if not size:
        raise InputError(f"{path} cannot be read as an image: its header is no NIfTI header.")
    kind = getattr(package, _SIZES[size])
    if (block[344:348] if size == 348 else block[4:12]) not in _MAGIC:
        if size == 540:
            raise InputError(f"{path} cannot be read as an image: its header is no NIfTI header.")
        kind = package.spm2analyze.Spm2AnalyzeHeader
    return kind(block[:size], endianness=order, check=False)


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """(i, j, k, number of volumes)."""
    axes = int(header["dim"][0])
    sizes = [int(n) for n in header["dim"][1:]]
    if not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise InputError(f"{path} is damaged: its header names sizes of {' x '.join(map(str, sizes[: max(axes, 1)]))} voxels; fetch or copy it again.")
    if axes < 3:
        raise InputError(f"{path} is {axes}-D; give a 3-D volume.")
    sizes = sizes[:axes] + [1] * (7 - axes)
    if "intent_code" in header and int(header["intent_code"]) in _VECTORS and sizes[4] > 1:
        raise InputError(f"{path} has {sizes[4]} components per voxel (colour or vector); give a scalar CT or MR volume.")
    return (*sizes[:3], int(np.prod(sizes[3:], dtype=object)))


def _unit(header: Any) -> tuple[float, list[str]]:
    """Millimetres of a unit of length, and what to tell."""
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS or int(header["xyzt_units"]) & ~0x3F:
        return 1.0, ["The header names a unit of length that does not exist; millimetres were taken."]
    words = {1: "metres", 3: "micrometres"}
    return _UNITS[code], [f"Sizes were converted from {words[code]} to millimetres."] if code in words else []


def _analyze_place(header: Any, shape: tuple[int, ...], path: Path) -> tuple[NiftiForms, list[str]]:
    """nibabel's and SPM's habit: the first axis runs to the left; the origin of SPM, where there is one, else the middle."""
    sizes = np.abs(header["pixdim"][1:4].astype(float))
    matrix = centred(sizes * [-1, 1, 1], shape[:3])
    origin = header["origin"][:3].astype(float)
    if origin.any() and (origin > -np.array(shape[:3])).all() and (origin < 2 * np.array(shape[:3])).all():
        matrix[:3, 3] = -(origin - 1) * sizes * [-1, 1, 1]
    notes = ["Analyze files do not tell left from right; the first axis was taken to run from right to left."]
    if header["orient"].tobytes() not in (b"\0", b" ", b"0"):
        notes.append("The header names slices that are not transverse (orient), which was not read.")
    if path.with_suffix(".mat").exists():
        notes.append(f"The place in {path.with_suffix('.mat').name} was not read.")
    return NiftiForms(FLIP @ matrix, None, None, 0, 0), notes


def _voxels(header: Any, data_file: Path, shape: tuple[int, ...], volume: int | None, single: bool, path: Path) -> tuple[np.ndarray, list[str]]:
    """(k, j, i) with the scale applied, and what to tell."""
    code = int(header["datatype"])
    if code in _REFUSED:
        raise InputError(f"{path} holds {_REFUSED[code]}; give a scalar CT or MR volume (of complex numbers their magnitude).")
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (KeyError, nibabel(path).spatialimages.HeaderDataError):
        dtype = np.dtype(np.void)
    if dtype.kind not in "iuf":
        raise InputError(f"{path} is damaged: its header names a type of voxels that does not exist (code {code}); fetch or copy it again.")
    index = chosen(shape[3], volume, path)
    voxels = stored_voxels(data_file, shape[::-1], dtype, GZIP if is_gzipped(data_file) else RAW, skip=_offset(header, single, path), index=index)
    return scaled(voxels, *_slope(header, path))


def _offset(header: Any, single: bool, path: Path) -> int:
    """Where the voxels begin; 0 in a single file means right behind the header."""
    offset = float(header["vox_offset"])
    least = {348: 352, 540: 544}[int(header["sizeof_hdr"])] if single else 0
    if offset == 0:
        return least
    if not (least <= offset < 2**62 and offset == int(offset)):
        raise InputError(f"{path} is damaged: its header puts the voxels at byte {offset:g}; fetch or copy it again.")
    return int(offset)


def _slope(header: Any, path: Path) -> tuple[float, float]:
    """A slope of 0 or NaN means that there is none; an intercept without a number is a fault."""
    try:
        slope, inter = header.get_slope_inter()
    except nibabel(path).spatialimages.HeaderDataError:
        raise InputError(f"{path} has a scale of values whose intercept is no number; correct its header first.") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))


def _partner(path: Path, given: str, wanted: str) -> Path | None:
    """The other file of a pair, in the same case and packing first; None: ``path`` does not end so."""
    plain, packing = (path.with_suffix(""), path.suffix) if path.suffix.lower() == ".gz" else (path, "")
    if plain.suffix.lower() != f".{given}":
        return None
    ending = wanted.upper() if plain.suffix.isupper() else wanted
    candidates = [plain.with_suffix(f".{ending}{packing}"), plain.with_suffix(f".{ending}" if packing else f".{ending}.gz")]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _data_file(header_file: Path, path: Path) -> Path:
    """The voxels of a pair."""
    data_file = _partner(header_file, "hdr", "img")
    if data_file is None:
        raise InputError(f"{path} holds only the header of a pair (.hdr, .img); give it these names, or export the scan again.")
    for file in (header_file, data_file):
        if not file.is_file():
            raise InputError(f"{path} is one of two files, and {file.name} is not beside it; copy both.")
    return data_file
