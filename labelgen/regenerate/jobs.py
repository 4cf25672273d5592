"""The job behind a finished run, put together again from its run.json."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from labelgen.data.dataset import Dataset
from labelgen.errors import LabelgenError, RunFolderError
from labelgen.job import Job
from labelgen.job_builders import import_job, method_job, refined_job, source_job
from labelgen.methods import METHODS
from labelgen.refine import REFINERS, RefineStep
from labelgen.store import RunFolder, open_labels
from labelgen.vocab import Vocabulary, load_vocabulary, vocabulary_names

__all__ = ["config_from_json", "job_of_run"]

OTHER_VERSION = "it was written by another version of labelgen, with which it can be made again"
PROBE = "probe"  # method of runs by segprobe, which labelgen does not import
Config = TypeVar("Config")


def job_of_run(run: RunFolder, dataset: Dataset) -> Job:
    """The job that made a run.

    Parameters
    ----------
    dataset
        The data that the run was made from.

    Raises
    ------
    LabelgenError
        When it cannot be made again here: unknown method or settings, weights or sources that are missing.
    """
    method = run.header["method"]
    if method in METHODS:
        return _labelled(run, dataset)
    if method not in MADE_FROM:
        known = f"it makes those by {', '.join((*METHODS, *MADE_FROM))} again"
        again = "segprobe predict into another --out makes them again, to be compared" if method == PROBE else known
        raise RunFolderError(f"labels by {method!r} cannot be made again by labelgen", hint=again)
    return MADE_FROM[method](run, dataset)


def config_from_json(config: type[Config], values: Mapping[str, Any], *, of: str) -> Config:
    """Settings as run.json keeps them; lists become tuples.

    Raises
    ------
    RunFolderError
        When there is a setting that this version does not know, or does not take.

    Examples
    --------
    >>> from labelgen.methods.box import BoxConfig
    >>> config_from_json(BoxConfig, {"margin": 3}, of="box").margin
    3
    """
    names = {field.name for field in dataclasses.fields(config) if field.init}  # type: ignore[arg-type]
    foreign = sorted(set(values) - names)
    if foreign:
        raise RunFolderError(f"{of} has no setting {foreign[0]!r} in this version", hint=OTHER_VERSION)
    try:
        return config(**{name: _tuples(value) for name, value in values.items()})
    except (LabelgenError, TypeError) as error:
        raise RunFolderError(f"this version does not take the settings of {of}: {error}", hint=OTHER_VERSION) from error


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _labelled(run: RunFolder, dataset: Dataset) -> Job:
    """A run of a labelling method."""
    header = run.header
    name, method = header["method"], METHODS[header["method"]]
    config = config_from_json(method.config, header["config"], of=f"method {name}")
    vocabulary = _vocabulary(run, dataset, lambda base: method.label_vocabulary(config, base))
    job = method_job(name, config, vocabulary, dataset=dataset)
    steps = _steps(header.get("facts", {}).get("refine", []))
    return refined_job(job, steps, dataset=dataset, seed=header["seed"]) if steps else job


def _refined(run: RunFolder, dataset: Dataset) -> Job:
    """A run by `labelgen refine`."""
    config = run.header["config"]
    source = open_labels(config["source"]["path"], vocabulary=_vocabulary(run, dataset))
    return source_job(source, _steps(config["steps"]), dataset=dataset, certainty=config["certainty"])


def _promoted(run: RunFolder, dataset: Dataset) -> Job:
    """A run by `labelgen promote`."""
    from labelgen.methods.cam import CamConfig
    from labelgen.promote.config import PromoteConfig
    from labelgen.promote.job import promote_job, pseudo_of_classifier, pseudo_of_labels
    from labelgen.promote.tags import TaggedByScribbles

    settings = dict(run.header["config"])
    scribbles, pseudo = settings.pop("scribbles"), settings.pop("pseudo")
    config = config_from_json(PromoteConfig, settings, of="promote")
    vocabulary = _vocabulary(run, dataset)
    drawn = open_labels(scribbles["path"], vocabulary=vocabulary)
    tagged = TaggedByScribbles.of(dataset, drawn, which=config.tags)
    if "path" in pseudo:
        made = pseudo_of_labels(open_labels(pseudo["path"], vocabulary=vocabulary), certainty=pseudo["certainty"])
    else:
        made = pseudo_of_classifier(config_from_json(CamConfig, pseudo["config"], of="cam"), tagged)
    steps = _steps(run.header.get("facts", {}).get("refine", []))
    return promote_job(drawn, made, config, dataset=tagged, refine=steps, seed=run.header["seed"])


def _imported(run: RunFolder, dataset: Dataset) -> Job:
    """A run of seed files, or of masks of other tools."""
    from labelgen.seeds.import_seeds import ImportConfig, make_import
    from labelgen.seeds.legacy import SEED_FORMATS

    if run.header["config"].get("format") not in SEED_FORMATS:
        return _imported_masks(run, dataset)
    config = config_from_json(ImportConfig, run.header["config"], of="import")
    if not Path(config.path).is_dir():
        raise RunFolderError(f"the files that were imported are not at {config.path}", hint="put them back there")
    vocabulary = _vocabulary(run, dataset)
    make = functools.partial(make_import, config, vocabulary, dataset)
    facts, supervision = run.header.get("facts", {}), run.header["supervision"]
    return import_job(config, make, vocabulary, facts=facts, supervision=supervision)


def _imported_masks(run: RunFolder, dataset: Dataset) -> Job:
    from labelgen.formats.import_masks import MaskImportConfig, container_facts, make_mask_import

    config = config_from_json(MaskImportConfig, run.header["config"], of="import")
    facts, vocabulary = run.header.get("facts", {}), _vocabulary(run, dataset)
    if not Path(config.path).exists():
        raise RunFolderError(f"the files that were imported are not at {config.path}", hint="put them back there")
    if container_facts(config).get("inputs") != facts.get("inputs"):
        raise RunFolderError(f"the files that were imported have changed at {config.path}", hint="import them anew")
    make = functools.partial(make_mask_import, config, vocabulary)
    return import_job(config, make, vocabulary, facts=facts, supervision=run.header["supervision"])


MADE_FROM: Mapping[str, Callable[[RunFolder, Dataset], Job]] = {
    "refine": _refined,
    "promote": _promoted,
    "import": _imported,
}
"""What makes runs that are by no labelling method."""


def _steps(recorded: list[dict[str, Any]]) -> tuple[RefineStep, ...]:
    """Refiners with their settings; what they learned from the data is learned again."""
    steps = []
    for row in recorded:
        values = {key: value for key, value in row.items() if key not in ("refiner", "learned")}
        name = row["refiner"]
        if name not in REFINERS:
            raise RunFolderError(f"there is no refiner {name!r} in this version", hint=OTHER_VERSION)
        steps.append(RefineStep(name, config_from_json(REFINERS[name].config, values, of=f"refiner {name}")))
    return tuple(steps)


def _vocabulary(
    run: RunFolder, dataset: Dataset, labels_in: Callable[[Vocabulary], Vocabulary] = lambda base: base
) -> Vocabulary:
    """The vocabulary to start from, which gives labels in that of the run: one with its words, where there are any."""
    wanted = run.vocabulary.to_json()
    named = [name for name in dict.fromkeys((dataset.spec.vocabulary, wanted["name"])) if name]
    candidates = [load_vocabulary(name) for name in named if name in vocabulary_names() or Path(name).is_file()]
    for candidate in (*candidates, dataset.vocabulary):
        if labels_in(candidate).to_json() == wanted:
            return candidate
    raise RunFolderError(
        f"the vocabulary {wanted['name']!r} of the run is not at hand", hint="run.json has its classes, not its words"
    )
