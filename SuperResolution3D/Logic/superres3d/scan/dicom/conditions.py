"""Attributes that the standard wants, or forbids, because of others (types 1C and 2C): brought in order, whatever the source had of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom import Dataset

_WINDOW = ("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction")
_TRIAL = ("ClinicalTrialSponsorName", "ClinicalTrialProtocolID")  # and one of the two that follow
_TRIAL_SUBJECT = ("ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID")
_TRIAL_EMPTY = ("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName")
_ANIMAL_EMPTY = ("PatientBreedDescription", "PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "ResponsibleOrganization", "PatientSexNeutered")
_GATED = ("CG", "PPG")
#: Body parts (PS3.16 L) of which there are not two
_SINGLE = (
    "ABDOMEN ABDOMENPELVIS BRAIN CHEST CHESTABDPELVIS CHESTABDOMEN CSPINE HEAD HEADNECK HEART LIVER LSPINE NECK NECKCHEST PANCREAS PELVIS PROSTATE SKULL SPINE SPLEEN TSPINE"
    " UTERUS WHOLEBODY"
)


def settle(dataset: Dataset) -> None:
    """Add what is missing, empty where nothing is known, and take out what must not be there; ``dataset`` is changed."""
    _window(dataset)
    _sequence(dataset)
    _trial(dataset)
    _animal(dataset)
    _identity(dataset)
    if not ({"Laterality", "ImageLaterality"} & _words(dataset)) and dataset.get("BodyPartExamined") not in _SINGLE.split():
        dataset.Laterality = None
    if any("Contrast" in word for word in _words(dataset)):
        _empty(dataset, "ContrastBolusAgent")


def _words(dataset: Dataset) -> set[str]:
    return {element.keyword for element in dataset}


def _empty(dataset: Dataset, *words: str) -> None:
    for word in words:
        if word not in dataset:
            setattr(dataset, word, None)


def _drop(dataset: Dataset, *words: str) -> None:
    for word in words:
        dataset.pop(word, None)


def _numbers(dataset: Dataset, word: str) -> list[float]:
    value = dataset.get(word)
    if value is None:
        return []
    return [float(number) for number in value] if dataset[word].VM > 1 else [float(value)]


def _window(dataset: Dataset) -> None:
    """As many widths as centres, each at least 1 where the function is linear (C.11.2.1.2); else no window."""
    centres, widths = _numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth")
    least = 1.0 if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR" else 1e-9
    if not centres or len(centres) != len(widths) or min(widths) < least:
        _drop(dataset, *_WINDOW)
    elif "WindowCenterWidthExplanation" in dataset and dataset["WindowCenterWidthExplanation"].VM != len(centres):
        _drop(dataset, "WindowCenterWidthExplanation")


def _sequence(dataset: Dataset) -> None:
    """Inversion Time goes with inversion recovery, Trigger Time with gating (C.8.3.1)."""
    if dataset.Modality != "MR":
        return
    if "IR" in dataset.ScanningSequence:
        _empty(dataset, "InversionTime")
    else:
        _drop(dataset, "InversionTime")
    if any(term in (dataset.ScanOptions or ()) for term in _GATED):
        _empty(dataset, "TriggerTime")


def _trial(dataset: Dataset) -> None:
    words = _words(dataset)
    if set(_TRIAL) <= words and set(_TRIAL_SUBJECT) & words:
        _empty(dataset, *_TRIAL_EMPTY)
    else:
        _drop(dataset, *(word for word in words if word.startswith("ClinicalTrial")))


def _animal(dataset: Dataset) -> None:
    if "ResponsiblePerson" in dataset and "ResponsiblePersonRole" not in dataset:
        _drop(dataset, "ResponsiblePerson")
    if "PatientSpeciesDescription" in dataset:
        _empty(dataset, *_ANIMAL_EMPTY)


def _identity(dataset: Dataset) -> None:
    """A source that says that its patient is gone says how."""
    if dataset.get("PatientIdentityRemoved") == "YES" and not ({"DeidentificationMethod", "DeidentificationMethodCodeSequence"} & _words(dataset)):
        dataset.DeidentificationMethod = "not told by the source"
