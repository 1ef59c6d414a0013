"""``superres3d batch`` on a cluster of many workers that only pretend to compute: what the scheduler, the command, its ledger and the disk have to bear.

    python Testing/Benchmarks/batch_cluster.py --count 20000 --workers 1000 --seconds 10

A real Dask scheduler, real workers (several hundred in a process, one thread each), the real command's run with its ledger and its pages, and as many files as
scans; in place of the networks a task sleeps for the given seconds and writes the three files of a result.  Prints JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

IN_A_PROCESS = 250  # workers
QUIET = {
    "distributed.worker.profile.enabled": False, "distributed.worker.memory.target": False, "distributed.worker.memory.spill": False, "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False, "distributed.admin.system-monitor.interval": "60s", "distributed.admin.tick.interval": "10s", "distributed.scheduler.worker-ttl": None,
}  # fmt: skip


async def host(address: str, count: int) -> None:
    """Workers, until the process is ended."""
    import dask
    from distributed import Worker

    dask.config.set(QUIET)
    workers = [Worker(address, nthreads=1, dashboard=False, memory_limit=0, local_directory=tempfile.gettempdir()) for _ in range(count)]
    for first in range(0, count, 25):
        await asyncio.gather(*workers[first : first + 25])
    await asyncio.gather(*(worker.finished() for worker in workers))


def pretended(seconds: float) -> Any:
    """In place of :func:`superres3d.batch.cluster.do_on_worker`."""

    def do(told: dict[str, Any], run: str) -> dict[str, Any]:
        import os
        import time

        time.sleep(seconds)
        for name in ("result", "report", "thumbnail"):
            os.makedirs(os.path.dirname(told[name]), exist_ok=True)
            with open(told[name] + ".part", "wb") as file:
                file.write(bytes(2000))
            os.replace(told[name] + ".part", told[name])
        facts = {"input": {"shape_ijk": [256, 256, 30], "spacing_mm": [1, 1, 4]}, "output": {"shape_ijk": [512, 512, 60], "spacing_mm": [0.5, 0.5, 2]}}
        return {"state": "done", "sha256": "0" * 64, "bytes": 2000, "seconds": seconds, "models": {"a-model-of-the-plane": "0" * 64, "a-model-of-the-depth": "0" * 64}, "facts": facts}

    return do


def make_scans(folder: Path, count: int) -> None:
    """Small NRRD files, fifty in a folder, as subjects of a study."""
    header = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 8 8 6\nspace directions: (1,0,0) (0,1,0) (0,0,4)\nkinds: domain domain domain\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    content = header.encode() + bytes(8 * 8 * 6 * 2)
    for number in range(count):
        place = folder / f"site-{number // 50:05}"
        if number % 50 == 0:
            place.mkdir(parents=True)
        (place / f"sub-{number:06}.nrrd").write_bytes(content)


def run(source: Path, out: Path, address: str, workers: int, seconds: float) -> dict[str, Any]:
    """The command's own run, with what it needed."""
    from superres3d.batch import cluster
    from superres3d.batch.choices import Choices
    from superres3d.batch.planning import Filters
    from superres3d.batch.run import Batch, Settings
    from superres3d.batch.teller import Teller

    class Clock(Teller):
        def begin(self, count: int, seconds: float) -> None:
            self.begun = time.perf_counter()

        def scan(self, entry: Any, count: int, of: int) -> None:
            self.last = time.perf_counter()

    cluster.do_on_worker = pretended(seconds)
    crew = cluster.connected(address, "simulated", {}, print)
    crew._client.wait_for_workers(workers, timeout=600)
    clock, started = Clock(), time.perf_counter()
    summary = Batch(source, out, Choices("cubic", {"modality": "MR"}), Filters(), Settings(crew=lambda _: crew), clock).run()
    ended = time.perf_counter()
    return {
        "done": summary.done, "exit_code": summary.exit_code, "find_and_plan_seconds": round(clock.begun - started, 1), "compute_seconds": round(clock.last - clock.begun, 1),
        "pages_seconds": round(ended - clock.last, 1), "command_mib": round(psutil.Process().memory_info().rss / 2**20), "command_cpu_seconds": round(sum(psutil.Process().cpu_times()[:2]), 1),
        "ledger_bytes": (out / "batch" / "superres3d-ledger.sqlite").stat().st_size, "page_bytes": (out / "batch" / "report.html").stat().st_size,
    }  # fmt: skip


def simulated(count: int, workers: int, seconds: float) -> dict[str, Any]:
    """All of it."""
    folder, processes = Path(tempfile.mkdtemp(prefix="superres3d-cluster-")), []
    variables = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "600s", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "120s"}

    def start(*command: str) -> psutil.Process:
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=variables)
        processes.append(process)
        return psutil.Process(process.pid)

    try:
        make_scans(folder / "in", count)
        told = folder / "scheduler.json"
        scheduler = start("-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(told))
        while not (told.exists() and told.read_text().strip().endswith("}")):
            time.sleep(0.1)
        address = json.loads(told.read_text())["address"]
        for first in range(0, workers, IN_A_PROCESS):
            start(__file__, "--host", address, "--workers", str(min(IN_A_PROCESS, workers - first)))
        done = run(folder / "in", folder / "out", address, workers, seconds)
        spent = scheduler.cpu_times()
        needed = {"scheduler_cpu_seconds": round(spent.user + spent.system, 1), "scheduler_mib": round(scheduler.memory_info().rss / 2**20)}
        ideal = count * seconds / workers
        return {"count": count, "workers": workers, "seconds_a_scan": seconds, "ideal_seconds": round(ideal, 1), **done, **needed, "files": sum(1 for _ in (folder / "out").rglob("*"))}
    finally:
        for process in processes:
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--host", metavar="ADDRESS", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.host:
        asyncio.run(host(chosen.host, chosen.workers))
        return
    print(json.dumps(simulated(chosen.count, chosen.workers, chosen.seconds), indent=2))


if __name__ == "__main__":
    main()
