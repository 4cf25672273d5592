"""Which towers are understood, what is said about them, and how the others are refused."""

import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.dense_clip import Tower, patch_embeddings, tower_of
from labelgen.nets.dense_clip.names import METHODS
from tests.labelgen.nets.dense_clip.towers import noise, siglip_like, timm_clip, tiny_clip, tiny_resnet


def test_facts_of_a_native_tower():
    assert tower_of(tiny_clip(image_size=(48, 80))) == Tower(
        kind="native",
        patch=8,
        width=96,
        depth=4,
        heads=3,
        prefix=1,
        native_grid=(6, 10),
        native_size=(48, 80),
        embed_dim=64,
        methods=METHODS,
    )


def test_facts_of_other_towers():
    siglip = tower_of(siglip_like())
    assert (siglip.kind, siglip.prefix, siglip.embed_dim, siglip.native_grid) == ("timm-map", 0, 96, (8, 8))
    token = tower_of(timm_clip("test_vit", pool="token", proj="linear"))
    assert (token.kind, token.patch, token.width, token.depth, token.embed_dim) == ("timm-token", 16, 64, 6, 64)
    average = tower_of(timm_clip("test_vit2", pool="avg", proj="mlp"))
    assert (average.kind, average.prefix, average.native_size) == ("timm-avg", 1, (160, 160))


def test_a_resnet_has_the_methods_of_its_pooling():
    model = tiny_resnet()
    tower = tower_of(model)
    assert (tower.kind, tower.patch, tower.native_grid, tower.embed_dim) == ("resnet", 32, (2, 2), 64)
    for method in METHODS:
        external = noise(1, 3, 3, 4) if method == "proxy" else None
        if method in tower.methods:
            found = patch_embeddings(model, noise(1, 3, 70, 32), method=method, external=external)
            assert found.shape == (1, 3, 1, 64)
        else:
            with pytest.raises(ConfigError, match=f"kind resnet takes the methods clip, .*, got {method}"):
                patch_embeddings(model, noise(1, 3, 70, 32), method=method, external=external)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"attentional_pool": True}, "pools by attention"),
        ({"final_ln_after_pool": True}, "normalises after pooling"),
        ({"pool_type": "none"}, "pool_type 'none'"),
        ({"scaled_cosine_attn": True}, "scaled cosine attention"),
        ({"scale_heads": True}, "scaled heads"),
        ({"scale_attn": True}, "normalises after the attention"),
    ],
)
def test_native_towers_without_a_rule_are_refused(vision, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tower_of(tiny_clip(**vision))
    assert "--method tiles, which works with every model" in caught.value.hint


def test_a_block_with_unknown_parts_is_refused():
    model = tiny_clip()
    model.visual.transformer.resblocks[-1].extra = torch.nn.Linear(1, 1)
    with pytest.raises(ConfigError, match=r"ResidualAttentionBlock has the parts attn, extra"):
        tower_of(model)


def test_timm_towers_without_a_rule_are_refused():
    with pytest.raises(ConfigError, match="timm's ConvNeXt") as caught:
        tower_of(timm_clip("test_convnext", pool="avg", proj="linear"))
    assert "--method tiles" in caught.value.hint
    for change, message in (({"global_pool": "max"}, "pools by 'max'"), ({"pos_embed": None}, "no learned positions")):
        model = siglip_like()
        for name, value in change.items():
            setattr(model.visual.trunk, name, value)
        with pytest.raises(ConfigError, match=message):
            tower_of(model)


def test_gated_attention_is_refused():
    model = siglip_like()
    model.visual.trunk.blocks[-1].attn.gate = torch.nn.Linear(96, 96)
    with pytest.raises(ConfigError, match="gates its attention"):
        tower_of(model)


def test_post_norm_blocks_are_refused_though_they_have_the_same_parts():
    from timm.models.vision_transformer import ResPostBlock

    model = siglip_like()
    model.visual.trunk.blocks[1] = ResPostBlock(96, 3)
    with pytest.raises(ConfigError, match="plain pre-norm ones, but ResPostBlock has the parts attn, drop_path1"):
        tower_of(model)


def test_what_is_no_clip_model_is_refused():
    with pytest.raises(ConfigError, match="must be an open_clip model with an image tower, got Linear"):
        tower_of(torch.nn.Linear(1, 1))
    model = tiny_clip()
    model.visual = torch.nn.Conv2d(3, 3, 1)
    with pytest.raises(ConfigError, match="the image tower is Conv2d"):
        tower_of(model)
