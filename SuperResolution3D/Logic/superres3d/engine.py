"""How a network meets a volume: device, precision, batches, falling back when memory runs out."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from .ensemble import DEPTH_MEMBERS, PLANE_MEMBERS, Turn, apply_turn, exact_median, undo_turn
from .errors import DeviceError, ResourceError
from .networks.georgescu import IntermediateLossNet, multiply_accumulates, receptive_halo
from .tiling import Region, Tick, blocks

DEVICES = ("auto", "cuda", "mps", "cpu")
# The most output pixels of one batch: bounds the memory of activations.  On a CPU a layer of 32
# channels stays below the 32 MB above which the heap gives every tensor fresh pages.
_BATCH_PIXELS = {"cpu": 200_000, "mps": 1 << 20, "cuda": 1 << 21}
_SMALLEST_BATCH = 1 << 12
# On a CPU a tile whose activations leave the caches costs more a pixel: so many output pixels
# double the time (measured on x86 with 2 MB of L2 cache a core).
_CPU_PIXELS_OF_DOUBLE_TIME = 200_000
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
_logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device that ``name`` means here.

    Args:
        name: "auto" (CUDA, then MPS, then the CPU), "cuda", "cuda:<n>", "mps" or "cpu".

    Raises:
        DeviceError: it does not exist, or is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (number and not (kind == "cuda" and number.isdigit())):
        raise DeviceError(f"The device {name!r} does not exist; use one of {', '.join(DEVICES)}, or cuda:<number>.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise DeviceError(f"The device {name} is not there ({torch.cuda.device_count()} CUDA devices found); use cpu or auto.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("The device mps is not there; use cpu or auto.")
    return torch.device(name)


class Engine:
    """Runs networks on slices, in batches that fit.

    Attributes:
        device: where it computes now; the CPU after a graphics card's memory ran out for good.
        batch_pixels: output pixels a batch may have.
        notes: what it had to give up, one sentence each, for the report.
    """

    def __init__(self, device: str = "auto", batch_pixels: int | None = None):
        self.device = choose_device(device)
        self.batch_pixels = batch_pixels or _BATCH_PIXELS[self.device.type]
        self.notes: list[str] = []
        self._workers: ThreadPoolExecutor | None = None

    def prepare(self, net: nn.Module) -> nn.Module:
        """The network on the engine's device, in the layout that its convolutions like best."""
        return net.to(self.device, memory_format=torch.channels_last).eval()

    @torch.inference_mode()
    def run(self, net: IntermediateLossNet, images: Tensor, turns: Sequence[Turn], tick: Tick) -> Tensor:
        """Ensemble of ``net`` over ``turns`` on slices.

        Args:
            net: from :meth:`prepare`.
            images: (N, H, W) float32 on the CPU.
            turns: members of the ensemble.
            tick: told the finished share after each tile of each member; may raise to stop.

        Returns:
            (N, H * factors[0], W * factors[1]) float32 on the CPU.
        """
        count, height, width = images.shape
        rows, columns = net.factors
        result = torch.empty(count, height * rows, width * columns)
        start = 0
        while start < count:
            stop = min(count, start + max(1, self._together() // (height * width * rows * columns)))
            try:
                batch = self._batch(net, images[start:stop, None], turns, lambda share: tick((start + share * (stop - start)) / count))
                result[start:stop] = batch[:, 0].cpu()
            except RuntimeError as error:  # torch's errors of this kind have no common class on all devices
                if not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
                    raise
                self._give_up_memory(net)
                continue
            start = stop
        return result

    def _batch(self, net: IntermediateLossNet, images: Tensor, turns: Sequence[Turn], tick: Tick) -> Tensor:
        """All members of the ensemble on a few slices, in tiles where that is faster or needed for memory."""
        images = images.to(self.device)
        turned = [apply_turn(images, turn) for turn in turns]
        rows, columns = net.factors
        outputs = [t.new_empty(*t.shape[:2], t.shape[2] * rows, t.shape[3] * columns) for t in turned]
        jobs = [
            partial(_run_tile, net, source, output, tile)
            for source, output in zip(turned, outputs)
            for tile in blocks(source.shape[2:], self._tile_size(net, source.shape))
        ]
        for number, _ in enumerate(self._finished(jobs), start=1):
            tick(number / len(jobs))
        return exact_median([undo_turn(output, turn) for output, turn in zip(outputs, turns)])

    def _tile_size(self, net: IntermediateLossNet, shape: Sequence[int]) -> tuple[int, int]:
        count, _, height, width = shape
        double_time = max(1, _CPU_PIXELS_OF_DOUBLE_TIME // count) if self.device.type == "cpu" else None
        return best_grid((height, width), receptive_halo(net), net.factors, self.batch_pixels // count, double_time)

    def _together(self) -> int:
        """Output pixels of small slices that go through the network as one batch."""
        return min(self.batch_pixels, _CPU_PIXELS_OF_DOUBLE_TIME // 8) if self.device.type == "cpu" else self.batch_pixels

    def _finished(self, jobs: Sequence[Callable[[], None]]) -> Iterator[None]:
        """Does the jobs; yields after each.

        On a CPU one job a core, each on one thread, is faster than all cores in one job: small layers
        leave the others waiting.  Progress stays in the caller's thread.
        """
        if self.device.type != "cpu" or torch.get_num_threads() == 1 or len(jobs) == 1:
            for job in jobs:
                yield job()
            return
        if self._workers is None:
            self._workers = ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,))
        futures = [self._workers.submit(job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:  # after an error, or when the caller wants no more
            for future in futures:
                future.cancel()
            wait(futures)

    def _give_up_memory(self, net: nn.Module) -> None:
        """After running out: first smaller batches, then the CPU."""
        if self.device.type == "cpu":
            raise ResourceError("Memory ran out; use a smaller factor, fewer axes, or a part of the scan.") from None
        if self.batch_pixels > _SMALLEST_BATCH:
            self.batch_pixels //= 2
            note = f"{self.device} ran out of memory; went on with batches of {self.batch_pixels} pixels."
        else:
            self.device = torch.device("cpu")
            self.batch_pixels = _BATCH_PIXELS["cpu"]
            net.to(self.device)
            note = "The graphics card's memory was not enough even for the smallest batch; went on with the CPU."
        _logger.warning(note)
        self.notes.append(note)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@torch.inference_mode()
def _run_tile(net: IntermediateLossNet, images: Tensor, output: Tensor, tile: Region) -> None:
    """The network on a tile (rows, columns) of slices, with a halo on its inner sides, into its place in ``output``."""
    rows, columns = net.factors
    height, width = images.shape[2:]
    halo = receptive_halo(net)
    (top, bottom), (left, right) = tile
    first, last = max(0, top - halo[0]), min(height, bottom + halo[0])
    begin, end = max(0, left - halo[1]), min(width, right + halo[1])
    refined = net(images[..., first:last, begin:end].contiguous(memory_format=torch.channels_last))
    inner = refined[..., (top - first) * rows : (bottom - first) * rows, (left - begin) * columns : (right - begin) * columns]
    output[..., top * rows : bottom * rows, left * columns : right * columns] = inner


@lru_cache(maxsize=256)
def best_grid(
    shape: tuple[int, int], halo: tuple[int, int], factors: tuple[int, int], most_pixels: int, double_time: int | None
) -> tuple[int, int]:
    """Tile size (rows, columns), without halo, that makes a slice cheapest.

    Small tiles repeat much of the halo; large ones leave the caches.  Cost is the pixels
    computed, halos included, times (1 + output pixels of a tile / ``double_time``).

    Args:
        shape: of the slice.
        halo: of the network.
        factors: of the network.
        most_pixels: output pixels that a tile with halo may have at most (kept if a 32 x 32 tile allows it).
        double_time: None where large tiles cost nothing extra.
    """
    best: tuple[float, tuple[int, int]] | None = None
    cuts = [[n for n in range(1, 65) if n == 1 or length // n >= 32] for length in shape]
    for counts in itertools.product(*cuts):
        size = [-(-length // n) for length, n in zip(shape, counts)]
        full = [min(length, s + 2 * h) for length, s, h in zip(shape, size, halo)]
        pixels = full[0] * full[1] * factors[0] * factors[1]
        cost = pixels * counts[0] * counts[1] * (1 + (pixels / double_time if double_time else 0))
        if pixels > most_pixels:
            cost += 1e30 * pixels
        if best is None or cost < best[0]:
            best = cost, (size[0], size[1])
    assert best is not None
    return best[1]


class PlaneStage:
    """The plane CNN on every slice (axis k) of a block."""

    name = "plane"

    def __init__(self, engine: Engine, net: IntermediateLossNet, ensemble_name: str):
        self._engine = engine
        self._net = engine.prepare(net)
        self._turns = PLANE_MEMBERS[ensemble_name]
        rows, columns = net.factors
        self.factors = (1, rows, columns)
        # The turned members look as far along the columns as along the rows.
        self.halo = (0, *receptive_halo(net))
        self._accumulates = multiply_accumulates(net) * len(self._turns)

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        (first, last), *plane = keep
        refined = self._engine.run(self._net, torch.from_numpy(array[first:last]), self._turns, tick).numpy()
        (top, bottom), (left, right) = ((a * f, b * f) for (a, b), f in zip(plane, self.factors[1:]))
        return refined[:, top:bottom, left:right]


class DepthStage:
    """The depth CNN on the orthogonal slices of a block, and the mean of both slicings."""

    name = "depth"

    def __init__(self, engine: Engine, net: IntermediateLossNet, ensemble_name: str):
        self._engine = engine
        self._net = engine.prepare(net)
        self._turns = DEPTH_MEMBERS[ensemble_name]
        self._both = ensemble_name != "none"
        factor, _ = net.factors
        self.factors = (factor, 1, 1)
        along, across = receptive_halo(net)
        self.halo = (along, across if self._both else 0, across)
        self._accumulates = multiply_accumulates(net) * len(self._turns) * (2 if self._both else 1)

    def cost(self, shape: Sequence[int]) -> float:
        return float(np.prod(shape)) * self._accumulates

    def __call__(self, array: np.ndarray, keep: Region, tick: Tick) -> np.ndarray:
        (first, last), (top, bottom), (left, right) = keep
        depth = slice(first * self.factors[0], last * self.factors[0])
        share = 0.5 if self._both else 1.0
        # Width x depth: one slice a row.  Each slicing needs a halo only within its own slices.
        slices = torch.from_numpy(np.ascontiguousarray(array[:, top:bottom].transpose(1, 0, 2)))
        refined = self._engine.run(self._net, slices, self._turns, lambda done: tick(done * share)).numpy()
        result = refined[:, depth, left:right].transpose(1, 0, 2)
        if self._both:  # height x depth: one slice a column
            slices = torch.from_numpy(np.ascontiguousarray(array[:, :, left:right].transpose(2, 0, 1)))
            refined = self._engine.run(self._net, slices, self._turns, lambda done: tick(0.5 + done * 0.5)).numpy()
            result = (result + refined[:, depth, top:bottom].transpose(1, 2, 0)) * np.float32(0.5)
        return result


def make_stages(
    nets: dict[str, IntermediateLossNet], ensemble_name: str, engine: Engine
) -> list[PlaneStage | DepthStage]:
    """The chain for the networks at hand: plane, then depth (Georgescu 2020, figure 1)."""
    kinds: dict[str, Callable[..., PlaneStage | DepthStage]] = {"plane": PlaneStage, "depth": DepthStage}
    return [kinds[stage](engine, nets[stage], ensemble_name) for stage in ("plane", "depth") if stage in nets]
