"""Export a probe: load it, write the file, run that and compare; a file that disagrees is not kept."""

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError, RunFolderError
from segprobe.export.check import ExportError, Run, compare_with
from segprobe.export.folded import write_folded
from segprobe.export.graphs import GRAPHS, Graph, need_packages
from segprobe.export.network import INPUTS, OUTPUTS, StaticNetwork, default_size
from segprobe.predict import Predictor, load_probe_backbone
from segprobe.probe_file import Probe, open_probe

__all__ = ["FORMATS", "ExportReport", "export_probe", "plan_export"]

log = logging.getLogger(__name__)

SCHEMA = 1
FOLDED = "safetensors"
FORMATS = (FOLDED, *GRAPHS)


@dataclass(frozen=True)
class ExportReport:
    """What was written, and how far it is from the probe.

    Parameters
    ----------
    out
        The file.
    size
        `(H, W)` of the images that a graph takes; None for a head alone.
    difference
        Largest difference of a logit or probability.
    agreement
        Share of pixels with the same class; None for a head alone, which is compared on tokens.
    """

    out: Path
    size: tuple[int, int] | None
    difference: float
    agreement: float | None


def export_probe(
    path: Path,
    *,
    format: str = FOLDED,
    size: tuple[int, int] | None = None,
    out: Path | None = None,
    outputs: str = "argmax",
    kind: str = "uint8",
    dynamic_batch: bool = False,
    weights: str = "",
    overwrite: bool = False,
) -> ExportReport:
    """Write a probe for use elsewhere.

    Parameters
    ----------
    path
        Folder of the probe.
    format
        Out of `FORMATS`.
    size
        Of the images that a graph takes; None for the square at which the backbone sees images.
    out
        File to write; None for `head.safetensors`, `probe.onnx` or `probe.pt2` in the folder of the probe's name below
        `exports`.
    outputs
        Out of `OUTPUTS`; of a graph.
    kind
        Out of `INPUTS`; of a graph.
    dynamic_batch
        Let a graph take any number of images at once, instead of one.
    weights
        Where the checkpoint of the backbone lies now, if it was moved.

    Raises
    ------
    ConfigError
        When a setting makes no sense, a package is missing, or the head or the size does not fit the format.
    RunFolderError
        When the file is there already.
    ExportError
        When what was written does not agree with the probe.
    """
    target = plan_export(
        path,
        format=format,
        size=size,
        out=out,
        outputs=outputs,
        kind=kind,
        dynamic_batch=dynamic_batch,
        overwrite=overwrite,
    )
    probe = open_probe(path)
    facts = facts_of(probe)
    if format == FOLDED:
        if probe.tuned:
            log.warning("the head of %s needs the network that was trained with it, in %s", path, probe.tuned["file"])
        difference = write_folded(probe.head, target, name=probe.kind, facts=facts)
        return ExportReport(target, None, difference, None)
    return _export_graph(probe, format, size, target, facts, outputs, kind, dynamic_batch, weights)


def plan_export(
    path: Path,
    *,
    format: str = FOLDED,
    size: tuple[int, int] | None = None,
    out: Path | None = None,
    outputs: str = "argmax",
    kind: str = "uint8",
    dynamic_batch: bool = False,
    overwrite: bool = False,
) -> Path:
    """The file that `export_probe` would write with these settings; nothing is written.

    Raises
    ------
    ConfigError, RunFolderError
        As `export_probe`.
    """
    for name, value, known in (("format", format, FORMATS), ("classes", outputs, OUTPUTS), ("input", kind, INPUTS)):
        if value not in known:
            raise ConfigError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    probe = open_probe(path)
    suffix = ".safetensors" if format == FOLDED else GRAPHS[format].suffix
    target = out or Path("exports") / probe.name / (("head" if format == FOLDED else "probe") + suffix)
    if target.suffix != suffix:
        raise ConfigError(f"a file of format {format} must end in {suffix}, got {target}")
    if target.exists() and not overwrite:
        raise RunFolderError(f"{target} is there already", hint="--overwrite replaces it, another --out keeps both")
    if format != FOLDED:
        need_packages(GRAPHS[format].packages)
    elif size or dynamic_batch or (outputs, kind) != ("argmax", "uint8"):
        raise ConfigError(
            "size, classes, input and dynamic-batch are of a graph; safetensors holds the head alone",
            hint="--format onnx or torch",
        )
    return target


def _export_graph(
    probe: Probe,
    format: str,
    size: tuple[int, int] | None,
    target: Path,
    facts: dict[str, Any],
    outputs: str,
    kind: str,
    dynamic_batch: bool,
    weights: str,
) -> ExportReport:
    exact = replace(probe, backbone=replace(probe.backbone, dtype="float32"))
    backbone = load_probe_backbone(exact, device="cpu", weights=weights)
    predictor = Predictor(probe, backbone)
    size = size or default_size(backbone)
    network = StaticNetwork(probe, backbone, size, kind=kind, outputs=outputs)
    graph = GRAPHS[format]
    about = {**facts, "input": kind, "outputs": list(network.names), "size": list(size)}
    partial = target.with_name(f".{target.stem}.part{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        run = _written(
            graph,
            network,
            partial,
            about,
            dynamic_batch=dynamic_batch,
            what=f"{backbone.spec.name} with head {probe.kind}",
        )
        found = compare_with(predictor, run, size, outputs=outputs, where=format)
        partial.replace(target)
    except OSError as error:
        raise RunFolderError(f"cannot write {target} ({error})", hint="choose another --out") from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(target, size, found.difference, found.agreement)


def _written(
    graph: Graph, network: StaticNetwork, path: Path, facts: dict[str, Any], *, dynamic_batch: bool, what: str
) -> Run:
    """Write a graph and open it; whatever the exporter of torch raises becomes one sentence."""
    try:
        graph.write(network, path, facts=facts, dynamic_batch=dynamic_batch)
        return graph.run(path)
    except OSError:
        raise
    except Exception as error:
        story = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {story[0]}" if story else type(error).__name__
        raise ExportError(f"torch could not export {what}: {reason}", hint="another --format may work") from error


def facts_of(probe: Probe) -> dict[str, Any]:
    """What a user of the file has to know, as JSON values."""
    vocabulary = probe.vocabulary
    colours = vocabulary.colours
    return {
        "schema": SCHEMA,
        "probe": probe.name,
        "head": {"kind": probe.kind, **probe.settings},
        "classes": [{"id": i, "name": vocabulary.classes[i], "colour": list(colours[i])} for i in probe.class_ids],
        "backbone": dict(probe.fingerprint),
        "labels": dict(probe.labels),
        "head_sha256": hashlib.sha256(
            b"".join(v.numpy().tobytes() for v in probe.head.state_dict().values())
        ).hexdigest(),
    }
