"""`segprobe demo`: one table, made from nothing in a minute or two."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.commands.amounts import duration, file_size
from labelgen.commands.common import JsonFlag, Switch, print_json, print_table, say
from labelgen.errors import ConfigError
from segprobe.commands.flags import DryRunFlag
from segprobe.config import FitConfig, idle_settings

if TYPE_CHECKING:
    from labelgen.nets.backbone_config import BackboneConfig

__all__ = ["demo"]

DEMO_LR = 0.01


def demo(
    *,
    out: str = "demo",
    seeds: int = 1,
    epochs: int = FitConfig.epochs,
    lr: float = DEMO_LR,
    head: str = FitConfig.head,
    backbone: str = "",
    limit: int = 0,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    quiet: Switch = False,
) -> None:
    """Make scribbles, points and corrupted labels of built-in scenes, measure them, and fit a probe on each.

    Nothing is downloaded: the scenes are drawn by code and a small self-supervised ViT is part of the package. What
    is in --out already is not made again. Retention is the mIoU of a probe over that of the probe trained on full
    truth.

    Parameters
    ----------
    out
        Work folder, with runs, probes and features.
    seeds
        Repetitions with other labels and other fits; the table shows means.
    epochs
        Passes over the images, for each probe.
    lr
        Learning rate: higher than that of `segprobe fit`, because there are only 400 steps.
    head
        linear, mlp or ridge.
    backbone
        Another backbone than demo-ssvt: a timm model.
    limit
        Only the first N images of each split; 0 for all.
    quiet
        Say nothing on the way.

    Examples
    --------
    segprobe demo
    segprobe demo --seeds 3 --head mlp --json
    """
    from labelgen.nets.backbone_config import DEMO_BACKBONE, BackboneConfig
    from segprobe.demo import run_demo

    if seeds < 1 or limit < 0:
        raise ConfigError(f"--seeds must be >= 1 and --limit >= 0, got {seeds} and {limit}")
    usual = lr == DEMO_LR and "lr" in idle_settings(head)  # a default of this command that nobody typed
    config = FitConfig(epochs=epochs, lr=FitConfig.lr if usual else lr, head=head)
    network = BackboneConfig(name=backbone or DEMO_BACKBONE)
    if dry_run:
        _plan(Path(out), seeds, network, config, limit, as_json=as_json)
        return
    start = time.perf_counter()

    def report(sentence: str) -> None:
        if not quiet:
            say(f"[{time.perf_counter() - start:5.1f} s] {sentence}")

    rows = run_demo(
        Path(out),
        seeds=range(seeds),
        backbone=network,
        config=config,
        train_limit=limit,
        val_limit=limit,
        say=report,
    )
    report("done")
    if as_json:
        print_json({"rows": [row.to_json() for row in rows]})
        return
    print_table(
        ("supervision", "coverage %", "label mIoU %", "probe mIoU %", "retention", "seconds"),
        [
            (
                row.supervision,
                f"{100 * row.coverage:.2f}",
                f"{100 * row.label_miou:.1f}",
                f"{100 * row.probe_miou:.1f}",
                f"{row.retention:.3f}",
                f"{row.seconds:.1f}",
            )
            for row in rows
        ],
        title="Label mIoU counts labelled pixels of the training scenes; probe mIoU all pixels of the val scenes.",
    )
    if sys.stdout.isatty():
        say(f"runs, probes and features are in {out}")


def _plan(out: Path, seeds: int, network: "BackboneConfig", config: FitConfig, limit: int, *, as_json: bool) -> None:
    """The probes that are missing, and what they would take; labels of the scenes are made in seconds."""
    from labelgen.data.open import open_data
    from segprobe.commands.plans import print_rows, rows_of_fit
    from segprobe.demo import SUPERVISIONS
    from segprobe.estimate import estimate_fit
    from segprobe.labels import TruthSource
    from segprobe.probe_file import DESCRIPTION

    names = [row.folder + (f"-{seed}" if seed else "") for row in SUPERVISIONS for seed in range(seeds)]
    left = [name for name in names if not (out / "probes" / name / DESCRIPTION).is_file()]
    train = open_data("demo", split="train", limit=limit)
    cost = estimate_fit(TruthSource(train), train, backbone=network, config=config, cache=out / "cache", device="cpu")
    features = cost.features.seconds if cost.features else 0.0
    seconds = features + cost.seconds * len(left)
    size = (cost.features.bytes if cost.features else 0) + cost.bytes * len(left)
    document = {"probes": names, "to_fit": left, "out": out.as_posix()}
    document["estimate"] = {**cost.to_json(), "all_seconds": round(seconds, 2), "all_bytes": size}
    rows = [("probes", f"{len(names)}, {len(left)} of them to fit"), *rows_of_fit(cost)]
    rows += [("time in all", duration(seconds)), ("disk", file_size(size)), ("out", out.as_posix())]
    print_rows(rows, document, as_json=as_json)
