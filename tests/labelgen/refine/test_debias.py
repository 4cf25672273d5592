import dataclasses
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labelgen.cli import main
from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, harden
from labelgen.nets.geometry import geometry_for
from labelgen.refine import RefineStep, debias, fit_refiners, make_refiner, parse_refiners, settle_refiners
from labelgen.refine.bias import ImageTokens, find_biases, occurrences
from labelgen.refine.clusters import nearest, spherical_kmeans
from labelgen.refine.debias import DebiasConfig, fit_debias, make_debias
from labelgen.vocab import load_vocabulary

CLASS, OTHER = 19, 8
COLOURS = {"train": (220, 30, 30), "cat": (30, 30, 220), "rails": (110, 110, 40), "sky": (90, 200, 220)}
COLOURS |= {"grass": (20, 160, 20)}
SIZE = (24, 32)


class Patchwork:
    """Stands for a frozen network: its tokens are the mean colours of patches of 4 pixels."""

    spec = SimpleNamespace(stride=4, dim=3, name="patchwork", weights_sha256="0" * 64, weights_from="shipped")
    config = SimpleNamespace(size=0)

    def prepare(self, image, *, scale):
        assert scale == 1
        return torch.from_numpy(image).permute(2, 0, 1).float(), geometry_for(SIZE, SIZE, stride=4, multiple=4)

    def tokens(self, batch):
        return torch.nn.functional.avg_pool2d(batch, 4).permute(0, 2, 3, 1)


@pytest.fixture
def patchwork(monkeypatch):
    monkeypatch.setattr(debias, "network_of", lambda config: Patchwork())


def settings(**changes):
    return DebiasConfig(**{"tokens": 6, "clusters": 4, "min_images": 3, **changes})


def scene(rng, top, bottom, class_id, *, seeded=24):
    """A thing above a ground on which it stands, seeds on both; sky left and right."""
    image = np.empty((*SIZE, 3))
    image[:], image[4:16, 8:24], image[16:] = COLOURS["sky"], COLOURS[top], COLOURS[bottom]
    image += rng.normal(0, 6, image.shape)
    scores = np.zeros((2, *SIZE), np.float32)
    scores[0], scores[1, 4:seeded, 8:24] = 0.2, 0.9
    return image.clip(0, 255).astype(np.uint8), SoftMask(scores, (0, class_id), warnings=("odd",))


def planted(rng, *, rails_without_trains=6):
    """Trains on rails, of which seeds take both; cats on rails or grass, of which seeds take the cat."""
    pairs = []
    for index in range(10):
        image, mask = scene(rng, "train", "rails", CLASS)
        pairs.append((Sample(f"train{index}", SIZE, image=image), mask))
        ground = "rails" if index < rails_without_trains else "grass"
        image, mask = scene(rng, "cat", ground, OTHER, seeded=16)
        pairs.append((Sample(f"cat{index}", SIZE, image=image), mask))
    return pairs


def test_what_occurs_without_the_class_goes_and_the_object_stays(rng, patchwork):
    pairs = planted(rng)
    refine = make_debias(settings(), fit_debias(settings(), pairs))
    for sample, mask in pairs[::2]:
        before, after = harden(mask), harden(refine(sample, mask))
        assert (before[16:, 8:24] == CLASS).all() and (after[17:, 8:24] == 0).all()
        assert (after[4:15, 8:24] == CLASS).all() and (after[:4] == 0).all()
    cat, mask = pairs[1]
    np.testing.assert_array_equal(harden(refine(cat, mask)), harden(mask))


def test_what_occurs_only_with_the_class_stays(rng, patchwork):
    pairs = planted(rng, rails_without_trains=0)
    refine = make_debias(settings(), fit_debias(settings(), pairs))
    sample, mask = pairs[0]
    assert refine(sample, mask) is mask  # nothing can be known against it


def test_the_ratio_decides_how_often_is_as_often(rng, patchwork):
    pairs = planted(rng, rails_without_trains=3)
    dropped = {}
    for ratio in (0.1, 0.9):
        state = fit_debias(settings(ratio=ratio), pairs)
        dropped[ratio] = int(state.classes[CLASS].dropped.sum())
    assert dropped[0.1] > 0 and dropped[0.9] == 0


def test_scores_go_to_background_where_the_class_was_best_and_nowhere_else(rng, patchwork):
    pairs = planted(rng)
    state = fit_debias(settings(), pairs)
    sample, mask = pairs[0]
    scores = np.concatenate([mask.scores, np.full((1, *SIZE), 0.1, np.float32)])
    scores[2, 20:, 8:24] = 0.95  # another class that is sure of a part of the rails
    three = SoftMask(scores, (0, CLASS, 20))
    result = make_debias(settings(), state)(sample, three)
    assert not result.scores[1, 20:].any() and (result.scores[0, 18:20, 8:24] == np.float32(0.9)).all()
    np.testing.assert_array_equal(result.scores[2], scores[2])
    np.testing.assert_array_equal(result.scores[0, 20:], scores[0, 20:])
    bare = dataclasses.replace(mask, scores=mask.scores[1:], class_ids=(CLASS,))
    added = make_debias(settings(), state)(sample, bare)
    assert added.class_ids == (0, CLASS) and (harden(added)[18:, 8:24] == 0).all()
    assert added.warnings == ("odd",)


def test_one_cluster_of_a_class_always_stays():
    direction = np.eye(3, dtype=np.float32)
    images = [ImageTokens({5: direction[:2]}, direction[2:])] * 4 + [ImageTokens({}, direction)] * 4
    found = find_biases(images, clusters=2, ratio=0.5, members=0.5, min_images=3, rng=np.random.default_rng(0))
    assert found.classes[5].dropped.tolist().count(False) == 1 and (found.classes[5].ratios == 1).all()


def test_classes_that_are_too_rare_keep_all(rng, patchwork):
    pairs = planted(rng)
    assert fit_debias(settings(min_images=11), pairs).classes == {}
    assert set(fit_debias(settings(min_images=10), pairs).classes) == {CLASS, OTHER}
    trains = pairs[::2]
    assert fit_debias(settings(), trains).classes == {}  # there is no image without the class


def test_what_is_learned_is_the_same_again_travels_and_is_recorded(rng, patchwork):
    pairs = planted(rng)
    one, two = fit_debias(settings(), pairs), fit_debias(settings(), pairs)
    assert one.sha256 == two.sha256 == pickle.loads(pickle.dumps(one)).sha256
    assert fit_debias(settings(), pairs[:14]).sha256 != one.sha256
    facts = json.loads(json.dumps(one.facts()))
    assert facts["images"] == 20 and facts["sha256"] == one.sha256
    gone, count = facts["dropped_of_clusters"][str(CLASS)]
    assert 0 < gone < count <= 4 and facts["dropped_of_clusters"][str(OTHER)][0] == 0
    assert fit_debias(settings(images=6), iter(pairs)).images == 6


def test_it_learns_from_what_the_refiners_before_it_make(rng, patchwork):
    pairs = planted(rng)
    steps = (
        RefineStep("regions", parse_refiners("regions:slic,segments=9")[0].config),
        RefineStep("debias", settings()),
    )
    calls = []

    def source():
        calls.append(1)
        return pairs

    fitted = fit_refiners(steps, source)
    assert len(calls) == 1 and fitted[0].state is None and fitted[1].state is not None
    regions = make_refiner(steps[0])
    wanted = fit_debias(settings(), [(sample, regions(sample, mask)) for sample, mask in pairs])
    assert fitted[1].state.facts() == wanted.facts() != fit_debias(settings(), pairs).facts()
    assert fit_refiners(fitted, source) == fitted and len(calls) == 1


def test_a_refiner_that_has_not_learned_is_refused(patchwork):
    with pytest.raises(ConfigError, match="refiner debias has to learn from the data set before"):
        make_refiner(parse_refiners("debias")[0])
    with pytest.raises(DataError, match="no image to learn from"):
        fit_debias(settings(), [])


def test_the_network_and_the_background_follow_from_the_data():
    voc = load_vocabulary("voc")
    (step,) = settle_refiners(parse_refiners("debias"), DataSpec("demo"), vocabulary=voc)
    assert step.config.backbone == "demo-ssvt"
    (step,) = settle_refiners(parse_refiners("debias"), DataSpec("voc", "/data"), vocabulary=voc)
    assert step.config.backbone.startswith("vit_small_patch14_reg4_dinov2")
    with pytest.raises(ConfigError, match="has none"):
        without = dataclasses.replace(voc, background=None)
        settle_refiners(parse_refiners("debias"), DataSpec("demo"), vocabulary=without)


def test_clusters_are_found_by_direction(rng):
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:4].astype(np.float32)
    features = directions.repeat(30, axis=0) + rng.normal(0, 0.05, (120, 6)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    centres = spherical_kmeans(unit, 4, rng=np.random.default_rng(0))
    labels = nearest(unit, centres).reshape(4, 30)
    assert (labels == labels[:, :1]).all() and len({*labels[:, 0]}) == 4
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-5)
    assert (centres @ directions.T).max(axis=0).min() > 0.99
    assert len(spherical_kmeans(unit[:1].repeat(5, axis=0), 4, rng=np.random.default_rng(0))) == 1


def test_regions_without_cells_hold_no_cluster():
    empty = np.zeros((0, 2), np.float32)
    centres = np.eye(2, dtype=np.float32)
    assert occurrences([empty, centres], centres, np.array([0.9, 0.9])).tolist() == [0.5, 0.5]
    assert occurrences([], centres, np.array([0.9, 0.9])).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clusters": 1}, "clusters must be >= 2"),
        ({"ratio": 0.0}, "ratio must be > 0"),
        ({"members": 1.5}, r"members lie in \(0, 1\], got 0.5 and 1.5"),
        ({"images": 0}, "images must be >= 1, got 0"),
        ({"patches": 0}, "patches must be >= 1, got 0"),
        ({"min_images": 0}, "min_images must be >= 1, got 0"),
        ({"tokens": 0}, r"tokens must lie in \[1, 128\], got 0"),
        ({"ratio": float("nan")}, "ratio must be a finite number"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


@pytest.mark.slow
def test_runs_learn_first_and_record_what(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["corrupt", "--kind", "shift=0.6", "--limit", "6", "--save-scores"]
    learn = "debias:demo-ssvt,tokens=8,min-images=1,clusters=3,members=1,ratio=0.1"
    assert main([*command, "--out", "one", "--refine", learn]) == 0
    facts = json.loads((tmp_path / "one/run.json").read_text())["facts"]["refine"][0]
    assert facts["refiner"] == "debias" and facts["learned"]["images"] == 6 and len(facts["learned"]["sha256"]) == 64
    assert sum(gone for gone, _ in facts["learned"]["dropped_of_clusters"].values()) > 0
    labels = sorted((tmp_path / "one" / "labels").rglob("*.png"))
    capsys.readouterr()
    assert main([*command, "--out", "plain"]) == 0
    assert main(["refine", "plain", "--with", learn, "--out", "three"]) == 0
    config = json.loads((tmp_path / "three/run.json").read_text())["config"]
    assert config["steps"][0]["learned"] == facts["learned"]
    refined = sorted((tmp_path / "three/labels").rglob("*.png"))
    assert [path.read_bytes() for path in refined] == [path.read_bytes() for path in labels]
