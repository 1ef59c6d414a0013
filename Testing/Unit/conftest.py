"""Small scans and untrained models for the tests; no shared data is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from superres3d.networks.georgescu import IntermediateLossNet
from superres3d.volume import Volume
from superres3d.weights import save_model


@pytest.fixture(autouse=True)
def one_thread():
    """Convolutions give the same bits whatever else the machine does."""
    torch.set_num_threads(1)


def smooth_noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Band-limited random texture, float32, about 0 to 1."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.2)
    return ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)


@pytest.fixture
def scan() -> Volume:
    """A small oblique MR-like scan with thick slices."""
    voxels = np.rint(smooth_noise((9, 18, 22)) * 900).astype(np.int16)
    angle = np.radians(20)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Volume(voxels, (0.8, 0.9, 3.0), (-40.5, 12.25, 7.0), direction, "MR")


def random_network(factors: tuple[int, int], residual: bool, seed: int = 0) -> IntermediateLossNet:
    """A network whose every weight is random, so that every path through it matters."""
    torch.manual_seed(seed)
    net = IntermediateLossNet(factors, residual=residual)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return net.eval()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random networks under the names of all shipped models."""
    folder = tmp_path / "models"
    for method, residual in (("two-stage-residual", True), ("georgescu2020", False)):
        for modality in ("mr", "ct"):
            for stage, scale in (("plane", 2), ("plane", 4), ("depth", 2), ("depth", 4)):
                factors = (scale, scale if stage == "plane" else 1)
                network = {"factors": list(factors), "residual": residual}
                save_model(random_network(factors, residual), f"{method}-{modality}-{stage}-x{scale}", folder, {"network": network})
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))
    return folder


def write(path: Path, voxels: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> Path:
    """Any array as an image file, through SimpleITK alone."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


def run_cli(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """``superres3d`` in a process of its own."""
    command = [sys.executable, "-m", "superres3d.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env={**os.environ, **environment}, timeout=300)
