"""A batch from folder to folder: find, plan, compute what is not done yet, tell.

Everything that happens is in the ledger before the next thing does, so the same command goes on after anything.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, ResourceError, SuperResolutionError
from .after import hand_on
from .budget import free_disk, free_memory
from .choices import Choices
from .crew import Crew, LocalCrew
from .derivative import check_derivative, write_description, write_scans_tables
from .finding import find_scans, is_settled
from .labels import NO_LABELS, place_of, with_labels
from .ledger import DONE, FAILED, KILLED, RUNNING, Entry, Ledger
from .pages import write_pages
from .place import Place
from .planning import KEPT, REFUSED, TODO, Filters, Planned, anonymity_of, chosen, cores_of, planned
from .scans import BatchScan, Found, as_text
from .slabs import CuttingCrew, cuts_of
from .task import CANCELLED, Outcome, Task
from .teller import Summary, Teller, in_words
from .work import finished_before

_LONGEST_PAUSE = 10.0  # seconds between two looks at a folder
_PLENTY = 1 << 42  # bytes: no limit of this machine


@dataclass
class Settings:
    """How a batch is computed.

    Attributes:
        workers: scans at once on this machine.
        memory: bytes for all of them; None: most of what is free.
        retry: see :func:`superres3d.batch.planning.planned`.
        after: a command for every result; "": none.
        crew: makes who computes, given the memory; None: this machine.
    """

    workers: int = 1
    memory: int | None = None
    retry: bool = False
    after: str = ""
    crew: Callable[[int], Crew] | None = None

    @property
    def bytes(self) -> int:
        """The memory, in any case; workers of a cluster know their own."""
        return self.memory or (_PLENTY if self.crew else free_memory())


class Batch:
    """One run.

    Args:
        source, target: folders of the scans and of the results.
        choices: what is asked of every scan.
        filters: which scans are meant.
        settings: how they are computed.
        teller: told what happens.
    """

    def __init__(self, source: Path, target: Path, choices: Choices, filters: Filters, settings: Settings, teller: Teller) -> None:
        self._source, self._choices, self._filters, self._settings, self._teller = source, choices, filters, settings, teller
        self._place = Place(target)
        self._entries: dict[str, Entry] = {}
        self._summary = Summary()
        self._full = False  # the disk
        self._started = time.perf_counter()

    def plan(self) -> tuple[list[Planned], Found]:
        """What a run would do, and what it would leave out; nothing is written.

        Raises:
            InputError: a folder that cannot be used.
        """
        found, scans = self._find()
        if not scans and not found.left_out:
            raise InputError(f"{self._source} holds no scan; give a folder with NIfTI, NRRD, MetaImage or MGH files, a tree of DICOM, or a BIDS data set.")
        items = self._plan(scans, {entry.key: entry for entry in self._read_ledger()})
        _refuse_what_none_can(items, found)
        if told := anonymity_of(items, self._choices):
            self._teller.note(told)
        return items, found

    def run(self) -> Summary:
        """Do it.

        Raises:
            InputError: a folder that cannot be used.
            ResourceError: the ledger could not be written, or whoever computes is gone.
        """
        items, found = self.plan()
        with self._claimed() as ledger:
            self._entries = {entry.key: entry for entry in ledger.entries()}
            return self._run(ledger, found, items)

    def watch(self, seconds: float) -> Summary:
        """The same again and again, until an interrupt: a scan is taken once nothing of it has changed for so long.

        Raises:
            InputError, ResourceError: as :meth:`run`.
        """
        self._find()
        tried: set[tuple[str, str]] = set()
        with self._claimed() as ledger:
            self._entries = {entry.key: entry for entry in ledger.entries()}
            self._teller.note(f"Watching {self._source}; Ctrl+C ends it.")
            try:
                while True:
                    self._look(ledger, seconds, tried)
                    time.sleep(min(seconds, _LONGEST_PAUSE))
            except KeyboardInterrupt:
                self._summary.cancelled = self._summary.done + len(self._summary.without) < self._summary.meant
        self._summary.seconds = time.perf_counter() - self._started
        self._teller.summary(self._summary)
        return self._summary

    def _look(self, ledger: Ledger, seconds: float, tried: set[tuple[str, str]]) -> None:
        """Once: compute what is new; what failed is not tried again before it changes."""
        found, scans = self._find()
        settled = [scan for scan in scans if is_settled(scan, seconds) and (scan.identity, scan.stamp) not in tried]
        tried |= {(scan.identity, scan.stamp) for scan in settled}
        items = [item for item in self._plan(settled, self._entries) if item.state != KEPT]
        if not items:
            return
        todo, refused = ([item for item in items if item.state == state] for state in (TODO, REFUSED))
        self._summary.meant += len(items)
        self._summary.without += [(item.scan.name, item.reason) for item in refused]
        for item in refused:
            self._teller.note(f"{item.scan.name}: {item.reason}")
        ledger.put(*(self._entry(item, FAILED, [item.reason]) for item in refused))
        self._teller.begin(len(todo), sum(item.seconds for item in todo))
        try:
            self._compute(todo, ledger)
        finally:
            self._write_reports(found)

    @contextmanager
    def _claimed(self) -> Iterator[Ledger]:
        """The output folder, for this process alone."""
        self._place.claim()
        try:
            self._place.tidy()
            ledger = Ledger(self._place.ledger)
            try:
                yield ledger
            finally:
                ledger.close()
        finally:
            self._place.tidy()
            self._place.leave()

    def _read_ledger(self) -> list[Entry]:
        ledger = Ledger(self._place.ledger, read_only=True)
        try:
            return list(ledger.entries())
        finally:
            ledger.close()

    def _find(self) -> tuple[Found, list[BatchScan]]:
        """What is there, and which of it is meant."""
        self._place.check(self._source)
        found = find_scans(self._source, self._place.root, self._filters, self._teller.looking)
        if found.is_bids:
            check_derivative(self._place.root)
        if self._choices.labels:
            with_labels(found, self._choices.labels, self._source)
        scans = chosen(found, self._filters)
        return found, scans

    def _plan(self, scans: list[BatchScan], known: dict[str, Entry]) -> list[Planned]:
        return planned(scans, self._choices, self._place, known, self._settings.bytes, self._settings.retry)

    def _run(self, ledger: Ledger, found: Found, items: list[Planned]) -> Summary:
        self._take_stock(items, found, ledger)
        todo = [item for item in items if item.state == TODO]
        self._teller.begin(len(todo), sum(item.seconds for item in todo) / self._settings.workers)
        try:
            self._compute(todo, ledger)
        except KeyboardInterrupt:
            self._summary.cancelled = True
        finally:
            self._finish(found)
        return self._summary

    def _take_stock(self, items: list[Planned], found: Found, ledger: Ledger) -> None:
        """What needs no computing."""
        self._summary.kept = sum(item.state == KEPT for item in items)
        self._summary.without = [(item.scan.name, item.reason) for item in items if item.state == REFUSED]
        self._summary.without += [(left.name, left.reason) for left in found.left_out if left.broken]
        self._summary.meant = len(items) + sum(left.broken for left in found.left_out)
        self._summary.left_out = sum(not left.broken for left in found.left_out)
        for item in items:
            if item.state == KEPT and item.reason:
                self._teller.note(f"{item.scan.name}: {item.reason}")
            if item.state == KEPT and not self._entries[item.key].facts.get("handed_on"):
                self._hand_on(self._entries[item.key])
                ledger.put(self._entries[item.key])
        refused = [self._entry(item, FAILED, [item.reason]) for item in items if item.state == REFUSED and not self._was_killed(item)]
        ledger.put(*refused, *(self._entry(item, "waiting") for item in items if item.state == TODO))

    def _was_killed(self, item: Planned) -> bool:
        return item.key in self._entries and self._entries[item.key].state == KILLED

    def _entry(self, item: Planned, state: str, messages: list[str] | None = None) -> Entry:
        """In the list as well; an earlier result's hash stays until there is another."""
        entry = self._entries.setdefault(item.key, Entry(item.key))
        entry.name, entry.source, entry.result, entry.state = item.scan.name, as_text(item.scan.files[0]), item.result, state
        entry.choices, entry.messages = {**self._choices.refinement, "format": self._choices.format}, messages or []
        if state != DONE:
            entry.facts = {**entry.facts, "uri": item.scan.entities.get("uri", "")}
        return entry

    def _compute(self, todo: list[Planned], ledger: Ledger) -> None:
        memory, count, self._full = self._settings.bytes, 0, False
        ended: list[Entry] = []
        crew = self._crew(todo, memory)
        waiting = iter(todo)
        running: dict[Any, tuple[Planned, Task]] = {}
        try:
            while True:
                given = list(self._next(waiting, crew.window - len(running)))
                ledger.put(*ended, *map(self._begun, given))  # together: a disk needs milliseconds for each
                ended = []
                for item in given:
                    task = self._task(item, memory)
                    running[crew.submit(task)] = item, task
                if not running:
                    break
                for ticket, outcome in crew.wait(list(running)):
                    count += 1
                    ended.append(self._ended(running[ticket][0], outcome))
                    del running[ticket]
                    self._teller.scan(ended[-1], count, len(todo))
        except BaseException:
            crew.stop()
            with suppress(SuperResolutionError):
                ledger.put(*ended, *self._taken_over(running.values()))
            raise
        crew.close()
        if self._full:
            raise ResourceError(f"The disk of {self._place.root} has no room for the next result; free some space, and give the same command again: finished results are kept.")

    def _crew(self, todo: list[Planned], memory: int) -> Crew:
        """Who computes, and large scans cut for them."""
        crew = self._settings.crew(memory) if self._settings.crew else LocalCrew(self._settings.workers, memory)
        workers = max(self._settings.workers, crew.window // 2)  # jobs of a cluster may still be waiting
        cuts = cuts_of(todo, self._choices, workers, memory if self._settings.crew else memory // workers)
        for item in (item for item in todo if item.key in cuts):
            self._teller.note(f"{item.scan.name}: computed in {len(cuts[item.key].slabs)} slabs by several workers.")
        return CuttingCrew(crew, cuts)

    def _taken_over(self, running: Iterable[tuple[Planned, Task]]) -> Iterator[Entry]:
        """Of scans that were given out when the run was stopped: those whose results are there, and the rest as not begun."""
        for item, task in running:
            yield self._ended(item, finished_before(task) or Outcome(CANCELLED))

    def _next(self, waiting: Iterator[Planned], count: int) -> Iterator[Planned]:
        for _ in range(count):
            item = None if self._full else next(waiting, None)
            if item is None:
                return
            self._full = free_disk(self._place.root) < item.size // (4 if item.result.endswith(".gz") else 1)
            if self._full:
                return
            yield item

    def _begun(self, item: Planned) -> Entry:
        entry = self._entry(item, RUNNING)
        entry.attempts += 1
        return entry

    def _task(self, item: Planned, memory: int) -> Task:
        scan, place, choices = item.scan, self._place, self._choices
        result = place.root / item.result
        series = scan.kind == "DICOM" and choices.format in ("auto", "dicom")
        sidecar = str(result).removesuffix(".gz").removesuffix(".nii") + ".json" if scan.kind == "BIDS" else ""
        return Task(
            item.key, scan.name, scan.kind, list(scan.files), scan.stamp, scan.modality, choices.refinement, choices.device, item.memory or (0 if self._settings.crew else memory), choices.anonymize,
            str(result), series, str(place.report_of(item.result)), str(place.thumbnail_of(item.result)), sidecar, str(place.work / secrets.token_hex(8)),
            scan.entities, item.replaces, item.anew, check=choices.check, cores=cores_of(self._settings.workers), labels=scan.labels, labels_out=str(place.root / place_of(item.result, scan.kind == "BIDS")) if scan.labels else "",
        )  # fmt: skip

    def _ended(self, item: Planned, outcome: Outcome) -> Entry:
        entry = self._entry(item, outcome.state, outcome.messages)
        if outcome.state == CANCELLED:
            entry.state = "waiting"
            return entry
        entry.stamp, entry.seconds = item.scan.stamp, outcome.seconds
        if outcome.state == DONE:
            entry.messages += [NO_LABELS] if self._choices.labels and not item.scan.labels else []
            uri = entry.facts.get("uri", "")
            entry.sha256, entry.bytes, entry.models, entry.facts = outcome.sha256, outcome.bytes, outcome.models, {**outcome.facts, "uri": uri}
            self._hand_on(entry)
            self._summary.done += 1
        else:
            self._summary.without.append((item.scan.name, (outcome.messages or ["unknown"])[0]))
        return entry

    def _hand_on(self, entry: Entry) -> None:
        """To the user's command, where there is one."""
        if not self._settings.after:
            return
        told = hand_on(self._settings.after, self._place.root / entry.result)
        entry.facts["handed_on"] = not told
        entry.messages = [message for message in entry.messages if "command of --after" not in message] + ([told] if told else [])
        if told:
            self._summary.not_handed_on += 1
            self._teller.note(f"{entry.name}: {told}")

    def _finish(self, found: Found) -> None:
        """Reports and summary, whatever has happened; a full disk must not hide why the run ended."""
        self._summary.seconds = time.perf_counter() - self._started
        self._write_reports(found)
        self._teller.summary(self._summary)

    def _write_reports(self, found: Found) -> None:
        with suppress(OSError, SuperResolutionError):
            if found.is_bids:
                self._write_derivative()
            write_pages(self._place, list(self._entries.values()), found.left_out, self._source)
            self._summary.page = str(self._place.page)

    def _write_derivative(self) -> None:
        write_description(self._place.root, self._source)
        finished = [entry for entry in self._entries.values() if entry.state == DONE and entry.facts.get("uri")]
        write_scans_tables(self._place.root, [(entry.result, entry.facts["uri"], entry.seconds, entry.sha256) for entry in finished])


def _refuse_what_none_can(items: list[Planned], found: Found) -> None:
    """InputError where every scan is refused for one reason: then it lies in what was asked for."""
    reasons = {item.reason for item in items}
    if items and all(item.state == REFUSED and not item.attempts for item in items) and len(reasons) == 1 and not any(left.broken for left in found.left_out):
        raise InputError(reasons.pop())


def plan_rows(items: list[Planned], found: Found) -> list[dict[str, Any]]:
    """The plan as rows: name, result, state, reason, bytes, memory, seconds."""
    rows = [
        {"name": item.scan.name, "state": item.state, "result": item.result, "reason": item.reason, "seconds": item.seconds, "bytes": item.size, "memory": item.memory}
        for item in items
    ]
    left = [{"name": part.name, "state": "broken" if part.broken else "left out", "reason": part.reason} for part in found.left_out]
    return rows + left


def estimate(items: list[Planned], workers: int) -> str:
    """One sentence on all that is to be done."""
    todo = [item for item in items if item.state == TODO]
    unknown = sum(not item.seconds and not item.memory for item in todo)
    size = sum(item.size for item in todo) / 2**30
    told = f"{len(todo)} to do: about {in_words(sum(item.seconds for item in todo) / workers)}, {size:.2f} GiB uncompressed"
    return f"{told}{f' and {unknown} whose headers cannot be read' if unknown else ''}; {sum(item.state == KEPT for item in items)} done already, {sum(item.state == REFUSED for item in items)} refused."
