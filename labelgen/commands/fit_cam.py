"""`labelgen fit-cam [DATA]`: train an image-level classifier whose class maps `labelgen cam` labels with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.amounts import PER_PARAMETER, duration, file_size
from labelgen.commands.common import (
    DataFlags,
    JsonFlag,
    Switch,
    data_path,
    open_dataset_from,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.data.dataset import DataSpec
from labelgen.errors import ConfigError
from labelgen.nets.cam.config import CLASSIFIER_FOLDERS, CamMethod
from labelgen.nets.cam.presets import Preset, preset

__all__ = ["CamRecipeFlags", "PresetFlag", "fit_cam", "training_arguments", "training_cost_rows"]

PresetFlag = Annotated[Literal["auto", "demo", "paper", "psa", "irn", "seam", "eps"], Parameter(name="--preset")]


@dataclass(frozen=True, kw_only=True)
class CamRecipeFlags:
    """What of the preset is changed; everything left open is as the preset has it.

    Parameters
    ----------
    backbone
        demo-ssvt, or a timm CNN or ViT.
    pretrained
        Start from shipped or published weights; --no-pretrained from random ones.
    output_stride
        CNNs: pixels per cell of the class maps, by dilation: 8 or 16; 0 leaves the network as it is.
    freeze
        Leading stages (CNN) or blocks (ViT) that are not trained.
    freeze_norm
        Batch norms keep statistics, scales and offsets. Default: if pretrained.
    dropout
        Share of the channels of the features that are dropped in training.
    batch
        Images of one update.
    epochs
        Passes over the images.
    iterations
        Updates, in the place of epochs; 0 counts epochs.
    optimiser
        sgd, as in all the papers, or adamw.
    lr
        Highest learning rate, that of the pretrained weights.
    new_rate
        Factor on the rate of what starts from nothing. 10 in the papers.
    bias_rate
        Factor on the rate of biases. 2 in PSA, SEAM and EPS.
    weight_decay
        Of SGD or AdamW.
    momentum
        What the papers say the momentum of SGD is: 0.9.
    momentum_rule
        released: the programs of PSA, IRN, SEAM and EPS hand the weight decay to SGD as its momentum, so their figures
        were made with next to none, and so does this. stated: the momentum as --momentum says.
    schedule
        poly, as in the papers, or cosine with a warm-up.
    power
        Of the poly schedule.
    warmup
        Share of the updates during which the rate of the cosine schedule rises.
    crop
        Side of the training images in pixels; padded with zeros.
    long_side
        Range of the long side of the resized images, pixels: two numbers.
    flip
        Mirror every other image.
    jitter
        Strength of the change of colours, 0 to 1.
    scale
        SEAM: size of the second view. 0.3 in the paper.
    er
        SEAM: weight of the equivariance of the class maps.
    ecr
        SEAM: weight of the equivariance across correlated maps.
    min_pool
        SEAM: weight of what pulls the smallest correlated values to 0.
    hard_share
        SEAM: share of the hardest elements that ECR counts. 0.2 in the paper.
    gate_correlation
        SEAM: in training, correlate only maps of classes that the tags name; the published program does not.
    tau
        EPS: least share of salient pixels for a class to count as foreground. 0.4 in the published runs.
    lam
        EPS: weight of the foreground in the estimated saliency. 0.5 for VOC, 0.9 for COCO in the paper.
    sal
        EPS: weight of the saliency loss.
    """

    backbone: str | None = None
    pretrained: bool | None = None
    output_stride: int | None = None
    freeze: int | None = None
    freeze_norm: bool | None = None
    dropout: float | None = None
    batch: int | None = None
    epochs: float | None = None
    iterations: int | None = None
    optimiser: Literal["sgd", "adamw"] | None = None
    lr: float | None = None
    new_rate: float | None = None
    bias_rate: float | None = None
    weight_decay: float | None = None
    momentum: float | None = None
    momentum_rule: Literal["released", "stated"] | None = None
    schedule: Literal["poly", "cosine"] | None = None
    power: float | None = None
    warmup: float | None = None
    crop: int | None = None
    long_side: tuple[int, int] | None = None
    flip: bool | None = None
    jitter: float | None = None
    scale: float | None = None
    er: float | None = None
    ecr: float | None = None
    min_pool: float | None = None
    hard_share: float | None = None
    gate_correlation: bool | None = None
    tau: float | None = None
    lam: float | None = None
    sal: float | None = None

    def changes(self) -> dict[str, Any]:
        """What was given."""
        return {key: value for key, value in vars(self).items() if value is not None}


def fit_cam(
    data: str = "demo",
    /,
    *,
    method: CamMethod = "cam",
    out: str = "",
    preset_name: PresetFlag = "auto",
    weights: str = "",
    saliency: str = "",
    device: str = "auto",
    bfloat16: Switch = False,
    checkpoint_every: int = 500,
    seed: int = 0,
    overwrite: Switch = False,
    dry_run: Switch = False,
    as_json: JsonFlag = False,
    recipe: Annotated[CamRecipeFlags | None, Parameter(name="*", group="Recipe")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images and tags")] = None,
) -> None:
    """Train an image-level classifier: images and their tags are all it sees, and with eps saliency maps.

    The classes that occur in the tags get a channel each; an image without any tag is a negative for all of them. The
    same command again goes on with an interrupted training, and ends with the same weights bit for bit on a CPU.

    Parameters
    ----------
    data
        Images: demo, demo:N, a folder of known layout, or KIND:PATH.
    method
        cam: classification alone. seam: two views must have the same class maps, and pixels that look alike share
        scores. eps: the class maps must explain saliency maps.
    out
        Folder of the classifier. Default: runs/METHOD-classifier.
    preset_name
        demo: minutes for the demo scenes, from demo-ssvt. psa, irn, seam, eps: published schedules, with a ResNet-50
        in the place of the wide ResNet-38 of all but irn. paper: the one of the method, irn for cam. auto: demo on the
        demo data, paper on others.
    weights
        Checkpoint file of the backbone, in the place of its shipped or published weights.
    saliency
        For eps: a folder of maps by image id, ncut, ncut:BACKBONE, or spectral. Default: ncut on the demo data.
        FOLDER,pixel_supervised=false (or true) says of maps made elsewhere whether outlines of objects taught them.
    device
        cpu, cuda, or auto for a GPU where there is one.
    bfloat16
        Matrix products in bfloat16: faster on GPUs and CPUs that have it, another result.
    checkpoint_every
        Updates between two checkpoints.
    seed
        Of weights, order, crops and dropout.
    overwrite
        Replace a classifier that is already there.
    dry_run
        Time a little of the work, say what all of it would take, and write nothing.

    Examples
    --------
    labelgen fit-cam
    labelgen fit-cam --method seam --out runs/seam
    labelgen fit-cam voc:VOCdevkit/VOC2012 --split train --tags tags.json --preset irn --dry-run
    """
    if checkpoint_every < 1:
        raise ConfigError(f"--checkpoint-every must be >= 1, got {checkpoint_every}")
    if saliency and method != "eps":
        raise ConfigError(f"--saliency is for eps, but the method is {method}", hint="--method eps, or leave it out")
    dataset = open_dataset_from(images or DataFlags(), data)
    changes = (recipe or CamRecipeFlags()).changes()
    arguments = training_arguments(
        dataset.spec, method, preset_name, {**changes, "seed": seed}, weights=weights, saliency=saliency, device=device
    )

    from labelgen.nets.cam.fit import estimate_cost, fit_classifier

    folder = Path(out or CLASSIFIER_FOLDERS[method])
    if dry_run:
        _show_cost(vars(estimate_cost(dataset, **arguments)), arguments["preset"], folder, as_json=as_json)
        return
    with progress_bar("fit-cam") as progress:
        report = fit_classifier(
            dataset,
            **arguments,
            out=folder,
            bfloat16=bfloat16,
            checkpoint_every=checkpoint_every,
            overwrite=overwrite,
            progress=progress,
        )
    _show_report(report, method, as_json=as_json)


def training_arguments(
    data: DataSpec,
    method: CamMethod,
    preset_name: str,
    changes: Mapping[str, Any],
    *,
    weights: str,
    saliency: str,
    device: str,
) -> dict[str, Any]:
    """What `fit_classifier` and `estimate_cost` take beside the data, with what can be refused refused.

    Parameters
    ----------
    changes
        What of the preset is changed.

    Raises
    ------
    ConfigError
        When the preset or a change of it is unknown or has no say, or eps has no saliency maps.
    """
    demo = data.kind == "demo"
    name = ("demo" if demo else "paper") if preset_name == "auto" else preset_name
    settings, source = preset(name, method, **changes), None
    if method == "eps":
        if not saliency and not demo:
            raise ConfigError("eps learns from saliency maps, got none", hint="--saliency FOLDER, ncut or spectral")
        from labelgen.nets.saliency import open_saliency

        source = open_saliency(saliency or "ncut", data, device)
    return {"method": method, "preset": settings, "weights": weights, "saliency": source, "device": device}


def _show_report(report: Any, method: str, *, as_json: bool) -> None:
    facts = {**vars(report), "out": str(report.out), "method": method}
    for key in ("first", "last"):
        facts[key] = facts[key].to_json() if facts[key] else None
    if as_json:
        print_json(facts)
        return
    title = f"{report.out} is complete: nothing to do" if report.already else f"{method} classifier: {report.out}"
    updates = str(report.steps)
    if report.first_step and not report.already:
        updates += f" ({report.first_step} of them before)"
    untagged = f", {report.untagged} without any tag" if report.untagged else ""
    rows = [("images", f"{report.images}{untagged}"), ("classes", report.classes), ("updates", updates)]
    if report.last:
        rows.append(("losses", _losses(report.first, report.last)))
    scores = report.scores
    rows.append(("on the training tags", f"mAP {scores['map']:.3f}, F1 {scores['f1']:.3f}"))
    if report.last:
        rows.append(("seconds", f"{report.seconds:.0f}"))
    rows.append(("next", f"labelgen cam --method {method} --weights {data_path(report.out)}"))
    print_table(("", ""), rows, title=title)


def _losses(first: Any, last: Any) -> str:
    terms = ", ".join(f"{name} {value:.4g}" for name, value in last.terms.items())
    return f"{first.total:.4g} -> {last.total:.4g}" + (f": {terms}" if len(last.terms) > 1 else "")


def _show_cost(cost: dict[str, Any], settings: Preset, out: Path, *, as_json: bool) -> None:
    if as_json:
        disk = PER_PARAMETER * cost["parameters"]
        print_json({**cost, "batch": settings.training.batch, "bytes": disk, "out": str(out)})
        return
    rows = [*training_cost_rows(cost, settings), ("out", str(out))]
    print_table(("", ""), rows, title="would do (nothing is written; times are those of this machine)")


def training_cost_rows(cost: Mapping[str, Any], settings: Preset) -> list[tuple[str, Any]]:
    """What a training would cost, a row for each fact."""
    rows = [
        ("images", f"{cost['images']:,}"),
        ("without any tag", f"{cost['untagged']:,}"),
        ("classes", cost["classes"]),
        ("updates", f"{cost['steps']:,} of {settings.training.batch} images"),
        ("backbone", settings.network.backbone),
        ("parameters", f"{cost['parameters']:,}, {cost['trained']:,} of them trained"),
        ("saliency, once", duration(cost["saliency_seconds"])),
        ("training", duration(cost["train_seconds"])),
        ("disk", file_size(PER_PARAMETER * cost["parameters"])),
    ]
    return [row for row in rows if cost["saliency_seconds"] or row[0] != "saliency, once"]
