"""Clusters and components of tokens, and the picture that shows them."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from labelgen.errors import ConfigError
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.nets.geometry import geometry_for
from segprobe.cli import main
from segprobe.tokens import contact_sheet, kmeans, principal_colours, read_at_pixels, token_panels
from tests.labelgen.nets.checkpoints import save_tiny, tiny_model

VIT = "vit_small_patch14_dinov2"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    return str(save_tiny(path, tiny_model(VIT, img_size=56), name=VIT))


def inertia(points, labels):
    return sum(((points[labels == c] - points[labels == c].mean(axis=0)) ** 2).sum() for c in np.unique(labels))


def test_kmeans_finds_the_best_of_all_partitions(rng):
    points = rng.normal(size=(9, 2)).astype(np.float32)
    best = min(inertia(points, np.array(labels)) for labels in product(range(3), repeat=9) if len(set(labels)) == 3)
    centroids = kmeans(points, 3, rng=rng)
    labels = ((points[:, None] - centroids) ** 2).sum(axis=-1).argmin(axis=1)
    assert inertia(points, labels) == pytest.approx(best, rel=1e-5)
    sizes = np.bincount(labels)
    assert list(sizes) == sorted(sizes, reverse=True)


def test_kmeans_follows_from_the_generator(rng):
    points = rng.normal(size=(50, 4)).astype(np.float32)
    first, second = (kmeans(points, 5, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_kmeans_needs_different_points():
    with pytest.raises(ConfigError, match="3 clusters need as many different tokens, got 2"):
        kmeans(np.array([[0.0], [1.0], [1.0], [0.0]], np.float32), 3, rng=np.random.default_rng(0))


def test_colours_are_the_principal_components(rng):
    from sklearn.decomposition import PCA

    rows = (rng.normal(size=(200, 6)) * [9, 5, 3, 1, 1, 1]).astype(np.float32)
    wanted = PCA(3).fit_transform(rows)
    got = principal_colours(rows)
    assert got.min() == 0
    assert got.max() == 1
    inside = (got > 0) & (got < 1)
    for channel in range(3):
        pairs = got[inside[:, channel], channel], wanted[inside[:, channel], channel]
        assert abs(np.corrcoef(*pairs)[0, 1]) > 0.9999


def test_reading_at_pixels_is_bilinear_upsampling(rng):
    grid = rng.normal(size=(3, 5, 2)).astype(np.float32)
    geometry = geometry_for((24, 40), (24, 40), stride=8, multiple=8)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(grid).permute(2, 0, 1)[None], scale_factor=8, mode="bilinear"
    )
    np.testing.assert_allclose(read_at_pixels(grid, geometry), wanted[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_two_halves_become_two_clusters(weights):
    """An image of two textures: each cluster fills its half, but for the patches across the border."""
    backbone = load_backbone(BackboneConfig("", weights=weights, policy="native"))
    image = np.zeros((56, 112, 3), np.uint8)
    image[:, :56] = 255
    (panels,) = token_panels([image], backbone, k=2, rng=np.random.default_rng(0))
    left, right = panels.clusters[:, 8:48].reshape(-1, 3), panels.clusters[:, 64:104].reshape(-1, 3)
    assert (left == left[0]).all(axis=1).mean() > 0.9
    assert (right == right[0]).all(axis=1).mean() > 0.9
    assert not np.array_equal(left[0], right[0])


def test_k_out_of_range(weights):
    backbone = load_backbone(BackboneConfig("", weights=weights))
    for k in (1, 21):
        with pytest.raises(ConfigError, match="2 to 20 clusters"):
            token_panels([np.zeros((56, 56, 3), np.uint8)], backbone, k=k, rng=np.random.default_rng(0))


def test_the_sheet_has_a_row_for_each_image(weights, rng):
    backbone = load_backbone(BackboneConfig("", weights=weights))
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((40, 60, 3), (60, 40, 3))]
    panels = token_panels(images, backbone, k=3, rng=rng)
    assert all(p.clusters.shape == p.components.shape == p.image.shape for p in panels)
    one, two = contact_sheet(panels[:1], title="one"), contact_sheet(panels, title="two")
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] > one.shape[0] + 200


def test_the_command_writes_a_picture(weights, tmp_path, rng, capsys):
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    out = tmp_path / "deep" / "tokens.png"
    words = ["tokens", str(tmp_path / "a.png"), "--weights", weights, "-k", "3", "--out", str(out)]
    assert main(words) == 0
    assert "wrote" in capsys.readouterr().err
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["out"], facts["pictures"], facts["clusters"]) == (out.as_posix(), 1, 3)
    with Image.open(out) as picture:
        assert picture.format == "PNG"


def test_the_command_names_a_missing_image(weights, tmp_path, capsys):
    code = main(["tokens", str(tmp_path / "none.png"), "--weights", weights, "--out", str(tmp_path / "t.png")])
    assert code == 1
    assert "none.png" in capsys.readouterr().err


def test_the_cache_command_makes_what_fit_will_look_for(weights, tmp_path, capsys):
    arguments = [
        "cache",
        "demo",
        "--limit",
        "3",
        "--weights",
        weights,
        "--size",
        "56",
        "--out",
        str(tmp_path),
        "--json",
    ]
    assert main([*arguments, "--verify"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is True
    assert main([*arguments, "--shard", "9"]) == 2
    assert "--shard must be i/n" in capsys.readouterr().err


def test_the_list_of_timm_names(capsys):
    assert main(["backbones", "--all", "small*dinov2"]) == 0
    assert "vit_small_patch14_reg4_dinov2.lvd142m" in capsys.readouterr().out
    assert main(["backbones", "--all", "small*dinov2", "--json"]) == 0
    assert "vit_small_patch14_reg4_dinov2.lvd142m" in json.loads(capsys.readouterr().out)
    assert main(["backbones", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["demo-ssvt"]["at_hand"] is True and rows["demo-ssvt"]["dim"] > 0
    assert main(["backbones", "--all", "unheard_of"]) == 2
