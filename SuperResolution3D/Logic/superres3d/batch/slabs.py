"""A scan that is so large that the others would be done long before it is cut into slabs, and several workers compute it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import SuperResolutionError
from ..plan import Plan
from .choices import Choices
from .crew import Crew
from .planning import PROCESS_BYTES, Planned, plan_of
from .task import DONE, Outcome, Task

Spans = tuple[tuple[int, int], ...]
WORTH_SECONDS = 60.0  # below, a scan is not cut: each worker reads and measures all of it
_MOST_REPEATED = 1.5  # arithmetic of all slabs, of that of the whole: what lies around a slab is computed twice
_MOST_SLABS = 64


@dataclass(frozen=True)
class Cut:
    """How a scan is cut.

    Attributes:
        slabs: in voxels (k, j, i) of the scan.
        memory: bytes for each of them.
    """

    slabs: tuple[Spans, ...]
    memory: int


def cuts_of(items: Sequence[Planned], choices: Choices, workers: int, memory: int) -> dict[str, Cut]:
    """Key -> cut, of those scans that alone take longer than all together would with the work evenly shared.

    Args:
        items: that are to be computed.
        choices: what is asked of each.
        workers: that there are.
        memory: bytes for each of them.
    """
    if workers < 2 or choices.asked.get("careful") or choices.asked.get("adapt"):
        return {}
    fair = sum(item.seconds for item in items) / workers
    long = [item for item in items if item.seconds > max(fair, WORTH_SECONDS)]
    return {item.key: cut for item in long if (cut := _cut(item, choices, min(workers, _MOST_SLABS), memory))}


def _cut(item: Planned, choices: Choices, count: int, memory: int) -> Cut | None:
    """Into that many slabs, or fewer; along the axis that repeats the least.  None: it is not worth it."""
    try:
        whole = plan_of(item.scan, choices, memory)
        while count > 1:
            ways = [way for axis in range(3) if (way := _along(item, choices, memory, axis, count))]
            work, best = min(((sum(plan.accumulates for plan in plans), cut) for cut, plans in ways), key=lambda way: way[0], default=(0.0, None))
            if best and 0 < work <= _MOST_REPEATED * whole.accumulates:
                return best
            count //= 2
    except SuperResolutionError:  # too little memory for several at once
        pass
    return None


def _along(item: Planned, choices: Choices, memory: int, axis: int, count: int) -> tuple[Cut, list[Plan]] | None:
    assert item.scan.outline
    shape = tuple(item.scan.outline.shape)
    edges = [round(number * shape[axis] / count) for number in range(count + 1)]
    if min(stop - start for start, stop in zip(edges, edges[1:])) < 2:
        return None
    slabs = tuple(tuple((start, stop) if number == axis else (0, n) for number, n in enumerate(shape)) for start, stop in zip(edges, edges[1:]))
    plans = [plan_of(item.scan, choices, memory, slab) for slab in slabs]
    return Cut(slabs, max(plan.memory_bytes for plan in plans) + PROCESS_BYTES), plans


@dataclass
class _Whole:
    """A scan in slabs, while it is computed."""

    task: Task
    left: int
    bad: Outcome | None = None
    kept: Outcome | None = None


@dataclass
class CuttingCrew:
    """Gives the slabs of large scans to a crew, and when all are there the scan itself; see :class:`superres3d.batch.crew.Crew`.

    Attributes:
        crew: that computes.
        cuts: by key of a task.
    """

    crew: Crew
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    _wholes: dict[str, _Whole] = field(default_factory=dict)
    _slabs: dict[Any, str] = field(default_factory=dict)  # what the crew knows a slab by -> its scan
    _joining: dict[Any, str] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """See :class:`superres3d.batch.crew.Crew`."""
        return self.crew.window

    def submit(self, task: Task) -> Any:
        """See :class:`superres3d.batch.crew.Crew`; a scan that is cut is known by its key."""
        cut = self.cuts.get(task.key)
        if not cut:
            return self.crew.submit(task)
        whole = self._wholes[task.key] = _Whole(replace(task, parts=f"{task.work}-parts", begun=time.time()), len(cut.slabs))
        for number, region in enumerate(cut.slabs):
            refinement = {**task.refinement, "region": region}
            slab = replace(whole.task, refinement=refinement, slab=number, check=False, memory=cut.memory, work=f"{task.work}-{number}")
            self._slabs[self.crew.submit(slab)] = task.key
        return task.key

    def wait(self, running: Collection[Any]) -> list[tuple[Any, Outcome]]:
        """See :class:`superres3d.batch.crew.Crew`."""
        while True:
            known = [ticket for ticket in running if ticket not in self._wholes] + list(self._slabs) + list(self._joining)
            back = [told for ticket, outcome in self.crew.wait(known) if (told := self._came_back(ticket, outcome))]
            if back:
                return back

    def _came_back(self, ticket: Any, outcome: Outcome) -> tuple[Any, Outcome] | None:
        """What is to be told of it; None: a slab of a scan of which others are still missing."""
        if ticket in self._joining:
            return self._done(self._joining.pop(ticket), outcome)
        if ticket not in self._slabs:
            return ticket, outcome
        key = self._slabs.pop(ticket)
        whole = self._wholes[key]
        whole.left -= 1
        if outcome.state != DONE:
            whole.bad = outcome
        elif outcome.kept:
            whole.kept = outcome
        if whole.left:
            return None
        told = whole.bad or whole.kept
        if told:
            return self._done(key, told)
        self._joining[self.crew.submit(whole.task)] = key
        return None

    def _done(self, key: str, outcome: Outcome) -> tuple[str, Outcome]:
        shutil.rmtree(Path(self._wholes.pop(key).task.parts), ignore_errors=True)
        return key, outcome

    def stop(self) -> None:
        """See :class:`superres3d.batch.crew.Crew`."""
        self.crew.stop()

    def close(self) -> None:
        """See :class:`superres3d.batch.crew.Crew`."""
        self.crew.close()
