"""The scans of a folder, whatever it is: a BIDS data set, or a tree of images and DICOM."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import InputError
from .bids import find_in_bids, is_bids
from .planning import Filters
from .scans import BatchScan, Found
from .tree import find_in_tree


def is_settled(scan: BatchScan, seconds: float) -> bool:
    """Whether nothing of a scan has changed for so long; one that is gone is not."""
    try:
        return time.time() - max(os.stat(file).st_mtime for file in scan.files) >= seconds
    except OSError:
        return False


def find_scans(source: Path, without: Path, filters: Filters, told: Callable[[str], None] = lambda text: None) -> Found:
    """All that is there.

    Args:
        source: the folder.
        without: the output folder, which may lie in it.
        filters: of those only what a BIDS data set is asked for.
        told: called with what is being looked at.

    Raises:
        InputError: no folder, or one that cannot be read.
    """
    if not source.is_dir():
        raise InputError(f"{source} is {'no folder' if source.exists() else 'not there'}; give a folder with scans, a tree of DICOM, or a BIDS data set.")
    if is_bids(source):
        return find_in_bids(source, filters.suffixes, filters.participants)
    if filters.participants:
        raise InputError(f"{source} is no BIDS data set, which alone has participants; leave out --participant-label, or give the folder that holds dataset_description.json.")
    return find_in_tree(source, without, told)
