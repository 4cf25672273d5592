"""`labelgen fit-zeroseg` and `labelgen zeroseg`: from images to labels, and what is refused on the way."""

import json

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.errors import ConfigError, WeightsError
from labelgen.masks import harden
from labelgen.methods.zeroseg import ZeroSegConfig, make_zeroseg, prepare_zeroseg
from labelgen.methods.zeroseg_build import background_of, published_threshold, settle
from labelgen.nets.clip.text_embeddings import write_text_embeddings
from labelgen.nets.zeroseg.student_file import read_student
from labelgen.prompts import prompt_table
from labelgen.vocab import load_vocabulary

SMALL = ["--limit", "4", "--epochs", "2", "--batch", "2", "--tiles", "1", "2", "--stages", "6", "3"]
VOC = load_vocabulary("voc")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    """A student of four demo scenes, made by the command."""
    out = tmp_path_factory.mktemp("zeroseg") / "student"
    assert fit(out) == 0
    return out


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def fit(out, *more):
    cache = out.parent / "vectors"
    return main(["fit-zeroseg", "--out", str(out), "--cache", str(cache), "--device", "cpu", *SMALL, *more])


def config_of(student, **options):
    return ZeroSegConfig(**{"weights": str(student), "templates": "simple", "device": "cpu"} | options)


def label(*flags):
    return main(["zeroseg", "--split", "val", "--limit", "2", "--templates", "simple", "--device", "cpu", *flags])


def test_the_command_writes_a_run_that_says_what_made_it(student, tmp_path, capsys):
    assert label("--weights", str(student), "--out", str(tmp_path / "run"), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["done"] == 2 and report["supervision"] == []
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    config = header["config"]
    assert [config[key] for key in ("short_side", "crop", "stride", "top_k")] == [160, 128, 32, 0]  # the demo preset's
    assert config["background"] == "words"
    assert header["models"]["zeroseg"]["init"]["name"] == "teacher"
    assert header["models"]["zeroseg"]["teacher"]["teacher"]["model"] == "demo-clip"
    assert "aeroplane" in header["facts"]["prompts"]


def test_training_again_does_nothing_and_says_so(student, capsys):
    before = (student / "weights.safetensors").read_bytes()
    assert fit(student) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert (student / "weights.safetensors").read_bytes() == before
    assert fit(student, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["already"] is True and facts["images"] == 4
    assert fit(student, "--mask", "0.5") == 1
    assert "training.mask is 0.3 there, 0.5 now" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    assert fit(tmp_path / "student", "--dry-run", "--json") == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["images"], cost["steps"], cost["tile_vectors"]) == (4, 4, 20) and cost["student_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_without_a_student_two_lines_say_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert label() == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: no ZeroSeg student at runs/zeroseg-student",
        "hint: labelgen fit-zeroseg trains one",
    ]
    assert not (tmp_path / "runs").exists()


def test_a_student_is_trained_on_a_folder_of_pictures_without_names_of_classes(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    model = ["--preset", "demo", "--teacher", "demo-clip", "--init", "none", "--json"]
    arguments = ["fit-zeroseg", str(tmp_path / "photos"), *SMALL, *model, "--cache", str(tmp_path), "--device", "cpu"]
    arguments[arguments.index("--limit") + 1] = "2"
    assert main([*arguments, "--out", str(tmp_path / "student"), "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_the_settled_settings_make_the_same_labels_in_a_worker(student):
    dataset, small = open_data("demo", split="val", limit=1), config_of(student, short_side=64)
    prepared = prepare_zeroseg(small, VOC, dataset)
    assert prepare_zeroseg(prepared.config, VOC, dataset).config == prepared.config
    sample, rng = dataset.load(dataset.ids[0], {"image"}), np.random.default_rng(0)
    one, other = (make_zeroseg(config, VOC)(sample, rng) for config in (small, prepared.config))
    assert one.class_ids == other.class_ids and one.scores.tobytes() == other.scores.tobytes()
    assert (harden(one) != 255).all()


@pytest.mark.parametrize(
    ("vocabulary", "options", "published", "wanted"),
    [
        ("voc", {}, 0.95, ("threshold", 0.95)),
        ("voc", {}, None, ("words", None)),
        ("voc", {"background_threshold": 0.5}, 0.95, ("threshold", 0.5)),
        ("voc", {"background_threshold": 0.5}, None, ("threshold", 0.5)),
        ("voc", {"background": "words"}, 0.95, ("words", None)),
        ("voc", {"background": "words+threshold"}, 0.95, ("words+threshold", 0.95)),
        ("voc", {"background": "none"}, 0.95, ("none", None)),
        ("voc20", {}, None, ("none", None)),
    ],
)
def test_background_is_what_vocabulary_and_student_ask_for(vocabulary, options, published, wanted):
    assert background_of(ZeroSegConfig(**options), load_vocabulary(vocabulary), published) == wanted


@pytest.mark.parametrize(
    ("vocabulary", "teacher", "wanted"),
    [
        ("voc", "ViT-L-14", 0.95),
        ("context60", "ViT-L-14", 0.05),
        ("coco-object", "ViT-L-14", 0.35),
        ("voc20", "ViT-L-14", None),
        ("camvid", "ViT-L-14", None),
        ("voc", "demo-clip", None),
    ],
)
def test_published_thresholds_belong_to_vocabularies_and_to_students_like_the_papers(vocabulary, teacher, wanted):
    assert published_threshold(load_vocabulary(vocabulary), teacher) == wanted


@pytest.mark.parametrize(
    ("vocabulary", "options", "message"),
    [
        ("voc20", {"background": "words"}, "needs a background class"),
        ("voc20", {"background_threshold": 0.5}, "has no say"),
        ("voc", {"background": "none", "background_threshold": 0.5}, "has no say"),
        ("voc", {"background": "threshold"}, "no background threshold is published"),
    ],
)
def test_settings_that_contradict_the_vocabulary_are_refused(student, vocabulary, options, message):
    with pytest.raises(ConfigError, match=message):
        prepare_zeroseg(config_of(student, **options), load_vocabulary(vocabulary), None)


@pytest.mark.parametrize(
    "options", [{"scale": 0.0}, {"top_k": -1}, {"background_threshold": 1.5}, {"crop": 0, "stride": 8}]
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        ZeroSegConfig(**options)


def test_words_of_another_model_are_refused(student, tmp_path):
    from labelgen.nets.demo_clip import build_demo_clip

    other = build_demo_clip(pretrained=False, seed=1).half().state_dict()
    safetensors.torch.save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="was taught by weights of sha256"):
        prepare_zeroseg(config_of(student, clip_weights=str(tmp_path / "other.safetensors")), VOC, None)


def test_vectors_of_words_from_a_file_need_no_text_tower(student, tmp_path, monkeypatch):
    table = prompt_table(VOC, background="words")
    vectors = np.random.default_rng(0).normal(size=(len(table.prompts), 128)).astype(np.float32)
    write_text_embeddings(tmp_path / "words.npz", table.prompts, vectors)
    monkeypatch.setattr("labelgen.methods.zeroseg_build.loaded_clip", lambda config: pytest.fail("no model is needed"))
    dataset = open_data("demo", split="val", limit=1)
    generate = make_zeroseg(config_of(student, text_embeddings=str(tmp_path / "words.npz"), short_side=64), VOC)
    mask = generate(dataset.load(dataset.ids[0], {"image"}), np.random.default_rng(0))
    assert mask.size == (128, 160)


def test_windows_and_sizes_are_obeyed(student):
    dataset = open_data("demo", split="val", limit=1)
    sample = dataset.load(dataset.ids[0], {"image"})
    found = [
        make_zeroseg(config_of(student, **options), VOC)(sample, np.random.default_rng(0))
        for options in ({"short_side": 64}, {"short_side": 64, "crop": 48}, {"short_side": 80})
    ]
    assert {mask.size for mask in found} == {(128, 160)}
    assert len({mask.scores.tobytes() for mask in found}) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (160, 128, 32)),
        ({"short_side": 96}, (96, 96, 48)),
        ({"short_side": 0}, (0, 128, 32)),
        ({"crop": 64}, (160, 64, 32)),
        ({"crop": 0}, (160, 0, None)),
        ({"stride": 16}, (160, 128, 16)),
    ],
)
def test_windows_left_open_are_those_of_the_student(student, options, expected):
    config = settle(config_of(student, **options), VOC, read_student(student))
    assert (config.short_side, config.crop, config.stride) == expected


def test_own_classes_replace_those_of_the_data(student, tmp_path):
    flags = ["--classes", "background=grass; road, cow, bus=bus; coach", "--background", "words", "--short-side", "64"]
    assert label("--weights", str(student), "--out", str(tmp_path / "run"), *flags) == 0
    header = json.loads((tmp_path / "run" / "run.json").read_text())
    assert header["vocabulary"]["classes"] == ["background", "cow", "bus"]
    assert header["facts"]["prompts"] == {"background": ["grass", "road"], "cow": ["cow"], "bus": ["bus", "coach"]}
