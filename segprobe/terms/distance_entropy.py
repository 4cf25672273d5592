"""Distance entropy: predictions should be certain near scribbles, and away from the contours of pseudo-labels."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from labelgen.errors import ConfigError
from labelgen.geometry.distance_weights import contour_weights, scribble_weights
from segprobe.batches import UNLABELLED
from segprobe.cells import cell_means
from segprobe.labels import DENSE_FROM, ImageLabels, LabelSet
from segprobe.layers import PSEUDO, SCRIBBLE, Layers, need_layer
from segprobe.memory import Memory
from segprobe.objective import GridView, Term
from segprobe.terms.context import TermContext, box_of, nothing
from segprobe.terms.entropy import token_entropy
from segprobe.terms.settings import DistanceEntropySettings

__all__ = ["check_distance_entropy", "distance_entropy", "make_distance_entropy"]

LIMIT = 2**28  # bytes of weights: 2 a token and map


def distance_entropy(logits: Float[Tensor, "*T C"], weights: Float[Tensor, "*T"]) -> Float[Tensor, ""]:
    """`-sum_i w_i sum_k p_ik log p_ik` over the number of tokens with a weight above 0; exactly 0 without any.

    Examples
    --------
    >>> value = distance_entropy(torch.zeros(3, 2), torch.tensor([1.0, 0.5, 0.0]))
    >>> round(float(value), 4)  # 1.5 ln 2 / 2
    0.5199
    """
    weighted = weights > 0
    if not bool(weighted.any()):
        return logits[:0].sum()
    return (token_entropy(logits[weighted]) * weights[weighted]).mean()


def make_distance_entropy(settings: DistanceEntropySettings, context: TermContext) -> Term:
    """Entropy weighted by the distance to scribbles plus entropy weighted by the distance to contours.

    Weights are exact Euclidean distances in pixels of the original image, turned into [0, 1] by a radius and averaged
    over the cell of each token, so that they do not depend on the size at which the backbone sees the image; padding
    has weight 0 (in the released code it has 1). Scribbles come from the layer `scribble` of promoted labels or, where
    there are no layers, are the labels themselves; only those of foreground count. Contours come from `pseudo`.

    References
    ----------
    .. [1] Zhang et al., "Scribble Hides Class", AAAI 2024, arXiv 2402.17555: distance entropy, L_ds and L_dc. The
       radii are 255 / sqrt(lambda) of its lambda_s = e and lambda_c = e^6.

    Raises
    ------
    ConfigError
        When the labels lack what `maps` asks for.
    """
    if context.layers is None:  # else they were checked as they came; corrected ones may have become dense
        check_distance_entropy(settings, context.labels, None)
    maps = _maps_of(settings, context.layers)
    memory = Memory(limit=LIMIT)

    def weights_of(view: GridView, name: str) -> Float32[Tensor, "h w"]:
        sample_id, geometry = view.image.id, view.image.geometry
        found = memory.get(
            (sample_id, geometry, name),
            lambda: cell_means(_pixel_weights(name, sample_id, settings, context), geometry).astype(np.float16),
            size=lambda plane: plane.nbytes,
        )
        return torch.from_numpy(found.astype(np.float32))

    def term(view: GridView) -> Tensor:
        box = box_of(view)
        logits, total = view.logits[box], nothing(view)
        for name in maps:
            total = total + distance_entropy(logits, weights_of(view, name)[box].to(logits))
        return total

    return term


def check_distance_entropy(settings: DistanceEntropySettings, labels: LabelSet, layers: Layers | None) -> None:
    """Refuse labels without the layers that are asked for, and dense ones, which are no scribbles, without any layer.

    Raises
    ------
    ConfigError
        Naming the command that makes layers.
    """
    names = () if layers is None else layers.names
    if SCRIBBLE in _maps_of(settings, layers) and SCRIBBLE not in names and labels.coverage > DENSE_FROM:
        raise ConfigError(
            f"term distance-entropy needs scribbles, got dense labels ({100 * labels.coverage:.0f} % of the pixels) in"
            f" {labels.name}",
            hint="labelgen promote RUN makes labels with the layers scribble and pseudo",
        )


def _maps_of(settings: DistanceEntropySettings, layers: Layers | None) -> tuple[str, ...]:
    wanted = {"scribble": (SCRIBBLE,), "pseudo": (PSEUDO,), "both": (SCRIBBLE, PSEUDO)}.get(settings.maps)
    if wanted is None:
        wanted = (SCRIBBLE, PSEUDO) if layers is not None and PSEUDO in layers.names else (SCRIBBLE,)
    if PSEUDO in wanted:
        need_layer(layers, PSEUDO, of="term distance-entropy")
    return wanted


def _pixel_weights(
    name: str, sample_id: str, settings: DistanceEntropySettings, context: TermContext
) -> Float32[np.ndarray, "H W"]:
    background, ignore = context.labels.vocabulary.background, context.labels.vocabulary.ignore
    labels = _labels_of(name, sample_id, context).map()
    if name == PSEUDO:
        return contour_weights(labels, radius=settings.contour_radius, background=background, ignore=ignore)
    foreground = (labels != ignore) & (labels != (UNLABELLED if background is None else background))
    return scribble_weights(foreground, radius=settings.scribble_radius)


def _labels_of(name: str, sample_id: str, context: TermContext) -> ImageLabels:
    """A layer, else the labels as they came; what rounds of training make of them are no scribbles any more."""
    if context.layers is None:
        return context.labels.images[sample_id]
    return context.layers.read(name, sample_id) if name in context.layers.names else context.layers.labels(sample_id)
