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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)  # as Python does when it runs the script
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def scenes(script):
    return importlib.import_module("demo_clip_training.scenes")


@pytest.fixture(scope="module")
def texts(script):
    return importlib.import_module("demo_clip_training.texts")


@pytest.fixture(scope="module")
def student(script):
    return importlib.import_module("demo_clip_training.student")


@pytest.fixture(scope="module")
def recipe(script):
    return script.Recipe(
        chunks=2, chunk=3, distil_steps=2, distil_batch=2, steps=3, batch=3, captions=1, false_texts=2, unknown_texts=1,
        warmup=1, close_steps=2, close_chunks=1, close_warmup=1,
    )  # fmt: skip


class StopHereError(Exception):
    pass


def test_scenes_come_from_a_split_of_their_own(scenes, recipe):
    assert scenes.SPLIT not in SPLITS
    image, labels, facts = scenes.draw_captioned(0, recipe)
    again, _, same = scenes.draw_captioned(0, recipe)
    assert image.shape == (128, 128, 3) and np.array_equal(image, again) and np.array_equal(facts, same)
    shown = np.flatnonzero(facts[1:])
    assert set(shown) <= set(captions.NAMES)
    assert labels.shape == (128, 128) and set(np.unique(labels)) - {0} <= set(shown)


def test_texts_fit_what_they_describe_and_the_last_ones_fit_nothing(scenes, texts, recipe):
    authors = texts.Texts(recipe)
    seen = [scenes.whole_scene("lake", [4]), scenes.whole_scene("room", [8, 16]), scenes.whole_scene("sky", [])]
    for seed in range(5):
        tokens, fits, plain, doubted, doubted_whole = authors.draw(np.random.default_rng(seed), seen)
        assert tokens.shape == (6, 32) and fits.shape == (3, 6) and plain.shape == (6,)
        assert fits[:, :3].diagonal().all() and not fits[:, 3:].any() and plain[3:].all()
        assert not doubted.any() and not doubted_whole.any()
    assert not fits[1, 0] and not fits[0, 1]


def test_no_caption_holds_a_token_that_is_not_trained(scenes, texts, recipe):
    authors = texts.Texts(recipe)
    rng = np.random.default_rng(0)
    known = set(authors.row_ids.tolist()) | {0}
    for _ in range(40):
        tokens = authors.draw(
            rng, [scenes.whole_scene("street", [6, 7, 15]), scenes.whole_scene("meadow", [10])]
        ).tokens
        assert set(tokens[:-1].flatten().tolist()) <= known
        assert not set(tokens[-1].tolist()) <= known


def test_contrastive_loss_leaves_false_negatives_out(script):
    logits = torch.tensor([[2.0, 9.0, -1.0], [0.0, 1.0, 3.0]])
    fits = torch.tensor([[True, True, False], [False, False, False]])
    none = torch.zeros(2, 3, dtype=torch.bool)
    one, other = np.log1p(np.exp(-1 - 2)), np.log1p(np.exp(-1 - 9))
    assert script.contrastive_loss(logits, fits, none).item() == pytest.approx((one + other) / 2, rel=1e-4)
    rare = torch.tensor([[True, True, False], [False, True, False]])
    second = np.log1p(np.exp(3 - 1) + np.exp(0 - 1))
    expected = ((one + other / 2) / 1.5 + second) / 2
    assert script.contrastive_loss(logits, rare, none).item() == pytest.approx(expected, rel=1e-4)
    doubted = torch.tensor([[False, False, False], [False, False, True]])
    expected = ((one + other / 2) / 1.5 + np.log1p(np.exp(0 - 1))) / 2
    assert script.contrastive_loss(logits, rare, doubted).item() == pytest.approx(expected, rel=1e-4)


def test_a_row_that_everything_fits_costs_nothing(script):
    logits = torch.randn(2, 3, requires_grad=True)
    every = torch.ones(2, 3, dtype=torch.bool)
    script.contrastive_loss(logits, every, ~every).backward()
    assert torch.isfinite(logits.grad).all()


def test_a_close_up_shows_what_covers_enough_of_it(scenes, recipe):
    labels = np.zeros((10, 10), np.uint8)
    labels[:2] = 7  # 20 %
    labels[2, :5] = 15  # 5 %
    labels[3, :2] = 8  # 2 %
    seen = scenes.close_up("street", labels, recipe)
    assert seen.classes == (7,) and seen.certain == {"7"} and not seen.filled
    assert seen.doubtful == {"15", "sky", "road", "building", "tree"}
    labels[4:6] = 7
    assert scenes.close_up("street", labels, recipe).filled
    empty = scenes.close_up("street", labels[2:4], recipe)  # person on a quarter, cat on a tenth
    assert empty.classes == (15,) and "8" in empty.doubtful
    bare = scenes.close_up("lake", np.zeros((4, 4), np.uint8), recipe)
    assert bare == scenes.Seen("lake", (), frozenset({"sky", "water"}))


def test_texts_about_a_close_up_are_true_false_or_left_out(scenes, texts, recipe):
    """A bus fills the first close-up, a car is faint in it; the second is an empty place beside a faint bus."""
    authors = texts.Texts(recipe)
    behind = frozenset(captions.PLACE_CONCEPTS["street"])
    full = scenes.Seen("street", (6,), frozenset({"6"}), behind | {"7"}, filled=True)
    bare = scenes.Seen("street", (), behind, frozenset({"6"}))
    car = scenes.whole_scene("room", [7])
    wanted = []
    for seed in range(30):
        drawn = authors.draw(np.random.default_rng(seed), [full, bare, car])
        assert drawn.fits[0].tolist()[:2] == [True, False] and drawn.fits[1].tolist()[:2] == [False, True]
        assert drawn.doubted[:2, :2].tolist() == [[False, True], [True, False]]
        assert not drawn.doubted_whole[0, 1] and drawn.doubted_whole[1, 0]
        assert not drawn.doubted[2].any() and not drawn.doubted[:, 3:].any()
        assert not (drawn.fits & drawn.doubted).any()
        wanted.append(bool(drawn.doubted_whole[0, 2]))
    assert any(wanted)  # the caption says `car` and nothing else


def test_windows_are_tiles_or_squares_inside_the_scene(scenes, recipe):
    rng = np.random.default_rng(0)
    tiles = {tuple(box) for box in scenes.tile_boxes((128, 128), recipe.grids).tolist()}
    windows = [scenes.random_window(rng, recipe) for _ in range(300)]
    assert 140 < sum(window in tiles for window in windows) < 220
    for top, left, bottom, right in windows:
        assert 0 <= top < bottom <= 128 and 0 <= left < right <= 128
        assert abs((bottom - top) - (right - left)) <= 1 and bottom - top >= 32
    assert len({window for window in windows if window in tiles}) == len(tiles)


def test_close_ups_are_magnified_parts_of_the_pool(scenes, recipe, tmp_path, monkeypatch):
    pool = scenes.Pool(tmp_path, recipe, 1)
    monkeypatch.setattr(scenes, "random_window", lambda rng, recipe: (64, 0, 128, 64))
    images, seen = pool.draw_close_ups(np.random.default_rng(0), 5)
    parts = [scenes.resize_image(np.array(scene[64:, :64]), (128, 128)) for scene in pool.images[0]]
    said = [
        scenes.close_up(scenes.PLACE_NAMES[facts[0]], labels[64:, :64], recipe)
        for facts, labels in zip(pool.facts[0], pool.labels[0], strict=True)
    ]
    assert images.shape == (5, 3, 128, 128) and len(pool.labels) == 1
    for image, says in zip(images, seen, strict=True):
        found = [np.array_equal(image.permute(1, 2, 0).numpy(), part) for part in parts]
        assert sum(found) == 1 and says == said[found.index(True)]


@pytest.mark.slow
def test_the_student_reads_images_and_texts_as_open_clip_does(texts, student, recipe):
    learner = student.Student(texts.Texts(recipe).row_ids, recipe).eval()
    plain = build_demo_clip(pretrained=False, seed=recipe.seed).eval()
    tokens = demo_clip_tokenizer()(["a photo of a cow.", "zebra"])
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        vectors, patches = learner.images(pixels, 1.0, torch.Generator())
        assert torch.allclose(vectors, plain.encode_image(pixels), atol=1e-5)
        assert torch.allclose(learner.texts(tokens), plain.encode_text(tokens), atol=1e-5)
    assert patches.shape == (2, 256, 128)


@pytest.mark.slow
def test_patch_values_are_those_of_maskclip_v(texts, student, recipe):
    learner = student.Student(texts.Texts(recipe).row_ids, recipe).eval()
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, patches = learner.images(pixels, 1.0, torch.Generator())
        expected = patch_embeddings(build_demo_clip(pretrained=False).eval(), pixels, method="maskclip-v")
        _, half = learner.images(pixels, 0.5, torch.Generator())
    assert torch.allclose(patches, expected.flatten(1, 2), atol=1e-4)
    assert half.shape == (1, 128, 128)


def test_raised_norms_change_no_vector(student):
    model = build_demo_clip(pretrained=False).eval()
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.encode_image(pixels)
        student.raise_norms(model, 8.0)
        assert torch.allclose(model.encode_image(pixels), before, atol=1e-5)


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(script, recipe, tmp_path, monkeypatch):
    student, _ = script.train(tmp_path / "whole", recipe, processes=1, every=1)
    keep, interrupt_at, first = script.save_checkpoint, [], ["distil"]

    def interrupted(path, *rest):
        keep(path, *rest)
        interrupt_at.append(path.stem)
        if interrupt_at in (first, [*first, "distil", "captions"], [*first, "distil", *["captions"] * 3, "closeups"]):
            raise StopHereError

    monkeypatch.setattr(script, "save_checkpoint", interrupted)
    for _ in range(3):
        with pytest.raises(StopHereError):
            script.train(tmp_path / "parts", recipe, processes=1, every=1)
    resumed, _ = script.train(tmp_path / "parts", recipe, processes=1, every=1)
    start = build_demo_clip(pretrained=False, seed=recipe.seed).state_dict()
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    assert not torch.equal(student.model.text_projection, start["text_projection"])

    script.export(resumed, tmp_path / "w.safetensors", recipe, 7.4)
    about = demo_clip_metadata(tmp_path / "w.safetensors")
    assert about["recipe"]["steps"] == 3 and about["recipe"]["close_steps"] == 2 and about["seconds"] == 7
    monkeypatch.setattr(demo_clip, "DEMO_CLIP_WEIGHTS", tmp_path / "w.safetensors")
    loaded, tokens = build_demo_clip().eval(), demo_clip_tokenizer()(["a photo of a cow."])
    with torch.no_grad():
        assert torch.allclose(loaded.encode_text(tokens), resumed.eval().texts(tokens), atol=5e-3)
