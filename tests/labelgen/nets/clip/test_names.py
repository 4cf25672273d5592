"""Names, tags, activation and preprocessing, against open_clip's own tables."""

import open_clip
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.clip.build import activation_of
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.names import (
    Preprocess,
    architecture,
    default_tag,
    preprocess_of,
    published,
    published_as,
    shared_preprocess,
    with_activation,
)
from tests.labelgen.nets.clip.tiny_clip import register

ALL = open_clip.list_pretrained()


def settled(name, tag):
    entry = published(name, tag)
    return with_activation(name, architecture(name), quick=entry.get("quick_gelu", False))


@pytest.mark.parametrize("tag", ["openai", "metaclip_400m", "metaclip_fullcc", "dfn2b"])
def test_weights_trained_with_quickgelu_get_it_under_the_plain_name(tag):
    name, model = settled("ViT-B-16", tag)
    assert (name, model["quick_gelu"]) == ("ViT-B-16-quickgelu", True)


@pytest.mark.parametrize("tag", ["laion2b_s34b_b88k", "datacomp_xl_s13b_b90k", "laion400m_e32"])
def test_weights_trained_with_gelu_keep_it(tag):
    name, model = settled("ViT-B-16", tag)
    assert (name, model.get("quick_gelu", False)) == ("ViT-B-16", False)


def test_every_published_entry_is_built_as_its_table_says():
    for name, tag in ALL:
        entry, own = published(name, tag), architecture(name)
        resolved, model = settled(name, tag)
        assert model.get("quick_gelu", False) == (entry.get("quick_gelu", False) or own.get("quick_gelu", False))
        assert published(resolved, tag), "a run must be repeatable under the name that it records"
        assert settled(resolved, tag) == (resolved, model)


@pytest.mark.slow
def test_the_modules_of_every_native_tower_compute_what_the_table_says():
    seen = set()
    for name, tag in ALL:
        quick = published(name, tag).get("quick_gelu", False)
        resolved, model = settled(name, tag)
        own = "timm_model_name" in model["vision_cfg"] or "hf_model_name" in model["text_cfg"]
        if resolved in seen or own or "multimodal_cfg" in model:
            continue
        seen.add(resolved)
        kind = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
        shallow = {part: {**model[part], "layers": one_layer(model[part])} for part in ("vision_cfg", "text_cfg")}
        with torch.device("meta"):
            built = kind(**{**model, **shallow})
        wanted = "quick_gelu" if quick else "gelu"
        assert activation_of(getattr(built, "text", built).transformer) == wanted, resolved
        assert activation_of(built.visual) == ("relu" if name.startswith("RN") else wanted), resolved
    assert len(seen) > 25


def one_layer(tower):
    """All layers of a tower have the same activation; a ResNet has four groups of them."""
    return [1, 1, 1, 1] if isinstance(tower.get("layers"), list) else 1


def test_names_are_taken_with_a_slash_too():
    assert ClipModelConfig("ViT-B/16").name == "ViT-B-16"


@pytest.mark.parametrize("name", ["ViT-B16", "vit-b-16", "demo-clp"])
def test_an_unknown_model_is_answered_with_the_nearest(name):
    with pytest.raises(ConfigError, match=f"no model called '{name}'") as caught:
        architecture(name)
    assert ("demo-clip" if name.startswith("demo") else "ViT-B-16") in caught.value.hint


def test_a_model_like_nothing_points_to_the_list():
    with pytest.raises(ConfigError) as caught:
        architecture("hf-hub:nobody/nothing")
    assert "clip-models" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "tag", "hint"),
    [
        ("ViT-B-16", "laion2b", "laion2b_s34b_b88k"),
        ("ViT-B-16-quickgelu", "laion2b_s34b_b88k", "trained with GELU, not QuickGELU: --model ViT-B-16 "),
        ("ViT-B-16", "webli", "webli belongs to ViT-B-16-SigLIP"),
        ("ViT-S-16", "openai", "--weights FILE"),
    ],
)
def test_an_unknown_tag_is_answered_with_what_may_be_meant(name, tag, hint):
    with pytest.raises(ConfigError, match="no published weights called") as caught:
        published(name, tag)
    assert hint in caught.value.hint


def test_the_default_tag_is_openai_or_the_only_one():
    assert default_tag("ViT-B-16") == "openai"
    assert default_tag("ViT-B-16-SigLIP") == "webli"
    with pytest.raises(ConfigError, match="several sets") as caught:
        default_tag("ViT-H-14")
    assert "laion2b_s32b_b79k" in caught.value.hint
    with pytest.raises(ConfigError, match="no published weights"):
        default_tag("ViT-S-16")


def test_preprocessing_is_that_of_the_weights():
    assert shared_preprocess("ViT-B-16") == (Preprocess(), True)
    half = (0.5, 0.5, 0.5)
    assert shared_preprocess("ViT-B-16-SigLIP") == (Preprocess(half, half, "bicubic", "squash"), True)
    assert shared_preprocess("ViT-L-14") == (Preprocess(), False)  # laion2b_s32b_b82k was trained with 0.5
    assert preprocess_of(published("ViT-L-14", "laion2b_s32b_b82k")).mean == half
    assert shared_preprocess("ViT-S-16") == (Preprocess(), True)


def test_every_published_preprocessing_is_understood():
    for name, tag in ALL:
        entry = published(name, tag)
        found = preprocess_of(entry)
        assert (found.mean, found.resize_mode) == (tuple(entry["mean"]), entry["resize_mode"])


def test_a_way_of_resizing_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="longest"):
        preprocess_of({"resize_mode": "longest"})


def test_a_file_is_recognised_by_its_name_or_its_repository(tmp_path, monkeypatch):
    register(monkeypatch)
    assert published_as(tmp_path / "ViT-B-16.pt")[:2] == ("ViT-B-16", "openai")
    assert published_as(tmp_path / "b16_fullcc2.5b.pt")[:2] == ("ViT-B-16", "metaclip_fullcc")
    in_cache = tmp_path / "models--org--tiny_clip.openai" / "snapshots" / "1" / "open_clip_model.safetensors"
    assert published_as(in_cache)[:2] == ("tiny", "openai")
    assert published_as(tmp_path / "tiny_clip.openai" / "open_clip_model.safetensors")[:2] == ("tiny", "openai")
    assert published_as(tmp_path / "open_clip_model.safetensors") is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "ViT-B-16", "pretrained": "openai", "weights": "x.pt"}, "exclude each other"),
        ({"pretrained": "openai"}, "demo-clip has one set of weights"),
        ({"cache_dir": "folder"}, "demo-clip is part of the package"),
        ({"model": "demo-clip", "pretrained": "openai"}, "demo-clip has one set of weights"),
        ({"model": "ViT-B-16", "weights": "local-dir:/x"}, "which says itself what model it holds"),
        ({"weights": "local-dir:"}, "must name a folder"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ClipModelConfig(**settings)
