"""What is left open about zero-shot labels and what contradicts; no network."""

import dataclasses
import typing

import pytest

from labelgen.data.open import open_data
from labelgen.errors import ConfigError, VocabularyError
from labelgen.methods.clip import CLIP, ClipConfig, ClipMethod
from labelgen.methods.clip_presets import PRESETS, find_preset
from labelgen.methods.clip_settle import is_demo, is_settled, model_of, settle, with_preset
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.dense_clip.names import METHODS
from labelgen.vocab import Vocabulary, load_vocabulary

VOC, VOC20 = load_vocabulary("voc"), load_vocabulary("voc20")
REAL = ClipModelConfig("ViT-B-16", pretrained="openai", device="cpu", dtype="float32")
DEMO = ClipModelConfig("demo-clip", device="cpu", dtype="float32")


def settled(vocabulary=VOC, *, model=REAL, native=224, demo=False, blocks=12, **settings):
    config = ClipConfig(**settings)
    return settle(config, vocabulary, demo=demo, model=model, native=native, learned_scale=112.0, blocks=blocks)


def test_defaults_on_real_data():
    config = settled()
    assert (config.method, config.model, config.pretrained, config.device) == ("naclip", "ViT-B-16", "openai", "cpu")
    assert (config.short_side, config.crop, config.stride) == (336, 224, 112)
    assert (config.scale, config.synonyms, config.fuse, config.activation) == (
        40.0,
        "max-logit",
        "similarity",
        "softmax",
    )
    assert (config.background, config.background_threshold, config.templates) == ("words+threshold", 0.1, "imagenet80")
    assert (config.std, config.beta, config.gamma, config.depth, config.proxy_backbone) == (5.0, None, None, None, "")
    assert is_settled(config) and not is_settled(ClipConfig())
    assert settle(config, VOC, demo=False, model=REAL, native=224, learned_scale=112.0) == config


def test_defaults_on_demo_data():
    config = settled(model=DEMO, native=128, demo=True, method="proxy")
    assert (config.short_side, config.crop, config.stride) == (192, 128, 64)
    assert (config.proxy_backbone, config.beta, config.gamma, config.std) == ("demo-ssvt", 1.2, 3.0, None)
    assert settled(method="proxy").proxy_backbone == "vit_base_patch8_224.dino"


def test_defaults_that_follow_from_others():
    assert settled(VOC20).background == "none" and settled(VOC20).background_threshold is None
    assert settled(crop=448).stride == 224 and settled(crop=0).stride == 0
    assert settled(method="tiles").short_side == 256
    assert settled(method="gem").depth == 6 and settled(method="zeroseg-lite").segments == 8
    assert settled(activation="sigmoid").scale == 112.0
    assert settled(text_embeddings="words.npz").templates == ""
    assert settled(method="gem", blocks=4).depth == 4 and settled(method="gem", blocks=4, depth=3).depth == 3
    assert settled(gate="top-k").top_k == 5 and settled().gate == "none" and settled().top_k is None
    lite = settled(method="zeroseg-lite")
    assert (lite.gate, lite.top_k) == ("top-k", 5) and settled(method="zeroseg-lite", top_k=2).top_k == 2
    free = settled(method="zeroseg-lite", gate="none")
    assert (free.gate, free.top_k) == ("none", None)
    assert (settled().batch, settled(crop=0).batch, lite.batch, settled(method="tiles").batch) == (8, None, 8, 8)
    assert settled(negative="shadow").negative_to == "background"
    assert settled(VOC20, negative="shadow").negative_to == "unlabelled"
    assert settled(ignore_quantile=0.2).calibration_images == 500 and settled().calibration_images is None


def test_the_model_follows_the_data():
    assert model_of(ClipConfig(), demo=True).name == "demo-clip"
    assert model_of(ClipConfig(), demo=False).name == "ViT-B-16"
    assert model_of(ClipConfig(model="ViT-B-32"), demo=True).name == "ViT-B-32"
    assert model_of(ClipConfig(weights="mine.pt"), demo=False).model == ""
    assert is_demo(open_data("demo", limit=1)) and not is_demo(None)


def test_every_method_of_the_image_tower_can_be_named():
    assert set(METHODS) | {"tiles", "zeroseg-lite"} == set(typing.get_args(ClipMethod))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_settle_without_a_word_more(name):
    preset = find_preset(name)
    vocabulary = load_vocabulary(preset.vocabulary)
    config = settled(vocabulary, preset=name)
    assert {key: getattr(config, key) for key in preset.settings} == dict(preset.settings)
    assert (config.model, config.pretrained) == ("ViT-B-16", "openai")
    assert (config.background != "none") == (vocabulary.background is not None)
    assert (config.background_threshold is not None) == (vocabulary.background is not None)
    assert preset.miou > 0 and preset.source
    assert set(preset.settings) <= {field.name for field in dataclasses.fields(ClipConfig)}


def test_published_protocols():
    sclip, naclip = settled(preset="sclip-voc21"), settled(preset="naclip-voc21")
    assert (sclip.scale, sclip.area, sclip.crop, sclip.stride) == (65.0, 0.1, 224, 112)
    assert (naclip.scale, naclip.area, naclip.crop, naclip.short_side) == (40.0, 0.0, 0, 336)
    assert sclip.synonyms == naclip.synonyms == "compat"
    clear = settled(preset="clearclip-voc21")
    assert (clear.background_words, clear.background_threshold, clear.scale) == ("background", 0.5, 50.0)
    city = settled(load_vocabulary("cityscapes-ovss"), preset="proxyclip-cityscapes")
    assert (city.short_side, city.crop, city.stride, city.background) == (448, 224, 112, "none")
    assert find_preset("clearclip-coco-object").vocabulary == "coco-object-ovss-single"
    assert find_preset("naclip-coco-object").vocabulary == "coco-object-ovss"
    with pytest.raises(ConfigError, match="unknown preset 'naclip'") as caught:
        ClipConfig(preset="naclip")
    assert "naclip-voc21" in caught.value.hint


def test_flags_win_over_the_preset():
    config = settled(preset="sclip-voc21", scale=40.0, crop=112, background_threshold=0.3)
    assert (config.scale, config.crop, config.stride, config.background_threshold) == (40.0, 112, 56, 0.3)
    other = settled(preset="naclip-voc21", method="sclip")  # what the preset says of naclip has no say
    assert (other.method, other.std) == ("sclip", None)
    assert settled(preset="naclip-voc21", background="words").background_threshold is None
    own = with_preset(ClipConfig(preset="naclip-voc21", weights="mine.pt"))
    assert (own.model, own.pretrained, own.weights) == ("", "", "mine.pt")
    assert with_preset(ClipConfig(preset="naclip-voc21", model="demo-clip")).pretrained == ""
    assert with_preset(ClipConfig(preset="naclip-voc21", text_embeddings="x.npz")).templates == ""


def test_words_of_a_preset_come_with_it():
    preset = ClipConfig(preset="naclip-voc21")
    assert CLIP.label_vocabulary(preset, VOC).name == "voc-ovss"
    assert CLIP.label_vocabulary(preset, load_vocabulary("voc-ovss")).name == "voc-ovss"
    assert CLIP.label_vocabulary(preset, Vocabulary("nothing", ("nothing",))).name == "voc-ovss"
    assert CLIP.label_vocabulary(preset, load_vocabulary("cityscapes")).name == "cityscapes"  # was asked for
    assert CLIP.label_vocabulary(ClipConfig(), VOC) is VOC
    assert CLIP.label_vocabulary(ClipConfig(classes="rust, paint"), VOC).classes == ("rust", "paint")


def test_supervision_is_what_is_looked_at():
    assert CLIP.supervision(ClipConfig()) == frozenset()
    assert CLIP.supervision(ClipConfig(gate="tags")) == {"tags"}
    assert CLIP.supervision(ClipConfig(saliency="folder")) == {"saliency"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": 3.0, "method": "sclip"}, "std belongs to the method naclip, got 3.0"),
        ({"beta": 1.0}, "beta belongs to the method proxy"),
        ({"depth": 3}, "depth belongs to the methods gem and surgery"),
        ({"proxy_backbone": "demo-ssvt"}, "belongs to the methods proxy and zeroseg-lite"),
        ({"segments": 4}, "segments belongs to the method zeroseg-lite"),
        ({"method": "tiles", "crop": 64}, "crop has no say with the method tiles"),
        ({"method": "tiles", "fuse": "feature"}, "fuse feature has no say with the method tiles"),
        ({"crop": 0, "stride": 8}, "stride needs windows"),
        ({"crop": 0, "batch": 4}, "batch needs windows"),
        ({"crop": 0, "fuse": "feature"}, "fuse feature needs windows"),
        ({"method": "surgery", "depth": 13}, "depth must not exceed the 12 blocks of the image tower, got 13"),
        ({"background": "threshold", "background_words": "sky"}, "background_words needs a background of words"),
        ({"background": "words", "background_threshold": 0.2}, "background_threshold needs a background of threshold"),
        ({"background": "none", "background_threshold": "auto"}, "background_threshold needs"),
        ({"saliency": "maps"}, "saliency needs the background of saliency"),
        ({"certainty": 0.5}, "certainty needs the background of saliency"),
        ({"background": "saliency"}, "needs saliency maps"),
        ({"negative_to": "unlabelled"}, "negative_to needs negative words"),
        ({"calibration_images": 5}, "calibration_images needs ignore_quantile or"),
        ({"top_k": 3}, "top_k needs the gate top-k"),
        ({"image_similarity": 0.2}, "image_similarity needs the gate similarity"),
        ({"gate": "similarity"}, "the gate similarity needs a cosine"),
        ({"activation": "sigmoid", "synonyms": "compat"}, "does not go with sigmoid"),
        ({"ignore_threshold": 0.1}, "must be above background_threshold, got 0.1 and 0.1"),
    ],
)
def test_what_does_nothing_or_contradicts_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        settled(**settings)


@pytest.mark.parametrize("background", ["threshold", "words+threshold", "saliency"])
def test_background_needs_a_class(background):
    more = {"saliency": "maps"} if background == "saliency" else {}
    with pytest.raises(ConfigError, match="needs a background class, and the vocabulary 'voc20' has none"):
        settled(VOC20, background=background, **more)
    with pytest.raises(ConfigError, match="negative_to background needs a background class"):
        settled(VOC20, negative="shadow", negative_to="background")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"short_side": 0}, r"short_side must lie in \[1, 2048\], got 0"),
        ({"scale": 0.0}, "scale must lie in"),
        ({"background_threshold": 1.5}, r"background_threshold must lie in \[0, 1\], got 1.5"),
        ({"ignore_quantile": 1.0}, "ignore_quantile must lie in"),
        ({"ignore_quantile": 0.1, "ignore_thresholds": ("cat=0.5",)}, "both cannot be given"),
        ({"templates": "simple", "text_embeddings": "x.npz"}, "templates have no say"),
    ],
)
def test_values_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        ClipConfig(**settings)
    with pytest.raises(VocabularyError, match="must be written CLASS"):
        ClipConfig(classes="rust,,paint")
