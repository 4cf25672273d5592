"""Tree energy loss: tokens without labels should agree with those that hang together with them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from labelgen.nets.geometry import Geometry
from segprobe.batches import UNLABELLED
from segprobe.memory import Memory
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of, in_space, nothing
from segprobe.terms.grid_tree import GridTree, grid_tree
from segprobe.terms.settings import TreeSettings
from segprobe.terms.tree_filter import tree_filter

__all__ = ["Affinity", "affinity", "make_tree", "tree_energy"]

LIMIT = 2**29  # bytes: 12 a token and tree, so 16,000 images of 37 x 37 tokens with one view


@dataclass(frozen=True)
class Affinity:
    """A tree and how far each node is from its parent.

    Parameters
    ----------
    tree
        Over the tokens on the image.
    distances
        Squared, by place in the tree, not yet divided by sigma.
    """

    tree: GridTree
    distances: Float[Tensor, "N"]

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.tree.nbytes + self.distances.numel() * self.distances.element_size()


def affinity(guide: Float[Tensor, "h w D"]) -> Affinity:
    """Build the tree of a guide; the distances carry the gradient of the guide, the shape of the tree has none."""
    tree = grid_tree(guide.detach().cpu().numpy())
    rows = guide.flatten(0, 1)
    here, above = (torch.from_numpy(nodes).long().to(rows.device) for nodes in (tree.order, tree.parent_nodes()))
    return Affinity(tree, (rows[here] - rows[above]).square().sum(dim=1))


def tree_energy(
    probabilities: Float[Tensor, "N C"],
    free: Bool[Tensor, "N"],
    *,
    low: Affinity,
    high: Affinity,
    sigma: float,
    feature_sigma: float,
) -> Float[Tensor, ""]:
    """Average `|P_i - Y_i|_1` over the free tokens, `Y = F_high(F_low(P))`.

    F is the tree filter with distances divided by sigma. Y is not detached: gradients go through P in both filters, and
    through the distances of the second tree where these have any.
    """
    soft = tree_filter(probabilities, low.distances / sigma, low.tree)
    soft = tree_filter(soft, high.distances / feature_sigma, high.tree)
    return (probabilities - soft).abs().sum(dim=1)[free].mean()


def make_tree(settings: TreeSettings, context: TermContext) -> Term:
    """Tree energy loss on the token grid.

    The first tree follows colours, mean ones of each token's cell in [0, 1]; the second one follows features. For these
    the paper trains a layer, whose scale adapts to sigma = 1. Frozen features have the scale they have, and it differs
    from network to network; here they are standardised and made unit vectors, so that a squared distance is
    2 - 2 cos. The trees of frozen features are built once and kept. With a tuned backbone, or on the projection of
    a head, the second tree is built anew at each step, and its distances have gradients.

    A token is free when no class holds most of the labelled pixels in its cell. Exactly 0 when all are labelled. Only
    tokens on the image belong to the trees.

    References
    ----------
    .. [1] Liang et al., "Tree Energy Loss: Towards Sparsely Annotated Semantic Segmentation", CVPR 2022,
       arXiv 2203.10739. Weight .4 and the two sigmas are those of its VOC experiments, at stride 16.
    """
    guides = context.need_guides(of="term tree")
    if settings.features == "projection":
        context.need_projection(of="term tree,features=projection")
    memory = Memory(limit=LIMIT)

    def of_colours(sample_id: str, geometry: Geometry, box: tuple[slice, slice]) -> Affinity:
        return memory.get(
            ("colours", sample_id, geometry), lambda: affinity(guides.rgb(sample_id, geometry)[box]), size=_bytes
        )

    def of_features(view: GridView, box: tuple[slice, slice]) -> Affinity:
        guide = F.normalize(in_space(view, settings.features)[box], dim=-1)
        if guide.requires_grad:
            return affinity(guide)
        return memory.get(("features", view.image.id, view.image.geometry), lambda: affinity(guide.cpu()), size=_bytes)

    def term(view: GridView) -> Tensor:
        sample_id, geometry, box = view.image.id, view.image.geometry, box_of(view)
        free = (context.columns(sample_id, geometry)[box] == UNLABELLED).flatten()
        if not bool(free.any()):
            return nothing(view)
        return tree_energy(
            view.logits[box].softmax(dim=-1).flatten(0, 1),
            free.to(view.logits.device),
            low=of_colours(sample_id, geometry, box),
            high=of_features(view, box),
            sigma=settings.sigma,
            feature_sigma=settings.feature_sigma,
        )

    return term


def _bytes(kept: Affinity) -> int:
    return kept.nbytes
