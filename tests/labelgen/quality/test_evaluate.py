"""Evaluation of whole runs: streaming, missing and extra labels, damage, vocabularies, the JSON document."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from labelgen.data.dataset import DataSpec
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, VocabularyError
from labelgen.quality.confusion import confusion_matrix, scores_from_confusion
from labelgen.quality.document import quality_document
from labelgen.quality.evaluate import QualityOptions, evaluate
from labelgen.quality.gates import GATES, Gate, failed_gates, parse_gates
from labelgen.quality.match import id_lookup, translate
from labelgen.quality.sparse import foreground_scores, image_rows
from labelgen.vocab import Vocabulary, load_vocabulary

ABC = Vocabulary("abc", ("background", "cat", "dog"), background=0)


@dataclass
class Maps:
    """Label maps or truth in memory."""

    maps: dict[str, np.ndarray]
    vocabulary: Vocabulary = ABC
    name: str = "maps"
    path: Path = Path("maps")
    spec: DataSpec = field(default_factory=lambda: DataSpec(kind="memory"))
    tags_source: str = "truth"

    @property
    def ids(self):
        return tuple(sorted(self.maps))

    def labels(self, sample_id):
        return self.maps[sample_id]

    truth = labels

    def load(self, sample_id, fields):
        return Sample(sample_id, self.maps[sample_id].shape, truth=self.maps[sample_id])

    def image(self, sample_id):
        raise AssertionError("the image is never needed")


def ids(*rows):
    return np.array(rows, np.uint8)


def random_data(count=7, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    truth, labels = {}, {}
    for index in range(count):
        size = (12 + index, 15)
        truth[f"image/{index}"] = np.where(rng.random(size) < 0.1, 255, rng.integers(0, num_classes, size)).astype(
            np.uint8
        )
        labels[f"image/{index}"] = np.where(rng.random(size) < 0.3, 255, rng.integers(0, num_classes, size)).astype(
            np.uint8
        )
    return Maps(labels), Maps(truth)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_streaming_equals_one_big_image(workers):
    labels, truth = random_data(40)
    result = evaluate(labels, truth, workers=workers)
    flat = [np.concatenate([maps.maps[i].ravel() for i in maps.ids]) for maps in (truth, labels)]
    np.testing.assert_array_equal(result.matrix, confusion_matrix(*flat, num_classes=3))
    assert [row.id for row in result.images] == list(truth.ids)


def test_workers_change_nothing_not_even_boundaries():
    labels, truth = random_data(20)
    options = QualityOptions(boundary=True, bands=(1, 3))
    one, three = (json.dumps(quality_document(evaluate(labels, truth, options, workers=n))) for n in (1, 3))
    assert one == three


def test_truth_without_label_file_counts_as_unlabelled():
    truth = Maps({"a": ids([0, 1]), "b": ids([1, 255])})
    result = evaluate(Maps({"a": ids([0, 1])}), truth)
    assert result.missing == ("b",)
    assert result.matrix.tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    document = quality_document(result)
    assert (document["miou"], document["miou_labelled"], document["coverage"]) == (0.75, 1.0, pytest.approx(2 / 3))
    assert document["sparse"]["missing_images"] == 1


def test_the_strict_rule_names_images_with_holes():
    truth = Maps({"a": ids([0, 255]), "b": ids([1, 2]), "c": ids([1, 1])})
    strict = QualityOptions(unlabelled="error")
    with pytest.raises(DataError, match="got 1 without a label in b") as caught:
        evaluate(Maps({"a": ids([0, 255]), "b": ids([1, 255]), "c": ids([1, 1])}), truth, strict)
    assert "--unlabelled miss" in caught.value.hint
    with pytest.raises(DataError, match="got 2 without a label in c, which has no label file"):
        evaluate(Maps({"a": ids([0, 255]), "b": ids([1, 2])}), truth, strict)
    document = quality_document(evaluate(truth, truth, strict))
    assert document["headline"] == {"name": "miou", "value": 1.0, "num_classes": 3}


def test_labels_without_truth_are_listed_and_left_out():
    result = evaluate(Maps({"a": ids([0, 1]), "z": ids([2, 2])}), Maps({"a": ids([0, 1])}))
    assert result.extra == ("z",)
    assert result.matrix.sum() == 2


def test_refuses_labels_of_other_images():
    with pytest.raises(DataError, match="no label of maps belongs to an image of the truth: labels such as 'x', truth"):
        evaluate(Maps({"x": ids([0])}), Maps({"a": ids([0])}))


def test_names_the_images_that_cannot_be_scored():
    truth = Maps({name: ids([0, 1]) for name in "abcdef"})
    labels = Maps(
        {"a": ids([0, 1]), "b": ids([0, 9]), "c": ids([0]), "d": ids([3, 0]), "e": ids([4, 0]), "f": ids([0, 1])}
    )
    with pytest.raises(DataError, match=r"4 of 6 images .* got 9 in b; .* got \(1, 1\) in c; .* in d; and 1 more"):
        evaluate(labels, truth)
    del labels.maps["b"], labels.maps["d"], labels.maps["e"]
    with pytest.raises(DataError, match=r"^labels must have the size \(1, 2\) of the truth, got \(1, 1\) in c$"):
        evaluate(labels, truth)


def test_damage_of_a_file_says_which_image():
    class Broken(Maps):
        def labels(self, sample_id):
            raise DataError("mask cannot be read")

    with pytest.raises(DataError, match=r"mask cannot be read \(image 2007_1\)"):
        evaluate(Broken({"2007_1": ids([0])}), Maps({"2007_1": ids([0])}))


def test_a_bug_is_not_swallowed():
    class Buggy(Maps):
        def labels(self, sample_id):
            raise ZeroDivisionError

    labels, truth = random_data(30)
    with pytest.raises(ZeroDivisionError):
        evaluate(Buggy(labels.maps), truth, workers=2)


def test_an_image_of_void_alone_changes_nothing():
    labels, truth = random_data(3)
    before = quality_document(evaluate(labels, truth))
    truth.maps["void"], labels.maps["void"] = np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8)
    after = quality_document(evaluate(labels, truth, QualityOptions()))
    for figure in ("miou", "miou_labelled", "coverage", "pixel_accuracy", "per_class"):
        assert after[figure] == before[figure]
    assert after["num_images"] == 4


def test_progress_is_told_every_image():
    labels, truth = random_data(5)
    seen = []
    evaluate(labels, truth, workers=2, progress=lambda done, total, note: seen.append((done, total)))
    assert seen == [(n, 5) for n in range(1, 6)]


def test_perfect_labels_are_one_everywhere():
    _, truth = random_data(4)
    document = quality_document(evaluate(truth, truth, QualityOptions(boundary=True, bands=(1, 2))))
    assert document["miou"] == document["boundary"]["miou"] == document["trimap"][0]["miou"] == 1.0
    assert document["foreground"] == {"miou": 1.0, "background_iou": 1.0, "foreground_iou": 1.0}


def test_document_names_keep_their_meaning_under_every_rule():
    labels, truth = random_data(6)
    documents = {
        rule: quality_document(evaluate(labels, truth, QualityOptions(unlabelled=rule)))
        for rule in ("miss", "exclude", "background")
    }
    for figure in ("miou", "miou_labelled", "miou_background", "coverage", "num_classes", "num_images"):
        assert len({documents[rule][figure] for rule in documents}) == 1
    for rule, name in (("miss", "miou"), ("exclude", "miou_labelled"), ("background", "miou_background")):
        document = documents[rule]
        assert document["headline"] == {"name": name, "value": document[name], "num_classes": 3}
        assert np.mean([row["iou"] for row in document["per_class"]]) == pytest.approx(document[name])
        assert document["conventions"]["unlabelled"] == rule


def test_document_is_json_with_null_for_no_number():
    result = evaluate(Maps({"a": ids([0, 1])}), Maps({"a": ids([0, 1])}))
    document = json.loads(json.dumps(quality_document(result, supervision=["tags"]), allow_nan=False))
    dog = document["per_class"][2]
    assert dog["iou"] is dog["precision"] is dog["recall"] is dog["coverage"] is None
    assert (dog["id"], dog["name"], dog["truth_pixels"], dog["label_pixels"]) == (2, "dog", 0, 0)
    assert document["supervision"] == ["tags"] and document["num_classes"] == 2
    assert {"pooling", "unlabelled", "absent", "ignore"} <= set(document["conventions"])


def test_boundary_follows_the_rule_for_unlabelled_pixels():
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    labels = np.where(truth == 0, 255, truth).astype(np.uint8)  # only the object is labelled
    figures = {
        rule: quality_document(
            evaluate(Maps({"a": labels}), Maps({"a": truth}), QualityOptions(unlabelled=rule, boundary=True))
        )["boundary"]["miou"]
        for rule in ("miss", "exclude", "background")
    }
    assert figures == {"miss": 0.5, "exclude": 1.0, "background": 1.0}


def test_refuses_background_rule_without_background():
    plain = Vocabulary("plain", ("cat", "dog"))
    maps = Maps({"a": ids([0, 1])}, plain)
    with pytest.raises(ConfigError, match="'plain' has no background class"):
        evaluate(maps, maps, QualityOptions(unlabelled="background"))
    document = quality_document(evaluate(maps, maps))
    assert document["foreground"] is document["miou_background"] is None


@pytest.mark.parametrize("rule", ["miss", "exclude", "background"])
def test_image_rows_agree_with_the_scores_of_each_image(rule):
    labels, truth = random_data(70, num_classes=3)
    truth.maps["image/5"][:] = 255  # no figure at all
    truth.maps["image/6"][:] = labels.maps["image/6"][:] = 1  # one class alone
    result = evaluate(labels, truth, QualityOptions(unlabelled=rule))
    assert len(result.images) == 70
    for row in result.images:
        matrix = confusion_matrix(truth.maps[row.id], labels.maps[row.id], num_classes=3)
        chosen = scores_from_confusion(matrix, unlabelled=rule, background=0)
        labelled = scores_from_confusion(matrix, unlabelled="exclude")
        figures = (row.miou, row.miou_labelled, row.coverage, row.pixel_accuracy)
        expected = (chosen.miou, labelled.miou, chosen.overall_coverage, chosen.pixel_accuracy)
        np.testing.assert_allclose(figures, expected)
        assert (row.num_classes, row.present) == (chosen.num_classes, (chosen.truth_pixels > 0).sum())


def test_missed_class_is_one_without_any_labelled_pixel():
    matrix = confusion_matrix(ids([1, 1], [2, 2]), ids([255, 2], [255, 255]), num_classes=3)
    (row,) = image_rows(["a"], matrix[None], unlabelled="miss", background=0, missing=[False])
    assert row.missed == (2,)  # class 1 is labelled, if wrongly


def test_foreground_merges_all_but_background(rng):
    truth, labels = (rng.integers(0, 4, (9, 9)).astype(np.uint8) for _ in range(2))
    labels[0] = 255
    matrix = confusion_matrix(truth, labels, num_classes=4)
    merged = confusion_matrix(
        (truth != 2).astype(np.uint8), np.where(labels == 255, 255, labels != 2).astype(np.uint8), num_classes=2
    )
    expected = scores_from_confusion(merged)
    np.testing.assert_array_equal(foreground_scores(matrix, background=2, unlabelled="miss").iou, expected.iou)


def test_classes_in_another_order_are_matched_by_name():
    shuffled = Vocabulary("shuffled", ("dog", "background", "cat"), background=1)
    labels, truth = random_data(5)
    renamed = Maps({i: np.array([1, 2, 0, *range(3, 256)], np.uint8)[m] for i, m in labels.maps.items()}, shuffled)
    np.testing.assert_array_equal(evaluate(renamed, truth).counts, evaluate(labels, truth).counts)


def test_class_swaps_happen_at_once():
    lookup = id_lookup(Vocabulary("a", ("x", "y")), Vocabulary("b", ("y", "x")))
    assert translate(ids([0, 1, 255]), lookup).tolist() == [[1, 0, 255]]


def test_foreign_ids_survive_translation_and_are_refused():
    shuffled = Vocabulary("shuffled", ("dog", "background", "cat"), background=1)
    with pytest.raises(DataError, match="got 9 in a"):
        evaluate(Maps({"a": ids([0, 9])}, shuffled), Maps({"a": ids([0, 1])}))


def test_aliases_match_names():
    labels = Vocabulary("a", ("sky", "plane"))
    truth = Vocabulary("b", ("aeroplane", "sky"), aliases={"plane": "aeroplane"})
    assert id_lookup(labels, truth)[:2].tolist() == [1, 0]
    assert id_lookup(truth, labels)[:2].tolist() == [1, 0]
    assert id_lookup(truth, truth) is None


@pytest.mark.parametrize(("name", "advises"), [("classes", False), ("camvid", True)])
def test_only_vocabularies_that_exist_are_advised(name, advises):
    with pytest.raises(VocabularyError, match="only in the labels: rust") as caught:
        id_lookup(Vocabulary(name, ("rust",)), Vocabulary("voc", ("cat",)))
    assert (f"--vocab {name}" in caught.value.hint) is advises and "--vocab voc" in caught.value.hint


def test_refuses_vocabularies_of_other_classes():
    voc, voc20 = load_vocabulary("voc"), load_vocabulary("voc20")
    with pytest.raises(
        VocabularyError, match=r"'voc20' with 20 and 'voc' with 21 \(only in the truth: background"
    ) as caught:
        id_lookup(voc20, voc)
    assert "--vocab voc20" in caught.value.hint
    with pytest.raises(VocabularyError, match="only in the labels: dog; only in the truth: horse"):
        id_lookup(Vocabulary("a", ("cat", "dog")), Vocabulary("b", ("cat", "horse")))


def test_refuses_bad_options():
    with pytest.raises(ConfigError, match="increasing widths"):
        QualityOptions(bands=(5, 1))


def test_gates_read_and_judge():
    labels, truth = random_data(5)
    options = QualityOptions(boundary=True, boundary_f1=2.0, panoptic=True)
    document = quality_document(evaluate(labels, truth, options))
    values = {name: figure(document) for name, figure in GATES.items()}
    assert all(isinstance(value, float) for value in values.values()), values
    passed = [Gate(name, value) for name, value in values.items()]
    assert failed_gates(passed, document) == []
    assert len(failed_gates([Gate(gate.name, gate.threshold + 1e-9) for gate in passed], document)) == len(GATES)
    document["miou"] = None
    assert failed_gates(parse_gates(["miou=0"]), document) == ["maps: miou has no value, so it does not reach 0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [("miou", "NAME=VALUE"), ("mIoU=0.5", "does not know 'mIoU'"), ("miou=60", "fraction"), ("miou=x", "fraction")],
)
def test_refuses_malformed_gates(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_gates([text])
    assert caught.value.hint


@pytest.mark.slow
def test_a_thousand_images_of_voc_size_take_well_under_a_minute(rng):
    truth = np.repeat(np.repeat(rng.integers(0, 21, (38, 50)), 10, axis=0), 10, axis=1)[:375].astype(np.uint8)
    labels = np.roll(truth, 7, axis=1)
    import time

    start = time.perf_counter()
    for _ in range(1000):
        confusion_matrix(truth, labels, num_classes=21)
    assert time.perf_counter() - start < 30
