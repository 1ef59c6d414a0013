"""Slices worked on by several threads: all of them once, errors come through, and warnings are kept as quiet as in the caller."""

import threading
import warnings

import numpy as np
import pytest
from superres3d.resampling.threads import in_parts


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 64, 101])
@pytest.mark.parametrize("workers", [1, 2, 5, 200])
def test_every_slice_once(count, workers):
    seen, lock = [], threading.Lock()

    def work(start, stop):
        with lock:
            seen.extend(range(start, stop))

    in_parts(work, count, workers)
    assert sorted(seen) == list(range(count))


def test_a_core_for_each_part():
    both = threading.Barrier(2, timeout=10)
    in_parts(lambda start, stop: both.wait(), 8, 2)
    with pytest.raises(threading.BrokenBarrierError):
        in_parts(lambda start, stop: threading.Barrier(2, timeout=0.05).wait(), 7, 2)  # too few slices for two


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_through(workers):
    def work(start, stop):
        if stop == 20:
            raise MemoryError("here")

    with pytest.raises(MemoryError, match="here"):
        in_parts(work, 20, workers)


@pytest.mark.parametrize("workers", [1, 3])
def test_numpy_warns_as_in_the_caller(workers):
    def work(start, stop):
        np.float32(3e38) * np.ones(2, np.float32) * np.float32(10)

    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("error")
        in_parts(work, 20, workers)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        in_parts(work, 20, workers)
