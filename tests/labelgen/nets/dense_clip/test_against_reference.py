"""Every method against a plain version in float64, and the untouched tower against open_clip itself."""

import pytest
import torch

from labelgen.nets.dense_clip import patch_embeddings, tower_of
from labelgen.nets.dense_clip.blocks import read_block, run_blocks
from labelgen.nets.dense_clip.last_block import Layout, last_block
from labelgen.nets.dense_clip.names import DUAL_PATH, LAST_BLOCK
from labelgen.nets.dense_clip.tower import read_tower
from tests.labelgen.nets.dense_clip.reference_dense import reference_dual, reference_patches
from tests.labelgen.nets.dense_clip.towers import noise, siglip_like, timm_clip, tiny_clip, tiny_resnet

VARIANTS = {
    "plain": {},
    "layer scale": {"ls_init_value": 0.3},
    "no norm before": {"no_ln_pre": True},
    "quick gelu": {"quick_gelu": True},
    "average": {"pool_type": "avg"},
    "custom text": {"custom_text": True},
    "batch second": {"batch_first": False},
    "query norm": {"block_type": "custom", "qk_norm": True, "scale_attn_inner": True, "scale_fc": True},
    "not square": {"image_size": (48, 80)},
}
FEATURES = noise(2, 8, 8, 5, seed=3)


def as_float(patches):
    return patches.flatten(1, 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_clip_gives_the_tokens_of_open_clip(variant):
    model = tiny_clip(**VARIANTS[variant])
    images = noise(2, 3, *tower_of(model).native_size)
    model.visual.output_tokens = True
    _, tokens = model.visual(images)
    expected = tokens @ model.visual.proj
    torch.testing.assert_close(as_float(patch_embeddings(model, images, method="clip")), expected, atol=1e-5, rtol=0)


def tokens_as_trained(model, images):
    """All tokens, class token too, with the untouched rule for the last block."""
    tower = read_tower(model)
    tokens, grid = tower.embed(images)
    tokens = run_blocks(tower.blocks[:-1], tokens)
    return last_block(read_block(tower.blocks[-1]), tokens, method="clip", layout=Layout(grid, tower.prefix))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "average"])
def test_class_token_gives_the_image_embedding_of_open_clip(variant):
    model = tiny_clip(**VARIANTS[variant])
    images = noise(2, 3, *tower_of(model).native_size)
    expected = model.encode_image(images)
    found = read_tower(model).finish(tokens_as_trained(model, images)[:, :1])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", LAST_BLOCK)
@pytest.mark.parametrize("variant", ["plain", "layer scale", "quick gelu"])
def test_last_block_is_the_plain_rule(method, variant):
    model = tiny_clip(**VARIANTS[variant])
    images = noise(2, 3, 64, 64, seed=1)
    external = FEATURES if method == "proxy" else None
    found = as_float(patch_embeddings(model, images, method=method, external=external, std=2.0))
    expected = reference_patches(
        model.visual, images[1], heads=3, method=method, quick=variant == "quick gelu", std=2.0, external=FEATURES[1]
    )
    torch.testing.assert_close(found[1].double(), expected, atol=3e-5, rtol=0)
    assert float(found[1].std()) > 0.05  # the tolerance means something


@pytest.mark.parametrize("method", DUAL_PATH)
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_second_path_is_the_plain_rule(method, depth):
    model = tiny_clip(ls_init_value=0.3)
    images = noise(2, 3, 64, 64, seed=1)
    found = as_float(patch_embeddings(model, images, method=method, depth=depth))
    expected = reference_dual(model.visual, images[1], heads=3, method=method, depth=depth)
    torch.testing.assert_close(found[1].double(), expected, atol=3e-5, rtol=0)


def test_gem_with_equal_projections_is_one_attention():
    from labelgen.nets.dense_clip.dual_path import gem_step, grounding_attention

    block = tiny_clip().visual.transformer.resblocks[-1]
    weight, bias = block.attn.in_proj_weight, block.attn.in_proj_bias
    weight.copy_(weight[:96].repeat(3, 1))
    bias.copy_(bias[:96].repeat(3))
    tokens = noise(2, 10, 96)
    parts = read_block(block)
    normed = parts.norm1(tokens)
    heads = parts.values(normed)
    sharpness = normed.norm(dim=-1).mean(dim=1) / 32**0.5
    one = parts.output(grounding_attention(heads, heads, sharpness=sharpness))
    torch.testing.assert_close(gem_step(parts, tokens), one, atol=1e-5, rtol=0)


TIMM = {
    "map": siglip_like,
    "map, register pooled too": lambda: timm_clip("test_vit3", pool="map"),
    "token, linear head": lambda: timm_clip("test_vit", pool="token", proj="linear"),
    "average, register, mlp head": lambda: timm_clip("test_vit2", pool="avg", proj="mlp"),
    "average, trunk's head": lambda: timm_clip("test_vit2", pool="avg", proj=""),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_towers_give_their_own_tokens_and_images(name):
    model = TIMM[name]()
    trunk, size = model.visual.trunk, tower_of(model).native_size
    images = noise(1, 3, *size)
    tokens = trunk.forward_features(images)
    expected = [one_token_alone(model.visual, tokens[:, i : i + 1]) for i in range(trunk.num_prefix_tokens, 12)]
    found = as_float(patch_embeddings(model, images, method="clip"))[:, : len(expected)]
    torch.testing.assert_close(found, torch.stack(expected, dim=1), atol=1e-5, rtol=0)
    pooled = model.visual.head(trunk.forward_head(trunk.norm(tokens_as_trained(model, images))))
    torch.testing.assert_close(pooled, model.encode_image(images), atol=1e-5, rtol=0)


def one_token_alone(visual, token):
    """The pooling and the heads of the model itself on a set of one token, whatever the pooling skips as prefix."""
    trunk = visual.trunk
    if trunk.attn_pool is not None:
        return visual.head(trunk.head(trunk.fc_norm(trunk.attn_pool(token))))
    return visual.head(trunk.head(trunk.fc_norm(token[:, 0])))


@pytest.mark.parametrize("method", ["clip", "naclip", "sclip", "maskclip-v", "gem", "surgery"])
def test_timm_blocks_mean_what_native_blocks_mean(method):
    """The same weights in both kinds of tower give the same patches."""
    native = tiny_clip()
    shape = {"img_size": 64, "patch_size": 8, "embed_dim": 96, "depth": 4, "num_heads": 3}
    same = {"qkv_bias": True, "pre_norm": True, "norm_layer": torch.nn.LayerNorm, "global_pool": "token"}
    timm = timm_clip("test_vit", pool="token", proj="linear", **shape, **same)
    timm.visual.head = torch.nn.Sequential()
    timm.visual.head.add_module("proj", torch.nn.Linear(96, 64, bias=False))
    timm.visual.head.proj.weight.requires_grad_(False)
    copy_native(native.visual, timm.visual)
    images = noise(1, 3, 64, 96)
    torch.testing.assert_close(
        patch_embeddings(timm, images, method=method, depth=2),
        patch_embeddings(native, images, method=method, depth=2),
        atol=2e-5,
        rtol=0,
    )


def copy_native(native, timm):
    trunk = timm.trunk
    trunk.patch_embed.proj.weight.copy_(native.conv1.weight)
    trunk.cls_token.copy_(native.class_embedding)
    trunk.pos_embed[0].copy_(native.positional_embedding)
    timm.head.proj.weight.copy_(native.proj.T)
    pairs = [(trunk.norm_pre, native.ln_pre), (trunk.norm, native.ln_post)]
    for theirs, ours in zip(trunk.blocks, native.transformer.resblocks, strict=True):
        theirs.attn.qkv.weight.copy_(ours.attn.in_proj_weight)
        theirs.attn.qkv.bias.copy_(ours.attn.in_proj_bias)
        pairs += [(theirs.norm1, ours.ln_1), (theirs.norm2, ours.ln_2), (theirs.attn.proj, ours.attn.out_proj)]
        pairs += [(theirs.mlp.fc1, ours.mlp.c_fc), (theirs.mlp.fc2, ours.mlp.c_proj)]
    for theirs, ours in pairs:
        theirs.weight.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)


def test_map_head_on_equal_tokens_is_the_head_on_one():
    from labelgen.nets.dense_clip.timm_vit import map_head_alone

    head = siglip_like().visual.trunk.attn_pool
    token = noise(2, 1, 96)
    pooled = head(token.expand(2, 7, 96))
    torch.testing.assert_close(map_head_alone(head, token)[:, 0], pooled, atol=1e-6, rtol=0)


def test_resnet_pooling_as_trained_starts_with_the_image_embedding():
    model = tiny_resnet()
    images = noise(2, 3, 64, 64)
    tower = read_tower(model)
    pooled = tower.pooled(tower.features(images), method="clip", layout=Layout((2, 2), 1))
    torch.testing.assert_close(pooled[:, 0], model.encode_image(images), atol=1e-5, rtol=0)
    assert torch.equal(as_float(patch_embeddings(model, images, method="clip")), pooled[:, 1:])


def test_resnet_maskclip_is_two_pointwise_convolutions():
    model = tiny_resnet()
    images = noise(1, 3, 96, 64)
    visual = model.visual
    maps = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(images)))))
    values = torch.nn.functional.conv2d(
        maps, visual.attnpool.v_proj.weight[..., None, None], visual.attnpool.v_proj.bias
    )
    dense = torch.nn.functional.conv2d(
        values, visual.attnpool.c_proj.weight[..., None, None], visual.attnpool.c_proj.bias
    )
    found = patch_embeddings(model, images, method="maskclip")
    torch.testing.assert_close(found, dense.permute(0, 2, 3, 1), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT-B-32-quickgelu", "ViT-B-16-SigLIP"])
def test_real_architectures_agree_with_their_own_forward(name):
    import open_clip
    from open_clip.model import CLIP, CustomTextCLIP

    config = open_clip.get_model_config(name)
    text = {"context_length": 8, "vocab_size": 16, "width": 64, "heads": 2, "layers": 1}
    kind = CustomTextCLIP if "SigLIP" in name else CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config["embed_dim"], config["vision_cfg"], text, quick_gelu=config.get("quick_gelu", False)).eval()
    images = noise(1, 3, 224, 224)
    with torch.no_grad():
        tokens, expected = tokens_as_trained(model, images), model.encode_image(images)
        if kind is CLIP:
            found = read_tower(model).finish(tokens[:, :1])[:, 0]
        else:
            trunk = model.visual.trunk
            found = model.visual.head(trunk.forward_head(trunk.norm(tokens)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert patch_embeddings(model, noise(1, 3, 100, 260)).isfinite().all()
