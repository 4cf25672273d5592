import jaxtyping
import numpy as np
import pytest

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden
from labelgen.methods.box import BOX, BoxConfig, make_box, paint_boxes
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")


def boxed(truth, *, instances=None, vocabulary=VOC, **settings):
    sample = Sample("a", truth.shape, truth=truth, instances=instances)
    return make_box(BoxConfig(**settings), vocabulary)(sample, np.random.default_rng(0))


def rows(*lines):
    return np.array([[255 if c == "." else int(c) for c in line] for line in lines], np.uint8)


def test_an_l_becomes_its_rectangle():
    assert np.array_equal(harden(boxed(rows("0000", "0300", "0330"))), rows("0000", "0330", "0330"))


def test_the_smaller_box_lies_on_top():
    truth = rows("30000", "30400", "33333")
    assert np.array_equal(harden(boxed(truth)), rows("33333", "33433", "33333"))


def test_diagonal_pixels_share_a_box_and_instances_do_not():
    truth = rows("300", "030", "000")
    assert np.array_equal(harden(boxed(truth)), rows("330", "330", "000"))
    touching = rows("3333", "3300")
    instances = np.array([[1, 1, 2, 2], [1, 1, 0, 0]], np.int32)
    labels = harden(boxed(touching, instances=instances, per="instance"))
    assert np.array_equal(labels, touching)
    with pytest.raises(DataError, match="instance map, but a has none"):
        boxed(touching, per="instance")


def test_margin_grows_within_the_image_and_shrinks_to_one_pixel():
    truth = np.zeros((5, 5), np.uint8)
    truth[0:3, 1:4] = 7
    assert np.count_nonzero(harden(boxed(truth, margin=1)) == 7) == 4 * 5
    assert np.argwhere(harden(boxed(truth, margin=-1)) == 7).tolist() == [[1, 2]]
    assert np.argwhere(harden(boxed(truth, margin=-9)) == 7).tolist() == [[1, 2]]


def test_inner_leaves_a_ring_unlabelled():
    truth = np.zeros((6, 6), np.uint8)
    truth[1:5, 1:5] = 7
    labels = harden(boxed(truth, inner=0.25))
    assert np.array_equal(labels, rows("000000", "0....0", "0.77.0", "0.77.0", "0....0", "000000"))


def test_outside_may_stay_unlabelled_and_must_without_background():
    truth = rows("000", "030")
    assert np.array_equal(harden(boxed(truth, outside="unlabelled")), rows("...", ".3."))
    plain = Vocabulary("plain", ("road", "sky"))
    assert np.array_equal(harden(boxed(rows("1.", ".."), vocabulary=plain)), rows("1.", ".."))


def test_void_gets_no_box_and_small_objects_are_recorded():
    mask = boxed(rows("300.", "0000", "0055"), min_area=2)
    assert np.array_equal(harden(mask), rows("0000", "0000", "0055"))
    assert mask.details == {"boxes": 1, "regions_skipped": 1, "classes_lost": ["bird"]}


def test_an_image_that_is_all_void_stays_unlabelled():
    assert boxed(rows("...", "...")).class_ids == ()


def test_a_one_pixel_box_keeps_its_pixel_at_any_inner_share():
    labels = np.zeros((1, 2), np.uint8)
    paint_boxes(labels, [(4, (0, 0, 1, 1))], inner=0.01, ignore=255)
    assert labels.tolist() == [[4, 0]]


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"per": "class"}, "per must be"),
        ({"outside": "sky"}, "outside must be"),
        ({"inner": 0.0}, r"\(0, 1\]"),
        ({"min_area": -1}, "min_area"),
    ],
)
def test_bad_settings_are_refused(settings, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ConfigError, match=match):
        BoxConfig(**settings)


def test_boxes_look_at_the_truth_and_not_at_the_image():
    assert BOX.supervision(BoxConfig()) == {"truth"} and not BOX.reads_image
