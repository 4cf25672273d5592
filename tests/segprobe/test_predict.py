import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, RunFolderError, VocabularyError, WeightsError
from labelgen.masks import SoftMask, harden
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.refine import make_refiner, parse_refiners
from labelgen.run import RunOptions
from labelgen.store import RunFolder
from segprobe import predict
from segprobe.config import FitConfig
from segprobe.evaluate import image_predictions
from segprobe.fit import fit_head
from segprobe.heads import make_head
from segprobe.predict import PredictConfig, Predictor, predict_run, window_starts
from segprobe.probe_file import Probe, save_probe
from tests.segprobe.toy import VOCABULARY, ToyBackbone, ToyFeatures, toy_dataset, truth_labels


def toy_probe(head, class_ids=(0, 2, 5)):
    return Probe(
        head, "linear", class_ids, VOCABULARY, BackboneConfig("toy"), ToyBackbone().fingerprint(), {}, None, {}
    )


@pytest.fixture
def head():
    head = make_head("linear", torch.zeros(48), torch.ones(48), num_classes=3)
    torch.nn.init.normal_(head.classify.weight, generator=torch.Generator().manual_seed(0))
    return head.eval()


def image(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(37, 51), (48, 64), (3, 5), (1, 1)])
def test_predictions_have_the_size_of_the_image(head, size):
    predictor = Predictor(toy_probe(head), ToyBackbone(), PredictConfig(flip=True, scales=(1.0, 1.5)))
    probabilities = predictor.probabilities(image(size))
    assert probabilities.shape == (3, *size)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    assert set(np.unique(predictor.labels([image(size)])[0])) <= {0, 2, 5}


@pytest.mark.parametrize("views", [{}, {"flip": True}])
def test_sliding_equals_whole_when_the_window_holds_the_image(head, views):
    picture = image((40, 56))
    whole = Predictor(toy_probe(head), ToyBackbone(), PredictConfig(**views)).probabilities(picture)
    slid = Predictor(toy_probe(head), ToyBackbone(), PredictConfig(window=64, stride=10, **views)).probabilities(
        picture
    )
    np.testing.assert_allclose(slid, whole, atol=1e-6)


def test_windows_on_the_token_grid_agree_with_the_whole_inside(head):
    picture = image((40, 40))
    whole = Predictor(toy_probe(head), ToyBackbone()).probabilities(picture)
    slid = Predictor(toy_probe(head), ToyBackbone(), PredictConfig(window=24, stride=16)).probabilities(picture)
    np.testing.assert_allclose(slid[:, 2:14, 2:14], whole[:, 2:14, 2:14], atol=1e-5)
    np.testing.assert_allclose(slid.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize(("length", "window", "stride"), [(100, 30, 20), (100, 30, 30), (31, 30, 1), (7, 30, 20)])
def test_windows_cover_every_pixel_and_stay_inside(length, window, stride):
    starts = window_starts(length, window=window, stride=stride)
    covered = np.zeros(length, int)
    for start in starts:
        covered[start : start + window] += 1
    assert covered.min() >= 1
    assert max(starts) == max(0, length - window)
    assert len(starts) == len(set(starts))


def test_flip_alone_of_a_symmetric_image_changes_nothing(head):
    half = image((24, 16))
    picture = np.concatenate([half, half[:, ::-1]], axis=1)
    probabilities = Predictor(toy_probe(head), ToyBackbone(), PredictConfig(flip=True)).probabilities(picture)
    np.testing.assert_allclose(probabilities, probabilities[:, :, ::-1], atol=1e-5)


def test_images_of_different_sizes_come_back_in_order(head):
    predictor = Predictor(toy_probe(head), ToyBackbone(), batch_size=2)
    pictures = [image((20 + 4 * (i % 3), 24), seed=i) for i in range(7)]
    together = predictor.labels(pictures)
    for picture, labels in zip(pictures, together, strict=True):
        assert np.array_equal(labels, predictor.labels([picture])[0])


def test_labels_are_the_most_probable_class(head):
    predictor = Predictor(toy_probe(head), ToyBackbone())
    picture = image((20, 24))
    expected = np.array([0, 2, 5], np.uint8)[predictor.probabilities(picture).argmax(0)]
    assert np.array_equal(predictor.labels([picture])[0], expected)


def test_another_backbone_is_refused(head):
    with pytest.raises(WeightsError, match="with weights of sha256 000000000000, got 000000000000"):
        Predictor(toy_probe(head), ToyBackbone(seed=3))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"window": -1}, "window and stride must be >= 0"),
        ({"window": 10, "stride": 11}, "stride must not exceed window"),
        ({"scales": ()}, "scales must be factors > 0"),
        ({"scales": (0.0,)}, "scales must be factors > 0"),
        ({"upsample": "cubic"}, "upsample must be bilinear or guided"),
        ({"refine": ("attention",)}, "refiner attention scales each class"),
        ({"refine": ("sharpen",)}, "unknown refiner 'sharpen'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PredictConfig(**settings)


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """A probe on disk, and a loader that finds its toy backbone."""
    from labelgen.nets import backbones

    dataset = toy_dataset(6)
    found = fit_head(truth_labels(dataset), ToyFeatures(dataset), FitConfig(steps=30, lr=0.05))
    save_probe(tmp_path / "probe", toy_probe(found.head, found.class_ids))
    monkeypatch.setattr(backbones, "load_backbone", lambda config, device: ToyBackbone())
    return tmp_path / "probe", dataset


def test_a_run_of_predictions_is_a_run_like_any_other(fitted, tmp_path):
    path, dataset = fitted
    report = predict_run(
        path, dataset, tmp_path / "run", options=RunOptions(save_scores=True), config=PredictConfig(), device="cpu"
    )
    assert (report.done, report.failed, report.complete) == (6, 0, True)
    run = RunFolder.open(tmp_path / "run")
    assert run.header["supervision"] == ["unknown"]  # a probe of before its labels were asked
    assert set(run.header["models"]) == {"probe", "toy"}
    predictor = predict.load_predictor(path, device="cpu")
    expected = predictor.labels([dataset.image(i) for i in dataset.ids])
    for sample_id, labels in zip(dataset.ids, expected, strict=True):
        assert np.array_equal(run.labels(sample_id), labels)
        assert run.scores(sample_id).class_ids == (0, 1, 2, 3, 4, 5)
    assert np.mean([run.labels(i) == dataset.truth(i) for i in dataset.ids]) > 0.8


REPAIRED = PredictConfig(upsample="guided,radius=1", refine=("pamr,steps=2", "par,steps=1"))


def test_refiners_follow_the_probabilities_in_a_run_and_in_an_evaluation(fitted, tmp_path):
    path, dataset = fitted
    plain = PredictConfig(upsample="guided,radius=1")
    predictor = predict.load_predictor(path, REPAIRED, device="cpu")
    assert predict_run(path, dataset, tmp_path / "run", config=REPAIRED, device="cpu").failed == 0
    run = RunFolder.open(tmp_path / "run")
    chain = [make_refiner(step) for step in parse_refiners(*REPAIRED.refine)]
    changed = 0
    for (truth, found), sample_id in zip(image_predictions(predictor, dataset), dataset.ids, strict=True):
        sample = dataset.load(sample_id, {"image"})
        mask = SoftMask(predictor.probabilities(sample.image), predictor.probe.class_ids)
        unrefined = harden(mask)
        for refine in chain:
            mask = refine(sample, mask)
        assert np.array_equal(harden(mask), found)
        assert np.array_equal(run.labels(sample_id), found)
        assert np.array_equal(truth, dataset.truth(sample_id))
        assert np.array_equal(
            predict.Predictor(predictor.probe, ToyBackbone(), plain).labels([sample.image])[0], unrefined
        )
        changed += int((found != unrefined).sum())
    assert changed > 0


def test_how_predictions_were_repaired_is_kept_with_the_run(fitted, tmp_path):
    path, dataset = fitted
    predict_run(path, dataset, tmp_path / "run", config=REPAIRED, device="cpu")
    header = RunFolder.open(tmp_path / "run").header
    assert header["config"]["upsample"] == "guided,radius=1"
    assert header["config"]["refine"] == ["pamr,steps=2", "par,steps=1"]
    assert [step["refiner"] for step in header["facts"]["refine"]] == ["pamr", "par"]
    with pytest.raises(RunFolderError, match="refine"):
        predict_run(path, dataset, tmp_path / "run", config=PredictConfig(refine=("pamr",)), device="cpu")


def test_guided_predictions_undo_mirror_and_windows(head):
    picture = image((24, 32))
    guided = [
        Predictor(toy_probe(head), ToyBackbone(), PredictConfig(upsample="guided", **more)).probabilities(picture)
        for more in ({}, {"window": 40, "stride": 20}, {"flip": True})
    ]
    np.testing.assert_allclose(guided[1], guided[0], atol=1e-6)
    np.testing.assert_allclose(guided[2], guided[0], atol=1e-5)  # the toy features do not care for mirroring
    bilinear = Predictor(toy_probe(head), ToyBackbone()).probabilities(picture)
    assert np.abs(guided[0] - bilinear).max() > 0.01


def test_data_of_other_classes_are_refused(fitted, tmp_path):
    from dataclasses import replace

    path, dataset = fitted
    other = replace(dataset, vocabulary=replace(VOCABULARY, classes=("background", "a", "b", "c", "d", "e")))
    with pytest.raises(VocabularyError, match="id 1 is 'red' and 'a'"):
        predict_run(path, other, tmp_path / "run")
