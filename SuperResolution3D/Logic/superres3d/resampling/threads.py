"""Slices of an array, worked on by several threads at the same time: numpy holds no lock while it computes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

_FEWEST = 4  # of a thread: it costs as much to begin as a small slice


def in_parts(work: Callable[[int, int], None], count: int, workers: int) -> None:
    """Does ``work(start, stop)`` for parts that fill ``range(count)``; what one of them raises is raised."""
    parts = max(1, min(workers, count // _FEWEST))
    edges = [count * number // parts for number in range(parts + 1)]
    warned_of = np.geterr()  # of this thread; others have their own

    def part(start: int, stop: int) -> None:
        with np.errstate(**warned_of):
            work(start, stop)

    if parts == 1:
        part(0, count)
        return
    with ThreadPoolExecutor(parts) as pool:
        for each in [pool.submit(part, *edge) for edge in zip(edges, edges[1:])]:
            each.result()
