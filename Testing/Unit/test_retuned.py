"""The measure of training: a network that learns on other slices of the scan that it is measured on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from superres3d import Volume, upscale, write_volume
from superres3d.evaluation.protocol import Subject
from superres3d.networks.weights import find_model, load_network
from superres3d.scan.intensity import intensity_scale

sys.path[:0] = [str(Path(__file__).parents[1] / "Benchmarks")]

import retuned  # noqa: E402

from .test_detail import anatomy  # noqa: E402


def test_a_coarse_crop_is_the_fine_one_made_coarse():
    random = np.random.default_rng(3)
    lesson = retuned.Lesson(random.uniform(0, 1, (3, 120, 140)).astype(np.float32), random)
    low, high = lesson()
    for coarse, fine in zip(low[:, 0].numpy(), high[:, 0].numpy()):
        again = retuned.coarse_of(fine[None])[0]
        np.testing.assert_allclose(coarse[3:-3, 3:-3], again[3:-3, 3:-3], atol=1e-5)  # the kernel reaches beyond the crop


def test_refined_is_what_upscale_makes():
    low = 1000 * anatomy((4, 64, 72)).astype(np.float32)
    net = load_network(find_model("two-stage-residual-mr-plane-x2"))
    made = retuned.refined(net, low, intensity_scale(low, "MR"))
    wanted = upscale(Volume(low, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0)), 2, method="two-stage-residual", axes="in-plane", modality="MR", preset="fast", precision="single", slice_axis="k").volume.voxels
    assert np.median(np.abs(made - wanted)) < 1e-5 * np.ptp(low)  # but for the bounds of a result


def test_to_learn_brings_it_closer():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    waves = np.stack([np.kron(random.uniform(0, 1, (30, 30)), np.ones((4, 4))) for _ in range(3)]).astype(np.float32)  # blocks have edges that no scan has
    net = load_network(find_model("two-stage-residual-mr-plane-x2"))

    def error() -> float:
        with torch.no_grad():
            made = net(torch.from_numpy(retuned.coarse_of(waves[2:]))[:, None])[:, 0].numpy()
        return float(np.sqrt(np.mean((made - waves[2:]) ** 2)))

    before = error()
    retuned.learn(net, retuned.Lesson(waves[:2], random), 40, 5e-4)
    assert error() < 0.9 * before and not net.training


@pytest.mark.parametrize("count, taught", [(20, [*range(4), *range(16, 20)]), (10, [])])
def test_only_slices_that_lie_apart_teach(tmp_path, monkeypatch, count, taught):
    truth = 100 * anatomy((count, 48, 48)).astype(np.float32)
    truth += 1000 * (1 + np.arange(count, dtype=np.float32))[:, None, None]  # slices that can be told apart
    write_volume(Volume(truth, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0)), tmp_path / "scan.nii.gz")
    seen = []
    monkeypatch.setattr(retuned, "learn", lambda net, lesson, steps, rate: seen.append(lesson._fine.mean((1, 2))))
    subject = Subject("scan", "MR", "T1", tmp_path / "scan.nii.gz")
    if not taught:
        with pytest.raises(SystemExit, match="scan has no slices that lie 4 away"):
            retuned.gains(subject, 4, 4, 1, 1e-3)
        return
    _, before, after = retuned.gains(subject, 4, 4, 1, 1e-3)
    scale = intensity_scale(retuned.coarse_of(truth[8:12]), "MR")
    ordered = scale.normalise(truth.mean((1, 2)))
    numbers = [int(np.abs(ordered - value).argmin()) for value in seen[0]]
    assert numbers == taught and before == after
