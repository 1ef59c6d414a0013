"""PyTorch: the graphics card (CUDA, MPS), and the CPU where OpenVINO cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..networks.module import BlueprintNet
from ..networks.weights import Model, load_network
from .ensemble import Turn, exact_median
from .runtime import Runtime
from .tiled import Alive, Stopped, TiledNetwork, memory_errors
from .turned_network import Style, full_float32

_SLICE_BYTES = {"cpu": 52 << 20, "mps": 412 << 20, "cuda": 1640 << 20}
_SMALL_BYTES = 1 << 28
_BLOCK_SHARE = 0.5
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


class PyTorchRuntime(Runtime):
    """See :class:`superres3d.engine.runtime.Runtime`.

    Args:
        device: "cpu", "cuda:<n>" or "mps".
        half: use float16 on a CUDA device; the scan itself stays float32, only the networks' correction is rounded.

    Attributes:
        style: how a block on the device is computed.
        chunk_pixels: how much of it at once.
    """

    def __init__(self, device: str, half: bool = False):
        self.kind = torch.device(device).type
        # On a CPU one call a core, each on one thread, is faster than all cores in one call.
        workers = torch.get_num_threads() if self.kind == "cpu" else 1
        super().__init__(f"PyTorch {torch.__version__.split('+')[0]}", device, half and self.kind == "cuda", workers, _SLICE_BYTES[self.kind])
        self.style = Style(half=self.precision == "float16")
        self.block_share = _BLOCK_SHARE if self.kind == "cuda" else 0.0
        self.chunk_pixels = self.style.pixels

    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> TiledNetwork:
        """See :meth:`superres3d.engine.runtime.Runtime.load`; the network lies on the device."""
        net = load_network(model, factors)
        compute = _Compute(net, self, None if model.exchanged is model else load_network(model.exchanged))
        return self.network(net.architecture, compute, compute.median)

    def window_bytes(self, axes: int) -> int:
        """See :meth:`superres3d.engine.runtime.Runtime.window_bytes`; of a volume half of what was planned, as layers need more here."""
        if axes == 2:
            return self.slice_bytes
        # PyTorch keeps what a layer read until the next has written; eager joins are copies.  A plan for a small scan allows for just its feature maps.
        return max(self.volume_bytes // 2, min(self.volume_bytes, _SMALL_BYTES))

    def give_up_memory(self) -> str | None:
        """See :meth:`superres3d.engine.runtime.Runtime.give_up_memory`; a block's chunks become smaller as well."""
        told = super().give_up_memory()
        self.chunk_pixels //= 2 if told else 1
        return told

    def close(self) -> None:
        """Give a graphics card what PyTorch keeps of its memory."""
        if self.kind == "cuda":
            torch.cuda.empty_cache()


class _Compute:
    """A network on its device, and the one for slices whose rows and columns are exchanged where that is another."""

    def __init__(self, net: BlueprintNet, runtime: PyTorchRuntime, exchanged: BlueprintNet | None = None):
        axes = net.architecture.axes
        self._layout = _CHANNELS_LAST[axes]
        self._net, self._exchanged = (other.to(runtime.device, memory_format=self._layout) for other in (net, exchanged or net))  # type: ignore[call-overload]  # PyTorch declares no overload with it
        self._runtime = runtime
        self._threads = 1 if axes == 2 else runtime.workers  # with slices the other workers are at work as well

    @torch.inference_mode()
    def __call__(self, draw: Callable[..., Tensor], inputs: Sequence[np.ndarray], stopped: Stopped) -> np.ndarray:
        """See :data:`superres3d.engine.tiled.Infer`."""
        with memory_errors():
            return self._run(self._net, draw, *map(self._upload, inputs)).cpu().numpy()

    @torch.inference_mode()
    def median(self, window: np.ndarray, turns: Sequence[Turn], alive: Alive, stopped: Stopped, *variance: list[np.ndarray]) -> np.ndarray:
        """See :data:`superres3d.engine.tiled.Median`; the members stay on the device: one transfer each way."""
        with memory_errors():
            source, draw = self._upload(window[:, None]), self._net.architecture.blueprint
            members = []
            for turn in turns:
                alive()
                members.append(_undo_turn(self._run(self._exchanged if turn[0] % 2 else self._net, draw, _apply_turn(source, turn)), turn))
            for wanted in variance:
                wanted.append(torch.stack(members).var(dim=0, correction=0)[:, 0].cpu().numpy())
            return exact_median(members, torch.minimum, torch.maximum)[:, 0].cpu().numpy()

    def _upload(self, array: np.ndarray) -> Tensor:
        host = torch.from_numpy(array)
        return (host.pin_memory() if self._runtime.kind == "cuda" else host).to(self._runtime.device, non_blocking=True)

    def _run(self, net: BlueprintNet, draw: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        if self._runtime.kind == "cpu" and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with full_float32(), torch.autocast(self._runtime.kind, torch.float16, enabled=self._runtime.precision == "float16"):
            return net.part(draw, *(tensor.contiguous(memory_format=self._layout) for tensor in inputs)).float()


def _apply_turn(images: Tensor, turn: Turn) -> Tensor:
    quarter, flip = turn
    turned = torch.rot90(images, quarter, (-2, -1)) if quarter else images
    return turned.flip(-1) if flip else turned


def _undo_turn(images: Tensor, turn: Turn) -> Tensor:
    quarter, flip = turn
    images = images.flip(-1) if flip else images
    return torch.rot90(images, -quarter, (-2, -1)) if quarter else images
