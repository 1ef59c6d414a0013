"""A part of a scan: the whole result's crop, to the voxel, in its place; SimpleITK says where."""

import shutil
import subprocess
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk
from superres3d import Volume, read_volume, upscale, upscale_labels, write_volume
from superres3d.cli import app
from superres3d.errors import InputError
from superres3d.plan import plan_upscaling
from superres3d.scan.dicom.write import write_dicom_series
from superres3d.scan.region import asked_region, checked_spans, cut_out
from superres3d.scan.writing import to_image
from typer.testing import CliRunner

from . import dicom_scans
from .conftest import smooth_noise

REGION = ((3, 9), (4, 21), (7, 19))  # k, j, i; no two alike


@pytest.fixture
def oblique() -> Volume:
    """Large enough that the networks' halo ends inside."""
    angle, tilt = np.radians([20, -11])
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    tilted = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    voxels = np.rint(smooth_noise((14, 44, 46)) * 900).astype(np.int16)
    return Volume(voxels, (0.8, 0.9, 3.0), (-40.5, 12.25, 7.0), turned @ tilted, "MR")


def cropped_by_itk(whole: Volume, part: Volume) -> sitk.Image:
    """The whole result cut where the part's first voxel lies, by SimpleITK alone."""
    image = to_image(whole)
    first = image.TransformPhysicalPointToContinuousIndex(part.origin)
    index = [round(place) for place in first]
    assert np.abs(np.subtract(first, index)).max() < 1e-4  # files of NIfTI hold places in single precision
    return sitk.RegionOfInterest(image, part.voxels.shape[::-1], index)


WAYS = [
    {"method": "two-stage-residual", "scale": 2},
    {"method": "georgescu2020", "scale": (2, 4), "ensemble": "4"},
    {"method": "two-stage-residual", "scale": 4, "axes": "in-plane"},
    {"method": "two-stage-residual", "scale": (1, 4), "slice_axis": "j"},
    {"method": "two-stage-residual", "slice_spacing": 1.0},
    {"method": "two-stage-residual", "spacing": 0.7},
    {"method": "two-stage-residual", "scale": 2, "consistency": 2},
    {"method": "lanczos", "scale": 4},
    {"method": "cubic", "spacing": (0.5, 0.6, 1.1)},
    {"method": "nearest", "scale": 2},
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_it_is_the_crop_of_the_whole_result(models, oblique, way):
    way = {"ensemble": "none", "precision": "single", **way}
    whole, part = upscale(oblique, **way).volume, upscale(oblique, region=REGION, **way)
    expected, found = cropped_by_itk(whole, part.volume), to_image(part.volume)
    assert found.GetSize() == expected.GetSize() and part.report["output"]["shape_ijk"] == list(found.GetSize())
    for name in ("GetOrigin", "GetSpacing", "GetDirection"):
        np.testing.assert_allclose(getattr(found, name)(), getattr(expected, name)(), rtol=0, atol=1e-9)
    difference = np.abs(sitk.GetArrayFromImage(expected).astype(int) - part.volume.voxels)
    assert difference.max() <= 1 and (difference > 0).mean() < 2e-4  # a tie, where a sum was rounded in another order


def test_the_edges_of_the_part_lie_where_the_scan_was_cut(models, oblique):
    """Of the scan, by SimpleITK: the outer faces of the part's first and last voxels."""
    scan, part = to_image(cut_out(oblique, REGION)), to_image(upscale(oblique, 2, method="lanczos", region=REGION).volume)
    for corner in product((0, 1), repeat=3):
        ends = [[n * c - 0.5 for n, c in zip(image.GetSize(), corner)] for image in (scan, part)]
        np.testing.assert_allclose(*(image.TransformContinuousIndexToPhysicalPoint(end) for image, end in zip((scan, part), ends)), atol=1e-9)


def test_too_small_a_halo_would_be_seen(models, oblique, monkeypatch):
    way = {"method": "two-stage-residual", "scale": (2, 1), "ensemble": "none", "precision": "single"}
    whole = upscale(Volume(oblique.voxels.astype(np.float32), modality="MR"), **way).volume.voxels
    monkeypatch.setattr("superres3d.networks.families.Architecture.halo", (7, 7))
    part = upscale(Volume(oblique.voxels.astype(np.float32), modality="MR"), region=REGION, **way).volume.voxels
    assert np.abs(part - whole[3:9, 8:42, 14:38]).max() > 0.1


@pytest.mark.parametrize("method", ["mdcsrn", "virtual-thin-slice"])
def test_networks_on_the_volume(volume_models, method):
    modality = "MR" if method == "mdcsrn" else "CT"
    scan = Volume((smooth_noise((12, 30, 28)) * 900 - 800).astype(np.float32), (0.8, 0.8, 3.0), modality=modality)
    whole, part = (upscale(scan, method=method, ensemble="none", precision="single", **asked).volume for asked in ({}, {"region": REGION}))
    np.testing.assert_allclose(part.voxels, sitk.GetArrayFromImage(cropped_by_itk(whole, part)), atol=2e-3)


def test_what_is_measured_is_measured_on_the_whole_scan(oblique):
    """With the networks that are shipped: told of the scan, and the scale of an MR is its own."""
    bright = np.array(oblique.voxels)
    bright[:2] *= 5  # outside the region
    scan = Volume(np.tile(bright, (3, 2, 2)), oblique.spacing, modality="MR")
    way = {"scale": 2, "preset": "fast", "precision": "single"}
    whole, part = upscale(scan, **way), upscale(scan, region=REGION, **way)
    alone = upscale(cut_out(scan, REGION), **way)
    assert part.report["detail"] == whole.report["detail"] != alone.report["detail"]
    expected = sitk.GetArrayFromImage(cropped_by_itk(whole.volume, part.volume)).astype(int)
    assert np.abs(expected - part.volume.voxels).max() <= 1
    assert np.abs(expected - alone.volume.voxels).max() > 20


def box_of(scan: Volume, low, high) -> str:
    """Millimetres of a box between two (i, j, k) edges of a scan along the patient's axes, as text."""
    return "lps=" + ",".join(f"{a}:{b}" for a, b in zip(low, high))


def test_millimetres_of_the_patient(oblique):
    """On an oblique scan every voxel that the box touches, asked of SimpleITK; RAS is LPS with two signs turned."""
    low, high = (-38.0, 20.0, 14.0), (-22.0, 31.0, 33.0)
    image = to_image(oblique)
    places = np.array([image.TransformPhysicalPointToContinuousIndex(corner) for corner in product(*zip(low, high))])
    expected = [(int(np.floor(a + 0.5)), int(np.ceil(b + 0.5))) for a, b in zip(places.min(axis=0), places.max(axis=0))][::-1]
    expected = [(max(0, a), min(n, b)) for (a, b), n in zip(expected, oblique.voxels.shape)]
    found = asked_region(box_of(oblique, low, high)).voxels(oblique)
    assert [tuple(span) for span in found] == expected
    ras = "RAS=22:38,-31:-20,14:33"
    assert asked_region(ras).voxels(oblique) == found
    assert asked_region("ijk=7:19,4:21,3:9").voxels(oblique) == REGION


def test_a_box_on_the_edges_of_voxels_takes_no_more(scan):
    straight = Volume(scan.voxels, (0.7, 0.9, 3.3), (5.1, -7.3, 11.9))
    low, high = (straight.position(np.array(edge) - 0.5) for edge in ((7, 4, 3), (19, 15, 8)))
    assert asked_region(box_of(straight, low, high)).voxels(straight) == ((3, 8), (4, 15), (7, 19))


BAD = {
    "lps=500:600,0:10,0:10": r"lies outside the scan, which fills lps=-40\.9:-23\.3,11\.8:28\.0,5\.5:32\.5",
    "ijk=30:40,0:5,0:5": r"lies outside the scan, which fills ijk=0:22,0:18,0:9",
    "lps=10:10,0:10,0:10": "is empty; the second number",
    "ijk=5:3,0:10,0:10": "is empty; the second number",
    "ijk=5:6,0:10,0:5": r"holds 1 of the scan's voxels along i; .* at least 2 along each axis",
    "lps=-40:-30,12:25,10:11": r"holds 1 of the scan's voxels along k",
    "ijk=0.5:6,0:10,0:5": "counts voxels, which are whole numbers",
    "0:6,0:10,0:5": "cannot be understood; give three ranges after their frame",
    "xyz=0:6,0:10,0:5": "cannot be understood",
    "ras=0:6,0:10": "cannot be understood",
    "ras=0:6,0:10,0:5,0:5": "cannot be understood",
    "ras=0:6:7,0:10,0:5": "cannot be understood",
    "ras=0,0:10,0:5": "cannot be understood",
    "ras=nan:6,0:10,0:5": "cannot be understood",
    "": "cannot be understood",
}


@pytest.mark.parametrize("text", BAD)
def test_one_sentence_says_what_is_wrong(scan, text):
    straight = Volume(scan.voxels, scan.spacing, scan.origin, modality="MR")
    with pytest.raises(InputError, match=BAD[text]) as told:
        upscale(straight, 2, method="lanczos", region=text)
    assert str(told.value).endswith(".") and "\n" not in str(told.value)


def test_voxels_that_are_not_there(scan):
    with pytest.raises(InputError, match=r"voxels 4 to 9 along k, and the scan has 9"):
        checked_spans(((4, 10), (0, 5), (0, 5)), scan.voxels.shape)
    with pytest.raises(InputError, match=r"voxels -1 to 4 along j"):
        upscale(scan, 2, method="lanczos", region=((4, 8), (-1, 5), (0, 5)))


def test_a_part_takes_less(models):
    """Size, memory and time follow; the share of the work is that of the part and what the networks see around it."""
    whole, part, nearly = (plan_upscaling((100, 400, 400), (1, 1, 3), "int16", 2, method="two-stage-residual", region=region) for region in (None, ((40, 60), (100, 150), (200, 260)), ((0, 100), (0, 400), (0, 399))))
    assert part.result_bytes == 2 * 40 * 100 * 120 and part.made_shape == (40, 100, 120) and part.output_shape == whole.output_shape
    assert part.accumulates < 0.2 * whole.accumulates and part.seconds < whole.seconds and part.memory_bytes < whole.memory_bytes
    assert 0.99 * whole.accumulates < nearly.accumulates <= whole.accumulates


@pytest.mark.parametrize("scale", [2, (1, 4)])
def test_careful_on_a_part(oblique, scale):
    """With the networks that are shipped, the crop of the careful whole."""
    from superres3d.trust.error_map import upscale_with_doubt
    from superres3d.trust.part import upscale_part_with_doubt

    scan = Volume(np.tile(oblique.voxels, (2, 1, 1)), oblique.spacing, oblique.origin, oblique.direction, "MR")
    way = {"scale": scale, "ensemble": "4", "precision": "single"}
    region = ((10, 16), (20, 30), (15, 31))
    whole, _ = upscale_with_doubt(scan, errors=False, careful=True, **way)
    part = upscale_part_with_doubt(scan, errors=False, careful=True, region=region, **way)[0]
    expected = sitk.GetArrayFromImage(cropped_by_itk(whole.volume, part.volume)).astype(int)
    assert np.abs(expected - part.volume.voxels).max() <= 1 and part.report["careful"] and part.report["region"]["voxels_ijk"] == [[15, 31], [20, 30], [10, 16]]
    plain = upscale(scan, region=region, **way).volume.voxels.astype(int)
    assert np.abs(plain - part.volume.voxels).max() > 1
    with pytest.raises(InputError, match="needs a whole factor"):
        upscale_part_with_doubt(scan, errors=False, careful=True, spacing=0.7, region=region)


@pytest.mark.parametrize("careful", [False, True])
def test_an_error_map_of_a_part(oblique, careful):
    """Before the scan is asked, the crop of the whole map; then both rise and fall alike, for how evenly errors lie is told by the part."""
    from superres3d.trust.error_map import upscale_with_doubt
    from superres3d.trust.part import upscale_part_with_doubt

    scan = Volume(np.tile(oblique.voxels, (2, 1, 1)), oblique.spacing, oblique.origin, oblique.direction, "MR")
    way = {"scale": 2, "precision": "single", "preset": "fast", "careful": careful}
    _, errors = upscale_with_doubt(scan, **way)
    part, found = upscale_part_with_doubt(scan, region=((10, 16), (20, 30), (15, 31)), **way)
    assert found.volume.voxels.shape == part.volume.voxels.shape == (12, 20, 32) and part.report["careful"] == careful
    expected = sitk.GetArrayFromImage(cropped_by_itk(errors.volume, found.volume))
    assert np.corrcoef(expected.ravel() ** 2, found.volume.voxels.ravel() ** 2)[0, 1] > 0.99  # a line through the squares
    assert found.bound == errors.bound and part.report["error_map"]["calibrated"]
    assert all(all(0 <= n < size for n, size in zip(place.voxel_ijk, (32, 20, 12))) for place in found.places)


def test_labels_come_along(scan):
    """Away from ties the part of the whole label map, in its place."""
    k, j, i = np.indices((12, 40, 44))
    labels = Volume(((k - 6) ** 2 * 9 + (j - 20) ** 2 + (i - 20) ** 2 < 200).astype(np.uint8) * 3, (0.8, 0.9, 3.0), (1.0, 2.0, 3.0))
    for shape, window in (((24, 80, 88), ((6, 20), (20, 61), (22, 71))), ((31, 40, 61), ((8, 25), (11, 30), (14, 50)))):
        grid = labels.refined(np.zeros(shape, np.uint8), [n / m for n, m in zip(shape, labels.voxels.shape)])
        whole, part = upscale_labels(labels, grid), upscale_labels(labels, grid, window=window)
        assert (whole.voxels[tuple(slice(*span) for span in window)] != part.voxels).mean() < 1e-3
        assert to_image(part).GetOrigin() == pytest.approx(to_image(whole).TransformIndexToPhysicalPoint([start for start, _ in window[::-1]]), abs=1e-9)


def test_the_command_line(models, oblique, tmp_path):
    """Scan, Lanczos, labels and report, all of one part; files of NIfTI keep their place."""
    write_volume(oblique, tmp_path / "scan.nii.gz")
    write_volume(Volume((oblique.voxels > 500).astype(np.uint8), oblique.spacing, oblique.origin, oblique.direction), tmp_path / "labels.nii.gz")
    asked = ["upscale", str(tmp_path / "scan.nii.gz"), "--method", "two-stage-residual", "--modality", "MR", "--ensemble", "none", "--precision", "single", "--progress", "none"]
    more = ["--compare", str(tmp_path / "lanczos.nii.gz"), "--labels", str(tmp_path / "labels.nii.gz"), "--labels-out", str(tmp_path / "fine.nii.gz"), "--report", str(tmp_path / "r.html")]
    for name, region in (("whole", []), ("part", ["--region", "ijk=7:19,4:21,3:9", *more])):
        done = CliRunner().invoke(app, [*asked[:2], str(tmp_path / f"{name}.nii.gz"), *asked[2:], *region])
        assert done.exit_code == 0, done.output
    whole, part = read_volume(tmp_path / "whole.nii.gz"), read_volume(tmp_path / "part.nii.gz")
    np.testing.assert_allclose(part.voxels, sitk.GetArrayFromImage(cropped_by_itk(whole, part)), atol=1)
    for other in ("lanczos", "fine"):
        image = sitk.ReadImage(str(tmp_path / f"{other}.nii.gz"))
        assert image.GetSize() == (24, 34, 12) and image.GetOrigin() == pytest.approx(part.origin, abs=1e-4)
    assert "data:image/png" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy of Debian's dicom3tools is not installed")
@pytest.mark.parametrize("kind", ["ct", "mr"])
def test_a_part_as_a_derived_series(tmp_path, kind):
    """Valid, and where the whole series has it."""
    write_dicom_series(dicom_scans.classic(dicom_scans.ct_image() if kind == "ct" else dicom_scans.mr_image()), tmp_path / "in", {})
    for name, region in (("whole", []), ("part", ["--region", "ijk=5:17,3:15,1:5"])):
        done = CliRunner().invoke(app, ["upscale", str(tmp_path / "in"), str(tmp_path / name), "--method", "cubic", "--scale", "2", "--progress", "none", *region])
        assert done.exit_code == 0, done.output
    whole, part = read_volume(tmp_path / "whole"), read_volume(tmp_path / "part")
    np.testing.assert_array_equal(part.voxels, sitk.GetArrayFromImage(cropped_by_itk(whole, part)))
    told = subprocess.run(["dciodvfy", tmp_path / "part" / "IM0001.dcm"], capture_output=True, text=True).stderr
    assert "Image" in told and "Error" not in told, told


@pytest.mark.parametrize("more, told", [(["--region", "5"], "cannot be understood")])
def test_the_command_line_refuses_before_it_reads(tmp_path, more, told):
    done = CliRunner().invoke(app, ["upscale", str(tmp_path / "none.nii"), str(tmp_path / "out.nii"), "--region", "ijk=0:5,0:5,0:5", "--progress", "json", *more])
    assert done.exit_code != 0 and told in done.output and not (tmp_path / "out.nii").exists()
