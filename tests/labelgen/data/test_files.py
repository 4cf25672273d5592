import numpy as np
import pytest
from PIL import Image

from labelgen.data.files import FileTable, image_size, list_files
from labelgen.errors import DataError


def test_ids_are_names_without_suffix(tmp_path):
    for name in ("a.b.jpg", "c.PNG", "d.txt", ".e.jpg", "sub/f.jpeg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    suffixes = (".jpg", ".jpeg", ".png")
    assert list_files(tmp_path, suffixes) == {"a.b": "a.b.jpg", "c": "c.PNG"}
    assert list_files(tmp_path, suffixes, deep=True)["sub/f"] == "sub/f.jpeg"
    assert list_files(tmp_path / "sub", suffixes, root=tmp_path) == {"f": "sub/f.jpeg"}
    assert list_files(tmp_path / "nowhere", suffixes) == {}


def test_file_table(tmp_path):
    table = FileTable(tmp_path, {"a": "x/a.jpg"}, "image", "x/{id}.jpg")
    assert table.path("a") == tmp_path / "x" / "a.jpg"
    assert "a" in table
    assert "b" not in table
    with pytest.raises(DataError, match=r"image of 'b' not found: looked for x/b\.jpg in"):
        table.path("b")


def test_size_without_decoding(tmp_path, rng):
    pixels = rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    assert image_size(path) == (40, 60)
    path.write_bytes(path.read_bytes()[:100])  # the header is whole, the pixels are not
    assert image_size(path) == (40, 60)


@pytest.mark.parametrize(("orientation", "size"), [(1, (2, 4)), (3, (2, 4)), (6, (4, 2)), (8, (4, 2))])
def test_size_follows_the_exif_orientation(tmp_path, orientation, size):
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == size


def test_size_of_no_image(tmp_path):
    with pytest.raises(DataError, match="file not found"):
        image_size(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be read"):
        image_size(tmp_path / "a.jpg")
