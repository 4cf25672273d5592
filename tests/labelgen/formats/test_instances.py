import json

import numpy as np
import pytest
from format_toys import read_back

from labelgen.errors import ConfigError, DataError, ShapeError, VocabularyError
from labelgen.formats.format import ReadOptions
from labelgen.formats.import_masks import MaskImportConfig, open_masks
from labelgen.formats.instances import SMALLEST_SCORE, Instance, paint
from labelgen.masks import harden
from labelgen.vocab import Vocabulary

VOC = Vocabulary("v", ("ground", "cat", "dog"), background=0, aliases={"kitty": "cat"})
SIZE = (2, 6)


def instance(class_id, score, row, crowd=False):
    mask = np.array([[c == "#" for c in row], [False] * 6])
    return Instance(class_id, score, int(mask.sum()), lambda: mask, crowd)


WIDE, NARROW, HIGH = instance(1, 0.5, "#####."), instance(2, 0.25, ".##..."), instance(2, 0.75, "..##..")


@pytest.mark.parametrize(
    ("overlap", "first"),
    [
        ("score", [1, 1, 2, 2, 1, 255]),  # HIGH over WIDE over NARROW
        ("small", [1, 2, 2, 2, 1, 255]),  # both small ones over WIDE
        ("unlabelled", [1, 255, 255, 255, 1, 255]),  # wherever classes differ
    ],
)
def test_rules_for_overlaps(overlap, first):
    for instances in ([WIDE, NARROW, HIGH], [HIGH, NARROW, WIDE]):
        labels = harden(paint(instances, SIZE, VOC, ReadOptions(overlap=overlap)))
        assert labels.tolist() == [first, [255] * 6]


def test_ties_go_to_the_smaller_mask_or_the_higher_score_then_to_the_earlier():
    even = [instance(1, 0.5, "####.."), instance(2, 0.5, ".##...")]
    assert harden(paint(even, SIZE, VOC, ReadOptions()))[0].tolist() == [1, 2, 2, 1, 255, 255]
    equal = [instance(1, 0.5, "##...."), instance(2, 0.75, ".##...")]
    assert harden(paint(equal, SIZE, VOC, ReadOptions(overlap="small")))[0].tolist() == [1, 2, 2, 255, 255, 255]
    same = [instance(2, 0.5, "##...."), instance(1, 0.5, ".##...")]
    assert harden(paint(same, SIZE, VOC, ReadOptions()))[0].tolist() == [2, 2, 1, 255, 255, 255]


def test_masks_of_one_class_do_not_contest_each_other():
    masks = [instance(2, 0.5, "##...."), instance(2, 0.75, ".##...")]
    mask = paint(masks, SIZE, VOC, ReadOptions(overlap="unlabelled"))
    assert harden(mask)[0].tolist() == [2, 2, 2, 255, 255, 255] and mask.details["contested"] == 0


def test_scores_are_those_of_the_masks_that_win():
    mask = paint([WIDE, HIGH], SIZE, VOC, ReadOptions())
    assert mask.class_ids == (1, 2)
    assert mask.scores[:, 0].tolist() == [[0.5, 0.5, 0, 0, 0.5, 0], [0, 0, 0.75, 0.75, 0, 0]]
    nothing = paint([instance(1, 0.0, "#.....")], SIZE, VOC, ReadOptions())
    assert nothing.scores[0, 0, 0] == SMALLEST_SCORE == np.float16(SMALLEST_SCORE) > 0


def test_the_rest_is_background_when_asked_but_never_in_crowds():
    masks = [instance(1, 1.0, "####..", crowd=True), instance(2, 0.1, ".#....")]
    assert harden(paint(masks, SIZE, VOC, ReadOptions()))[0].tolist() == [255, 2, 255, 255, 255, 255]
    filled = harden(paint(masks, SIZE, VOC, ReadOptions(rest="background")))
    assert filled.tolist() == [[255, 2, 255, 255, 0, 0], [0] * 6]
    ignored = [instance(255, 0.9, "##....")]
    assert harden(paint(ignored, SIZE, VOC, ReadOptions(rest="background")))[0].tolist() == [255, 255, 0, 0, 0, 0]
    with pytest.raises(ConfigError, match="has none"):
        paint([], SIZE, Vocabulary("w", ("a",)), ReadOptions(rest="background"))


def test_weak_masks_are_left_out():
    mask = paint([WIDE, NARROW], SIZE, VOC, ReadOptions(min_score=0.5))
    assert mask.class_ids == (1,) and mask.details["masks"] == 1
    assert paint([NARROW], SIZE, VOC, ReadOptions(min_score=0.5)).warnings == ("no mask in this image",)


POLYGON = [[0, 0, 2, 0, 2, 2, 0, 2]]  # the two left columns of a 2 x 6 image
UNCOMPRESSED = {"size": [2, 6], "counts": [4, 4, 4]}  # the third and fourth
COMPRESSED = {"size": [2, 6], "counts": "84"}  # the fifth and sixth


def coco(annotations, **more):
    return {
        "images": [{"id": 7, "file_name": "x/one.jpg", "height": 2, "width": 6}],
        "categories": [{"id": 3, "name": "kitty"}, {"id": 90, "name": "dog"}, {"id": 91, "name": "never used"}],
        "annotations": [{"image_id": 7, **annotation} for annotation in annotations],
        **more,
    }


ANNOTATIONS = [
    {"category_id": 3, "segmentation": POLYGON, "score": 0.5},
    {"category_id": 90, "segmentation": UNCOMPRESSED, "score": 0.5},
    {"category_id": 3, "segmentation": COMPRESSED, "score": 0.5, "iscrowd": 1},
]


def save(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_all_kinds_of_segmentations_are_read(tmp_path):
    path = save(tmp_path / "x.json", coco(ANNOTATIONS))
    for name in ("coco", "instances"):
        found = read_back(name, path, VOC)("x/one", SIZE)
        assert found.tolist() == [[1, 1, 2, 2, 255, 255]] * 2


def test_a_list_of_results_needs_its_categories(tmp_path):
    path = save(tmp_path / "results.json", coco(ANNOTATIONS[:2])["annotations"])
    index = save(tmp_path / "index.json", coco([]))
    found = read_back("instances", path, VOC, categories=str(index), rest="background")("x/one", SIZE)
    assert found.tolist() == [[1, 1, 2, 2, 0, 0]] * 2
    with pytest.raises(ConfigError, match="whose ids mean nothing by themselves"):
        read_back("instances", path, VOC)
    with pytest.raises(ConfigError, match="--categories is for a list of results"):
        read_back("instances", index, VOC, categories=str(index))


def test_files_of_grounded_sam_are_read(tmp_path):
    content = {
        "image_path": "photos\\one.jpg",
        "annotations": [
            {
                "class_name": "cat",
                "bbox": [0, 0, 6, 2],
                "segmentation": {"size": [2, 6], "counts": [0, 12]},
                "score": 0.4,
            },
            {"class_name": "dog", "bbox": [2, 0, 4, 2], "segmentation": UNCOMPRESSED, "score": [0.9]},
        ],
        "box_format": "xyxy",
        "img_width": 6,
        "img_height": 2,
    }
    for path in (save(tmp_path / "single.json", content), save(tmp_path / "folder/one.json", content).parent):
        assert read_back("instances", path, VOC)("one", SIZE).tolist() == [[1, 1, 2, 2, 1, 1]] * 2
    masks = open_masks(MaskImportConfig("instances", str(tmp_path / "folder")), VOC)
    assert list(masks.mask("one", SIZE).details["inputs"]) == [(tmp_path / "folder/one.json").as_posix()]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_arrays_of_masks_are_read(tmp_path, kind):
    masks = np.zeros((2, *SIZE), kind)
    masks[0], masks[1, :, 2:4] = 1, 1
    (tmp_path / "x").mkdir()
    np.savez(tmp_path / "x/one.npz", masks=masks, class_names=np.array(["cat", "dog"]), scores=np.array([0.5, 0.75]))
    assert read_back("instances", tmp_path, VOC)("x/one", SIZE).tolist() == [[1, 1, 2, 2, 1, 1]] * 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"masks": np.ones((1, 3, 6), bool), "labels": np.array(["cat"])}, "must have the size"),
        ({"masks": np.ones((1, 2, 6), bool)}, "there must be masks"),
        ({"masks": np.ones((1, 2, 6), bool), "labels": np.array([1])}, "there must be masks"),
        ({"masks": np.full((1, 2, 6), 0.5), "labels": np.array(["cat"])}, "must be True and False"),
        (
            {"masks": np.ones((1, 2, 6), bool), "labels": np.array(["cat"]), "scores": np.array([np.nan])},
            "a score must",
        ),
        ({"masks": np.ones((1, 2, 6), bool), "labels": np.array(["cat"]), "scores": np.ones(2)}, "score for each mask"),
        ({"masks": np.array([None]), "labels": np.array(["cat"])}, "arrays of objects|cannot be read"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises((DataError, ShapeError), match=message):
        read_back("instances", tmp_path, VOC)("one", SIZE)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": {"size": [2, 6], "counts": [4, 4]}}, "must fill 2 x 6 pixels, got 8"),
        ({"segmentation": {"size": [2, 6], "counts": [-1, 13]}}, "whole numbers >= 0"),
        ({"segmentation": {"size": [2, 6], "counts": "04"}}, "must fill"),
        ({"segmentation": {"size": [2, 6], "counts": "8~"}}, "cannot hold the character"),
        ({"segmentation": {"size": [2, 6], "counts": "8T"}}, "end within a number"),
        ({"segmentation": {"size": [100000, 100000], "counts": "0"}}, "must have the size"),
        ({"segmentation": [[1, 2, 3, 4]]}, "a polygon must be"),
        ({"segmentation": []}, "has no segmentation"),
        ({"segmentation": POLYGON, "score": -1}, "a score must be a number >= 0"),
        ({"segmentation": POLYGON, "category_id": 5}, "category 5 of an annotation"),
        ({"segmentation": POLYGON, "image_id": 8}, "must belong to an image of the file, got 8"),
        ({"segmentation": POLYGON, "category_id": True}, "category_id must be there"),
        ({}, "segmentation must be there"),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, annotation, message):
    path = save(tmp_path / "x.json", coco([{"category_id": 3, **annotation}]))
    with pytest.raises(DataError, match=message):
        read_back("coco", path, VOC)("x/one", SIZE)


def test_run_lengths_are_read_as_pycocotools_does(rng):
    from pycocotools import mask as coco_mask

    from labelgen.data.readers.coco_runs import fill_runs

    for density in (0.0, 0.02, 0.5, 1.0):
        mask = (rng.random((37, 53)) < density).astype(np.uint8)
        runs = coco_mask.encode(np.asfortranarray(mask))
        np.testing.assert_array_equal(fill_runs(runs["counts"], (37, 53)), mask)


def test_unknown_names_are_listed_with_the_known_ones(tmp_path):
    data = coco(ANNOTATIONS[:2])
    data["categories"][1]["name"] = "wolf"
    path = save(tmp_path / "x.json", data)
    with pytest.raises(VocabularyError, match="lacks: wolf") as caught:
        read_back("coco", path, VOC)
    assert "--map 'wolf=CLASS'" in caught.value.hint and "known classes: ground, cat, dog" in caught.value.hint
    found = read_back("coco", path, VOC, rename=("wolf=dog",))("x/one", SIZE)
    assert found.tolist() == [[1, 1, 2, 2, 255, 255]] * 2
    found = read_back("coco", path, VOC, rename=("wolf=unlabelled",), rest="background")("x/one", SIZE)
    assert found.tolist() == [[1, 1, 255, 255, 0, 0]] * 2
    for rename in (("*=unlabelled",), ("*=dog", "wolf=unlabelled")):
        found = read_back("coco", path, VOC, rename=rename, rest="background")("x/one", SIZE)
        assert found.tolist() == [[1, 1, 255, 255, 0, 0]] * 2
    with pytest.raises(ConfigError, match="--map wolf=fox must name a class"):
        read_back("coco", path, VOC, rename=("wolf=fox",))
    for pair in ("wolf", "=dog", "wolf="):
        with pytest.raises(ConfigError, match="must be NAME=CLASS"):
            read_back("coco", path, VOC, rename=(pair,))


@pytest.mark.parametrize(
    ("name", "setting"),
    [("voc", {"overlap": "small"}), ("cvat", {"rest": "background"}), ("coco", {"categories": "x.json"})],
)
def test_settings_without_a_say_are_refused(name, setting):
    with pytest.raises(ConfigError, match="has no say for the format"):
        MaskImportConfig(name, "x", **setting)


def test_label_studio_annotations_win_over_predictions_and_later_regions_over_earlier(tmp_path):
    from labelgen.formats.brush import encode_brush

    def region(label, kind, value):
        shape = {"original_width": 6, "original_height": 2, "image_rotation": 0}
        return {"type": kind, "value": {kind: [label], **value}, **shape}

    brush = {"format": "rle", "rle": encode_brush(np.ones(SIZE, bool))}
    square = {"points": [[0, 0], [100 / 3, 0], [100 / 3, 100], [0, 100]]}
    result = [region("cat", "brushlabels", brush), region("dog", "polygonlabels", square), {"type": "choices"}]
    tasks = [
        {
            "data": {"image": "/data/upload/1/0a1b2c3d-one.two.jpg"},
            "annotations": [{"result": result}, {"result": [], "was_cancelled": True}],
            "predictions": [{"result": []}],
        },
        {"data": {"image": "/data/local-files/?d=sub%2Fthree.jpg"}, "predictions": [{"result": []}]},
        {"data": {"image": "s3://bucket/four.png"}},
    ]
    path = save(tmp_path / "export.json", tasks)
    masks = open_masks(MaskImportConfig("label-studio", str(path)), VOC)
    assert masks.ids == {"one.two", "three"}
    assert harden(masks.mask("one.two", SIZE)).tolist() == [[2, 2, 1, 1, 1, 1]] * 2
    assert (harden(masks.mask("three", SIZE)) == 255).all()
    with pytest.raises(DataError, match="must be of the size"):
        masks.mask("one.two", (6, 2))
    tasks[0]["annotations"][0]["result"] = [region("cat", "rectanglelabels", {})]
    with pytest.raises(DataError, match="got rectanglelabels"):
        open_masks(MaskImportConfig("label-studio", str(save(path, tasks))), VOC)
