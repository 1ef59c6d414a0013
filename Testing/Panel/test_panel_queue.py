"""Several volumes, studies and sequences, one after the other."""

import numpy as np
import pytest
import slicer
import slicer.util
from panel_steps import volumes, worker_pids
from superres3d import upscale
from SuperResolution3DLib.choices import Axes, Part, Scale
from SuperResolution3DLib.nodes import volume_from_node


@pytest.fixture
def choose(panel):
    """Chooses a volume and 2x in-plane by cubic."""

    def chosen(node):
        panel.parameters.inputVolume = node
        panel.parameters.scale = Scale.TWO
        panel.parameters.axes = Axes.IN_PLANE
        panel.choose_cubic()
        return node

    return chosen


def states(panel):
    table = panel.ui.queueTable
    return [(table.item(row, 0).text(), table.item(row, 1).text()) for row in range(table.rowCount)]


def work_off(panel):
    panel.ui.startQueueButton.click()
    panel.wait(lambda: not panel.widget.panel.queue.queue.going, 120)


def put_into_study(nodes, name="Study"):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), name)
    for node in nodes:
        item = hierarchy.GetItemByDataNode(node)
        if not item:
            hierarchy.CreateItem(study, node)
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    return study


@pytest.fixture
def make_sequence(panel):
    """Makes a sequence of volumes (or of other nodes), with a browser; returns the volume that shows it."""
    kept = []

    def make(count=3, kind="vtkMRMLScalarVolumeNode", name="Cine"):
        scene = slicer.mrmlScene
        logic = slicer.vtkSlicerSequencesLogic()
        logic.SetMRMLScene(scene)
        kept.append(logic)
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for number in range(count):
            if kind == "vtkMRMLScalarVolumeNode":
                k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (6, 20, 24)), indexing="ij")
                voxels = (600 * np.exp(-3 * (k**2 + j**2 + i**2)) + 50 * number * np.sin(9 * i) + 60).astype(np.int16)
                node = slicer.util.addVolumeFromArray(voxels, name="frame")
                node.SetSpacing(1.0, 1.0, 4.0)
            else:
                node = scene.AddNewNodeByClass(kind, "frame")
            sequence.SetDataNodeAtValue(node, f"{1.5 * number:g}")
            scene.RemoveNode(node)
        browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        logic.UpdateAllProxyNodes()
        return browser.GetProxyNode(sequence), sequence, browser, logic

    yield make
    for logic in kept:
        logic.SetMRMLScene(None)


def test_volumes_one_after_the_other(panel, choose, make_volume, make_ct):
    """Each with its own modality, named and beside its source; a second start does the rest."""
    first, second = make_volume("Head"), make_ct(name="Chest")
    for node in (first, second):
        choose(node)
        panel.ui.addVolumeButton.click()
    assert [state for _, state in states(panel)] == ["waiting", "waiting"]
    panel.ui.addVolumeButton.click()
    assert panel.ui.queueLabel.text == "It waits already." and len(states(panel)) == 2
    panel.ui.startQueueButton.click()
    assert not panel.ui.applyButton.enabled and panel.ui.stopQueueButton.enabled
    panel.wait(lambda: not panel.widget.panel.queue.queue.going, 120)
    assert [name for name, _ in states(panel)] == ["Head", "Chest"] and all(state.startswith("done: ") for _, state in states(panel))
    assert panel.ui.queueLabel.text == "2 of 2 done." and panel.ui.applyButton.enabled
    for node, modality in ((first, "MR"), (second, "CT")):
        result = slicer.util.getNode(f"{node.GetName()} Cubic x2 in-plane")
        assert result.GetAttribute("SuperResolution3D.Modality") == modality
        expected = upscale(volume_from_node(node), 2, axes="in-plane", method="cubic", modality=modality).volume.voxels
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(result), expected)
    panel.ui.queueCollapsibleButton.collapsed = False
    panel.picture("queue")


def test_a_study(panel, choose, make_volume):
    """Its scans alone: no results, no label maps, nothing of another study."""
    scans = [make_volume(f"Series {number}", shape=(6, 12, 10)) for number in range(3)]
    result, other = make_volume("Result"), make_volume("Other patient")
    result.SetAttribute("SuperResolution3D.Method", "cubic")
    labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    study = put_into_study([*scans, result, labels])
    choose(scans[1])
    panel.ui.addStudyButton.click()
    assert [name for name, _ in states(panel)] == ["Series 0", "Series 1", "Series 2"]
    work_off(panel)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    made = [node for name, node in volumes().items() if "Cubic x2" in name]
    assert len(made) == 3 and all(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study for node in made)
    assert other.GetName() in volumes()


def test_a_study_with_forty_series(panel, choose, make_volume):
    nodes = [make_volume(f"Series {number}", shape=(4, 6, 5)) for number in range(40)]
    put_into_study(nodes)
    choose(nodes[0])
    panel.ui.addStudyButton.click()
    assert len(states(panel)) == 40 and panel.ui.queueLabel.text == "40 added."
    for _more in range(4):
        panel.widget.panel.queue.queue.add_volumes([make_volume(f"More {number}", shape=(4, 6, 5)) for number in range(40)])
    with pytest.raises(Exception, match="too many for the list"):
        panel.widget.panel.queue.queue.add_volumes([make_volume("Last", shape=(4, 6, 5))])
    panel.ui.clearQueueButton.click()
    assert states(panel) == []


def test_all_frames_of_a_sequence(panel, choose, make_sequence):
    """They become a sequence of their own, with the same times, and the same browser plays it."""
    proxy, sequence, browser, logic = make_sequence()
    choose(proxy)
    before = set(volumes())
    panel.ui.addFramesButton.click()
    assert [name for name, _ in states(panel)] == [f"Cine [{n}/3]" for n in (1, 2, 3)]
    work_off(panel)
    assert all(state.startswith("done: Cine Cubic x2 in-plane") for _, state in states(panel)), states(panel)
    (made,) = (node for node in slicer.util.getNodesByClass("vtkMRMLSequenceNode") if node is not sequence)
    assert made.GetName() == "Cine Cubic x2 in-plane" and made.GetNumberOfDataNodes() == 3
    assert [made.GetNthIndexValue(n) for n in range(3)] == ["0", "1.5", "3"] and made.GetIndexUnit() == "s"
    for number in range(3):
        frame, result = sequence.GetNthDataNode(number), made.GetNthDataNode(number)
        expected = upscale(volume_from_node(frame), 2, axes="in-plane", method="cubic", modality="MR").volume.voxels
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(result), expected)
        bounds = [[0.0] * 6, [0.0] * 6]
        frame.GetRASBounds(bounds[0])
        result.GetRASBounds(bounds[1])
        np.testing.assert_allclose(*bounds)
    assert browser.IsSynchronizedSequenceNode(made.GetID(), True)
    logic.UpdateAllProxyNodes()
    assert set(volumes()) - before <= {browser.GetProxyNode(made).GetName()}  # frames and results left the scene
    browser.SetSelectedItemNumber(2)
    logic.UpdateAllProxyNodes()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(browser.GetProxyNode(made)), slicer.util.arrayFromVolume(made.GetNthDataNode(2)))


def test_a_volume_that_is_no_frame_and_a_sequence_of_other_content(panel, choose, make_volume, make_sequence):
    choose(make_volume("Head"))
    panel.ui.addFramesButton.click()
    assert '"Head" is no frame of a sequence' in panel.ui.queueLabel.text and states(panel) == []
    proxy, *_ = make_sequence(2, "vtkMRMLLabelMapVolumeNode", "Labels")
    with pytest.raises(Exception, match=r'The sequence "Labels" holds LabelMapVolume, not CT or MR volumes; choose another\.'):
        panel.widget.panel.queue.queue.add_frames(proxy)


def test_one_that_cannot_be_is_told_and_the_others_go_on(panel, choose, make_volume):
    flat = make_volume("Flat")
    slicer.util.arrayFromVolume(flat)[...] = 7
    slicer.util.arrayFromVolumeModified(flat)
    gone, good = make_volume("Gone"), make_volume("Good")
    panel.widget.panel.queue.queue.add_volumes([flat, gone, good])
    choose(good)
    slicer.mrmlScene.RemoveNode(gone)
    work_off(panel)
    told = dict(states(panel))
    assert told["Flat"].startswith('not done: "Flat" has the same value') and told["Gone"] == "not done: It is no longer in the scene." and told["Good"].startswith("done")
    assert panel.ui.queueLabel.text == "1 of 3 done."


def test_a_disk_that_fills_stops_the_list_and_start_goes_on(panel, choose, make_volume, monkeypatch):
    from SuperResolution3DLib import handing_over

    nodes = [make_volume(f"Series {number}") for number in range(3)]
    panel.widget.panel.queue.queue.add_volumes(nodes)
    choose(nodes[0])
    write, count = handing_over._write_all, []

    def full(file, rest):
        count.append(file)
        if len(count) == 2:
            raise OSError(28, "No space left on device")
        return write(file, rest)

    monkeypatch.setattr(handing_over, "_write_all", full)
    work_off(panel)
    assert [state.split(":")[0] for _, state in states(panel)] == ["done", "not done", "waiting"]
    assert panel.ui.queueLabel.text.startswith("The list was stopped: ") and "the disk is full" in panel.ui.queueLabel.text and '"Series 1"' in panel.ui.queueLabel.text
    work_off(panel)
    assert [state.split(":")[0] for _, state in states(panel)] == ["done"] * 3


def test_stop_and_go_on(panel, choose, make_volume):
    large = make_volume("Large", shape=(60, 260, 260), spacing=(1.0, 1.0, 1.1))
    panel.widget.panel.queue.queue.add_volumes([large, make_volume("Small")])
    choose(large)
    panel.parameters.scale = Scale.FOUR
    panel.ui.startQueueButton.click()
    panel.wait(lambda: "%" in states(panel)[0][1])
    panel.ui.stopQueueButton.click()
    panel.wait(lambda: states(panel)[0][1] == "waiting")
    assert worker_pids() == []
    assert [state for _, state in states(panel)] == ["waiting", "waiting"] and panel.ui.startQueueButton.enabled
    assert "0 of 2 done" in panel.ui.queueLabel.text


def test_the_scene_closes_while_it_works(panel, choose, make_volume):
    large = make_volume("Large", shape=(60, 260, 260), spacing=(1.0, 1.0, 1.1))
    panel.widget.panel.queue.queue.add_volumes([large])
    choose(large)
    panel.parameters.scale = Scale.FOUR
    panel.ui.startQueueButton.click()
    panel.wait(lambda: "%" in states(panel)[0][1])
    slicer.mrmlScene.Clear(False)
    panel.wait(lambda: not worker_pids())
    assert states(panel) == []


def test_a_part_is_each_volumes_own(panel, choose, make_volume):
    """An ROI that lies in one of two volumes."""
    near, far = make_volume("Near", shape=(12, 40, 36)), make_volume("Far", shape=(12, 40, 36))
    far.SetOrigin(500.0, 0.0, 0.0)
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Lesion")
    roi.SetSize(8.0, 8.0, 20.0)
    roi.SetCenter((10.0, 10.0, 20.0))
    choose(near)
    panel.parameters.part = Part.ROI
    panel.widget.panel.queue.queue.add_volumes([near, far])
    work_off(panel)
    told = dict(states(panel))
    assert told["Near"] == "done: Near Cubic x2 in-plane part" and 'lies outside "Far"' in told["Far"]
