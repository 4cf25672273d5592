"""`labelgen saliency [DATA]`: write saliency maps, to look at and for what reads a folder of them."""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.amounts import cost_rows
from labelgen.commands.common import (
    EXIT_DONE,
    EXIT_SOME_FAILED,
    ImageFlags,
    JsonFlag,
    Switch,
    data_path,
    print_json,
    print_table,
    progress_bar,
    say_error,
)
from labelgen.commands.pictures import open_pictures

__all__ = ["saliency"]


def saliency(
    data: str = "demo",
    /,
    *,
    source: str = "ncut",
    out: str = "runs/saliency",
    device: str = "auto",
    overwrite: Switch = False,
    dry_run: Switch = False,
    as_json: JsonFlag = False,
    images: Annotated[ImageFlags | None, Parameter(name="*", group="Images")] = None,
) -> int:
    """Say of every pixel how likely it belongs to some object, whatever it is, and write that as grey pictures.

    Nothing is trained and no label is seen. The maps serve `labelgen cam --background saliency --saliency FOLDER` and
    other commands with a flag of that name; saliency.json beside them says how they were made.

    Parameters
    ----------
    data
        Images: demo, a folder of known layout or of pictures, or KIND:PATH.
    source
        ncut or ncut:BACKBONE: regions of a frozen self-supervised network that reach little of the border of the
        image. spectral: what is unexpected in the spectrum of the image, without any network. Settings stand behind
        commas: ncut:demo-ssvt,tokens=24 or ncut,variant=tokencut or spectral,side=128.
    out
        Folder of the maps, ID.png for every image. Maps that are there already are kept if they were made from the
        same images.
    device
        torch device; auto takes CUDA where there is one.
    overwrite
        Write all maps anew.
    dry_run
        Make a few maps to say how long all would take and how much disk; write nothing.

    Examples
    --------
    labelgen saliency
    labelgen saliency photos --source spectral --out maps
    labelgen saliency voc:VOCdevkit/VOC2012 --source ncut:vit_small_patch16_224.dino
    """
    dataset = open_pictures(images, data)

    from labelgen.nets.saliency import open_saliency
    from labelgen.nets.saliency.write import write_saliency

    maker = open_saliency(source, dataset.spec, device)
    if dry_run:
        _plan(dataset, maker, Path(out), overwrite=overwrite, as_json=as_json)
        return EXIT_DONE
    with progress_bar("saliency") as progress:
        report = write_saliency(dataset, maker, Path(out), overwrite=overwrite, progress=progress)
    _show(report, as_json=as_json)
    if report.failed:
        first, why = next(iter(report.failed.items()))
        say_error(
            f"{len(report.failed)} of {len(dataset.ids)} images gave no map, the first {first}: {why}",
            "mend the data and run the same command again; it makes what is missing",
        )
    return EXIT_SOME_FAILED if report.failed else EXIT_DONE


def _plan(dataset: Any, maker: Any, out: Path, *, overwrite: bool, as_json: bool) -> None:
    """Write a few maps into a folder that is removed."""
    from labelgen.estimate import IMAGES, RunEstimate, bytes_below, part_of, spread
    from labelgen.nets.saliency.write import write_saliency

    todo = [i for i in dataset.ids if overwrite or not (out / f"{i}.png").is_file()]
    cost = RunEstimate(0, 0, 0.0, 0)
    with tempfile.TemporaryDirectory(prefix="labelgen-estimate-") as name:
        tried = spread(todo, IMAGES)
        if tried:
            write_saliency(part_of(dataset, tried[:1]), maker, Path(name, "warm"))  # pays for what comes once
            begin = time.perf_counter()
            report = write_saliency(part_of(dataset, tried), maker, Path(name, "timed"))
            each = (time.perf_counter() - begin) / len(tried)
            size = bytes_below(Path(name, "timed")) / len(tried)
            cost = RunEstimate(len(todo), len(tried), each * len(todo), round(size * len(todo)), len(report.failed))
    plan = {"images": len(dataset.ids), "to_make": len(todo), "made_by": maker.facts()["provider"], "out": str(out)}
    if as_json:
        print_json({**plan, "estimate": cost.to_json()})
        return
    rows = [(key.replace("_", " "), value) for key, value in plan.items()] + cost_rows(cost)
    print_table(("", ""), rows, title="would do (nothing is written)", texts=(0, 1))


def _show(report: Any, *, as_json: bool) -> None:
    if as_json:
        print_json({**vars(report), "out": str(report.out)})
        return
    facts = report.facts
    rows = [
        ("maps", f"{report.done + report.skipped}" + (f" ({report.skipped} of them before)" * bool(report.skipped)))
    ]
    if report.done:
        rows.append(("mean saliency", f"{report.mean:.3f}"))
    rows += [("failed", len(report.failed)), ("made by", facts["provider"])]
    if "backbone" in facts:
        rows.append(("network", facts["backbone"]))
    rows.append(("use", f"labelgen cam --background saliency --saliency {data_path(report.out)}"))
    print_table(("", ""), rows, title=f"saliency: {report.out}")
