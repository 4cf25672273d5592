"""Class activation maps put together: the classifier, which of its classes an image may show, maps, background."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelgen.data.dataset import Dataset, DataSpec
from labelgen.data.inputs import with_input
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, LabelgenError, VocabularyError, WeightsError
from labelgen.masks import SoftMask
from labelgen.methods.cam import CamConfig, parse_scales
from labelgen.methods.class_maps import background_facts, need_background, without_classes
from labelgen.methods.method import Prepared
from labelgen.nets.cam.classifier import CamClassifier
from labelgen.nets.cam.classifier_file import FOLDER, load_classifier
from labelgen.nets.cam.config import CLASSIFIER_FOLDERS
from labelgen.nets.cam.multiscale import Views
from labelgen.nets.cam.seeds import class_probabilities, look_of, raw_maps
from labelgen.nets.device import resolve_device
from labelgen.nets.saliency import SaliencySource, open_saliency
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import (
    FIXED_PRESETS,
    BackgroundRule,
    Channel,
    Fixed,
    Saliency,
    parse_background,
)
from labelgen.seeds.normalise import Normalisation, check_finite, normalise
from labelgen.vocab import Vocabulary

__all__ = ["ClassLookup", "Gated", "build", "gate", "match_classes", "prepare", "seed"]

GATE_THRESHOLD = 0.5
DEMO_THRESHOLD = 0.4  # for all three methods, chosen on demo scenes of their own: benchmarks/cam_demo.py
FIXED_OF = {"cam": FIXED_PRESETS["psa"], "seam": FIXED_PRESETS["seam"], "eps": FIXED_PRESETS["eps"]}
NORMALISE_OF: dict[str, Normalisation] = {"cam": "max", "seam": "minmax", "eps": "max"}
NOT_SETTINGS = ("format", "schema", "versions", "figures")  # of what a classifier says of itself


@dataclass(frozen=True)
class ClassLookup:
    """Which channel of a classifier is which class of a vocabulary.

    Parameters
    ----------
    channel_of
        Vocabulary id to channel.
    background
        Vocabulary id of background.
    names
        Of all classes of the vocabulary.
    """

    channel_of: Mapping[int, int]
    background: int
    names: tuple[str, ...]

    def lacking(self) -> list[str]:
        """Classes of the vocabulary that the classifier does not know."""
        return [n for i, n in enumerate(self.names) if i != self.background and i not in self.channel_of]


@dataclass(frozen=True)
class Gated:
    """The classes that one image may show.

    Parameters
    ----------
    class_ids
        Vocabulary ids, rising, all of them known to the classifier.
    unknown
        Names of tags that the classifier lacks.
    details
        What else is to be kept about the image.
    """

    class_ids: tuple[int, ...]
    unknown: tuple[str, ...] = ()
    details: Mapping[str, Any] | None = None


def prepare(config: CamConfig, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
    """Find and hash the classifier, match its classes, settle what was left open.

    Raises
    ------
    WeightsError
        When there is no classifier, or it was trained by another method than the one named.
    ConfigError
        When a setting does not go with the classifier or the vocabulary.
    """
    classifier, path = _classifier_of(config)
    lookup = match_classes(classifier, vocabulary)
    spec = DataSpec("images") if dataset is None else dataset.spec
    config, source = _settled(config, path, classifier, spec)
    about = {key: value for key, value in classifier.about.items() if key not in NOT_SETTINGS}
    facts: dict[str, Any] = {"classes": [lookup.names[i] for i in sorted(lookup.channel_of)]}
    facts |= {"classes_unknown_to_the_classifier": lookup.lacking()} if lookup.lacking() else {}
    facts |= background_facts(parse_background(config.background))
    if source is not None:
        facts["saliency"] = source.facts()
    supervision = {"tags"}  # whoever names the classes, the classifier learned from tags
    sources = [found for found in (facts.get("saliency"), about.get("saliency")) if found]
    if any(found.get("pixel_supervised") is not False for found in sources):
        supervision.add("saliency")  # nobody said that the maps saw no outlines
    return Prepared(config, {"classifier": {"sha256": classifier.sha256, **about}}, facts, frozenset(supervision))


def build(config: CamConfig, vocabulary: Vocabulary) -> Generate:
    """Build the generator; settings that were left open are settled first."""
    if not (config.method and config.background and config.normalise):
        config = prepare(config, vocabulary, None).config
    classifier, _ = _classifier_of(config)
    lookup, rule = match_classes(classifier, vocabulary), parse_background(config.background)
    source = open_saliency(config.saliency, DataSpec("images"), config.device) if config.saliency else None

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        gated = gate(sample, config, classifier, lookup)
        warnings = [f"the classifier does not know {name}, which the tags name" for name in gated.unknown]
        details = dict(gated.details or {})
        if gated.unknown:
            details["unknown_classes"] = list(gated.unknown)
        if not gated.class_ids:
            return _nothing_to_find(sample, config, gated, lookup.background, warnings, details)
        saliency = None
        if source is not None:
            saliency, file = source.map(sample.id, sample.need_image())
            details = details if file is None else with_input(details, file)
        mask, more = seed(sample, gated.class_ids, config, classifier, lookup, rule, saliency)
        return replace(mask, warnings=(*warnings, *more), details=details)

    return generate


def gate(sample: Sample, config: CamConfig, classifier: CamClassifier, lookup: ClassLookup) -> Gated:
    """Which classes an image may show, by its tags or by what the classifier predicts."""
    if config.gate == "tags":
        tags = sample.need_tags() - {lookup.background}
        known = tuple(sorted(i for i in tags if i in lookup.channel_of))
        return Gated(known, tuple(lookup.names[i] for i in sorted(tags - set(known))))
    threshold = GATE_THRESHOLD if config.gate_threshold is None else config.gate_threshold
    probabilities = class_probabilities(classifier, sample.need_image())
    check_finite(probabilities, where=f"{sample.id} (the scores of the classes)")
    found = {i: float(probabilities[channel]) for i, channel in lookup.channel_of.items()}
    passed = tuple(sorted(i for i, probability in found.items() if probability > threshold))
    return Gated(passed, details={"predicted": {lookup.names[i]: round(found[i], 4) for i in passed}})


def seed(
    sample: Sample,
    class_ids: tuple[int, ...],
    config: CamConfig,
    classifier: CamClassifier,
    lookup: ClassLookup,
    rule: BackgroundRule,
    saliency: np.ndarray | None,
) -> tuple[SoftMask, list[str]]:
    """The scores of one image and what is to be said about them."""
    channels = [lookup.channel_of[class_id] for class_id in class_ids]
    views = Views(parse_scales(config.scales), flip=config.flip, combine=config.combine, relu=config.relu)
    found = raw_maps(classifier, sample.need_image(), channels, views, kind=config.maps, layer=config.layer)
    raw = found.foreground.cpu().numpy()
    maps = normalise(raw, how=config.normalise or NORMALISE_OF[classifier.method], where=sample.id)
    warnings = [
        f"the map of {lookup.names[class_id]} is nowhere above 0"
        for class_id, plane in zip(class_ids, raw, strict=True)
        if plane.max() <= 0
    ]
    channel = None
    if isinstance(rule, Channel) and found.background is not None:
        background = found.background.cpu().numpy()
        check_finite(background, where=sample.id)
        channel = np.clip(background, 0, 1)  # it leaves [0, 1] by rounding only
    mask = set_against(maps, class_ids, rule, background=lookup.background, saliency=saliency, channel=channel)
    return mask, warnings


def match_classes(classifier: CamClassifier, vocabulary: Vocabulary) -> ClassLookup:
    """Find the channels of the classes of a vocabulary, by their names.

    Raises
    ------
    ConfigError
        When the vocabulary has no background, or lacks a class of the classifier.
    """
    background = need_background(vocabulary)
    same_ids = classifier.vocabulary in (vocabulary.name, vocabulary.base_name)
    try:
        ids = classifier.class_ids if same_ids else tuple(map(vocabulary.id_of, classifier.class_names))
        if max(ids, default=0) >= vocabulary.num_classes or len(set(ids)) < len(ids):
            raise VocabularyError(f"it has {vocabulary.num_classes} classes")
    except VocabularyError as error:
        raise ConfigError(
            f"the classes of the classifier, of {classifier.vocabulary!r}, must be classes of {vocabulary.name!r}: "
            f"{error}",
            hint=f"its classes: {', '.join(classifier.class_names)}",
        ) from error
    return ClassLookup({i: channel for channel, i in enumerate(ids)}, background, vocabulary.classes)


def usual_background(classifier: CamClassifier) -> Fixed:
    """The threshold of the paper, which suits photographs; another for a classifier of the demo scenes."""
    is_of_demo = classifier.about.get("data", {}).get("kind") == "demo"
    return Fixed(DEMO_THRESHOLD if is_of_demo else FIXED_OF[classifier.method])


def _settled(
    config: CamConfig, path: Path, classifier: CamClassifier, spec: DataSpec
) -> tuple[CamConfig, SaliencySource | None]:
    """Settings with everything filled in that was left open, and the source of saliency if one is used."""
    rule = parse_background(config.background) if config.background else usual_background(classifier)
    if isinstance(rule, Channel) and (classifier.method == "cam" or config.maps != "gap"):
        maker = f"maps {config.maps} have" if config.maps != "gap" else "a classifier trained by cam has"
        raise ConfigError(
            f"{maker} no channel of the background", hint="--background fixed:0.2, or a seam or eps classifier"
        )
    layers = [name for name, _ in classifier.network.body.named_modules() if name]
    if config.layer and config.layer not in layers:
        top = ", ".join(name for name in layers if "." not in name)
        raise ConfigError(
            f"{classifier.network.reading.backbone} has no layer {config.layer!r}",
            hint=f"at its top: {top}; or one in them, as blocks.4",
        )
    source, saliency = None, config.saliency
    if isinstance(rule, Saliency):
        source = open_saliency(saliency, spec, config.device)
        saliency = _settled_saliency(saliency, source)
    if config.layer:  # a layer without a grid is refused before the first image
        look = look_of(classifier, [0], kind=config.maps, layer=config.layer)
        side = 2 * classifier.multiple
        try:
            look(torch.zeros(1, 3, side, side, device=classifier.device))
        except LabelgenError as error:
            raise ConfigError(
                f"layer {config.layer!r} gives no class maps: {error.message}",
                hint=error.hint or "a block: blocks.4",
            ) from error
    threshold = config.gate_threshold
    if config.gate == "predicted" and threshold is None:
        threshold = GATE_THRESHOLD
    settled = replace(
        config,
        method=classifier.method,
        weights=str(path.resolve()),
        device=str(classifier.device),
        normalise=config.normalise or NORMALISE_OF[classifier.method],
        background=str(rule),
        saliency=saliency,
        gate_threshold=threshold,
    )
    return settled, source


def _settled_saliency(text: str, source: SaliencySource) -> str:
    """The text of a source with the network named that follows from the data; a folder as an absolute path."""
    name, comma, rest = text.partition(",")
    backbone = source.facts().get("backbone")
    if name.strip() == "ncut" and backbone and "backbone=" not in rest and "weights=" not in rest:
        return f"ncut:{backbone}{comma}{rest}"
    if name.partition(":")[0] in ("ncut", "spectral"):
        return text
    whole = Path(text).expanduser()
    return str(whole.resolve()) if whole.is_dir() or not comma else f"{Path(name).expanduser().resolve()},{rest}"


def _nothing_to_find(
    sample: Sample, config: CamConfig, gated: Gated, background: int, warnings: list[str], details: dict[str, Any]
) -> SoftMask:
    """An image that shows no class that the classifier knows."""
    if gated.unknown:
        warnings.append("without any class that the classifier knows, the image stays unlabelled")
        nothing = np.zeros((1, *sample.size), np.float32)
        return SoftMask(nothing, (background,), warnings=tuple(warnings), details=details)
    what = "has no tag" if config.gate == "tags" else "shows no class that the classifier predicts"
    mask = without_classes(sample, what, untagged=config.untagged, background=background)
    return replace(mask, warnings=(*warnings, *mask.warnings), details=details)


def _classifier_of(config: CamConfig) -> tuple[CamClassifier, Path]:
    """The classifier of these settings and where it is.

    Raises
    ------
    WeightsError
        When there is none, or it was trained by another method than the one named.
    """
    where = Path(config.weights or CLASSIFIER_FOLDERS[config.method or "cam"]).expanduser()
    path = FOLDER.weights_path(where)
    device = str(resolve_device(config.device))
    classifier = _load(path.resolve(), path.stat().st_mtime_ns, device)
    wanted = config.method or ("" if config.weights else "cam")
    if wanted and classifier.method != wanted:
        raise WeightsError(
            f"the classifier in {where} must be trained by {wanted}, it was by {classifier.method}",
            hint=f"--method {classifier.method}, or the folder of another with --weights",
        )
    return classifier, where


@functools.lru_cache(maxsize=1)
def _load(path: Path, written: int, device: str) -> CamClassifier:
    """The classifier, loaded once a process as long as no other is asked for and the file stays as it is."""
    return load_classifier(path, device=device)
