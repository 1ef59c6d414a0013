"""How networks meet a volume or its slices: threads, progress, cancel, and falling back when something gives out."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ..errors import DeviceError, ResourceError, SuperResolutionError
from ..networks.weights import Model
from .choose import NO_ENGINE, choose_runtime, cpu_runtime
from .ensemble import Turn
from .runtime import VOLUME_BYTES, Runtime
from .tiled import PieceStopped, TiledNetwork, voxel_bytes
from .tiling import Region, Tick, extent, scaled, whole

# Small slices go through a network together: on a CPU a call with so many bytes of feature maps is large enough to be efficient.
_ENOUGH_BYTES = 7_000_000
_HEARTBEAT_SECONDS = 0.1
_logger = logging.getLogger(__name__)

T = TypeVar("T")


class Engine:
    """Runs trained networks on slices and volumes.

    Attributes:
        runtime: what computes now; another one after the first gave out.
        notes: what it had to give up, one sentence each, for the report.
    """

    def __init__(self, device: str = "auto", precision: str = "single"):
        self._precision = precision
        self.runtime, self.notes = choose_runtime(device, precision)
        self._networks: dict[Hashable, Any] = {}
        self._volume_bytes = VOLUME_BYTES

    def run(
        self, model: Model, images: np.ndarray, turns: Sequence[Turn], tick: Tick, *,
        factors: tuple[int, ...] | None = None, keep: Region | None = None, working_bytes: int = 0,
        variance: np.ndarray | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Ensemble of a model over copies turned in their slices.

        Args:
            model: found, not yet loaded.
            images: slices (N, H, W), or one volume (1, D, H, W), slices first; float32 in network units.
            turns: members of the ensemble.
            tick: told the finished share several times a second; may raise to stop.
            factors: the task of a model that has several.
            keep: the region of each image that is wanted, in its voxels; None: all.
            working_bytes: that the feature maps of a volume may take; 0: as before.
            variance: of the result's shape; filled with the variance of the members.

        Returns:
            (N, [D,] H, W) float32, the wanted region finer by the network's factors.

        Raises:
            ModelError: damaged weights.
            ResourceError: memory ran out for good.
            DeviceError: no engine works here.
        """
        if working_bytes:
            self._volume_bytes = self.runtime.volume_bytes = working_bytes
        return self._until_done(lambda: self._run(self._network(model, factors), images, turns, tick, keep, variance))

    def follow(self, begin: Callable[[], Generator[Any]], tell: Callable[[Any], None]) -> None:
        """Work that tells its steps, begun again with less memory or on another engine where this one gives out.

        Args:
            begin: the work; what it raises is the engine's.
            tell: told of each step; may raise to stop.

        Raises:
            as :meth:`run`.
        """

        def work() -> None:
            with contextlib.closing(begin()) as steps:
                while True:
                    with _engine_errors():
                        step = next(steps, None)
                    if step is None:
                        return
                    tell(step)

        self._until_done(work)

    def kept(self, name: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, kept until memory is given back."""
        if name not in self._networks:
            self._networks[name] = make()
        return self._networks[name]

    def _until_done(self, work: Callable[[], T]) -> T:
        """The work, again with less memory or on another engine where this one gives out."""
        while True:
            try:
                return work()
            except _OutOfMemory as error:
                self._give_up_memory(error)
            except _EngineFailed as error:
                self._leave_runtime(error)

    def close(self) -> None:
        """Give memory back."""
        self._networks.clear()
        self.runtime.close()

    def _network(self, model: Model, factors: tuple[int, ...] | None) -> TiledNetwork:
        with _engine_errors():
            return self.kept((model.name, model.conditions, factors), lambda: self.runtime.load(model, factors))

    def _run(
        self, network: TiledNetwork, images: np.ndarray, turns: Sequence[Turn], tick: Tick, keep: Region | None, variance: np.ndarray | None = None
    ) -> np.ndarray:  # fmt: skip
        groups = self._groups(network, images)
        work = _Work(sum(network.pieces(images[group].shape, turns, keep) for group in groups))
        shape = extent(scaled(keep or whole(images.shape[1:]), network.architecture.factors))
        # A single group's result is not copied.
        result = [np.empty((len(images), *shape), np.float32) if len(groups) > 1 else np.empty(0)]

        def refine(group: slice) -> None:
            with _engine_errors():
                refined = network.ensemble(images[group], turns, work.alive, lambda: work.stopped, keep, *(() if variance is None else (variance[group],)))
            if len(groups) > 1:
                result[0][group] = refined
            else:
                result[0] = refined

        for share in _worked_off(refine, groups, self.runtime.workers if network.architecture.axes == 2 else 1, work):
            tick(share)
        return result[0]

    def _groups(self, network: TiledNetwork, images: np.ndarray) -> list[slice]:
        """Images that go through the network together; groups of one size, if possible: each size is compiled anew."""
        enough = self.runtime.slice_bytes if self.runtime.device != "cpu" else min(self.runtime.slice_bytes, _ENOUGH_BYTES)
        most = max(1, int(enough / (images[0].size * voxel_bytes(network.architecture.survey))))
        together = next((size for size in range(most, most // 2, -1) if len(images) % size == 0), most)
        return [slice(start, start + together) for start in range(0, len(images), together)]

    def _give_up_memory(self, error: _OutOfMemory) -> None:
        """First smaller calls, then the CPU."""
        self._networks.clear()  # what they hold is for the larger calls
        note = self.runtime.give_up_memory()
        if note is None:
            if self.runtime.device == "cpu":
                raise ResourceError("Memory ran out; use a smaller factor, fewer axes, or a part of the scan.") from error
            note = "The graphics card's memory was not enough even for the smallest batch; went on with the CPU."
            self._use(cpu_runtime(self._precision, self.notes))
        self._note(note)

    def _leave_runtime(self, error: _EngineFailed) -> None:
        """A library that fails on this machine: the next one (DeviceError if there is none)."""
        failed = self.runtime
        if failed.device != "cpu":
            self._use(cpu_runtime(self._precision, self.notes))
        else:
            try:
                if failed.name.startswith("PyTorch"):
                    raise ImportError("it failed itself")
                from .pytorch import PyTorchRuntime

                self._use(PyTorchRuntime("cpu"))
            except Exception:  # missing, or half-installed
                raise DeviceError(f"{failed.name} failed ({error}), and there is no other engine; {NO_ENGINE}") from error
        self._note(f"{failed.name} failed ({error}); went on with {self.runtime.name} on the CPU.")

    def _use(self, runtime: Runtime) -> None:
        self.close()
        self.runtime = runtime
        self.runtime.volume_bytes = self._volume_bytes

    def _note(self, note: str) -> None:
        _logger.warning(note)
        self.notes.append(note)


class _OutOfMemory(Exception):
    """Of a network, not of the caller's progress function."""


class _EngineFailed(Exception):
    """Anything else that a library raised."""


class _engine_errors:
    """Tells what a network raises from what its caller does."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, (SuperResolutionError, _Stopped, PieceStopped)) or not isinstance(error, Exception):
            return
        told = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise (_OutOfMemory if isinstance(error, MemoryError) else _EngineFailed)(told) from error


@dataclass
class _Work:
    """Pieces of work, counted by the workers; a stop reaches them at their next piece."""

    pieces: int

    def __post_init__(self) -> None:
        self._begun = 0
        self._lock = threading.Lock()
        self.stopped = False

    def alive(self) -> None:
        if self.stopped:
            raise _Stopped
        with self._lock:
            self._begun += 1

    @property
    def share(self) -> float:
        """What was begun counts as half done."""
        return max(0.0, min(1.0, (self._begun - 0.5) / max(1, self.pieces)))


class _Stopped(Exception):
    """Ends a worker whose result nobody wants any more."""


def _worked_off(job: Callable[[slice], None], groups: Sequence[slice], workers: int, work: _Work) -> Iterator[float]:
    """Does the jobs on threads; yields the finished share several times a second, in the caller's thread.

    If the caller stops in between, the workers end after the piece that they are at.
    """
    pool = ThreadPoolExecutor(min(workers, len(groups)))
    futures: set[Future] = {pool.submit(job, group) for group in groups}
    try:
        waiting = futures
        while waiting:
            done, waiting = wait(waiting, timeout=_HEARTBEAT_SECONDS, return_when="FIRST_EXCEPTION")
            for future in done:
                future.result()
            yield work.share if waiting else 1.0
    finally:  # after an error, or when the caller wants no more
        work.stopped = True
        pool.shutdown(wait=True, cancel_futures=True)
