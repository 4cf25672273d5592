"""ZeroSeg labels put together: the student, its teacher's words, and what is settled before the first image."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, WeightsError
from labelgen.masks import SoftMask
from labelgen.methods.method import Prepared
from labelgen.methods.zeroseg import PUBLISHED_THRESHOLDS, STUDENT_FOLDER, ZeroSegConfig
from labelgen.nets.clip.config import DEMO_CLIP, ClipModelConfig
from labelgen.nets.clip.model import ClipModel, loaded_clip
from labelgen.nets.clip.prototypes import read_text_embeddings, text_prototypes
from labelgen.nets.clip.templates import load_templates
from labelgen.nets.device import resolve_device
from labelgen.nets.zeroseg.config import LabellingConfig
from labelgen.nets.zeroseg.inference import ClassRule, label_image
from labelgen.nets.zeroseg.student_file import FOLDER, TrainedStudent, read_student
from labelgen.prompts import PromptTable, prompt_table, split_words
from labelgen.vocab import Vocabulary

__all__ = ["build", "prepare"]

log = logging.getLogger(__name__)


def prepare(config: ZeroSegConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the student and its teacher, settle what was left open, embed the prompts."""
    trained = read_student(_student_folder(config))
    config = settle(config, vocabulary, trained)
    table = words_of(config, vocabulary)
    for sentence in table.warnings:
        log.warning("%s", sentence)
    prototypes_of(config, table, trained)  # a missing text tower or file must not cost a run that has begun
    templates = () if config.text_embeddings else load_templates(config.templates)
    facts = {**table.facts(vocabulary, templates), "warnings": list(table.warnings)}
    keys = ("init", "teacher", "data", "training", "precision")
    student = {"sha256": trained.sha256, **{key: trained.about[key] for key in keys}}
    return Prepared(config, {"zeroseg": student}, facts)


def build(config: ZeroSegConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; settings that were left open are settled first."""
    trained = read_student(_student_folder(config))
    config = settle(config, vocabulary, trained)
    table = words_of(config, vocabulary)
    device = torch.device(config.device)
    student = trained.student.to(device)
    rule = ClassRule(
        prototypes=torch.from_numpy(prototypes_of(config, table, trained)),
        class_of=table.class_of,
        scale=config.scale or 1.0,
        top_k=config.top_k or 0,
        threshold=config.background_threshold or 0.0,
        background=vocabulary.background,
    )

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        return label_image(
            student,
            sample.need_image(),
            rule,
            short_side=config.short_side or 0,
            crop=config.crop or 0,
            stride=config.stride or 0,
        )

    return generate


def settle(config: ZeroSegConfig, vocabulary: Vocabulary, trained: TrainedStudent) -> ZeroSegConfig:
    """Fill in what was left open, from the student and the vocabulary.

    Raises
    ------
    ConfigError
        When background is asked for that the vocabulary does not have, or without the threshold that it needs.
    """
    teacher = trained.about["teacher"]["teacher"]
    usual = LabellingConfig(**trained.about["labelling"])
    short_side = usual.short_side if config.short_side is None else config.short_side
    crop = min(usual.crop, short_side or usual.crop) if config.crop is None else config.crop
    stride = config.stride
    if stride is None and crop:
        stride = usual.stride if crop == usual.crop else max(1, crop // 2)
    background, threshold = background_of(config, vocabulary, published_threshold(vocabulary, teacher.get("model", "")))
    scale = config.scale if config.scale is not None else teacher.get("logit_scale")
    if scale is None:
        raise ConfigError(
            "the student does not say the scale of its teacher", hint="give one with --scale; CLIP's: 100"
        )
    device = str(resolve_device(config.device))
    return replace(
        config,
        weights=str(trained.path.resolve()),
        device=device,
        short_side=short_side,
        crop=crop,
        stride=stride,
        top_k=usual.top_k if config.top_k is None else config.top_k,
        scale=scale,
        background=background,
        background_threshold=threshold,
    )


def published_threshold(vocabulary: Vocabulary, teacher: str) -> float | None:
    """Threshold of the paper, which belongs to the probabilities of students like the paper's."""
    return None if teacher == DEMO_CLIP else PUBLISHED_THRESHOLDS.get(vocabulary.base_name)


def background_of(config: ZeroSegConfig, vocabulary: Vocabulary, published: float | None) -> tuple[Any, float | None]:
    """Mode and threshold."""
    threshold = config.background_threshold
    if config.background is None:
        if vocabulary.background is None:
            return "none", _no_threshold(threshold, "none")
        return ("words", None) if threshold is None and published is None else ("threshold", threshold or published)
    if vocabulary.background is None and config.background != "none":
        raise ConfigError(
            f"background {config.background} needs a background class, which {vocabulary.name!r} does not have",
            hint="--background none, or a vocabulary with one",
        )
    if "threshold" not in config.background:
        return config.background, _no_threshold(threshold, config.background)
    threshold = published if threshold is None else threshold
    if threshold is None:
        raise ConfigError(
            f"no background threshold is published for {vocabulary.name!r} and this student",
            hint="give one with --background-threshold, or use --background words",
        )
    return config.background, threshold


def _no_threshold(threshold: float | None, background: str) -> None:
    if threshold is not None:
        raise ConfigError(
            f"background_threshold has no say with background {background}, got {threshold}",
            hint="--background threshold, or words+threshold",
        )


def words_of(config: ZeroSegConfig, vocabulary: Vocabulary) -> PromptTable:
    """The prompts of settled settings."""
    return prompt_table(
        vocabulary, background=config.background or "none", background_words=split_words(config.background_words)
    )


def prototypes_of(config: ZeroSegConfig, table: PromptTable, trained: TrainedStudent) -> np.ndarray:
    """Unit vectors of the prompts, from the file given, the cache, or the text tower of the teacher."""
    width = trained.student.config.joint_dim
    if config.text_embeddings:
        return read_text_embeddings(config.text_embeddings, table.prompts, dim=width)
    return text_prototypes(_teacher(config, trained), table.prompts, load_templates(config.templates))


def _teacher(config: ZeroSegConfig, trained: TrainedStudent) -> ClipModel:
    """The model that taught the student: no other has words for its vectors.

    Raises
    ------
    WeightsError
        When another one is found.
    """
    settings = {**trained.about["teacher"]["load"], "device": "cpu"}
    if config.clip_weights:
        settings |= {"weights": config.clip_weights, "pretrained": ""}
    clip = loaded_clip(ClipModelConfig(**settings))
    wanted = trained.about["teacher"]["teacher"]["sha256"]
    if clip.weights_sha256 != wanted:
        raise WeightsError(
            f"the student was taught by weights of sha256 {wanted[:12]}, but {clip.name} from {clip.weights_from} has "
            f"{clip.weights_sha256[:12]}",
            hint="give the checkpoint of its teacher with --clip-weights, or train a student anew",
        )
    return clip


def _student_folder(config: ZeroSegConfig) -> Path:
    where = Path(config.weights or STUDENT_FOLDER).expanduser()
    FOLDER.weights_path(where)
    return where
