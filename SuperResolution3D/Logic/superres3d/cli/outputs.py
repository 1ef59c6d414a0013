"""The files that ``superres3d upscale`` writes: refused early, and all of them or none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, ResourceError


@dataclass(frozen=True)
class Outputs:
    """Paths to write; what is None is not asked for.

    Attributes:
        result: the upscaled scan.
        comparison: a Lanczos interpolation on the same grid.
        report: JSON.
    """

    result: Path
    comparison: Path | None = None
    report: Path | None = None

    @property
    def volumes(self) -> list[Path]:
        """The images among them."""
        return [path for path in (self.result, self.comparison) if path]

    @property
    def files(self) -> list[Path]:
        """All that are asked for."""
        return [path for path in (*self.volumes, self.report) if path]

    def check(self, source: Path) -> None:
        """Refuse what could not be written, before the scan is read (InputError)."""
        from ..files import check_output_folder
        from ..scan.images import check_writable

        resolved = [path.resolve() for path in (*self.files, source)]
        if len(set(resolved)) < len(resolved):
            raise InputError("Two of the input and output files are the same; give each its own name.")
        for path in self.volumes:
            check_writable(path)
        if self.report:
            check_output_folder(self.report)

    def check_disk(self, volume_bytes: int) -> None:
        """Refuse before hours of work what the disks cannot take (ResourceError); ``volume_bytes`` is one image, uncompressed."""
        for folder in {path.resolve().parent for path in self.volumes}:
            here = [path for path in self.volumes if path.resolve().parent == folder]
            # gzip makes scans about half as large; a quarter is the most that one may hope for.
            needed = sum(volume_bytes // 4 if path.name.endswith(".gz") else volume_bytes for path in here)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise ResourceError(f"The result needs about {needed / 2**30:.1f} GiB in {folder} and {free / 2**30:.1f} GiB are free; choose another disk or a smaller factor.")

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Files that were not there before are removed again if the writing of any of them fails or is interrupted."""
        new = [path for path in self.files if not path.exists()]
        try:
            yield
        except BaseException:
            for path in new:
                path.unlink(missing_ok=True)
            raise
