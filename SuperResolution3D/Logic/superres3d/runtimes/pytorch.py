"""PyTorch: the graphics card (CUDA, MPS), and the CPU where OpenVINO cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..ensemble import Turn, exact_median
from ..weights import Model, load_network, load_volume_network
from . import VOLUME_BYTES, Alive, Stopped, VolumeNetwork
from .parted_volume import volume_network
from .tiled import TiledNetwork, memory_errors
from .turned_network import Style, full_float32

_MAP_FLOATS = {"cpu": 1 << 22, "mps": 1 << 25, "cuda": 1 << 27}
_SMALLEST_MAP_FLOATS = 1 << 18
_SMALL_BYTES = 1 << 28
_BLOCK_SHARE = 0.5


class PyTorchRuntime:
    """See :class:`superres3d.runtimes.Runtime`.

    Args:
        device: "cpu", "cuda:<n>" or "mps".
        half: use float16 on a CUDA device; the scan itself stays float32, only the networks' correction is rounded.

    Attributes:
        block_share: of the free memory that a block on the device may take (see :mod:`.device_block`); 0: stages come and go one by one.
        style: how a block is computed.
        chunk_pixels: how much of it at once.
    """

    def __init__(self, device: str, half: bool = False):
        self.device = device
        self.kind = torch.device(device).type
        self.precision = "float16" if half and self.kind == "cuda" else "float32"
        self.name = f"PyTorch {torch.__version__.split('+')[0]}"
        # On a CPU one call a core, each on one thread, is faster than all cores in one call.
        self.workers = torch.get_num_threads() if self.kind == "cpu" else 1
        self.map_floats = _MAP_FLOATS[self.kind]
        self.volume_bytes = VOLUME_BYTES
        self.style = Style(half=self.precision == "float16")
        self.block_share = _BLOCK_SHARE if self.kind == "cuda" else 0.0
        self.chunk_pixels = self.style.pixels

    def load(self, model: Model):
        net = load_network(model).to(self.device, memory_format=torch.channels_last)
        if self.kind == "cpu":
            return TiledNetwork(net.architecture, _on_this_thread(net), lambda: self.map_floats, correction_only=False)
        return DeviceNetwork(net, self)

    def load_volume(self, model: Model, factors: tuple[int, int, int] = (1, 1, 1)) -> VolumeNetwork:
        net = load_volume_network(model, factors).to(self.device, memory_format=torch.channels_last_3d)
        half = self.precision == "float16"

        @torch.inference_mode()
        def infer(draw: Callable[..., Tensor], inputs: Sequence[np.ndarray], stopped: Stopped) -> np.ndarray:
            with memory_errors(), full_float32(), torch.autocast(self.kind, torch.float16, enabled=half):
                windows = [torch.from_numpy(array)[None].to(self.device) for array in inputs]
                return net.part(draw, *windows)[0].float().cpu().numpy()

        def budget() -> int:
            # PyTorch keeps what a layer read until the next has written; eager joins are copies.  A plan for a small scan allows for just its feature maps.
            return max(self.volume_bytes // 2, min(self.volume_bytes, _SMALL_BYTES))

        return volume_network(net.architecture, infer, budget, 2 if half else 4)

    def give_up_memory(self) -> str | None:
        if self.map_floats <= _SMALLEST_MAP_FLOATS:
            return None
        self.map_floats //= 2
        self.volume_bytes //= 2
        self.block_share /= 2
        self.chunk_pixels //= 2
        self.close()
        return f"{self.device} ran out of memory; went on with smaller tiles."

    def close(self) -> None:
        if self.kind == "cuda":
            torch.cuda.empty_cache()


def _on_this_thread(net: nn.Module):
    def infer(images: np.ndarray) -> np.ndarray:
        if torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # of this worker; the others are at work as well
        with torch.inference_mode(), memory_errors():
            return net(torch.from_numpy(images)[:, None].contiguous(memory_format=torch.channels_last))[:, 0].numpy()

    return infer


class DeviceNetwork:
    """A network whose ensemble stays on the device: one transfer each way."""

    def __init__(self, net: nn.Module, runtime: PyTorchRuntime):
        self.architecture = net.architecture
        self._net = net
        self._runtime = runtime

    def pieces(self, shape: Sequence[int], turns: Sequence[Turn]) -> int:
        return len(turns)

    @torch.inference_mode()
    def ensemble(self, images: np.ndarray, turns: Sequence[Turn], alive: Alive) -> np.ndarray:
        with memory_errors(), full_float32():
            source = self._upload(images)
            members = []
            for turn in turns:
                alive()
                members.append(_undo_turn(self._run(_apply_turn(source, turn)), turn))
            median = exact_median(members, torch.minimum, torch.maximum)
            return median[:, 0].float().cpu().numpy()

    def _upload(self, images: np.ndarray) -> Tensor:
        host = torch.from_numpy(images)[:, None]
        return (host.pin_memory() if self._runtime.kind == "cuda" else host).to(self._runtime.device, non_blocking=True)

    def _run(self, images: Tensor) -> Tensor:
        half = self._runtime.precision == "float16"
        with torch.autocast(self._runtime.kind, torch.float16, enabled=half):
            return self._net(images.contiguous(memory_format=torch.channels_last)).float()


def _apply_turn(images: Tensor, turn: Turn) -> Tensor:
    quarter, flip = turn
    turned = torch.rot90(images, quarter, (-2, -1)) if quarter else images
    return turned.flip(-1) if flip else turned


def _undo_turn(images: Tensor, turn: Turn) -> Tensor:
    quarter, flip = turn
    images = images.flip(-1) if flip else images
    return torch.rot90(images, -quarter, (-2, -1)) if quarter else images
