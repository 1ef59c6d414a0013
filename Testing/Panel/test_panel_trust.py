"""How far to trust a result: check, page, careful, map of the expected error and the places to look at twice."""

import numpy as np
import pytest
import slicer
import slicer.util
from SuperResolution3DLib.choices import Axes, Ensemble, Part
from SuperResolution3DLib.error_map import Doubtful, doubtful_places, jump_to
from SuperResolution3DLib.summary import report_text


def volume_of_lines(make_volume):
    volume = make_volume(name="Head of nobody", shape=(8, 64, 64), spacing=(1.0, 1.0, 1.0))
    voxels = slicer.util.arrayFromVolume(volume)
    voxels += (200 * (np.indices(voxels.shape)[2] // 6 % 2)).astype(voxels.dtype)
    slicer.util.arrayFromVolumeModified(volume)
    return volume


@pytest.fixture
def ready(panel, make_volume):
    """A network in-plane, as small as it goes."""
    panel.parameters.inputVolume = volume_of_lines(make_volume)
    panel.parameters.axes, panel.parameters.ensemble = Axes.IN_PLANE, Ensemble.NONE
    panel.parameters.method = "two-stage-residual"
    panel.ui.deviceComboBox.setCurrentText("cpu")
    return panel


def opened(panel, monkeypatch):
    """The pages that the browser is asked to show."""
    pages = []
    monkeypatch.setattr(panel.widget.panel.report, "_open_page", lambda path: pages.append(path.read_text(encoding="utf-8")))
    return pages


def test_the_whole_of_it(ready, monkeypatch, tmp_path):
    for box in (ready.ui.checkCheckBox, ready.ui.errorMapCheckBox, ready.ui.carefulCheckBox):
        box.checked = True
    words = ready.ui.commandLineEdit.text
    assert "--check" in words and "--careful" in words
    assert not ready.ui.reportButton.enabled and not ready.ui.errorCollapsibleButton.isVisible()
    ready.ui.applyButton.click()
    ready.finish()
    assert ready.status == "Done", ready.status

    lines = ready.ui.reportLabel.text.split("\n")
    statement = next(number for number, line in enumerate(lines) if line.startswith('On this scan, made twice as coarse, "Two-stage CNN, residual" with careful'))
    assert all(line.startswith("Warning: ") for line in lines[:statement])
    result = ready.parameters.lastResult
    assert "On this scan, made twice as coarse, two-stage-residual with careful" in result.GetAttribute("SuperResolution3D.Check")
    assert result.GetAttribute("SuperResolution3D.Careful") == "yes"
    assert ready.parameters.lastComparison.GetAttribute("SuperResolution3D.Check") == "none"
    assert ready.parameters.lastComparison.GetAttribute("SuperResolution3D.Careful") == "no"

    the_map_lies_over_the_views(ready, result)
    the_table_leads_to_its_places(ready)
    the_page_is_shown_and_kept(ready, monkeypatch, tmp_path)
    slicer.mrmlScene.Clear(False)
    ready.widget.onSceneStartClose(None, None)
    assert not ready.ui.reportButton.enabled and not ready.ui.saveReportButton.enabled and ready.ui.doubtfulTable.rowCount == 0


def the_map_lies_over_the_views(ready, result):
    errors = ready.parameters.lastErrorMap
    assert errors.GetName() == "Head of nobody SR careful expected error x2 in-plane"
    assert slicer.util.arrayFromVolume(errors).shape == slicer.util.arrayFromVolume(result).shape
    assert slicer.util.arrayFromVolume(errors).dtype == np.float32
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {view.GetForegroundVolumeID() for view in views} == {errors.GetID()} and {view.GetForegroundOpacity() for view in views} == {0.6}
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(errors)
    assert legend.GetVisibility() and legend.GetTitleText() == "Expected error"
    ready.ui.errorSlider.value = 0
    assert {view.GetForegroundOpacity() for view in views} == {0.0} and not legend.GetVisibility()
    told = []
    legend.AddObserver("ModifiedEvent", lambda *_: told.append({view.GetForegroundOpacity() for view in views}))
    ready.ui.errorSlider.value = 35
    assert told[-1] == {0.35}  # Slicer looks for the map in the views when its legend changes
    assert {view.GetForegroundOpacity() for view in views} == {0.35} and legend.GetVisibility()


def the_table_leads_to_its_places(ready):
    table = ready.ui.doubtfulTable
    assert 1 <= table.rowCount <= 10
    ready.picture("8-trust")
    table.cellClicked(0, 0)
    centre = views_at()
    right, anterior, superior = (float(part.split()[1]) * (1 if part.split()[0] in "RAS" else -1) for part in table.item(0, 0).text().split(", "))
    np.testing.assert_allclose(centre, (right, anterior, superior), atol=0.06)


def test_the_error_map_of_a_part(ready):
    """It lies over the part in the part's place, its legend is shown, and the places of its table lie within the part."""
    ready.parameters.part = Part.CROSSHAIR
    crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode") or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLCrosshairNode")
    crosshair.SetCrosshairRAS((30.5, 34.5, 3.5))
    ready.ui.boxSizeSpinBox.value, ready.ui.errorMapCheckBox.checked = 24, True
    ready.widget.panel.refresh()
    ready.ui.applyButton.click()
    ready.finish()
    assert ready.status == "Done", ready.status
    errors, result = ready.parameters.lastErrorMap, ready.parameters.lastResult
    bounds, its = [0.0] * 6, [0.0] * 6
    errors.GetRASBounds(bounds)
    result.GetRASBounds(its)
    assert bounds == its and slicer.util.arrayFromVolume(errors).shape == slicer.util.arrayFromVolume(result).shape == (8, 48, 48)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        assert (view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), view.GetForegroundOpacity()) == (result.GetID(), errors.GetID(), 0.6)
    assert slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(errors).GetVisibility()
    assert ready.ui.errorCollapsibleButton.isVisible() and ready.ui.doubtfulTable.rowCount
    for row in range(ready.ui.doubtfulTable.rowCount):
        ready.ui.doubtfulTable.cellClicked(row, 0)
        assert all(low - 0.01 <= at <= high + 0.01 for low, at, high in zip(bounds[::2], views_at(), bounds[1::2]))
    ready.picture("8-trust-part")


def the_page_is_shown_and_kept(ready, monkeypatch, tmp_path):
    pages = opened(ready, monkeypatch)
    ready.ui.reportButton.click()
    assert "Head of nobody" in pages[0] and "input.nrrd" not in pages[0] and str(tmp_path) not in pages[0]
    assert "On this scan, made twice as coarse" in pages[0] and "The most doubtful places" in pages[0] and "Expected error, 0 to" in pages[0]
    ready.widget.panel.report.save_page(str(tmp_path / "kept.html"))
    assert (tmp_path / "kept.html").read_text(encoding="utf-8") == pages[0] and "kept.html" in ready.status
    ready.widget.panel.report.save_page(str(tmp_path / "missing" / "kept.html"))
    assert "missing" in ready.status and "saved" not in ready.status


def views_at():
    """Where all three usual views meet, RAS."""
    found = {}
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        matrix = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        found[view.GetOrientation()] = matrix[:3, 3]
    return found["Sagittal"][0], found["Coronal"][1], found["Axial"][2]


def test_interpolations_have_neither_page_nor_map(panel, make_volume):
    panel.parameters.inputVolume = make_volume()
    panel.parameters.check = panel.parameters.careful = panel.parameters.errorMap = True
    panel.parameters.method = "lanczos"
    request = panel.request()
    assert not (request.is_checked or request.is_careful or request.makes_error_map or request.makes_page)
    assert not panel.ui.checkCheckBox.enabled and not panel.ui.carefulCheckBox.enabled and not panel.ui.errorMapCheckBox.enabled
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done" and not panel.ui.reportButton.enabled and panel.parameters.lastErrorMap is None


def test_the_estimate_counts_check_and_map(ready, monkeypatch):
    from SuperResolution3DLib.checks import volume_facts
    from SuperResolution3DLib.estimate import estimate

    monkeypatch.setattr("SuperResolution3DLib.estimate._LEAST_CHECKING", 0.0)  # this run is short
    facts, request = volume_facts(ready.parameters.inputVolume), ready.request()
    bare = estimate(facts, request)
    ready.parameters.check = True
    checked = estimate(facts, ready.request())
    assert checked.seconds > bare.seconds
    ready.parameters.errorMap = True
    both = estimate(facts, ready.request())
    assert both.seconds - bare.seconds == pytest.approx(1.5 * (checked.seconds - bare.seconds))  # a quarter, and an eighth
    assert both.disk_bytes == bare.disk_bytes + 4 * 8 * 128 * 128


def test_a_scan_that_cannot_be_checked_is_told_first_and_its_result_stays(panel, make_volume):
    panel.parameters.inputVolume = make_volume(shape=(2, 12, 12), spacing=(1.0, 1.0, 1.0))
    panel.parameters.axes, panel.parameters.check = Axes.THROUGH_PLANE, True
    panel.parameters.method = "cubic"
    panel.ui.applyButton.click()
    panel.finish()
    assert panel.status == "Done", panel.status
    assert panel.ui.reportLabel.text.startswith("Warning: The check was not done")


def test_places_are_those_of_the_report_under_a_transform(panel, make_volume):
    volume = make_volume()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 5, 6, 7
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    report = {"error_map": {"unit": "HU", "doubtful": [{"position_ras_mm": [-12.0, 3.5, 40.0], "expected_error": 123.4}]}}
    (place,) = doubtful_places(report)
    assert place == Doubtful((-12.0, 3.5, 40.0), 123.4, "L 12.0, A 3.5, S 40.0", "123 HU")
    assert doubtful_places({}) == []
    jump_to(place, volume)
    np.testing.assert_allclose(views_at(), (-7.0, 9.5, 47.0))


def test_a_script_gets_check_and_map(panel, make_volume):
    from SuperResolution3D import SuperResolution3DLogic

    finished = SuperResolution3DLogic().upscale(
        volume_of_lines(make_volume), scale=2, axes="in-plane", modality="MR", method="two-stage-residual", ensemble="none", device="cpu", check=True, errorMap=True
    )
    assert "On this scan, made twice as coarse" in report_text(finished) and "Head of nobody" in finished.page
    assert finished.error_map.GetAttribute("SuperResolution3D.ErrorMap") == finished.report["error_map"]["statement"]


def test_who_is_elsewhere_gets_the_map_with_the_result(ready):
    """No view is taken from them; Show brings both."""
    ready.ui.errorMapCheckBox.checked = True
    other = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), "int16"), name="Other")
    ready.ui.applyButton.click()
    slicer.util.setSliceViewerLayers(background=other)
    ready.finish()
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert views and {(view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) for view in views} == {(other.GetID(), None)}
    ready.ui.showResultButton.click()
    ready.wait(lambda: True)
    shown = {(view.GetBackgroundVolumeID(), view.GetForegroundVolumeID()) for view in views}
    assert shown == {(ready.parameters.lastResult.GetID(), ready.parameters.lastErrorMap.GetID())}
