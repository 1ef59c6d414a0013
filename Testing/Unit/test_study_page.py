"""The study's page in a real Chromium, from a file, without a network."""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np
import pytest
from superres3d.study.analysing import analyse
from superres3d.study.answers import parse, read_record
from superres3d.study.key import read_study
from superres3d.study.session import Session
from superres3d.study.sheet import read_picture, read_sheet

from .browser import Browser, why_not
from .study_files import make_small

pytestmark = pytest.mark.skipif(bool(why_not()), reason=f"the page is not tested: {why_not()}")
SHOWN = "session && (session.state !== 'trial' || (view.values !== null && view.name === session.trial.name))"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("page"), cases=6, repeats=2, catches=1, same=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(shared, study):
    """The page, fresh, with nothing stored."""
    address = (study / "reader" / "page.html").as_uri()
    shared.open(address)
    shared.js("localStorage.clear()")
    shared.open(address)
    yield shared
    assert shared.errors == []


def press(browser, *keys) -> None:
    for key in keys:
        browser.key(key)
        browser.until(SHOWN)


def begin(browser, reader: int = 1) -> None:
    browser.js(f"document.querySelector('#reader').value = {reader}")
    press(browser, "Enter")


def test_its_sha256_is_sha256(browser):
    texts = ["a" * n for n in range(150)] + ["Zoë 読影 🩻", "x" * 5000]
    assert browser.js(f"{json.dumps(texts)}.map(sha256)") == [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def test_it_loads_nothing_and_names_no_method(browser, study):
    assert browser.js("performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length") == 0
    assert browser.js("document.body.innerText").startswith("Reader study")
    assert not any(word in browser.js("document.documentElement.outerHTML.replace(/[A-Za-z0-9+\\/=]{80,}/g, '')") for word in ("cubic", "lanczos", "CT0", "MR1"))


def test_its_pictures_are_the_values_of_the_study(browser, study):
    """Bit by bit: a browser must not smooth, convert or scale them."""
    begin(browser)
    sheet = read_sheet(study / "reader")
    for trial in sheet.trials[:4]:
        values = browser.js(f"load(sheet.trials.find(trial => trial.name === '{trial.name}')).then(values => [...values])")
        expected = read_picture(study / "reader", trial).transpose(0, 2, 1, 3)
        assert np.array_equal(np.array(values, np.float32), expected.ravel())


@pytest.mark.parametrize("reader", [1, 2])
def test_keys_do_what_they_do_in_the_program(browser, study, tmp_path, reader):
    """The same keys to the page and to the session of the package: the same answers, and a chain that the package accepts."""
    keys = ["Enter", "ArrowLeft", "j", "s", "u", "ArrowRight", "p", "ArrowLeft", " ", "f", "Backspace", "Backspace", "J", "x", "7", "ArrowLeft", "F", "ArrowRight", "S", "f", "u", "s", "f", "f"]
    session = Session(read_sheet(study / "reader"), tmp_path, reader, "radiologist")
    begin(browser, reader)
    session.key("Enter")
    for key in keys[1:]:
        press(browser, key)
        session.key(key)
    text = browser.js("session.store.text").encode()
    record = parse(text, session.sheet.sha256)
    mine = read_record(session.file.path, session.sheet.sha256)
    assert record.problems == []
    told = [[{name: body.get(name) for name in ("n", "kind", "trial", "side", "panel")} for body in (line.body for line in found.lines)] for found in (record, mine)]
    assert told[0] == told[1] and told[0][-1]["kind"] == "ended"
    assert browser.js("document.body.innerText").startswith("Thank you")


def test_the_left_picture_is_the_left_panel(browser, study):
    """What is drawn on the left is what an answer "left" names; the window is the sheet's."""
    sheet = read_sheet(study / "reader")
    begin(browser, 2)
    name = browser.js("session.trial.name")
    trial = next(trial for trial in sheet.trials if trial.name == name)
    left = browser.js("(() => { const c = document.querySelector('canvas'); return [c.width, c.height, ...c.getContext('2d').getImageData(0, c.height >> 1, c.width, 1).data]; })()")
    width, height, row = left[0], left[1], np.array(left[2:]).reshape(-1, 4)[:, 0]
    scale = min(width / trial.columns, height / trial.rows)
    places = (np.arange(width) + 0.5 - width / 2) / scale + trial.columns / 2
    shown = read_picture(study / "reader", trial)[:, 0]
    at = int(((height >> 1) + 0.5 - height / 2) / scale + trial.rows / 2)
    low, high = trial.window
    inside, columns = (places >= 0) & (places < trial.columns), np.clip(places, 0, trial.columns - 1).astype(int)
    grey = np.clip((shown - low) / (high - low) * 255, 0, 255)
    away = [min(float(np.abs(row - inside * panel[near][columns]).mean()) for near in (at - 1, at)) for panel in grey]  # the middle lies between two rows
    panel = 1 + browser.js("session.sides[0]")
    assert 1 + int(np.argmin(away[1:])) == panel and away[panel] < 1, away  # the two candidates: in a catch trial one of them is the original


def test_a_study_by_keys_and_clicks_is_exported_and_analysed(browser, study, tmp_path):
    """The file that a reader would send back; window, magnifier and a double click besides."""
    sheet, _ = read_study(study)
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    begin(browser, 1)
    before = browser.js("[view.low, view.high]")
    browser.mouse("mousePressed", 300, 300, button="left", clickCount=1)
    browser.mouse("mouseMoved", 360, 330, button="left", buttons=1)
    browser.mouse("mouseReleased", 360, 330, button="left", clickCount=1)
    assert browser.js("[view.low, view.high]") != before
    press(browser, "+", "+")
    assert browser.js("view.zoom") > 1.5
    press(browser, "r")
    assert browser.js("[view.low, view.high, view.zoom]") == [*before, 1]
    browser.click("figure:last-child canvas", count=2)
    browser.until(f"session.answers.size === 1 && {SHOWN}")
    while browser.js("session.state") == "trial":
        press(browser, "ArrowLeft")
    browser.click("#save")
    path = tmp_path / "reader-01.answers"
    end = time.monotonic() + 30
    while not path.is_file() and time.monotonic() < end:
        time.sleep(0.1)
    found, text = analyse(study, [path], tmp_path / "out")
    assert [reader.answered for reader in found.answers.readers] == [len(sheet.trials)]
    assert found.answers.readers[0].problems == () and "radiologist 1" in text
    first = next(answer for answer in found.answers.all if answer.position == 0)
    assert first.left != first.chosen  # the double click was on the right


def test_it_goes_on_after_a_reload_and_after_a_kill(study, tmp_path):
    """A page that is loaded anew has every answer; a browser that is killed has what was older than some seconds at least."""
    address = (study / "reader" / "page.html").as_uri()
    browser = Browser(tmp_path / "profile")
    browser.open(address)
    begin(browser)
    press(browser, "f", "f", "j")
    browser.open(address)
    begin(browser)
    assert browser.js("session.answers.size") == 3
    assert browser.js("session.store.bodies.map(body => body.kind)") == ["begun", "answer", "answer", "answer", "opened"]
    time.sleep(8)
    browser.kill()
    again = Browser(tmp_path / "profile")
    again.open(address)
    begin(again)
    kept = again.js("session.answers.size"), parse(again.js("session.store.text").encode(), read_sheet(study / "reader").sha256).problems
    again.close()
    assert kept == (3, [])


def test_two_windows_are_refused(browser):
    """A second window has written meanwhile."""
    begin(browser)
    browser.js("localStorage.setItem(session.store.name, session.store.text + session.store.lines[0] + '\\n')")
    browser.key("f")
    browser.until("document.querySelector('#note').textContent.includes('Another window')")
    assert browser.js("document.querySelector('#told').hidden") is False


def test_ratings_by_digits(study, tmp_path, shared):
    rating = make_small(tmp_path, design="rating", cases=2, repeats=0, catches=0)
    shared.open((rating / "reader" / "page.html").as_uri())
    begin(shared)
    press(shared, "4", "9", "2", "Backspace", "5", "3", "1")
    assert shared.js("[...session.answers.values()]") == [{"ratings": {"sharpness": 4, "noise": 5, "artefacts": 3, "confidence": 1}}]
    assert shared.errors == []
