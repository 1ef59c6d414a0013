"""The rooms of the package and the arrows between them: a map for a reader, held by a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import superres3d

PACKAGE = Path(superres3d.__file__).parent
DEVELOPMENT = Path(__file__).resolve().parents[2] / "docs" / "development.md"

#: room (a folder, or a file beside them) -> what it may import; from what knows nothing to what knows all
MAY_USE: dict[str, str] = {
    "errors": "",  # what a user is told
    "staging": "errors",  # outputs that appear together or not at all
    "files": "errors staging",  # text files and output folders
    "reporter": "errors",  # progress on a terminal
    "resampling": "errors",  # interpolation, loss of resolution, consistency: mathematics on arrays
    "scan": "errors staging files resampling",  # the volume and its place in the patient, its files, its intensities
    "networks": "errors staging resampling",  # every network as one blueprint; weights and cards
    "detail": "errors resampling scan networks",  # what a scan shows: its loss of detail and its noise, measured on itself
    "adaptation": "errors resampling scan networks detail",  # a network goes on learning on the scan
    "engine": "errors resampling scan networks",  # how networks meet voxels
    "methods": "errors resampling networks",  # the catalogue
    "speed": "errors files networks engine methods",  # what this machine does
    "refinement": "errors methods",  # from any way of asking to the grid of the result
    "sizes": "networks engine methods",  # how large a run is
    "ahead": "resampling networks methods",  # whether larger networks are ahead on the scan
    "plan": "errors resampling scan networks adaptation ahead engine methods speed refinement sizes",  # what a run will be
    "catalogue": "methods plan",  # the catalogue in words
    "run_report": "scan engine methods plan",  # what a run tells of itself
    "upscaling": "errors resampling scan networks detail adaptation engine methods speed refinement plan ahead run_report",  # the run
    "live": "errors scan engine methods plan run_report upscaling",  # parts of one scan, while a user still chooses
    "trust": "errors resampling scan networks detail engine methods plan upscaling",  # whether a result can be believed
    "page": "files resampling scan networks detail methods trust",  # the one-page report
    "batch": "errors staging files reporter scan engine methods plan upscaling trust",  # many scans, here or on a cluster
    "demo": "errors staging files reporter resampling scan upscaling",  # a brain that comes with a package
    "training": "errors staging files reporter resampling scan networks engine methods",  # not needed to upscale
    "evaluation": "errors staging files reporter resampling scan networks engine methods plan upscaling trust",  # not needed to upscale
    "study": "errors staging files resampling scan methods upscaling trust page evaluation",  # what readers prefer; not needed to upscale
    "cli": "errors staging files reporter scan networks detail engine methods speed refinement plan catalogue upscaling live trust page batch demo training evaluation study",  # a door
}

#: the way of one scan: (from, to, what goes along); a scan's file and that of the result are no files of the package
WAY: tuple[tuple[str, str, str], ...] = (
    ("a scan", "scan/images.py", "voxels, header"),
    ("scan/images.py", "plan.py", "shape, spacing, type"),
    ("plan.py", "upscaling.py", "models, factors, memory"),
    ("upscaling.py", "engine/chain.py", "blocks with margins"),
    ("engine/chain.py", "engine/stages.py", "a block in the networks' intensities"),
    ("engine/stages.py", "engine/engine.py", "slices, or a volume"),
    ("engine/engine.py", "engine/tiled.py", "as many as fit"),
    ("engine/tiled.py", "engine/openvino_cpu.py", "tiles and turned copies"),
    ("engine/tiled.py", "engine/pytorch.py", "tiles and turned copies"),
    ("upscaling.py", "engine/device_block.py", "all of it, on a graphics card"),
    ("engine/chain.py", "scan/volume.py", "the wanted grid, rounded"),
    ("engine/device_block.py", "scan/volume.py", "the wanted grid, rounded"),
    ("scan/volume.py", "the result", "voxels, place in the patient"),
)


def imports_of(path: Path) -> set[Path]:
    """The files of the package that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found |= {file for name in node.names for file in (base / f"{name.name}.py", base.with_suffix(".py"), base / "__init__.py") if file.is_file()}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert not any(name.split(".")[0] == "superres3d" for name in names), f"{path}: relative imports within the package"
    return found - {path, PACKAGE / "__init__.py"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = {path: imports_of(path) for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"}


def test_every_room_is_on_the_map():
    assert {room_of(path) for path in FILES} == set(MAY_USE)


@pytest.mark.parametrize("room", MAY_USE)
def test_arrows_between_rooms(room):
    used = {room_of(other): path.name for path, others in FILES.items() if room_of(path) == room for other in others}
    assert set(used) - {room} <= set(MAY_USE[room].split()), used


def test_arrows_point_one_way():
    rooms = list(MAY_USE)
    assert all(rooms.index(used) < rooms.index(room) for room, others in MAY_USE.items() for used in others.split())


def test_no_two_files_import_each_other():
    """Nor in a circle: files can be put in an order in which each imports only earlier ones."""
    left = dict(FILES)
    while left:
        free = {path for path, others in left.items() if not others & set(left)}
        assert free, f"a circle among {[str(path.relative_to(PACKAGE)) for path in left]}"
        left = {path: others for path, others in left.items() if path not in free}


def test_a_circle_would_be_seen(monkeypatch):
    one, other = PACKAGE / "speed.py", PACKAGE / "plan.py"
    monkeypatch.setitem(FILES, one, FILES[one] | {other})
    with pytest.raises(AssertionError, match=r"a circle among .*plan\.py"):
        test_no_two_files_import_each_other()


def picture() -> str:
    """The rooms as a Mermaid graph: an arrow to each room that is used and not reached by way of another."""
    reach: dict[str, set[str]] = {}
    lines = ["```mermaid", "graph LR"]
    for room, others in MAY_USE.items():
        used = set(others.split())
        direct = {other for other in used if not any(other in reach[third] for third in used)}
        reach[room] = used | {far for other in used for far in reach[other]}
        lines += [f"    {room} --> {other}" for other in others.split() if other in direct]
    return "\n".join([*lines, "```"])


def picture_of_the_way() -> str:
    """The way of one scan as a Mermaid graph."""
    places = list(dict.fromkeys(place for start, end, _ in WAY for place in (start, end)))
    name = {place: f"p{number}" for number, place in enumerate(places)}
    lines = [f'    {name[place]}["{place}"]' if place.endswith(".py") else f'    {name[place]}(["{place}"])' for place in places]
    lines += [f'    {name[start]} -- "{along}" --> {name[end]}' for start, end, along in WAY]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def test_the_way_leads_through_files_and_along_arrows_of_the_map():
    """Data may go either way along an arrow."""
    for start, end, _ in WAY:
        files = [place for place in (start, end) if place.endswith(".py")]
        assert all((PACKAGE / place).is_file() for place in files), files
        rooms = {room_of(PACKAGE / place) for place in files}
        assert len(rooms) == 1 or any(rooms - {room} <= set(MAY_USE[room].split()) for room in rooms), (start, end)


@pytest.mark.parametrize("draw", [picture, picture_of_the_way])
def test_the_pictures_in_the_docs_are_made_from_the_map(draw):
    assert draw() in DEVELOPMENT.read_text(encoding="utf-8"), f"put this into docs/development.md:\n{draw()}"
