"""A derived series without its patient, after the Basic Application Confidentiality Profile (PS3.15 E.2).

What has words, dates or UIDs is not taken over at all (:func:`.taking.without_words`), so nothing need be found and removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .uids import digest_of, uid_of

if TYPE_CHECKING:
    from pydicom import Dataset

#: Words that describe the picture, not a person, and stay
ANONYMOUS_WORDS = ("ConvolutionKernel", "FilterType", "ImagedNucleus")
_METHOD = ["SuperResolution3D: only numbers and terms of the standard kept", "UIDs replaced, dates and texts left out", "pixels not changed"]


def renamed(uid: str) -> str:
    """Another UID for the same thing, always the same one, so that references between anonymous series hold."""
    return uid_of("anonymous", uid)


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
