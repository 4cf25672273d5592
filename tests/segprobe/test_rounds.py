"""Labels that are corrected by what a head has learned from them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError, RunFolderError
from segprobe.batches import BatchMaker
from segprobe.config import FitConfig, idle_settings
from segprobe.corrections import AdeleConfig, ConfidentConfig, parse_correction
from segprobe.fit import fit_head
from segprobe.fit_folder import finish_fit
from segprobe.heads import make_head
from segprobe.labels import ImageLabels
from segprobe.memorisation import memorisation
from segprobe.relabel import Changes, confident_labels, image_probabilities, load_labels, relabelled, save_labels
from segprobe.rounds import correct_confident
from segprobe.sampling import sample_pixels, upsample_logits
from segprobe.watch import AdeleWatch, label_ious
from tests.segprobe.toy import (
    VOCABULARY,
    Killed,
    ToyFeatures,
    kill_at,
    label_set,
    noisy_labels,
    sparse_labels,
    toy_dataset,
    truth_labels,
)

FAST = FitConfig(steps=30, batch_size=4, pixels=128, lr=1e-2)


@pytest.fixture(scope="module")
def toy():
    dataset = toy_dataset(8)
    return dataset, ToyFeatures(dataset)


@pytest.fixture(scope="module")
def trained(toy):
    dataset, features = toy
    return fit_head(truth_labels(dataset), features, FAST).head


# kernels --------------------------------------------------------------------------------------------------------------


def test_probabilities_are_the_mean_over_views(toy, trained):
    dataset, features = toy
    found = image_probabilities(trained, features, dataset.ids[0])
    planes = []
    for view in (0, 1):
        tokens = features.features(dataset.ids[0], view)
        with torch.no_grad():
            planes.append(upsample_logits(trained(tokens.tokens), tokens.geometry).softmax(-1).permute(2, 0, 1).numpy())
    assert found == pytest.approx((planes[0] + planes[1]) / 2, abs=1e-6)
    assert found.sum(axis=0) == pytest.approx(1, abs=1e-5)


def by_hand(labels, probabilities, confidence, everywhere, allowed):
    found = labels.copy()
    for place in np.ndindex(labels.shape):
        if labels[place] != 255 and not everywhere:
            continue
        here = probabilities[(slice(None), *place)]
        p, k = max(((p, -k) for k, p in enumerate(here) if allowed is None or k in allowed), default=(0, 0))
        if p > confidence:
            found[place] = -k
    return found


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("allowed", [None, {0, 2}, set()])
def test_confident_labels_are_those_found_pixel_by_pixel(everywhere, allowed):
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 1, 255], np.uint8), (9, 11))
    probabilities = rng.dirichlet([0.4] * 4, (9, 11)).transpose(2, 0, 1).astype(np.float32)
    found = confident_labels(labels, probabilities, confidence=0.6, everywhere=everywhere, allowed=allowed)
    assert np.array_equal(found, by_hand(labels, probabilities, 0.6, everywhere, allowed))
    assert found.dtype == np.uint8


def test_tags_of_an_image_are_the_classes_of_its_labels():
    labels = np.array([[1, 255, 255]], np.uint8)
    probabilities = np.zeros((6, 1, 3), np.float32)
    probabilities[2, 0, 1] = probabilities[0, 0, 2] = 0.99
    found = {
        tags: correct_confident(labels, probabilities, settings=ConfidentConfig(tags=tags), vocabulary=VOCABULARY)
        for tags in (False, True)
    }
    assert found[False].tolist() == [[1, 2, 0]]
    assert found[True].tolist() == [[1, 255, 0]]


def test_changes_are_counted(toy, trained):
    dataset, features = toy
    labels = noisy_labels(dataset, 0.3)

    def turn(before, probabilities):
        after = before.copy()
        after[:12] = 255
        after[12:24] = 3
        return after

    corrected, changes = relabelled(labels, trained, features, turn)
    before = np.stack([labels.images[i].map() for i in labels.ids])
    said = np.stack([image_probabilities(trained, features, i).argmax(0) for i in labels.ids])
    assert changes.added == 0
    assert changes.changed == pytest.approx((12 + (before[:, 12:24] != 3).mean() * 12) / 48)
    assert changes.agreement == pytest.approx((said == before).mean())
    assert changes.coverage == 0.75
    assert corrected.class_ids == labels.class_ids
    assert (
        corrected.counts.tolist()
        == np.bincount(np.concatenate([corrected.images[i].labelled()[1] for i in labels.ids]), minlength=6).tolist()
    )


def test_classes_of_the_head_stay_when_a_correction_removes_one(toy):
    dataset, features = toy
    config = replace(FAST, rounds=1, correct="confident,pixels=all,confidence=0.0,tags=no", steps=4)
    fitted = fit_head(truth_labels(dataset), features, config)
    assert fitted.class_ids == tuple(range(6))
    assert fitted.head.classify.out_features == 6


def test_dense_labels_are_only_corrected_where_they_may_be_replaced(toy, caplog):
    dataset, features = toy
    fit_head(truth_labels(dataset), features, replace(FAST, rounds=1, correct="confident,confidence=0.0", steps=1))
    assert "every pixel has one; --correct confident,pixels=all" in caplog.text


def test_corrected_labels_get_the_weight_of_their_probability(toy, trained):
    dataset, features = toy
    labels = truth_labels(dataset)
    weighted = {i: ImageLabels.of(labels.images[i].map(), weights=np.full((48, 64), 0.5)) for i in labels.ids}

    def right_half(before, probabilities):
        after = before.copy()
        after[:, 32:] = (before[:, 32:] + 1) % 6
        return after

    corrected, _ = relabelled(replace(labels, images=weighted), trained, features, right_half, gamma=2.0)
    first = corrected.images[labels.ids[0]].weight_map()
    given = corrected.images[labels.ids[0]].map()
    probability = np.take_along_axis(image_probabilities(trained, features, labels.ids[0]), given[None].astype(int), 0)[
        0
    ]
    assert (first[:, :32] == 0.5).all()
    assert first[:, 32:] == pytest.approx(probability[:, 32:] ** 2, abs=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_saved_labels_come_back(toy, tmp_path, weighted):
    dataset, _ = toy
    labels = sparse_labels(dataset, 0.1)
    if weighted:
        weights = np.random.default_rng(0).random((48, 64)).astype(np.float16)
        labels = replace(labels, images={i: ImageLabels.of(m.map(), weights=weights) for i, m in labels.images.items()})
    save_labels(tmp_path / "labels.npz", labels)
    again = load_labels(tmp_path / "labels.npz", labels)
    assert again.digest() == labels.digest()
    assert np.array_equal(again.counts, labels.counts)
    fewer = replace(labels, images={i: labels.images[i] for i in labels.ids[1:]})
    with pytest.raises(RunFolderError, match="corrected labels cannot be read"):
        load_labels(tmp_path / "labels.npz", fewer)


# rounds ---------------------------------------------------------------------------------------------------------------


def accuracy(fitted, toy):
    dataset, features = toy
    hits = []
    for sample_id in dataset.ids:
        said = np.asarray(fitted.class_ids)[image_probabilities(fitted.head, features, sample_id).argmax(0)]
        hits.append((said == dataset.truth(sample_id)).mean())
    return np.mean(hits)


@pytest.mark.slow
def test_a_round_fills_what_was_unlabelled(toy):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.02)
    config = replace(FAST, rounds=2, correct="confident,confidence=0.7")
    fitted = fit_head(labels, features, config)
    first, second, third = fitted.figures["rounds"]
    assert "changed" not in first
    assert second["changed"] == third["changed"] == 0
    assert second["added"] > 0.3
    assert second["coverage"] == pytest.approx(second["added"] + labels.coverage)
    assert second["agreement"] > 0.8
    assert fitted.steps == 90 == len(fitted.losses)


@pytest.mark.slow
def test_no_round_is_the_fit_without(toy, caplog):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.02)
    plain = fit_head(labels, features, FAST)
    first = fit_head(labels, features, replace(FAST, rounds=1))
    assert plain.figures == {}
    assert first.losses[:30] == plain.losses
    # nothing exceeds this confidence, so that the second training repeats the first
    same = fit_head(labels, features, replace(FAST, rounds=1, correct="confident,confidence=0.999999"))
    assert same.figures["rounds"][1]["added"] == 0
    assert same.losses[30:] == plain.losses
    assert "no label was changed: the head is nowhere surer than 0.999999" in caplog.text


@pytest.mark.slow
def test_going_on_differs_from_beginning_anew(toy):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.02)
    found = {
        start: fit_head(labels, features, replace(FAST, rounds=1, correct=f"confident,start={start}")).losses
        for start in ("scratch", "continue")
    }
    assert found["scratch"][:30] == found["continue"][:30]
    assert found["scratch"][30] == pytest.approx(np.log(6), rel=1e-4)
    assert found["continue"][30] < 0.5 * found["scratch"][30]


@pytest.mark.slow
def test_replacing_labels_repairs_noise(toy):
    dataset, features = toy
    noisy = noisy_labels(dataset, 0.4)
    config = replace(FAST, rounds=1, correct="confident,pixels=all,confidence=0.5,tags=no")
    fitted = fit_head(noisy, features, config)
    record = fitted.figures["rounds"][1]
    assert 0.2 < record["changed"] < 0.4
    assert record["added"] == 0
    assert accuracy(fitted, toy) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ridge", "prototype", "mlp,hidden=8", "conv,width=8"])
def test_rounds_with_other_heads(toy, head):
    dataset, features = toy
    training = {} if idle_settings(head) else {"steps": 8, "batch_size": 4, "lr": 5e-2}
    config = FitConfig(head=head, pixels=128, rounds=1, correct="confident,confidence=0.3", **training)
    fitted = fit_head(sparse_labels(dataset, 0.05), features, config)
    assert len(fitted.figures["rounds"]) == 2
    assert fitted.figures["rounds"][1]["added"] > 0


ROUNDS = replace(FAST, rounds=2, correct="confident,confidence=0.7,start=continue", checkpoint_every=10)


@pytest.fixture(scope="module")
def uninterrupted(toy, tmp_path_factory):
    """A fit in rounds and its folder, to compare with."""
    dataset, features = toy
    folder = tmp_path_factory.mktemp("whole")
    return fit_head(sparse_labels(dataset, 0.02), features, ROUNDS, folder=folder), folder


@pytest.mark.slow
@pytest.mark.parametrize("calls", [25, 30, 47, 85])
def test_interrupted_rounds_go_on_where_they_stopped(toy, uninterrupted, tmp_path, monkeypatch, calls):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.02)
    config = ROUNDS
    whole, folder = uninterrupted
    folders = [folder, tmp_path / "parts"]
    folders[1].mkdir()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, calls)
        fit_head(labels, features, config, folder=folders[1])
    resumed = fit_head(labels, features, config, folder=folders[1])
    assert 0 < len(resumed.losses) <= 90 - calls + 10
    assert resumed.losses == whole.losses[90 - len(resumed.losses) :]
    assert resumed.figures == whole.figures
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name])
    metrics = [(folder / "metrics.jsonl").read_bytes() for folder in folders]
    assert metrics[0] == metrics[1]
    lines = [json.loads(line) for line in metrics[0].splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert [(line["step"], line["round"]) for line in lines if "added" in line] == [(30, 1), (60, 2)]
    finish_fit(folders[1], {})
    assert sorted(path.name for path in folders[1].iterdir()) == ["fit.json", "metrics.jsonl"]


def test_a_damaged_round_is_refused(toy, tmp_path):
    dataset, features = toy
    config = replace(FAST, steps=2, rounds=1)
    fit_head(truth_labels(dataset), features, config, folder=tmp_path)
    (tmp_path / "round-0" / "round.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunFolderError, match="a finished round cannot be read"):
        fit_head(truth_labels(dataset), features, config, folder=tmp_path)
    (tmp_path / "round-0" / "round.json").write_text('{"round": 0, "steps": 2}', encoding="utf-8")
    (tmp_path / "round-0" / "head.safetensors").write_bytes(b"")
    with pytest.raises(RunFolderError, match="the head of a round cannot be read"):
        fit_head(truth_labels(dataset), features, config, folder=tmp_path)


# adele ----------------------------------------------------------------------------------------------------------------


def maker_for(toy, labels, **settings):
    return BatchMaker(toy[1], labels, replace(FAST, **settings))


def test_ious_with_labels_are_those_of_all_labelled_pixels(toy, trained):
    dataset, features = toy
    labels = sparse_labels(dataset, 0.05)  # 150 pixels an image: all are read
    ious = label_ious(maker_for(toy, labels), trained)
    both, either = np.zeros((2, 6))
    for sample_id in labels.ids:
        pixels, classes = labels.images[sample_id].labelled()
        tokens = features.features(sample_id, 0)
        with torch.no_grad():
            said = upsample_logits(trained(tokens.tokens), tokens.geometry).argmax(-1).numpy().reshape(-1)[pixels]
        for k in range(6):
            both[k] += ((said == k) & (classes == k)).sum()
            either[k] += ((said == k) | (classes == k)).sum()
    assert ious == pytest.approx(both / either)


def test_classes_that_are_nowhere_have_no_iou(toy):
    dataset, features = toy
    maps = {i: np.where(dataset.truth(i) == 0, np.uint8(0), np.uint8(255)) for i in dataset.ids}
    head = make_head("linear", torch.as_tensor(features.mean), torch.as_tensor(features.std), num_classes=1)
    assert np.isnan(label_ious(maker_for(toy, label_set(maps)), head)).tolist() == [False] + [True] * 5


def adele_config(**settings):
    """Twelve epochs of two steps."""
    start = {"steps": 24, "batch_size": 4, "pixels": 64, "lr": 2e-2, "rounds": 20, "correct": "adele,confidence=0.5"}
    return FitConfig(**{**start, **settings})


def rising(monkeypatch, *slowness):
    """IoUs of the first classes that saturate after so many epochs."""
    seen = []

    def ious(maker, head):
        seen.append(1)
        return np.array([*(0.6 * (1 - np.exp(-len(seen) / c)) for c in slowness), *[np.nan] * (6 - len(slowness))])

    monkeypatch.setattr("segprobe.watch.label_ious", ious)


@pytest.mark.slow
def test_labels_are_corrected_from_the_trigger_on(toy, monkeypatch):
    dataset, features = toy
    rising(monkeypatch, 1.0, 50.0)
    labels = noisy_labels(dataset, 0.3)
    fitted = fit_head(labels, features, adele_config())
    figures = fitted.figures
    assert list(figures["triggered"]) == ["0"]
    first = figures["triggered"]["0"]
    assert 4 <= first <= 6  # four points are the fewest that a curve is fitted to
    assert [line["epoch"] for line in figures["corrections"]] == list(range(first, 12))
    assert figures["corrections"][0]["changed"] > 0
    plain = fit_head(labels, features, adele_config(rounds=0, correct="confident"))
    assert fitted.losses[: 2 * first] == plain.losses[: 2 * first]
    assert fitted.losses[2 * first :] != plain.losses[2 * first :]


def test_corrections_are_no_more_than_rounds(toy, monkeypatch):
    dataset, features = toy
    rising(monkeypatch, 1.0)
    fitted = fit_head(noisy_labels(dataset, 0.3), features, adele_config(rounds=2))
    assert len(fitted.figures["corrections"]) == 2


def test_nothing_is_corrected_before_a_class_is_triggered(toy, monkeypatch):
    dataset, features = toy
    rising(monkeypatch, 50.0, 60.0)
    labels = noisy_labels(dataset, 0.3)
    fitted = fit_head(labels, features, adele_config())
    assert fitted.figures == {"triggered": {}, "corrections": []}
    assert fitted.losses == fit_head(labels, features, adele_config(rounds=0, correct="confident")).losses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calls", "settings"), [(7, {}), (11, {"ema": 0.9}), (16, {}), (19, {"class_weights": "log"})], ids=str
)
def test_an_interrupted_adele_goes_on_with_the_labels_in_force(toy, tmp_path, monkeypatch, calls, settings):
    dataset, features = toy
    labels = noisy_labels(dataset, 0.3)

    def ious(maker, head):  # a function of the head alone, as the real ones are
        size = float(head.classify.weight.detach().double().abs().sum())
        return np.array([1 - np.exp(-size / 8), *[np.nan] * 5])

    monkeypatch.setattr("segprobe.watch.label_ious", ious)
    config = adele_config(checkpoint_every=5, **settings)
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole = fit_head(labels, features, config, folder=folders[0])
    assert whole.figures["corrections"]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, calls)
        fit_head(labels, features, config, folder=folders[1])
    resumed = fit_head(labels, features, config, folder=folders[1])
    assert resumed.losses == whole.losses[24 - len(resumed.losses) :]
    assert resumed.figures == whole.figures
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name])
    metrics = [(folder / "metrics.jsonl").read_bytes() for folder in folders]
    assert metrics[0] == metrics[1]
    finish_fit(folders[1], {})
    assert sorted(path.name for path in folders[1].iterdir()) == ["fit.json", "metrics.jsonl"]


def test_a_damaged_state_is_refused(toy, tmp_path):
    watch = AdeleWatch(maker_for(toy, truth_labels(toy[0])), AdeleConfig(), most=1, folder=tmp_path)
    (tmp_path / "adele.json").write_text("[{]", encoding="utf-8")
    with pytest.raises(RunFolderError, match="state of the corrections cannot be read"):
        watch.resume(3)


# settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"rounds": 1, "correct": "confidant"}, "unknown correction 'confidant'", "did you mean confident"),
        ({"rounds": 1, "correct": "confident,pixel=all"}, "no setting 'pixel'", "did you mean pixels"),
        ({"rounds": 1, "correct": "confident,confidence=1"}, r"confidence must lie in \[0, 1\)", ""),
        ({"rounds": 1, "correct": "adele,ratio=0"}, "ratio must lie in", ""),
        ({"rounds": -1}, "rounds must be >= 0", ""),
        ({"correct": "adele"}, "changes nothing without rounds", "--rounds 1"),
        ({"rounds": 1, "tune": True}, "corrected from cached features", ""),
        ({"rounds": 1, "correct": "adele", "head": "ridge"}, "head ridge has none", ""),
        ({"rounds": 1, "correct": "confident,start=continue", "init": "ridge"}, "begins anew", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        FitConfig(**settings)
    assert hint in caught.value.hint


def test_defaults():
    assert parse_correction("adele") == AdeleConfig(confidence=0.8, ratio=0.9)
    assert FitConfig(rounds=1).correction == ConfidentConfig()
    assert FitConfig().correction is None
    assert Changes(0.1, 0.2, 0.3, 0.4).added == 0.2


# memorisation ---------------------------------------------------------------------------------------------------------


def test_memorisation_is_counted_pixel_by_pixel():
    rng = np.random.default_rng(0)
    labels, truth, said = rng.integers(0, 3, (3, 500))
    counts = dict.fromkeys(["wrong_corrected", "wrong_memorised", "wrong_other", "clean_correct", "clean_incorrect"], 0)
    for label, true, prediction in zip(labels, truth, said):
        if label == true:
            counts["clean_correct" if prediction == true else "clean_incorrect"] += 1
        elif prediction == true:
            counts["wrong_corrected"] += 1
        else:
            counts["wrong_memorised" if prediction == label else "wrong_other"] += 1
    assert memorisation(labels, truth, said) == counts


def test_memorisation_is_logged_and_changes_nothing_else(toy, tmp_path):
    dataset, features = toy
    labels = noisy_labels(dataset, 0.3)
    config = replace(FAST, steps=7, memorisation=True)
    fitted = fit_head(labels, features, config, images=dataset, folder=tmp_path)
    assert fitted.losses == fit_head(labels, features, replace(config, memorisation=False)).losses
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "memorisation" in line]
    assert [line["step"] for line in logged] == [2, 4, 6, 7]
    last = fitted.figures["memorisation"]
    assert last == logged[-1]["memorisation"]
    wrong = np.mean([(labels.images[i].map() != dataset.truth(i)).mean() for i in labels.ids])
    assert last["wrong_labels"] == pytest.approx(wrong, abs=0.03)
    assert sum(last[f"wrong_{what}"] for what in ("corrected", "memorised", "other")) == pytest.approx(1)
    assert last["wrong_corrected"] > 0.6  # a linear head ignores blocks of noise
    assert last["clean_correct"] > 0.8


def test_memorisation_of_a_head_that_repeats_its_labels(toy, monkeypatch):
    dataset, features = toy
    labels = noisy_labels(dataset, 0.3)

    def repeats(maker, head, labels, ids):
        for sample_id in ids:
            drawn = sample_pixels(labels.images[sample_id], np.random.default_rng(0), count=50)
            yield sample_id, drawn, drawn.classes

    monkeypatch.setattr("segprobe.memorisation.watched_predictions", repeats)
    config = replace(FAST, steps=2, memorisation=True)
    last = fit_head(labels, features, config, images=dataset).figures["memorisation"]
    assert (last["wrong_memorised"], last["clean_correct"]) == (1.0, 1.0)


def test_memorisation_with_right_labels_and_without_truth(toy):
    dataset, features = toy
    config = replace(FAST, steps=2, memorisation=True)
    last = fit_head(truth_labels(dataset), features, config, images=dataset).figures["memorisation"]
    assert last["wrong_labels"] == 0
    assert set(last) == {"wrong_labels", "clean_correct"}
    with pytest.raises(ConfigError, match="judged by the truth of the data, and there is none"):
        fit_head(truth_labels(dataset), features, config)
    with pytest.raises(ConfigError, match="head ridge has none"):
        FitConfig(memorisation=True, head="ridge")


@pytest.mark.slow
def test_each_round_tells_what_its_training_memorised(toy):
    dataset, features = toy
    config = replace(FAST, steps=20, memorisation=True, rounds=1, correct="confident,pixels=all,confidence=0.3,tags=no")
    rounds = fit_head(noisy_labels(dataset, 0.3), features, config, images=dataset).figures["rounds"]
    assert rounds[1]["memorisation"]["wrong_labels"] < 0.6 * rounds[0]["memorisation"]["wrong_labels"]
