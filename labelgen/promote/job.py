"""The job of `labelgen promote`: pseudo-labels from tags that scribbles tell, and the scribbles put over them."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from labelgen.data.inputs import INPUTS, inputs_of
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, RunFolderError, VocabularyError
from labelgen.geometry.distance_weights import CONTOUR_RADIUS, SCRIBBLE_RADIUS, contour_weights, scribble_weights
from labelgen.job import Job, config_to_json
from labelgen.job_builders import method_job, refined_job
from labelgen.masks import LabelMap, SoftMask, harden
from labelgen.methods.cam import CamConfig
from labelgen.promote.config import PromoteConfig
from labelgen.promote.merge import (
    agreement,
    contradicted,
    empty_mask,
    keep_classes,
    keep_sure,
    merge_labels,
    silence,
)
from labelgen.promote.tags import TaggedByScribbles, has_strokes, tags_of
from labelgen.refine import RefineStep
from labelgen.refine.source import Start, has_scores, make_start
from labelgen.store import MaskFolder, RunFolder
from labelgen.vocab import Vocabulary

__all__ = ["LAYER_NAMES", "promote_job", "pseudo_of_classifier", "pseudo_of_labels"]

LAYER_NAMES = ("scribble", "pseudo")
"""Layers of a promoted run: the scribbles as they were, and the pseudo-labels before the scribbles were put over."""


def pseudo_of_labels(source: RunFolder | MaskFolder, *, certainty: float | None = None) -> Job:
    """Pseudo-labels that are there: the scores of a run where it kept them, else labels.

    Classes that the tags of an image lack are removed. Where there are scores their pixels go to the best of the rest,
    as if the method had known the tags; else they are unlabelled.

    Parameters
    ----------
    source
        A complete run, or a folder of masks.
    certainty
        Start from the labels with this score; see `labelgen.refine.source`. None: from scores, or from labels with 1.

    Raises
    ------
    RunFolderError
        When the run is not complete.
    """
    refuse_unfinished(source)
    if certainty is None and not has_scores(source):
        certainty = 1.0
    start = Start(source, certainty)
    return Job(
        method="pseudo",
        config={**start.facts(), "certainty": certainty, "min_score": start.min_score},
        make=functools.partial(_make_kept, start),
        needs=frozenset({"tags"}),
        reads_image=False,
        vocabulary=source.vocabulary,
        inherited=start.supervision,
    )


def pseudo_of_classifier(config: CamConfig, dataset: TaggedByScribbles) -> Job:
    """Class activation maps of a classifier, of the classes that the scribbles name.

    Raises
    ------
    ConfigError
        When the classifier is to name the classes itself.
    """
    if config.gate != "tags":
        raise ConfigError(f"promotion takes tags from scribbles, got gate {config.gate!r}", hint="leave gate out")
    job = method_job("cam", config, dataset.vocabulary, dataset=dataset)
    tags_source = job.models["classifier"].get("classes", {}).get("tags_source")
    own = {"tags"} if tags_source == dataset.tags_source else set()  # its tags are these very scribbles
    config_json = {"method": "cam", "config": dict(job.config), "min_score": 0.0}
    return replace(job, config=config_json, inherited=job.inherited - own)


def promote_job(
    scribbles: RunFolder | MaskFolder,
    pseudo: Job,
    config: PromoteConfig,
    *,
    dataset: TaggedByScribbles,
    refine: Sequence[RefineStep] = (),
    seed: int = 0,
) -> Job:
    """The job that puts scribbles over pseudo-labels.

    Parameters
    ----------
    pseudo
        What `pseudo_of_labels` or `pseudo_of_classifier` gave.
    dataset
        The images with the tags of the scribbles, for refiners that learn from them.
    refine
        Applied to the pseudo-labels before the scribbles are put over, so that these stay as they were drawn.
    seed
        Of the masks that refiners learn from.

    Raises
    ------
    RunFolderError
        When the run of scribbles is not complete.
    VocabularyError
        When scribbles and pseudo-labels are not of the same classes.
    """
    refuse_unfinished(scribbles)
    vocabulary = scribbles.vocabulary
    if (pseudo.vocabulary.classes, pseudo.vocabulary.background) != (vocabulary.classes, vocabulary.background):
        raise VocabularyError(
            f"scribbles and pseudo-labels must have the same classes in the same order, got {vocabulary.name!r} and "
            f"{pseudo.vocabulary.name!r}",
            hint="make one of them again with the --vocab of the other",
        )
    config = _settled(config, pseudo)
    start = Start(scribbles, 1.0)
    job = refined_job(pseudo, refine, dataset=dataset, seed=seed) if refine else pseudo
    drawn = {"strokes"} if has_strokes(scribbles) else start.supervision
    return Job(
        method="promote",
        config={
            "scribbles": {**start.facts(), "supervision": sorted(start.supervision)},
            "pseudo": {**pseudo.config, "supervision": sorted(pseudo.inherited)},
            **config_to_json(config),
        },
        make=functools.partial(make_promoted, start, job.make, config, vocabulary),
        needs=frozenset(),
        reads_image=job.reads_image,
        vocabulary=vocabulary,
        models=job.models,
        facts=job.facts,
        inherited=frozenset(drawn) | pseudo.inherited,
    )


def _settled(config: PromoteConfig, pseudo: Job) -> PromoteConfig:
    """The defaults that depend on other things, filled in, so that a run records what was done."""
    if config.min_score is None:
        config = replace(config, min_score=float(pseudo.config["min_score"]))
    if not config.save_distances:
        return config
    return replace(
        config,
        scribble_radius=config.scribble_radius or SCRIBBLE_RADIUS,
        contour_radius=config.contour_radius or CONTOUR_RADIUS,
    )


def make_promoted(
    start: Start, make_pseudo: Callable[[], Generate], config: PromoteConfig, vocabulary: Vocabulary
) -> Generate:
    """Build the generator: scribbles, tags, pseudo-labels, and the merged labels with their layers."""
    read, pseudo = make_start(start), make_pseudo()
    without = None if config.pseudo_background else vocabulary.background
    ignore = vocabulary.ignore

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        drawn = read(sample, rng)
        scribbles = harden(drawn, ignore=ignore)
        tags = tags_of(scribbles, drawn.strokes, vocabulary, which=config.tags)
        unknown = tags is None
        if unknown and config.unscribbled == "background":
            tags = frozenset()
        mask = empty_mask(sample.size) if tags is None else pseudo(replace(sample, tags=tags), rng)
        mask = keep_sure(mask, min_score=config.min_score or 0.0, without=without, ignore=ignore)
        layer = harden(mask, ignore=ignore)
        agreed = agreement(scribbles, layer, ignore=ignore)
        if config.contradicted == "unlabel":
            mask = silence(mask, contradicted(layer, scribbles, ignore=ignore))
            layer = harden(mask, ignore=ignore)
        merged = merge_labels(scribbles, mask, ignore=ignore)
        warnings = ["no scribble, so that nothing is known of its classes"] if unknown else []
        return replace(
            merged,
            strokes=drawn.strokes,
            warnings=(*warnings, *mask.warnings),
            details={
                "tags": None if unknown else sorted(tags or ()),
                "agreement": None if agreed is None else round(agreed, 6),
                "scribble_coverage": round(float((scribbles != ignore).mean()), 6),
                "pseudo_coverage": round(float((layer != ignore).mean()), 6),
                **{key: value for key, value in mask.details.items() if key != INPUTS},
                INPUTS: {**inputs_of(drawn.details), **inputs_of(mask.details)},
            },
            layers=dict(zip(LAYER_NAMES, (scribbles, layer), strict=True)),
            distances=_distances(scribbles, layer, config, vocabulary) if config.save_distances else {},
        )

    return generate


def _distances(
    scribbles: LabelMap, pseudo: LabelMap, config: PromoteConfig, vocabulary: Vocabulary
) -> dict[str, np.ndarray]:
    background, ignore = vocabulary.background, vocabulary.ignore
    foreground = scribbles != ignore
    if background is not None:
        foreground &= scribbles != background
    near = scribble_weights(foreground, radius=config.scribble_radius or SCRIBBLE_RADIUS)
    far = contour_weights(pseudo, radius=config.contour_radius or CONTOUR_RADIUS, background=background, ignore=ignore)
    return dict(zip(LAYER_NAMES, (near, far), strict=True))


def _make_kept(start: Start) -> Generate:
    """The function that reads pseudo-labels and keeps the classes of the tags and the background."""
    read, vocabulary = make_start(start), start.source.vocabulary

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        mask = read(sample, rng)
        labels = harden(mask, min_score=start.min_score, ignore=vocabulary.ignore)
        classes = sample.need_tags() | ({vocabulary.background} if vocabulary.background is not None else set())
        ids, counts = np.unique(labels[labels != vocabulary.ignore], return_counts=True)
        removed = {str(i): int(n) for i, n in zip(ids.tolist(), counts.tolist(), strict=True) if i not in classes}
        details: dict[str, Any] = {"removed_pixels": removed, INPUTS: inputs_of(mask.details)}
        return replace(keep_classes(mask, classes), strokes=(), details=details)

    return generate


def refuse_unfinished(source: RunFolder | MaskFolder) -> None:
    """Refuse a run that is not complete.

    Raises
    ------
    RunFolderError
        With the number of images so far.
    """
    if isinstance(source, RunFolder) and not source.complete:
        raise RunFolderError(
            f"a run must be complete to be promoted or merged, but {source.path} has {len(source.ids)} images so far",
            hint="give the command that makes it again; it goes on from there",
        )
