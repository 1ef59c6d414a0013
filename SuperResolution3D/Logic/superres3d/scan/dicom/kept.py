"""What a derived series takes over from its source: attributes by name, a module of PS3.3 each.

Whatever is not named here stays behind: private attributes, overlays, curves, icons, comments, requests, histories of the file itself.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: C.7.1.1 Patient, C.7.1.3 and C.7.2.3 Clinical Trial
PATIENT = _words(
    """PatientName PatientID IssuerOfPatientID TypeOfPatientID PatientBirthDate PatientBirthTime PatientSex QualityControlSubject OtherPatientNames
    PatientSpeciesDescription PatientBreedDescription ResponsiblePerson ResponsiblePersonRole ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID
    ClinicalTrialSubjectReadingID ClinicalTrialTimePointID ClinicalTrialTimePointDescription"""
)
#: C.7.2.1 General Study, C.7.2.2 Patient Study
STUDY = _words(
    """StudyInstanceUID StudyDate StudyTime AccessionNumber ReferringPhysicianName ConsultingPhysicianName StudyDescription ProcedureCodeSequence
    PhysiciansOfRecord NameOfPhysiciansReadingStudy StudyID RequestingService
    AdmittingDiagnosesDescription PatientAge PatientSize PatientWeight MedicalAlerts Allergies Occupation SmokingStatus AdditionalPatientHistory
    PregnancyStatus LastMenstrualDate PatientSexNeutered AdmissionID"""
)
#: C.7.3.1 General Series, C.7.4.1 Frame of Reference, C.12.1 SOP Common; the same in every slice
SERIES = _words(
    """BodyPartExamined ProtocolName PatientPosition AnatomicalOrientationType Laterality PerformingPhysicianName OperatorsName
    PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepID PerformedProcedureStepDescription
    FrameOfReferenceUID PositionReferenceIndicator SpecificCharacterSet TimezoneOffsetFromUTC LongitudinalTemporalInformationModified SyntheticData"""
)
#: C.7.10.1 General Acquisition, C.7.6.1 General Image, C.7.6.4 Contrast/Bolus, C.11.2 VOI LUT: of the nearest slice
IMAGE = _words(
    """AcquisitionDate AcquisitionDateTime AcquisitionTime AcquisitionNumber AcquisitionDuration IrradiationEventUID
    AnatomicRegionSequence ImageLaterality QualityControlImage BurnedInAnnotation RecognizableVisualFeatures
    LossyImageCompression LossyImageCompressionRatio LossyImageCompressionMethod PresentationLUTShape
    ContrastBolusAgent ContrastBolusRoute ContrastBolusVolume ContrastBolusStartTime ContrastBolusStopTime ContrastBolusTotalDose ContrastFlowRate
    ContrastFlowDuration ContrastBolusIngredient ContrastBolusIngredientConcentration
    WindowCenter WindowWidth WindowCenterWidthExplanation VOILUTFunction"""
)
#: C.8.2.1 CT Image; not the tilt of the gantry, which a derived grid no longer has
CT = _words(
    """ScanOptions KVP DataCollectionDiameter ReconstructionDiameter DistanceSourceToDetector DistanceSourceToPatient TableHeight RotationDirection
    ExposureTime XRayTubeCurrent Exposure ExposureInuAs FilterType GeneratorPower FocalSpots ConvolutionKernel RevolutionTime SingleCollimationWidth
    TotalCollimationWidth TableSpeed TableFeedPerRotation SpiralPitchFactor DataCollectionCenterPatient ReconstructionTargetCenterPatient
    ExposureModulationType CTDIvol RescaleType"""
)
#: C.8.3.1 MR Image
MR = _words(
    """ScanningSequence SequenceVariant ScanOptions MRAcquisitionType SequenceName AngioFlag RepetitionTime EchoTime InversionTime NumberOfAverages
    ImagingFrequency ImagedNucleus EchoNumbers MagneticFieldStrength NumberOfPhaseEncodingSteps EchoTrainLength PercentSampling
    PercentPhaseFieldOfView PixelBandwidth TriggerTime NominalInterval BeatRejectionFlag LowRRValue HighRRValue HeartRate CardiacNumberOfImages
    ReconstructionDiameter ReceiveCoilName TransmitCoilName AcquisitionMatrix InPlanePhaseEncodingDirection FlipAngle VariableFlipAngleFlag SAR dBdt
    TemporalPositionIdentifier NumberOfTemporalPositions TemporalResolution"""
)
OF_MODALITY = {"CT": CT, "MR": MR}

#: C.7.5.1 General Equipment: of the scanner, told as equipment that contributed (C.12.1.1.5)
EQUIPMENT = ("Manufacturer", "InstitutionName", "InstitutionAddress", "StationName", "InstitutionalDepartmentName", "ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions")

#: Attributes of type 2: there, and empty where the source has none
NEVER_MISSING = _words(
    """PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime AccessionNumber ReferringPhysicianName StudyID PatientPosition
    PositionReferenceIndicator AcquisitionNumber"""
)
NEVER_MISSING_OF = {"CT": ("KVP",), "MR": ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength")}
#: Attributes of type 1 that only a damaged source lacks: MR of an unknown sequence is called research mode, as the standard has it
NEVER_EMPTY = {"CT": {}, "MR": {"ScanningSequence": "RM", "SequenceVariant": "NONE"}}

#: The values that the standard allows; others are no better than none
ENUMERATED = {
    "PatientSex": "M F O", "PatientSexNeutered": "ALTERED UNALTERED", "SmokingStatus": "YES NO UNKNOWN", "PregnancyStatus": "1 2 3 4", "QualityControlSubject": "YES NO",
    "PatientIdentityRemoved": "YES NO", "AnatomicalOrientationType": "BIPED QUADRUPED", "Laterality": "R L", "ImageLaterality": "R L U B", "SyntheticData": "YES NO",
    "BurnedInAnnotation": "YES NO", "RecognizableVisualFeatures": "YES NO", "LossyImageCompression": "00 01", "QualityControlImage": "YES NO BOTH",
    "PresentationLUTShape": "IDENTITY INVERSE", "VOILUTFunction": "LINEAR LINEAR_EXACT SIGMOID", "LongitudinalTemporalInformationModified": "UNMODIFIED MODIFIED REMOVED",
    "RotationDirection": "CW CC", "ScanningSequence": "SE IR GR EP RM", "SequenceVariant": "SK MTC SS TRSS SP MP OSP NONE", "MRAcquisitionType": "2D 3D", "AngioFlag": "Y N",
    "InPlanePhaseEncodingDirection": "ROW COL", "VariableFlipAngleFlag": "Y N", "BeatRejectionFlag": "Y N",
}  # fmt: skip
