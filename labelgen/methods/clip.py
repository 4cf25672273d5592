"""Zero-shot labels: dense image embeddings of a CLIP model compared with the names of the classes."""

from dataclasses import dataclass, fields
from typing import Literal

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate, Likely
from labelgen.errors import ConfigError
from labelgen.methods.clip_presets import find_preset
from labelgen.methods.method import Method, Prepared
from labelgen.prompts import BackgroundMode, parse_classes
from labelgen.vocab import Vocabulary, load_vocabulary

__all__ = ["CLIP", "ClipConfig", "ClipMethod", "make_clip", "prepare_clip"]

ClipMethod = Literal[
    "clip", "maskclip", "maskclip-v", "sclip", "clearclip", "naclip", "proxy", "gem", "surgery", "tiles", "zeroseg-lite"
]


@dataclass(frozen=True)
class ClipConfig:
    """Labels from class names alone: a frozen image-text model says which words fit each patch of the image.

    What is left empty comes from the preset, else from the model and the vocabulary; run.json keeps what it was.

    Parameters
    ----------
    preset
        A published protocol, such as naclip-voc21, sclip-context60 or proxyclip-coco-object: model, words, sizes and
        thresholds. Other flags win over it.
    method
        How the image tower gives embeddings of patches: as trained (clip), with other attention in the last block
        (maskclip, maskclip-v, sclip, clearclip, naclip), with that of another backbone (proxy), with a second path
        (gem, surgery); tiles classifies square parts of the image and works with every model; zeroseg-lite names a
        few segments of another backbone. Default: naclip.
    model
        demo-clip or an open_clip model. Default: demo-clip on the demo data, ViT-B-16 on others. Larger models are
        worse at this.
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
    classes
        Classes of your own instead of --vocab: "rust, paint=painted surface; peeling paint, concrete". The first
        may be background.
    templates
        Sentences around the names: imagenet80, imagenet7, simple, none, or a file with one a line. Default:
        imagenet80.
    text_embeddings
        File of vectors of the prompts (.npz with embeddings and prompts), so that no text model is needed.
    short_side
        Short side in pixels to which images are resized. Default: half as much again as the model was trained at.
    crop
        Side of the windows in pixels; 0 looks at the whole image at once. Default: the size the model was trained
        at.
    stride
        Pixels from window to window; shorter ones soften the seams where windows end, and take longer. Default: half
        the crop.
    batch
        Windows or tiles that go through the network together. Default: 8.
    fuse
        What is averaged where windows overlap: similarities, probabilities or features. Default: similarity.
    flip
        Look at mirrored images too.
    scale
        Factor on cosines before the softmax. Default: 40; with sigmoid that of the model.
    activation
        softmax makes classes exclude each other; sigmoid is for models trained with it (SigLIP). Default: softmax.
    synonyms
        How several prompts of a class become one: the best of them (max-logit), the best after a softmax over all
        prompts (compat, as public code does), their mean vector (mean-embedding) or their sum (logsumexp). Default:
        max-logit.
    background
        Where background comes from: none; the word; a list of words; probabilities below a threshold; words and
        threshold; a saliency map. Default: words+threshold where the vocabulary has a background, else none.
    background_words
        The list, "sky; wall; ...". Default: that of the vocabulary.
    background_threshold
        Pixels whose best probability does not exceed it become background; auto finds it by Otsu's method on the
        data, without truth. Default: 0.1.
    saliency
        Folder of grey PNGs, one an image under its id, white where there are objects.
    certainty
        With saliency: pixels of that probability keep their class even where nothing is salient. Default: 0.99.
    negative
        Words for things that are there but are no class, "shadow; reflection".
    negative_to
        Whether pixels won by a negative word become background or unlabelled. Default: background where there is one.
    ignore_threshold
        Pixels whose best probability is below it stay unlabelled.
    ignore_quantile
        Share of the least certain pixels of each class that stays unlabelled, found in a first pass over the data;
        0.2 is a good value for labels to train on.
    ignore_thresholds
        The result of that, CLASS=PROBABILITY; may be given instead, the flag once for each class.
    calibration_images
        Images of the first pass, for the quantile and for auto, chosen by a hash of their ids; 0 for all. Default: 500.
    area
        A class that covers no more than this share of the foreground is removed. Default: 0.
    min_component
        Smaller connected parts of a class, in pixels, go to the next best class.
    gate
        Which classes an image may show: all (none), the most similar to the image as a whole (top-k, as ZeroSeg's
        public rule; similarity), or those of its image-level tags (tags), which are then recorded as supervision.
        Default: top-k with zeroseg-lite, else none.
    top_k
        Classes that the gate top-k lets pass. Default: 5.
    image_similarity
        Cosine that the gate similarity asks for.
    std
        Of naclip: reach of its Gaussian in patches. Default: 5.
    beta
        Of proxy: share of the mean cosine that is subtracted. Default: 1.2.
    gamma
        Of proxy: factor on cosines. Default: 3.
    depth
        Of gem and surgery: last blocks with a second path. Default: 6, or all where there are fewer.
    proxy_backbone
        Of proxy and zeroseg-lite: the other backbone, demo-ssvt or a timm name. Default: demo-ssvt on the demo data,
        vit_base_patch8_224.dino on others.
    proxy_weights
        Its checkpoint file; empty for the published weights.
    segments
        Of zeroseg-lite: segments an image. Default: 8.

    Raises
    ------
    ConfigError
        When a value is out of range, or two settings contradict each other.

    References
    ----------
    .. [1] The papers of the methods are listed in `labelgen.nets.dense_clip.names`.
    .. [2] Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022, arXiv 2112.01071.

    Examples
    --------
    labelgen clip
    labelgen clip photos --classes "cat, dog, grass" --model ViT-B-16 --pretrained openai
    labelgen clip voc:VOCdevkit/VOC2012 --preset naclip --refine pamr --dry-run
    """

    preset: str = ""
    method: ClipMethod | None = None
    model: str = ""
    pretrained: str = ""
    weights: str = ""
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    cache_dir: str = ""
    classes: str = ""
    templates: str = ""
    text_embeddings: str = ""
    short_side: int | None = None
    crop: int | None = None
    stride: int | None = None
    batch: int | None = None
    fuse: Literal["similarity", "prob", "feature"] | None = None
    flip: bool = False
    scale: float | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    synonyms: Literal["max-logit", "compat", "mean-embedding", "logsumexp"] | None = None
    background: BackgroundMode | None = None
    background_words: str = ""
    background_threshold: float | Literal["auto"] | None = None
    saliency: str = ""
    certainty: float | None = None
    negative: str = ""
    negative_to: Literal["background", "unlabelled"] | None = None
    ignore_threshold: float = 0.0
    ignore_quantile: float = 0.0
    ignore_thresholds: tuple[str, ...] = ()
    calibration_images: int | None = None
    area: float | None = None
    min_component: int = 0
    gate: Literal["none", "top-k", "similarity", "tags"] | None = None
    top_k: int | None = None
    image_similarity: float | None = None
    std: float | None = None
    beta: float | None = None
    gamma: float | None = None
    depth: int | None = None
    proxy_backbone: str = ""
    proxy_weights: str = ""
    segments: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ignore_thresholds", tuple(self.ignore_thresholds))
        for name, low, high in RANGES:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str) and not low <= value <= high:
                raise ConfigError(
                    f"{name} must lie in [{low:g}, {high:g}], got {value}", hint="see labelgen clip --help"
                )
        if self.ignore_quantile and self.ignore_thresholds:
            raise ConfigError("ignore_quantile finds ignore_thresholds, so both cannot be given")
        if self.templates and self.text_embeddings:
            raise ConfigError("templates have no say where vectors come from text_embeddings")
        if self.preset:
            find_preset(self.preset)
        if self.classes:
            parse_classes(self.classes)

    def given(self) -> frozenset[str]:
        """Names of the settings that are not left open."""
        return frozenset(field.name for field in fields(self) if getattr(self, field.name) not in (None, "", ()))


RANGES = (  # setting, least, greatest
    ("short_side", 1, 2048),
    ("crop", 0, 2048),
    ("stride", 0, 2048),
    ("batch", 1, 4096),
    ("scale", 1e-6, 1e6),
    ("background_threshold", 0, 1),
    ("certainty", 0, 1),
    ("ignore_threshold", 0, 1),
    ("ignore_quantile", 0, 0.99),
    ("calibration_images", 0, 10**9),
    ("area", 0, 1),
    ("min_component", 0, 10**9),
    ("top_k", 1, 10**5),
    ("image_similarity", -1, 1),
    ("segments", 1, 1024),
    ("std", 1e-3, 1e6),
    ("gamma", 1e-6, 1e6),
    ("depth", 1, 1000),
)


def prepare_clip(config: ClipConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the model, settle what was left open, embed the prompts, and calibrate thresholds."""
    from labelgen.methods.clip_build import prepare

    return prepare(config, vocabulary, dataset)


def make_clip(config: ClipConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; the model is loaded here, unless this process has it already."""
    from labelgen.methods.clip_build import build

    return build(config, vocabulary)


def likely_clip(config: ClipConfig, vocabulary: Vocabulary) -> Likely:
    """Probabilities of the likeliest classes, for those who want to see what nearly won."""
    from labelgen.methods.clip_build import build_likely

    return build_likely(config, vocabulary)


def clip_needs(config: ClipConfig) -> frozenset[str]:
    """Nothing, unless classes are restricted to the tags of an image or a saliency map is given."""
    wanted = {"tags": config.gate == "tags", "saliency": bool(config.saliency)}
    return frozenset(kind for kind, is_wanted in wanted.items() if is_wanted)


def clip_vocabulary(config: ClipConfig, vocabulary: Vocabulary) -> Vocabulary:
    """The user's own classes; else the words of the preset, if it is for these classes or none were named."""
    if config.classes:
        return parse_classes(config.classes)
    if config.preset:
        chosen = load_vocabulary(find_preset(config.preset).vocabulary)
        if vocabulary.name in ("nothing", chosen.base_name):
            return chosen
    return vocabulary


CLIP = Method(
    ClipConfig,
    make_clip,
    needs_for=clip_needs,
    prepare=prepare_clip,
    vocabulary_for=clip_vocabulary,
    likely=likely_clip,
)
