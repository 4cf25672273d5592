import numpy as np
import pytest
import torch
import torch.nn.functional as F

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.demo import captions
from labelgen.demo.scenes import draw_scene
from labelgen.errors import WeightsError
from labelgen.masks import harden
from labelgen.methods.clip import CLIP, ClipConfig
from labelgen.nets import demo_clip
from labelgen.nets.demo_clip import (
    DEMO_CLIP_CONFIG,
    DEMO_CLIP_MEAN,
    DEMO_CLIP_STD,
    DEMO_CLIP_WEIGHTS,
    build_demo_clip,
    demo_clip_metadata,
    demo_clip_tokenizer,
    fixed_embeddings,
    save_demo_clip,
    whole_state,
)
from labelgen.nets.dense_clip.names import METHODS
from labelgen.nets.geometry import resize_image
from labelgen.nets.zeroseg.tiles import tile_boxes
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from labelgen.vocab import load_vocabulary

open_clip = pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def model():
    return build_demo_clip().eval()


@pytest.fixture(scope="module")
def tokenizer():
    return demo_clip_tokenizer()


def pixels_of(images):
    """(B, H, W, 3) uint8 to normalised (B, 3, 128, 128)."""
    scaled = (torch.from_numpy(np.stack(images)).float() / 255 - torch.tensor(DEMO_CLIP_MEAN)) / torch.tensor(
        DEMO_CLIP_STD
    )
    return F.interpolate(scaled.permute(0, 3, 1, 2), size=(128, 128), mode="bilinear", antialias=True)


def scene_vectors(model, count):
    """Image vectors of the first val scenes that are wider than high, with the classes they show."""
    scenes = [scene for scene in (draw_scene("val", index) for index in range(count)) if scene.image.shape[1] == 160]
    with torch.no_grad():
        vectors = model.encode_image(pixels_of([scene.image for scene in scenes]), normalize=True)
    return vectors, [set(np.unique(scene.labels).tolist()) - {0} for scene in scenes]


def test_it_is_a_clip_of_open_clips_own_classes(model):
    assert type(model) is open_clip.CLIP
    assert type(model.visual) is open_clip.transformer.VisionTransformer
    assert model.visual.pool_type == "tok"
    assert type(open_clip.CLIP(**DEMO_CLIP_CONFIG)) is type(model)


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_demo_clip(pretrained=False, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.visual.proj, again.visual.proj)
    assert not torch.equal(first.visual.proj, other.visual.proj)


def test_the_fixed_table_is_the_same_everywhere():
    """Golden numbers: changing them would change what unknown words mean to the shipped weights."""
    table = fixed_embeddings()
    assert table.shape == (49408, 128)
    step = 0.02 * 3**0.5 / 128
    assert torch.allclose(table[0, :4] / step, torch.tensor([110.5, 113.5, -97.5, -84.5]), atol=1e-3)
    assert abs(table.mean()) < 1e-4 and abs(table.std() - 0.02) < 1e-4


def test_shipped_weights_are_small_and_say_where_they_come_from():
    assert DEMO_CLIP_WEIGHTS.stat().st_size < 9_000_000
    about = demo_clip_metadata()
    assert len(about["sha256"]) == 64
    assert about["recipe"]["steps"] > 0 and about["split"] not in ("train", "val")
    assert about["recipe"]["close_steps"] > 0 and "close-ups" in about["supervision"]
    assert about["names"] == {str(class_id): list(names) for class_id, names in captions.NAMES.items()}
    assert about["never_drawn"] == list(captions.NEVER_DRAWN)


def test_untrained_tokens_keep_their_fixed_embeddings(model, tokenizer):
    table = fixed_embeddings()
    known, unknown = tokenizer.encode("cow")[0], tokenizer.encode("zebra")[0]
    assert torch.equal(model.token_embedding.weight[unknown], table[unknown])
    assert not torch.equal(model.token_embedding.weight[known], table[known])
    changed = (model.token_embedding.weight != table).any(1).sum()
    assert 100 < changed < 400


def test_vectors_are_finite_and_the_same_twice(model, tokenizer):
    tokens = tokenizer(["a photo of a cow.", "sky"])
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image, text, scale = model(pixels, tokens)
        again = build_demo_clip().eval()(pixels, tokens)
    assert image.shape == text.shape == (2, 128)
    assert torch.isfinite(image).all() and torch.isfinite(text).all() and 10 < scale <= 40.1
    assert torch.equal(image, again[0]) and torch.equal(text, again[1])


def test_shipped_weights_give_the_stored_vectors(model, tokenizer):
    """Golden values: the first numbers of a text, and of the left square of the first val scene."""
    with torch.no_grad():
        text = model.encode_text(tokenizer(["a photo of a cow."]), normalize=True)
        image = model.encode_image(pixels_of([draw_scene("val", 0).image[:, :128]]), normalize=True)
    assert torch.allclose(text[0, :6], torch.tensor([0.097, -0.012, -0.027, -0.148, -0.078, -0.096]), atol=2e-3)
    assert torch.allclose(image[0, :6], torch.tensor([-0.071, -0.059, 0.057, 0.056, 0.003, -0.059]), atol=2e-3)


def test_it_names_what_val_scenes_show(model, tokenizer):
    """The best of the twenty VOC names is in the picture, and a name that is never drawn is never the best."""
    vectors, shown = scene_vectors(model, 20)
    drawn = list(captions.NAMES)
    names = [captions.NAMES[class_id][0] for class_id in drawn]
    never = ["bicycle", "bottle", "chair", "dining table", "dog", "horse", "motorbike", "sofa", "train", "tv monitor"]
    with torch.no_grad():
        texts = model.encode_text(tokenizer([f"a photo of a {name}." for name in names + never]), normalize=True)
    best = (vectors @ texts.T).argmax(1).tolist()
    assert all(index < len(drawn) for index in best)
    right = [drawn[index] in classes for index, classes in zip(best, shown, strict=True)]
    assert np.mean(right) >= 0.8


def test_it_names_magnified_tiles(model, tokenizer):
    """Quarters of scenes: a model that met whole scenes alone calls three of four with a large object background."""
    names = {class_id: words[0] for class_id, words in captions.NAMES.items()}
    behind = [word for words in captions.BACKGROUNDS.values() for word in words]
    tiles, wanted = [], []
    for scene in (draw_scene("val", index) for index in range(20)):
        for top, left, bottom, right in tile_boxes(scene.labels.shape, (2,)):
            shares = np.bincount(scene.labels[top:bottom, left:right].ravel(), minlength=21) / (bottom - top)
            shares /= right - left
            if shares[1:].max() >= 0.3 or shares[0] == 1:
                tiles.append(resize_image(scene.image[top:bottom, left:right], (128, 128)))
                wanted.append(1 + int(shares[1:].argmax()) if shares[0] < 1 else 0)
    with torch.no_grad():
        texts = model.encode_text(tokenizer([f"a photo of a {w}." for w in [*names.values(), *behind]]), normalize=True)
        best = (model.encode_image(pixels_of(tiles), normalize=True) @ texts.T).argmax(1).numpy()
    given, wanted = np.array([*names, *[0] * len(behind)])[best], np.array(wanted)
    assert min((wanted > 0).sum(), (wanted == 0).sum()) >= 8
    assert np.mean((given == wanted)[wanted > 0]) >= 0.55
    assert np.mean((given == wanted)[wanted == 0]) >= 0.9


@pytest.mark.slow
def test_every_modified_method_finds_more_than_plain_clip():
    """On six small val scenes, with one template; the benchmark has all templates and all scenes of three seeds."""
    scenes = [draw_scene("val", index) for index in range(6)]
    voc, demo = load_vocabulary("voc"), open_data("demo", split="val")
    miou = {}
    for method in METHODS:
        settled = CLIP.settle(ClipConfig(method=method, templates="simple", short_side=128), voc, demo).config
        generate = CLIP.make(settled, voc)
        matrix = np.zeros((21, 22), np.int64)
        for index, scene in enumerate(scenes):
            sample = Sample(f"val_{index:04d}", scene.labels.shape, image=scene.image)
            labels = harden(generate(sample, np.random.default_rng(0)))
            matrix += confusion_matrix(scene.labels, labels, num_classes=21)
        miou[method] = scores_from_confusion(matrix).miou
    plain = miou.pop("clip")
    assert all(score >= plain + 0.02 for score in miou.values()), (plain, miou)
    assert miou["naclip"] >= 0.3


def test_other_spellings_lie_close_and_other_things_do_not(model, tokenizer):
    with torch.no_grad():
        texts = model.encode_text(tokenizer(["aeroplane", "airplane", "cow"]), normalize=True)
    likeness = texts @ texts.T
    assert likeness[0, 1] > 0.9 > 0.6 > likeness[0, 2]


def test_saving_and_loading_keeps_every_weight_within_float16(tmp_path, monkeypatch):
    model = build_demo_clip(pretrained=False, seed=3)
    rows = torch.tensor([7, 320, 49407])
    with torch.no_grad():
        model.token_embedding.weight[rows] = 0.3
    save_demo_clip(model, tmp_path / "w.safetensors", row_ids=rows, about={"steps": 7})
    assert demo_clip_metadata(tmp_path / "w.safetensors")["steps"] == 7
    assert (tmp_path / "w.safetensors").stat().st_size < 9_000_000
    monkeypatch.setattr(demo_clip, "DEMO_CLIP_WEIGHTS", tmp_path / "w.safetensors")
    loaded = build_demo_clip().state_dict()
    for name, tensor in model.state_dict().items():
        if name == "token_embedding.weight":
            assert torch.equal(loaded[name][rows], tensor[rows].half().float())
            assert torch.equal(loaded[name][8:320], tensor[8:320])
        else:
            assert torch.equal(loaded[name], tensor.half().float())


def test_missing_damaged_and_foreign_weights_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    monkeypatch.setattr(demo_clip, "DEMO_CLIP_WEIGHTS", path)
    with pytest.raises(WeightsError, match="no such file"):
        build_demo_clip()
    path.write_bytes(DEMO_CLIP_WEIGHTS.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="do not fit"):
        build_demo_clip()
    model = build_demo_clip(pretrained=False)
    rows = torch.tensor([320])
    model.ln_final = torch.nn.LayerNorm(8)
    save_demo_clip(model, path, row_ids=rows, about={})
    with pytest.raises(WeightsError, match="size mismatch"):
        build_demo_clip()
    model = build_demo_clip(pretrained=False)
    model.extra = torch.nn.Linear(1, 1)
    save_demo_clip(model, path, row_ids=rows, about={})
    with pytest.raises(WeightsError, match="Unexpected key"):
        build_demo_clip()


def test_token_rows_are_put_in_their_places_and_checked():
    table = fixed_embeddings()
    rows, ids = torch.full((2, 128), 0.5, dtype=torch.float16), torch.tensor([3, 49407], dtype=torch.int32)
    whole = whole_state({"token_embedding.rows": rows, "token_embedding.row_ids": ids})["token_embedding.weight"]
    assert (whole[[3, 49407]] == 0.5).all() and torch.equal(whole[4:49407], table[4:49407])
    assert torch.equal(whole_state({})["token_embedding.weight"], table)
    assert whole_state({"token_embedding.weight": rows}) == {"token_embedding.weight": rows}
    with pytest.raises(WeightsError, match="come together"):
        whole_state({"token_embedding.rows": rows})
    with pytest.raises(WeightsError, match="come together"):
        whole_state({"token_embedding.rows": rows[:1], "token_embedding.row_ids": ids})
    for bad in (49408, -1):
        with pytest.raises(WeightsError, match="must lie in"):
            whole_state({"token_embedding.rows": rows, "token_embedding.row_ids": torch.tensor([3, bad])})


def test_a_copy_of_the_file_is_the_same_model(model, tmp_path):
    from labelgen.nets.clip.config import ClipModelConfig
    from labelgen.nets.clip.model import load_clip

    (tmp_path / "copy.safetensors").write_bytes(DEMO_CLIP_WEIGHTS.read_bytes())
    clip = load_clip(ClipModelConfig("demo-clip", weights=str(tmp_path / "copy.safetensors")))
    for name, tensor in model.state_dict().items():
        assert torch.equal(clip.model.state_dict()[name], tensor), name
