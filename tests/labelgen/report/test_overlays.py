"""What is drawn over an image: kinds of errors, strokes that survive shrinking, patterns beside colours."""

import numpy as np
import pytest

from labelgen.report.overlays import ERRORS, error_picture, errors_of, is_sparse, label_picture, labelled_at, swatch_of
from labelgen.vocab import Vocabulary

ANIMALS = Vocabulary("animals", ("ground", "cat", "dog"), background=0)
ALL = Vocabulary("all", ("grass", "cat", "dog"))


def kind_of(truth, label, vocabulary):
    """The definition, one pixel at a time."""
    if truth == 255:
        return "void"
    if label == 255:
        return "unlabelled"
    if truth == label:
        return "right"
    if vocabulary.background is not None and truth == vocabulary.background:
        return "extra"
    return "missed" if vocabulary.background is not None and label == vocabulary.background else "other"


@pytest.mark.parametrize("vocabulary", [ANIMALS, ALL])
def test_kinds_of_errors_are_those_of_the_definition(vocabulary, rng):
    truth, labels = (rng.choice(np.array([0, 1, 2, 255], np.uint8), (9, 11)) for _ in range(2))
    found = errors_of(truth, labels, vocabulary)
    names = [[ERRORS[kind][0] for kind in row] for row in found.tolist()]
    expected = [[kind_of(t, y, vocabulary) for t, y in zip(*rows)] for rows in zip(truth.tolist(), labels.tolist())]
    assert names == expected


@pytest.mark.parametrize("factor", [5, 8, 20])
def test_no_stroke_is_lost_when_labels_shrink(factor, rng):
    labels = np.full((20 * factor, 26 * factor), 255, np.uint8)
    labels[rng.integers(20 * factor, size=30), rng.integers(26 * factor, size=30)] = 1
    small = labelled_at(labels, (20, 26), ignore=255)
    cells = {(row // factor, col // factor) for row, col in np.argwhere(labels == 1)}
    assert {tuple(place) for place in np.argwhere(small == 1)} == cells


@pytest.mark.parametrize("size", [(7, 9), (14, 18), (3, 4)])
def test_dense_labels_keep_their_regions_at_any_size(size):
    labels = np.zeros((7, 9), np.uint8)
    labels[:, 5:] = 2
    small = labelled_at(labels, size, ignore=255)
    assert small.shape == size and set(np.unique(small)) == {0, 2} and (np.diff(small.astype(int), axis=1) >= 0).all()


def test_same_size_changes_nothing(rng):
    labels = rng.choice(np.array([0, 1, 255], np.uint8), (6, 8))
    assert np.array_equal(labelled_at(labels, (6, 8), ignore=255), labels)


def test_every_kind_looks_different_without_colour():
    greys = {}
    for kind, (name, _) in ERRORS.items():
        patch = swatch_of(kind, (24, 24)).astype(float)
        greys[name] = patch.mean(axis=2)
    flat = {name for name, grey in greys.items() if np.ptp(grey) < 1}
    assert flat == {"right", "extra"}  # these two are told apart by how dark they are
    assert abs(greys["right"].mean() - greys["extra"].mean()) > 25
    assert np.ptp(greys["missed"].mean(axis=1)) > 50 > np.ptp(greys["missed"].mean(axis=0))  # level stripes
    assert np.ptp(greys["other"].mean(axis=0)) > 50 > np.ptp(greys["other"].mean(axis=1))  # upright stripes


def test_unlabelled_is_hatched_and_background_clear():
    image = np.full((40, 40, 3), 120, np.uint8)
    labels = np.zeros((40, 40), np.uint8)
    labels[:, 20:] = 255
    picture = label_picture(image, labels, ANIMALS, {})
    assert (picture[:, :20] == 120).all()
    assert np.ptp(picture[:, 20:].astype(int)) > 30


def test_strokes_are_solid_and_their_background_is_seen():
    image = np.full((40, 60, 3), 120, np.uint8)
    labels = np.full((40, 60), 255, np.uint8)
    labels[5], labels[30] = 0, 1
    assert is_sparse(labels, ignore=255)
    picture = label_picture(image, labels, ANIMALS, {1: (213, 94, 0)}, strokes=True)
    assert picture[30, 55].tolist() == picture[31, 55].tolist() == [213, 94, 0]
    assert picture[5, 55].tolist() == [40, 40, 40]


def test_one_labelled_pixel_is_a_disc_with_a_rim_and_its_name_beside_it():
    image = np.full((160, 160, 3), 120, np.uint8)
    labels = np.full((160, 160), 255, np.uint8)
    labels[80, 60] = 1
    picture = label_picture(image, labels, ANIMALS, {1: (213, 94, 0)}, strokes=True, text_size=10)
    disc = (picture == (213, 94, 0)).all(axis=2)
    assert 20 <= disc.sum() <= 60 and disc[80, 60] and disc[80, 62] and disc[78, 60]
    beside = label_picture(image, labels, ANIMALS, {}, strokes=True, text_size=10)
    assert (picture[:74] != beside[:74]).any() and (picture[90:] == beside[90:]).all()  # the name stands above
    rows, cols = np.nonzero(disc)
    assert (picture[80, cols.max() + 1] == 255).all() and (picture[rows.max() + 1, 60] == 255).all()


def test_in_the_errors_a_dot_is_a_disc_and_void_does_not_grow():
    image = np.full((160, 160, 3), 120, np.uint8)
    errors = np.full((160, 160), 255, np.uint8)
    errors[80, 60] = 1
    plain = error_picture(image, errors, strokes=True)
    orange = (plain[..., 0] > 190) & (plain[..., 2] < 90)
    assert 20 <= orange.sum() <= 60 and orange[80, 60]
    errors[:, 100:] = 4
    with_void = error_picture(image, errors, strokes=True)
    assert np.array_equal(with_void[:, :100], plain[:, :100])
    assert np.array_equal(with_void[:, 100:], error_picture(image, errors)[:, 100:])


def test_names_do_not_cover_each_other():
    image = np.full((100, 200, 3), 120, np.uint8)
    labels = np.zeros((100, 200), np.uint8)
    labels[:, 90:100], labels[:, 100:110] = 1, 2
    names = Vocabulary("long", ("ground", "a very long name", "another long name"), background=0)
    colours = {1: (213, 94, 0), 2: (86, 180, 233)}
    bare = Vocabulary("bare", ("ground", " ", "  "), background=0)
    both, none = (label_picture(image, labels, v, colours, text_size=10) for v in (names, bare))
    lines = np.flatnonzero((both != none).any(axis=(1, 2)))
    assert len(lines) > 16 and np.diff(lines).max() >= 1  # two lines of text, one below the other
    first = label_picture(image, labels, names, {1: colours[1]}, text_size=10)
    alone = label_picture(image, labels, bare, {1: colours[1]}, text_size=10)
    assert len(np.flatnonzero((first != alone).any(axis=(1, 2)))) < 0.7 * len(lines)


def test_errors_of_the_mirror_image_are_the_mirror_image(rng):
    truth, labels = (rng.choice(np.array([0, 1, 2, 255], np.uint8), (12, 12)) for _ in range(2))
    kinds = errors_of(truth, labels, ANIMALS)
    assert np.array_equal(errors_of(truth[:, ::-1], labels[:, ::-1], ANIMALS), kinds[:, ::-1])
    image = rng.integers(256, size=(12, 12, 3)).astype(np.uint8)
    assert error_picture(image, kinds).shape == (12, 12, 3)
