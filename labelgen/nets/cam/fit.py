"""Train an image-level classifier: read the tags, build the network, train, measure, write the folder."""

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, DataError
from labelgen.locks import alone
from labelgen.nets.cam.batches import SaliencyMaps, StepBatches
from labelgen.nets.cam.classifier_file import FOLDER
from labelgen.nets.cam.config import CamMethod
from labelgen.nets.cam.image_level import image_level_scores
from labelgen.nets.cam.network import CamNetwork, build_network
from labelgen.nets.cam.presets import Preset
from labelgen.nets.cam.tags import Targets, read_targets
from labelgen.nets.cam.training import train_classifier, training_losses
from labelgen.nets.device import resolve_device
from labelgen.nets.saliency import SaliencySource
from labelgen.nets.training import Progress, StepRecord
from labelgen.nets.training_folder import config_json
from labelgen.store.header import MODEL_PACKAGES, ids_sha256, versions

__all__ = ["ClassifierCost", "ClassifierReport", "estimate_cost", "fit_classifier"]

TIMED_IMAGES = 2  # that stand for all when the cost is estimated


@dataclass(frozen=True)
class ClassifierReport:
    """What a training did.

    Parameters
    ----------
    out
        Folder of the classifier.
    images, classes, untagged
        In the data set: images, classes that got a channel, and images that show none of them.
    steps, first_step
        Updates of the whole training, and those that an earlier, interrupted call had made.
    first, last
        Losses of the first and the last step of this call; None when nothing was left to do.
    scores
        Image-level `map` and `f1` on the images and tags of the training.
    seconds
        Of this call.
    already
        The training was complete before.
    """

    out: Path
    images: int
    classes: int
    untagged: int
    steps: int
    first_step: int
    first: StepRecord | None
    last: StepRecord | None
    scores: dict[str, float]
    seconds: float
    already: bool = False


@dataclass(frozen=True)
class ClassifierCost:
    """What a training would take.

    Parameters
    ----------
    images, classes, untagged, steps
        As in `ClassifierReport`.
    parameters, trained
        Of the network, and those that are not frozen.
    train_seconds, saliency_seconds
        Extrapolated from one step and from the saliency of one image on this machine.
    """

    images: int
    classes: int
    untagged: int
    steps: int
    parameters: int
    trained: int
    train_seconds: float
    saliency_seconds: float


def fit_classifier(
    dataset: Dataset,
    *,
    method: CamMethod,
    preset: Preset,
    out: Path,
    weights: str = "",
    saliency: SaliencySource | None = None,
    device: str = "auto",
    bfloat16: bool = False,
    checkpoint_every: int = 500,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ClassifierReport:
    """Train a classifier on the images and tags of a data set.

    The same call again goes on with an interrupted training, on a CPU to the same bits.

    Parameters
    ----------
    weights
        Checkpoint file of the backbone, in the place of its shipped or published weights.
    saliency
        For EPS, which cannot do without.
    device
        torch device, or auto for a GPU where there is one.
    bfloat16
        Matrix products in bfloat16.
    overwrite
        Replace what is in `out`.

    Raises
    ------
    RunFolderError
        When `out` holds a classifier of other settings, or something else.
    DataError
        When an image or its tags cannot be read, or no image has a tag.
    ConfigError
        When the crop does not fit the network, or saliency is missing or of no use.
    WeightsError
        When weights are missing or do not fit.
    """
    start = time.perf_counter()
    network, targets, batches = _prepare(dataset, method, preset, weights, saliency)
    settings = _settings(dataset, network, preset, targets, batches, weights, bfloat16=bfloat16)
    facts = {"out": out, "images": len(dataset.ids), "classes": len(targets.class_ids), "untagged": targets.untagged}
    facts["steps"] = batches.num_steps
    with alone(out):
        if FOLDER.begin(out, settings, overwrite=overwrite):
            scores = FOLDER.read_description(out / FOLDER.description)["figures"]["image_level"]
            steps = batches.num_steps
            return ClassifierReport(
                **facts, first_step=steps, first=None, last=None, scores=scores, seconds=0.0, already=True
            )
        network.to(resolve_device(device))
        records = train_classifier(
            network,
            batches,
            folder=out,
            bfloat16=bfloat16,
            checkpoint_every=checkpoint_every,
            progress=progress,
        )
        scores = image_level_scores(network, dataset, targets)
        first, last = (records[0], records[-1]) if records else (None, None)
        seconds = time.perf_counter() - start
        figures = {
            "steps": batches.num_steps,
            "losses": last.to_json() if last else None,
            "image_level": scores,
            "seconds_of_last_call": round(seconds, 1),
        }
        FOLDER.finish(out, network, settings, figures=figures, versions=versions(MODEL_PACKAGES))
    return ClassifierReport(
        **facts, first_step=batches.num_steps - len(records), first=first, last=last, scores=scores, seconds=seconds
    )


def estimate_cost(
    dataset: Dataset,
    *,
    method: CamMethod,
    preset: Preset,
    weights: str = "",
    saliency: SaliencySource | None = None,
    device: str = "auto",
) -> ClassifierCost:
    """Time a little of the work and multiply; nothing is written."""
    small = replace(preset, training=replace(preset.training, batch=min(TIMED_IMAGES, preset.training.batch)))
    begin = time.perf_counter()
    if saliency is not None and dataset.ids:
        saliency.map(dataset.ids[0], dataset.image(dataset.ids[0]))
    found = time.perf_counter()
    network, targets, batches = _prepare(dataset, method, small, weights, saliency)
    network.to(resolve_device(device)).train()
    batch = next(batches.steps(0)).to(network.head.weight.device)
    middle = time.perf_counter()
    training_losses(network, batch, small.training, step=0).total.backward()
    seconds = time.perf_counter() - middle
    images, steps = len(dataset.ids), preset.training.num_steps(len(dataset.ids))
    return ClassifierCost(
        images=images,
        classes=len(targets.class_ids),
        untagged=targets.untagged,
        steps=steps,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        trained=sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad),
        train_seconds=seconds / small.training.batch * preset.training.batch * steps,
        saliency_seconds=(found - begin) * images if saliency is not None else 0.0,
    )


def _prepare(
    dataset: Dataset, method: CamMethod, preset: Preset, weights: str, saliency: SaliencySource | None
) -> tuple[CamNetwork, Targets, StepBatches]:
    """Everything that a training needs, with all that can be refused refused."""
    if method == "eps" and saliency is None:
        raise ConfigError("EPS learns from saliency maps, got none", hint="--saliency FOLDER, ncut or spectral")
    if method != "eps" and saliency is not None:
        raise ConfigError(f"saliency is for eps, but the method is {method}", hint="--method eps, or leave it out")
    if not dataset.ids:
        raise DataError(f"the data set has no images: {dataset.spec}", hint="check --split, --ids and the path")
    targets = read_targets(dataset)
    network = build_network(
        preset.network,
        method=method,
        num_classes=len(targets.class_ids),
        weights=weights,
        seed=preset.training.seed,
    )
    multiple = network.reading.multiple
    if preset.training.crop % multiple:
        raise ConfigError(
            f"crop must be a multiple of {multiple} pixels for {network.reading.backbone}, got {preset.training.crop}",
            hint=f"--crop {max(1, round(preset.training.crop / multiple)) * multiple}",
        )
    maps = None if saliency is None else SaliencyMaps(saliency, dataset)
    return network, targets, StepBatches(dataset, targets, network.reading, preset.training, saliency=maps)


def _settings(
    dataset: Dataset,
    network: CamNetwork,
    preset: Preset,
    targets: Targets,
    batches: StepBatches,
    weights: str,
    *,
    bfloat16: bool,
) -> dict[str, Any]:
    """What must be the same for a training to be taken up again."""
    rows = b"".join(targets.rows[sample_id].tobytes() for sample_id in dataset.ids)
    reading = network.reading
    training = config_json(preset.training)
    for other in {"seam", "eps"} - {network.method}:
        del training[other]
    settings = {
        "method": network.method,
        "classes": targets.to_json(dataset),
        "network": {**config_json(preset.network), "backbone": reading.backbone},
        "start": {
            "weights_from": reading.weights_from,
            "sha256": hashlib.sha256(Path(weights).read_bytes()).hexdigest() if weights else "",
            "options": dict(reading.options),
            "mean": list(reading.mean),
            "std": list(reading.std),
        },
        "training": training,
        "precision": "bfloat16" if bfloat16 else "float32",
        "saliency": None if batches.saliency is None else batches.saliency.facts(),
        "data": {
            **dataset.spec.to_json(),
            "images": len(dataset.ids),
            "ids_sha256": ids_sha256(dataset.ids),
            "tags_sha256": hashlib.sha256(rows).hexdigest(),
        },
    }
    return json.loads(json.dumps(settings))
