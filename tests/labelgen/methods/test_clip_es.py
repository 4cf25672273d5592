import dataclasses
import json

import numpy as np
import pytest
import torch

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.demo.scenes import draw_scene
from labelgen.errors import ConfigError, DataError
from labelgen.masks import harden
from labelgen.methods import clip_es_build
from labelgen.methods.clip_es import CLIP_ES, ClipEsConfig
from labelgen.methods.clip_es_build import words_for
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.clip_cam import clip_cam
from labelgen.refine.attention_affinity import sinkhorn_affinity, spread_maps
from labelgen.run import RunOptions, method_job, run_job
from labelgen.seeds.normalise import normalise
from labelgen.vocab import Vocabulary, load_vocabulary

VOC = load_vocabulary("voc")
RNG = np.random.default_rng(0)
DEMO = {"model": "demo-clip", "device": "cpu"}
SMALL = {**DEMO, "short_side": 48}


@pytest.fixture(scope="module")
def scene():
    """A scene of two classes."""
    for index in range(20):
        drawn = draw_scene("clip-es", index)
        tags = frozenset(np.unique(drawn.labels).tolist()) - {0}
        if len(tags) == 2:
            return Sample("scene", drawn.labels.shape, image=drawn.image, truth=drawn.labels, tags=tags)
    raise AssertionError("one in three scenes has two classes")


def label(sample, vocabulary=VOC, **settings):
    prepared = CLIP_ES.settle(ClipEsConfig(**{**SMALL, **settings}), vocabulary, None)
    return CLIP_ES.make(prepared.config, vocabulary)(sample.only({"tags"}), RNG)


def test_scores_are_the_background_and_the_maps_of_the_tags(scene):
    mask = label(scene)
    assert mask.class_ids == (0, *sorted(scene.tags)) and mask.size == scene.size and not mask.warnings
    np.testing.assert_allclose(mask.scores[0], 1 - mask.scores[1:].max(axis=0), atol=1e-6)
    assert mask.scores.max() <= 1
    assert sorted(mask.details["probabilities"]) == sorted(VOC.classes[i] for i in scene.tags)
    json.dumps(mask.details)


@pytest.mark.parametrize("caa", [False, True])
def test_the_recipe_step_by_step(scene, caa):
    config = ClipEsConfig(**DEMO, caa=caa, scale=8.0)
    clip = load_clip(ClipModelConfig(dtype="float32"))
    words, ids = words_for(config, VOC, clip), tuple(sorted(scene.tags))
    found = clip_cam(clip.model, clip.normalise(scene.image[None]), words.competing(ids), [0, 1], scale=8.0, layers=4)
    cells = normalise(found.maps.relu().numpy(), how="minmax0")
    if caa:
        cells = normalise(spread_maps(sinkhorn_affinity(found.attention), cells, share=0.4), how="minmax0")
    wanted = torch.nn.functional.interpolate(torch.from_numpy(cells)[None], size=scene.size, mode="bilinear")[0]
    mask = label(scene, caa=caa, scale=8.0, short_side=0)
    np.testing.assert_allclose(mask.scores[1:], wanted, atol=1e-6)


def test_labels_of_demo_scenes_find_what_the_tags_name():
    inter, union = 0, 0
    for index in range(6):
        drawn = draw_scene("clip-es", index)
        tags = frozenset(np.unique(drawn.labels).tolist()) - {0}
        labels = harden(label(Sample("a", drawn.labels.shape, image=drawn.image, tags=tags), short_side=0))
        foreground = drawn.labels > 0
        inter += ((labels == drawn.labels) & foreground).sum()
        union += (foreground | (labels > 0)).sum()
    assert inter / union > 0.35


@pytest.mark.parametrize(
    "change",
    [
        {"templates": "none"},
        {"background_words": "none"},
        {"background_words": "grass; street"},
        {"scale": 20.0},
        {"feature": "class"},
        {"maps": "layercam"},
        {"short_side": 64},
        {"caa": True},
        {"layers": 1},
        {"share": 0.9},
        {"background": "power:4"},
        {"background": "dual:power:1/power:8"},
    ],
)
def test_every_setting_moves_the_scores(scene, change):
    base = {"caa": True} if change.keys() & {"layers", "share"} else {}
    before, after = label(scene, **base), label(scene, **base, **change)
    assert before.class_ids == after.class_ids
    assert np.abs(before.scores - after.scores).max() > 1e-3


def test_images_are_resized_to_whole_patches_and_not_padded(scene, monkeypatch):
    seen = []

    def spy(model, pixels, *args, **options):
        seen.append(tuple(pixels.shape))
        return clip_cam(model, pixels, *args, **options)

    monkeypatch.setattr(clip_es_build, "clip_cam", spy)
    odd = Sample("odd", (41, 57), image=np.ascontiguousarray(scene.image[:41, :57]), tags=scene.tags)
    assert label(odd, short_side=0).size == (41, 57)
    label(odd, short_side=30)
    assert seen == [(1, 3, 48, 64), (1, 3, 32, 48)]


@pytest.mark.parametrize(("untagged", "value"), [("background", 0), ("skip", 255)])
def test_an_image_without_tags_never_gets_a_blob(scene, untagged, value):
    mask = label(dataclasses.replace(scene, tags=frozenset({0})), untagged=untagged)
    assert (harden(mask) == value).all()
    assert len(mask.warnings) == 1 and mask.warnings[0].startswith("the image has no tag: ")


def test_an_image_without_tags_may_be_a_failure(scene):
    with pytest.raises(DataError, match="scene has no tag"):
        label(dataclasses.replace(scene, tags=frozenset()), untagged="error")


def test_a_run_goes_on_after_an_image_without_tags(tmp_path):
    dataset = open_data("demo", limit=3)
    tags = {sample_id: [] if number == 1 else ["cat"] for number, sample_id in enumerate(dataset.ids)}
    (tmp_path / "tags.json").write_text(json.dumps(tags))
    dataset = open_data("demo", limit=3, tags=str(tmp_path / "tags.json"))
    job = method_job("clip-es", ClipEsConfig(short_side=48), VOC, dataset=dataset)
    assert job.config["model"] == "demo-clip" and job.config["caa"] is False and job.config["scale"] == 5.0
    assert len(job.models["clip"]["sha256"]) == 64 and job.facts["background_as_threshold"] == 0.5
    assert job.facts["prompts"]["sofa"] == ["sofa", "couch"] and "sky" in job.facts["prompts"]["background"]
    report = run_job(dataset, job, tmp_path / "run", RunOptions())
    assert report.complete and report.failed == 0 and report.counts["warnings"] == 1


def test_one_class_that_competes_with_nothing_is_said(scene):
    one = dataclasses.replace(scene, tags=frozenset(sorted(scene.tags)[:1]))
    mask = label(one, background_words="none")
    assert (harden(mask) == 0).all()
    assert len(mask.warnings) == 1 and "is nowhere above 0" in mask.warnings[0]


def test_asking_about_the_spread_asks_for_it_and_other_models_have_it(scene):
    assert CLIP_ES.settle(ClipEsConfig(**SMALL, share=0.7), VOC, None).config.caa is True
    settled = CLIP_ES.settle(ClipEsConfig(**SMALL, caa=True), VOC, None).config
    assert (settled.layers, settled.share) == (4, 0.4)
    assert CLIP_ES.settle(settled, VOC, None).config == settled


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caa": False, "layers": 3}, "layers has no say without caa, got 3"),
        ({"caa": False, "share": 0.5}, "share has no say without caa"),
        ({"share": 1.5}, r"share must lie in \[0, 1\]"),
        ({"scale": 0.0}, "scale must lie in"),
        ({"short_side": -1}, "short_side must lie in"),
        ({"layers": 0}, "layers must lie in"),
        ({"templates": "{} and {}"}, "must hold {} exactly once"),
        ({"background": "saliency"}, "must come from the maps, got 'saliency'"),
        ({"background": "fixed:2"}, "a fixed background must lie in"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ClipEsConfig(**settings)


def test_what_does_not_fit_the_model_or_the_vocabulary_is_refused():
    with pytest.raises(ConfigError, match=r"layers must lie in \[1, 6\] for demo-clip, got 7"):
        CLIP_ES.settle(ClipEsConfig(**DEMO, layers=7), VOC, None)
    with pytest.raises(ConfigError, match="have a background, which 'parts' does not"):
        CLIP_ES.settle(ClipEsConfig(**DEMO), Vocabulary("parts", ("cat", "dog")), None)
    with pytest.raises(ConfigError, match="templates must be"):
        CLIP_ES.settle(ClipEsConfig(**DEMO, templates="what"), VOC, None)
