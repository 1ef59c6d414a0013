"""The slices of a source as flat headers, whether they are files of a classic series or frames of an enhanced one."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .source import DicomSource
from .taking import UNREADABLE, uid_told

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

#: Enhanced name -> (classic name, how a value is told there); C.8.13 and C.8.15 against C.8.2 and C.8.3
_RENAMED: dict[str, tuple[str, Any]] = {
    "EffectiveEchoTime": ("EchoTime", float),
    "ResonantNucleus": ("ImagedNucleus", str),
    "TransmitterFrequency": ("ImagingFrequency", float),
    "RFEchoTrainLength": ("EchoTrainLength", int),
    "XRayTubeCurrentInmA": ("XRayTubeCurrent", lambda value: round(float(value))),
    "ExposureTimeInms": ("ExposureTime", lambda value: round(float(value))),
    "ExposureInmAs": ("Exposure", lambda value: round(float(value))),
    "TemporalPositionIndex": ("TemporalPositionIdentifier", int),
}
#: (attribute of the enhanced MR pulse sequence, its values) -> term of Scanning Sequence (0018,0020) and of Sequence Variant (0018,0021)
_SEQUENCE = (("EchoPulseSequence", ("SPIN", "BOTH"), "SE"), ("InversionRecovery", ("YES",), "IR"), ("EchoPulseSequence", ("GRADIENT", "BOTH"), "GR"), ("EchoPlanarPulseSequence", ("YES",), "EP"))
_VARIANT = (
    ("SegmentedKSpaceTraversal", ("PARTIAL", "FULL"), "SK"), ("MagnetizationTransfer", ("ON_RESONANCE", "OFF_RESONANCE"), "MTC"),
    ("SteadyStatePulseSequence", ("FREE_PRECESSION", "TRANSVERSE", "TIME_REVERSED", "LONGITUDINAL"), "SS"), ("Spoiling", ("RF", "GRADIENT", "RF_AND_GRADIENT"), "SP"),
    ("OversamplingPhase", ("2D", "3D", "2D_3D"), "OSP"),
)  # fmt: skip


@dataclass(frozen=True)
class SourceSlice:
    """A slice of the source.

    Attributes:
        header: attributes of a classic slice, those of its functional groups among them.
        sop_class: SOP Class UID (0008,0016) of its file.
        sop_instance: SOP Instance UID (0008,0018) of its file.
        frame: its number in that file, from 1; None in a file of one slice.
        file: where it is.
        syntax: its Transfer Syntax UID (0002,0010), "" where it is not told.
        position: Image Position (Patient) (0020,0032), LPS millimetres; None where it is not told.
    """

    header: Dataset
    sop_class: str
    sop_instance: str
    frame: int | None
    file: Path
    syntax: str
    position: np.ndarray | None


def source_slices(source: DicomSource) -> list[SourceSlice]:
    """Every slice of the source that is the volume's, in the order of its files and frames."""
    frames = source.frames or (None,) * len(source.files)
    return [piece for header, file, taken in zip(source.headers, source.files, frames) for piece in _slices_of(header, file, taken)]


def _slices_of(header: Dataset, file: Path, taken: tuple[int, ...] | None) -> Iterator[SourceSlice]:
    names = uid_told(header, "SOPClassUID"), uid_told(header, "SOPInstanceUID")
    place = file, str(getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", ""))
    frames = header.get("PerFrameFunctionalGroupsSequence")
    if not frames:
        yield SourceSlice(header, *names, None, *place, _position(header))
        return
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for index in range(len(frames)) if taken is None else taken:
        flat = _flat(header, *shared, frames[index])
        yield SourceSlice(flat, *names, index + 1, *place, _position(flat))


def _position(header: Dataset) -> np.ndarray | None:
    try:
        position = np.array(header.ImagePositionPatient, dtype=float)
    except (AttributeError, TypeError, ValueError):
        return None
    return position if position.shape == (3,) and np.isfinite(position).all() else None


def _flat(header: Dataset, *groups: Dataset) -> Dataset:
    """The attributes of a file, and over them those of a frame's functional groups, under the names of a classic slice."""
    from pydicom import Dataset

    flat = Dataset()
    for element in _readable(header):
        if element.keyword not in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
            flat.add(element)
    for group in groups:
        _take_leaves(group, flat)
    _rename(flat)
    return flat


def _take_leaves(group: Dataset, flat: Dataset) -> None:
    """What the group's sequences hold, their first items all the way down."""
    for element in _readable(group):
        flat.add(element)
        if element.VR == "SQ" and element.value:
            _take_leaves(element.value[0], flat)


def _readable(dataset: Dataset) -> Iterator[DataElement]:
    """Copies: the value of one is changed in :func:`_rename`."""
    for tag in list(dataset.keys()):
        try:
            yield copy(dataset[tag])
        except UNREADABLE:
            continue


def _rename(flat: Dataset) -> None:
    for enhanced, (classic, told) in _RENAMED.items():
        if flat.get(enhanced) is not None and flat.get(classic) is None:
            try:
                setattr(flat, classic, told(flat[enhanced].value))
            except UNREADABLE:
                continue
    moment = str(flat.get("FrameAcquisitionDateTime", ""))
    if len(moment) >= 14 and "AcquisitionDate" not in flat:
        flat.AcquisitionDate, flat.AcquisitionTime = moment[:8], moment[8:].split("+")[0].split("-")[0]
    if flat.get("InPlanePhaseEncodingDirection") == "COLUMN":
        flat.InPlanePhaseEncodingDirection = "COL"
    for classic, rules in (("ScanningSequence", _SEQUENCE), ("SequenceVariant", _VARIANT)):
        terms = [term for name, values, term in rules if flat.get(name) in values]
        if terms and classic not in flat:
            setattr(flat, classic, terms)
