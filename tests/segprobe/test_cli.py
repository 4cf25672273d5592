import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelgen.masks import write_mask
from segprobe.cli import COMMANDS, main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


FEW = ["--limit", "3", "--steps", "3", "--pixels", "64"]


def run(capsys, *tokens):
    code = main([str(token) for token in tokens])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_help_imports_nothing_heavy():
    """One command after the other in one process, so that it is the first to import something that is named."""
    code = (
        "import sys; from segprobe.cli import main\n"
        f"for command in {[[], *([name] for name in COMMANDS)]!r}:\n"
        "    print(command)\n"
        "    try: main([*command, '--help'])\n"
        "    except SystemExit: pass\n"
        "    heavy = {'torch', 'numba', 'scipy', 'cv2', 'matplotlib', 'timm', 'skimage'} & set(sys.modules)\n"
        "    assert not heavy, (command, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in COMMANDS:
        assert f"Usage: segprobe {name}" in done.stdout.partition(f"{[name]}\n")[2].partition("\n[")[0], name
    assert "Usage: segprobe" in done.stdout.partition("[]\n")[2].partition("\n[")[0]


@pytest.mark.slow
def test_a_probe_trains_on_zero_shot_labels(folder, vit_flags, capsys):
    from labelgen.cli import main as labelgen

    assert labelgen(["clip", "--limit", "3", "--templates", "simple", "--ignore-threshold", "0.2"]) == 0
    capsys.readouterr()
    code, _, err = run(capsys, "fit", "runs/clip", *vit_flags, "--steps", "3", "--json")
    assert code == 0, err
    code, out, _ = run(capsys, "eval", "--limit", "2", "--json")
    assert code == 0 and 0 <= json.loads(out)["miou"] <= 1


@pytest.mark.slow
def test_fit_eval_predict_one_after_the_other(folder, vit_flags, capsys):
    from labelgen.cli import main as labelgen

    assert labelgen(["point", "--limit", "3"]) == 0
    capsys.readouterr()
    code, out, err = run(capsys, "fit", *vit_flags, "--steps", "3", "--json")
    assert code == 0, err
    fitted = json.loads(out)
    assert (fitted["out"], fitted["images"], fitted["steps"], fitted["already"]) == ("probes/point", 3, 3, False)
    assert json.loads(run(capsys, "fit", *vit_flags, "--steps", "3", "--json")[1])["already"]

    code, out, err = run(capsys, "eval", "--limit", "2", "--json", "--reference", "0.5", "--bootstrap", "20")
    assert code == 0, err
    found = json.loads(out)
    assert found["num_images"] == 2
    assert 0 <= found["miou"] <= 1
    assert found["retention"] == pytest.approx(2 * found["miou"])
    assert found["interval"][0] <= found["interval"][1]
    ious = [row["iou"] for row in found["per_class"] if row["iou"] is not None]
    assert found["miou"] == pytest.approx(np.mean(ious))
    assert found["num_classes"] == len(ious)

    options = ["--flip", "--upsample", "guided,radius=1", "--refine", "pamr,steps=1", "--refine", "par,steps=1"]
    code, out, err = run(capsys, "predict", "--limit", "2", "--json", *options)
    assert code == 0, err
    assert json.loads(out)["done"] == 2
    header = json.loads((folder / "runs" / "predict" / "run.json").read_text(encoding="utf-8"))
    assert header["config"]["upsample"] == "guided,radius=1"
    assert header["supervision"] == ["truth"]  # the clicks that the probe was trained on were drawn from it
    assert header["config"]["refine"] == ["pamr,steps=1", "par,steps=1"]
    assert run(capsys, "eval", "--limit", "1", *options)[0] == 0
    assert sorted(p.name for p in (folder / "runs" / "predict" / "labels").iterdir()) == [
        "val_0000.png",
        "val_0001.png",
    ]
    code, out, err = run(capsys, "fit", "runs/predict", *vit_flags, "--steps", "2", "--out", "probes/again", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 2
    assert run(capsys, "eval", "--limit", "1")[0] == 0

    # pictures alone, which name no classes: those of the probe
    (folder / "photos").mkdir()
    Image.fromarray(np.full((40, 50, 3), 90, np.uint8)).save(folder / "photos" / "a.png")
    code, out, err = run(capsys, "predict", "probes/point", "photos", "--out", "runs/photos", "--json")
    assert code == 0, err
    header = json.loads((folder / "runs" / "photos" / "run.json").read_text(encoding="utf-8"))
    assert header["vocabulary"]["classes"][15] == "person"


@pytest.mark.slow
def test_heads_are_typed_with_their_settings_and_choose_their_layers(folder, vit_flags, capsys):
    for head, layers in (("multi", [2, 3, 4, 5]), ("conv,width=8", [5]), ("knn,neighbours=3", [5])):
        few = ["--limit", "3", "--pixels", "64"] if head.startswith("knn") else FEW
        code, _, err = run(capsys, "fit", "truth", *vit_flags, *few, "--head", head, "--out", "probes/p", "--overwrite")
        assert code == 0, err
        values = json.loads((folder / "probes" / "p" / "probe.json").read_text(encoding="utf-8"))
        assert (values["config"]["head"], values["backbone"]["layers"]) == (head, layers)
        code, _, err = run(capsys, "eval", "probes/p", "--limit", "1", "--json")
        assert code == 0, err
    code, _, err = run(capsys, "fit", "truth", *vit_flags, *FEW, "--head", "multi", "--layers=-1", "--out", "probes/q")
    assert code == 2 and "head multi needs two or more layers of test_vit, got (5,)" in err


@pytest.mark.slow
def test_an_image_that_cannot_be_predicted_fails_alone(folder, vit_flags, capsys):
    assert run(capsys, "fit", "truth", *vit_flags, *FEW, "--out", "probes/p")[0] == 0
    (folder / "photos").mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / f"photos/{name}.png")
    from labelgen.data.open import open_data

    (folder / "photos/classes.txt").write_text("\n".join(open_data("demo").vocabulary.classes), encoding="utf-8")
    damaged = folder / "photos/b.png"
    damaged.write_bytes(damaged.read_bytes()[:70])
    code, out, err = run(capsys, "predict", "probes/p", "images:photos", "--json")
    assert code == 3, err
    assert (json.loads(out)["failed"], json.loads(out)["done"]) == (1, 1)
    assert "error: 1 of 2 images could not be labelled, the first b: " in err and "hint: " in err
    assert run(capsys, "predict", "probes/p", "images:photos", "--out", "strict", "--strict")[0] == 1


@pytest.mark.slow
def test_a_probe_is_exported_and_that_is_said(folder, vit_flags, capsys):
    assert run(capsys, "fit", "truth", *vit_flags, *FEW, "--out", "probes/p")[0] == 0
    code, out, err = run(capsys, "export")
    assert code == 0, err
    assert "exports/p/head.safetensors" in out and "largest difference" in out
    graph = ["export", "probes/p", "--format", "torch", "--size", "32,48", "--json"]
    code, out, err = run(capsys, *graph, "--dry-run")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["size"] == [32, 48] and plan["estimate"]["seconds"] > 0 and not Path(plan["out"]).exists()
    code, out, err = run(capsys, *graph)
    assert code == 0, err
    assert plan["estimate"]["bytes"] == pytest.approx(Path(plan["out"]).stat().st_size, rel=0.01)
    assert json.loads(out)["size"] == [32, 48] and json.loads(out)["agreement"] > 0.999
    code, _, err = run(capsys, "export", "--format", "torch", "--size", "big")
    assert code == 2 and "--size must be a height and a width, got 'big'" in err


@pytest.mark.slow
def test_tables_are_printed(folder, vit_flags, capsys):
    code, out, err = run(capsys, "fit", "truth", *vit_flags, *FEW)
    assert code == 0, err
    assert "segprobe eval probes/truth" in out
    assert "100 % of all pixels, void included" in out
    code, out, err = run(capsys, "eval", "--limit", "1", "--bootstrap", "5", "--reference", "probes/truth")
    assert code == 0, err
    assert "1.000 of" in out
    assert "nothing to do" in run(capsys, "fit", "truth", *vit_flags, *FEW)[1]


def test_other_settings_in_the_same_folder_are_named(folder, vit_flags, capsys):
    assert run(capsys, "fit", "truth", *vit_flags, *FEW)[0] == 0
    code, out, err = run(capsys, "fit", "truth", *vit_flags, *FEW, "--lr", "0.1")
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == [
        "error: probes/truth holds a fit with other settings: config.lr is 0.001 there, 0.1 now",
        "hint: --overwrite replaces it, another --out keeps both",
    ]


def two_lines(err):
    lines = err.strip().splitlines()[-2:]
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert "Traceback" not in err
    return lines[0]


def test_nothing_there_is_said_in_two_lines(folder, capsys):
    for tokens, word in (
        (["fit"], "no run below runs"),
        (["eval"], "no probe below probes"),
        (["predict"], "no probe below probes"),
        (["fit", "runs/none"], "no such run or folder: runs/none"),
        (["eval", "probes/none"], "no probe (no probe.json) in probes/none"),
        (["fit", "truth", "--data", "voc:/nowhere"], "/nowhere"),
    ):
        code, out, err = run(capsys, *tokens)
        assert (code, out) == (1, "")
        assert word in two_lines(err)


def test_wrong_settings_are_usage_errors(folder, capsys):
    for tokens, word in (
        (
            ["fit", "truth", "--head", "ridge", "--epochs", "4"],
            "epochs has no say with head ridge, which has no epochs",
        ),
        (["demo", "--head", "ridge", "--lr", "0.1"], "lr has no say with head ridge"),
        (["fit", "truth", "--head", "tree"], "head must be one of linear, multi, mlp"),
        (["fit", "truth", "--layers", "a"], "--layers must be whole numbers"),
        (["fit", "truth", "--policy", "crop"], "--policy must be one of"),
        (["fit", "truth", "--loss", "hinge"], "unknown loss 'hinge'"),
        (["eval", "--bootstrap", "-1"], "--bootstrap must be >= 0"),
        (["demo", "--seeds", "0"], "--seeds must be >= 1"),
        (["fit", "--epoch", "3"], "epoch"),
    ):
        code, _, err = run(capsys, *tokens)
        assert code == 2, (tokens, err)
        assert word in err


def test_plain_masks_need_their_data_named(folder, capsys):
    write_mask(folder / "masks" / "a.png", np.zeros((4, 4), np.uint8))
    code, _, err = run(capsys, "fit", "masks")
    assert code == 2
    assert "which images do the masks in masks belong to?" in two_lines(err)


def test_labels_without_a_labelled_pixel_are_refused(folder, vit_flags, capsys):
    from labelgen.data.open import open_data

    scenes = open_data("demo", limit=2)
    for sample_id in scenes.ids:
        write_mask(folder / "void" / f"{sample_id}.png", np.full_like(scenes.truth(sample_id), 255))
    code, _, err = run(capsys, "fit", "void", "--data", "demo", *vit_flags)
    assert code == 1
    assert "at least one labelled pixel is needed" in two_lines(err)
    write_mask(folder / "void" / f"{scenes.ids[0]}.png", np.zeros((9, 9), np.uint8))
    code, _, err = run(capsys, "fit", "void", "--data", "demo", *vit_flags)
    assert code == 1
    assert "labels must have the size" in two_lines(err)
    assert not (folder / "probes" / "void" / "probe.json").exists()


@pytest.mark.slow
def test_pictures_without_classes_have_those_of_the_run(folder, vit_flags, capsys):
    from PIL import Image

    from labelgen.cli import main as labelgen

    (folder / "photos").mkdir()
    for name in ("one", "two"):
        pixels = np.random.default_rng(len(name)).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
    words = ["--classes", "rust, paint=painted surface; peeling paint", "--model", "demo-clip", "--templates", "simple"]
    assert labelgen(["clip", "photos", *words, "--out", "runs/words"]) == 0
    capsys.readouterr()
    code, out, err = run(
        capsys, "fit", "runs/words", "--data", "photos", *vit_flags, "--steps", "2", "--out", "probes/words"
    )
    assert code == 0, err
    assert "segprobe predict probes/words" in out  # there is no truth to evaluate with
    assert json.loads((folder / "probes/words/probe.json").read_text())["vocabulary"]["classes"] == ["rust", "paint"]
    code, out, err = run(capsys, "predict", "probes/words")
    assert code == 0, err
    assert "labelgen quality" not in out
    code, _, err = run(capsys, "fit", "runs/nowhere", "--data", "photos", *vit_flags)
    assert code == 1
    assert "no such run or folder: runs" in two_lines(err)


def test_a_run_of_other_classes_is_refused(folder, vit_flags, capsys):
    from labelgen.cli import main as labelgen

    assert labelgen(["point", "--limit", "2", "--vocab", "voc20"]) == 0
    capsys.readouterr()
    code, _, err = run(capsys, "fit", "runs/point", "--data", "demo", *vit_flags)
    assert code == 1
    assert "labels and data must have the same classes, got 'voc20' (20)" in two_lines(err)


@pytest.fixture
def own(folder, vit_flags, capsys):
    """Images and masks without splits, and a probe fitted on them."""
    from PIL import Image

    (folder / "mydata" / "images").mkdir(parents=True)
    (folder / "mydata" / "classes.txt").write_text("background\nsquare\n", encoding="utf-8")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:24, 8:24] = 1
        write_mask(folder / "mydata" / "masks" / f"{name}.png", mask)
        image = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "mydata" / "images" / f"{name}.png")
    code, _, err = run(capsys, "fit", "truth", "--data", "mydata", *vit_flags, "--steps", "2")
    assert code == 0, err
    return folder / "mydata"


@pytest.mark.slow
def test_data_without_splits_are_used_whole_and_that_is_said(own, capsys, caplog):
    code, out, _ = run(capsys, "eval", "--json")
    assert (code, json.loads(out)["num_images"]) == (0, 2)
    assert "has no val split: using all of its images (2), on which this probe was trained" in caplog.text
    code, out, _ = run(capsys, "predict", "probes/truth", "mydata", "--json")
    assert (code, json.loads(out)["done"]) == (0, 2)
    code, _, err = run(capsys, "eval", "--split", "val")
    assert code == 1
    assert "split 'val' does not exist" in two_lines(err)
    (own / "val.txt").write_text("two\n", encoding="utf-8")
    caplog.clear()
    code, out, _ = run(capsys, "eval", "--json")
    assert (code, json.loads(out)["num_images"]) == (0, 1)
    assert "no val split" not in caplog.text


@pytest.mark.slow
def test_an_overwrite_that_fails_loses_nothing(own, vit_flags, capsys):
    from PIL import Image

    probe = own.parent / "probes" / "truth"
    before = {path.name: path.read_bytes() for path in probe.iterdir()}
    refit = ["fit", "truth", "--data", "mydata", *vit_flags, "--steps", "3", "--overwrite"]
    Image.new("RGB", (20, 20)).save(own / "images" / "one.png")
    code, _, err = run(capsys, *refit)
    assert code == 1
    assert "the image one is no longer" in two_lines(err)
    code, _, err = run(capsys, *refit, "--cache", "other")
    assert code == 1
    assert "labels must have the size (20, 20) of the image, got (40, 48) in one" in two_lines(err)
    (own / "images" / "one.png").unlink()
    code, _, err = run(capsys, *refit, "--cache", "third")
    assert code == 1
    assert "'one'" in two_lines(err)
    assert {path.name: path.read_bytes() for path in probe.iterdir()} == before


@pytest.mark.slow
def test_damaged_features_are_not_trained_on(own, vit_flags, capsys):
    (matrix,) = (own.parent / "cache").glob("*/shard-00000.bin")
    content = bytearray(matrix.read_bytes())
    content[100] ^= 1
    matrix.write_bytes(content)
    code, _, err = run(capsys, "fit", "truth", "--data", "mydata", *vit_flags, "--steps", "3", "--out", "probes/new")
    assert code == 1
    assert "shard-00000.bin" in two_lines(err)
