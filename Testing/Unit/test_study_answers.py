"""Answers are kept at once and in a chain: nothing is lost, and what was changed is found."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from superres3d.errors import InputError, ResourceError
from superres3d.study.answers import AnswerFile, parse, read_record
from superres3d.study.session import DONE, INSTRUCTIONS, PAUSED, TRIAL, Session, answers_path, replay
from superres3d.study.sheet import Sheet, Shown

ANCHOR = hashlib.sha256(b"sheet").hexdigest()


def make_sheet(design="choice-with-original", count=6, same=False, readers=2) -> Sheet:
    trials = tuple(Shown(f"{n:08x}", 4, 5, 1, 3, (1.0, 1.0), 0.0, 1.0, (0.0, 9.0)) for n in range(count))
    ways = tuple(tuple(range(count))[:: -1 if reader % 2 else 1] for reader in range(readers))
    return Sheet("s", "t", design, same, ("read",), trials, ways, tuple(reader % 2 == 1 for reader in range(readers)), "0" * 64, ANCHOR)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def file(tmp_path):
    """Five lines."""
    answers = AnswerFile(tmp_path / "a.answers", ANCHOR)
    for number in range(5):
        answers.append("answer", trial=f"t{number}", side="left")
    return answers.path


def numbers(content: bytes) -> list[int]:
    return [line.body["n"] for line in parse(content, ANCHOR).lines]


def test_the_chain_is_one_that_others_can_check(file):
    """By hashlib alone."""
    previous = ANCHOR
    for line in file.read_bytes().splitlines():
        digest, rest = line.split(b" ", 1)
        assert hashlib.sha256(rest).hexdigest().encode() == digest
        assert rest.split(b" ", 1)[0].decode() == previous
        previous = digest.decode()
    assert parse(file.read_bytes(), ANCHOR).receipt == previous[:12]


def test_every_single_byte_that_changes_is_found_and_the_rest_kept(file):
    content = file.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        record = parse(bytes(changed), ANCHOR)
        line = content.count(b"\n", 0, place)
        kept = [n for n in numbers(bytes(changed))]
        assert record.problems, place
        lost = {line + 1, line + 2} if content[place : place + 1] == b"\n" else {line, line + 1}
        assert {1, 2, 3, 4, 5} - set(kept) <= lost, (place, kept)


def test_an_edited_answer_is_dropped_alone(file):
    content = file.read_bytes().replace(b'"t2", "side": "left"', b'"t2", "side": "same"')
    record = parse(content, ANCHOR)
    assert record.problems == ["line 3 was edited and was dropped."]
    assert numbers(content) == [1, 2, 4, 5]


def test_an_edited_answer_with_a_new_hash_is_dropped_alone(file):
    lines = file.read_bytes().splitlines()
    rest = lines[2].split(b" ", 1)[1].replace(b'"left"', b'"same"')
    lines[2] = hashlib.sha256(rest).hexdigest().encode() + b" " + rest
    content = b"\n".join(lines) + b"\n"
    assert parse(content, ANCHOR).problems == ["line 3 is not the one that the next line follows and was dropped."]
    assert numbers(content) == [1, 2, 4, 5]


def test_lines_that_are_missing_or_changed_their_places_are_told(file):
    lines = file.read_bytes().splitlines(keepends=True)
    assert parse(b"".join(lines[:1] + lines[3:]), ANCHOR).problems == ["2 lines before line 2 are missing."]
    assert parse(b"".join(lines[1:]), ANCHOR).problems == ["1 lines before line 1 are missing."]
    swapped = parse(b"".join([lines[0], lines[2], lines[1], *lines[3:]]), ANCHOR)
    assert any("order of the lines" in problem for problem in swapped.problems)


@pytest.mark.parametrize("cut", [1, 40, 100, 150])
def test_a_torn_end_is_told_and_the_file_goes_on(file, cut):
    content = file.read_bytes()
    file.write_bytes(content[:-cut])
    answers = AnswerFile(file, ANCHOR)
    answers.append("answer", trial="t9", side="left")
    record = read_record(file, ANCHOR)
    assert file.read_bytes().startswith(content[:-cut])  # nothing is taken away
    if cut == 1:  # the line is whole but for its end
        assert record.problems == [] and [line.body["trial"] for line in record.lines] == ["t0", "t1", "t2", "t3", "t4", "t9"]
    else:
        assert record.problems == ["line 5 is torn and was dropped."]
        assert [line.body["trial"] for line in record.lines] == ["t0", "t1", "t2", "t3", "t9"]


def test_another_study_or_another_writer_is_refused(file):
    (file.parent / "b.answers").write_text("hello\n")
    with pytest.raises(InputError, match="holds no answers"):
        read_record(file.parent / "b.answers", ANCHOR)
    answers = AnswerFile(file, ANCHOR)
    AnswerFile(file, ANCHOR).append("answer", trial="t7")
    with pytest.raises(ResourceError, match="is being written by another program"):
        answers.append("answer", trial="t8")
    sheet = make_sheet()
    Session(sheet, file.parent, 1)
    with pytest.raises(InputError, match="are of another study"):
        read_record(answers_path(file.parent, 1), "f" * 64)


def test_keys_answer_undo_and_pause(tmp_path):
    clock = Clock()
    session = Session(make_sheet(same=True), tmp_path, 1, "radiologist", clock)
    assert session.state == INSTRUCTIONS and not session.key("left") and session.position == 0
    for key, seconds in (("enter", 0), ("ArrowLeft", 2), ("j", 3), ("s", 1), ("u", 1), ("Right", 2)):
        clock.now += seconds
        assert session.key(key), key
    clock.now += 1
    session.key("p")
    clock.now += 1000
    assert session.state == PAUSED and not session.key("left")
    session.key(" ")
    clock.now += 4
    session.key("f")
    found = replay(read_record(session.file.path, ANCHOR).lines)
    assert [(name, body["side"], body["panel"], body["seconds"]) for name, body in found.items()] == [
        ("00000000", "left", 0, 2), ("00000001", "right", 1, 3), ("00000002", "right", 1, 2), ("00000003", "left", 0, 5),
    ]  # fmt: skip


def test_a_reader_with_swapped_sides_answers_by_panel(tmp_path):
    session = Session(make_sheet(), tmp_path, 2)
    session.key("enter")
    assert session.sides == (1, 0) and session.trial.name == "00000005"
    session.key("left")
    session.key("s")  # not allowed here
    assert next(iter(session.answers.values()))["panel"] == 1 and session.position == 1


def test_ratings_come_item_by_item(tmp_path):
    session = Session(make_sheet("rating"), tmp_path, 1)
    session.key("enter")
    for key in "3", "9", "4", "backspace", "5", "1":
        session.key(key)
    assert session.item.name == "confidence" and session.position == 0
    session.key("2")
    assert list(session.answers.values()) == [{"ratings": {"sharpness": 3, "noise": 5, "artefacts": 1, "confidence": 2}}]
    session.key("left")
    assert session.position == 1


def test_the_end_and_undo_after_it(tmp_path):
    session = Session(make_sheet(count=2), tmp_path, 1)
    for key in "enter", "left", "left":
        session.key(key)
    assert session.state == DONE
    session.key("u")
    assert session.state == TRIAL and session.trial.name == "00000001"
    session.key("right")
    assert session.state == DONE
    kinds = [line.body["kind"] for line in read_record(session.file.path, ANCHOR).lines]
    assert kinds == ["begun", "answer", "answer", "ended", "undone", "answer", "ended"]


def test_a_stranger_is_no_reader(tmp_path):
    with pytest.raises(InputError, match="made for 2 readers, and reader 3 is none"):
        Session(make_sheet(), tmp_path, 3)


_READER = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from Testing.Unit.test_study_answers import make_sheet
from superres3d.study.session import Session
session = Session(make_sheet(count=10_000), Path(sys.argv[1]), 1)
session.begin()
while True:
    session.choose("left")
    print(session.position, flush=True)
"""


def test_kill_9_loses_no_answer(tmp_path, pytestconfig):
    """In the middle of answering; the session goes on where it stopped."""
    reader = subprocess.Popen([sys.executable, "-c", _READER, tmp_path, pytestconfig.rootpath], stdout=subprocess.PIPE, text=True)
    told = 0
    while told < 20:
        told = int(reader.stdout.readline())
    os.kill(reader.pid, signal.SIGKILL)
    rest = reader.communicate()[0].split()
    told = int(rest[-1]) if rest else told
    session = Session(make_sheet(count=10_000), tmp_path, 1)
    assert told <= session.position <= told + 1
    assert session.file.record.problems == [] or session.file.record.problems[0].endswith("is torn and was dropped.")
    session.key("enter")
    assert session.trial.name == f"{session.position:08x}"


def test_an_answer_is_on_the_disk_before_the_next_case(tmp_path, monkeypatch):
    """The line is written and synced inside the call."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(time.monotonic()))
    session = Session(make_sheet(), tmp_path, 1)
    session.key("enter")
    before = len(synced)
    session.key("left")
    assert len(synced) == before + 1
    assert json.loads(session.file.path.read_text().splitlines()[-1][130:])["trial"] == "00000000"
