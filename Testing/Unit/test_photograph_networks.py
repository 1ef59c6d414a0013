"""The comparison with networks for photographs: what counts as kept back, and what its tables say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from superres3d import Volume, write_volume
from superres3d.evaluation.protocol import Subject
from superres3d.networks.weights import find_model

sys.path[:0] = [str(Path(__file__).parents[1] / "Benchmarks")]

import photograph_networks as compared  # noqa: E402


@pytest.fixture
def split(tmp_path):
    trained = find_model("two-stage-told-ct-plane-x2").card["training_subjects"][0]["source"]
    sources = {"taught": "one/repo", "chosen": "another/repo", "sibling": "another/repo", "stranger": "third/repo", "in_a_card": trained, "nameless": ""}
    (tmp_path / "catalogue.csv").write_text("id,licence,source_repo\n" + "".join(f"{name},free,{source}\n" for name, source in sources.items()), encoding="utf-8")
    places = {"taught": "train", "chosen": "val"}
    file = tmp_path / "split.csv"
    file.write_text("id,split,modality\n" + "".join(f"{name},{places.get(name, 'test')},CT\n" for name in sources), encoding="utf-8")
    return file


def test_a_subject_of_a_source_of_its_own_is_kept_back(split):
    compared.check_kept_back(["stranger"], split.parent, split)


@pytest.mark.parametrize("name", ["sibling", "in_a_card", "chosen", "nameless", "not_in_the_catalogue"])
def test_one_whose_source_is_known_or_not_told_is_refused(split, name):
    with pytest.raises(SystemExit, match=name):
        compared.check_kept_back(["stranger", name], split.parent, split)


def test_cells_are_means_over_the_subjects_that_are_asked_for(capsys):
    def found(default: float, span: float) -> compared.Found:
        return {"lanczos": (30.0, 0.9), "two-stage-told": (30 + default, 0.9), "two-stage-residual": (31.0, 0.9), "georgescu2020": (30.5, 0.9), "SPAN": (30 + span, 0.9)}

    cells = {("CT", 0.0, "means"): {"a": found(1.0, 2.0), "b": found(2.0, 3.0), "c": found(90.0, 0.0)}, ("MR", 0.01, "means"): {"d": found(4.0, 1.0)}, ("MR", 0.0, "means"): {"c": found(9.0, 0.0)}}
    compared.print_cells("Some", cells, {"a", "b", "d"})
    said = capsys.readouterr().out
    assert "| CT | 0% | means | +1.50 | +1.00 | +0.50 | +2.50 |" in said and "| MR | 1% | means | +4.00 | +1.00 | +0.50 | +1.00 |" in said
    assert "| mean of the 2 cells | | | +2.75 | +1.00 | +0.50 | +1.75 |" in said
    assert "ahead of SPAN in 1 of 2 cells, by 1.00 dB in the mean, -1.00 to +3.00" in said and "ahead of georgescu2020 in 2 of 2" in said


def test_each_way_is_measured_with_and_without_noise(tmp_path, monkeypatch):
    """A network that is perfect where nothing was lost but the mean of four pixels: each refined pixel of a constant block is its coarse one."""
    blocks = np.kron(np.random.default_rng(0).uniform(100, 200, (4, 12, 12)), np.ones((1, 2, 2))).astype(np.float32)
    write_volume(Volume(blocks, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0)), tmp_path / "blocks.nii.gz")
    monkeypatch.setattr(compared, "BY_WAY", {})

    class Repeated:
        def refined(self, image):
            return np.kron(image, np.ones((2, 2), image.dtype))

    log = tmp_path / "cells.jsonl"
    cells = compared.measured_by_way([Subject("blocks", "MR", "T1", tmp_path / "blocks.nii.gz")], 4, (0.0, 0.01), {"SPAN": Repeated()}, log)
    assert {(noise, way) for _, noise, way in cells} == {(noise, way) for noise in (0.0, 0.01) for way in compared.WAYS}
    gains = {cell: found["blocks"]["SPAN"][0] - found["blocks"]["lanczos"][0] for cell, found in cells.items()}
    assert max(gains, key=gains.get) == ("MR", 0.0, "means") and gains["MR", 0.0, "means"] > 50
    assert cells["MR", 0.01, "means"]["blocks"]["SPAN"][0] == pytest.approx(40, abs=0.3)  # 1 % of the range is 40 dB
    assert len([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]) == len(cells)
