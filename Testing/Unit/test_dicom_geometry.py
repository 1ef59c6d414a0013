"""Where slices lie: even, uneven, missing, shifted, tilted; closed formulas say what is right."""

from __future__ import annotations

import numpy as np
import pytest
from superres3d import read_volume
from superres3d.errors import InputError
from superres3d.scan.dicom.regrid import evened, untilted

from .dicom_files import stored, write_series


@pytest.mark.parametrize(
    "places, sentence",
    [
        ([0, 2, 4, 8, 10], r"lacks 1 slice: the steps reach 4\.00 mm where 2\.00 mm is usual"),
        ([0, 2, 4, 10, 12], "lacks 2 slices"),
        ([0, 2, 4, 4, 6], "several slices at one position"),
        ([0, 2.5, 5, 7.5, 10, 20, 30, 40, 50, 60, 70, 80], r"uneven slice steps \(2\.50 to 10\.00 mm\)"),
        ([0, 2.5, 5, 7.5, 10, 12.5, 15, 17.5, 20, 25, 30, 35], r"uneven slice steps \(2\.50 to 5\.00 mm\)"),
        ([0, 4, 5.08, 12, 19], r"uneven slice steps \(1\.08 to 7\.00 mm\)"),
        ([0], "single slice"),
    ],
)
def test_places_that_make_no_volume(tmp_path, places, sentence):
    with pytest.raises(InputError, match=sentence):
        read_volume(write_series(tmp_path / "a", stored(len(places)), places))


def test_two_missing_by_their_numbers(tmp_path):
    """Every other slice from the middle on, with its number: not thick slices, but missing ones."""

    def number(header, k):
        header.InstanceNumber = (1, 2, 3, 5, 7, 9)[k]

    with pytest.raises(InputError, match="lacks 3 slices"):
        read_volume(write_series(tmp_path / "a", stored(), [0, 2, 4, 8, 12, 16], change=number))


def test_thick_slices_beside_thin_ones_are_resampled(tmp_path):
    places = np.array([0, 2.5, 5, 7.5, 12.5, 17.5])

    def thick(header, k):
        header.SliceThickness = 2.5 if k < 4 else 5

    voxels = (100 * places[:, None, None] + np.arange(14)[:, None] * 3 + np.arange(12)).astype(np.int16)  # linear along k: exact
    volume = read_volume(write_series(tmp_path / "a", voxels, places, change=thick))
    assert volume.spacing == (0.8, 0.7, 2.5) and volume.voxels.shape == (8, 14, 12)
    np.testing.assert_array_equal(volume.voxels[:, 3, 2], 250 * np.arange(8) + 11)
    assert volume.notes[0] == "The slices lie 2.50 to 5.00 mm apart; they were resampled (linear) to 8 slices 2.5 mm apart."


def test_thick_slices_that_are_too_thick(tmp_path):
    """More than twice the smallest step: refused, though the header tells of thick slices."""

    def thick(header, k):
        header.SliceThickness = 2 if k < 2 else 5

    with pytest.raises(InputError, match=r"uneven slice steps \(2\.00 to 5\.00 mm\)"):
        read_volume(write_series(tmp_path / "a", stored(5), [0, 2, 4, 9, 14], change=thick))


def test_steps_of_no_pattern_are_resampled(tmp_path):
    places = np.array([0, 2, 4, 6.5, 8])
    voxels = stored(5)
    volume = read_volume(write_series(tmp_path / "a", voxels, places))
    grid = np.linspace(0, 8, len(volume.voxels))
    expected = [[np.interp(grid, places, voxels[:, j, i]) for i in range(12)] for j in range(14)]
    np.testing.assert_allclose(volume.voxels, np.moveaxis(expected, 2, 0), atol=0.5 + 1e-9)
    np.testing.assert_allclose(volume.position((0, 0, len(grid) - 1)), (-11, -25, 68))


def test_places_that_were_rounded(tmp_path):
    """0.625 mm written with one decimal: as many slices as before, on the even grid."""
    places = [round(0.625 * k, 1) for k in range(12)]
    volume = read_volume(write_series(tmp_path / "a", stored(12), places))
    assert volume.voxels.shape == (12, 14, 12) and volume.spacing[2] == pytest.approx(6.9 / 11)
    np.testing.assert_array_equal(volume.voxels[[0, -1]], stored(12)[[0, -1]])


@pytest.mark.parametrize("jitter, resampled", [(0.02, False), (0.04, False), (0.07, True)])
def test_tolerance_of_the_steps(tmp_path, jitter, resampled):
    places = 2.0 * np.arange(6)
    places[2] += 2.0 * jitter
    voxels = stored()
    volume = read_volume(write_series(tmp_path / "a", voxels, places))
    assert any("resampled" in note for note in volume.notes) == resampled
    if not resampled:
        np.testing.assert_array_equal(volume.voxels, voxels)


def test_micrometres(tmp_path):
    """Slices half a micrometre apart, and one missing among them."""

    def pixels(header, k):
        header.PixelSpacing, header.SliceThickness = ["0.0005", "0.0005"], "0.0005"
        header.ImagePositionPatient = [0, 0, f"{0.0005 * places[k]:.6f}"]

    places = list(range(6))
    volume = read_volume(write_series(tmp_path / "a", stored(), change=pixels))
    np.testing.assert_allclose(volume.spacing, 0.0005)
    places[4:] = [5, 6]
    with pytest.raises(InputError, match="lacks 1 slice"):
        read_volume(write_series(tmp_path / "b", stored(), change=pixels))


@pytest.mark.parametrize("shift", [(8, 0), (0, 8), (0.2, 0), (0, -0.2)])
def test_slices_shifted_sideways(tmp_path, shift):
    def sideways(k):
        return shift if 2 <= k <= 3 else (0, 0)

    with pytest.raises(InputError, match="do not lie above each other"):
        read_volume(write_series(tmp_path / "a", stored(), shift=sideways))


def test_a_tilt_within_tolerance_is_made_exact(tmp_path):
    """Less than a tenth of a pixel over the whole stack."""
    voxels = stored()
    volume = read_volume(write_series(tmp_path / "a", voxels, shift=lambda k: (0, 0.012 * k)))
    np.testing.assert_array_equal(volume.voxels, voxels)
    assert volume.notes == () and volume.origin == (-11, -25, 60)
    assert any("tilted" in note for note in read_volume(write_series(tmp_path / "b", voxels, shift=lambda k: (0, 0.016 * k))).notes)


@pytest.mark.parametrize("axes", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
@pytest.mark.parametrize("sign", [1, -1])
def test_gantry_tilt(tmp_path, axes, sign):
    """A phantom that is quadratic in space: cubic convolution reproduces it exactly, so each voxel tells where it lies."""
    row, column = np.array(axes[:3], float), np.array(axes[3:], float)
    normal = np.cross(row, column)
    shift = sign * 2.5 * np.tan(np.radians(12))

    def phantom(points):
        across, down, along = np.moveaxis((points - [-11, -25, 60]) @ np.column_stack([row, column, normal]), -1, 0)
        return 20 * down**2 + 30 * across + 10 * along + 5 * down

    k, j, i = np.indices((6, 30, 12))
    points = np.array([-11, -25, 60]) + i[..., None] * 0.8 * row + (j * 0.7 + k * shift)[..., None] * column + k[..., None] * 2.5 * normal
    voxels = np.rint(phantom(points)).astype(np.int16)
    volume = read_volume(write_series(tmp_path / "a", voxels, axes=axes, shift=lambda k: (0, k * shift)))
    assert volume.spacing == (0.8, 0.7, 2.5) and volume.voxels.shape == (6, 30 + int(np.ceil(abs(5 * shift / 0.7))), 12)
    assert "tilted by 12.0 degrees" in volume.notes[0] and "4 rows larger" in volume.notes[0]
    k, j, i = np.indices(volume.voxels.shape)
    place = np.array(volume.origin) + np.stack([i, j, k], -1) * volume.spacing @ volume.direction.T
    down = (place - [-11, -25, 60]) @ column - k * shift  # within each slice as it was measured
    inside = (down > 0.7) & (down < 0.7 * 28)
    assert np.abs(volume.voxels - phantom(place))[inside].max() <= 1.5  # rounding, before and after
    outside = (down < -0.36) | (down > 0.7 * 29.5 + 0.01)
    assert outside.any() and set(volume.voxels[outside]) == {voxels.min()}


def test_tilted_and_uneven(tmp_path):
    places = np.array([0, 2, 4, 6.5, 8])
    volume = read_volume(write_series(tmp_path / "a", stored(5), places, shift=lambda k: (0.3 * places[k], 0)))
    assert "tilted by 16.7 degrees" in volume.notes[0] and "columns larger" in volume.notes[0] and "resampled (linear)" in volume.notes[1]


def test_padding_fills_what_no_slice_covers(tmp_path):
    def padded(header, k):
        header.PixelPaddingValue, header.RescaleIntercept = -400, -1000
        header["PixelPaddingValue"].VR = "SS"

    voxels = stored()
    voxels[0, 0, 0], voxels[1, 0, 0] = -400, -500
    volume = read_volume(write_series(tmp_path / "a", voxels, shift=lambda k: (0, 1.4 * k), change=padded))
    assert volume.voxels[5, 0].tolist() == [-1400] * 12 and "holds -1400" in volume.notes[0]
    np.testing.assert_array_equal(volume.voxels[5, 10:], voxels[5] - 1000)  # whole pixels: copied


def test_shift_of_a_tilt_against_scipy():
    """Linear phantoms and whole pixels by another library."""
    from scipy.ndimage import shift as scipy_shift

    voxels = np.add.outer(np.arange(4.0), np.add.outer(3 * np.arange(20.0), 2 * np.arange(10.0)))
    shifts = np.array([[0, 0], [0.5, 1.25], [1.0, 2.5], [1.5, 3.75]])
    moved, start = untilted(voxels, shifts, np.nan)
    for slice_, shift, result in zip(voxels, shifts, moved):
        padded = np.full(result.shape, np.nan)
        padded[:20, :10] = slice_
        wanted = scipy_shift(slice_, (shift - start)[::-1], order=1, mode="nearest")
        np.testing.assert_allclose(result[6:16, 4:8], wanted[6:16, 4:8])
    np.testing.assert_array_equal(start, [0, 0])


def test_even_places_are_kept_by_evening():
    voxels = stored(5)
    np.testing.assert_array_equal(evened(voxels, 2.0 * np.arange(5), 5), voxels)


def test_too_steep(tmp_path):
    with pytest.raises(InputError, match=r"a tilt of 50\.2 degrees"):
        read_volume(write_series(tmp_path / "a", stored(), shift=lambda k: (3.0 * k, 0)))


@pytest.mark.parametrize("thickness, words", [(5, "5 mm thick and 2.5 mm apart: they overlap by 2.5 mm"), (1.5, "1.5 mm thick and 2.5 mm apart: they leave gaps of 1 mm")])
def test_thickness_against_distance(tmp_path, thickness, words):
    def change(header, k):
        header.SliceThickness = thickness

    assert words in read_volume(write_series(tmp_path / "a", stored(), change=change)).notes[0]


def test_distance_that_the_header_gives(tmp_path):
    def change(header, k):
        header.SpacingBetweenSlices = 5

    volume = read_volume(write_series(tmp_path / "a", stored(), change=change))
    assert volume.spacing[2] == 2.5 and volume.notes == ("The header gives 5 mm between the slices, their positions 2.5 mm; the positions were used.",)
