"""The forms in which a graphics card may compute 3x3 convolutions, and the race that chooses one.

Which is fastest depends on the card, its libraries and the width of a network, so each is tried where it is used.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

_ROUNDS = 5
_ROUND_SECONDS = 4e-3  # shorter ones tell of the clock
_MOST_REPEATS = 64


class PlainConvolution:
    """3x3 convolutions with zero padding, as PyTorch's own layers do them.

    Shape:
        features (N, C, H, W), weight (outputs, C, 3, 3), bias (outputs,), skip and result (N, outputs, H, W), all of :attr:`Style.dtype`.
    """

    def relu(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution, then ReLU."""
        return torch.relu_(self.linear(features, weight, bias))

    def linear(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution and its bias."""
        return functional.conv2d(features, weight, bias, padding=1)

    def add(self, skip: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``skip`` and the convolution, in the memory of ``skip``."""
        return skip.add_(self.linear(features, weight, bias))


class FusedConvolution(PlainConvolution):
    """Bias and ReLU inside cuDNN's convolution."""

    def relu(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution, then ReLU, in one call."""
        return torch.cudnn_convolution_relu(features, weight, bias, (1, 1), (1, 1), (1, 1), 1)


class FusedAddConvolution(FusedConvolution):
    """And the bias beside the skip in one pass over it, by Triton."""

    def add(self, skip: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``skip`` and the convolution, in the memory of ``skip``."""
        from .triton_layers import add_with_bias

        return add_with_bias(skip, functional.conv2d(features, weight, None, padding=1), bias)


class TritonConvolution(FusedAddConvolution):
    """Layers whole in Triton: the convolution, bias, ReLU or skip; loads run ahead of the products."""

    tile: ClassVar[dict[str, int]] = {"rows": 1, "columns": 128, "warps": 4, "stages": 4}

    def relu(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution, then ReLU, in one kernel where the layer fits."""
        made = self._convolved(features, weight, bias, relu=True)
        return super().relu(features, weight, bias) if made is None else made

    def linear(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution and its bias, in one kernel where the layer fits."""
        made = self._convolved(features, weight, bias)
        return super().linear(features, weight, bias) if made is None else made

    def add(self, skip: Tensor, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """``skip`` and the convolution, in the memory of ``skip``; in one kernel where the layer fits."""
        made = self._convolved(features, weight, bias, skip=skip)
        return super().add(skip, features, weight, bias) if made is None else made

    def _convolved(self, features: Tensor, weight: Tensor, bias: Tensor, **end: Any) -> Tensor | None:
        from .triton_layers import Tile, convolve, fits

        return convolve(features, weight, bias, Tile(**self.tile), **end) if fits(features, weight) else None


class CachedTritonConvolution(TritonConvolution):
    """The same over patches of an image, through the cache that lies beside the arithmetic."""

    tile: ClassVar[dict[str, int]] = {"rows": 8, "columns": 32, "warps": 8, "stages": 1}


CONVOLUTIONS: dict[str, type[PlainConvolution]] = {
    "plain": PlainConvolution, "fused": FusedConvolution, "fused-add": FusedAddConvolution,
    "triton": TritonConvolution, "triton-cached": CachedTritonConvolution,
}  # fmt: skip


@dataclass
class _Entrant:
    """A form that is right.

    Attributes:
        work: what it computes.
        repeats: calls of a round.
        seconds: of a call, a number a round.
    """

    by: PlainConvolution
    work: Callable[[], Any]
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)


class Race:
    """Of forms against each other, on the work that they are for.

    Args:
        compute: that work in a form, a tensor.
        agreement: how far a form may be from :class:`PlainConvolution`, of its largest value.
        device: of the work.
        records: launches are recorded once and replayed; so they are timed like that, or a form would win by how fast Python launches it.

    Attributes:
        told: form -> seconds of a call, or why it is out.
    """

    def __init__(self, compute: Callable[[PlainConvolution], Tensor], agreement: float, device: torch.device, records: bool):
        self._compute, self._agreement, self._device, self._records = compute, agreement, device, records
        self._entrants: dict[str, _Entrant] = {}
        self._pool: Any = None
        self.told: dict[str, float | str] = {}

    def run(self, forms: Mapping[str, type[PlainConvolution]]) -> Iterator[None]:
        """Time what is right; steps, so that a stop comes through."""
        yield from self.enter(forms)
        for entrant in self._entrants.values():
            entrant.work = self._recorded(entrant.work) if self._records else entrant.work
            entrant.repeats = min(_MOST_REPEATS, max(1, round(_ROUND_SECONDS / max(1e-9, self._seconds(entrant.work, 2)))))
            yield
        for _ in range(_ROUNDS):  # in turn: a card that changes its clock changes it for all
            for entrant in self._entrants.values():
                entrant.seconds.append(self._seconds(entrant.work, entrant.repeats))
            yield
        self.told |= {name: statistics.median(entrant.seconds) for name, entrant in self._entrants.items()}

    def enter(self, forms: Mapping[str, type[PlainConvolution]]) -> Iterator[None]:
        """Find out which are right here; what fails or differs is out (torch.cuda.OutOfMemoryError goes through)."""
        expected = self._compute(PlainConvolution()).float()
        for name, kind in forms.items():
            by = kind()
            try:
                difference = (self._compute(by).float() - expected).abs().max()
                if not bool(difference <= self._agreement * expected.abs().max()):
                    raise ArithmeticError(f"differs by {float(difference):.3g}")
            except torch.cuda.OutOfMemoryError:
                raise
            except Exception as error:  # a library that is missing, or fails on this card
                self.told[name] = f"{type(error).__name__}: {str(error)[:200]}"
            else:
                self._entrants[name] = _Entrant(by, partial(self._compute, by))
            yield

    @property
    def winner(self) -> PlainConvolution:
        """By the median of its rounds; where nothing was timed, the first that is right."""
        entrants = self._entrants.values()
        return min(entrants, key=lambda entrant: statistics.median(entrant.seconds or [0.0])).by if entrants else PlainConvolution()

    def _recorded(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """Its launches as a graph; as it is where that fails."""
        try:
            torch.cuda.synchronize(self._device)
            self._pool = self._pool or torch.cuda.graph_pool_handle()  # one for all: nobody reads what they give
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                work()
            return graph.replay
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            self.told["graphs of the race"] = f"{type(error).__name__}: {str(error)[:200]}"
            return work

    def _seconds(self, work: Callable[[], Any], repeats: int) -> float:
        """Of one call."""
        self._wait()
        started = time.perf_counter()
        for _ in range(repeats):
            work()
        self._wait()
        return (time.perf_counter() - started) / repeats

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
