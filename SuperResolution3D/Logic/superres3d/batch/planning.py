"""What a batch will be before any of it is done: each scan with its result, time and memory, or with why it is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from ..engine.memory import usable_cores
from ..errors import SuperResolutionError
from ..methods import METHODS, MODALITIES
from ..plan import Plan, plan_upscaling
from .choices import Choices, for_plan
from .labels import NO_LABELS, is_there
from .ledger import DONE, KILLED, Entry
from .naming import Names, key_of
from .place import Place
from .results import is_whole
from .scans import BatchScan, Found

TODO, KEPT, REFUSED = "to do", "done already", "refused"
_CAREFUL_BYTES = 8  # of a voxel, for what the networks add and a second result
_LABEL_BYTES = 8  # of a voxel, for a label map and what brings it to the grid
PROCESS_BYTES = 256 << 20  #: of a process, beside what its plan counts


@dataclass
class Planned:
    """A scan with what will become of it.

    Attributes:
        scan: from the folder.
        key: of the ledger.
        result: relative to the output folder, with slashes.
        state: one of the words above.
        reason: of a refusal; a note otherwise.
        seconds, memory, size: guesses: of the time, and bytes; 0 where nothing is known.
        replaces: SHA-256 of an earlier result that may be replaced.
        attempts: before this run.
        anew: though the result is there.
    """

    scan: BatchScan
    key: str
    result: str
    state: str = TODO
    reason: str = ""
    seconds: float = 0.0
    memory: int = 0
    size: int = 0
    replaces: str = ""
    attempts: int = 0
    anew: bool = False


@dataclass
class Filters:
    """Which of the scans are meant.

    Attributes:
        modality: "CT" or "MR"; "" for any.
        thicker_than: millimetres that the largest spacing must exceed; 0 for any.
        suffixes: of BIDS, or the last part of a file's name without its suffix; empty for any.
        participants: labels of BIDS; empty for all.
    """

    modality: str = ""
    thicker_than: float = 0.0
    suffixes: tuple[str, ...] = ()
    participants: tuple[str, ...] = field(default=())

    def reason(self, scan: BatchScan) -> str:
        """Why a scan is not meant, "" if it is."""
        if self.modality and scan.modality and scan.modality != self.modality:
            return f"modality {scan.modality}, not {self.modality}"
        if self.thicker_than and scan.outline and scan.outline.thickest <= self.thicker_than * (1 + 1e-3):
            return f"voxels of {scan.outline.thickest:.3g} mm at most, not thicker than {self.thicker_than:g} mm"
        if self.suffixes and scan.kind == "file" and not scan.stem.endswith(self.suffixes):
            return f"its name does not end in {' or '.join(self.suffixes)}"
        return ""


def chosen(found: Found, filters: Filters) -> list[BatchScan]:
    """The scans that are meant; the others are added to what is left out."""
    meant = []
    for scan in found.scans:
        reason = filters.reason(scan)
        if reason:
            found.leave_out(scan.name, reason)
        else:
            meant.append(scan)
    return meant


def planned(scans: list[BatchScan], choices: Choices, place: Place, known: dict[str, Entry], memory: int, retry: bool) -> list[Planned]:
    """All scans with their plans.

    Args:
        scans: those that are meant.
        choices: what is asked of each.
        place: where the results lie.
        known: key -> entry, of earlier runs.
        memory: bytes that one scan may use at most.
        retry: take those again that ended their process, or were made by other weights.
    """
    names = Names(scans, choices, {key: entry.result for key, entry in known.items()})
    return [_planned(scan, choices, place, names.path_of(scan), known.get(key_of(scan, choices)), memory, retry) for scan in scans]


def _planned(scan: BatchScan, choices: Choices, place: Place, result: str, entry: Entry | None, memory: int, retry: bool) -> Planned:
    item = Planned(scan, key_of(scan, choices), result, attempts=entry.attempts if entry else 0)
    reason, plan = _format_refusal(scan, choices), None
    try:
        plan = plan_of(scan, choices, memory) if scan.outline else None
    except SuperResolutionError as error:
        reason = reason or str(error)
    if reason:
        item.state, item.reason = REFUSED, reason
        return item
    if plan:
        item.seconds, item.memory, item.size = plan.seconds, plan.memory_bytes + PROCESS_BYTES + _beside(scan, choices) * prod(plan.output_shape), plan.result_bytes
    item.reason = NO_LABELS if choices.labels and not scan.labels else ""
    if entry:
        _compare(item, entry, place, plan, retry)
    return item


def _beside(scan: BatchScan, choices: Choices) -> int:
    """Bytes of a voxel of the result, beside its plan."""
    return (_CAREFUL_BYTES if choices.asked.get("careful") else 0) + (_LABEL_BYTES if scan.labels else 0)


def _format_refusal(scan: BatchScan, choices: Choices) -> str:
    if choices.format == "dicom" and scan.kind != "DICOM":
        return "a derived DICOM series can only be made of DICOM; choose another format"
    if choices.format not in ("auto", "nii", "nii.gz") and scan.kind == "BIDS":
        return "a BIDS data set holds NIfTI; choose the format auto"
    return ""


def plan_of(scan: BatchScan, choices: Choices, memory: int, region: tuple[tuple[int, int], ...] | None = None) -> Plan:
    """For one scan whose header could be read, or for a region (k, j, i) of it; raises as :func:`superres3d.plan.plan_upscaling`."""
    assert scan.outline
    method = METHODS.get(choices.method)
    modality = next((word for word in (choices.asked.get("modality"), scan.modality) if word in MODALITIES), method.modalities[-1] if method else "MR")
    outline = scan.outline
    limit = max(1, memory - PROCESS_BYTES)
    return plan_upscaling(outline.shape, outline.spacing, outline.dtype, **for_plan(choices.refinement), modality=modality, device=choices.device, memory_limit=limit, region=region)


def anonymity_of(items: Sequence[Planned], choices: Choices) -> str:
    """Where the patient is to be left out, what of that does not hold for results that are files; "" where all is as it was asked for."""
    files = sum(item.scan.kind != "DICOM" for item in items)
    if not choices.anonymize or not files:
        return ""
    return f"--anonymize leaves the patient out of DICOM series alone: {files} of {len(items)} scans are files, and their results keep the names and folders of these."


def _compare(item: Planned, entry: Entry, place: Place, plan: Plan | None, retry: bool) -> None:
    """With what an earlier run has left."""
    item.replaces = entry.sha256
    if entry.state == KILLED and entry.stamp == item.scan.stamp and not retry:
        item.state, item.reason = REFUSED, entry.messages[0] if entry.messages else "it ended its process; --retry tries it again"
    if entry.state != DONE:
        return
    others = [name for name, sha256 in entry.models.items() if plan and any(model.name == name and model.sha256 != sha256 for model in plan.models.values())]
    item.anew = bool(others) and retry
    if entry.stamp == item.scan.stamp and is_whole(place.root / entry.result, entry.sha256) and is_there(place.root / entry.result, entry.facts) and not item.anew:
        item.state, item.reason = KEPT, f"made by other weights of {', '.join(others)}; --retry makes it anew" if others else ""


def cores_of(workers: int) -> int:
    """Cores for each of so many scans at once; 0: all."""
    return max(1, usable_cores() // workers) if workers > 1 else 0
