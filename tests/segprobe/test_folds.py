import numpy as np
import pytest

from labelgen.errors import ConfigError
from segprobe.folds import assign_folds


def random_classes(rng, count=53):
    return {f"image-{n}": frozenset({0} | set(rng.choice(8, rng.integers(0, 3), replace=False))) for n in range(count)}


def test_folds_and_classes_are_even(rng):
    classes = random_classes(rng)
    found = assign_folds(classes, folds=5)
    sizes = np.bincount(list(found.values()), minlength=5)
    assert set(found) == set(classes) and sizes.max() - sizes.min() <= 1
    images = {k: [i for i in classes if k in classes[i]] for k in range(8)}
    rarest = {i: min(classes[i], key=lambda k: (len(images[k]), k)) for i in classes}
    for k in range(8):
        shares = np.bincount([found[i] for i in classes if rarest[i] == k], minlength=5)
        assert shares.max() - shares.min() <= 1


def test_order_changes_nothing_and_the_seed_does(rng):
    classes = random_classes(rng)
    turned = dict(reversed(classes.items()))
    assert assign_folds(classes, folds=4) == assign_folds(turned, folds=4)
    assert assign_folds(classes, folds=4) != assign_folds(classes, folds=4, seed=1)


def test_images_without_labels_have_a_fold_too():
    found = assign_folds({"a": frozenset(), "b": frozenset(), "c": frozenset({1})}, folds=3)
    assert sorted(found.values()) == [0, 1, 2]


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_impossible_numbers_of_folds_are_refused(folds):
    with pytest.raises(ConfigError, match="between 2 and the 3 images"):
        assign_folds({"a": {0}, "b": {0}, "c": {0}}, folds=folds)
