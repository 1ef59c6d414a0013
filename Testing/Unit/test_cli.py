"""The command line as a user runs it: each format, every refusal, an interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import typer
from superres3d import read_volume, write_volume
from superres3d.cli.common import needs, reporting
from superres3d.cli.outputs import Outputs
from superres3d.errors import InputError, ResourceError
from superres3d.upscaling import plan_for

from .conftest import run_cli, smooth_noise, write


@pytest.fixture
def source(tmp_path, scan):
    """With a dark background, as MR has it: a NIfTI file does not tell its modality."""
    write_volume(replace(scan, voxels=np.maximum(scan.voxels * 4 // 3 - 300, 0).astype(np.int16)), tmp_path / "in.nii.gz")
    return tmp_path / "in.nii.gz"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_upscale_writes_result_comparison_and_report(tmp_path, source, models):
    done = run_cli("upscale", source, tmp_path / "out.nrrd", "--compare", tmp_path / "lanczos.nii.gz", "--report", tmp_path / "r.json", "--axes", "through-plane")
    assert done.returncode == 0, done.stderr
    scan, result, lanczos = (read_volume(tmp_path / name) for name in ("in.nii.gz", "out.nrrd", "lanczos.nii.gz"))
    assert result.voxels.shape == lanczos.voxels.shape == (18, 18, 22)
    assert result.voxels.dtype == lanczos.voxels.dtype == scan.voxels.dtype
    np.testing.assert_allclose(result.position((0, 0, -0.5)), scan.position((0, 0, -0.5)), atol=1e-4)
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["method"] == "two-stage-told" and report["factors_ijk"] == [1, 1, 2]
    assert "not for diagnosis" in done.stderr


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_every_format_in_and_out(tmp_path, scan, suffix):
    write_volume(scan, tmp_path / f"in{suffix}")
    done = run_cli("upscale", tmp_path / f"in{suffix}", tmp_path / f"out{suffix}", "--method", "linear", "--scale", "2,4", "--progress", "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read_volume(tmp_path / f"out{suffix}").voxels.shape == (36, 36, 44)


def test_json_progress_is_one_object_a_line(tmp_path, source, models):
    done = run_cli("upscale", source, tmp_path / "out.nii", "--progress", "json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done" and events[-1]["output"] == str(tmp_path / "out.nii")
    shares = [event["share"] for event in events if event["event"] == "progress"]
    assert shares == sorted(shares) and shares[-1] == 1.0


REFUSALS = {
    "missing file": (["nowhere.nii", "out.nii"], "does not exist"),
    "factor 3": (["in.nii.gz", "out.nii", "--scale", "3"], "factor 3 cannot be used"),
    "factor text": (["in.nii.gz", "out.nii", "--scale", "big"], "factor 'big' cannot be used"),
    "unknown method": (["in.nii.gz", "out.nii", "--method", "magic"], "use one of two-stage-told"),
    "absent device": (["in.nii.gz", "out.nii", "--device", "cuda:77"], "cuda:77 is not there"),
    "no folder": (["in.nii.gz", "no/out.nii"], "does not exist; create it"),
    "bad suffix": (["in.nii.gz", "out.png"], "no suffix that can be written"),
    "onto itself": (["in.nii.gz", "in.nii.gz"], "are the same"),
    "no memory limit": (["in.nii.gz", "out.nii", "--memory-limit", "inf"], "The memory limit inf cannot be used"),
    "too large": (["in.nii.gz", "out.nii", "--scale", "4", "--memory-limit", "0.1"], "of memory and"),
    "label map": (["labels.nrrd", "out.nii"], "label map"),
    "report folder": (["in.nii.gz", "out.nii", "--report", "no/r.json"], "does not exist; create it"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_are_one_sentence_and_write_nothing(tmp_path, source, models, case, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "labels.nrrd", (smooth_noise((6, 20, 20)) > 0.5).astype(np.uint8))
    before = names(tmp_path)
    arguments, sentence = REFUSALS[case]
    done = run_cli("upscale", *arguments, "--progress", "none")
    assert done.returncode not in (0, 1)
    assert sentence in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert names(tmp_path) == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["info", "in.nii.gz"], ["upscale", "in.nii.gz", "out.nii", "--method", "cubic", "--progress", "json"]], ids=lambda words: words[0])
def test_an_output_that_takes_nothing_is_told(command, source):
    """As where it goes into a file of a full disk."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "superres3d.cli", *command], cwd=source.parent, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode not in (0, 1) and done.stderr.splitlines()[0] == "Error: What there is to tell could not be written (the disk is full); send the output elsewhere."
    assert not (source.parent / "out.nii").exists()


def test_a_full_disk_is_refused_before_work(tmp_path, source, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(10, 10, 3 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    outputs = Outputs(tmp_path / "out.nii")
    outputs.check_disk(plan_for(read_volume(source), 2, axes="all")[0].result_bytes)
    for count, size in ((5 << 20, "5 MiB"), (5 << 30, "5.0 GiB")):
        with pytest.raises(ResourceError, match=f"needs about {size} in .* and 3 MiB are free; choose another disk"):
            outputs.check_disk(count)


@pytest.mark.parametrize("error, code, words", [(MemoryError(), 5, "Memory ran out"), (KeyboardInterrupt(), 130, "Cancelled"), (InputError("Not so."), 2, "Not so.")])
def test_errors_of_a_command_are_one_sentence_and_a_code(capsys, error, code, words):
    with pytest.raises(typer.Exit) as ended, reporting("none"):
        raise error
    assert ended.value.exit_code == code
    told = capsys.readouterr().err.strip()
    assert words in told and len(told.splitlines()) == 1


def test_a_defect_of_a_command_shows_its_traceback(capsys):
    with pytest.raises(ZeroDivisionError), reporting("none"):
        print(1 / 0)
    assert capsys.readouterr().err == ""


def test_a_command_without_its_packages_says_how_to_install_them():
    with pytest.raises(InputError, match=r"needs nowhere_to_be_found, not installed here; run: pip install 'superres3d\[demo\]'"):
        needs("demo", "json", "nowhere_to_be_found")


def test_damaged_weights_end_with_their_own_code(tmp_path, source, models):
    weights = models / "two-stage-residual-mr-plane-x2" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    done = run_cli("upscale", source, tmp_path / "out.nii", "--modality", "MR", "--progress", "json")
    assert done.returncode == 3 and json.loads(done.stdout.splitlines()[-1])["kind"] == "ModelError"


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM", "end of input"])
def test_an_interrupt_leaves_nothing_and_is_quick(tmp_path, models, stop):
    write(tmp_path / "big.nrrd", (smooth_noise((24, 160, 160)) * 1000).astype(np.int16))
    before = names(tmp_path)
    command = [sys.executable, "-m", "superres3d.cli", "upscale", str(tmp_path / "big.nrrd"), str(tmp_path / "out.nii.gz"), "--scale", "4", "--modality", "MR", "--progress", "json"]
    child = subprocess.Popen(
        [*command, "--stop-with-parent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job would inherit "ignored"
    )  # fmt: skip
    with child:  # closes its pipes
        while '"share": 0.0' not in (line := child.stdout.readline()) and line:
            pass
        time.sleep(1.0)
        asked = time.monotonic()
        if stop == "end of input":
            child.stdin.close()
        else:
            child.send_signal(getattr(signal, stop))
        try:
            assert child.wait(timeout=60) == 130
        finally:
            child.kill()
        assert time.monotonic() - asked < 10  # two seconds on an idle machine
        assert json.loads(child.stdout.read().splitlines()[-1])["kind"] == "Cancelled"
    assert names(tmp_path) == before


def test_info_tells_what_it_would_take(source, models):
    content = json.loads(run_cli("info", source, "--json").stdout)
    assert content["shape_ijk"] == [22, 18, 9] and len(content["upscaling"]) == 7
    assert content["upscaling"][-1]["method"] == ("virtual-thin-slice" if content["modality"] == "CT" else "mdcsrn")
    row = next(row for row in content["upscaling"] if row["axes"] == "all" and row["scale"] == 2)
    assert row["result_bytes"] == 9 * 18 * 22 * 8 * 2
    assert "guessed" in run_cli("info", source).stdout


def test_help_names_every_command_and_option():
    text = run_cli("--help").stdout
    places = [text.index(f"{command}  ") for command in ("upscale", "methods", "info", "train", "evaluate", "demo")]
    assert places == sorted(places)
    text = run_cli("upscale", "--help", COLUMNS="200").stdout
    for words in ("best|balanced|fast", "default: best]", "all|in-plane|through-plane", "default: two-stage-told]", "(2, or what the method is made for)"):
        assert words in text
    assert "--stop-with-parent" not in text  # the panel's


def test_methods_lists_the_catalogue():
    listed = json.loads(run_cli("methods", "--json").stdout)
    assert {"two-stage-told", "two-stage-residual", "georgescu2020", "lanczos"} <= {method["name"] for method in listed["methods"]}
    assert [preset["name"] for preset in listed["presets"]] == ["best", "balanced", "fast"]
    by_name = {method["name"]: method for method in listed["methods"]}
    # 230,784 multiply-accumulates a voxel (b4u4) in four turned copies, and the margins of tiles
    cost = float(by_name["mdcsrn"]["cost"].split(":")[1].split()[0])
    assert 4 * 0.2308 < cost < 2 * 4 * 0.2308
    assert by_name["mdcsrn"]["installed"] == ["MR"] and by_name["mdcsrn-gan"]["installed"] == []
    assert "Not installed" in by_name["mdcsrn-gan"]["cost"] and "not in the scan" in by_name["mdcsrn-gan"]["caution"] + by_name["mdcsrn-gan"]["when_not"]
    assert "1 mm from 1.5 to 10 mm" in by_name["virtual-thin-slice"]["refines"]
    text = run_cli("methods").stdout
    assert all(entry["name"] in text for entry in listed["methods"] + listed["presets"])


def test_import_is_light():
    code = "import time,sys; t=time.perf_counter(); import superres3d; assert time.perf_counter()-t < 0.2; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    subprocess.run([sys.executable, "-c", "import sys, superres3d.plan, superres3d.cli; assert 'torch' not in sys.modules"], check=True)
