"""Volumes in and out of a real scene: geometry, voxels, attributes, refusals."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
import slicer  # noqa: E402
import slicer.util  # noqa: E402
import vtk  # noqa: E402
from superres3d.errors import InputError  # noqa: E402
from SuperResolution3DLib import nodes  # noqa: E402
from SuperResolution3DLib.checks import check_input, check_output, volume_facts  # noqa: E402
from SuperResolution3DLib.choices import Axes, Modality  # noqa: E402
from SuperResolution3DLib.comparison import any_in_views  # noqa: E402
from SuperResolution3DLib.samples import load_first_sample  # noqa: E402
from SuperResolution3DLib.scripting import request_for  # noqa: E402
from SuperResolution3DLib.sequences import current_frame  # noqa: E402
from SuperResolution3DLib.summary import axes_hint, facts_text, proposed_axes  # noqa: E402


def bounds(node):
    found = [0.0] * 6
    node.GetRASBounds(found)
    return np.array(found)


def put(scene, volume, factors=(2, 2, 2), existing=None, name="CT chest SR x2"):
    shape = tuple(n * f for n, f in zip(slicer.util.arrayFromVolume(volume).shape, factors[::-1]))
    voxels = np.zeros(shape, slicer.util.arrayFromVolume(volume).dtype)
    product = nodes.Product(nodes.image_from_voxels(voxels), name, factors, {"SuperResolution3D.Method": "test"})
    return nodes.put_into_scene(scene, nodes.Source.of(volume, None), product, existing)


@pytest.mark.parametrize("factors", [(2, 2, 2), (4, 4, 1), (1, 1, 4), (2, 2, 4)])
def test_result_covers_the_same_space(scene, make_volume, factors):
    volume = make_volume()
    result = put(scene, volume, factors)
    np.testing.assert_allclose(bounds(result), bounds(volume), atol=1e-9)
    np.testing.assert_allclose(result.GetSpacing(), np.array(volume.GetSpacing()) / factors, rtol=1e-12)


def test_the_package_and_the_node_agree_on_the_fine_grid(scene, make_volume):
    """The worker's file and the node must not differ by half a voxel."""
    volume = make_volume()
    result = put(scene, volume, (2, 2, 4))
    refined = nodes.volume_from_node(volume).refined(slicer.util.arrayFromVolume(result), (4, 2, 2))
    again = nodes.volume_from_node(result)
    np.testing.assert_allclose(again.origin, refined.origin, atol=1e-9)
    np.testing.assert_allclose(again.direction, refined.direction, atol=1e-9)
    np.testing.assert_allclose(again.position((3, 5, 7)), refined.position((3, 5, 7)), atol=1e-9)


def test_a_left_handed_grid_is_kept(scene, make_volume):
    volume = make_volume()
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    flipped = slicer.util.arrayFromVTKMatrix(matrix) @ np.diag([1, 1, -1, 1])
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(flipped))
    assert np.linalg.det(nodes.volume_from_node(volume).direction) == pytest.approx(-1)
    np.testing.assert_allclose(bounds(put(scene, volume)), bounds(volume), atol=1e-9)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
def test_image_keeps_dtype_and_order(dtype):
    voxels = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetAndObserveImageData(nodes.image_from_voxels(voxels))
    back = slicer.util.arrayFromVolume(node)
    assert back.dtype == voxels.dtype
    np.testing.assert_array_equal(back, voxels)


def test_display_units_transform_and_attributes_are_those_of_the_input(scene, make_volume):
    volume = make_volume()
    display = volume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(350, 40)
    colour = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "Warm")
    display.SetAndObserveColorNodeID(colour.GetID())
    units = slicer.vtkCodedEntry()
    units.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    volume.SetVoxelValueUnits(units)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Registration")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    volume.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.4")
    result = put(scene, volume)
    shown = result.GetDisplayNode()
    assert shown is not display
    assert (shown.GetWindow(), shown.GetLevel(), shown.GetColorNodeID()) == (350, 40, colour.GetID())
    assert result.GetVoxelValueUnits().GetCodeMeaning() == "Hounsfield unit"
    assert result.GetTransformNodeID() == transform.GetID()
    assert result.GetAttribute("DICOM.instanceUIDs") is None
    assert volume.GetAttribute("DICOM.instanceUIDs") == "1.2.3 1.2.4"
    assert result.GetAttribute("SuperResolution3D.Method") == "test"
    assert result.GetNodeReference(nodes.SOURCE_ROLE) is volume


def test_a_new_node_is_as_slicers_clone(scene, make_volume):
    """But for a name of its own and the window, which is held; made without a look at the voxels."""
    volume = make_volume()
    volume.SetAttribute("Custom", "1")
    volume.SetDescription("as scanned")
    volume.GetDisplayNode().SetInterpolate(0)
    volume.GetDisplayNode().SetThreshold(10, 20)
    clone, made = slicer.vtkSlicerVolumesLogic.CloneVolumeWithoutImageData(scene, volume, "new"), nodes._node_like(scene, volume, "new")
    assert made.GetName() != clone.GetName() and made.GetName().startswith("new")
    assert {key: made.GetAttribute(key) for key in made.GetAttributeNames()} == {key: clone.GetAttribute(key) for key in clone.GetAttributeNames()}
    assert made.GetDescription() == "as scanned" and made.GetImageData() is None and made.GetStorageNode() is None
    displays = [node.GetDisplayNode() for node in (clone, made)]
    for key in ("GetInterpolate", "GetLowerThreshold", "GetUpperThreshold", "GetApplyThreshold", "GetColorNodeID", "GetVisibility", "GetWindow", "GetLevel"):
        assert getattr(displays[0], key)() == getattr(displays[1], key)(), key
    assert displays[1] is not volume.GetDisplayNode() and scene.IsNodePresent(displays[1]) and not displays[1].GetAutoWindowLevel()


def test_an_automatic_window_is_that_of_the_input(scene, make_volume):
    """An automatic one of the result would differ, and Slicer would look at all its voxels before the window answers again."""
    volume = make_volume()
    display = volume.GetDisplayNode()
    assert display.GetAutoWindowLevel()
    shown = display.GetWindow(), display.GetLevel()
    result = put(scene, volume)  # all voxels 0
    for existing in (None, result):
        made = put(scene, volume, existing=existing).GetDisplayNode()
        assert (made.GetWindow(), made.GetLevel()) == shown and not made.GetAutoWindowLevel()
    assert display.GetAutoWindowLevel() and (display.GetWindow(), display.GetLevel()) == shown


def test_result_lies_beside_its_input_in_the_subject_hierarchy(scene, make_volume):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    volume = make_volume()
    hierarchy.CreateItem(study, volume)
    result = put(scene, volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)) == study


def test_a_result_is_a_derived_series_of_its_sources_study(scene, make_volume):
    """Slicer's own export takes what the item's attributes tell; without them an MR became a CT."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    volume = make_volume("4: T2 tse")
    item = hierarchy.CreateItem(study, volume)
    for tag, value in {"Modality": "MR", "SeriesNumber": "4", "FrameOfReferenceUID": "1.2.3"}.items():
        hierarchy.SetItemAttribute(item, f"DICOM.{tag}", value)
    first, second = put(scene, volume, name="4: T2 tse SR x2"), put(scene, volume, name="4: T2 tse Lanczos x2")
    told = [{tag: hierarchy.GetItemAttribute(hierarchy.GetItemByDataNode(node), f"DICOM.{tag}") for tag in ("Modality", "SeriesNumber", "SeriesDescription", "FrameOfReferenceUID", "ImageType")} for node in (first, second)]
    assert told[0] == {"Modality": "MR", "SeriesNumber": "401", "SeriesDescription": "T2 tse SR x2", "FrameOfReferenceUID": "1.2.3", "ImageType": "DERIVED\\SECONDARY"}
    assert (told[1]["SeriesNumber"], told[1]["SeriesDescription"]) == ("402", "T2 tse Lanczos x2")
    assert volume_facts(first).modality.source == "from DICOM"  # and so once more
    again = put(scene, first, name=f"{first.GetName()} {'long ' * 30}")
    assert again.GetAttribute("DICOM.Modality") == "MR" and int(again.GetAttribute("DICOM.SeriesNumber")) > 402
    assert len(again.GetAttribute("DICOM.SeriesDescription")) <= 64


def test_a_result_of_no_series_is_none(scene, make_volume):
    assert put(scene, make_volume()).GetAttribute("DICOM.Modality") is None


def test_existing_output_is_updated_in_place(scene, make_volume):
    volume, output = make_volume(), make_volume("Kept name", shape=(3, 3, 3), dtype="uint8")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(123, 45)
    count, identity = scene.GetNumberOfNodes(), output.GetID()
    result = put(scene, volume, (1, 1, 2), existing=output)
    assert result is output and result.GetID() == identity and result.GetName() == "Kept name"
    assert scene.GetNumberOfNodes() - count in (0, 1)  # the subject hierarchy may come into being
    assert slicer.util.arrayFromVolume(result).shape == (12, 9, 8)
    np.testing.assert_allclose(bounds(result), bounds(volume), atol=1e-9)
    assert (result.GetDisplayNode().GetWindow(), result.GetDisplayNode().GetLevel()) == (123, 45)


def test_second_result_gets_a_name_of_its_own(scene, make_volume):
    volume = make_volume()
    first, second = put(scene, volume), put(scene, volume)
    assert first.GetName() == "CT chest SR x2" and second.GetName() == "CT chest SR x2_1"


def test_removed_input_is_told_and_nothing_is_added(scene, make_volume, snapshot):
    volume = make_volume()
    source = nodes.Source.of(volume, None)
    product = nodes.Product(nodes.image_from_voxels(np.zeros((2, 2, 2), "int16")), "x", (2, 2, 2), {})
    scene.RemoveNode(volume)
    before = snapshot()
    with pytest.raises(InputError, match='"CT chest" was removed from the scene'):
        nodes.put_into_scene(scene, source, product)
    assert snapshot() == before


def test_names():
    assert nodes.result_name("CT chest", "SR", 2, "all") == "CT chest SR x2"
    assert nodes.result_name("CT chest", "Lanczos", 4, "through-plane") == "CT chest Lanczos x4 through-plane"


# ---------------------------------------------------------------------- facts


def test_thick_slices_propose_through_plane(make_volume):
    thick = volume_facts(make_volume(spacing=(0.5, 0.5, 5.0)))
    cubes = volume_facts(make_volume(spacing=(1.0, 1.0, 1.2)))
    assert proposed_axes(thick) is Axes.THROUGH_PLANE and "10.0 times" in axes_hint(thick)
    assert proposed_axes(cubes) is Axes.ALL and "cubes" in axes_hint(cubes)
    assert facts_text(thick) == "8 \u00d7 9 \u00d7 6 voxels of 0.5 \u00d7 0.5 \u00d7 5 mm, int16."


def test_modality_from_the_dicom_series(scene, make_volume):
    volume = make_volume()  # its intensities look like MR
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "CT")
    guess = volume_facts(volume).modality
    assert guess.modality is Modality.CT and guess.source == "from DICOM"


def test_modality_from_the_intensities(make_volume):
    air = np.full((4, 4, 4), 30, "int16")
    air[0] = -1000 + np.arange(air[0].size).reshape(air[0].shape) % 7  # with noise
    guess = volume_facts(make_volume(voxels=air)).modality
    assert guess.modality is Modality.CT and not guess.doubt
    guess = volume_facts(make_volume(voxels=air + 1000)).modality  # a CT without a sign, perhaps
    assert guess.modality is Modality.MR and "unclear" in guess.source and "choose the modality" in guess.doubt


def test_other_modalities_are_told(scene, make_volume):
    volume = make_volume()
    volume.SetAttribute("DICOM.Modality", "PT")
    guess = volume_facts(volume).modality
    assert "DICOM says PT" in guess.source and "the networks are for CT and MR" in guess.doubt
    with pytest.raises(InputError, match="DICOM says PT"):
        request_for(volume, "", "", None)
    assert request_for(volume, "lanczos", "", None).method == "lanczos"
    assert request_for(volume, "", "MR", None).modality == "MR"


def test_sequence_proxy_is_told(scene, make_volume):
    sequence = scene.AddNode(slicer.vtkMRMLSequenceNode())
    browser = scene.AddNode(slicer.vtkMRMLSequenceBrowserNode())
    for number in range(3):
        frame = make_volume(f"frame {number}")
        sequence.SetDataNodeAtValue(frame, str(number))
        scene.RemoveNode(frame)
    proxy = make_volume("Cine proxy")
    browser.AddSynchronizedSequenceNode(sequence)
    browser.AddProxyNode(proxy, sequence, False)
    browser.SetSelectedItemNumber(1)
    assert current_frame(proxy) == (2, 3)
    assert "Frame 2 of 3" in facts_text(volume_facts(proxy))
    with pytest.raises(InputError, match="frame of a sequence"):
        check_output(proxy, make_volume("other"), "The upscaled volume")
    assert current_frame(make_volume("alone")) is None


# ---------------------------------------------------------------------- refusals


def label_map(scene, make_volume):
    return make_volume("Liver", kind="vtkMRMLLabelMapVolumeNode")


def colours(scene, make_volume):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    image = vtk.vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    node.SetAndObserveImageData(image)
    return node


def single_slice(scene, make_volume):
    return make_volume("X-ray", shape=(1, 9, 8))


def with_nan(scene, make_volume):
    voxels = np.ones((3, 3, 3), "float32")
    voxels[1, 1, 1] = np.nan
    return make_volume("Map", voxels=voxels)


def with_infinity(scene, make_volume):
    voxels = np.ones((3, 3, 3), "float32")
    voxels[1, 1, 1] = np.inf
    return make_volume("Map", voxels=voxels)


def constant(scene, make_volume):
    return make_volume("Empty", voxels=np.full((3, 3, 3), 7, "int16"))


def without_image(scene, make_volume):
    return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")


def sheared(scene, make_volume):
    node = make_volume("Tilted")
    matrix = np.eye(4)
    matrix[0, 2] = 0.4
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return node


def model(scene, make_volume):
    return scene.AddNewNodeByClass("vtkMRMLModelNode", "Skull")


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda *_: None, "Choose an input volume"), (label_map, '"Liver" is a label map'), (colours, "3 components per voxel"),
        (single_slice, "single slice"), (with_nan, "NaN or infinite"), (with_infinity, "NaN or infinite"), (constant, "same value"),
        (without_image, "no image data"), (sheared, "not at right angles"), (model, "not a scalar volume"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_the_scene_stays(scene, make_volume, snapshot, make, words):
    node = make(scene, make_volume)
    before = snapshot()
    with pytest.raises(InputError, match=words) as caught:
        check_input(node)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert snapshot() == before


def test_good_input_passes(make_volume):
    check_input(make_volume())


def test_changed_voxels_are_looked_at_again(make_volume):
    node = make_volume(dtype="float32")
    check_input(node)
    slicer.util.arrayFromVolume(node)[0, 0, 0] = np.nan
    slicer.util.arrayFromVolumeModified(node)
    with pytest.raises(InputError, match="NaN"):
        check_input(node)


def test_output_must_not_be_the_input_or_a_label_map(scene, make_volume):
    volume = make_volume()
    with pytest.raises(InputError, match="is the input volume itself"):
        check_output(volume, volume, "The upscaled volume")
    with pytest.raises(InputError, match="cannot hold the result"):
        check_output(label_map(scene, make_volume), volume, "The upscaled volume")
    check_output(None, volume, "The upscaled volume")
    check_output(make_volume("Result"), volume, "The upscaled volume")


def test_volumes_in_the_views_are_known(scene, make_volume):
    shown, other = make_volume(), make_volume()
    view, composite = slicer.vtkMRMLSliceNode(), slicer.vtkMRMLSliceCompositeNode()
    for node in (view, composite):
        node.SetLayoutName("Red")
        scene.AddNode(node)
    composite.SetBackgroundVolumeID(shown.GetID())
    assert not any_in_views(shown, other, None)  # the view is not in the layout
    view.SetMappedInLayout(1)
    assert any_in_views(None, shown) and not any_in_views(other)
    composite.SetForegroundVolumeID(other.GetID())
    assert any_in_views(other)


def test_a_failed_download_of_the_sample_is_told(monkeypatch):
    made = type("SampleDataLogic", (), {"registerCustomSampleDataSource": staticmethod(lambda **_: None), "downloadSamples": lambda self, name: []})
    monkeypatch.setitem(sys.modules, "SampleData", SimpleNamespace(SampleDataLogic=made))
    with pytest.raises(RuntimeError, match="download failed"):
        load_first_sample()
