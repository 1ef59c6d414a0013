"""Results of any spacing: the factors that fit, then one step to the wanted grid; with untrained networks and with interpolations."""

from __future__ import annotations

import json
from itertools import product

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from superres3d import Volume, read_labels, read_volume, upscale, upscaling, write_volume
from superres3d.engine import chain as chain_module
from superres3d.engine import tiling
from superres3d.engine.stages import Regridding
from superres3d.errors import InputError, ResourceError
from superres3d.plan import plan_upscaling
from superres3d.resampling.regridding import apply_along, regrid_matrix, regrid_reach

from .conftest import run_cli, smooth_noise

QUICK = {"preset": "fast", "precision": "single", "device": "cpu", "modality": "MR"}
BLIND = {**QUICK, "method": "two-stage-residual"}
TURNED = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]


def scan(shape=(8, 18, 22), spacing=(0.7, 0.8, 5.0), dtype=np.float32) -> Volume:
    return Volume((smooth_noise(shape) * 900).astype(dtype), spacing, (-20.5, 12.25, 7.0), TURNED, "MR")


def to_image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction.ravel().tolist())
    return image


# The grid


@pytest.mark.parametrize("shape", [(7, 18, 23), (12, 5, 4), (9, 9, 9)])
@pytest.mark.parametrize("spacing, wanted", [((0.7, 0.8, 5.0), 1.0), ((0.9, 1.1, 2.7), (0.5, 1.3, 0.9)), ((3.0, 0.6, 0.7), "isotropic"), ((1.0, 2.9, 0.8), (0.4, 0.61, 0.8))])
def test_the_grid_fills_the_extent(shape, spacing, wanted):
    given = scan(shape, spacing)
    result = upscale(given, spacing=wanted, method="linear", modality="MR")
    aims = np.broadcast_to(min(spacing) if wanted == "isotropic" else wanted, 3)
    before, after = to_image(given), to_image(result.volume)
    counts = list(after.GetSize())
    assert all(abs(count - n * s / w) <= 0.5 + 1e-9 for count, n, s, w in zip(counts, shape[::-1], spacing, aims))
    for corner in product((0, 1), repeat=3):
        outer = [[c * n - 0.5 for c, n in zip(corner, image.GetSize())] for image in (before, after)]
        np.testing.assert_allclose(before.TransformContinuousIndexToPhysicalPoint(outer[0]), after.TransformContinuousIndexToPhysicalPoint(outer[1]), atol=1e-9)
    np.testing.assert_allclose(result.volume.spacing, [n * s / m for n, s, m in zip(shape[::-1], spacing, counts)], rtol=1e-12)
    np.testing.assert_array_equal(result.volume.direction, given.direction)
    assert result.report["spacing_mm"] == pytest.approx(list(aims)) and result.report["output"]["shape_ijk"] == counts
    assert result.report["output"]["spacing_mm"] == pytest.approx(list(result.volume.spacing))


#: spacing of 20 x 20 x 20 voxels, wanted, slice axis -> networks' factors within the slices and between them (0: nothing follows), the result's shape
FACTORS = [
    ((1.0, 1.0, 5.0), 1.0, "k", 1, 4, (100, 20, 20)),
    ((0.5, 0.5, 5.0), 1.0, "k", 1, 4, (100, 10, 10)),
    ((0.5, 0.5, 3.0), (0.5, 0.5, 1.0), "k", 1, 4, (60, 20, 20)),
    ((1.0, 1.0, 1.0), (0.5, 0.5, 1.0), "k", 2, 0, (20, 40, 40)),
    ((1.0, 1.0, 4.0), (0.5, 0.5, 1.0), "k", 2, 0, (80, 40, 40)),
    ((1.0, 1.0, 1.0), 0.7, "k", 2, 2, (29, 29, 29)),
    ((1.0, 0.9, 2.0), (0.45, 0.45, 2.0), "k", 4, 1, (20, 40, 44)),
    ((1.0, 0.6, 2.0), (0.5, 0.8, 1.0), "k", 2, 2, (40, 15, 40)),
    ((0.8, 0.8, 0.5), (0.4, 0.4, 1.0), "k", 2, 1, (10, 40, 40)),
    ((4.0, 1.0, 1.0), 1.0, "auto", 1, 0, (20, 20, 80)),
    ((1.0, 3.0, 1.0), "isotropic", "auto", 1, 4, (20, 60, 20)),
    ((0.4999, 0.4999, 1.9999), (0.25, 0.25, 0.5), "k", 2, 0, (80, 40, 40)),
]


@pytest.mark.parametrize("spacing, wanted, axis, in_plane, slices, shape", FACTORS)
def test_the_networks_take_the_factors_that_fit(models, spacing, wanted, axis, in_plane, slices, shape):
    plan = plan_upscaling((20, 20, 20), spacing, "int16", result_spacing=wanted, slice_axis=axis, method="two-stage-residual", modality="MR")
    assert (plan.in_plane, plan.network_slices, plan.output_shape) == (in_plane, slices, shape)
    between = plan.network_slices or plan.through_plane
    assert plan.network_factors == (between, in_plane, in_plane)
    assert {stage: int(model.name[-1]) for stage, model in plan.models.items()} == {stage: f for stage, f in (("depth", between), ("plane", in_plane)) if f > 1}


def test_between_the_slices_as_far_as_to_a_distance_of_slices(models):
    """Four times by the network, then five by the interpolation; beyond, and within the slices beyond four, it is refused."""
    result = upscale(scan((8, 6, 7), (2.0, 2.0, 10.0)), spacing=2.0, **BLIND)
    other = upscale(scan((8, 6, 7), (2.0, 2.0, 10.0)), slice_spacing=2.0, **BLIND)
    np.testing.assert_array_equal(result.volume.voxels, other.volume.voxels)
    assert (result.volume.spacing, result.volume.origin) == (other.volume.spacing, other.volume.origin)


@pytest.mark.parametrize("method", ["lanczos", "two-stage-residual"])
@pytest.mark.parametrize("wanted, scale", [((0.4, 0.4, 1.5), (2, 2)), ((0.2, 0.2, 3.0), (4, 1)), ((0.8, 0.8, 0.75), (1, 4)), ((0.4, 0.4, 0.75), (2, 4))])
def test_whole_factors_are_the_factors(models, method, wanted, scale):
    given = scan((6, 9, 11), (0.8, 0.8, 3.0), np.int16)
    result, expected = upscale(given, spacing=wanted, method=method, **QUICK), upscale(given, scale, method=method, **QUICK)
    np.testing.assert_array_equal(result.volume.voxels, expected.volume.voxels)
    assert (result.volume.spacing, result.volume.origin) == (expected.volume.spacing, expected.volume.origin)
    assert result.report["warnings"] == expected.report["warnings"]


# The values


@pytest.mark.parametrize("spacing, wanted", [((0.7, 0.8, 2.0), (1.0, 0.5, 0.9)), ((2.0, 0.7, 0.8), (0.9, 1.0, 0.5)), ((0.8, 2.0, 0.7), (0.5, 0.9, 1.0))])
@pytest.mark.parametrize("method, tolerance", [("lanczos", 40.0), ("cubic", 8.0), ("linear", 40.0)])
def test_content_stays_where_it_is(method, tolerance, spacing, wanted):
    """A plane wave along each axis of the patient, of 30 mm and more, seen at the places of the result; amplitude 1000."""
    waves = np.array([[0.2, 0.05, 0.0], [0.0, 0.16, 0.07], [0.05, 0.0, 0.12]])

    def seen(volume: Volume) -> np.ndarray:
        index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.voxels.shape), indexing="ij"), axis=-1)[..., ::-1]
        places = np.asarray(volume.origin) + (index * volume.spacing) @ volume.direction.T
        return 1000 * np.sin(places @ waves.T).sum(axis=-1)

    shape = tuple(round(40 / s) for s in spacing[::-1])
    given = Volume(np.zeros(shape, np.float32), spacing, (-20.5, 12.25, 7.0), TURNED, "MR")
    given.voxels[...] = seen(given)
    result = upscale(given, spacing=wanted, method=method, modality="MR").volume
    inside = (slice(12, -12),) * 3
    assert np.abs(result.voxels - seen(result))[inside].max() < tolerance


def test_interpolation_is_that_of_simpleitk():
    given = scan((20, 18, 22), (1.4, 1.5, 2.7))
    result = upscale(given, spacing=(0.9, 1.1, 1.0), method="linear", modality="MR").volume
    expected = sitk.GetArrayFromImage(sitk.Resample(to_image(given), to_image(result), sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32))
    np.testing.assert_allclose(result.voxels[3:-3, 2:-2, 2:-2], expected[3:-3, 2:-2, 2:-2], atol=2e-3)


@pytest.mark.parametrize("count", [9, 13, 20, 33, 39])
def test_fewer_voxels_are_averaged_as_by_pillow(count):
    """Away from the edges, which Pillow weighs otherwise: its bicubic is widened in the same way."""
    image = (smooth_noise((1, 12, 40))[0] * 900).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize((count, 12), Image.Resampling.BICUBIC))
    made = apply_along(image, 1, regrid_matrix(40, count, "lanczos"))
    edge = 2
    np.testing.assert_allclose(made[:, edge + 1 : -edge - 1], expected[:, edge + 1 : -edge - 1], atol=2e-2)


@pytest.mark.parametrize("length, count", [(40, 9), (40, 39), (17, 40), (100, 100), (30, 71), (300, 130), (3, 2), (2, 17)])
@pytest.mark.parametrize("kernel", ["lanczos", "cubic", "linear", "nearest"])
def test_a_row_looks_no_farther_than_it_says(kernel, length, count):
    matrix, reach = regrid_matrix(length, count, kernel), regrid_reach(length, count, kernel)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    for row, weights in enumerate(matrix):
        used = np.flatnonzero(np.abs(weights) > 1e-12)
        assert used.min() >= row * length / count - reach and used.max() < (row + 1) * length / count + reach
    lines = smooth_noise((3, length, 5))
    np.testing.assert_allclose(apply_along(lines, 1, matrix), np.einsum("oc,acb->aob", matrix, lines), atol=1e-5)


@pytest.mark.parametrize("method", ["lanczos", "nearest", "linear"])
@pytest.mark.parametrize("wanted", [2.5, 3.3])
def test_a_fine_checkerboard_becomes_grey(method, wanted):
    """What the coarser grid cannot hold vanishes, and does not come back as stripes; slices are refined meanwhile."""
    k, j, i = np.indices((12, 60, 61))
    board = ((i + j + 0 * k) % 2 * 1000 + k).astype(np.int16)
    result = upscale(Volume(board, (1.0, 1.0, 4.0), modality="MR"), spacing=wanted, method=method)
    middle = result.volume.voxels[:, 2:-2, 2:-2]
    assert np.abs(middle - 505.5).max() < 30
    assert not any("networks" in note for note in result.report["warnings"])
    assert any("Along i and j the scan is finer than what was asked for" in note for note in result.report["warnings"])


def test_networks_then_the_wanted_grid(models):
    """In plane twice as many, of which the grid takes fewer; each axis against Pillow's bicubic of what the networks make."""
    given = scan((8, 18, 22), (1.0, 1.0, 2.0))
    made = upscale(given, (2, 2), **BLIND).volume.voxels
    told = upscale(given, spacing=(0.7, 0.8, 1.3), **BLIND)
    result = told.volume.voxels
    assert "The networks refine 2x within the slices and 2x between the slices; then" in told.report["warnings"][0]
    for axis, count in enumerate((12, 22, 31)):
        rows = np.ascontiguousarray(np.moveaxis(made, axis, 0).reshape(made.shape[axis], -1))
        made = np.asarray(Image.fromarray(rows).resize((rows.shape[1], count), Image.Resampling.BICUBIC)).reshape(count, *np.delete(made.shape, axis))
        made = np.moveaxis(made, 0, axis)
    np.testing.assert_allclose(result[3:-3, 3:-3, 3:-3], np.maximum(made, 0)[3:-3, 3:-3, 3:-3], atol=2e-2)


@pytest.mark.parametrize("axis", ["k", "i"])
@pytest.mark.parametrize("method", ["two-stage-residual", "lanczos"])
@pytest.mark.parametrize("wanted", [(1.1, 0.45, 0.61), (0.4, 0.9, 1.7)])
def test_blocks_give_the_whole(models, monkeypatch, method, axis, wanted):
    """All axes cut; also where a voxel beyond what a network takes lies in the halo of a block."""
    given = scan((24, 33, 35), (0.7, 0.8, 0.9))
    given.voxels[12, 16, 17] = 30_000
    choices = {"spacing": wanted, "method": method, "slice_axis": axis, **QUICK}
    whole = upscale(given, **choices)
    monkeypatch.setattr(tiling, "working_bytes", lambda stages, shape, block: int(np.prod(block)))
    monkeypatch.setattr(upscaling, "blocks_of", lambda chain, shape, budget: chain_module.blocks_of(chain, shape, 1600))
    parts = upscale(given, **choices)
    assert whole.report["blocks"] == 1 and parts.report["blocks"] >= 16
    np.testing.assert_allclose(parts.volume.voxels, whole.volume.voxels, atol=2e-2, rtol=0)


def test_a_region_may_be_given_with_more_around_it():
    """Also along axes that stay, and those that become coarser."""
    lines = (smooth_noise((30, 20, 25)) * 900).astype(np.float32)
    step = Regridding("lanczos", lines.shape, (41, 20, 11))
    whole = step(lines, tiling.whole(lines.shape), tiling.whole((41, 20, 11)), lambda share: None)
    needed, place = step.regions(((9, 15), (6, 12), (10, 16)))
    wide = tuple((max(0, a - 2), b + 1) for a, b in needed)
    for region in (needed, wide):
        part = step(tiling.cut(lines, region), region, place, lambda share: None)
        np.testing.assert_allclose(part, tiling.cut(whole, place), atol=1e-2)


def test_neighbouring_regions_stay_neighbours():
    for length, count in ((7, 5), (7, 18), (100, 33), (5, 5)):
        edges = [tiling.on_grid(((edge, edge + 1),), (length,), (count,))[0] for edge in range(length)]
        assert edges[0][0] == 0 and edges[-1][1] == count
        assert all(one[1] == other[0] for one, other in zip(edges, edges[1:]))


def test_memory_is_planned_and_kept_to(monkeypatch):
    """An interpolation in all axes is cut into blocks, however small the limit is."""
    given = (60, 300, 300)
    plan = plan_upscaling(given, (1, 1, 3), "int16", result_spacing=0.9, method="lanczos", inputs_in_memory=0)
    least = plan.result_bytes + (1 << 27)
    plan_upscaling(given, (1, 1, 3), "int16", result_spacing=0.9, method="lanczos", inputs_in_memory=0, memory_limit=least + (1 << 20))
    with pytest.raises(ResourceError, match="raise the limit, or use a larger spacing or a part of the scan"):
        plan_upscaling(given, (1, 1, 3), "int16", result_spacing=0.9, method="lanczos", inputs_in_memory=0, memory_limit=least - (1 << 20))


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint32])
@pytest.mark.parametrize("method", ["two-stage-residual", "lanczos"])
def test_the_type_is_kept_and_rounded_once(models, method, dtype):
    stored = (scan().voxels / 4).astype(dtype)
    exact = upscale(Volume(stored.astype(np.float32), (0.7, 0.8, 5.0)), spacing=1.1, method=method, **QUICK).volume.voxels
    result = upscale(Volume(stored, (0.7, 0.8, 5.0)), spacing=1.1, method=method, **QUICK).volume.voxels
    assert result.dtype == dtype
    limits = np.iinfo(dtype)
    np.testing.assert_allclose(result, np.clip(np.rint(exact), limits.min, limits.max), atol=1.0)


def test_large_whole_numbers_stay_exact():
    k, _, i = np.indices((9, 8, 12))
    result = upscale(Volume((2_000_000_001 + 7_000_001 * k + 4_000_003 * i).astype(np.int32), (1.0, 1.0, 3.0)), spacing=(0.8, 0.6, 1.5), method="linear").volume
    k, _, i = np.indices((18, 13, 15))
    expected = 2_000_000_001 + 7_000_001 * ((k + 0.5) / 2 - 0.5) + 4_000_003 * ((i + 0.5) * 0.8 - 0.5)
    assert result.voxels.dtype == np.int32
    np.testing.assert_allclose(result.voxels[1:-1, :, 1:-1], expected[1:-1, :, 1:-1], atol=0.51, rtol=0)


# Refusals

REFUSALS = [
    ({"spacing": 1.0, "scale": 2}, "A spacing of the result and a factor were both given; give one of them."),
    ({"spacing": 1.0, "axes": "in-plane"}, "A spacing of the result and axes were both given"),
    ({"spacing": 1.0, "slice_spacing": 1.0}, "A spacing of the result and a distance of the slices were both given"),
    *(({"spacing": value}, r"The spacing .* cannot be used; give millimetres above 0") for value in (0, -1.0, float("nan"), float("inf"), (1, 2), (1, 0, 1), "half", (1, "x", 2), ())),
    ({"spacing": 0.9}, r"Along k the scan's voxels are 5 mm, and two-stage-residual makes them at most 5 times finer; ask for 1 mm or more there, or use an interpolation\."),
    ({"spacing": (0.15, 0.8, 5.0)}, r"Along i the scan's voxels are 0.7 mm, and two-stage-residual makes them at most 4 times finer; ask for 0.175 mm or more there"),
    ({"spacing": 0.4, "method": "lanczos"}, r"Along k .* lanczos makes them at most 10 times finer; ask for 0.5 mm or more there\."),
    ({"spacing": (0.7, 0.8, 5.0)}, r"The scan's voxels are 0.7 x 0.8 x 5 mm already"),
    ({"spacing": (0.7001, 0.8, 5.02), "method": "cubic"}, r"already, to half a voxel in all"),
    ({"spacing": 5.0}, "as fine as 5 x 5 x 5 mm along every axis, so there is nothing for two-stage-residual to bring back; use an interpolation"),
    ({"spacing": 14.0, "method": "cubic"}, "would be a single voxel along j; ask for a smaller spacing"),
    ({"spacing": 1.0, "method": "mdcsrn"}, "mdcsrn is made for one factor or one distance of slices, not for any spacing"),
    ({"spacing": 1.0, "method": "virtual-thin-slice", "modality": "CT"}, "virtual-thin-slice is made for one factor or one distance"),
    ({"spacing": 1.0, "consistency": 1}, "leave the consistency out"),
]


@pytest.mark.parametrize("choices, words", REFUSALS)
def test_refusals(models, choices, words):
    with pytest.raises(InputError, match=words) as refusal:
        upscale(scan(), **{**BLIND, **choices})
    assert str(refusal.value).count(". ") == 0 and str(refusal.value).endswith(".")


def test_what_a_refusal_advises_is_accepted(models):
    for spacing in ((0.7, 0.8, 4.9), (0.333, 0.37, 3.333), (0.1, 0.1, 1.0)):
        given = scan((9, 18, 22), spacing)
        with pytest.raises(InputError, match="or more there") as refusal:
            plan_upscaling(given.voxels.shape, spacing, "int16", result_spacing="isotropic", method="two-stage-residual", modality="MR")
        advised = float(str(refusal.value).split("ask for ")[1].split(" mm")[0])
        assert plan_upscaling(given.voxels.shape, spacing, "int16", result_spacing=advised, method="two-stage-residual", modality="MR").network_slices == 4


# As a user gives it


@pytest.fixture
def folder(tmp_path, monkeypatch):
    given = scan((9, 18, 22), (0.5, 0.6, 3.0), np.int16)
    labels = np.zeros(given.voxels.shape, np.uint8)
    labels[2:7, 4:12, 5:15] = 3
    write_volume(given, tmp_path / "in.nii.gz")
    write_volume(Volume(labels, given.spacing, given.origin, given.direction), tmp_path / "seg.nii.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text, shape", [("1", (11, 11, 27)), ("0.25,0.6,1.5", (44, 18, 18)), ("isotropic", (22, 22, 54))])
def test_the_command_line(folder, text, shape):
    """Result, comparison and labels have one grid; the report tells what was asked for."""
    done = run_cli(
        "upscale", "in.nii.gz", "out.nii", "--spacing", text, "--method", "linear", "--compare", "lanczos.nii",
        "--labels", "seg.nii.gz", "--labels-out", "labels.nii", "--report", "r.json", "--progress", "none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    images = [nibabel.load(name) for name in ("out.nii", "lanczos.nii", "labels.nii")]
    assert {image.shape for image in images} == {shape}
    for image in images[1:]:
        np.testing.assert_array_equal(image.affine, images[0].affine)
    report, labels = json.loads((folder / "r.json").read_text()), read_labels("labels.nii")
    assert report["spacing_mm"] == {"1": [1.0] * 3, "isotropic": pytest.approx([0.5] * 3)}.get(text, [0.25, 0.6, 1.5]) and report["slice_spacing_mm"] is None
    assert set(np.unique(labels.voxels)) == {0, 3}
    volume = (labels.voxels == 3).sum() * np.prod(labels.spacing)
    assert volume == pytest.approx(5 * 8 * 10 * 0.9, rel=0.2)
    back = upscale(read_volume("in.nii.gz"), spacing=report["spacing_mm"], method="linear").volume
    np.testing.assert_array_equal(back.voxels, read_volume("out.nii").voxels)


@pytest.mark.parametrize("text", ["wide", "1,2", "1;2;3", "", "0", "nan", "1,,2"])
def test_a_spacing_that_is_none_is_refused_in_one_sentence(folder, text):
    done = run_cli("upscale", "in.nii.gz", "out.nii", "--spacing", text, "--progress", "none", "--modality", "MR")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "cannot be used; give millimetres above 0" in done.stderr
    assert not (folder / "out.nii").exists()
