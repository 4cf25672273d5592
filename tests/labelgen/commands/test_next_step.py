"""What a run suggests to do next."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from labelgen.cli import main
from labelgen.commands.common import CommonFlags
from labelgen.commands.generate import label_data
from labelgen.commands.next_step import can_be_scored, next_steps, preview_command
from labelgen.data.open import open_data
from labelgen.masks import one_hot, write_mask
from labelgen.methods import METHODS, Method
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")
OUT = Path("my runs/stub")


@dataclass(frozen=True)
class StubConfig:
    level: float = 0.5
    names: tuple[str, ...] = ()
    kind: Literal["plain", "tags"] = "plain"
    classes: str = ""


def make_stub(config, vocabulary):
    return lambda sample, rng: one_hot((sample.need_image()[..., 0] > 255 * config.level).astype(np.uint8))


STUB = Method(
    StubConfig, make_stub, needs_for=lambda c: frozenset({"tags"} if c.kind == "tags" else ()),
    vocabulary_for=lambda config, vocabulary: vocabulary,
)  # fmt: skip


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my pics").mkdir()
    Image.new("RGB", (8, 6), (200, 0, 0)).save(tmp_path / "my pics/one.jpg")
    return tmp_path / "my pics"


def steps(dataset, vocabulary, config=None, **flags):
    return next_steps(
        dataset, vocabulary, OUT, name="stub", method=STUB, config=config or StubConfig(),
        flags=CommonFlags(**flags),
    )  # fmt: skip


def test_with_truth_the_labels_can_be_scored():
    demo = open_data("demo", limit=1)
    assert can_be_scored(demo, VOC)
    assert steps(demo, VOC) == [("next", "labelgen quality 'my runs/stub'")]


def test_in_classes_that_the_truth_does_not_have_they_cannot():
    demo = open_data("demo", limit=1)
    own = Vocabulary("classes", ("cat", "sky"))
    assert not can_be_scored(demo, own)
    assert steps(demo, own, StubConfig(classes="cat, sky")) == [
        ("next", "segprobe fit 'my runs/stub'"),
        ("or", "labelgen preview demo:train_0000 --method stub --classes 'cat, sky'"),
    ]


def test_pictures_alone_have_no_truth(pictures):
    data = open_data(f"images:{pictures}", vocabulary="voc")
    assert not can_be_scored(data, VOC)
    look = "labelgen preview 'my pics/one.jpg' --method stub --set level=0.25 --set names=a,b --vocab voc"
    config = StubConfig(level=0.25, names=("a", "b"))
    assert steps(data, VOC, config, vocab="voc")[1] == ("or", look)
    look = preview_command(data, name="clip", config=StubConfig(), flags=CommonFlags(refine=("regions:slic",), seed=3))
    assert look == "labelgen preview 'my pics/one.jpg' --refine regions:slic --seed 3"


def test_a_method_with_supervision_has_no_preview(pictures):
    data = open_data(f"images:{pictures}", vocabulary="voc")
    assert steps(data, VOC, StubConfig(kind="tags")) == [("next", "segprobe fit 'my runs/stub'")]


def test_the_commands_are_printed_and_the_second_runs(pictures, monkeypatch, capsys):
    monkeypatch.setitem(METHODS, "stub", STUB)
    flags = CommonFlags(vocab="voc", out="run")
    assert label_data("stub", StubConfig(level=0.9), f"images:{pictures}", flags) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    found = {words[0]: words[1] for words in lines if len(words) == 2}
    assert found["next"] == "segprobe fit run"
    assert main(shlex.split(found["or"])[1:]) == 0
    assert "one.jpg: 8 x 6 pixels, stub" in capsys.readouterr().out


def test_scribbles_of_masks_suggest_quality(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truth = np.zeros((12, 16), np.uint8)
    truth[3:9, 4:12] = 15
    write_mask(tmp_path / "data/masks/one.png", truth)
    assert main(["point", "folder:data", "--vocab", "voc", "--out", "run"]) == 0
    assert "labelgen quality run" in capsys.readouterr().out
