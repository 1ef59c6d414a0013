"""Altered headers that were found by ``make fuzz``, kept: what came of each stays as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from superres3d import read_volume
from superres3d.errors import InputError

from Testing.Fuzz.formats import MAKERS, format_of

CORPUS = [json.loads(line) for line in (Path(__file__).parents[1] / "Fuzz" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kept", CORPUS, ids=lambda kept: f"{kept['format']}-{kept['outcome']}")
def test_kept_headers(tmp_path, kept, capfd):
    """Whether a reading is right was compared with another reader when it was kept; here it must be read, or refused, as then."""
    scan = format_of(kept["format"])
    for name, content in scan.altered([(offset, byte) for offset, byte in kept["edits"]]).items():
        (tmp_path / name).write_bytes(content)
    if kept["outcome"] == "refused":
        with pytest.raises(InputError, match=r"^[^\n]+\.$"):
            read_volume(tmp_path / scan.name)
    else:
        notes = read_volume(tmp_path / scan.name).notes
        assert notes or kept["outcome"] != "told"
    assert capfd.readouterr() == ("", "") and {file.name for file in tmp_path.iterdir()} == set(scan.files)


def test_every_format_is_in_the_corpus():
    assert {kept["format"] for kept in CORPUS} == set(MAKERS)
