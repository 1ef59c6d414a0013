"""Weights that take less room in their file: 8-bit numbers with a scale for each of a tensor's first axis (output channels), or half precision.

They are computed with in single precision, as all others.  What is lost is far below what half precision loses when it computes: see models/EXPERIMENTS.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

SCALE = ".scale"  # of the tensor whose name is before it
_MOST = 127
_LEAST = 1024  # numbers; smaller tensors, such as biases, stay as they are


def packed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Float tensors by name; the large ones, of at least two axes, as int8 with their scales, float32 (first axis,)."""
    stored: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if tensor.ndim < 2 or tensor.size < _LEAST:
            stored[name] = tensor
            continue
        rows = tensor.astype(np.float32).reshape(len(tensor), -1)
        scale = np.abs(rows).max(1) / _MOST
        stored[name] = np.rint(rows / np.where(scale > 0, scale, 1.0)[:, None]).astype(np.int8).reshape(tensor.shape)
        stored[f"{name}{SCALE}"] = scale
    return stored


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Of a file of weights, float32, as they were before :func:`packed` (safetensors' errors, and those of :func:`unpacked`)."""
    from safetensors.numpy import load_file

    return unpacked(load_file(path))


def unpacked(stored: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a file, all of them float32; the inverse of :func:`packed` but for what that rounds.

    Raises:
        KeyError: 8-bit numbers without their scales.
    """
    tensors = {}
    for name, tensor in stored.items():
        if tensor.dtype == np.int8:
            scale = stored[f"{name}{SCALE}"].astype(np.float32)
            tensors[name] = tensor.astype(np.float32) * scale.reshape(-1, *[1] * (tensor.ndim - 1))
        elif not name.endswith(SCALE):
            tensors[name] = tensor.astype(np.float32)
    return tensors
