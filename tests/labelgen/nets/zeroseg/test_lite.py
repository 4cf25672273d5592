"""The training-free stand-in: clusters, the tile that speaks for a segment, similarities by hand."""

import numpy as np
import pytest

from labelgen.errors import ShapeError
from labelgen.nets.zeroseg.lite import cluster, nearest_tiles, tile_shares, zeroseg_lite
from labelgen.nets.zeroseg.tiles import tile_boxes


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(count, each, *, spread=0.02, seed=0):
    """Rows about `count` orthogonal directions, mixed up; with the direction of each."""
    draw = rng(seed)
    owners = draw.permutation(np.repeat(np.arange(count), each))
    rows = np.eye(count + 2)[owners] + spread * draw.normal(size=(len(owners), count + 2))
    return (rows * draw.uniform(0.5, 2, (len(owners), 1))).astype(np.float32), owners


@pytest.mark.parametrize("seed", range(5))
def test_clear_clusters_are_found_whatever_the_first_centres(seed):
    rows, owners = blobs(4, 30)
    labels = cluster(rows, 4, rng=rng(seed))
    assert labels[0] == 0 and len(set(zip(labels, owners, strict=True))) == 4


def test_clusters_are_numbered_by_their_first_row_and_depend_on_the_generator_alone():
    rows, _ = blobs(5, 20, spread=0.5)
    labels = cluster(rows, 4, rng=rng(1))
    assert (labels == cluster(rows, 4, rng=rng(1))).all()
    assert [int(np.flatnonzero(labels == k)[0]) for k in range(4)] == sorted(
        int(np.flatnonzero(labels == k)[0]) for k in range(4)
    )


def test_clusters_are_where_no_row_would_rather_be_elsewhere():
    rows, _ = blobs(5, 20, spread=0.5)
    labels = cluster(rows, 4, rng=rng())
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centres = np.stack([unit[labels == k].mean(axis=0) for k in range(4)])
    distances = ((unit[:, None] - centres) ** 2).sum(axis=-1)
    assert (distances.argmin(axis=1) == labels).all()


@pytest.mark.parametrize("rows", [np.ones((6, 3)), np.zeros((6, 3)), np.eye(3)[[0, 0, 1, 1, 0, 1]]])
def test_fewer_different_rows_than_clusters(rows):
    labels = cluster(rows.astype(np.float32), 8, rng=rng())
    assert labels.max() + 1 == len(np.unique(rows, axis=0))


def test_shares_of_tiles_count_token_centres():
    masks = np.zeros((2, 2, 4), bool)
    masks[0, 0] = True  # the upper row
    masks[1, 1, :1] = True  # one token, lower left
    boxes = tile_boxes((2, 2), (2,)) / 2
    assert tile_shares(masks, boxes).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 1, 0]]


def test_tiles_of_one_scale_share_out_a_segment_whatever_the_size():
    masks = rng().random((3, 13, 7)) < 0.5
    boxes = tile_boxes((101, 57), (2, 3, 4)) / np.array([101, 57, 101, 57])
    shares = tile_shares(masks, boxes)
    for part in (shares[:, :4], shares[:, 4:13], shares[:, 13:]):
        assert np.allclose(part.sum(axis=1), 1)


def test_a_tile_without_the_segment_does_not_speak_for_it():
    vectors = np.array([[1.0, 0.0]], np.float32)
    tiles = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
    assert nearest_tiles(vectors, tiles, np.array([[0.5, 0.5, 0.5]])) == [0]
    assert nearest_tiles(vectors, tiles, np.array([[0.09, 0.5, 0.5]])) == [1]
    assert nearest_tiles(vectors, tiles, np.array([[0.0, 0.0, 0.0]])) == [0]


def scene():
    """Left half one thing, right half another; two tiles, two prompts."""
    tokens = np.zeros((2, 4, 3), np.float32)
    tokens[:, :2, 0], tokens[:, 2:, 1] = 1, 1
    dense = np.zeros((1, 2, 2), np.float32)
    dense[0, 0], dense[0, 1] = (3, 4), (0, 2)  # unit: (0.6, 0.8) and (0, 1)
    tiles = np.array([[1, 0], [0, 1]], np.float32)
    boxes = np.array([[0, 0, 1, 0.5], [0, 0.5, 1, 1]])
    return tokens, dense, tiles, boxes, np.eye(2, dtype=np.float32)


def test_similarities_by_hand():
    tokens, dense, tiles, boxes, prototypes = scene()
    dense = np.repeat(dense, 4, axis=1)[:, 1:7]  # on a finer grid, so that the halves do not mix
    dense = np.concatenate([np.repeat(dense[:, :1], 4, axis=1), np.repeat(dense[:, -1:], 4, axis=1)], axis=1)
    found = zeroseg_lite(tokens, dense, tiles, boxes, prototypes, rng=rng(), segments=2)
    assert found.shape == (2, 2, 4) and found.dtype == np.float32
    # left: the tile (1, 0) holds all of it; means of (1, 0) and (0.6, 0.8); right: of (0, 1) and (0, 1)
    assert np.allclose(found[:, 0, 0], [0.8, 0.4], atol=1e-6)
    assert np.allclose(found[:, 1, 3], [0.0, 1.0], atol=1e-6)
    assert (found[:, :, :2] == found[:, :1, :1]).all(), "a segment has one score"


def test_prompts_may_come_in_any_order():
    tokens, dense, tiles, boxes, prototypes = scene()
    one = zeroseg_lite(tokens, dense, tiles, boxes, prototypes, rng=rng(), segments=2)
    other = zeroseg_lite(tokens, dense, tiles, boxes, prototypes[::-1].copy(), rng=rng(), segments=2)
    assert (one == other[::-1]).all()


def test_tiles_and_boxes_must_agree():
    tokens, dense, tiles, boxes, prototypes = scene()
    with pytest.raises(ShapeError, match="one box for each tile"):
        zeroseg_lite(tokens, dense, tiles, boxes[:1], prototypes, rng=rng())
