"""The header of one frame: what its functional groups, those that all frames share, and the file itself say, in this order (PS3.3 C.7.6.16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...errors import InputError
from . import values

if TYPE_CHECKING:
    from pydicom import Dataset

#: the functional groups that are read, and what is nested in them
GROUPS = (
    "PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence", "FrameContentSequence",
    "CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence", "XRay3DFrameTypeSequence", "MREchoSequence", "MRDiffusionSequence",
    "MRTimingAndRelatedParametersSequence", "MRModifierSequence", "MRVelocityEncodingSequence", "CTReconstructionSequence", "CTXRayDetailsSequence",
    "CTAcquisitionDetailsSequence", "CardiacSynchronizationSequence", "RespiratorySynchronizationSequence", "TemporalPositionSequence",
    "UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence",
)  # fmt: skip
NESTED = ("DiffusionGradientDirectionSequence",)


class FrameHeader:
    """One frame of a file; a classic file is its only frame."""

    def __init__(self, header: Dataset, groups: tuple[Dataset, ...] = ()):
        self.header = header
        self._groups = groups
        self._layers = (*groups, header)

    def text(self, keyword: str) -> str | None:
        """As :func:`.values.text`, from where it is said first."""
        return next((found for layer in self._layers if (found := values.text(layer, keyword)) is not None), None)

    def of_frame(self, keyword: str) -> str | None:
        """The same, of the functional groups alone."""
        return next((found for layer in self._groups if (found := values.text(layer, keyword)) is not None), None)

    def indices(self) -> tuple[int, ...]:
        """Dimension Index Values (0020,9157), none where there are none."""
        found = next((found for layer in self._groups if (found := values.read(layer, "DimensionIndexValues")) is not None), None)
        return () if found is None else (found,) if isinstance(found, int) else tuple(found)

    def private(self, tag: int, creator: str) -> str | None:
        """A private element at 0xGGGGEEEE, if its block (GGGG,0010) belongs to ``creator``."""
        owner = values.text_at(self.header, (tag & 0xFFFF0000) | 0x10)
        return values.text_at(self.header, tag) if owner == creator else None


def frame_headers(header: Dataset, count: int, file: object) -> list[FrameHeader]:
    """One a frame, in the order of the file.

    Raises:
        InputError: a functional group cannot be read, or there are more or fewer of them than ``count`` frames.
    """
    shared = [group for item in values.sequence(header, "SharedFunctionalGroupsSequence", file) for group in _groups(item, file)]
    frames = values.sequence(header, "PerFrameFunctionalGroupsSequence", file)
    if frames and len(frames) != count:
        raise InputError(f"{file} describes {len(frames)} frames and counts {count} (Number of Frames); export it again.")
    own = [list(_groups(frame, file)) for frame in frames] or [[]] * count
    return [FrameHeader(header, (*groups, *shared)) for groups in own]


def _groups(frame: Dataset, file: object) -> Iterator[Dataset]:
    for keyword in GROUPS:
        for group in values.sequence(frame, keyword, file)[:1]:
            yield group
            for name in NESTED:
                yield from values.sequence(group, name, file)[:1]
