"""What is expected of the gains of a self-check: closed forms."""

from __future__ import annotations

import pytest
from superres3d.detail.estimator import AxisDetail
from superres3d.trust.foretold import TOLD_SHARE, clearness, expected_gain, weights

WAYS = ["own", "bicubic", "means", "cut"]


def axis(at: float) -> AxisDetail:
    return AxisDetail((1.0, 0.9, at, 0.1), 1.0, 0.1, 0.05, 0.01, 0.2)


def test_a_soft_scan_is_clear_and_a_sharp_one_is_not():
    assert clearness([axis(0.1)]) > 0.99 and clearness([axis(0.8)]) < 0.01 and clearness([axis(0.45)]) == pytest.approx(0.5)
    assert clearness([axis(0.1), axis(0.8)]) == pytest.approx(clearness([axis(0.45)]))
    assert clearness([axis(0.1), None]) == 0 and clearness([]) == 0


def test_weights_sum_to_one():
    assert sum(weights(WAYS, 0.3)) == pytest.approx(1) and weights(WAYS, 0.3)[0] == pytest.approx(0.3 + 0.7 / 4)
    assert weights(WAYS[1:], 1.0) == pytest.approx([1 / 3] * 3)


def test_expected_gains():
    gains = [2.0, 1.0, 0.0, -1.0]
    assert expected_gain(WAYS, gains, 0.0, "MR") == pytest.approx(0.5)
    assert expected_gain(WAYS, gains, 1.0, "") == pytest.approx(2.0)
    assert expected_gain(WAYS, gains, 1.0, "MR") == pytest.approx(2.0 * TOLD_SHARE["MR"][0])
    of_clear, of_mild = TOLD_SHARE["CT"]
    assert of_clear > of_mild and expected_gain(WAYS, gains, 0.3, "CT") == pytest.approx(0.3 * 2.0 * of_clear + 0.7 * 0.5 * of_mild)
    assert expected_gain(WAYS[1:], gains[1:], 1.0, "MR") == pytest.approx(0.0)
