import numpy as np
import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.zeroshot.readout import (
    Readout,
    average_prompts,
    class_probabilities,
    keep_classes,
    likeliest,
    winning_planes,
)
from labelgen.nets.zeroshot.similarity import ScoreMaps, grid_term
from labelgen.prompts import UNLABELLED, PromptTable

TABLE = PromptTable(("cat", "kitten", "dog", "sky"), (8, 8, 12, 0))
SYNONYMS = ("max-logit", "compat", "logsumexp")


def maps_of(scores):
    return ScoreMaps((grid_term(scores, size=tuple(scores.shape[1:])),))


def noise(*shape, seed=0):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values) / 10


def labels_of(planes):
    ids = np.array(list(planes))
    return ids[torch.stack(list(planes.values())).argmax(dim=0).numpy()]


@pytest.mark.parametrize("synonyms", SYNONYMS)
def test_probabilities_by_hand(synonyms):
    scores = torch.tensor([0.1, 0.2, 0.3, 0.0]).reshape(4, 1, 1)
    e = np.exp(np.array([1.0, 2.0, 3.0, 0.0]))
    expected = {
        "max-logit": {8: e[1] / (e[1] + e[2] + e[3]), 12: e[2] / (e[1] + e[2] + e[3])},
        "compat": {8: e[1] / e.sum(), 12: e[2] / e.sum()},
        "logsumexp": {8: (e[0] + e[1]) / e.sum(), 12: e[2] / e.sum()},
    }[synonyms]
    readout = Readout(10.0, synonyms=synonyms)
    planes = winning_planes(maps_of(scores), TABLE, readout, always=frozenset({8, 12}))
    assert set(planes) == {8, 12}
    for class_id, value in expected.items():
        assert float(planes[class_id][0, 0]) == pytest.approx(value, abs=1e-6)
    dense = class_probabilities(scores, TABLE, readout)
    assert [float(p) for p in dense[1:, 0, 0]] == pytest.approx([expected[8], expected[12]], abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 100.0, 2000.0])  # the last spreads logits too far for one shift
@pytest.mark.parametrize("synonyms", SYNONYMS)
def test_no_scale_overflows_or_vanishes(synonyms, scale):
    scores = noise(4, 5, 6)
    planes = winning_planes(maps_of(scores), TABLE, Readout(scale, synonyms=synonyms), always=frozenset({0, 8, 12}))
    logits = scale * scores.double()
    cats = logits[:2].logsumexp(dim=0) if synonyms == "logsumexp" else logits[:2].amax(dim=0)
    classes = torch.stack([logits[3], cats, logits[2]])  # by rising id
    expected = (classes - (logits if synonyms == "compat" else classes).logsumexp(dim=0)).exp()
    found = torch.stack(list(planes.values())).double()
    assert torch.allclose(found, expected, atol=1e-4 if scale < 1000 else 1e-3)


@pytest.mark.parametrize("synonyms", SYNONYMS)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_one_class_after_the_other_is_all_at_once(synonyms, activation):
    table = PromptTable(tuple(map(str, range(40))), (*(i // 2 for i in range(38)), UNLABELLED, UNLABELLED))
    scores = noise(40, 6, 7)
    readout = Readout(40.0, -3.0 if activation == "sigmoid" else 0.0, synonyms=synonyms, activation=activation)
    planes = winning_planes(maps_of(scores), table, readout, always=frozenset(range(19)))
    dense = class_probabilities(scores, table, readout)
    assert tuple(planes) in (table.class_ids, table.class_ids[:-1])
    for class_id, plane in planes.items():
        torch.testing.assert_close(plane, dense[table.class_ids.index(class_id)], atol=1e-6, rtol=1e-5)
    best = winning_planes(maps_of(scores), table, readout)
    assert set(labels_of(best).ravel()) == set(best) == set(np.array(table.class_ids)[dense.argmax(0).numpy()].ravel())


def test_another_synonym_changes_labels_never_and_probabilities_only_with_compat():
    scores = noise(4, 8, 8)
    more = PromptTable((*TABLE.prompts, "cat again"), (*TABLE.class_of, 8))
    doubled = torch.cat([scores, scores[:1]])
    for synonyms, changes in (("max-logit", False), ("compat", True)):
        before = winning_planes(maps_of(scores), TABLE, Readout(synonyms=synonyms))
        after = winning_planes(maps_of(doubled), more, Readout(synonyms=synonyms))
        assert (labels_of(before) == labels_of(after)).all()
        same = [torch.equal(before[class_id], after[class_id]) for class_id in before]
        assert all(same) != changes


def test_permuting_classes_permutes_ids_only():
    scores = noise(4, 8, 8)
    swap = {8: 12, 12: 8, 0: 0}
    other = PromptTable(TABLE.prompts, tuple(swap[c] for c in TABLE.class_of))
    one, two = winning_planes(maps_of(scores), TABLE, Readout()), winning_planes(maps_of(scores), other, Readout())
    for class_id, plane in one.items():
        torch.testing.assert_close(two[swap[class_id]], plane, atol=1e-6, rtol=0)


def test_hundreds_of_classes_need_few_planes():
    scores = noise(300, 6, 7)
    table = PromptTable(tuple(map(str, range(300))), tuple(range(300)))
    planes = winning_planes(maps_of(scores), table, Readout())
    assert len(planes) <= 42
    whole = torch.softmax(40 * scores, dim=0)
    for class_id, plane in planes.items():
        torch.testing.assert_close(plane, whole[class_id], atol=1e-6, rtol=1e-4)


def test_given_probabilities_stay_as_they_are():
    scores = torch.tensor([[[0.2]], [[0.7]]])
    planes = winning_planes(maps_of(scores), PromptTable(("0", "3"), (0, 3)), Readout(activation="given"))
    assert list(planes) == [3] and float(planes[3]) == pytest.approx(0.7)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_likeliest_classes_are_those_of_the_greatest_probability_anywhere(activation):
    scores = torch.full((4, 3, 5), -1.0)
    scores[0, 0, 0], scores[2, 1, 1], scores[3, 2, 2] = 0.1, 0.3, 0.2
    table = PromptTable(("a", "b", "c", "d"), (4, 5, 6, 7))
    readout = Readout(scale=5.0, activation=activation)
    assert likeliest(maps_of(scores), table, readout, 3) == [6, 7, 4]
    assert likeliest(maps_of(scores), table, readout, 9) == [6, 7, 4, 5]


def test_no_prompts_no_planes():
    empty = PromptTable((), ())
    assert winning_planes(maps_of(noise(1, 2, 2)), empty, Readout()) == {}
    with pytest.raises(ConfigError, match="scale must be > 0, got 0"):
        Readout(0.0)


def test_mean_vectors_leave_one_prompt_a_class_but_spare_the_background():
    prototypes = torch.eye(4)
    vectors, table = average_prompts(prototypes, TABLE, apart=frozenset({0}))
    assert table.prompts == ("sky", "cat / kitten", "dog") and table.class_of == (0, 8, 12)
    half = 2**-0.5
    torch.testing.assert_close(vectors[1], torch.tensor([half, half, 0, 0]))
    words = PromptTable(("sky", "wall", "cat"), (0, 0, 8))
    assert average_prompts(torch.eye(3), words, apart=frozenset({0}))[1].prompts == ("sky", "wall", "cat")
    assert average_prompts(torch.eye(3), words)[1].prompts == ("sky / wall", "cat")


def test_classes_can_be_left_out():
    index, table = keep_classes(TABLE, lambda class_id: class_id != 12)
    assert index == [0, 1, 3] and table.class_of == (8, 8, 0)
