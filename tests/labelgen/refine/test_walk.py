import dataclasses

import numpy as np
import pytest
from PIL import Image

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import SoftMask, harden
from labelgen.nets.backbones import BackboneConfig, load_backbone
from labelgen.refine import make_refiner, models_of, parse_refiners, settle_refiners, walk_grid
from labelgen.refine.boundary import feature_edges, image_gradient, largest_in_cells, read_boundaries
from labelgen.refine.walk import WalkConfig, make_walk, with_preset
from labelgen.refine.walk_grid import cell_colours, cell_features, grid_of

SIZE = (40, 61)


def two_halves():
    """Left dark, right bright, from column 32 on."""
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[:, 32:] = 200
    return image


def seeds(small=(18, 22, 14, 20), *, background=0.2):
    """A class seen in a small part of the left half, against a constant background."""
    scores = np.zeros((2, *SIZE), np.float32)
    scores[0] = background
    top, bottom, left, right = small
    scores[1, top:bottom, left:right] = 1
    return SoftMask(scores, (0, 12), warnings=("odd",), details={"n": 1})


def refined(text, mask=None, image=None, **sample):
    (step,) = settle_refiners(parse_refiners(text), DataSpec("demo"))
    sample = Sample("a", SIZE, image=two_halves() if image is None else image, **sample)
    return make_refiner(step)(sample, seeds() if mask is None else mask)


@pytest.fixture(scope="module")
def network():
    return load_backbone(BackboneConfig("demo-ssvt", dtype="float32"), pretrained=False)


def test_scores_walk_to_what_is_alike_and_no_further():
    result = refined("walk:colour,stride=4,steps=64")
    left, right = result.scores[1, :, :28], result.scores[1, :, 36:]
    assert left.min() > 1000 * right.max() and left.min() > 0.005
    assert result.class_ids == (0, 12) and result.warnings == ("odd",) and result.details == {"n": 1}
    np.testing.assert_allclose(result.scores[0], 0.2, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("walk", (8.0, 64, 0, "keep")),
        ("walk,preset=psa", (8.0, 256, 8, "power:16")),
        ("walk,preset=seam,stride=4", (8.0, 64, 4, "power:6")),
        ("walk:boundary,preset=irn,steps=8", (10.0, 8, 4, "fixed:irn-walk")),
        ("walk:boundary,preset=irn,background=keep,beta=0", (0.0, 256, 4, "keep")),
    ],
)
def test_presets_fill_what_was_left_open_and_are_recorded(text, settings):
    (step,) = settle_refiners(parse_refiners(text), DataSpec("demo"))
    assert (step.config.beta, step.config.steps, step.config.stride, step.config.background) == settings


def test_power_backgrounds_walk_with_the_classes():
    mask = seeds(background=0.0)
    kept = refined("walk:colour,stride=4,background=keep", mask)
    assert not kept.scores[0].any()
    result = refined("walk:colour,stride=4,steps=16,background=power:2", mask)
    # One class of zeros and ones: background is 1 - M at each cell that lies inside or outside, and both walk alike.
    whole = refined("walk:colour,stride=2,steps=16,background=power:2", mask)
    np.testing.assert_allclose(whole.scores.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_array_equal(result.scores[1], refined("walk:colour,stride=4,steps=16", mask).scores[1])


def test_fixed_backgrounds_come_after_the_walk_against_the_largest_score():
    plain = refined("walk:colour,stride=4", seeds())
    result = refined("walk:colour,stride=4,background=fixed:0.25", seeds())
    assert (result.scores[0] == np.float32(0.25)).all()
    np.testing.assert_allclose(result.scores[1], plain.scores[1] / plain.scores[1].max(), rtol=1e-5)
    labels = harden(result)
    assert (labels[18:22, 14:20] == 12).all() and (labels[:, 36:] == 0).all()
    nothing = SoftMask(np.full((1, *SIZE), 0.3, np.float32), (0,))
    assert (harden(refined("walk:colour,background=fixed:0.25", nothing)) == 0).all()
    assert (harden(refined("walk:colour,background=power:6", nothing)) == 0).all()


def test_the_background_has_the_id_that_the_vocabulary_gives_it():
    mask = dataclasses.replace(seeds(), class_ids=(4, 12))
    result = refined("walk:colour,stride=4,background=fixed:0.25,background-id=4", mask)
    assert result.class_ids == (4, 12) and (result.scores[0] == np.float32(0.25)).all()
    added = refined("walk:colour,stride=4,background=fixed:0.25", mask)
    assert added.class_ids == (0, 4, 12)


def test_abstaining_cells_have_no_vote_and_follow_it():
    scores = np.zeros((2, *SIZE), np.float32)
    scores[0, :4, :4], scores[1, 36:, :4] = 0.5, 0.8
    result = refined("walk:colour,stride=4,steps=8,beta=1000", SoftMask(scores, (0, 12)))
    reached = result.scores.max(axis=0) > 0
    assert reached[:, :28].all() and not reached[:, 36:].any()  # nothing crosses the edge between the halves
    shares = result.scores[0] / 0.5 + result.scores[1] / 0.8
    np.testing.assert_allclose(shares[reached], 1, atol=1e-5)
    fixed = refined("walk:colour,stride=4,steps=8,beta=1000,background=fixed:0.25", SoftMask(scores, (0, 12)))
    np.testing.assert_array_equal(fixed.scores.max(axis=0) > 0, reached)
    silent = refined("walk:colour", SoftMask(np.zeros((1, *SIZE), np.float32), (3,)))
    assert not silent.scores.any()
    nothing = SoftMask(np.zeros((0, *SIZE), np.float32), ())
    assert refined("walk:colour", nothing) is nothing


def test_boundaries_of_the_image_hold_scores_back():
    free = refined("walk:boundary,stride=4,steps=256", image=np.full((*SIZE, 3), 90, np.uint8))
    held = refined("walk:boundary,stride=4,steps=256")
    assert free.scores[1, :, 40:].min() > 0.001 and held.scores[1, :, 40:].max() < 1e-6
    assert held.scores[1, :, :24].min() > 0.001


def test_maps_of_boundaries_hold_scores_back_and_are_recorded(tmp_path):
    boundary = np.zeros(SIZE, np.uint8)
    boundary[:, 25] = 255
    Image.fromarray(boundary).save(tmp_path / "a.png")
    result = refined(f"walk:boundary,preset=irn,background=keep,boundary={tmp_path}")
    assert result.scores[1, :, :20].min() > 0.001 and not result.scores[1, :, 30:].any()
    assert result.scores[:, :, 25].max() < result.scores[0, :, 10].min()  # nothing on a boundary is trusted
    assert len(result.details["inputs"][f"{tmp_path.as_posix()}/a.png"]) == 64 and result.details["n"] == 1
    with pytest.raises(ConfigError, match="no folder of boundary maps at nowhere"):
        refined("walk:boundary,boundary=nowhere")


def test_boundary_maps_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="no boundary map for 'b'"):
        read_boundaries(tmp_path, "b", SIZE)
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(ShapeError, match=r"the size \(40, 61\) of its image, got \(3, 4\)"):
        read_boundaries(tmp_path, "small", SIZE)
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match="8-bit grey PNG, got mode RGB"):
        read_boundaries(tmp_path, "colour", (3, 4))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match="no kind of picture"):
        read_boundaries(tmp_path, "text", (3, 4))


def test_edges_lie_where_colours_or_features_change():
    gradient = image_gradient(two_halves(), grid_of(SIZE, 4))
    assert gradient.shape == (10, 16) and (gradient[:, 7:9].max(axis=1) == 1).all() and not gradient[:, :5].any()
    assert not image_gradient(np.full((8, 8, 3), 5, np.uint8), grid_of((8, 8), 4)).any()
    features = np.zeros((4, 6, 2), np.float32)
    features[:, :3, 0] = features[:, 3:, 1] = 2
    assert feature_edges(features).tolist() == [[0, 0, 1, 1, 0, 0]] * 4
    assert not feature_edges(features * 0).any()
    assert not feature_edges(np.ones((4, 6, 2), np.float32)).any()


def test_cells_see_the_pixels_inside_them():
    geometry = grid_of((5, 6), 4)
    assert geometry.grid == (2, 2) and geometry.pad == (1, 1)
    values = np.arange(30, dtype=np.float32).reshape(5, 6)
    assert largest_in_cells(values, geometry).tolist() == [[14, 17], [26, 29]]
    image = np.stack([values, values * 0, values * 2], axis=2).astype(np.uint8)
    wanted = [[values[:3, :3].mean(), values[:3, 3:].mean()], [values[3:, :3].mean(), values[3:, 3:].mean()]]
    np.testing.assert_allclose(cell_colours(image, geometry)[:, :, 0], wanted, rtol=1e-6)
    np.testing.assert_allclose(cell_colours(image, geometry)[:, :, 2], np.array(wanted) * 2, rtol=1e-6)


@pytest.mark.parametrize(("size", "stride"), [((375, 500), 8), ((128, 160), 3), ((10, 900), 1), ((1500, 1000), 21)])
def test_cells_grow_with_the_image_where_no_stride_is_given(size, stride):
    assert grid_of(size, 0) == grid_of(size, stride)


def test_cells_read_the_tokens_at_their_centres(network):
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    picture, geometry = network.prepare(image, scale=8 * network.spec.stride / (network.config.size or 32))
    tokens = network.tokens(picture[None])[0].numpy()
    assert geometry.grid == (8, 12)
    np.testing.assert_allclose(cell_features(image, grid_of((32, 48), 4), network, tokens=8), tokens, atol=1e-5)
    wide = cell_features(image, grid_of((32, 48), 8), network, tokens=8)
    np.testing.assert_allclose(wide[1, 2], tokens[2:4, 4:6].mean(axis=(0, 1)), atol=1e-5)


@pytest.mark.parametrize("settings", ["walk", "walk,kernel=cosine", "walk:boundary,boundary=features"])
def test_features_of_a_network_decide_who_is_alike(monkeypatch, network, settings):
    monkeypatch.setattr(walk_grid, "network_of", lambda config: network)
    image = np.full((*SIZE, 3), 200, np.uint8)
    image[::4, :32] = 20
    result = refined(f"{settings},stride=4,tokens=10,steps=64,beta=30", image=image)
    assert result.scores[1, 8:32, 4:24].mean() > 3 * result.scores[1, 8:32, 40:].mean()


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ("colour", "beta=1"),
        ("colour", "steps=2"),
        ("colour", "stride=5"),
        ("colour", "radius=3"),
        ("colour", "kernel=cosine"),
        ("colour", "preset=psa"),
        ("boundary", "boundary=features,tokens=5"),
        ("features,tokens=5", "tokens=6"),
    ],
)
def test_every_setting_moves_the_scores(rng, base, change):
    image = rng.integers(0, 255, (*SIZE, 3), np.uint8)
    mask = SoftMask(rng.random((2, *SIZE), np.float32), (0, 12))
    before, after = refined(f"walk:{base}", mask, image), refined(f"walk:{base},{change}", mask, image)
    assert np.abs(before.scores - after.scores).max() > 1e-4


def test_the_network_follows_from_the_data_and_is_recorded_where_there_is_one():
    (step,) = settle_refiners(parse_refiners("walk"), DataSpec("demo"))
    assert step.config.backbone == "demo-ssvt" and list(models_of([step])) == ["demo-ssvt"]
    (step,) = settle_refiners(parse_refiners("walk"), DataSpec("voc", "/data"))
    assert step.config.backbone.startswith("vit_small_patch14_reg4_dinov2")
    (step,) = settle_refiners(parse_refiners("walk:colour"), DataSpec("voc", "/data"))
    assert step.config.backbone == "" and models_of([step]) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"affinity": "boundary", "kernel": "cosine"}, "kernel has no say with boundary"),
        ({"affinity": "colour", "boundary": "maps"}, "boundary has no say with colour"),
        ({"affinity": "colour", "backbone": "demo-ssvt"}, "backbone has no say with affinity colour"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"stride": -1}, "stride must be >= 0, got -1"),
        ({"beta": -1.0}, "beta must be >= 0, got -1.0"),
        ({"beta": float("nan")}, "beta must be a finite number"),
        ({"radius": 1.0}, "radius must be > 1"),
        ({"tokens": 200}, r"tokens lie in \[1, 128\], got 5.0 and 200"),
        ({"background": "saliency"}, "must be keep, power: or fixed:, got 'saliency'"),
        ({"background": "power:-1"}, "alpha of a power background must be above 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        WalkConfig(**settings)


def test_mistyped_choices_are_refused():
    with pytest.raises(ConfigError, match="affinity of refiner walk must be features or colour or boundary"):
        parse_refiners("walk:magic")
    with pytest.raises(ConfigError, match="preset of refiner walk must be"):
        parse_refiners("walk,preset=voc")


def test_what_is_given_wins_over_the_preset():
    assert with_preset(WalkConfig(preset="irn", background="power:3")).background == "power:3"
    with pytest.raises(DataError, match="needs the image of b"):
        make_walk(WalkConfig("colour"))(Sample("b", SIZE), seeds())
