"""A few altered headers in each run; ``make fuzz`` tries thousands."""

from __future__ import annotations

import signal

import pytest

from Testing.Fuzz.dicom import FINE, trials


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")
@pytest.mark.parametrize("form", ["classic", "enhanced", "rle"])
def test_altered_headers(form):
    found = [(done, outcome, told) for done, outcome, told in trials(form, 60, 3) if outcome not in FINE]
    assert found == []
