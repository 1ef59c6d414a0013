"""How a derived series came about, in the words and codes of the standard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ... import __version__
from .flat import SourceSlice
from .kept import EQUIPMENT
from .taking import take

if TYPE_CHECKING:
    from pydicom import Dataset

#: (code value, scheme, meaning) of PS3.16: CID 7203, 7202, 7005, 7050
_SPATIAL_RESAMPLING = ("113085", "DCM", "Spatial resampling")
_SOURCE_IMAGE = ("121322", "DCM", "Source image for image processing operation")
_ACQUISITION = ("109101", "DCM", "Acquisition Equipment")
_PROCESSING = ("109102", "DCM", "Processing Equipment")
_DEIDENTIFYING = ("109104", "DCM", "De-identifying Equipment")

_MOST_WORDS, _LONGEST_TEXT = 64, 1024  # LO and ST, characters
_NOT_FOR_DIAGNOSIS = "not for diagnosis"
_MAKER, _MODEL = "SuperResolution3D", "superres3d"
#: What of a report makes a result another one
_TELLING = ("software", "method", "models", "modality", "factors_ijk", "slice_spacing_mm", "spacing_mm", "slice_axis", "preset", "ensemble", "precision", "back_projections")


@dataclass(frozen=True)
class Provenance:
    """What was done to the source.

    Attributes:
        report: of :func:`superres3d.upscale`; empty for a volume that was made otherwise.
    """

    report: dict[str, Any] = field(default_factory=dict)

    @property
    def by_networks(self) -> bool:
        """Whether networks had a part in it; else it is an interpolation, or not told."""
        return bool(self.report.get("models"))

    @property
    def invents(self) -> bool:
        """Whether the method may show what no scan has shown."""
        return bool(self.report.get("invents"))

    @property
    def recipe(self) -> str:
        """All that makes this result another than that of other choices, as one text."""
        return json.dumps({name: self.report.get(name) for name in _TELLING}, sort_keys=True)

    def series_description(self, of_source: str) -> str:
        """Series Description (0008,103E): the source's, cut where the whole would pass 64 characters, and what was done."""
        done = "derived by super-resolution" if self.by_networks else f"resampled ({self.report.get('method', 'derived')})"
        ending = f"{done}, {_NOT_FOR_DIAGNOSIS}"
        room = _MOST_WORDS - len(ending) - 1
        words = " ".join(of_source.split())
        if len(words) > room:
            cut, last = words[: room - 2], words[: room - 1].rpartition(" ")[0]
            words = (last if len(last) > room // 2 else cut).rstrip(" -_,;(") + ".."
        return f"{words} {ending}".lstrip()

    def description(self) -> str:
        """Derivation Description (0008,2111): method, factors, settings, models with their SHA-256."""
        report = self.report
        done, method = "Super-resolution" if self.by_networks else "Resampling", report.get("method", "an unnamed method")
        factors = " x ".join(f"{factor:.6g}" for factor in report.get("factors_ijk", ()))
        how = "finer" if min(report.get("factors_ijk", (1,))) >= 1 else "times the voxels"
        grid = f", {factors} {how} (columns x rows x slices)" if factors else ""
        models = ", ".join(f"{stage} {model['name']} SHA-256 {model['sha256']}" for stage, model in report.get("models", {}).items())
        parts = [f"{done} by {method}{self._settings()}{grid}, {report.get('software', f'{_MAKER} {__version__}')}."]
        parts += [f"Research software, {_NOT_FOR_DIAGNOSIS}.", *([str(report["invents"])] if self.invents else []), *([f"Models: {models}."] if models else [])]
        return " ".join(parts)[:_LONGEST_TEXT]

    def _settings(self) -> str:
        report = self.report
        told = [report.get("preset"), f"ensemble {report['ensemble']}" if report.get("ensemble") else None, report.get("precision") if self.by_networks else None]
        told += [f"{report['back_projections']} back-projections" if report.get("back_projections") else None]
        return f" ({', '.join(filter(None, told))})" if any(told) else ""

    def comment(self) -> str:
        """Image Comments (0020,4000): what a viewer shows."""
        return f"Derived from the source series. Research software, {_NOT_FOR_DIAGNOSIS}."


def code(value: tuple[str, str, str]) -> Dataset:
    """An item of a code sequence (PS3.3 8.8)."""
    from pydicom import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value
    return item


def derivation_codes() -> list[Dataset]:
    """Derivation Code Sequence (0008,9215), CID 7203: the nearest term; there is none for networks."""
    return [code(_SPATIAL_RESAMPLING)]


def source_images(slices: Sequence[SourceSlice], renamed: Any = str) -> list[Dataset]:
    """Source Image Sequence (0008,2112): an item a source slice (C.7.6.1.1.4); ``renamed`` gives the name under which a UID is told."""
    from pydicom import Dataset

    items = []
    for piece in slices:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = piece.sop_class, renamed(piece.sop_instance)
        if piece.frame is not None:
            item.ReferencedFrameNumber = piece.frame
        item.PurposeOfReferenceCodeSequence = [code(_SOURCE_IMAGE)]
        items.append(item)
    return items


def referenced_series(series: str, images: Sequence[Dataset]) -> list[Dataset]:
    """Referenced Series Sequence (0008,1115) of the Common Instance Reference Module (C.12.2): in which series the source images are."""
    from pydicom import Dataset

    instances: dict[str, Dataset] = {}
    for image in images:
        item = instances.setdefault(str(image.ReferencedSOPInstanceUID), Dataset())
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID
    whole = Dataset()
    whole.SeriesInstanceUID, whole.ReferencedInstanceSequence = series, list(instances.values())
    return [whole]


def equipment(dataset: Dataset) -> None:
    """General Equipment (C.7.5.1): of what made these images, which is this software."""
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = _MAKER, _MODEL, __version__


def is_own(header: Dataset) -> bool:
    """Whether the images were made by this software, as :func:`equipment` says it."""
    return (str(header.get("Manufacturer", "")), str(header.get("ManufacturerModelName", ""))) == (_MAKER, _MODEL)


def contributing_equipment(header: Dataset, anonymous: bool) -> list[Dataset]:
    """Contributing Equipment Sequence (0018,A001): the scanner, unless nobody shall be told, and this software (C.12.1.1.5, CID 7005)."""
    from pydicom import Dataset

    items = []
    for purpose in (_PROCESSING, _DEIDENTIFYING) if anonymous else (_ACQUISITION, _PROCESSING):
        item = Dataset()
        if purpose == _ACQUISITION:
            take(item, header, EQUIPMENT)
            item.setdefault("Manufacturer", "UNKNOWN")
        else:
            equipment(item)
            item.ContributionDescription = f"Derivation of the series; research software, {_NOT_FOR_DIAGNOSIS}"
        item.PurposeOfReferenceCodeSequence = [code(purpose)]
        items.append(item)
    return items
