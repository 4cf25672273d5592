import dataclasses
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, WeightsError
from labelgen.masks import harden
from labelgen.methods import cam_build
from labelgen.methods.cam import CAM, CamConfig, parse_scales
from labelgen.nets.cam.classifier_file import load_classifier
from labelgen.nets.cam.multiscale import Views
from labelgen.nets.cam.seeds import class_probabilities, raw_maps
from labelgen.run import RunOptions, method_job, run_job
from labelgen.seeds.normalise import normalise
from labelgen.vocab import Vocabulary, load_vocabulary
from tests.labelgen.nets.cam.small_classifier import small_folder

VOC = load_vocabulary("voc")
RNG = np.random.default_rng(0)
QUICK = {"scales": "0.5,1", "device": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("classifiers")
    return {method: small_folder(root / method, method) for method in ("cam", "seam", "eps")}


@pytest.fixture
def config(folders):
    def config(method="cam", **settings):
        return CamConfig(weights=str(folders[method]), **QUICK | settings)

    return config


def scene(tags=(8, 15), size=(40, 56), sample_id="scene"):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    return Sample(sample_id, size, image=image, tags=None if tags is None else frozenset(tags))


def label(config, sample, vocabulary=VOC):
    prepared = CAM.settle(config, vocabulary, None)
    return CAM.make(prepared.config, vocabulary)(sample, RNG)


def test_scores_are_the_background_and_the_maps_of_the_tags(config, folders):
    sample = scene()
    mask = label(config(), sample)
    classifier = load_classifier(folders["cam"])
    raw = raw_maps(classifier, sample.image, [0, 2], Views(scales=(0.5, 1.0))).foreground.numpy()
    assert mask.class_ids == (0, 8, 15) and not mask.warnings
    assert raw.min() < 0 < raw.max()
    np.testing.assert_allclose(mask.scores[0], 0.2)
    np.testing.assert_allclose(mask.scores[1:], normalise(raw, how="max"), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "background", "how"), [("cam", 0.2, "max"), ("seam", 0.26, "minmax"), ("eps", 0.2, "max")]
)
def test_each_method_has_the_background_and_the_scaling_of_its_paper(config, folders, method, background, how):
    prepared = CAM.settle(config(method), VOC, None)
    assert prepared.config.method == method and prepared.config.normalise == how
    assert prepared.config.background == f"fixed:{background:g}"
    sample = scene()
    mask = CAM.make(prepared.config, VOC)(sample, RNG)
    raw = raw_maps(load_classifier(folders[method]), sample.image, [0, 2], Views(scales=(0.5, 1.0))).foreground.numpy()
    np.testing.assert_allclose(mask.scores[1:], normalise(raw, how=how), atol=1e-6)


def test_a_classifier_of_the_demo_scenes_has_a_background_that_suits_them(tmp_path):
    folder = small_folder(tmp_path, "seam", data="demo")
    assert CAM.settle(CamConfig(weights=str(folder)), VOC, None).config.background == "fixed:0.4"
    assert CAM.settle(CamConfig(weights=str(folder), background="fixed:seam"), VOC, None).config.background == (
        "fixed:0.26"
    )


def test_classes_without_a_tag_have_no_map(config):
    assert label(config(), scene(tags=(12,))).class_ids == (0, 12)


def test_a_mirrored_image_has_mirrored_labels(config):
    sample = scene()
    mirrored = dataclasses.replace(sample, image=sample.image[:, ::-1].copy())
    straight = label(config(), sample)
    np.testing.assert_allclose(label(config(), mirrored).scores, straight.scores[:, :, ::-1], atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"scales": "1"},
        {"flip": False},
        {"combine": "max"},
        {"relu": True},
        {"normalise": "minmax0"},
        {"background": "power:6"},
        {"maps": "gradcam", "layer": "blocks.3"},
        {"maps": "layercam"},
        {"maps": "hirescam", "layer": "blocks.3"},
        {"maps": "gradcam++", "layer": "blocks.3"},
    ],
    ids=str,
)
def test_every_setting_moves_the_scores(config, settings):
    usual, other = label(config(), scene()), label(config(**settings), scene())
    assert np.abs(usual.scores - other.scores).max() > 1e-3


def test_gradients_at_the_features_that_the_classifier_reads_give_its_own_maps(config):
    usual, other = label(config(), scene()), label(config(maps="gradcam"), scene())
    np.testing.assert_allclose(other.scores, usual.scores, atol=1e-5)


def test_dual_labels_are_background_the_tags_or_nothing_and_a_wider_gap_leaves_more_open(config):
    shares = []
    for alpha in (5, 24, 200):
        labels = harden(label(config(background=f"dual:power:4/power:{alpha}"), scene()))
        assert set(np.unique(labels)) <= {0, 8, 15, 255}
        shares.append((labels == 255).mean())
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1]


@pytest.mark.parametrize("method", ["seam", "eps"])
def test_the_channel_of_the_network_is_a_background(config, method, folders):
    mask = label(config(method, background="channel"), scene())
    views = Views(scales=(0.5, 1.0))
    found = raw_maps(load_classifier(folders[method]), scene().image, [0, 2], views).background
    np.testing.assert_allclose(mask.scores[0], found.numpy(), atol=1e-6)


@pytest.mark.parametrize(("method", "settings"), [("cam", {}), ("eps", {"maps": "gradcam"})])
def test_without_such_a_channel_it_is_refused(config, method, settings):
    with pytest.raises(ConfigError, match="no channel of the background"):
        CAM.settle(config(method, background="channel", **settings), VOC, None)


def test_saliency_from_a_folder_is_a_background_and_is_recorded(config, tmp_path):
    grey = np.zeros((40, 56), np.uint8)
    grey[:, 28:] = 255
    Image.fromarray(grey).save(tmp_path / "scene.png")
    mask = label(config(background="saliency", saliency=str(tmp_path)), scene())
    np.testing.assert_allclose(mask.scores[0], np.where(grey > 0, 0, 1))
    labels = harden(mask)
    assert (labels[:, :28] == 0).all() and not (labels == 0)[:, 28:].any()
    (path,) = mask.details["inputs"]
    assert path.endswith("scene.png")
    with pytest.raises(DataError, match="other"):
        label(config(background="saliency", saliency=str(tmp_path)), scene(sample_id="other"))


def test_the_network_behind_saliency_is_settled_by_the_data(config):
    data = open_data("demo", limit=1)
    prepared = CAM.settle(config(background="saliency", saliency="ncut,tokens=12"), VOC, data)
    assert prepared.config.saliency == "ncut:demo-ssvt,tokens=12"
    assert prepared.facts["saliency"]["backbone"] == "demo-ssvt"
    assert CAM.settle(prepared.config, VOC, None).config == prepared.config
    spectral = CAM.settle(config(background="saliency", saliency="spectral"), VOC, data)
    assert spectral.config.saliency == "spectral" and spectral.facts["saliency"]["pixel_supervised"] is False


def test_what_the_classifier_predicts_may_take_the_place_of_tags(config, folders):
    sample = scene(tags=None)
    found = class_probabilities(load_classifier(folders["cam"]), sample.image)
    best = int(found.argmax())
    threshold = float(np.sort(found)[-2:].mean())
    wanted = config(gate="predicted", gate_threshold=threshold)
    assert CAM.supervision(wanted) == frozenset() and CAM.supervision(config()) == {"tags"}
    mask = label(wanted, sample)
    assert mask.class_ids == (0, (8, 12, 15)[best])
    name = ("cat", "dog", "person")[best]
    assert mask.details["predicted"] == {name: pytest.approx(found[best], abs=1e-4)}
    assert CAM.settle(config(gate="predicted"), VOC, None).config.gate_threshold == 0.5


@pytest.mark.parametrize("gate", ["tags", "predicted"])
@pytest.mark.parametrize(("untagged", "value"), [("background", 0), ("skip", 255)])
def test_an_image_without_any_class_never_gets_a_blob(config, gate, untagged, value):
    settings = {"gate_threshold": 0.999999} if gate == "predicted" else {}
    mask = label(config(gate=gate, untagged=untagged, **settings), scene(tags=()))
    assert (harden(mask) == value).all()
    what = "has no tag" if gate == "tags" else "shows no class that the classifier predicts"
    assert len(mask.warnings) == 1 and what in mask.warnings[0]


def test_an_image_without_any_class_may_be_a_failure(config):
    with pytest.raises(DataError, match="scene has no tag"):
        label(config(untagged="error"), scene(tags=()))


def test_tags_that_the_classifier_lacks_are_said_and_the_rest_is_found(config):
    mask = label(config(), scene(tags=(6, 8)))
    assert mask.class_ids == (0, 8)
    assert mask.warnings == ("the classifier does not know bus, which the tags name",)
    assert mask.details["unknown_classes"] == ["bus"]


@pytest.mark.parametrize("untagged", ["background", "error"])
def test_an_image_of_classes_that_the_classifier_lacks_is_not_called_background(config, untagged):
    mask = label(config(untagged=untagged), scene(tags=(6, 7)))
    assert (harden(mask) == 255).all()
    assert mask.details["unknown_classes"] == ["bus", "car"] and len(mask.warnings) == 3


def test_a_map_that_finds_nothing_is_said(config, monkeypatch):
    def nothing(classifier, image, channels, views, **options):
        return dataclasses.replace(found(classifier, image, channels, views, **options), foreground=minus)

    found, minus = raw_maps, -torch.ones(2, 40, 56)
    monkeypatch.setattr(cam_build, "raw_maps", nothing)
    mask = label(config(), scene())
    assert mask.warnings == ("the map of cat is nowhere above 0", "the map of person is nowhere above 0")
    assert (harden(mask) == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(("gate", "method"), [("tags", "cam"), ("predicted", "cam"), ("tags", "eps")])
def test_scores_that_are_no_numbers_name_the_image(tmp_path, bad, gate, method):
    folder = small_folder(tmp_path / "broken", method)
    broken = CamConfig(weights=str(folder), gate=gate, **QUICK)
    classifier = cam_build._classifier_of(broken)[0]
    weight = classifier.network.head.weight
    kept = weight.clone()
    try:
        weight[0] = bad
        with pytest.raises(DataError, match="in scene"):
            label(broken, scene())
    finally:
        weight.copy_(kept)  # the network is shared


def test_a_classifier_of_another_method_is_refused(folders):
    with pytest.raises(WeightsError, match="must be trained by eps, it was by seam"):
        CAM.settle(CamConfig(method="eps", weights=str(folders["seam"])), VOC, None)


def test_the_default_folder_follows_the_method(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="no image-level classifier at runs/seam-classifier") as caught:
        CAM.settle(CamConfig(method="seam"), VOC, None)
    assert "labelgen fit-cam" in caught.value.hint
    small_folder(tmp_path / "runs/cam-classifier", "cam")
    prepared = CAM.settle(CamConfig(), VOC, None)
    assert prepared.config.weights == str((tmp_path / "runs/cam-classifier").resolve())
    small_folder(tmp_path / "runs/cam-classifier", "seam", seed=1)
    with pytest.raises(WeightsError, match="must be trained by cam"):
        CAM.settle(CamConfig(), VOC, None)


def test_each_kind_of_classifier_has_a_run_of_its_own():
    assert [CAM.folder(CamConfig(method=method)) for method in (None, "cam", "seam")] == ["", "cam", "seam"]


def test_folders_that_hold_no_classifier_are_refused(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="does not hold"):
        CAM.settle(CamConfig(weights=str(tmp_path)), VOC, None)
    with pytest.raises(WeightsError, match="no image-level classifier"):
        CAM.settle(CamConfig(weights=str(tmp_path / "nowhere")), VOC, None)


def test_classes_are_found_by_name_in_another_vocabulary(config):
    mine = Vocabulary("mine", ("person", "nothing", "dog", "cat", "tree"), background=1)
    mask = label(config(), scene(tags=(0, 3)), mine)
    assert mask.class_ids == (0, 1, 3)
    usual = label(config(), scene(tags=(8, 15)))
    np.testing.assert_allclose(mask.scores[[0, 3 - 1]], usual.scores[[2, 1]])
    np.testing.assert_allclose(mask.scores[1], 0.2)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary("small", ("nothing", "cat", "dog"), background=0), "must be classes of 'small'.*'person'"),
        (load_vocabulary("voc20"), "have a background"),
    ],
)
def test_a_vocabulary_that_does_not_fit_is_refused(config, vocabulary, message):
    with pytest.raises(ConfigError, match=message):
        CAM.settle(config(), vocabulary, None)


def test_a_layer_that_the_backbone_does_not_have_is_refused_before_the_first_image(config):
    with pytest.raises(ConfigError, match="has no layer 'layer9'") as caught:
        CAM.settle(config(maps="layercam", layer="layer9"), VOC, None)
    assert "blocks" in caught.value.hint


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": ""}, "numbers between commas"),
        ({"scales": "1;2"}, "numbers between commas"),
        ({"scales": "0"}, "different factors"),
        ({"scales": "1,1"}, "different factors"),
        ({"scales": "nan"}, "different factors"),
        ({"layer": "blocks.3"}, "layer has no say with maps gap"),
        ({"combine": "max", "flip": False}, "flip is off"),
        ({"gate_threshold": 0.5}, "has no say with gate tags"),
        ({"gate": "predicted", "gate_threshold": 1.0}, r"must lie in \[0, 1\)"),
        ({"background": "fixed:2"}, r"must lie in \(0, 1\]"),
        ({"background": "saliency"}, "needs saliency maps"),
        ({"saliency": "ncut"}, "has no say with background left open"),
        ({"saliency": "ncut", "background": "power:6"}, "has no say with background power:6"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        CamConfig(**settings)


def test_scales_are_read():
    assert parse_scales(CamConfig().scales) == (0.5, 1.0, 1.5, 2.0)


def test_a_run_keeps_what_made_it(config, tmp_path):
    data = open_data("demo", limit=3)
    job = pickle.loads(pickle.dumps(method_job("cam", config(background="power:6"), VOC, dataset=data)))
    report = run_job(data, job, tmp_path / "run", RunOptions(save_scores=True))
    assert report.complete and report.done == 3
    header = json.loads((tmp_path / "run/run.json").read_text())
    assert header["supervision"] == ["tags"]
    assert header["models"]["classifier"]["sha256"] == load_classifier(config().weights).sha256
    assert header["models"]["classifier"]["method"] == header["config"]["method"] == "cam"
    assert header["facts"]["background_as_threshold"] == pytest.approx(0.2219, abs=1e-4)
    assert "bus" in header["facts"]["classes_unknown_to_the_classifier"]
    with np.load(next((tmp_path / "run/scores").rglob("*.npz"))) as scores:
        assert scores["class_ids"][0] == 0


def test_a_layer_without_a_grid_is_refused_before_the_first_image(config):
    with pytest.raises(ConfigError, match=r"layer 'patch_embed\.proj' gives no class maps"):
        CAM.settle(config(maps="layercam", layer="patch_embed.proj"), VOC, None)


def test_the_classifier_learned_from_tags_whoever_names_the_classes(config, tmp_path):
    assert CAM.settle(config(gate="predicted"), VOC, None).supervision == {"tags"}
    (tmp_path / "maps").mkdir()
    for more, supervision in (("", {"tags", "saliency"}), (",pixel_supervised=false", {"tags"})):
        asked = config(background="saliency", saliency=f"{tmp_path / 'maps'}{more}")
        prepared = CAM.settle(asked, VOC, None)
        assert prepared.supervision == supervision
        assert prepared.config.saliency == f"{(tmp_path / 'maps').resolve()}{more}"


def test_settled_settings_need_nothing_else(config):
    prepared = CAM.settle(config(), VOC, None)
    assert CAM.settle(prepared.config, VOC, None) == prepared
    unsettled = CAM.make(config(), VOC)(scene(), RNG)
    np.testing.assert_array_equal(unsettled.scores, CAM.make(prepared.config, VOC)(scene(), RNG).scores)
