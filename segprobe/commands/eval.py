"""`segprobe eval [PROBE]`: the mIoU of a probe."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from labelgen.commands.common import JsonFlag, print_json, print_table, progress_bar
from labelgen.errors import ConfigError
from segprobe.commands.flags import ProbeFlags, evaluation_data
from segprobe.commands.predict import ViewFlags

__all__ = ["evaluate"]


def evaluate(
    probe: str = "",
    /,
    *,
    data: str = "",
    reference: str = "",
    bootstrap: int = 0,
    as_json: JsonFlag = False,
    flags: Annotated[ProbeFlags | None, Parameter(name="*")] = None,
    views: Annotated[ViewFlags | None, Parameter(name="*", group="Views")] = None,
) -> None:
    """Compare the predictions of a probe with the truth, at the original size of the images.

    Parameters
    ----------
    probe
        Folder of the probe. Default: the newest below probes/.
    data
        Data set with truth. Default: the one that the probe was trained on.
    reference
        A probe trained on full truth, or its mIoU: retention is the share of it that this probe reaches.
    bootstrap
        Times that the images are drawn anew for a 95 % confidence interval; 0 for none.

    Examples
    --------
    segprobe eval
    segprobe eval probes/scribble --data voc:VOCdevkit/VOC2012 --split val
    segprobe eval probes/scribble --reference probes/truth --bootstrap 1000
    """
    from segprobe.evaluate import evaluate_probe, interval
    from segprobe.predict import load_predictor
    from segprobe.probe_file import newest_probe

    if bootstrap < 0:
        raise ConfigError(f"--bootstrap must be >= 0 resamples, got {bootstrap}")
    path = Path(probe) if probe else newest_probe()
    flags, config = flags or ProbeFlags(), (views or ViewFlags()).config()
    predictor = load_predictor(path, config, device=flags.device, weights=flags.weights)
    dataset = evaluation_data(data, flags, predictor.probe.data)
    with progress_bar("eval") as progress:
        evaluation = evaluate_probe(predictor, dataset, progress=progress)
    found: dict[str, Any] = {"probe": str(path), **evaluation.to_json()}
    if bootstrap:
        found["interval"] = list(interval(evaluation, resamples=bootstrap))
    if reference:
        full = _reference_miou(reference, config, dataset, device=flags.device, weights=flags.weights)
        found["reference"] = full
        found["retention"] = evaluation.miou / full
    if as_json:
        print_json(found)
    else:
        _print(found)


def _reference_miou(text: str, config: Any, dataset: Any, *, device: str, weights: str) -> float:
    from segprobe.evaluate import evaluate_probe
    from segprobe.predict import load_predictor

    try:
        value = float(text)
    except ValueError:
        value = evaluate_probe(load_predictor(Path(text), config, device=device, weights=weights), dataset).miou
    if not 0 < value <= 1:
        raise ConfigError(f"--reference must be a probe or an mIoU in (0, 1], got {value}")
    return value


def _print(found: dict[str, Any]) -> None:
    rows = [
        (values["name"], *(_percent(values[key]) for key in ("iou", "precision", "recall")))
        for values in found["per_class"]
        if values["iou"] is not None
    ]
    print_table(("class", "IoU", "precision", "recall"), rows, title=found["probe"])
    pairs = [
        ("mIoU", f"{_percent(found['miou'])} over {found['num_classes']} classes"),
        ("images", found["num_images"]),
        ("pixel accuracy", _percent(found["pixel_accuracy"])),
    ]
    if "interval" in found:
        pairs.insert(1, ("95 % interval", " to ".join(map(_percent, found["interval"]))))
    if "retention" in found:
        pairs.append(("retention", f"{found['retention']:.3f} of {_percent(found['reference'])}"))
    print_table(("", ""), pairs)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
