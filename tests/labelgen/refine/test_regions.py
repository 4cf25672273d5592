import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask, harden, write_mask
from labelgen.refine.regions import RegionsConfig, make_regions, mean_scores, vote_shares

REGIONS = np.array([[1, 1, 7, 7], [1, 0, 7, 9]])
SCORES = np.array(
    [
        [[0.9, 0.4, 0.1, 0.0], [0.0, 0.8, 0.0, 0.0]],
        [[0.1, 0.6, 0.9, 0.0], [0.0, 0.2, 0.3, 0.0]],
    ],
    np.float32,
)


def mean_by_loops(scores, regions):
    result = scores.copy()
    for region in set(regions.reshape(-1).tolist()) - {0}:
        inside = [(r, c) for r, c in np.ndindex(regions.shape) if regions[r, c] == region]
        voting = [scores[:, r, c] for r, c in inside if scores[:, r, c].max() > 0]
        for r, c in inside:
            result[:, r, c] = np.mean(voting, axis=0) if voting else 0
    return result


def test_mean_scores_over_the_pixels_that_vote(rng):
    np.testing.assert_allclose(mean_scores(SCORES, REGIONS), mean_by_loops(SCORES, REGIONS), rtol=1e-6)
    scores = rng.random((3, 9, 11), np.float32) * (rng.random((9, 11)) > 0.4)
    regions = rng.integers(0, 6, (9, 11)) * 1000
    np.testing.assert_allclose(mean_scores(scores, regions), mean_by_loops(scores, regions), rtol=1e-5)


def test_shares_of_the_best_classes():
    shares = vote_shares(SCORES, REGIONS)
    assert shares[:, 0, 0].tolist() == [0.5, 0.5]  # pixel (1, 0) abstains, so one against one
    assert shares[:, 0, 3].tolist() == [0, 1]  # follows the two of region 7 that vote
    assert shares[:, 1, 3].tolist() == [0, 0]  # nobody votes in region 9
    assert shares[:, 1, 1].tolist() == SCORES[:, 1, 1].tolist()  # no region


def test_hard_labels_become_the_most_frequent_one_and_ties_go_to_the_smaller_id():
    labels = harden(SoftMask(vote_shares(SCORES, REGIONS), (3, 5)))
    assert labels.tolist() == [[3, 3, 5, 5], [3, 3, 5, 255]]


def test_refining_twice_changes_nothing_more():
    once = mean_scores(SCORES, REGIONS)
    np.testing.assert_allclose(mean_scores(once, REGIONS), once, rtol=1e-6)


def write_png(path, regions):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(regions.astype(np.uint16)).save(path)


@pytest.fixture
def sample():
    return Sample("a/b", (2, 4))


@pytest.fixture
def mask():
    return SoftMask(SCORES, (3, 5), details={"kept": True})


def test_region_maps_from_png_and_npz_by_id(tmp_path, sample, mask):
    wanted = mean_scores(SCORES, REGIONS)
    write_png(tmp_path / "png/a/b.png", REGIONS * 300)
    (tmp_path / "npz/a").mkdir(parents=True)
    np.savez(tmp_path / "npz/a/b.npz", regions=REGIONS.astype(np.int64) * 10**12)
    for name in ("png", "npz"):
        refined = make_regions(RegionsConfig(str(tmp_path / name)))(sample, mask)
        np.testing.assert_array_equal(refined.scores, wanted)
        (path,) = (tmp_path / name / "a").iterdir()
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        assert refined.details == {"kept": True, "inputs": {path.as_posix(): sha256}}


def test_zero_may_be_a_region(tmp_path, sample, mask):
    write_mask(tmp_path / "a/b.png", np.zeros((2, 4), np.uint8))
    kept = make_regions(RegionsConfig(str(tmp_path)))(sample, mask)
    np.testing.assert_array_equal(kept.scores, SCORES)
    one = make_regions(RegionsConfig(str(tmp_path), zero="region"))(sample, mask)
    assert np.unique(one.scores[0]).size == 1


def test_majority_is_chosen_by_vote(tmp_path, sample, mask):
    write_mask(tmp_path / "a/b.png", REGIONS.astype(np.uint8))
    refined = make_regions(RegionsConfig(str(tmp_path), vote="majority"))(sample, mask)
    np.testing.assert_array_equal(refined.scores, vote_shares(SCORES, REGIONS))


def noisy_halves(rng):
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, 27:] = 200
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("source", ["slic", "felzenszwalb"])
def test_superpixels_move_a_displaced_boundary_back(source, rng):
    labels = np.zeros((40, 60), bool)
    labels[:, 31:] = True  # 4 pixels to the right of the edge of the image
    scores = np.stack([~labels, labels]).astype(np.float32)
    refine = make_regions(RegionsConfig(source, **{"segments": 12} if source == "slic" else {"sigma": 0.2}))
    refined = refine(Sample("a", (40, 60), image=noisy_halves(rng)), SoftMask(scores, (0, 1)))
    truth = np.arange(60) >= 27
    assert (scores.argmax(0) != truth).mean() == pytest.approx(4 / 60)
    assert (refined.scores.argmax(0) != truth).mean() < 0.5 / 60


@pytest.mark.parametrize(
    "change",
    [
        {"segments": 8},
        {"compactness": 0.5},
        {"source": "felzenszwalb", "segments": 200},
        {"source": "felzenszwalb", "scale": 1.0},
        {"source": "felzenszwalb", "sigma": 3.0},
        {"source": "felzenszwalb", "min_size": 300},
    ],
)
def test_every_setting_of_superpixels_moves_them(change, rng):
    image = noisy_halves(rng) // 2 + np.arange(0, 80, 2, np.uint8)[:, None, None]
    sample, mask = Sample("a", (40, 60), image=image), SoftMask(rng.random((1, 40, 60), np.float32), (4,))
    of_slic = "source" not in change or "segments" in change
    base = RegionsConfig("slic", segments=20) if of_slic else RegionsConfig("felzenszwalb")
    before, after = (make_regions(c)(sample, mask).scores for c in (base, dataclasses.replace(base, **change)))
    assert not np.array_equal(before, after)


def test_empty_masks_stay(tmp_path, sample):
    write_mask(tmp_path / "a/b.png", REGIONS.astype(np.uint8))
    nothing = SoftMask(np.zeros((0, 2, 4), np.float32), ())
    refined = make_regions(RegionsConfig(str(tmp_path)))(sample, nothing)
    assert refined.class_ids == () and refined.size == (2, 4)
    assert list(refined.details["inputs"]) == [(tmp_path / "a/b.png").as_posix()]


def test_superpixels_read_no_file(rng):
    sample = Sample("a", (40, 60), image=noisy_halves(rng))
    assert make_regions(RegionsConfig("slic"))(sample, SoftMask(np.ones((1, 40, 60), np.float32), (4,))).details == {}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda p: None, "no region map of 'a/b': looked for"),
        (
            lambda p: write_mask(p / "a/b.png", np.zeros((3, 4), np.uint8)),
            r"\(2, 4\), got \(3, 4\) for a/b in .*b\.png",
        ),
        (lambda p: np.savez(p / "a/b.npz", x=REGIONS, y=REGIONS), "must be one array, got 2"),
        (lambda p: np.savez(p / "a/b.npz", x=SCORES[0]), r"must be \(H, W\) whole numbers, got \(2, 4\) float32"),
        (lambda p: np.savez(p / "a/b.npz", x=np.array([{}])), "cannot be read"),
        (lambda p: (p / "a/b.npz").write_bytes(b"PK\x03\x04"), "cannot be read"),
        (lambda p: (p / "a/b.png").write_bytes(b"GIF?"), r"cannot be read: .*b\.png \(no kind of picture\)"),
        (lambda p: (p / "a/b.npz").mkdir(), r"cannot be read: .*b\.npz \("),
    ],
)
def test_unusable_region_maps_are_errors(tmp_path, sample, mask, write, message):
    (tmp_path / "a").mkdir()
    write(tmp_path)
    with pytest.raises(DataError, match=message):
        make_regions(RegionsConfig(str(tmp_path)))(sample, mask)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": ""}, "source must be felzenszwalb"),
        ({"segments": 0}, "segments and min_size must be >= 1"),
        ({"scale": 0.0}, "compactness and scale must be > 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RegionsConfig(**settings)


def test_a_folder_that_is_not_there_is_refused_at_once():
    with pytest.raises(ConfigError, match="no folder of region maps at nowhere"):
        make_regions(RegionsConfig("nowhere"))
