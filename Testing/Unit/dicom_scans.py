"""Small made-up scans in DICOM, valid by the standard, with everything that a derived series must leave behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from superres3d import Volume
from superres3d.scan.dicom.source import DicomSource

from .conftest import smooth_noise

CT, MR, ENHANCED_CT, ENHANCED_MR = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("2", "4", "2.1", "4.1"))
SHAPE, SPACING, ORIGIN = (6, 20, 24), (0.7, 0.8, 3.6), (-40.5, 12.25, 7.123456789012)
ANGLE = np.radians(20)
#: Oblique, and right-angled to the last bit that a Decimal String holds
DIRECTION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
#: What tells of the patient or of those who looked after her; none of it may be in an anonymous series
SECRETS = {
    "PatientName": "Doe^Jane", "PatientID": "MRN-4711", "PatientBirthDate": "19500203", "PatientAge": "071Y", "AccessionNumber": "ACC-0815", "ReferringPhysicianName": "House^Gregory",
    "StudyDescription": "Head of Jane Doe", "StudyID": "ST-77", "StudyDate": "20210304", "StudyTime": "101112", "SeriesDate": "20210305", "AcquisitionDate": "20210306",
    "ContentDate": "20210307", "InstitutionName": "St. Elsewhere", "StationName": "SCANNER9", "OperatorsName": "Op^Erator", "DeviceSerialNumber": "SN-998877", "ProtocolName": "Jane special",
    "ImageComments": "phoned her husband", "SeriesDescription": "T2 of Jane", "AdditionalPatientHistory": "fell from a horse", "PerformedProcedureStepDescription": "for Dr. Watson",
    "ContrastBolusAgent": "Janeovist", "TimezoneOffsetFromUTC": "-0500",
}  # fmt: skip


def patient() -> Dataset:
    """Patient, study, series and equipment, and attributes that are nobody's business."""
    head = Dataset()
    for keyword, value in SECRETS.items():
        setattr(head, keyword, value)
    head.SpecificCharacterSet, head.PatientSex, head.PatientWeight, head.PregnancyStatus = "ISO_IR 100", "F", "61.5", 1
    head.StudyInstanceUID, head.SeriesInstanceUID, head.FrameOfReferenceUID = "1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"
    head.SeriesTime = head.ContentTime = head.AcquisitionTime = "101213"
    head.SeriesNumber, head.Manufacturer, head.ManufacturerModelName, head.SoftwareVersions = 4, "ACME", "Tube 1", "7.1"
    head.PatientPosition, head.PositionReferenceIndicator, head.BodyPartExamined = "HFS", None, "BRAIN"
    head.private_block(0x0029, "ACME PRIVATE", create=True).add_new(1, "LO", "private words")
    head.add_new(0x60000010, "US", 20)
    head.add_new(0x50000010, "US", 20)
    icon = Dataset()
    icon.Rows = icon.Columns = 1
    head.IconImageSequence = [icon]
    return head


def ct_image() -> Dataset:
    """A CT image's own attributes."""
    image = Dataset()
    image.Modality, image.SOPClassUID, image.ImageType = "CT", CT, ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"]
    image.KVP, image.ConvolutionKernel, image.XRayTubeCurrent, image.AcquisitionNumber = "120", "H30s", 200, 2
    image.RescaleSlope, image.RescaleIntercept, image.RescaleType = "1", "-1024", "HU"
    image.WindowCenter, image.WindowWidth, image.WindowCenterWidthExplanation = ["40", "600"], ["80", "2800"], ["WINDOW1", "WINDOW2"]
    image.GantryDetectorTilt = "0"
    return image


def mr_image() -> Dataset:
    """An MR image's own attributes."""
    image = Dataset()
    image.Modality, image.SOPClassUID, image.ImageType = "MR", MR, ["ORIGINAL", "PRIMARY", "M"]
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions, image.MRAcquisitionType = ["SE", "IR"], "SK", "FS", "2D"
    image.RepetitionTime, image.EchoTime, image.EchoTrainLength, image.InversionTime, image.FlipAngle = "8000", "124", 23, "2370", "165"
    image.MagneticFieldStrength, image.ImagedNucleus, image.AcquisitionMatrix = "1.5", "1H", [0, 320, 189, 0]
    return image


def place(k: int) -> list[float]:
    """Image Position (Patient) of slice ``k``."""
    return [round(float(number), 12) for number in np.asarray(ORIGIN) + DIRECTION[:, 2] * SPACING[2] * k]


def pixels(dataset: Dataset, stored: np.ndarray, bits: int = 12) -> None:
    """Image Pixel, unsigned or signed as the array is."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, bits, bits - 1, int(stored.dtype.kind == "i")
    dataset.add_new("PixelData", "OW", stored.tobytes())


def stored_values() -> np.ndarray:
    """Stored values of a scan, (k, j, i), uint16."""
    return np.rint(smooth_noise(SHAPE) * 2500).astype(np.uint16)


def slice_of(image: Dataset, k: int, **changes: object) -> Dataset:
    """A classic slice; ``changes`` are attributes, None takes one out."""
    dataset = patient()
    dataset.update(image)
    dataset.SOPInstanceUID, dataset.InstanceNumber = f"1.2.3.4.5.{k + 1}", k + 1
    dataset.ImagePositionPatient = place(k)
    dataset.ImageOrientationPatient = [round(float(number), 13) for number in DIRECTION[:, :2].T.ravel()]
    dataset.PixelSpacing, dataset.SliceThickness, dataset.SpacingBetweenSlices = [SPACING[1], SPACING[0]], "3", SPACING[2]
    pixels(dataset, stored_values()[k])
    for keyword, value in changes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """As a file of explicit little endian."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.2.1", dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, image: Dataset, **changes: object) -> Path:
    """A folder with a classic series, whose file names are in no order of place."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(SHAPE[0]):
        save(slice_of(image, k, **changes), folder / f"{(k * 5) % SHAPE[0]}.dcm")
    return folder


def classic(image: Dataset, **changes: object) -> Volume:
    """The volume of such a series, put together by hand."""
    headers = [slice_of(image, k, **changes) for k in range(SHAPE[0])]
    slope, intercept = float(headers[0].get("RescaleSlope", 1)), float(headers[0].get("RescaleIntercept", 0))
    values = stored_values() * slope + intercept
    voxels = values.astype(np.int16 if np.array_equal(values, np.rint(values)) else np.float32)
    return volume_of(voxels, headers)


def volume_of(voxels: np.ndarray, headers: list[Dataset]) -> Volume:
    """A volume on the grid of these scans."""
    files = tuple(Path(f"{number}.dcm") for number in range(len(headers)))
    return Volume(voxels, SPACING, ORIGIN, DIRECTION, headers[0].Modality, source=DicomSource(tuple(headers), files))


def enhanced(modality: str) -> Volume:
    """The volume of an enhanced multi-frame file whose frames are told in functional groups."""
    head = patient()
    head.Modality, head.SOPClassUID, head.SOPInstanceUID = modality, ENHANCED_CT if modality == "CT" else ENHANCED_MR, "1.2.3.4.6.1"
    head.InstanceNumber, head.ImageType, head.NumberOfFrames = 1, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], SHAPE[0]
    head.AcquisitionDateTime = "20210306101213"
    if modality == "MR":
        head.EchoPulseSequence, head.InversionRecovery, head.EchoPlanarPulseSequence, head.SegmentedKSpaceTraversal = "SPIN", "YES", "NO", "PARTIAL"
        head.MRAcquisitionType, head.MagneticFieldStrength, head.ResonantNucleus = "2D", 1.5, "1H"
    head.SharedFunctionalGroupsSequence = [_shared(modality)]
    head.PerFrameFunctionalGroupsSequence = [_frame(k) for k in range(SHAPE[0])]
    values = stored_values().astype(np.int16) - (1024 if modality == "CT" else 0)
    pixels(head, stored_values())
    return volume_of(values, [head])


def two_echoes(path: Path) -> Path:
    """An enhanced MR file of two echoes, its frames by place, and within a place by echo; the second is half as bright."""
    head = enhanced("MR").source.headers[0]
    del head.SharedFunctionalGroupsSequence[0].MREchoSequence
    frames = []
    for k in range(SHAPE[0]):
        for number, time in enumerate((12.5, 98.0), 1):
            frames.append(_frame(k))
            frames[-1].MREchoSequence = _group(EffectiveEchoTime=time)
            frames[-1].FrameContentSequence[0].DimensionIndexValues = [number, k + 1]
    head.PerFrameFunctionalGroupsSequence, head.NumberOfFrames = frames, len(frames)
    values = stored_values()
    pixels(head, np.stack([values, values // 2], axis=1).reshape(-1, *SHAPE[1:]))
    return save(head, path)


def _group(**attributes: object) -> list[Dataset]:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return [item]


def _shared(modality: str) -> Dataset:
    shared = Dataset()
    shared.PixelMeasuresSequence = _group(PixelSpacing=[SPACING[1], SPACING[0]], SliceThickness="3", SpacingBetweenSlices=SPACING[2])
    shared.PlaneOrientationSequence = _group(ImageOrientationPatient=[round(float(number), 13) for number in DIRECTION[:, :2].T.ravel()])
    if modality == "CT":
        shared.PixelValueTransformationSequence = _group(RescaleSlope="1", RescaleIntercept="-1024", RescaleType="HU")
        shared.CTXRayDetailsSequence = _group(KVP=120.0, FilterType="WEDGE")
        shared.CTReconstructionSequence = _group(ConvolutionKernel="H30s")
        shared.CTExposureSequence = _group(XRayTubeCurrentInmA=199.7, ExposureTimeInms=500.2)
    else:
        shared.MRTimingAndRelatedParametersSequence = _group(RepetitionTime="8000", FlipAngle="165", RFEchoTrainLength=23)
        shared.MREchoSequence = _group(EffectiveEchoTime=124.5)
        shared.MRFOVGeometrySequence = _group(InPlanePhaseEncodingDirection="COLUMN")
    return shared


def _frame(k: int) -> Dataset:
    frame = Dataset()
    frame.PlanePositionSequence = _group(ImagePositionPatient=place(k))
    frame.FrameContentSequence = _group(FrameAcquisitionDateTime=f"202103061012{10 + k}", StackID="1", InStackPositionNumber=k + 1)
    frame.FrameVOILUTSequence = _group(WindowCenter=str(40 + k), WindowWidth="80")
    return frame
