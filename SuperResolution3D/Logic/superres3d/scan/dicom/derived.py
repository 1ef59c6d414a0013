"""The slices of a derived series as CT or MR Image Storage (PS3.3 A.3 and A.4), each put together of what is kept and what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...errors import InputError
from ..volume import Volume
from .anonymous import ANONYMOUS_WORDS, IMAGE_TERMS, forget_patient, keep_terms, renamed
from .conditions import settle
from .flat import SourceSlice, source_slices
from .kept import IMAGE, NEVER_EMPTY, NEVER_MISSING, NEVER_MISSING_OF, OF_MODALITY, PATIENT, SERIES, STUDY
from .lossy import tell_lossy
from .provenance import Provenance, contributing_equipment, derivation_codes, equipment, referenced_series, source_images
from .source import DicomSource
from .stored_values import Encoding, decimal_string, encoding_of, rescale_of
from .taking import UNREADABLE, known_characters, sound, take, uid_told, without_words
from .uids import digest_of, uid_of

if TYPE_CHECKING:
    from pydicom import Dataset

_SOP_CLASS = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
_FARTHEST_ZONE = 1400
_SAME_PLACE = 1e-3  # of a distance between slices
#: Series Number (0020,0011): the source's times a hundred, and one for networks, two for interpolations
_BY_NETWORKS, _BY_INTERPOLATION, _LARGEST_NUMBER = 1, 2, 2**31 - 1


def check_derivable(volume: Volume, anonymize: bool = False) -> None:
    """Refuse a volume of which no derived series can be made, before it is computed with.

    Raises:
        InputError: it does not come from DICOM, is neither CT nor MR, or words are part of its pictures and ``anonymize`` shall take out names.
    """
    if not isinstance(volume.source, DicomSource):
        raise InputError("A DICOM series is written only from DICOM, for another file tells of no patient; give the result a name such as out.nii.gz.")
    if volume.modality not in OF_MODALITY:
        raise InputError(f"DICOM series are written of CT and MR, and this scan is {volume.modality or 'of unknown modality'}; give the result a name such as out.nii.gz.")
    if anonymize and any(_text(header, "BurnedInAnnotation") == "YES" for header in volume.source.headers):
        raise InputError("The scan says that words are part of its pictures (BurnedInAnnotation), and --anonymize cannot take them out; remove them first.")


@dataclass(frozen=True)
class Derivation:
    """A volume, where it comes from, and what was done.

    Attributes:
        volume: the result; it has passed :func:`check_derivable`.
        provenance: what was done.
        anonymous: whether the patient stays out.
        moment: of the derivation.
    """

    volume: Volume
    provenance: Provenance
    anonymous: bool
    moment: datetime

    @property
    def modality(self) -> str:
        """ "CT" or "MR"."""
        return self.volume.modality

    @cached_property
    def slices(self) -> list[SourceSlice]:
        """Of the source."""
        return source_slices(self.volume.source)

    @cached_property
    def encoding(self) -> Encoding:
        """Of the values."""
        return encoding_of(self.volume.voxels, [piece.header for piece in self.slices])

    def datasets(self) -> Iterator[Dataset]:
        """The slices, in the order of their instance numbers, ready to be written."""
        count = len(self.volume.voxels)
        common, digest = self._common(), self._digest()
        common.SeriesInstanceUID = uid_of("series", digest)
        order = range(count - 1, -1, -1) if self._numbered_down else range(count)
        for number, k in enumerate(order, 1):
            yield self._slice(common, k, number, uid_of("instance", digest, str(k)))

    def _digest(self) -> str:
        """Of everything that makes another instance: two instances of one name would differ in nothing but the moment of their making."""
        volume = self.volume
        grid = repr((volume.voxels.shape, str(volume.voxels.dtype), volume.spacing, volume.origin, np.asarray(volume.direction).tolist()))
        names = sorted({f"{piece.sop_instance} {piece.frame or ''}" for piece in self.slices})
        pixels = (np.ascontiguousarray(plane).tobytes() for plane in volume.voxels)
        return digest_of([self.provenance.recipe, "anonymous" if self.anonymous else "", grid, repr(self.encoding), *names, *pixels])

    @property
    def _numbered_down(self) -> bool:
        """Whether the source's instance numbers fall along k: the result's then do, too."""
        first, last = (sound(piece.header, "InstanceNumber") for piece in (self.slices[0], self.slices[-1]))
        return self.slices[0].frame is None and first is not None and last is not None and int(first.value) > int(last.value)

    def _words(self, *groups: tuple[str, ...]) -> list[str]:
        words = [word for group in groups for word in group]
        return without_words(words, ANONYMOUS_WORDS) if self.anonymous else words

    @property
    def _uid(self) -> Callable[[str], str]:
        return renamed if self.anonymous else str

    def _common(self) -> Dataset:
        """What is the same in every slice."""
        from pydicom import Dataset

        first = self.slices[0].header
        common = Dataset()
        take(common, first, self._words(SERIES) if self.anonymous else self._words(PATIENT, STUDY, SERIES))
        known_characters(common)
        if self.anonymous:
            keep_terms(common)
        study = uid_told(first, "StudyInstanceUID") or uid_of("study", self.slices[0].sop_instance)
        common.SOPClassUID, common.Modality, common.StudyInstanceUID = _SOP_CLASS[self.modality], self.modality, self._uid(study)
        common.FrameOfReferenceUID = self._uid(uid_told(first, "FrameOfReferenceUID") or uid_of("frame", uid_told(first, "SeriesInstanceUID")))
        common.SeriesNumber = self._series_number(first)
        common.SeriesDescription = self.provenance.series_description("" if self.anonymous else _text(first, "SeriesDescription"))
        common.DerivationDescription, common.ImageComments = self.provenance.description(), self.provenance.comment()
        common.DerivationCodeSequence = derivation_codes()
        common.ContentQualification = "RESEARCH"
        equipment(common)
        common.ContributingEquipmentSequence = contributing_equipment(first, self.anonymous)
        if self.provenance.invents:
            common.SyntheticData = "YES"
        if self.anonymous:
            forget_patient(common, study)
        else:
            self._tell_moment(common, first)
        return common

    def _series_number(self, first: Dataset) -> int:
        element = sound(first, "SeriesNumber")
        own = max(int(element.value), 0) if element is not None else 0
        step = _BY_NETWORKS if self.provenance.by_networks else _BY_INTERPOLATION
        return own * 100 + step if own * 100 + step <= _LARGEST_NUMBER else min(own + step, _LARGEST_NUMBER)

    def _tell_moment(self, common: Dataset, first: Dataset) -> None:
        """The derivation's dates, in the time zone of all others (0008,0201)."""
        offset = _text(first, "TimezoneOffsetFromUTC")
        moment = self.moment.astimezone(_zone(offset))
        date, time = f"{moment:%Y%m%d}", f"{moment:%H%M%S}"
        common.InstanceCreationDate = common.SeriesDate = common.ContentDate = date
        common.InstanceCreationTime = common.SeriesTime = common.ContentTime = time

    def _slice(self, common: Dataset, k: int, number: int, name: str) -> Dataset:
        from pydicom import Dataset

        nearest, between = self._sources_of(k)
        dataset = Dataset()
        dataset.update(common)
        dataset.update(self._taken(nearest))
        dataset.SOPInstanceUID, dataset.InstanceNumber = name, number
        dataset.ImageType = _image_type(nearest, self.modality, self.anonymous)
        self._refer(dataset, between)
        self._complete(dataset, nearest)
        self._place(dataset, k)
        self._pixels(dataset, k, nearest.header)
        return dataset

    def _refer(self, dataset: Dataset, slices: list[SourceSlice]) -> None:
        """Source images and their series, as far as these have names to refer to."""
        images = source_images([piece for piece in slices if piece.sop_class and piece.sop_instance], self._uid)
        series = uid_told(slices[0].header, "SeriesInstanceUID")
        if images:
            dataset.SourceImageSequence = images
        if images and series:
            dataset.ReferencedSeriesSequence = referenced_series(self._uid(series), images)

    def _taken(self, source: SourceSlice) -> Dataset:
        """What the derived slices that are nearest to a source slice have of it."""
        from pydicom import Dataset

        if id(source) not in self._taken_before:
            self._taken_before[id(source)] = taken = Dataset()
            take(taken, source.header, self._words(IMAGE, OF_MODALITY[self.modality]))
            if self.anonymous:
                keep_terms(taken)
        return self._taken_before[id(source)]

    @cached_property
    def _taken_before(self) -> dict[int, Dataset]:
        return {}

    def _complete(self, dataset: Dataset, nearest: SourceSlice) -> None:
        """Attributes that must be there."""
        for word in (*NEVER_MISSING, *NEVER_MISSING_OF[self.modality]):
            if word not in dataset:
                setattr(dataset, word, None)
        for word, value in NEVER_EMPTY[self.modality].items():
            dataset.setdefault(word, value)
        settle(dataset)
        tell_lossy(dataset, nearest)

    def _sources_of(self, k: int) -> tuple[SourceSlice, list[SourceSlice]]:
        """The nearest source slice, and the one or two that the slice lies on or between."""
        places = self._distances
        if places is None:
            index = round((k + 0.5) * len(self.slices) / len(self.volume.voxels) - 0.5)
            return self.slices[index], [self.slices[index]]
        here = float(self.volume.position((0, 0, k)) @ self.volume.direction[:, 2])
        tolerance = _SAME_PLACE * self.volume.spacing[2]
        below = [place for place in places if place <= here + tolerance]
        above = [place for place in places if place >= here - tolerance]
        ends = {max(below, default=min(places)), min(above, default=max(places))}
        nearest = int(np.argmin(np.abs(places - here)))
        return self.slices[nearest], [piece for piece, place in zip(self.slices, places) if place in ends]

    @cached_property
    def _distances(self) -> np.ndarray | None:
        """Places of the source's slices along the volume's normal, millimetres; None if one of them is not told."""
        positions = [piece.position for piece in self.slices]
        return np.array([position @ self.volume.direction[:, 2] for position in positions if position is not None]) if all(p is not None for p in positions) else None

    def _place(self, dataset: Dataset, k: int) -> None:
        """Image Plane (C.7.6.2), of the new grid."""
        volume = self.volume
        position, direction = volume.position((0, 0, k)), np.asarray(volume.direction)
        dataset.ImagePositionPatient = [decimal_string(number) for number in position]
        dataset.ImageOrientationPatient = [decimal_string(number) for number in direction[:, :2].T.ravel()]
        dataset.PixelSpacing = [decimal_string(volume.spacing[1]), decimal_string(volume.spacing[0])]
        dataset.SliceThickness = decimal_string(round(self._thickness(), 6))
        dataset.SpacingBetweenSlices = decimal_string(volume.spacing[2])
        dataset.SliceLocation = decimal_string(round(float(position @ np.cross(direction[:, 0], direction[:, 1])), 6))

    def _thickness(self) -> float:
        """Slice Thickness (0018,0050): the source's, refined as much as the distance of its slices: overlaps and gaps stay what they were."""
        spacing, element = self.volume.spacing[2], sound(self.slices[0].header, "SliceThickness")
        thickness = float(element.value) if element is not None else 0.0
        places = self._distances
        if thickness <= 0 or places is None or len(places) < 2:
            return spacing
        steps = np.diff(np.unique(np.round(places, 6)))
        return thickness * spacing / float(np.median(steps)) if len(steps) else spacing

    def _pixels(self, dataset: Dataset, k: int, header: Dataset) -> None:
        """Image Pixel (C.7.6.3) and Modality LUT (C.11.1)."""
        encoding = self.encoding
        stored = encoding.stored(self.volume.voxels[k])
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1" if _text(header, "PhotometricInterpretation") == "MONOCHROME1" else "MONOCHROME2"
        dataset.Rows, dataset.Columns = stored.shape
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, encoding.bits, encoding.bits - 1, int(encoding.signed)
        kind = "SS" if encoding.signed else "US"
        dataset.add_new("SmallestImagePixelValue", kind, int(stored.min()))
        dataset.add_new("LargestImagePixelValue", kind, int(stored.max()))
        if self.modality == "CT" or (encoding.slope, encoding.intercept) != (1, 0) or "RescaleSlope" in header:
            dataset.RescaleSlope, dataset.RescaleIntercept = decimal_string(encoding.slope), decimal_string(encoding.intercept)
            dataset.RescaleType = _text(header, "RescaleType") or ("HU" if self.modality == "CT" else "US")
        else:
            dataset.pop("RescaleType", None)
        for word in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            value = _padding(header, word)
            if value is not None and encoding.holds(value):
                dataset.add_new(word, kind, round((value - encoding.intercept) / encoding.slope))
        dataset.add_new("PixelData", "OW", stored.tobytes())


def _text(header: Dataset, keyword: str) -> str:
    element = sound(header, keyword)
    return str(element.value) if element is not None else ""


def _zone(offset: str) -> timezone | None:
    """Of the form -0500; None, the machine's own, where it is none."""
    if len(offset) != 5 or not offset[1:].isdigit() or int(offset[1:]) > _FARTHEST_ZONE:
        return None
    return timezone((1 if offset[0] == "+" else -1) * timedelta(hours=int(offset[1:3]), minutes=int(offset[3:])))


def _image_type(source: SourceSlice, modality: str, anonymous: bool) -> list[str]:
    """Image Type (0008,0008): DERIVED, SECONDARY, and what else the source tells of the picture (C.8.2.1.1.1, C.8.3.1.1.1), which may be anyone's words."""
    element = sound(source.header, "ImageType") if source.frame is None else None  # enhanced images have other words
    values = list(element.value) if element is not None and element.VM > 1 else []
    third = values[2] if len(values) > 2 and values[2] else "OTHER"
    if anonymous:
        return ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else third if third in IMAGE_TERMS else "OTHER"]
    return ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else third, *(value for value in values[3:] if value)]


def _padding(header: Dataset, keyword: str) -> float | None:
    """A padding value of the source as a value of the volume."""
    try:
        value = int(header[keyword].value)
    except UNREADABLE:
        return None
    if header.get("PixelRepresentation") == 1 and value > 32767:  # told as unsigned
        value -= 65536
    slope, intercept = rescale_of(header)
    return value * slope + intercept
