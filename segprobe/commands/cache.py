"""`segprobe cache [DATA]`: features ahead of time, by one process or several."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import (
    DataFlags,
    EngineFlags,
    JsonFlag,
    Switch,
    open_dataset_from,
    parse_shard,
    print_json,
    print_table,
    progress_bar,
)
from labelgen.errors import ConfigError
from segprobe.commands.flags import BackboneFlags, DryRunFlag

__all__ = ["cache"]


def cache(
    data: str = "demo",
    /,
    *,
    out: str = "cache",
    flip: bool = True,
    scales: str = "1",
    float32: Switch = False,
    batch_size: int = 8,
    shard: str = "1/1",
    workers: int = 1,
    device: str = "auto",
    verify: Switch = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
    backbone: Annotated[BackboneFlags | None, Parameter(name="*", group="Backbone")] = None,
    images: Annotated[DataFlags | None, Parameter(name="*", group="Images")] = None,
    where: Annotated[EngineFlags | None, Parameter(name="*", group="Engine")] = None,
) -> None:
    """Compute the features of all images of a data set, or finish what was begun.

    `segprobe fit` on labels of all these images, with the same backbone flags, flip and scales, finds them.

    Parameters
    ----------
    data
        demo, or a path, or kind:path.
    out
        Folder below which features are kept, in a folder named after what they are.
    flip
        Also those of the mirrored images.
    scales
        Sizes as factors, as 1,1.5.
    float32
        Keep float32 instead of float16.
    batch_size
        Images of one size that go through the backbone together.
    shard
        Compute only part i of n, as i/n; several processes or machines can share the work.
    workers
        Actors with --engine ray, each of which makes a shard of 256 images at a time.
    device
        cpu, cuda, or auto for a GPU where there is one.
    verify
        Afterwards hash every file and every image again.

    Examples
    --------
    segprobe cache
    segprobe cache voc:VOCdevkit/VOC2012 --split train --shard 1/4
    segprobe cache photos --engine ray --ray-address auto --workers 16
    segprobe cache photos --backbone vit_small_patch14_dinov2.lvd142m --dry-run
    """
    from labelgen.nets.backbones import load_backbone
    from segprobe.features import FeatureCache, View, build_shards, cache_fingerprint, cache_name
    from segprobe.features.on_ray import crew_of

    engine = (where or EngineFlags()).chosen_engine()
    crew = crew_of(engine, workers, device)
    dataset = open_dataset_from(images or DataFlags(), data)
    network = load_backbone((backbone or BackboneFlags()).config(dataset.spec), device=device)
    flips = (False, True) if flip else (False,)
    views = tuple(View(scale, mirrored) for scale in _scales(scales) for mirrored in flips)
    dtype = "float32" if float32 else "float16"
    folder = Path(out) / cache_name(cache_fingerprint(dataset, dataset.ids, network, views=views, dtype=dtype))
    if dry_run:
        _plan(dataset, network, folder, views=views, dtype=dtype, batch_size=batch_size, as_json=as_json)
        return
    with progress_bar("cache") as progress:
        complete = build_shards(
            dataset,
            dataset.ids,
            network,
            folder,
            shard=parse_shard(shard),
            views=views,
            dtype=dtype,
            batch_size=batch_size,
            crew=crew,
            progress=progress,
        )
    facts: dict[str, Any] = {"cache": str(folder), "complete": complete, "images": len(dataset.ids)}
    if complete:
        made = FeatureCache.open(folder)
        if verify:
            made.verify(dataset)
        facts |= {
            "views": len(made.views),
            "dim": made.dim,
            "megabytes": round(made.nbytes / 1e6, 1),
            "verified": verify,
        }
    if as_json:
        print_json(facts)
    else:
        print_table(("", ""), list(facts.items())[1:], title=str(folder))


def _plan(dataset: Any, network: Any, folder: Path, *, as_json: bool, **settings: Any) -> None:
    """What all shards would take, in one process."""
    from segprobe.commands.plans import print_rows, rows_of_features
    from segprobe.estimate import estimate_features

    cost = estimate_features(dataset, dataset.ids, network, folder.parent, **settings)
    rows = [("images", f"{len(dataset.ids):,}"), *rows_of_features(cost), ("out", folder.as_posix())]
    document = {"images": len(dataset.ids), "cache": folder.as_posix(), "estimate": cost.to_json()}
    print_rows(rows, document, as_json=as_json)


def _scales(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--scales must be numbers between commas, got {text!r}", hint="--scales 1,1.5") from None
