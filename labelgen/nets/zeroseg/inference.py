"""From segments to labels: which group a pixel belongs to, and which class a group is.

Pixels take the group that they are assigned to most; a group takes the class that its vector is nearest to. What is
not sure enough is background.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from labelgen.masks import SoftMask
from labelgen.nets.geometry import fitted_size, resize_image
from labelgen.nets.zeroseg.batches import normalise_crops
from labelgen.nets.zeroseg.student import Student
from labelgen.nets.zeroshot.windows import window_boxes

__all__ = ["ClassRule", "group_map", "group_scores", "label_image", "with_background"]


@dataclass(frozen=True)
class ClassRule:
    """How segment vectors become classes.

    Parameters
    ----------
    prototypes
        `(P, D)` unit vectors of the prompts.
    class_of
        Class id of each prompt, the background's perhaps among them; a class is as near as its nearest prompt.
    scale
        Factor on cosines before a softmax.
    top_k
        Only so many classes may appear in a window, those nearest to its global vector; 0 for all.
    threshold
        A group whose best score is lower is background; never more than the best score of the window, so that
        something is always found. 0 for none.
    background
        Id of the background class; None where every pixel is of some class, and no threshold applies.
    """

    prototypes: Float32[Tensor, "P D"]
    class_of: tuple[int, ...]
    scale: float
    top_k: int
    threshold: float
    background: int | None

    @property
    def class_ids(self) -> tuple[int, ...]:
        """The classes that prompts speak of, rising."""
        return tuple(sorted(set(self.class_of)))

    @property
    def all_ids(self) -> tuple[int, ...]:
        """The same with the background."""
        return tuple(sorted({*self.class_of, *(() if self.background is None else (self.background,))}))


@torch.inference_mode()
def label_image(
    student: Student,
    image: UInt8[np.ndarray, "H W 3"],
    rule: ClassRule,
    *,
    short_side: int,
    crop: int = 0,
    stride: int = 0,
) -> SoftMask:
    """Label one image.

    Parameters
    ----------
    short_side
        Side in pixels to which the image is resized; 0 leaves it.
    crop, stride
        Size and distance of square windows on the resized image, whose scores are averaged; 0 for the whole image
        at once.

    Returns
    -------
    SoftMask
        For each class that some group could be, the score of that group at its pixels; the background has 1 where no
        score reached the threshold, and elsewhere that of its own prompts, 0 without any.
    """
    size = image.shape[0], image.shape[1]
    policy = "keep" if short_side else "native"
    picture = resize_image(image, fitted_size(size, policy=policy, side=short_side, max_side=0))
    height, width = picture.shape[:2]
    boxes = window_boxes((height, width), crop=crop, stride=stride) if crop else [(0, 0, height, width)]
    found = [(box, *_label_window(student, picture[box[0] : box[2], box[1] : box[3]], rule)) for box in boxes]
    kept = torch.stack([scores.amax(dim=0) for _, _, scores in found]).amax(dim=0) > 0
    planes, covered = torch.zeros(int(kept.sum()), height, width), torch.zeros(height, width)
    for (top, left, bottom, right), groups, scores in found:
        planes[:, top:bottom, left:right] += scores.T[kept][:, groups]
        covered[top:bottom, left:right] += 1
    planes /= covered
    if (height, width) != size:
        planes = F.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]
    class_ids = tuple(class_id for class_id, keep in zip(rule.all_ids, kept.tolist(), strict=True) if keep)
    return SoftMask(planes.clamp(min=0).numpy(), class_ids)


def _label_window(
    student: Student, picture: UInt8[np.ndarray, "h w 3"], rule: ClassRule
) -> tuple[Int64[Tensor, "h w"], Float32[Tensor, "G C"]]:
    """The group of each pixel, and the scores of the groups for `rule.all_ids`."""
    patch, (height, width) = student.config.patch, picture.shape[:2]
    rows, cols = -(-height // patch), -(-width // patch)
    # what is missing to whole patches repeats the last row and column: colours that belong there
    filled = np.pad(picture, ((0, rows * patch - height), (0, cols * patch - width), (0, 0)), mode="edge")
    device = next(student.parameters()).device
    segments = student.segment(normalise_crops(filled[None], student.config).to(device))
    assignment = segments.of_patches()[0].unflatten(-1, (rows, cols)).float().cpu()
    groups = group_map(assignment, patch=patch)[:height, :width]
    vectors, overall = segments.vectors[0].float().cpu(), segments.image[0].float().cpu()
    return groups, with_background(group_scores(vectors, overall, rule), rule)


def group_map(assignment: Float[Tensor, "G rows cols"], *, patch: int) -> Int64[Tensor, "height width"]:
    """The group to which each pixel is assigned most, from bilinearly up-sampled soft assignments.

    Examples
    --------
    >>> group_map(torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]]), patch=2)
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1]])
    """
    size = assignment.shape[1] * patch, assignment.shape[2] * patch
    return F.interpolate(assignment[None], size=size, mode="bilinear", align_corners=False)[0].argmax(dim=0)


def group_scores(
    vectors: Float[Tensor, "G D"], overall: Float[Tensor, " D"], rule: ClassRule
) -> Float32[Tensor, "G C"]:
    """Score of each class of the rule for each group.

    The softmax over all classes times the softmax over those classes alone that the whole window is nearest to.

    References
    ----------
    .. [1] Xu et al., "GroupViT", CVPR 2022, arXiv 2202.11094: the rule of its public evaluation.
    """
    logits = rule.scale * class_similarity(F.normalize(vectors, dim=-1) @ rule.prototypes.T, rule.class_of)
    scores = logits.softmax(dim=-1)
    if not rule.top_k:
        return scores
    whole = class_similarity(F.normalize(overall[None], dim=-1) @ rule.prototypes.T, rule.class_of)[0]
    nearest = whole.topk(min(rule.top_k, len(whole))).indices
    allowed = torch.zeros_like(whole, dtype=torch.bool)
    allowed[nearest] = True
    return scores * logits.masked_fill(~allowed, -torch.inf).softmax(dim=-1)


def class_similarity(similarity: Float[Tensor, "N P"], class_of: Sequence[int]) -> Float[Tensor, "N C"]:
    """Similarity to the nearest prompt of each class, classes by rising id.

    Examples
    --------
    >>> class_similarity(torch.tensor([[0.1, 0.3, 0.2]]), (7, 2, 7)).tolist()
    [[0.30000001192092896, 0.20000000298023224]]
    """
    owner = torch.tensor(class_of)
    return torch.stack([similarity[:, owner == class_id].amax(dim=1) for class_id in sorted(set(class_of))], dim=1)


def with_background(scores: Float32[Tensor, "G C"], rule: ClassRule) -> Float32[Tensor, "G all"]:
    """Scores for `rule.all_ids`: groups that reach no threshold have 1 for the background and 0 for the rest.

    Examples
    --------
    >>> rule = ClassRule(torch.eye(2), (1, 2), scale=1.0, top_k=0, threshold=0.5, background=0)
    >>> with_background(torch.tensor([[0.7, 0.3], [0.4, 0.2]]), rule)
    tensor([[0.0000, 0.7000, 0.3000],
            [1.0000, 0.0000, 0.0000]])
    """
    if rule.background is None:
        return scores
    best = scores.amax(dim=1)
    nothing = best < min(rule.threshold, float(best.max()))
    whole = scores.new_zeros(len(scores), len(rule.all_ids))
    whole[:, [rule.all_ids.index(class_id) for class_id in rule.class_ids]] = scores
    whole[nothing] = 0
    whole[nothing, rule.all_ids.index(rule.background)] = 1
    return whole
