"""From known groups to known labels."""

import numpy as np
import pytest
import torch

from labelgen.masks import harden
from labelgen.nets.zeroseg.config import StudentConfig
from labelgen.nets.zeroseg.inference import ClassRule, class_similarity, group_map, group_scores, label_image
from labelgen.nets.zeroseg.student import Segments, Student

PATCH = 8
AXES = torch.eye(4)  # the group of colour k has the vector e_k


class ColourStudent(Student):
    """Groups patches by the channel that is brightest at their centre: red, green, blue, or dark."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.config = StudentConfig(patch=PATCH, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.sizes = []

    def segment(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        assert images.shape[2] % PATCH == 0 and images.shape[3] % PATCH == 0
        centres = images[0, :, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
        group = torch.where(centres.amax(0) > 0.3, centres.argmax(0), 3).flatten()
        first = torch.nn.functional.one_hot(group, 4).T.float()[None]
        second = torch.eye(4)[None]
        return Segments(AXES[None], AXES[group].mean(0)[None], (first, second), (first, second))


def rule(prototypes=AXES[:3], class_of=(3, 8, 15), **options):
    return ClassRule(
        **{"prototypes": prototypes, "class_of": class_of, "scale": 20.0, "top_k": 0, "threshold": 0.9, "background": 0}
        | options
    )


def picture(height, width):
    """Red above, green below on the left, blue below on the right, a dark stripe at the bottom."""
    image = np.zeros((height, width, 3), np.uint8)
    labels = np.zeros((height, width), np.uint8)
    half, middle, end = height // 2, width // 2, height * 7 // 8
    for rows, cols, channel, class_id in (
        (slice(0, half), slice(None), 0, 3),
        (slice(half, end), slice(0, middle), 1, 8),
        (slice(half, end), slice(middle, None), 2, 15),
    ):
        image[rows, cols, channel] = 220
        labels[rows, cols] = class_id
    return image, labels


@pytest.mark.parametrize("size", [(64, 80), (61, 83), (120, 57), (97, 161)])
@pytest.mark.parametrize("windows", [(0, 0), (48, 24)])
def test_known_groups_give_known_labels_up_to_a_patch_at_the_borders(size, windows):
    image, wanted = picture(*size)
    mask = label_image(ColourStudent(), image, rule(), short_side=0, crop=windows[0], stride=windows[1])
    labels = harden(mask)
    assert labels.shape == size and set(np.unique(labels)) == {0, 3, 8, 15}
    # one patch about each border of the truth may be wrong, and two where windows cut patches elsewhere
    reach = PATCH if not windows[0] else 2 * PATCH
    wrong = np.argwhere(labels != wanted)
    borders = np.argwhere(
        (np.diff(wanted, axis=0, append=wanted[-1:]) != 0) | (np.diff(wanted, axis=1, append=wanted[:, -1:]) != 0)
    )
    for row, col in wrong:
        assert np.abs(borders - (row, col)).max(axis=1).min() <= reach
    assert len(wrong) < 0.2 * wanted.size


def test_the_image_is_resized_and_the_labels_are_not():
    image, wanted = picture(60, 90)
    student = ColourStudent()
    labels = harden(label_image(student, image, rule(), short_side=120))
    assert student.sizes == [(120, 184)] and labels.shape == (60, 90)  # 120 x 180, filled up to whole patches
    assert (labels == wanted).mean() > 0.93


def test_windows_are_cut_as_asked():
    student = ColourStudent()
    label_image(student, picture(64, 96)[0], rule(), short_side=0, crop=64, stride=32)
    assert student.sizes == [(64, 64), (64, 64)]


def test_a_mirror_image_has_mirrored_labels():
    image, _ = picture(64, 96)
    one = harden(label_image(ColourStudent(), image, rule(), short_side=0))
    other = harden(label_image(ColourStudent(), image[:, ::-1].copy(), rule(), short_side=0))
    assert (one == other[:, ::-1]).mean() > 0.99  # ties between two groups go to the first


def test_the_order_of_prompts_does_not_matter_and_a_second_prompt_changes_nothing():
    image, _ = picture(64, 80)
    plain = label_image(ColourStudent(), image, rule(), short_side=0)
    order = [2, 0, 1]
    moved = rule(AXES[order], (15, 3, 8))
    doubled = rule(torch.cat([AXES[:3], AXES[1:2]]), (3, 8, 15, 8))
    for other in (moved, doubled):
        mask = label_image(ColourStudent(), image, other, short_side=0)
        assert mask.class_ids == plain.class_ids and np.allclose(mask.scores, plain.scores)


def test_background_grows_with_the_threshold_but_something_is_always_found():
    image, _ = picture(64, 80)
    blurred = AXES + 0.3 * torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]])
    prototypes = torch.nn.functional.normalize(blurred[:3], dim=1)
    shares = []
    for threshold in (0.0, 0.5, 0.9, 0.99, 0.999, 1.0):
        labels = harden(
            label_image(ColourStudent(), image, rule(prototypes, threshold=threshold, scale=8.0), short_side=0)
        )
        shares.append(float((labels == 0).mean()))
    assert shares == sorted(shares) and shares[0] == 0
    assert len(set(shares)) > 2 and shares[-1] < 1


def test_without_a_background_class_every_pixel_has_a_class():
    image, _ = picture(64, 80)
    mask = label_image(ColourStudent(), image, rule(threshold=1.0, background=None), short_side=0)
    assert 0 not in mask.class_ids and (harden(mask) != 255).all()


def test_only_the_classes_nearest_to_the_whole_image_remain():
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 220
    image[56:, 56:, :] = (0, 0, 220)  # one patch of 64: the image as a whole is red
    everything = label_image(ColourStudent(), image, rule(top_k=0), short_side=0)
    one = label_image(ColourStudent(), image, rule(top_k=1), short_side=0)
    assert {3, 15} <= set(everything.class_ids)
    assert set(np.unique(harden(one))) == {0, 3}


def test_group_scores_by_hand():
    vectors, overall = torch.tensor([[2.0, 0.0], [0.0, 0.5]]), torch.tensor([1.0, 0.1])
    found = group_scores(vectors, overall, rule(torch.eye(2), (4, 9), scale=1.0, top_k=1))
    e = float(np.e)
    # plain softmax [e, 1] / (e + 1) and [1, e] / (e + 1); only class 4 is near the image, so the second softmax is 1, 0
    assert torch.allclose(found, torch.tensor([[e / (e + 1), 0.0], [1 / (e + 1), 0.0]]), atol=1e-6)
    both = group_scores(vectors, overall, rule(torch.eye(2), (4, 9), scale=1.0, top_k=5))
    p = torch.tensor([[e, 1.0], [1.0, e]]) / (e + 1)
    assert torch.allclose(both, p * p, atol=1e-6)


def test_a_class_is_as_near_as_its_nearest_prompt():
    similarity = torch.tensor([[0.1, 0.4, 0.3], [0.5, 0.2, 0.6]])
    assert torch.equal(class_similarity(similarity, (7, 2, 7)), torch.tensor([[0.4, 0.3], [0.2, 0.6]]))


def test_group_borders_lie_midway_between_patches():
    assignment = torch.zeros(2, 2, 4)
    assignment[0, :, :2], assignment[1, :, 2:] = 1.0, 1.0
    groups = group_map(assignment, patch=4)
    assert groups.shape == (8, 16)
    assert (groups[:, :8] == 0).all() and (groups[:, 8:] == 1).all()
