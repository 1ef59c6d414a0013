"""For all tests."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

_CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """How fast tiny networks are beside other tests must not become what the user's own estimates go by."""
    if "SUPERRES3D_CACHE" not in os.environ:
        config.stash[_CACHE] = os.environ["SUPERRES3D_CACHE"] = tempfile.mkdtemp(prefix="superres3d-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """What was learned goes with the tests."""
    if _CACHE in config.stash:
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)
        del os.environ["SUPERRES3D_CACHE"]
