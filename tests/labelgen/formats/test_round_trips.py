import importlib.util
import json
import zipfile

import numpy as np
import pytest
from format_toys import IDS, VOCABULARIES, export, labels_of, read_back, toy_data, tree
from PIL import Image
from scipy import ndimage

from labelgen.data.open import open_data
from labelgen.errors import ConfigError
from labelgen.formats.cityscapes import instance_ids
from labelgen.formats.export_masks import estimate_export
from labelgen.formats.format import ExportOptions
from labelgen.formats.table import FORMATS
from labelgen.store import MaskFolder
from labelgen.vocab import Vocabulary

SUFFIX = {name: row.suffix for name, row in FORMATS.items() if row.write}


def outputs(name, folder):
    return folder / f"out{SUFFIX[name]}"


@pytest.fixture(scope="module", params=[name for name in VOCABULARIES if name != "cityscapes"])
def toy(request, tmp_path_factory):
    return toy_data(tmp_path_factory.mktemp("toy") / request.param, request.param)


@pytest.mark.parametrize("name", [name for name in SUFFIX if name != "cityscapes"])
def test_masks_come_back(toy, tmp_path, name):
    if name == "hf":
        pytest.importorskip("pyarrow")
    dataset, labels = toy
    out = outputs(name, tmp_path)
    export(labels, name, out, dataset=dataset)
    read = read_back(name, out, dataset.vocabulary)
    for sample_id in IDS:
        expected = labels.labels(sample_id)
        found = read(sample_id, expected.shape)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=sample_id)


def test_cityscapes_masks_come_back(tmp_path):
    dataset, labels = toy_data(tmp_path / "city", "cityscapes")
    export(labels, "cityscapes", tmp_path / "out")
    for path in (tmp_path / "out", tmp_path / "out/gtFine/train"):
        read = read_back("cityscapes", path, dataset.vocabulary)
        for sample_id in IDS:
            np.testing.assert_array_equal(read(sample_id, labels.labels(sample_id).shape), labels.labels(sample_id))
    for path in (tmp_path / "out").rglob("*_labelIds.png"):
        path.unlink()  # now train ids are read
    read = read_back("cityscapes", tmp_path / "out", dataset.vocabulary)
    np.testing.assert_array_equal(read("whole", (6, 5)), labels.labels("whole"))


def test_cityscapes_counts_humans_and_vehicles(tmp_path):
    """Read as Cityscapes' own scripts do: below 1000 a label id, else label id * 1000 + number of the object."""
    _, labels = toy_data(tmp_path / "city", "cityscapes")
    plan = estimate_export(labels, "cityscapes", tmp_path / "out", ExportOptions(instances=True), ids=IDS, dataset=None)
    export(labels, "cityscapes", tmp_path / "out", instances=True)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 3 * len(IDS) + 1 and plan.bytes == sum(path.stat().st_size for path in files)
    things = (24, 25, 26, 27, 28, 31, 32, 33)  # hasInstances in labels.py of cityscapesScripts
    for sample_id in IDS:
        stem = tmp_path / "out/gtFine/train" / sample_id
        instances = np.array(Image.open(f"{stem}_gtFine_instanceIds.png"), np.int64)
        label_ids = np.array(Image.open(f"{stem}_gtFine_labelIds.png"), np.int64)
        counted = instances >= 1000
        np.testing.assert_array_equal(np.where(counted, instances // 1000, instances), label_ids)
        np.testing.assert_array_equal(counted, np.isin(label_ids, things))
        for label_id in set(label_ids[counted].tolist()):
            _, count = ndimage.label(label_ids == label_id, np.ones((3, 3)))
            assert np.unique(instances[label_ids == label_id]).tolist() == [1000 * label_id + k for k in range(count)]
    back = open_data(f"cityscapes:{tmp_path / 'out'}")
    assert (back.load("whole", {"truth"}).instances > 0).any()


def test_more_objects_than_can_be_counted_are_a_group():
    labels = np.zeros((40, 120), np.uint8)
    labels[::2, ::2] = 1  # 1200 single pixels
    label_ids, is_thing = np.zeros(256, np.uint8), np.arange(256) == 1
    label_ids[:2] = 23, 26
    ids = instance_ids(labels, label_ids, is_thing, ignore=255)
    assert sorted(set(ids[labels == 1].tolist())) == [26, *range(26000, 27000)]
    assert (ids == 26).sum() == 200 and (ids[labels == 0] == 23).all()


@pytest.mark.parametrize("name", ["coco-panoptic", "cvat", "label-studio"])
def test_masks_of_components_come_back(tmp_path, name):
    dataset, labels = toy_data(tmp_path / "data")
    out = outputs(name, tmp_path)
    export(labels, name, out, dataset=dataset, instances=True)
    read = read_back(name, out, dataset.vocabulary)
    for sample_id in IDS:
        np.testing.assert_array_equal(read(sample_id, labels.labels(sample_id).shape), labels.labels(sample_id))


@pytest.mark.parametrize("name", SUFFIX)
def test_bytes_depend_on_the_labels_only(tmp_path, name):
    if name == "hf":
        pytest.importorskip("pyarrow")
    dataset, labels = toy_data(tmp_path / "one", "cityscapes")
    first, second = outputs(name, tmp_path / "x"), outputs(name, tmp_path / "y" / "z")
    export(labels, name, first, dataset=dataset)
    export(labels, name, second, dataset=dataset)
    before = tree(first)
    assert before and before == tree(second)
    export(labels, name, first, dataset=dataset, overwrite=True)
    assert tree(first) == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_large_exports_are_cut_into_shards(tmp_path, monkeypatch):
    from labelgen.formats import hf, webdataset

    monkeypatch.setattr(webdataset, "SHARD_SIZE", 2)
    monkeypatch.setattr(hf, "BATCH", 2)
    dataset, labels = toy_data(tmp_path / "data")
    names = ["webdataset"]
    export(labels, "webdataset", tmp_path / "webdataset", dataset=dataset)
    assert len(list((tmp_path / "webdataset").glob("*.tar"))) == 3
    if importlib.util.find_spec("pyarrow"):
        for size, files in ((10**9, 1), (1, 3)):
            monkeypatch.setattr(hf, "SHARD_BYTES", size)
            export(labels, "hf", tmp_path / f"hf-{files}", dataset=dataset)
            assert len(list((tmp_path / f"hf-{files}").glob("data-*.arrow"))) == files
            names.append(f"hf-{files}")
    for name in names:
        read = read_back(name.partition("-")[0], tmp_path / name, dataset.vocabulary)
        for sample_id in IDS:
            np.testing.assert_array_equal(read(sample_id, labels.labels(sample_id).shape), labels.labels(sample_id))


def test_ids_of_a_mask_follow_the_names_of_its_file(tmp_path):
    # the file numbers its classes in another order than the vocabulary that reads it
    dataset, labels = toy_data(tmp_path / "data", "later")
    turned = type(dataset.vocabulary)("turned", ("dog", "cat", "ground"), background=2)
    for name in ("coco", "coco-panoptic", "voc", "cvat", "label-studio", "webdataset"):
        out = outputs(name, tmp_path / name)
        export(labels, name, out, dataset=dataset)
        found = read_back(name, out, turned)("whole", (6, 5))
        np.testing.assert_array_equal(found, np.array([1, 2, 0], np.uint8)[labels.labels("whole")], err_msg=name)


def test_voc_takes_colours_as_well_as_ids(tmp_path):
    from PIL import Image

    dataset, labels = toy_data(tmp_path / "data")
    export(labels, "voc", tmp_path / "out")
    path = tmp_path / "out/SegmentationClass/a/00.png"
    with Image.open(path) as picture:
        assert picture.mode == "P" and picture.getpalette()[-3:] == [224, 224, 192]
        np.testing.assert_array_equal(np.array(picture), labels.labels("a/00"))
        picture.convert("RGB").save(path)
    found = read_back("voc", tmp_path / "out", dataset.vocabulary)("a/00", (5, 7))
    np.testing.assert_array_equal(found, labels.labels("a/00"))
    assert (tmp_path / "out/ImageSets/Segmentation/default.txt").read_text().splitlines() == list(IDS)
    assert (tmp_path / "out/labelmap.txt").read_text(encoding="utf-8").splitlines()[1:3] == [
        "ground:0,0,0::",
        "cat:128,0,0::",
    ]


def test_a_palette_holds_no_300_classes(tmp_path):
    _, labels = toy_data(tmp_path / "data", "wide")
    (note,) = export(labels, "voc", tmp_path / "out").notes
    assert "16-bit greys, 65535 where unlabelled" in note


def test_cvat_names_every_colour_background_first(tmp_path):
    _, labels = toy_data(tmp_path / "data", "later")
    written = export(labels, "cvat", tmp_path / "out.zip")
    assert "unlabelled pixels have a label of their own" in written.notes[0]
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        lines = archive.read("labelmap.txt").decode().splitlines()
        assert archive.read("ImageSets/Segmentation/default.txt").decode().splitlines() == list(IDS)
    # black is taken and grey stands for two classes, so both give way
    assert lines[1:] == ["background:0,0,0::", "cat:128,0,0::", "dog:9,9,9::", "unlabelled:224,224,192::"]
    names = [label["name"] for label in json.loads((tmp_path / "out-labels.json").read_text())]
    assert names == ["cat", "dog", "unlabelled"]
    whole = export(labels, "cvat", tmp_path / "whole.zip", ids=("whole",))
    assert not whole.notes and "unlabelled" not in (tmp_path / "whole-labels.json").read_text()


def test_cvat_images_without_a_mask_are_background(tmp_path):
    dataset, labels = toy_data(tmp_path / "data")
    export(labels, "cvat", tmp_path / "full.zip")
    with zipfile.ZipFile(tmp_path / "full.zip") as full, zipfile.ZipFile(tmp_path / "some.zip", "w") as some:
        for name in full.namelist():
            if "whole" not in name:
                some.writestr(name, full.read(name))
    assert (read_back("cvat", tmp_path / "some.zip", dataset.vocabulary)("whole", (6, 5)) == 0).all()


def test_objects_leave_background_out_and_say_what_is_lost(tmp_path):
    dataset, labels = toy_data(tmp_path / "data")
    (note,) = export(labels, "coco", tmp_path / "out.json", instances=True).notes
    assert note.startswith("4 images have unlabelled pixels, such as a/00")
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert [c["name"] for c in document["categories"]] == ["cat", "dog & co", "été"]
    found = read_back("coco", tmp_path / "out.json", dataset.vocabulary, rest="background")("whole", (6, 5))
    np.testing.assert_array_equal(found, labels.labels("whole"))
    _, bare = toy_data(tmp_path / "bare", "without")
    assert not export(bare, "coco", tmp_path / "bare.json", instances=True).notes  # absent means unlabelled there


def test_files_name_images_as_they_are(tmp_path):
    dataset, labels = toy_data(tmp_path / "data")
    export(labels, "coco", tmp_path / "a.json", dataset=dataset)
    export(labels, "coco", tmp_path / "b.json")  # their data set is not known
    names = [[i["file_name"] for i in json.loads((tmp_path / n).read_bytes())["images"]] for n in ("a.json", "b.json")]
    assert names[0] == ["a/00.jpg", "a/frame.1.png", "b/c d/02.jpg", "void.jpg", "whole.jpg"]
    assert names[1][1] == "a/frame.1.jpg"
    export(labels, "voc", tmp_path / "voc", dataset=dataset, images=True)
    assert (tmp_path / "voc/JPEGImages/a/00.jpg").read_bytes() == (tmp_path / "data/images/a/00.jpg").read_bytes()
    export(labels, "label-studio", tmp_path / "ls", dataset=dataset)
    tasks = json.loads((tmp_path / "ls/tasks.json").read_bytes())
    assert tasks[2]["data"] == {"image": "/data/local-files/?d=images/b/c%20d/02.jpg", "image_id": "b/c d/02"}


def test_images_that_exif_data_turn_are_written_as_they_were_labelled(tmp_path):
    from PIL import Image

    dataset, labels = toy_data(tmp_path / "data")
    path = tmp_path / "data/images/whole.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(path, exif=exif)  # 6 rows and 5 columns when turned
    export(labels, "voc", tmp_path / "voc", dataset=dataset, images=True)
    with Image.open(tmp_path / "voc/JPEGImages/whole.png") as picture:
        assert picture.size == (5, 6) and not picture.getexif()


def test_formats_refuse_what_they_cannot_say(tmp_path):
    _, labels = toy_data(tmp_path / "data")
    with pytest.raises(ConfigError, match="Cityscapes ids are for the classes of Cityscapes, got ground"):
        export(labels, "cityscapes", tmp_path / "out")
    with pytest.raises(ConfigError, match="needs image files"):
        export(labels, "label-studio", tmp_path / "out")
    with pytest.raises(ConfigError, match="only read"):
        export(labels, "instances", tmp_path / "out")
    with pytest.raises(ConfigError, match="--instances has no say for the format voc"):
        export(labels, "voc", tmp_path / "out", instances=True)
    with pytest.raises(ConfigError, match="images are always written"):
        export(labels, "hf", tmp_path / "out", images=True)
    with pytest.raises(ConfigError, match=r"is one file, \.json, got --out"):
        export(labels, "coco", tmp_path / "out")
    odd = MaskFolder(tmp_path / "data/masks", vocabulary=Vocabulary("v", ("sky", "sea:deep", "sand", "reef")))
    with pytest.raises(ConfigError, match="cannot hold a class named 'sea:deep'"):
        export(odd, "voc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_of_the_toy_are_what_the_tests_need():
    vocabulary = VOCABULARIES["background"]
    assert (labels_of("void", (4, 4), vocabulary) == 255).all()
    assert not (labels_of("whole", (6, 5), vocabulary) == 255).any()
