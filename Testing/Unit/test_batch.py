"""``superres3d batch``: what is found in a folder, how results are named, what is told."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import read_volume, upscale
from superres3d.batch.choices import Choices
from superres3d.batch.ledger import Entry
from superres3d.batch.naming import Names, key_of
from superres3d.batch.outline import outline_of
from superres3d.batch.pages import _table
from superres3d.batch.tree import find_in_tree
from superres3d.cli import app
from typer.testing import CliRunner

from . import batch_scans, dicom_scans
from .batch_scans import batch, images, results, series, table
from .conftest import write


def plan(*arguments: object) -> dict:
    """The dry run for programs: fast, in this process."""
    done = CliRunner().invoke(app, ["batch", *map(str, arguments), "--dry-run", "--progress", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


@pytest.fixture
def folder(tmp_path):
    """Good scans of every kind, two of one name, and files that are none."""
    source = images(tmp_path / "in", "a.nii.gz", "d.nrrd", "d.nhdr", "deep/er/e é.mha")
    (source / "b.nrrd").write_text("not a scan")
    write(source / "c.mha", batch_scans.voxels()[:1])
    (source / "notes.txt").write_text("left alone")
    return source


def test_every_scan_gets_what_upscale_makes_of_it(folder, tmp_path):
    out = tmp_path / "out"
    done = batch(folder, out, "--axes", "through-plane")
    assert done.returncode == 1
    ending = "_cubic-x2-through-plane"
    assert results(out) == {f"a{ending}.nii.gz", f"d-nrrd{ending}.nrrd", f"d-nhdr{ending}.nrrd", f"deep/er/e é{ending}.mha"}
    for source, result in (("a.nii.gz", f"a{ending}.nii.gz"), ("d.nhdr", f"d-nhdr{ending}.nrrd"), ("d.nrrd", f"d-nrrd{ending}.nrrd")):
        expected = upscale(read_volume(folder / source), 2, axes="through-plane", method="cubic").volume
        image = sitk.ReadImage(str(out / result))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), expected.voxels)
        np.testing.assert_allclose(image.GetSpacing(), (1.0, 1.0, 2.0))
        np.testing.assert_allclose(image.GetOrigin(), (0.0, 0.0, -1.0))
    assert "4 of 6 scans have their result; 1 left out" in done.stderr
    assert "Without result: b.nrrd: " in done.stderr and "Without result: c.mha: " in done.stderr and "single slice" in done.stderr


def test_reports_tell_the_same_as_the_run(folder, tmp_path):
    out = tmp_path / "out"
    batch(folder, out)
    rows = table(out)
    assert {name: row["state"] for name, row in rows.items()} == {
        "a.nii.gz": "done", "d.nrrd": "done", "d.nhdr": "done", "deep/er/e é.mha": "done", "b.nrrd": "failed", "c.mha": "failed", "1 other file": "left out",
    }  # fmt: skip
    assert [row["state"] for row in rows.values()][:2] == ["failed", "failed"]  # what needs a look comes first
    assert rows["a.nii.gz"]["result_shape_ijk"] == "28 x 24 x 12" and rows["a.nii.gz"]["result_spacing_mm"] == "0.5 x 0.5 x 2"
    report = json.loads((out / "batch" / "scans" / "a_cubic-x2.nii.gz.json").read_text())
    assert report["method"] == "cubic" and report["batch"]["sha256"] == rows["a.nii.gz"]["sha256"]
    pictures = list((out / "batch" / "scans").rglob("*.png"))
    assert len(pictures) == 4
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(pictures[0])))
    assert picture.dtype == np.uint8 and picture.shape[0] == 150 and np.ptp(picture[:, :40].astype(int)) > 100


def test_the_page_works_offline_and_escapes_names(tmp_path):
    source, out = images(tmp_path / "in", "a<b>&.nii.gz"), tmp_path / "out"
    (source / "<script>alert(1)<b>.mha").write_text("no scan")
    batch(source, out)
    page = (out / "batch" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;b&gt;.mha" in page and "a&lt;b&gt;&amp;.nii.gz" in page
    assert "http" not in page and 'src="scans/a%3Cb%3E%26_cubic-x2.nii.gz.png"' in page
    assert page.index("alert(1)") < page.index("a&lt;b&gt;")  # failures first


def test_dry_run_shows_all_and_writes_nothing(folder, tmp_path):
    before = sorted(path.stat().st_mtime_ns for path in folder.rglob("*"))
    told = plan(folder, tmp_path / "out", "--method", "lanczos", "--scale", "2,4")
    states = {row["name"]: row["state"] for row in told["scans"]}
    assert states["a.nii.gz"] == "to do" and states["1 other file"] == "left out"
    assert next(row["result"] for row in told["scans"] if row["name"] == "a.nii.gz") == "a_lanczos-x2x4.nii.gz"
    assert "6 to do" in told["estimate"] and "1 whose headers cannot be read" in told["estimate"]
    assert not (tmp_path / "out").exists() and before == sorted(path.stat().st_mtime_ns for path in folder.rglob("*"))


def test_dry_run_for_people_has_a_row_for_each(folder, tmp_path):
    done = CliRunner().invoke(app, ["batch", str(folder), str(tmp_path / "out"), "--method", "cubic", "--dry-run"])
    lines = done.output.splitlines()
    assert lines[0].split()[:3] == ["scan", "state", "result"] and len(lines) == 1 + 7 + 1


@pytest.mark.parametrize(
    "arguments,meant",
    [
        ((), {"a_T2w.nii.gz", "b_T1w.nii.gz", "thin_T2w.nii.gz"}),
        (("--suffix", "T2w"), {"a_T2w.nii.gz", "thin_T2w.nii.gz"}),
        (("--suffix", "T2w", "--suffix", "T1w"), {"a_T2w.nii.gz", "b_T1w.nii.gz", "thin_T2w.nii.gz"}),
        (("--thicker-than", "2"), {"a_T2w.nii.gz", "b_T1w.nii.gz"}),
        (("--thicker-than", "4"), set()),
    ],
)
def test_filters(arguments, meant, tmp_path):
    source = images(tmp_path / "in", "a_T2w.nii.gz", "b_T1w.nii.gz")
    write(source / "thin_T2w.nii.gz", batch_scans.voxels(), (1.0, 1.0, 1.0))
    told = plan(source, tmp_path / "out", "--method", "cubic", *arguments)
    assert {row["name"] for row in told["scans"] if row["state"] == "to do"} == meant
    assert all(row["reason"] for row in told["scans"] if row["state"] == "left out")


def test_a_tree_of_dicom_by_content(tmp_path):
    """Series by patient and study, whatever the files are called and wherever they lie; scouts, other modalities and single slices are left out, and said."""
    source = tmp_path / "in"
    series(source / "one", "P1", 1)
    series(source / "one", "P1", 2, "CT head", dicom_scans.ct_image)
    series(source / "mixed", "P2", 1)
    series(source / "mixed", "P2", 3, "localizer")
    series(source / "mixed", "P2", 4, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    series(source / "mixed", "P2", 5, "PET", Modality="PT")
    series(source / "mixed", "P2", 6, "one", slices=1)
    (source / "far").mkdir()
    os.rename(source / "one" / "1-0.dcm", source / "far" / "slice")  # without a suffix, in another folder
    out = tmp_path / "out"
    done = batch(source, out)
    assert done.returncode == 0, done.stderr
    study = "20210304-Head-of-Jane-Doe"
    assert {result.rpartition("/")[0] for result in results(out)} == {f"P1/{study}/1-T2_cubic-x2", f"P1/{study}/2-CT-head_cubic-x2", f"P2/{study}/1-T2_cubic-x2"}
    reasons = " ".join(row["messages"] for row in table(out).values() if row["state"] == "left out")
    assert all(word in reasons for word in ("a scout or localiser", "modality PT", "a single slice"))
    whole = read_volume(out / f"P1/{study}/1-T2_cubic-x2")
    assert whole.voxels.shape == tuple(2 * n for n in dicom_scans.SHAPE) and whole.modality == "MR"


def test_a_damaged_slice_spoils_its_series_alone(tmp_path):
    source = series(tmp_path / "in", "P1", 1)
    series(source, "P1", 12, "other")
    for k in range(6):
        os.rename(source / f"12-{k}.dcm", source / f"other{k}.dcm")
    (source / "1-3.dcm").write_bytes(b"")
    out = tmp_path / "out"
    done = batch(source, out)
    assert done.returncode == 1 and "is empty, and is named like a slice" in done.stderr
    assert {row["state"] for name, row in table(out).items() if "other" in name} == {"done"}
    assert "1 of 2 scans have their result" in done.stderr


def test_derived_series_are_not_derived_again(tmp_path):
    source, out = series(tmp_path / "in", "P1", 1), tmp_path / "in" / "results"
    assert batch(source, out).returncode == 0
    again = batch(source, tmp_path / "elsewhere", "--method", "linear")
    assert again.returncode == 0 and "1 of 1 scans" not in again.stderr
    assert any("another batch" in row["messages"] for row in table(tmp_path / "elsewhere").values())
    (derived,) = out.glob("P1/*/*")
    os.rename(derived, tmp_path / "archive")  # as from a PACS
    told = plan(tmp_path / "archive", tmp_path / "third", "--method", "cubic")
    assert [(row["state"], row["reason"]) for row in told["scans"]] == [("left out", "a series that this program derived")]


def test_modality_chooses_and_is_taken(tmp_path):
    source = series(tmp_path / "in", "P1", 1)
    series(source / "ct", "P1", 2, "CT", dicom_scans.ct_image)
    images(source, "unknown.nii.gz")
    told = plan(source, tmp_path / "out", "--modality", "CT", "--method", "cubic")
    assert {row["name"].split(" / ")[-1] for row in told["scans"] if row["state"] == "to do"} == {"2-CT (6 files)", "unknown.nii.gz"}


def test_anonymous_names_tell_nobody(tmp_path):
    out = tmp_path / "out"
    done = batch(series(tmp_path / "in", "P1-secret", 1), out, "--anonymize")
    assert done.returncode == 0, done.stderr
    told = " ".join(results(out)) + "".join(path.read_text() for path in (out / "batch" / "scans").rglob("*.json"))
    assert "secret" not in told and "Jane" not in told and "T2" not in told
    assert "--anonymize" not in done.stderr


def test_files_that_stay_named_are_told_where_the_patient_is_to_be_left_out(tmp_path):
    source = images(series(tmp_path / "in", "P1", 1), "jane.nii.gz")
    for dry in ((), ("--dry-run",)):
        done = batch(source, tmp_path / "out", "--anonymize", *dry)
        assert done.returncode == 0 and "1 of 2 scans are files, and their results keep the names" in done.stderr


def test_the_table_names_the_method_that_ran(tmp_path):
    """Not the one that was asked for, where a scan is better off with another."""
    out = tmp_path / "out"
    batch(images(tmp_path / "in", "a.nii.gz"), out)
    with closing(sqlite3.connect(out / "batch" / "superres3d-ledger.sqlite")) as ledger:
        ((facts,),) = ledger.execute("SELECT facts FROM scans").fetchall()
    assert json.loads(facts)["method"] == "cubic"
    assert "two-stage-told" in _table([Entry("key", "a.nii.gz", choices={"method": "two-stage-large"}, facts={"method": "two-stage-told"})])


def test_the_table_holds_no_formula(tmp_path):
    assert batch(images(tmp_path / "in", "=SUM(A1).nii.gz", "-dash.nii.gz", "plain.nii.gz"), tmp_path / "out").returncode == 0
    rows = table(tmp_path / "out")
    assert set(rows) == {"'=SUM(A1).nii.gz", "'-dash.nii.gz", "plain.nii.gz"}
    assert not [value for row in rows.values() for value in row.values() if value.startswith(("=", "+", "-", "@"))]
    assert rows["'-dash.nii.gz"]["result"].startswith("'-dash_cubic")


def named(scans, **asked) -> list[str]:
    names = Names(scans, Choices(**asked), {})
    return [names.path_of(scan) for scan in scans]


def test_names_tell_what_was_asked(tmp_path):
    scans = find_in_tree(images(tmp_path / "in", "a.nii.gz"), tmp_path / "out").scans
    asked = [
        {}, {"method": "cubic"}, {"method": "cubic", "asked": {"scale": 4}}, {"method": "cubic", "asked": {"scale": (2, 4)}}, {"method": "cubic", "asked": {"axes": "in-plane"}},
        {"method": "cubic", "asked": {"slice_spacing": 1.0}}, {"method": "cubic", "asked": {"spacing": 1.0}}, {"method": "cubic", "asked": {"spacing": (0.5, 0.5, 1.0)}},
        {"method": "cubic", "asked": {"spacing": "isotropic"}}, {"asked": {"preset": "fast"}}, {"asked": {"ensemble": "4"}}, {"asked": {"precision": "single"}}, {"asked": {"noise": "reduce"}},
        {"asked": {"slice_axis": "i"}}, {"asked": {"modality": "CT"}}, {"asked": {"consistency": 3}}, {"asked": {"careful": True}}, {"asked": {"as_stored": True}}, {"format": "nrrd"}, {"anonymize": True},
    ]  # fmt: skip
    names = [named(scans, **one)[0] for one in asked]
    assert len(set(names)) == len(names) and len({key_of(scans[0], Choices(**one)) for one in asked}) == len(names)
    assert names[:9] == [f"a_{Choices().method}-x2.nii.gz", *(f"a_cubic-{word}.nii.gz" for word in ("x2", "x4", "x2x4", "x2-in-plane", "slices-1mm", "1mm", "0.5x0.5x1mm", "isotropic"))]


def test_what_changes_no_result_changes_no_name():
    assert Choices(device="cuda", check=True).identity == Choices().identity
    assert Choices(asked={"scale": None, "preset": "best"}).identity == Choices().identity
    assert Choices("cubic", {"scale": 2, "axes": "all"}).identity == Choices("cubic").identity  # what the method does by itself


def test_names_of_strange_scans_stay_apart(tmp_path):
    """Letter case, accents in either form, the same stem in several formats, very long names."""
    source = images(tmp_path / "in", "Scan.mha", "scan.nrrd", "e\u0301.mha", "\u00e9.nrrd", "s.nii", "s.nii.gz", f"{'x' * 240}.nrrd", f"{'x' * 239}y.nrrd")
    names = named(find_in_tree(source, tmp_path / "out").scans, method="cubic")
    assert len({name.casefold() for name in names}) == 8 and all(len(name.encode()) < 200 for name in names)
    assert {"Scan-mha_cubic-x2.mha", "scan-nrrd_cubic-x2.nrrd", "s-nii_cubic-x2.nii", "s-nii-gz_cubic-x2.nii.gz"} <= set(names)


def test_names_that_no_terminal_shows(tmp_path):
    """Line feeds, letters that are not UTF-8, shell signs, a file called like an option: results with plain names, and nothing is lost."""
    source, out = images(tmp_path / "in", "-rf.nrrd", "new\nline.mha", "a;b $(x) `y`.nrrd", "plain.nrrd"), tmp_path / "o u t"
    os.rename(os.fsencode(source / "plain.nrrd"), os.fsencode(source) + b"/bad\xff.nrrd")
    os.mkdir(os.fsencode(source) + b"/dir\xfe")
    os.rename(os.fsencode(source) + b"/bad\xff.nrrd", os.fsencode(source) + b"/dir\xfe/bad\xff.nrrd")
    done = batch(source, out)
    assert done.returncode == 0, done.stderr
    assert results(out) == {"-rf_cubic-x2.nrrd", "new_line_cubic-x2.mha", "a;b $(x) `y`_cubic-x2.nrrd", "dir\ufffd/bad__cubic-x2.nrrd"}
    assert "4 of them from before" in batch(source, out).stderr


@pytest.mark.parametrize("dtype,kept", [("int8", "int8"), ("uint16", "int16"), ("int32", "int32"), ("float32", "float32"), ("float64", "float32")])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
def test_outlines_are_those_of_simpleitk(suffix, dtype, kept, tmp_path):
    """Turned axes as well; headers alone are read, by no library that is written in C."""
    image = sitk.GetImageFromArray(np.zeros((5, 6, 7), dtype))
    image.SetSpacing((1, 2, 3.5))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    outline = outline_of(tmp_path / f"a{suffix}")
    assert outline.shape == (5, 6, 7) and outline.dtype == kept
    np.testing.assert_allclose(outline.spacing, (1, 2, 3.5))


def test_links_and_circles(tmp_path):
    source = images(tmp_path / "in", "a.nii.gz")
    os.symlink(source / "a.nii.gz", source / "b.nii.gz")
    os.symlink(tmp_path / "nowhere", source / "c.nii.gz")
    os.symlink(source, source / "again")
    os.mkfifo(source / "pipe.nii.gz")
    found = find_in_tree(source, tmp_path / "out")
    assert [scan.name for scan in found.scans] == ["a.nii.gz"]
    assert {left.name: left.broken for left in found.left_out} == {"b.nii.gz": False, "c.nii.gz": True, "pipe.nii.gz": False}


def test_parts_of_scans_are_no_scans(tmp_path):
    source = images(tmp_path / "in", "a.mhd", "b.nhdr", "c.hdr")
    assert {path.name for path in source.iterdir()} == {"a.mhd", "a.raw", "b.nhdr", "b.raw", "c.hdr", "c.img"}
    found = find_in_tree(source, tmp_path / "out")
    assert [scan.name for scan in found.scans] == ["a.mhd", "b.nhdr", "c.hdr"] and not found.left_out


@pytest.mark.parametrize(
    "arguments,told",
    [
        (("{missing}", "{out}"), "is not there; give a folder"),
        (("{in}/a.nii.gz", "{out}"), "is no folder; give a folder"),
        (("{in}", "{in}"), "is the folder of the scans, which stays as it is"),
        (("{in}", "{in}/a.nii.gz"), "is a file; give the name of a folder"),
        (("{empty}", "{out}"), "holds no scan"),
        (("{in}", "{taken}"), "is there and is not of an earlier batch"),
        (("{in}", "{out}", "--scale", "3"), "The factor 3 cannot be used"),
        (("{in}", "{out}", "--method", "none"), "The method 'none' does not exist"),
        (("{in}", "{out}", "--participant-label", "01"), "is no BIDS data set"),
        (("{in}", "{out}", "--anonymize", "--format", "nrrd"), "--anonymize leaves the patient out of DICOM series"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(arguments, told, tmp_path):
    images(tmp_path / "in", "a.nii.gz")
    for name in ("empty", "taken/batch"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "taken" / "batch" / "mine.txt").write_text("mine")
    places = {"in": tmp_path / "in", "out": tmp_path / "out", "missing": tmp_path / "missing", "empty": tmp_path / "empty", "taken": tmp_path / "taken"}
    words = [argument.format(**places) for argument in arguments]
    done = CliRunner().invoke(app, ["batch", *words, *([] if "--method" in words else ["--method", "cubic"]), "--progress", "none"])
    assert done.exit_code == 2 and not (tmp_path / "out").exists()
    assert told in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_check_of_every_scan_stands_in_the_reports(models, tmp_path):
    """A scan that is too small to be checked keeps its result."""
    source, out = images(tmp_path / "in", "small.nrrd"), tmp_path / "out"
    write(source / "large.nrrd", np.tile(batch_scans.voxels(), (3, 3, 3)), batch_scans.SPACING)
    done = batch(source, out, "--method", "two-stage-residual", "--axes", "in-plane", "--preset", "fast", "--modality", "MR", "--check")
    assert done.returncode == 0, done.stderr
    rows = table(out)
    report = json.loads((out / "batch" / "scans" / f"{rows['large.nrrd']['result']}.json").read_text())
    assert float(rows["large.nrrd"]["check_gain_db"]) == report["check"]["gain_db"] and "fit" in report
    assert "dB over Lanczos" in (out / "batch" / "report.html").read_text(encoding="utf-8")


def test_careful_is_another_result(models, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write(source / "large.nrrd", np.tile(batch_scans.voxels(), (3, 3, 3)), batch_scans.SPACING)
    options = ("--method", "two-stage-residual", "--axes", "in-plane", "--preset", "fast", "--modality", "MR")
    assert batch(source, out, *options).returncode == 0
    done = batch(source, out, *options, "--careful")
    assert done.returncode == 0, done.stderr
    plain, careful = sorted(results(out), key=lambda name: "careful" in name)
    assert "careful" in careful and json.loads((out / "batch" / "scans" / f"{careful}.json").read_text())["careful"]
    assert not np.array_equal(*(sitk.GetArrayFromImage(sitk.ReadImage(str(out / name))) for name in (plain, careful)))
