"""Who computes, on a cluster: tasks of Dask, each of them a scan.  Every worker needs this package, and sees the folders of scans and results under the same names.

A worker may be killed, leave and join: Dask gives its scans to others, and a scan whose result is there already is found to be done.  A scan runs in a process
of its own there as well, so one that ends its process does not end the worker.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import InputError, ResourceError
from .budget import Budget, free_memory
from .hand import KILLED, Hand
from .planning import cores_of
from .task import FAILED, Outcome, Task

if TYPE_CHECKING:
    from distributed import Client, Future

_SECONDS_TO_CONNECT = 10
_SECONDS_TO_LOOK = 5.0  # how often the cluster's size, and whether it is still there, is looked at
_SHARE_OF_LOOKING = 50  # so many times as long as that took nobody looks again
_CORES_OF_JOB = 4  # where Dask's configuration does not say it
_MOST_LOST = 5  # workers that a scan may outlive
_SCHEDULER_GONE = "The scheduler is gone; start it, and give the same command again: finished results are kept."
_GONE = (OSError, TimeoutError, asyncio.CancelledError, concurrent.futures.CancelledError)  # Dask's own words for that
_hands: dict[tuple[str, int], Hand] = {}
_budgets: list[Budget] = []
_making = threading.Lock()


class ClusterCrew:
    """On the workers of a Dask scheduler; see :class:`superres3d.batch.crew.Crew`.

    Args:
        client: connected.
        run: a name for this run; workers may serve several.
        resources: labels that a worker must have, such as {"GPU": 1}.
        told: called with what the user should know.
        owned: closed in the end, such as a cluster that was started for this run.
    """

    def __init__(self, client: Client, run: str, resources: dict[str, float], told: Callable[[str], None], owned: Any = None) -> None:
        self._client, self._run, self._resources, self._told, self._owned = client, run, resources, told, owned
        self._given: dict[str, tuple[Task, int, Future]] = {}
        self._back: queue.SimpleQueue[str] = queue.SimpleQueue()  # tickets whose futures have ended, whichever way
        self._look_again, self._threads = 0.0, 1
        _hush()
        self._check_versions()

    @property
    def window(self) -> int:
        """Twice what the workers can do at once."""
        began = time.monotonic()
        if began > self._look_again:
            with _talking():
                threads = self._able_threads()
            if not threads and not self._look_again:
                self._told(f"No worker{f' with {_labels(self._resources)}' if self._resources else ''} is there yet; the scans wait for one.")
            took = time.monotonic() - began
            self._look_again, self._threads = began + took + max(_SECONDS_TO_LOOK, _SHARE_OF_LOOKING * took), threads
        return 2 * max(1, self._threads)

    def submit(self, task: Task) -> str:
        """See :class:`superres3d.batch.crew.Crew`; a scan keeps its ticket when it goes to another worker."""
        with _talking():
            self._give(task, 1)
        return task.ticket

    def wait(self, running: Collection[str]) -> list[tuple[str, Outcome]]:
        """See :class:`superres3d.batch.crew.Crew`."""
        while True:
            ended = [ticket for ticket in dict.fromkeys(self._ended()) if ticket in self._given]
            if not ended or any(self._given[ticket][2].cancelled() for ticket in ended):
                self._check_connection()
            with _talking():
                told = self._told_by(ended)
                back = [(ticket, outcome) for ticket in ended if (outcome := self._outcome(ticket, told.get(ticket)))]
            for ticket, _ in back:
                del self._given[ticket]
            if back:
                return back

    def _ended(self) -> Iterator[str]:
        """Those that have ended by now, or the first that does within some seconds: to look at all of a thousand workers' scans each time would take longer than they do."""
        with suppress(queue.Empty):
            yield self._back.get(timeout=_SECONDS_TO_LOOK)
            while True:
                yield self._back.get_nowait()

    def stop(self) -> None:
        """See :class:`superres3d.batch.crew.Crew`."""
        self.close()

    def close(self) -> None:
        """See :class:`superres3d.batch.crew.Crew`."""
        with suppress(*_GONE):
            if self._client.status == "running":
                self._client.run(stop_hands, self._run, on_error="ignore")
        with suppress(*_GONE):
            self._client.close(timeout=_SECONDS_TO_LOOK)
        if self._owned is not None:
            self._owned.close()

    def _give(self, task: Task, attempt: int) -> None:
        key = f"superres3d-{task.ticket}-{self._run}-{attempt}"
        future = self._client.submit(do_on_worker, task.as_dict(), self._run, key=key, pure=False, resources=self._resources or None)
        self._given[task.ticket] = task, attempt, future
        self._await(task.ticket)

    def _await(self, ticket: str) -> None:
        self._given[ticket][2].add_done_callback(lambda _: self._back.put(ticket))

    def _told_by(self, tickets: Collection[str]) -> dict[str, dict[str, Any]]:
        """What those that are finished gave, fetched together: one after the other a thousand workers would wait for it."""
        finished = {ticket: self._given[ticket][2] for ticket in tickets if self._given[ticket][2].status == "finished"}
        return dict(zip(finished, self._client.gather(list(finished.values()))))

    def _outcome(self, ticket: str, told: dict[str, Any] | None) -> Outcome | None:
        """What came back; None where a worker was lost and the scan goes to another."""
        task, attempt, future = self._given[ticket]
        if told is not None:
            return Outcome(**told)
        if not future.done():  # its worker was lost before it could tell the result; Dask gives it to another
            self._await(ticket)
            return None
        if future.status == "error":
            error = future.exception()
            if type(error).__name__ != "KilledWorker":
                return Outcome(FAILED, [f"A worker could not compute it ({type(error).__name__}: {error}); is the same version of superres3d installed there?"])
        if attempt >= _MOST_LOST:
            return Outcome(KILLED, [f"Workers were lost again and again while they computed it ({attempt} attempts); --retry tries it again."])
        self._give(task, attempt + 1)
        return None

    def _able_threads(self) -> int:
        """Of all workers that may compute; what else a scheduler knows of a thousand workers takes seconds to fetch."""
        if not self._resources:
            return sum(self._client.nthreads().values())
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] for worker in workers if all(worker.get("resources", {}).get(label, 0) >= count for label, count in self._resources.items()))

    def _check_versions(self) -> None:
        found = {answer for answer in self._client.run(version_here, on_error="return").values() if isinstance(answer, str)}
        if found - {__version__}:
            raise InputError(f"The workers have superres3d {', '.join(sorted(found))} and this is {__version__}; install the same version everywhere.")

    def _check_connection(self) -> None:
        dropped = any(future.cancelled() for _, _, future in self._given.values())
        if dropped or self._client.status not in ("running", "connecting"):
            raise ResourceError(_SCHEDULER_GONE)


def _hush() -> None:
    """Dask's logs of a connection that went away are pages long; what a user needs is said in one sentence."""
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextmanager
def _talking() -> Iterator[None]:
    """To the scheduler, which may go at any moment (ResourceError that says so)."""
    try:
        yield
    except _GONE:
        raise ResourceError(_SCHEDULER_GONE) from None


def connected(address: str, run: str, resources: dict[str, float], told: Callable[[str], None]) -> ClusterCrew:
    """With a scheduler that runs already (InputError: there is none).

    Args:
        address: such as "tcp://host:8786".
        run, resources, told: see :class:`ClusterCrew`.
    """
    from distributed import Client

    try:
        return ClusterCrew(Client(address, timeout=_SECONDS_TO_CONNECT), run, resources, told)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"No scheduler answers at {address} ({type(error).__name__}); start one with 'dask scheduler', and give its address.") from None


def on_slurm(queue: str, jobs: int, gibibytes: float, logs: Path, run: str, resources: dict[str, float], told: Callable[[str], None]) -> ClusterCrew:
    """With jobs of SLURM that are started for this run; what else a job needs stands in Dask's own configuration (jobqueue.yaml).

    Args:
        queue: of SLURM (partition).
        jobs: how many, each for one scan at a time.
        gibibytes: of memory for each of them.
        logs: folder for what the jobs say.
        run, resources, told: see :class:`ClusterCrew`.
    """
    from distributed import Client

    cluster = _slurm_cluster(queue, gibibytes, logs, resources)
    cluster.scale(jobs=jobs)
    return ClusterCrew(Client(cluster), run, resources, told, cluster)


def _slurm_cluster(queue: str, gibibytes: float, logs: Path, resources: dict[str, float]) -> Any:
    import dask
    from dask_jobqueue import SLURMCluster

    cores = dask.config.get("jobqueue.slurm.cores", None) or _CORES_OF_JOB
    labels = ["--resources", _labels(resources)] if resources else []
    return SLURMCluster(queue=queue, cores=cores, processes=1, memory=f"{gibibytes:g}GiB", log_directory=str(logs), scheduler_options={"dashboard_address": ":0"}, worker_extra_args=["--nthreads", "1", *labels])


def job_script(queue: str, gibibytes: float, logs: Path, resources: dict[str, float]) -> str:
    """What would be given to SLURM; arguments as :func:`on_slurm` takes them."""
    cluster = _slurm_cluster(queue, gibibytes, logs, resources)
    try:
        return str(cluster.job_script())
    finally:
        cluster.close()


def parsed_resources(texts: Collection[str]) -> dict[str, float]:
    """From "GPU" or "GPU=1" (InputError: no number after the sign)."""
    pairs = (text.partition("=")[::2] for text in texts)
    try:
        return {name: float(count or 1) for name, count in pairs}
    except ValueError:
        raise InputError("--resource takes a label, or a label and a number, such as GPU=1.") from None


def _labels(resources: dict[str, float]) -> str:
    return ",".join(f"{name}={count:g}" for name, count in resources.items())


def do_on_worker(told: dict[str, Any], run: str) -> dict[str, Any]:
    """Runs in a thread of a worker: the scan goes to the process of that thread.

    Args:
        told: a task.
        run: of the crew.
    """
    from distributed import get_worker

    threads = get_worker().state.nthreads
    outcome = _hand(run).do(Task(**{**told, "cores": cores_of(threads)}))
    return outcome.as_dict()


def _hand(run: str) -> Hand:
    place = run, threading.get_ident()
    with _making:
        if not _budgets:
            _budgets.append(Budget(_memory_of_worker()))
        if place not in _hands:
            _hands[place] = Hand(_budgets[0], len(_hands))
        return _hands[place]


def _memory_of_worker() -> int:
    from distributed import get_worker

    limit = get_worker().memory_manager.memory_limit
    return min(limit, free_memory()) if limit else free_memory()


def stop_hands(run: str) -> None:
    """Runs on a worker: ends the processes of a run, and what they compute."""
    with _making:
        mine = [_hands.pop(place) for place in list(_hands) if place[0] == run]
    for hand in mine:
        hand.stop()


def version_here() -> str:
    """Runs on a worker."""
    return __version__
