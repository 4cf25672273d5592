"""`segprobe fit [RUN]`: train the head from a run of labels."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import (
    DataFlags,
    EngineFlags,
    JsonFlag,
    Switch,
    data_path,
    open_dataset_from,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.commands.next_step import can_be_scored
from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, RunFolderError, VocabularyError
from labelgen.store.layout import HEADER
from segprobe.commands.flags import BackboneFlags, DryRunFlag
from segprobe.config import FitConfig
from segprobe.head_settings import default_layers

__all__ = ["fit"]

TRUTH = "truth"


def fit(
    run: str = "",
    /,
    *,
    data: str = "",
    out: str = "",
    cache: str = "cache",
    workers: int = 1,
    device: str = "auto",
    overwrite: Switch = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    settings: Annotated[FitConfig | None, Parameter(name="*", group="Training")] = None,
    backbone: Annotated[BackboneFlags | None, Parameter(name="*", group="Backbone")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
    where: Annotated[EngineFlags | None, Parameter(name="*", group="Engine of the features")] = None,
) -> None:
    """Train a light head on a frozen backbone from imperfect labels.

    The same command again finishes what was interrupted. Features are computed once and kept below --cache. Several
    processes share the work: torchrun --nproc-per-node 4 -m segprobe fit RUN.

    Parameters
    ----------
    run
        Run folder, folder of mask PNGs, or `truth` for full supervision. Default: the newest run.
    data
        Images of the labels. Default: those that the run was made from.
    out
        Folder of the probe. Default: probes/RUN.
    cache
        Folder below which features are kept.
    workers
        Actors that compute features with --engine ray.
    device
        cpu, cuda, or auto for a GPU where there is one.
    overwrite
        Replace a probe that is already there.

    Examples
    --------
    segprobe fit runs/scribble
    segprobe fit runs/cam --head mlp --loss gce,q=0.7 --out probes/cam-gce
    segprobe fit truth --data voc:VOCdevkit/VOC2012 --split train --backbone vit_small_patch14_dinov2.lvd142m
    """
    from labelgen.nets.device import resolve_device
    from segprobe.features.on_ray import crew_of
    from segprobe.fit import fit as fit_probe
    from segprobe.runtime import runtime_from_environment

    config, flags, images = settings or FitConfig(), backbone or BackboneFlags(), images or DataFlags()
    crew = crew_of((where or EngineFlags()).chosen_engine(), workers, device)
    if crew and config.trains_network:
        raise ConfigError(
            "--engine ray computes features ahead of time, and a network that is trained has none",
            hint="torchrun --nproc-per-node N -m segprobe fit ... shares out its training",
        )
    source, dataset = open_supervision(run, data, images)
    folder = Path(out or f"probes/{source.name}")
    network = flags.config(dataset.spec, layers=default_layers(config.head))
    if dry_run:
        from segprobe.commands.plans import plan_fit
        from segprobe.estimate import estimate_fit

        asked = {"backbone": network, "config": config, "cache": Path(cache), "device": device}
        plan_fit(source, dataset, folder, estimate_fit(source, dataset, **asked), as_json=as_json)
        return
    with runtime_from_environment(str(resolve_device(device))) as runtime, progress_bar("fit") as progress:
        report = fit_probe(
            source,
            dataset,
            backbone=network,
            config=config,
            out=folder,
            cache=Path(cache),
            device=device,
            overwrite=overwrite,
            runtime=runtime,
            crew=crew,
            progress=progress if runtime.is_main else None,
        )
    if not runtime.is_main:
        return
    facts: dict[str, Any] = {**vars(report), "out": str(report.out)}
    if as_json:
        print_json(facts)
        return
    following = "eval" if can_be_scored(dataset, dataset.vocabulary) else "predict"
    title = f"{report.out} is complete: nothing to do" if report.already else f"probe: {report.out}"
    rows = [
        ("labels", source.name),
        ("images", f"{report.images}" + (f" ({report.skipped} without a label left out)" if report.skipped else "")),
        ("coverage", f"{100 * report.coverage:.3g} % of all pixels, void included"),
        ("seconds", f"{report.seconds:.1f}"),
        ("next", f"segprobe {following} {data_path(report.out)}"),
    ]
    if not report.already:
        again = f" ({report.first_step} of them before)" if report.first_step else ""
        rows.insert(3, ("steps", f"{report.steps}{again}"))
        rows.insert(4, ("last loss", "-" if report.loss is None else f"{report.loss:.3f}"))
    if report.background not in ("", "none"):
        rows.insert(3, ("background", f"no label shows it; rule `{report.background}` stands in"))
    print_table(("", ""), rows, title=title)


def open_supervision(run: str, data: str, images: DataFlags) -> tuple[Any, Dataset]:
    """The labels and their images.

    Raises
    ------
    ConfigError
        When the labels do not say which images they belong to.
    """
    from labelgen.data.open import reopen
    from labelgen.store import newest_run, open_labels
    from segprobe.labels import TruthSource

    if run == TRUTH and not Path(run).exists():
        dataset = open_dataset_from(images, data or "demo")
        return TruthSource(dataset), dataset
    path = Path(run) if run else newest_run()
    if not path.is_dir():
        raise RunFolderError(f"no such run or folder: {path}", hint="labelgen scribble --out RUN makes one")
    if data:
        dataset = _named_data(data, images, path)
        return open_labels(path, vocabulary=dataset.vocabulary), dataset
    if not (path / HEADER).exists():
        raise ConfigError(f"which images do the masks in {path} belong to?", hint="name them: --data DATA")
    if images != DataFlags():
        raise ConfigError("--split, --ids, --limit, --vocab and --tags choose from --data, which was not given")
    source = open_labels(path)
    if source.spec is None:
        raise ConfigError(f"{path} does not say which data it was made from", hint="name them: --data DATA")
    return source, reopen(source.spec)


def _named_data(data: str, images: DataFlags, run: Path) -> Dataset:
    """The data that were typed; pictures that come without classes have those of the run."""
    from labelgen.store import open_labels

    try:
        return open_dataset_from(images, data)
    except VocabularyError:
        spec = open_labels(run).spec if (run / HEADER).exists() and not images.vocab else None
        if spec is None or not spec.vocabulary:
            raise
        return open_dataset_from(replace(images, vocab=spec.vocabulary), data)
