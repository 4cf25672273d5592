"""Ridge regression on one-hot targets: the head in closed form, from sums that can be added up in any order."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

__all__ = ["NormalEquations", "calibrated_scale"]

SCALES = tuple(2.0**k for k in range(-1, 9))  # gains tried on the regression outputs, which lie around [0, 1]


@dataclass
class NormalEquations:
    """Gram matrix and right-hand side of a weighted least-squares problem, in float64.

    Rows arrive in batches. The last column is the bias.

    Parameters
    ----------
    gram
        `Z^T diag(w) Z` over rows z = (x, 1).
    target
        `Z^T diag(w) Y` with one-hot Y.
    weight
        Sum of the weights.
    """

    gram: Float64[Tensor, "D1 D1"]
    target: Float64[Tensor, "D1 C"]
    weight: float = 0.0

    @classmethod
    def empty(cls, dim: int, num_classes: int) -> "NormalEquations":
        """Nothing seen yet."""
        return cls(
            torch.zeros(dim + 1, dim + 1, dtype=torch.float64), torch.zeros(dim + 1, num_classes, dtype=torch.float64)
        )

    def add_rows(
        self, rows: Float[Tensor, "N D"], classes: Int64[Tensor, "N"], weights: Float[Tensor, "N"] | None = None
    ) -> None:
        """Add rows of standardised features with the column of their class."""
        z = torch.cat([rows.double(), torch.ones(len(rows), 1, dtype=torch.float64)], dim=1)
        w = torch.ones(len(rows), dtype=torch.float64) if weights is None else weights.double()
        weighted = z * w[:, None]
        self.gram += z.T @ weighted
        self.target.index_add_(1, classes, weighted.T)
        self.weight += float(w.sum())

    def solve(self, *, penalty: float) -> tuple[Float64[Tensor, "C D"], Float64[Tensor, "C"]]:
        """Weight matrix and bias that minimise `sum w |W x + b - y|^2 + lambda |W|^2`.

        Parameters
        ----------
        penalty
            lambda in units of the mean of the Gram diagonal, so that it means the same for every amount of data. The
            bias is not penalised.
        """
        size = len(self.gram) - 1
        ridge = torch.zeros(size + 1, dtype=torch.float64)
        ridge[:size] = penalty * self.gram.diagonal()[:size].mean()
        ridge[size] = 1e-9 * max(self.weight, 1.0)
        solution = torch.linalg.solve(self.gram + ridge.diag(), self.target)
        return solution[:size].T.contiguous(), solution[size].clone()


def calibrated_scale(outputs: Float[Tensor, "N C"], classes: Int64[Tensor, "N"], weights: Float[Tensor, "N"]) -> float:
    """Gain that turns regression outputs into the logits of least cross-entropy, out of powers of two."""
    losses = [
        float((torch.nn.functional.cross_entropy(outputs * gain, classes, reduction="none") * weights).sum())
        for gain in SCALES
    ]
    return SCALES[losses.index(min(losses))]
