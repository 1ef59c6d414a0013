"""Runs of a job: one that waits, for scripts, and one under the event loop, for the panel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from typing import Protocol

from slicer.i18n import tr as _
from superres3d.errors import Cancelled, InputError, ResourceError, SuperResolutionError

from .job import Finished, Job
from .worker import BlockingRunner, Progress, Workspace

_TURN_SECONDS = 0.02


class EventLoopRunner(Protocol):
    """What a run under the event loop needs of its runner."""

    def start(self, arguments: list[str], workspace: Workspace) -> None:
        """Start the worker; its files are in ``workspace``."""

    def cancel(self) -> None:
        """Ask the worker to stop; that it has is told as a failure."""

    def abort(self) -> None:
        """End the worker now, and tell nobody."""


def run_and_wait(job: Job, on_progress: Callable[[Progress], None], runner: BlockingRunner = BlockingRunner()) -> Finished:
    """Run a job and put its results into the scene; its files are removed in any case.

    Raises:
        SuperResolutionError: one sentence; the scene is as before.
    """
    try:
        job.handing_over.wait()
        report = runner(job.command(), job.workspace, on_progress)
        return job.finish(report)
    except SuperResolutionError as error:
        raise job.in_words(error) from None
    finally:
        job.close()


class PanelRun:
    """A job under the event loop.

    Exactly one of ``on_success(Finished)`` and ``on_failure(error, log)`` is called, unless
    the run is aborted; in all cases the files are removed first.

    Args:
        job: what to do.
        make_runner: called with the three callbacks of ``QtRunner``.
        later: calls a function when the window has had its turn.
    """

    def __init__(
        self,
        job: Job,
        make_runner: Callable[..., EventLoopRunner],
        on_progress: Callable[[Progress], None],
        on_success: Callable[[Finished], None],
        on_failure: Callable[[Exception, str], None],
        later: Callable[[Callable[[], None]], None] = lambda step: step(),
    ):
        self._job = job
        self._on_progress = on_progress
        self._later = later
        self._loading: Generator[float, None, Finished] | None = None
        self._cancelled = self._working = False
        self._on_success = on_success
        self._on_failure = on_failure
        self._runner = make_runner(on_progress, self._succeeded, self._failed)

    def start(self) -> None:
        """Hand the input over and start the worker; what becomes of it the callbacks tell."""
        self._job.handing_over.beside(self._later, self._handed_over)

    def check_source(self) -> None:
        """InputError if the input left the scene."""
        self._job.check_source()

    def cancel(self) -> None:
        """Stop within two seconds; ends with ``on_failure(Cancelled)``."""
        self._cancelled = True
        if not self._working:
            self._job.handing_over.halt()
        elif self._loading is None:
            self._runner.cancel()

    def abort(self) -> None:
        """Stop now and without a word: the scene or Slicer closes."""
        self._give_up_loading()
        if self._working:
            self._runner.abort()
        self._job.close()

    def _handed_over(self, error: Exception | None) -> None:
        try:
            if error or self._cancelled:
                raise error or Cancelled()
            self._job.check_unchanged()
        except Exception as refused:
            self._failed(refused)
        else:
            self._working = True
            self._runner.start(self._job.command(), self._job.workspace)

    def _succeeded(self, report: dict) -> None:
        """The worker is done; the results come into the scene in pieces, so that the window stays alive."""
        self._loading = self._job.loading(report)
        self._on_progress(Progress("loading", 0.0, None))
        self._later(self._load_piece)

    def _load_piece(self) -> None:
        loading = self._loading
        if loading is None:  # aborted
            return
        try:
            if self._cancelled:
                raise Cancelled()
            share = next(loading)
        except StopIteration as end:
            removing = threading.Thread(target=self._job.close)
            removing.start()
            self._tell_when_removed(removing, end.value)
        except Exception as error:
            self._give_up_loading()
            self._not_loaded(error)
        else:
            self._on_progress(Progress("loading", share, None))
            self._later(self._load_piece)

    def _give_up_loading(self) -> None:
        """What it has put into the scene goes again."""
        loading, self._loading = self._loading, None
        if loading:
            loading.close()

    def _tell_when_removed(self, removing: threading.Thread, finished: Finished) -> None:
        """Gigabytes take a second to remove; the window has its turns meanwhile."""
        removing.join(_TURN_SECONDS)
        if removing.is_alive():
            self._later(lambda: self._tell_when_removed(removing, finished))
        elif self._loading is not None:  # else aborted
            self._on_success(finished)

    def _not_loaded(self, error: Exception) -> None:
        """What was computed is kept where the scene could not take it."""
        if isinstance(error, (Cancelled, InputError)):
            self._failed(error)
            return
        if isinstance(error, MemoryError):
            told: SuperResolutionError = ResourceError(_("The result did not fit into memory; close other volumes or programs, or use a smaller factor."))
        elif isinstance(error, SuperResolutionError):
            told = error
        else:  # a defect must not leave the panel waiting for ever
            logging.error("SuperResolution3D: the result could not be put into the scene", exc_info=error)
            reason = f"{type(error).__name__}: {error}"
            told = SuperResolutionError(_("The result could not be put into the scene ({reason}); see the Python console.").format(reason=reason))
        kept = self._job.keep()
        if kept:
            told = type(told)(str(told) + " " + _("What was computed is kept in {folder}: load it from there when there is room.").format(folder=kept))
        self._failed(told)

    def _failed(self, error: Exception) -> None:
        log = self._job.workspace.log_text()
        self._job.close()
        self._on_failure(self._job.in_words(error), log)
