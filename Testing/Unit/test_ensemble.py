"""Self-ensemble: exact medians, and members that are aligned."""

import numpy as np
import pytest
import torch
from superres3d.engine.ensemble import ALL_TURNS, FLIPS, MEMBERS, apply_turn, exact_median, undo_turn
from superres3d.engine.openvino_cpu import OpenVINORuntime
from superres3d.methods import ENSEMBLES
from superres3d.networks.weights import find_model

from .conftest import smooth_noise


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_median_is_numpys(count):
    members = list(np.random.default_rng(count).standard_normal((count, 200, 300)))
    members[0][:50] = members[-1][:50]  # ties
    expected = np.median(np.stack(members), axis=0)
    np.testing.assert_array_equal(exact_median(members), expected)
    tensors = [torch.from_numpy(member) for member in members]
    np.testing.assert_array_equal(exact_median(tensors, torch.minimum, torch.maximum).numpy(), expected)


def test_other_counts_are_refused():
    with pytest.raises(ValueError, match="3 members"):
        exact_median([np.zeros(1)] * 3)


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_undo_brings_back(turn):
    images = np.random.default_rng(0).random((2, 1, 5, 7))
    np.testing.assert_array_equal(undo_turn(apply_turn(images, turn), turn), images)


def test_all_turns_are_the_eight_of_the_square():
    image = np.arange(9.0).reshape(1, 3, 3)
    assert len({tuple(apply_turn(image, turn).ravel()) for turn in ALL_TURNS}) == 8
    assert set(FLIPS) < set(ALL_TURNS)


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_turns_are_the_same_on_a_graphics_card(turn):
    """The two spellings of a turn, numpy's and torch's, agree."""
    from superres3d.engine import pytorch

    images = np.random.default_rng(0).random((2, 1, 5, 7))
    turned = pytorch._apply_turn(torch.from_numpy(images), turn)
    np.testing.assert_array_equal(turned.numpy(), apply_turn(images, turn))
    np.testing.assert_array_equal(pytorch._undo_turn(turned, turn).numpy(), images)


@pytest.mark.parametrize("turn", ALL_TURNS)
def test_the_ensemble_commutes_with_every_turn(models, turn):
    """Turning the slice first or the ensemble's result afterwards is the same."""
    network = OpenVINORuntime().load(find_model("two-stage-residual-mr-plane-x2"))
    image = smooth_noise((12, 17))[None]

    def refine(images, turns):
        return network.ensemble(np.ascontiguousarray(images), turns, lambda: None, lambda: False)

    result = refine(image, MEMBERS["plane"]["8"])
    np.testing.assert_allclose(refine(apply_turn(image, turn), MEMBERS["plane"]["8"]), apply_turn(result, turn), atol=1e-5, rtol=0)
    if turn != ALL_TURNS[0]:  # the network alone does not
        alone = refine(apply_turn(image, turn), MEMBERS["plane"]["none"])
        assert not np.allclose(alone, apply_turn(refine(image, MEMBERS["plane"]["none"]), turn), atol=1e-3)


def test_members_are_as_the_names_say():
    for name, passes in ENSEMBLES.items():
        assert len(MEMBERS["plane"][name]) == passes["plane"]
        assert len(MEMBERS["depth"][name]) * 2 == passes["depth"]
        assert len(MEMBERS["volume"][name]) == passes["volume"]
    for turns in MEMBERS["depth"].values():
        assert all(quarter % 2 == 0 for quarter, _ in turns)  # the depth stays the depth
