"""Versions, an update of the packages, and the log that can be watched."""

import importlib.metadata

import pytest
import slicer.packaging
import slicer.util
from superres3d import __version__
from SuperResolution3DLib import dependencies

answers = {"agrees": True}


@pytest.fixture
def pip(panel, monkeypatch):
    """Returns (questions, what pip was given)."""
    asked, given = [], []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_: (asked.append(text), answers["agrees"])[1])
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda lines, requester=None: given.append((lines, requester)), raising=False)
    answers["agrees"] = True
    return asked, given


def test_versions_are_told(panel, monkeypatch):
    told = panel.ui.versionsLabel.text
    assert told.startswith(f"superres3d {__version__}, ") and f"psutil {importlib.metadata.version('psutil')}" in told
    monkeypatch.setattr(dependencies, "installed_version", lambda name: None)
    panel.widget.panel.packages._tell_versions()
    assert "torch not installed" in panel.ui.versionsLabel.text


def test_an_update_asks_and_names_what_it_changes(panel, pip):
    asked, given = pip
    panel.ui.updateButton.click()
    assert "openvino" in asked[0] and "not sent anywhere" in asked[0]
    ((lines, requester),) = given
    assert lines[0] == "--upgrade" and any(line.startswith("openvino>=") for line in lines) and requester == "SuperResolution3D"
    assert panel.status.startswith("The packages are up to date.")


def test_who_declines_an_update_keeps_what_there_is(panel, pip):
    answers["agrees"] = False
    panel.ui.updateButton.click()
    assert pip[1] == [] and panel.status == ""


def test_an_update_that_fails_is_told_in_one_sentence(panel, pip, monkeypatch):
    def fail(lines, requester=None):
        raise OSError("no route to host\nsecond line")

    monkeypatch.setattr(slicer.packaging, "pip_install", fail, raising=False)
    panel.ui.updateButton.click()
    assert panel.status == "The Python packages could not be updated (no route to host); check the internet connection and the free disk space."


def test_the_log_can_be_watched(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    panel.ui.applyButton.click()
    assert panel.ui.logCollapsibleButton.isVisible() and "superres3d upscale" in panel.ui.logText.plainText
    panel.finish()
    assert "  Interpolation" in panel.ui.logText.plainText
    panel.ui.applyButton.click()
    assert panel.ui.logText.plainText.count("superres3d upscale") == 1  # the last run's
    panel.finish()
