"""Label maps on finer grids: borders against scipy, topology against scipy and scikit-image, known forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import euler_number
from superres3d.errors import Cancelled
from superres3d.resampling import labels as module
from superres3d.resampling.interpolation import resize, resize_axis
from superres3d.resampling.labels import refine_labels
from superres3d.resampling.topology import is_simple

SHAPES = [(1, 2, 2), (2, 1, 1), (2, 2, 2), (4, 1, 1), (1, 4, 4), (4, 2, 2), (4, 4, 4)]
EVERY = np.ones((3, 3, 3))


def times(labels: np.ndarray, factors: tuple[int, ...]) -> list[int]:
    return [n * f for n, f in zip(labels.shape, factors)]


def nearest(labels: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    for axis, factor in enumerate(factors):
        labels = np.repeat(labels, factor, axis)
    return labels


def topology(mask: np.ndarray) -> tuple[int, int, int]:
    """Pieces, pieces of what is around and inside, Euler number."""
    padded = np.pad(mask, 1)
    return ndimage.label(padded, EVERY)[1], ndimage.label(~padded)[1], euler_number(padded, connectivity=3)


def blobs(shape: tuple[int, ...], count: int, seed: int = 0) -> np.ndarray:
    """Regions with rough borders, thin bridges and specks; uint8."""
    fields = [ndimage.gaussian_filter(np.random.default_rng([seed, n]).standard_normal(shape), 1.1) for n in range(count)]
    return np.argmax(fields, axis=0).astype(np.uint8)


@pytest.fixture
def all_wanted(monkeypatch):
    """Without the restriction that keeps the topology."""

    def take(labels, wanted, background, rounds):
        labels[1:-1, 1:-1, 1:-1] = wanted[1:-1, 1:-1, 1:-1]

    monkeypatch.setattr(module, "flip_simple", take)


@pytest.mark.parametrize("seed", range(3))
def test_a_voxel_is_simple_as_scipy_counts_it(seed):
    rng = np.random.default_rng(seed)
    around = rng.random((400, 3, 3, 3)) < rng.uniform(0.2, 0.8, (400, 1, 1, 1))
    bits = (around.reshape(400, 27) << np.arange(27)).sum(axis=1).astype(np.uint32)
    within_18 = ndimage.generate_binary_structure(3, 2)
    expected = []
    for one in around:
        one[1, 1, 1] = False
        outside = ndimage.label(~one & within_18 & (np.arange(27).reshape(3, 3, 3) != 13))[0]
        faces = set(outside[ndimage.generate_binary_structure(3, 1)]) - {0}
        expected.append(ndimage.label(one, EVERY)[1] == 1 and len(faces) == 1)
    assert 40 < sum(expected) < 360
    assert is_simple(bits).tolist() == expected


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 0.7, 0.9)])
def test_depth_is_scipys_distance_cut_off(spacing):
    mask = blobs((12, 20, 24), 2) == 1
    inner, outer = (ndimage.distance_transform_edt(part, sampling=np.array(spacing) / min(spacing)) for part in (mask, ~mask))
    expected = np.clip(np.where(mask, inner - 0.5, 0.5 - outer), -module._DEPTH, module._DEPTH)
    np.testing.assert_allclose(module._depth(mask, spacing), expected, atol=1e-6)


@pytest.mark.parametrize("factors", SHAPES)
@pytest.mark.parametrize("count", [2, 5])
def test_every_label_keeps_its_topology(factors, count):
    coarse = blobs((9, 14, 13), count, seed=count)
    result = refine_labels(coarse, times(coarse, factors), (1.0, 1.0, 1.0))
    plain = nearest(coarse, factors)
    assert [topology(result == label) for label in range(1, count)] == [topology(plain == label) for label in range(1, count)]
    assert count > 2 or prod_of(factors) < 4 or (result != plain).any()


def prod_of(factors: tuple[int, ...]) -> int:
    return int(np.prod(factors))


def test_without_the_restriction_the_topology_would_change(all_wanted):
    coarse = blobs((9, 14, 13), 5, seed=5)
    result, plain = refine_labels(coarse, times(coarse, (4, 4, 4)), (1.0, 1.0, 1.0)), nearest(coarse, (4, 4, 4))
    assert [topology(result == label) for label in range(5)] != [topology(plain == label) for label in range(5)]


@pytest.mark.parametrize("factors", SHAPES)
def test_a_vessel_one_voxel_thick_stays_one_piece(factors):
    """Voxels that touch at corners alone."""
    vessel = np.zeros((12, 12, 12), np.uint8)
    steps = np.cumsum(np.random.default_rng(3).integers(0, 2, (9, 3)), axis=0)
    vessel[tuple((steps + 1).T)] = 1
    result = refine_labels(vessel, times(vessel, factors), (1.0, 1.0, 1.0))
    assert ndimage.label(vessel, EVERY)[1] == ndimage.label(result, EVERY)[1] == 1
    assert 2 * result.sum() >= vessel.sum() * prod_of(factors)


@pytest.mark.parametrize("factors", SHAPES)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.5, 0.5)])
def test_a_speck_keeps_at_least_half_of_its_voxel(factors, spacing):
    speck = np.zeros((7, 8, 9), np.int16)
    speck[3, 4, 5] = -300
    result = refine_labels(speck, times(speck, factors), spacing)
    own = result[tuple(slice(i * f, (i + 1) * f) for i, f in zip((3, 4, 5), factors))]
    assert 2 * (own == -300).sum() >= own.size
    assert result.dtype == np.int16


def kept_and_whole(coarse: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each voxel, how many of the places that lie in it have its label, and how many there are."""
    cells = [np.floor((np.arange(count) + 0.5) * n / count).astype(int) for n, count in zip(coarse.shape, result.shape)]
    sums, sizes = (result == coarse[np.ix_(*cells)]).astype(int), np.ones(result.shape, int)
    for axis, places in enumerate(cells):
        starts = np.searchsorted(places, np.arange(coarse.shape[axis]))
        sums, sizes = np.add.reduceat(sums, starts, axis), np.add.reduceat(sizes, starts, axis)
    return sums, sizes


@pytest.mark.parametrize("shape, spacing", [((12, 14, 12), (1, 1, 1)), ((7, 17, 9), (1, 1, 1)), ((24, 28, 24), (5, 1, 1)), ((8, 56, 24), (8, 2, 1)), ((9, 70, 9), (8, 0.3, 1))])
@pytest.mark.usefixtures("all_wanted")
def test_at_least_half_of_each_voxel_keeps_its_label(shape, spacing):
    """Of noise, which the depth alone would not keep: the last two."""
    for seed in range(6):
        coarse = np.random.default_rng(seed).choice(4, (6, 7, 6), p=(0.4, 0.3, 0.2, 0.1)).astype(np.uint8)
        kept, whole = kept_and_whole(coarse, refine_labels(coarse, shape, spacing))
        assert (2 * kept >= whole).all()


def test_of_equal_depths_the_voxels_own_label_stays():
    """The middle of three places lies on the border of two voxels, and counts to the second."""
    for labels in ([0, 7], [7, 0], [3, 7]):
        assert refine_labels(np.array([[labels]]), (1, 1, 3), (1, 1, 1)).ravel().tolist() == [labels[0], labels[1], labels[1]]


@pytest.mark.parametrize("factors", [(1, 2, 2), (2, 2, 2), (4, 4, 4), (4, 1, 1)])
def test_closer_to_a_ball_than_the_nearest_neighbour(factors):
    places = np.stack(np.mgrid[:48, :48, :48], -1) - 23.2
    truth = np.linalg.norm(places, axis=-1) < 17
    coarse = truth.reshape(48 // factors[0], factors[0], 48 // factors[1], factors[1], 48 // factors[2], factors[2]).mean(axis=(1, 3, 5)) > 0.5
    result = refine_labels(coarse.astype(np.uint8), truth.shape, factors)
    wrong, plainly_wrong = (result != truth).sum(), (nearest(coarse, factors) != truth).sum()
    assert wrong < 0.9 * plainly_wrong


def test_a_flat_border_stays_where_it_is():
    """Also between three labels, and at the border of the volume."""
    coarse = np.zeros((6, 8, 8), np.uint16)
    coarse[:, 3:], coarse[:, 3:, 5:] = 7, 65000
    assert (refine_labels(coarse, (6, 16, 32), (2.0, 1.0, 1.0))[:, :, ::4] == nearest(coarse, (1, 2, 1))).all()


def test_two_labels_as_lanczos_of_the_depth(all_wanted, monkeypatch):
    monkeypatch.setattr(module, "_keep_half", lambda *_: None)
    coarse = blobs((8, 12, 11), 2, seed=4)
    depth = resize(module._depth(coarse == 1, (1, 1, 1)), (2, 4, 1), "lanczos")
    clear = np.abs(depth) > 1e-5
    result = refine_labels(coarse, times(coarse, (2, 4, 1)), (1, 1, 1))
    assert (result == (depth > 0))[clear].all()


@pytest.mark.parametrize("spacing", [(1, 1, 1), (3, 1, 0.7)])
def test_many_labels_as_the_largest_of_their_depths(all_wanted, monkeypatch, spacing):
    """Over the whole volume, each label by itself; the program looks at boxes around them."""
    monkeypatch.setattr(module, "_keep_half", lambda *_: None)
    factors = (2, 4, 4)
    for seed in range(8):
        coarse = np.random.default_rng(seed).choice(7, (5, 6, 7), p=(0.5, 0.2, 0.2, 0.04, 0.03, 0.02, 0.01)).astype(np.uint8)
        names = np.unique(coarse)
        depths = np.array([resize(module._depth(coarse == name, spacing), factors, "lanczos") for name in names])
        highest, second = np.sort(depths, axis=0)[:-3:-1]
        clear = highest - second > 1e-4
        assert (refine_labels(coarse, times(coarse, factors), spacing) == names[depths.argmax(axis=0)])[clear].all()


@pytest.mark.parametrize("shape", [(18, 42, 40), (36, 42, 21), (13, 29, 20)])
@pytest.mark.usefixtures("all_wanted")
def test_blocks_are_not_seen(shape, monkeypatch):
    coarse = blobs((9, 21, 20), 7)
    whole = refine_labels(coarse, shape, (2.0, 1.0, 1.0))
    monkeypatch.setattr(module, "_BLOCK", 1)
    assert len(list(module._blocks(coarse.shape, shape))) == 18
    np.testing.assert_array_equal(refine_labels(coarse, shape, (2.0, 1.0, 1.0)), whole)


def test_the_topology_is_kept_across_blocks(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1)
    coarse = blobs((10, 21, 20), 3, seed=8)
    result, plain = refine_labels(coarse, times(coarse, (2, 2, 2)), (1, 1, 1)), nearest(coarse, (2, 2, 2))
    assert [topology(result == label) for label in (1, 2)] == [topology(plain == label) for label in (1, 2)]


@pytest.mark.usefixtures("all_wanted")
def test_mirrored_labels_give_the_mirrored_result():
    coarse = blobs((9, 10, 11), 4)
    for shape in ((18, 40, 11), (13, 27, 18)):
        result = refine_labels(coarse, shape, (2.0, 1.0, 1.0))
        mirrored = refine_labels(np.ascontiguousarray(coarse[::-1, ::-1, ::-1]), shape, (2.0, 1.0, 1.0))
        assert (mirrored[::-1, ::-1, ::-1] != result).mean() < 1e-3  # equal depths, sums in another order


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint32, np.int64])
def test_no_new_labels_whatever_the_type(dtype):
    names = np.array([0, 3, 100, np.iinfo(dtype).max, np.iinfo(dtype).min], dtype)
    coarse = names[blobs((8, 9, 10), 5)]
    given = coarse.copy()
    result = refine_labels(coarse, (11, 18, 40), (1, 1, 1))
    assert result.dtype == dtype
    assert set(np.unique(result)) == set(names)
    np.testing.assert_array_equal(coarse, given)


def test_a_label_for_every_voxel():
    coarse = (np.arange(12 * 12 * 12, dtype=np.uint32) * 99991).reshape(12, 12, 12)
    np.testing.assert_array_equal(refine_labels(coarse, (24, 24, 24), (1, 1, 1)), nearest(coarse, (2, 2, 2)))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 2), (3, 1, 40)])
@pytest.mark.parametrize("value", [0, 9])
def test_one_label_is_everywhere(shape, value):
    assert (refine_labels(np.full(shape, value, np.uint8), [4 * n for n in shape], (1, 1, 1)) == value).all()


def test_nothing_to_refine():
    coarse = blobs((8, 9, 10), 4)
    np.testing.assert_array_equal(refine_labels(coarse, coarse.shape, (3.0, 1.0, 1.0)), coarse)


def test_whole_and_other_factors_agree_on_places():
    """An axis of 1.5 times as many voxels: each voxel of the result lies in the right one."""
    coarse = np.repeat(np.arange(6, dtype=np.uint8), 2)[None, None].repeat(8, 0).repeat(8, 1)
    assert refine_labels(coarse, (8, 8, 18), (1, 1, 1))[4, 4].tolist() == np.repeat(range(6), 3).tolist()
    assert resize_axis(coarse[0, 0].astype(float), 0, 1).tolist() == coarse[0, 0].tolist()


def test_progress_and_an_end_in_between(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", 1)
    told: list[float] = []
    refine_labels(blobs((16, 16, 16), 3), (32, 32, 32), (1, 1, 1), told.append)
    assert told == [n / 8 for n in range(1, 9)]

    def stop(share: float) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        refine_labels(blobs((16, 16, 16), 3), (32, 32, 32), (1, 1, 1), stop)
