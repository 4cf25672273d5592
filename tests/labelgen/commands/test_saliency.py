import json

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.data.dataset import DataSpec
from labelgen.data.open import open_data
from labelgen.errors import ConfigError, DataError
from labelgen.nets.saliency import open_saliency
from labelgen.nets.saliency.write import write_saliency

SPECTRAL = ["--source", "spectral,side=32", "--limit", "3"]


def written(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_maps_are_written_and_read_back(tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["saliency", *SPECTRAL, "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["done"] == 3 and report["failed"] == {} and report["facts"]["provider"] == "spectral"
    dataset = open_data("demo", limit=3)
    made, folder = open_saliency("spectral,side=32", DataSpec("demo")), open_saliency(str(out), DataSpec("demo"))
    for sample_id in dataset.ids:
        image = dataset.image(sample_id)
        np.testing.assert_allclose(
            folder.map(sample_id, image)[0], made.map(sample_id, image)[0], atol=0.5 / 255 + 1e-6
        )
        with Image.open(out / f"{sample_id}.png") as picture:
            assert picture.mode == "L"
    assert folder.facts()["pixel_supervised"] is False and folder.facts()["made_by"]["side"] == 32


def test_the_same_command_makes_what_is_missing_and_nothing_else(tmp_path, capsys):
    out = tmp_path / "maps"
    arguments = ["saliency", *SPECTRAL, "--out", str(out)]
    assert main(arguments) == 0
    whole = written(out)
    (out / "train_0001.png").unlink()
    kept = {path.name: path.stat().st_ino for path in out.glob("*.png")}  # a file written anew is another one
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["done"], report["skipped"]) == (1, 2)
    assert written(out) == whole and len(kept) == 2
    assert {name: (out / name).stat().st_ino for name in kept} == kept
    assert main([*arguments, "--overwrite"]) == 0
    assert written(out) == whole
    assert all((out / name).stat().st_ino != inode for name, inode in kept.items())


def test_maps_of_other_settings_are_refused(tmp_path, capsys):
    out = tmp_path / "maps"
    assert main(["saliency", *SPECTRAL, "--out", str(out)]) == 0
    assert main(["saliency", "--source", "spectral", "--limit", "3", "--out", str(out)]) == 2
    assert "other settings" in capsys.readouterr().err
    (out / "saliency.json").unlink()
    assert main(["saliency", *SPECTRAL, "--out", str(out)]) == 2
    assert "did not write" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "images"])
def test_a_folder_of_pictures_needs_no_names_of_classes(tmp_path, place, capsys):
    for number in range(2):
        picture(tmp_path / "photos" / place / f"{number}.png", seed=number)
    out = tmp_path / "maps"
    arguments = ["--source", "spectral,side=32", "--out", str(out), "--json"]
    assert main(["saliency", str(tmp_path / "photos"), *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2
    assert {path.name for path in out.iterdir()} == {"0.png", "1.png", "saliency.json"}
    assert main(["saliency", str(tmp_path / "photos"), "--split", "val", *arguments]) == 1
    assert "'val' does not exist" in capsys.readouterr().err


def test_maps_of_other_images_of_the_same_names_are_refused(tmp_path, capsys):
    for number in range(3):
        picture(tmp_path / "a" / f"{number}.png", seed=number)
        picture(tmp_path / "b" / f"{number}.png", seed=number + 10)
    out = tmp_path / "maps"
    arguments = ["--source", "spectral,side=32", "--out", str(out), "--json"]
    assert main(["saliency", str(tmp_path / "a"), *arguments]) == 0
    of_a = written(out)
    (out / "0.png").unlink()
    capsys.readouterr()
    assert main(["saliency", str(tmp_path / "b"), *arguments]) == 2
    error = capsys.readouterr().err
    assert f"{out / '1.png'} was made from another image" in error and "--overwrite" in error
    assert {name: of_a[name] for name in ("1.png", "2.png", "saliency.json")} == written(out)  # no map of b among them
    assert main(["saliency", str(tmp_path / "b"), *arguments, "--overwrite"]) == 0
    assert written(out).keys() == of_a.keys() and all(written(out)[n] != of_a[n] for n in ("0.png", "1.png", "2.png"))
    (out / "1.png").write_bytes(b"touched")
    capsys.readouterr()
    assert main(["saliency", str(tmp_path / "b"), *arguments]) == 2
    assert "does not say which image it was made from" in capsys.readouterr().err


def picture(path, *, seed, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_maps_of_a_folder_are_not_written_over_themselves(tmp_path):
    source = open_saliency(str(tmp_path), DataSpec("demo"))
    with pytest.raises(ConfigError, match="cannot be written over those they are read from"):
        write_saliency(open_data("demo", limit=1), source, tmp_path)


def test_images_that_give_no_map_are_counted_and_the_rest_is_written(tmp_path, capsys):
    Image.new("L", (160, 128), 51).save(tmp_path / "train_0000.png")
    out = tmp_path / "maps"
    assert main(["saliency", "--source", str(tmp_path), "--limit", "2", "--out", str(out)]) == 3
    assert "1 of 2 images gave no map, the first train_0001: no saliency map" in capsys.readouterr().err
    assert (out / "train_0000.png").is_file() and not (out / "train_0001.png").exists()


def test_bugs_are_not_counted_as_failures_of_images(tmp_path):
    class Broken:
        def map(self, sample_id, image):
            raise ZeroDivisionError

        def facts(self):
            return {"provider": "broken", "pixel_supervised": None}

    with pytest.raises(ZeroDivisionError):
        write_saliency(open_data("demo", limit=1), Broken(), tmp_path / "maps")
    with pytest.raises(DataError):
        open_saliency("nowhere", DataSpec("demo"))
