"""Second paths beside the last blocks: GEM and CLIP Surgery.

The original path runs unchanged. The second path starts from the same tokens and adds, at each of the last blocks, only
the output of a self-self attention over the queries, keys or values of the *original* path; it has no feed-forward.

References
----------
.. [1] W. Bousselham et al., "Grounding Everything: Emerging Localization Properties in Vision-Language Transformers",
       CVPR 2024, arXiv 2312.00878, section 3.
.. [2] Y. Li et al., "A Closer Look at the Explainability of Contrastive Language-Image Pre-training", 2023,
       arXiv 2304.05653, section 3.
"""

import torch
from jaxtyping import Float, Float32
from torch.nn import functional as F

from labelgen.nets.dense_clip.blocks import Block
from labelgen.nets.dense_clip.kernels import attend

__all__ = ["DUAL_PATHS", "gem_step", "grounding_attention", "surgery_step"]


def surgery_step(block: Block, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
    """What CLIP Surgery adds to its path at a block: values attending to values.

    Parameters
    ----------
    block
        The block.
    tokens
        Input of the block on the original path.
    """
    values = block.values(block.norm1(tokens))
    return block.output(attend(values, values, values))


def gem_step(block: Block, tokens: Float[torch.Tensor, "B T C"]) -> Float[torch.Tensor, "B T C"]:
    """What GEM adds to its path at a block: the mean of three grounded attentions, of queries, keys and values.

    The inverse temperature is the mean norm of the tokens after `norm1`, per image, times `d ** -0.5`: the paper's
    rule for when none is set.

    Parameters
    ----------
    block
        The block.
    tokens
        Input of the block on the original path.
    """
    normed = block.norm1(tokens)
    values = block.values(normed)
    sharpness = normed.float().norm(dim=-1).mean(dim=1) * values.shape[-1] ** -0.5
    by_queries = grounding_attention(block.queries(normed), values, sharpness=sharpness)
    by_keys = grounding_attention(block.keys(normed), values, sharpness=sharpness)
    by_values = grounding_attention(values, values, sharpness=sharpness)
    return block.output((by_queries + by_keys + by_values) / 3)


def grounding_attention(
    heads: Float[torch.Tensor, "B heads T d"],
    values: Float[torch.Tensor, "B heads T d"],
    *,
    sharpness: Float32[torch.Tensor, "B"],
) -> Float[torch.Tensor, "B heads T d"]:
    """Self-self attention of unit vectors, after one step that moves each vector to its group.

    `u = normalise(softmax(b u u^T) u)` once, then `softmax(b u u^T) V`, with `b` the `sharpness`.
    """
    # softmax(b u u^T) with any b: scale one side by b and undo the division by sqrt(d).
    factor = (sharpness * heads.shape[-1] ** 0.5).to(heads.dtype)[:, None, None, None]
    unit = F.normalize(heads, dim=-1)
    unit = F.normalize(attend(unit * factor, unit, unit), dim=-1)
    return attend(unit * factor, unit, values)


DUAL_PATHS = {"gem": gem_step, "surgery": surgery_step}
