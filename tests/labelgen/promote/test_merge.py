"""Kernels of promotion, and tags read off scribbles, on maps that can be checked by eye."""

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, harden, one_hot, write_mask
from labelgen.promote.merge import agreement, contradicted, empty_mask, keep_classes, keep_sure, merge_labels
from labelgen.promote.tags import TaggedByScribbles, tags_of
from labelgen.store import MaskFolder
from labelgen.strokes import Stroke
from labelgen.vocab import Vocabulary

TOY = Vocabulary("toy", ("ground", "cat", "dog"), background=0)
SCRIBBLES = np.array([[255, 1, 255, 255], [255, 1, 0, 255]], np.uint8)
PSEUDO = np.array([[2, 2, 0, 255], [1, 1, 1, 0]], np.uint8)


def test_scribbles_win_and_pseudo_labels_fill_the_rest():
    merged = merge_labels(SCRIBBLES, one_hot(PSEUDO))
    np.testing.assert_array_equal(harden(merged), [[2, 1, 0, 255], [1, 1, 0, 0]])
    assert merged.class_ids == (0, 1, 2)


def test_a_scribble_wins_against_any_score():
    scores = np.array([[[7.0, 0.5]], [[3.0, 0.0]]], np.float32)
    merged = merge_labels(np.array([[2, 255]], np.uint8), SoftMask(scores, (0, 1)))
    assert merged.class_ids == (0, 1, 2)
    np.testing.assert_array_equal(merged.scores[:, 0], [[0.0, 0.5], [0.0, 0.0], [7.0, 0.0]])


def test_without_pseudo_labels_or_without_scribbles_the_other_remains():
    np.testing.assert_array_equal(harden(merge_labels(SCRIBBLES, empty_mask(SCRIBBLES.shape))), SCRIBBLES)
    nothing = np.full(PSEUDO.shape, 255, np.uint8)
    np.testing.assert_array_equal(harden(merge_labels(nothing, one_hot(PSEUDO))), PSEUDO)
    assert harden(merge_labels(nothing, empty_mask(PSEUDO.shape))).min() == 255


def test_a_removed_class_gives_way_to_the_next_best_or_to_nothing():
    scores = np.array([[[0.1, 0.0]], [[0.2, 0.0]], [[0.7, 1.0]]], np.float32)
    kept = keep_classes(SoftMask(scores, (0, 1, 2), warnings=("w",)), {0, 1, 9})
    assert kept.class_ids == (0, 1)
    assert kept.warnings == ("w",)
    np.testing.assert_array_equal(harden(kept), [[1, 255]])


def test_weak_pseudo_labels_and_background_can_be_left_out():
    scores = np.array([[[0.6, 0.5, 0.1]], [[0.2, 0.5, 0.4]]], np.float32)
    mask = SoftMask(scores, (0, 1))
    np.testing.assert_array_equal(harden(keep_sure(mask, min_score=0.4)), [[0, 0, 255]])
    np.testing.assert_array_equal(harden(keep_sure(mask, min_score=0.3)), [[0, 0, 1]])
    np.testing.assert_array_equal(harden(keep_sure(mask, without=0)), [[255, 255, 1]])
    np.testing.assert_array_equal(mask.scores, scores)


def test_agreement_is_a_share_of_the_pixels_that_both_label():
    assert agreement(SCRIBBLES, PSEUDO) == pytest.approx(1 / 3)
    assert agreement(SCRIBBLES, np.full(PSEUDO.shape, 255, np.uint8)) is None


def test_a_region_is_contradicted_by_the_majority_of_its_scribbled_pixels():
    rng = np.random.default_rng(0)
    pseudo = rng.choice(np.array([0, 1, 2, 255], np.uint8), size=(12, 14), p=[0.4, 0.3, 0.2, 0.1])
    scribbles = rng.choice(np.array([0, 1, 2, 255], np.uint8), size=(12, 14), p=[0.1, 0.1, 0.1, 0.7])
    expected = np.zeros(pseudo.shape, bool)
    for row, column in np.argwhere(pseudo != 255):
        region, front = {(row, column)}, [(row, column)]  # grown pixel by pixel
        while front:
            r, c = front.pop()
            for other in [(r + i, c + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]:
                inside = 0 <= other[0] < 12 and 0 <= other[1] < 14
                if inside and other not in region and pseudo[other] == pseudo[row, column]:
                    region.add(other)
                    front.append(other)
        said = [scribbles[pixel] for pixel in region if scribbles[pixel] != 255]
        expected[row, column] = sum(i != pseudo[row, column] for i in said) > len(said) / 2
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(contradicted(pseudo, scribbles), expected)


def test_tags_of_scribbles():
    dropped = [Stroke(2, np.zeros((1, 2)), dropped=True)]
    assert tags_of(SCRIBBLES, dropped, TOY) == {1}
    assert tags_of(SCRIBBLES, dropped, TOY, which="all") == {1, 2}
    background = np.array([[0, 255]], np.uint8)
    assert tags_of(background, [], TOY) == frozenset()
    assert tags_of(np.array([[255]], np.uint8), [], TOY) is None
    assert tags_of(background, [], Vocabulary("b", ("sky", "sea"))) == {0}


class Images:
    ids = ("a", "b", "c", "d")
    spec = DataSpec("toy")
    vocabulary = TOY
    tags_source = "truth"

    def load(self, sample_id, fields):
        assert set(fields) <= {"image"}, "tags and truth are not looked at"
        return Sample(sample_id, (2, 4), image=np.zeros((2, 4, 3), np.uint8))

    def image(self, sample_id):
        return np.zeros((2, 4, 3), np.uint8)

    def truth(self, sample_id):
        raise AssertionError("promotion does not look at the truth")


@pytest.fixture
def folder(tmp_path):
    write_mask(tmp_path / "a.png", SCRIBBLES)
    write_mask(tmp_path / "b.png", np.full((2, 4), 255, np.uint8))
    write_mask(tmp_path / "c.png", np.zeros((2, 4), np.uint8))
    return MaskFolder(tmp_path, vocabulary=TOY)


def test_the_tags_of_a_data_set_are_those_of_the_scribbles(folder):
    data = TaggedByScribbles.of(Images(), folder)
    assert data.ids == ("a", "c")  # nothing is known of b, and d has no scribbles
    assert data.load("a", {"tags"}).tags == {1}
    assert data.load("c", {"tags", "image"}).tags == frozenset()
    assert data.load("a", {"tags"}).size == (2, 4)
    assert data.load("a", {"image"}).tags is None
    assert "visible scribbles of" in data.tags_source
    with pytest.raises(DataError, match="no truth for 'a' beside the scribbles"):
        data.load("a", {"truth"})


def test_dropped_strokes_must_be_known_to_be_counted(folder, tmp_path):
    with pytest.raises(ConfigError, match="keeps no strokes, so those that were dropped are not known"):
        TaggedByScribbles.of(Images(), folder, which="all")
    write_mask(tmp_path / "empty/z.png", np.zeros((2, 4), np.uint8))
    with pytest.raises(DataError, match="has no scribble in any of the 4 images"):
        TaggedByScribbles.of(Images(), MaskFolder(tmp_path / "empty", vocabulary=TOY))
