"""Class activation maps: a classifier trained from image-level tags says where it saw what the tags name."""

from dataclasses import dataclass
from typing import Literal

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import ConfigError
from labelgen.methods.method import Method, Prepared
from labelgen.seeds.backgrounds import Saliency, parse_background
from labelgen.vocab import Vocabulary

__all__ = ["CAM", "CamConfig", "make_cam", "parse_scales", "prepare_cam"]


@dataclass(frozen=True)
class CamConfig:
    """Labels from image-level tags: class activation maps of a trained classifier, set against a background.

    labelgen fit-cam trains the classifier. The maps of the classes that the tags of an image name are summed over
    scales and mirror images, scaled to [0, 1], and compared with a score for background; what wins a pixel is its
    label.

    Parameters
    ----------
    method
        How the classifier was trained: cam, seam or eps. Default: as it was; cam where no weights are named.
    weights
        Folder or weight file of a classifier. Default: runs/METHOD-classifier, which labelgen fit-cam makes.
    device
        torch device; auto takes CUDA where there is one.
    maps
        gap: the classifier's own maps (seam: correlated ones, eps: probabilities); or maps from gradients of its
        scores, at any layer.
    layer
        For maps from gradients: name of a layer of the backbone, such as blocks.4 or layer3. Default: the features
        that the classifier reads, where gradcam is as gap is without correlation or softmax.
    scales
        Factors on the size of the image, between commas.
    flip
        Look at mirrored images too.
    combine
        Sum the maps of an image and its mirror image, or take the larger value, as ToCo does.
    relu
        Cut off negative values view by view, as IRN does, instead of after the sum.
    normalise
        max: over the maximum (PSA, IRN, EPS); minmax: from minimum to maximum after a ReLU (SEAM); minmax0: without
        one. Default: minmax for seam, else max.
    background
        fixed:0.2; power:6, which is (1 - best class)^6; saliency, which is 1 - saliency; channel, the background of
        the network; dual:power:4/power:24, of which what only one takes stays unlabelled; or fixed:NAME and
        dual:NAME with psa, seam, irn and others. Default: fixed:0.4 for a classifier of the demo scenes, else as in
        the papers fixed:0.26 for seam and fixed:0.2.
    saliency
        For background saliency: a folder of maps, one an image under its id; or ncut or spectral, which make them.
        FOLDER,pixel_supervised=false says that the network behind the maps never saw outlines of objects.
    gate
        Which classes an image may show: those of its tags, or those that the classifier itself predicts, which needs
        no tags.
    gate_threshold
        Probability above which a class is predicted. Default: 0.5.
    untagged
        What to make of an image without any class: all background, nothing (skip), or a failure (error).

    Raises
    ------
    ConfigError
        When a value is out of range, or two settings contradict each other.

    References
    ----------
    .. [1] Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016, arXiv 1512.04150.
    .. [2] Wang et al., "Self-supervised Equivariant Attention Mechanism for Weakly Supervised Semantic Segmentation",
       CVPR 2020, arXiv 2004.04581 (seam).
    .. [3] Lee et al., "Railroad is not a Train: Saliency as Pseudo-pixel Supervision for Weakly Supervised Semantic
       Segmentation", CVPR 2021, arXiv 2105.08965 (eps).

    Examples
    --------
    labelgen cam --weights runs/cam-classifier
    labelgen cam --method seam --background power:6 --save-scores --refine crf
    labelgen cam voc:VOCdevkit/VOC2012 --weights runs/seam-classifier --gate predicted
    """

    method: Literal["cam", "seam", "eps"] | None = None
    weights: str = ""
    device: str = "auto"
    maps: Literal["gap", "gradcam", "hirescam", "layercam", "gradcam++"] = "gap"
    layer: str = ""
    scales: str = "0.5,1,1.5,2"
    flip: bool = True
    combine: Literal["sum", "max"] = "sum"
    relu: bool = False
    normalise: Literal["max", "minmax", "minmax0"] | None = None
    background: str = ""
    saliency: str = ""
    gate: Literal["tags", "predicted"] = "tags"
    gate_threshold: float | None = None
    untagged: Literal["background", "skip", "error"] = "background"

    def __post_init__(self) -> None:
        parse_scales(self.scales)
        if self.layer and self.maps == "gap":
            raise ConfigError(f"layer has no say with maps gap, got {self.layer!r}", hint="--maps gradcam or layercam")
        if self.combine == "max" and not self.flip:
            raise ConfigError("combine max is about an image and its mirror image, but flip is off")
        if self.gate_threshold is not None:
            if self.gate != "predicted":
                raise ConfigError(f"gate_threshold has no say with gate {self.gate}", hint="--gate predicted")
            if not 0 <= self.gate_threshold < 1:
                raise ConfigError(f"gate_threshold must lie in [0, 1), got {self.gate_threshold}")
        wants_saliency = bool(self.background) and isinstance(parse_background(self.background), Saliency)
        if wants_saliency and not self.saliency:
            raise ConfigError("background saliency needs saliency maps", hint="--saliency FOLDER, ncut or spectral")
        if self.saliency and not wants_saliency:
            raise ConfigError(
                f"saliency {self.saliency!r} has no say with background {self.background or 'left open'}",
                hint="--background saliency",
            )


def parse_scales(text: str) -> tuple[float, ...]:
    """Read factors between commas.

    Raises
    ------
    ConfigError
        When one is no number, out of range, or named twice.

    Examples
    --------
    >>> parse_scales("0.5, 1,1.5")
    (0.5, 1.0, 1.5)
    """
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"scales must be numbers between commas, got {text!r}", hint="0.5,1,1.5,2") from error
    if not all(0 < scale <= LARGEST_SCALE for scale in scales) or len(set(scales)) < len(scales):
        raise ConfigError(f"scales must be different factors in (0, {LARGEST_SCALE:g}], got {text!r}")
    return scales


LARGEST_SCALE = 8.0


def prepare_cam(config: CamConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the classifier, match its classes, settle what was left open."""
    from labelgen.methods.cam_build import prepare

    return prepare(config, vocabulary, dataset)


def make_cam(config: CamConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; the classifier is loaded here."""
    from labelgen.methods.cam_build import build

    return build(config, vocabulary)


def cam_needs(config: CamConfig) -> frozenset[str]:
    """Tags, unless the classifier names the classes itself."""
    return frozenset({"tags"}) if config.gate == "tags" else frozenset()


def cam_folder(config: CamConfig) -> str:
    """A run for each kind of classifier, so that `--method seam` does not meet the run of plain maps."""
    return config.method or ""


CAM = Method(CamConfig, make_cam, needs_for=cam_needs, prepare=prepare_cam, folder_for=cam_folder)
