"""What tells volumes of one series apart: echoes, b-values, kinds of image, kernels, times.

What is in :data:`APART` is never mixed.  What is in :data:`IN_TURN` may differ from slice to slice of one volume, and is asked only where several slices
lie at one place.
"""

from __future__ import annotations

from .header import FrameHeader
from .values import printable

#: a user's words -> keywords, the first that is there counts
APART: dict[str, tuple[str, ...]] = {
    "patient": ("PatientID",),
    "study": ("StudyInstanceUID",),
    "frame of reference": ("FrameOfReferenceUID",),
    "modality": ("Modality",),
    "image type": ("FrameType", "ImageType"),
    "component": ("ComplexImageComponent",),
    "photometric interpretation": ("PhotometricInterpretation",),
    "echo time": ("EffectiveEchoTime", "EchoTime"),
    "echo": ("EchoNumbers",),
    "b-value": ("DiffusionBValue",),
    "diffusion": ("DiffusionDirectionality",),
    "kernel": ("ConvolutionKernel",),
    "units": ("Units", "DoseUnits"),
    "kind of values": ("RescaleType",),
    "correction": ("CorrectedImage",),
    "stack": ("StackID",),
}
IN_TURN: dict[str, tuple[str, ...]] = {
    "time point": ("TemporalPositionIndex", "TemporalPositionIdentifier", "TemporalPositionTimeOffset"),
    "trigger time": ("NominalCardiacTriggerDelayTime", "TriggerTime"),
    "phase of the heart": ("NominalPercentageOfCardiacPhase",),
    "phase of the breath": ("NominalPercentageOfRespiratoryPhase",),
    "gradient": ("DiffusionGradientOrientation",),
    "inversion time": ("InversionTimes", "InversionTime"),
    "flip angle": ("FlipAngle",),
    "velocity encoding": ("VelocityEncodingMaximumValue",),
    "tube voltage": ("KVP",),
    "repetition time": ("RepetitionTime",),
    "sequence": ("SequenceName",),
    "frame reference time": ("FrameReferenceTime",),
    "acquisition": ("FrameAcquisitionNumber", "AcquisitionNumber"),
    "time of acquisition": ("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime"),
    "contrast": ("ContrastBolusAgent",),
    "description": ("SeriesDescription",),
}
#: of these, what is never told of every other slice of one volume
ALTERNATING_NEVER = (
    "time point", "phase of the heart", "phase of the breath", "gradient", "inversion time", "flip angle", "velocity encoding", "tube voltage", "contrast", "description",
)  # fmt: skip
UNITS = {"echo time": " ms", "trigger time": " ms", "inversion time": " ms", "repetition time": " ms", "b-value": " s/mm2", "tube voltage": " kV", "flip angle": " degrees"}

_DIGITS, _DIGITS_OF_TIMES = 5, 9  # a time of day has six before its point
#: b-values before the standard had them: (tag, creator of the private block)
_PRIVATE_B = ((0x0019100C, "SIEMENS MR HEADER"), (0x00431039, "GEMS_PARM_01"), (0x20011003, "Philips Imaging DD 001"))


def labels_apart(header: FrameHeader) -> dict[str, str]:
    """What a frame says of itself, of all that is never mixed; "" where it says nothing."""
    found = {words: _told(header, keywords) for words, keywords in APART.items()}
    found["b-value"] = found["b-value"] or next((_plain(told.split("\\")[0]) for tag, owner in _PRIVATE_B if (told := header.private(tag, owner))), "")
    if (header.text("NumberOfTemporalPositions") or "1") != "1":
        found["time point"] = _told(header, IN_TURN["time point"])
    return found


def labels_in_turn(header: FrameHeader) -> dict[str, str]:
    """The same, of what may differ within a volume; the indices of a multi-frame file's dimensions come last."""
    found = {words: _told(header, keywords, _DIGITS_OF_TIMES) for words, keywords in IN_TURN.items()}
    indices = header.indices()
    return {**found, **{f"dimension {position}": str(index) for position, index in enumerate(indices, 1)}}


def _told(header: FrameHeader, keywords: tuple[str, ...], digits: int = _DIGITS) -> str:
    return next((_plain(told, digits) for keyword in keywords if (told := header.text(keyword))), "")


def _plain(told: str, digits: int = _DIGITS) -> str:
    """Numbers rounded, so that 10 and 10.0 are the same; other text as it is."""
    return "\\".join(_rounded(part, digits) for part in told.split("\\"))


def _rounded(part: str, digits: int) -> str:
    try:
        return f"{float(part):.{digits}g}" if len(part) < 12 and "_" not in part else printable(part)
    except ValueError:
        return printable(part.strip())
