"""What the package says comes in the language of the application, also from the worker's process."""

import re
import sys

import pytest
from SuperResolution3DLib import package_words
from SuperResolution3DLib.package_texts import TEXTS
from SuperResolution3DLib.package_words import in_language

GERMAN = {
    "The model {name} is not installed; install the package again, train it, or set SUPERRES3D_MODELS to the folder that holds it.": "Das Modell {name} fehlt; das Paket neu installieren.",
    "{path} could not be written: {value}; {advice}.": "{path} wurde nicht geschrieben ({value}): {advice}.",
    "the disk is full": "die Platte ist voll",
    "free some space or choose another disk": "Platz schaffen oder eine andere Platte nehmen",
    "The axis {value} has by far the coarsest spacing and was taken as the slice axis.": "Schichtachse ist {value}, der gröbste Abstand.",
    "The method {name} is not for {wanted}; use one of {names}.": "Ein Fehler: {wrong}.",
    "It adds no detail that the scan does not show.": "Fügt nichts hinzu.",
}


@pytest.fixture
def german(monkeypatch):
    monkeypatch.setattr(package_words, "translate", lambda context, text: GERMAN.get(text, text) if context == "SuperResolution3DLib.package_texts" else text)


def test_each_text_is_found_again_with_its_values():
    assert len(set(TEXTS)) == len(TEXTS) > 150
    for text in TEXTS:
        names = re.findall(r"\{(\w+)\}", text)
        values = {name: f"v{number}" for number, name in enumerate(names)}
        assert package_words._pattern_of(text.format(**values)) == (text, values), text


def test_values_are_translated_and_filled_in(german):
    assert in_language("/data/a.nrrd could not be written: the disk is full; free some space or choose another disk.") == (
        "/data/a.nrrd wurde nicht geschrieben (die Platte ist voll): Platz schaffen oder eine andere Platte nehmen."
    )
    assert in_language("The axis k has by far the coarsest spacing and was taken as the slice axis. And what nobody knows.") == "Schichtachse ist k, der gröbste Abstand. And what nobody knows."
    assert in_language("Nobody knows. The axis k has by far the coarsest spacing and was taken as the slice axis.") == "Nobody knows. Schichtachse ist k, der gröbste Abstand."


@pytest.mark.parametrize("text", ["", "x", "Wählen Sie ein Volumen.", "The method a is not for CT; use one of b.", 'Braces {0} of "{name}" stay'])
def test_what_is_not_known_or_wrongly_translated_stays(german, text):
    assert in_language(text) == text


def test_a_self_check_in_parts(german):
    GERMAN_CHECK = {
        "On this scan, made {value} as coarse, {called} {came}.": "Vergröbert ({value}): {called} {came}.", "came {gain} dB closer to the scan than Lanczos": "kam {gain} dB näher",
        "noise {noise} times that of Lanczos": "Rauschen {noise}-fach", "twice": "doppelt",
    }  # fmt: skip
    GERMAN.update(GERMAN_CHECK)
    said = "On this scan, made twice as coarse, two-stage-told came 1.2 dB closer to the scan than Lanczos; noise 0.9 times that of Lanczos."
    assert in_language(said) == "Vergröbert (doppelt): two-stage-told kam 1.2 dB näher; Rauschen 0.9-fach."


def test_a_refusal_and_words_of_the_catalogue(panel, make_volume, german, monkeypatch, tmp_path):
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path / "missing"))
    panel.parameters.inputVolume = make_volume()
    box = panel.ui.methodComboBox
    box.currentIndex = box.findData("lanczos")
    assert "Fügt nichts hinzu." in panel.ui.methodComboBox.toolTip, panel.ui.methodComboBox.toolTip


def test_what_the_worker_says(panel, make_volume, german, monkeypatch):
    """A worker that is told to write where nothing can be."""
    from SuperResolution3DLib import job

    monkeypatch.setitem(GERMAN, "Memory ran out; use a smaller factor, fewer axes, or a part of the scan.", "Kein Speicher.")
    said = '{"event": "error", "kind": "ResourceError", "message": "Memory ran out; use a smaller factor, fewer axes, or a part of the scan."}'
    monkeypatch.setattr(job, "command", lambda *_, **__: [sys.executable, "-c", f"print({said!r})"])
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Kein Speicher."
