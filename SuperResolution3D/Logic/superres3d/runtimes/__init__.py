"""What computes the networks: OpenVINO or PyTorch on a CPU, PyTorch on a graphics card.

A runtime turns a model into a :class:`Network`; the engine knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ..ensemble import Turn
from ..networks.architecture import Architecture
from ..networks.families import VolumeArchitecture
from ..tiling import Region
from ..weights import Model

VOLUME_BYTES = 1 << 30  # what a window of a volumetric network may take unless a plan says otherwise
#: called between the pieces of a network's work; may raise to stop it
Alive = Callable[[], None]
#: asked during a long piece whether to end it; a network that does raises :class:`PieceStopped`
Stopped = Callable[[], bool]


class PieceStopped(Exception):
    """A piece of work was ended before it was done."""


class Network(Protocol):
    """A trained network that is ready to run."""

    architecture: Architecture

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn]) -> int:
        """How often :meth:`ensemble` will call ``alive`` for images of this shape."""
        ...

    def ensemble(self, images: np.ndarray, turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        """Median of the network over turned copies.

        Args:
            images: (N, H, W) float32 in network units.
            turns: members of the ensemble.
            alive: called before each piece of the work.

        Returns:
            (N, H * factors[0], W * factors[1]) float32.

        Raises:
            MemoryError: it did not fit; fewer or smaller images may.
        """
        ...


class VolumeNetwork(Protocol):
    """A trained volumetric network; see :class:`superres3d.runtimes.tiled_volume.TiledVolumeNetwork`."""

    architecture: VolumeArchitecture

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn], keep: Region | None = None) -> int: ...

    def ensemble(self, volume: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, keep: Region | None = None) -> np.ndarray: ...


class Runtime(Protocol):
    """A library on a device.

    Attributes:
        name: for the report, such as "OpenVINO 2026.1 on cpu".
        device: "cpu", "cuda:0" ...
        precision: "float32" or "float16".
        workers: how many threads may call a network at the same time.
        map_floats: of the largest feature map of a call for slices: enough to be efficient, few enough for memory.
        volume_bytes: that the feature maps of a window of a volumetric network may take.
    """

    name: str
    device: str
    precision: str
    workers: int
    map_floats: int
    volume_bytes: int

    def load(self, model: Model) -> Network:
        """The model's network (ModelError if its weights are damaged)."""
        ...

    def load_volume(self, model: Model, factors: tuple[int, int, int] = (1, 1, 1)) -> VolumeNetwork:
        """The same for a volumetric model; ``factors`` (slices, rows, columns) for one that refines."""
        ...

    def give_up_memory(self) -> str | None:
        """Make later calls smaller; returns what was given up, or None if nothing is left to give up."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...
