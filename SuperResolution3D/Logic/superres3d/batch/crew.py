"""Who computes: threads of this machine, each with a process of its own.  A cluster has the same members: :mod:`superres3d.batch.cluster`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

from .budget import Budget
from .hand import Hand
from .task import Outcome, Task


class Crew(Protocol):
    """Computes scans side by side."""

    @property
    def window(self) -> int:
        """How many scans are given out at most before the first of them is back."""
        ...

    def submit(self, task: Task) -> Any:
        """Give out a scan; returns what :meth:`wait` knows it by."""
        ...

    def wait(self, running: Collection[Any]) -> list[tuple[Any, Outcome]]:
        """Those that are back, at least one (ResourceError: whoever computes is gone)."""
        ...

    def stop(self) -> None:
        """End all work within seconds."""
        ...

    def close(self) -> None:
        """No more scans will come."""
        ...


class LocalCrew:
    """On this machine; see :class:`Crew`.

    Args:
        workers: how many scans at once.
        memory: bytes for all of them together.
    """

    def __init__(self, workers: int, memory: int) -> None:
        self._workers = workers
        self._budget, self._slots, self._mine = Budget(memory), itertools.count(), threading.local()
        self._hands: list[Hand] = []
        self._pool = ThreadPoolExecutor(workers, "superres3d-batch", self._begin)

    @property
    def window(self) -> int:
        """See :class:`Crew`."""
        return 2 * self._workers

    def _begin(self) -> None:
        self._mine.hand = Hand(self._budget, next(self._slots))
        self._hands.append(self._mine.hand)

    def submit(self, task: Task) -> Future[Outcome]:
        """See :class:`Crew`."""
        return self._pool.submit(lambda: self._mine.hand.do(task))

    def wait(self, running: Collection[Future[Outcome]]) -> list[tuple[Future[Outcome], Outcome]]:
        """See :class:`Crew`."""
        return [(future, future.result()) for future in wait(running, return_when=FIRST_COMPLETED).done]

    def stop(self) -> None:
        """See :class:`Crew`."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        stopping = [threading.Thread(target=hand.stop) for hand in self._hands]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        self.close()

    def close(self) -> None:
        """See :class:`Crew`."""
        self._pool.shutdown(wait=True)
        for hand in self._hands:
            hand.close()
