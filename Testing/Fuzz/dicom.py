"""Random damage to the headers of a classic series and of a multi-frame file: read right, or refused in one sentence, quickly and without a trace.

    python -m Testing.Fuzz.dicom --count 1000 [--form classic|enhanced|rle] [--seed 1] [--findings FILE]

What is read is compared with pydicom used by hand, slice by slice.  "wrong" is a difference of which no note tells; it and "trace", "slow", "memory", "words" and "noise"
are findings, and the exit code is then 1.  "told" differs and a note tells of it; "alone" is what pydicom by hand does not read.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import RLELossless
from superres3d import Volume, read_volume
from superres3d.errors import SuperResolutionError

from Testing.Unit.dicom_files import enhanced, save, stored, write_series

FINE = ("right", "refused", "told", "alone")
SECONDS, MEBIBYTES = 10, 512
_TEXT = b"0123456789.,-+\\ eEnNxX\0"
_TAGS = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept", "Rows", "Columns", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Modality", "ImageType", "SOPClassUID", "SliceThickness",
    "SeriesInstanceUID", "InstanceNumber", "SpacingBetweenSlices", "EchoTime", "RescaleType", "FrameOfReferenceUID",
)  # fmt: skip
_VALUES = (
    b"", b"0", b"1", b"2", b"-1", b"3.5", b"1,5", b"abc", b"nan", b"inf", b"1e400", b"-1e9", b"0\\0", b"1\\2", b"1\\2\\3", b"0.8\\0.8", b"0.8\\", b"1\\0\\0\\0\\1\\0", b"0\\0\\0\\0\\0\\0",
    b"1\\2\\3\\4\\5\\6", b"\xff\xfe", b"\0\0", b"\x08\0", b"\x0c\0", b"\x10\0", b"\x0f\0", b"\xff\xff", b"\x01\0\x02\0", b"1_0", b"0x10", b"MONOCHROME1", b"RGB", b"[bold]", b"1e-30", b"99999999999999",
)  # fmt: skip


class Slow(BaseException):
    """A file took longer than it may."""


def good(form: str, folder: Path) -> Path:
    """The scan that is to be damaged."""
    if form == "classic":
        return write_series(folder, stored(), change=_oblique)
    header = enhanced(stored())
    if form == "rle":
        header.compress(RLELossless, generate_instance_uid=False)
    return save(header, folder / "mr.dcm").parent


def _oblique(header: pydicom.Dataset, k: int) -> None:
    header.RescaleIntercept, header.SpacingBetweenSlices, header.EchoTime, header.RescaleType = -1000, 2.5, "10", "HU"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]


def damage(folder: Path, chance: random.Random) -> str:
    """Alter one or all of the files; returns what was done."""
    files = sorted(folder.iterdir())
    chosen = files if chance.random() < 0.4 else [chance.choice(files)]
    kind = chance.choice(("bytes", "bytes", "bytes", "value", "value", "value", "cut", "delete"))
    seed = chance.random()
    for file in chosen:
        one = random.Random(seed)
        told = {"bytes": _bytes, "value": _value, "cut": _cut, "delete": _delete}[kind](file, one)
    return f"{len(chosen)} files: {told}"


def _bytes(file: Path, chance: random.Random) -> str:
    content = bytearray(file.read_bytes())
    end = max(content.find(b"\xe0\x7f\x10\x00"), 140) + 12
    edits = [(chance.randrange(120, end), chance.choice(_TEXT) if chance.random() < 0.6 else chance.randrange(256)) for _ in range(chance.randint(1, 4))]
    for offset, byte in edits:
        content[offset] = byte
    file.write_bytes(content)
    return f"bytes {edits}"


def _elements(content: bytes, keyword: str) -> list[int]:
    """Where the elements of a tag begin, also those in sequences."""
    tag = pydicom.tag.Tag(keyword)
    mark = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
    return [place for place in range(132, len(content)) if content.startswith(mark, place) and content[place + 4 : place + 6].isalpha()]


def _value(file: Path, chance: random.Random) -> str:
    """Another value in an element of short form; in a sequence of undefined length this is no other damage."""
    content, keyword, value = file.read_bytes(), chance.choice(_TAGS), chance.choice(_VALUES)
    value += b"\0" * (len(value) % 2)
    places = _elements(content, keyword)
    for place in places[:1] if chance.random() < 0.5 else places[::-1]:
        length = int.from_bytes(content[place + 6 : place + 8], "little")
        content = content[: place + 6] + len(value).to_bytes(2, "little") + value + content[place + 8 + length :]
    file.write_bytes(content)
    return f"value {keyword} {value!r}"


def _delete(file: Path, chance: random.Random) -> str:
    content, keyword = file.read_bytes(), chance.choice(_TAGS)
    for place in _elements(content, keyword)[::-1]:
        content = content[:place] + content[place + 8 + int.from_bytes(content[place + 6 : place + 8], "little") :]
    file.write_bytes(content)
    return f"delete {keyword}"


def _cut(file: Path, chance: random.Random) -> str:
    content = file.read_bytes()
    kept = chance.randrange(len(content))
    file.write_bytes(content[:kept])
    return f"cut to {kept}"


def by_hand(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All slices of all files in the order of their places: (values (k, j, i), LPS matrix); anything odd raises."""
    slices = []
    for file in sorted(folder.iterdir()):
        header = pydicom.dcmread(file, force=True)
        header.pixel_array_options(decoding_plugin="pydicom" if header.file_meta.TransferSyntaxUID == RLELossless else "")
        pixels = header.pixel_array.reshape(-1, header.Rows, header.Columns).astype(float)
        shared = header.get("SharedFunctionalGroupsSequence", [header])[0]
        for k, values in enumerate(pixels):
            own = header.PerFrameFunctionalGroupsSequence[k] if "PerFrameFunctionalGroupsSequence" in header else header
            slices.append(_slice(header, shared, own, values))
    normal = np.cross(slices[0][1][:3], slices[0][1][3:])
    slices.sort(key=lambda one: float(one[0] @ normal))
    return np.array([one[3] for one in slices]), _matrix(slices, normal)


def _slice(header: Any, shared: Any, own: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    def found(group: str, keyword: str, default: Any = None) -> Any:
        for layer in (own, shared):
            if group in layer and keyword in layer[group].value[0]:
                return layer[group].value[0].get(keyword)
        return header.get(keyword, default)

    slope, intercept = float(found("PixelValueTransformationSequence", "RescaleSlope", 1)), float(found("PixelValueTransformationSequence", "RescaleIntercept", 0))
    place, axes = found("PlanePositionSequence", "ImagePositionPatient"), found("PlaneOrientationSequence", "ImageOrientationPatient")
    return np.array(place, float), np.array(axes, float), np.array(found("PixelMeasuresSequence", "PixelSpacing"), float), values * slope + intercept


def _matrix(slices: list[Any], normal: np.ndarray) -> np.ndarray:
    (first, axes, spacing, _), last = slices[0], slices[-1]
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = axes[:3] * spacing[1], axes[3:] * spacing[0]
    matrix[:3, 2], matrix[:3, 3] = (last[0] - first) / (len(slices) - 1), first
    return matrix


def verdict(folder: Path) -> tuple[str, str]:
    """(outcome, what was said)."""
    noise = io.StringIO()
    try:
        with _within(SECONDS), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            volume = read_volume(folder)
    except SuperResolutionError as error:
        return ("refused" if _is_a_sentence(str(error)) else "words"), str(error)
    except Slow:
        return "slow", ""
    except MemoryError:
        return "memory", ""
    except Exception:
        return "trace", traceback.format_exc()[-1500:]
    return ("noise", noise.getvalue()) if noise.getvalue() else (_compared(volume, folder), "; ".join(volume.notes))


def _compared(volume: Volume, folder: Path) -> str:
    try:
        with warnings.catch_warnings(), _within(SECONDS):
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*RLE segment")
            values, matrix = by_hand(folder)
    except Exception:
        return "alone"
    ours = np.eye(4)
    ours[:3, :3], ours[:3, 3] = volume.direction * volume.spacing, volume.origin
    corner = np.array([*values.shape[::-1], 1.0])
    same = values.shape == volume.voxels.shape and np.allclose(values, volume.voxels, rtol=1e-5)
    same = same and np.abs((ours - matrix) @ corner).max() <= 0.11 * min(volume.spacing)
    return "right" if same else "told" if volume.notes else "wrong"


def _is_a_sentence(message: str) -> bool:
    return "\n" not in message and message.rstrip().endswith((".", "openjpeg", "libjpeg", "rle")) and message.isprintable() and len(message) < 900


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _slow(*_: Any) -> None:
    raise Slow


def trials(form: str, count: int, seed: int) -> Iterator[tuple[str, str, str]]:
    """(what was done, outcome, what was said) of each."""
    signal.signal(signal.SIGALRM, _slow)
    chance = random.Random(f"{form} {seed}")
    with tempfile.TemporaryDirectory() as base:
        source = good(form, Path(base) / "good")
        assert verdict(source)[0] == "right"
        for number in range(count):
            folder = Path(base) / str(number)
            shutil.copytree(source, folder)
            done = damage(folder, chance)
            yield done, *verdict(folder)
            shutil.rmtree(folder)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="scans a form")
    parser.add_argument("--form", action="append", choices=("classic", "enhanced", "rle"), help="may be repeated; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, help="JSON lines of all that is not right or refused")
    chosen = parser.parse_args()
    with open("/proc/self/statm", encoding="ascii") as file:
        most = int(file.read().split()[0]) * resource.getpagesize() + MEBIBYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found = 0
    for form in chosen.form or ("classic", "enhanced", "rle"):
        counts: Counter[str] = Counter()
        for done, outcome, told in trials(form, chosen.count, chosen.seed):
            counts[outcome] += 1
            if outcome not in ("right", "refused") and chosen.findings:
                with open(chosen.findings, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"form": form, "outcome": outcome, "done": done, "told": told}) + "\n")
        found += sum(number for outcome, number in counts.items() if outcome not in FINE)
        print(form, ", ".join(f"{number} {outcome}" for outcome, number in counts.most_common()), flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
