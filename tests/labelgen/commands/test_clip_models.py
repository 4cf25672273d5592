"""`labelgen clip-models` and the facts that it shows."""

import json

import open_clip
import pytest
import torch

from labelgen.commands.clip_models import clip_models
from labelgen.errors import ConfigError
from labelgen.nets.clip.build import activation_of
from labelgen.nets.clip.catalogue import CLIP_CATALOGUE
from labelgen.nets.clip.hub import licence_of
from labelgen.nets.clip.names import architecture, published, with_activation
from labelgen.nets.dense_clip import tower_of

PUBLISHED = [known for known in CLIP_CATALOGUE if known.pretrained]


@pytest.mark.slow
@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: f"{known.name}-{known.pretrained}")
def test_the_facts_are_those_of_the_models(known):
    entry = published(known.name, known.pretrained)
    model = with_activation(known.name, architecture(known.name), quick=entry.get("quick_gelu", False))[1]
    kind = open_clip.CustomTextCLIP if model.pop("custom_text", False) else open_clip.CLIP
    with torch.device("meta"):
        built = kind(**model)
    tower = tower_of(built)
    assert known.parameters == round(sum(tensor.numel() for tensor in built.parameters()) / 1e6, 1)
    assert (known.patch, known.dim, known.methods) == (tower.patch, tower.embed_dim, tower.methods)
    assert (known.size, known.size) == tower.native_size
    assert known.activation == activation_of(built.visual)
    assert bool(known.needs) == ("hf_tokenizer_name" in model["text_cfg"])


def test_licences_are_those_that_runs_record():
    for known in PUBLISHED:
        assert known.licence == licence_of(known.pretrained, published(known.name, known.pretrained)), known


def test_the_list_says_what_is_at_hand(tmp_path, capsys):
    (tmp_path / "ViT-B-32.pt").write_bytes(b"half of it")
    clip_models(cache_dir=str(tmp_path), as_json=True)
    rows = json.loads(capsys.readouterr().out)
    found = {(row["name"], row["pretrained"]): row["at_hand"] for row in rows}
    assert found[("demo-clip", "")] == "shipped"
    assert found[("ViT-B-16", "openai")] == "download"
    assert found[("ViT-B-32", "openai")] == "damaged"
    demo = rows[0]
    assert (demo["patch"], demo["size"], demo["dim"]) == (8, 128, 128)
    assert demo["parameters"] > 1
    assert "naclip" in demo["methods"]


def test_cached_weights_are_found(tmp_path, capsys):
    root = tmp_path / "models--timm--ViT-B-16-SigLIP"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("abc")
    (root / "snapshots" / "abc").mkdir(parents=True)
    (root / "snapshots" / "abc" / "open_clip_model.safetensors").write_bytes(b"")
    clip_models(all_names="ViT-B-16-SigLIP", cache_dir=str(tmp_path), as_json=True)
    found = {row["name"]: row["at_hand"] for row in json.loads(capsys.readouterr().out)}
    assert found["ViT-B-16-SigLIP"] == "cached"
    assert found["ViT-B-16-SigLIP-256"] == "download"


def test_the_table_is_for_people(capsys):
    clip_models(all_names="siglip2")
    text = capsys.readouterr().out
    assert "ViT-B-16-SigLIP2" in text
    assert "ViT-B-16-SigLIP-256" not in text
    clip_models()
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if "metaclip_400m" in line]
    assert row.split()[:4] == ["ViT-B-16", "metaclip_400m", "CC-BY-NC-4.0", "149.6"]
    assert row.split()[-3:] == ["all", "598", "download"]
    (row,) = [line for line in lines if "RN50" in line]
    assert "6 of 9" in row


def test_a_pattern_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match="no published weights with 'nothing'"):
        clip_models(all_names="nothing")
