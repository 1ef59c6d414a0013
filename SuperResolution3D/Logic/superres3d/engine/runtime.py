"""What computes the networks: OpenVINO or PyTorch on a CPU, PyTorch on a graphics card.

A runtime turns a model into a :class:`Network`; the engine knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..networks.families import Architecture
from ..networks.weights import Model
from .ensemble import Turn
from .tiling import Region

VOLUME_BYTES = 1 << 30  # what a window of a volumetric network may take unless a plan says otherwise
#: called between the pieces of a network's work; may raise to stop it
Alive = Callable[[], None]
#: asked during a long piece whether to end it; a network that does raises :class:`PieceStopped`
Stopped = Callable[[], bool]
#: (what draws it, its inputs (N, channels, [D,] H, W) float32, asked whether to stop) -> (N, channels, [D,] H, W) float32, of its own memory
Infer = Callable[[Callable[..., Any], Sequence[np.ndarray], Stopped], np.ndarray]
#: (window (N, [D,] H, W) float32, members, called before each, asked whether to stop) -> their median, finer by the network's factors
Median = Callable[[np.ndarray, Sequence[Turn], Alive, Stopped], np.ndarray]


class PieceStopped(Exception):
    """A piece of work was ended before it was done."""


class Network(Protocol):
    """A trained network that is ready to run; see :class:`superres3d.engine.tiled.TiledNetwork`."""

    architecture: Architecture

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn], keep: Region | None = None) -> int: ...

    def ensemble(self, images: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None) -> np.ndarray: ...


class Runtime(Protocol):
    """A library on a device.

    Attributes:
        name: for the report, such as "OpenVINO 2026.1 on cpu".
        device: "cpu", "cuda:0" ...
        precision: "float32" or "float16".
        workers: how many threads may call a network for slices at the same time.
        slice_bytes: that the feature maps of one of those calls may take: enough to be efficient, few enough for memory.
        volume_bytes: that the feature maps of a window of a volumetric network may take.
    """

    name: str
    device: str
    precision: str
    workers: int
    slice_bytes: int
    volume_bytes: int

    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> Network:
        """The model's network (ModelError if its weights are damaged); ``factors`` name the task of one that has several."""
        ...

    def give_up_memory(self) -> str | None:
        """Make later calls smaller; returns what was given up, or None if nothing is left to give up."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...
