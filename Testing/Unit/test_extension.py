"""The extension's files: what CMake packages, and what the Extensions Index asks for."""

import json
import re
import struct

import pytest

SCHEMA_KEYS = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}


@pytest.fixture
def root(pytestconfig):
    return pytestconfig.rootpath


def listed(text: str, variable: str) -> set[str]:
    block = re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL).group(1)
    return {line.strip().replace("${MODULE_NAME}", "SuperResolution3D") for line in block.splitlines() if line.strip()}


def test_cmake_names_every_script_and_resource(root):
    module = root / "SuperResolution3D"
    text = (module / "CMakeLists.txt").read_text()
    scripts = {"SuperResolution3D.py"} | {path.relative_to(module).as_posix() for path in module.glob("Logic/**/*.py")}
    resources = {path.relative_to(module).as_posix() for path in module.glob("Resources/**/*") if path.is_file() and "__pycache__" not in path.parts}
    assert listed(text, "MODULE_PYTHON_SCRIPTS") == scripts
    assert listed(text, "MODULE_PYTHON_RESOURCES") == resources


def test_index_entry(root):
    content = (root / "SuperResolution3D.json").read_bytes()
    entry = json.loads(content)
    assert b"\r" not in content and content.endswith(b"\n")
    assert set(entry) == SCHEMA_KEYS
    assert entry["category"] == "Filtering" and entry["build_dependencies"] == ["PyTorch"]
    assert re.fullmatch(r"https://.*/Slicer[^/]*\.git", entry["scm_url"])  # the repository's name starts with Slicer
    text = (root / "CMakeLists.txt").read_text()
    assert "project(SuperResolution3D)" in text  # the extension's name is the json's, and does not


def test_extension_metadata_is_complete_and_each_in_one_line(root):
    text = (root / "CMakeLists.txt").read_text()
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        assert re.search(rf'^set\(EXTENSION_{name} "[^"]+"\)$', text, re.MULTILINE), name
    assert re.search(r"^set\(EXTENSION_DEPENDS PyTorch\)$", text, re.MULTILINE)


def test_licence_and_icon(root):
    assert "Apache License" in (root / "LICENSE").read_text()
    icon = (root / "SuperResolution3D" / "Resources" / "Icons" / "SuperResolution3D.png").read_bytes()
    assert struct.unpack(">II", icon[16:24]) == (128, 128)
