"""All outputs or none: bytes and listings before and after are the oracle, for a failure or an interrupt at every step."""

import errno
import os
import stat
from pathlib import Path

import pytest
from superres3d.errors import ResourceError
from superres3d.staging import Staging

STEPS = ("link", "replace", "rename", "unlink", "fsync", "chmod", "lstat")


def picture(folder: Path) -> dict[str, bytes | str]:
    """Every file under a folder with its bytes, hidden ones included; folders and links as what they are."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = f"-> {os.readlink(path)}" if path.is_symlink() else "folder" if path.is_dir() else path.read_bytes()
    return found


@pytest.fixture
def place(tmp_path):
    """A folder with an older result of two files and a stranger's scan."""
    for name in ("a.mhd", "a.raw", "stranger.nii"):
        (tmp_path / name).write_text(f"old {name}")
    (tmp_path / "empty").mkdir()
    return tmp_path


def stage(staging: Staging, place: Path) -> None:
    """One output of two files, a new file, a new folder, and a folder that was there."""
    header = staging.path(place / "a.mhd")
    header.write_text("new header")
    header.with_suffix(".raw").write_text("new voxels")
    staging.add(header.with_suffix(".raw"), place / "a.raw")
    staging.path(place / "b.nii.gz", ".nii.gz").write_text("new b")
    for name in ("series", "empty"):
        folder = staging.folder(place / name)
        (folder / "1.dcm").write_text(f"{name} 1")
        (folder / "2.dcm").write_text(f"{name} 2")


def leave_with(error: type[BaseException], place: Path, meanwhile=lambda: None) -> None:
    with Staging() as staging:
        stage(staging, place)
        meanwhile()
        raise error


WRITTEN = {
    "a.mhd": b"new header", "a.raw": b"new voxels", "b.nii.gz": b"new b", "stranger.nii": b"old stranger.nii", "empty": "folder", "series": "folder",
    **{f"{folder}/{n}.dcm": f"{folder} {n}".encode() for folder in ("empty", "series") for n in (1, 2)},
}  # fmt: skip


def test_nothing_before_the_commit_and_everything_after(place):
    before = picture(place)
    with Staging() as staging:
        stage(staging, place)
        assert {name: content for name, content in picture(place).items() if ".superres3d-" not in name} == before
        staging.commit()
    assert picture(place) == WRITTEN


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaving_without_a_commit_leaves_nothing(place, error):
    before = picture(place)
    with pytest.raises(error):
        leave_with(error, place)
    assert picture(place) == before


def test_of_a_run_that_did_not_finish_only_its_own_is_removed(place):
    """Another program writes to the same name meanwhile."""

    def meanwhile():
        (place / "b.nii.gz").write_text("another program's")
        (place / "a.mhd").write_text("another program's, too")

    with pytest.raises(KeyboardInterrupt):
        leave_with(KeyboardInterrupt, place, meanwhile)
    assert (place / "b.nii.gz").read_text() == "another program's"
    assert (place / "a.mhd").read_text() == "another program's, too"


def failing_at(monkeypatch, which: int, error: BaseException, after: bool) -> list[str]:
    """The ``which``-th call of the system fails, before or after it was carried out, and no other; returns the list of calls."""
    calls: list[str] = []

    def wrapped(name, real):
        def call(*arguments, **options):
            calls.append(name)
            if len(calls) - 1 != which:
                return real(*arguments, **options)
            if after:
                real(*arguments, **options)
            raise error

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, wrapped(name, getattr(os, name)))
    return calls


def no_links(*_):
    raise OSError(errno.EPERM, "not here")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", [lambda: OSError(errno.ENOSPC, "full"), KeyboardInterrupt], ids=["full disk", "interrupt"])
def test_a_failure_at_any_step_of_the_commit_leaves_all_as_it_was(place, error, after, links, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    before = picture(place)
    which = told = 0
    while True:
        with pytest.MonkeyPatch.context() as patch, Staging() as staging:
            stage(staging, place)
            calls = failing_at(patch, which, error(), after)
            try:
                staging.commit()
                committed = True
            except (ResourceError, KeyboardInterrupt) as refused:
                committed, told = False, told + ("the disk is full" in str(refused))
            patch.undo()
        if len(calls) <= which:
            break
        # a step that is given up (a link, an owner) is done in another way; the last ones bring folders to the disk
        assert picture(place) == (WRITTEN if committed else before), (which, calls)
        if committed:
            restore(place, before)
        which += 1
    assert which > 30
    assert told > 10 or error is KeyboardInterrupt


def restore(place: Path, before: dict[str, bytes | str]) -> None:
    for name in sorted(set(picture(place)) - set(before), reverse=True):
        path = place / name
        path.rmdir() if path.is_dir() else path.unlink()
    for name, content in before.items():
        if isinstance(content, bytes):
            (place / name).write_bytes(content)


def test_without_hard_links_as_on_a_usb_stick(place, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    test_nothing_before_the_commit_and_everything_after(place)


def test_a_second_file_that_appeared_meanwhile_stays(tmp_path):
    """And the header is not written either: it would name the stranger's voxels."""
    for link in (os.link, None):
        with pytest.MonkeyPatch.context() as patch, Staging() as staging:
            if link is None:
                patch.setattr(os, "link", no_links)
            header = staging.path(tmp_path / "a.mhd")
            header.write_text("new")
            header.with_suffix(".raw").write_text("new")
            staging.add(header.with_suffix(".raw"), tmp_path / "a.raw")
            (tmp_path / "a.raw").write_text("a stranger's")
            with pytest.raises(ResourceError, match="another program wrote a file of that name meanwhile"):
                staging.commit()
        assert picture(tmp_path) == {"a.raw": b"a stranger's"}
        (tmp_path / "a.raw").unlink()


def test_a_folder_that_appeared_where_a_file_was_meant_stays(tmp_path):
    """With what another program put into it, and no other output comes to its place."""
    with Staging() as staging:
        for name in ("first.txt", "second.txt"):
            staging.path(tmp_path / name).write_text("new")
        (tmp_path / "second.txt").mkdir()
        (tmp_path / "second.txt" / "theirs").write_text("kept")
        with pytest.raises(ResourceError, match="second.txt could not be written: a folder of that name is there"):
            staging.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["second.txt"] and (tmp_path / "second.txt" / "theirs").read_text() == "kept"


def test_a_folder_that_is_not_empty_stays(place):
    (place / "full").mkdir()
    (place / "full" / "1.dcm").write_text("a stranger's")
    with pytest.raises(ResourceError, match="filled that folder"), Staging() as staging:
        staging.folder(place / "full")
    before = picture(place)
    with Staging() as staging:
        folder = staging.folder(place / "late")
        (folder / "1.dcm").write_text("new")
        (place / "late").mkdir()
        (place / "late" / "1.dcm").write_text("a stranger's")
        with pytest.raises(ResourceError):
            staging.commit()
    assert picture(place) == {**before, "late": "folder", "late/1.dcm": b"a stranger's"}


def test_a_link_is_written_through(place):
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "real.nii").write_text("old")
    (place / "link.nii").symlink_to(Path("elsewhere") / "real.nii")
    (place / "dangling.nii").symlink_to(place / "elsewhere" / "new.nii")
    with Staging() as staging:
        for name in ("link.nii", "dangling.nii"):
            staging.path(place / name).write_text(f"through {name}")
        staging.commit()
    assert (place / "link.nii").is_symlink() and (place / "dangling.nii").is_symlink()
    assert picture(place / "elsewhere") == {"real.nii": b"through link.nii", "new.nii": b"through dangling.nii"}


def test_a_hard_link_of_another_name_keeps_the_old_bytes(place):
    os.link(place / "a.mhd", place / "same.mhd")
    with Staging() as staging:
        staging.path(place / "a.mhd").write_text("new")
        staging.commit()
    assert (place / "same.mhd").read_text() == "old a.mhd" and (place / "a.mhd").read_text() == "new"


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask_or_the_replaced_file(place, mask):
    (place / "a.mhd").chmod(0o640)
    before = os.umask(mask)
    try:
        with Staging() as staging:
            stage(staging, place)
            hidden = next(place.glob(".superres3d-*"))
            assert stat.S_IMODE(hidden.stat().st_mode) == 0o700  # nobody else looks in or puts a file there
            staging.commit()
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "a.mhd").stat().st_mode) == 0o640
    assert stat.S_IMODE((place / "b.nii.gz").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((place / "series").stat().st_mode) == 0o777 & ~mask


def test_second_files_come_first_and_the_named_ones_in_their_order(place, monkeypatch):
    order = []
    real_replace, real_link = os.replace, os.link
    monkeypatch.setattr(os, "replace", lambda old, new: (order.append(Path(new).name), real_replace(old, new)))
    monkeypatch.setattr(os, "link", lambda old, new: (order.append(Path(new).name), real_link(old, new)))
    (place / "a.raw").unlink()
    with Staging() as staging:
        for name in ("z.nii", "a.mhd", "c.json"):
            staging.path(place / name).write_text("new")
        staged = staging.path(place / "x.mhd")
        staged.write_text("new")
        staged.with_suffix(".raw").write_text("new")
        staging.add(staged.with_suffix(".raw"), place / "x.raw")
        staging.commit()
    assert [name for name in order if not name.endswith(".old")] == ["x.raw", "z.nii", "a.mhd", "c.json", "x.mhd"]


def test_the_folder_is_gone(tmp_path):
    with pytest.raises(ResourceError, match=r"a\.nii could not be written: its folder is gone"), Staging() as staging:
        staging.path(tmp_path / "no" / "a.nii")


def test_hidden_names_cannot_be_guessed_and_are_never_shared(tmp_path):
    """A folder of the same name that is there already is not used, and not removed."""
    with Staging() as one, Staging() as other:
        places = {staging.path(tmp_path / "a.nii").parent.name for staging in (one, other)}
    assert len(places) == 2 and all(len(name.rpartition("-")[2]) >= 16 for name in places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secrets.token_hex", lambda _: "known")
        (tmp_path / ".superres3d-known").mkdir()
        (tmp_path / ".superres3d-known" / "1.nii").write_text("a stranger's")
        with pytest.raises(ResourceError), Staging() as staging:
            staging.path(tmp_path / "a.nii")
    assert picture(tmp_path) == {".superres3d-known": "folder", ".superres3d-known/1.nii": b"a stranger's"}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give files away")
def test_root_leaves_a_file_to_its_owner(place):
    os.chown(place / "a.mhd", 1234, 2345)
    with Staging() as staging:
        stage(staging, place)
        staging.commit()
    assert ((place / "a.mhd").stat().st_uid, (place / "a.mhd").stat().st_gid) == (1234, 2345)


def test_there_is_a_file_at_every_moment(place, monkeypatch):
    """Another program that reads the output finds the old version or the new one, and at no time none."""
    seen = []

    def watched(name):
        real = getattr(os, name)

        def call(*arguments, **options):
            real(*arguments, **options)
            seen.append((place / "a.mhd").exists() and (place / "a.raw").exists())

        return call

    for name in ("link", "replace", "rename"):
        monkeypatch.setattr(os, name, watched(name))
    with Staging() as staging:
        stage(staging, place)
        staging.commit()
    assert len(seen) >= 8 and all(seen)
