"""Prototypes of prompts: their formula, their cache, and files of vectors made elsewhere."""

import json
import logging

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, DataError
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.clip.prototypes import (
    read_text_embeddings,
    similar_prompts,
    text_prototypes,
    write_text_embeddings,
)
from labelgen.nets.user_cache import user_cache
from tests.labelgen.nets.clip.tiny_clip import register

TEMPLATES = ("a {}", "the {} there", "{}")


class Tokenizer:
    def __init__(self, identity):
        self.identity = identity

    def __call__(self, texts):
        return torch.zeros(len(texts), 4, dtype=torch.int64)


class Encoder:
    """Counts its calls; the vector of a text depends on its letters only."""

    def __init__(self, *, sha="w", activation="gelu", identity="t", dim=6):
        self.weights_sha256 = sha
        self.text_activation = activation
        self.embed_dim = dim
        self.tokenizer = Tokenizer(identity)
        self.texts = []

    def encode_text(self, texts):
        self.texts += texts
        rows = [torch.randn(self.embed_dim, generator=torch.Generator().manual_seed(hash_of(text))) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def hash_of(text):
    return sum((index + 1) * ord(letter) for index, letter in enumerate(text))


def entries(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_prototypes_are_the_normalised_mean_of_unit_vectors(tmp_path):
    found = text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    assert (found.shape, found.dtype) == ((2, 6), np.float32)
    for row, prompt in zip(found, ("cat", "dog"), strict=True):
        vectors = Encoder().encode_text([f"a {prompt}", f"the {prompt} there", prompt]).double().numpy()
        mean = vectors.mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-7)


def test_the_order_of_templates_does_not_matter(tmp_path):
    found = text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    turned = text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES[::-1], cache_dir=tmp_path)
    np.testing.assert_allclose(found, turned, atol=1e-6)


def test_prompts_keep_their_order_and_may_hold_braces(tmp_path):
    encoder = Encoder()
    found = text_prototypes(encoder, ("cat {0}", "dog"), ("a {}",), cache_dir=tmp_path)
    assert encoder.texts == ["a cat {0}", "a dog"]
    turned = text_prototypes(encoder, ("dog", "cat {0}"), ("a {}",), cache_dir=tmp_path)
    np.testing.assert_array_equal(found, turned[::-1])


def test_a_cache_hit_gives_the_same_bytes_and_asks_no_tower(tmp_path):
    first = text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    idle = Encoder()
    again = text_prototypes(idle, ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    assert idle.texts == []
    assert first.tobytes() == again.tobytes()
    assert entries(tmp_path) == [".json", ".npz"]


@pytest.mark.parametrize(
    ("changed", "prompts", "templates"),
    [
        ({"sha": "other"}, ("cat", "dog"), TEMPLATES),
        ({"activation": "quick_gelu"}, ("cat", "dog"), TEMPLATES),
        ({"identity": "other"}, ("cat", "dog"), TEMPLATES),
        ({}, ("cat", "cow"), TEMPLATES),
        ({}, ("dog", "cat"), TEMPLATES),
        ({}, ("cat", "dog"), TEMPLATES[:2]),
        ({}, ("cat", "dog"), TEMPLATES[::-1]),
    ],
)
def test_whatever_changes_a_value_makes_another_entry(tmp_path, changed, prompts, templates):
    text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    encoder = Encoder(**changed)
    text_prototypes(encoder, prompts, templates, cache_dir=tmp_path)
    assert encoder.texts
    assert len(list(tmp_path.iterdir())) == 4


def truncate(npz, about):
    npz.write_bytes(npz.read_bytes()[:100])


def scribble(npz, about):
    about.write_text("{")


def swap(npz, about):
    np.savez(npz, prototypes=np.zeros((2, 6), np.float32))


def rename(npz, about):
    about.write_text(json.dumps({**json.loads(about.read_text()), "prompts": ["cat", "cow"]}))


def remove(npz, about):
    about.unlink()


@pytest.mark.parametrize("damage", [truncate, scribble, swap, rename, remove])
def test_a_damaged_entry_is_computed_again(tmp_path, damage, caplog):
    first = text_prototypes(Encoder(), ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    (npz,), (about,) = tmp_path.glob("*.npz"), tmp_path.glob("*.json")
    damage(npz, about)
    encoder = Encoder()
    again = text_prototypes(encoder, ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    assert encoder.texts
    assert first.tobytes() == again.tobytes()
    assert ("computed again" in caplog.text) == (damage is not remove)
    idle = Encoder()
    text_prototypes(idle, ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    assert idle.texts == []


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        found = text_prototypes(Encoder(), ("cat",), TEMPLATES, cache_dir=tmp_path / "file" / "cache")
    assert found.shape == (1, 6)
    assert "could not be kept" in caplog.text


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    text_prototypes(Encoder(), ("cat",), TEMPLATES)
    assert entries(tmp_path / "own" / "text-prototypes") == [".json", ".npz"]
    monkeypatch.delenv("LABELGEN_CACHE")
    assert user_cache("x") == tmp_path / "shared" / "labelgen" / "x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert "labelgen" in user_cache().parts


@pytest.mark.parametrize(
    ("prompts", "templates", "message"),
    [
        ((), TEMPLATES, "prompts and templates"),
        (("cat",), (), "prompts and templates"),
        (("cat", " "), TEMPLATES, "empty"),
    ],
)
def test_nothing_to_say_is_refused(tmp_path, prompts, templates, message):
    with pytest.raises(ConfigError, match=message):
        text_prototypes(Encoder(), prompts, templates, cache_dir=tmp_path)


def test_a_real_tower_gives_unit_prototypes_and_refuses_long_prompts(tmp_path, monkeypatch):
    register(monkeypatch)
    clip = load_clip(ClipModelConfig("tiny"), pretrained=False)
    found = text_prototypes(clip, ("cat", "dog"), TEMPLATES, cache_dir=tmp_path)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    with pytest.raises(ConfigError, match="got 17 with start and end in 'a dog dog"):
        text_prototypes(clip, ("cat", "dog " * 14), ("a {}",), cache_dir=tmp_path)


# ---- close prompts ----


def test_close_prompts_of_different_classes_are_listed_closest_first():
    angles = np.radians([0, 5, 80, 82])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    names = ("sofa", "couch", "dog", "hound")
    pairs = similar_prompts(vectors, names)
    assert [pair[:2] for pair in pairs] == [("dog", "hound"), ("sofa", "couch")]
    assert pairs[1][2] == pytest.approx(np.cos(np.radians(5)), abs=1e-6)
    assert [pair[:2] for pair in similar_prompts(vectors, names, class_of=(0, 0, 1, 2))] == [("dog", "hound")]
    assert similar_prompts(vectors, names, above=0.9999) == []


# ---- vectors made elsewhere ----


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.npz"
    write_text_embeddings(path, ("cat", "dog", "cow"), np.array([[3, 4], [0, 2], [1, 0]], np.float32))
    return path


def test_vectors_are_found_by_name_not_by_place(words):
    found = read_text_embeddings(words, ("cow", "cat"), dim=2)
    np.testing.assert_allclose(found, [[1, 0], [0.6, 0.8]], atol=1e-7)
    assert found.dtype == np.float32


def test_missing_prompts_are_named(words):
    with pytest.raises(ConfigError, match="lacks 2 of 3 prompts: horse, sheep") as caught:
        read_text_embeddings(words, ("horse", "dog", "sheep"), dim=2)
    assert "cat, dog, cow" in caught.value.hint


def test_vectors_of_another_model_are_refused(words):
    with pytest.raises(ConfigError, match="the 512 numbers of the image tower's, got 2"):
        read_text_embeddings(words, ("cat",), dim=512)


def test_vectors_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    for bad in (0.0, np.nan):
        write_text_embeddings(path, ("cat", "dog"), np.array([[1, 0], [bad, 0]], np.float32))
        read_text_embeddings(path, ("cat",), dim=2)
        with pytest.raises(DataError, match="the vector of 'dog'"):
            read_text_embeddings(path, ("cat", "dog"), dim=2)


@pytest.mark.parametrize(
    "arrays",
    [
        {"vectors": np.zeros((1, 2), np.float32)},
        {"embeddings": np.zeros((1, 2), np.float32), "prompts": np.array(["a", "b"])},
        {"embeddings": np.zeros((1, 2), np.float32), "prompts": np.array(["a"], object)},
        {"embeddings": np.zeros((1, 2), np.int64), "prompts": np.array(["a"])},
    ],
)
def test_files_in_another_form_are_refused(tmp_path, arrays):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        read_text_embeddings(tmp_path / "a.npz", ("a",), dim=2)
    assert "embeddings (P, D)" in caught.value.hint


def test_files_that_are_no_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file of text vectors"):
        read_text_embeddings(tmp_path / "none.npz", ("a",), dim=2)
    (tmp_path / "a.npz").write_bytes(b"words")
    np.save(tmp_path / "a.npy", np.zeros(2))
    for name in ("a.npz", "a.npy"):
        with pytest.raises(DataError, match="holds no text vectors"):
            read_text_embeddings(tmp_path / name, ("a",), dim=2)


def test_names_are_written_once(tmp_path):
    with pytest.raises(ConfigError, match="'cat' twice"):
        write_text_embeddings(tmp_path / "a.npz", ("cat", "cat"), np.ones((2, 2), np.float32))
    with pytest.raises(ConfigError, match="one vector a prompt"):
        write_text_embeddings(tmp_path / "a.npz", ("cat",), np.ones((2, 2), np.float32))
