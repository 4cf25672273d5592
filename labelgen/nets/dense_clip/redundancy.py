"""Feature surgery: what of a similarity is common to all classes, taken away.

References
----------
.. [1] Y. Li et al., "A Closer Look at the Explainability of Contrastive Language-Image Pre-training", 2023,
       arXiv 2304.05653, section 3.3.
"""

import torch
from jaxtyping import Float32
from torch.nn import functional as F

from labelgen.errors import ShapeError

__all__ = ["feature_surgery", "feature_surgery_alone"]

SHARPNESS = 2.0  # factor on the cosines in the softmax of the class weights; the value of the public code


def feature_surgery(
    patches: Float32[torch.Tensor, "... D"], image: Float32[torch.Tensor, "D"], text: Float32[torch.Tensor, "K D"]
) -> Float32[torch.Tensor, "... K"]:
    """Similarities of patches and classes without what all classes share.

    With `w = softmax_k(2 <image, t_k>)`, divided by its mean, and `f_ik = (z_i * t_k) w_k` element by element, the
    similarity is the sum over channels of `f_ik - mean_k f_ik`. Sum and mean commute, so that it is computed as
    `w_k <z_i, t_k>` less its mean over classes, without an array of patches by classes by channels.

    Parameters
    ----------
    patches
        Patch embeddings of one image; normalised here.
    image
        Embedding of the whole image; normalised here.
    text
        Unit vectors of the classes, at least two.

    Returns
    -------
    torch.Tensor
        May be negative; sums to 0 over the classes.

    Raises
    ------
    ShapeError
        For a single class, where nothing is left; see `feature_surgery_alone`.

    Examples
    --------
    >>> text = torch.eye(2)
    >>> feature_surgery(torch.tensor([[1.0, 0.0], [3.0, 3.0]]), torch.tensor([1.0, 1.0]), text)
    tensor([[ 0.5000, -0.5000],
            [ 0.0000,  0.0000]])
    """
    if len(text) < 2:
        raise ShapeError(
            f"feature surgery needs at least 2 classes, got {len(text)}",
            hint="use feature_surgery_alone with the embedding of the empty string",
        )
    weights = (SHARPNESS * (text @ F.normalize(image, dim=0))).softmax(dim=0)
    similarities = (F.normalize(patches, dim=-1) @ text.T) * (weights / weights.mean())
    return similarities - similarities.mean(dim=-1, keepdim=True)


def feature_surgery_alone(
    patches: Float32[torch.Tensor, "... D"], text: Float32[torch.Tensor, "D"], empty: Float32[torch.Tensor, "D"]
) -> Float32[torch.Tensor, "..."]:
    """The rule for a single class: the embedding of the empty string stands for what all classes share.

    Parameters
    ----------
    patches
        Patch embeddings of one image; normalised here.
    text, empty
        Unit vectors of the class and of the empty string.
    """
    return F.normalize(patches, dim=-1) @ (text - empty)
