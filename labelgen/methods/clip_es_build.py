"""CLIP-ES put together: model and words, maps of the tags of an image, their spread, background."""

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.methods.class_maps import background_facts, need_background, without_classes
from labelgen.methods.clip_es import NO_WORDS, ClipEsConfig
from labelgen.methods.clip_settle import is_demo
from labelgen.methods.method import Prepared
from labelgen.nets.clip.config import DEMO_CLIP, REAL_CLIP, ClipModelConfig
from labelgen.nets.clip.model import ClipModel, loaded_clip
from labelgen.nets.clip.prototypes import text_prototypes
from labelgen.nets.clip.templates import load_templates
from labelgen.nets.clip_cam import check_tower, clip_cam
from labelgen.nets.geometry import resize_image
from labelgen.prompts import PromptTable, prompt_table, split_words
from labelgen.refine.attention_affinity import sinkhorn_affinity, spread_maps
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import BackgroundRule, parse_background
from labelgen.seeds.normalise import normalise
from labelgen.vocab import Vocabulary

__all__ = ["Words", "build", "patch_size", "prepare", "words_for"]

log = logging.getLogger(__name__)

SHARE = 0.4  # as CLIP-ES on VOC
DEMO_SCALE = 5.0  # .48 against .46 mIoU of dev scenes with the learned 16.6; cosines of demo-clip lie far apart


@dataclass(frozen=True, eq=False)
class Words:
    """What competes for an image.

    Parameters
    ----------
    table
        Prompts of classes, then of what lies around them.
    of_class
        Unit vector of each class, the mean of its prompts, by vocabulary id.
    around
        Unit vectors of the background words.
    """

    table: PromptTable
    of_class: dict[int, Float32[np.ndarray, "D"]]
    around: Float32[np.ndarray, "W D"]

    def competing(self, class_ids: tuple[int, ...]) -> Float32[torch.Tensor, "P D"]:
        """Vectors of these classes, then of the background words."""
        return torch.from_numpy(np.concatenate([np.stack([self.of_class[i] for i in class_ids]), self.around]))


def prepare(config: ClipEsConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the model, embed the words, settle what was left open.

    Raises
    ------
    ConfigError
        When the vocabulary has no background, or the image tower is none that the recipe fits.
    """
    need_background(vocabulary)
    clip = loaded_clip(_model_of(config, demo=is_demo(dataset)))
    config = _settled(config, clip)
    words = words_for(config, vocabulary, clip)
    facts: dict[str, Any] = {
        **words.table.facts(vocabulary, _templates(config)),
        "warnings": list(words.table.warnings),
        "learned_scale": clip.logit_scale,
    }
    facts |= background_facts(parse_background(config.background))
    for sentence in words.table.warnings:
        log.warning("%s", sentence)
    return Prepared(config, {"clip": clip.fingerprint()}, facts)


def build(config: ClipEsConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; settings that were left open are settled first, as for data that are not the demo's."""
    if config.scale is None or config.caa is None:
        config = prepare(config, vocabulary, None).config
    background = need_background(vocabulary)
    clip = loaded_clip(_model_of(config, demo=False))
    words, rule = words_for(config, vocabulary, clip), parse_background(config.background)

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        class_ids = tuple(sorted(sample.need_tags() - {background}))
        if not class_ids:
            return without_classes(sample, "has no tag", untagged=config.untagged, background=background)
        return _seed(sample, class_ids, config, clip, words, rule, vocabulary)

    return generate


def words_for(config: ClipEsConfig, vocabulary: Vocabulary, clip: ClipModel) -> Words:
    """The words and their unit vectors, from the cache or the text tower."""
    without = config.background_words.strip() == NO_WORDS
    table = prompt_table(
        vocabulary,
        background="none" if without else "words",
        background_words=() if without else split_words(config.background_words),
    )
    vectors = text_prototypes(clip, table.prompts, _templates(config))
    of_class = {}
    for class_id in table.class_ids:
        mean = vectors[list(table.prompts_of(class_id))].mean(axis=0)
        of_class[class_id] = (mean / np.linalg.norm(mean)).astype(np.float32)
    around = vectors[list(table.prompts_of(need_background(vocabulary)))]
    return Words(table, of_class, around)


def patch_size(size: tuple[int, int], *, patch: int, short_side: int) -> tuple[int, int]:
    """Size in pixels, in whole patches, to which an image is resized; never padded.

    Examples
    --------
    >>> patch_size((375, 500), patch=16, short_side=0), patch_size((375, 500), patch=16, short_side=224)
    ((384, 512), (224, 304))
    """
    factor = short_side / min(size) if short_side else 1.0
    height, width = (patch * math.ceil(round(length * factor) / patch) for length in size)
    return max(height, patch), max(width, patch)


def _seed(
    sample: Sample,
    class_ids: tuple[int, ...],
    config: ClipEsConfig,
    clip: ClipModel,
    words: Words,
    rule: BackgroundRule,
    vocabulary: Vocabulary,
) -> SoftMask:
    assert config.scale is not None  # settled
    image = sample.need_image()
    size = patch_size(sample.size, patch=check_tower(clip.model).patch, short_side=config.short_side)
    found = clip_cam(
        clip.model,
        clip.normalise(resize_image(image, size)[None]),
        words.competing(class_ids),
        range(len(class_ids)),
        scale=config.scale,
        feature=config.feature,
        layers=(config.layers or 0) if config.caa else 0,
        kind=config.maps,
    )
    raw = found.maps.relu().cpu().numpy()
    cells = normalise(raw, how="minmax0", where=sample.id)
    if found.attention is not None:
        affinity = sinkhorn_affinity(found.attention)
        cells = normalise(spread_maps(affinity, cells, share=config.share or 0.0), how="minmax0", where=sample.id)
    planes = torch.nn.functional.interpolate(torch.from_numpy(cells)[None], size=sample.size, mode="bilinear")[0]
    mask = set_against(planes.numpy().clip(0, 1), class_ids, rule, background=need_background(vocabulary))
    empty = [vocabulary.classes[c] for c, plane in zip(class_ids, raw, strict=True) if plane.max() <= 0]
    probabilities = {
        vocabulary.classes[c]: round(float(p), 4) for c, p in zip(class_ids, found.probabilities, strict=False)
    }
    return replace(
        mask,
        warnings=tuple(f"the map of {name} is nowhere above 0" for name in empty),
        details={"probabilities": probabilities},
    )


def _model_of(config: ClipEsConfig, *, demo: bool) -> ClipModelConfig:
    return ClipModelConfig(
        model=config.model if config.model or config.weights or demo else REAL_CLIP,
        pretrained=config.pretrained,
        weights=config.weights,
        dtype=config.dtype,
        device=config.device,
        cache_dir=config.cache_dir,
    )


def _settled(config: ClipEsConfig, clip: ClipModel) -> ClipEsConfig:
    tower = check_tower(clip.model)
    if clip.logit_bias is not None:
        raise ConfigError(
            f"words compete in a softmax, but {clip.name} was trained with a sigmoid (SigLIP)",
            hint="--model ViT-B-16, of OpenAI or LAION",
        )
    demo, depth = clip.name == DEMO_CLIP, len(tower.blocks)
    asked = config.layers is not None or config.share is not None
    caa = (asked or not demo) if config.caa is None else config.caa
    if caa and (config.layers or 0) > depth:
        raise ConfigError(f"layers must lie in [1, {depth}] for {clip.name}, got {config.layers}")
    return replace(
        config,
        model=clip.config.model,
        pretrained=clip.config.pretrained,
        weights=clip.config.weights,
        device=clip.config.device,
        scale=(DEMO_SCALE if demo else clip.logit_scale) if config.scale is None else config.scale,
        caa=caa,
        layers=(config.layers or -(-2 * depth // 3)) if caa else None,
        share=(SHARE if config.share is None else config.share) if caa else None,
        background=str(parse_background(config.background)),
    )


def _templates(config: ClipEsConfig) -> tuple[str, ...]:
    return (config.templates,) if "{}" in config.templates else load_templates(config.templates)
