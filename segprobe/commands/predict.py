"""`segprobe predict [PROBE] [DATA]`: predictions as a run folder, to be scored, refined or trained on again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    JsonFlag,
    Switch,
    data_path,
    parse_shard,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.commands.generate import print_plan, say_failures
from labelgen.commands.next_step import can_be_scored
from labelgen.commands.sheet import leave_sheet
from labelgen.errors import ConfigError
from segprobe.commands.flags import DryRunFlag, ProbeFlags, evaluation_data

if TYPE_CHECKING:
    from segprobe.predict import PredictConfig

__all__ = ["ViewFlags", "predict"]


@dataclass(frozen=True, kw_only=True)
class ViewFlags:
    """How the probe looks at an image.

    Parameters
    ----------
    window
        Side in pixels of windows that are looked at one by one; 0 looks at the whole image.
    stride
        Pixels between windows; 0 for two thirds of --window.
    flip
        Also look at the mirrored image, and average.
    test_scales
        Factors on the size at which the backbone sees the image, as 1,1.5; probabilities are averaged.
    upsample
        From tokens to pixels: bilinear, or guided by the colours of the image, as guided,radius=2,sigma_colour=0.1.
    refine
        Repair the class probabilities by a refiner of labelgen, as crf or pamr,steps=5; may be given several times. Not
        attention: it scales each class to a maximum of 1, as is right for maps of classes known to be in the image.
    """

    window: int = 0
    stride: int = 0
    flip: Switch = False
    test_scales: str = "1"
    upsample: str = "bilinear"
    refine: Annotated[tuple[str, ...], Parameter(negative="")] = ()

    def config(self) -> "PredictConfig":
        """The settings of the predictor."""
        from segprobe.predict import PredictConfig

        try:
            scales = tuple(float(part) for part in self.test_scales.split(","))
        except ValueError:
            raise ConfigError(f"--test-scales must be numbers between commas, got {self.test_scales!r}") from None
        return PredictConfig(
            window=self.window,
            stride=self.stride,
            flip=self.flip,
            scales=scales,
            upsample=self.upsample,
            refine=self.refine,
        )


def predict(
    probe: str = "",
    data: str = "",
    /,
    *,
    out: str = "runs/predict",
    save_scores: Switch = False,
    min_score: float = 0.0,
    workers: int = 1,
    shard: str = "1/1",
    overwrite: Switch = False,
    strict: Switch = False,
    sheet: bool = True,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    flags: Annotated[ProbeFlags | None, Parameter(name="*")] = None,
    views: Annotated[ViewFlags | None, Parameter(name="*", group="Views")] = None,
) -> int:
    """Label images with a probe.

    Parameters
    ----------
    probe
        Folder of the probe. Default: the newest below probes/.
    data
        Images to label. Default: the data that the probe was trained on.
    out
        Run folder to write.
    save_scores
        Keep the class probabilities beside the labels.
    min_score
        A pixel whose best probability does not exceed this stays unlabelled.
    workers
        Processes.
    shard
        Label only part i of n, as i/n.
    overwrite
        Replace a run that is already there.
    strict
        Stop at the first image that cannot be labelled.
    sheet
        Draw contact_sheet.jpg, some of the images with their labels, when the run is complete.

    Examples
    --------
    segprobe predict
    segprobe predict probes/scribble voc:VOCdevkit/VOC2012 --split val --out runs/predicted
    segprobe predict probes/scribble photos --flip --test-scales 1,1.5 --save-scores
    """
    from labelgen.run import RunOptions
    from segprobe.predict import predict_job, predict_run
    from segprobe.probe_file import newest_probe, open_probe

    path = Path(probe) if probe else newest_probe()
    flags = flags or ProbeFlags()
    known = open_probe(path)
    dataset = evaluation_data(data, flags, known.data, known.vocabulary.classes)
    options = RunOptions(
        workers=workers,
        shard=parse_shard(shard),
        overwrite=overwrite,
        save_scores=save_scores,
        strict=strict,
        min_score=min_score,
    )
    config = (views or ViewFlags()).config()
    if dry_run:
        job = predict_job(path, dataset, config=config, device=flags.device, weights=flags.weights)
        print_plan(dataset, job, Path(out), options, as_json=as_json)
        return EXIT_DONE
    with progress_bar("predict") as progress:
        report = predict_run(
            path,
            dataset,
            Path(out),
            config=config,
            options=options,
            device=flags.device,
            weights=flags.weights,
            progress=progress,
        )
    pictures = leave_sheet(report, dataset, wanted=sheet)
    if as_json:
        keys = ("done", "skipped", "failed", "complete", "coverage")
        print_json({"out": str(report.out), "probe": str(path), **{key: getattr(report, key) for key in keys}})
    else:
        rows = [("images", report.done + report.skipped), ("failed", report.failed), *pictures]
        if can_be_scored(dataset, dataset.vocabulary):
            rows += [("next", f"labelgen quality {data_path(report.out)}")]
        print_table(("", ""), rows, title=f"predictions: {report.out}")
    return say_failures(report)
