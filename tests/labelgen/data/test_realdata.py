"""Every reader that has real files: counts, sizes, ids."""

import json

import numpy as np
import pytest
from PIL import Image

from labelgen.data import open_data

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("folder", "split", "count"),
    [
        ("voc2012-animals", "train", 437),
        ("voc2012-animals", "val", 170),
        ("voc2012-animals-aug", "train", 2694),
        ("voc2012-masks", "train", 1464),
        ("voc2012-masks", "val", 1174),
        ("voc2012-ten", "val", 10),
        ("camvid", "train", 100),
        ("camvid", "val", 40),
        ("coco-panoptic-60", "train2017", 60),
    ],
)
def test_counts_and_a_few_samples(shared_data, folder, split, count):
    data = open_data(str(shared_data / folder), split=split)
    assert len(data.ids) == count
    fields = {"truth", "tags"} | ({"image"} if folder != "voc2012-masks" else set())
    for sample_id in data.ids[:: count // 3]:
        sample = data.load(sample_id, fields)
        assert sample.truth.shape == sample.size
        assert sample.tags
        assert max(sample.tags) < data.vocabulary.num_classes


def test_voc_masks_are_read_as_they_are(shared_data):
    data = open_data(str(shared_data / "voc2012-ten"))
    for sample_id in data.ids:
        with Image.open(shared_data / "voc2012-ten" / "SegmentationClass" / f"{sample_id}.png") as picture:
            assert np.array_equal(data.truth(sample_id), np.asarray(picture))


def test_default_of_ten_images_is_the_only_split(shared_data):
    assert open_data(str(shared_data / "voc2012-ten")).spec.split == "val"


def test_camvid_has_no_eleven_left(shared_data):
    data = open_data(str(shared_data / "camvid"))
    present = set(np.unique(np.stack([data.truth(i) for i in data.ids[:10]])))
    assert present <= {*range(11), 255}
    assert 255 in present


def test_panoptic_area_of_each_segment(shared_data):
    """The JSON states the area of each segment; the decoded instances must have it."""
    root = shared_data / "coco-panoptic-60"
    data = open_data(str(root), limit=5)
    annotations = json.loads((root / "annotations/panoptic_train2017.json").read_text(encoding="utf-8"))
    things = {c["id"] for c in annotations["categories"] if c["isthing"]}
    by_id = {int(a["file_name"].removesuffix(".png")): a["segments_info"] for a in annotations["annotations"]}
    for sample_id in data.ids:
        sample = data.load(sample_id, {"truth"})
        for number, info in enumerate(by_id[int(sample_id)], start=1):
            if info["category_id"] in things and not info["iscrowd"]:
                assert (sample.instances == number).sum() == info["area"]
                name = next(c["name"] for c in annotations["categories"] if c["id"] == info["category_id"])
                assert set(sample.truth[sample.instances == number]) == {data.vocabulary.id_of(name)}


def test_coco_object_keeps_things_and_calls_the_rest_background(shared_data):
    root = str(shared_data / "coco-panoptic-60")
    whole, things = open_data(root, limit=5), open_data(root, limit=5, vocabulary="coco-object")
    for sample_id in things.ids:
        expected = np.array([*range(1, 81), *[0] * 53], np.uint8)
        truth = whole.truth(sample_id)
        ignored = truth == 255
        assert np.array_equal(things.truth(sample_id)[~ignored], expected[truth[~ignored]])
        assert (things.truth(sample_id)[ignored] == 255).all()


def test_instances_painted_by_pycocotools_equal_the_panoptic_things(shared_data, tmp_path):
    """The things of real panoptic PNGs, written as run lengths into an instances JSON, come back as they were."""
    from pycocotools import mask as coco_mask

    root = shared_data / "coco-panoptic-60"
    truth = json.loads((root / "annotations/panoptic_train2017.json").read_text(encoding="utf-8"))
    panoptic = open_data(str(root), limit=4, vocabulary="coco-object")
    coco_id = panoptic.vocabulary.raw_ids
    annotations = []
    for sample_id in panoptic.ids:
        sample = panoptic.load(sample_id, {"truth"})
        for number in np.unique(sample.instances)[1:]:
            mask = np.asfortranarray(sample.instances == number).astype(np.uint8)
            runs = coco_mask.encode(np.asfortranarray(mask))
            segmentation = {"size": runs["size"], "counts": runs["counts"].decode("ascii")}
            category = coco_id[sample.truth[mask == 1][0]]
            area = int(mask.sum())
            annotations.append(
                {"image_id": int(sample_id), "category_id": category, "segmentation": segmentation, "area": area}
            )
    categories = [c for c in truth["categories"] if c["isthing"]]
    images = [i for i in truth["images"] if i["file_name"].removesuffix(".jpg") in panoptic.ids]
    (tmp_path / "annotations").mkdir()
    content = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (tmp_path / "annotations" / "instances_train2017.json").write_text(content, encoding="utf-8")
    instances = open_data(str(tmp_path))
    assert instances.vocabulary.name == "coco-object"
    assert instances.ids == panoptic.ids
    for sample_id in instances.ids:
        expected = panoptic.load(sample_id, {"truth"})
        found = instances.load(sample_id, {"truth"})
        objects = expected.instances > 0
        assert np.array_equal(found.truth[objects], expected.truth[objects])
        assert (found.truth[~objects] == 0).all()
        assert (found.instances > 0).sum() == objects.sum()
