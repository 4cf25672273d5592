"""`segprobe crossfit [RUN]`: out-of-sample predictions for the images of a run, as a run with scores."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from labelgen.commands.common import (
    EXIT_DONE,
    DataFlags,
    JsonFlag,
    Switch,
    data_path,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.commands.generate import say_failures
from labelgen.commands.sheet import leave_sheet
from segprobe.commands.fit import open_supervision
from segprobe.commands.flags import BackboneFlags, DryRunFlag
from segprobe.config import FitConfig
from segprobe.head_settings import default_layers

__all__ = ["crossfit"]


def crossfit(
    run: str = "",
    /,
    *,
    data: str = "",
    folds: int = 5,
    out: str = "",
    probes: str = "",
    cache: str = "cache",
    device: str = "auto",
    workers: int = 1,
    overwrite: Switch = False,
    strict: Switch = False,
    sheet: bool = True,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    settings: Annotated[FitConfig | None, Parameter(name="*", group="Training")] = None,
    backbone: Annotated[BackboneFlags | None, Parameter(name="*", group="Backbone")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
) -> int:
    """Predict each image by a probe that was trained on the labels of the other images.

    The images are dealt out to folds; a head is trained on the labels of all folds but one and predicts that one. Where
    such predictions contradict a label, the label is suspicious: labelgen rank RUN --probe OUT lists those images. The
    same command again finishes what was interrupted.

    Parameters
    ----------
    run
        Run folder, folder of mask PNGs, or `truth`. Default: the newest run.
    data
        Images of the labels. Default: those that the run was made from.
    folds
        Number of folds: each head is trained on all images but one in so many.
    out
        Run folder to write. Default: runs/RUN-crossfit.
    probes
        Folder below which the probe of each fold is kept. Default: probes/ and the name of the run that is written.
    cache
        Folder below which features are kept.
    device
        cpu, cuda, or auto for a GPU where there is one.
    workers
        Processes that write the predictions.
    overwrite
        Replace the probes and the run that are already there.
    strict
        Stop at the first image that cannot be predicted.
    sheet
        Draw contact_sheet.jpg, some of the images with their predictions, when the run is complete.

    Examples
    --------
    segprobe crossfit runs/corrupt --dry-run
    segprobe crossfit runs/corrupt
    segprobe crossfit runs/cam --folds 10 --steps 600
    """
    from labelgen.run import RunOptions
    from segprobe.crossfit import crossfit as crossfit_run

    config, flags = settings or FitConfig(), backbone or BackboneFlags()
    source, dataset = open_supervision(run, data, images or DataFlags())
    target = Path(out or f"runs/{source.name}-crossfit")
    options = RunOptions(workers=workers, overwrite=overwrite, strict=strict)
    place = Path(probes or Path("probes") / target.name)
    asked = {
        "backbone": flags.config(dataset.spec, layers=default_layers(config.head)),
        "config": config,
        "folds": folds,
        "cache": Path(cache),
        "device": device,
        "options": options,
    }
    if dry_run:
        from segprobe.commands.plans import plan_crossfit
        from segprobe.estimate_crossfit import estimate_crossfit

        plan_crossfit(source, dataset, target, place, estimate_crossfit(source, dataset, **asked), as_json=as_json)
        return EXIT_DONE
    with progress_bar("crossfit") as progress:
        report = crossfit_run(source, dataset, out=target, probes=place, progress=progress, **asked)
    found = report.run
    pictures = leave_sheet(found, dataset, wanted=sheet)
    labels = str(source.path) if getattr(source, "path", None) else source.name
    if as_json:
        facts = {key: getattr(found, key) for key in ("done", "skipped", "failed", "complete", "coverage")}
        fits = [{"out": str(fit.out), "images": fit.images, "loss": fit.loss} for fit in report.fits]
        print_json({"out": str(found.out), "labels": labels, **facts, "fold_images": list(report.sizes), "fits": fits})
    else:
        rows = [
            ("labels", labels),
            ("images", found.done + found.skipped),
            ("failed", found.failed),
            ("folds", ", ".join(map(str, report.sizes)) + " images"),
            *pictures,
        ]
        if getattr(source, "path", None):
            rows.append(("next", f"labelgen rank {data_path(Path(labels))} --probe {data_path(found.out)}"))
        print_table(("", ""), rows, title=f"out-of-sample predictions: {found.out}")
    return say_failures(found)
