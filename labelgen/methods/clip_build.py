"""Zero-shot labels put together: model, prompts and rules as a labeller, and what is settled before the first image."""

import functools
import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from labelgen.data.dataset import Dataset
from labelgen.data.inputs import with_input
from labelgen.data.sample import Generate, Likely, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.masks import SoftMask
from labelgen.methods.clip import ClipConfig
from labelgen.methods.clip_calibrate import calibrated
from labelgen.methods.clip_settle import BATCH, METHOD, is_demo, is_settled, model_of, settle, with_preset
from labelgen.methods.method import Prepared
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.nets.clip.config import DEMO_CLIP
from labelgen.nets.clip.model import ClipModel, loaded_clip
from labelgen.nets.clip.prototypes import read_text_embeddings, similar_prompts, text_prototypes
from labelgen.nets.clip.templates import load_templates
from labelgen.nets.dense_clip.tower import refuse_method, tower_of
from labelgen.nets.saliency.folder import read_saliency
from labelgen.nets.zeroseg.lite import SEGMENTS
from labelgen.nets.zeroshot.decide import Rules
from labelgen.nets.zeroshot.labeller import Gate, Labeller
from labelgen.nets.zeroshot.looks import Networks, look_for, whole_vector
from labelgen.nets.zeroshot.readout import Readout, average_prompts
from labelgen.nets.zeroshot.views import Windows
from labelgen.prompts import UNLABELLED, PromptTable, prompt_table, split_words
from labelgen.vocab import Vocabulary

__all__ = ["build", "build_likely", "prepare"]

log = logging.getLogger(__name__)

ALIKE = 0.95  # cosine from which two prompts of different classes are reported
SHOWN_WORDS = 6
KEPT_PAIRS = 20  # in run.json, the closest first
LARGE_WIDTH = 1024  # channels of the image tower of ViT-L and larger


@dataclass(frozen=True, eq=False)
class Words:
    """Prompts, their vectors, and what is to be said about them."""

    table: PromptTable
    prototypes: Float32[np.ndarray, "K D"]
    alike: tuple[tuple[str, str, float], ...]
    model: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences."""
        if len(self.table.class_ids) == 1:
            return (
                *self.table.warnings,
                "one class alone wins every pixel; name its surroundings too (--negative)",
            )
        if not self.alike:
            return self.table.warnings
        words = list(dict.fromkeys(word for one, other, _ in self.alike for word in (one, other)))
        more = f" and {len(words) - SHOWN_WORDS} more" if len(words) > SHOWN_WORDS else ""
        sentence = "words that the model hardly tells from others: "
        if self.model == DEMO_CLIP:
            sentence = "demo-clip knows what the demo scenes show, and little else; alike to it are "
        return (*self.table.warnings, f"{sentence}{', '.join(words[:SHOWN_WORDS])}{more} (cosine > {ALIKE})")


@functools.lru_cache(maxsize=1)
def loaded_backbone(name: str, weights: str, device: str) -> Backbone:
    """The other backbone, loaded once a process as long as no other is asked for."""
    # the pictures that it gets have their final size
    return load_backbone(BackboneConfig(name, weights=weights, policy="native", dtype="float32"), device=device)


def prepare(config: ClipConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the model, settle what was left open, embed the prompts, and calibrate thresholds."""
    clip, config = _settled(config, vocabulary, dataset)
    if config.saliency and not Path(config.saliency).is_dir():
        raise DataError(
            f"saliency maps must be in a folder, which {config.saliency} is not", hint="--saliency FOLDER with ID.png"
        )
    words = words_for(config, vocabulary, clip)
    facts = _facts(config, vocabulary, clip, words)
    for sentence in facts["warnings"]:
        log.warning("%s", sentence)
    if config.background_threshold == "auto" or config.ignore_quantile:

        def generator(plain: ClipConfig) -> Generate:
            return _generator(plain, vocabulary, clip, words)

        config, facts["calibration"] = calibrated(config, vocabulary, dataset, generator)
    models: dict[str, Any] = {"clip": clip.fingerprint()}
    if external := _external(config, clip):
        models["proxy"] = {"sha256": external.spec.weights_sha256, **external.fingerprint()}
    return Prepared(config, models, facts)


def build(config: ClipConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator of settled settings; others are settled first, as for data that are not the demo's."""
    if not is_settled(config):
        config = prepare(config, vocabulary, None).config
    clip = loaded_clip(model_of(config, demo=False))
    return _generator(config, vocabulary, clip, words_for(config, vocabulary, clip))


def build_likely(config: ClipConfig, vocabulary: Vocabulary) -> Likely:
    """Probabilities of settled settings before any rule, of classes that win nowhere too."""
    clip = loaded_clip(model_of(config, demo=False))
    labeller = _labeller(config, vocabulary, clip, words_for(config, vocabulary, clip))

    def likely(sample: Sample, rng: np.random.Generator, count: int) -> SoftMask:
        return labeller.likely(sample.need_image(), rng, count)

    return likely


def _settled(config: ClipConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> tuple[ClipModel, ClipConfig]:
    demo = is_demo(dataset)
    clip = loaded_clip(model_of(with_preset(config), demo=demo))
    settled = settle(
        config,
        vocabulary,
        demo=demo,
        model=clip.config,
        native=min(clip.native_size),
        learned_scale=clip.logit_scale,
        blocks=_blocks(with_preset(config).method or METHOD, clip.model),
    )
    if settled.activation == "sigmoid" and clip.logit_bias is None:
        raise ConfigError(f"activation sigmoid needs a model trained with it (SigLIP), got {clip.name}")
    return clip, settled


def _blocks(method: str, model: torch.nn.Module) -> int:
    """Blocks of the image tower, which must be one that the method understands; 0 if the method needs no tower."""
    if method == "tiles":
        return 0
    tower = tower_of(model)
    refuse_method(tower, "naclip" if method == "zeroseg-lite" else method)
    return tower.depth


def words_for(config: ClipConfig, vocabulary: Vocabulary, clip: ClipModel) -> Words:
    """The prompts and their unit vectors, from the file given, the cache, or the text tower."""
    table = prompt_table(
        vocabulary,
        background=config.background or "none",
        background_words=split_words(config.background_words),
        negative=split_words(config.negative),
        negative_to=config.negative_to or "unlabelled",
    )
    if config.text_embeddings:
        prototypes = read_text_embeddings(config.text_embeddings, table.prompts, dim=clip.embed_dim)
    else:
        prototypes = text_prototypes(clip, table.prompts, load_templates(config.templates))
    alike = similar_prompts(prototypes, table.prompts, class_of=table.class_of, above=ALIKE)
    return Words(table, prototypes, tuple(alike), clip.name)


def _generator(config: ClipConfig, vocabulary: Vocabulary, clip: ClipModel, words: Words) -> Generate:
    labeller = _labeller(config, vocabulary, clip, words)

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        tags = sample.need_tags() if config.gate == "tags" else None
        if not config.saliency:
            return labeller(sample.need_image(), rng, tags=tags)
        saliency, file = read_saliency(Path(config.saliency), sample.id, sample.size)
        mask = labeller(sample.need_image(), rng, tags=tags, saliency=saliency)
        return replace(mask, details=with_input(mask.details, file))

    return generate


def _labeller(config: ClipConfig, vocabulary: Vocabulary, clip: ClipModel, words: Words) -> Labeller:
    home = frozenset({UNLABELLED} | ({vocabulary.background} if vocabulary.background is not None else set()))
    prototypes, table = torch.from_numpy(words.prototypes).to(clip.device), words.table
    if config.synonyms == "mean-embedding":
        prototypes, table = average_prompts(prototypes, table, apart=home)
    options = {name: getattr(config, name) for name in ("std", "beta", "gamma", "depth")}
    networks = Networks(
        clip,
        _external(config, clip),
        {name: value for name, value in options.items() if value is not None},
        config.segments or SEGMENTS,
    )
    gates = {"top-k": {"top_k": config.top_k}, "similarity": {"min_similarity": config.image_similarity}}
    gate = Gate(**gates.get(config.gate or "none", {}))
    return Labeller(
        look_for(config.method or METHOD, networks, _windows(config)),
        prototypes,
        table,
        _readout(config, clip),
        _rules(config, vocabulary),
        fuse_probabilities=config.fuse == "prob",
        gate=gate,
        embed=None if gate.is_open else whole_vector(clip),
    )


def _windows(config: ClipConfig) -> Windows:
    assert config.short_side and config.crop is not None and config.stride is not None
    return Windows(
        config.short_side,
        config.crop,
        config.stride,
        batch=config.batch or BATCH,
        flip=config.flip,
        fuse_features=config.fuse == "feature",
    )


def _readout(config: ClipConfig, clip: ClipModel) -> Readout:
    assert config.scale and config.activation and config.synonyms
    bias = clip.logit_bias if config.activation == "sigmoid" and clip.logit_bias is not None else 0.0
    synonyms = "max-logit" if config.synonyms == "mean-embedding" else config.synonyms
    return Readout(config.scale, bias, synonyms, config.activation)


def _rules(config: ClipConfig, vocabulary: Vocabulary) -> Rules:
    threshold, certainty = config.background_threshold, config.certainty
    return Rules(
        background=vocabulary.background,
        threshold=threshold if isinstance(threshold, float | int) else 0.0,
        certainty=0.0 if certainty is None else certainty,
        ignore_threshold=config.ignore_threshold,
        class_thresholds=_class_thresholds(config, vocabulary),
        area=config.area or 0.0,
        min_component=config.min_component,
    )


def _class_thresholds(config: ClipConfig, vocabulary: Vocabulary) -> dict[int, float]:
    thresholds = {}
    for entry in config.ignore_thresholds:
        name, _, value = entry.rpartition("=")
        try:
            thresholds[vocabulary.id_of(name.strip())] = float(value)
        except ValueError as error:  # an unknown class is a ValueError too
            raise ConfigError(
                f"ignore_thresholds must be CLASS=PROBABILITY, got {entry!r} ({error})", hint="for example cat=0.4"
            ) from error
    return thresholds


def _external(config: ClipConfig, clip: ClipModel) -> Backbone | None:
    if not config.proxy_backbone:
        return None
    return loaded_backbone(config.proxy_backbone, config.proxy_weights, str(clip.device))


def _facts(config: ClipConfig, vocabulary: Vocabulary, clip: ClipModel, words: Words) -> dict[str, Any]:
    """What moves the labels besides the settings; with these a figure can be compared with another."""
    table = words.table
    given = Path(config.text_embeddings) if config.text_embeddings else None
    return {
        **({"text_embeddings_sha256": hashlib.sha256(given.read_bytes()).hexdigest()} if given else {}),
        **table.facts(vocabulary, () if config.text_embeddings else load_templates(config.templates)),
        "alike": [[one, other, round(cosine, 3)] for one, other, cosine in words.alike[:KEPT_PAIRS]],
        "warnings": [*words.warnings, *_about_model(clip), *_about_threshold(config, table)],
        "learned_scale": clip.logit_scale,
        "activation": clip.activation,
    }


def _about_model(clip: ClipModel) -> tuple[str, ...]:
    width = getattr(clip.model.visual, "conv1", None)
    if width is None or width.out_channels < LARGE_WIDTH:
        return ()
    return (f"{clip.name} is larger than ViT-B; in dense use larger models lose 3 to 15 mIoU against ViT-B-16",)


def _about_threshold(config: ClipConfig, table: PromptTable) -> tuple[str, ...]:
    """Whether the threshold is below what the best of so few classes always has."""
    threshold, rivals = config.background_threshold, table.prompts if config.synonyms == "compat" else table.class_ids
    alone = config.background == "threshold" and config.activation == "softmax"
    if not alone or not isinstance(threshold, float | int) or threshold >= 1 / len(rivals):
        return ()
    return (
        f"background_threshold {threshold:g} makes no pixel background: the best of {len(rivals)} has a probability of "
        f"{1 / len(rivals):.2g} at least; auto finds a threshold on the data, --background words needs none",
    )
