"""The first Apply: what is downloaded is said by name and size, and the run waits for another click."""

import pytest
import slicer.packaging
import slicer.util
from panel_steps import start_large_run
from PySide6 import QtWidgets
from SuperResolution3DLib import dependencies

answers = {"agrees": True}


@pytest.fixture
def first(panel, make_volume, monkeypatch):
    """A panel whose Slicer lacks two packages; returns (panel, questions, installed), and ``answers`` decides."""
    asked, installed, lacking = [], [], {"openvino": "2025.0", "psutil": "5.9"}
    monkeypatch.setattr(dependencies, "_is_met", lambda name, minimum: name not in lacking)

    def install(requirements, requester=None, prompt_install=True):
        installed.append((requester, prompt_install))
        lacking.clear()

    monkeypatch.setattr(slicer.packaging, "pip_ensure", install)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_: (asked.append(text), answers["agrees"])[1])
    answers["agrees"] = True
    panel.parameters.inputVolume = make_volume()
    panel.choose_cubic()
    return panel, asked, installed


def test_what_is_downloaded_is_said_before(first, monkeypatch):
    panel, asked, installed = first
    panel.ui.applyButton.click()
    assert len(asked) == 1 and "1 Python packages" in asked[0] and "psutil" in asked[0] and "about 1 MB" in asked[0]  # an interpolation needs no network
    assert installed == [("SuperResolution3D", False)]
    assert panel.run is None and panel.status.startswith("The packages are installed.")
    assert panel.ui.estimateLabel.visible and panel.ui.applyButton.enabled
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done" and len(asked) == 1


def test_who_declines_has_nothing_installed(first):
    panel, asked, installed = first
    answers["agrees"] = False
    panel.ui.applyButton.click()
    assert len(asked) == 1 and installed == [] and panel.run is None
    assert "were declined" in panel.status and panel.ui.applyButton.enabled


def test_the_sizes_are_told():
    told = dependencies.download_question(["openvino>=2025.0", "pillow>=10", "rich>=13"])
    assert "openvino (59 MB), pillow (7 MB), rich" in told and "about 67 MB" in told and "3 Python packages" in told


def test_apply_is_seen_without_scrolling_and_the_progress_comes_into_sight(panel, make_volume):
    """A window of 1366 x 768 leaves the form about 375 pixels, below Slicer's own heads and above the data probe."""
    area = QtWidgets.QScrollArea()
    area.setWidgetResizable(True)
    panel.raw.setParent(None)
    area.setWidget(panel.raw)
    area.resize(430, 390)
    area.show()
    try:
        panel.parameters.inputVolume = make_volume(shape=(60, 260, 260), spacing=(1.0, 1.0, 1.1))
        panel.wait(lambda: True)
        assert _in_sight(area, "applyButton")
        start_large_run(panel, make_volume)
        panel.wait(lambda: all(_in_sight(area, name) for name in ("applyButton", "cancelButton", "progressBar", "statusLabel")), 5)
        panel.ui.cancelButton.click()
        panel.finish()
    finally:
        area.takeWidget()


def _in_sight(area, name):
    widget = area.findChild(QtWidgets.QWidget, name)
    return widget.isVisible() and widget.visibleRegion().boundingRect().height() == widget.height()
