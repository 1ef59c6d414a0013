"""Random bytes changed in headers: each scan is read right or refused in one sentence, quickly, in little memory, without a trace and without a file.

    python -m Testing.Fuzz.fuzz --count 2000 [--format NAME ...] [--seed 1] [--findings FILE]

What the product reads is compared with an independent reader.  "wrong" is a difference of which no note tells; it and "trace", "slow", "memory", "ended",
"noise", "words" and "left" are findings, and the exit code is then 1.  "told" differs and a note tells of it; "alone" is read by the product only.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .formats import MAKERS, Format, format_of

FINE = ("right", "refused", "told", "alone")
MEBIBYTES = 256
_TEXT = b"0123456789.,-+ ()eEnN%\t\n\0\"=:/"
_SAME, _TURNED = 0.11, 5e-4  # of a voxel's smallest side at the farthest corner (forms of NIfTI that differ by a tenth count as one); of the extent (axes made exact)

Edits = list[tuple[int, int]]


@dataclass
class Server:
    """A reader in a process of its own, started again when it ended."""

    reader: str
    warm_up: Path
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def ask(self, path: Path) -> dict[str, Any]:
        """The answer of :mod:`.server`, or that the process ended."""
        if not self._process or self._process.poll() is not None:
            command = [sys.executable, "-m", "Testing.Fuzz.server", f"Testing.Fuzz.readers.{self.reader}", str(self.warm_up), str(MEBIBYTES)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", cwd=Path(__file__).parents[2])
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
        return json.loads(line) if line else {"outcome": "ended", "noise": ""}

    def close(self) -> None:
        """End the process."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


def edits_of(scan: Format, chance: random.Random) -> Edits:
    """One to four bytes: any, or such as make other numbers; of text half of the time digits alone."""
    begin = scan.files[scan.name][: scan.header]
    if b"\0" in begin:
        return [(chance.randrange(scan.header), _byte(bytes((0, 1, 2, 3, 4, 127, 128, 255)), chance)) for _ in range(chance.randint(1, 4))]
    if chance.random() < 0.5:
        digits = [offset for offset, byte in enumerate(begin) if byte in b"0123456789.-"]
        return [(chance.choice(digits), chance.choice(b"0123456789.-")) for _ in range(chance.randint(1, 3))]
    return [(chance.randrange(scan.header), _byte(_TEXT, chance)) for _ in range(chance.randint(1, 2))]


def _byte(likely: bytes, chance: random.Random) -> int:
    return chance.choice(likely) if chance.random() < 0.6 else chance.randrange(256)


def verdict(scan: Format, path: Path, product: Server, other: Server) -> tuple[str, dict[str, Any]]:
    """What came of a file; its folder holds only what belongs to the scan."""
    told = product.ask(path)
    results = path.parent / "product.npz"
    left = {file.name for file in path.parent.iterdir()} - {*scan.files, results.name}
    if left:
        return "left", told
    if told["noise"]:
        return "noise", told
    if told["outcome"] == "refused":
        return ("refused" if _is_a_sentence(told["message"]) else "words"), told
    if told["outcome"] != "read":
        return told["outcome"], told
    if other.ask(path)["outcome"] != "read":
        return "alone", told
    same = _same(np.load(results), np.load(path.parent / f"{scan.reader}.npz"))
    return ("right" if same else "told" if told["notes"] else "wrong"), told


def _is_a_sentence(message: str) -> bool:
    return "\n" not in message and message.endswith(".") and message.isprintable() and len(message) < 500


def _same(ours: Any, others: Any) -> bool:
    """The same voxels at the same places."""
    if ours["voxels"].shape != others["voxels"].shape or not np.isfinite(others["matrix"]).all():
        return False
    with np.errstate(all="ignore"):
        return _near(ours, others) and np.allclose(ours["voxels"], others["voxels"], rtol=1e-5, atol=0)


def _near(ours: Any, others: Any) -> bool:
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in ours["voxels"].shape[::-1]])).reshape(3, -1)
    apart = np.abs((ours["matrix"] - others["matrix"]) @ np.vstack([corners, np.ones(corners.shape[1])])).max()
    sides = np.linalg.norm(ours["matrix"][:3, :3], axis=0)
    return bool(apart <= _SAME * sides.min() + _TURNED * np.linalg.norm(sides * ours["voxels"].shape[::-1]))


def trials(name: str, count: int, seed: int) -> Iterator[tuple[Edits, str, dict[str, Any]]]:
    """Altered scans of a format and what came of each."""
    scan, chance = format_of(name), random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as folder:
        good = _written(scan, [], Path(folder) / "good")
        product, other = Server("product", good), Server(scan.reader, good)
        try:
            if verdict(scan, good, product, other)[0] != "right":
                raise SystemExit(f"{name}: the good scan is not read right")
            for number in range(count):
                edits = edits_of(scan, chance)
                path = _written(scan, edits, Path(folder) / str(number))
                yield edits, *verdict(scan, path, product, other)
                _remove(path.parent)
        finally:
            product.close()
            other.close()


def _written(scan: Format, edits: Edits, folder: Path) -> Path:
    folder.mkdir()
    for name, content in scan.altered(edits).items():
        (folder / name).write_bytes(content)
    return folder / scan.name


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="headers a format")
    parser.add_argument("--format", action="append", choices=sorted(MAKERS), help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, help="JSON lines of all that is not right or refused")
    chosen = parser.parse_args()
    found = 0
    for name in chosen.format or MAKERS:
        counts: Counter[str] = Counter()
        for edits, outcome, told in trials(name, chosen.count, chosen.seed):
            counts[outcome] += 1
            if outcome not in ("right", "refused") and chosen.findings:
                with open(chosen.findings, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"format": name, "outcome": outcome, "edits": edits, "told": told}) + "\n")
        found += sum(number for outcome, number in counts.items() if outcome not in FINE)
        print(name, ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()), flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
