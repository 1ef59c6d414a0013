"""Self-ensemble: exact medians, and members that are aligned."""

import numpy as np
import pytest
import torch
from superres3d.engine import Engine
from superres3d.ensemble import ALL_TURNS, DEPTH_MEMBERS, FLIPS, PLANE_MEMBERS, apply_turn, exact_median, undo_turn
from superres3d.methods import ENSEMBLES

from .conftest import random_network, smooth_noise


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_median_is_numpys(count):
    members = [torch.randn(200, 300, dtype=torch.float64) for _ in range(count)]
    members[0][:50] = members[-1][:50]  # ties
    expected = np.median(np.stack([m.numpy() for m in members]), axis=0)
    np.testing.assert_array_equal(exact_median(members).numpy(), expected)


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match="3 members"):
        exact_median([torch.zeros(1)] * 3)


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_undo_brings_back(turn):
    images = torch.randn(2, 1, 5, 7)
    assert torch.equal(undo_turn(apply_turn(images, turn), turn), images)


def test_all_turns_are_the_eight_of_the_square():
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    assert len({tuple(apply_turn(image, turn).flatten().tolist()) for turn in ALL_TURNS}) == 8
    assert set(FLIPS) < set(ALL_TURNS)


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_the_ensemble_commutes_with_every_turn(turn):
    """Turning the slice first or the ensemble's result afterwards is the same."""
    engine = Engine("cpu")
    net = engine.prepare(random_network((2, 2), residual=True))
    image = torch.from_numpy(smooth_noise((12, 17)))[None]

    def refine(images, turns):
        return engine.run(net, images.contiguous(), turns, lambda _: None)

    result = refine(image, PLANE_MEMBERS["8"])
    torch.testing.assert_close(refine(apply_turn(image, turn), PLANE_MEMBERS["8"]), apply_turn(result, turn), atol=1e-5, rtol=0)
    if turn != ALL_TURNS[0]:  # the network alone does not
        alone = refine(apply_turn(image, turn), PLANE_MEMBERS["none"])
        assert not torch.allclose(alone, apply_turn(refine(image, PLANE_MEMBERS["none"]), turn), atol=1e-3)


def test_members_are_as_the_names_say():
    for name, count in ENSEMBLES.items():
        slicings = 1 if name == "none" else 2
        assert len(PLANE_MEMBERS[name]) == count
        assert len(DEPTH_MEMBERS[name]) * slicings == count
    for turns in DEPTH_MEMBERS.values():
        assert all(quarter % 2 == 0 for quarter, _ in turns)  # the depth stays the depth
