"""The training script of demo-clip, with so few scenes and steps that it takes seconds."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from labelgen.demo import captions
from labelgen.demo.scenes import SPLITS
from labelgen.nets import demo_clip
from labelgen.nets.demo_clip import build_demo_clip, demo_clip_metadata, demo_clip_tokenizer
from labelgen.nets.dense_clip import patch_embeddings

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "train_demo_clip.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_demo_clip", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe(script):
    return script.Recipe(
        chunks=2, chunk=3, distil_steps=2, distil_batch=2, steps=3, batch=3, captions=1, false_texts=2, unknown_texts=1,
        warmup=1,
    )  # fmt: skip


class StopHereError(Exception):
    pass


def test_scenes_come_from_a_split_of_their_own(script, recipe):
    assert script.SPLIT not in SPLITS
    image, facts = script.draw_captioned(0, recipe)
    again, same = script.draw_captioned(0, recipe)
    assert image.shape == (128, 128, 3) and np.array_equal(image, again) and np.array_equal(facts, same)
    shown = np.flatnonzero(facts[1:])
    assert set(shown) <= set(captions.NAMES)


def test_texts_fit_what_they_describe_and_the_last_ones_fit_nothing(script, recipe):
    texts = script.Texts(recipe)
    said = [("lake", [4]), ("room", [8, 16]), ("sky", [])]
    for seed in range(5):
        tokens, fits, plain = texts.draw(np.random.default_rng(seed), said)
        assert tokens.shape == (6, 32) and fits.shape == (3, 6) and plain.shape == (6,)
        assert fits[:, :3].diagonal().all() and not fits[:, 3:].any() and plain[3:].all()
    assert not fits[1, 0] and not fits[0, 1]


def test_no_caption_holds_a_token_that_is_not_trained(script, recipe):
    texts = script.Texts(recipe)
    rng = np.random.default_rng(0)
    known = set(texts.row_ids.tolist()) | {0}
    for _ in range(40):
        tokens, _, _ = texts.draw(rng, [("street", [6, 7, 15]), ("meadow", [10])])
        assert set(tokens[:-1].flatten().tolist()) <= known
        assert not set(tokens[-1].tolist()) <= known


def test_contrastive_loss_leaves_false_negatives_out(script):
    logits = torch.tensor([[2.0, 9.0, -1.0], [0.0, 1.0, 3.0]])
    fits = torch.tensor([[True, True, False], [False, False, False]])
    one, other = np.log1p(np.exp(-1 - 2)), np.log1p(np.exp(-1 - 9))
    assert script.contrastive_loss(logits, fits).item() == pytest.approx((one + other) / 2, rel=1e-4)
    rare = torch.tensor([[True, True, False], [False, True, False]])
    second = np.log1p(np.exp(3 - 1) + np.exp(0 - 1))
    expected = ((one + other / 2) / 1.5 + second) / 2
    assert script.contrastive_loss(logits, rare).item() == pytest.approx(expected, rel=1e-4)


def test_a_row_that_everything_fits_costs_nothing(script):
    logits = torch.randn(2, 3, requires_grad=True)
    script.contrastive_loss(logits, torch.ones(2, 3, dtype=torch.bool)).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.slow
def test_the_student_reads_images_and_texts_as_open_clip_does(script, recipe):
    student = script.Student(script.Texts(recipe).row_ids, recipe).eval()
    plain = build_demo_clip(pretrained=False, seed=recipe.seed).eval()
    tokens = demo_clip_tokenizer()(["a photo of a cow.", "zebra"])
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors, patches = student.images(pixels, 1.0, torch.Generator())
        assert torch.allclose(vectors, plain.encode_image(pixels), atol=1e-5)
        assert torch.allclose(student.texts(tokens), plain.encode_text(tokens), atol=1e-5)
    assert patches.shape == (2, 256, 128)


@pytest.mark.slow
def test_patch_values_are_those_of_maskclip_v(script, recipe):
    student = script.Student(script.Texts(recipe).row_ids, recipe).eval()
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, patches = student.images(pixels, 1.0, torch.Generator())
        expected = patch_embeddings(build_demo_clip(pretrained=False).eval(), pixels, method="maskclip-v")
        _, half = student.images(pixels, 0.5, torch.Generator())
    assert torch.allclose(patches, expected.flatten(1, 2), atol=1e-4)
    assert half.shape == (1, 128, 128)


def test_raised_norms_change_no_vector(script):
    model = build_demo_clip(pretrained=False).eval()
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.encode_image(pixels)
        script.raise_norms(model, 8.0)
        assert torch.allclose(model.encode_image(pixels), before, atol=1e-5)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(script, recipe, tmp_path, monkeypatch):
    student, _ = script.train(tmp_path / "whole", recipe, processes=1, every=1)
    keep, interrupt_at = script._checkpoint, []

    def interrupted(path, *rest):
        keep(path, *rest)
        interrupt_at.append(path.stem)
        if interrupt_at in (["distil"], ["distil", "distil", "captions"]):
            raise StopHereError

    monkeypatch.setattr(script, "_checkpoint", interrupted)
    for _ in range(2):
        with pytest.raises(StopHereError):
            script.train(tmp_path / "parts", recipe, processes=1, every=1)
    resumed, _ = script.train(tmp_path / "parts", recipe, processes=1, every=1)
    start = build_demo_clip(pretrained=False, seed=recipe.seed).state_dict()
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert not torch.equal(student.model.text_projection, start["text_projection"])

    script.export(resumed, tmp_path / "w.safetensors", recipe, 7.4)
    about = demo_clip_metadata(tmp_path / "w.safetensors")
    assert about["recipe"]["steps"] == 3 and about["seconds"] == 7
    monkeypatch.setattr(demo_clip, "DEMO_CLIP_WEIGHTS", tmp_path / "w.safetensors")
    loaded, tokens = build_demo_clip().eval(), demo_clip_tokenizer()(["a photo of a cow."])
    with torch.no_grad():
        assert torch.allclose(loaded.encode_text(tokens), resumed.eval().texts(tokens), atol=5e-3)
