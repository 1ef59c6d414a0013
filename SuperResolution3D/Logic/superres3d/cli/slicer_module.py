"""``superres3d-slicer``: ``superres3d upscale`` as a command-line module of Slicer's execution model, for Slicer and for whatever else reads its descriptions.

``--xml`` prints the description; otherwise the words are those of ``superres3d upscale``, and progress is told in the model's own tags
(github.com/Slicer/SlicerExecutionModel; www.slicer.org/wiki/Slicer3:Execution_Model_Documentation).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from .. import __version__
from ..errors import Cancelled
from ..methods import AXES, DEFAULT_METHOD, DEFAULT_NOISE, DEFAULT_PRESET, METHODS, MODALITIES, NOISES, PRESETS

_NAME = "Super-resolution of CT and MR"
_EXTENSIONS = ".nrrd,.nii.gz,.nii,.mha"


def main() -> None:
    """Entry point."""
    words = sys.argv[1:]
    if "--xml" in words:
        print(description())
        return
    try:
        raise SystemExit(_run(words))
    except KeyboardInterrupt:  # the command's own process has ended by then, as its input did
        print(f"Error: {Cancelled()}", file=sys.stderr, flush=True)
        raise SystemExit(Cancelled.exit_code) from None


def description() -> str:
    """In the words of ModuleDescription.xsd."""
    module = Xml.Element("executable")
    told = {
        "category": "Filtering", "title": _NAME, "description": "Upscale a scan by trained networks. Research software, not for diagnosis.", "version": __version__,
        "documentation-url": "https://github.com/SuperResolution3D/SlicerSuperResolution3D", "license": "Apache-2.0", "contributor": "SuperResolution3D developers",
    }  # fmt: skip
    for name, text in told.items():
        _add(module, name, text)
    group = _group(module, "Scans", "What is read and written.")
    for index, (name, channel, text) in enumerate((("scan", "input", "A CT or MR scan."), ("result", "output", "The same field of view, finer."))):
        image = _add(group, "image")
        image.set("fileExtensions", _EXTENSIONS)
        for tag, value in (("name", name), ("label", name.capitalize()), ("channel", channel), ("index", str(index)), ("description", text)):
            _add(image, tag, value)
    group = _group(module, "What to do", "As the options of superres3d upscale.")
    _choice(group, "method", "See 'superres3d methods'.", list(METHODS), DEFAULT_METHOD)
    _choice(group, "modality", "auto: what the file says, else a guess from the intensities.", ["auto", *MODALITIES], "auto")
    _choice(group, "preset", "How much work to spend.", list(PRESETS), DEFAULT_PRESET)
    _choice(group, "noise", "Keep or reduce the scan's noise; for two-stage-told.", list(NOISES), DEFAULT_NOISE)
    _text(group, "scale", "2 or 4; or two factors, in-plane,through-plane, such as 2,4. Empty: 2, or what the method is made for.")
    _text(group, "axes", f"With a single factor: {', '.join(AXES)}. Empty: all, or what the method is made for.")
    _text(group, "spacing", "In place of a factor: millimetres of the result's voxels, one number, three along i,j,k, or isotropic.")
    Xml.indent(module)
    return Xml.tostring(module, encoding="unicode", xml_declaration=True)


def _add(parent: Xml.Element, tag: str, text: str = "") -> Xml.Element:
    element = Xml.SubElement(parent, tag)
    element.text = text or None
    return element


def _group(module: Xml.Element, label: str, text: str) -> Xml.Element:
    group = _add(module, "parameters")
    _add(group, "label", label)
    _add(group, "description", text)
    return group


def _text(group: Xml.Element, name: str, text: str, kind: str = "string", default: str = "") -> Xml.Element:
    option = _add(group, kind)
    for tag, value in (("name", name), ("longflag", f"--{name}"), ("description", text), ("label", name.capitalize()), ("default", default)):
        _add(option, tag, value)
    return option


def _choice(group: Xml.Element, name: str, text: str, words: Sequence[str], default: str) -> None:
    option = _text(group, name, text, "string-enumeration", default)
    for word in words:
        _add(option, "element", word)


def _run(words: Sequence[str]) -> int:
    """The exit code of the command."""
    command = [sys.executable, "-m", "superres3d.cli", "upscale", *_said(words), "--progress", "json", "--stop-with-parent"]
    print(f"<filter-start>\n<filter-name>{_NAME}</filter-name>\n<filter-comment>Not for diagnosis</filter-comment>\n</filter-start>", flush=True)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            _tell(json.loads(line))
    print(f"<filter-end>\n<filter-name>{_NAME}</filter-name>\n</filter-end>", flush=True)
    return process.returncode


def _said(words: Sequence[str]) -> list[str]:
    """Without options that were left empty."""
    empty = {number for number, word in enumerate(words) if not word}
    return [word for number, word in enumerate(words) if number not in empty and number + 1 not in empty]


def _tell(event: dict[str, object]) -> None:
    if event["event"] == "progress":
        print(f"<filter-progress>{event['share']}</filter-progress>", flush=True)
    elif event["event"] == "error":
        print(f"Error: {event['message']}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
