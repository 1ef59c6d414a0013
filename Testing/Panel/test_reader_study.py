"""The reader's module in real Qt over real MRML: a whole study by keys and by clicks."""

import json

import numpy as np
import pytest
import slicer
import slicer.util
from PySide6 import QtCore, QtTest
from standin import application, pythonqt
from superres3d.study.analysing import analyse
from superres3d.study.answers import read_record
from superres3d.study.key import read_study
from superres3d.study.session import Session
from superres3d.study.sheet import read_picture
from Unit.study_files import make_small

KEYS = {name: getattr(QtCore.Qt.Key, f"Key_{name}") for name in ("Left", "Right", "F", "J", "S", "U", "P", "R", "Plus", "Minus", "Up", "Down", "Backspace", "Return", "Space", *"12345")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("study"), cases=6, repeats=2, catches=1, slices=3, same=True, apart=7.5)


class Reader:
    """The module's panel, and what a person does in it."""

    def __init__(self, folder):
        import SuperResolution3DReaderStudy as module

        parent, self.raw = application.new_panel_parent()
        self.widget = module.SuperResolution3DReaderStudyWidget(parent)
        self.widget.setup()
        self.raw.resize(460, 700)
        self.raw.show()
        self.raw.activateWindow()
        self.panel = self.widget.panel
        self.panel.folder.text = str(folder)
        self.panel.open()
        slicer.app.processEvents()

    def press(self, *names):
        for name in names:
            QtTest.QTest.keyClick(self.raw, KEYS[name])
            slicer.app.processEvents()

    def start(self, reader=1):
        self.panel.reader.value = reader
        self.panel.start.click()
        slicer.app.processEvents()


@pytest.fixture
def reader(study):
    """On a study without answers; fails if a slot raised or something of the study is left in the scene."""
    slicer.mrmlScene.Clear(True)
    layout = application.Layout()
    folder = study / "reader"
    made = Reader(folder)
    yield made
    made.widget.cleanup()
    made.raw.close()
    errors, left = list(pythonqt.slot_errors), slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    pythonqt.forget()
    layout.close()
    slicer.mrmlScene.Clear(True)
    for file in (folder / "answers").glob("*"):
        file.unlink()
    assert errors == [] and len(left) == 0


def shown():
    """What stands in the views, by their order."""
    composites = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
    volumes = [slicer.mrmlScene.GetNodeByID(composites[f"ReaderStudy-{n}"].GetBackgroundVolumeID()) for n in (1, 2, 3)]
    return {volume.GetName(): slicer.util.arrayFromVolume(volume) for volume in volumes}


def test_instructions_come_first_and_nothing_is_asked_before(reader):
    assert "Which of the two pictures" in reader.panel.told.text
    reader.press("Left")
    assert reader.panel.session is None and not reader.panel.choices[0].enabled


@pytest.mark.parametrize("number", [1, 2])
def test_left_and_right_are_those_of_the_sheet(reader, study, number):
    """Voxel by voxel what the study's picture holds, for a reader with swapped sides and one without."""
    reader.start(number)
    session = reader.panel.session
    panels = read_picture(study / "reader", session.trial)
    found = shown()
    assert list(found) == ["left", "original", "right"]
    assert np.array_equal(found["original"], panels[0])
    assert np.array_equal(found["left"], panels[1 + session.sides[0]]) and np.array_equal(found["right"], panels[1 + session.sides[1]])


def test_a_study_by_keys_and_clicks(reader, study, tmp_path):
    """As the session of the package alone does it, and to the tables."""
    reader.start()
    reader.press("Left", "J", "S", "U", "Right", "P", "Left", "Space", "F", "Backspace")
    reader.panel.choices[2].click()
    reader.panel.undo.click()
    reader.panel.choices[1].click()
    while reader.panel.session.state == "trial":
        reader.press("Right")
    alone = Session(reader.panel.session.sheet, tmp_path, 1)
    for key in ("enter", "left", "j", "s", "u", "right", "p", "left", " ", "f", "backspace", "right", "u", "s", *["right"] * 5):
        alone.key(key)
    told = [[(line.body["kind"], line.body.get("trial"), line.body.get("panel")) for line in read_record(file.path, alone.sheet.sha256).lines] for file in (reader.panel.session.file, alone.file)]
    assert told[0] == told[1] and told[0][-1][0] == "ended"
    assert reader.panel.session.file.receipt in reader.panel.told.text
    found, _ = analyse(study, [study / "reader" / "answers"], tmp_path / "out")
    assert found.answers.readers[0].answered == found.answers.readers[0].asked


def test_it_goes_on_where_it_stopped(reader, study):
    reader.start()
    reader.press("Left", "Right")
    reader.panel.close()
    reader.panel.folder.text = str(study / "reader")
    reader.panel.open()
    reader.start()
    assert reader.panel.session.position == 2 and reader.panel.progress.value == 2


@pytest.mark.parametrize("design, labels", [("choice", ["left", "right"]), ("rating", [" "])])
def test_labels_are_those_of_the_design(reader, tmp_path, design, labels):
    """Also where a study of another design used the same views before."""
    reader.start()
    reader.panel.close()
    reader.panel.folder.text = str(make_small(tmp_path, design=design, cases=2, repeats=0, catches=0) / "reader")
    reader.panel.open()
    reader.start()
    views = {node.GetLayoutName(): node.GetLayoutLabel() for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    assert [views[f"ReaderStudy-{number + 1}"] for number in range(len(labels))] == labels


def test_a_pause_hides_the_case(reader):
    reader.start()
    reader.press("P")
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 0 and "Pause" in reader.panel.told.text
    reader.widget.exit()  # another module
    reader.press("Left")
    assert reader.panel.session.position == 0 and reader.panel.session.state == "paused"
    reader.widget.enter()
    reader.press("Return", "Left")
    assert reader.panel.session.position == 1


def test_views_are_linked_and_share_window_and_magnification(reader):
    reader.start()
    nodes = [node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode") if node.GetLayoutName().startswith("ReaderStudy")]
    across = nodes[0].GetFieldOfView()[0]
    reader.press("Plus")
    assert [node.GetFieldOfView()[0] for node in nodes] == pytest.approx([across / 1.25] * 3)
    assert nodes[0].GetSliceOffset() == 1
    reader.press("Up")
    assert [node.GetSliceOffset() for node in nodes] == [2] * 3
    displays = {volume.GetDisplayNodeID() for volume in reader.panel.views.volumes}
    assert len(displays) == 1
    display = reader.panel.views.volumes[0].GetDisplayNode()
    low, high = reader.panel.session.trial.window
    display.SetWindowLevel(10, 5)
    reader.press("R")
    assert (display.GetWindow(), display.GetLevel()) == pytest.approx((high - low, (low + high) / 2))
    assert nodes[2].GetFieldOfView()[0] == pytest.approx(across) and nodes[2].GetSliceOffset() == 1


def test_the_left_button_changes_window_and_level_and_is_given_back(reader):
    mouse = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLInteractionNode")
    before = mouse.GetCurrentInteractionMode()
    reader.start()
    reader.press("Left")
    assert mouse.GetCurrentInteractionMode() == mouse.AdjustWindowLevel != before
    reader.panel.close()
    assert mouse.GetCurrentInteractionMode() == before


def test_nothing_in_the_scene_tells_the_method(reader, study):
    _, key = read_study(study)
    reader.start()
    slicer.mrmlScene.SetSaveToXMLString(1)
    slicer.mrmlScene.Commit()
    text = slicer.mrmlScene.GetSceneXMLString()
    assert "ReaderStudy" in text
    assert [word for word in (*key.methods, *(case.scan for case in key.cases), "spoilt", "clear\"") if word in text] == []


def test_a_wrong_folder_and_a_second_panel_are_told(reader, study, tmp_path):
    reader.start()
    Session(reader.panel.session.sheet, study / "reader" / "answers", 1)
    reader.press("Left")
    assert "is being written by another program" in reader.panel.note.text and reader.panel.session is None
    reader.panel.folder.text = str(tmp_path)
    reader.panel.open()
    assert "holds no study.json" in reader.panel.note.text and not reader.panel.start.enabled


def test_a_scene_that_is_closed_loses_no_answer(reader, study):
    reader.start()
    reader.press("Left")
    slicer.mrmlScene.Clear(False)
    slicer.app.processEvents()
    lines = (study / "reader" / "answers" / "reader-01.answers").read_text().splitlines()
    assert json.loads(lines[-1][130:])["kind"] == "answer" and reader.panel.session is None


def test_pictures_for_the_eye(reader, pictures):
    reader.raw.grab().save(str(pictures / "reader-study-instructions.png"))
    reader.start()
    reader.press("Left")
    assert reader.raw.grab().save(str(pictures / "reader-study.png"))


def test_views_that_get_their_size_late_are_fitted_once_more(reader):
    """Unless the reader has magnified meanwhile, or sees another case."""
    reader.start()
    views = reader.panel.views
    shown, node = views.volumes, views._slice("ReaderStudy-1")
    fitted = node.GetFieldOfView()
    node.SetFieldOfView(1.07 * fitted[0], 1.07 * fitted[1], 1.0)  # as Slicer does with a view that grows
    views.settle(shown)
    assert node.GetFieldOfView() == fitted
    reader.press("Plus")
    magnified = node.GetFieldOfView()
    views.settle(shown)
    views.settle([])
    assert node.GetFieldOfView() == magnified != fitted
