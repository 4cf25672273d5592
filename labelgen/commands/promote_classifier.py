"""The classifier that `labelgen promote` trains from the tags of scribbles, or takes from a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import Switch, progress_bar, say
from labelgen.commands.fit_cam import CamRecipeFlags, PresetFlag, training_arguments
from labelgen.errors import ConfigError, RunFolderError
from labelgen.nets.cam.config import CamMethod

if TYPE_CHECKING:
    from labelgen.job import Job
    from labelgen.promote.tags import TaggedByScribbles

__all__ = ["ClassifierFlags", "ClassifierMaker"]


@dataclass(frozen=True, kw_only=True)
class ClassifierFlags:
    """The classifier that is trained from the tags of the scribbles, unless --pseudo or --classifier names labels.

    Parameters
    ----------
    method
        How it is trained: cam, seam or eps. Default: cam.
    classifier
        Folder of a classifier that is there, such as labelgen fit-cam writes.
    cam
        A setting of labelgen cam as NAME=VALUE, such as background=power:6; may be repeated.
    preset_name
        Schedule of the training, as in labelgen fit-cam. Default: demo on the demo data, paper on others.
    backbone_weights
        Checkpoint file of the backbone.
    saliency
        For eps: where saliency maps come from, as in labelgen fit-cam.
    device
        cpu, cuda, or auto for a GPU where there is one.
    fit_only
        Train the classifier and stop; shards and machines can then share it by --classifier.
    """

    method: CamMethod | None = None
    classifier: str = ""
    cam: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    preset_name: PresetFlag = "auto"
    backbone_weights: str = ""
    saliency: str = ""
    device: str = "auto"
    fit_only: Switch = False


@dataclass(frozen=True)
class ClassifierMaker:
    """The classifier behind the pseudo-labels: trained here, or given.

    Parameters
    ----------
    flags, recipe
        What the command line says of it.
    out
        Run folder of the promotion, beside which a classifier of its own lies.
    seed
        Of the training.
    overwrite
        Replace a classifier of other settings.
    is_shard
        Whether others label the rest of the images meanwhile.
    """

    flags: ClassifierFlags
    recipe: CamRecipeFlags
    out: Path
    seed: int = 0
    overwrite: bool = False
    is_shard: bool = False

    @property
    def method(self) -> CamMethod:
        """How it is trained."""
        return self.flags.method or "cam"

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return Path(self.flags.classifier or self.out.with_name(f"{self.out.name}-{self.method}-classifier"))

    def state(self) -> str:
        """How far the training is."""
        from labelgen.nets.cam.classifier_file import FOLDER

        path = self.folder / FOLDER.description
        return FOLDER.read_description(path)["state"] if path.is_file() else "missing"

    def fit(self, tagged: "TaggedByScribbles") -> None:
        """Train it, or find that it is trained; shards must not train the same one at once."""
        from labelgen.nets.cam.fit import fit_classifier

        if self.is_shard and self.state() != "complete":
            raise ConfigError(
                f"shards share one classifier, but that of {self.folder} is {self.state()}",
                hint="the same command with --fit-only and without --shard trains it",
            )
        arguments = {**self._training(tagged), "out": self.folder}
        with progress_bar(f"{self.method} classifier") as progress:
            try:
                report = fit_classifier(tagged, **arguments, progress=progress)
            except RunFolderError:
                if not self.overwrite:
                    raise
                report = fit_classifier(tagged, **arguments, overwrite=True, progress=progress)
        scores = f"mAP {report.scores['map']:.3f} on the tags of the scribbles"
        say(f"{self.folder}: {'was complete' if report.already else 'trained'}, {report.classes} classes, {scores}")

    def cost(self, tagged: "TaggedByScribbles") -> tuple[dict[str, Any], Any]:
        """What training it would take, and with which settings; nothing is written."""
        from labelgen.nets.cam.fit import estimate_cost

        arguments = self._training(tagged)
        return vars(estimate_cost(tagged, **arguments)), arguments["preset"]

    def _training(self, tagged: "TaggedByScribbles") -> dict[str, Any]:
        """Settings and inputs of the training, with what can be refused refused."""
        flags, changes = self.flags, {**self.recipe.changes(), "seed": self.seed}
        return training_arguments(
            tagged.spec,
            self.method,
            flags.preset_name,
            changes,
            weights=flags.backbone_weights,
            saliency=flags.saliency,
            device=flags.device,
        )

    def job(self, tagged: "TaggedByScribbles") -> "Job":
        """Class maps of the classifier as pseudo-labels."""
        from labelgen.methods.cam import CamConfig
        from labelgen.promote.job import pseudo_of_classifier
        from labelgen.settings import settings_from_text, split_setting

        values = dict(split_setting(text) for text in self.flags.cam)
        own = {"weights": self.folder.as_posix(), "device": self.flags.device}
        for name in sorted({*own, "method"} & set(values)):
            raise ConfigError(f"--cam {name}={values[name]} has a flag of its own here", hint="see --help")
        config = settings_from_text(CamConfig, {**values, **own}, of="labelgen cam")
        return pseudo_of_classifier(config, tagged)
