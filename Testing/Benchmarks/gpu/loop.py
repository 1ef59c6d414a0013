"""A training loop that keeps a budget of seconds, and steps that are captured once and replayed."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Tell = Callable[..., None]
_WARM_UP = 3  # steps before one is captured: libraries choose their kernels


class Optimizer:
    """Adam whose learning rate is changed without a new capture.

    Args:
        net: on its device.
        betas: of Adam.
    """

    def __init__(self, net: nn.Module, betas: tuple[float, float] = (0.9, 0.99)):
        self._on_card = next(net.parameters()).is_cuda
        self._rate: Any = torch.zeros((), device=next(net.parameters()).device) if self._on_card else 0.0
        choices = {"fused": True, "capturable": True} if self._on_card else {}
        self.adam = torch.optim.Adam(net.parameters(), lr=self._rate, betas=betas, **choices)

    def set_rate(self, rate: float) -> None:
        """For the steps from now on."""
        if self._on_card:
            self._rate.fill_(rate)
        else:
            self.adam.param_groups[0]["lr"] = rate

    def forget(self) -> None:
        """The moments become zero where they are: a captured step goes on writing there."""
        for moments in self.adam.state.values():
            for value in moments.values():
                value.zero_()

    def state(self) -> dict[str, Any]:
        """The moments are rounded to bfloat16: half the bytes that have to travel, and their noise is larger."""
        state = self.adam.state_dict()
        state["state"] = {number: {name: value.bfloat16() if name.startswith("exp_avg") else value for name, value in moments.items()} for number, moments in state["state"].items()}
        return state

    def load(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.adam.load_state_dict(state)
        self.adam.param_groups[0]["lr"] = self._rate


class Steps:
    """Kinds of steps; on a graphics card each is captured at its first use, and replayed from then on.

    Args:
        step: (kind) -> loss on the device; it draws its chances on the device and changes what it keeps in place.
        on_card: whether there is something to capture for.
        tell: told once if capturing fails; then every step is run as it is.
        stream: that captures; None: one of its own.
    """

    def __init__(self, step: Callable[[Any], Tensor], on_card: bool, tell: Tell, stream: torch.cuda.Stream | None = None):
        self._step, self._captures, self._tell = step, on_card, tell
        self._stream = stream or (torch.cuda.Stream() if on_card else None)
        self._graphs: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def __call__(self, kind: Hashable) -> Tensor:
        if not self._captures:
            return self._step(kind)
        if kind not in self._graphs:
            try:
                self._graphs[kind] = self._captured(kind)
            except Exception as error:
                self._captures = False
                self._tell(not_captured=f"{type(error).__name__}: {error}"[:300])
                torch.cuda.synchronize()
                return self._step(kind)
        graph, loss = self._graphs[kind]
        graph.replay()
        return loss

    def _captured(self, kind: Hashable) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        assert self._stream
        torch.cuda.synchronize()
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                self._step(kind)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            loss = self._step(kind)
        torch.cuda.synchronize()
        return graph, loss


@contextlib.contextmanager
def telling(path: Path, began: float) -> Iterator[Tell]:
    """Lines of JSON to a file and to the standard output, with the seconds since ``began``."""
    with open(path, "a", encoding="utf-8") as results:

        def tell(**what: Any) -> None:
            line = json.dumps({"at": round(time.perf_counter() - began, 1), **what})
            print(line, flush=True)
            results.write(line + "\n")
            results.flush()

        yield tell


def within(seconds: float, sync: Callable[[], None], every: int = 20) -> Iterator[float]:
    """Yields the share of the seconds that has passed until all have; waits for the device every so many steps, or its clock would lag behind."""
    began, done = time.perf_counter(), 0
    while (share := (time.perf_counter() - began) / max(1e-6, seconds)) < 1.0:
        yield share
        done += 1
        if done % every == 0:
            sync()
    sync()


def cosine(share: float, done: int, warm_up: float) -> float:
    """A share of the learning rate: a linear rise over the first steps, a cosine to zero over the time."""
    return min(1.0, (done + 1) / warm_up) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))
