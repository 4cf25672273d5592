"""Masks of real data sets: their own files are read, and exports of them come back and agree with pycocotools."""

import json

import numpy as np
import pytest
from format_toys import export, read_back

from labelgen.data.open import open_data
from labelgen.formats.table import FORMATS
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from labelgen.store import MaskFolder

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools, NumPy 2
]


@pytest.fixture
def voc(shared_data):
    root = shared_data / "voc2012-ten"
    dataset = open_data(f"voc:{root}", limit=2)
    return dataset, MaskFolder(root / "SegmentationClass", vocabulary=dataset.vocabulary)


@pytest.mark.parametrize("name", [name for name, row in FORMATS.items() if row.write and name != "cityscapes"])
def test_real_masks_come_back(voc, tmp_path, name):
    if name == "hf":
        pytest.importorskip("pyarrow")
    dataset, labels = voc
    out = tmp_path / f"out{FORMATS[name].suffix}"
    export(labels, name, out, dataset=dataset, ids=dataset.ids)
    read = read_back(name, out, dataset.vocabulary)
    for sample_id in dataset.ids:
        truth = dataset.truth(sample_id)
        np.testing.assert_array_equal(read(sample_id, truth.shape), truth)


def test_the_files_of_voc_are_read(voc, shared_data):
    dataset, _ = voc
    read = read_back("voc", shared_data / "voc2012-ten", dataset.vocabulary)
    for sample_id in dataset.ids:
        truth = dataset.truth(sample_id)
        np.testing.assert_array_equal(read(sample_id, truth.shape), truth)


def test_the_files_of_coco_panoptic_are_read(shared_data):
    root = shared_data / "coco-panoptic-60"
    dataset = open_data(f"coco:{root}", limit=2)
    (file,) = root.glob("annotations/panoptic_*.json")
    read = read_back("coco-panoptic", file, dataset.vocabulary)
    for sample_id in dataset.ids:
        truth = dataset.truth(sample_id)
        np.testing.assert_array_equal(read(sample_id, truth.shape), truth)


def test_areas_and_iou_of_pycocotools_are_those_of_quality(voc, tmp_path):
    from pycocotools import mask as coco_mask

    dataset, labels = voc
    export(labels, "coco", tmp_path / "x.json", ids=dataset.ids)
    document = json.loads((tmp_path / "x.json").read_bytes())
    class_of = {c["id"]: dataset.vocabulary.classes.index(c["name"]) for c in document["categories"]}
    for image in document["images"]:
        expected = labels.labels(image["file_name"].removesuffix(".jpg"))
        other = np.roll(expected, (9, 14), (0, 1))
        other[expected == 255] = 255  # IoU of both counts the same pixels only where void is void in both
        valid = np.where(other == 255, 255, expected)
        scores = scores_from_confusion(confusion_matrix(other, valid, num_classes=21))
        for record in document["annotations"]:
            if record["image_id"] != image["id"]:
                continue
            class_id = class_of[record["category_id"]]
            assert record["area"] == coco_mask.area(record["segmentation"]) == (expected == class_id).sum()
            one, two = (coco_mask.encode(np.asfortranarray(m == class_id, np.uint8)) for m in (valid, other))
            iou = float(coco_mask.iou([one], [two], [0])[0, 0])
            assert iou == pytest.approx(float(np.nan_to_num(scores.iou[class_id])), abs=1e-12)
