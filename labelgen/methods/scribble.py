"""Synthetic scribbles: strokes drawn into the regions of the ground truth, then shrunk and dropped."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask, one_hot
from labelgen.methods.method import Method
from labelgen.vocab import Vocabulary

__all__ = ["PRESETS", "SCRIBBLE", "STYLE_NAMES", "ScribbleConfig", "make_scribble"]

STYLE_NAMES = ("path", "line", "curve", "contour", "loop", "random-walk", "skeleton", "mixed")

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "scribblesup": {"style": "path", "width": 3.0, "branches": 1, "margin": 0.0, "jitter": 0.5, "violate": 0.0},
    "timid": {"style": "path", "width": 3.0, "branches": 0, "margin": 0.2, "jitter": 0.25, "violate": 0.0},
    "sloppy": {"style": "mixed", "width": 4.0, "branches": 1, "margin": 0.0, "jitter": 1.0, "violate": 0.3},
}
"""Annotators: what the settings of the same names are unless they are given."""


@dataclass(frozen=True)
class ScribbleConfig:
    """Scribbles as a person might draw them, made from ground truth; or real ones, read from files.

    With the same seed, other values of shrink and drop give parts of the very same strokes.

    Parameters
    ----------
    shrink
        Share of each stroke's arc length that is removed, in [0, 1]: 0 leaves it whole, 0.5 half of it, 1 one dot.
    keep
        The same said the other way round, as some papers do ("length ratio"): share that remains, 1 - shrink. Give one
        of the two.
    shrink_anchor
        center trims both ends equally, start trims only the far end, random keeps a random window.
    drop
        Probability in [0, 1] that a stroke is left out.
    drop_mode
        bernoulli drops each stroke on its own; exact drops the share `drop` of each image's strokes, rounded down.
    keep_one_per_class
        Never drop the last stroke of a class, so that the image keeps all its classes.
    preset
        Annotator whose style, width, branches, margin, jitter and violate hold where these are not given: scribblesup,
        timid (inside, no branches, steady) or sloppy (mixed styles, a wide pen, unsteady, over the contours).
    style
        path: along the longest path of the region's skeleton; line: straight; curve: one bend; contour: along the
        boundary; loop: around inside; random-walk; skeleton: every limb of it; mixed: any of these by region.
    width
        Diameter of the pen in pixels.
    branches
        Most strokes beside the main one that a region gets, for its limbs.
    margin
        Distance from the boundary that is kept free, as a share of the region's largest such distance, in [0, 1).
    jitter
        Unsteadiness of the hand, 0 to 1.
    violate
        Probability in [0, 1] that a stroke runs out over its region's contour, onto void and other classes. With 0 no
        labelled pixel is wrong.
    group
        What gets strokes: each 8-connected component of a class, each class (in its largest components), or each
        annotated instance.
    min_area
        Regions of fewer pixels get no stroke; counted for a long side of 500 pixels and scaled with its square.
    keep_tiny
        Put a dot into the largest region of a class whose regions are all below `min_area`.
    background
        Draw strokes for the background.
    max_background_strokes
        Most background strokes in an image.
    void_margin
        Pixels that strokes stay away from void.
    border_is_boundary
        Stay away from the image border as from a region's boundary.
    from_xml
        Folder of real scribbles in the form of ScribbleSup, one ID.xml per image, instead of synthetic ones. Only
        shrink, drop, width and pen then have a say, and the ground truth is not looked at.
    from_png
        The same for label maps that hold scribbles, one ID.png per image. Whole strokes keep their very pixels.
    pen
        How the strokes of XML files are drawn: round (a pixel whose centre the pen covers), rloss (plain segments) or
        tel (round joints, a disc at each vertex).

    Raises
    ------
    ConfigError
        When a value is out of range or two settings contradict each other.

    Examples
    --------
    labelgen scribble --shrink 0.5
    labelgen scribble voc:VOCdevkit/VOC2012 --split train --drop 0.2 --stats
    labelgen scribble folder:mydata --vocab mydata.toml --style skeleton --width 5
    """

    shrink: float = 0.0
    keep: float | None = None
    shrink_anchor: Literal["center", "random", "start"] = "center"
    drop: float = 0.0
    drop_mode: Literal["bernoulli", "exact"] = "bernoulli"
    keep_one_per_class: bool = False
    preset: Literal["scribblesup", "timid", "sloppy"] = "scribblesup"
    style: Literal["path", "line", "curve", "contour", "loop", "random-walk", "skeleton", "mixed"] | None = None
    width: float | None = None
    branches: int | None = None
    margin: float | None = None
    jitter: float | None = None
    violate: float | None = None
    group: Literal["component", "class", "instance"] = "component"
    min_area: float = 80.0
    keep_tiny: bool = False
    background: bool = True
    max_background_strokes: int = 2
    void_margin: float = 0.0
    border_is_boundary: bool = True
    from_xml: str = ""
    from_png: str = ""
    pen: Literal["round", "rloss", "tel"] = "round"

    @property
    def is_real(self) -> bool:
        """Whether the strokes are read from files."""
        return bool(self.from_xml or self.from_png)

    def __post_init__(self) -> None:
        if self.keep is not None:
            _require(self.shrink == 0, f"give shrink or keep, not both; got shrink {self.shrink} and keep {self.keep}")
            _require(0 <= self.keep <= 1, f"keep must lie in [0, 1], got {self.keep}")
            object.__setattr__(self, "shrink", round(1.0 - self.keep, 12))
            object.__setattr__(self, "keep", None)
        _require(self.preset in PRESETS, f"preset must be one of {', '.join(PRESETS)}, got {self.preset!r}")
        if self.is_real:
            _refuse_synthesis(self)
        _require(self.pen == "round" or bool(self.from_xml), "pen draws strokes of XML files: it needs from_xml")
        for name, value in PRESETS[self.preset].items():
            # real strokes have a width and nothing else of an annotator
            if getattr(self, name) is None and (name == "width" or not self.is_real):
                object.__setattr__(self, name, value)
        _check_values(self)


def _refuse_synthesis(config: ScribbleConfig) -> None:
    _require(not (config.from_xml and config.from_png), "give from_xml or from_png, not both")
    usable = {"shrink", "keep", "shrink_anchor", "drop", "drop_mode", "keep_one_per_class", "width", "pen"}
    usable |= {"from_xml", "from_png"}
    for field in fields(config):
        if field.name not in usable:
            value = getattr(config, field.name)
            _require(value == field.default, f"{field.name} is for synthetic scribbles, got {value!r} with real ones")
    _require(not config.from_png or config.width in (None, 3.0), "width is taken from the pixels with from_png")


def _check_values(config: ScribbleConfig) -> None:
    for name in ("shrink", "drop", "violate", "jitter"):
        value = getattr(config, name)
        _require(value is None or 0 <= value <= 1, f"{name} must lie in [0, 1], got {value}")
    choices = {
        "style": STYLE_NAMES,
        "group": ("component", "class", "instance"),
        "shrink_anchor": ("center", "random", "start"),
        "drop_mode": ("bernoulli", "exact"),
        "pen": ("round", "rloss", "tel"),
    }
    for name, allowed in choices.items():
        value = getattr(config, name)
        _require(value is None or value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    for name in ("min_area", "void_margin", "branches"):
        value = getattr(config, name)
        _require(value is None or 0 <= value < float("inf"), f"{name} must be >= 0, got {value}")
    most = config.max_background_strokes
    _require(most >= 1, f"max_background_strokes must be >= 1, got {most}; --no-background gives none")
    margin, width = config.margin, config.width
    _require(margin is None or 0 <= margin < 1, f"margin must lie in [0, 1), got {margin}")
    _require(width is not None and 1 <= width <= 1000, f"width must lie in [1, 1000] pixels, got {width}")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message, hint="see labelgen scribble --help")


def make_scribble(config: ScribbleConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator of synthetic scribbles, or of real ones with `from_xml` or `from_png`."""
    if config.is_real:
        from labelgen.methods.scribble_real import make_real_scribble

        return make_real_scribble(config, vocabulary)
    from labelgen.methods.scribble_fate import meet_fate
    from labelgen.methods.scribble_kernels import full_strokes
    from labelgen.methods.scribble_plan import details_of, draw_labels, warnings_of

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        plan = full_strokes(sample, config, vocabulary, rng)
        strokes = meet_fate(plan.strokes, plan.numbers, config)
        labels = draw_labels(strokes, plan, size=sample.size, ignore=vocabulary.ignore)
        details = details_of(plan, strokes, labels, sample.need_truth(), vocabulary)
        warnings = warnings_of(plan, strokes, vocabulary)
        return one_hot(labels, ignore=vocabulary.ignore, strokes=strokes, warnings=warnings, details=details)

    return generate


def scribble_needs(config: ScribbleConfig) -> frozenset[str]:
    """Real scribbles are strokes that somebody drew; synthetic ones come from the ground truth."""
    return frozenset({"strokes"}) if config.is_real else frozenset({"truth"})


SCRIBBLE = Method(
    ScribbleConfig, make_scribble, needs=frozenset({"truth"}), reads_image=False, needs_for=scribble_needs
)
