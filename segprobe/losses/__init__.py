"""The table of losses at pixels: `loss(logits, labels, weights=..., ignore=...)`, averaged over labelled ones."""

from segprobe.losses.bootstrap import BOOTSTRAP
from segprobe.losses.ce import CE
from segprobe.losses.gce import GCE
from segprobe.losses.loss import Loss, LossChoice, make_loss, parse_loss
from segprobe.losses.sce import SCE
from segprobe.losses.smooth import SMOOTH

__all__ = ["LOSSES", "Loss", "LossChoice", "make_loss", "parse_loss"]

LOSSES: dict[str, Loss] = {
    "ce": CE,
    "smooth": SMOOTH,
    "gce": GCE,
    "sce": SCE,
    "bootstrap": BOOTSTRAP,
}
