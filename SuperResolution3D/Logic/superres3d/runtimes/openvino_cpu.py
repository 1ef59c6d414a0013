"""OpenVINO on the CPU: no torch, and the processor's half precision where it has one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from ..memory import usable_cores
from ..networks.architecture import Architecture
from ..weights import Model, architecture_of, load_tensors, load_volume_tensors, volume_architecture_of
from . import VOLUME_BYTES, PieceStopped, Stopped, VolumeNetwork
from .openvino_graph import build_graph
from .openvino_import import MINIMUM, ov, version
from .openvino_volume import build_volume_graph
from .parted_volume import volume_network
from .tiled import TiledNetwork, memory_errors

_MAP_FLOATS = 1 << 23  # 32 MiB
_SMALLEST_MAP_FLOATS = 1 << 18
_PROBE = (1, 32, 32)
_KEPT_SHAPES = 2  # a tile upright and on its side
_ASK_MILLISECONDS = 100  # how often a long piece asks whether to stop


class OpenVINORuntime:
    """See :class:`superres3d.runtimes.Runtime`.

    Args:
        half: use float16 where the processor has matrix units for it (AMX-FP16), four times as fast; results
            then differ from float32 by less than 0.2 Hounsfield units, or 0.04 of 255 (RMSE).

    Raises:
        RuntimeError: OpenVINO is too old, or cannot use this processor.
    """

    device = "cpu"

    def __init__(self, half: bool):
        if version() < MINIMUM:
            raise RuntimeError(f"version {ov.__version__} is older than {'.'.join(map(str, MINIMUM))}")
        self._core = ov.Core()
        self.precision = "float16" if half else "float32"
        self.name = f"OpenVINO {ov.__version__.split('-')[0]}"
        self.workers = usable_cores()
        self.map_floats = _MAP_FLOATS
        self.volume_bytes = VOLUME_BYTES

    def load(self, model: Model) -> TiledNetwork:
        architecture = architecture_of(model)
        tensors = _fitting_tensors(model, architecture)
        # A library that cannot compile fails here, before the work begins.
        if not _has_matrix_units(self.compile(build_graph(architecture, tensors, _PROBE))):
            self.precision = "float32"
        graphs = _Graphs(self, tensors, architecture)
        return TiledNetwork(architecture, graphs, lambda: self.map_floats, correction_only=True)

    def load_volume(self, model: Model, factors: tuple[int, int, int] = (1, 1, 1)) -> VolumeNetwork:
        architecture = volume_architecture_of(model, factors)
        tensors = load_volume_tensors(model, architecture)
        probe = [(1, *[architecture.survey.step * 2] * 3)]
        if not _has_matrix_units(self.compile(build_volume_graph(architecture.blueprint, tensors, probe), streams=1)):
            self.precision = "float32"
        return volume_network(architecture, _VolumeGraphs(self, tensors), lambda: self.volume_bytes, 2 if self.precision == "float16" else 4)

    def compile(self, graph: ov.Model, streams: int = 0) -> ov.CompiledModel:
        """Ready to run; by default a stream for each worker."""
        settings = {
            "INFERENCE_PRECISION_HINT": "f16" if self.precision == "float16" else "f32",
            "NUM_STREAMS": streams or self.workers,
            "INFERENCE_NUM_THREADS": self.workers,
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(graph, "CPU", settings)

    def give_up_memory(self) -> str | None:
        if self.map_floats <= _SMALLEST_MAP_FLOATS:
            return None
        self.map_floats //= 2
        self.volume_bytes //= 2
        return "Memory ran short; went on with smaller tiles."

    def close(self) -> None:
        pass  # compiled graphs go with their networks


def _has_matrix_units(compiled: ov.CompiledModel) -> bool:
    """Whether half precision is faster here: without matrix units it is slower than single.

    The processor's list of capabilities does not tell; the kernels that were chosen do.
    """
    told = (layer.get_rt_info() for layer in compiled.get_runtime_model().get_ops())
    return any("primitiveType" in info and "amx_f16" in str(info["primitiveType"].value) for info in told)


def _fitting_tensors(model: Model, architecture: Architecture) -> dict[str, np.ndarray]:
    """The trained tensors (ModelError if they are damaged or of another network)."""
    tensors = load_tensors(model)
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != architecture.tensor_shapes():
        wrong = sorted(set(found.items()) ^ set(architecture.tensor_shapes().items()))[0][0]
        raise ModelError(f"The weights of the model {model.name} do not fit its network ({wrong}); install the model again.")
    return tensors


class _VolumeGraphs:
    """The latest graph of a volumetric network or of a part of it; all cores work on one window."""

    def __init__(self, runtime: OpenVINORuntime, tensors: Mapping[str, np.ndarray]):
        self._runtime = runtime
        self._tensors = tensors
        self._latest: tuple[Any, ...] = ()
        self._request: ov.InferRequest | None = None

    def __call__(self, draw: Callable[..., Any], inputs: Sequence[np.ndarray], stopped: Stopped) -> np.ndarray:
        """Contiguous (channels, D, H, W) each to a new array (channels, D, H, W)."""
        shapes = [array.shape for array in inputs]
        with memory_errors():
            if (draw, shapes) != self._latest:
                self._request, self._latest = None, ()  # the old one's memory first
                graph = build_volume_graph(draw, self._tensors, shapes)
                self._request = self._runtime.compile(graph, streams=1).create_infer_request()
                self._latest = (draw, shapes)
            request = self._request
            for number, array in enumerate(inputs):
                request.set_input_tensor(number, ov.Tensor(array[None], shared_memory=True))
            request.start_async()
            while not request.wait_for(_ASK_MILLISECONDS):
                if stopped():
                    request.cancel()
                    _wait_for_the_end(request)
                    raise PieceStopped
        return request.get_output_tensor().data[0].copy()


def _wait_for_the_end(request: ov.InferRequest) -> None:
    """Of a cancelled request: its input must outlive it."""
    try:
        request.wait()
    except RuntimeError:  # how it tells that it was cancelled
        pass


class _Graphs:
    """The network's graph for each shape of a tile, and a request for each thread."""

    def __init__(self, runtime: OpenVINORuntime, tensors: Mapping[str, np.ndarray], architecture: Architecture):
        self._runtime = runtime
        self._tensors = tensors
        self._architecture = architecture
        self._compiled: dict[tuple[int, ...], ov.CompiledModel] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """A view of the request's output: valid until this thread's next call with the same shape."""
        with memory_errors():
            request = self._request(images.shape)
            request.set_input_tensor(ov.Tensor(images[:, None], shared_memory=True))
            request.infer()
        return request.get_output_tensor().data[:, 0]

    def _request(self, shape: tuple[int, ...]) -> ov.InferRequest:
        known = self._requests.__dict__.setdefault("known", {})
        if shape not in known:
            while len(known) >= _KEPT_SHAPES:
                del known[next(iter(known))]
            with self._lock:
                if shape not in self._compiled:
                    while len(self._compiled) >= _KEPT_SHAPES:  # each holds the activations of a tile for each thread
                        del self._compiled[next(iter(self._compiled))]
                    self._compiled[shape] = self._runtime.compile(build_graph(self._architecture, self._tensors, shape))
            known[shape] = self._compiled[shape].create_infer_request()
        return known[shape]
