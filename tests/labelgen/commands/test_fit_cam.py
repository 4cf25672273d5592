"""`labelgen fit-cam` on the command line: what it trains, prints, plans and refuses."""

import json

import pytest

from labelgen.cli import main
from labelgen.nets.cam.classifier_file import load_classifier
from labelgen.nets.cam.config import NetworkConfig, SeamConfig, TrainingConfig
from labelgen.nets.cam.presets import preset

QUICK = ["demo:3", "--iterations", "2", "--batch", "2", "--long-side", "32", "48", "--device", "cpu"]


def fit(out, *more):
    crop = [] if "--crop" in more else ["--crop", "32"]
    return main(["fit-cam", *QUICK, *crop, "--out", str(out), *more])


def test_a_classifier_is_trained_and_the_next_command_is_named(tmp_path, capsys):
    out = tmp_path / "seam"
    assert fit(out, "--method", "seam", "--scale", "0.6") == 0
    text = capsys.readouterr().out
    assert f"labelgen cam --method seam --weights {out.as_posix()}" in text
    assert "on the training tags" in text and "mAP" in text and "ecr" in text
    assert load_classifier(out).about["training"]["seam"]["scale"] == 0.6
    assert fit(out, "--method", "seam", "--scale", "0.6") == 0
    assert "is complete: nothing to do" in capsys.readouterr().out


def test_json_is_one_document(tmp_path, capsys):
    assert fit(tmp_path / "eps", "--method", "eps", "--saliency", "spectral", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["method"] == "eps" and facts["steps"] == 2 and facts["last"]["step"] == 2
    assert set(facts["scores"]) == {"map", "f1"} and facts["last"]["saliency"] > 0
    about = load_classifier(tmp_path / "eps").about
    assert about["saliency"]["provider"] == "spectral" and about["saliency"]["pixel_supervised"] is False


def test_tags_come_from_a_file(tmp_path, capsys):
    tags = {"train_0000": ["dog"], "train_0001": [], "train_0002": ["dog", "bird"]}
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    assert fit(tmp_path / "out", "--tags", str(tmp_path / "tags.json")) == 0
    assert "1 without any tag" in capsys.readouterr().out
    assert load_classifier(tmp_path / "out").class_names == ("bird", "dog")


def test_a_run_does_not_go_on_with_other_tags(tmp_path, capsys):
    assert fit(tmp_path / "classifier") == 0
    known = list(load_classifier(tmp_path / "classifier").class_names)
    tags = tmp_path / "tags.json"
    words = ["cam", "demo:2", "--weights", str(tmp_path / "classifier"), "--tags", str(tags), "--scales", "1"]
    words += ["--split", "train", "--out", str(tmp_path / "run")]
    tags.write_text(json.dumps({"train_0000": known[:1], "train_0001": known[:1]}))
    assert main(words) == 0
    tags.write_text(json.dumps({"train_0000": known[:1], "train_0001": known[1:]}))
    capsys.readouterr()
    assert main(words) != 0
    assert "tags_sha256" in capsys.readouterr().err
    tags.write_text(json.dumps({"train_0001": ["nothing of the kind"], "train_0000": known[:1]}))
    assert main([*words, "--overwrite"]) != 0
    assert "nothing of the kind" in capsys.readouterr().err


def test_when_all_images_fail_the_advice_of_the_first_is_given(tmp_path, capsys):
    assert fit(tmp_path / "classifier") == 0
    (tmp_path / "maps").mkdir()
    words = ["cam", "demo:2", "--weights", str(tmp_path / "classifier"), "--scales", "1", "--background", "saliency"]
    capsys.readouterr()
    assert main([*words, "--saliency", str(tmp_path / "maps"), "--out", str(tmp_path / "run")]) == 1
    error, hint = capsys.readouterr().err.strip().splitlines()[-2:]
    assert "the first failure: no saliency map for" in error and "name each file after its image" in hint


def test_a_plan_writes_nothing(tmp_path, capsys):
    assert fit(tmp_path / "out", "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["steps"] == 2 and plan["images"] == 3 and plan["train_seconds"] > 0 and plan["saliency_seconds"] == 0
    assert not (tmp_path / "out").exists()
    assert fit(tmp_path / "out", "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "nothing is written" in shown and "demo-ssvt" in shown and "saliency" not in shown


def test_classifiers_of_two_kinds_make_two_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for method in ("cam", "seam"):
        assert fit(f"runs/{method}-classifier", "--method", method) == 0
        assert main(["cam", "demo:2", "--split", "val", "--method", method, "--scales", "1"]) == 0
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir() if (folder / "labels").is_dir()) == [
        "cam",
        "seam",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "seam", "--tau", "0.5"], "tau is a setting of eps, but the method is seam"),
        (["--saliency", "spectral"], "--saliency is for eps, but the method is cam"),
        (["--crop", "30"], "crop must be a multiple of 8"),
        (["--output-stride", "8"], "output_stride is for CNNs"),
        (["--checkpoint-every", "0"], "--checkpoint-every must be >= 1"),
        (["--weights", "nowhere.pth"], "the weights file must exist"),
        (["--backbone", "no_such_net"], "timm knows no model called 'no_such_net'"),
    ],
)
def test_what_cannot_work_is_said_in_two_lines(tmp_path, capsys, flags, message):
    assert fit(tmp_path / "out", *flags) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_eps_on_pictures_of_ones_own_needs_saliency(shared_pictures, capsys):
    assert main(["fit-cam", str(shared_pictures), "--method", "eps", "--vocab", "voc", "--out", "x"]) != 0
    assert "eps learns from saliency maps, got none" in capsys.readouterr().err


@pytest.fixture
def shared_pictures(tmp_path):
    import numpy as np
    from PIL import Image

    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    Image.fromarray(np.full((8, 8), 3, np.uint8)).save(tmp_path / "masks" / "a.png")
    return tmp_path


def test_every_setting_has_a_flag():
    """A flag for each field of the settings, the seed and the preset's own structure aside."""
    from dataclasses import fields

    from labelgen.commands.fit_cam import CamRecipeFlags
    from labelgen.nets.cam.config import EpsConfig

    flags = {field.name for field in fields(CamRecipeFlags)}
    settings = {f.name for config in (NetworkConfig, TrainingConfig, SeamConfig, EpsConfig) for f in fields(config)}
    assert flags == settings - {"seed", "seam", "eps"}
    assert preset("demo", "cam").network.backbone == "demo-ssvt"
