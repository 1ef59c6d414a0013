"""Pixels that do not lie in the file as they are: compressed, deflated, big endian or floating point, by pydicom and its plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from . import values
from .by_itk import SYNTAXES, decoded_by_itk
from .folder import DicomFile
from .streams import told_size, unpacked

if TYPE_CHECKING:
    from pydicom import Dataset

#: how often the data of a compressed file the pixels may be, before it counts as damaged
_MOST_COMPRESSED = 5000
_RLE = "1.2.840.10008.1.2.5"
_SMALL = 2**28  # bytes that are never too many


def decoded(file: DicomFile, indices: Sequence[int], shape: tuple[int, int]) -> list[np.ndarray]:
    """Frames of one file.

    Args:
        file: any DICOM image.
        indices: which of its frames.
        shape: (rows, columns), which each must have.

    Returns:
        Arrays (rows, columns), stored values.

    Raises:
        InputError: no decoder for the transfer syntax here, or damaged pixels.
    """
    _check_decoder(file)
    _check_size(file, shape)
    try:
        read = _frames(_whole(file), file.syntax, indices, shape)
    except _OtherSizeError:
        raise InputError(f"{file.path} holds pictures of another size than its header tells ({shape[1]} x {shape[0]} pixels); export it again.") from None
    except Exception:  # decoders raise whatever they like
        raise InputError(f"{file.path} is damaged or cut: its pixels cannot be read; copy or export it again, or remove it.") from None
    return read


class _OtherSizeError(Exception):
    """The pixels are of another size than the header tells."""


def _frames(whole: Dataset, syntax: str, indices: Sequence[int], shape: tuple[int, int]) -> list[np.ndarray]:
    from pydicom.encaps import get_frame
    from pydicom.pixels import pixel_array
    from pydicom.uid import UID

    count = int(whole.get("NumberOfFrames") or 1)
    packed = [get_frame(whole.PixelData, index, number_of_frames=count) for index in indices] if UID(syntax).is_encapsulated else []
    if syntax == _RLE:  # pydicom takes more than there should be, and pylibjpeg-rle 2.2 ends in a panic
        return [unpacked(frame, shape, whole.BitsAllocated // 8) for frame in packed]
    if any(told_size(frame) not in (shape, None) for frame in packed):
        raise _OtherSizeError
    if packed and not _is_available(syntax):
        read = [decoded_by_itk(whole, syntax, frame) for frame in packed]
    else:
        read = [pixel_array(whole, index=index, raw=True) for index in indices]
    if any(array.shape != shape for array in read):
        raise _OtherSizeError
    return read


def _whole(file: DicomFile) -> Dataset:
    """The file with its pixels; one without file meta information says nowhere how it is encoded, and pydicom wants to know."""
    import pydicom
    from pydicom.uid import UID

    whole = pydicom.dcmread(file.path, force=True)
    if "TransferSyntaxUID" not in whole.file_meta:
        whole.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.2") if not whole.original_encoding[1] else UID(file.syntax)
    return whole


def _check_decoder(file: DicomFile) -> None:
    from pydicom.uid import UID

    syntax = UID(file.syntax)
    try:
        available = _is_available(syntax) or syntax in SYNTAXES
    except (NotImplementedError, ValueError):
        raise InputError(f"{file.path} stores its pixels in a way that is not read ({_name(syntax)}); export it uncompressed.") from None
    if not available:
        raise InputError(f"{file.path} is compressed as {_name(syntax)}, and the package for that is not installed; run: pip install {_package(syntax)}")


def _is_available(syntax: str) -> bool:
    """Whether pydicom and its plug-ins decode it here (NotImplementedError or ValueError: nobody's do)."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    return bool(get_decoder(UID(syntax)).is_available)


def _package(syntax: str) -> str:
    name = _name(syntax)
    return f"pylibjpeg pylibjpeg-{'openjpeg' if '2000' in name else 'libjpeg'}"


def _name(syntax: str) -> str:
    from pydicom.uid import UID

    return values.printable(UID(syntax).name)


def _check_size(file: DicomFile, shape: tuple[int, int]) -> None:
    """A few bytes that ask for all of the memory are damaged."""
    frames = values.whole(file.header, "NumberOfFrames", file.path, 1)
    wanted = shape[0] * shape[1] * frames * values.whole(file.header, "BitsAllocated", file.path, 16) // 8
    if wanted > max(_SMALL, _MOST_COMPRESSED * file.path.stat().st_size):
        raise InputError(f"{file.path} is damaged: its header asks for {shape[1]} x {shape[0]} pixels and {frames} frames, more than it can hold; export it again.")
