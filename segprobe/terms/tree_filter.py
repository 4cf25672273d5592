"""The tree filter: averages over all nodes, weighted by how alike the nodes on the way are, in two passes."""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32
from torch import Tensor

from labelgen.geometry.compiled import compiled
from segprobe.terms.grid_tree import GridTree

__all__ = ["tree_filter", "tree_sums"]


def tree_filter(values: Float[Tensor, "N C"], distances: Float[Tensor, "N"], tree: GridTree) -> Float[Tensor, "N C"]:
    """Average the values of all nodes, node j weighing `exp(-sum of the distances on the path from i to j)`.

    `F_i = sum_j A_ij P_j / sum_j A_ij`, exactly, in time proportional to N. With `s = exp(-distance)` of a node to its
    parent: from the leaves up, `a_v = P_v + sum over children of s_c a_c`; from the root down,
    `b_v = a_v + s_v (b_parent - s_v a_v)`; the same on ones gives the denominator.

    F is linear in the values: `F = D^-1 A` with a symmetric A, so their gradient is `A D^-1 g`, by the same two passes.
    The gradient with respect to the distances is exact as well. It is the sum over pairs of nodes that an edge
    separates, and the two sums that an edge sees, below it and beyond it, are known from the passes. The shape of the
    tree is taken as given. Both run in float64 on the CPU, whatever the values are.

    Parameters
    ----------
    values
        By node.
    distances
        Of each node to its parent, by place in `tree.order`, >= 0; that of the root is not read.

    References
    ----------
    .. [1] Liang et al., "Tree Energy Loss: Towards Sparsely Annotated Semantic Segmentation", CVPR 2022,
       arXiv 2203.10739, section 3.3.
    .. [2] Song et al., "Learnable Tree Filter for Structure-preserving Feature Transform", NeurIPS 2019, arXiv
       1909.12513, section 3.2.

    Examples
    --------
    >>> from segprobe.terms.grid_tree import grid_tree
    >>> tree = grid_tree(np.zeros((1, 2, 1)))
    >>> far = torch.tensor([0.0, 1000.0])
    >>> tree_filter(torch.tensor([[1.0], [3.0]]), far, tree).tolist()
    [[1.0], [3.0]]
    >>> tree_filter(torch.tensor([[1.0], [3.0]]), torch.zeros(2), tree).tolist()
    [[2.0], [2.0]]
    """
    return _TreeFilter.apply(values, distances, tree)  # type: ignore[no-any-return]


def tree_sums(
    values: Float64[np.ndarray, "N C"], share: Float64[np.ndarray, "N"], parent: Int32[np.ndarray, "N"]
) -> tuple[Float64[np.ndarray, "N C"], Float64[np.ndarray, "N C"]]:
    """Sum values over the part below each node, and over all nodes.

    Parameters
    ----------
    values
        By place, parents before children.
    share
        `exp(-distance)` of each node to its parent; that of the root must be 0.

    Returns
    -------
    tuple of arrays
        `sum_j A_ij P_j` over the nodes j below i, i among them; and over all nodes.
    """
    below, all_nodes = values.copy(), np.empty_like(values)
    _pass_up(below, share, parent)
    _pass_down(below, all_nodes, share, parent)
    return below, all_nodes


class _TreeFilter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, distances: Tensor, tree: GridTree) -> Tensor:
        share = np.exp(-_array(distances))
        share[0] = 0.0
        rows = np.concatenate([_array(values)[tree.order], np.ones((len(share), 1))], axis=1)
        below, all_nodes = tree_sums(rows, share, tree.parent)
        filtered = all_nodes[:, :-1] / all_nodes[:, -1:]
        ctx.kept = tree, share, below, all_nodes, filtered
        return _by_node(filtered, tree, values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tree, share, below, all_nodes, filtered = ctx.kept
        (gradient,) = gradients
        scaled = _array(gradient)[tree.order] / all_nodes[:, -1:]
        of_ones = -(scaled * filtered).sum(axis=1, keepdims=True)  # what the denominator is to blame for
        below_back, all_back = tree_sums(np.concatenate([scaled, of_ones], axis=1), share, tree.parent)
        of_values = _by_node(all_back[:, :-1], tree, gradient) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_values, None, None
        factor = share[:, None]
        beyond = all_nodes[tree.parent] - factor * below
        beyond_back = all_back[tree.parent] - factor * below_back
        of_share = (below_back * beyond + below * beyond_back).sum(axis=1)
        of_distances = torch.from_numpy(-share * of_share).to(gradient)
        return of_values, of_distances, None


def _array(values: Tensor) -> np.ndarray:
    return values.detach().to("cpu", torch.float64).numpy()


def _by_node(rows: np.ndarray, tree: GridTree, like: Tensor) -> Tensor:
    found = np.empty_like(rows)
    found[tree.order] = rows
    return torch.from_numpy(found).to(like)


@compiled
@no_type_check
def _pass_up(sums, share, parent):
    for place in range(len(parent) - 1, 0, -1):
        for channel in range(sums.shape[1]):
            sums[parent[place], channel] += share[place] * sums[place, channel]


@compiled
@no_type_check
def _pass_down(below, sums, share, parent):
    sums[0] = below[0]
    for place in range(1, len(parent)):
        s, above = share[place], parent[place]
        for channel in range(sums.shape[1]):
            own = below[place, channel]
            sums[place, channel] = own + s * (sums[above, channel] - s * own)
