"""How far a run is: overall progress, seconds a stage, and a stop when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ..errors import Cancelled
from .memory import usable_cores
from .tiling import StageRegion, Step, extent

Progress = Callable[[str, float], None]  # (stage, finished share of the whole)


class Watch:
    """Turns the stages' ticks into overall progress.

    Attributes:
        seconds: by the name of a stage.
        own_seconds: that a stage would take if nothing else computed, by the time that the processor spent on it: what one thread did alone, and what all cores shared.
    """

    def __init__(self, progress: Progress | None, cancelled: Callable[[], bool] | None):
        self._progress = progress
        self._cancelled = cancelled
        self.seconds: dict[str, float] = {}
        self.own_seconds: dict[str, float] = {}
        self._early = 0.0
        self._before = 0.0
        self._told = 0.0
        self._span = 1.0
        self._starts: list[float] = [0.0, 1.0]
        self._names: list[str] = []
        self._cores = usable_cores()
        self._begin()

    def begin_early(self, share: float) -> None:
        """Something takes this share of the whole before the first block."""
        self._early = share
        self._begin()

    def early(self, name: str, share: float) -> None:
        """It has done this share of its work."""
        self._spent(name)
        self._say(name, self._early * share)

    def begin_block(self, number: int, count: int, stages: Sequence[Step], regions: Sequence[StageRegion]) -> None:
        """Blocks are of even size, so each has the same share of the whole."""
        self._before, self._span = number / count, 1 / count
        costs = [stage.cost(extent(region.needed)) for stage, region in zip(stages, regions)]
        self._starts = [sum(costs[:n]) / sum(costs) for n in range(len(costs) + 1)]
        self._names = [stage.name for stage in stages]
        if number == 0:
            self._begin()
            self._say(self._names[0], self._early)

    def tick(self, stage: int, share: float) -> None:
        """A stage of the present block has done this share of its work."""
        name = self._names[stage]
        self._spent(name)
        done = self._starts[stage] + share * (self._starts[stage + 1] - self._starts[stage])
        self._say(name, self._early + (1 - self._early) * (self._before + self._span * done))

    def _spent(self, name: str) -> None:
        before = self._last
        self._begin()
        wall, whole, alone = (now - then for now, then in zip(self._last, before))
        self.seconds[name] = self.seconds.get(name, 0.0) + wall
        self.own_seconds[name] = self.own_seconds.get(name, 0.0) + min(wall, alone + max(0.0, whole - alone) / self._cores)

    def _begin(self) -> None:
        """From here on time is counted."""
        self._last = time.perf_counter(), time.process_time(), time.thread_time()

    def _say(self, name: str, share: float) -> None:
        if self._cancelled and self._cancelled():
            raise Cancelled()
        self._told = max(self._told, min(1.0, share))  # a stage that begins anew on another engine goes back
        if self._progress:
            self._progress(name, self._told)


def after(progress: Progress | None, share: float) -> Progress | None:
    """Tells of the rest of a whole of which this share is done."""
    return progress and (lambda stage, done: progress(stage, share + (1.0 - share) * done))


def within_share(progress: Progress | None, before: float, own: float, whole: float) -> Progress | None:
    """Tells of a part of the work that comes before the networks on the scan: ``own`` of ``whole``, after ``before`` of it."""
    return progress and (lambda _, done: progress("checking", (before + done * own) / whole))
