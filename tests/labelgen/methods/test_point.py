import hashlib
import json
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden, read_mask
from labelgen.methods.point import POINT, PointConfig, file_list, make_point
from labelgen.methods.point_files import read_clicks
from labelgen.methods.point_kernels import background_clicks, jitter, sample_clicks
from labelgen.methods.targets import regions_of
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")
TWO_SQUARES = np.zeros((12, 20), np.uint8)
TWO_SQUARES[1:6, 1:6] = 8
TWO_SQUARES[1:10, 9:18] = 8
TWO_SQUARES[11, :] = 255


def clicked(config, truth, *, seed=0, instances=None, vocabulary=VOC):
    sample = Sample("a", truth.shape, truth=truth, instances=instances)
    return make_point(config, vocabulary)(sample, np.random.default_rng(seed))


def places(mask, class_id):
    return [tuple(map(int, s.points[0])) for s in mask.strokes if s.class_id == class_id and not s.dropped]


def test_one_click_per_class_and_one_on_the_background():
    labels = harden(clicked(PointConfig(), TWO_SQUARES))
    assert np.count_nonzero(labels == 8) == np.count_nonzero(labels == 0) == 1
    assert np.count_nonzero(labels != 255) == 2


def test_component_centre_is_the_middle_of_each_square():
    mask = clicked(PointConfig(per="component", where="centre", background=0), TWO_SQUARES)
    assert places(mask, 8) == [(5, 13), (3, 3)]  # larger region first
    assert harden(mask)[3, 3] == 8


def test_instances_touching_each_other_get_one_click_each():
    truth = np.full((4, 8), 15, np.uint8)
    instances = np.zeros((4, 8), np.int32)
    instances[:, :3], instances[:, 3:6] = 1, 2  # the last two columns belong to none
    mask = clicked(PointConfig(per="instance", background=0), truth, instances=instances)
    assert sorted(min(col // 3, 2) for _, col in places(mask, 15)) == [0, 1, 2]
    with pytest.raises(DataError, match="needs an instance map, but a has none"):
        clicked(PointConfig(per="instance"), truth)


def test_a_region_of_fewer_pixels_than_clicks_is_clicked_whole():
    truth = np.zeros((3, 3), np.uint8)
    truth[1, 1:] = 5
    assert sorted(places(clicked(PointConfig(n=7), truth), 5)) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("where", ["random", "centre", "inner", "border", "extreme"])
def test_a_single_pixel_object_gets_its_pixel(where):
    truth = np.zeros((5, 5), np.uint8)
    truth[2, 4] = 5
    assert places(clicked(PointConfig(where=where), truth), 5) == [(2, 4)]


def test_extreme_clicks_are_the_ends_of_a_cross():
    cross = np.zeros((7, 9), bool)
    cross[3, :], cross[:, 4] = True, True
    chosen = sample_clicks(cross, n=1, where="extreme", rng=np.random.default_rng(0))
    assert sorted(map(tuple, chosen.tolist())) == [(0, 4), (3, 0), (3, 8), (6, 4)]


def test_inner_and_border_clicks_split_a_large_square():
    square = np.ones((40, 40), bool)
    rng = np.random.default_rng(0)
    inner = sample_clicks(square, n=50, where="inner", rng=rng)
    border = sample_clicks(square, n=50, where="border", rng=rng)
    assert len(np.unique(inner, axis=0)) == len(np.unique(border, axis=0)) == 50
    depth = lambda p: np.minimum(p, 39 - p).min(axis=1) + 1  # noqa: E731
    assert depth(inner).min() > 20 / 1.7 and depth(border).max() <= 4


def test_centre_of_a_ring_lies_on_the_ring_and_repeats_elsewhere():
    rows, cols = np.mgrid[:41, :41] - 20
    ring = (np.hypot(rows, cols) < 19) & (np.hypot(rows, cols) > 9)
    chosen = sample_clicks(ring, n=3, where="centre", rng=np.random.default_rng(0))
    assert ring[tuple(chosen.T)].all()
    assert np.hypot(*(chosen[0] - chosen[1])) > 5


def test_background_clicks_keep_five_pixels_off_where_they_can():
    free = np.ones((30, 30), bool)
    free[:, :10] = False
    chosen = background_clicks(free, n=40, rng=np.random.default_rng(0))
    assert chosen[:, 1].min() > 9 + 5
    narrow = np.zeros((5, 5), bool)
    narrow[2] = True
    assert set(background_clicks(narrow, n=9, rng=np.random.default_rng(0))[:, 0]) == {2}
    assert len(background_clicks(np.ones((2, 2), bool), n=3, rng=np.random.default_rng(0))) == 3


def test_jitter_moves_clicks_but_never_off_their_region():
    line = np.zeros((9, 50), bool)
    line[4] = True
    start = np.array([[4, 25]] * 200)
    moved = jitter(start, line, sigma=3.0, rng=np.random.default_rng(0))
    assert line[tuple(moved.T)].all()
    assert 1.0 < moved[:, 1].std() < 4.0
    alone = np.zeros((9, 9), bool)
    alone[4, 4] = True
    assert jitter(np.array([[4, 4]]), alone, sigma=200.0, rng=np.random.default_rng(0)).tolist() == [[4, 4]]


def test_a_disk_is_round_and_clipped_to_its_class():
    truth = np.zeros((7, 7), np.uint8)
    truth[:, 3:] = 5
    config = PointConfig(per="component", where="centre", radius=2.0, background=0)
    labels = harden(clicked(config, truth))
    assert np.count_nonzero(labels == 5) == 12  # a disk of 13 pixels about (3, 4), less the one in column 2
    assert not (labels[:, :3] != 255).any()


def test_small_regions_and_dropped_clicks_are_recorded_as_lost():
    mask = clicked(PointConfig(per="component", min_area=30, background=0), TWO_SQUARES)
    assert len(mask.strokes) == 1 and mask.details["regions_skipped"] == 1
    gone = clicked(PointConfig(drop=1.0), TWO_SQUARES)
    assert (harden(gone) == 255).all() and len(gone.strokes) == 2
    assert gone.details["classes_lost"] == ["background", "cat"] and gone.details["clicks"] == 0
    assert gone.warnings == ("no click in this image",)


def test_drop_keeps_the_stated_share():
    truth = np.arange(20, dtype=np.uint8).repeat(60).reshape(20, 60)
    strokes = clicked(PointConfig(n=50, background=50, drop=0.3), truth).strokes
    lost = sum(s.dropped for s in strokes)
    assert len(strokes) == 1000 and abs(lost - 300) < 4 * np.sqrt(1000 * 0.3 * 0.7)


def test_without_a_background_class_every_class_is_clicked_alike():
    streets = Vocabulary("streets", ("road", "sky"))
    truth = np.array([[1, 1], [0, 0]], np.uint8)
    mask = clicked(PointConfig(background=5), truth, vocabulary=streets)
    assert len(places(mask, 0)) == len(places(mask, 1)) == 1


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["class", "component"]),
    st.sampled_from(["random", "centre", "inner", "border", "extreme"]),
    st.sampled_from([0.0, 1.5, 3.0]),
)
def test_every_labelled_pixel_is_right_and_no_void_is_labelled(seed, per, where, radius):
    truth = np.random.default_rng(seed).choice(np.array([0, 0, 3, 7, 255], np.uint8), (5, 6)).repeat(3, 0).repeat(3, 1)
    labels = harden(clicked(PointConfig(per=per, where=where, radius=radius, sigma=2.0), truth, seed=seed))
    on = labels != 255
    assert np.array_equal(labels[on], truth[on])
    assert set(np.unique(labels)) | {255} == set(np.unique(truth)) | {255}


def test_same_generator_same_clicks():
    config = PointConfig(n=3, sigma=2.0, drop=0.2)
    first, again, other = (clicked(config, TWO_SQUARES, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first.scores, again.scores)
    assert not np.array_equal(harden(first), harden(other))


def test_all_void_gives_no_click_and_says_so():
    mask = clicked(PointConfig(), np.full((3, 3), 255, np.uint8))
    assert mask.class_ids == () and mask.warnings == ("no click in this image",)


def test_regions_of_wide_label_maps():
    truth = np.full((2, 2), 65535, np.uint16)
    truth[0] = 300
    (region,) = regions_of(truth, per="component", instances=None, background=None, ignore=65535)
    assert region.class_id == 300


# --- real clicks


def written(tmp_path, table, name="clicks.json"):
    path = tmp_path / name
    path.write_text(table if isinstance(table, str) else json.dumps(table), encoding="utf-8")
    return str(path)


def human(config, sample_id="a", size=(6, 8), seed=0):
    return make_point(config, VOC)(Sample(sample_id, size), np.random.default_rng(seed))


def test_real_clicks_are_rounded_up_clipped_and_merged(tmp_path):
    front = written(
        tmp_path, {"a": [{"x": 7.5, "y": 1.5, "cls": 15, "rank": 2}, {"x": 0.4, "y": 0, "cls": "cat", "rank": 1}]}
    )
    back = written(tmp_path, {"a": [{"x": 7, "y": 5, "cls": 0}, {"x": 7.4, "y": 2, "cls": 0}]}, "back.json")
    mask = human(PointConfig(from_json=(front, back)))
    expected = np.full((6, 8), 255, np.uint8)
    expected[2, 7], expected[0, 0], expected[5, 7] = 15, 8, 0  # the object wins at (2, 7)
    assert np.array_equal(harden(mask), expected)
    assert mask.warnings == ("1 click(s) outside the image were moved to its edge",)
    assert {s.style for s in mask.strokes} == {"human"}
    hashes = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in map(str, (front, back))}
    assert mask.details["inputs"] == hashes
    assert np.array_equal(harden(human(PointConfig(from_json=(f"{front},{back}",)))), expected)
    assert (harden(human(PointConfig(from_json=(front, back), background=0))) != 0).all()


def test_ids_without_clicks_are_failures_and_half_missing_ones_warn(tmp_path):
    front = written(tmp_path, {"a": [{"x": 1, "y": 1, "cls": 3}]})
    back = written(tmp_path, {"b": []}, "back.json")
    config = PointConfig(from_json=(front, back))
    assert human(config).warnings == ("no entry in back.json",)
    assert human(config, "b").warnings == ("no entry in clicks.json", "no click in this image")
    with pytest.raises(DataError, match=r"no clicks for c in clicks\.json, back\.json"):
        human(config, "c")


def test_a_file_name_with_a_comma_stays_whole(tmp_path):
    assert len(file_list((written(tmp_path, {}, "one,two.json"),))) == 1


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        ("{", ConfigError, "not valid JSON"),
        ([1], DataError, "something else"),
        ({"a": [{"x": 1, "cls": 1}]}, DataError, r"must have numbers x, y.*'y'.* in a of"),
        ({"a": [{"x": "left", "y": 1, "cls": 1}]}, DataError, "must have numbers"),
        ({"a": [{"x": 1, "y": 1, "cls": 21}]}, DataError, "cls must be an id < 21, got 21"),
        ({"a": [{"x": 1, "y": 1, "cls": "unicorn"}]}, DataError, "unknown class 'unicorn'"),
        ({"a": [{"x": float("nan"), "y": 1, "cls": 1}]}, DataError, "finite"),
        ({"a": [3]}, DataError, "must have numbers"),
    ],
)
def test_malformed_click_files_are_refused(tmp_path, content, error, match):
    with pytest.raises(error, match=match):
        read_clicks(Path(written(tmp_path, content)), VOC)


def test_clicks_of_another_image_are_refused(tmp_path):
    near = written(tmp_path, {"a": [{"x": 1, "y": 15, "cls": 1}]})
    assert np.argwhere(harden(human(PointConfig(from_json=(near,)))) == 1).tolist() == [[5, 1]]
    far = written(tmp_path, {"a": [{"x": 1, "y": 16, "cls": 1}]}, "far.json")
    with pytest.raises(DataError, match="in the image of 6 x 8 pixels, got row 16, column 1"):
        human(PointConfig(from_json=(far,)))


def test_a_missing_click_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        make_point(PointConfig(from_json=(str(tmp_path / "none.json"),)), VOC)


# --- settings


@pytest.mark.parametrize(
    ("settings_", "match"),
    [
        ({"n": 0}, "n must be >= 1"),
        ({"n": 2, "where": "extreme"}, "four clicks"),
        ({"per": "pixel"}, "per must be one of"),
        ({"where": "center"}, "where must be one of"),
        ({"background": -1}, "background must be >= 0"),
        ({"radius": -1.0}, "radius"),
        ({"sigma": float("nan")}, "sigma"),
        ({"min_area": -1}, "min_area"),
        ({"drop": 1.1}, "drop must be a probability"),
        ({"from_json": ("a",), "n": 2}, "n samples clicks from ground truth"),
        ({"from_json": ("a",), "sigma": 2.0}, "sigma samples clicks"),
        ({"from_json": ("a",), "background": 2}, "0 or 1 with from_json"),
    ],
)
def test_bad_settings_are_refused(settings_, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users, whose types nobody checks
    with pytest.raises(ConfigError, match=match):
        PointConfig(**settings_)


def test_supervision_depends_on_where_clicks_come_from():
    assert POINT.supervision(PointConfig()) == {"truth"}
    assert POINT.supervision(PointConfig(from_json=("a.json",))) == {"strokes"}


@pytest.mark.realdata
@pytest.mark.parametrize("split", ["train", "val"])
def test_real_clicks_agree_with_the_real_ground_truth(shared_data, split):
    points = shared_data / "voc2012-points"
    names = ("voc_whats_the_point.json", "voc_whats_the_point_bg_from_scribbles.json")
    root = shared_data / "voc2012-animals"
    ids = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text(encoding="utf-8").split()
    clicks = [read_clicks(points / name, VOC).clicks for name in names]
    labelled = right = 0
    for sample_id in ids:
        truth = read_mask(root / "SegmentationClass" / f"{sample_id}.png")
        for click in (c for table in clicks for c in table.get(sample_id, ())):
            row, col = min(int(click.row + 0.5), truth.shape[0] - 1), min(int(click.col + 0.5), truth.shape[1] - 1)
            labelled += truth[row, col] != 255
            right += truth[row, col] == click.class_id
    assert labelled > 700 and right / labelled >= 0.99
