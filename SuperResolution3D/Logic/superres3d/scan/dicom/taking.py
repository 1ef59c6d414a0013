"""Attributes taken over from a source: those that are sound, and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

from . import values
from .kept import ENUMERATED
from .stored_values import decimal_string

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset

#: What pydicom's converters raise
UNREADABLE = (AttributeError, KeyError, LookupError, NotImplementedError, OverflowError, TypeError, ValueError)
#: Who the scan is of and where it belongs: taken over as they are, sound or not
_IDENTITY = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "StudyInstanceUID", "StudyID", "AccessionNumber", "FrameOfReferenceUID")
_UID, _LONGEST_UID = re.compile(r"\d+(\.\d+)+"), 64
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_OF_NO_ANONYMOUS_KIND = ("LO", "LT", "SH", "ST", "UC", "UR", "UT", "PN", "DA", "DT", "TM", "UI", "AE", "AS", "SQ")


def take(target: Dataset, header: Dataset, keywords: Iterable[str]) -> None:
    """Copy those of the named attributes that the header has with a sound value."""
    for keyword in keywords:
        element = sound(header, keyword)
        if element is not None:
            target.add(element)


def uid_told(header: Dataset, keyword: str) -> str:
    """A UID as it stands there, "" where there is none; leading zeros, which the standard forbids, name something all the same."""
    told = values.text(header, keyword) or ""
    return told if _UID.fullmatch(told) and len(told) <= _LONGEST_UID else ""


def known_characters(dataset: Dataset) -> None:
    """Another character set than one of the standard's becomes UTF-8 (C.12.1.1.2)."""
    from pydicom.charset import python_encoding

    told = dataset.get("SpecificCharacterSet")
    sets = [told] if isinstance(told, str) else list(told or ())
    if any(name not in python_encoding for name in sets):
        dataset.SpecificCharacterSet = "ISO_IR 192"


def without_words(keywords: Iterable[str], kept: Collection[str]) -> list[str]:
    """Those of the attributes that hold numbers or the standard's own terms, no words, dates or UIDs of anyone's; ``kept`` stay all the same."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    return [word for word in keywords if word in kept or dictionary_VR(tag_for_keyword(word) or 0) not in _OF_NO_ANONYMOUS_KIND]


def sound(header: Dataset, keyword: str) -> DataElement | None:
    """A copy of an attribute, or None where it is missing, empty, or holds what the standard does not allow (of which pydicom warns)."""
    try:
        if keyword not in header:
            return None
        element = header[keyword]
        if element.is_empty:
            return None
        return copy(element) if keyword in _IDENTITY else _checked(element)  # a value that is set later changes its element
    except UNREADABLE:
        return None


def _checked(element: DataElement) -> DataElement | None:
    from pydicom import DataElement
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if element.VR == "SQ":
        return _codes(element)
    if not _as_many(element):
        return None
    found: list[Any] = list(element.value) if element.VM > 1 else [element.value]
    if element.VR == "DS":
        found = [decimal_string(float(value)) for value in found]
    elif element.VR == "IS":
        found = [str(int(value)) for value in found]
    allowed = ENUMERATED.get(element.keyword)
    for value in found:
        validate_value(element.VR, value, RAISE)
        if allowed and str(value) not in allowed.split():
            return None
    return DataElement(element.tag, element.VR, found if len(found) > 1 else found[0])


def _as_many(element: DataElement) -> bool:
    """Whether it has as many values as the dictionary allows (PS3.6), such as 1, 3, 1-2, 1-n or 2-2n."""
    from pydicom.datadict import dictionary_VM

    low, _, high = dictionary_VM(element.tag).partition("-")
    if not high:
        return element.VM == int(low)
    return int(low) <= element.VM and (not high.isdigit() or element.VM <= int(high))


def _codes(element: DataElement) -> DataElement | None:
    """A sequence of codes, what else its items hold left out; None if one of them is no code."""
    from pydicom import DataElement, Dataset

    items = []
    for item in element.value:
        code = Dataset()
        take(code, item, _CODE)
        if "CodeValue" not in code or "CodingSchemeDesignator" not in code or "CodeMeaning" not in code:
            return None
        items.append(code)
    return DataElement(element.tag, "SQ", items)
