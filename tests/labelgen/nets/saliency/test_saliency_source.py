import pickle

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.demo.scenes import draw_scene
from labelgen.errors import ConfigError, DataError
from labelgen.nets.saliency import open_saliency
from labelgen.nets.saliency.guided import guided_filter
from labelgen.nets.saliency.ncut import MOST_TOKENS, _grid
from labelgen.nets.saliency.spectral_residual import spectral_residual

DEMO = DataSpec("demo")


def separation(saliency, foreground):
    """Share of pairs of an object's pixel and another that the saliency puts in order."""
    order = np.argsort(np.argsort(saliency.reshape(-1)))
    count = foreground.sum()
    return (order[foreground.reshape(-1)].sum() - count * (count - 1) / 2) / (count * (foreground.size - count))


@pytest.mark.parametrize(
    ("text", "least"), [("ncut", 0.87), ("spectral", 0.7), ("ncut,variant=tokencut,threshold=.5,edges=cosine", 0.7)]
)
def test_objects_of_demo_scenes_stand_out(text, least):
    source = open_saliency(text, DEMO, "cpu")
    scenes = [draw_scene("saliency-test", index) for index in range(8)]
    found = [source.map("any", scene.image)[0] for scene in scenes]
    assert all(s.dtype == np.float32 and s.min() >= 0 and s.max() <= 1 for s in found)
    assert [s.shape for s in found] == [scene.labels.shape for scene in scenes]
    assert np.mean([separation(s, scene.labels > 0) for s, scene in zip(found, scenes, strict=True)]) > least


@pytest.mark.parametrize("text", ["ncut", "ncut,variant=tokencut", "spectral"])
def test_an_image_of_one_colour_has_no_saliency_and_no_nan(text):
    saliency, file = open_saliency(text, DEMO, "cpu").map("any", np.full((40, 48, 3), 130, np.uint8))
    assert file is None and np.isfinite(saliency).all()
    if text == "spectral":
        assert not saliency.any()


@pytest.mark.parametrize("text", ["ncut", "spectral"])
def test_sources_survive_pickling_and_mirror_with_the_image(text):
    image = draw_scene("saliency-test", 0).image
    source = open_saliency(text, DEMO, "cpu")
    saliency, _ = source.map("any", image)
    again, _ = pickle.loads(pickle.dumps(source)).map("any", image)
    np.testing.assert_array_equal(again, saliency)
    mirrored, _ = source.map("any", np.ascontiguousarray(image[:, ::-1]))
    assert np.corrcoef(mirrored[:, ::-1].reshape(-1), saliency.reshape(-1))[0, 1] > 0.95


def test_facts_name_the_network_and_that_no_outlines_were_seen():
    facts = open_saliency("ncut:demo-ssvt,tokens=12", DEMO, "cpu").facts()
    assert facts["provider"] == "ncut" and facts["backbone"] == "demo-ssvt" and len(facts["sha256"]) == 64
    assert facts["tokens"] == 12 and facts["centre"] is True and facts["pixel_supervised"] is False
    assert open_saliency("spectral", DEMO).facts() == {
        "provider": "spectral", "side": 64, "blur": 2.5, "pixel_supervised": False,
    }  # fmt: skip


def test_the_network_follows_the_data():
    assert open_saliency("ncut", DEMO).config.backbone == "demo-ssvt"
    assert "dinov2" in open_saliency("ncut", DataSpec("voc", "/x")).config.backbone
    assert open_saliency("ncut:demo-ssvt", DataSpec("voc", "/x")).config.backbone == "demo-ssvt"


@pytest.mark.parametrize(
    "setting", ["tokens=8", "gamma=8", "steps=3", "spread=.4", "again=0", "guide=0", "centre=false", "variant=tokencut"]
)
def test_every_setting_of_the_cut_changes_the_map(setting):
    image = draw_scene("saliency-test", 1).image
    plain = open_saliency("ncut", DEMO, "cpu").map("a", image)[0]
    assert np.abs(open_saliency(f"ncut,{setting}", DEMO, "cpu").map("a", image)[0] - plain).max() > 0.02


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("nowhere", DataError, "must come from a folder or from ncut or spectral, got 'nowhere'"),
        ("ncut:", ConfigError, "ends before the backbone"),
        ("spectral:demo-ssvt", ConfigError, "takes no network, got 'demo-ssvt'"),
        ("spectral,side=2", ConfigError, "side must lie in"),
        ("spectral,blur=-1", ConfigError, "blur must be finite and >= 0"),
        ("ncut,what=1", ConfigError, "no setting 'what'"),
        ("ncut,tokens=1", ConfigError, "tokens must lie in"),
        ("ncut,gamma=0", ConfigError, "gamma and spread must be finite and > 0"),
        ("ncut,again=-1", ConfigError, "again must be finite and >= 0"),
        ("ncut,variant=tokencut,again=2", ConfigError, "again has no say with tokencut"),
        ("ncut,threshold=.3", ConfigError, "threshold has no say with border"),
        ("ncut,variant=tokencut,gamma=3", ConfigError, "gamma has no say with tokencut"),
        ("ncut,variant=tokencut,threshold=1", ConfigError, "threshold must lie in"),
        ("ncut,variant=grab", ConfigError, "must be border or tokencut"),
        ("ncut,guide=2", ConfigError, "guide must be a share"),
    ],
)
def test_what_cannot_be_opened_is_refused(text, error, message):
    with pytest.raises(error, match=message):
        open_saliency(text, DEMO)


def test_grids_keep_the_aspect_and_are_bounded():
    assert _grid((128, 160), 16) == (16, 20) and _grid((160, 128), 16) == (20, 16)
    rows, cols = _grid((10, 4000), 64)
    assert rows * cols <= MOST_TOKENS and cols > 100 * rows
    assert _grid((1, 100_000), 64) == (1, MOST_TOKENS)


def test_spectral_residual_is_the_formula():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    image = np.repeat(image[..., :1], 3, axis=2)
    f = np.fft.fft2(image[..., 0].astype(float))
    log = np.log(np.abs(f) + 1e-8)
    mean = np.mean([np.roll(log, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0)
    energy = np.abs(np.fft.ifft2(f / np.abs(f) * np.exp(log - mean))) ** 2
    expected = (energy - energy.min()) / np.ptp(energy)
    np.testing.assert_allclose(spectral_residual(image, side=16, blur=0), expected, atol=1e-5)


def test_guided_filter_solves_the_ridge_of_every_window():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    values = rng.random((9, 9), dtype=np.float32)
    radius, smoothness = 1, 1e-3
    total = np.zeros((9, 9))
    for row in range(1, 8):
        for col in range(1, 8):
            window = np.s_[row - 1 : row + 2, col - 1 : col + 2]
            colours, targets = image[window].reshape(9, 3) / 255, values[window].reshape(9)
            centred = colours - colours.mean(0)
            slope = np.linalg.solve(
                centred.T @ centred / 9 + smoothness * np.eye(3), centred.T @ (targets - targets.mean()) / 9
            )
            total[window] += (image[window] / 255 - colours.mean(0)) @ slope + targets.mean()
    found = guided_filter(image, values, radius=radius, smoothness=smoothness)
    np.testing.assert_allclose(found[2:7, 2:7], total[2:7, 2:7] / 9, atol=1e-5)


def test_guided_filter_keeps_constants_and_its_edges_follow_the_image():
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = (200, 40, 90)
    flat = np.full((20, 20), 0.3, np.float32)
    np.testing.assert_allclose(guided_filter(image, flat, radius=4), flat, atol=1e-6)
    ramp = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (20, 1))
    steps = np.diff(guided_filter(image, ramp, radius=6)[10])
    assert steps.argmax() == 9 and steps[9] > 0.3
