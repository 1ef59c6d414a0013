"""Metrics, statistics, protocol and tables of an evaluation, against values known by hand."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from superres3d import Volume
from superres3d.errors import InputError
from superres3d.evaluation import figures, metrics, statistics, tables
from superres3d.evaluation.protocol import Protocol, central_crop, sequence_group
from superres3d.evaluation.tasks import TASKS
from superres3d.upscaling import upscale


@pytest.fixture
def ct() -> np.ndarray:
    random = np.random.default_rng(1)
    voxels = np.full((5, 24, 20), -1000.0, np.float32)
    voxels[:, 4:20, 4:16] = random.uniform(-200, 800, (5, 16, 12))
    return voxels


def test_psnr_of_a_known_error(ct):
    reference = metrics.make_reference(ct, "CT")
    found = metrics.measure(reference, ct + 4.095)  # a thousandth of the range everywhere
    assert found["psnr"] == pytest.approx(60.0, abs=1e-3)
    assert found["psnr_foreground"] == pytest.approx(60.0, abs=1e-3)
    assert found["mae_hu"] == pytest.approx(4.095, abs=1e-3)
    assert found["bias_hu"] == pytest.approx(4.095, abs=1e-3)


def test_foreground_leaves_air_out(ct):
    spoilt = np.where(ct < -500, ct + 300, ct)
    found = metrics.measure(metrics.make_reference(ct, "CT"), spoilt)
    assert found["psnr"] < 40
    assert (found["psnr_foreground"], found["mae_hu"], found["bias_hu"]) == (metrics.PSNR_CEILING, 0.0, 0.0)


def test_bias_is_result_minus_truth(ct):
    assert metrics.measure(metrics.make_reference(ct, "CT"), ct - 10)["bias_hu"] == pytest.approx(-10, abs=1e-3)


def test_an_exact_copy_is_perfect_and_finite(ct):
    found = metrics.measure(metrics.make_reference(ct, "CT"), ct)
    assert found["ssim"] == pytest.approx(1.0)
    assert found["psnr"] == metrics.PSNR_CEILING


def test_slices_agree_with_scikit_image():
    random = np.random.default_rng(2)
    truth = random.uniform(0, 500, (8, 16, 18)).astype(np.float32)
    result = truth + random.normal(0, 20, truth.shape).astype(np.float32)
    reference = metrics.make_reference(truth, "MR", slice_axis=1)
    low, data_range = truth.min(), np.percentile(truth, 99.9) - truth.min()
    assert reference.data_range == pytest.approx(data_range)
    pairs = [(truth[:, n].astype(float) - low, result[:, n].astype(float) - low) for n in range(16)]
    found = metrics.measure(reference, result)
    assert found["psnr"] == pytest.approx(np.mean([peak_signal_noise_ratio(a, b, data_range=data_range) for a, b in pairs]), abs=1e-4)
    assert found["ssim"] == pytest.approx(np.mean([structural_similarity(a, b, data_range=data_range) for a, b in pairs]), abs=1e-5)
    assert "mae_hu" not in found


def test_ct_is_clipped_and_mr_is_not(ct):
    reference = metrics.make_reference(ct, "CT")
    assert metrics.measure(reference, np.where(ct < -500, -5000, ct))["psnr"] > metrics.measure(reference, np.where(ct < -500, -900, ct))["psnr"]
    shifted = ct + 1000
    assert metrics.measure(metrics.make_reference(shifted, "MR"), np.where(shifted < 500, -5000, shifted))["psnr"] < 0


def test_flat_slices_are_left_out(ct):
    ct[1] = -1000
    reference = metrics.make_reference(ct, "CT")
    assert reference.measured == (0, 2, 3, 4)
    spoilt = ct.copy()
    spoilt[1] += 100  # counts for nothing
    assert metrics.measure(reference, spoilt)["psnr"] == metrics.PSNR_CEILING


@pytest.mark.parametrize(
    "voxels, modality, reason",
    [
        (np.zeros((4, 9, 9)), "MR", "all its slices are empty"),
        (np.zeros((4, 6, 9)), "MR", "smaller than 7 x 7"),
        (np.linspace(-1000, -700, 4 * 81).reshape(4, 9, 9), "CT", "no foreground"),
    ],
)
def test_what_cannot_be_measured_says_why(voxels, modality, reason):
    assert reason in metrics.make_reference(voxels, modality).why_not()


def test_paired_gain_is_method_minus_baseline_on_the_same_subject():
    gain = statistics.paired_gain({"a": 31.0, "b": 35.0, "c": 50.0}, {"b": 32.0, "a": 30.0})
    assert (gain.mean, gain.subjects, gain.p) == (2.0, 2, None)
    assert gain.interval == (1.0, 3.0)
    assert statistics.paired_gain({"a": 1.0}, {"b": 1.0}) is None
    assert statistics.paired_gain({"a": 1.0}, {"a": 0.5}).interval is None


def test_bootstrap_is_deterministic_and_holds_the_mean():
    values = [0.4, 1.1, 0.9, 1.6, 0.7, 1.3]
    low, high = statistics.bootstrap_interval(values)
    assert (low, high) == statistics.bootstrap_interval(values)
    standard_error = np.std(values) / np.sqrt(len(values))
    assert low == pytest.approx(1.0 - 1.96 * standard_error, abs=0.06)
    assert high == pytest.approx(1.0 + 1.96 * standard_error, abs=0.06)


def test_wilcoxon_on_known_pairs():
    assert statistics.wilcoxon_p([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 2**6)  # all ranks on one side
    # ranks of the negative differences add up to 1: 2 of the 2**7 signs are as extreme on this side
    assert statistics.wilcoxon_p([-1, 2, 3, 4, 5, 6, 7]) == pytest.approx(2 * 2 / 2**7)
    assert statistics.wilcoxon_p([1, 2, 3, 4, 5]) is None
    assert statistics.wilcoxon_p([0.0] * 6) == 1.0


def test_sequence_groups():
    assert [sequence_group(name) for name in ("T1 FLASH 3D", "t2*w", "FLAIR", "TOF", "")] == ["T1", "T2", "T2", "other", "other"]


def test_protocol_adds_the_baseline_and_features_the_network():
    protocol = Protocol(methods=("cubic", "georgescu2020", "cubic"))
    assert protocol.methods == ("cubic", "georgescu2020", "lanczos")
    assert protocol.featured("in-plane") == "georgescu2020"
    assert Protocol(methods=("lanczos",)).featured("3-D") is None
    assert "48 central slices" in " ".join(protocol.statement())


@pytest.mark.parametrize("field, value", [("methods", ("magic",)), ("scales", (3,)), ("tasks", ("4-D",)), ("slices", 1), ("ensemble", "9")])
def test_protocol_refuses_in_one_sentence(field, value):
    with pytest.raises(InputError) as caught:
        Protocol(**{field: value})
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("field, value", [("tasks", ("k-space",)), ("tasks", ("thick-slice",))])
def test_protocol_refuses_a_method_that_is_for_none_of_the_tasks(field, value):
    with pytest.raises(InputError, match="is for none of the tasks"):
        Protocol(**{field: value, "methods": ("fsrcnn-3d" if value == ("thick-slice",) else "srcnn-3d",)})


def test_each_task_features_its_own_network():
    protocol = Protocol(methods=("two-stage-residual", "mdcsrn", "virtual-thin-slice"), tasks=tuple(TASKS))
    assert [protocol.featured(task) for task in TASKS] == ["two-stage-residual", "two-stage-residual", "two-stage-residual", "mdcsrn", "virtual-thin-slice"]
    assert [protocol.scales_of(task) for task in TASKS] == [(2, 4), (2, 4), (2, 4), (2,), (4, 5, 8)]


@pytest.mark.parametrize("name, scale, modality", [("in-plane", 4, "MR"), ("3-D", 4, "MR"), ("k-space", 2, "MR"), ("thick-slice", 4, "CT")])
def test_upscaling_the_low_resolution_scan_gives_the_grid_of_the_truth(name, scale, modality):
    task = TASKS[name]
    scan = Volume(np.random.default_rng(0).random((21, 30, 25)).astype(np.float32), (0.5, 0.7, 2.0), (10.0, -20.0, 5.0), np.diag([-1.0, 1.0, -1.0]))
    factors = task.factors(scale, 0)
    assert factors == {"in-plane": (1, 4, 4), "3-D": (4, 4, 4), "k-space": (1, 2, 2), "thick-slice": (4, 1, 1)}[name]
    thin = task.thin(scan, 0)
    assert thin.spacing == ((0.5, 0.7, 1.0) if name == "thick-slice" else scan.spacing)  # reduced twofold, then a body of half the size
    truth = central_crop(thin, 0, 17, factors)
    assert truth.voxels.shape[0] == 17 - 17 % factors[0]
    low = task.low_resolution(truth, factors, 0)
    assert low.voxels.dtype == np.float32
    assert low.voxels.mean() == pytest.approx(truth.voxels.mean(), abs=0.01)
    result = upscale(low, **task.choices("linear", scale), method="linear", modality=modality, slice_axis="k").volume
    assert result.voxels.shape == truth.voxels.shape
    np.testing.assert_allclose(result.spacing, truth.spacing)
    np.testing.assert_allclose(result.origin, truth.origin)


def test_thick_slices_are_gaussian_means():
    scan = Volume(np.random.default_rng(0).random((32, 3, 3)).astype(np.float32), (0.5, 0.5, 1.0))
    low = TASKS["thick-slice"].low_resolution(scan, (4, 1, 1), 0).voxels
    fine = np.repeat(scan.voxels, 1, axis=0).astype(float)
    distance = np.arange(32) - (4 * 4 + 1.5)  # slice 4, in the middle of its four
    weights = np.exp(-0.5 * (distance / 1.6) ** 2)
    np.testing.assert_allclose(low[4], np.tensordot(weights / weights.sum(), fine, 1), rtol=1e-5)


def test_detail_against_numpy_and_by_sense(ct):
    from scipy.ndimage import gaussian_filter

    reference = metrics.make_reference(ct, "CT")
    soft = gaussian_filter(ct, (0, 1.5, 1.5))
    values = metrics.measure_detail(reference, soft, (1, 2, 2))
    truth, image = reference.slices.astype(float), reference.prepare(soft).astype(float)
    each = np.sqrt(((image - truth) ** 2).mean((1, 2)) / (truth**2).mean((1, 2)))
    assert values["nrmse"] == pytest.approx(each[list(reference.measured)].mean(), rel=1e-5)
    assert values["blur"] > values["blur_truth"] + 0.1
    deep = metrics.make_reference(np.random.default_rng(2).random((40, 40, 40), np.float32) * 1000, "CT")
    across = gaussian_filter(deep.slices, (2.0, 0, 0)) - 1024  # only along the refined axis is looked
    assert metrics.measure_detail(deep, across, (4, 1, 1))["blur"] > metrics.measure_detail(deep, across, (1, 2, 2))["blur"] + 0.1


def _row(subject, method, psnr, group="T1"):
    return {
        "subject": subject, "modality": "MR", "group": group, "task": "in-plane", "scale": 2, "method": method,
        "psnr": psnr, "ssim": psnr / 100, "psnr_foreground": psnr - 2, "slices": 8, "slices_left_out": 0,
    }  # fmt: skip


def test_tables_hold_means_gains_and_the_best_in_bold():
    rows = [_row("a", "lanczos", 30.0), _row("a", "cubic", 31.0), _row("b", "lanczos", 32.0, "T2"), _row("b", "cubic", 35.0, "T2")]
    protocol = Protocol(methods=("cubic", "lanczos"), scales=(2,), tasks=("in-plane",))
    text = tables.render(protocol, "test", rows, [{"subject": "c", "task": "3-D", "scale": 4, "reason": "too thin"}])
    assert "| cubic | **0.3300** | **33.00** |" in text
    assert "| lanczos | 0.3100 | 31.00 |" in text
    assert "| MR | in-plane | 2x | cubic | 2 | +2.00 [+1.00, +3.00] | n.a. |" in text
    assert "| MR T2 | in-plane | 2x | cubic | 1 | +3.00 [n.a.] | n.a. |" in text
    assert "| a | +1.00 | +0.0100 |" in text
    assert "c, 3-D 4x: not measured, too thin." in text


def test_a_gain_without_the_baseline_is_not_available():
    protocol = Protocol(methods=("cubic", "lanczos"), scales=(2,), tasks=("in-plane",))
    text = tables.render(protocol, "test", [_row("a", "cubic", 31.0)], [])
    assert "| MR | in-plane | 2x | cubic | 0 | n.a. | n.a. | n.a. | n.a. | n.a. | n.a. |" in text
    assert "| a | n.a. | n.a. |" in text


def test_best_bias_is_the_one_closest_to_zero():
    assert tables._bold_best([-3.0, 1.0, None], "bias_hu") == ["-3.00", "**+1.00**", "n.a."]
    assert tables._bold_best([3.0, 1.0], "mae_hu") == ["3.00", "**1.00**"]


def test_busiest_part_finds_the_detail_and_not_the_outline():
    image = np.zeros((60, 50))
    image[5:55, 5:45] = 100
    image[30:38:2, 20:28] = 50
    rows, columns = figures.busiest_part(image, image > 10, (12, 12))
    assert rows.start <= 30 and rows.stop >= 38 and columns.start <= 20 and columns.stop >= 28


@pytest.mark.parametrize(
    "direction, slice_axis, corner, letters",
    [
        (np.diag([1.0, 1.0, 1.0]), 0, (0, 0), "RLAP"),  # axial, as DICOM has it
        (np.diag([-1.0, -1.0, 1.0]), 0, (-1, -1), "RLAP"),  # axial, as NIfTI has it
        (np.diag([1.0, 1.0, 1.0]), 1, (-1, 0), "RLSI"),  # coronal slices of it: head up
        (np.array([[0, 0, 1.0], [1.0, 0, 0], [0, -1.0, 0]]), 0, (0, 0), "APSI"),  # sagittal acquisition
        (np.array([[0, 0, 1.0], [0, 1.0, 0], [1.0, 0, 0]]), 0, (0, -1), "APSI"),  # the same, rows and columns swapped
    ],
)
def test_view_turns_a_slice_as_radiologists_expect(direction, slice_axis, corner, letters):
    volume = Volume(np.zeros((4, 5, 6), np.float32), (1.0, 2.0, 3.0), direction=direction)
    image = np.moveaxis(np.arange(120.0).reshape(4, 5, 6), slice_axis, 0)[0]
    view = figures.view_of(volume, slice_axis)
    assert view(image)[0, 0] == image[corner]
    assert "".join(view.letters) == letters


def test_flicker_is_none_for_the_truth_and_one_for_a_result_that_stands_still():
    truth = np.random.default_rng(5).random((16, 24, 24)).astype(np.float32)
    reference = metrics.make_reference(truth, "MR")
    assert metrics.measure_flicker(reference, truth, 4)["flicker"] == 0.0
    still = np.broadcast_to(truth.mean(axis=0), truth.shape)
    assert metrics.measure_flicker(reference, still, 4)["flicker"] == pytest.approx(1.0, abs=1e-6)
    brighter = truth + np.float32(0.3)  # the same everywhere: not a flicker
    assert metrics.measure_flicker(reference, brighter, 4)["flicker"] == pytest.approx(0.0, abs=1e-6)
    alternating = truth + np.float32(0.1) * (-1.0) ** np.arange(16)[:, None, None].astype(np.float32)
    expected = 0.2 / np.sqrt(np.mean(np.diff(truth, axis=0) ** 2))
    assert metrics.measure_flicker(reference, alternating, 4)["flicker"] == pytest.approx(expected, rel=1e-4)


def test_swing_finds_slices_that_are_softer_between_those_of_the_scan():
    """A ramp's gradient is its slope: slopes of 1, 2, 2, 1 swing by one over their mean of 1.5."""
    ramp = np.add.outer(np.arange(20.0), np.zeros(20)).astype(np.float32)
    slices = np.stack([slope * ramp for slope in (1, 2, 2, 1) * 4])
    values = metrics.measure_flicker(metrics.make_reference(slices, "MR"), slices, 4)
    assert values["swing"] == values["swing_truth"] == pytest.approx(1 / 1.5, rel=1e-5)
    even = np.stack([ramp] * 16)
    assert metrics.measure_flicker(metrics.make_reference(even, "MR"), even, 4)["swing"] == 0.0
