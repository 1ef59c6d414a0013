"""OpenVINO on the CPU: no torch, and half precision or 8 bits where the processor is faster in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..networks.eight_bits import Ranges
from ..networks.weights import Model, architecture_of, load_ranges, load_tensors
from .half_kernels import WORTH_OF_EIGHT, chosen, is_exact, is_faster, racer
from .memory import usable_cores
from .openvino_graph import build_graph, split_image
from .openvino_import import MINIMUM, ov, version
from .runtime import Runtime
from .tiled import PieceStopped, Stopped, TiledNetwork, memory_errors

_SLICE_BYTES = 104 << 20  # for each core
_HALVES = ("float16", "bfloat16")
_HINTS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
# One process computes everything in the same precision.
_WON: dict[tuple[str, int], bool] = {}  # by precision and axes
_CHOSEN: dict[tuple[int, tuple[str, ...]], str] = {}  # by axes, and what is wanted
_RACING = threading.RLock()  # one at a time: two would slow each other down
_ASK_MILLISECONDS = 100  # how often a long piece asks whether to stop


class OpenVINORuntime(Runtime):
    """See :class:`superres3d.engine.runtime.Runtime`.

    Args:
        precision: "half": use float16 or bfloat16 where the processor is faster in it; only the correction of an interpolation is
            rounded so. Results then differ from float32 by less than 0.2 Hounsfield units, or 0.04 of 255 (RMSE) in
            float16, and 1.5 or 0.2 in bfloat16. "eight": also 8 bits, for models that have ranges for them.

    Raises:
        RuntimeError: OpenVINO is too old, or cannot use this processor.
    """

    def __init__(self, precision: str = "single"):
        if version() < MINIMUM:
            raise RuntimeError(f"version {ov.__version__} is older than {'.'.join(map(str, MINIMUM))}")
        super().__init__(f"OpenVINO {ov.__version__.split('-')[0]}", "cpu", False, usable_cores(), _SLICE_BYTES)
        self._asked = precision
        self._racers: dict[tuple[int, str], ov.CompiledModel] = {}
        self._rest = "float32"  # what is not computed in 8 bits
        self._core = ov.Core()

    def load(self, model: Model, factors: tuple[int, ...] | None = None) -> TiledNetwork:
        """See :meth:`superres3d.engine.runtime.Runtime.load`; from here on ``precision`` is what the processor computes in."""
        architecture = architecture_of(model, factors)
        axes, tensors = architecture.axes, load_tensors(model, architecture)
        ranges = load_ranges(model) if self._asked == "eight" and axes == 2 else {}
        # A picture itself, which is no correction, is not rounded to bfloat16.
        self._settle(axes, _HALVES if architecture.residual else ("float16",), bool(ranges))
        ranges = ranges if self.precision == "int8" else {}
        split = architecture.residual and architecture.parts is None and self._rest != "float32"
        exchanged = None if model.exchanged is model else _Graphs(self, load_tensors(model.exchanged, architecture), axes, ranges, split)
        return self.network(architecture, _Graphs(self, tensors, axes, ranges, split), exchanged=exchanged)

    def compile(self, graph: ov.Model, streams: int, precision: str | None = None) -> ov.CompiledModel:
        """Ready to run, for so many calls at a time, in a precision ("float32"; None: the one that was chosen for what is not in 8 bits)."""
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision or self._rest],
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self.workers,
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(graph, "CPU", settings)

    def settle_for_slices(self) -> None:
        """Race for networks on slices that have ranges for 8 bits, before there is one."""
        self._settle(2, _HALVES, True)

    def _settle(self, axes: int, halves: tuple[str, ...], in_eight: bool) -> None:
        """What to compute a network in; ``halves`` are those that it may be rounded to."""
        self._rest = self._precision_of(axes, () if self._asked == "single" else halves)
        self.float_bytes = 4 if self._rest == "float32" else 2
        self.precision = "int8" if in_eight and self._eight_wins() else self._rest

    def _eight_wins(self) -> bool:
        """Whether 8 bits are exact here and faster than what else there is; raced once."""
        key = f"int8 against {self._rest}", 2
        with _RACING:
            if key not in _WON:
                eight = self.compile(racer(2, in_eight=True), 1)
                _WON[key] = is_exact(eight) and is_faster(eight, self._racer(2, self._rest), WORTH_OF_EIGHT)
        return _WON[key]

    def _precision_of(self, axes: int, wanted: tuple[str, ...]) -> str:
        """The precision for networks with so many axes."""
        with _RACING:
            if (axes, wanted) not in _CHOSEN:
                halves: dict[str, ov.CompiledModel] = {}
                for precision in wanted:
                    with suppress(RuntimeError):  # a precision that it cannot compile
                        halves[precision] = self._racer(axes, precision)
                _CHOSEN[axes, wanted] = chosen(halves, lambda precision: self._wins(precision, axes))
        return _CHOSEN[axes, wanted]

    def _wins(self, precision: str, axes: int) -> bool:
        """Whether it is faster than single precision here; raced once."""
        if (precision, axes) not in _WON:
            _WON[precision, axes] = is_faster(*(self._racer(axes, name) for name in (precision, "float32")))
        return _WON[precision, axes]

    def _racer(self, axes: int, precision: str) -> ov.CompiledModel:
        """What races, and shows which kernels there are: the layers of every network are computed as these few are."""
        if (axes, precision) not in self._racers:
            self._racers[axes, precision] = self.compile(racer(axes), 1, precision)
        return self._racers[axes, precision]


class _Graphs:
    """A network's graph for each shape of a window, and a request for each thread.

    Slices go through it on many threads at a time, and their graphs for a tile upright and on its side are kept.  On a window of a
    volume all cores work together, and only its latest graph, or that of its latest part, is kept: each holds the activations of a window.
    """

    def __init__(self, runtime: OpenVINORuntime, tensors: Mapping[str, np.ndarray], axes: int, ranges: Mapping[str, Ranges], split: bool):
        self._runtime = runtime
        self._split = split  # the image, into two numbers
        self._tensors = tensors
        self._ranges = ranges
        self._streams, self._kept = (runtime.workers, 2) if axes == 2 else (1, 1)
        self._compiled: dict[Any, ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()

    def __call__(self, draw: Callable[..., Any], inputs: Sequence[np.ndarray], stopped: Stopped) -> np.ndarray:
        """See :data:`superres3d.engine.tiled.Infer`."""
        with memory_errors():
            request = self._request(draw, tuple(array.shape for array in inputs))
            given = [split_image(array) for array in inputs] if self._split else inputs
            for number, array in enumerate(given):
                request.set_input_tensor(number, ov.Tensor(array, shared_memory=True))
            request.start_async()
            while not request.wait_for(_ASK_MILLISECONDS):
                if stopped():
                    request.cancel()
                    with suppress(RuntimeError):  # how it tells that it was cancelled
                        request.wait()  # its input must outlive it
                    raise PieceStopped
        return request.get_output_tensor().data.copy()

    def _request(self, draw: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> ov.InferRequest:
        known = self._requests.__dict__.setdefault("known", {})
        if (draw, shapes) not in known:
            _make_room(known, self._kept)
            with self._lock:
                if (draw, shapes) not in self._compiled:
                    _make_room(self._compiled, self._kept)
                    self._compiled[draw, shapes] = self._runtime.compile(build_graph(draw, self._tensors, shapes, self._ranges, self._split), self._streams)
                known[draw, shapes] = self._compiled[draw, shapes].create_infer_request()
        return known[draw, shapes]


def _make_room(kept: dict, most: int) -> None:
    """The oldest is let go."""
    while len(kept) >= most:
        del kept[next(iter(kept))]
