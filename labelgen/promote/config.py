"""Settings of `labelgen promote`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from labelgen.errors import ConfigError

__all__ = ["PromoteConfig"]


@dataclass(frozen=True, kw_only=True)
class PromoteConfig:
    """What is kept of pseudo-labels, and where tags come from.

    Parameters
    ----------
    tags
        visible: the classes that were drawn, which is what an annotator would have given. all: those of strokes that
        --drop left out too, for curves that ask what fewer strokes cost while the classes stay known.
    min_score
        A pseudo-label is kept where its score exceeds it. Default: that of the pseudo run, else 0.
    pseudo_background
        Keep pseudo-labels of the background.
    contradicted
        What to make of a region of pseudo-labels in which most scribbled pixels are of other classes: keep it, as the
        paper does, or unlabel it.
    unscribbled
        What to make of an image without any scribble, of which no tag is known: nothing (skip), or all background.
    save_distances
        Keep two weights a pixel, for other programs: 1 on foreground scribbles and falling to 0 at --scribble-radius; 0
        on contours of the pseudo-labels and rising to 1 at --contour-radius. segprobe does not read them: its term
        distance-entropy computes its own, by the radii that are typed there.
    scribble_radius
        Pixels from a scribble at which its weight is 0. Default: 154.7.
    contour_radius
        Pixels from a contour at which the weight of a pseudo-label is 1. Default: 12.7.

    Raises
    ------
    ConfigError
        When a value is out of range, or a radius is given that has no say.

    References
    ----------
    .. [1] "Scribble Hides Class: Promoting Scribble-Based Weakly-Supervised Semantic Segmentation with Its Class
       Label", AAAI 2024, arXiv 2402.17555.
    """

    tags: Literal["visible", "all"] = "visible"
    min_score: float | None = None
    pseudo_background: bool = True
    contradicted: Literal["keep", "unlabel"] = "keep"
    unscribbled: Literal["skip", "background"] = "skip"
    save_distances: Annotated[bool, Parameter(negative="")] = False
    scribble_radius: float | None = None
    contour_radius: float | None = None

    def __post_init__(self) -> None:
        if self.min_score is not None and not 0 <= self.min_score < float("inf"):
            raise ConfigError(f"min_score must be finite and >= 0, got {self.min_score}")
        for name in ("scribble_radius", "contour_radius"):
            radius = getattr(self, name)
            if radius is None:
                continue
            if not 0 < radius < float("inf"):
                raise ConfigError(f"{name} must be > 0 pixels, got {radius}")
            if not self.save_distances:
                raise ConfigError(f"{name} has no say without save_distances, got {radius}")
