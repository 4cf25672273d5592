import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelgen.errors import DataError, ShapeError
from labelgen.masks import (
    SoftMask,
    check_labels,
    encode_mask,
    harden,
    one_hot,
    read_image,
    read_mask,
    write_atomic,
    write_mask,
)
from labelgen.vocab import colour_map


@pytest.fixture
def labels():
    return np.array([[0, 15, 255], [20, 1, 0]], np.uint8)


def test_png_keeps_ids_and_shows_the_palette(tmp_path, labels):
    path = tmp_path / "a" / "mask.png"
    write_mask(path, labels, palette=colour_map(21))
    assert np.array_equal(read_mask(path), labels)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        colours = np.asarray(picture.convert("RGB"))
    assert tuple(colours[0, 1]) == (192, 128, 128)  # person in the VOC colour map
    assert tuple(colours[0, 2]) == (255, 255, 255)  # beyond the palette: white


def test_png_of_all_256_ids(tmp_path):
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_mask(tmp_path / "m.png", labels, palette=colour_map(256))
    assert np.array_equal(read_mask(tmp_path / "m.png"), labels)


def test_wide_png_keeps_ids_above_255(tmp_path):
    labels = np.array([[0, 300, 65535]], np.uint16)
    write_mask(tmp_path / "m.png", labels)
    read = read_mask(tmp_path / "m.png")
    assert read.dtype == np.uint16
    assert np.array_equal(read, labels)


def test_encoding_is_stable(labels):
    assert encode_mask(labels, palette=colour_map(21)) == encode_mask(labels.copy(), palette=colour_map(21))


def test_what_is_read_may_be_written_to(tmp_path, labels):
    write_mask(tmp_path / "m.png", labels)
    read_mask(tmp_path / "m.png")[0, 0] = 3


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.int64), np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), bool)])
def test_only_label_maps_are_encoded(array):
    function = getattr(encode_mask, "__wrapped__", encode_mask)  # without the type check of the tests
    with pytest.raises(ShapeError, match="uint8 or uint16"):
        function(array)


def test_rgb_mask_is_refused(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(DataError, match=r"mode RGB in .*rgb\.png") as caught:
        read_mask(tmp_path / "rgb.png")
    assert "convert colours to ids" in caught.value.hint


def test_truncated_mask_is_refused(tmp_path, rng):
    write_mask(tmp_path / "m.png", rng.integers(0, 21, (64, 64)).astype(np.uint8))
    whole = (tmp_path / "m.png").read_bytes()
    for keep in (0, 20, len(whole) // 2, len(whole) - 40):
        (tmp_path / "m.png").write_bytes(whole[:keep])
        with pytest.raises(DataError, match=r"cannot be read: .*m\.png"):
            read_mask(tmp_path / "m.png")


def test_missing_mask_and_image(tmp_path):
    with pytest.raises(DataError, match=r"mask file not found: .*m\.png"):
        read_mask(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"image file not found: .*m\.jpg"):
        read_image(tmp_path / "m.jpg")


def test_four_bit_grey_is_refused_because_pillow_stretches_it(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0)  # 4 x 1 pixels, 4 bits, grey
    pixels = zlib.compress(bytes([0, 0x01, 0x23]))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "m.png").write_bytes(png)
    with pytest.raises(DataError, match="8 or 16 bits"):
        read_mask(tmp_path / "m.png")


def test_small_palette_keeps_ids(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2, 3]], np.uint8))
    picture.putpalette([c for colour in colour_map(4) for c in colour])
    picture.save(tmp_path / "m.png", bits=2)
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1, 2, 3]]


def test_image_is_turned_as_its_exif_says(tmp_path):
    picture = Image.new("RGB", (4, 2), (10, 20, 30))
    exif = picture.getexif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (4, 2, 3)


def test_grey_image_becomes_rgb(tmp_path):
    Image.new("L", (4, 2), 7).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.full((2, 4, 3), 7))


def test_16_bit_grey_image_is_refused(tmp_path):
    Image.fromarray(np.array([[0, 4000]], np.uint16)).save(tmp_path / "scan.png")
    with pytest.raises(DataError, match=r"8 bits a channel, got mode I;16 in .*scan\.png"):
        read_image(tmp_path / "scan.png")


def test_text_is_no_image(tmp_path):
    (tmp_path / "x.jpg").write_text("hello", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        read_image(tmp_path / "x.jpg")


@given(st.lists(st.sampled_from([0, 3, 20, 255]), min_size=6, max_size=6))
def test_harden_undoes_one_hot(ids):
    labels = np.array(ids, np.uint8).reshape(2, 3)
    mask = one_hot(labels)
    assert mask.class_ids == tuple(sorted(set(ids) - {255}))
    assert np.array_equal(harden(mask), labels)


def test_harden_ties_and_thresholds():
    scores = np.array([[[0.5, 0.3, 0.0]], [[0.5, 0.2, 0.0]]], np.float32)
    mask = SoftMask(scores, (4, 9))
    assert harden(mask).tolist() == [[4, 4, 255]]  # a tie goes to the smaller id, zero abstains
    assert harden(mask, min_score=0.3).tolist() == [[4, 255, 255]]
    assert harden(mask, ignore=65535).dtype == np.uint16


def test_mask_of_no_class_is_all_unlabelled():
    empty = one_hot(np.full((2, 2), 255, np.uint8))
    assert empty.class_ids == ()
    assert harden(empty).tolist() == [[255, 255], [255, 255]]


@pytest.mark.parametrize(
    ("scores", "class_ids", "message"),
    [
        (np.zeros((1, 2, 2), np.float32), (1, 2), "1 planes but class_ids names 2"),
        (np.zeros((2, 2, 2), np.float32), (2, 1), "strictly increasing"),
        (np.full((1, 2, 2), -1, np.float32), (1,), ">= 0"),
        (np.full((1, 2, 2), np.nan, np.float32), (1,), "finite"),
    ],
)
def test_inconsistent_soft_masks(scores, class_ids, message):
    with pytest.raises(ShapeError, match=message):
        SoftMask(scores, class_ids)


def test_foreign_ids_are_named():
    check_labels(np.array([[0, 20, 255]], np.uint8), num_classes=21, where="x")
    with pytest.raises(DataError, match=r"got 21, 254 in x\.png"):
        check_labels(np.array([[0, 21, 254, 255]], np.uint8), num_classes=21, where="x.png")


def test_write_atomic_leaves_no_temporary_file(tmp_path, monkeypatch):
    path = tmp_path / "sub" / "file.bin"
    write_atomic(path, b"old", durable=True)
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]
