"""``superres3d upscale`` as a command-line module of Slicer's execution model."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import psutil
import SimpleITK as sitk
import typer
from superres3d.cli import app, common
from superres3d.cli.slicer_module import description
from superres3d.methods import METHODS

from .batch_scans import images
from .conftest import smooth_noise, write

CHOICES = {
    "--method": list(METHODS), "--modality": [word.value for word in common.ModalityChoice], "--preset": [word.value for word in common.PresetChoice],
    "--noise": [word.value for word in common.NoiseChoice],
}  # fmt: skip


def ran(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "superres3d.cli.slicer_module", *map(str, words)], capture_output=True, text=True)


def test_the_description_tells_options_that_there_are():
    """Choices and defaults are those of the command; Slicer's own parser read it when it was written."""
    module = ElementTree.fromstring(description())
    options = {name: parameter for parameter in typer.main.get_command(app).commands["upscale"].params for name in parameter.opts}
    described = {option.findtext("longflag"): option for option in module.iter() if option.find("longflag") is not None}
    assert {"--method", "--modality", "--preset", "--noise", "--scale", "--axes", "--spacing"} == set(described)
    for flag, option in described.items():
        words = [element.text for element in option.findall("element")]
        default = option.findtext("default") or ""
        assert flag in options and words == CHOICES.get(flag, []) and (default in words if words else not default)
    assert [image.findtext("index") for image in module.iter("image")] == ["0", "1"]


def test_it_runs_as_slicer_runs_it(tmp_path):
    """Options that were left empty come as empty words."""
    scan, result = images(tmp_path, "one.nrrd") / "one.nrrd", tmp_path / "fine.nrrd"
    done = ran("--method", "cubic", "--modality", "MR", "--scale", "", "--spacing", "", "--axes", "through-plane", scan, result)
    assert done.returncode == 0, done.stderr
    assert sitk.ReadImage(str(result)).GetSize() == (14, 12, 12)
    shares = [float(share) for share in re.findall(r"<filter-progress>(.*)</filter-progress>", done.stdout)]
    assert shares and shares == sorted(shares) and 0 <= shares[0] and shares[-1] == 1.0
    assert done.stdout.startswith("<filter-start>") and done.stdout.rstrip().endswith("</filter-end>") and np.isfinite(shares).all()


def test_a_failure_is_one_sentence_and_a_code(tmp_path):
    done = ran("--method", "cubic", tmp_path / "none.nrrd", tmp_path / "fine.nrrd")
    assert done.returncode == 2 and done.stderr.startswith("Error: ") and "none.nrrd does not exist" in done.stderr and "Traceback" not in done.stderr


def test_an_interrupt_is_told_and_leaves_nothing(tmp_path):
    """While networks compute; the process that does it ends as well."""
    write(tmp_path / "scan.nrrd", (smooth_noise((40, 160, 160)) * 900).astype(np.float32))
    command = [sys.executable, "-m", "superres3d.cli.slicer_module", "--modality", "MR", "--scale", "4", str(tmp_path / "scan.nrrd"), str(tmp_path / "fine.nrrd")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    while not process.stdout.readline().startswith("<filter-progress>"):
        assert process.poll() is None
    children = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "Error: Cancelled; nothing was written.\n")
    assert children and not psutil.wait_procs(children, timeout=10)[1] and [path.name for path in tmp_path.iterdir()] == ["scan.nrrd"]
