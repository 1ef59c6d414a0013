"""What computes the networks: OpenVINO or PyTorch on a CPU, PyTorch on a graphics card.

A runtime turns a model into a network that is ready to run; the engine knows nothing else of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..networks.families import Architecture
from ..networks.weights import Model
from .parted import tiled_network
from .tiled import Infer, Median, TiledNetwork

VOLUME_BYTES = 1 << 30  # what a window of a volumetric network may take unless a plan says otherwise
_SMALLEST_SLICE_BYTES = 3 << 20


class Runtime(ABC):
    """A library on a device.

    Attributes:
        name: for the report, such as "OpenVINO 2026.1".
        device: "cpu", "cuda:0" ...
        precision: "float32", "float16", "bfloat16", or "int8": the convolutions that a model has ranges for, see :mod:`superres3d.networks.eight_bits`.
        float_bytes: of a number that is no 8-bit one.
        workers: how many threads may call a network for slices at the same time.
        slice_bytes: that the feature maps of one of those calls may take: enough to be efficient, few enough for memory.
        volume_bytes: that the feature maps of a window of a volumetric network may take.
        block_share: of the device's free memory that a block may take (see :mod:`.device_block`); 0: stages come and go one by one.
    """

    def __init__(self, name: str, device: str, half: bool, workers: int, slice_bytes: int):
        self.name, self.device, self.workers, self.slice_bytes = name, device, workers, slice_bytes
        self.precision, self.float_bytes = ("float16", 2) if half else ("float32", 4)
        self.volume_bytes = VOLUME_BYTES
        self.block_share = 0.0

    @abstractmethod
    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> TiledNetwork:
        """The model's network (ModelError if its weights are damaged); ``factors`` name the task of one that has several."""

    def network(self, architecture: Architecture, infer: Infer, median: Median | None = None, exchanged: Infer | None = None) -> TiledNetwork:
        """Of a function that computes it; see :func:`superres3d.engine.parted.tiled_network`."""
        return tiled_network(architecture, infer, lambda: self.window_bytes(architecture.axes), self.float_bytes, median, exchanged)

    def window_bytes(self, axes: int) -> int:
        """What the feature maps of a window of slices (2 axes) or of a volume (3) may take now."""
        return self.slice_bytes if axes == 2 else self.volume_bytes

    def give_up_memory(self) -> str | None:
        """Make later calls smaller; returns what was given up, or None if nothing is left to give up."""
        if self.slice_bytes <= _SMALLEST_SLICE_BYTES:
            return None
        self.slice_bytes //= 2
        self.volume_bytes //= 2
        self.block_share /= 2
        self.close()
        return f"Memory ran short on {self.device}; went on with smaller tiles."

    def close(self) -> None:  # noqa: B027  # a library need not
        """Give memory back; what a network holds goes with it."""
