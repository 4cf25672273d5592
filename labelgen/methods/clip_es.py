"""CLIP-ES: image-level tags and a frozen image-text model, whose gradients say where it saw what the tags name."""

from dataclasses import dataclass
from typing import Literal

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import ConfigError
from labelgen.methods.method import Method, Prepared
from labelgen.seeds.backgrounds import Dual, Fixed, Power, parse_background
from labelgen.vocab import Vocabulary

__all__ = ["CLIP_ES", "NO_WORDS", "ClipEsConfig", "make_clip_es", "prepare_clip_es"]

NO_WORDS = "none"
"""As background words: tagged classes compete among themselves alone."""


@dataclass(frozen=True)
class ClipEsConfig:
    """Labels from image-level tags and a frozen image-text model; nothing is trained.

    The words of the tags compete in a softmax with words for what lies around objects. A map says which patches raise
    the probability of a tag, by its gradient at the last block; it is spread along the attention of the last blocks
    (CAA), scaled to [0, 1] and compared with a score for background.

    As published, on PASCAL VOC train with OpenAI's ViT-B-16: 58.6 mIoU before the attention, 70.8 with it, 75.0 after a
    CRF (--refine crf:deeplab).

    Parameters
    ----------
    model
        demo-clip or an open_clip ViT. Default: demo-clip on the demo data, ViT-B-16 on others.
    pretrained
        Tag of published weights, such as laion2b_s34b_b88k. Default: openai.
    weights
        Checkpoint file, or local-dir:FOLDER, instead of published weights.
    device
        torch device; auto takes CUDA where there is one.
    dtype
        Arithmetic of the image tower.
    cache_dir
        Folder of downloaded weights and tokenizers; empty for that of the hub.
    templates
        Sentences around the names: one written out with {} for the name, or imagenet80, imagenet7, simple, none, or a
        file with one a line. Default: "a clean origami {}.", as the paper.
    background_words
        Words for what lies around objects, "sky; wall; ...", or none. Default: those of the vocabulary.
    scale
        Factor on cosines before the softmax. Default: that of the model; 5 with demo-clip.
    feature
        What stands for the image: the mean of its patches, as in the paper, or the class token.
    maps
        How gradients and activations make a map.
    short_side
        Short side in pixels to which images are resized, then both sides to whole patches; 0 leaves the size.
    caa
        Spread maps along the attention. Default: yes; no with demo-clip, whose attention reaches too far.
    layers
        For CAA: attention of the last so many blocks. Default: two thirds of them, 8 of 12 as in the paper.
    share
        For CAA: only boxes around what exceeds this share of a map's maximum are spread. Default: 0.4, as the paper on
        VOC; .7 on COCO.
    background
        power:1, which is 1 - best class; power:6, fixed:0.2, or dual:power:4/power:24, of which what only one takes
        stays unlabelled.
    untagged
        What to make of an image without any class: all background, nothing (skip), or a failure (error).

    Raises
    ------
    ConfigError
        When a value is out of range, or two settings contradict each other.

    References
    ----------
    .. [1] Lin et al., "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised Semantic
       Segmentation", CVPR 2023, arXiv 2212.09506. Synonyms are one sentence there; here the mean of their vectors.

    Examples
    --------
    labelgen clip-es
    labelgen clip-es voc:VOCdevkit/VOC2012 --split train --save-scores --refine crf
    """

    model: str = ""
    pretrained: str = ""
    weights: str = ""
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    cache_dir: str = ""
    templates: str = "a clean origami {}."
    background_words: str = ""
    scale: float | None = None
    feature: Literal["patches", "class"] = "patches"
    maps: Literal["gradcam", "hirescam", "layercam", "gradcam++"] = "gradcam"
    short_side: int = 0
    caa: bool | None = None
    layers: int | None = None
    share: float | None = None
    background: str = "power:1"
    untagged: Literal["background", "skip", "error"] = "background"

    def __post_init__(self) -> None:
        for name, low, high in RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
        if self.caa is False:
            for name in ("layers", "share"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"{name} has no say without caa, got {getattr(self, name)}", hint="--caa")
        if "{}" in self.templates and self.templates.count("{}") != 1:
            raise ConfigError(f"a template must hold {{}} exactly once, got {self.templates!r}")
        if not isinstance(parse_background(self.background), Fixed | Power | Dual):
            raise ConfigError(
                f"the background must come from the maps, got {self.background!r}", hint="power:1, fixed:0.2, dual:psa"
            )


RANGES = (  # setting, least, greatest
    ("short_side", 0, 4096),
    ("scale", 1e-3, 1e6),
    ("layers", 1, 1000),
    ("share", 0, 1),
)


def prepare_clip_es(config: ClipEsConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the model, embed the words, settle what was left open."""
    from labelgen.methods.clip_es_build import prepare

    return prepare(config, vocabulary, dataset)


def make_clip_es(config: ClipEsConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; the model is loaded here."""
    from labelgen.methods.clip_es_build import build

    return build(config, vocabulary)


CLIP_ES = Method(ClipEsConfig, make_clip_es, needs=frozenset({"tags"}), prepare=prepare_clip_es)
