#!/usr/bin/env python
"""Everything that is done while a graphics card is at hand, step by step, each within its own number of seconds.

    python Testing/Benchmarks/gpu/run.py --out OUT --budget 520 fast:90 train=mr.pack:300,--batch,8+right=references:70 told=mr.pack:90

A step that fails or takes too long is ended and the next one begins; what a step has written by then is kept.  At the end OUT holds
``logs.tar`` and ``trained.tar``, the weights and states of all trainings, cut into parts of at most 15 MiB.  ``--device cpu --tiny`` rehearses all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Annotated

import typer

_HERE = Path(__file__).parent
_PART_BYTES = 15 << 20
_GRACE = 15.0  # seconds over its budget after which a step is ended
#: the papers' networks, and what makes them small
_PAPERS = {"paper": ["--filters", "8", "--batch", "2", "--side", "8", "--repeat", "2"], "chen": ["--patch", "16", "--batch", "1", "--growth", "4", "--only", "mdcsrn"]}
_TINY = ["--features", "8", "--blocks", "1", "--batch", "2", "--side", "8", "--depth", "8"]


def commands(step: str, seconds: float, out: Path, device: str, tiny: bool, options: list[str]) -> list[list[str]]:
    """What a step runs, at the same time: "right=<references>", "fast", "train=<pack>", "told=<pack>&<pack>", "kudo=<pack>", "paper=<pack>&<pack>" or "chen=<pack>&<pack>"."""
    name, _, pack = step.partition("=")
    common = ["--seconds", f"{seconds:.0f}", "--device", device]
    if name in ("right", "fast"):
        verb = ["check", "--data", pack] if name == "right" else []
        return [[sys.executable, str(_HERE / f"{name}.py"), *verb, "--out", str(out), "--budget", f"{seconds:.0f}", "--device", device, *(["--tiny"] if tiny else []), *options]]
    if name == "train":
        return [[sys.executable, str(_HERE / "train.py"), pack, str(out / Path(pack).stem), *common, *(_TINY if tiny else options)]]
    if name == "told":
        sizes = ["--side", "8", "--batch", "2"] if tiny else options
        start = ["--start", str(_HERE.parents[2] / "models")]
        packs = pack.split("&")
        said = [word for path in packs for word in ("--said", str(Path(path).with_suffix(".said.npz")))]
        return [[sys.executable, str(_HERE / "told.py"), str(out / "told"), *packs, *said, *common, *start, *sizes]]
    if name == "kudo":
        sizes = ["--filters", "4", "--batch", "2"] if tiny else options
        return [[sys.executable, str(_HERE / "kudo.py"), "train", pack, str(out / "kudo"), *common, *sizes]]
    if name in _PAPERS:
        sizes = _PAPERS[name] if tiny else options
        return [[sys.executable, str(_HERE / f"{name}.py"), "train", str(out / name), *pack.split("&"), *common, *sizes]]
    raise SystemExit(f"The step {step!r} does not exist; use right=<folder of references>, fast, train=<pack>, told=<pack>, kudo=<pack>, paper=<pack> or chen=<pack>.")


def run(entry: str, left: float, out: Path, device: str, tiny: bool) -> list[dict[str, object]]:
    """Runs the steps that an entry joins by "+" at the same time; how each ended."""
    began = time.perf_counter()
    running = []
    for part in entry.split("+"):
        head, *options = part.split(",")
        step, _, wanted = head.rpartition(":")
        seconds = min(float(wanted), left)
        log = out / f"{step.partition('=')[0]}-{Path(step.partition('=')[2]).stem or 'log'}.txt"
        with open(log, "ab") as stream:
            processes = [subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT) for line in commands(step, seconds, out, device, tiny, options)]
        running.append((step, seconds, processes))
    ended = []
    for step, seconds, processes in sorted(running, key=lambda item: item[1]):
        codes = [_ended(process, seconds + _GRACE - (time.perf_counter() - began)) for process in processes]
        ended.append({"step": step, "seconds": round(time.perf_counter() - began, 1), "of": seconds, "ended": codes})
    return ended


def _ended(process: subprocess.Popen, timeout: float) -> int | str:
    """Its exit code; it is killed after ``timeout`` seconds."""
    try:
        return process.wait(timeout=max(0.1, timeout))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "took too long"


def collect(work: Path, out: Path) -> None:
    """The trainings' weights and states as parts of one archive."""
    archive = work / "trained.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(work.glob("*/*")):
            tar.add(path, path.relative_to(work))
    content = archive.read_bytes()
    for number, first in enumerate(range(0, len(content), _PART_BYTES)):
        (out / f"trained.tar.{number}").write_bytes(content[first : first + _PART_BYTES])


def main(
    steps: Annotated[list[str], typer.Argument(help="name:seconds; name is right=<folder>, fast, train=<pack>, told=<pack>&<pack>, kudo=<pack>, paper=<pack>&<pack> or chen=<pack>&<pack>; options after a comma; + for at the same time")],
    out: Annotated[Path, typer.Option()],
    budget: Annotated[float, typer.Option(help="Seconds for all steps; later ones get what is left.")] = 540.0,
    device: str = "cuda",
    tiny: bool = False,
) -> None:
    """See above."""
    began = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    work = Path("work-gpu")
    work.mkdir(exist_ok=True)
    for entry in steps:
        left = budget - (time.perf_counter() - began) - 5.0
        if left < 5.0:
            print(json.dumps({"step": entry, "ended": "no time was left"}), flush=True)
            continue
        for ended in run(entry, left, work, device, tiny):
            print(json.dumps(ended), flush=True)
    logs = [path for path in sorted(work.iterdir()) if path.is_file() and path.suffix in (".txt", ".jsonl")]
    with tarfile.open(out / "logs.tar", "w") as tar:
        for path in logs:
            tar.add(path, path.name)
    for path in logs:
        print(f"--- {path.name}\n" + path.read_text(errors="replace")[-2500:], flush=True)
    collect(work, out)


if __name__ == "__main__":
    typer.run(main)
