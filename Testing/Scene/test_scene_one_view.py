"""Two volumes in one view: what Slicer's own sampling gives, put together as the panel would show it."""

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="needs the PyPI package slicer-core (real MRML)")
import slicer  # noqa: E402
import slicer.util  # noqa: E402
import vtk  # noqa: E402
from SuperResolution3DLib import composing  # noqa: E402
from SuperResolution3DLib.choices import CompareMode, Orientation  # noqa: E402
from SuperResolution3DLib.comparison_layouts import better_stacked, is_ours, layout_number  # noqa: E402
from SuperResolution3DLib.one_view import LENS_PIXELS, LENS_ZOOM, OneView, Pane  # noqa: E402
from SuperResolution3DLib.slice_canvas import insert_above_image  # noqa: E402

WIDTH, HEIGHT = 240, 200


class Canvas:
    """Keeps what was drawn."""

    picture, text, closed = None, "", False

    def draw(self, picture):
        self.picture = picture

    def say(self, text):
        self.text = text

    def close(self):
        self.closed = True


@pytest.fixture
def grey(scene):
    colours = slicer.vtkMRMLColorTableNode()
    colours.SetTypeToGrey()
    return scene.AddNode(colours)


@pytest.fixture
def make_plane(scene, grey):
    """Makes a volume of one value a voxel, its display from 0 to 200; ``step`` mm wide voxels from 0 on."""

    def make(name, voxels, step):
        node = slicer.util.addVolumeFromArray(np.asarray(voxels, "int16")[None], name=name)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.array([[step, 0, 0, step / 2], [0, step, 0, step / 2], [0, 0, 1, 0], [0, 0, 0, 1.0]])))
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(grey.GetID())
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(200, 100)
        display.SetInterpolate(False)
        return node

    return make


@pytest.fixture
def shown(scene, make_plane):
    """A coarse and a fine volume over the same 24 x 20 mm, in a view of ten pixels a millimetre; returns (view, slice node, canvas, composite)."""
    coarse = np.add.outer(np.arange(10) * 10, np.arange(12))  # 2 mm
    fine = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1) + 20
    node = slicer.vtkMRMLSliceNode()
    node.SetLayoutName("X")
    scene.AddNode(node)
    node.SetDimensions(WIDTH, HEIGHT, 1)
    node.SetFieldOfView(WIDTH / 10, HEIGHT / 10, 1)
    placed = np.eye(4)
    placed[:2, 3] = WIDTH / 20, HEIGHT / 20
    node.GetSliceToRAS().DeepCopy(slicer.util.vtkMatrixFromArray(placed))
    node.UpdateMatrices()
    composite = scene.AddNode(slicer.vtkMRMLSliceCompositeNode())
    canvas = Canvas()
    view = OneView(scene, node, composite, Pane(make_plane("coarse", coarse, 2.0), "Coarse"), Pane(make_plane("fine", fine, 1.0), "Fine\nwarned"), canvas)
    yield view, node, canvas, composite
    view.close()
    assert canvas.closed and composite.GetForegroundVolumeID() is None


def grey_of(value):
    """What the display makes of an intensity: window 200 around 100."""
    return 255 * np.clip(np.asarray(value) / 200, 0, 1)


def coarse_at(column, row):
    """The coarse volume under a pixel: ten pixels a millimetre, 2 mm a voxel."""
    return 10 * (row // 20) + column // 20


def test_halves(shown):
    view, _node, canvas, composite = shown
    view.choose(CompareMode.SWIPE, 0.25)
    rows, columns = np.indices((HEIGHT, WIDTH))
    expected = grey_of(coarse_at(columns, rows) + np.where(columns < 60, 0, 20))
    away = np.abs(columns - 60) > 1
    np.testing.assert_allclose(canvas.picture[..., 1][away], expected[away], atol=1.5)
    assert (canvas.picture[:, 60] == (255, 200, 0)).all()
    assert composite.GetForegroundOpacity() == 0
    assert canvas.text == "left: Coarse   right: Fine\nwarned"


def test_flip_turns_the_halves(shown):
    view, _node, canvas, _composite = shown
    view.choose(CompareMode.SWIPE, 0.25)
    view.flip()
    assert canvas.picture[5, 30, 0] == pytest.approx(grey_of(coarse_at(30, 5) + 20), abs=1.5)
    assert canvas.picture[5, 200, 0] == pytest.approx(grey_of(coarse_at(200, 5)), abs=1.5)


def test_difference_is_in_intensities_and_says_its_window(shown):
    view, _node, canvas, _composite = shown
    view.choose(CompareMode.DIFFERENCE, 0.4)  # half of the display's window times 0.4: 40
    assert view.half_window == pytest.approx(40)
    np.testing.assert_allclose(canvas.picture, 127.5 + 127.5 * 20 / 40, atol=1)
    assert canvas.text == "Fine minus Coarse: black -40, grey 0, white +40"
    view.flip()
    np.testing.assert_allclose(canvas.picture, 127.5 - 127.5 * 20 / 40, atol=1)
    view.choose(CompareMode.DIFFERENCE, 0.0)
    assert view.half_window == pytest.approx(1) and (canvas.picture == 0).all()


def test_magnifier_shows_both_at_the_same_place(shown):
    view, _node, canvas, _composite = shown
    view.choose(CompareMode.MAGNIFIER)
    column, row = 118, 8
    view.point(column, row)
    bottom, left = min(row + 12, HEIGHT - LENS_PIXELS), 0  # two squares are wider than the view
    square = canvas.picture[bottom : bottom + LENS_PIXELS, left : left + LENS_PIXELS]
    middle, away = LENS_PIXELS // 2, 60  # pixels of the lens
    for across, up in ((-away, 0), (away, 0), (0, away)):
        seen = square[middle + up, middle + across, 0]
        at = coarse_at(column + 0.5 + across / LENS_ZOOM, row + 0.5 + up / LENS_ZOOM)
        assert seen == pytest.approx(grey_of(at), abs=1.5), (across, up)
    second = canvas.picture[bottom + middle, left + LENS_PIXELS + 20, 0]
    assert second == pytest.approx(grey_of(coarse_at(column + 0.5 + (20 - middle) / LENS_ZOOM, row + 0.5) + 20), abs=1.5)


def test_the_picture_follows_view_and_window(shown):
    view, node, canvas, _composite = shown
    view.choose(CompareMode.SWIPE, 1.0)
    before = canvas.picture.copy()
    node.SetXYZOrigin(2.0, 0, 0)  # one coarse voxel to the right
    assert canvas.picture[5, 30, 0] == pytest.approx(grey_of(coarse_at(50, 5)), abs=1.5)
    slicer.util.getNode("coarse").GetDisplayNode().SetWindowLevel(100, 50)
    assert canvas.picture[150, 30, 0] > before[150, 30, 0]


def test_the_magnifier_stays_inside():
    under = np.zeros((100, 120, 3), np.uint8)
    squares = [np.full((21, 21, 3), value, np.uint8) for value in (50, 90)]
    for column, row in ((0, 0), (119, 99), (60, 95), (119, 0)):
        picture = composing.magnifier(under, *squares, column, row)
        assert (picture == 50).any() and (picture == 90).any()
        lit = np.argwhere(picture.any(axis=2))
        assert (lit.max(axis=0) - lit.min(axis=0) == (20, 41)).all()


@pytest.mark.parametrize(
    "orientation, extent, room, stacked",
    [
        (Orientation.AXIAL, (300, 300, 60), (1200, 800), False),
        (Orientation.CORONAL, (300, 300, 60), (1200, 800), True),
        (Orientation.SAGITTAL, (300, 240, 60), (1200, 800), True),
        (Orientation.CORONAL, (100, 100, 400), (1200, 800), False),
        (Orientation.AXIAL, (300, 300, 60), (500, 1600), True),
        (Orientation.CORONAL, (300, 300, 0), (1200, 800), False),
    ],
)
def test_direction_of_the_panes(orientation, extent, room, stacked):
    bounds = [value for length in extent for value in (-length / 2, length / 2)]
    assert better_stacked(3, orientation, bounds, room) is stacked


def test_each_layout_has_its_own_number():
    numbers = [layout_number(count, orientation, stacked) for count in (1, 2, 3) for orientation in Orientation for stacked in (False, True)]
    assert len(set(numbers)) == 18 and all(map(is_ours, numbers)) and not is_ours(3)


def test_a_picture_lies_under_words_and_crosshair():
    """In a renderer as Slicer's slice view has it: the image first, then what is written and drawn on it."""
    renderer = vtk.vtkRenderer()
    image, words, crosshair, picture = vtk.vtkActor2D(), vtk.vtkCornerAnnotation(), vtk.vtkActor2D(), vtk.vtkActor2D()
    for actor in (image, picture):
        actor.SetMapper(vtk.vtkImageMapper())
    crosshair.SetMapper(vtk.vtkPolyDataMapper2D())
    for actor in (image, words, crosshair):
        renderer.AddViewProp(actor)
    insert_above_image(renderer, picture)
    props = renderer.GetViewProps()
    assert [props.GetItemAsObject(index) for index in range(props.GetNumberOfItems())] == [image, picture, words, crosshair]
