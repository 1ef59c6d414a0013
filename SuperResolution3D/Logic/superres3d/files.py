"""Output files and folders: checked early, written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError
from .staging import Staging, reason_of, unwritable

_OF_THE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP)


def check_output_file(path: str | os.PathLike) -> None:
    """Refuse a path at which no file could be written in the end, before any work starts; a file of that name is tried beside it.

    Raises:
        InputError: the folder is missing or read-only, the name cannot be used there, or what is there is a folder, no plain file,
            or may not be replaced.
    """
    path = Path(path)
    check_name(path)
    with _refusing(path):
        final = path.resolve()
        if not final.parent.is_dir():
            raise InputError(f"The output folder {final.parent} does not exist; create it first.")
        if final.is_dir():
            raise InputError(f"{path} is a folder; give a file name.")
        if os.path.lexists(final):
            _check_replaceable(path, final)
        _try_name(final)


def check_new_folder(path: str | os.PathLike) -> None:
    """Refuse a path at which no folder could be filled in the end: it must be empty, or not exist while its parent does.

    Raises:
        InputError: see above, or no permission.
    """
    path = Path(path)
    check_name(path)
    with _refusing(path):
        final = path.resolve()
        if final.is_dir():
            if any(final.iterdir()):
                raise InputError(f"The output folder {path} is not empty; give a new one.")
            _try_name(final / "name")
        elif os.path.lexists(final):
            raise InputError(f"{path} is a file; give the name of a new folder.")
        elif not final.parent.is_dir():
            raise InputError(f"The folder {final.parent}, in which {path.name} would be made, does not exist; create it first.")
        else:
            _try_name(final)


def check_name(path: Path) -> None:
    """Refuse a name that the disk, libraries or terminals cannot take (InputError)."""
    try:
        os.path.abspath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(path).decode('utf-8', 'replace')} has letters that are not UTF-8; give another name.") from None
    if not path.name.isprintable():
        raise InputError(f"{str(path)!a} has unprintable signs in its name; give another name.")
    with _refusing(path), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def claim_folder(folder: Path, names: Iterable[str], ours: bool) -> Path:
    """Make a folder, if it is missing, for the files of one command.

    Args:
        folder: its parents are made, too.
        names: of the files to write, * and ? for any letters; one that is there is replaced only if it is this command's.
        ours: the folder holds an earlier run of the command.

    Raises:
        InputError: the folder cannot be made, or a stranger's file has one of the names.
    """
    if not ours:
        for name in names:
            found = next(folder.glob(name), None)
            if found:
                raise InputError(f"The folder {folder} holds {found.name}, which is not of an earlier run of this command; give another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be made ({error.strerror}); choose another.") from None
    return folder


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all (ResourceError with the reason)."""
    with Staging() as staging:
        stage_text(staging, path, text)
        staging.commit()


def stage_text(staging: Staging, path: Path, text: str) -> None:
    """A UTF-8 file among others that appear together (ResourceError with the reason)."""
    try:
        staging.path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise unwritable(path, error) from None


def _check_replaceable(path: Path, final: Path) -> None:
    if not final.is_file():
        raise InputError(f"{path} is no plain file but a device or a pipe; give a file name.")
    if not os.access(final, os.W_OK, effective_ids=os.access in os.supports_effective_ids) or _is_anothers(final):
        raise InputError(f"{path} is there and write-protected; give another name, or allow writing to it first.")


def _is_anothers(final: Path) -> bool:
    """In folders such as /tmp (sticky) only the owner of a file, or of the folder, may replace it."""
    folder = final.parent.stat()
    return bool(folder.st_mode & stat.S_ISVTX) and os.name == "posix" and os.geteuid() not in (0, folder.st_uid, final.stat().st_uid)


def _try_name(final: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".superres3d-", dir=final.parent) as hidden:
        (Path(hidden) / final.name).touch()


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What the system says of a path, in a sentence on it."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle, up to Python 3.12
        if isinstance(error, RuntimeError) or error.errno in _OF_THE_NAME:
            told = "its links lead in a circle" if isinstance(error, RuntimeError) or error.errno == errno.ELOOP else reason_of(error)
            raise InputError(f"{path} cannot be the name of an output ({told}); give another name.") from None
        raise InputError(f"The output folder {path.absolute().parent} cannot be written to ({reason_of(error)}); choose another.") from None
