"""Which runs can be written as seed files of published code: those whose scores are maps of classes everywhere."""

import math

from labelgen.errors import ConfigError, RunFolderError
from labelgen.seeds.backgrounds import Dual
from labelgen.seeds.legacy import format_named
from labelgen.seeds.recorded import recorded_background
from labelgen.store import RunFolder

__all__ = ["refuse_unexportable"]


def refuse_unexportable(run: RunFolder, seed_format: str) -> None:
    """Refuse a run that has no scores of all its images, or pixels without any score, which no format can say.

    An image without any class may abstain where the format has no background: its file has no map that could be lost.

    Raises
    ------
    ConfigError
        When the format is unknown, the run kept no scores, or has pixels that abstain.
    RunFolderError
        When the run is not complete.
    """
    row = format_named(seed_format)
    if not run.complete:
        raise RunFolderError(
            f"only a complete run is exported, but {run.path} is unfinished ({len(run.ids)} images so far)",
            hint="give the command that makes it again; it goes on from there",
        )
    if not run.header["save_scores"]:
        raise ConfigError(f"{run.path} keeps no scores to export", hint="make the run again with --save-scores")
    if isinstance(recorded_background(run.header), Dual):
        raise ConfigError(
            f"{run.path} has an ignore band, in which the maps of the classes are not kept",
            hint="make the run with one background, such as --background fixed:0.2",
        )
    background = run.vocabulary.background
    for sample_id, record in run.records().items():
        if sum(record["classes"].values()) == math.prod(record["size"]):
            continue  # all pixels have a label, so a score
        mask = run.scores(sample_id)
        if mask is None or (set(mask.class_ids) <= {background} and not row.background_first):
            continue
        abstains = float((mask.scores.max(axis=0, initial=0) <= 0).mean())
        if abstains > 0:
            raise ConfigError(
                f"{run.path} has pixels without any score, in which the maps of the classes are not kept: "
                f"{100 * abstains:.3g} % of {sample_id!r}",
                hint="export the run before the refiner that left them out (band), or make the run without one",
            )
