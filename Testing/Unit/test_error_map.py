"""The error map: its parts against scipy and closed forms, in slabs and whole, on files, and what cannot have one."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter, maximum_filter, minimum_filter
from scipy.stats import spearmanr
from superres3d import Volume, write_volume
from superres3d.errors import InputError, ModelError
from superres3d.resampling.interpolation import resize, sampling_matrix
from superres3d.resampling.regridding import apply_along
from superres3d.trust import calibration, expected, window
from superres3d.trust import careful as careful_module
from superres3d.trust import traces as traces_module
from superres3d.trust.calibration import Calibration, compared
from superres3d.trust.careful import Restraint, careful
from superres3d.trust.doubtful import doubtful_places, inner
from superres3d.trust.error_map import upscale_with_doubt
from superres3d.trust.expected import Transfer, bound_of, expected_error, local_error, rough, transfer_of, windowed
from superres3d.trust.fall import fall_of
from superres3d.trust.head import TOLD, Head, head_of
from superres3d.trust.part import upscale_part_with_doubt
from superres3d.trust.traces import NAMES, traces
from superres3d.upscaling import upscale
from typer.testing import CliRunner

from .conftest import smooth_noise


def _gaussian(values):
    return gaussian_filter(values.astype(np.float64), 1.5, mode="nearest", truncate=5 / 1.5)


def test_the_window_is_scipys():
    values = np.random.default_rng(0).random((9, 14, 3)).astype(np.float32)
    np.testing.assert_allclose(windowed(values), _gaussian(values), rtol=1e-5)


@pytest.mark.parametrize("begin, end", [(0, 9), (2, 9), (0, 5), (4, 5)])
def test_the_window_of_careful_is_scipys(begin, end):
    """Means of two, three and four voxels one after the other; of some slices as of all."""
    values = np.random.default_rng(0).random((9, 14, 6)).astype(np.float32)
    before, after = min(begin, window.REACH), min(9 - end, window.REACH)
    found = np.stack(list(window.smoothed(values[begin - before : end + after], before, after)))
    np.testing.assert_allclose(found, _weighted(values.astype(np.float64), [1, 3, 5, 6, 5, 3, 1])[begin:end], rtol=1e-5)


def test_local_error_of_an_even_error_is_that_error():
    truth = smooth_noise((6, 8, 9)) * 100
    np.testing.assert_allclose(local_error(truth - 7, truth), 7, rtol=1e-5)


def test_roughness_by_hand():
    scan = np.zeros((1, 3, 4), np.float32)
    scan[0, 1, 1] = 4
    assert rough(scan, (1, 2))[0].tolist() == [[0, -1, 0, 0], [-1, 4, -1, 0], [0, -1, 0, 0]]
    assert rough(scan, (2,))[0, 1].tolist() == [-2, 4, -2, 0]
    assert not rough(scan, ()).any()


@pytest.fixture
def parts():
    """A scan, a finer result, and a spread."""
    random = np.random.default_rng(3)
    scan = (smooth_noise((7, 10, 9)) * 500).astype(np.float32)
    result = resize(scan, (2, 2, 2), "lanczos") + random.normal(0, 20, (14, 20, 18)).astype(np.float32)
    return scan, result, random.random(result.shape).astype(np.float32) * 10


def _cells(values, shape, cells):
    """Means over the voxels of the scan, of this shape, whatever part of the finer grid they are; then over two of them where a cell has two, the last voxel of an odd number alone."""
    for axis, (count, cell) in enumerate(zip(shape, cells)):
        along = np.moveaxis(values, axis, -1).repeat(count, axis=-1)
        along = along.reshape(*along.shape[:-1], count, -1).mean(axis=-1)
        if cell == 2:
            along = np.stack([along[..., start : start + 2].mean(axis=-1) for start in range(0, count, 2)], axis=-1)
        values = np.moveaxis(along, -1, axis)
    return values


def _weighted(values, taps):
    for axis in range(3):
        values = convolve1d(values, np.array(taps) / sum(taps), axis, mode="nearest")
    return values


def _wanted(scan, result, spread):
    """The logarithms, and the level, with scipy alone."""
    cells = [2 if fine == count else 1 for fine, count in zip(result.shape, scan.shape)]
    added = (result - regrid(scan, result.shape)).astype(float)
    squares = {"correction": _cells(added**2, scan.shape, cells), "spread": _cells(spread.astype(float) ** 2, scan.shape, cells)}
    squares["offset"] = _cells(_cells(added, scan.shape, (1, 1, 1)) ** 2, scan.shape, cells)
    for name, axes in (("", [axis for axis in range(3) if cells[axis] == 1]), (" other", [axis for axis in range(3) if cells[axis] == 2])):
        if axes:
            differing = [convolve1d(scan.astype(float), [0.5, 0, -0.5], axis, mode="nearest") for axis in axes]
            around = [convolve1d(scan.astype(float), [0.5, 0, 0.5], axis, mode="nearest") for axis in axes]
            squares[f"rough{name}"] = _cells((scan - np.mean(around, axis=0)) ** 2, scan.shape, cells)
            squares[f"slope{name}"] = _cells(np.mean(np.square(differing), axis=0), scan.shape, cells)
    narrow = {name: _weighted(square, [1, 2, 1]) for name, square in squares.items()}
    wide = {f"{name} wide": _weighted(square, [1, 3, 4, 4, 4, 3, 1]) for name, square in squares.items()}
    level = narrow["correction"] + narrow["rough"]
    return level, {name: np.log(square / level + 1e-6) for name, square in (narrow | wide).items() if name in NAMES}


def regrid(scan, shape):
    for axis, (length, count) in enumerate(zip(scan.shape, shape)):
        if count > length:
            scan = apply_along(scan.astype(np.float64), axis, sampling_matrix(length, count, "lanczos"))
    return scan


def _whole(scan, result, spread, parts):
    """What the traces are in the end, made in some parts."""
    length = -(-len(scan) // (2 if len(scan) == len(result) else 1))
    found = [trace for begin, end in parts(length) for trace in traces(scan, result, spread, begin, end)]
    shape = length, max(trace.place[1].stop for trace in found), found[0].level.shape[1]
    arrays = {name: np.full(shape, np.nan) for name in ("level", *found[0].logarithms)}
    for trace in found:
        for name, array in arrays.items():
            array[trace.place] = trace.level if name == "level" else trace.logarithms[name]
    return arrays


@pytest.mark.parametrize("shape", [(14, 20, 18), (7, 20, 18), (14, 10, 9), (28, 40, 36), (11, 15, 13), (7, 10, 36)])
@pytest.mark.parametrize("pixels", [1 << 16, 1])
def test_traces_are_scipys(monkeypatch, parts, shape, pixels):
    """Whole and factors between; in one part and in several, all rows at once and in bands."""
    scan, random = parts[0], np.random.default_rng(4)
    result = (regrid(scan, shape) + random.normal(0, 30, shape)).astype(np.float32)
    spread = random.random(shape).astype(np.float32) * 10
    level, wanted = _wanted(scan, result, spread)
    monkeypatch.setattr(traces_module, "_PIXELS", pixels)
    for cut in (lambda n: [(0, n)], lambda n: [(0, 2), (2, 3), (3, n)]):
        found = _whole(scan, result, spread, cut)
        assert set(found) == {"level", *wanted}
        np.testing.assert_allclose(found.pop("level"), level, rtol=1e-4)
        for name, logarithm in found.items():
            np.testing.assert_allclose(logarithm, wanted[name], atol=2e-3, err_msg=name)


def _head(seed=0):
    random = np.random.default_rng(seed)
    inputs = len(NAMES) + len(TOLD)
    numbers = [random.normal(0, 0.5, shape).astype(np.float32) for shape in (inputs, (5, inputs), 5, 5)]
    return Head(numbers[0], np.full(inputs, 1.5, np.float32), *numbers[1:], 0.7, True)


@pytest.mark.parametrize("shape", [(14, 20, 18), (7, 20, 18), (14, 10, 9), (28, 40, 36), (11, 15, 13)])
def test_the_head_by_hand(monkeypatch, parts, shape):
    """Its perceptron on each cell, between cells a line; by several threads as by one."""
    scan, random = parts[0], np.random.default_rng(4)
    result = (regrid(scan, shape) + random.normal(0, 30, shape)).astype(np.float32)
    spread, head = random.random(shape).astype(np.float32) * 10, _head()
    level, wanted = _wanted(scan, result, spread)
    factors = [fine / count for fine, count in zip(shape, scan.shape)]
    refined = sum(factor > 1 for factor in factors)
    told = [np.log2(max(*factors, 2)) - 1, refined == 1, refined == 3, 1, 1]
    inputs = np.stack([*(wanted.get(name, np.full(level.shape, head.mean[number])) for number, name in enumerate(NAMES)), *(np.full(level.shape, value) for value in told)])
    near = np.clip((inputs - head.mean[:, None, None, None]) / 1.5, -4, 4)
    units = np.maximum(np.einsum("ui,ikyx->ukyx", head.hidden, near) + head.hidden_bias[:, None, None, None], 0)
    made = np.sqrt(level * np.exp(np.einsum("u,ukyx->kyx", head.output, units) + 0.7))
    for axis, (length, count) in enumerate(zip(scan.shape, shape)):
        extent = 2 * made.shape[axis] if length == count else count  # the last cell of an odd number is as long as the others
        places = (np.arange(count) + 0.5) * made.shape[axis] / extent - 0.5
        made = np.apply_along_axis(lambda line, places=places: np.interp(places, np.arange(len(line)), line), axis, made)
    for threads in (1, 2, 7):
        monkeypatch.setattr(expected, "usable_cores", lambda threads=threads: threads)
        np.testing.assert_allclose(expected_error(scan, result, spread, head), made, rtol=2e-3)


@pytest.mark.parametrize("shape", [(14, 20, 18), (7, 20, 18), (14, 10, 9), (28, 40, 36), (11, 15, 13)])
def test_slabs_give_the_whole(monkeypatch, parts, shape):
    scan = parts[0]
    random = np.random.default_rng(4)
    result, error = (random.random(shape).astype(np.float32) * 100 for _ in range(2))
    held = careful(scan, result, error, Restraint(1.0, 2.0, 60.0))
    for count, threads in ((1, 1), (3, 2), (2, 7)):
        monkeypatch.setattr(window, "_CHUNK_BYTES", 4 * shape[1] * shape[2] * count)
        monkeypatch.setattr(careful_module, "usable_cores", lambda threads=threads: threads)
        np.testing.assert_allclose(careful(scan, result, error, Restraint(1.0, 2.0, 60.0)), held, rtol=2e-5, atol=1e-3)


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_a_scan_in_other_units_has_its_error_in_those(parts, modality):
    one, other = (expected_error(*(array * np.float32(scale) for array in parts), head_of(modality, True)) for scale in (1, 8))
    np.testing.assert_allclose(other, 8 * one, rtol=1e-4)


@pytest.mark.parametrize("shape", [(14, 20, 18), (7, 20, 18)])
def test_a_turned_scan_has_the_turned_map(parts, shape):
    scan, random = parts[0], np.random.default_rng(6)
    result = regrid(scan, shape) + random.normal(0, 30, shape).astype(np.float32)
    one = expected_error(scan, result, None, head_of("MR", False))
    for turn in (lambda array: array.transpose(1, 2, 0), lambda array: array.transpose(0, 2, 1)):
        turned = (np.ascontiguousarray(turn(array)) for array in (scan, result))
        np.testing.assert_allclose(expected_error(*turned, None, head_of("MR", False)), turn(one), rtol=1e-3)


def test_nothing_is_to_be_expected_where_nothing_is():
    """Far from a scan's own voxels the map is zero, and nowhere else; a scan of one value has none at all."""
    scan = np.zeros((16, 30, 32), np.float32)
    scan[:, 15:] = smooth_noise((16, 15, 32)) * 500
    lanczos = resize(scan, (2, 2, 2), "lanczos")
    result = np.where(np.arange(60)[:, None] < 24, 0, lanczos * 1.05).astype(np.float32)
    lanczos[:, :24] = 0
    told = expected_error(scan, result, None, head_of("MR", False))
    assert (told[:, :10] == 0).all() and (told[:, 34:] > 0).all() and np.isfinite(told).all()
    even = np.full((5, 6, 7), 40, np.int16)
    assert not expected_error(even, resize(even, (1, 2, 2), "nearest"), None, head_of("CT", False)).any()


@pytest.mark.parametrize("scan, factors", [((1, 1, 1), (2, 2, 2)), ((1, 3, 2), (1, 2, 2)), ((2, 1, 5), (4, 1, 1)), ((3, 9, 1), (1, 4, 1))])
def test_a_tiny_scan(scan, factors):
    scan = np.random.default_rng(2).normal(0, 50, scan)
    result = fine_of(scan, factors) + 1.0
    told = expected_error(scan, result.astype(np.float32), None, head_of("MR", False))
    assert told.shape == result.shape and np.isfinite(told).all() and (told > 0).all()


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (4, 1, 1)])
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_errors_that_are_known_are_ranked(factors, modality):
    """A made-up scan: even tissue, edges, and a region of fine texture that the coarse scan lost; noise everywhere."""
    random, shape = np.random.default_rng(11), [24 * factors[0] if factors[0] > 1 else 24, 40 * factors[1], 40 * factors[2]]
    truth = gaussian_filter(random.normal(size=shape), [2.0 * factor for factor in factors])
    truth = 100 + 300 * (truth > 0) + gaussian_filter(random.normal(size=shape), [0.5 * factor for factor in factors]) * 150 * (gaussian_filter(random.normal(size=shape), 10) > 0)
    truth = (truth + random.normal(0, 6, shape)).astype(np.float32)
    scan = truth
    for axis, factor in enumerate(factors):
        along = np.moveaxis(scan, axis, -1)
        scan = np.moveaxis(along.reshape(*along.shape[:-1], -1, factor).mean(axis=-1), -1, axis)
    result = regrid(scan, shape).astype(np.float32)
    result += 0.3 * (truth - gaussian_filter(truth, [0.4 * (factor - 1) for factor in factors]))  # brings some of it back
    told, true = expected_error(np.ascontiguousarray(scan), result, None, head_of(modality, False)), local_error(result, truth)
    assert spearmanr(told.ravel(), true.ravel())[0] > 0.6


def test_the_calibration_finds_growth_and_floor():
    random = np.random.default_rng(5)
    told = random.gamma(2.0, 3.0, (40, 50, 20))
    where = np.ones(told.shape, bool)
    found = compared(np.sqrt((2.5 * told) ** 2 + 4**2), told, where)
    assert (found.growth, found.floor, found.bound) == (pytest.approx(2.5, rel=1e-3), pytest.approx(4, rel=1e-2), pytest.approx(1, rel=1e-3))
    np.testing.assert_allclose(found.applied(told.copy()), np.sqrt((2.5 * told) ** 2 + 16), rtol=1e-2)


def test_the_bound_holds_for_nine_of_ten_where_it_was_made():
    random = np.random.default_rng(6)
    told = random.gamma(2.0, 3.0, (40, 50, 20))
    true = told * random.lognormal(0.3, 0.4, told.shape) + random.random(told.shape)
    found = compared(true, told, np.ones(told.shape, bool))
    assert np.mean(true <= found.bound * found.applied(told.copy())) == pytest.approx(0.9, abs=1e-3)
    growth = 2 * np.sqrt(found.growth)
    for fall, more in ((-0.5, 0.35), (-9.0, 1.12), (None, 0.21)):  # a fall beyond those that were met counts as the last of them, none as the usual one
        carried = replace(found, fall=fall).carried_over(Transfer(np.log(2), 0.5, 0.3, -0.7), 10.0)
        grown = growth * np.exp(more)
        assert carried == Calibration(pytest.approx(grown), pytest.approx(np.hypot(found.floor, 3 * grown)), found.bound, (2, 2), told.size, fall=fall)
    assert found.applied(np.zeros(3)).tolist() == [0, 0, 0]


def test_the_calibration_looks_inside_the_body_alone():
    told = np.full((20, 20, 20), 2.0)
    true = told.copy()
    where = np.zeros(told.shape, bool)
    where[:10] = True
    true[10:] = 1e6
    assert compared(true, told, where).bound == pytest.approx(1.0)
    with pytest.raises(InputError, match="too small or too empty"):
        compared(true, told, np.zeros_like(where))


def test_the_shipped_weights():
    for modality in ("CT", "MR"):
        head = head_of(modality, True)
        inputs, units = len(NAMES) + len(TOLD), len(head.output)
        assert head.mean.shape == head.deviation.shape == (inputs,) and head.hidden.shape == (units, inputs) and head.hidden_bias.shape == (units,)
        assert (head.deviation > 0).all() and head.ensemble and not head_of(modality, False).ensemble
        assert all(transfer_of(modality, factor, across).even > 0 for factor in (2, 4) for across in (True, False))
    with pytest.raises(ModelError, match="error-map cannot be used"):
        transfer_of("MR", 3, True)


def test_doubtful_places_are_apart_and_lie_where_nibabel_says():
    angle = np.radians(25)
    direction = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    voxels = np.zeros((20, 24, 28), np.float32)
    for value, index in ((5, (3, 4, 5)), (9, (15, 20, 22)), (8, (15, 20, 24)), (7, (4, 20, 6))):  # the third is 3 mm from the second
        voxels[index] = value
    volume = Volume(voxels, (1.5, 1.2, 2.0), (-30.0, 12.0, 40.0), direction)
    places = doubtful_places(volume)
    assert [(place.voxel_ijk, place.expected_error) for place in places] == [((22, 20, 15), 9), ((6, 20, 4), 7), ((5, 4, 3), 5)]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1, -1, 1]) @ direction @ np.diag(volume.spacing)
    affine[:3, 3] = np.diag([-1, -1, 1]) @ volume.origin
    for place in places:
        np.testing.assert_allclose(place.position_ras_mm, nib.affines.apply_affine(affine, place.voxel_ijk), atol=1e-6)
    assert len(doubtful_places(volume, apart_mm=1.0)) == 4 and len(doubtful_places(volume, count=2)) == 2
    assert doubtful_places(volume, voxels == 5)[0].voxel_ijk == (5, 4, 3)
    x, y, z = places[0].position_ras_mm
    assert places[0].words("HU") == f"about 9 HU at {'RL'[x < 0]} {abs(x):.1f}, {'AP'[y < 0]} {abs(y):.1f}, {'SI'[z < 0]} {abs(z):.1f} mm (voxel 22, 20, 15)"


def test_the_scans_first_and_last_voxels_are_no_places():
    where = inner((8, 12, 5), (2.0, 1.5, 1.0))
    assert where.sum() == 4 * 8 * 5 and where[2:6, 2:10].all()


def test_careful_by_hand():
    """An even scan, an even addition and an even error: c2 / (c2 + k e2) of the addition stays."""
    scan, shape = np.full((5, 6, 7), 100.0, np.float32), (10, 12, 14)
    result, spread = np.full(shape, 130.0, np.float32), np.full(shape, 5.0, np.float32)
    kept = 30**2 / (30**2 + 2.0 * 5**2)
    np.testing.assert_allclose(careful(scan, result, spread, Restraint(2.0)), 100 + 30 * kept, rtol=1e-5)
    np.testing.assert_allclose(careful(scan, result, spread, Restraint(0.0)), 130, rtol=1e-5)
    whole = careful(scan.astype(np.int16), result.astype(np.int16), spread, Restraint(2.0))
    assert whole.dtype == np.int16 and (whole == round(100 + 30 * kept)).all()


@pytest.mark.parametrize("added, error, kept", [(30, 16, 20), (30, 15, 20), (30, 14.4, 20 + 10 * 5 / 12), (30, 13.6, 30), (15, 40, 15), (-30, 16, -20), (-30, 10, -30)])
def test_careful_holds_at_the_limit_what_is_not_sure(added, error, kept):
    """An addition of 30 with a limit of 20: up to twice the error it is held there, from 2.2 times the error it stays; in between it is continuous."""
    scan, shape = np.full((5, 6, 7), 100.0, np.float32), (10, 12, 14)
    result, expected = np.full(shape, 100.0 + added, np.float32), np.full(shape, error, np.float32)
    np.testing.assert_allclose(careful(scan, result, expected, Restraint(0.0, 2.0, 20.0)), 100 + kept, rtol=1e-5)


@pytest.mark.parametrize("factors", [(2, 2, 2), (1, 2, 2), (3, 1, 1)])
def test_careful_does_not_ring_where_the_result_does_not(factors, monkeypatch):
    """Beside a mask Lanczos goes far beyond its neighbours; a result that keeps within them keeps so. In slabs as in the whole."""
    random = np.random.default_rng(8)
    scan = np.where(gaussian_filter(random.random((10, 20, 22)), 2) > 0.5, random.uniform(400, 600, (10, 20, 22)), 0).astype(np.float32)
    low, high = (fine_of(reach(scan, 3), factors) for reach in (minimum_filter, maximum_filter))
    lanczos = resize(scan, factors, "lanczos")
    result = np.clip(lanczos, low, high)
    assert (lanczos < low - 50).any() and (lanczos > high + 50).any()
    held = careful(scan, result, np.full(result.shape, 100.0, np.float32), Restraint(5.0))
    flat = fine_of(minimum_filter(maximum_filter(scan, 3) == minimum_filter(scan, 3), 3), factors)
    beyond = np.maximum(held - high, low - held) / np.maximum(high - low, 1e-3)
    assert beyond.max() <= 0.5 * max(factors) / 2 + 1e-4 and beyond[flat].max(initial=0) == 0 and not np.array_equal(held, result)
    monkeypatch.setattr(window, "_CHUNK_BYTES", 4 * result[0].size * 3)
    monkeypatch.setattr(careful_module, "usable_cores", lambda: 3)
    np.testing.assert_allclose(careful(scan, result, np.full(result.shape, 100.0, np.float32), Restraint(5.0)), held, atol=1e-2)


def fine_of(array, factors):
    for axis, factor in enumerate(factors):
        array = array.repeat(factor, axis)
    return array


def test_the_limit_is_just_below_what_counts_as_added():
    scan = np.linspace(-1000, 1000, 4000).reshape(10, 20, 20)
    assert Restraint.of(scan, "CT", (1, 4, 4)).limit == 95
    assert Restraint.of(scan, "MR", (2, 1, 1)).limit == pytest.approx(0.0475 * 2000, rel=0.01)


def test_careful_leaves_what_equals_lanczos(parts):
    scan, _, spread = parts
    lanczos = resize(scan, (2, 2, 2), "lanczos")
    np.testing.assert_allclose(careful(scan, lanczos, spread, Restraint(0.5, 2.0, 1.0)), lanczos, atol=1e-3)


@pytest.fixture
def mr() -> Volume:
    voxels = smooth_noise((20, 44, 48), 2) * 900
    voxels[:, :6] = 0
    return Volume(voxels.astype(np.float32), (1.0, 1.0, 1.5), modality="MR")


@pytest.mark.parametrize("preset", ["fast", "balanced"])
def test_a_run_with_its_map(models, mr, preset):
    asked = {"axes": "in-plane", "method": "two-stage-residual", "preset": preset, "precision": "single"}
    result, errors = upscale_with_doubt(mr, 2, **asked)
    np.testing.assert_array_equal(result.volume.voxels, upscale(mr, 2, **asked).volume.voxels)
    assert errors.volume.voxels.shape == result.volume.voxels.shape and errors.volume.voxels.dtype == np.float32
    assert (errors.volume.spacing, errors.volume.origin) == (result.volume.spacing, result.volume.origin)
    assert np.isfinite(errors.volume.voxels).all() and errors.volume.voxels.min() >= 0 and errors.bound > 0
    told = result.report["error_map"]
    assert told["calibrated"] and "90%" in told["statement"] and 1 <= len(told["doubtful"]) <= 10
    assert json.loads(json.dumps(told)) == told
    values = [place["expected_error"] for place in told["doubtful"]]
    assert values == sorted(values, reverse=True)


def test_careful_lies_between_lanczos_and_the_network(models, mr):
    asked = {"scale": 2, "axes": "in-plane", "method": "two-stage-residual", "preset": "balanced", "precision": "single"}
    held, none = upscale_with_doubt(mr, errors=False, careful=True, **asked)
    drawn, lanczos = (upscale(mr, **{**asked, "method": method}).volume.voxels for method in ("two-stage-residual", "lanczos"))
    assert none is None and held.report["careful"]
    added, kept = drawn - lanczos, held.volume.voxels - lanczos
    assert (np.abs(kept) <= np.abs(added) + 0.05).all() and (kept * added >= -0.05).all()
    assert np.square(kept).mean() < 0.9 * np.square(added).mean()


@pytest.mark.parametrize("modality, least", [("MR", 0), ("MR", -300), ("CT", -1024)])
def test_careful_brings_no_value_below_what_the_networks_keep(models, modality, least):
    """Lanczos rings below the background of a scan; the careful result lies nearer to it, and not below the floor; a part neither."""
    blocks = np.kron(np.random.default_rng(3).random((4, 6, 6)) > 0.5, np.ones((3, 6, 6)))
    scan = Volume((least + blocks * 1200 * (0.5 + smooth_noise((12, 36, 36)))).astype(np.float32), modality=modality)
    asked = {"method": "two-stage-residual", "preset": "fast", "precision": "single"}
    assert upscale(scan, 2, method="lanczos").volume.voxels.min() < least - 20
    assert upscale_with_doubt(scan, 2, errors=False, careful=True, **asked)[0].volume.voxels.min() >= least
    assert upscale_part_with_doubt(scan, 2, errors=False, careful=True, region=((2, 9), (5, 30), (6, 31)), **asked)[0].volume.voxels.min() >= least


def test_a_scan_too_small_to_be_asked_has_a_map_without_a_bound(models):
    scan = Volume((smooth_noise((5, 20, 22)) * 900).astype(np.float32), modality="MR")
    result, errors = upscale_with_doubt(scan, 2, method="two-stage-residual", preset="fast")
    assert errors.bound is None and "no bound is claimed" in errors.report["statement"]
    assert any("not calibrated on this scan" in note for note in result.report["warnings"])


def _run(*arguments):
    from superres3d.cli import app

    return CliRunner().invoke(app, ["upscale", *map(str, arguments), "--progress", "none"])


def test_files_appear_together(models, mr, tmp_path):
    write_volume(mr, tmp_path / "scan.nii.gz")
    out, error, report = tmp_path / "out.nii.gz", tmp_path / "error.nii.gz", tmp_path / "report.json"
    done = _run(tmp_path / "scan.nii.gz", out, "--modality", "MR", "--axes", "in-plane", "--method", "two-stage-residual", "--preset", "fast", "--careful", "--error-map", error, "--report", report)
    assert done.exit_code == 0, done.output
    result, told = nib.load(out), nib.load(error)
    np.testing.assert_allclose(told.affine, result.affine)
    assert told.shape == result.shape and told.get_data_dtype() == np.float32
    content = json.loads(report.read_text())
    assert content["careful"] is True and content["error_map"]["doubtful_words"]


@pytest.mark.parametrize("asked, words", [(["--error-map", "error.nii.gz"], "error map"), (["--careful"], "[Cc]areful")])
def test_an_interpolation_has_none(mr, tmp_path, monkeypatch, asked, words):
    monkeypatch.chdir(tmp_path)
    write_volume(mr, tmp_path / "scan.nii.gz")
    done = _run("scan.nii.gz", "out.nii.gz", "--method", "lanczos", *asked)
    assert done.exit_code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
    with pytest.raises(InputError, match=f"{words}.*lanczos has none"):
        upscale_with_doubt(mr, 2, method="lanczos", errors="--error-map" in asked, careful="--careful" in asked)


def test_the_map_does_not_replace_the_scan(mr, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_volume(mr, tmp_path / "scan.nii.gz")
    before = (tmp_path / "scan.nii.gz").read_bytes()
    assert _run("scan.nii.gz", "out.nii.gz", "--error-map", "scan.nii.gz").exit_code != 0
    assert _run("scan.nii.gz", "out.nii.gz", "--error-map", "folder/").exit_code != 0
    assert (tmp_path / "scan.nii.gz").read_bytes() == before and not (tmp_path / "out.nii.gz").exists()


def test_the_bound_is_that_of_scans_as_sharp(models, mr, monkeypatch):
    """A softer scan has a wider one; where nothing tells how soft it is the map stays, and no bound is claimed."""
    asked = {"axes": "in-plane", "method": "two-stage-residual", "preset": "fast", "precision": "single"}
    made = {}
    for fall in (0.0, -0.4, -1.0, -5.0, None):
        monkeypatch.setattr(calibration, "fall_of", lambda *given, fall=fall: fall)
        _, made[fall] = upscale_with_doubt(mr, 2, **asked)
    bounds = [made[fall].bound for fall in (0.0, -0.4, -1.0, -5.0)]
    assert bounds == sorted(bounds) and bounds[2] == bounds[3] == pytest.approx(bound_of(-1.0).most)
    told = made[0.0].report
    assert f"{bounds[0]:.2f} times the map" in told["statement"] and "no promise" in told["statement"] and told["coverage"] == 0.9
    low, high = told["middle"]["held_for"]
    assert f"between {low:.0%} and {high:.0%}" in told["statement"] and low < 0.9 < high
    unsure = made[None]
    assert unsure.bound is None and unsure.report["bound"] is None and unsure.report["coverage"] is None and unsure.report["calibrated"]
    assert unsure.report["statement"].startswith("No bound is claimed: the scan is too small to tell how far")


def test_how_fast_detail_falls_off():
    """White noise loses as much of its power at each scale; what was smoothed loses less at its own; what is too small tells nothing."""
    noise = np.random.default_rng(5).normal(0, 100, (48, 64, 64)) + 1000
    weights = np.array([111 / 128, 29 / 128, -9 / 128, -3 / 128]) / 2  # the cubic kernel of Keys at 1/4, 3/4, 5/4 and 7/4
    halved = -np.log(2 * np.sum(weights**2)) / 2  # of a deviation, along an axis
    assert fall_of(noise, [0, 1, 2], "MR") == pytest.approx(3 * halved, abs=0.05)
    assert fall_of(noise, [1, 2], "MR") == pytest.approx(2 * halved, abs=0.1)
    smooth = gaussian_filter(noise, (0, 2, 2))
    assert fall_of(smooth, [1, 2], "MR") < -1
    assert fall_of(smooth.astype(np.float32) * 7, [1, 2], "MR") == pytest.approx(fall_of(smooth, [1, 2], "MR"), abs=1e-4)
    assert fall_of(noise[:11], [0], "MR") is None and fall_of(noise[:11], [0, 1, 2], "MR") == pytest.approx(fall_of(noise[:11], [1, 2], "MR"))
    assert fall_of(np.full((32, 32, 32), 7.0), [0, 1, 2], "MR") is None
