import json

import numpy as np
import pytest
from PIL import Image

from labelgen.data.dataset import DataSpec
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.nets.saliency import open_saliency, read_saliency


def test_grey_pictures_of_the_size_of_their_images(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.array([[0, 255], [51, 102]], np.uint8)).save(tmp_path / "a" / "b.png")
    saliency, file = read_saliency(tmp_path, "a/b", (2, 2))
    np.testing.assert_allclose(saliency, [[0, 1], [0.2, 0.4]], atol=1e-6)
    assert file.path == tmp_path / "a/b.png" and file.content == file.path.read_bytes()
    with pytest.raises(ShapeError, match=r"size \(3, 2\) of its image, got \(2, 2\)"):
        read_saliency(tmp_path, "a/b", (3, 2))
    with pytest.raises(DataError, match="no saliency map for 'c'"):
        read_saliency(tmp_path, "c", (2, 2))


@pytest.mark.parametrize("mode", ["RGB", "P", "I;16"])
def test_other_pictures_are_refused(tmp_path, mode):
    picture = Image.new(mode, (2, 2))
    picture.save(tmp_path / "x.png")
    with pytest.raises(DataError, match=f"must be an 8-bit grey PNG, got mode {mode}"):
        read_saliency(tmp_path, "x", (2, 2))


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be read: .*bad\.png .no kind of picture"):
        read_saliency(tmp_path, "bad", (2, 2))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays_of_floats(tmp_path, dtype):
    values = np.array([[0, 0.5, 1]], dtype)
    np.save(tmp_path / "one.npy", values)
    np.savez(tmp_path / "two.npz", saliency=values)
    for name in ("one", "two"):
        saliency, file = read_saliency(tmp_path, name, (1, 3))
        assert saliency.dtype == np.float32 and saliency.tolist() == [[0, 0.5, 1]]
        assert file.path.stem == name


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, np.nan]]), "must be finite and lie in"),
        (np.array([[0.0, np.inf]]), "must be finite and lie in"),
        (np.array([[0.0, 1.5]]), r"got 0\.0 to 1\.5"),
        (np.array([[-0.5, 1.0]]), "must be finite and lie in"),
        (np.array([[0, 255]], np.uint8), r"must be a float array \(H, W\), got uint8"),
        (np.zeros((1, 2, 3), np.float32), r"got float32 \(1, 2, 3\)"),
    ],
)
def test_arrays_of_other_values_are_refused(tmp_path, values, message):
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(DataError, match=message):
        read_saliency(tmp_path, "x", (1, 2))


def test_arrays_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    np.savez(tmp_path / "many.npz", a=np.zeros((1, 1)), b=np.zeros((1, 1)))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], object), allow_pickle=True)
    for name, message in (
        ("bad", "cannot be read"),
        ("many", "must hold one array, got a, b"),
        ("pickle", "cannot be"),
    ):
        with pytest.raises(DataError, match=message):
            read_saliency(tmp_path, name, (1, 1))


def test_two_maps_of_one_image_are_refused(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", np.zeros((1, 1), np.float32))
    with pytest.raises(DataError, match=r"must be one saliency map for 'x', got .*x\.png and .*x\.npy"):
        read_saliency(tmp_path, "x", (1, 1))


def test_a_folder_says_what_is_known_of_its_maps(tmp_path):
    spec = DataSpec("demo")
    assert open_saliency(str(tmp_path), spec).facts()["pixel_supervised"] is None
    assert open_saliency(f"{tmp_path},pixel_supervised=true", spec).facts()["pixel_supervised"] is True
    (tmp_path / "saliency.json").write_text(json.dumps({"provider": "ncut", "pixel_supervised": False}))
    facts = open_saliency(str(tmp_path), spec).facts()
    assert facts["pixel_supervised"] is False and facts["made_by"]["provider"] == "ncut"
    with pytest.raises(DataError, match="says pixel_supervised is False, but True was given"):
        open_saliency(f"{tmp_path},pixel_supervised=true", spec).facts()
    (tmp_path / "saliency.json").write_text("[")
    with pytest.raises(DataError, match=r"saliency\.json cannot be read"):
        open_saliency(str(tmp_path), spec).facts()
    (tmp_path / "saliency.json").write_text("[]")
    with pytest.raises(DataError, match="must hold one JSON object, got list"):
        open_saliency(str(tmp_path), spec).facts()


def test_what_is_known_of_a_folder_stands_behind_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = DataSpec("demo")
    for name in ("maps", "a,b", "c", "c,pixel_supervised=true"):
        (tmp_path / name).mkdir()
    for text, folder, said in (
        ("maps", "maps", None),
        ("maps,pixel_supervised=true", "maps", True),
        ("maps/,pixel-supervised=no", "maps", False),
        (f"{tmp_path}/maps/,pixel_supervised=true", f"{tmp_path}/maps", True),
        ("a,b", "a,b", None),
        ("a,b,pixel_supervised=false", "a,b", False),
        ("c,pixel_supervised=true", "c,pixel_supervised=true", None),  # a folder of that very name
        ("c,pixel_supervised=true,pixel_supervised=true", "c,pixel_supervised=true", True),
    ):
        facts = open_saliency(text, spec).facts()
        assert (facts["folder"], facts["pixel_supervised"]) == (folder, said), text
    for text, error, message in (
        ("maps,tokens=24", ConfigError, "a folder of saliency maps has no setting 'tokens'"),
        ("maps,pixel_supervised=perhaps", ConfigError, "must be true or false"),
        ("maps,", ConfigError, "must be written NAME=VALUE"),
        ("nowhere,pixel_supervised=true", DataError, "must come from a folder"),
        (",pixel_supervised=true", DataError, "must come from a folder"),
    ):
        with pytest.raises(error, match=message):
            open_saliency(text, spec)
    (tmp_path / "maps/saliency.json").write_text(json.dumps({"pixel_supervised": False}))
    with pytest.raises(DataError, match="says pixel_supervised is False, but True was given") as caught:
        open_saliency("maps,pixel_supervised=true", spec).facts()
    assert "leave ,pixel_supervised=" in caught.value.hint


def test_maps_of_a_folder_have_the_size_of_the_image(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(tmp_path / "x.png")
    source = open_saliency(str(tmp_path), DataSpec("demo"))
    saliency, file = source.map("x", np.zeros((1, 2, 3), np.uint8))
    assert saliency.tolist() == [[0, 1]] and file is not None
    with pytest.raises(ShapeError, match="must have the size"):
        source.map("x", np.zeros((2, 2, 3), np.uint8))
