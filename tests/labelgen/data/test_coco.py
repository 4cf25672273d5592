import json

import numpy as np
import pytest
from PIL import Image

from labelgen.data import open_data
from labelgen.data.readers.coco_instances import instance_vocabulary
from labelgen.errors import DataError
from labelgen.vocab import load_vocabulary

CATEGORIES = [
    {"id": 200, "name": "rug", "isthing": 0},
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 18, "name": "dog", "isthing": 1},
]
IMAGE = {"id": 7, "file_name": "007.jpg", "height": 2, "width": 4}


def segments(rows):
    """RGB picture of segment ids."""
    ids = np.array(rows, np.uint32)
    return Image.fromarray(np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8))


@pytest.fixture
def panoptic(make):
    """One image: two persons, a crowd of dogs, a rug, one pixel of nothing."""
    make.image("train2017/007.jpg", (2, 4))
    infos = [
        {"id": 70000, "category_id": 1, "iscrowd": 0},
        {"id": 300, "category_id": 200, "iscrowd": 0},
        {"id": 5, "category_id": 1, "iscrowd": 0},
        {"id": 6, "category_id": 18, "iscrowd": 1},
    ]
    annotation = {"image_id": 7, "file_name": "007.png", "segments_info": infos}
    data = {"images": [IMAGE], "annotations": [annotation], "categories": CATEGORIES}
    make.lines("annotations/panoptic_train2017.json", json.dumps(data))
    (make.root / "annotations/panoptic_train2017").mkdir()
    picture = segments([[70000, 70000, 300, 0], [5, 6, 6, 300]])
    picture.save(make.root / "annotations/panoptic_train2017/007.png")
    return make


def instances(make, annotations, name="instances_val2017", categories=CATEGORIES):
    data = {"images": [IMAGE], "annotations": annotations, "categories": categories}
    return make.lines(f"annotations/{name}.json", json.dumps(data))


def box(top, left, bottom, right):
    """Polygon of the pixels from (top, left) to before (bottom, right)."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def test_panoptic_categories_become_the_vocabulary(panoptic):
    data = open_data(str(panoptic.root))
    assert data.spec.split == "train2017"
    assert data.ids == ("007",)
    assert data.vocabulary.classes == ("person", "dog", "rug")  # in order of category id
    assert data.vocabulary.background is None
    sample = data.load("007", {"image", "truth", "tags"})
    assert sample.truth.tolist() == [[0, 0, 2, 255], [0, 1, 1, 2]]
    assert sample.instances.tolist() == [[1, 1, 0, 0], [3, 0, 0, 0]]  # no stuff, no crowd
    assert sample.tags == {0, 1, 2}


def test_panoptic_things_only(panoptic, tmp_path):
    path = tmp_path / "things.toml"
    path.write_text(
        'classes = ["background", "hound", "person"]\nbackground = 0\n[aliases]\ndog = "hound"\n', encoding="utf-8"
    )
    data = open_data(str(panoptic.root), vocabulary=str(path))
    assert data.truth("007").tolist() == [[2, 2, 0, 255], [2, 1, 1, 0]]


@pytest.mark.parametrize(
    ("vocabulary", "message"), [("voc", "18 classes without a category"), ("camvid", "3 categories without a class")]
)
def test_panoptic_vocabulary_that_does_not_fit(panoptic, vocabulary, message):
    with pytest.raises(DataError, match=message):
        open_data(str(panoptic.root), vocabulary=vocabulary)


def test_panoptic_split_names(panoptic):
    assert open_data(str(panoptic.root), split="train").spec.split == "train2017"
    with pytest.raises(DataError, match="split 'val' does not exist") as caught:
        open_data(str(panoptic.root), split="val")
    assert "train2017" in caught.value.hint


def test_json_file_named_directly(panoptic):
    file = panoptic.root / "annotations/panoptic_train2017.json"
    assert open_data(str(file)).truth("007")[1, 0] == 0
    assert open_data(f"coco:{file}").image("007").shape == (2, 4, 3)
    with pytest.raises(DataError, match="holds one split, 'train2017', got --split val"):
        open_data(str(file), split="val")


def test_panoptic_segment_unknown_to_the_json(panoptic):
    segments([[70000, 70000, 300, 0], [5, 6, 6, 9]]).save(panoptic.root / "annotations/panoptic_train2017/007.png")
    with pytest.raises(DataError, match=r"got segment 9 in .*007\.png"):
        open_data(str(panoptic.root)).truth("007")


def test_panoptic_files_missing_or_wrong(panoptic):
    path = panoptic.root / "annotations/panoptic_train2017/007.png"
    data = open_data(str(panoptic.root))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot be read"):
        data.truth("007")
    panoptic.ids("annotations/panoptic_train2017/007.png", [[0, 0, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(DataError, match="must be RGB"):
        data.truth("007")
    path.unlink()
    with pytest.raises(DataError, match="mask file not found"):
        data.truth("007")
    (panoptic.root / "train2017/007.jpg").unlink()
    with pytest.raises(DataError, match="image of '007' not found"):
        open_data(str(panoptic.root)).image("007")


def test_panoptic_without_images(panoptic):
    (panoptic.root / "train2017/007.jpg").unlink()
    assert open_data(str(panoptic.root)).load("007", {"truth"}).size == (2, 4)


def test_instances_paint_large_before_small(make):
    instances(
        make,
        [
            {"image_id": 7, "category_id": 18, "segmentation": box(0, 1, 1, 2), "area": 1, "iscrowd": 0},
            {"image_id": 7, "category_id": 1, "segmentation": box(0, 0, 2, 3), "area": 6, "iscrowd": 0},
        ],
    )
    data = open_data(str(make.root))
    assert data.vocabulary.classes == ("background", "person", "dog", "rug")
    sample = data.load("007", {"truth"})
    assert sample.truth.tolist() == [[1, 2, 1, 0], [1, 1, 1, 0]]
    assert sample.instances.tolist() == [[1, 2, 1, 0], [1, 1, 1, 0]]
    assert data.load("007", set()).size == (2, 4)


def test_crowds_are_void_but_objects_on_them_stay(make):
    crowd = {"size": [2, 4], "counts": [0, 6, 2]}  # column by column: the first three columns
    instances(
        make,
        [
            {"image_id": 7, "category_id": 18, "segmentation": box(0, 0, 1, 1), "area": 1, "iscrowd": 0},
            {"image_id": 7, "category_id": 1, "segmentation": crowd, "area": 6, "iscrowd": 1},
        ],
    )
    sample = open_data(str(make.root)).load("007", {"truth", "tags"})
    assert sample.truth.tolist() == [[2, 255, 255, 0], [255, 255, 255, 0]]
    assert sample.instances.tolist() == [[2, 0, 0, 0], [0, 0, 0, 0]]
    assert sample.tags == {2}


def test_compressed_run_lengths(make):
    from pycocotools import mask as coco_mask

    rows = np.array([[0, 1, 0, 0], [0, 1, 1, 0]], np.uint8)
    runs = coco_mask.encode(np.asfortranarray(rows))
    runs = {"size": [2, 4], "counts": runs["counts"].decode("ascii")}
    instances(make, [{"image_id": 7, "category_id": 1, "segmentation": runs, "area": 3, "iscrowd": 0}])
    assert np.array_equal(open_data(str(make.root)).truth("007"), rows)


def test_image_without_objects_is_background(make):
    instances(make, [])
    assert open_data(str(make.root)).truth("007").tolist() == [[0] * 4] * 2


def test_instances_of_all_coco_categories_are_coco_object():
    coco = load_vocabulary("coco-object")
    pairs = zip(coco.raw_ids[1:], coco.classes[1:], strict=True)
    assert instance_vocabulary([{"id": i, "name": n} for i, n in pairs]).name == "coco-object"


def test_instances_need_background(make):
    instances(make, [])
    with pytest.raises(DataError, match="leave background between them"):
        open_data(str(make.root), vocabulary="camvid")


@pytest.mark.parametrize(
    "segmentation",
    [{"size": [3, 3], "counts": [0, 9]}, {"size": [2, 4]}, [[0, 0, 1, 1]], [[0, 0, 1, 1, 2]], [], [5], 5],
)
def test_malformed_segmentation(make, segmentation):
    instances(make, [{"image_id": 7, "category_id": 1, "segmentation": segmentation, "area": 1, "iscrowd": 0}])
    with pytest.raises(DataError, match=r"segmentation .*instances_val2017\.json, '007'"):
        open_data(str(make.root)).truth("007")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "must hold annotations, categories, images"),
        ('{"images": [], "annotations": []}', "must hold categories"),
        ('{"images": [], "annotations": [], "categories": []}', "no image in"),
    ],
)
def test_malformed_json(make, content, message):
    make.lines("annotations/instances_train2017.json", content)
    with pytest.raises(DataError, match=message):
        open_data(str(make.root))


def test_annotation_without_category(make):
    instances(make, [{"image_id": 7, "segmentation": []}])
    with pytest.raises(DataError, match=r"malformed in .*category_id"):
        open_data(str(make.root))


def test_panoptic_is_preferred_over_instances(panoptic):
    instances(panoptic, [], name="instances_train2017")
    assert open_data(str(panoptic.root)).vocabulary.name == "coco-panoptic"


def test_both_years_must_be_named_in_full(make):
    for year in (2014, 2017):
        instances(make, [], name=f"instances_train{year}")
    with pytest.raises(DataError, match="split 'train' does not exist"):
        open_data(str(make.root), split="train")
    assert open_data(str(make.root), split="train2014").ids == ("007",)


def test_stuff_pixel_maps(make):
    make.image("val2017/9.jpg", (1, 4))
    make.ids("stuffthingmaps/val2017/9.png", [[0, 12, 181, 255]])
    make.ids("stuffthingmaps/val2017/9_labelTrainIds.png", [[0, 11, 170, 255]])
    data = open_data(str(make.root))
    assert data.vocabulary.name == "coco-stuff"
    assert data.ids == ("9",)
    assert data.truth("9").tolist() == [[0, 11, 170, 255]]
    make.ids("stuffthingmaps/val2017/9.png", [[0, 12, 181, 11]])  # 11 is a category that was never released
    with pytest.raises(DataError, match=r"got 11 in .*9\.png"):
        data.truth("9")


def test_stuff_maps_missing(panoptic):
    with pytest.raises(DataError, match="no COCO-Stuff masks in"):
        open_data(str(panoptic.root), vocabulary="coco-stuff")
