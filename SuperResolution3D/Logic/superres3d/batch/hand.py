"""A thread's own process for scans: what ends that process ends neither the batch nor the other scans."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..staging import reason_of
from .budget import Budget
from .task import CANCELLED, FAILED, MEMORY, Outcome, Task

KILLED = "killed"
_START = "import sys; sys.path.append({root!r}); from superres3d.batch.child import main; main()"
_ROOT = str(Path(__file__).resolve().parents[2])
_TAIL = 400  # letters of what a process said last
_SECONDS_TO_STOP = 5.0


class Hand:
    """Computes one scan after the other.

    Args:
        budget: shared by all hands of a machine.
        slot: which of the machine's shares of cores is its own.
    """

    def __init__(self, budget: Budget, slot: int = 0) -> None:
        self._budget, self._slot = budget, slot
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._stopped = threading.Event()

    def do(self, task: Task) -> Outcome:
        """Compute a scan; one that ended its process, or ran out of memory, is tried once more alone and with the least memory."""
        outcome = self._attempt(task, task.memory)
        if self._stopped.is_set():
            return outcome if outcome.state not in (KILLED, MEMORY) else Outcome(CANCELLED)
        if outcome.state not in (KILLED, MEMORY):
            return outcome
        again = self._attempt(replace(task, frugal=True), self._budget.total)
        if self._stopped.is_set() and again.state in (KILLED, MEMORY):
            return Outcome(CANCELLED)
        if again.state in (KILLED, MEMORY):
            return Outcome(again.state if again.state == KILLED else FAILED, [_twice(outcome, again)], seconds=again.seconds)
        again.messages.append(f"{_once(outcome)}; this result is of a second attempt, alone and with the least memory.")
        return again

    def _attempt(self, task: Task, count: int) -> Outcome:
        with self._budget.part(count):
            if self._stopped.is_set():
                return Outcome(CANCELLED)
            try:
                process = self._running()
            except OSError as error:
                return Outcome(FAILED, [f"The process for this scan could not be started ({reason_of(error)}); close other programs, and give the same command again."])
            try:
                return Outcome(**json.loads(self._answer(process, task)))
            except (OSError, ValueError):  # the pipe broke, or ended within a line
                return self._death()

    def _answer(self, process: subprocess.Popen[bytes], task: Task) -> bytes:
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(task.as_dict()).encode() + b"\n")
        process.stdin.flush()
        return process.stdout.readline()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._said = _scratch()
            environment = {**os.environ, "SUPERRES3D_SLOT": str(self._slot)}
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(root=_ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said or subprocess.DEVNULL, env=environment
            )
        return self._process

    def _death(self) -> Outcome:
        assert self._process
        self._process.kill()  # it may have closed its output alone
        code, said = self._process.wait(), self._last_words()
        self.close()
        return Outcome(KILLED, died=_how(code) + (f" and said: {said}" if said else ""))

    def _last_words(self) -> str:
        if self._said is None:
            return ""
        self._said.seek(0)
        return " ".join(self._said.read()[-_TAIL:].decode("utf-8", "replace").split())

    def stop(self) -> None:
        """From another thread: end the work at hand, within seconds, and take no other."""
        self._stopped.set()
        process = self._process
        if process is None:
            return
        try:
            assert process.stdin
            process.stdin.close()
        except OSError:
            pass
        try:
            process.wait(_SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()

    def close(self) -> None:
        """End the idle process."""
        process, self._process, said, self._said = self._process, None, self._said, None
        for stream in (*((process.stdin, process.stdout) if process else ()), said):
            try:
                if stream:
                    stream.close()
            except OSError:
                pass
        if process:
            process.wait()


def _scratch() -> IO[bytes] | None:
    """A file for what a process says; None where the whole machine is read-only, as a container may be."""
    try:
        return tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:
        return None


def _how(code: int) -> str:
    """Why a process ended."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return f"ended by {name}{' (often the system, for want of memory)' if name == 'SIGKILL' else ''}"
    return f"ended with code {code}"


def _once(outcome: Outcome) -> str:
    return f"The process of this scan was {outcome.died}" if outcome.state == KILLED else "Memory ran out at first"


def _twice(first: Outcome, second: Outcome) -> str:
    told = ", then ".join(outcome.died if outcome.state == KILLED else "out of memory" for outcome in (first, second))
    return f"The process of this scan was {told}, the second time alone and with the least memory; it is left out from now on, --retry tries it again."
