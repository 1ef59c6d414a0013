"""The example of a new network in CONTRIBUTING: its files are made in a copy of the package, and its program is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import superres3d

from .test_docs import ROOT, blocks_of

LONGEST = 40
LINT = ROOT / "pyproject.toml"
BLOCKS = {block.language.partition(" ")[2]: block.text for block in blocks_of(ROOT / "CONTRIBUTING.md") if block.language.startswith("python ")}
TABLE = "FAMILIES: dict[str, Family] = {\n"
BLUEPRINT, FAMILIES, PROGRAM = "networks/espcn.py", "networks/families.py", "try_espcn.py"

#: What the program's ``whole`` must be, in PyTorch's own layers on the stored weights; of what it adds, more than rounding.
BY_HAND = """
import torch
from safetensors.torch import load_file
from superres3d.resampling.interpolation import resize
from torch.nn import Conv2d, PixelShuffle, ReLU

tensors = load_file(model.folder / "weights.safetensors")
layers = [Conv2d(1, 32, 5, padding=2), ReLU(), Conv2d(32, 16, 3, padding=1), ReLU(), Conv2d(16, 4, 3, padding=1), PixelShuffle(2)]
for name, layer in zip(("features", "mapping", "phases"), layers[::2]):
    layer.load_state_dict({part: tensors[f"{name}.{part}"] for part in ("weight", "bias")})
with torch.no_grad():
    added = torch.nn.Sequential(*layers)(torch.from_numpy(waves)[:, None])[:, 0].numpy()
assert abs(added).max() > 0.01
np.testing.assert_allclose(whole, resize(waves, (1, 2, 2), "cubic") + added, atol=1e-5)
runtime = OpenVINORuntime()
runtime.slice_bytes = 1 << 20
assert runtime.load(model).pieces(waves.shape, [IDENTITY]) > 1
"""


def with_network(folder: Path) -> Path:
    """A copy of the package in which the example is followed."""
    package = folder / "superres3d"
    shutil.copytree(Path(superres3d.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / BLUEPRINT).write_text(BLOCKS[BLUEPRINT], encoding="utf-8")
    families = package / FAMILIES
    imported, line = BLOCKS[FAMILIES].splitlines(keepends=True)
    lines = families.read_text(encoding="utf-8").splitlines(keepends=True)
    lines.insert(next(n for n, other in enumerate(lines) if other.startswith("from .") and other > imported), imported)
    lines.insert(lines.index(TABLE) + 1, line)
    families.write_text("".join(lines), encoding="utf-8")
    return package


@pytest.fixture
def package(tmp_path):
    return with_network(tmp_path / "package")


def run(program: str, package: Path, folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "SUPERRES3D_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=300)


def test_the_example_runs_in_both_runtimes_and_in_tiles(package, tmp_path):
    """On a few steps of training; a layer by hand agrees."""
    ended = run(BLOCKS[PROGRAM] + BY_HAND, package, tmp_path)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "'two-stage-residual-mr-plane-x2'" in ended.stdout
    assert (tmp_path / "models" / "two-stage-residual-mr-plane-x2" / "card.json").is_file()


def test_the_example_is_short_and_whole():
    assert set(BLOCKS) == {BLUEPRINT, FAMILIES, PROGRAM}
    lines = [line for text in BLOCKS.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= LONGEST, len(lines)


def test_the_example_keeps_the_rules(package):
    """Of the lint, as everything that is added does."""
    command = [sys.executable, "-m", "ruff", "check", "--config", str(LINT), "--no-cache", str(package / BLUEPRINT), str(package / FAMILIES)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert ended.returncode == 0, ended.stdout
