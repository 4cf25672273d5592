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
    """A transformer layer in which segment queries attend to tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = Mlp(width, MLP_RATIO * width, width)

    def forward(self, queries: Float[Tensor, "B G C"], tokens: Float[Tensor, "B N C"]) -> Float[Tensor, "B G C"]:
        query = self._split(self.query(self.norm_queries(queries)))
        key, value = map(self._split, self.key_value(tokens).chunk(2, dim=-1))
        read = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        queries = queries + self.out(read)
        return queries + self.mlp(self.norm_mlp(queries))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class GroupingBlock(nn.Module):
    """Hand N tokens to as many segments as there are group tokens.

    Parameters
    ----------
    width
        Channels of tokens and segments.
    heads
        Of the cross-attention; the assignment itself has one.
    groups
        Number of group tokens, and of segments.
    centre
        Take the mean over the tokens of an image from their keys: a group wins by what sets a token apart.

    Notes
    -----
    The papers do not say how weights begin. Here W_q = W_k is orthogonal, so that a segment query begins by taking
    tokens that are like it, and W_o = W_v^-1, so that a segment begins as its query plus the mean of its tokens.

    References
    ----------
    .. [1] Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022, arXiv 2202.11094;
       section 3.1.
    """

    def __init__(self, width: int, heads: int, groups: int, *, centre: bool = False) -> None:
        super().__init__()
        self.centre = centre
        self.mix = TokenMixing(width, groups, groups)
        self.norm_tokens = nn.LayerNorm(width)
        self.read = CrossAttention(width, heads)
        self.norm_queries = nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.orthogonal_(self.query.weight, gain=QUERY_GAIN)
        nn.init.zeros_(self.query.bias)
        self.key.load_state_dict(self.query.state_dict())
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.orthogonal_(self.value.weight)
        self.out.load_state_dict({"weight": self.value.weight.T, "bias": torch.zeros(width)})
        nn.init.zeros_(self.value.bias)
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
        queries = self.read(self.mix(groups), tokens)
        query, key = self.query(self.norm_queries(queries)), self.key(tokens)
        if self.centre:
            key = key - key.mean(dim=1, keepdim=True)
        logits = (query @ key.transpose(1, 2)).float() * query.shape[-1] ** -0.5
        drawn = None if generator is None else noise * gumbel_like(logits, generator=generator)
        hard = assign(logits, noise=drawn)
        segments = queries + self.out(pool(hard, self.value(tokens).float()).to(queries.dtype))
        return segments + self.mlp(self.norm_mlp(segments)), hard, assign(logits, hard=False)
