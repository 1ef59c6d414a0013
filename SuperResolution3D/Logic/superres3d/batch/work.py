"""One scan from file to result, its report beside it.  Runs in a process of its own: see :mod:`superres3d.batch.child`."""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Cancelled, InputError, ResourceError, SuperResolutionError, in_words
from ..staging import unwritable
from . import labels as label_maps
from .choices import for_plan
from .results import hash_of, is_whole, read_report, size_of
from .scans import as_text
from .task import CANCELLED, DONE, FAILED, MEMORY, Outcome, Task

if TYPE_CHECKING:
    from ..scan.volume import Volume
    from ..upscaling import Result

_SHARES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the planned memory: the first that a plan accepts is taken


def perform(task: Task, cancelled: Callable[[], bool] = lambda: False) -> Outcome:
    """Upscale a scan, or find that it was done; whatever happens is told, never raised.

    Args:
        task: what to do.
        cancelled: asked often; a true answer stops the work.
    """
    started = time.perf_counter()
    try:
        finished = None if task.anew else finished_before(task)
        if finished:
            return finished
        _check_place(task)
        _check_result(task)
        return _publish(task, cancelled, started) if task.slab is None else _slab(task, cancelled)
    except (Cancelled, KeyboardInterrupt):
        return Outcome(CANCELLED)
    except MemoryError as error:
        return Outcome(MEMORY, [str(in_words(error))])
    except SuperResolutionError as error:
        return Outcome(FAILED, [str(error)], seconds=time.perf_counter() - started)
    except Exception as error:  # a batch goes on, whatever happens to one scan
        return Outcome(FAILED, _of_defect(error), seconds=time.perf_counter() - started)
    finally:
        shutil.rmtree(task.work, ignore_errors=True)


def finished_before(task: Task) -> Outcome | None:
    """What an earlier attempt told, if its result is whole and of this very scan: its process may have ended before it could tell."""
    told = read_report(Path(task.report)).get("batch", {})
    if (told.get("key"), told.get("stamp")) != (task.key, task.stamp) or not is_whole(Path(task.result), told.get("sha256", "")):
        return None
    if not label_maps.is_there(Path(task.result), told.get("facts") or {}):
        return None
    return Outcome(DONE, told["messages"], told["sha256"], told["bytes"], told["seconds"], told["models"], told["facts"], kept=True)


def _of_defect(error: Exception) -> list[str]:
    if isinstance(error, OSError) and error.filename:
        return [str(in_words(error))]
    where = traceback.extract_tb(error.__traceback__)[-1]
    return [f"A defect of this program: {type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno}); please report it."]


def _check_place(task: Task) -> None:
    """InputError where the output folder of the run is not seen, as on another machine of a cluster: nothing must be written beside it."""
    folder = Path(task.work).parent
    if not folder.is_dir():
        raise InputError(f"This machine does not see the folder {folder}, or it was taken away; give folders that all machines share under one name.")


def _check_result(task: Task) -> None:
    """InputError where something lies at the result's place that this batch did not make, or somebody changed."""
    if os.path.lexists(task.result) and not (task.replaces and is_whole(Path(task.result), task.replaces)):
        raise InputError(f"{task.result} is there and is not what this command wrote; move it away, or give another folder for the results.")


def _publish(task: Task, cancelled: Callable[[], bool], started: float) -> Outcome:
    work = Path(task.work)
    _make(work, Path(task.result).parent, Path(task.report).parent)
    scan = _read(task)
    labels = label_maps.read(task, scan)
    result = _upscaled(task, scan, cancelled)
    map_file, map_facts = label_maps.write(task, labels, result, work) if labels else (None, None)
    staged = _write(task, result, work)
    if cancelled():
        raise Cancelled
    outcome = _outcome(result, staged, time.time() - task.begun if task.parts else time.perf_counter() - started)
    if map_facts:
        outcome.facts["labels"] = map_facts
    _check_result(task)  # once more: it may have come there while this was computed
    _write_beside(task, scan, result, outcome, work)
    if map_file:
        _move(map_file, Path(task.labels_out), work)
    _move(staged, Path(task.result), work)
    return outcome


def _slab(task: Task, cancelled: Callable[[], bool]) -> Outcome:
    """One slab of a scan, left for the process that puts them together."""
    from .joining import keep_slab, slab_file

    assert task.slab is not None
    if not slab_file(Path(task.parts), task.slab).exists():  # left by one whose worker was lost afterwards
        _make(Path(task.work), Path(task.result).parent)
        scan = _read(task)
        keep_slab(_upscaled(task, scan, cancelled), scan, Path(task.parts), task.slab, Path(task.work))
    return Outcome(DONE)


def _make(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None


def _read(task: Task) -> Volume:
    paths = [Path(file) for file in task.files]
    if task.kind == "DICOM":
        from ..scan.dicom.reading import read_series
        from ..scan.volume import accepted

        return accepted(read_series(paths), task.name)
    from ..scan.images import read_volume

    volume = read_volume(paths[0])
    return replace(volume, modality=task.modality) if task.modality and not volume.modality else volume


def _upscaled(task: Task, scan: Volume, cancelled: Callable[[], bool]) -> Result:
    from ..upscaling import upscale

    if task.series:
        from ..scan.dicom.derived import check_derivable

        check_derivable(scan, task.anonymize)
    limit = _frugal_limit(task, scan) if task.frugal else task.memory
    choices = {**task.refinement, "device": task.device, "memory_limit": limit or None}
    careful = choices.pop("careful", False)
    if task.parts and task.slab is None:
        from .joining import joined

        result = joined(Path(task.parts), scan, task.begun)
    elif careful:
        from ..trust.error_map import upscale_with_doubt

        result, _ = upscale_with_doubt(scan, errors=False, careful=True, cancelled=cancelled, **choices)
    else:
        result = upscale(scan, **choices, cancelled=cancelled)
    _check_disk(task, result.volume.voxels.nbytes)
    if task.check:
        from ..trust.along import check_along

        check_along(scan, result, lambda *_: None, cancelled, **choices)
    return result


def _frugal_limit(task: Task, scan: Volume) -> int:
    """The smallest of some shares of the memory with which it can be done."""
    from ..plan import plan_upscaling
    from ..upscaling import taken_as

    modality, _ = taken_as(scan, task.refinement.get("modality", "auto"), task.refinement["method"])
    grid = (scan.voxels.shape, scan.spacing, scan.voxels.dtype)
    for share in _SHARES:
        limit = int(share * task.memory)
        try:
            plan_upscaling(*grid, **for_plan(task.refinement), modality=modality, memory_limit=limit, inputs_in_memory=0)
        except ResourceError:
            continue
        return limit
    return task.memory


def _check_disk(task: Task, count: int) -> None:
    """ResourceError before a file is half written."""
    needed = count // 4 if task.result.lower().endswith(".gz") and task.slab is None else count
    free = shutil.disk_usage(Path(task.result).parent).free
    if needed > free:
        raise ResourceError(f"The result needs about {needed / 2**20:.0f} MiB in {Path(task.result).parent} and {free / 2**20:.0f} MiB are free; free some space, and give the same command again.")


def _write(task: Task, result: Result, work: Path) -> Path:
    staged = work / Path(task.result).name
    if task.series:
        from ..scan.dicom.write import write_dicom_series

        write_dicom_series(result.volume, staged, result.report, anonymize=task.anonymize)
        return staged
    from ..scan.writing import write_volume

    models = " ".join(f"{stage}:{model['name']}:{model['sha256'][:12]}" for stage, model in result.report["models"].items())
    short = f"{result.report['software']} {result.report['method']}; not for diagnosis"
    write_volume(result.volume, staged, {"ITK_FileNotes": short[:79], "SuperResolution3D": f"{short}; models {models or 'none'}; source {as_text(Path(task.files[0]).name)}"})
    return staged


def _outcome(result: Result, staged: Path, seconds: float) -> Outcome:
    report = result.report
    models = {model["name"]: model["sha256"] for model in report["models"].values()}
    facts = {name: report.get(name) for name in ("method", "modality", "input", "output", "factors_ijk", "device", "precision", "peak_memory_bytes", "invents")}
    if report.get("check"):
        facts["check"] = {name: report["check"].get(name) for name in ("statement", "gain_db", "ahead", "expected_db")}
    messages = list(report["warnings"])
    return Outcome(DONE, messages, hash_of(staged), size_of(staged), round(seconds, 3), models, facts)


def _write_beside(task: Task, scan: Volume, result: Result, outcome: Outcome, work: Path) -> None:
    """Report, picture, sidecar: they come to their places before the result does, which makes them true."""
    from ..files import replace_text
    from .picture import write_picture

    own = {"key": task.key, "stamp": task.stamp, **{name: getattr(outcome, name) for name in ("sha256", "bytes", "seconds", "models", "messages", "facts")}}
    source = {} if task.anonymize else {"source": as_text(task.files[0])}
    replace_text(Path(task.report), json.dumps({**result.report, **source, "result": task.result, "batch": own}, indent=2) + "\n")
    if task.sidecar:
        from .derivative import sidecar, sidecar_of_labels

        replace_text(Path(task.sidecar), json.dumps(sidecar(task, result.report), indent=2) + "\n")
        if task.labels:
            beside = task.labels_out.removesuffix(".gz").removesuffix(".nii") + ".json"
            replace_text(Path(beside), json.dumps(sidecar_of_labels(task, result.report), indent=2) + "\n")
    picture = work / "picture.png"
    write_picture(picture, scan, result.volume)
    os.replace(picture, task.thumbnail)


def _move(staged: Path, final: Path, work: Path) -> None:
    """Into place; an earlier version of a folder steps aside first."""
    try:
        if final.is_dir():
            os.rename(final, work / "before")
        os.replace(staged, final)
    except OSError as error:
        raise unwritable(final, error) from None
