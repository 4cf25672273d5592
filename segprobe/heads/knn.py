"""Nearest labelled tokens vote: no training, and a look at how the features themselves tell classes apart."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional as F

from labelgen.errors import ConfigError
from segprobe.head_settings import KnnSettings
from segprobe.heads.head import Head

__all__ = ["KnnHead", "draw_rows", "votes"]

AT_ONCE = 1024  # queries compared with the whole bank together: 64 MB of cosines with 16,384 of them


class KnnHead(Head):
    """Logits `gain * q` of the class shares q that the nearest tokens of a bank vote for.

    The bank holds standardised labelled tokens of length 1 and the share of each class among the labelled pixels that
    read the token. Logits are linear in the shares and not their logarithm, so that reading logits at a pixel is
    reading shares there, as the paper does, and the largest logit is the largest share; the gain is the one with
    the least cross-entropy on tokens whose own image has no vote.

    References
    ----------
    .. [1] Balazevic et al., "Towards In-context Scene Understanding", NeurIPS 2023, arXiv 2306.01667, section 3: cross-
       attention to the nearest tokens. Ours compares standardised tokens, and draws the bank as `draw_rows` says.
    """

    bank: Tensor
    shares: Tensor

    def __init__(
        self,
        mean: Float[Tensor, "D"],
        std: Float[Tensor, "D"],
        *,
        num_classes: int,
        settings: KnnSettings,
    ) -> None:
        super().__init__(mean, std, num_classes=num_classes, width=num_classes)
        self.settings = settings
        self.register_buffer("bank", torch.zeros(0, len(mean), dtype=torch.float16))
        self.register_buffer("shares", torch.zeros(0, num_classes, dtype=torch.float16))

    def directions(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T D"]:
        """Standardised tokens of length 1, as the bank holds them."""
        return F.normalize(self.standardised(tokens), dim=-1)

    def remember(self, bank: Float[Tensor, "N D"], shares: Float[Tensor, "N C"], gain: float) -> None:
        """Take a bank in, in float16, and the gain on its votes."""
        self.bank, self.shares = bank.to(self.bank), shares.to(self.shares)
        with torch.no_grad():
            self.classify.weight.copy_(gain * torch.eye(len(self.classify.weight)))
            self.classify.bias.zero_()

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Make the bank as long as the saved one.

        Raises
        ------
        ConfigError
            When the saved bank is larger than the settings allow.
        """
        rows = len(state["bank"]) if "bank" in state else 0
        if rows > self.settings.bank:
            raise ConfigError(f"the bank must hold at most {self.settings.bank} tokens, got {rows}")
        self.bank = self.bank.new_zeros(rows, self.bank.shape[1])
        self.shares = self.shares.new_zeros(rows, self.shares.shape[1])

    def forward(self, tokens: Float[Tensor, "*T D"]) -> Float[Tensor, "*T C"]:
        """Logits of tokens; all 0 while the bank is empty."""
        if not len(self.bank):
            return self.classify(tokens.new_zeros(*tokens.shape[:-1], self.shares.shape[1]))
        queries = self.directions(tokens).reshape(-1, tokens.shape[-1])
        bank, shares = self.bank.float(), self.shares.float()
        count, temperature = self.settings.neighbours, self.settings.temperature
        parts = [votes(part, bank, shares, count=count, temperature=temperature) for part in queries.split(AT_ONCE)]
        return self.classify(torch.cat(parts)).reshape(*tokens.shape[:-1], -1)


def votes(
    queries: Float32[Tensor, "Q D"],
    bank: Float32[Tensor, "N D"],
    shares: Float32[Tensor, "N C"],
    *,
    count: int,
    temperature: float,
    owners: tuple[Int64[Tensor, "Q"], Int64[Tensor, "N"]] | None = None,
) -> Float32[Tensor, "Q C"]:
    """Class shares of the `count` rows of the bank with the largest cosines, by the softmax of these.

    Parameters
    ----------
    queries, bank
        Rows of length 1.
    shares
        Class shares of the rows of the bank.
    count
        Rows that vote; all of a smaller bank.
    temperature
        Of the softmax.
    owners
        Image of each query and of each row of the bank: rows of a query's own image have no vote.

    Returns
    -------
    Tensor
        Rows that sum to 1 where those of `shares` do; 0 where no row may vote.

    Examples
    --------
    >>> bank, shares = torch.eye(2), torch.eye(2)
    >>> votes(torch.tensor([[1.0, 0.0]]), bank, shares, count=1, temperature=0.02)
    tensor([[1., 0.]])
    """
    cosines = queries @ bank.T
    if owners is not None:
        cosines = cosines.masked_fill(owners[0][:, None] == owners[1][None], -torch.inf)
    best, rows = cosines.topk(min(count, len(bank)), dim=1)
    weights = torch.softmax(best / temperature, dim=1)
    if owners is not None:
        weights = torch.where(best > -torch.inf, weights, 0.0)  # also the nan of a row that has none
    return torch.einsum("qk,qkc->qc", weights, shares[rows])


def draw_rows(mass: Float[Tensor, "T"], quota: int, generator: torch.Generator) -> Int64[Tensor, "K"]:
    """Rows of one view of one image for the bank: at most `quota`, uniformly among those with labelled pixels.

    Every image thus has the same say however many of its pixels are labelled, and classes keep the shares that they
    have among labelled tokens.

    Parameters
    ----------
    mass
        Weight of the labelled pixels that read each token.

    Examples
    --------
    >>> draw_rows(torch.tensor([0.0, 2.0, 0.0, 1.0]), 5, torch.Generator()).tolist()
    [1, 3]
    """
    labelled = torch.nonzero(mass > 0).flatten()
    if len(labelled) <= quota:
        return labelled
    chosen = torch.randperm(len(labelled), generator=generator)[:quota]
    return labelled[chosen.sort().values]
