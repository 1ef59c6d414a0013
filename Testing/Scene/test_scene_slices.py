"""Slices of 1 mm and volumetric networks in a real scene: grid, comparison, record, name, refusals; with untrained networks."""

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
import slicer  # noqa: E402
import slicer.util  # noqa: E402
from superres3d.errors import InputError, ModelError  # noqa: E402
from superres3d.methods import INVENTS  # noqa: E402
from superres3d.upscaling import upscale  # noqa: E402
from SuperResolution3DLib.checks import volume_facts  # noqa: E402
from SuperResolution3DLib.choices import Ensemble, Modality, Preset, Scale  # noqa: E402
from SuperResolution3DLib.comparison import panes  # noqa: E402
from SuperResolution3DLib.estimate import estimate  # noqa: E402
from SuperResolution3DLib.job import Job, Outputs  # noqa: E402
from SuperResolution3DLib.nodes import result_name, volume_from_node  # noqa: E402
from SuperResolution3DLib.request import Request, fitting_methods, fitting_slice_methods, proposed_method  # noqa: E402
from SuperResolution3DLib.run import run_and_wait  # noqa: E402
from SuperResolution3DLib.summary import method_caution, method_text, method_tip, missing_networks, report_text, slices_hint  # noqa: E402

THIN = Request(slice_spacing=1.0, method="virtual-thin-slice", modality="CT", preset="fast", device="cpu")
INVENTING = Request(method="mdcsrn-gan", modality="MR", preset="fast", device="cpu")


def run(scene, volume, request, told=None):
    return run_and_wait(Job(scene, volume, request, Outputs()), (lambda progress: None) if told is None else told.append)


def bounds(node):
    found = [0.0] * 6
    node.GetRASBounds(found)
    return np.array(found)


@pytest.mark.parametrize("distance, count", [(3.0, 18), (3.3, 20), (1.5, 9), (10.0, 60)])
def test_slices_of_1_mm_fill_the_same_space(scene, make_ct, install, distance, count):
    install("virtual-thin-slice-ct")
    volume, told = make_ct(distance), []
    finished = run(scene, volume, THIN, told)
    for node in (finished.result, finished.comparison):
        assert slicer.util.arrayFromVolume(node).shape == (count, 24, 20)
        np.testing.assert_allclose(bounds(node), bounds(volume), atol=1e-6)
        assert node.GetSpacing()[2] == pytest.approx(6 * distance / count)
        assert node.GetAttribute("SuperResolution3D.SliceSpacing") == "1"
    assert (slicer.util.arrayFromVolume(finished.result) != slicer.util.arrayFromVolume(finished.comparison)).any()
    assert {progress.stage for progress in told} == {"interpolation", "volume", "writing"}
    assert (finished.result.GetName(), finished.comparison.GetName()) == ("Chest SR 1 mm slices", "Chest Lanczos 1 mm slices")


def test_result_and_comparison_are_the_packages_own(scene, make_ct, install):
    install("virtual-thin-slice-ct")
    volume = make_ct(3.3)
    finished = run(scene, volume, THIN)
    scan = volume_from_node(volume)
    expected = upscale(scan, slice_spacing=1.0, method="virtual-thin-slice", modality="CT", preset="fast", device="cpu")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(finished.result), expected.volume.voxels)
    lanczos = upscale(scan, slice_spacing=1.0, method="lanczos", modality="CT").volume
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(finished.comparison), lanczos.voxels)
    factors = [float(f) for f in finished.result.GetAttribute("SuperResolution3D.Factors").split()]
    np.testing.assert_allclose(factors, (1, 1, 20 / 6))
    assert finished.result.GetAttribute("SuperResolution3D.Models").startswith("volume: virtual-thin-slice-ct sha256:")
    assert finished.result.GetAttribute("SuperResolution3D.Caution") == "none"


def test_the_method_alone_says_what_is_refined(scene, make_ct, make_volume, install):
    """Scripts may leave out factor, axes and distance."""
    install("virtual-thin-slice-ct", "mdcsrn-mr")
    thin = run(scene, make_ct(2.5), Request(method="virtual-thin-slice", modality="CT", preset="fast", compare=False))
    assert thin.result.GetName() == "Chest SR 1 mm slices" and thin.result.GetAttribute("SuperResolution3D.SliceSpacing") == "1"
    fine = run(scene, make_volume("Head"), Request(method="mdcsrn", modality="MR", preset="fast", compare=False))
    assert fine.result.GetName() == "Head SR x2 in-plane" and fine.result.GetAttribute("SuperResolution3D.SliceSpacing") == "none"
    assert slicer.util.arrayFromVolume(fine.result).shape == (6, 18, 16)


def test_interpolation_to_slices_of_1_mm(scene, make_ct):
    finished = run(scene, make_ct(1.2), Request(slice_spacing=1.0, method="cubic", modality="CT"))
    assert slicer.util.arrayFromVolume(finished.result).shape == (7, 24, 20)
    assert finished.result.GetName() == "Chest Cubic 1 mm slices"


def test_estimate_tells_the_slices(make_ct, install):
    install("virtual-thin-slice-ct")
    told = estimate(volume_facts(make_ct(3.3)), THIN)
    assert told.shape == (20, 24, 20) and told.spacing[2] == pytest.approx(0.99)
    assert told.memory_bytes > told.result_bytes and told.seconds > 0
    assert "20 \u00d7 24 \u00d7 20 voxels of 0.8 \u00d7 0.8 \u00d7 0.99 mm" in told.text()


@pytest.mark.parametrize(
    "distance, choices, words",
    [
        (1.2, {"method": "virtual-thin-slice"}, "1.2 mm apart, too close for virtual-thin-slice"),
        (12.0, {"method": "virtual-thin-slice"}, "12 mm apart, and virtual-thin-slice makes slices of 1 mm from at most 10 mm"),
        (0.8, {"method": "lanczos"}, "0.8 mm apart, closer than the 1 mm"),
        (6.0, {"method": "two-stage-residual"}, "two-stage-residual makes slices of 1 mm from at most 5 mm"),
        (5.0, {"method": "virtual-thin-slice", "slice_spacing": 2.0}, "gives slices of 1 mm, not of 2 mm"),
        (5.0, {"method": "lanczos", "scale": 2}, "A factor and a distance of the slices were both given"),
        (5.0, {"method": "lanczos", "axes": "all"}, "leave the axes out"),
    ],
)
def test_what_does_not_fit_is_one_sentence(make_ct, install, distance, choices, words):
    install("virtual-thin-slice-ct")
    with pytest.raises(InputError, match=words) as caught:
        estimate(volume_facts(make_ct(distance)), Request(**{"slice_spacing": 1.0, "modality": "CT", **choices}))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_network_for_ct_is_refused_for_mr_and_with_a_factor():
    with pytest.raises(InputError, match="virtual-thin-slice is not for MR"):
        Request(slice_spacing=1.0, method="virtual-thin-slice", modality="MR")
    with pytest.raises(InputError, match="virtual-thin-slice is not for CT x2"):
        Request(scale=2, method="virtual-thin-slice", modality="CT")


def test_a_model_that_is_not_installed_is_told(make_ct, install):
    install()
    with pytest.raises(ModelError, match="virtual-thin-slice-ct is not installed"):
        estimate(volume_facts(make_ct(5.0)), THIN)


# ---------------------------------------------------------------------- what is offered


def names(methods):
    return [method.name for method in methods]


def test_only_installed_methods_are_offered(install):
    install("mdcsrn-mr", "virtual-thin-slice-ct")
    assert names(fitting_methods("MR", "in-plane", 2)) == ["mdcsrn", "lanczos", "cubic", "linear", "nearest"]
    assert names(fitting_methods("MR", "in-plane", 4)) == names(fitting_methods("CT", "in-plane", 2)) == ["lanczos", "cubic", "linear", "nearest"]
    assert names(fitting_slice_methods("CT", 1.0)) == ["virtual-thin-slice", "lanczos", "cubic", "linear", "nearest"]
    assert names(fitting_slice_methods("MR", 1.0)) == ["lanczos", "cubic", "linear", "nearest"]


def test_slices_are_offered_by_their_distance(install):
    install("virtual-thin-slice-ct")
    assert names(fitting_slice_methods("CT", 1.0, 1.5))[0] == "virtual-thin-slice"
    assert names(fitting_slice_methods("CT", 1.0, 1.2))[0] == "lanczos"
    assert fitting_slice_methods("CT", 1.0, 1.0) == fitting_slice_methods("CT", 1.0, 12.0) == []


def test_what_may_invent_is_never_proposed(install):
    install("virtual-thin-slice-gan-ct")
    offered = fitting_slice_methods("CT", 1.0, 5.0)
    assert offered[0].name == "virtual-thin-slice-gan" and proposed_method(offered).name == "lanczos"


# ---------------------------------------------------------------------- wording


def test_a_network_that_may_invent_says_so_everywhere(scene, make_volume, install):
    install("mdcsrn-gan-mr")
    volume = make_volume("Head")
    finished = run(scene, volume, INVENTING)
    assert finished.result.GetName() == "Head SR (may invent texture) x2 in-plane"
    assert finished.result.GetAttribute("SuperResolution3D.Caution") == INVENTS
    assert finished.comparison.GetAttribute("SuperResolution3D.Caution") == "none"
    assert report_text(finished).count(INVENTS) == 1 and f"Caution: {INVENTS}" in report_text(finished)
    labels = [pane.label for pane in panes(volume, finished.comparison, finished.result)]
    assert "not in the scan" in labels[2] and "not in the scan" not in labels[0] + labels[1]


def test_methods_are_described_with_assumption_source_and_warning(install):
    install("mdcsrn-gan-mr", "mdcsrn-mr")
    plain, adversarial = (next(m for m in fitting_methods("MR", "in-plane", 2) if m.name == name) for name in ("mdcsrn", "mdcsrn-gan"))
    for method in (plain, adversarial):
        assert method.summary in method_text(method) and "When not:" in method_text(method)
        assert all(part in method_tip(method) for part in (method_text(method), method.assumes, method.paper))
        assert INVENTS not in method_text(method)
    assert method_caution(plain) == "" and method_caution(adversarial) == f"Caution: {INVENTS}"
    assert INVENTS in method_tip(adversarial)


def test_missing_networks_are_told(install):
    install("mdcsrn-mr")
    assert missing_networks("MR") == "" and missing_networks("CT").startswith("No trained network for CT is installed")


def test_hint_says_why_there_is_no_network_for_slices(make_ct, install):
    install("virtual-thin-slice-ct")
    assert slices_hint(volume_facts(make_ct(5.0)), "CT", 1.0) == "The slices are 5 mm apart in the scan. The pixels stay as they are."
    assert 'too close for "Virtual Thin Slice, light"' in slices_hint(volume_facts(make_ct(1.2)), "CT", 1.0)
    assert "too close" not in slices_hint(volume_facts(make_ct(0.9)), "CT", 1.0)  # nothing is offered, and the reason stands elsewhere


def test_hint_says_how_far_the_networks_reach(make_ct):
    """The shipped ones: to 1 mm from 5 mm for MR."""
    assert slices_hint(volume_facts(make_ct(5.33)), "MR", 1.0).endswith("as they are. The networks for MR do that up to 5 mm; beyond, choose a factor.")


def test_names_and_labels():
    assert result_name("Chest", "SR", 0, "through-plane", 1.0) == "Chest SR 1 mm slices"
    assert (Scale.SLICES_1_MM.factor, Scale.SLICES_1_MM.slice_spacing, Scale.SLICES_1_MM.label()) == (None, 1.0, "Slices of 1 mm")
    assert (Scale.TWO.factor, Scale.TWO.slice_spacing, Scale.TWO.label()) == (2, None, "2x")
    assert Ensemble.EIGHT.label() == "8 copies" and Ensemble.EIGHT.label(volumetric=True) == "4 copies"
    assert "seventh" in Preset.FAST.label() and "quarter" in Preset.FAST.label(volumetric=True)


def test_modality_of_the_scan_is_seen(make_ct):
    assert volume_facts(make_ct(5.0)).modality.modality is Modality.CT and volume_facts(make_ct(5.0)).slice_distance == pytest.approx(5.0)
