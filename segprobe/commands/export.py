"""`segprobe export [PROBE]`: the folded head, an ONNX graph or a torch.export program, checked when it is written."""

import tempfile
import time
from pathlib import Path
from typing import Any

from labelgen.commands.amounts import duration, file_size
from labelgen.commands.common import JsonFlag, Switch, print_json, print_table
from labelgen.errors import ConfigError
from labelgen.estimate import bytes_below

__all__ = ["export"]


def export(
    probe: str = "",
    /,
    *,
    format: str = "safetensors",
    size: str = "",
    out: str = "",
    classes: str = "argmax",
    input: str = "uint8",
    dynamic_batch: Switch = False,
    weights: str = "",
    overwrite: Switch = False,
    dry_run: Switch = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a probe for use elsewhere, run what was written and compare it with the probe.

    A graph takes images of one size, normalises them and gives classes at every pixel. Resizing is left to its user:
    images must come at the size at which the probe sees them.

    Parameters
    ----------
    probe
        Folder of the probe. Default: the newest below probes/.
    format
        safetensors (the head alone, standardisation folded in, with a JSON file), onnx, or torch (a .pt2 program).
    size
        Height and width of the images of a graph in pixels, as 448,597. Default: the square that the probe sees.
    out
        File to write. Default: exports/PROBE/head.safetensors, probe.onnx or probe.pt2.
    classes
        What a graph gives: argmax (logits, and labels with the ids of the classes), logits, or probabilities.
    input
        What a graph takes: uint8 (B, H, W, 3) RGB, or unit (B, 3, H, W) float32 RGB in [0, 1].
    dynamic_batch
        Let a graph take any number of images at once, instead of one.
    weights
        Where the checkpoint of the backbone lies now, if it was moved.
    overwrite
        Replace a file that is already there.
    dry_run
        Export into a folder that is removed, to say whether it works and what it takes in time and disk: a graph is
        traced as a whole or not at all, so this takes as long as the export.

    Examples
    --------
    segprobe export probes/scribble
    segprobe export probes/scribble --format onnx --size 448,448 --out probe.onnx
    """
    shape = parse_size(size) if size else None
    from segprobe.export import export_probe
    from segprobe.probe_file import newest_probe

    path = Path(probe) if probe else newest_probe()
    settings = {
        "format": format,
        "size": shape,
        "out": Path(out) if out else None,
        "outputs": classes,
        "kind": input,
        "dynamic_batch": dynamic_batch,
        "overwrite": overwrite,
    }
    if dry_run:
        _plan(path, settings, weights, as_json=as_json)
        return
    report = export_probe(path, **settings, weights=weights)
    if as_json:
        print_json({**vars(report), "out": str(report.out), "probe": str(path)})
        return
    rows = [("largest difference", f"{report.difference:.1e}"), ("megabytes", f"{report.out.stat().st_size / 1e6:.1f}")]
    if report.size is not None:
        rows.insert(0, ("images", f"{report.size[0]} x {report.size[1]} pixels"))
    if report.agreement is not None:
        rows.append(("same class", f"{100 * report.agreement:.3f} % of the pixels"))
    print_table(("", ""), rows, title=f"exported: {report.out}")


def _plan(path: Path, settings: dict[str, Any], weights: str, *, as_json: bool) -> None:
    """Export into a folder that is removed, timed."""
    from segprobe.commands.plans import print_rows
    from segprobe.export import export_probe, plan_export

    target = plan_export(path, **settings)
    with tempfile.TemporaryDirectory(prefix="segprobe-estimate-") as name:
        begin = time.perf_counter()
        report = export_probe(path, **{**settings, "out": Path(name, target.name)}, weights=weights)
        seconds = time.perf_counter() - begin
        size = bytes_below(Path(name))
    document = {"probe": str(path), "out": str(target), "size": list(report.size) if report.size else None}
    document["estimate"] = {"seconds": round(seconds, 2), "bytes": size}
    rows = [("probe", str(path)), ("out", str(target)), ("time", duration(seconds)), ("disk", file_size(size))]
    rows += [("images", "{} x {} pixels".format(*report.size))] if report.size else []
    print_rows([*rows, ("largest difference", f"{report.difference:.1e}")], document, as_json=as_json)


def parse_size(text: str) -> tuple[int, int]:
    """Read a height and a width.

    Raises
    ------
    ConfigError
        When it is anything but two whole numbers.

    Examples
    --------
    >>> parse_size("448,597")
    (448, 597)
    """
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--size must be a height and a width, got {text!r}", hint="--size 448,597") from None
    return height, width
