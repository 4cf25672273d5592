"""The grouping block: tokens are handed to a smaller number of segments by attention that competes for them.

With G segment queries g_i and N tokens x_j the assignment of token j is a softmax over the segments,

    a_ij = (W_q g_i) . (W_k x_j) / sqrt(C),        A_.j = softmax_i(a_.j),

and the new segment is g_i + W_o sum_j A_ij W_v x_j / (sum_j A_ij + 1), followed by an MLP with a residual.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CrossAttention", "GroupingBlock", "Mlp", "TokenMixing", "assign", "gumbel_like", "pool"]

EPSILON = 1.0  # GroupViT: a segment that hardly owns a token keeps to its query instead of dividing by nearly nothing
TEMPERATURE = 1.0  # of the Gumbel softmax, as GroupViT's
QUERY_GAIN = 4.0  # logits begin larger than the noise (1.28), so that like tokens stay together from the start
MLP_RATIO = 4  # hidden width of an MLP over its width, as in every ViT


def assign(
    logits: Float[Tensor, "B G N"], *, noise: Float[Tensor, "B G N"] | None = None, hard: bool = True
) -> Float[Tensor, "B G N"]:
    """Share of each token that each segment gets: a softmax over the segments.

    Parameters
    ----------
    noise
        Gumbel noise that is added to the logits in training; None at inference.
    hard
        Give each token wholly to the segment that wants it most (the first of equals); the gradient is that of the
        soft assignment (straight through). Otherwise the soft assignment itself.

    Returns
    -------
    Tensor
        Sums to 1 over the segments for every token.

    Examples
    --------
    >>> logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])
    >>> assign(logits)
    tensor([[[1., 0.],
             [0., 1.]]])
    """
    soft = torch.softmax((logits if noise is None else logits + noise) / TEMPERATURE, dim=1)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter_(1, soft.argmax(dim=1, keepdim=True), 1.0)
    return one_hot + (soft - soft.detach())


def gumbel_like(logits: Float[Tensor, "B G N"], *, generator: torch.Generator) -> Float[Tensor, "B G N"]:
    """Independent Gumbel(0, 1) noise, drawn on the CPU so that it is the same for every device."""
    exponential = torch.empty(logits.shape).exponential_(generator=generator)
    return -exponential.log().to(logits.device, logits.dtype)


def pool(assignment: Float[Tensor, "B G N"], values: Float[Tensor, "B N C"]) -> Float[Tensor, "B G C"]:
    """Mean value of the tokens of each segment, drawn toward 0 for segments that own little.

    Examples
    --------
    >>> values = torch.tensor([[[3.0], [5.0], [8.0]]])
    >>> pool(torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]), values).flatten().tolist()
    [1.5, 4.333333492279053, 0.0]
    """
    return assignment @ values / (assignment.sum(dim=-1, keepdim=True) + EPSILON)


class Mlp(nn.Sequential):
    """Two linear maps with a GELU between them."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))


class TokenMixing(nn.Module):
    """Layer norm, then an MLP along the axis of the tokens that makes `after` tokens out of `before`."""

    def __init__(self, width: int, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = Mlp(before, max(width // 2, after), after)

    def forward(self, tokens: Float[Tensor, "B before C"]) -> Float[Tensor, "B after C"]:
        return self.mlp(self.norm(tokens).transpose(1, 2)).transpose(1, 2)


class CrossAttention(nn.Module):
    """A transformer layer in which segment queries attend to tokens, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_queries, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = tied_pair(width)
        self.value, self.out = inverse_pair(width)
        self.mlp = Mlp(width, MLP_RATIO * width, width)

    def forward(self, queries: Float[Tensor, "B G C"], tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B G C"]:
        query, key, value = self.query(self.norm_queries(queries)), self.key(tokens), self.value(tokens)
        queries = queries + self.out(F.scaled_dot_product_attention(query, key, value))
        return queries + self.mlp(self.norm_mlp(queries))


def tied_pair(width: int) -> tuple[nn.Linear, nn.Linear]:
    """Maps for queries and keys that begin equal and orthogonal: like finds like."""
    one, other = nn.Linear(width, width), nn.Linear(width, width)
    nn.init.orthogonal_(one.weight, gain=QUERY_GAIN)
    nn.init.zeros_(one.bias)
    other.load_state_dict(one.state_dict())
    return one, other


def inverse_pair(width: int) -> tuple[nn.Linear, nn.Linear]:
    """Maps for values and outputs that begin as the inverse of each other: what is read is what comes out."""
    one, other = nn.Linear(width, width), nn.Linear(width, width)
    nn.init.orthogonal_(one.weight)
    for layer in (one, other):
        nn.init.zeros_(layer.bias)
    other.load_state_dict({"weight": one.weight.T, "bias": other.bias})
    return one, other


class GroupingBlock(nn.Module):
    """Hand N tokens to as many segments as there are group tokens.

    Parameters
    ----------
    width
        Channels of tokens and segments.
    groups
        Number of group tokens, and of segments.
    centre
        Take the mean over the tokens of an image away before they are compared: a group wins by what sets them apart.

    Notes
    -----
    The papers do not say how weights begin. Here W_q = W_k is orthogonal and W_o = W_v^-1, in the cross-attention too:
    a query begins by moving toward tokens that are like it, and then takes those that are like it, which is a step of
    k-means; its segment begins as the query plus the mean of its tokens.

    References
    ----------
    .. [1] Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, arXiv 2202.11094;
       section 3.1.
    """

    def __init__(self, width: int, groups: int, *, centre: bool = False) -> None:
        super().__init__()
        self.centre = centre
        self.mix = TokenMixing(width, groups, groups)
        self.norm_tokens = nn.LayerNorm(width)
        self.read = CrossAttention(width)
        self.norm_queries = nn.LayerNorm(width)
        self.query, self.key = tied_pair(width)
        self.value, self.out = inverse_pair(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, MLP_RATIO * width, width)

    def forward(
        self,
        groups: Float[Tensor, "B G C"],
        tokens: Float[Tensor, "B N C"],
        *,
        generator: torch.Generator | None = None,
        noise: float = 1.0,
    ) -> tuple[Float[Tensor, "B G C"], Float[Tensor, "B G N"], Float[Tensor, "B G N"]]:
        """Group the tokens.

        Parameters
        ----------
        generator
            Source of the Gumbel noise in training; None for none.
        noise
            Factor on it.

        Returns
        -------
        tuple
            The segments, the assignment of each token that made them, and the soft one without noise.
        """
        tokens = self.norm_tokens(tokens)
        apart = tokens - tokens.mean(dim=1, keepdim=True) if self.centre else tokens
        queries = self.read(self.mix(groups), apart)
        query, key = self.query(self.norm_queries(queries)), self.key(apart)
        logits = (query @ key.transpose(1, 2)).float() * query.shape[-1] ** -0.5
        drawn = None if generator is None else noise * gumbel_like(logits, generator=generator)
        hard = assign(logits, noise=drawn)
        segments = queries + self.out(pool(hard, self.value(tokens).float()).to(queries.dtype))
        return segments + self.mlp(self.norm_mlp(segments)), hard, assign(logits, hard=False)
