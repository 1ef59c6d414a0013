"""What a scan is taken as: the file's word, the user's, or what the intensities leave no doubt of."""

import json

import numpy as np
import pytest
from superres3d import Volume
from superres3d.errors import InputError
from superres3d.scan.modality import guess_modality
from superres3d.upscaling import plan_for, taken_as, upscale

RNG = np.random.default_rng(5)
SHAPE = (24, 40, 40)
_Z, _Y, _X = np.indices(SHAPE)
_RADIUS = np.hypot(_Y - 19.5, _X - 19.5)


def ct_body():
    """A round body of fat and soft tissue with lungs and a spine in air, Hounsfield units."""
    voxels = np.full(SHAPE, -1000.0)
    voxels[_RADIUS < 16] = -100
    voxels[_RADIUS < 14] = 45
    voxels[np.hypot(_Y - 20, _X - 12) < 5] = -850
    voxels[np.hypot(_Y - 28, _X - 20) < 2] = 600
    return np.clip(np.rint(voxels + RNG.normal(0, 15, SHAPE)), -1024, None).astype(np.int16)


def mr_head():
    """Tissues from dark to bright in noise that is not negative."""
    voxels = np.where(_RADIUS < 17, 120.0 + 500 * (np.sin(_Y / 4) * np.cos(_X / 5) + 1) / 2 + 6 * _Z, 0)
    return np.abs(voxels + RNG.normal(0, 8, SHAPE)).astype(np.int16)


def test_clear_scans_are_known():
    assert guess_modality(ct_body()).modality == "CT"
    assert guess_modality(ct_body().astype(np.float32)).modality == "CT"
    assert guess_modality(mr_head()).modality == "MR"
    assert guess_modality(mr_head().astype(np.uint16)).modality == "MR"


def test_a_single_cold_voxel_is_no_ct():
    voxels = mr_head()
    voxels[3, 4, 5], voxels[7, 7, 7] = -1000, -600
    assert guess_modality(voxels).modality == "MR"


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
def test_padding_of_a_ct_is_no_value_of_it(padding):
    voxels = ct_body()
    voxels[_RADIUS > 18] = padding
    assert guess_modality(voxels).modality == "CT"


def test_overshoot_of_a_resampled_mr_is_no_sign():
    voxels = mr_head().astype(np.float32)
    voxels[voxels < 8] -= 12.5
    assert guess_modality(voxels).modality == "MR"


@pytest.mark.parametrize(
    "name, voxels",
    [
        ("a CT stored 1024 too high", (ct_body().astype(np.int32) + 1024).astype(np.uint16)),
        ("a CT stored 1000 too high", np.maximum(ct_body() + 1000, 0).astype(np.uint16)),
        ("a CT rescaled to 0..1000", np.rint((ct_body() + 1024.0) / 2).astype(np.int16)),
        ("a CT of soft tissue alone", ct_body()[:, 16:18, 17:25]),
        ("a CT in a window", (np.clip((ct_body() + 160) / 400, 0, 1) * 255).astype(np.int16)),
        ("a CT in eight bits", (np.clip((ct_body() + 1024) / 3000, 0, 1) * 255).astype(np.uint8)),
        ("an MR in eight bits", (mr_head() / 4).astype(np.uint8)),
        ("uptake values", np.where(_RADIUS < 15, 1.5, 0.01) + RNG.random(SHAPE) / 4),
        ("a hot spot", np.where(np.hypot(_Y - 9, _X - 9) < 1.5, 30000, np.where(_RADIUS < 15, 900 + 900 * np.sin(_X / 3), 0)).clip(0).astype(np.int32)),
        ("z-scores", ((mr_head() - mr_head().mean()) / mr_head().std()).astype(np.float32)),
        ("a phase image", RNG.integers(-4096, 4095, SHAPE).astype(np.int16)),
        ("a phase image to 1000", RNG.integers(-1000, 1000, SHAPE).astype(np.int16)),
        ("a subtraction", (mr_head() - np.roll(mr_head(), 3, 1)).astype(np.int16)),
        ("a part of an MR", mr_head()[:, 14:24, 14:24]),
        ("an MR whose corners were filled with -1000", np.where(_RADIUS > 18, -1000, mr_head() // 4).astype(np.int16)),
        ("air alone", RNG.integers(-1024, -900, SHAPE).astype(np.int16)),
    ],
)
def test_what_is_not_clear_is_not_guessed(name, voxels):
    guess = guess_modality(voxels)
    assert guess.modality == "" and guess.reason
    with pytest.raises(InputError, match=r"does not tell its modality, and its intensities do not either \(.*; give --modality CT or MR\.$"):
        taken_as(Volume(voxels), "auto")


def test_the_note_of_a_guess_says_what_it_rests_on():
    modality, notes = taken_as(Volume(ct_body()), "auto")
    assert modality == "CT" and "air near -1000 HU" in notes[0]
    assert taken_as(Volume(ct_body(), modality="MR"), "auto") == ("MR", [])


@pytest.mark.parametrize("asked", [{"modality": "MR"}, {}])
def test_a_modality_that_the_intensities_contradict_is_told(asked, models):
    """Whether a user or the file says it; once, and only where they leave no doubt."""
    scan = Volume(ct_body(), modality="MR")
    told = [line for line in upscale(scan, 2, axes="in-plane", method="two-stage-residual", ensemble="none", **asked).report["warnings"] if "look like" in line]
    assert len(told) == 1 and told[0].startswith("The scan was taken as MR, and its intensities look like CT (")
    for voxels, modality in ((ct_body(), "CT"), (ct_body()[:, 14:20, 17:25], "MR")):
        report = upscale(Volume(voxels), 2, axes="in-plane", method="two-stage-residual", ensemble="none", modality=modality).report
        assert not any("look like" in line for line in report["warnings"])


@pytest.mark.parametrize("word", ["PT", "NM", "RTDOSE", "US", "XA", "OT"])
def test_other_modalities_are_told_and_only_interpolated(word, models):
    scan = Volume(mr_head(), modality=word)
    with pytest.raises(InputError, match=f"The file says {word}, and the networks are for CT and MR; use --method lanczos, or give --modality"):
        upscale(scan, 2)
    report = upscale(scan, 2, method="lanczos").report
    assert report["modality"] == word and report["warnings"] == []
    plan, notes = plan_for(scan, 2, modality="MR")
    assert plan.modality == "MR" and notes == [f"The file says {word}; taken as MR because that was asked for."]


def test_an_interpolation_asks_for_no_modality():
    report = upscale(Volume(RNG.integers(-1000, 1000, (6, 8, 8)).astype(np.int16)), 2, method="linear").report
    assert report["modality"] == "unknown" and report["warnings"] == []


def test_info_tells_of_another_modality(tmp_path, capsys, monkeypatch):
    from superres3d.cli import info
    from superres3d.scan import images

    monkeypatch.setattr(images, "read_volume", lambda path, **chosen: Volume(mr_head(), modality="PT"))
    info.info(tmp_path, as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert (content["modality"], content["modality_from"]) == ("PT", "the file")
    assert all("The file says PT" in row["refused"] for row in content["upscaling"]) and content["upscaling"]
