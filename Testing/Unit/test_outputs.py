"""What an upscaling does to a folder: listings and bytes before and after are the oracle, SimpleITK and nibabel read what was written."""

import gzip
import importlib
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import write_volume
from superres3d.cli import app
from superres3d.cli.outputs import Outputs
from superres3d.errors import InputError, ResourceError
from superres3d.files import check_new_folder, check_output_file
from superres3d.scan.writing import stage_volume, try_writing
from superres3d.staging import Staging
from typer.testing import CliRunner

from .conftest import write
from .test_staging import picture

FAST = ("--method", "linear", "--progress", "none")


def upscale(*arguments: object) -> tuple[int, str]:
    """Exit code, and what was said."""
    done = CliRunner().invoke(app, ["upscale", *map(str, arguments), *FAST])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def refused(folder: Path, words: str, *arguments: object) -> None:
    """One sentence, and nothing is another than it was."""
    before = picture(folder)
    code, told = upscale(*arguments)
    assert code not in (0, 1) and words in told and len(told.strip().splitlines()) == 1, (code, told)
    assert picture(folder) == before


def changed(folder: Path, before: dict) -> set[str]:
    after = picture(folder)
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def shape_of(path: Path) -> tuple[int, ...]:
    """(i, j, k), by an independent reader that gets a plain name; a header's own second file is found by the name that it tells."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith((".nii", ".nii.gz")):
        content = path.read_bytes()
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content) if suffix == ".gz" else content)
        assert np.isfinite(np.asanyarray(image.dataobj)).all()
        return image.shape
    with tempfile.TemporaryDirectory() as plain:
        for file in path.parent.iterdir():
            if file.is_file():
                shutil.copy(file, plain)
        (Path(plain) / path.name).rename(Path(plain) / f"{path.stem}{suffix}")
        return sitk.ReadImage(str(Path(plain) / f"{path.stem}{suffix}")).GetSize()


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


# ---------------------------------------------------------------------- second files


@pytest.mark.parametrize("source, target", [("scan.mhd", "scan.nhdr"), ("scan.nhdr", "scan.mhd"), ("scan.mhd", "scan.NHDR"), ("scan.mhd", "sub/../scan.nhdr")])
def test_the_voxels_of_the_input_are_not_overwritten(here, scan, source, target):
    (here / "sub").mkdir()
    write_volume(scan, here / source)
    refused(here, f"would overwrite scan.raw, which belongs to the scan {source}", source, target)


@pytest.mark.parametrize("owner", ["chest.mhd", "chest.nhdr", "other.mhd", None])
def test_a_strangers_voxels_are_not_overwritten(here, scan, owner):
    write_volume(scan, here / "in.nrrd")
    (here / "chest.raw").write_bytes(b"a stranger's")
    if owner:
        (here / owner).write_text("NRRD0004\ndata file: chest.raw\n" if owner.endswith("nhdr") else "ObjectType = Image\nElementDataFile = chest.raw\n")
    for target in ("chest.nhdr", "chest.MHD"):
        if target != owner:
            refused(here, "would put its voxels into chest.raw", "in.nrrd", target)


def test_the_own_earlier_voxels_are_replaced(here, scan):
    write_volume(scan, here / "in.nrrd")
    for suffix in (".mhd", ".nhdr"):
        for _ in range(2):
            assert upscale("in.nrrd", f"out{suffix}") == (0, "")
            assert shape_of(here / f"out{suffix}") == (44, 36, 18)
        for name in (f"out{suffix}", "out.raw"):
            (here / name).unlink()
    assert sorted(picture(here)) == ["in.nrrd"]


def test_result_and_comparison_do_not_share_voxels(here, scan):
    write_volume(scan, here / "in.nrrd")
    refused(here, "would both be written to a.raw", "in.nrrd", "a.mhd", "--compare", "a.nhdr")
    refused(here, "the same", "in.nrrd", "a.mhd", "--compare", "A.mhd")
    refused(here, "would both be written to a.raw", "in.nrrd", "a.mhd", "--report", "a.raw")


def test_all_that_headers_name_belongs_to_the_input(here, scan):
    """Lists, patterns, other names and pairs, reached by the report, which may have any name."""
    write_volume(scan, here / "in.mhd")
    voxels = (here / "in.raw").read_bytes()
    header = (here / "in.mhd").read_text()
    slices = len(voxels) // 9
    for number in range(9):
        (here / f"s{number}.raw").write_bytes(voxels[number * slices :][:slices])
    (here / "pattern.mhd").write_text(header.replace("in.raw", "s%d.raw 0 8 1"))
    (here / "list.mhd").write_text(header.replace("in.raw", "LIST\n" + "\n".join(f"s{n}.raw" for n in range(9))))
    (here / "far.mhd").write_text(header.replace("in.raw", "../here/in.raw"))
    for source, data in (("in.mhd", "in.raw"), ("far.mhd", "in.raw"), ("pattern.mhd", "s8.raw"), ("list.mhd", "s0.raw")):
        refused(here, f"belongs to the scan {source}", source, "out.nrrd", "--report", data)
    nibabel.save(nibabel.Nifti1Pair(scan.voxels, np.eye(4)), here / "pair.hdr")
    refused(here, "belongs to the scan pair.hdr", "pair.hdr", "out.nrrd", "--report", "pair.img")
    refused(here, "belongs to the scan pair.img", "pair.img", "out.nrrd", "--report", "pair.hdr")


# ---------------------------------------------------------------------- the same file by another name


def test_the_input_by_another_path_or_link(here, scan):
    write_volume(scan, here / "in.nii.gz")
    (here / "sub").mkdir()
    os.link(here / "in.nii.gz", here / "hard.nii.gz")
    (here / "soft.nii.gz").symlink_to("in.nii.gz")
    (here / "folder").symlink_to(here)
    for name in ("sub/../in.nii.gz", "folder/in.nii.gz", str(here / "in.nii.gz"), "soft.nii.gz"):
        refused(here, "are the same", "in.nii.gz", name)
        refused(here, "are the same", "in.nii.gz", "out.nii", "--compare", name)
        refused(here, "are the same", "in.nii.gz", "out.nii", "--report", name)
    refused(here, "belongs to the scan in.nii.gz", "in.nii.gz", "hard.nii.gz")
    refused(here, "belongs to the scan soft.nii.gz", "soft.nii.gz", "hard.nii.gz")


def test_a_series_stays_as_it_is(here, dicom_folder):
    for name in ("series/out.nii.gz", "series/deeper/out.nii.gz", "link/out.nii.gz"):
        refused(here, "lies in the folder of the scan", "series", name)
        refused(here, "lies in the folder of the scan", "series", "out.nii.gz", "--report", name.replace(".nii.gz", ".json"))


@pytest.fixture
def dicom_folder(here):
    """Never read: the refusal comes before."""
    (here / "series" / "deeper").mkdir(parents=True)
    (here / "series" / "1.dcm").write_bytes(b"a slice")
    (here / "link").symlink_to("series")


def test_links_are_written_through_or_refused(here, scan):
    (here / "far").mkdir()
    write_volume(scan, here / "in.nrrd")
    (here / "far" / "old.nrrd").write_text("old")
    (here / "link.nrrd").symlink_to("far/old.nrrd")
    before = picture(here)
    assert upscale("in.nrrd", "link.nrrd") == (0, "")
    assert changed(here, before) == {"far/old.nrrd"} and shape_of(here / "far" / "old.nrrd") == (44, 36, 18)
    (here / "link.mhd").symlink_to("far/new.mhd")
    refused(here, "is a link", "in.nrrd", "link.mhd")
    (here / "voxels.mhd").write_text("ElementDataFile = voxels.raw\n")
    (here / "voxels.raw").symlink_to("far/old.nrrd")
    refused(here, "voxels.raw, which is a link", "in.nrrd", "voxels.mhd")
    (here / "round.nrrd").symlink_to("round.nrrd")
    refused(here, "circle", "in.nrrd", "round.nrrd")


@pytest.mark.parametrize("there, target", [("a.nii.gz", "a.nii"), ("a.nii", "a.nii.gz"), ("a.img", "a.nii.gz"), ("A.NII", "a.nii.gz")])
def test_no_twins_are_made(here, scan, there, target):
    write_volume(scan, here / "in.nrrd")
    (here / there).write_bytes(b"a stranger's")
    refused(here, f"would lie beside {there}", "in.nrrd", target)


def test_another_letter_case_is_no_twin_where_the_disk_tells_them_apart(here, scan):
    write_volume(scan, here / "in.nrrd")
    (here / "A.nii").write_bytes(b"a stranger's")
    if not (here / "a.nii").exists():
        before = picture(here)
        assert upscale("in.nrrd", "a.nii") == (0, "")
        assert changed(here, before) == {"a.nii"}


def test_no_twins_of_the_input_or_among_the_outputs(here, scan):
    write_volume(scan, here / "in.nii.gz")
    refused(here, "would lie beside in.nii.gz", "in.nii.gz", "in.nii")
    refused(here, "would lie beside a.nii", "in.nii.gz", "a.nii", "--compare", "a.nii.gz")


# ---------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["scan.MHA", "scan.MHD", "RESULT.NII.GZ", "result.NII", "Result.Nii.gz", "a.NRRD", "a.NhDr", "100%.nii", "100%.mha", "100%03d.nrrd", "result.nii.gz.nii", "a b.mhd",
     "LIST.mha", "ü.nhdr", "[bold].mhd", "a" * 247 + ".nii.gz"],
)  # fmt: skip
def test_exactly_the_named_file_is_written(here, scan, name):
    write_volume(scan, here / "scan.mhd")
    target = name if name.lower() != "scan.mhd" else "other.MHD"
    before = picture(here)
    assert upscale("scan.mhd", target) == (0, "")
    two = target.lower().endswith(("mhd", "nhdr"))
    assert changed(here, before) == {target, *([target.rsplit(".", 1)[0] + ".raw"] if two else [])}
    assert shape_of(here / target) == (44, 36, 18)


@pytest.mark.parametrize(
    "name, words",
    [("100%.mhd", "cannot give to its voxels"), ("a%03d.nhdr", "cannot give"), ("LISTING.mhd", "cannot give"), ("list of a.nhdr", "cannot give"), (" a.mhd", "cannot give"),
     ("a\\b.mhd", "cannot give"), ("a:b.nhdr", "cannot give"), ("a\nb.nii", r"a\nb.nii' has unprintable"), ("a" * 249 + ".nii.gz", "too long"), ("a" * 5000 + ".nii", "too long"),
     (os.fsdecode(b"\xff.nii"), "UTF-8"), ("out.img", "no suffix"), ("out.nii.bz2", "no suffix"), (".", "is not empty"), ("no/out.nii", "does not exist; create it"),
     ("in.nrrd/out.nii", "does not exist; create it")],
)  # fmt: skip
def test_names_that_cannot_be_written_are_refused_before_the_work(here, scan, name, words):
    write_volume(scan, here / "in.nrrd")
    for arguments in ((name,), ("out.nrrd", "--compare", name)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("superres3d.scan.images.read_volume", None)  # not even read
            refused(here, words, "in.nrrd", *arguments)


@pytest.mark.parametrize("suffix", ["mhd", "nhdr"])
def test_a_second_file_that_came_during_the_work_stays(here, scan, suffix):
    (here / "out.raw").write_text("kept")
    with Staging() as staging, pytest.raises(InputError, match="out.raw, which is there and is not this program's"):
        stage_volume(scan, here / f"out.{suffix}", staging)
    assert [path.name for path in here.iterdir()] == ["out.raw"] and (here / "out.raw").read_text() == "kept"


def test_what_is_written_is_settled_when_it_is_named(here):
    """A folder that another program makes meanwhile, of the file's name, makes no series of a file."""
    outputs = Outputs.named(str(here / "out.nii"), None, None, False)
    (here / "out.nii").mkdir()
    assert not outputs.is_series(here / "out.nii") and Outputs.named(str(here / "out.nii"), None, None, False).is_series(here / "out.nii")


@pytest.mark.parametrize("option, series", [("--compare", True), ("--residual-map", False), ("--error-map", False)])
def test_a_folder_is_named_where_it_would_do(here, scan, option, series):
    write_volume(scan, here / "in.nrrd")
    refused(here, "for DICOM." if series else "use one of .nii.gz, .nii, .nrrd, .nhdr, .mha, .mhd.", "in.nrrd", "out.nrrd", option, "out.foo")


@pytest.mark.parametrize("name, words", [("folder", "is a folder"), ("pipe", "no plain file"), ("/dev/null", "no plain file"), ("no/r.json", "create it"), ("r" * 300, "too long")])
def test_reports_that_cannot_be_written_are_refused_before_the_work(here, scan, name, words):
    write_volume(scan, here / "in.nrrd")
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: b"", raising=True)  # a pipe would wait for ever
        refused(here, words, "in.nrrd", "out.nrrd", "--report", name)


STEMS, ENDINGS = ("scan", "SCAN", "other", "100%", "a b"), (".mhd", ".nhdr", ".mha", ".nrrd", ".nii", ".nii.gz", ".MHD", ".NII.GZ", ".NHDR", ".Mha")


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_names_no_other_file_is_touched(here, scan, seed):
    """A full folder, any input in it, any outputs: done as told, or refused with nothing changed."""
    draw = random.Random(seed)
    for name in ("scan.mhd", "other.nrrd", "SCAN.nii.gz"):
        write_volume(scan, here / name)
    (here / "100%.raw").write_bytes(b"a stranger's")
    source = draw.choice(["scan.mhd", "other.nrrd", "SCAN.nii.gz"])
    named = [draw.choice(STEMS) + draw.choice(ENDINGS) for _ in range(2)]
    more = ["--compare", named[1]] if draw.random() < 0.6 else []
    before = picture(here)
    code, told = upscale(source, named[0], *more)
    if code:
        assert changed(here, before) == set() and len(told.strip().splitlines()) == 1
        return
    wanted = [named[0], *more[1:]]
    seconds = {name.rsplit(".", 1)[0] + ".raw" for name in wanted if name.lower().endswith((".mhd", ".nhdr"))}
    assert set(wanted) <= changed(here, before) <= {*wanted, *seconds}
    assert source not in wanted and all(shape_of(here / name) == (44, 36, 18) for name in wanted)


# ---------------------------------------------------------------------- permissions


@pytest.fixture
def imported(here, scan):
    """All that a run imports, which may lie where an ordinary user cannot read it."""
    write_volume(scan, here / "in.nrrd")
    assert upscale("in.nrrd", "out.mhd", "--report", "r.json") == (0, "")


@pytest.fixture
def ordinary():
    """A folder of an ordinary user's, and the rights of one, also where the tests run as root."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
        os.setegid(0)
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_what_an_ordinary_user_may_not_write_is_refused(ordinary):
    (ordinary / "mine.nii").write_text("protected")
    (ordinary / "mine.nii").chmod(0o400)
    for check in (try_writing, check_output_file, lambda path: Outputs(ordinary / "a.nii", report=path).check(ordinary / "in.nii")):
        with pytest.raises(InputError, match="write-protected"):
            check(ordinary / "mine.nii")
    ordinary.chmod(0o500)
    before = picture(ordinary)
    for check in (try_writing, check_output_file, check_new_folder):
        with pytest.raises(InputError, match=r"cannot be written to \(no permission\)"):
            check(ordinary / "new.nii")
    ordinary.chmod(0o000)
    with pytest.raises(InputError, match="no permission"):
        check_output_file(ordinary / "new.nii")
    ordinary.chmod(0o700)
    assert picture(ordinary) == before


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_an_ordinary_users_whole_run(imported, ordinary, scan, monkeypatch):
    monkeypatch.chdir(ordinary)
    write_volume(scan, ordinary / "in.nrrd")
    (ordinary / "closed").mkdir()
    (ordinary / "closed").chmod(0o500)
    refused(ordinary, "cannot be written to (no permission)", "in.nrrd", "closed/out.mhd")
    refused(ordinary, "cannot be written to (no permission)", "in.nrrd", "out.mhd", "--report", "closed/r.json")
    assert upscale("in.nrrd", "out.mhd", "--report", "r.json") == (0, "")
    assert shape_of(ordinary / "out.mhd") == (44, 36, 18)
    (ordinary / "closed").chmod(0o300)  # written to, and not read
    assert upscale("in.nrrd", "closed/out.nii.gz", "--compare", "closed/out.nhdr") == (0, "")
    code, told = upscale("in.nrrd", "closed/out.mhd")
    assert code == 2 and "is not this program's to replace" in told
    (ordinary / "closed").chmod(0o700)
    (ordinary / "theirs.mhd").touch(mode=0o000)
    assert upscale("in.nrrd", "out.mhd") == (0, "")
    assert shape_of(ordinary / "closed" / "out.nhdr") == (44, 36, 18)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs a file of another user's in a folder for all")
def test_anothers_file_in_a_folder_for_all():
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o1777)
        (folder / "theirs.nii").write_text("theirs")
        (folder / "theirs.nii").chmod(0o666)
        os.seteuid(65534)
        with pytest.raises(InputError, match="write-protected"):
            check_output_file(folder / "theirs.nii")
        check_output_file(folder / "new.nii")
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def test_a_new_folder_is_checked(here):
    (here / "file").write_text("x")
    (here / "full").mkdir()
    (here / "full" / "x").write_text("x")
    (here / "empty").mkdir()
    before = picture(here)
    for name, words in (("file", "is a file"), ("full", "is not empty"), ("no/new", "create it"), ("a" * 300, "too long")):
        with pytest.raises(InputError, match=words):
            check_new_folder(here / name)
    check_new_folder(here / "empty")
    check_new_folder(here / "new")
    assert picture(here) == before


# ---------------------------------------------------------------------- late failures


OLD = {"old.mhd": "ElementDataFile = old.raw\n", "old.raw": "old voxels", "lanczos.nii": "old comparison", "r.json": "old report"}


@pytest.fixture
def older(here, scan):
    """A scan and what an earlier run made of it."""
    write_volume(scan, here / "in.nrrd")
    for name, text in OLD.items():
        (here / name).write_text(text)
    return here


ALL = ("in.nrrd", "old.mhd", "--compare", "lanczos.nii", "--report", "r.json")


def test_all_outputs_are_replaced(older):
    before = picture(older)
    assert upscale(*ALL) == (0, "")
    assert changed(older, before) == set(OLD)
    assert shape_of(older / "old.mhd") == shape_of(older / "lanczos.nii") == (44, 36, 18)
    assert json.loads((older / "r.json").read_text())["method"] == "linear"


WRITERS = ("superres3d.scan.writing.write_nifti", "superres3d.scan.writing._check_complete", "os.replace")
STOPS = ((MemoryError(), 5), (KeyboardInterrupt(), 130))


@pytest.mark.parametrize(
    "where, error, code",
    [*((where, *stop) for where in (*WRITERS, "superres3d.cli.upscale._stage_lanczos") for stop in STOPS), *((where, OSError(number, "no"), 5) for where in WRITERS for number in (28, 5))],
)
def test_a_late_failure_leaves_everything_as_it_was(older, monkeypatch, where, error, code):
    """The comparison fails after the result was staged; a replacement fails at the last file."""
    module, name = where.rsplit(".", 1)
    target = importlib.import_module(module)
    real, calls = getattr(target, name), []
    late = {"write_nifti": 2, "_check_complete": 4, "_stage_lanczos": 1, "replace": 3}[name]  # tiny ones are tried first

    def failing(*arguments, **options):
        calls.append(name)
        if len(calls) == late:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, failing)
    before = picture(older)
    ended, told = upscale(*ALL)
    assert len(calls) >= late and ended == code and len(told.strip().splitlines()) == 1
    assert ("disk is full" in told) == (getattr(error, "errno", 0) == 28)
    assert picture(older) == before


def test_a_result_stays_when_only_its_report_fails(older, monkeypatch):
    real = os.replace

    def failing(old, new):
        if str(new).endswith("r.json"):
            raise OSError(28, "full")
        real(old, new)

    monkeypatch.setattr(os, "replace", failing)
    before = picture(older)
    code, told = upscale(*ALL)
    assert code == 5 and "The result is whole in old.mhd, but its report is missing: r.json could not be written: the disk is full" in told
    assert changed(older, before) == {"old.mhd", "old.raw", "lanczos.nii"} and shape_of(older / "old.mhd") == (44, 36, 18)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("name", ["old.mhd", "b.nhdr", "c.mha", "d.nrrd", "e.nii", "f.nii.gz"])
def test_a_disk_that_ends_half_way(older, name):
    """A limit on the size of files: the system refuses the rest, as a full disk does, in the middle of the voxels."""
    import resource

    write(older / "large.nrrd", (np.random.default_rng(0).random((20, 40, 40)) * 1000).astype(np.int16))
    before = picture(older)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        code, told = upscale("large.nrrd", name, "--compare", "lanczos.nii")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 5 and "a file of this size is not allowed there" in told and "full" not in told
    assert picture(older) == before


def test_only_a_full_disk_is_called_one(here, scan, monkeypatch):
    for errno, words in ((28, "the disk is full; free some space"), (30, "the disk is read-only"), (13, "no permission"), (5, "the disk reports an error")):

        def failing(*_, errno=errno):
            raise OSError(errno, "")

        monkeypatch.setattr("superres3d.scan.writing.write_nifti", failing)
        with pytest.raises(ResourceError, match=words):
            write_volume(scan, here / "a.nii")
        assert picture(here) == {}
