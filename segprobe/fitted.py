"""Train a head on features at hand: missing background, the objective, rounds of corrections, or a closed form."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from labelgen.nets.training import Progress
from segprobe.background import add_background, background_rule
from segprobe.batches import BatchMaker, FeatureSource
from segprobe.closed_form import SOLVERS, fit_ridge
from segprobe.config import FitConfig
from segprobe.corrections import AdeleConfig, ConfidentConfig
from segprobe.guides import ImageSource
from segprobe.heads import Head, make_head
from segprobe.labels import LabelSet
from segprobe.layers import Layers
from segprobe.losses import make_loss
from segprobe.memorisation import MemorisationWatch, Watches
from segprobe.objective import Objective
from segprobe.rounds import Trained, train_in_rounds
from segprobe.runtime import ALONE, Runtime
from segprobe.terms import make_terms
from segprobe.terms.context import TermContext
from segprobe.terms.trained import with_modules
from segprobe.training import train_head
from segprobe.tuning.batches import TuningBatches
from segprobe.tuning.features import PictureFeatures
from segprobe.watch import AdeleWatch

__all__ = ["FittedHead", "fit_head"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FittedHead:
    """A trained head with what was found out on the way.

    Parameters
    ----------
    head
        In eval mode, on the CPU.
    class_ids
        Vocabulary id of each of its logits.
    background
        The rule that supplied missing background.
    steps
        Updates of the whole fit, those of earlier calls included.
    losses
        Of the updates of this call.
    figures
        Of the corrections of labels, where there were any.
    """

    head: Head
    class_ids: tuple[int, ...]
    background: str
    steps: int
    losses: tuple[float, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> float | None:
        """Of the last update of the whole fit, also when an earlier call made it; None for the closed form."""
        if self.losses:
            return self.losses[-1]
        rounds = self.figures.get("rounds", ())
        return rounds[-1]["loss"] if rounds else None


def fit_head(
    labels: LabelSet,
    features: FeatureSource,
    config: FitConfig,
    *,
    images: ImageSource | None = None,
    layers: Layers | None = None,
    folder: Path | None = None,
    device: str = "cpu",
    runtime: Runtime = ALONE,
    progress: Progress | None = None,
) -> FittedHead:
    """Train a head on features at hand.

    Parameters
    ----------
    images
        The images themselves, for terms that look at colours.
    layers
        Layers and strokes of the labels, for terms that use them.
    folder
        Where checkpoints and metrics go, and where an interrupted fit is taken up; None keeps nothing.
    runtime
        The processes that train together.
    """
    rule = background_rule(config.background, labels)
    if rule != "none":
        log.warning(
            "no label of %s shows the background: pixels unlike the labelled ones stand in for it (--background %s)",
            labels.name,
            rule,
        )
        labels = add_background(labels, features, rule=rule, share=config.background_share)
    if len(labels.class_ids) == 1:
        only = labels.vocabulary.classes[labels.class_ids[0]]
        log.warning("the labels of %s show one class only, %s: the head can say nothing else", labels.name, only)

    def new_head() -> Head:
        means = torch.as_tensor(features.mean), torch.as_tensor(features.std)
        head = make_head(config.head_choice, *means, num_classes=len(labels.class_ids), seed=config.seed)
        return head.to(device)

    train = functools.partial(
        _train_once, features=features, config=config, images=images, layers=layers, device=device, runtime=runtime
    )
    if isinstance(config.correction, ConfidentConfig):
        found = train_in_rounds(
            train,
            new_head,
            labels,
            features,
            rounds=config.rounds,
            settings=config.correction,
            gamma=config.confidence,
            folder=folder,
            device=device,
            runtime=runtime,
            progress=progress,
        )
        head, trained = found.head, Trained(found.losses, found.steps, {"rounds": found.rounds})
    else:
        head = new_head()
        trained = train(head, labels, folder=folder, progress=progress)
    head = head.cpu().eval()
    return FittedHead(head, labels.class_ids, rule, trained.steps, tuple(trained.losses), trained.figures)


def _train_once(
    head: Head,
    labels: LabelSet,
    *,
    features: FeatureSource,
    config: FitConfig,
    images: ImageSource | None,
    layers: Layers | None,
    device: str,
    runtime: Runtime,
    folder: Path | None,
    progress: Progress | None,
) -> Trained:
    """Train a head in place, or solve for it."""
    lasting = None if isinstance(features, PictureFeatures) else features
    context = TermContext(labels, head, features=lasting, images=images, layers=layers, seed=config.seed)
    objective = Objective(make_loss(config.loss), make_terms(config.term_steps, context))
    whole = objective.needs_grids or head.needs_grid
    maker: BatchMaker
    parts: dict[str, Any] = {}
    if isinstance(features, PictureFeatures):
        maker = TuningBatches(features, labels, config, device=device, whole=whole)
        parts = features.network.trained_with(head)
    else:
        maker = BatchMaker(features, labels, config, device=device, whole=whole)
    solve = SOLVERS.get(config.head_choice.name)
    if solve is not None:
        solve(head, maker, progress=progress)
        return Trained([], 0)
    if config.init == "ridge":
        fit_ridge(head, maker, progress=progress)
    parts = with_modules(parts, head, objective.terms, config)
    adele = memorised = None
    if config.memorisation:
        memorised = MemorisationWatch(maker, images, folder=folder, runtime=runtime)
    if isinstance(config.correction, AdeleConfig):
        adele = AdeleWatch(maker, config.correction, most=config.rounds, folder=folder, runtime=runtime)
    watch = Watches(tuple(each for each in (memorised, adele) if each is not None))
    losses = train_head(head, maker, objective, **parts, watch=watch, folder=folder, runtime=runtime, progress=progress)
    figures = adele.figures() if adele is not None else {}
    return Trained(losses, maker.num_steps, {**figures, **({"memorisation": memorised.last} if memorised else {})})
