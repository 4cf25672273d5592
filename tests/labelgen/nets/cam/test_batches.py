"""What a step sees: tags, views, crops with padding, saliency of the same pixels, and the same wherever one begins."""

import dataclasses

import numpy as np
import pytest
import torch

from labelgen.data.inputs import InputFile
from labelgen.errors import DataError, ShapeError
from labelgen.nets.cam.augment import crop_places, jitter_colours, training_view
from labelgen.nets.cam.batches import SaliencyMaps, StepBatches, step_seed
from labelgen.nets.cam.tags import read_targets
from tests.labelgen.nets.cam.small_classifier import small_network
from tests.labelgen.nets.cam.tagged import TRAINING, Bright, Tagged

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def batches_of(data=None, *, saliency=None, **changes):
    data = data or Tagged()
    reading = small_network(backbone="demo-ssvt").reading
    config = dataclasses.replace(TRAINING, **changes)
    return StepBatches(data, read_targets(data), reading, config, saliency=saliency and SaliencyMaps(saliency, data))


def test_the_classes_are_those_of_the_tags_and_images_without_tag_are_negatives():
    data = Tagged(count=4, tags={"t0": frozenset({15, 20}), "t1": frozenset(), "t2": frozenset({3}), "t3": frozenset()})
    targets = read_targets(data)
    assert targets.class_ids == (3, 15, 20) and targets.untagged == 2 and targets.counts() == [1, 1, 1]
    assert targets.rows["t0"].tolist() == [0, 1, 1] and not targets.rows["t1"].any()
    facts = targets.to_json(data)
    assert facts["names"] == ["bird", "person", "tvmonitor"] and facts["untagged"] == 2 and facts["vocabulary"] == "voc"


@pytest.mark.parametrize("tag", [21, 0, 255])
def test_a_tag_outside_the_classes_is_named(tag):
    with pytest.raises(DataError, match=rf"other than its background, got {tag} for t2"):
        read_targets(Tagged(tags={"t2": frozenset({3, tag})}))


def test_data_without_any_tag_are_refused():
    with pytest.raises(DataError, match=r"no image has a tag, in 2 images of tags\.json"):
        read_targets(Tagged(count=2, tags={"t0": frozenset(), "t1": frozenset()}))


def test_a_step_sees_the_same_wherever_one_begins():
    whole = list(batches_of(saliency=Bright()).steps(0))
    late = list(batches_of(saliency=Bright()).steps(2))
    assert len(whole) == 4 and len(late) == 2  # 3 epochs of 6 images in batches of 4
    for one, other in zip(whole[2:], late, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.targets, other.targets)
        assert torch.equal(one.saliency, other.saliency)
    assert list(batches_of().steps(4)) == []
    assert not torch.equal(whole[0].images, next(batches_of(seed=1).steps(0)).images)
    assert len({step_seed(seed, step) for seed in range(3) for step in range(5)}) == 15


def test_targets_belong_to_the_images():
    batches = batches_of(jitter=0.0)
    for step, batch in enumerate(batches.steps(0)):
        for sample_id, row in zip(batches.ids_of(step), batch.targets, strict=True):
            assert row.tolist() == [class_id in batches.dataset.tags_of(sample_id) for class_id in (3, 15)]


def test_small_data_are_decoded_once():
    data = Tagged()
    list(batches_of(data).steps(0))
    assert len(data.read) <= 6 + TRAINING.batch  # an image may be asked for again before it is kept


def test_saliency_is_found_once_and_moves_with_the_image():
    """Red and blue squares are salient, and salient pixels are those that are far from grey, after crop and flip."""
    source = Bright()
    for batch in batches_of(saliency=source, jitter=0.0, long_side=(40, 40)).steps(0):
        colour = batch.images * 0.25 + 0.45
        coloured = (colour.amax(dim=1) - colour.amin(dim=1)) > 0.35
        agree = (coloured == (batch.saliency > 0.5)).float().mean()
        assert agree > 0.93 and 0.02 < float(batch.saliency.mean()) < 0.6
    assert sorted(source.asked) == ["t0", "t1", "t2", "t3", "t4", "t5"]


def test_saliency_files_are_all_read_at_once_and_remembered_by_their_hashes(tmp_path):
    file = InputFile(tmp_path / "t.png", b"one")
    data, source = Tagged(), Bright(file)
    maps = SaliencyMaps(source, data)
    assert set(source.asked) == set(data.ids)
    other = SaliencyMaps(Bright(InputFile(tmp_path / "t.png", b"two")), data)
    assert maps.facts()["files_sha256"] != other.facts()["files_sha256"]
    assert "files_sha256" not in SaliencyMaps(Bright(), data).facts()


def test_saliency_of_another_size_is_an_error():
    with pytest.raises(ShapeError, match=r"saliency must have the size \(32, 24\) of its image, got \(3, 3\) for t0"):
        SaliencyMaps(Bright(size=(3, 3)), Tagged())


def test_what_an_image_does_not_fill_is_zero():
    image = np.full((10, 20, 3), 255, np.uint8)
    config = dataclasses.replace(TRAINING, crop=32, long_side=(20, 20), jitter=0.0)
    view, saliency = training_view(
        image, np.ones((10, 20), np.float32), config, np.random.default_rng(0), mean=MEAN, std=STD
    )
    filled = view.any(axis=2)
    assert filled.sum() == 200 and np.array_equal(filled, saliency == 1)
    assert np.allclose(view[filled], (1 - np.array(MEAN)) / np.array(STD))


def test_a_large_image_is_cut_anywhere():
    rng = np.random.default_rng(0)
    starts = {crop_places((40, 24), 32, rng)[0].start for _ in range(60)}
    places = {crop_places((40, 24), 32, rng)[2][1].start for _ in range(60)}
    assert min(starts) == 0 and max(starts) == 8 and min(places) == 0 and max(places) == 8


def test_mirrored_views_are_mirror_images():
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    config = dataclasses.replace(TRAINING, crop=24, long_side=(24, 24), jitter=0.0)
    views = [training_view(image, None, config, np.random.default_rng(s), mean=MEAN, std=STD)[0] for s in range(12)]
    kinds = {tuple(view[0, 0]) for view in views}
    assert len(kinds) == 2
    straight = next(view for view in views if tuple(view[0, 0]) != tuple(views[0][0, 0]))
    assert np.array_equal(straight, views[0][:, ::-1])
    never = dataclasses.replace(config, flip=False)
    again = [training_view(image, None, never, np.random.default_rng(s), mean=MEAN, std=STD)[0] for s in range(12)]
    assert len({tuple(view[0, 0]) for view in again}) == 1


def test_jitter_changes_colours_within_its_range():
    image = np.full((4, 4, 3), 100, np.uint8)
    means = [jitter_colours(image, np.random.default_rng(seed)).mean() for seed in range(40)]
    assert 68 <= min(means) < 90 and 110 < max(means) <= 132
    assert np.array_equal(jitter_colours(image, np.random.default_rng(0), strength=0.0), image)
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = {int(jitter_colours(red, np.random.default_rng(seed))[0, 0].argmax()) for seed in range(40)}
    assert turned == {0}  # a tenth of the circle does not make red green
