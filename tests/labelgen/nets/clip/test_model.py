"""Loaded image-text models: frozen, normalised as asked, exact in their vectors and their record."""

import importlib.abc
import json
import sys
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from labelgen.errors import ConfigError, ShapeError, WeightsError
from labelgen.nets import precision
from labelgen.nets.clip.build import clip_cosine
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.clip.names import Preprocess
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.clip.tokenizer import ClipTokenizer
from labelgen.nets.clip.view import native_view
from labelgen.nets.precision import choose_dtype, computes_bfloat16
from labelgen.nets.weights import parameter_hash
from tests.labelgen.nets.clip.tiny_clip import CONFIG, OPENAI, register, tiny_model


@pytest.fixture
def tiny(monkeypatch):
    register(monkeypatch)
    return load_clip(ClipModelConfig("tiny"), pretrained=False, seed=0)


def picture(rng, height, width):
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


# ---- frozen ----


def test_a_loaded_model_is_frozen(tiny):
    assert not any(module.training for module in tiny.model.modules())
    assert not any(parameter.requires_grad for parameter in tiny.model.parameters())


def test_using_a_model_changes_nothing_in_it(tiny, rng):
    tiny.encode_images(tiny.normalise(rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)))
    vectors = tiny.encode_text(["a", "b"])
    assert not vectors.requires_grad
    assert parameter_hash(tiny.model) == tiny.weights_sha256


def test_random_weights_depend_on_the_seed_alone(monkeypatch):
    register(monkeypatch)
    before = torch.random.get_rng_state()
    shas = [load_clip(ClipModelConfig("tiny"), pretrained=False, seed=seed).weights_sha256 for seed in (0, 0, 1)]
    assert shas[0] == shas[1] != shas[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_random_weights_say_so(tiny):
    assert (tiny.weights_from, tiny.pretrained, tiny.licence) == ("random:seed0", "", "see publisher")


def test_the_demo_model_is_the_default():
    clip = load_clip(ClipModelConfig(), pretrained=False)
    assert (clip.name, clip.weights_from) == ("demo-clip", "random:seed0")
    assert clip.encode_text(["a dog"]).shape == (1, clip.embed_dim)
    assert clip.config.model == "demo-clip"


def test_the_shipped_weights_are_those_of_the_demo_model(tmp_path):
    clip = load_clip(ClipModelConfig())
    assert (clip.weights_from, clip.licence) == ("shipped", "MIT (shipped)")
    assert clip.weights_sha256 != load_clip(ClipModelConfig(), pretrained=False).weights_sha256


# ---- pictures ----


def test_normalising_is_the_formula(tiny):
    image = np.array([[[0, 128, 255], [10, 20, 30]]], np.uint8)
    found = tiny.normalise(image[None])
    expected = (image / 255 - np.array(tiny.mean)) / np.array(tiny.std)
    assert found.shape == (1, 3, 1, 2)
    np.testing.assert_allclose(found[0].numpy(), expected.transpose(2, 0, 1), rtol=1e-5)


def test_normalising_takes_what_readers_and_flips_give(tiny, rng):
    image = picture(rng, 5, 7)
    expected = tiny.normalise(image[None].copy())
    frozen = image[None].copy()
    frozen.flags.writeable = False
    flipped = image[:, ::-1].copy()[:, ::-1][None]
    assert torch.equal(tiny.normalise(frozen), expected)
    assert torch.equal(tiny.normalise(flipped), expected)
    assert torch.equal(tiny.normalise(torch.from_numpy(image[None])), expected)


def test_image_vectors_are_open_clips_of_unit_length(tiny, rng):
    pixels = tiny.normalise(rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    found = tiny.encode_images(pixels)
    with torch.no_grad():
        torch.testing.assert_close(found, tiny.model.encode_image(pixels, normalize=True))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
    assert found.dtype == torch.float32


def test_whole_images_of_another_size_are_refused(tiny):
    with pytest.raises(ShapeError, match=r"tiny takes whole images of \(32, 32\) pixels, got \(40, 32\)"):
        tiny.encode_images(torch.zeros(1, 3, 40, 32))


@pytest.mark.parametrize(("interpolation", "resize_mode"), [("bicubic", "shortest"), ("bilinear", "squash")])
@pytest.mark.parametrize("size", [(50, 33), (40, 97), (32, 32), (20, 24), (37, 37)])
def test_native_views_are_those_of_open_clips_transform(rng, size, interpolation, resize_mode):
    image = picture(rng, *size)
    ours = native_view(image, (32, 32), Preprocess(interpolation=interpolation, resize_mode=resize_mode))
    config = PreprocessCfg(32, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=resize_mode)
    theirs = image_transform_v2(config, is_train=False)(Image.fromarray(image))
    np.testing.assert_array_equal(ours, (theirs.numpy() * 255).round().astype(np.uint8).transpose(1, 2, 0))


def test_a_model_shows_whole_pictures_its_own_way(tiny, rng):
    assert tiny.native_view(picture(rng, 50, 90)).shape == (32, 32, 3)


# ---- the record ----


def test_the_record_is_plain_json_and_complete(tiny):
    record = tiny.fingerprint()
    assert json.loads(json.dumps(record)) == record
    assert record["sha256"] == tiny.weights_sha256
    assert (record["model"], record["activation"], record["mean"]) == ("tiny", "gelu", list(OPENAI["mean"]))
    assert (record["native_size"], record["dtype"], record["open_clip"]) == ([32, 32], "float32", open_clip.__version__)
    assert record["logit_scale"] == pytest.approx(1 / 0.07)


def test_the_activation_is_read_from_the_modules(monkeypatch):
    register(monkeypatch)
    quick = load_clip(ClipModelConfig("tiny-quickgelu"), pretrained=False)
    assert (quick.activation, quick.text_activation) == ("quick_gelu", "quick_gelu")


def test_the_resolved_config_gives_the_same_again(tiny):
    again = load_clip(tiny.config, pretrained=False, seed=0)
    assert (again.fingerprint(), again.config) == (tiny.fingerprint(), tiny.config)
    assert (tiny.config.dtype, tiny.config.device) == ("float32", str(tiny.device))


# ---- device and arithmetic ----


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="no device called 'gpu9'"):
        load_clip(ClipModelConfig(device="gpu9"), pretrained=False)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="finds no CUDA device"):
            load_clip(ClipModelConfig(device="cuda"), pretrained=False)


def test_float16_needs_a_gpu():
    visual = tiny_model().visual
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        choose_dtype("float16", visual, torch.device("cpu"), cosine=lambda dtype: 1.0)


@pytest.mark.parametrize(
    ("big", "native", "cosine", "expected"),
    [
        (True, True, 0.999, torch.bfloat16),
        (True, True, 0.9, torch.float32),
        (True, False, 0.999, torch.float32),
        (False, True, 0.999, torch.float32),
    ],
)
def test_bfloat16_is_chosen_only_where_it_is_fast_and_true(monkeypatch, big, native, cosine, expected):
    monkeypatch.setattr(precision, "BIG", 0 if big else 10**9)
    monkeypatch.setattr(precision, "computes_bfloat16", lambda device: native)
    visual = tiny_model().visual
    assert choose_dtype("auto", visual, torch.device("cpu"), cosine=lambda dtype: cosine) == expected


def test_the_comparison_of_arithmetics_sees_a_difference():
    visual = tiny_model().visual
    same = clip_cosine(visual, torch.float32, (32, 32))
    rough = clip_cosine(visual, torch.bfloat16, (32, 32))
    assert same == pytest.approx(1)
    assert 0.99 < rough < same - 1e-7


def test_words_do_not_depend_on_the_arithmetic_of_pictures(monkeypatch, rng):
    register(monkeypatch)
    exact, cheap = (load_clip(ClipModelConfig("tiny", dtype=d), pretrained=False) for d in ("float32", "bfloat16"))
    assert exact.weights_sha256 == cheap.weights_sha256
    assert torch.equal(exact.encode_text(["a dog"]), cheap.encode_text(["a dog"]))
    image = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    pixels = cheap.normalise(image)
    assert (pixels.dtype, cheap.fingerprint()["dtype"]) == (torch.bfloat16, "bfloat16")
    vectors = cheap.encode_images(pixels)
    assert vectors.dtype == torch.float32
    assert float((vectors * exact.encode_images(exact.normalise(image))).sum()) > 0.999


@pytest.mark.slow
def test_a_model_of_real_size_computes_as_cheaply_as_the_machine_can():
    clip = load_clip(ClipModelConfig("ViT-B-32", device="cpu"), pretrained=False)
    assert (clip.dtype == torch.bfloat16) == computes_bfloat16(torch.device("cpu"))
    assert (clip.native_size, clip.embed_dim, clip.context_length) == ((224, 224), 512, 77)
    assert next(clip.model.transformer.parameters()).dtype == torch.float32
    assert clip.encode_images(clip.normalise(np.zeros((1, 224, 224, 3), np.uint8))).shape == (1, 512)


@pytest.mark.gpu
def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    register(monkeypatch)
    clip = load_clip(ClipModelConfig("tiny"), pretrained=False)
    assert clip.device.type == "cuda"
    assert clip.encode_images(clip.normalise(np.zeros((1, 32, 32, 3), np.uint8))).shape == (1, 24)
    assert clip.encode_text(["a dog"]).device.type == "cuda"


# ---- words ----


def test_text_vectors_are_open_clips_in_any_batch(tiny, monkeypatch):
    texts = [f"a photo of {n} dogs" for n in range(5)]
    tokens = open_clip.SimpleTokenizer(context_length=16)(texts)
    with torch.no_grad():
        expected = tiny.model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(tiny.encode_text(texts), expected)
    monkeypatch.setattr("labelgen.nets.clip.model.TEXT_BATCH", 2)
    torch.testing.assert_close(tiny.encode_text(texts), expected)


def test_no_text_is_refused(tiny):
    with pytest.raises(ConfigError, match="at least one text"):
        tiny.encode_text([])


def test_a_prompt_of_exactly_the_context_fits_and_one_more_token_does_not(tiny):
    tiny.encode_text(["dog " * 14])  # with start and end
    with pytest.raises(ConfigError, match="fit the 16 tokens that tiny reads, got 17 with start and end in 'dog dog"):
        tiny.encode_text(["cat", "dog " * 15])


def test_a_tokenizer_of_another_vocabulary_is_refused(monkeypatch):
    register(monkeypatch)
    small = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": 1000}}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", small)
    clip = load_clip(ClipModelConfig("tiny"), pretrained=False)
    with pytest.raises(WeightsError, match="has 49408 tokens, but its text tower was trained on 1000"):
        clip.encode_text(["a dog"])


class Words:
    """A tokenizer in the manner of transformers: one number a word, its length, and a mark at the end."""

    vocab_size = 100

    def __call__(self, texts, add_special_tokens=True, max_length=0, **options):
        if isinstance(texts, str):
            return SimpleNamespace(input_ids=[len(word) for word in texts.split()] + [2] * add_special_tokens)
        rows = [self(text).input_ids for text in texts]
        return SimpleNamespace(input_ids=torch.tensor([(row + [0] * max_length)[:max_length] for row in rows]))


def tokenizer_of(inner, mode="", **settings):
    class Wrapped:
        tokenizer = inner
        tokenizer_mode = mode
        clean_fn = staticmethod(str.lower)

        def __call__(self, texts):
            return torch.zeros(len(texts), 6, dtype=torch.int64)

    asked = {"context_length": 6, "vocabulary": 100, **settings}
    tokenizer = ClipTokenizer(model="sig", source="sig", text_config={"hf_tokenizer_name": "org/words"}, **asked)
    tokenizer._tokenizer = None
    tokenizer._build = Wrapped
    return tokenizer


def test_tokens_of_other_tokenizers_are_counted_with_their_marks():
    assert tokenizer_of(Words())(["a b c d e"]).shape == (1, 6)
    with pytest.raises(ConfigError, match="got 7 with start and end"):
        tokenizer_of(Words())(["a b c d e f"])
    assert tokenizer_of(Words(), "clips")(["a b c"]).shape == (1, 6)
    with pytest.raises(ConfigError, match="got 7 with start and end"):
        tokenizer_of(Words(), "clips")(["a b c d"])


def test_other_tokenizers_may_be_smaller_than_the_embedding_but_not_larger():
    tokenizer_of(Words(), vocabulary=250)(["a"])
    with pytest.raises(WeightsError, match="has 100 tokens, but its text tower was trained on 99"):
        tokenizer_of(Words(), vocabulary=99)(["a"])


def test_a_tokenizer_that_is_not_at_hand_is_explained(monkeypatch, tmp_path):
    register(monkeypatch)
    clip = load_clip(ClipModelConfig("tiny-sig", cache_dir=str(tmp_path)), pretrained=False)
    with pytest.raises(WeightsError, match=r"the tokenizer of tiny-sig \(org/words\) is not on this machine") as caught:
        clip.encode_text(["a dog"])
    for part in ("hf download org/words", f"models--org--words into {tmp_path}", "--text-embeddings FILE"):
        assert part in caught.value.hint


def tokenizer_files(folder, name="org/words"):
    """Lay the files of a tokenizer where the hub's client keeps them."""
    root = folder / f"models--{name.replace('/', '--')}"
    for part in ("refs", "snapshots/abc"):
        (root / part).mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots" / "abc" / "tokenizer_config.json").write_text("{}")
    return root / "snapshots" / "abc"


def test_a_missing_transformers_package_is_explained(monkeypatch, tmp_path):
    register(monkeypatch)
    monkeypatch.setitem(sys.modules, "transformers", None)
    tokenizer_files(tmp_path)
    clip = load_clip(ClipModelConfig("tiny-sig", cache_dir=str(tmp_path)), pretrained=False)
    with pytest.raises(WeightsError, match="needs the package transformers") as caught:
        clip.encode_text(["a dog"])
    assert "pip install transformers" in caught.value.hint


def test_tokenizers_of_the_hub_are_read_from_the_cache_with_their_options(monkeypatch, tmp_path):
    register(monkeypatch)
    asked = []

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(folder, **options):
            asked.append(folder)
            return Words()

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=AutoTokenizer))
    folder = tokenizer_files(tmp_path)
    clip = load_clip(ClipModelConfig("tiny-sig", cache_dir=str(tmp_path)), pretrained=False)
    assert torch.equal(clip.encode_text(["A hot-dog!  "]), clip.encode_text(["a hotdog"]))
    assert not torch.equal(clip.encode_text(["a hotdog"]), clip.encode_text(["a hot dog"]))
    assert asked == [str(folder)]


def test_the_identity_of_a_tokenizer_tells_what_decides_its_numbers(monkeypatch, tiny):
    sig = load_clip(ClipModelConfig("tiny-sig"), pretrained=False)
    assert tiny.tokenizer.identity == "open_clip:::49408:16"
    assert sig.tokenizer.identity == "org/words::clean=canonicalize:100:16"


# ---- an installation that is broken ----


class Broken(importlib.abc.MetaPathFinder):
    def __init__(self, error):
        self.error = error

    def find_spec(self, name, path=None, target=None):
        if name == "open_clip":
            raise self.error


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "torchvision does not fit torch", "matching pair"),
        (
            AttributeError("partially initialized module 'torchvision'"),
            "torchvision does not fit torch",
            "matching pair",
        ),
        (
            ModuleNotFoundError("no", name="open_clip"),
            "open_clip_torch, which is not installed",
            "pip install open_clip_torch",
        ),
        (ModuleNotFoundError("no", name="ftfy"), "ftfy, which is not installed", "pip install ftfy"),
        (
            ImportError("cannot import name x\nand more"),
            "cannot be imported .ImportError: cannot import name x and more",
            "reinstall",
        ),
    ],
)
def test_an_open_clip_that_cannot_be_imported_is_explained(monkeypatch, error, message, hint):
    monkeypatch.delitem(sys.modules, "open_clip")
    monkeypatch.setattr(sys, "meta_path", [Broken(error), *sys.meta_path])
    with pytest.raises(WeightsError, match=message) as caught:
        import_open_clip()
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)
