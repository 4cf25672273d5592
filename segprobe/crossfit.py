"""Cross-fitting: each image is predicted by a probe that never saw its labels, all of it kept as a run with scores."""

import hashlib
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from labelgen.data import Dataset, Generate, Sample
from labelgen.data.dataset import DataSpec
from labelgen.errors import ConfigError
from labelgen.masks import SoftMask
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import Backbone, load_backbone
from labelgen.nets.device import resolve_device
from labelgen.nets.training import Progress
from labelgen.run import Job, RunOptions, RunReport, run_job
from labelgen.store.layout import MANIFEST
from labelgen.vocab import Vocabulary
from segprobe.batches import FeatureSource
from segprobe.config import FitConfig
from segprobe.fit import FitReport, cached_features, fit, ids_to_cache, views_of
from segprobe.folds import assign_folds
from segprobe.labels import Labels, LabelSet, read_labels, supervision_of
from segprobe.layers import LayerSource
from segprobe.predict import models_of
from segprobe.probe_file import open_probe
from segprobe.regions import RegionConfig, judged_regions
from segprobe.relabel import image_probabilities

__all__ = ["CrossfitReport", "MakeHeldOut", "Part", "crossfit", "held_out_job", "refuse_networks"]

METHOD = "crossfit"
REGIONS = RegionConfig()


@dataclass(frozen=True)
class CrossfitReport:
    """What a cross-fit did.

    Parameters
    ----------
    run
        Of the run of predictions.
    fits
        Of the probe of each fold.
    sizes
        Images of each fold.
    """

    run: RunReport
    fits: tuple[FitReport, ...]
    sizes: tuple[int, ...]


def crossfit(
    source: Labels,
    dataset: Dataset,
    *,
    backbone: BackboneConfig,
    config: FitConfig,
    out: Path,
    probes: Path,
    folds: int = 5,
    cache: Path = Path("cache"),
    device: str = "auto",
    options: RunOptions = RunOptions(),  # noqa: B008
    frozen: Backbone | None = None,
    features: FeatureSource | None = None,
    progress: Progress | None = None,
) -> CrossfitReport:
    """Predict each image by a probe that was fitted on the labels of the other folds.

    The same call again goes on where an earlier one stopped: probes of folds that are complete stay, and so do images
    that are predicted. Predictions are read off the cached features, averaged over their views. Beside them stands what
    the labelled regions of the image look like as a whole (see `segprobe.regions`).

    Parameters
    ----------
    source
        The labels: a run folder, a folder of masks, or the truth.
    dataset
        Their images; all of them are predicted where most have labels, else those that have.
    out
        Run folder to write; the scores are kept.
    probes
        Folder below which the probe of each fold is kept, as fold-0, fold-1, ....
    folds
        How many; see `segprobe.folds`. They are drawn by the seed of `config`.
    options
        Of the run of predictions; its seed and whether scores are kept are settled here.
    frozen, features
        As in `fit`.

    Raises
    ------
    ConfigError
        When the settings train a backbone, or there are fewer images than folds.
    RunFolderError
        When `out` or `probes` hold what was made with other settings or labels.
    DataError
        When there is no labelled pixel, or labels and images differ in size.

    References
    ----------
    .. [1] Chernozhukov et al., "Double/debiased machine learning", The Econometrics Journal 2018, section 1 (the name).
    .. [2] Northcutt et al., "Confident Learning", JAIR 2021, arXiv 1911.00068, section 3: why such predictions must be
       out of sample.
    """
    refuse_networks(config)
    named = LayerSource(source, config.layer) if config.layer else source
    labels = read_labels(named, dataset)
    ids = tuple(ids_to_cache([*labels.ids, *labels.skipped], dataset.ids))
    fold_of = assign_folds(classes_by_image(labels, ids), folds=folds, seed=config.seed)
    frozen = frozen or load_backbone(backbone, device=device)
    if features is None:
        features = cached_features(dataset, ids, frozen, cache, views_of(config), progress=progress)
    fits = []
    for number in range(folds):
        fits.append(
            fit(
                source,
                dataset,
                backbone=backbone,
                config=config,
                out=probes / f"fold-{number}",
                cache=cache,
                device=device,
                overwrite=options.overwrite,
                frozen=frozen,
                features=features,
                only=[sample_id for sample_id in labels.ids if fold_of[sample_id] != number],
                progress=_named(progress, f"fold {number + 1} of {folds}"),
            )
        )
    regions = judged_regions(labels, features, fold_of, REGIONS)
    make = MakeHeldOut(tuple(str(found.out.resolve()) for found in fits), dict(fold_of), features, device, regions)
    job = _recorded(held_out_job(source, make), source, fits, config, backbone=frozen, device=device)
    options = replace(options, seed=config.seed, save_scores=True)
    report = run_job(Part(dataset, tuple(sorted(ids))), job, out, options, progress=progress)
    sizes = np.bincount(list(fold_of.values()), minlength=folds)
    return CrossfitReport(report, tuple(fits), tuple(int(size) for size in sizes))


def refuse_networks(config: FitConfig) -> None:
    """Refuse settings that train more than heads.

    Raises
    ------
    ConfigError
        With what to leave out.
    """
    if config.trains_network:
        raise ConfigError("a cross-fit trains heads on cached features, not a network", hint="drop --tune, --baseline")


def classes_by_image(labels: LabelSet, ids: tuple[str, ...]) -> dict[str, Set[int]]:
    """Classes that the labels of each image show; none where it has no label."""
    found: dict[str, Set[int]] = {sample_id: frozenset() for sample_id in ids}
    for sample_id, image in labels.images.items():
        found[sample_id] = frozenset(int(class_id) for class_id in np.unique(image.labelled()[1]))
    return found


@dataclass(frozen=True)
class MakeHeldOut:
    """Builds the labelling function in each worker process: heads from disk, tokens from the cache.

    Parameters
    ----------
    probes
        Folder of the probe of each fold.
    fold_of
        Fold of each image.
    regions
        What was found of the labelled regions of each image, kept beside its predictions.
    """

    probes: tuple[str, ...]
    fold_of: Mapping[str, int]
    features: FeatureSource
    device: str = "auto"
    regions: Mapping[str, list[dict[str, float | int]]] = field(default_factory=dict)

    def __call__(self) -> Generate:
        """Load all heads once."""
        device = str(resolve_device(self.device))
        probes = [open_probe(Path(path)) for path in self.probes]
        for probe in probes:
            probe.head.to(device)

        def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
            fold = self.fold_of[sample.id]
            planes = image_probabilities(probes[fold].head, self.features, sample.id, device=device)
            details = {"fold": fold, "regions": self.regions.get(sample.id, [])}
            return SoftMask(planes, probes[fold].class_ids, details=details)

        return generate


def held_out_job(source: Labels, make: MakeHeldOut) -> Job:
    """The job that predicts images in the classes of their labels."""
    return Job(
        method=METHOD,
        config={},
        make=make,
        needs=frozenset(),
        reads_image=False,
        vocabulary=source.vocabulary,
        inherited=frozenset(supervision_of(source)),
    )


def _recorded(
    job: Job, source: Labels, fits: list[FitReport], config: FitConfig, *, backbone: Backbone, device: str
) -> Job:
    """The job with all that its result depends on."""
    models: dict[str, str] = {}
    for number, found in enumerate(fits):
        facts = models_of(found.out, open_probe(found.out))
        models |= {f"fold-{number}": facts.pop("probe"), **facts}
    path = getattr(source, "path", None)
    settings = {
        "labels": source.name,
        "folds": len(fits),
        "fit": config.decisive(),
        "regions": asdict(REGIONS),
        "backbone": backbone.fingerprint(),
        "device": str(resolve_device(device)),
    }
    facts = {"labels_sha256": _manifest_sha256(path)} if path else {}
    return replace(job, config=settings, models=models, facts=facts)


def _manifest_sha256(folder: Path) -> str:
    """What changes when the labels of a run change; empty for a plain folder of masks."""
    path = Path(folder) / MANIFEST
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, note: progress(done, total, f"{name} {note}".strip())


@dataclass(frozen=True)
class Part:
    """Some images of a data set."""

    dataset: Dataset
    ids: tuple[str, ...]

    @property
    def spec(self) -> DataSpec:
        return self.dataset.spec

    @property
    def vocabulary(self) -> Vocabulary:
        return self.dataset.vocabulary

    @property
    def tags_source(self) -> str:
        return self.dataset.tags_source

    def load(self, sample_id: str, fields: Set[str]) -> Sample:
        return self.dataset.load(sample_id, fields)

    def image(self, sample_id: str) -> np.ndarray:
        return self.dataset.image(sample_id)

    def truth(self, sample_id: str) -> np.ndarray:
        return self.dataset.truth(sample_id)
