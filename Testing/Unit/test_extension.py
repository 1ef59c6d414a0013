"""The extension's files: what CMake packages, and what the Extensions Index checks before it takes an extension."""

import json
import re
import shutil
import struct
import subprocess

import pytest

# A part of the index's closed list that could suit this extension.
CATEGORIES = {"Filtering", "Image Synthesis", "Utilities"}
LARGEST_REPOSITORY = 100 << 20
SCHEMA_KEYS = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}


@pytest.fixture
def root(pytestconfig):
    return pytestconfig.rootpath


def listed(text: str, variable: str) -> set[str]:
    block = re.search(rf"set\({variable}\s+(.*?)\)", text, re.DOTALL).group(1)
    return {line.strip().replace("${MODULE_NAME}", "SuperResolution3D") for line in block.splitlines() if line.strip()}


def tracked(root, folder) -> set[str]:
    """Files of a folder that git knows, relative to it."""
    if not shutil.which("git") or not (root / ".git").exists():
        pytest.skip("needs git and a checkout")
    told = subprocess.run(["git", "ls-files", "-z"], cwd=folder, check=True, capture_output=True, text=True).stdout
    return set(filter(None, told.split("\0")))


@pytest.mark.parametrize("name", ["SuperResolution3D", "SuperResolution3DReaderStudy"])
def test_cmake_names_every_script_and_resource(root, name):
    module = root / name
    text = (module / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", name)
    assert f"add_subdirectory({name})" in (root / "CMakeLists.txt").read_text()
    files = tracked(root, module)
    scripts = {file for file in files if file == f"{name}.py" or file.startswith("Logic/")}
    resources = {file for file in files if file.startswith("Resources/")}
    assert scripts and resources
    assert listed(text, "MODULE_PYTHON_SCRIPTS") == scripts
    assert listed(text, "MODULE_PYTHON_RESOURCES") == resources


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-networks.txt"])
def test_what_the_panel_installs_is_what_the_package_needs(root, name):
    """Of the same versions."""
    needed = set(re.findall(r'^  "([\w-]+>=[\d.]+)",$', (root / "pyproject.toml").read_text().split("dependencies = [")[1].split("]")[0], re.MULTILINE))
    lines = (root / "SuperResolution3D" / "Resources" / name).read_text().splitlines()
    installed = {line for line in lines if line and not line.startswith("#")}
    assert installed and installed <= needed


def test_index_entry(root):
    content = (root / "SuperResolution3D.json").read_bytes()
    entry = json.loads(content)
    assert b"\r" not in content and content.endswith(b"\n")
    assert set(entry) == SCHEMA_KEYS
    assert entry["category"] in CATEGORIES and entry["build_dependencies"] == ["PyTorch"]
    assert re.fullmatch(r"https://.*/Slicer[^/]*\.git", entry["scm_url"])  # the repository's name starts with Slicer
    assert 1 <= entry["tier"] <= 5
    text = (root / "CMakeLists.txt").read_text()
    assert re.findall(r"project\s*\(\s*([^\s)]+)", text) == ["SuperResolution3D"]  # the json's name, which must not start with Slicer
    assert f"set(EXTENSION_TIER {entry['tier']})" in text


def test_extension_metadata_is_complete_and_each_in_one_line(root):
    text = (root / "CMakeLists.txt").read_text()
    for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"):
        assert re.search(rf'^set\(EXTENSION_{name} "[^"]+"\)$', text, re.MULTILINE), name
    assert re.search(r"^set\(EXTENSION_DEPENDS PyTorch\)$", text, re.MULTILINE)


def test_pictures_of_the_extension_are_in_the_repository(root):
    """The index downloads them: png, jpeg or gif, from the main branch."""
    text = (root / "CMakeLists.txt").read_text()
    for name in ("ICONURL", "SCREENSHOTURLS"):
        for url in re.search(rf'set\(EXTENSION_{name} "([^"]+)"\)', text).group(1).split():
            assert url.endswith((".png", ".jpg", ".jpeg", ".gif"))
            assert (root / url.split("/main/")[1]).is_file(), url


def test_size_of_the_repository_with_its_history(root):
    """What a clone fetches and writes; `count-objects` would count an object that lies there twice (loose and packed) twice."""
    files = tracked(root, root)
    command = ["git", "rev-list", "--objects", "--disk-usage", "HEAD"]
    history = int(subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout)
    assert history > 0
    assert sum((root / name).stat().st_size for name in files) + history < LARGEST_REPOSITORY


def test_licence_and_icon(root):
    assert "Apache License" in (root / "LICENSE").read_text()
    icon = (root / "SuperResolution3D" / "Resources" / "Icons" / "SuperResolution3D.png").read_bytes()
    assert struct.unpack(">II", icon[16:24]) == (128, 128)
