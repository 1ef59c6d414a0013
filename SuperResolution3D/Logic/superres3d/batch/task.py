"""What goes to the process that computes a scan, and what comes back; both travel as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: how a scan ended; MEMORY: it ran out, and less may be enough
DONE, FAILED, MEMORY, CANCELLED = "done", "failed", "memory", "cancelled"


@dataclass
class Task:
    """A scan to be upscaled.

    Attributes:
        key: of the ledger.
        name: how the scan is told.
        kind: "file", "DICOM" or "BIDS".
        files: of the scan.
        stamp: of the scan when it was planned.
        modality: "CT" or "MR" where the data set says it, else "".
        refinement: arguments of :func:`superres3d.upscaling.upscale`.
        device: where to compute.
        memory: bytes that the process may use.
        anew: compute it even if its result is there, whole.
        frugal: take the least memory that is enough; after an attempt that ended its process.
        anonymize: leave the patient out.
        result: absolute path; of a derived DICOM series a folder.
        series: whether the result is a derived DICOM series.
        report, thumbnail: absolute paths of what is written beside.
        sidecar: absolute path of the JSON of BIDS, "" without one.
        entities: of BIDS.
        work: a folder on the disk of the results, for what is not whole yet.
        replaces: SHA-256 of an earlier result there, which may be replaced; "" where there must be none.
        check: also check the method on the scan itself.
        cores: that the process may use; 0: all.
        parts: of a scan in slabs: absolute path of the folder for them; "": it is computed in one piece.
        slab: the number of the slab to be computed; None: the slabs are there, and are put together.
        begun: when the first slab was given out, seconds since 1970.
        labels, labels_out: absolute paths of its label map, and of that on the grid of the result; "" without one.
    """

    key: str
    name: str
    kind: str
    files: list[str]
    stamp: str
    modality: str
    refinement: dict[str, Any]
    device: str
    memory: int
    anonymize: bool
    result: str
    series: bool
    report: str
    thumbnail: str
    sidecar: str
    work: str
    entities: dict[str, str] = field(default_factory=dict)
    replaces: str = ""
    anew: bool = False
    frugal: bool = False
    check: bool = False
    cores: int = 0
    parts: str = ""
    slab: int | None = None
    begun: float = 0.0
    labels: str = ""
    labels_out: str = ""

    @property
    def ticket(self) -> str:
        """The key; of a slab one of its own."""
        return self.key if self.slab is None else f"{self.key}-slab{self.slab}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Outcome:
    """How it ended.

    Attributes:
        state: one of the words above.
        messages: notes; of a failure its reason comes first.
        sha256, bytes: of the result.
        seconds: of the whole, reading and writing included.
        models: name -> SHA-256.
        facts: for the reports.
        kept: True if the result was there already, whole.
        died: how its process ended, "" where it did not.
    """

    state: str
    messages: list[str] = field(default_factory=list)
    sha256: str = ""
    bytes: int = 0
    seconds: float = 0.0
    models: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    kept: bool = False
    died: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
