"""Small scans and untrained models for the tests; no shared data is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib import resources, util
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from superres3d import Volume, read_volume
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import save_model
from superres3d.scan.intensity import intensity_scale
from superres3d.training.recipe import Recipe

#: every volumetric family, as small as it is still itself
SMALL_OPTIONS = {
    "mdcsrn": {"blocks": 2, "units": 2, "growth": 3},
    "fsrcnn": {"features": 5, "shrunk": 3, "mappings": 2},
    "srresnet": {"blocks": 2, "filters": 4},
    "srdensenet": {"blocks": 2, "units": 2, "growth": 3},
    "virtual-thin-slice": {"filters": 2},
    "srcnn": {"filters": 4},
    "pix2pix": {"filters": 2, "levels": 3},
}


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


#: small networks for slices by form
SMALL_FORMS = {"intermediate-loss": {"filters": 32}, "edsr": {"filters": 16, "blocks": 3}}


def slice_network(form: str, factors: tuple[int, int], **sizes) -> dict:
    """As a card holds it."""
    return {"form": form, "factors": list(factors), **SMALL_FORMS[form], **sizes}


def untrained_network(form: str, factors: tuple[int, int], **sizes) -> BlueprintNet:
    return BlueprintNet(Architecture.from_card(slice_network(form, factors, **sizes)))


def random_network(form: str, factors: tuple[int, int], seed: int = 0, **sizes) -> BlueprintNet:
    """A network whose every weight is random, so that every path through it matters."""
    torch.manual_seed(seed)
    net = untrained_network(form, factors, **sizes)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return net.eval()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random networks under the names of all shipped models."""
    folder = tmp_path / "models"
    for method, form in (("two-stage-residual", "edsr"), ("georgescu2020", "intermediate-loss")):
        for modality in ("mr", "ct"):
            for stage, scale in (("plane", 2), ("plane", 4), ("depth", 2), ("depth", 4)):
                factors = (scale, scale if stage == "plane" else 1)
                network = {"network": slice_network(form, factors)}
                save_model(random_network(form, factors), f"{method}-{modality}-{stage}-x{scale}", folder, network)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))
    return folder


def random_blueprint(family: str, options: dict | None = None, residual: bool = False, seed: int = 0) -> BlueprintNet:
    """A volumetric network whose every weight, statistic and slope is random."""
    torch.manual_seed(seed)
    net = BlueprintNet(Architecture.make(family, SMALL_OPTIONS[family] if options is None else options, residual))
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():  # the last convolution of a residual network
                torch.nn.init.normal_(parameter, std=0.1)
            parameter.add_(torch.randn_like(parameter) * 0.05)
        for name, statistic in net.named_buffers():
            if name.endswith("running_mean"):
                statistic.normal_(0.0, 0.3)
            elif name.endswith("running_var"):
                statistic.uniform_(0.5, 2.0)
    return net.eval()


def save_blueprint(net: BlueprintNet, name: str, folder: Path) -> None:
    """A volumetric network as a model folder."""
    architecture = net.architecture
    network = {"family": architecture.name, "options": dict(architecture.options), "residual": architecture.residual}
    save_model(net, name, folder, {"network": network})


@pytest.fixture
def volume_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with random networks under the names of ``mdcsrn`` for MR and ``virtual-thin-slice`` for CT."""
    folder = tmp_path / "models"
    save_blueprint(random_blueprint("mdcsrn", residual=True), "mdcsrn-mr", folder)
    save_blueprint(random_blueprint("virtual-thin-slice", residual=True), "virtual-thin-slice-ct", folder)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))
    return folder


@pytest.fixture
def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results as the networks give them: for comparisons with the networks alone.  test_bounds.py has the bounds."""
    monkeypatch.setattr("superres3d.engine.chain.bounded", lambda refined, *given: refined)
    monkeypatch.setattr("superres3d.upscaling.intensity_scale", lambda *given: replace(intensity_scale(*given), floor=None))


def ensemble(network, volume: np.ndarray, *given) -> np.ndarray:
    """Of one volume (D, H, W); see :meth:`superres3d.engine.tiled.TiledNetwork.ensemble`."""
    return network.ensemble(volume[None], *given)[0]


def pieces(network, shape: tuple[int, ...], *given) -> int:
    """As :func:`ensemble`."""
    return network.pieces((1, *shape), *given)


@pytest.fixture(scope="session")
def scans(tmp_path_factory) -> Path:
    """A folder with one scan: a piece of a real brain where nilearn is installed (it ships one), else band-limited texture."""
    folder = tmp_path_factory.mktemp("scans")
    voxels = np.rint(smooth_noise((32, 64, 64)) * 900)
    if util.find_spec("nilearn"):
        data = resources.files("nilearn") / "datasets" / "data"
        (name, *_) = sorted(entry.name for entry in data.iterdir() if "mni_icbm152_t1" in entry.name)
        with resources.as_file(data / name) as path:
            brain = read_volume(path).voxels[60:92, 70:134, 60:124].astype(np.float32)
        voxels = np.rint(brain / brain.max() * 900)
    write(folder / "a.nii.gz", voxels.astype(np.int16), (1.0, 1.0, 1.0))
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


def small_recipe(**changes) -> Recipe:
    """Of a network that trains in seconds, on the scans a and b; ``changes`` are fields."""
    form = changes.get("form", "edsr")
    values = {"volumes": ("a", "b"), "validation": ("v",), "patch": 8, "patch_across": 8, "batch": 8, "steps": 60, "method": "trial", "form": form, **SMALL_FORMS[form]}
    return Recipe(**{**values, **changes})
