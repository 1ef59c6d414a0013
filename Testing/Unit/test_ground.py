"""What is added without ground: counted by hand, and by loops over voxels."""

import numpy as np
import pytest
from superres3d.trust.ground import FEWEST, Ground, figures_of, ground_by_tissue, ground_of, threshold_of


def _loop(truth, lanczos, result, threshold):
    """Voxel by voxel, as the definition reads."""
    count = dict.fromkeys(("voxels", "added", "without", "half", "detail", "recalled"), 0)
    for true, base, drawn in zip(truth.ravel(), lanczos.ravel(), result.ravel()):
        added, wanted = drawn - base, true - base
        count["voxels"] += 1
        if abs(added) > threshold:
            count["added"] += 1
            other_sign = added * wanted < 0
            count["without"] += other_sign or abs(wanted) < threshold / 5
            count["half"] += not other_sign and abs(wanted) >= abs(added) / 2
        if abs(wanted) > threshold:
            count["detail"] += 1
            count["recalled"] += added * wanted > 0 and abs(added) >= abs(wanted) / 2
    return Ground(**count)


def test_counts_agree_with_a_loop_over_voxels():
    random = np.random.default_rng(3)
    truth, lanczos, result = random.normal(0, 100, (3, 6, 7, 8))
    for threshold in (30.0, 100.0):
        assert ground_of(truth, lanczos, result, threshold) == _loop(truth, lanczos, result, threshold)


@pytest.mark.parametrize(
    "true, added, without, half, recalled",
    [
        (0.0, 150.0, 1, 0, 0),  # nothing there
        (19.0, 150.0, 1, 0, 0),  # less than a fifth of the threshold
        (21.0, 150.0, 0, 0, 0),
        (-90.0, 150.0, 1, 0, 0),  # the other way round
        (80.0, 150.0, 0, 1, 0),  # more than half of it
        (-80.0, -150.0, 0, 1, 0),  # dark detail counts as bright
        (120.0, 110.0, 0, 1, 1),
        (400.0, 110.0, 0, 1, 0),  # less than half brought back
    ],
)
def test_one_voxel(true, added, without, half, recalled):
    base = np.array([500.0])
    found = ground_of(base + true, base, base + added, 100.0)
    assert (found.added, found.without, found.half, found.recalled) == (1, without, half, recalled)
    assert found.detail == (abs(true) > 100)


def test_shares_and_sums():
    one = Ground(100, 10, 2, 5, 8, 4)
    assert (one.added_share, one.without_share, one.half_share, one.recall) == (0.1, 0.2, 0.5, 0.5)
    assert one + Ground(1, 1, 1, 1, 1, 1) == Ground(101, 11, 3, 6, 9, 5)
    assert Ground().without_share is None and Ground(5).recall is None


def test_the_truth_adds_nothing_without_ground_and_lanczos_nothing_at_all():
    random = np.random.default_rng(4)
    truth, lanczos = random.normal(0, 300, (2, 12, 12, 12))
    found = figures_of(truth, lanczos, truth, "CT", 0.0)
    assert (found["ungrounded"], found["half_grounded"], found["recall"]) == (0.0, 1.0, 1.0)
    found = figures_of(truth, lanczos, lanczos, "CT", 0.0)
    assert found == {"added": 0.0, "recall": 0.0}  # a share of nothing is not told


def test_tissues_are_told_by_the_truth():
    truth = np.array([-800.0, -500.0, 199.0, 200.0, 900.0])
    found = ground_by_tissue(truth, np.zeros(5), np.full(5, -150.0))
    assert {name: (part.added, part.without) for name, part in found.items()} == {"air": (1, 0), "soft": (2, 1), "bone": (2, 2)}
    many = np.repeat(truth, FEWEST)
    shares = figures_of(many, np.zeros_like(many), np.full_like(many, -150.0), "CT", 0.0)
    assert (shares["ungrounded_air"], shares["ungrounded_soft"], shares["ungrounded_bone"], shares["ungrounded"]) == (0.0, 0.5, 1.0, 0.6)


def test_threshold_of_mr_goes_with_its_range():
    assert threshold_of("CT", 7.0) == 100.0
    assert threshold_of("MR", 2000.0) == 100.0
    random = np.random.default_rng(5)
    truth, lanczos, result = random.normal(0, 100, (3, 10, 10, 10))
    assert figures_of(truth, lanczos, result, "MR", 2000.0) == figures_of(7 * truth, 7 * lanczos, 7 * result, "MR", 14000.0)
    assert "ungrounded_bone" not in figures_of(truth, lanczos, result, "MR", 2000.0)


def test_where_leaves_the_rest_out():
    random = np.random.default_rng(6)
    truth, lanczos, result = random.normal(0, 200, (3, 4, 5, 6))
    where = random.random((4, 5, 6)) < 0.5
    assert ground_of(truth, lanczos, result, 100.0, where) == _loop(truth[where], lanczos[where], result[where], 100.0)
