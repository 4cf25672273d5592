import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.commands.preview import preview as preview_command
from labelgen.errors import ConfigError, DataError, RunFolderError
from labelgen.masks import SoftMask, one_hot, read_mask
from labelgen.methods import METHODS, Method
from labelgen.methods.method import Prepared
from labelgen.report.labelled import Preview
from labelgen.report.pages import contact_sheet, heat_page, overlay_page
from labelgen.report.pictures import (
    CLEAR_COLOURS,
    colour_bar,
    columns_of,
    font,
    heat_map,
    label_overlay,
    labels_at,
    legend,
    scores_at,
    text_that_fits,
    with_names,
)
from labelgen.report.preview import write_preview
from labelgen.vocab import Vocabulary, load_vocabulary

TOY = Vocabulary("toy", ("background", "cat", "dog"), background=0, palette=((0, 0, 0), (255, 0, 0), (0, 0, 255)))


def toy_preview(scores, class_ids=(0, 1), vocabulary=TOY):
    scores = np.asarray(scores, np.float32)
    image = np.random.default_rng(0).integers(0, 255, (*scores.shape[1:], 3), np.uint8)
    return Preview("toy.png", image, SoftMask(scores, class_ids), vocabulary)


QUARTERS = np.zeros((3, 4, 8), np.float32)
QUARTERS[0, :, :4] = 0.5  # background wins the left half,
QUARTERS[1, :, 4:6], QUARTERS[1, :2, :4] = 0.75, 0.25  # cat a quarter, and is second in an eighth,
QUARTERS[2, 0, 0] = 0.125  # dog wins nothing; the last quarter abstains


def test_shares_and_scores_of_classes():
    preview = toy_preview(QUARTERS, (0, 1, 2))
    assert [(c.name, c.share, c.mean_score, c.best_score) for c in preview.classes] == [
        ("background", 0.5, 0.5, 0.5),
        ("cat", 0.25, 0.75, 0.75),
        ("dog", 0.0, 0.0, 0.125),
    ]
    assert preview.coverage == 0.75 and preview.top == 0.8
    assert preview.confidence[0].tolist() == [0.5] * 4 + [0.75] * 2 + [0.0] * 2


LIKELY = np.zeros((3, 4, 8), np.float32)
LIKELY[0], LIKELY[1, 0, 0], LIKELY[2, 1, 1] = 0.9, 0.003, 0.25


def test_what_nearly_won_follows_with_scores_of_its_own():
    scores = np.ones((1, 4, 8), np.float32)
    image = np.zeros((4, 8, 3), np.uint8)
    preview = Preview("toy", image, SoftMask(scores, (0,)), TOY, SoftMask(LIKELY, (0, 1, 2)))
    found = [(c.name, c.share, c.best_score, c.runner_up) for c in preview.classes]
    assert found == [("background", 1, 1, False), ("dog", 0, 0.25, True), ("cat", 0, pytest.approx(0.003), True)]
    assert preview.scores_of(preview.classes[1]) is not preview.mask.scores[0]
    assert preview.scores_of(preview.classes[1])[1, 1] == 0.25
    assert (preview.top, preview.top_of(preview.classes[0])) == (1, 1)
    assert [preview.top_of(c) for c in preview.classes[1:]] == [0.4, 0.004]
    assert (preview.labels == 0).all() and preview.coverage == 1


def test_no_more_runners_up_than_there_is_want_of_maps():
    vocabulary = Vocabulary("many", tuple(f"class {i}" for i in range(20)))
    image = np.zeros((1, 4, 3), np.uint8)
    mask = SoftMask(np.eye(4, dtype=np.float32)[:, None], (0, 1, 2, 3))
    likely = SoftMask(np.full((20, 1, 4), 0.5, np.float32), tuple(range(20)))
    preview = Preview("toy", image, mask, vocabulary, likely)
    assert [c.id for c in preview.classes] == [0, 1, 2, 3, 4, 5]
    assert [c.runner_up for c in preview.classes] == [False] * 4 + [True] * 2
    seven = SoftMask(np.eye(7, dtype=np.float32)[:, None, :], tuple(range(7)))
    preview = Preview("toy", np.zeros((1, 7, 3), np.uint8), seven, vocabulary)
    assert len(preview.classes) == 7 == len(set(preview.colours.values()))


def test_colours_are_those_that_everybody_tells_apart_and_go_by_share():
    preview = toy_preview(QUARTERS, (0, 1, 2))
    assert preview.colours == {1: (213, 94, 0)}  # the background has none, dog wins nothing
    assert len(set(CLEAR_COLOURS)) == len(CLEAR_COLOURS) == 14


def test_names_stand_on_classes_that_have_room():
    picture = np.full((200, 300, 3), 120, np.uint8)
    labels = np.zeros((200, 300), np.uint8)
    labels[50:150, 100:250], labels[0:5, 0:5] = 1, 2
    drawn = with_names(picture, labels, {1: "cat", 2: "dog"}, text_size=16)
    changed = np.argwhere((drawn != picture).any(axis=-1))
    assert len(changed) > 50 and (abs(changed.mean(axis=0) - (100, 175)) < 30).all()
    assert (with_names(picture, labels, {2: "dog"}, text_size=16) == picture).all()
    labels[:, :8] = 2  # at the edge; the name is moved in
    drawn = with_names(picture, labels, {2: "a dog"}, text_size=16)
    assert (drawn[:, 0] == picture[:, 0]).all() and (drawn != picture).any()


def test_heat_pages_of_runners_up_have_the_scale_that_shows_them():
    image = np.zeros((40, 80, 3), np.uint8)
    faint = np.full((1, 40, 80), 0.004, np.float32)
    preview = Preview("toy", image, SoftMask(np.ones((1, 40, 80), np.float32), (0,)), TOY, SoftMask(faint, (1,)))
    page = np.asarray(heat_page(preview, preview.classes[1]))
    assert (page[200, 300] > 150).any()  # light, where a scale up to 1 would show black


def test_a_class_without_any_score_is_not_listed():
    scores = np.zeros((2, 3, 3), np.float32)
    scores[1] = 1
    assert [c.id for c in toy_preview(scores).classes] == [1]


def test_files_of_a_preview(tmp_path):
    document = write_preview(toy_preview(QUARTERS, (0, 1, 2)), tmp_path, facts={"method": "none"})
    names = {"overlay.png", "sheet.png", "labels.png", "preview.json"}
    names |= {"heat_background.png", "heat_cat.png", "heat_dog.png"}
    assert {p.name for p in tmp_path.iterdir()} == names == set(document["files"])
    assert json.loads((tmp_path / "preview.json").read_text()) == document
    assert document["method"] == "none" and document["classes"][1]["share"] == 0.25
    labels = read_mask(tmp_path / "labels.png")
    assert np.unique(labels, return_counts=True)[1].tolist() == [16, 8, 8]
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "P" and picture.getpalette()[3:6] == [255, 0, 0]


def test_an_earlier_preview_leaves_no_picture_behind_and_other_files_stay(tmp_path):
    write_preview(toy_preview(QUARTERS, (0, 1, 2)), tmp_path, facts={})
    (tmp_path / "heat_mine.png").write_bytes(b"mine")
    (tmp_path.parent / "outside.png").write_bytes(b"mine")
    document = json.loads((tmp_path / "preview.json").read_text())
    (tmp_path / "preview.json").write_text(json.dumps(document | {"files": [*document["files"], "../outside.png"]}))
    write_preview(toy_preview(QUARTERS[:1], (0,)), tmp_path, facts={})
    assert not (tmp_path / "heat_cat.png").exists() and (tmp_path / "heat_background.png").exists()
    assert (tmp_path / "heat_mine.png").exists() and (tmp_path.parent / "outside.png").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written to"):
        write_preview(toy_preview(QUARTERS, (0, 1, 2)), tmp_path / "file", facts={})


@pytest.mark.parametrize(
    ("scores", "class_ids"),
    [
        (np.zeros((0, 4, 6)), ()),
        (np.ones((1, 300, 9)), (1,)),
        (np.ones((1, 2, 700)), (2,)),
        (np.ones((1, 1, 1)), (0,)),
    ],
)
def test_pages_of_unusual_images(scores, class_ids):
    preview = toy_preview(scores, class_ids)
    for page in (overlay_page(preview), contact_sheet(preview)):
        assert 100 < page.width < 2000 and 40 < page.height < 2000


def test_pages_of_many_classes_of_long_names_have_bounds():
    vocabulary = Vocabulary(
        "many", tuple(f"a class of a rather long name, number {i}, in several words" for i in range(40))
    )
    scores = np.random.default_rng(0).random((40, 20, 30)).astype(np.float32)
    preview = toy_preview(scores, tuple(range(40)), vocabulary)
    page = contact_sheet(preview)
    assert page.width < 1900 and page.height < 1600
    assert overlay_page(preview).width < 1900


def test_overlay_shows_background_clear_classes_tinted_and_gaps_hatched():
    image = np.full((30, 60, 3), 100, np.uint8)
    labels = np.zeros((30, 60), np.uint8)
    labels[:, 20:40], labels[:, 40:] = 1, 255
    drawn = label_overlay(image, labels, TOY, {1: (255, 0, 0)})
    assert (drawn[:, :19] == 100).all()
    assert (drawn[:, 21:39] == [185, 45, 45]).all()  # 55 % red over grey
    assert (drawn[:, 19:21] == 255).all() and (drawn[:, 39:41] == 255).all()
    gap = drawn[:, 41:]
    assert len(np.unique(gap)) == 2 and (gap[..., 0] == gap[..., 2]).all()


def test_heat_is_monotone_and_cut_at_the_top():
    image = np.zeros((1, 5, 3), np.uint8)
    drawn = heat_map(image, np.array([[0.0, 0.1, 0.2, 0.4, 0.8]], np.float32), top=0.4).astype(int).sum(axis=-1)[0]
    assert (np.diff(drawn[:4]) > 0).all() and drawn[3] == drawn[4]


def test_resizing_never_mixes_labels_and_keeps_scores_in_range(rng):
    labels = rng.choice([3, 200], (7, 9)).astype(np.uint8)
    assert labels_at(labels, (7, 9)) is not labels and (labels_at(labels, (7, 9)) == labels).all()
    assert (labels_at(labels, (21, 27))[1::3, 1::3] == labels).all()
    assert set(np.unique(labels_at(labels, (3, 4)))) <= {3, 200}
    scores = rng.random((7, 9), np.float32)
    assert scores_at(scores, (30, 40)).max() <= scores.max() + 1e-6


def test_text_is_cut_to_its_room():
    face = font(16)
    cut = text_that_fits("an unreasonably long name of a class", face, 120)
    assert cut.endswith("…") and face.getlength(cut) <= 120
    entries = [((255, 0, 0), "x" * 500, "12 %"), (None, "unlabelled", "1 %")]
    assert legend(entries).width == 480
    assert legend(entries[1:]).width == 220
    assert columns_of([("a" * 300, Image.new("RGB", (10, 10)))], columns=3).width == 180


def test_numbers_of_the_colour_bar_are_inside_it():
    for height in (10, 40, 400):
        bar = np.asarray(colour_bar(height, top=0.4))
        assert bar.shape[0] == max(height, 53)  # the word and two numbers
        assert (bar[:20, :26] < 200).any() and (bar[25:, 26:] < 200).any() and (bar[:, -1] == 255).all()


@dataclass(frozen=True)
class StubConfig:
    level: float = 0.5
    kind: Literal["plain", "tags"] = "plain"
    classes: str = ""


def make_stub(config, vocabulary):
    def generate(sample, rng):
        image = sample.need_image()
        assert sample.truth is None
        labels = (image[..., 0] > 255 * config.level).astype(np.uint8) * 15
        return one_hot(labels, details={"draw": int(rng.integers(1000))}, warnings=["a warning"])

    return generate


def prepare_stub(config, vocabulary, dataset):
    return Prepared(
        config, models={"net": {"sha256": "ab"}}, facts={"kind": dataset.spec.kind, "ids": list(dataset.ids)}
    )


@pytest.fixture
def stub(monkeypatch, tmp_path):
    row = Method(
        StubConfig,
        make_stub,
        needs_for=lambda config: frozenset({"tags"} if config.kind == "tags" else ()),
        prepare=prepare_stub,
    )
    monkeypatch.setitem(METHODS, "stub", row)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runners_up_of_a_method_that_tells(photo, monkeypatch, capsys, tmp_path):
    asked = []

    def likely(config, vocabulary):
        def tell(sample, rng, count):
            asked.append(sample.size)
            ids = tuple(range(3, 3 + count))
            return SoftMask(np.full((count, *sample.size), 0.125, np.float32), ids)

        return tell

    monkeypatch.setitem(METHODS, "stub", replace(METHODS["stub"], likely=likely))
    assert main(["preview", photo, "--method", "stub", "--refine", "regions:slic", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    names = [c["name"] for c in document["classes"]]
    assert names == ["background", "person", "bird", "boat", "bottle", "bus"]
    assert [c["runner_up"] for c in document["classes"]] == [False] * 2 + [True] * 4
    assert "heat_bus.png" in document["files"]
    assert main(["preview", photo, "--method", "stub"]) == 0
    assert "bus (wins nowhere)" in capsys.readouterr().out
    Image.new("RGB", (2560, 1000), (200, 0, 0)).save(tmp_path / "wide.png")
    assert main(["preview", "wide.png", "--method", "stub", "--json"]) == 0
    assert asked[-1] == (500, 1280) and asked[0] == (20, 30)
    assert json.loads(capsys.readouterr().out)["classes"][1]["runner_up"]


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_loaded(photo, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")

    def prepare(config, vocabulary, dataset):
        raise AssertionError("nothing must be prepared")

    monkeypatch.setitem(METHODS, "stub", replace(METHODS["stub"], prepare=prepare))
    for out in ("file", "file/below"):
        assert main(["preview", photo, "--method", "stub", "--out", out]) == 1
        error, hint = capsys.readouterr().err.splitlines()
        assert f"the preview cannot be written to {out}: file is no folder" in error and "--out" in hint


def test_classes_are_said_once(photo, capsys):
    assert main(["preview", photo, "--method", "stub", "--classes", "cat, dog", "--vocab", "voc"]) == 2
    assert "--vocab and --classes both say what to look for" in capsys.readouterr().err


@pytest.fixture
def photo(stub):
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, 20:] = 200
    Image.fromarray(array).save(stub / "my photo.png")
    return "my photo.png"


def test_a_picture_as_typed(photo, capsys, tmp_path):
    assert main(["preview", photo, "--method", "stub"]) == 0
    out, _ = capsys.readouterr()
    assert "my photo.png: 30 x 20 pixels, stub" in out and "person" in out and "33.3 %" in out
    folder = tmp_path / "runs/preview/my photo"
    assert (folder / "overlay.png").is_file() and (folder / "heat_person.png").is_file()
    document = json.loads((folder / "preview.json").read_text())
    assert document["vocabulary"]["name"] == "voc"
    assert document["vocabulary"]["digest"] == load_vocabulary("voc").digest()
    assert document["models"] == {"net": {"sha256": "ab"}} and document["facts"] == {
        "kind": "images",
        "ids": ["my photo"],
    }
    assert document["config"] == {"level": 0.5, "kind": "plain", "classes": ""}
    assert document["size"] == [20, 30] and document["supervision"] == [] and document["warnings"] == ["a warning"]


def test_settings_refiners_and_place(photo, capsys, tmp_path):
    argv = ["preview", photo, "--method", "stub", "--set", "level=0.9", "--refine", "regions:slic,segments=5"]
    assert main([*argv, "--out", "here", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["config"]["level"] == 0.9 and [c["name"] for c in document["classes"]] == ["background"]
    assert document["facts"]["refine"][0]["segments"] == 5
    assert json.loads((tmp_path / "here/preview.json").read_text()) == document


def test_several_pictures_get_a_folder_each(photo, capsys, tmp_path):
    (tmp_path / "sub").mkdir()
    Image.new("L", (8, 9), 255).save(tmp_path / "sub/my photo.jpg")
    assert main(["preview", photo, "sub/my photo.jpg", "demo", "--method", "stub", "--out", "o", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [d["image"] for d in documents] == [photo, "sub/my photo.jpg", "demo"]
    assert [d["facts"]["kind"] for d in documents] == ["images", "images", "demo"]
    assert documents[1]["classes"][0]["share"] == 1  # a grey picture is white everywhere
    assert [d["facts"]["ids"] for d in documents] == [["my photo", "my photo-2"]] * 2 + [["val_0000"]]
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["my photo", "my photo-2", "val_0000"]


def test_demo_scenes_by_name(stub, capsys):
    assert main(["preview", "--method", "stub", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["ids"] == ["val_0000"]
    assert main(["preview", "demo:train_0003", "--method", "stub", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["ids"] == ["train_0003"]
    assert main(["preview", "demo:val_9999", "--method", "stub"]) == 1
    assert "no demo scene 'val_9999'" in capsys.readouterr().err


def test_exif_orientation_is_honoured(stub, capsys, tmp_path):
    array = np.zeros((20, 30, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "turned.jpg", exif=exif)
    assert main(["preview", "turned.jpg", "--method", "stub", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == [30, 20]


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        (
            ["--method", "scribble"],
            "scribble with these settings needs truth, which a picture",
            "methods for pictures: ",
        ),
        (
            ["--method", "stub", "--set", "kind=tags"],
            "stub with these settings needs tags",
            "labelgen stub DATA --limit 1",
        ),
        (["--method", "cam"], "cam with these settings needs tags", "--set gate=predicted"),
        (["--method", "blur"], "unknown method 'blur'", "methods: scribble"),
        (
            ["--method", "stub", "--set", "lvel=1"],
            "method stub has no setting 'lvel'",
            "did you mean level? its settings: level, kind, classes",
        ),
        (["--method", "stub", "--set", "level"], "a setting must be written NAME=VALUE, got 'level'", ""),
        (["--method", "stub", "--set", "level=high"], "level of method stub must be a number, got 'high'", ""),
        (["--method", "stub", "--refine", "blur"], "unknown refiner 'blur'", "refiners: affinity"),
    ],
)
def test_wrong_usage_names_the_cure(photo, capsys, argv, error, hint):
    assert main(["preview", photo, *argv]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert error in first and hint in second


def test_pictures_that_are_none(stub, capsys, tmp_path):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name, error in (
        ("absent.jpg", "picture not found"),
        ("text.jpg", "image cannot be read"),
        ("folder", "is a folder, not a picture"),
    ):
        assert main(["preview", name, "--method", "stub"]) == 1
        assert error in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_methods_for_pictures_are_those_without_supervision():
    with pytest.raises(ConfigError) as caught:
        preview_command(method="corrupt")
    listed = caught.value.hint.partition(";")[0]
    assert "clip" in listed and "zeroseg" in listed and "scribble" not in listed
    with pytest.raises(DataError):
        preview_command("absent.jpg", method="clip")
