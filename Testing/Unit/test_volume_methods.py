"""What the volumetric methods are offered for, what they refuse, and the whole way of a scan through them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import map_coordinates
from superres3d import Volume
from superres3d.errors import InputError, ModelError, ResourceError
from superres3d.methods import FARTHEST_SLICES, INVENTS, METHODS, find_method, fits_slices, is_installed
from superres3d.networks.families import Architecture
from superres3d.networks.module import BlueprintNet
from superres3d.networks.weights import find_model, load_network
from superres3d.plan import plan_upscaling
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.writing import to_image
from superres3d.upscaling import upscale

from .conftest import SMALL_OPTIONS, random_blueprint, save_blueprint, smooth_noise

VOLUMETRIC = [method for method in METHODS.values() if method.kind == "volume"]
THIN = {"method": "virtual-thin-slice", "ensemble": "none", "precision": "single", "device": "cpu"}
DENSE = {"method": "mdcsrn", "ensemble": "none", "precision": "single", "device": "cpu"}


def ct(shape=(6, 20, 22), distance: float = 3.0, dtype=np.int16) -> Volume:
    """Soft tissue with oblique slices."""
    angle = np.radians(15)
    direction = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return Volume((smooth_noise(shape) * 300 - 100).astype(dtype), (0.7, 0.8, distance), (-20.5, 12.25, 7.0), direction, "CT")


def mr(shape=(6, 20, 22)) -> Volume:
    return Volume((smooth_noise(shape) * 900).astype(np.int16), (0.7, 0.8, 2.0), (-20.5, 12.25, 7.0), modality="MR")


@pytest.fixture
def interpolating(tmp_path, monkeypatch):
    """Untrained residual networks: what is left is the way around the network."""
    for method, family in (("mdcsrn-mr", "mdcsrn"), ("virtual-thin-slice-ct", "virtual-thin-slice")):
        save_blueprint(BlueprintNet(Architecture.make(family, SMALL_OPTIONS[family], residual=True)).eval(), method, tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))


@pytest.fixture
def nothing_else(volume_models, monkeypatch):
    """As if no model were installed but two."""
    monkeypatch.setattr("superres3d.networks.weights.model_folders", lambda: [volume_models])


def spline(voxels: np.ndarray, count: int) -> np.ndarray:
    """``count`` slices over the same extent, by scipy."""
    places = (np.arange(count) + 0.5) * len(voxels) / count - 0.5
    grids = np.meshgrid(places, *map(np.arange, voxels.shape[1:]), indexing="ij")
    return map_coordinates(voxels.astype(np.float64), grids, order=3, mode="reflect")


def thick_means(thin: np.ndarray, count: int) -> np.ndarray:
    """Means over ``count`` equal parts of the extent, by differences of the interpolated integral."""
    integral = np.concatenate([np.zeros((1, *thin.shape[1:])), np.cumsum(thin.astype(np.float64), axis=0)])
    edges = np.linspace(0, len(thin), count + 1)
    at_edges = np.stack([map_coordinates(integral, [np.full(thin[0].size, edge), *(g.ravel() for g in np.indices(thin[0].shape))], order=1).reshape(thin[0].shape) for edge in edges])
    return np.diff(at_edges, axis=0) * count / len(thin)


def whole_sentence(error: BaseException) -> bool:
    text = str(error)
    return text.endswith(".") and "\n" not in text and not re.search(r"\.\s+[A-Z]", text)


def leave_means(monkeypatch) -> None:
    method = METHODS["virtual-thin-slice"]
    monkeypatch.setitem(METHODS, method.name, replace(method, keeps_means=False))


@pytest.fixture
def network_alone(monkeypatch):
    """Without the step that brings the means of the thick slices back."""
    leave_means(monkeypatch)


# The whole way


@pytest.mark.parametrize("distance, count", [(3.0, 18), (2.7, 16), (5.0, 30), (1.5, 9)])
def test_thin_slices_are_the_network_on_a_spline(volume_models, distance, count, unbounded):
    """Written out with scipy's spline and PyTorch's module; then one step of back-projection from the means over the thick slices."""
    scan = ct(distance=distance, dtype=np.float32)
    given = (spline(scan.voxels, count) + 1024) / 4095
    filled = np.pad(given, [(0, -n % 16) for n in given.shape], mode="edge").astype(np.float32)
    with torch.inference_mode():
        made = load_network(find_model("virtual-thin-slice-ct"))(torch.from_numpy(filled)[None, None])[0, 0].numpy()
    expected = made[:count, :20, :22] * 4095 - 1024
    expected = expected + spline(scan.voxels - thick_means(expected, 6), count)
    result = upscale(scan, **THIN)
    assert np.abs(expected - given * 4095 + 1024).max() > 20
    np.testing.assert_allclose(result.volume.voxels, expected, atol=0.05)
    assert result.report["models"]["volume"]["name"] == "virtual-thin-slice-ct"


@pytest.mark.parametrize("distance", [2.7, 5.0])
def test_thin_slices_keep_the_mean_of_the_scan(volume_models, monkeypatch, distance):
    """Whatever the network adds: this one, with random weights, adds hundreds of Hounsfield units."""
    scan = ct(distance=distance, dtype=np.float32)
    kept = upscale(scan, **THIN).volume.voxels
    assert abs(kept.mean() - scan.voxels.mean()) < 2
    leave_means(monkeypatch)
    free = upscale(scan, **THIN).volume.voxels
    assert abs(free.mean() - scan.voxels.mean()) > 20
    assert np.abs(thick_means(kept, 6) - scan.voxels).mean() < 0.5 * np.abs(thick_means(free, 6) - scan.voxels).mean()


def test_mdcsrn_is_the_network_on_a_linear_interpolation(volume_models, unbounded):
    scan = mr()
    scale = intensity_scale(scan.voxels, "MR")
    places = np.meshgrid(np.arange(6), *((np.arange(2 * n) + 0.5) / 2 - 0.5 for n in (20, 22)), indexing="ij")
    given = map_coordinates(np.clip((scan.voxels - scale.offset) / scale.span, 0, 8), places, order=1, mode="nearest").astype(np.float32)
    with torch.inference_mode():
        made = load_network(find_model("mdcsrn-mr"))(torch.from_numpy(given)[None, None])[0, 0].numpy()
    result = upscale(scan, **DENSE).volume.voxels
    darkest = scale.offset - scan.voxels.min()  # below the lower percentile: interpolated and added back
    np.testing.assert_allclose(result, made * scale.span + scale.offset, atol=0.6 + darkest)
    assert np.abs(made - given).max() * scale.span > 20


@pytest.mark.parametrize("axis", ["i", "j", "k"])
def test_slices_may_lie_along_any_axis(volume_models, axis):
    array_axis = "kji".index(axis)
    scan = ct(dtype=np.float32)
    turned = Volume(np.moveaxis(scan.voxels, 0, array_axis).copy(), tuple(3.0 if name == axis else 0.7 for name in "ijk"), modality="CT")
    result = upscale(turned, **THIN)
    assert result.report["slice_axis"] == axis
    np.testing.assert_allclose(np.moveaxis(result.volume.voxels, array_axis, 0), upscale(scan, **THIN).volume.voxels, atol=1e-3)


def test_the_presets_ensemble_is_used_and_the_scan_not_changed(volume_models):
    scan = mr()
    before = scan.voxels.copy()
    single = upscale(scan, method="mdcsrn", preset="fast", device="cpu")
    best = upscale(scan, method="mdcsrn", preset="best", device="cpu")
    assert (single.report["ensemble"], best.report["ensemble"]) == ("none", "8")
    assert (single.volume.voxels != best.volume.voxels).any()
    np.testing.assert_array_equal(scan.voxels, before)


def test_progress_and_report(volume_models):
    told = []
    report = upscale(ct(), method="virtual-thin-slice", device="cpu", progress=lambda stage, share: told.append((stage, share))).report
    shares = [share for _, share in told]
    assert list(dict(told)) == ["interpolation", "volume"] and shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0)
    assert report["factors_ijk"] == [1, 1, 3] and report["blocks"] == 1 and report["invents"] is None
    assert set(report["seconds"]) == {"interpolation", "volume", "total"}


def test_a_network_that_invents_says_so(tmp_path, monkeypatch):
    save_blueprint(random_blueprint("mdcsrn", residual=True), "mdcsrn-gan-mr", tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    report = upscale(mr(), **{**DENSE, "method": "mdcsrn-gan"}).report
    assert report["invents"] == INVENTS and INVENTS in report["warnings"]


# Geometry


@pytest.mark.parametrize("distance, slices", [(2.7, 10), (2.5, 7), (3.0, 6), (1.5, 5), (10.0, 4), (3.333, 9)])
@pytest.mark.parametrize("method", ["virtual-thin-slice", "linear", "nearest"])
def test_slices_fill_the_extent_at_about_a_millimetre(interpolating, method, distance, slices):
    scan = ct((slices, 16, 17), distance)
    result = upscale(scan, slice_spacing=1.0, **{**THIN, "method": method}).volume
    before, after = to_image(scan), to_image(result)
    for corner in np.ndindex(2, 2, 2):
        outer = [[c * n - 0.5 for c, n in zip(corner, image.GetSize())] for image in (before, after)]
        np.testing.assert_allclose(
            before.TransformContinuousIndexToPhysicalPoint(outer[0]), after.TransformContinuousIndexToPhysicalPoint(outer[1]), atol=1e-9
        )
    count = after.GetSize()[2]
    assert after.GetSize()[:2] == before.GetSize()[:2] and abs(count - slices * distance) <= 0.5
    np.testing.assert_allclose(result.spacing, (0.7, 0.8, slices * distance / count), rtol=1e-12)
    first = before.TransformContinuousIndexToPhysicalPoint((0, 0, (result.spacing[2] / distance - 1) / 2))
    np.testing.assert_allclose(after.GetOrigin(), first, atol=1e-9)
    assert result.voxels.shape[0] == plan_upscaling(scan.voxels.shape, scan.spacing, "int16", slice_spacing=1.0, method=method, modality="CT").output_shape[0]


@pytest.mark.parametrize("method, itk, edge, tolerance", [("virtual-thin-slice", sitk.sitkBSpline, 27, 0.02), ("linear", sitk.sitkLinear, 3, 1e-3)])
def test_content_lies_where_simpleitk_puts_it(interpolating, network_alone, method, itk, edge, tolerance):
    """2.7 mm to 1 mm, oblique: away from the outer slices, SimpleITK's interpolation on the result's grid."""
    scan = ct((40, 12, 13), 2.7, np.float32)
    result = upscale(scan, slice_spacing=1.0, **{**THIN, "method": method}).volume
    assert result.spacing[2] == 1.0 and len(result.voxels) == 108
    expected = sitk.Resample(to_image(scan), to_image(result), sitk.Transform(), itk, 0.0, sitk.sitkFloat32)
    np.testing.assert_allclose(result.voxels[edge:-edge, 1:-1, 1:-1], sitk.GetArrayFromImage(expected)[edge:-edge, 1:-1, 1:-1], atol=tolerance)


# Scans at the edge


def test_air_stays_air(interpolating):
    """Constant slabs of -1000 and of the scanner's padding, -1024 HU and below: not a unit is added."""
    voxels = ct((12, 24, 24)).voxels.copy()
    voxels[:, :8], voxels[:, 8:16, :12], voxels[:, 8:16, 12:] = -1000, -1024, -3024
    result = upscale(Volume(voxels, (1.0, 1.0, 2.7), modality="CT"), **THIN).volume.voxels
    assert result.dtype == np.int16 and len(result) == 32
    assert (result[:, :8] == -1000).all() and (result[:, 8:16, :12] == -1024).all() and (result[:, 8:16, 12:] == -3024).all()


def test_a_constant_far_from_everything_stays_constant(network_alone, tmp_path, monkeypatch):
    """Of any network, trained or not: beyond its radius from borders and tissue a constant has one value."""
    save_blueprint(random_blueprint("srcnn", {"filters": 2}, residual=True), "virtual-thin-slice-ct", tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    voxels = np.full((12, 40, 40), -1000, np.float32)
    voxels[:, :8] = smooth_noise((12, 8, 40)) * 300
    result = upscale(Volume(voxels, (1.0, 1.0, 2.7), modality="CT"), **THIN).volume.voxels
    inner = result[6:-6, 8 + 6 : -6, 6:-6]
    assert inner.size > 1000 and np.ptp(inner) < 1e-3 and np.ptp(result) > 100


@pytest.mark.parametrize("value", [8000, -3000])
def test_metal_survives(interpolating, value, unbounded):
    """Beyond [-1024, 3071] HU: between the values of its own slices, without ringing of the part that is split off."""
    voxels = np.full((10, 20, 20), 40, np.int16)
    voxels += (smooth_noise((10, 20, 20)) * 20).astype(np.int16)
    voxels[3:7, 6:14, 6:14] = value
    result = upscale(Volume(voxels, (1.0, 1.0, 3.0), modality="CT"), **THIN).volume.voxels.astype(float)
    core = result[12:18, 6:14, 6:14]  # the middle two of its slices
    limit = 3071 if value > 0 else -1024
    np.testing.assert_allclose(core, value, atol=0.12 * abs(limit - 40))  # a spline and its back-projection ring by a tenth of the step inside the range
    np.testing.assert_allclose(result[:, :5, :5], spline(voxels, 30)[:, :5, :5], atol=1)
    inside = np.clip(voxels, -1024, 3071)
    inside_thin = spline(inside, 30)
    inside_thin += spline(inside - thick_means(inside_thin, 10), 30)
    halfway = (result - inside_thin)[9, 6:14, 6:14]
    np.testing.assert_allclose(halfway, (value - limit) * 2 / 3, atol=1)  # a third of a slice inside: linear


@pytest.mark.parametrize("shape", [(4, 20, 20), (5, 61, 47), (7, 5, 3), (47, 5, 9)])
def test_awkward_shapes(volume_models, shape):
    result = upscale(ct(shape, 2.0), **THIN).volume
    assert result.voxels.shape == (shape[0] * 2, *shape[1:]) and result.voxels.dtype == np.int16 and result.spacing[2] == 1.0


@pytest.mark.parametrize("shape", [(2, 3, 5), (3, 61, 47), (61, 4, 4)])
def test_awkward_shapes_in_plane(volume_models, shape):
    """A method that refines in-plane needs no number of slices."""
    assert upscale(mr(shape), **DENSE).volume.voxels.shape == (shape[0], 2 * shape[1], 2 * shape[2])


@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32", "uint8"])
def test_dtype_stays_and_nothing_wraps(interpolating, dtype):
    """A spline overshoots at the type's limits; it is cut there."""
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(np.float16)
    voxels = np.where(smooth_noise((6, 12, 12)) > 0.5, limits.max, max(limits.min, -1024)).astype(dtype)
    voxels[:, ::3] -= (voxels[:, ::3] > 0) * np.arange(12).astype(dtype)  # no label map
    result = upscale(Volume(voxels, (1.0, 1.0, 2.0), modality="CT"), **THIN).volume.voxels
    assert result.dtype == voxels.dtype
    middle = 0.5 * (float(limits.max) + max(limits.min, -1024))
    near = voxels.repeat(2, 0).astype(float) > middle
    assert ((result.astype(float) > middle) == near).mean() > 0.95


# What is refused


@pytest.mark.parametrize(
    "volume, options, sentence",
    [
        (ct(distance=0.8), {"method": "virtual-thin-slice"}, "0.8 mm apart, closer than the 1 mm of the result; leave them"),
        (ct(distance=1.0), {"method": "virtual-thin-slice"}, "1 mm apart, too close"),
        (ct(distance=1.2), {"method": "virtual-thin-slice"}, "1.2 mm apart, too close"),
        (ct(distance=12.0), {"method": "virtual-thin-slice"}, "12 mm apart, and virtual-thin-slice makes slices of 1 mm from at most 10 mm"),
        (ct((3, 20, 20)), {"method": "virtual-thin-slice"}, "3 slices, .* at least 4; use an interpolation"),
        (ct(), {"method": "virtual-thin-slice", "scale": 2}, "takes no factor; leave the factor out"),
        (ct(), {"method": "virtual-thin-slice", "scale": (1, 4)}, "takes no factor"),
        (ct(), {"method": "virtual-thin-slice", "slice_spacing": 0.5}, "gives slices of 1 mm, not of 0.5 mm"),
        (ct(), {"method": "virtual-thin-slice", "scale": 2, "slice_spacing": 1.0}, "both given"),
        (ct(), {"method": "virtual-thin-slice", "axes": "in-plane"}, "refines through-plane here, and the axes in-plane were given"),
        (ct(), {"method": "mdcsrn"}, "mdcsrn is not for CT; use one of .*virtual-thin-slice, .*lanczos"),
        (mr(), {"method": "virtual-thin-slice"}, "virtual-thin-slice is not for MR; use one of .*mdcsrn, .*lanczos"),
        (mr(), {"method": "mdcsrn", "axes": "through-plane"}, "mdcsrn is not for MR through-plane x2; use one of .*lanczos"),
        (mr(), {"method": "mdcsrn", "axes": "all"}, "mdcsrn is not for MR all x2"),
        (mr(), {"method": "mdcsrn", "scale": 4}, "mdcsrn is not for MR in-plane x4"),
        (mr(), {"method": "mdcsrn", "scale": (2, 2)}, "mdcsrn is not for MR all x2"),
        (mr(), {"method": "mdcsrn", "scale": (1, 2)}, "mdcsrn is not for MR through-plane x2"),
        (mr(), {"method": "mdcsrn", "slice_spacing": 1.0}, "mdcsrn refines in-plane and cannot give slices of 1 mm"),
        (mr(), {"method": "two-stage-residual", "slice_spacing": 0.3}, "makes slices of 0.3 mm from at most 1.5 mm"),
        (mr(), {"method": "linear", "slice_spacing": 3.0}, "2 mm apart, closer than the 3 mm of the result; ask for"),
        (mr(), {"method": "linear", "slice_spacing": 0.1}, "from at most 1 mm"),
        (mr(), {"method": "linear", "slice_spacing": -1.0}, "cannot be -1 mm apart; give a distance above 0"),
        (mr(), {"method": "linear", "slice_spacing": float("nan")}, "cannot be nan mm apart"),
    ],
)  # fmt: skip
def test_refusals_are_one_sentence(volume_models, volume, options, sentence):
    with pytest.raises(InputError, match=sentence) as refusal:
        upscale(volume, **options)
    assert whole_sentence(refusal.value), refusal.value


def test_a_list_of_methods_names_only_those_that_work_here(nothing_else):
    with pytest.raises(InputError) as refusal:
        find_method("mdcsrn", "MR", "through-plane")
    named = str(refusal.value).split("use one of ")[1].rstrip(".").split(", ")
    assert named == ["lanczos", "cubic", "linear", "nearest"]
    for name in named:
        assert find_method(name, "MR", "through-plane").name == name
    with pytest.raises(InputError, match="virtual-thin-slice is not for MR; use one of mdcsrn, lanczos, cubic, linear, nearest.$"):
        find_method("virtual-thin-slice", "MR")


@pytest.mark.parametrize("name", ["mdcsrn-gan", "srresnet-3d"])
def test_a_method_without_its_model(nothing_else, name):
    with pytest.raises(ModelError, match=f"model {name}-mr is not installed") as refusal:
        upscale(mr(), method=name)
    assert whole_sentence(refusal.value)


def test_a_result_larger_than_memory(volume_models):
    with pytest.raises(ResourceError, match="the limit is 100 MiB; raise the limit, or use a part of the scan") as refusal:
        upscale(ct(), method="virtual-thin-slice", memory_limit=100 << 20)
    assert whole_sentence(refusal.value)


# The catalogue


def test_what_is_installed(nothing_else):
    expected = {"mdcsrn": {"MR"}, "virtual-thin-slice": {"CT"}, **{name: {"CT", "MR"} for name in ("lanczos", "cubic", "linear", "nearest")}}
    for name, method in METHODS.items():
        assert {modality for modality in ("CT", "MR") if is_installed(method, modality)} == expected.get(name, set()), name
        assert is_installed(method) == (name in expected)


@pytest.mark.parametrize("distance, refused", [(0.9, True), (1.0, True), (1.49, True), (1.5, False), (5.0, False), (10.0, False), (10.1, True), (1.0000001, True), (1.4999999, False), (10.000001, False)])
def test_distances_that_fit_thin_slices(distance, refused):
    """Headers hold 1.5 mm as 1.4999999, too."""
    told = fits_slices(METHODS["virtual-thin-slice"], 1.0, distance)
    assert bool(told) == refused and (not told or f"{distance:g} mm apart" in told)


def test_an_interpolation_has_the_same_limits_at_every_distance():
    for spacing in (0.5, 1.0, 3.0):
        fitting = [factor for factor in (0.5, 1.0, 1.01, 4.0, FARTHEST_SLICES, FARTHEST_SLICES + 0.1) if not fits_slices(METHODS["cubic"], spacing, factor * spacing)]
        assert fitting == [1.01, 4.0, FARTHEST_SLICES]


@pytest.mark.parametrize("method", VOLUMETRIC, ids=lambda method: method.name)
def test_every_volumetric_method_has_its_defaults(tmp_path, monkeypatch, method):
    """Nothing but its name has to be given; its refinement is what the catalogue says."""
    (modality,) = method.modalities
    save_blueprint(random_blueprint("mdcsrn", residual=True), method.model_name(modality, "volume", 0), tmp_path)
    monkeypatch.setenv("SUPERRES3D_MODELS", str(tmp_path))
    plan = plan_upscaling((10, 20, 30), (1.0, 1.0, 4.0), "int16", method=method.name, modality=modality)
    assert plan.factors == ((4, 1, 1) if modality == "CT" else (1, 2, 2))
    assert list(plan.models) == ["volume"] and plan.accumulates > 0
    assert plan.refinement == ({"slice_spacing": 1.0} if modality == "CT" else {"scale": (2, 1)})
    assert (INVENTS in method.when_not) == method.adversarial


def test_far_slices_are_planned_with_a_note(volume_models):
    notes = [plan_upscaling((10, 20, 30), (1.0, 1.0, distance), "int16", method="virtual-thin-slice", modality="CT").notes for distance in (8.0, 9.0)]
    assert not notes[0] and "9.0 times as far apart" in notes[1][0]
