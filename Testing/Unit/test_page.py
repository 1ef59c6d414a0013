"""The one-page report: planes as a radiologist looks at them, and a page that needs nothing else and promises nothing."""

import base64
import io
import itertools
import json
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from superres3d import read_volume, upscale
from superres3d.page.pictures import views_of
from superres3d.page.planes import PLANES, centre_of, lanczos_plane, plane_of
from superres3d.page.write import render
from superres3d.scan.volume import Volume
from superres3d.scan.writing import write_volume

from .conftest import smooth_noise

#: how ITK names a volume whose arrays are, as they lie, what a radiologist sees: rows and columns of the last two axes
SEEN = {"axial": "LPS", "coronal": "LIP", "sagittal": "PIL"}


def by_itk(volume: Volume, plane: str, place: np.ndarray) -> np.ndarray:
    """The slice of a plane (rows, columns) that holds a place, by ITK's own filter."""
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing), image.SetOrigin(volume.origin), image.SetDirection(volume.direction.ravel())
    seen = sitk.DICOMOrient(image, SEEN[plane])
    return sitk.GetArrayFromImage(seen)[seen.TransformPhysicalPointToIndex(place.tolist())[2]]


def turned(order, signs, tilt=0.0) -> Volume:
    direction = np.eye(3)[:, list(order)] * signs
    angle = np.radians(tilt)
    tilted = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    voxels = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    return Volume(voxels, (0.7, 1.1, 3.0), (10.0, -20.0, 30.0), tilted @ direction)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_planes_lie_as_itk_turns_them(plane, order):
    """Every order and sense of the axes, straight and tilted by ten degrees."""
    for signs, tilt in itertools.product(itertools.product((1, -1), repeat=3), (0.0, 10.0)):
        volume = turned(order, signs, tilt)
        place = volume.position((2, 1, 3))
        found = plane_of(volume, plane, place)
        np.testing.assert_array_equal(found.pixels, by_itk(volume, plane, place))
        assert found.size == pytest.approx([n * np.diag(np.abs(extents(volume)))[axis] for n, axis in zip(found.pixels.shape, rows_and_columns(plane))])


def extents(volume: Volume) -> np.ndarray:
    """Spacing by the patient's axes, on the diagonal."""
    axes = [int(np.argmax(np.abs(volume.direction[patient]))) for patient in range(3)]
    return np.diag([volume.spacing[axis] for axis in axes])


def rows_and_columns(plane: str) -> tuple[int, int]:
    return PLANES[plane][0][0], PLANES[plane][1][0]


def test_the_slice_goes_through_the_place():
    volume = turned((0, 1, 2), (1, -1, 1))
    assert [plane_of(volume, plane, volume.position((2, 3, 1))).number for plane in ("sagittal", "coronal", "axial")] == [2, 3, 1]
    assert plane_of(volume, "axial", (0, 0, 9999)).number == 4


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("choices", [{"scale": 2}, {"scale": (1, 4)}, {"spacing": (0.5, 1.3, 1.0)}], ids=str)
def test_a_plane_of_lanczos_is_that_of_the_whole(scan, plane, choices):
    """Only a plane is computed; it is the same one as the method lanczos gives."""
    floats = Volume(scan.voxels.astype(np.float32), scan.spacing, scan.origin, scan.direction, "MR")
    whole = upscale(floats, method="lanczos", **choices).volume
    place = whole.position((20.0, 9.0, 3.0))
    found, expected = lanczos_plane(floats, whole, plane, place), plane_of(whole, plane, place)
    assert found.number == expected.number
    if choices.get("spacing"):  # an axis that becomes coarser is averaged by the method, and only sampled in a picture
        assert np.corrcoef(found.pixels.ravel(), expected.pixels.ravel())[0, 1] > 0.9
    else:
        np.testing.assert_allclose(found.pixels, expected.pixels, atol=0.02)


def test_the_centre_is_that_of_the_body(scan):
    body = np.zeros(scan.voxels.shape, bool)
    body[2:5, 3:10, 4:9] = True
    np.testing.assert_allclose(centre_of(scan, body), scan.position((6, 6, 3)))


@pytest.fixture
def report_and_views(scan):
    result = upscale(scan, 2, method="lanczos")
    return result.report | {"source": "/some/where/<scan>.nii.gz"}, views_of(scan, result.volume, "MR", "lanczos")


class Page(HTMLParser):
    """What a page refers to, and what it says."""

    def __init__(self, page):
        super().__init__()
        self.refers, self.words, self.tags = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.refers += [value for name, value in attributes if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_else(report_and_views):
    page = Page(render(*report_and_views))
    assert page.refers and all(name.startswith("data:image/png;base64,") for name in page.refers)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert len(page.refers) == 3 * 3 * 2
    for name in page.refers:
        assert Image.open(io.BytesIO(base64.b64decode(name.split(",")[1]))).size[0] == 260


def test_the_page_says_what_it_is(report_and_views):
    report, views = report_and_views
    text = " ".join(Page(render(report | {"warnings": ["a <b>bold</b> warning"]}, views)).words)
    assert text.index("not for diagnosis") < text.index("a <b>bold</b> warning") < text.index("Look at it")
    assert "<scan>.nii.gz" in text and "/some/where" not in text.split("Everything, as JSON")[0]
    assert "No self-check was made" in text
    assert json.loads(text[text.index("{", text.index("Everything, as JSON")) :].strip()) == report | {"warnings": ["a <b>bold</b> warning"]}


def test_the_frame_is_where_the_result_differs_most(scan):
    """A square millimetre by millimetre, not pixel by pixel: the voxels of this scan are not square."""
    result = upscale(scan, (2, 1), method="lanczos").volume
    changed = result.voxels.copy()
    changed[:, 20:26, 12:16] += 500
    views = views_of(scan, Volume(changed, result.spacing, result.origin, result.direction, "MR"), "MR", "made up")
    picture = views[0].pictures[2]
    colours = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.whole.split(",")[1])))).astype(int)
    framed = np.argwhere((colours == (255, 200, 0)).all(axis=-1))
    (top, left), (bottom, right) = framed.min(axis=0), framed.max(axis=0)
    assert abs((bottom - top) - (right - left)) <= 3
    rows, columns = colours.shape[:2]
    assert top <= 23 / 36 * rows <= bottom and left <= 14 / 44 * columns <= right


def test_a_picture_of_the_expected_error(scan):
    result = upscale(scan, 2, method="lanczos").volume
    error = Volume(smooth_noise(result.voxels.shape) * 30, result.spacing, result.origin, result.direction)
    views = views_of(scan, result, "MR", "lanczos", error)
    assert [len(view.pictures) for view in views] == [4, 4, 4]
    assert views[0].pictures[3].title.startswith("Expected error, 0 to ")


@pytest.mark.parametrize("slices", [2, 3, 6])
def test_a_scan_of_few_slices_has_pictures(slices):
    """A frame at its lower end left nothing of the scan to magnify."""
    generator = np.random.default_rng(3)
    scan = Volume(generator.normal(size=(slices, 20, 24)).astype(np.float32), (0.8, 0.8, 10.0))
    finer = np.repeat(scan.voxels, 10, axis=0)
    for height in (0, 5 * slices, 10 * slices - 1):
        drawn = finer.copy()
        drawn[max(0, height - 3) : height + 3] += 50
        views = views_of(scan, scan.refined(drawn, (10, 1, 1)), "CT", "x")
        assert [len(view.pictures) for view in views] == [3, 3, 3]


def test_pictures_that_fail_cost_no_result(scan, tmp_path, monkeypatch):
    from superres3d.cli import app
    from superres3d.page import pictures
    from typer.testing import CliRunner

    monkeypatch.setattr(pictures, "views_of", lambda *_: 1 / 0)
    write_volume(scan, tmp_path / "scan.nrrd")
    told = CliRunner().invoke(app, ["upscale", str(tmp_path / "scan.nrrd"), str(tmp_path / "result.nrrd"), "--method", "cubic", "--report", str(tmp_path / "page.html"), "--source-name", "Head of nobody"])
    assert told.exit_code == 0, told.output
    assert (tmp_path / "result.nrrd").exists()
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "The report has no pictures (ZeroDivisionError" in page and "Head of nobody" in page and "scan.nrrd" not in page


def test_the_command_writes_it(tmp_path, scan):
    write_volume(scan, tmp_path / "in.nrrd")
    command = [sys.executable, "-m", "superres3d.cli", "upscale", "in.nrrd", "out.nrrd", "--method", "cubic", "--modality", "MR", "--report", "page.HTML"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = " ".join(Page((tmp_path / "page.HTML").read_text(encoding="utf-8")).words)
    assert "in.nrrd" in text and "cubic" in text
    assert read_volume(tmp_path / "out.nrrd").voxels.shape == (18, 36, 44)
