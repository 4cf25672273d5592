import dataclasses
import json
import pickle

import numpy as np
import pytest

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError
from labelgen.job import config_to_json
from labelgen.masks import SoftMask, read_mask
from labelgen.refine import REFINERS, make_refiner, models_of, parse_refiners, refined


def test_refiners_as_typed():
    first, second = parse_refiners(
        "affinity:demo-ssvt, variant=proxy,centre=no,gamma=5", "regions:felzenszwalb,vote=majority,min-size=9"
    )
    assert (first.name, first.config.backbone, first.config.variant) == ("affinity", "demo-ssvt", "proxy")
    assert (first.config.centre, first.config.gamma) == (False, 5.0)
    assert (second.config.source, second.config.vote, second.config.min_size) == ("felzenszwalb", "majority", 9)
    assert parse_refiners() == ()


@pytest.mark.parametrize(
    ("text", "error", "hint"),
    [
        ("blur", "unknown refiner 'blur'", "refiners: affinity, "),
        ("", "unknown refiner ''", "refiners: affinity, "),
        ("affinity:", "'affinity:' ends before the backbone", "write affinity:BACKBONE"),
        ("regions,colour=1", "refiner regions has no setting 'colour'", "its settings: source, vote, zero, scale"),
        ("regions,slic", "a setting must be written NAME=VALUE, got 'slic'", ""),
        ("affinity,steps=2.5", "steps of refiner affinity must be a whole number, got '2.5'", ""),
        ("affinity,variant=crf", "variant of refiner affinity must be dinoiser or proxy, got 'crf'", ""),
        ("regions,vote=max", "vote of refiner regions must be mean or majority, got 'max'", ""),
        (
            "affinity,steps=0",
            "steps must be >= 1 and tokens lie in [1, 128], got 0",
            "and their defaults: backb",
        ),
        ("regions,scale=inf", "scale must be a finite number, got inf", "min_size=20"),
        ("regions:slic,scale=5", "scale has no say with slic, got 5.0: it is of felzenszwalb", "segments=200"),
        ("regions:maps,segments=5", "segments has no say with a folder of region maps", ""),
        ("regions:slic,zero=region", "zero has no say with slic, got region: it is of a folder of region maps", ""),
    ],
)
def test_mistyped_refiners_are_refused(text, error, hint):
    with pytest.raises(ConfigError) as caught:
        parse_refiners(text)
    assert error in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize("name", REFINERS)
def test_settings_are_json_and_steps_cross_processes(name):
    (step,) = parse_refiners(name)
    assert type(step.config)(**config_to_json(step.config)) == step.config
    assert pickle.loads(pickle.dumps(step)) == step


def test_refiners_follow_in_their_order_and_see_no_supervision():
    seen = []

    def generate(sample, rng):
        return SoftMask(np.full((1, 1, 1), sample.need_truth()[0, 0], np.float32), (0,), warnings=("w",))

    def double(sample, mask):
        seen.append(sample)
        return dataclasses.replace(mask, scores=mask.scores * 2)

    def add_one(sample, mask):
        return dataclasses.replace(mask, scores=mask.scores + 1)

    truth = np.full((1, 1), 3, np.uint8)
    sample = Sample("a", (1, 1), image=np.zeros((1, 1, 3), np.uint8), truth=truth, tags=frozenset({3}))
    mask = refined(generate, [double, add_one])(sample, np.random.default_rng(0))
    assert mask.scores.item() == 7 and mask.warnings == ("w",)
    assert seen[0].id == "a" and seen[0].image is not None and seen[0].truth is None and seen[0].tags is None


def test_refiners_without_a_network_have_no_models():
    assert models_of(parse_refiners("regions:slic")) == {}


def test_every_refiner_is_made_by_its_name():
    sample = Sample("a", (16, 24), image=np.zeros((16, 24, 3), np.uint8))
    mask = SoftMask(np.full((2, 16, 24), 0.5, np.float32), (1, 4))
    for step in parse_refiners("affinity:demo-ssvt,tokens=2", "regions:slic,segments=4"):
        assert make_refiner(step)(sample, mask).scores == pytest.approx(mask.scores)


def test_refined_runs_record_their_refiners(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["corrupt", "--kind", "shift=0.6", "--limit", "2"]
    assert main([*command, "--out", "plain"]) == 0
    assert main([*command, "--out", "refined", "--refine", "regions:felzenszwalb,scale=50"]) == 0
    header = json.loads((tmp_path / "refined/run.json").read_text())
    assert header["facts"]["refine"][0]["refiner"] == "regions" and header["facts"]["refine"][0]["scale"] == 50
    plain, repaired = (read_mask(tmp_path / run / "labels/train_0000.png") for run in ("plain", "refined"))
    truth = open_data("demo").truth("train_0000")
    assert (repaired != truth).mean() < (plain != truth).mean()
    capsys.readouterr()
    assert main([*command, "--out", "refined", "--refine", "regions:felzenszwalb,scale=60"]) == 1
    assert "facts.refine.0.scale is 50.0 there, 60.0 now" in capsys.readouterr().err
    assert main([*command, "--out", "refined"]) == 1
    assert "facts.refine" in capsys.readouterr().err


@pytest.mark.slow
def test_workers_build_refiners_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["corrupt", "--limit", "3", "--refine", "affinity:demo-ssvt,tokens=8", "--refine", "regions"]
    assert main([*command, "--out", "one"]) == 0
    assert main([*command, "--out", "two", "--workers", "2"]) == 0
    for sample_id in ("train_0000", "train_0001", "train_0002"):
        one, two = ((tmp_path / run / f"labels/{sample_id}.png").read_bytes() for run in ("one", "two"))
        assert one == two
    assert len(json.loads((tmp_path / "two/run.json").read_text())["models"]["demo-ssvt"]["sha256"]) == 64
