"""What computes the networks: OpenVINO or PyTorch on a CPU, PyTorch on a graphics card.

A runtime turns a model into a network that is ready to run; the engine knows nothing else of it.
"""

from __future__ import annotations

from typing import Protocol

from ..networks.weights import Model
from .tiled import TiledNetwork

VOLUME_BYTES = 1 << 30  # what a window of a volumetric network may take unless a plan says otherwise

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

    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> TiledNetwork:
        """The model's network (ModelError if its weights are damaged); ``factors`` name the task of one that has several."""
        ...

    def give_up_memory(self) -> str | None:
        """Make later calls smaller; returns what was given up, or None if nothing is left to give up."""
        ...

    def close(self) -> None:
        """Give memory back."""
        ...
