"""How thick the slices of a DICOM scan are."""

from __future__ import annotations

from ..volume import Volume
from .frame import length_of
from .header import frame_headers
from .source import DicomSource
from .values import text


def told_thickness(volume: Volume) -> float | None:
    """Slice Thickness (0018,0050) of the first slice along array axis k, in millimetres; None where nothing, or no positive number, is told.

    Args:
        volume: as it was read, from DICOM or another format.

    Raises:
        InputError: functional groups that cannot be read.
    """
    source = volume.source
    if not isinstance(source, DicomSource) or not source.headers:
        return None
    header, count = source.headers[0], text(source.headers[0], "NumberOfFrames")
    frames = frame_headers(header, int(count) if count and count.isdigit() else 1, source.files[0])
    first = source.frames[0][0] if source.frames and source.frames[0] else 0
    return length_of(frames[first], "SliceThickness")
