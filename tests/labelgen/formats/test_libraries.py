"""Each export is read by the library that owns the format, and holds the same masks."""

import contextlib
import io
import json
import zipfile

import numpy as np
import pytest
from format_toys import IDS, SIZES, VOCABULARIES, export, read_back, toy_data
from oracles import ask

from labelgen.formats.brush import decode_brush, encode_brush
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, NumPy 2


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("libraries") / "data")


def coco_of(path):
    """The file as pycocotools opens it."""
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("name", list(VOCABULARIES))
def test_pycocotools_reads_the_masks_of_coco(tmp_path, name):
    dataset, labels = toy_data(tmp_path / "data", name)
    vocabulary = dataset.vocabulary
    export(labels, "coco", tmp_path / "out.json", dataset=dataset)
    coco = coco_of(tmp_path / "out.json")
    class_of = {c["id"]: vocabulary.classes.index(c["name"]) for c in coco.loadCats(coco.getCatIds())}
    assert 0 not in class_of  # tools take it for no class
    for image in coco.loadImgs(coco.getImgIds()):
        expected = labels.labels(image["file_name"].rpartition(".")[0])
        found = np.full_like(expected, vocabulary.ignore)
        for record in coco.loadAnns(coco.getAnnIds(image["id"])):
            mask = coco.annToMask(record).astype(bool)
            assert (found[mask] == vocabulary.ignore).all()  # one mask a class, none over another
            found[mask] = class_of[record["category_id"]]
            assert record["area"] == mask.sum() and isinstance(record["segmentation"]["counts"], str)
            rows, cols = np.nonzero(mask)
            box = [cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1]
            assert record["bbox"] == [float(side) for side in box]
        np.testing.assert_array_equal(found, expected)


def test_areas_and_iou_of_pycocotools_are_those_of_quality(tmp_path, toy):
    from pycocotools import mask as coco_mask

    dataset, labels = toy
    export(labels, "coco", tmp_path / "out.json")
    coco = coco_of(tmp_path / "out.json")
    image = next(i for i in coco.loadImgs(coco.getImgIds()) if i["file_name"] == "whole.jpg")
    class_of = {c["id"]: dataset.vocabulary.classes.index(c["name"]) for c in coco.loadCats(coco.getCatIds())}
    runs = {class_of[r["category_id"]]: r["segmentation"] for r in coco.loadAnns(coco.getAnnIds(image["id"]))}
    expected = labels.labels("whole")
    truth = np.roll(expected, 1, axis=0)
    scores = scores_from_confusion(confusion_matrix(truth, expected, num_classes=4))
    for class_id, segmentation in runs.items():
        other = coco_mask.encode(np.asfortranarray(truth == class_id, np.uint8))
        iou = coco_mask.iou([segmentation], [other], [0])
        assert int(coco_mask.area(segmentation)) == scores.label_pixels[class_id]
        assert float(iou[0, 0]) == pytest.approx(float(scores.iou[class_id]), abs=1e-12)


def test_pycocotools_reads_components(tmp_path, toy):
    from scipy import ndimage

    _, labels = toy
    export(labels, "coco", tmp_path / "out.json", instances=True)
    coco = coco_of(tmp_path / "out.json")
    for number, sample_id in enumerate(IDS, start=1):
        expected = labels.labels(sample_id)
        for class_id in (1, 2, 3):
            masks = [coco.annToMask(r) for r in coco.loadAnns(coco.getAnnIds(number, class_id))]
            assert len(masks) == ndimage.label(expected == class_id, np.ones((3, 3)))[1]
            np.testing.assert_array_equal(np.sum(masks, axis=0) if masks else 0 * expected, expected == class_id)


def test_datasets_reads_the_columns(tmp_path, toy):
    datasets = pytest.importorskip("datasets", reason="it is in the extra labelgen[hf]")
    dataset, labels = toy
    export(labels, "hf", tmp_path / "out", dataset=dataset)
    found = datasets.load_from_disk(str(tmp_path / "out"))
    assert found["id"][:] == list(IDS) and isinstance(found.features["annotation"], datasets.Image)
    for row in found:
        np.testing.assert_array_equal(np.array(row["annotation"]), labels.labels(row["id"]))
        np.testing.assert_array_equal(np.array(row["image"].convert("RGB")), dataset.image(row["id"]))
    assert json.loads((tmp_path / "out/id2label.json").read_bytes())["3"] == "été"
    # and what the library itself has written is read here
    found.save_to_disk(str(tmp_path / "again"))
    read = read_back("hf", tmp_path / "again", dataset.vocabulary)
    for sample_id in IDS:
        np.testing.assert_array_equal(read(sample_id, labels.labels(sample_id).shape), labels.labels(sample_id))


def test_datasets_reads_masks_of_16_bits(tmp_path):
    datasets = pytest.importorskip("datasets", reason="it is in the extra labelgen[hf]")
    dataset, labels = toy_data(tmp_path / "wide", "wide")
    export(labels, "hf", tmp_path / "out", dataset=dataset)
    for row in datasets.load_from_disk(str(tmp_path / "out")):
        np.testing.assert_array_equal(np.array(row["annotation"]), labels.labels(row["id"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("name", ["background", "wide"])
def test_webdataset_reads_the_shards(tmp_path, name):
    wds = pytest.importorskip("webdataset", reason="it is in the extra labelgen[wds]")
    from PIL import Image

    dataset, labels = toy_data(tmp_path / "data", name)
    export(labels, "webdataset", tmp_path / "out", dataset=dataset)
    shard = (tmp_path / "out/shard-000000.tar").as_posix()
    as_stored = wds.handle_extension("png", lambda content: Image.open(io.BytesIO(content)))
    samples = list(wds.WebDataset(f"file:{shard}", shardshuffle=False).decode(as_stored, "pil"))
    assert [sample["json"]["id"] for sample in samples] == list(IDS)
    assert [sample["__key__"] for sample in samples][1] == "a/frame%2E1"
    for sample in samples:
        sample_id = sample["json"]["id"]
        np.testing.assert_array_equal(np.array(sample["png"]), labels.labels(sample_id))
        image = sample["jpg"] if "jpg" in sample else sample["image.png"]
        np.testing.assert_array_equal(np.array(image.convert("RGB")), dataset.image(sample_id))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_shards_of_the_library_are_read(tmp_path, toy):
    wds = pytest.importorskip("webdataset", reason="it is in the extra labelgen[wds]")
    from PIL import Image

    dataset, labels = toy
    with wds.ShardWriter((tmp_path / "s-%03d.tar").as_posix(), maxcount=2, verbose=0) as writer:
        for sample_id in ("void", "whole"):
            mask = Image.fromarray(labels.labels(sample_id))
            stream = io.BytesIO()
            mask.save(stream, "PNG")
            writer.write({"__key__": sample_id, "png": stream.getvalue()})
    read = read_back("webdataset", tmp_path, dataset.vocabulary)
    np.testing.assert_array_equal(read("whole", (6, 5)), labels.labels("whole"))


DECODE = """
import contextlib, io, json, sys
import numpy as np
from label_studio_sdk.converter import brush
tasks = json.load(open(sys.argv[1], encoding="utf-8"))
found = {}
for task in tasks:
    regions = []
    for result in task["predictions"][0]["result"]:
        size = result["original_height"], result["original_width"], 4
        pixels = brush.decode_rle(result["value"]["rle"]).reshape(size)
        assert (pixels == pixels[..., :1]).all() and set(np.unique(pixels)) <= {0, 255}
        regions.append([result["value"]["brushlabels"][0], (pixels[..., 3] > 0).astype(int).tolist()])
    found[task["data"]["image_id"]] = regions
rng = np.random.default_rng(0)
masks = [rng.random((7, 5)) < 0.5, np.ones((300, 90), bool), np.zeros((2, 2), bool)]
theirs = [[mask.astype(int).tolist(), brush.mask2rle(mask.astype(np.uint8) * 255)] for mask in masks]
print(json.dumps({"found": found, "theirs": theirs}))
"""


@pytest.mark.slow
def test_label_studio_decodes_the_brush_masks(tmp_path, toy):
    dataset, labels = toy
    export(labels, "label-studio", tmp_path / "out", dataset=dataset)
    answer = json.loads(ask("label-studio-sdk", DECODE, tmp_path / "out/tasks.json"))
    assert list(answer["found"]) == list(IDS)
    for sample_id, regions in answer["found"].items():
        expected = labels.labels(sample_id)
        found = np.full_like(expected, 255)
        for name, mask in regions:
            found[np.array(mask, bool)] = dataset.vocabulary.classes.index(name)
        np.testing.assert_array_equal(found, expected)
    for mask, content in answer["theirs"]:
        pixels = np.array(mask, bool)
        np.testing.assert_array_equal(decode_brush(content, pixels.shape, where="theirs"), pixels)
        assert encode_brush(pixels) in (content, content[:-1])  # theirs may end in a byte that says nothing


DATUMARO = """
import json, sys
import numpy as np
from datumaro.components.dataset import Dataset
kind, path = sys.argv[1:]
dataset = Dataset.import_from(path, kind)
names = [label.name for label in dataset.categories()[next(iter(dataset.categories()))]]
found = {}
for item in dataset:
    masks = [a for a in item.annotations if hasattr(a, "image")]  # others are boxes
    found[item.id] = [[names[a.label], np.asarray(a.image).astype(int).tolist()] for a in masks]
print(json.dumps(found))
"""


def datumaro_masks(kind, path, *, empty):
    """Label maps as datumaro reads them, by name; pixels in no mask are `empty`."""
    answer = json.loads(ask("datumaro", DATUMARO, kind, path).splitlines()[-1])
    found = {}
    for sample_id, regions in answer.items():
        if regions:
            names = np.full(np.shape(regions[0][1]), empty, object)
            for name, mask in regions:
                names[np.array(mask, bool)] = name
            found[sample_id] = names
    return found


def names_of(labels, vocabulary):
    table = dict(enumerate(vocabulary.classes)) | {vocabulary.ignore: "unlabelled"}
    return np.vectorize(table.get, otypes=[object])(labels)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["voc", "cvat", "coco", "coco-panoptic"])
def test_datumaro_reads_the_same_masks(tmp_path, toy, name):
    dataset, labels = toy
    vocabulary = dataset.vocabulary
    out = tmp_path / {"cvat": "out.zip", "coco": "out/annotations/instances_x.json"}.get(name, "out")
    export(labels, name, out, dataset=dataset)
    kind = {"voc": "voc_segmentation", "cvat": "voc_segmentation", "coco": "coco_instances"}.get(name, "coco_panoptic")
    path, empty = out, "unlabelled"
    if name == "cvat":
        with zipfile.ZipFile(out) as archive:
            archive.extractall(tmp_path / "unzipped")
        path = tmp_path / "unzipped"
    if name in ("voc", "cvat"):
        empty = "ground"
    if name == "coco-panoptic":
        path = out / "annotations/panoptic_default.json"
    if name in ("coco", "coco-panoptic"):
        (tmp_path / "out/images").mkdir()  # it insists on one
    found = datumaro_masks(kind, path, empty=empty)
    for sample_id in IDS:
        expected = names_of(labels.labels(sample_id), vocabulary)
        if sample_id not in found:
            assert sample_id == "void" and empty == "unlabelled"  # no mask at all
            continue
        masks = found[sample_id]
        masks[masks == "background"] = "ground"
        np.testing.assert_array_equal(masks, expected, err_msg=sample_id)
    assert len(SIZES) == len(IDS)
