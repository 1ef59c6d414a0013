"""Outputs that appear at their places together, in the end, or not at all.

>>> with Staging() as staging:
...     header = staging.path(out / "a.mhd")                  # a new name in a hidden folder beside; write there
...     write(header)
...     staging.add(header.with_suffix(".raw"), out / "a.raw")  # a second file that the writer put beside it
...     series = staging.folder(out / "series")               # an empty folder, to be filled
...     staging.commit()                                      # all of them to their places

Until :meth:`Staging.commit` nothing changes but hidden folders whose names nobody can guess, on the disk of each output.  A commit
brings everything to the disk, keeps the old versions aside, moves second files first and named ones last, and takes
all of it back if a step fails.  Leaving the context removes the hidden folders: only what this run wrote.  A path that is a
link is written through: what it points to is replaced.  A new file has the mode of the file that it replaces, else what the
umask says.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from .errors import ResourceError

_Identity = tuple[int, int]  # of a file, whatever its name: device and inode

_FULL = {errno.ENOSPC: "the disk is full", getattr(errno, "EDQUOT", errno.ENOSPC): "the disk quota is used up"}
_REASONS = {
    **_FULL,
    errno.EFBIG: "a file of this size is not allowed there",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "its folder is gone",
    errno.EEXIST: "another program wrote a file of that name meanwhile",
    errno.ENOTEMPTY: "another program filled that folder meanwhile",
    errno.EISDIR: "a folder of that name is there",
    errno.EIO: "the disk reports an error",
}


def reason_of(error: OSError) -> str:
    """The cause in a few words: a full disk is named only where it is one."""
    return _REASONS.get(error.errno or 0, error.strerror or "the system refused it")


def unwritable(path: Path, error: OSError) -> ResourceError:
    """What a user is told when ``path`` could not be written."""
    advice = "free some space or choose another disk" if error.errno in _FULL else "nothing was changed, choose another place"
    return ResourceError(f"{path} could not be written: {reason_of(error)}; {advice}.")


class Staging:
    """See the module; a context manager.

    Every method raises ResourceError with the real reason if the disk refuses.
    """

    def __init__(self) -> None:
        self._hidden: dict[Path, Path] = {}  # folder -> hidden folder in it
        self._moves: list[_Move] = []
        self._folders: list[tuple[Path, Path, Path]] = []
        self._count = 0

    def path(self, target: Path, suffix: str | None = None) -> Path:
        """Where to write what shall become the file ``target``: a plain name that does not exist yet.

        Args:
            target: may exist and is then replaced; its folder must exist.
            suffix: of the plain name, for writers that go by it; default: that of ``target``.
        """
        with _telling(target):
            final = target.resolve()
            staged = self._new(final.parent, final.suffix if suffix is None else suffix)
            self._moves.append(_Move(target, staged, final, self._new(final.parent, ".old"), replaces=True))
        return staged

    def add(self, staged: Path, target: Path) -> None:
        """A second file that a writer put beside a path of :meth:`path`; it comes to its place before the named files do.

        Whether ``target`` may be replaced is decided now: a file that appears there later is another program's and stays.
        """
        with _telling(target):
            final = target.resolve()
            self._moves.insert(0, _Move(target, staged, final, self._new(final.parent, ".old"), replaces=os.path.lexists(final)))

    def folder(self, target: Path) -> Path:
        """An empty folder to fill with what shall become the folder ``target``, which must be empty or not exist (its parent must).

        Raises:
            ResourceError: see above, or ``target`` is there and not empty.
        """
        with _telling(target):
            final = target.resolve()
            if final.is_dir() and any(final.iterdir()):
                raise OSError(errno.ENOTEMPTY, "")
            staged = self._new(final if final.is_dir() else final.parent, "")
            staged.mkdir()
        self._folders.append((target, staged, final))
        return staged

    def commit(self) -> None:
        """Bring everything that was staged to its place; if a step fails or is interrupted, all is as it was."""
        moves = [*self._of_folders(), *self._moves]
        for move in moves:
            with _telling(move.target):
                move.prepare()
        try:
            for move in moves:
                with _telling(move.target):
                    move.make()
            for folder in {move.final.parent for move in moves}:
                with contextlib.suppress(OSError):  # the names are there; the disk takes them when it can
                    _to_disk(folder)
        except BaseException:
            for move in reversed(moves):
                move.undo()
            raise
        self._moves, self._folders = [], []

    def __enter__(self) -> Staging:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for hidden in self._hidden.values():
            shutil.rmtree(hidden, ignore_errors=True)

    def _new(self, folder: Path, suffix: str) -> Path:
        """A name of its own in the hidden folder of ``folder``, which is made when it is first needed."""
        if folder not in self._hidden:
            hidden = folder / f".superres3d-{secrets.token_hex(8)}"
            self._hidden[folder] = hidden  # before it is made: an interrupt leaves nothing behind
            try:
                hidden.mkdir(mode=0o700)
            except OSError:  # not ours, then
                del self._hidden[folder]
                raise
        self._count += 1
        return self._hidden[folder] / f"{self._count}{suffix}"

    def _of_folders(self) -> Iterator[_Move]:
        """A new folder moves as one; one that was there, perhaps a whole disk, gets the files one by one."""
        for target, staged, final in self._folders:
            if final not in self._hidden:
                yield _Move(target, staged, final, self._new(final.parent, ".old"), replaces=False)
                continue
            for entry in sorted(staged.iterdir()):
                yield _Move(target, entry, final / entry.name, self._new(final, ".old"), replaces=False)


@dataclass
class _Move:
    """One file or folder on its way from ``staged`` to ``final``; ``kept`` is where its old version waits for the end."""

    target: Path  # as the user called it
    staged: Path
    final: Path
    kept: Path
    replaces: bool
    identity: _Identity | None = None

    def prepare(self) -> None:
        """To the disk, with the mode and, where allowed, the owner of the file that it replaces."""
        for path in (self.staged, *self.staged.rglob("*")) if self.staged.is_dir() else (self.staged,):
            _to_disk(path)
        if self.replaces and self.final.exists():
            old = self.final.stat()
            with contextlib.suppress(OSError, AttributeError):  # only root may give files away; Windows has no owners of this kind
                os.chown(self.staged, old.st_uid, old.st_gid)
            os.chmod(self.staged, stat.S_IMODE(old.st_mode))
        self.identity = _identity(self.staged)

    def make(self) -> None:
        """The old version aside, the new one to its place."""
        if not self.replaces:
            _move_to_free_name(self.staged, self.final)
            return
        if self.final.is_dir():  # made meanwhile by another program, perhaps with files in it
            raise OSError(errno.EISDIR, "")
        if os.path.lexists(self.final):
            try:
                os.link(self.final, self.kept)  # so that there is a file at every moment
            except OSError:  # a disk without hard links
                os.rename(self.final, self.kept)
        os.replace(self.staged, self.final)

    def undo(self) -> None:
        """From wherever :meth:`make` came to: looks at the files, not at what should have happened."""
        with contextlib.suppress(OSError):
            if self.identity and _identity(self.final) == self.identity:
                self._take_back()
            elif self.kept.exists() and not os.path.lexists(self.final):
                os.rename(self.kept, self.final)

    def _take_back(self) -> None:
        if self.kept.exists():
            os.replace(self.kept, self.final)
        elif self.final.is_dir():
            os.rename(self.final, self.staged)
        else:
            self.final.unlink()


def _move_to_free_name(staged: Path, final: Path) -> None:
    """Never over another file (FileExistsError): a hard link is refused by the system itself where the name is taken."""
    if staged.is_file():
        try:
            os.link(staged, final)
            staged.unlink()
            return
        except OSError:  # the name is taken, or a disk without hard links
            pass
    if os.path.lexists(final):
        raise FileExistsError(errno.EEXIST, "")
    os.rename(staged, final)


def _identity(path: Path) -> _Identity | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _to_disk(path: Path) -> None:
    """A file or folder out of the system's memory; a disk that cannot promise it is not asked twice."""
    if path.is_dir() and os.name != "posix":
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    except PermissionError:  # the umask took reading away
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in (*_FULL, errno.EIO):
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _telling(target: Path) -> Iterator[None]:
    """The system's refusal as a sentence on ``target``."""
    try:
        yield
    except OSError as error:
        raise unwritable(target, error) from None
