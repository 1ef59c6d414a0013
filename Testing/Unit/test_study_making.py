"""A study is made: cases in the body, balanced sides, and a folder that tells a reader's machine nothing."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from superres3d import read_volume, upscale
from superres3d.errors import InputError
from superres3d.evaluation.tasks import TASKS
from superres3d.methods import METHODS as CATALOGUE
from superres3d.study import candidates, making
from superres3d.study.candidates import Kitchen
from superres3d.study.choosing import Case, Scan
from superres3d.study.key import read_study
from superres3d.study.making import Wishes, make_study, telling
from superres3d.study.sheet import read_picture, read_sheet
from superres3d.study.trials import CATCH, CLEAR, MAIN, REPEAT, SPOILT, orders, plan_trials

from .study_files import METHODS, make_scans, make_small


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("made"))


def test_what_is_asked(study):
    sheet, key = read_study(study)
    kinds = Counter(trial.kind for trial in key.trials.values())
    assert kinds == {MAIN: 12, REPEAT: 4, CATCH: 3}
    assert {trial.name for trial in sheet.trials} == set(key.trials)
    assert Counter(case.stratum for case in key.cases) == {"CT, 2x": 6, "MR, 2x": 6}
    assert len({(case.scan, case.number) for case in key.cases}) == 12
    assert {(trial.panels, trial.slices) for trial in sheet.trials} == {(3, 1)}  # the original stands with them


def test_sides_are_balanced_in_each_stratum(study):
    _, key = read_study(study)
    first = Counter((key.cases[trial.case].stratum, trial.panels[0]) for trial in key.trials.values() if trial.kind == MAIN)
    assert set(first.values()) == {3}


def test_a_repeat_swaps_the_sides_of_what_it_repeats(study):
    _, key = read_study(study)
    trials = list(key.trials.values())
    again = [trial for trial in trials if trial.kind == REPEAT]
    assert all(trial.panels == trials[trial.of].panels[::-1] and trial.case == trials[trial.of].case for trial in again)


def test_pictures_are_what_each_method_makes_of_the_coarser_scan(study):
    """Panel by panel against whole scans, degraded and refined here."""
    sheet, key = read_study(study)
    whole = {}
    for shown in sheet.trials:
        trial = key.trials[shown.name]
        told = key.cases[trial.case]
        if trial.kind == CATCH:
            continue
        truth = read_volume(study.parent / f"{told.scan}.nii.gz")
        for method in (CLEAR, *METHODS):
            if (told.scan, method) not in whole:
                low = TASKS["in-plane"].low_resolution(truth, (1, 2, 2), 0)
                whole[told.scan, method] = truth if method == CLEAR else upscale(low, 2, axes="in-plane", method=method, modality=told.modality, slice_axis="k").volume
        pictures = read_picture(study / "reader", shown)
        for panel, method in enumerate((CLEAR, *trial.panels)):
            # in LPS rows run to the back and columns to the left, as the arrays of these scans do
            expected = np.clip(whole[told.scan, method].voxels[told.number], shown.offset, shown.offset + 4095 * shown.step)  # Lanczos rings at the rim
            assert _holds(expected, pictures[panel, 0], 0.51 * shown.step), (shown.name, method)


def _holds(whole: np.ndarray, part: np.ndarray, tolerance: float) -> bool:
    rows, columns = part.shape
    places = ((r, c) for r in range(whole.shape[0] - rows + 1) for c in range(whole.shape[1] - columns + 1))
    return any(np.abs(whole[r : r + rows, c : c + columns] - part).max() <= tolerance for r, c in places)


def test_a_spoilt_picture_is_plainly_worse(study):
    sheet, key = read_study(study)
    for shown in sheet.trials:
        trial = key.trials[shown.name]
        if trial.kind == CATCH:
            clear, one, other = read_picture(study / "reader", shown)[:, 0]
            panels = dict(zip(trial.panels, (one, other)))
            assert np.array_equal(panels[CLEAR], clear)
            assert np.square(np.gradient(panels[SPOILT])).mean() < 0.5 * np.square(np.gradient(clear)).mean()


def test_cases_show_the_body(study):
    _, key = read_study(study)
    assert all(5 <= case.number <= 18 for case in key.cases)  # the body ends in the outer slices
    sheet = read_sheet(study / "reader")
    assert all(trial.rows < 40 and trial.columns < 44 for trial in sheet.trials)  # air around it is cut off


def test_the_readers_folder_tells_nothing(study):
    """Names, words, chunks, sizes, dates, and the order in which files lie."""
    _, key = read_study(study)
    folder = study / "reader"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert telling(folder, key) == []
    words = [*CATALOGUE, *(case.scan for case in key.cases), "spoilt", key.salt, "Lanczos"]
    for path in files:
        content = path.name.encode() + (_without_pictures(path) if path.suffix != ".png" else b"")
        assert [word for word in words if word.encode() in content] == [], path
    assert {path.stat().st_mtime for path in (folder, *folder.rglob("*"))} == {making._DATE}
    assert all(re.fullmatch(r"[0-9a-f]{8}\.png", path.name) for path in files if path.suffix == ".png")
    assert not any(word in (folder / "study.json").read_text() for word in ("catch", "repeat", "main", '"clear"'))
    assert set(json.loads((folder / "study.json").read_text())["trials"][0]) == {"name", "rows", "columns", "slices", "panels", "pixel_mm", "offset", "step", "window"}


def _without_pictures(path) -> bytes:
    return re.sub(rb'"[0-9a-f]{8}": "[A-Za-z0-9+/=]*"', b"", path.read_bytes())


def test_pictures_hold_one_form_and_no_words(study):
    for path in sorted((study / "reader" / "pictures").iterdir()):
        content, at, chunks = path.read_bytes(), 8, []
        while at < len(content):
            length, kind = struct.unpack(">I4s", content[at : at + 8])
            chunks.append(kind)
            at += 12 + length
        assert set(chunks) == {b"IHDR", b"IDAT", b"IEND"}
        assert content[24:29] == bytes([8, 2, 0, 0, 0])  # bits, colours, compression, filter, no interlace
        with Image.open(path) as image:
            assert image.info == {}


def test_left_and_right_of_a_case_are_of_one_file(study):
    """So that no size and no date belongs to a method."""
    assert len(list((study / "reader" / "pictures").iterdir())) == len(read_sheet(study / "reader").trials)


def test_a_telling_name_is_found(study, tmp_path):
    _, key = read_study(study)
    (tmp_path / "a.json").write_text('"lanczos"')
    (tmp_path / "cubic-1.png").write_bytes(b"")
    assert telling(tmp_path, key) == ["a.json: lanczos", "cubic-1.png: cubic"]


def test_the_sheet_holds_the_hash_of_the_key_and_the_key_a_salt(study):
    sheet, key = read_study(study)
    assert hashlib.sha256((study / "key.json").read_bytes()).hexdigest() == sheet.key_sha256
    assert len(key.salt) == 64


def test_a_key_that_was_changed_is_refused(study, tmp_path):
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "study.json").write_bytes((study / "reader" / "study.json").read_bytes())
    (tmp_path / "key.json").write_text((study / "key.json").read_text().replace('"seed": 5', '"seed": 6'))
    with pytest.raises(InputError, match="is not the key that this study was made with"):
        read_study(tmp_path)
    (tmp_path / "key.json").unlink()
    with pytest.raises(InputError, match=r"holds no key\.json"):
        read_study(tmp_path)


def test_the_seed_decides_cases_and_sides_and_nothing_that_is_seen(tmp_path):
    keys = []
    for name, seed in (("one", 5), ("two", 5), ("three", 6)):
        (tmp_path / name).mkdir()
        keys.append(read_study(make_small(tmp_path / name, cases=4, repeats=1, catches=1, seed=seed))[1])
    one, two, three = keys
    assert one.cases == two.cases and list(one.trials.values()) == list(two.trials.values())
    assert one.trials.keys() != two.trials.keys() and one.salt != two.salt  # a reader who tries seeds finds no name again
    assert one.cases != three.cases


def test_sides_over_many_seeds_are_random():
    first = [plan_trials(["a"] * 10, ("x", "y"), 2, 0, 0, np.random.default_rng(seed))[0] for seed in range(200)]
    assert 70 < sum(trial.panels == ("x", "y") for trial in first) < 130


def test_three_methods_make_three_pairs_each_balanced():
    trials = plan_trials(["a"] * 7 + ["b"] * 5, ("x", "y", "z"), 2, 5, 4, np.random.default_rng(0))
    counts = Counter(trial.panels for trial in trials if trial.kind == MAIN)
    assert len(counts) == 6 and set(counts.values()) == {6}
    assert Counter(trial.panels for trial in trials if trial.kind == CATCH) == {(CLEAR, SPOILT): 2, (SPOILT, CLEAR): 2}


def test_orders_hold_every_trial_and_keep_repeats_apart():
    trials = plan_trials(["a"] * 60, ("x", "y"), 2, 20, 3, np.random.default_rng(0))
    ways, turned = orders(trials, 11, np.random.default_rng(1))
    assert all(sorted(way) == list(range(len(trials))) for way in ways) and len({tuple(way) for way in ways}) == 11
    assert sum(turned) in (5, 6)
    for way in ways:
        assert min(abs(way.index(n) - way.index(t.of)) for n, t in enumerate(trials) if t.of is not None) >= 10


def test_a_part_of_a_scan_gives_what_the_whole_gives(tmp_path):
    """A network that refines slices, on a slab with margins: as in the whole scan."""
    make_scans(tmp_path, 1)
    scan = Scan("MR0", "MR", ("MR",), tmp_path / "MR0.nii.gz")
    kitchen = Kitchen("3-D", "fast", "cpu", 1)
    found = candidates.prepare(scan, 2, kitchen)
    case = Case(scan, 2, 12)
    whole = replace(case, number=12)
    part = candidates.candidate(case, "two-stage-residual", kitchen)
    done = upscale(found.low, 2, axes="all", method="two-stage-residual", modality="MR", preset="fast", precision="single", slice_axis="k", device="cpu").volume
    assert np.abs(part - candidates.slab(found, done, whole.number, 1)).max() < 0.01 * np.ptp(part)


@pytest.mark.parametrize("task,plane,slices", [("thick-slice", "coronal", 3), ("3-D", "axial", 2)])
def test_slabs_and_cuts_across_the_slices(tmp_path, task, plane, slices):
    make_scans(tmp_path, 1)
    scan = Scan("CT0", "CT", ("CT",), tmp_path / "CT0.nii.gz")
    kitchen = Kitchen(task, "fast", "cpu", slices)
    scale = TASKS[task].scales[0]
    found = candidates.prepare(scan, scale, kitchen)
    shown = candidates.candidate(Case(scan, scale, int(found.starts[0])), "linear", kitchen)
    assert found.plane == plane and len(shown) == slices
    assert shown.shape == candidates.candidate(Case(scan, scale, int(found.starts[0])), CLEAR, kitchen).shape


def test_a_study_of_ratings_shows_one_picture_at_a_time(tmp_path):
    sheet, key = read_study(make_small(tmp_path, design="rating", cases=4, same=True))
    assert {trial.panels for trial in sheet.trials} == {1} and not sheet.same
    assert Counter(trial.panels for trial in key.trials.values() if trial.kind == MAIN) == {("cubic",): 4, ("lanczos",): 4}


@pytest.mark.parametrize(
    "wishes,message",
    [({"cases": 60}, "The stratum CT, 2x has .* places .* and 30 cases are asked of it"), ({"cases": 1}, "1 cases are too few for 2 strata"),
     ({"strata": ("organ",)}, "has no column 'organ'"), ({"methods": ("cubic",)}, "two or more methods"), ({"methods": ("cubic", "mdcsrn")}, "mdcsrn cannot make CT scans finer"),
     ({"title": "Is Lanczos better?"}, "names the method lanczos"), ({"task": "blur"}, "task 'blur' does not exist"), ({"scales": (3,)}, "not made for the factor 3"), ({"design": "guess"}, "design 'guess' does not exist")],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_and_leaves_nothing(tmp_path, wishes, message):
    with pytest.raises(InputError, match=message):
        make_small(tmp_path, **wishes)
    assert not (tmp_path / "study").exists()


def test_a_title_is_no_part_of_the_page_s_program(tmp_path):
    """However it looks like one: HTML ends or hides a script by such signs."""
    folders = [tmp_path / "plain", tmp_path / "odd"]
    for folder in folders:
        folder.mkdir()
    plain, odd = (make_small(folder, title=title, cases=4) for folder, title in zip(folders, ("A study", "<!-- <script> </script> -->")))
    signs = ("<!--", "<script", "</script")
    pages = [(folder / "reader" / "page.html").read_text(encoding="utf-8").lower() for folder in (plain, odd)]
    assert [pages[0].count(sign) for sign in signs] == [pages[1].count(sign) for sign in signs]
    assert read_sheet(odd / "reader").title == "<!-- <script> </script> -->"


def test_a_folder_that_is_there_is_not_touched(study):
    with pytest.raises(InputError, match="is not empty"):
        make_study(study.parent, study.parent / "split.csv", "test", study, Wishes(METHODS))


def test_strata_of_two_columns_get_equal_shares(tmp_path):
    _, key = read_study(make_small(tmp_path, strata=("modality", "body"), cases=8))
    assert Counter(case.stratum for case in key.cases) == dict.fromkeys(["CT, chest, 2x", "CT, head, 2x", "MR, chest, 2x", "MR, head, 2x"], 2)
