"""What once lost detail by compression stays marked (PS3.3 C.7.6.1.1.5), also where only the transfer syntax told of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .flat import SourceSlice
from .stored_values import decimal_string

if TYPE_CHECKING:
    from pydicom import Dataset

#: Transfer syntaxes under 1.2.840.10008.1.2.4 that lose detail, or may, and how Lossy Image Compression Method (0028,2114) calls them
_METHODS = {"50": "ISO_10918_1", "51": "ISO_10918_1", "81": "ISO_14495_1", "91": "ISO_15444_1", "203": "ISO_15444_15"}
_JPEG_FAMILY = "1.2.840.10008.1.2.4."


def tell_lossy(dataset: Dataset, source: SourceSlice) -> None:
    """Mark a derived slice, which may hold the source's own marks already; ``dataset`` is changed."""
    method = _METHODS.get(source.syntax.removeprefix(_JPEG_FAMILY)) if source.syntax.startswith(_JPEG_FAMILY) else None
    if method and dataset.get("LossyImageCompression") != "00":
        dataset.LossyImageCompression = "01"
    if dataset.get("LossyImageCompression") != "01":
        for word in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            dataset.pop(word, None)
        return
    if "LossyImageCompressionRatio" not in dataset:
        dataset.LossyImageCompressionRatio = decimal_string(round(_ratio(source), 2))
    if "LossyImageCompressionMethod" not in dataset and method:
        dataset.LossyImageCompressionMethod = method


def _ratio(source: SourceSlice) -> float:
    """Bytes of the pixels to bytes of the file, at least 1."""
    header = source.header
    try:
        pixels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1) * int(header.BitsAllocated) / 8
        return max(1.0, pixels / source.file.stat().st_size)
    except (AttributeError, OSError, TypeError, ValueError, ZeroDivisionError):
        return 1.0
