"""Nothing in a file leads out of the folder that was named, is executed, or replaces what is not ours."""

import io
import json
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from format_toys import IDS, export, read_back, toy_data, tree

from labelgen.errors import DataError, RunFolderError
from labelgen.formats import archives
from labelgen.formats.archives import open_archive
from labelgen.formats.export_masks import choose_ids
from labelgen.formats.target import new_file, new_folder
from labelgen.masks import encode_mask
from labelgen.store import MaskFolder
from labelgen.vocab import Vocabulary

VOC = Vocabulary("v", ("ground", "cat"), background=0)
MASK = encode_mask(np.zeros((2, 2), np.uint8))


def zip_of(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode"),
    [("../out.png", 0), ("/etc/out.png", 0), ("a/../../b.png", 0), ("C:/b.png", 0), ("link.png", stat.S_IFLNK | 0o777)],
)
def test_zip_archives_must_hold_plain_files(tmp_path, name, mode):
    path = zip_of(tmp_path / "x.zip", [("SegmentationClass/a.png", MASK, 0), (name, b"/etc/passwd", mode)])
    for kind in ("cvat", "voc"):
        with pytest.raises(DataError, match="must hold plain files"):
            read_back(kind, path, VOC)


def test_zip_archives_are_not_blown_up(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "x.zip", [("SegmentationClass/a.png", MASK, 0)])
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 10)
    with pytest.raises(DataError, match="more than 10 bytes"):
        read_back("voc", path, VOC)("a", (2, 2))
    with pytest.raises(DataError, match="neither a folder nor a zip archive"):
        open_archive(tmp_path / __file__)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_shards_must_hold_plain_files(tmp_path, kind):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = kind, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"must hold plain files, got 'a\.png'"):
        read_back("webdataset", tmp_path, VOC)


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "b/../../a.png"])
def test_names_in_shards_must_stay_there(tmp_path, name):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(MASK)
        archive.addfile(info, io.BytesIO(MASK))
    with pytest.raises(DataError, match="must hold plain files"):
        read_back("webdataset", tmp_path, VOC)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "..\\secret.png"])
def test_panoptic_files_must_lie_beside_their_json(tmp_path, name):
    annotation = {"image_id": 1, "file_name": name, "segments_info": []}
    document = {"images": [], "categories": [], "annotations": [annotation]}
    (tmp_path / "panoptic_x.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="must lie in the folder of its JSON"):
        read_back("coco-panoptic", tmp_path / "panoptic_x.json", VOC)


def test_arrow_files_must_lie_in_their_folder(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../x.arrow"}]}))
    with pytest.raises(DataError, match="must lie in its folder"):
        read_back("hf", tmp_path, VOC)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "x.arrow"}]}))
    (tmp_path / "x.arrow").write_bytes(b"no arrow")
    with pytest.raises(DataError, match="cannot be read"):
        read_back("hf", tmp_path, VOC)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(DataError, match="holds several splits"):
        read_back("hf", tmp_path, VOC)


def test_entities_in_scribbles_are_refused(tmp_path):
    bomb = b'<!DOCTYPE a [<!ENTITY x "y">]><annotation><polygon><tag>&x;</tag></polygon></annotation>'
    (tmp_path / "a.xml").write_bytes(bomb)
    with pytest.raises(DataError, match="must not declare a document type"):
        read_back("scribblesup", tmp_path, VOC)("a", (2, 2))


def test_ids_that_lead_out_of_the_folder_are_not_written(tmp_path):
    _, labels = toy_data(tmp_path / "data")

    class Hostile(MaskFolder):
        ids = ("../../evil",)

    labels.__class__ = Hostile
    with pytest.raises(RunFolderError, match="usable as a file name"):
        choose_ids(labels)


def test_only_exports_are_overwritten(tmp_path):
    _, labels = toy_data(tmp_path / "data")
    before = tree(tmp_path / "data")
    for overwrite in (False, True):
        with pytest.raises(RunFolderError, match="not empty and no export"):
            export(labels, "voc", tmp_path / "data", overwrite=overwrite)
        with pytest.raises(RunFolderError, match=r"is one file, but .* is a folder"):
            export(labels, "cvat", tmp_path / "data", overwrite=overwrite)
        with pytest.raises(RunFolderError, match=r"needs a folder, but .* is a file"):
            export(labels, "voc", tmp_path / "data/vocabulary.toml", overwrite=overwrite)
    assert tree(tmp_path / "data") == before
    (tmp_path / "empty").mkdir()
    export(labels, "voc", tmp_path / "empty", ids=IDS[:1])
    export(labels, "coco", tmp_path / "x.json")
    (tmp_path / "y-labels.json").write_text("mine")
    with pytest.raises(RunFolderError, match=r"y-labels\.json exists"):
        export(labels, "cvat", tmp_path / "y.zip")
    assert not (tmp_path / "y.zip").exists()
    for name, out in (("voc", tmp_path / "empty"), ("coco", tmp_path / "x.json")):
        with pytest.raises(RunFolderError, match="exists"):
            export(labels, name, out)
        export(labels, name, out, overwrite=True)


def test_an_export_that_fails_leaves_nothing_and_keeps_what_was_there(tmp_path):
    _, labels = toy_data(tmp_path / "data")
    out = {"voc": tmp_path / "voc", "cvat": tmp_path / "x.zip", "coco": tmp_path / "x.json"}
    for name, path in out.items():
        export(labels, name, path)
    before = {name: tree(path) for name, path in out.items()}
    (tmp_path / "data/masks/whole.png").write_bytes(b"damaged")
    for name, path in out.items():
        with pytest.raises(DataError, match="cannot be read"):
            export(labels, name, path, overwrite=True)
        with pytest.raises(DataError, match="cannot be read"):
            export(labels, name, path.with_name(f"new-{path.name}"))
        assert tree(path) == before[name] and not path.with_name(f"new-{path.name}").exists()
    assert not list(tmp_path.glob(".*"))


def test_images_that_cannot_be_read_are_named(tmp_path):
    dataset, labels = toy_data(tmp_path / "data")
    (tmp_path / "data/images/whole.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"image cannot be read: .*whole\.jpg"):
        export(labels, "webdataset", tmp_path / "out", dataset=dataset)
    (tmp_path / "data/images/whole.jpg").unlink()
    with pytest.raises(DataError, match=r"image cannot be read: .*whole\.jpg"):
        export(labels, "webdataset", tmp_path / "out", dataset=dataset)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_written_are_an_error(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(RunFolderError, match="cannot write"), new_file(tmp_path / "file/x.json"):
        pass
    with pytest.raises(RunFolderError, match="cannot write"), new_folder(tmp_path / "file/x", {}):
        pass


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labelmap.txt", b"cat:1,2::", "a line must be"),
        ("labelmap.txt", b"cat:1,2,300::", "a line must be"),
        ("labelmap.txt", b"cat:1,2,3::\ncat:4,5,6::", "each name once"),
        ("labelmap.txt", b"cat:1,2,3::\nground:1,2,3::", "each colour must stand for one name"),
        ("labelmap.txt", b"\xff\xfe", "must be UTF-8"),
        ("labelmap.txt", b"cat:128,0,0::", "every colour must be named .* got \\(0, 0, 0\\)"),
    ],
)
def test_labelmaps_are_checked(tmp_path, name, content, message):
    from labelgen.formats.pictures import encode_rgb

    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = 128, 0, 0
    zip_of(tmp_path / "x.zip", [("SegmentationClass/a.png", encode_rgb(pixels), 0), (name, content, 0)])
    with pytest.raises(DataError, match=message):
        read_back("cvat", tmp_path / "x.zip", VOC)("a", (2, 2))
