"""Light heads: from standardised tokens to class logits. One module and one line in `construction.HEADS` per head."""

from segprobe.heads.construction import HEADS, load_head_state, make_head
from segprobe.heads.conv import ConvHead
from segprobe.heads.head import Head
from segprobe.heads.knn import KnnHead
from segprobe.heads.linear import LinearHead, MlpHead
from segprobe.heads.projection import ProjectionHead
from segprobe.heads.prototype import PrototypeHead

__all__ = [
    "HEADS",
    "ConvHead",
    "Head",
    "KnnHead",
    "LinearHead",
    "MlpHead",
    "ProjectionHead",
    "PrototypeHead",
    "load_head_state",
    "make_head",
]
