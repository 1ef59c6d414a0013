"""The whole way of a scan: tiles against the whole, a direct computation of both stages, geometry, scale."""

import numpy as np
import pytest
import torch
from superres3d import Volume
from superres3d.engine.engine import Engine
from superres3d.engine.tiling import blocks, choose_block, scaled, stage_regions
from superres3d.errors import Cancelled, DeviceError, InputError, ResourceError
from superres3d.methods import METHODS
from superres3d.networks.weights import save_model
from superres3d.scan.intensity import intensity_scale
from superres3d.scan.writing import to_image
from superres3d.upscaling import upscale

from .conftest import slice_network, smooth_noise, untrained_network

ALL_FACTORS = [((2, 2), "k"), ((4, 4), "k"), ((2, 1), "k"), ((1, 2), "k"), ((1, 4), "j"), ((2, 4), "i")]

BY_FACTOR = [name for name, method in METHODS.items() if not method.blind and not method.volumetric]


def by_the_paper(voxels: np.ndarray, method: str, scale: int) -> np.ndarray:
    """Both stages with the full ensemble, written out slice by slice with PyTorch and numpy.median, in the method's order."""
    from superres3d.networks.weights import find_model, load_network

    nets = {stage: load_network(find_model(f"{method}-mr-{stage}-x{scale}")) for stage in ("plane", "depth")}

    def run(stage, image):
        with torch.inference_mode():
            return nets[stage](torch.from_numpy(np.ascontiguousarray(image))[None, None])[0, 0].numpy()

    def plane_slice(image):
        members = []
        for quarter in range(4):
            for flip in (False, True):
                turned = np.rot90(image, quarter)
                output = run("plane", turned[:, ::-1] if flip else turned)
                members.append(np.rot90(output[:, ::-1] if flip else output, -quarter))
        return np.median(members, axis=0)

    def depth_slice(image):  # rows along the depth
        members = []
        for rows in (1, -1):
            for columns in (1, -1):
                members.append(run("depth", image[::rows, ::columns])[::rows, ::columns])
        return np.median(members, axis=0)

    def depth(stack):
        by_row = np.stack([depth_slice(stack[:, j]) for j in range(stack.shape[1])], axis=1)
        by_column = np.stack([depth_slice(stack[:, :, i]) for i in range(stack.shape[2])], axis=2)
        return (by_row + by_column) / 2

    def plane(stack):
        return np.stack([plane_slice(image) for image in stack])

    for stage in METHODS[method].order:
        voxels = (plane if stage == "plane" else depth)(voxels).astype(np.float32)
    return voxels


@pytest.mark.parametrize("method", ["georgescu2020", "two-stage-residual"])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_engine_does_what_the_paper_says(models, method, scale, unbounded):
    voxels = smooth_noise((6, 11, 14)) * 500
    intensities = intensity_scale(voxels, "MR")
    expected = intensities.restore(by_the_paper(np.maximum(intensities.normalise(voxels), 0), method, scale))
    result = upscale(Volume(voxels, modality="MR"), scale, method=method, precision="single").volume.voxels
    outside = intensities.split(intensities.normalise(voxels))[1]
    assert outside is not None  # the darkest voxels lie below the lower percentile
    np.testing.assert_allclose(result, expected, atol=0.05 / 255 * intensities.span + np.abs(outside).max() * intensities.span)


@pytest.mark.parametrize("method", ["two-stage-residual", "georgescu2020", "lanczos"])
@pytest.mark.parametrize(
    "factors, slice_axis, ensemble",
    [((2, 2), "k", "8"), ((2, 2), "k", "none"), ((4, 1), "k", "4"), ((1, 2), "k", "8"), ((1, 4), "j", "4"), ((2, 4), "i", "none")],
)
def test_blocks_give_the_whole(models, monkeypatch, method, factors, slice_axis, ensemble):
    """Equal up to the last bits of float32, which the convolution library may round differently
    for another width of its input; in 16-bit integers that can turn a tie, one voxel in 10^5."""
    texture = smooth_noise((18, 27, 31)) * 900 - 20
    kept = {"method": method, "ensemble": ensemble, "slice_axis": slice_axis, "precision": "single"}
    for voxels, tolerance in ((texture.astype(np.int16), 1), (texture, 900 * 1e-6)):
        scan = Volume(voxels, modality="MR")
        with monkeypatch.context() as patch:
            whole = upscale(scan, factors, **kept)
            patch.setattr("superres3d.engine.chain.choose_block", lambda *_: (9, 14, 16))
            tiled = upscale(scan, factors, **kept)
        assert whole.report["blocks"] == 1 and tiled.report["blocks"] >= 8
        np.testing.assert_allclose(tiled.volume.voxels, whole.volume.voxels, atol=tolerance, rtol=0)
        if voxels.dtype == np.int16:
            assert (tiled.volume.voxels != whole.volume.voxels).mean() < 5e-5


def test_too_small_a_halo_would_be_seen(models, monkeypatch):
    """The tile test can fail: one pixel less of halo changes the result."""
    scan = Volume(smooth_noise((8, 40, 40)) * 900, modality="MR")
    whole = upscale(scan, (2, 1), ensemble="none").volume.voxels
    monkeypatch.setattr("superres3d.networks.families.Architecture.halo", (7, 7))
    monkeypatch.setattr("superres3d.engine.chain.choose_block", lambda *_: (8, 20, 20))
    assert np.abs(upscale(scan, (2, 1), ensemble="none").volume.voxels - whole).max() > 1e-4


@pytest.mark.parametrize("method", BY_FACTOR)
@pytest.mark.parametrize("factors, slice_axis", ALL_FACTORS)
def test_field_of_view_is_that_of_the_scan(models, scan, method, factors, slice_axis):
    result = upscale(scan, factors, method=method, slice_axis=slice_axis, ensemble="none").volume
    before, after = to_image(scan), to_image(result)
    for corner in np.ndindex(2, 2, 2):
        outer = [[c * n - 0.5 for c, n in zip(corner, image.GetSize())] for image in (before, after)]
        np.testing.assert_allclose(
            before.TransformContinuousIndexToPhysicalPoint(outer[0]), after.TransformContinuousIndexToPhysicalPoint(outer[1]), atol=1e-9
        )
    np.testing.assert_array_equal(after.GetDirection(), before.GetDirection())
    expected = [1, 1, 1]
    expected["ijk".index(slice_axis)] = factors[1]
    for axis in set(range(3)) - {"ijk".index(slice_axis)}:
        expected[axis] = factors[0]
    assert list(after.GetSize()) == [n * f for n, f in zip(before.GetSize(), expected)]


def interpolating_models(folder, method: str, modality: str) -> None:
    """Replace the random networks by untrained residual ones: those interpolate."""
    for stage in ("plane", "depth"):
        factors = [2, 2 if stage == "plane" else 1]
        network = slice_network("edsr", factors)
        save_model(untrained_network("edsr", tuple(factors)), f"{method}-{modality}-{stage}-x2", folder, {"network": network})


@pytest.mark.parametrize("method", BY_FACTOR)
def test_content_is_not_shifted(models, method):
    """A blob's centre of mass stays where it was in the patient (random networks aside, to half a voxel)."""
    k, j, i = np.mgrid[:16, :20, :24]
    blob = 1000 * np.exp(-((k - 7) ** 2 + (j - 11) ** 2 + (i - 9) ** 2) / 8.0)
    scan = Volume(blob.astype(np.float32), (1.0, 1.5, 2.0), (5.0, -3.0, 9.0), modality="MR")
    if METHODS[method].networks:
        interpolating_models(models, method, "mr")
    centres = []
    for volume in (scan, upscale(scan, 2, method=method).volume):
        weight = np.clip(volume.voxels, 0, None).astype(float)
        index = [(weight * grid).sum() / weight.sum() for grid in np.indices(weight.shape)]
        centres.append(volume.position(tuple(index[::-1])))
    np.testing.assert_allclose(centres[0], centres[1], atol=0.02)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("method", ["two-stage-residual", "lanczos"])
def test_dtype_stays_and_nothing_wraps(models, dtype, method):
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(np.float16)
    voxels = np.where(smooth_noise((6, 16, 16)) > 0.5, limits.max, limits.min).astype(dtype)
    voxels[:, ::3] -= (voxels[:, ::3] > 0) * np.arange(16).astype(dtype)  # no label map
    result = upscale(Volume(voxels, modality="MR"), 2, method=method, ensemble="none").volume.voxels
    assert result.dtype == voxels.dtype
    if method == "lanczos":  # overshoot is cut at the type's limits, not wrapped around
        inside = np.kron(voxels, np.ones((2, 2, 2)))
        agree = np.sign(result.astype(float) - 0.5 * (float(limits.max) + limits.min)) == np.sign(inside - 0.5 * (float(limits.max) + limits.min))
        assert agree.mean() > 0.9


def test_values_outside_the_trained_range_survive(models):
    """A metal implant and a padding value lie beyond [-1024, 3071] HU."""
    voxels = (smooth_noise((6, 24, 24)) * 200).astype(np.int16)
    voxels[:, 4:10, 4:10] = 12_000
    voxels[:, 16:22, 16:22] = -3024
    interpolating_models(models, "two-stage-residual", "ct")
    result = upscale(Volume(voxels, modality="CT"), 2, ensemble="none").volume.voxels.astype(float)
    np.testing.assert_allclose(result[4:-4, 12:16, 12:16], 12_000, atol=1)
    np.testing.assert_allclose(result[4:-4, 36:40, 36:40], -3024, atol=1)


def test_32_bit_integers_keep_their_last_digit():
    voxels = np.arange(2**30, 2**30 + 8 * 8 * 8, dtype=np.int32).reshape(8, 8, 8)
    result = upscale(Volume(voxels, modality="MR"), 2, method="nearest").volume.voxels
    np.testing.assert_array_equal(result, voxels.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_the_scan_is_not_changed(models, scan):
    before = scan.voxels.copy()
    upscale(scan, 2)
    np.testing.assert_array_equal(scan.voxels, before)


def test_through_plane_is_the_coarse_axis(scan):
    turned = Volume(np.moveaxis(scan.voxels, 0, 2).copy(), (3.0, 0.8, 0.9), modality="MR")
    result = upscale(turned, 2, axes="through-plane", method="linear")
    assert result.volume.voxels.shape == (18, 22, 18)
    assert result.report["factors_ijk"] == [2, 1, 1]
    assert any("coarsest spacing" in warning for warning in result.report["warnings"])


def test_progress_rises_to_one_and_names_its_stages(models, scan):
    seen = []
    upscale(scan, 2, progress=lambda stage, share: seen.append((stage, share)))
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == pytest.approx(1.0)
    assert [stage for stage in dict(seen)] == ["depth", "plane"]


def test_cancelling_stops_at_once(models, scan):
    asked = []

    def cancelled():
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        upscale(scan, 2, cancelled=cancelled)
    assert len(asked) == 3


def test_report_tells_how_it_was_made(models, scan):
    report = upscale(scan, (2, 4), ensemble="4", device="cpu").report
    assert report["factors_ijk"] == [2, 2, 4]
    assert report["output"]["spacing_mm"] == pytest.approx([0.4, 0.45, 0.75])
    assert set(report["models"]) == {"plane", "depth"} and len(report["models"]["plane"]["sha256"]) == 64
    assert set(report["seconds"]) == {"plane", "depth", "total"}
    assert report["peak_memory_bytes"] > 1e7 and "not for diagnosis" in report["statement"]


def test_blocks_cover_once():
    shape = (17, 40, 31)
    counted = np.zeros(shape, int)
    for region in blocks(shape, (9, 16, 10)):
        counted[tuple(slice(a, b) for a, b in region)] += 1
    assert (counted == 1).all()


def test_block_choice_keeps_the_depth_and_the_budget(models):
    from superres3d.engine.stages import NetworkStage
    from superres3d.engine.tiling import working_bytes
    from superres3d.networks.weights import find_model

    stages = [NetworkStage(Engine("cpu"), find_model(f"georgescu2020-ct-{stage}-x2"), stage, "8") for stage in ("plane", "depth")]
    shape = (400, 512, 512)
    block = choose_block(stages, shape, 1 << 30)
    assert block[0] == 400 and working_bytes(stages, shape, block) <= 1 << 30
    assert working_bytes(stages, shape, shape) > 1 << 31
    regions = stage_regions(stages, shape, ((0, 400), (100, 200), (100, 200)))
    assert regions[1].kept == scaled(((0, 400), (100, 200), (100, 200)), (1, 2, 2))


@pytest.mark.parametrize(
    "scale, options, sentence",
    [
        (3, {}, "factor 3 cannot be used"),
        (8, {}, "beyond 4"),
        (1, {}, "factor 1 cannot"),
        ((1, 1), {}, "not both 1"),
        ((2, 3), {}, "out of 1, 2 and 4"),
        (2, {"axes": "up"}, "axes 'up' do not exist"),
        (2, {"method": "magic"}, "method 'magic' does not exist; use one of two-stage-told"),
        (2, {"ensemble": "16"}, "ensemble '16' does not exist"),
        (2, {"precision": "double"}, "precision 'double' does not exist; use one of auto, half, single"),
        (2, {"preset": "turbo"}, "preset 'turbo' does not exist; use one of best, balanced, fast"),
        (2, {"modality": "PET"}, "modality 'PET' does not exist"),
        (2, {"slice_axis": "z"}, "slice axis 'z' does not exist"),
    ],
)
def test_choices_that_do_not_exist(models, scan, scale, options, sentence):
    with pytest.raises(InputError, match=sentence):
        upscale(scan, scale, **options)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:1", "cuda:63"])
def test_devices_that_are_not_there(models, scan, device):
    with pytest.raises(DeviceError, match="does not exist|is not there"):
        upscale(scan, 2, device=device)


def test_a_result_larger_than_memory_is_refused_before_work(models, scan):
    with pytest.raises(ResourceError, match="needs .* MiB of memory and the limit is 50 MiB"):
        upscale(scan, 4, memory_limit=50 << 20)


def test_too_few_slices_for_the_depth_network(models):
    few = Volume(smooth_noise((3, 16, 16)) * 100, modality="MR")
    with pytest.raises(InputError, match="3 slices.*at least 4.*in-plane"):
        upscale(few, 2)
    assert upscale(few, 2, axes="in-plane").volume.voxels.shape == (3, 32, 32)
