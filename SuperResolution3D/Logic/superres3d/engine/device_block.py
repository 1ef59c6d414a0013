"""The stages of a method for slices on a graphics card, from the scan's own numbers to the result's.

A block is sent once, in the scan's dtype; everything between is done on the card; the result comes back in the scan's dtype, a chunk of
slices at a time while the next is computed.  What is added to a network's correction, and all sums, are float32.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import psutil
import torch
from torch import Tensor

from ..networks.weights import Model
from ..resampling.bounds import near
from ..scan.intensity import IntensityScale
from .chain import Chain, check_finite, finished
from .device_finish import SAME_BITS, Finish, line_matrix
from .engine import Engine
from .ensemble import MEMBERS
from .progress import Watch
from .tiled import memory_errors
from .tiling import Region, Stage, StageRegion, blocks, choose_block, cut, scaled, stage_regions, within
from .turned_network import Style, TurnedNetwork, full_float32

if TYPE_CHECKING:
    from .pytorch import PyTorchRuntime

_BASE = "cubic"
_STAGING_BYTES = 1 << 23
_MOST_QUEUED = 3
_SLOW_CHUNK_SECONDS = 0.2  # then only one chunk waits for another, so that a stop comes soon
_PIXEL_BYTES = 2048  # of a chunk, generously: maps of 32 channels, the members, the library's own space
_LEAST_PIXELS = 1 << 12
_ROWS = 16  # of what the networks made, brought to the wanted grid at once

Step = tuple[int, float]  # (stage, finished share of it)
Chunk = tuple[float, slice | None, Tensor | None]  # (finished share, which of the kept slices, refined)


class DeviceChain:
    """The networks of a chain on a device.

    Args:
        models: by stage, in their order.
        ensemble: a key of :data:`superres3d.methods.ENSEMBLES`.
        device: of PyTorch.
        style: how it computes.
    """

    def __init__(self, models: dict[str, Model], ensemble: str, device: str, style: Style):
        self.style = style
        self.device = torch.device(device)
        self.networks = {stage: TurnedNetwork(model, MEMBERS[stage][ensemble], device, style) for stage, model in models.items()}

    @torch.inference_mode()
    def refine(self, source: np.ndarray, chain: Sequence[StageRegion], wanted: Region, intensities: IntensityScale, target: np.ndarray, pixels: int) -> Iterator[Step]:
        """A region of a scan into a region of the result.

        Args:
            source: the scan (k, j, i), slices first.
            chain: what each stage reads and gives for the region.
            wanted: the region.
            intensities: the scan's scale.
            target: the region of the result, in its dtype.
            pixels: of a chunk.

        Yields:
            what has been done.

        Raises:
            MemoryError: it did not fit.
        """
        with memory_errors(), full_float32(self.style.search), _working_on(self.device):
            sent = tuple((min(a, c), max(b, d)) for (a, b), (c, d) in zip(chain[0].needed, near(wanted, source.shape)))
            normalised = _normalised(_sent(cut(source, sent), self.device), intensities)
            volume = normalised.clamp(0.0, intensities.ceiling)
            outside = normalised.sub_(volume)
            finish = Finish(intensities, target.dtype, outside if bool(outside.any()) else None, volume, within(wanted, sent), self.factors)
            volume = volume[tuple(slice(a, b) for a, b in within(chain[0].needed, sent))]
            del normalised, outside
            receiver, pace = _Receiver(self.device), _Pace(self.device)
            for number, (name, region) in enumerate(zip(self.networks, chain)):
                refined: list[Tensor] = []
                last = number == len(chain) - 1
                for share, place, made in self._stage(name, volume, within(region.kept, region.needed), pixels, last):
                    if last and place is not None and made is not None:
                        receiver.take(finish(made, place), target[place])
                    elif made is not None:
                        finish.watch(made)
                        refined.append(made)
                    pace()
                    yield number, share
                volume = refined[-1] if refined else volume
            receiver.settle(0)
            check_finite(finish.finite)

    @property
    def factors(self) -> tuple[int, ...]:
        """Along (k, j, i)."""
        depth, plane = self.networks.get("depth"), self.networks.get("plane")
        return (depth.architecture.factors[0] if depth else 1, *(plane.architecture.factors if plane else (1, 1)))

    def _stage(self, name: str, volume: Tensor, keep: Region, pixels: int, last: bool) -> Iterator[Chunk]:
        """Without a place: the whole that was kept, for the next stage."""
        network = self.networks[name]
        if name == "plane":
            return _in_slices(network, volume, keep, pixels) if last else _gathered(_in_slices(network, volume, keep, pixels), keep, network, volume)
        across = _across_slices(network, volume, keep, pixels)
        return _given(across, pixels) if last else across


def chain_on_device(chain: Chain, models: dict[str, Model], ensemble: str, source: np.ndarray, target: np.ndarray, engine: Engine, watch: Watch) -> int:
    """As :func:`run_on_device`, with the chain's step to the wanted grid after its stages."""
    assert chain.intensities
    if not chain.regridding:
        return run_on_device(models, ensemble, chain.stages, source, target, chain.intensities, engine, watch)
    made = np.empty(_made_shape(chain, source.shape), np.float32)
    count = run_on_device(models, ensemble, chain.stages, source, made, chain.intensities, engine, watch)
    for inner in blocks(made.shape, (len(made), _ROWS, made.shape[2])) if count else ():  # another float32 volume would not fit everywhere
        needed, place = chain.regridding.regions(inner)
        cut(target, place)[...] = finished(chain.regridding(cut(made, needed), needed, place, lambda share: None), target.dtype, chain.intensities.floor)
    return count


def made_bytes(chain: Chain, shape: Sequence[int]) -> int:
    """What :func:`chain_on_device` keeps in memory between the stages and the last step, for a scan of this shape (k, j, i)."""
    return 4 * prod(_made_shape(chain, shape)) if chain.regridding else 0


def _made_shape(chain: Chain, shape: Sequence[int]) -> list[int]:
    return [round(length * prod(stage.factors[axis] for stage in chain.stages)) for axis, length in enumerate(shape)]


def run_on_device(
    models: dict[str, Model], ensemble: str, stages: Sequence[Stage], source: np.ndarray, target: np.ndarray,
    intensities: IntensityScale, engine: Engine, watch: Watch,
) -> int:  # fmt: skip
    """All blocks of a scan on the engine's device.

    Args:
        models, ensemble: as :class:`DeviceChain` takes them.
        stages: the same for a processor; their halos cut the blocks.
        source: the scan (k, j, i), slices first.
        target: the result, slices first, in the scan's dtype; filled.
        intensities: the scan's scale.
        engine: goes on with smaller blocks where memory runs out, or leaves the device.
        watch: told of blocks and progress; may raise to stop.

    Returns:
        the number of blocks; 0 if the engine has left the device: then nothing of ``target`` counts.
    """
    count = 0

    def begin() -> Generator[tuple[Any, ...]]:
        nonlocal count
        runtime, count = cast("PyTorchRuntime", engine.runtime), 0  # the only one with a share for blocks
        if not runtime.block_share:
            return
        chains = engine.kept("blocks on the device", lambda: DeviceChain(models, ensemble, runtime.device, runtime.style))
        free = _free_bytes(chains.device) * runtime.block_share
        pixels = max(_LEAST_PIXELS, min(runtime.chunk_pixels, int(free / _PIXEL_BYTES)))
        regions = list(blocks(source.shape, choose_block(stages, source.shape, int(free))))
        for number, region in enumerate(regions):
            chain = stage_regions(stages, source.shape, region)
            yield watch.begin_block, (number, len(regions), stages, chain)
            for step in chains.refine(source, chain, region, intensities, cut(target, scaled(region, chains.factors)), pixels):
                yield watch.tick, step
        count = len(regions)

    engine.follow(begin, lambda step: step[0](*step[1]))
    return count


def _across_slices(network: TurnedNetwork, volume: Tensor, keep: Region, pixels: int) -> Iterator[Chunk]:
    """The depth network on both slicings (D, H, W); the mean, as a whole, in the end."""
    (first, last), (top, bottom), (left, right) = keep
    length, height, width = volume.shape
    factor = network.architecture.factors[0]
    depth = slice(first * factor, last * factor)
    kept = volume[:, top:bottom, left:right]
    if network.architecture.residual:
        refined = (line_matrix(length, factor, _BASE, volume)[depth] @ kept.reshape(length, -1)).reshape(-1, *kept.shape[1:])
    else:
        refined = volume.new_zeros((depth.stop - depth.start, *kept.shape[1:]))
    whole, done = (bottom - top) * width + (right - left) * height, 0
    for start, stop, new in _chunks(top, bottom, network.together(length, width, pixels)):
        yield from _prepared(network, volume[:, start:stop].transpose(0, 1), done / whole)
        made = network(volume[:, start:stop].transpose(0, 1))[new - start :, depth, left:right]
        refined[:, new - top : stop - top].add_(made.transpose(0, 1), alpha=0.5)
        done += (stop - new) * width
        yield done / whole, None, None
    for start, stop, new in _chunks(left, right, network.together(length, height, pixels)):
        yield from _prepared(network, volume[:, :, start:stop].permute(2, 0, 1), done / whole)
        made = network(volume[:, :, start:stop].permute(2, 0, 1))[new - start :, depth, top:bottom]
        refined[:, :, new - left : stop - left].add_(made.permute(1, 2, 0), alpha=0.5)
        done += (stop - new) * height
        yield done / whole, None, None if done < whole else refined


def _in_slices(network: TurnedNetwork, volume: Tensor, keep: Region, pixels: int) -> Iterator[Chunk]:
    """The plane network on the kept slices, some at a time."""
    (first, last), *plane = keep
    _, height, width = volume.shape
    factors = network.architecture.factors
    rows, columns = (slice(a * factor, b * factor) for (a, b), factor in zip(plane, factors))
    down, along = (line_matrix(length, factor, _BASE, volume) for length, factor in zip((height, width), factors))
    for start, stop, new in _chunks(first, last, network.together(height, width, pixels)):
        yield from _prepared(network, volume[start:stop], (start - first) / (last - first))
        made = network(volume[start:stop])[new - start :, rows, columns]
        if network.architecture.residual:
            made = (down[rows] @ volume[new:stop] @ along[columns].T).add_(made)
        yield (stop - first) / (last - first), slice(new - first, stop - first), made


def _prepared(network: TurnedNetwork, images: Tensor, share: float) -> Iterator[Chunk]:
    """The network gets ready for slices of this shape."""
    for _ in network.prepare(images):
        yield share, None, None


def _gathered(chunks: Iterator[Chunk], keep: Region, network: TurnedNetwork, volume: Tensor) -> Iterator[Chunk]:
    """Chunks of slices as one volume in the end."""
    (first, last), *plane = keep
    refined = volume.new_empty([last - first] + [(b - a) * factor for (a, b), factor in zip(plane, network.architecture.factors)])
    for share, place, made in chunks:
        if place is not None and made is not None:
            refined[place] = made
        yield share, None, refined if place is not None and place.stop == last - first else None


def _given(chunks: Iterator[Chunk], pixels: int) -> Iterator[Chunk]:
    """A volume that comes as a whole in the end, some slices at a time."""
    for share, _, whole in chunks:
        yield share, None, None
        if whole is not None:
            count = max(1, 4 * pixels // prod(whole.shape[1:]))
            for start in range(0, len(whole), count):
                chosen = slice(start, min(len(whole), start + count))
                yield share, chosen, whole[chosen]


def _chunks(first: int, last: int, most: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, first new one): all of one length, so the last reaches back."""
    count = last - first
    size = -(-count // -(-count // most))
    for begin in range(first, last, size):
        start = max(first, min(begin, last - size))
        yield start, min(last, start + size), begin


@contextlib.contextmanager
def _working_on(device: torch.device) -> Iterator[None]:
    """Of several cards this one; afterwards, also after a stop, nothing of the work is still on its way."""
    if device.type != "cuda":
        yield
        return
    with torch.cuda.device(device):
        try:
            yield
        finally:
            torch.cuda.synchronize(device)


def _normalised(sent: tuple[Tensor, str], intensities: IntensityScale) -> Tensor:
    """Network units, float32."""
    values, name = sent
    if name in SAME_BITS:
        _, _, wider, bits = SAME_BITS[name]
        values = values.to(wider) & bits
    return (values.float() - float(np.float32(intensities.offset))).div_(float(np.float32(intensities.span)))


def _same_bits(array: np.ndarray) -> np.ndarray:
    """A view in a dtype that every card takes."""
    return array.view(SAME_BITS[array.dtype.name][0]) if array.dtype.name in SAME_BITS else array


def _sent(block: np.ndarray, device: torch.device) -> tuple[Tensor, str]:
    """A block on the device in its own bits, and the name of its dtype; by pieces through memory that the card reads by itself."""
    bits = _same_bits(block)
    if device.type != "cuda":
        return torch.from_numpy(np.ascontiguousarray(bits)).to(device), block.dtype.name
    count = max(1, min(len(bits), _STAGING_BYTES // max(1, bits[0].nbytes)))
    staging = [torch.from_numpy(np.empty((count, *bits.shape[1:]), bits.dtype)).pin_memory() for _ in range(1 if count == len(bits) else 2)]
    sent = torch.empty(bits.shape, dtype=staging[0].dtype, device=device)
    events = [torch.cuda.Event(), torch.cuda.Event()]
    for number, start in enumerate(range(0, len(bits), count)):
        buffer, event = staging[number % 2], events[number % 2]
        event.synchronize()
        piece = bits[start : start + count]
        np.copyto(buffer[: len(piece)].numpy(), piece)
        sent[start : start + len(piece)].copy_(buffer[: len(piece)], non_blocking=True)
        event.record(torch.cuda.current_stream(device))
    return sent, block.dtype.name


@dataclass
class _Coming:
    """A chunk on its way back: where it arrives, where it goes, and when it has."""

    host: Tensor
    target: np.ndarray
    arrived: Any


class _Receiver:
    """Brings chunks of the result back while the next are computed."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._coming: deque[_Coming] = deque()

    def take(self, chunk: Tensor, target: np.ndarray) -> None:
        """``chunk`` into ``target``, by the time of :meth:`settle`."""
        if self._stream is None:
            torch.from_numpy(_same_bits(target)).copy_(chunk)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            host = torch.empty(chunk.shape, dtype=chunk.dtype, pin_memory=True)
            host.copy_(chunk, non_blocking=True)
            chunk.record_stream(self._stream)
            self._coming.append(_Coming(host, target, self._stream.record_event()))
        self.settle(_MOST_QUEUED)

    def settle(self, most: int) -> None:
        """Wait until at most so many are on their way."""
        while len(self._coming) > most:
            coming = self._coming.popleft()
            coming.arrived.synchronize()
            torch.from_numpy(_same_bits(coming.target)).copy_(coming.host)


class _Pace:
    """Lets the processor be only a few chunks ahead of the card."""

    def __init__(self, device: torch.device):
        self._device = device
        self._queued: deque[Any] = deque()
        self._most = 1  # until it is known how long a chunk takes
        self._last = time.perf_counter()

    def __call__(self) -> None:
        if self._device.type != "cuda":
            return
        self._queued.append(torch.cuda.current_stream(self._device).record_event())
        while len(self._queued) > self._most:
            self._queued.popleft().synchronize()
            now = time.perf_counter()
            self._most = 1 if now - self._last > _SLOW_CHUNK_SECONDS else _MOST_QUEUED
            self._last = now


def _free_bytes(device: torch.device) -> int:
    """Of the device, what this process keeps for later included."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
