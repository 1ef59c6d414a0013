"""``superres3d-bids IN OUT participant``: the command line of a BIDS app, as containers and their schedulers expect it (bids-apps.neuroimaging.io)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main() -> None:
    """Entry point: becomes ``superres3d batch``."""
    sys.argv = ["superres3d", *as_batch(sys.argv[1:])]
    from . import main as superres3d

    superres3d()


def as_batch(words: Sequence[str]) -> list[str]:
    """The same in the words of ``superres3d batch``; what a BIDS app need not have goes through unchanged."""
    parser = argparse.ArgumentParser(
        "superres3d-bids", allow_abbrev=False,
        description="Upscale the anatomical images of a BIDS data set; research software, not for diagnosis. Any option of 'superres3d batch' may follow.",
    )  # fmt: skip
    parser.add_argument("bids_dir", help="the raw data set")
    parser.add_argument("output_dir", help="for the derivative")
    parser.add_argument("analysis_level", choices=["participant"], help="there is no other")
    parser.add_argument("--participant-label", "--participant_label", nargs="+", default=[], metavar="LABEL", help="only these, with or without sub-")
    parser.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true", help="taken and not needed: nothing is validated here")
    known, others = parser.parse_known_args(words)
    labels = (word for label in known.participant_label for word in ("--participant-label", label))
    return ["batch", known.bids_dir, known.output_dir, *labels, *others]
