"""Names that no one expects: signs that rich, a terminal or an encoding would obey, names that are too long, folders that are closed."""

import errno
import json
import os
import sys

import numpy as np
import pytest
import typer
from superres3d import Volume
from superres3d.cli import info as info_module
from superres3d.cli.common import reporting
from superres3d.errors import InputError, ModelError
from superres3d.networks.weights import check_folder, find_model, has_model
from superres3d.reporter import BarReporter, printable
from superres3d.scan.images import read_volume

from .conftest import run_cli, smooth_noise, write

BRACKETS = "[bold]x[b] :smile: [/b]"
REPORT = {"output": {"shape_ijk": [2, 2, 2], "spacing_mm": [1.0, 1.0, 1.0]}, "method": "lanczos", "seconds": {"total": 1.0}, "statement": "So.", "warnings": [BRACKETS]}


def voxels():
    return np.maximum(smooth_noise((5, 8, 9)) * 1200 - 300, 0).astype(np.int16)


def test_a_bar_shows_a_name_as_it_is(capsys):
    with BarReporter() as reporter:
        reporter.done(BRACKETS, REPORT)
    told = capsys.readouterr().err
    assert f"{BRACKETS}: 2 x 2 x 2 voxels" in told and f"Note: {BRACKETS}" in told


def test_info_shows_a_name_as_it_is(tmp_path, monkeypatch, capsys):
    from superres3d.scan import images

    monkeypatch.setattr(images, "read_volume", lambda path, **chosen: Volume(voxels(), modality="PT", notes=(BRACKETS,)))
    monkeypatch.setenv("COLUMNS", "300")
    info_module.info(tmp_path / "[red]" / "[/b]\x1b[31m\n")
    told = capsys.readouterr().out
    assert f"{tmp_path}/[red]/[/b]\\x1b[31m\\n: 9 x 8 x 5 voxels" in told and f"Note: {BRACKETS}" in told and "\x1b" not in told


def test_an_error_is_one_line(capsys):
    with pytest.raises(typer.Exit), reporting("none"):
        raise InputError("a\nb\x1b[2J[/b] does not exist; so.")
    assert capsys.readouterr().err == "Error: a\\nb\\x1b[2J[/b] does not exist; so.\n"
    assert printable("größer 日本 [b]") == "größer 日本 [b]"


@pytest.mark.skipif(sys.platform != "linux", reason="names of other systems are text")
@pytest.mark.parametrize("suffix", [b".nii.gz", b".nrrd", b".mha"])
def test_a_name_that_is_no_utf8_is_read(tmp_path, suffix):
    source = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff\xfe" + suffix)
    path = write(tmp_path / os.fsdecode(b"in" + suffix), voxels())
    path.rename(source)
    done = run_cli("upscale", source, tmp_path / "out.nrrd", "--method", "linear", "--progress", "json", PYTHONIOENCODING="utf-8:strict")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "done"
    done = run_cli("info", source, PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0 and "udcff" in done.stdout, done.stderr


@pytest.mark.parametrize("command", [("info", "{}"), ("upscale", "{}", "o.nrrd"), ("train", "{}", "--data", ".", "--out", "r"), ("evaluate", "{}", "s.csv", "--out", "e"), ("evaluate", ".", "s.csv", "--out", "{}")])
@pytest.mark.parametrize("name", ["x" * 300, "d/" * 3000 + "a"])
def test_names_that_are_too_long_are_one_sentence(tmp_path, monkeypatch, capsys, command, name):
    from superres3d.cli import app
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.csv").write_text("id,split,modality\na,test,MR\n")
    write(tmp_path / "a.nii.gz", voxels())
    done = CliRunner().invoke(app, [part.format(name) for part in command] + (["--progress", "none"] if command[0] == "upscale" else []))
    assert done.exit_code == 2 and done.stderr.count("Error:") == 1 and done.stderr.count("\n") == 1, (done.stderr, done.exception)


def test_a_scan_whose_name_no_disk_takes_is_an_input_error():
    with pytest.raises(InputError, match=r"cannot be opened \(File name too long\); check its name") as refusal:
        read_volume("x" * 3000)
    assert len(str(refusal.value)) < 200


def test_what_is_closed_is_told_in_words(tmp_path, monkeypatch, capsys):
    """As an ordinary user meets it, whoever runs the tests."""
    path = write(tmp_path / "a.nrrd", voxels())
    denied = PermissionError(errno.EACCES, "Permission denied", str(path))

    def refuses(*given, **named):
        raise denied

    with monkeypatch.context() as patched:
        patched.setattr(type(path), "stat", refuses)
        with pytest.raises(InputError, match=r"a\.nrrd cannot be opened \(Permission denied\); check its name and its permissions\.$"):
            read_volume(path)
    with pytest.raises(typer.Exit) as end, reporting("none"):
        raise denied
    assert end.value.exit_code == 2 and "a.nrrd cannot be used (Permission denied); check" in capsys.readouterr().err
    with pytest.raises(OSError, match="no name"), reporting("none"):
        raise OSError(errno.EIO, "no name")


@pytest.mark.parametrize("folder", ["nowhere", "file.txt", "x" * 300, "[/b]", os.fsdecode(b"\xff")])
def test_a_wrong_folder_of_models_is_told(tmp_path, monkeypatch, folder):
    (tmp_path / "file.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", folder)
    has_model("two-stage-residual-mr-plane-x2")  # the panel asks it often
    for refused in (check_folder, lambda: find_model("two-stage-residual-mr-plane-x2")):
        with pytest.raises(ModelError, match=r"^SUPERRES3D_MODELS is '.*', which is no folder that can be read; correct it, or unset it\.$"):
            refused()
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    check_folder()


def test_methods_tells_of_a_wrong_folder():
    done = run_cli("methods", SUPERRES3D_MODELS="/nowhere")
    assert done.returncode == 3 and done.stderr.startswith("Error: SUPERRES3D_MODELS is '/nowhere'") and done.stderr.count("\n") == 1
