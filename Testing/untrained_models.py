"""Tiny volumetric networks without training under the names of the catalogue's, for tests of the nodes and of the panel."""

from __future__ import annotations

from pathlib import Path

import pytest

_NETWORKS = {
    "mdcsrn": ("mdcsrn", {"blocks": 1, "units": 1, "growth": 2}),
    "mdcsrn-gan": ("mdcsrn", {"blocks": 1, "units": 1, "growth": 2}),
    "virtual-thin-slice": ("virtual-thin-slice", {"filters": 2}),
    "virtual-thin-slice-gan": ("virtual-thin-slice", {"filters": 2}),
    "mdsr-3d": ("mdsr", {"features": 3, "blocks": 1}),
}
#: of a network that refines: factors along (slices, rows, columns)
TASKS = ((1, 2, 2), (2, 1, 1), (2, 2, 2), (1, 4, 4), (4, 1, 1), (4, 4, 4), (2, 4, 4), (4, 2, 2))


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes untrained models of the given names; they are the only ones that are installed."""
    from superres3d.networks import weights

    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.setenv("SUPERRES3D_MODELS", str(folder))  # the worker looks here first
    monkeypatch.setattr(weights, "model_folders", lambda: [folder])
    return lambda *names: save_untrained(folder, *names)


def save_untrained(folder: Path, *names: str) -> None:
    """Write models such as ``mdcsrn-mr`` into ``folder``."""
    import torch
    from superres3d.networks.families import Architecture
    from superres3d.networks.module import BlueprintNet
    from superres3d.networks.weights import save_model

    for name in names:
        family, options = _NETWORKS[name.rsplit("-", 1)[0]]
        network = {"family": family, "options": options, "residual": True}
        torch.manual_seed(0)
        if family == "mdsr":
            net = BlueprintNet(*[Architecture.make(family, options, True, task) for task in TASKS]).eval()
            network["tasks"] = [list(task) for task in TASKS]
        else:
            net = BlueprintNet(Architecture.make(family, options, True)).eval()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)  # the last convolution of a residual network is zero
        save_model(net, name, folder, {"network": network})
