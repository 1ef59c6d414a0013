"""The files that ``superres3d upscale`` writes: what could harm another file, or fail in the end, is refused before the work."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, ResourceError, bytes_in_words

if TYPE_CHECKING:
    from ..scan.dicom.parametric_map_out import Meaning
    from ..scan.volume import Volume
    from ..staging import Staging
    from ..upscaling import Result


@dataclass(frozen=True)
class Outputs:
    """Paths to write; what is None is not asked for.

    Attributes:
        result: the upscaled scan.
        comparison: a Lanczos interpolation on the same grid.
        report: a page (.html) or JSON.
        labels: a segmentation on the same grid.
        error_map: the errors to expect, on the same grid; an image file, beside a DICOM series also a DICOM parametric map.
        residual_map: what the result averages to, minus the scan, on the scan's grid; a file as the error map.
        anonymize: whether the patient is left out of DICOM series.
        called: what reports call the scan, in place of its file.
        folders: those that were named as a folder, with a slash at the end, which a path does not keep, or were one at that time.
    """

    result: Path
    comparison: Path | None = None
    report: Path | None = None
    labels: Path | None = None
    error_map: Path | None = None
    residual_map: Path | None = None
    anonymize: bool = False
    called: str | None = None
    folders: frozenset[Path] = frozenset()

    @classmethod
    def named(cls, result: str, comparison: str | None, report: Path | None, anonymize: bool, labels: Path | None = None, error_map: Path | None = None) -> Outputs:
        """From what was typed."""
        folders = frozenset(Path(name) for name in (result, comparison) if name and (name.endswith((os.sep, os.altsep or os.sep)) or os.path.isdir(name)))
        return cls(Path(result), Path(comparison) if comparison else None, report, labels, error_map, anonymize=anonymize, folders=folders)

    @property
    def page(self) -> bool:
        """Whether the report is a page with pictures."""
        return self.report is not None and self.report.suffix.lower() in (".html", ".htm")

    @property
    def volumes(self) -> list[Path]:
        """The scans among them."""
        return [path for path in (self.result, self.comparison) if path]

    @property
    def images(self) -> list[Path]:
        """Scans, labels and maps."""
        return [*self.volumes, *(path for path in (self.labels, self.error_map, self.residual_map) if path)]

    @property
    def files(self) -> list[Path]:
        """All that are asked for."""
        return [path for path in (*self.images, self.report) if path]

    def is_series(self, path: Path) -> bool:
        """Whether an image is written as a folder of DICOM slices: its name has no suffix, ends in a slash, or was that of a folder when it was named."""
        from ..scan.companions import split_name
        from ..scan.writing import WRITABLE_SUFFIXES

        return path in self.folders or not (path.suffix or split_name(path, WRITABLE_SUFFIXES)[1])

    def check(self, *sources: Path) -> None:
        """Refuse what could not be written, or would change another file, before anything is read.

        Each image is tried with a tiny one.

        Args:
            sources: what the run reads: files or folders. They stay as they are, the files that their headers name as well.

        Raises:
            InputError: one sentence on the first output that cannot be used.
            ResourceError: the disk refuses.
        """
        from ..files import check_name, check_new_folder, check_output_file
        from ..scan.writing import try_writing

        for path in self.files:
            check_name(path)
        self._check_apart(sources)
        for source in sources:
            self._check_stays(source)
        for path in self.volumes:
            if self.is_series(path):
                check_new_folder(path)
                continue
            if self.anonymize:
                raise InputError(f"--anonymize leaves the patient out of DICOM series, and {path} will be none; give the name of a folder.")
            try_writing(path, or_series=True)
        if self.labels:
            self._check_labels(self.labels)
        for path in filter(None, (self.error_map, self.residual_map)):
            self._check_map(path)
        if self.report:
            check_output_file(self.report)

    def _check_labels(self, path: Path) -> None:
        from ..files import check_output_file
        from ..scan.dicom.highdicom_out import is_dicom_name
        from ..scan.writing import try_writing

        if not is_dicom_name(path):
            try_writing(path)
            return
        if not self.is_series(self.result):
            raise InputError(f"{path} would be a DICOM segmentation, which belongs to a DICOM series; give the result the name of a folder, or the labels a name such as labels.nii.gz.")
        if self.anonymize:
            raise InputError(f"--anonymize cannot know whether the words of a segmentation name the patient; give the labels a name such as labels.nii.gz, not {path}.")
        check_output_file(path)

    def _check_map(self, path: Path) -> None:
        from ..files import check_output_file
        from ..scan.dicom.highdicom_out import is_dicom_name
        from ..scan.dicom.parametric_map_out import check_parametric_map
        from ..scan.writing import try_writing

        if not is_dicom_name(path):
            try_writing(path)
            return
        if not self.is_series(self.result):
            raise InputError(f"{path} would be a DICOM parametric map, which belongs to a DICOM series; give the result the name of a folder, or the map a name such as map.nii.gz.")
        check_parametric_map()
        check_output_file(path)

    def check_scan(self, volume: Volume) -> None:
        """Refuse, before it is computed with, a scan that cannot be written as what was asked for (InputError)."""
        if any(self.is_series(path) for path in self.volumes):
            from ..scan.dicom.derived import check_derivable

            check_derivable(volume, self.anonymize)

    def stage(self, result: Result, path: Path, staging: Staging, metadata: dict[str, str]) -> list[Path]:
        """Write an image beside its place; returns the slices of a DICOM series where they are staged.

        Args:
            result: volume and report.
            path: one of :attr:`volumes`.
            staging: brings all outputs to their places together.
            metadata: see :func:`superres3d.scan.writing.write_volume`.

        Raises:
            ResourceError: the disk refuses.
        """
        if self.is_series(path):
            from ..scan.dicom.write import stage_dicom_series

            return stage_dicom_series(result.volume, path, staging, result.report, anonymize=self.anonymize)
        from ..scan.writing import stage_volume

        stage_volume(result.volume, path, staging, metadata)
        return []

    def stage_error_map(self, volume: Volume, slices: Sequence[Path], staging: Staging) -> None:
        """Write the error map beside its place; ``slices`` are those of a DICOM series (ResourceError: the disk refuses)."""
        from ..scan.dicom.parametric_map_out import ERROR

        assert self.error_map
        _stage_map(volume, ERROR, self.error_map, slices, staging, "Error map of SuperResolution3D: expected local error; not for diagnosis")

    def stage_residual_map(self, scan: Volume, result: Result, slices: Sequence[Path], staging: Staging) -> None:
        """Write the residual map beside its place; ``slices`` as :meth:`stage_error_map` takes them (ResourceError: the disk refuses)."""
        from ..scan.dicom.parametric_map_out import RESIDUAL
        from ..trust.fit import residual_map

        assert self.residual_map
        volume = residual_map(scan, result.volume)
        _stage_map(volume, RESIDUAL, self.residual_map, slices, staging, "Residual of SuperResolution3D: averaged result minus scan; not for diagnosis")

    def check_disk(self, volume_bytes: int) -> None:
        """Refuse before hours of work what the disks cannot take (ResourceError); ``volume_bytes`` is one image, uncompressed."""
        folders = {path: path.resolve().parent for path in self.images}
        for disk, folder in {folder.stat().st_dev: folder for folder in folders.values()}.items():
            here = [path for path in self.images if folders[path].stat().st_dev == disk]
            # gzip makes scans about half as large; a quarter is the most that one may hope for.
            needed = sum(volume_bytes // 4 if path.name.lower().endswith(".gz") else volume_bytes for path in here)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise ResourceError(f"The result needs about {bytes_in_words(needed)} in {folder} and {bytes_in_words(free)} are free; choose another disk or a smaller factor.")

    def _written(self) -> list[tuple[Path, Path]]:
        """(file, the output to which it belongs), second files included."""
        from ..scan.writing import written_files

        return [(file, path) for path in self.images for file in written_files(path)] + ([(self.report, self.report)] if self.report else [])

    def _check_apart(self, sources: tuple[Path, ...]) -> None:
        from ..scan.companions import are_twins

        named = [_key(path) for path in (*self.files, *sources)]
        if len(set(named)) < len(named):
            raise InputError("Two of the input and output files are the same; give each its own name.")
        places: dict[str, Path] = {}
        for file, path in self._written():
            other = places.setdefault(_key(file), path)
            if other != path:
                raise InputError(f"{other} and {path} would both be written to {file.name}; give each its own name.")
        for one, other in combinations(self.images, 2):
            if are_twins(one, other):
                raise InputError(f"{other.name} would lie beside {one.name}, and many programs open the one for the other; give it another name.")

    def _check_stays(self, source: Path) -> None:
        """Compared on the disk, not by name: another path, a link of either kind or another letter case may lead to the same file."""
        from ..scan.companions import data_files, same_file

        if os.path.isdir(source):
            inside = next((path for path in self.files if path.resolve().is_relative_to(source.resolve())), None)
            if inside:
                raise InputError(f"{inside} lies in the folder of the scan, {source}, which stays as it is; give another folder.")
            return
        for file, path in self._written():
            touched = next((other for other in (source, *data_files(source)) if same_file(other, file)), None)
            if touched:
                raise InputError(f"{path} would overwrite {touched}, which belongs to the scan {source.name}; give another name.")


def _key(path: Path) -> str:
    """Equal for paths that some disk takes for the same: links followed, letter case and accents levelled."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def _stage_map(volume: Volume, meaning: Meaning, path: Path, slices: Sequence[Path], staging: Staging, notes: str) -> None:
    """As a DICOM parametric map, or as an image file with notes, by its name."""
    from ..scan.dicom.highdicom_out import is_dicom_name
    from ..scan.dicom.parametric_map_out import stage_parametric_map
    from ..scan.writing import stage_volume

    if is_dicom_name(path):
        stage_parametric_map(volume, meaning, slices, path, staging)
        return
    stage_volume(volume, path, staging, {"ITK_FileNotes": notes})
