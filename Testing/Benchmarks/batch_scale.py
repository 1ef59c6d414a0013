"""How ``superres3d batch`` scales: many small scans with flat memory, processes killed at random, and what a hundred thousand scans would cost.

    python Testing/Benchmarks/batch_scale.py scans --count 500 --kills 30
    python Testing/Benchmarks/batch_scale.py networks --count 40 --rounds 3
    python Testing/Benchmarks/batch_scale.py ledger --count 100000
    python Testing/Benchmarks/batch_scale.py scheduler --count 5000

Prints JSON.  ``scans`` makes them in a temporary folder, times single runs in one process, then a batch, then a batch whose processes are killed.
``networks`` times scans that take a network about a second each: in one process, by a command each, and by a batch with one worker and with two, in turns,
since other work on the machine slows them down; shares are of the same round, and the middle one counts.  Two processes that know nothing of each other,
each with half of the scans, tell what two cores of this machine can do at most.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import SimpleITK as sitk

SHAPE, SHAPE_FOR_NETWORKS = (12, 64, 64), (20, 128, 128)
NETWORKS = ("--method", "two-stage-residual", "--preset", "fast", "--progress", "none")
IN_ONE_PROCESS = """
import sys
from pathlib import Path
from superres3d import read_volume, upscale, write_volume
source, out = Path(sys.argv[1]), Path(sys.argv[2])
out.mkdir(exist_ok=True)
for path in sorted(source.iterdir())[int(sys.argv[3])::int(sys.argv[4])]:
    write_volume(upscale(read_volume(path), 2, method="two-stage-residual", preset="fast").volume, out / path.name)
"""


def make_scans(folder: Path, count: int, shape: tuple[int, ...] = SHAPE) -> None:
    """Small ones, all different."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(count):
        image = sitk.GetImageFromArray(draw.integers(0, 900, shape, dtype=np.int16))
        image.SetSpacing((1.0, 1.0, 4.0))
        sitk.WriteImage(image, str(folder / f"{number:04}.nrrd"))


def single_runs(source: Path, count: int) -> float:
    """Seconds for so many scans, read, upscaled and written in this process."""
    from superres3d import read_volume, upscale, write_volume

    paths = sorted(source.iterdir())[:count]
    with tempfile.TemporaryDirectory() as folder:
        upscale(read_volume(paths[0]), 2, method="cubic")  # imports
        started = time.perf_counter()
        for path in paths:
            write_volume(upscale(read_volume(path), 2, method="cubic").volume, Path(folder) / path.name)
        return time.perf_counter() - started


def begun(source: Path, out: Path, workers: int, *options: str) -> subprocess.Popen:
    """A batch in a process of its own."""
    command = [sys.executable, "-m", "superres3d.cli", "batch", str(source), str(out), "--method", "cubic", "--progress", "none", "--workers", str(workers), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def watched(process: subprocess.Popen, every: float, act: Callable[[psutil.Process], None] | None = None) -> dict[str, Any]:
    """Seconds, and memory of the parent and of its children at a tenth of the time and at the end, in MiB."""
    started, seen = time.perf_counter(), []
    parent = psutil.Process(process.pid)
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    while process.poll() is None:
        try:
            seen.append((parent.memory_info().rss, max((child.memory_info().rss for child in parent.children()), default=0)))
            if act:
                act(parent)
        except psutil.Error:
            pass
        time.sleep(every)
    drained.join()
    early, late = seen[len(seen) // 10 + 1], seen[int(len(seen) * 0.95)]
    names = ("parent_early", "child_early", "parent_late", "child_late")
    return {"seconds": round(time.perf_counter() - started, 2), "code": process.returncode, **{name: round(size / 2**20) for name, size in zip(names, (*early, *late))}}


def results(out: Path) -> list[Path]:
    """The images."""
    return sorted(out.glob("*.nrrd"))


def right(source: Path, out: Path, count: int) -> dict[str, Any]:
    """How many results there are, and how many of a sample are what one call makes."""
    from superres3d import read_volume, upscale

    found = results(out)
    sample = found[:: max(1, len(found) // 20)]
    equal = sum(np.array_equal(read_volume(path).voxels, upscale(read_volume(source / f"{path.name[:4]}.nrrd"), 2, method="cubic").volume.voxels) for path in sample)
    return {"results": len(found), "wanted": count, "sample": len(sample), "equal": equal}


def killed(source: Path, out: Path, workers: int, kills: int) -> list[dict[str, Any]]:
    """Rounds of one command: children killed at random, then the parent once, then the rest; and whether whole results were ever written again."""
    draw, left = random.Random(0), [kills]
    last = [time.monotonic()]

    def kill(parent: psutil.Process) -> None:
        if left[0] and results(out) and time.monotonic() - last[0] > 0.3 and draw.random() < 0.3:
            children = parent.children()
            if children:
                draw.choice(children).kill()
                left[0] -= 1
                last[0] = time.monotonic()
        if left[0] == kills // 2 and kills:  # in the middle the parent goes as well
            left[0] -= 1
            os.kill(parent.pid, signal.SIGKILL)

    rounds, times = [], {}
    for options in ([], [], ["--retry"]):
        round_ = watched(begun(source, out, workers, *options), 0.05, kill)
        changed = [path.name for path, moment in times.items() if path.stat().st_mtime_ns != moment]
        times = {path: path.stat().st_mtime_ns for path in results(out)}
        rounds.append({**round_, "written_again": len(changed), "kills_left": left[0], "results": len(times)})
    return rounds


def scans(count: int, kills: int, workers: int) -> dict[str, Any]:
    """All of it."""
    folder = Path(tempfile.mkdtemp(prefix="superres3d-scale-"))
    try:
        make_scans(folder / "in", count)
        few = min(count, 100)
        told: dict[str, Any] = {"count": count, "single_seconds_each": round(single_runs(folder / "in", few) / few, 4)}
        for number in sorted({1, workers}):
            told[f"batch_{number}"] = watched(begun(folder / "in", folder / f"out{number}", number), 0.2)
        told["again"] = watched(begun(folder / "in", folder / "out1", 1), 0.05)
        if kills:
            told["killed"] = killed(folder / "in", folder / "killed", workers, kills)
            told["after_kills"] = right(folder / "in", folder / "killed", count)
        return told
    finally:
        shutil.rmtree(folder)


def timed(command: list[str], cores: set[int]) -> float:
    """Seconds of a process with so many cores, its start and end included."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return time.perf_counter() - started


def one_process(source: Path, out: Path, part: int = 0, parts: int = 1) -> list[str]:
    """The command that does every scan, or one of so many parts of them."""
    return [sys.executable, "-c", IN_ONE_PROCESS, str(source), str(out), str(part), str(parts)]


def network_round(source: Path, folder: Path) -> dict[str, float]:
    """Seconds of each way of doing the same scans."""
    cores = os.sched_getaffinity(0)
    one = {min(cores)}
    first = sorted(source.iterdir())[:10]
    this = [sys.executable, "-m", "superres3d.cli"]
    seconds = {}
    for name, allowed in (("1_core", one), ("2_cores", cores)):
        seconds[f"one_process_{name}"] = timed(one_process(source, folder / f"process_{name}"), allowed)
        seconds[f"batch_1_worker_{name}"] = timed([*this, "batch", str(source), str(folder / f"batch_{name}"), *NETWORKS], allowed)
    seconds["batch_2_workers_2_cores"] = timed([*this, "batch", str(source), str(folder / "two"), *NETWORKS, "--workers", "2"], cores)
    with ThreadPoolExecutor(2) as both:
        halves = [both.submit(timed, one_process(source, folder / "halves", part, 2), {core}) for part, core in enumerate(sorted(cores)[:2])]
        seconds["two_processes_2_cores"] = max(half.result() for half in halves)
    commands = sum(timed([*this, "upscale", str(path), str(folder / path.name), *NETWORKS], cores) for path in first)
    seconds["commands_2_cores"] = commands / len(first) * len(list(source.iterdir()))
    return seconds


def networks(count: int, rounds: int) -> dict[str, Any]:
    """See the module."""
    told = []
    for _ in range(rounds):
        folder = Path(tempfile.mkdtemp(prefix="superres3d-scale-"))
        try:
            make_scans(folder / "in", count, SHAPE_FOR_NETWORKS)
            told.append(network_round(folder / "in", folder))
        finally:
            shutil.rmtree(folder)
    shares = {
        "batch_over_one_process_1_core": ("batch_1_worker_1_core", "one_process_1_core"),
        "batch_over_one_process_2_cores": ("batch_1_worker_2_cores", "one_process_2_cores"),
        "batch_over_commands_2_cores": ("batch_1_worker_2_cores", "commands_2_cores"),
        "one_process_on_one_core_over_two_on_two": ("one_process_1_core", "two_processes_2_cores"),
        "one_worker_on_one_core_over_two_on_two": ("batch_1_worker_1_core", "batch_2_workers_2_cores"),
        "one_worker_on_two_cores_over_two_on_two": ("batch_1_worker_2_cores", "batch_2_workers_2_cores"),
    }
    middle = {name: round(statistics.median(seconds[over] / seconds[under] for seconds in told), 3) for name, (over, under) in shares.items()}
    return {"count": count, "shape": SHAPE_FOR_NETWORKS, **middle, "seconds": [{name: round(value, 2) for name, value in seconds.items()} for seconds in told]}


def ledger(count: int) -> dict[str, Any]:
    """Rows as a run writes them: all at once when it begins, then two a scan."""
    from superres3d.batch.ledger import Entry, Ledger

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        book = Ledger(path)
        entries = [Entry(f"{number:016x}", f"sub-{number}/scan.nii.gz", f"/data/sub-{number}/scan.nii.gz", f"sub-{number}/scan_x2.nii.gz", sha256="0" * 64, facts={"input": {"shape_ijk": [1, 2, 3]}}) for number in range(count)]
        started = time.perf_counter()
        book.put(*entries)
        begun_seconds, some = time.perf_counter() - started, entries[:2000]
        started = time.perf_counter()
        for entry in some:
            book.put(entry)
        each = (time.perf_counter() - started) / len(some)
        started = time.perf_counter()
        read = sum(1 for _ in book.entries())
        told = {"rows": read, "begin_seconds": round(begun_seconds, 2), "read_seconds": round(time.perf_counter() - started, 2), "seconds_a_change": round(each, 5), "bytes": path.stat().st_size}
        book.close()
        return told


def scheduler(count: int) -> dict[str, Any]:
    """Dask's own cost of a task that does nothing, through one scheduler, in a window as the batch has it."""
    from distributed import Client, LocalCluster, as_completed

    with LocalCluster(n_workers=1, threads_per_worker=4, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
        started = time.perf_counter()
        futures = [client.submit(int, number, key=f"nothing-{number}", pure=False) for number in range(min(count, 2000))]
        done, given = as_completed(futures), len(futures)
        for future in done:
            future.release()
            if given < count:
                done.add(client.submit(int, given, key=f"nothing-{given}", pure=False))
                given += 1
        seconds = time.perf_counter() - started
    return {"tasks": count, "seconds": round(seconds, 2), "tasks_a_second": round(count / seconds)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["scans", "networks", "ledger", "scheduler"])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    ways: dict[str, Callable[[], dict[str, Any]]] = {
        "scans": lambda: scans(chosen.count, chosen.kills, chosen.workers),
        "networks": lambda: networks(chosen.count, chosen.rounds),
        "ledger": lambda: ledger(chosen.count),
        "scheduler": lambda: scheduler(chosen.count),
    }
    told = ways[chosen.what]()
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
