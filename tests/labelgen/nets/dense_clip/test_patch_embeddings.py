"""Any image size, order and batch; the model is never changed; what is refused."""

import pytest
import torch

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.dense_clip import patch_embeddings
from labelgen.nets.dense_clip.names import METHODS
from tests.labelgen.nets.dense_clip.towers import checksum, noise, siglip_like, tiny_clip, tiny_resnet

SIZES = [(64, 64), (37, 53), (16, 200), (3, 5), (64, 65), (120, 64), (8, 8), (70, 9), (1, 1), (63, 64)]


@pytest.fixture(scope="module")
def model():
    return tiny_clip()


def embed(model, images, method):
    external = noise(len(images), 5, 6, 4, seed=9) if method == "proxy" else None
    return patch_embeddings(model, images, method=method, external=external)


@pytest.mark.parametrize("method", METHODS)
def test_the_grid_covers_the_image_and_batches_do_not_matter(model, method):
    images = noise(3, 3, 37, 53)
    together = embed(model, images, method)
    assert together.shape == (3, 5, 7, 64)
    assert together.dtype == torch.float32
    external = noise(3, 5, 6, 4, seed=9)[1:2] if method == "proxy" else None
    alone = patch_embeddings(model, images[1:2], method=method, external=external)
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_models_are_not_changed_and_earlier_images_do_not_matter(model, method):
    before = checksum(model)
    first = embed(model, noise(1, 3, 40, 24), method)
    for height, width in SIZES:
        found = embed(model, noise(1, 3, height, width), method)
        assert found.shape[1:3] == (-(-height // 8), -(-width // 8))
        assert found.isfinite().all()
    assert checksum(model) == before
    assert torch.equal(embed(model, noise(1, 3, 40, 24), method), first)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_timm_towers_and_resnets_are_not_changed_either():
    for model in (siglip_like(), tiny_resnet()):
        before = checksum(model)
        for height, width in SIZES[:6]:
            assert embed(model, noise(1, 3, height, width), "naclip").isfinite().all()
        assert checksum(model) == before


@pytest.mark.parametrize("method", ["clip", "maskclip", "maskclip-v", "sclip", "clearclip", "gem", "surgery"])
def test_without_positions_patches_may_be_shuffled(method):
    model = tiny_clip()
    model.visual.positional_embedding.zero_()
    images, order = noise(1, 3, 32, 48), torch.randperm(24, generator=torch.Generator().manual_seed(0))
    plain = patch_embeddings(model, images, method=method).flatten(1, 2)
    shuffled = patch_embeddings(model, shuffle(images, order), method=method).flatten(1, 2)
    torch.testing.assert_close(shuffled, plain[:, order], atol=2e-5, rtol=0)


def test_naclip_knows_the_places_of_patches():
    model = tiny_clip()
    model.visual.positional_embedding.zero_()
    images, order = noise(1, 3, 32, 48), torch.randperm(24, generator=torch.Generator().manual_seed(0))
    plain = patch_embeddings(model, images, method="naclip", std=1.0).flatten(1, 2)
    shuffled = patch_embeddings(model, shuffle(images, order), method="naclip", std=1.0).flatten(1, 2)
    assert float((shuffled - plain[:, order]).abs().max()) > 0.01
    near = patch_embeddings(model, shuffle(images, order), method="naclip", std=1e6).flatten(1, 2)
    far = patch_embeddings(model, images, method="naclip", std=1e6).flatten(1, 2)
    torch.testing.assert_close(near, far[:, order], atol=2e-5, rtol=0)


def shuffle(images, order):
    """Permute the patches of a 32 x 48 image."""
    patches = images.reshape(1, 3, 4, 8, 6, 8).permute(0, 2, 4, 1, 3, 5).reshape(1, 24, 3, 8, 8)[:, order]
    return patches.reshape(1, 4, 6, 3, 8, 8).permute(0, 3, 1, 4, 2, 5).reshape(1, 3, 32, 48)


def test_proxy_with_distinct_features_is_maskclip_v(model):
    images = noise(1, 3, 32, 56)
    distinct = torch.eye(28).reshape(1, 4, 7, 28)
    found = patch_embeddings(model, images, method="proxy", external=distinct)
    torch.testing.assert_close(found, patch_embeddings(model, images, method="maskclip-v"), atol=1e-6, rtol=0)


@pytest.mark.parametrize("grid", [(4, 7), (8, 14)])
def test_proxy_reads_rows_and_columns_in_the_right_order(model, grid):
    """Features that differ by row make the patches of a row alike, whatever the image; and so for columns."""
    images = noise(1, 3, 32, 56)
    rows, columns = torch.eye(grid[0])[:, None].expand(*grid, -1), torch.eye(grid[1])[None].expand(*grid, -1)
    by_row = patch_embeddings(model, images, method="proxy", external=rows[None].contiguous())
    by_column = patch_embeddings(model, images, method="proxy", external=columns[None].contiguous())
    assert spread(by_row, axis=2) < 1e-4 < 0.1 < spread(by_row, axis=1)
    assert spread(by_column, axis=1) < 1e-4 < 0.1 < spread(by_column, axis=2)


def spread(patches, axis):
    return float((patches.amax(dim=axis) - patches.amin(dim=axis)).max())


def test_attention_twice_as_strong_does_not_show_without_residual():
    """With rho = phi = 0 and no output bias, the final norm removes the factor."""
    model = tiny_clip()
    block = model.visual.transformer.resblocks[-1]
    block.attn.out_proj.bias.zero_()
    images = noise(1, 3, 32, 32)
    plain = patch_embeddings(model, images, method="clearclip")
    block.attn.out_proj.weight.mul_(2.0)
    torch.testing.assert_close(patch_embeddings(model, images, method="clearclip"), plain, atol=1e-3, rtol=0)
    kept = patch_embeddings(model, images, method="sclip")
    block.attn.out_proj.weight.div_(2.0)
    assert float((patch_embeddings(model, images, method="sclip") - kept).abs().max()) > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_agrees_where_the_margin_is_clear(method):
    model = tiny_clip()
    images, text = noise(2, 3, 40, 60), torch.nn.functional.normalize(noise(5, 64, seed=4), dim=-1)
    exact = torch.nn.functional.normalize(embed(model, images, method), dim=-1) @ text.T
    rough = embed(model.bfloat16(), images.bfloat16(), method)
    assert rough.dtype == torch.float32
    rough = torch.nn.functional.normalize(rough, dim=-1) @ text.T
    best = exact.topk(2, dim=-1).values
    clear = best[..., 0] - best[..., 1] > 1e-2
    assert int(clear.sum()) > 50
    assert float((exact.argmax(-1) == rough.argmax(-1))[clear].double().mean()) > 0.99


def test_results_can_be_used_in_training(model):
    target = patch_embeddings(model, noise(1, 3, 16, 16))
    weight = torch.ones(64, requires_grad=True)
    (target * weight).square().sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "nacilp"}, "method must be one of clip, maskclip, .*, got 'nacilp'"),
        ({"std": 0.0}, "std and gamma must be > 0"),
        ({"method": "gem", "depth": 0}, "depth must be >= 1"),
        ({"method": "proxy"}, "proxy needs the features of another backbone"),
        ({"method": "naclip", "external": torch.zeros(1, 2, 2, 3)}, "naclip does not use"),
    ],
)
def test_wrong_settings_are_refused(model, options, message):
    with pytest.raises(ConfigError, match=message):
        patch_embeddings(model, noise(1, 3, 16, 16), **options)


def test_wrong_images_are_refused(model):
    with pytest.raises(ShapeError, match=r"external must be .* B = 1, got"):
        patch_embeddings(model, noise(1, 3, 16, 16), method="proxy", external=noise(2, 2, 2, 3))
    with pytest.raises(ShapeError, match=r"got torch.float32 \(1, 3, 0, 16\)"):
        patch_embeddings(model, noise(1, 3, 0, 16))


def test_models_in_training_mode_are_refused():
    model = tiny_clip().train()
    with pytest.raises(ConfigError, match="evaluation mode"):
        patch_embeddings(model, noise(1, 3, 16, 16))


@pytest.mark.parametrize("method", ["gem", "surgery"])
def test_no_more_blocks_have_a_second_path_than_there_are(model, method):
    images = noise(1, 3, 16, 16)
    every = patch_embeddings(model, images, method=method, depth=4)
    assert torch.equal(patch_embeddings(model, images, method=method), every), "6 by default, of 4"
    with pytest.raises(ConfigError, match="must not exceed the 4 blocks of the image tower, got 5"):
        patch_embeddings(model, images, method=method, depth=5)
