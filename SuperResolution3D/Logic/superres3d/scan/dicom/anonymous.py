"""A derived series without its patient, after the Basic Application Confidentiality Profile (PS3.15 E.2).

What has words, dates or UIDs is not taken over at all (:func:`.taking.without_words`), so nothing need be found and removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .kept import ENUMERATED
from .uids import digest_of, uid_of

if TYPE_CHECKING:
    from pydicom import Dataset

#: Terms of the standard; of attributes that may hold others, too, only these stay
_TERMS = {
    "PatientPosition": "HFP HFS HFDR HFDL FFP FFS FFDR FFDL LFP LFS RFP RFS AFP AFS AFDR AFDL PFP PFS PFDR PFDL",
    "BodyPartExamined": "ABDOMEN ABDOMENPELVIS ANKLE ARM BRAIN BREAST CHEST CHESTABDPELVIS CHESTABDOMEN CSPINE ELBOW EXTREMITY FOOT HAND HEAD HEADNECK HEART HIP KIDNEY KNEE LEG"
    " LIVER LSPINE NECK NECKCHEST PANCREAS PELVIS PROSTATE SHOULDER SKULL SPINE SPLEEN TSPINE UTERUS WHOLEBODY WRIST",
    "ScanOptions": "CG CT DIXON FC FS PER PFF PFP PPG RG SP",
    "LossyImageCompressionMethod": "ISO_10918_1 ISO_13818_2 ISO_14495_1 ISO_14496_10 ISO_15444_1 ISO_15444_2 ISO_15444_15 ISO_23008_2",
    "ImagedNucleus": "1H 3HE 7LI 13C 19F 23NA 31P 129XE",
}
#: What an MR image may show: the standard's terms of Image Type, value 3 (C.8.3.1.1.1), and makers' letters for magnitude, phase, real and imaginary
IMAGE_TERMS = (
    "DENSITY MAP", "DIFFUSION MAP", "IMAGE ADDITION", "MODULUS SUBTRACT", "MPR", "OTHER", "PHASE MAP", "PHASE SUBTRACT", "PROJECTION IMAGE", "T1 MAP", "T2 MAP", "VELOCITY MAP",
    "M", "P", "R", "I",
)  # fmt: skip
#: Words that describe the picture, not a person, and stay
ANONYMOUS_WORDS = ("ConvolutionKernel", "FilterType", "ImagedNucleus")
_METHOD = ["SuperResolution3D: only numbers and terms of the standard kept", "UIDs replaced, dates and texts left out", "pixels not changed"]


def renamed(uid: str) -> str:
    """Another UID for the same thing, always the same one, so that references between anonymous series hold."""
    return uid_of("anonymous", uid)


def keep_terms(dataset: Dataset) -> None:
    """Take out coded strings that are no terms of the standard: somebody may have typed them; ``dataset`` is changed."""
    for element in list(dataset):
        allowed = (_TERMS.get(element.keyword) or ENUMERATED.get(element.keyword, "")).split()
        if element.VR != "CS" and element.keyword not in _TERMS:
            continue
        values = [str(value) for value in (element.value if element.VM > 1 else [element.value]) if str(value) in allowed]
        if values:
            element.value = values if len(values) > 1 else values[0]
        else:
            del dataset[element.tag]


def forget_patient(dataset: Dataset, study: str) -> None:
    """Say who the patient is not: a name made from the study's UID, which keeps two studies apart, and how that was done (C.7.1.1, C.12.1).

    Args:
        dataset: changed.
        study: Study Instance UID of the source.
    """
    from pydicom import Dataset

    name = f"ANON-{digest_of(['patient', study])[:12].upper()}"
    dataset.PatientName = dataset.PatientID = name
    dataset.PatientIdentityRemoved, dataset.DeidentificationMethod = "YES", _METHOD
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator, method.CodeMeaning = "113100", "DCM", "Basic Application Confidentiality Profile"
    dataset.DeidentificationMethodCodeSequence = [method]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
