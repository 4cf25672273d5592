"""ZeroSeg labels: a trained student groups patches into a few segments, and each takes the class of nearest words."""

from dataclasses import dataclass
from typing import Literal

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate
from labelgen.errors import ConfigError
from labelgen.methods.method import Method, Prepared
from labelgen.prompts import parse_classes
from labelgen.vocab import Vocabulary

__all__ = ["PUBLISHED_THRESHOLDS", "STUDENT_FOLDER", "ZEROSEG", "ZeroSegConfig", "make_zeroseg", "prepare_zeroseg"]

STUDENT_FOLDER = "runs/zeroseg-student"
"""Where `labelgen fit-zeroseg` writes, and where `labelgen zeroseg` looks, unless told otherwise."""

PUBLISHED_THRESHOLDS = {"voc": 0.95, "context60": 0.05, "coco-object": 0.35}
"""Background thresholds of the paper by vocabulary, for the probabilities of a student of its size."""


@dataclass(frozen=True)
class ZeroSegConfig:
    """Labels from a ZeroSeg student, which was trained without any text or label; words come in only here.

    The student finds eight segments in an image (or window); each takes the class whose words are nearest to it.

    Parameters
    ----------
    weights
        Folder or weight file of a student. Default: runs/zeroseg-student, which labelgen fit-zeroseg makes.
    clip_weights
        Checkpoint of the CLIP model that taught it, where it is not found as it was then; its text tower reads the
        words.
    device
        torch device; auto takes CUDA where there is one.
    classes
        Classes of your own instead of --vocab: "rust, paint=painted surface; peeling paint, concrete". The first
        may be background.
    templates
        Sentences around the names: imagenet80, imagenet7, simple, none, or a file with one a line.
    text_embeddings
        File of vectors of the prompts (.npz with embeddings and prompts), so that no text model is needed.
    short_side
        Short side in pixels to which images are resized; 0 leaves them. Default: that of the student's preset, 448 in
        the paper.
    crop
        Side of the windows in pixels; 0 looks at the whole image at once. Default: that of the student's preset, 448
        in the paper, and never more than the short side.
    stride
        Pixels from window to window. Default: that of the student's preset, 224 in the paper; half of another crop.
    scale
        Factor on cosines before the softmax. Default: that of the CLIP model.
    top_k
        Classes that a window may show, those nearest to it as a whole; 0 for all. Default: that of the student's
        preset, 5 in the paper.
    background
        Where background comes from: nowhere; the word; a list of words; a segment whose best score is below the
        threshold, as in the paper; words and threshold. Default: threshold where the vocabulary has a background and
        the threshold is published or given; else words where it has a background; else none.
    background_words
        The list, "sky; wall; ...". Default: that of the vocabulary.
    background_threshold
        Score below which a segment is background. Default: the paper's .95 for voc, .05 for context60, .35 for
        coco-object, which do not suit students of demo-clip.

    Raises
    ------
    ConfigError
        When a value is out of range, or two settings contradict each other.

    References
    ----------
    .. [1] Chen et al., "Exploring Open-Vocabulary Semantic Segmentation from CLIP Vision Encoder Distillation Only",
       ICCV 2023, arXiv 2306.00450.

    Examples
    --------
    labelgen zeroseg --weights runs/zeroseg-student
    labelgen zeroseg photos --classes "cat, dog, grass" --top-k 3
    """

    weights: str = ""
    clip_weights: str = ""
    device: str = "auto"
    classes: str = ""
    templates: str = "imagenet80"
    text_embeddings: str = ""
    short_side: int | None = None
    crop: int | None = None
    stride: int | None = None
    scale: float | None = None
    top_k: int | None = None
    background: Literal["none", "word", "words", "threshold", "words+threshold"] | None = None
    background_words: str = ""
    background_threshold: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ConfigError(f"{name} must lie in [{low:g}, {high:g}], got {value}")
        if self.stride is not None and self.crop == 0:
            raise ConfigError(f"stride says how far windows lie apart, but crop 0 makes none, got {self.stride}")
        if self.classes:
            parse_classes(self.classes)


RANGES = (  # setting, least, greatest
    ("short_side", 0, 4096),
    ("crop", 0, 4096),
    ("stride", 1, 4096),
    ("scale", 1e-3, 1e6),
    ("top_k", 0, 10**5),
    ("background_threshold", 0, 1),
)


def prepare_zeroseg(config: ZeroSegConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the student and its teacher, settle what was left open, embed the prompts."""
    from labelgen.methods.zeroseg_build import prepare

    return prepare(config, vocabulary, dataset)


def make_zeroseg(config: ZeroSegConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; the student is loaded here."""
    from labelgen.methods.zeroseg_build import build

    return build(config, vocabulary)


def zeroseg_vocabulary(config: ZeroSegConfig, vocabulary: Vocabulary) -> Vocabulary:
    """The user's own classes, else those of the data or --vocab."""
    return parse_classes(config.classes) if config.classes else vocabulary


ZEROSEG = Method(ZeroSegConfig, make_zeroseg, prepare=prepare_zeroseg, vocabulary_for=zeroseg_vocabulary)
