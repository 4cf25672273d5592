import json

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden, read_mask
from labelgen.methods.corrupt import CORRUPT, KIND_NAMES, CorruptConfig, make_corrupt
from labelgen.methods.corruptions.lookalikes import confusion_from_file, look_alike_confusion
from labelgen.methods.corruptions.noise import achieved_noise
from labelgen.methods.corruptions.outline import signed_distance, smooth_noise
from labelgen.methods.corruptions.scene import distance_within, find_objects, nearest_values
from labelgen.methods.corruptions.table import KINDS
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")
STREETS = Vocabulary("streets", ("road", "sidewalk", "sky"))


def corrupted(truth, kind, level=0.5, *, seed=0, vocabulary=VOC, image=None, **options):
    sample = Sample("a", truth.shape, truth=truth, image=image)
    config = CorruptConfig(kind=kind, level=level, **options)
    return make_corrupt(config, vocabulary)(sample, np.random.default_rng(seed))


def labels_of(*args, **options):
    return harden(corrupted(*args, **options))


def rows(*lines):
    return np.array([[255 if c == "." else int(c) for c in line] for line in lines], np.uint8)


def disks():
    """Three objects of different size, a void ring about the first, one cut by the image's edge."""
    grid = np.mgrid[:90, :120]
    away = lambda row, col: np.hypot(grid[0] - row, grid[1] - col)  # noqa: E731
    truth = np.zeros((90, 120), np.uint8)
    truth[away(30, 35) < 22] = 255
    truth[away(30, 35) < 18] = 8
    truth[away(65, 85) < 12] = 12
    truth[away(0, 110) < 9] = 13
    return truth


def picture(truth):
    """An image whose colours follow the classes, so that superpixels can."""
    colours = np.random.default_rng(1).integers(0, 255, (256, 3), np.uint8)
    return colours[truth]


# --- what all kinds share


def test_the_names_known_to_the_settings_are_those_of_the_table():
    assert tuple(KINDS) == KIND_NAMES


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_level_zero_changes_nothing(kind):
    truth = disks()
    mask = corrupted(truth, kind, 0.0)
    assert np.array_equal(harden(mask), truth)
    assert mask.details["noise"]["miou"] == 1.0 and mask.details["noise"]["flip_rate"] == 0.0
    filled = harden(corrupted(truth, kind, 0.0, void="fill"))
    assert (filled != 255).all() and np.array_equal(filled[truth != 255], truth[truth != 255])


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_the_same_generator_gives_the_same_labels_and_void_stays_void(kind):
    truth = disks()
    first, again = (labels_of(truth, kind, 0.8, seed=3, image=picture(truth)) for _ in range(2))
    assert np.array_equal(first, again)
    assert (first[truth == 255] == 255).all()
    assert not np.array_equal(first, truth)


@pytest.mark.parametrize("kind", ["mixed", "pixels", "classes", "drop", "add", "jitter", "shift", "blocks"])
def test_another_generator_gives_other_labels_where_chance_has_a_say(kind):
    truth = disks()
    drawn = {labels_of(truth, kind, 0.5, seed=seed).tobytes() for seed in range(8)}
    assert len(drawn) > 1


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_all_void_empty_and_single_pixel_maps_are_survived(kind):
    void = np.full((6, 7), 255, np.uint8)
    assert corrupted(void, kind, image=picture(void)).warnings == ("the truth is void everywhere",)
    for truth in (np.zeros((6, 7), np.uint8), np.full((6, 7), 8, np.uint8), rows("08", "00"), rows("8")):
        labels = labels_of(truth, kind, 1.0, image=picture(truth))
        assert labels.shape == truth.shape and ((labels < 21) | (labels == 255)).all()


@pytest.mark.parametrize("kind", sorted(set(KIND_NAMES) - {"dilate", "mixed", "superpixel"}))
def test_vocabularies_without_background_work_too(kind):
    truth = np.zeros((40, 40), np.uint8)
    truth[:15], truth[15:25, 20:] = 2, 1
    truth[15:17, 0:20:4] = 2  # teeth that polygons and boxes do not keep
    labels = labels_of(truth, kind, 0.6, vocabulary=STREETS)
    assert ((labels < 3) | (labels == 255)).all() and not np.array_equal(labels, truth)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KIND_NAMES), st.floats(0.01, 1.0), st.sampled_from(["keep", "fill"]))
def test_labels_are_legal_and_the_recorded_noise_is_theirs(seed, kind, level, void):
    truth = np.random.default_rng(seed).choice(np.array([0, 0, 8, 12, 255], np.uint8), (5, 6)).repeat(4, 0).repeat(5, 1)
    mask = corrupted(truth, kind, level, seed=seed, void=void, image=picture(truth))
    labels = harden(mask)
    valid = truth != 255
    noise = mask.details["noise"]
    if not valid.any():
        return
    wrong = (labels != truth) & (labels != 255) & valid
    assert noise["wrong_pixels"] == wrong.sum() and noise["valid_pixels"] == valid.sum()
    assert noise["unlabelled_rate"] == pytest.approx((labels == 255)[valid].mean(), abs=1e-6)
    json.dumps(mask.details, allow_nan=False)


def test_a_share_of_the_images_is_corrupted_and_the_others_keep_their_truth():
    truth = disks()
    masks = [corrupted(truth, "classes,erode", 1.0, seed=seed, images=0.3) for seed in range(40)]
    chosen = [mask.details["corrupted"] for mask in masks]
    assert 4 <= sum(chosen) <= 20
    for mask in masks:
        same = np.array_equal(harden(mask), truth)
        assert same != mask.details["corrupted"] and bool(mask.details["steps"]) == mask.details["corrupted"]
    assert [corrupted(truth, "erode", seed=s, images=0.3).details["corrupted"] for s in range(40)] == chosen


def test_all_images_are_corrupted_unless_a_share_is_named():
    assert all(corrupted(disks(), "erode", seed=seed).details["corrupted"] for seed in range(10))
    assert not any(corrupted(disks(), "erode", seed=seed, images=0.0).details["corrupted"] for seed in range(10))
    void = corrupted(np.full((3, 3), 255, np.uint8), "erode")
    assert void.details == {"corrupted": False}
    with pytest.raises(ConfigError, match=r"share in \[0, 1\], got 50"):
        CorruptConfig(images=50)


def test_kinds_run_in_order_each_at_its_own_level():
    mask = corrupted(disks(), "drop=1, blocks=0.25", 0.5)
    assert [(step["kind"], step["level"]) for step in mask.details["steps"]] == [("drop", 1.0), ("blocks", 0.25)]
    assert mask.class_ids == (0,)
    assert 0.15 < mask.details["noise"]["unlabelled_rate"] < 0.35


# --- size


def test_erosion_follows_the_size_of_the_object():
    truth = disks()
    labels = labels_of(truth, "erode", 0.4)
    for class_id, radius in ((8, 20), (12, 12)):
        left = np.count_nonzero(labels == class_id) / np.pi
        assert abs(np.sqrt(left) - 0.6 * radius) < 1.0
    # The image's edge is no outline: the half disk keeps its first row.
    assert labels[0, 110] == 13


def test_dilation_grows_over_background_alone():
    truth = rows("00000", "08130", "00000").repeat(6, 0).repeat(6, 1)
    labels = labels_of(truth, "dilate", 0.5)
    assert np.array_equal(labels[truth != 0], truth[truth != 0])
    assert np.count_nonzero(labels == 8) > np.count_nonzero(truth == 8)
    open_labels = labels_of(rows("8...0").repeat(3, 0), "dilate", 1.0)
    assert set(np.unique(open_labels)) <= {0, 8, 255}


def test_mixed_erodes_some_images_and_dilates_others():
    truth = disks()
    seen = {}
    for seed in range(12):
        mask = corrupted(truth, "mixed", 0.4, seed=seed)
        step = mask.details["steps"][0]
        assert step["strength"] in (pytest.approx(0.2), pytest.approx(0.3), pytest.approx(0.4))
        seen[step["direction"]] = np.count_nonzero(harden(mask) == 12) - np.count_nonzero(truth == 12)
    assert seen["erode"] < 0 < seen["dilate"]


def test_vacated_pixels_may_stay_unlabelled():
    truth = disks()
    labels = labels_of(truth, "erode", 0.5, vacated="unlabelled")
    assert (labels[(truth == 12) & (labels != 12)] == 255).all()
    assert (labels_of(truth, "drop", 1.0, vacated="unlabelled")[truth > 0] == 255).all()


# --- classes


def test_pixel_flips_happen_at_their_rate_and_send_objects_to_background():
    truth = np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 8
    labels = labels_of(truth, "pixels", 0.05)
    flipped = labels != truth
    assert abs(flipped.mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / truth.size)
    assert (labels[:, 100:][flipped[:, 100:]] == 0).all()
    assert len(np.unique(labels[:, :100])) == 21


def test_class_flips_move_whole_objects_to_look_alikes():
    truth = disks()
    mask = corrupted(truth, "classes", 1.0)
    labels = harden(mask)
    assert np.array_equal(labels == 12, truth == 8)  # cat -> dog
    assert set(np.unique(labels[truth == 12])) == {8}  # dog -> cat
    assert np.unique(labels[truth == 13])[0] in (10, 17)  # horse -> cow or sheep
    assert mask.details["steps"][0] == {"kind": "classes", "level": 1.0, "objects": 3, "objects_changed": 3}


def test_classes_without_look_alikes_stay():
    assert VOC.classes[15] == "person" and not look_alike_confusion(VOC)[15].any()
    truth = rows("0150").repeat(2, 0)
    truth[truth == 1] = 15
    truth[truth == 5] = 15
    assert np.array_equal(labels_of(truth, "classes", 1.0), truth)


def test_look_alikes_are_symmetric_pairs():
    matrix = look_alike_confusion(VOC) > 0
    assert np.array_equal(matrix, matrix.T) and not matrix.diagonal().any()
    assert matrix[VOC.id_of("cat"), VOC.id_of("dog")] and matrix[VOC.id_of("sofa"), VOC.id_of("chair")]
    with pytest.raises(ConfigError, match="no pair of look-alikes"):
        look_alike_confusion(Vocabulary("odd", ("this", "that")))


def test_a_file_says_who_is_taken_for_whom(tmp_path):
    table = tmp_path / "pairs.json"
    table.write_text(json.dumps({"cat": {"person": 3, "background": 1}}), encoding="utf-8")
    matrix = confusion_from_file(table, VOC)
    assert matrix[8, 15] == 0.75 and matrix[8, 0] == 0.25 and matrix[15].sum() == 0
    sheet = tmp_path / "pairs.csv"
    sheet.write_text("class,wrong class,weight\ncat, plane ,2\n12,cat,1\n", encoding="utf-8")
    assert np.argwhere(confusion_from_file(sheet, VOC)).tolist() == [[8, 1], [12, 8]]
    truth = disks()
    labels = labels_of(truth, "classes", 1.0, confusion=str(sheet))
    assert np.array_equal(labels == 1, truth == 8) and np.array_equal(labels == 13, truth == 13)


def test_confusions_are_drawn_in_proportion(tmp_path):
    table = tmp_path / "pairs.json"
    table.write_text(json.dumps({"cat": {"dog": 3, "horse": 1}}), encoding="utf-8")
    truth = np.zeros((60, 60), np.uint8)
    truth[::2, ::2] = 8  # 900 objects of one pixel
    labels = labels_of(truth, "classes", 1.0, confusion=str(table))
    dogs = np.count_nonzero(labels == 12)
    assert dogs + np.count_nonzero(labels == 13) == 900
    assert abs(dogs - 675) < 4 * np.sqrt(900 * 0.75 * 0.25)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.json", "{", "malformed"),
        ("a.json", "[1]", "malformed"),
        ("a.json", '{"cat": {"unicorn": 1}}', "unknown class 'unicorn'"),
        ("a.json", '{"cat": {"cat": 1}}', "another class, got cat -> cat"),
        ("a.json", '{"background": {"cat": 1}}', "another class, got background -> cat"),
        ("a.json", '{"cat": {"dog": -1}}', "finite and >= 0"),
        ("a.json", '{"cat": {"dog": 0}}', "no weight above 0"),
        ("a.csv", "cat,dog\n", "must have 3 cells"),
        ("a.csv", "cat,dog,much\n", "malformed"),
    ],
)
def test_malformed_confusion_files_are_refused(tmp_path, name, text, match):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=match):
        confusion_from_file(tmp_path / name, VOC)


def test_missing_confusion_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        confusion_from_file(tmp_path / "none.json", VOC)


def test_dropped_objects_become_background_and_are_counted():
    truth = disks()
    mask = corrupted(truth, "drop", 1.0)
    assert set(np.unique(harden(mask))) == {0, 255}
    assert mask.details["steps"][0]["objects_dropped"] == 3
    many = np.zeros((60, 60), np.uint8)
    many[::2, ::2] = 8
    lost = corrupted(many, "drop", 0.3).details["steps"][0]["objects_dropped"]
    assert abs(lost - 270) < 4 * np.sqrt(900 * 0.3 * 0.7)


def test_added_objects_are_copies_on_the_background():
    truth = np.zeros((40, 60), np.uint8)
    truth[5:9, 5:12] = 8
    same = labels_of(truth, "add", 1.0, false_class="same")
    other = labels_of(truth, "add", 1.0, false_class="other")
    for labels in (same, other):
        assert (labels[truth == 8] == 8).all()
        assert 0 < np.count_nonzero(labels != truth) <= 28
    assert set(np.unique(same)) == {0, 8} and len(np.unique(other)) == 3


# --- outlines


def test_a_polygon_keeps_a_square_and_cuts_a_notch():
    square = np.zeros((60, 60), np.uint8)
    square[10:50, 10:50] = 8
    assert np.array_equal(labels_of(square, "polygon", 0.3), square)
    notched = square.copy()
    notched[10:13, 28:31] = 0
    assert np.array_equal(labels_of(notched, "polygon", 1.0), square)


def test_a_polygon_keeps_a_hole_and_never_loses_its_object():
    ring = np.zeros((60, 60), np.uint8)
    ring[5:55, 5:55], ring[25:35, 25:35] = 8, 0
    assert labels_of(ring, "polygon", 0.1)[30, 30] == 0
    needle = np.zeros((9, 90), np.uint8)
    needle[4, 2:80] = 8
    assert np.array_equal(labels_of(needle, "polygon", 1.0), needle)


def test_boxes_at_full_level_are_bounding_boxes_smallest_on_top():
    truth = rows("000000", "033000", "030440", "000000")
    assert np.array_equal(labels_of(truth, "box", 1.0), rows("000000", "033000", "033440", "000000"))
    nested = rows("30000", "30400", "33333")
    assert np.array_equal(labels_of(nested, "box", 1.0), rows("33333", "33433", "33333"))


def test_jitter_moves_the_outline_and_leaves_the_inside():
    truth = disks()
    labels = labels_of(truth, "jitter", 0.3, void="fill")
    deep = distance_within(truth == 8) > 14
    assert deep.any() and (labels[deep] == 8).all()
    moved = (labels == 8) != (nearest_values(truth, truth != 255)[0] == 8)
    assert 40 < np.count_nonzero(moved) < 800


def test_smooth_noise_has_about_unit_variance_and_its_grain():
    noise = smooth_noise((400, 400), grain=10.0, rng=np.random.default_rng(0))
    assert noise.shape == (400, 400) and abs(noise.std() - 1) < 0.08 and abs(noise).max() <= 2.5
    neighbours = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    distant = np.corrcoef(noise[:, :-30].ravel(), noise[:, 30:].ravel())[0, 1]
    assert neighbours > 0.95 and abs(distant) < 0.15


def test_shift_moves_the_map_and_repeats_its_edge():
    truth = np.zeros((40, 50), np.uint8)
    truth[10:20, 10:20] = 8
    mask = corrupted(truth, "shift", 1.0, seed=4)
    down, right = mask.details["steps"][0]["shift"]
    assert (down, right) != (0, 0) and max(abs(down), abs(right)) <= 5
    assert np.array_equal(harden(mask) == 8, np.roll(truth == 8, (down, right), (0, 1)))


def test_signed_distance_changes_sign_at_the_outline():
    disk = disks() == 12
    distance = signed_distance(disk)
    assert np.array_equal(distance > 0, disk) and abs(distance).min() == 0.5
    assert np.isposinf(signed_distance(np.ones((2, 2), bool))).all()


# --- coarse and partial labels


def test_interior_keeps_its_share_of_each_region_deepest_first():
    truth = disks()
    labels = labels_of(truth, "interior", 0.7, void="fill")
    whole = nearest_values(truth, truth != 255)[0]
    for class_id in (0, 8, 12, 13):
        kept, region = labels == class_id, whole == class_id
        assert np.count_nonzero(kept) == round(0.3 * np.count_nonzero(region))
        depth = distance_within(region)
        assert depth[kept].min() >= depth[region & ~kept].max()


def test_half_of_the_blocks_make_a_checkerboard():
    labels = labels_of(np.zeros((32, 32), np.uint8), "blocks", 0.5, block_size=4)
    cells = labels[::4, ::4] == 0
    assert np.array_equal(cells[:, 1:], ~cells[:, :-1]) and np.array_equal(cells[1:], ~cells[:-1])
    assert np.array_equal(cells.repeat(4, 0).repeat(4, 1), labels == 0)


@pytest.mark.parametrize("level", [0.1, 0.25, 0.9])
def test_blocks_cover_their_share(level):
    labels = labels_of(np.zeros((64, 64), np.uint8), "blocks", level, block_size=8)
    assert (labels == 255).mean() == pytest.approx(level, abs=1 / 128)


def test_the_band_is_as_wide_as_stated():
    truth = np.zeros((5, 40), np.uint8)
    truth[:, 20:] = 8
    labels = labels_of(truth, "band", 0.2)
    assert (labels[:, 16:24] == 255).all() and np.array_equal(labels[:, :16], truth[:, :16])
    assert np.array_equal(labels[:, 24:], truth[:, 24:])


def test_resolution_takes_the_majority_of_each_cell():
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 30:] = 8
    mask = corrupted(truth, "resolution", 0.5)
    assert mask.details["steps"][0]["factor"] == 8.0
    expected = np.zeros((64, 64), np.uint8)
    expected[:, 32:] = 8
    assert np.array_equal(harden(mask), expected)


def test_superpixels_follow_the_colours_and_need_the_image():
    truth = disks()
    filled = np.where(truth == 255, 8, truth).astype(np.uint8)
    labels = labels_of(filled, "superpixel", 0.4, image=picture(filled))
    assert (labels == filled).mean() > 0.97
    with pytest.raises(DataError, match="needs the image"):
        corrupted(truth, "superpixel", 0.4)


# --- pieces


def test_objects_are_eight_connected_and_split_by_class():
    objects = find_objects(rows("330", "008", "300"), skip=(0, 255))
    assert objects.class_ids[1:].tolist() == [3, 3, 8]
    assert objects.ids.tolist() == [[1, 1, 0], [0, 0, 3], [2, 0, 0]]
    assert objects.crop(3) == (slice(1, 2), slice(2, 3)) and objects.crop(1, margin=5) == (slice(0, 6), slice(0, 7))


def test_noise_of_a_hand_made_example():
    truth, labels = rows("0011", "00.."), rows("0111", "0.00")
    noise = achieved_noise(truth, labels, num_classes=2, ignore=255)
    # Class 0: 2 of 4, class 1: 2 of 3; one of six valid pixels is wrong and one is unlabelled.
    assert noise["miou"] == pytest.approx((2 / 4 + 2 / 3) / 2, abs=1e-6)
    assert noise["flip_rate"] == noise["unlabelled_rate"] == pytest.approx(1 / 6, abs=1e-6)
    void = np.full((1, 1), 255, np.uint8)
    assert achieved_noise(void, void, num_classes=2, ignore=255)["miou"] is None


# --- settings


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "blur"}, "unknown kind 'blur'"),
        ({"kind": ""}, "unknown kind ''"),
        ({"kind": "erode=2"}, r"level of erode must lie in \[0, 1\], got 2"),
        ({"kind": "erode=much"}, "got much"),
        ({"kind": "erode="}, "level of erode"),
        ({"level": -0.1}, r"level must lie in \[0, 1\]"),
        ({"level": float("nan")}, "level"),
        ({"vacated": "sky"}, "vacated must be background or unlabelled"),
        ({"void": "drop"}, "void must be keep or fill"),
        ({"false_class": "any"}, "false_class must be other or same"),
        ({"block_size": 0}, "block_size"),
    ],
)
def test_bad_settings_are_refused(options, match, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ConfigError, match=match):
        CorruptConfig(**options)


@pytest.mark.parametrize(
    ("config", "vocabulary", "match"),
    [
        (CorruptConfig(kind="dilate"), STREETS, "grows objects over the background"),
        (CorruptConfig(kind="mixed"), STREETS, "grows objects over the background"),
        (CorruptConfig(kind="erode", confusion="a.json"), VOC, "setting of the kind classes"),
        (CorruptConfig(kind="pixels"), Vocabulary("one", ("thing",)), "only one class"),
    ],
)
def test_what_a_vocabulary_cannot_give_is_refused(config, vocabulary, match):
    with pytest.raises(ConfigError, match=match):
        make_corrupt(config, vocabulary)


def test_only_superpixels_read_images():
    assert not CORRUPT.wants_image(CorruptConfig(kind="erode"))
    assert CORRUPT.wants_image(CorruptConfig(kind="erode,superpixel"))
    assert not CORRUPT.wants_image(CorruptConfig(kind="superpixel=0"))
    assert CORRUPT.supervision(CorruptConfig()) == {"truth"}


@pytest.mark.realdata
def test_noise_grows_with_the_level_on_real_masks(shared_data):
    folder = shared_data / "voc2012-masks" / "SegmentationClass"
    truths = [read_mask(path) for path in sorted(folder.glob("*.png"))[:2]]
    for kind in ("erode", "dilate", "polygon", "box", "jitter"):
        rates = [
            np.mean([corrupted(truth, kind, level).details["noise"]["flip_rate"] for truth in truths])
            for level in (0.1, 0.4, 0.9)
        ]
        assert 0 < rates[0] < rates[1] < rates[2]
