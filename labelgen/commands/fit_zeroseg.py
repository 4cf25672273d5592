"""`labelgen fit-zeroseg [DATA]`: train a ZeroSeg student from images and a CLIP model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from labelgen.commands.amounts import PER_PARAMETER, duration, file_size
from labelgen.commands.common import (
    ImageFlags,
    JsonFlag,
    Switch,
    data_path,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.commands.pictures import open_pictures
from labelgen.errors import ConfigError
from labelgen.methods.zeroseg import STUDENT_FOLDER
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.zeroseg.presets import Preset, preset

__all__ = ["RecipeFlags", "TeacherFlags", "fit_zeroseg"]

PAPER_TEACHER = "ViT-L-14"  # its joint space has the 768 channels of the paper preset


@dataclass(frozen=True, kw_only=True)
class RecipeFlags:
    """What of the preset is changed; everything left open is as the preset has it.

    Parameters
    ----------
    init
        Where the encoder starts: a backbone with the sizes of the preset, such as vit_base_patch16_224.mae; `teacher`
        for the teacher's image tower, whose sizes it then has; `none` for random weights.
    epochs
        Passes over the images. 80 in the paper.
    batch
        Images of one update. 4096 in the paper.
    micro_batch
        Images that go through the network at once; gradients are added up until the batch is full.
    lr
        Highest learning rate. 1.5e-4 in the paper.
    body_rate
        Factor on the rate of all but the maps to the joint space and the decoder, to keep what the rest starts from.
        1 in the paper.
    lr_rule
        Take the rate as it is (constant), or times batch / 256 (linear, MAE's rule).
    warmup
        Share of the updates during which the rate rises. .25 in the paper.
    weight_decay
        Of AdamW.
    mask
        Share of the patches that the student does not see. .6 in the paper.
    noise
        Factor on the Gumbel noise with which patches are assigned to groups. 1 as GroupViT.
    tiles
        Scales of the teacher: the image is cut into r x r tiles for each. 1 2 3 4 in the paper.
    stages
        Groups of the grouping stages. 32 8 in the paper.
    reduction
        L1 distances to the teacher's vectors are summed, as the paper writes, or averaged.
    normalise
        Compare unit vectors.
    norm_pixels
        Reconstruct patches free of their own mean and variance.
    reconstruct
        Weight of the reconstruction.
    distill
        Weight of the distillation into the image vector.
    match
        Weight of the matching of segments and tiles.
    locate
        Weight of a term that is not in the paper: each tile should be the mean of the segments in it. 0 leaves it out.
    centre
        Group patches by what sets them apart from the mean of their image; not in the paper.
    short_side
        Short side at which the student will label images by default; 0 for their own.
    crop
        Side of the windows of resized images that it will label by default; 0 for whole images.
    stride
        Pixels from window to window.
    top_k
        Classes that a window may show by default when the student labels; 0 for all.
    """

    init: str | None = None
    epochs: float | None = None
    batch: int | None = None
    micro_batch: int | None = None
    lr: float | None = None
    body_rate: float | None = None
    lr_rule: Literal["constant", "linear"] | None = None
    warmup: float | None = None
    weight_decay: float | None = None
    mask: float | None = None
    noise: float | None = None
    tiles: Annotated[tuple[int, ...] | None, Parameter(consume_multiple=True)] = None
    stages: Annotated[tuple[int, ...] | None, Parameter(consume_multiple=True)] = None
    reduction: Literal["sum", "mean"] | None = None
    normalise: bool | None = None
    norm_pixels: bool | None = None
    reconstruct: float | None = None
    distill: float | None = None
    match: float | None = None
    locate: float | None = None
    centre: bool | None = None
    short_side: int | None = None
    crop: int | None = None
    stride: int | None = None
    top_k: int | None = None

    def changes(self) -> dict[str, Any]:
        """What was given."""
        given = {key: value for key, value in vars(self).items() if value is not None}
        return given | ({"init": ""} if self.init == "none" else {})


@dataclass(frozen=True, kw_only=True)
class TeacherFlags:
    """The CLIP model that teaches.

    Parameters
    ----------
    teacher
        demo-clip or an open_clip model. Default: demo-clip on the demo data, ViT-L-14 (the paper's) on others.
    pretrained
        Tag of its published weights. Default: openai.
    weights
        Its checkpoint file, or local-dir:FOLDER, instead of published weights.
    """

    teacher: str = ""
    pretrained: str = ""
    weights: str = ""

    def config(self, *, demo: bool, device: str) -> ClipModelConfig:
        """The model to load."""
        name = self.teacher or ("" if demo or self.weights else PAPER_TEACHER)
        published = "openai" if name and not (self.weights or self.pretrained or name == "demo-clip") else ""
        return ClipModelConfig(model=name, pretrained=self.pretrained or published, weights=self.weights, device=device)


def fit_zeroseg(
    data: str = "demo",
    /,
    *,
    out: str = STUDENT_FOLDER,
    preset_name: Annotated[Literal["auto", "demo", "paper"], Parameter(name="--preset")] = "auto",
    init_weights: str = "",
    cache: str = "cache",
    device: str = "auto",
    bfloat16: Switch = False,
    checkpoint_every: int = 500,
    seed: int = 0,
    overwrite: Switch = False,
    dry_run: Switch = False,
    as_json: JsonFlag = False,
    recipe: Annotated[RecipeFlags | None, Parameter(name="*", group="Recipe")] = None,
    teacher: Annotated[TeacherFlags | None, Parameter(name="*", group="Teacher")] = None,
    images: Annotated[ImageFlags | None, Parameter(name="*", group="Images")] = None,
) -> None:
    """Train a ZeroSeg student: images and CLIP's image encoder are all it sees, no text, no label.

    The teacher's vectors are computed once and kept below --cache. The same command again goes on with an interrupted
    training, and ends with the same weights bit for bit on a CPU.

    Parameters
    ----------
    data
        Images: demo, a folder of known layout or of pictures, or KIND:PATH.
    out
        Folder of the student.
    preset_name
        demo: small, for the demo scenes, from the weights of demo-ssvt. paper: ViT-B/16 with the published schedule of
        4096 images an update for 80 epochs. auto: demo on the demo data, paper on others.
    init_weights
        Checkpoint file of the backbone named by --init.
    cache
        Folder below which the teacher's vectors are kept.
    device
        cpu, cuda, or auto for a GPU where there is one.
    bfloat16
        Matrix products in bfloat16: faster on GPUs and CPUs that have it, another result.
    checkpoint_every
        Updates between two checkpoints.
    seed
        Of weights, order, masks and noise.
    overwrite
        Replace a student that is already there.
    dry_run
        Time a little of the work, say what all of it would take, and write nothing.

    Examples
    --------
    labelgen fit-zeroseg
    labelgen fit-zeroseg photos --teacher ViT-B-16 --epochs 20 --batch 256 --dry-run
    """
    if checkpoint_every < 1:
        raise ConfigError(f"--checkpoint-every must be >= 1, got {checkpoint_every}")
    dataset = open_pictures(images, data)
    demo = dataset.spec.kind == "demo"
    name = ("demo" if demo else "paper") if preset_name == "auto" else preset_name
    settings = preset(name, seed=seed, **(recipe or RecipeFlags()).changes())
    load = (teacher or TeacherFlags()).config(demo=demo, device=device)

    from labelgen.nets.clip.model import load_clip
    from labelgen.nets.zeroseg.fit import estimate_cost, fit_student

    tower = load_clip(load)
    if dry_run:
        _show_cost(vars(estimate_cost(dataset, tower, preset=settings, device=device)), settings, out, as_json=as_json)
        return
    with progress_bar("fit-zeroseg") as progress:
        report = fit_student(
            dataset,
            tower,
            preset=settings,
            out=Path(out),
            teacher=tower.config,
            init_weights=init_weights,
            cache=Path(cache),
            device=device,
            bfloat16=bfloat16,
            checkpoint_every=checkpoint_every,
            overwrite=overwrite,
            progress=progress,
        )
    _show_report(report, as_json=as_json)


def _show_report(report: Any, *, as_json: bool) -> None:
    facts = {**vars(report), "out": str(report.out)}
    for key in ("first", "last"):
        facts[key] = facts[key].to_json() if facts[key] else None
    if as_json:
        print_json(facts)
        return
    title = f"{report.out} is complete: nothing to do" if report.already else f"ZeroSeg student: {report.out}"
    rows: list[tuple[str, Any]] = [("images", report.images), ("updates", report.steps)]
    if report.first_step and not report.already:
        rows[1] = ("updates", f"{report.steps} ({report.first_step} of them before)")
    if report.last:
        rows += [("losses", _losses(report.last)), ("seconds", f"{report.seconds:.0f}")]
    rows.append(("next", f"labelgen zeroseg --weights {data_path(report.out)}"))
    print_table(("", ""), rows, title=title)


def _losses(record: Any) -> str:
    return f"{record.total:.4g}: " + ", ".join(f"{name} {value:.4g}" for name, value in record.terms.items())


def _show_cost(cost: dict[str, Any], settings: Preset, out: str, *, as_json: bool) -> None:
    training = settings.training
    disk = cost["cache_bytes"] + PER_PARAMETER * cost["parameters"]
    if as_json:
        print_json({**cost, "batch": training.batch, "epochs": training.epochs, "bytes": disk, "out": out})
        return
    rows = [
        ("images", f"{cost['images']:,}"),
        ("updates", f"{cost['steps']:,} of {training.batch} images ({training.epochs:g} epochs)"),
        ("parameters", f"{cost['parameters']:,}"),
        ("teacher's vectors", f"{cost['tile_vectors']:,}, {cost['cache_bytes'] / 1e6:,.1f} MB"),
        ("teacher, once", duration(cost["teacher_seconds"])),
        ("student", duration(cost["student_seconds"])),
        ("disk", file_size(disk)),
        ("out", out),
    ]
    print_table(("", ""), rows, title="would do (nothing is written; times are those of this machine)")
