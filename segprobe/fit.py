"""Train a head on frozen features from labels: read labels, cache features, train, write the probe."""

import contextlib
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.data import Dataset
from labelgen.errors import ConfigError
from labelgen.locks import alone
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.nets.device import resolve_device
from labelgen.nets.training import Progress
from segprobe.batches import FeatureSource, check_sizes
from segprobe.config import FitConfig
from segprobe.features import FeatureCache, View, build_cache, build_shards, cache_fingerprint, cache_name
from segprobe.features.on_ray import Crew
from segprobe.fit_folder import begin_fit, finish_fit
from segprobe.fitted import FittedHead, fit_head
from segprobe.labels import Labels, LabelSet, read_labels, supervision_of
from segprobe.layers import Layers, LayerSource
from segprobe.losses import parse_loss
from segprobe.probe_file import Probe, save_probe
from segprobe.runtime import ALONE, Runtime
from segprobe.terms import check_terms
from segprobe.training import head_threads
from segprobe.tuning.features import PictureFeatures, check_picture_sizes
from segprobe.tuning.network import load_trainable, tunable, untouched_hash, with_present_hash
from segprobe.tuning.weights_file import save_tuned

__all__ = ["FitReport", "FittedHead", "cached_features", "fit", "fit_head", "views_of"]


@dataclass(frozen=True)
class FitReport:
    """What a fit did.

    Parameters
    ----------
    out
        Folder of the probe.
    images, skipped
        Images with labels, and without.
    coverage
        Labelled share of all pixels.
    background
        Rule that supplied missing background; none where nothing was missing.
    steps
        Updates of the whole fit; 0 for the closed form.
    first_step
        Updates that an earlier, interrupted call had made.
    loss
        Of the last step; None for the closed form and when nothing was left to do.
    seconds
        Of this call, features included.
    already
        The fit was complete before; nothing was done.
    """

    out: Path
    images: int
    skipped: int
    coverage: float
    background: str
    steps: int
    first_step: int
    loss: float | None
    seconds: float
    already: bool = False


def fit(
    source: Labels,
    dataset: Dataset,
    *,
    backbone: BackboneConfig,
    config: FitConfig,
    out: Path,
    cache: Path = Path("cache"),
    device: str = "auto",
    overwrite: bool = False,
    frozen: Backbone | None = None,
    features: FeatureSource | None = None,
    only: Collection[str] | None = None,
    runtime: Runtime = ALONE,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Fit a probe; the same call again goes on where an earlier one stopped.

    Parameters
    ----------
    source
        A run folder, a folder of masks, or the truth.
    dataset
        The images of the labels.
    out
        Folder of the probe.
    cache
        Folder below which features are kept, for this fit and others.
    overwrite
        Replace what is in `out`.
    frozen
        The backbone of these settings, when it is loaded already.
    features
        The features of all images in the views of these settings, when they are open already.
    only
        Train on the labels of these images only; None for all.
    runtime
        The processes that fit this probe together: they share out the features and every batch; the first one writes.
    crew
        Actors of a Ray cluster that compute the features; None computes them in these processes.

    Raises
    ------
    RunFolderError
        When `out` holds a fit of other settings, or another process is fitting there.
    DataError
        When there is no labelled pixel, or labels and images differ in size.
    """
    start = time.perf_counter()
    named = LayerSource(source, config.layer) if config.layer else source
    labels = read_labels(named, dataset, confidence=config.confidence, min_confidence=config.min_confidence, only=only)
    if config.trains_network:
        frozen = load_trainable(backbone, config, device=device, given=frozen)
    frozen = frozen or load_backbone(backbone, device=device)
    check_layers(config, frozen.config)
    layers = Layers(source) if config.terms else None
    check_terms(config.term_steps, labels, layers)
    settings = _settings(labels, dataset, frozen, config, layers)
    with alone(out) if runtime.is_main else contextlib.nullcontext():
        complete = runtime.is_main and not overwrite and begin_fit(out, settings)
        if any(runtime.sum(complete)):  # which also lets the others wait for the folder
            return _report(out, labels, None, start)
        before = untouched_hash(frozen, config)
        ids = ids_to_cache(labels.ids, dataset.ids)
        if config.trains_network:
            features = picture_features(dataset, ids, frozen, config)
            check_picture_sizes(labels, features)
        else:
            if features is None:
                views = views_of(config)
                features = cached_features(
                    dataset, ids, frozen, cache, views, runtime=runtime, crew=crew, progress=progress
                )
            check_sizes(labels, features)
        if overwrite and runtime.is_main:  # only now, so that the probe in `out` outlives labels that do not fit
            begin_fit(out, settings, overwrite=True)
        runtime.barrier()
        where = str(resolve_device(device))
        fitted = fit_head(
            labels,
            features,
            config,
            images=dataset,
            layers=layers,
            folder=out,
            device=where,
            runtime=runtime,
            progress=progress,
        )
        if untouched_hash(frozen, config) != before:
            raise RuntimeError(f"the backbone {frozen.spec.name} changed while it should have been frozen")
        if runtime.is_main:
            tuned = save_tuned(out, frozen, untuned_sha256=frozen.spec.weights_sha256) if config.trains_network else {}
            frozen = with_present_hash(frozen) if config.trains_network else frozen
            save_probe(out, replace(_probe(fitted, frozen, labels, dataset, config, source), tuned=tuned))
            finish_fit(out, settings)
        runtime.barrier()
    return _report(out, labels, fitted, start)


def check_layers(config: FitConfig, backbone: BackboneConfig) -> None:
    """Refuse a head on several layers when there is one.

    Raises
    ------
    ConfigError
        Naming the layers.
    """
    if config.head_choice.name == "multi" and len(backbone.layers) < 2:
        raise ConfigError(
            f"head multi needs two or more layers of {backbone.name}, got {backbone.layers}",
            hint="name them, --layers=-4,-3,-2,-1, or use --head linear",
        )


def ids_to_cache(labelled: Sequence[str], every: Sequence[str]) -> Sequence[str]:
    """All images of the data set when most have labels, so that label sources share one cache and its statistics.

    Examples
    --------
    >>> ids_to_cache(["a", "b"], ["a", "b", "c"]), ids_to_cache(["a"], ["a", "b", "c"])
    (['a', 'b', 'c'], ['a'])
    """
    return every if 2 * len(labelled) >= len(every) else labelled


def views_of(config: FitConfig) -> tuple[View, ...]:
    """The views that training uses: every scale, and its mirror image when `flip` is on."""
    flips = (False, True) if config.flip else (False,)
    return tuple(View(scale=scale, flip=flip) for scale in config.scales for flip in flips)


def picture_features(dataset: Dataset, ids: Sequence[str], backbone: Backbone, config: FitConfig) -> PictureFeatures:
    """Open a float32 backbone for training, with the images that it is trained on."""
    with head_threads(config.thread_count):
        return PictureFeatures(dataset, ids, tunable(backbone, config), views_of(config))


def cached_features(
    dataset: Dataset,
    ids: Sequence[str],
    backbone: Backbone,
    root: Path,
    views: tuple[View, ...],
    *,
    runtime: Runtime = ALONE,
    crew: Crew | None = None,
    progress: Progress | None = None,
) -> FeatureCache:
    """Open the features of these images below `root`, or compute and keep them; several processes share the work.

    Raises
    ------
    RunFolderError
        When those that were there are damaged, or the images are no longer those that they were computed from.
    """
    folder = root / cache_name(cache_fingerprint(dataset, ids, backbone, views=views))
    shown = None if progress is None else lambda done, total, note: progress(done, total, "features")
    found = (folder / "manifest.json").is_file()
    runtime.barrier()
    if crew is not None and runtime.is_main:
        build_shards(dataset, ids, backbone, folder, views=views, crew=crew, progress=shown)
    runtime.barrier()
    if runtime.world > 1:
        build_shards(
            dataset, ids, backbone, folder, shard=(runtime.rank + 1, runtime.world), views=views, progress=shown
        )
        runtime.barrier()
    cache = build_cache(dataset, ids, backbone, folder, views=views, progress=shown)
    if found:
        cache.verify(None if dataset.spec.kind == "demo" else dataset)  # demo scenes are code: no file can change
    return cache


def _probe(
    fitted: FittedHead, backbone: Backbone, labels: LabelSet, dataset: Dataset, config: FitConfig, source: Labels
) -> Probe:
    return Probe(
        head=fitted.head,
        kind=config.head_choice.name,
        settings=config.head_choice.to_json(),
        class_ids=fitted.class_ids,
        vocabulary=labels.vocabulary,
        backbone=backbone.config,
        fingerprint=backbone.fingerprint(),
        labels={
            "name": labels.name,
            "path": str(getattr(source, "path", None) or ""),
            "supervision": supervision_of(source),
            "images": len(labels.ids),
            "skipped": len(labels.skipped),
            "coverage": labels.coverage,
            "digest": labels.digest(),
            "background": fitted.background,
        },
        data=dataset.spec,
        config=config.to_json(),
        figures={
            "steps": fitted.steps,
            "loss": fitted.loss,
            "pixel_loss": parse_loss(config.loss).to_json(),
            **fitted.figures,
            "terms": [step.to_json() for step in config.term_steps],
        },
    )


def _settings(
    labels: LabelSet, dataset: Dataset, backbone: Backbone, config: FitConfig, layers: Layers | None = None
) -> dict[str, Any]:
    """What must be the same for a fit to be taken up again."""
    settings = {
        "config": config.decisive(),
        "backbone": backbone.fingerprint(),
        "data": dataset.spec.to_json(),
        "labels": {"digest": labels.digest(), **({} if layers is None else {"layers": layers.digest(labels.ids)})},
    }
    return json.loads(json.dumps(settings))


def _report(out: Path, labels: LabelSet, fitted: FittedHead | None, start: float) -> FitReport:
    steps, done = (fitted.steps, len(fitted.losses)) if fitted else (0, 0)
    return FitReport(
        out=out,
        images=len(labels.ids),
        skipped=len(labels.skipped),
        coverage=labels.coverage,
        background=fitted.background if fitted else "",
        steps=steps,
        first_step=steps - done,
        loss=fitted.loss if fitted else None,
        seconds=time.perf_counter() - start,
        already=fitted is None,
    )
