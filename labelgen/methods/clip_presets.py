"""Published zero-shot protocols by name: every setting that a paper's code fixes, and the mIoU it reports with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labelgen.errors import ConfigError

__all__ = ["PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True)
class Preset:
    """One protocol on one benchmark.

    Parameters
    ----------
    settings
        Fields of `ClipConfig` and their values.
    vocabulary
        Name of the vocabulary in the words of that code.
    miou
        Published mIoU in percent on the validation images of the benchmark, with the weights of `settings`.
    source
        Where that number is from, and what it includes.
    """

    settings: Mapping[str, Any]
    vocabulary: str
    miou: float
    source: str


_WEIGHTS = {"model": "ViT-B-16", "pretrained": "openai"}
_COMMON = {**_WEIGHTS, "templates": "imagenet80", "fuse": "similarity", "synonyms": "compat"}
_WHOLE = {"crop": 0, "stride": 0}
_HALF = {"crop": 224, "stride": 112}  # stride is half the crop

_BENCHMARKS = {  # suffix of the name: (vocabulary, whether it has a background)
    "voc21": ("voc", True),
    "context60": ("context60", True),
    "coco-object": ("coco-object", True),
    "voc20": ("voc20", False),
    "context59": ("context59", False),
    "coco-stuff": ("coco-stuff", False),
    "cityscapes": ("cityscapes", False),
    "ade20k": ("ade20k", False),
}


def _rows(
    family: str, settings: Mapping[str, Any], miou: Mapping[str, float], source: str, *, single: bool = False, **by: Any
) -> dict[str, Preset]:
    """The presets of one code base; `by` holds what differs on a benchmark, its dashes written as underscores.

    Parameters
    ----------
    single
        The code has one prompt for each class of VOC and COCO objects.
    """
    presets = {}
    for benchmark, value in miou.items():
        base, has_background = _BENCHMARKS[benchmark]
        several = base in ("voc", "voc20", "coco-object")
        own = by.get(benchmark.replace("-", "_"), {})
        background = {"background": "words+threshold" if has_background else "none"}
        presets[f"{family}-{benchmark}"] = Preset(
            settings={**_COMMON, **background, **settings, **own},
            vocabulary=f"{base}-ovss-single" if single and several else f"{base}-ovss",
            miou=value,
            source=source,
        )
    return presets


_AT_01 = {"background_threshold": 0.1}
_NACLIP_WINDOWS: dict[str, Any] = {
    "voc21": {**_WHOLE, **_AT_01},
    "context60": _AT_01,
    "coco_object": _AT_01,
    "voc20": _WHOLE,
    "cityscapes": {"short_side": 560},
}
_BASELINE = {"short_side": 336, "scale": 40.0, **_HALF}

PRESETS: dict[str, Preset] = {
    **_rows(
        "clip",
        {"method": "clip", **_BASELINE},
        {
            "voc21": 16.2,
            "context60": 7.7,
            "coco-object": 5.5,
            "voc20": 41.8,
            "context59": 9.2,
            "coco-stuff": 4.4,
            "cityscapes": 5.5,
            "ade20k": 2.1,
        },
        "table of ResCLIP (arXiv 2411.15851), which does not state the protocol of its baselines; ours is NACLIP's",
        **_NACLIP_WINDOWS,
    ),
    **_rows(
        "maskclip",
        {"method": "maskclip", **_BASELINE},
        {
            "voc21": 38.8,
            "context60": 23.6,
            "coco-object": 20.6,
            "voc20": 74.9,
            "context59": 26.4,
            "coco-stuff": 16.4,
            "cityscapes": 12.6,
            "ade20k": 9.8,
        },
        "table of ResCLIP (arXiv 2411.15851), which does not state the protocol of its baselines; ours is NACLIP's",
        **_NACLIP_WINDOWS,
    ),
    **_rows(
        "sclip",
        {"method": "sclip", **_BASELINE},
        {
            "voc21": 59.63,
            "context60": 31.74,
            "coco-object": 33.52,
            "voc20": 81.54,
            "context59": 34.46,
            "coco-stuff": 22.77,
            "cityscapes": 32.34,
            "ade20k": 16.45,
        },
        "README of the code of SCLIP (arXiv 2312.01597), without refinement",
        voc21={"scale": 65.0, "area": 0.1, **_AT_01},
        context60={"scale": 50.0, **_AT_01},
        coco_object={"scale": 50.0, **_AT_01},
        coco_stuff={"short_side": 448},
        cityscapes={"short_side": 560},
    ),
    **_rows(
        "naclip",
        {"method": "naclip", "std": 5.0, **_BASELINE},
        {
            "voc21": 58.9,
            "context60": 32.2,
            "coco-object": 33.2,
            "voc20": 79.7,
            "context59": 35.2,
            "coco-stuff": 23.3,
            "cityscapes": 35.5,
            "ade20k": 17.4,
        },
        "NACLIP (arXiv 2404.08181) without refinement; with PAMR its code reports 64.07 on voc21",
        **_NACLIP_WINDOWS,
    ),
    **_rows(
        "clearclip",
        {"method": "clearclip", "short_side": 448, "crop": 448, "stride": 224, "scale": 50.0},
        {
            "voc21": 51.8,
            "context60": 32.6,
            "coco-object": 33.0,
            "voc20": 80.9,
            "context59": 35.9,
            "coco-stuff": 23.9,
            "ade20k": 16.7,
        },
        "ClearCLIP (arXiv 2407.12442); background is the one word",
        single=True,
        voc21={"background_words": "background", "background_threshold": 0.5},
        context60={"background_words": "background", "background_threshold": 0.15},
        coco_object={"background_words": "background", "background_threshold": 0.4},
    ),
    **_rows(
        "proxyclip",
        {
            "method": "proxy",
            "beta": 1.2,
            "gamma": 3.0,
            "proxy_backbone": "vit_base_patch8_224.dino",
            "short_side": 336,
            "crop": 336,
            "stride": 112,
            "scale": 40.0,
        },
        {
            "voc21": 61.3,
            "context60": 35.3,
            "coco-object": 37.5,
            "voc20": 80.3,
            "context59": 39.1,
            "coco-stuff": 26.5,
            "cityscapes": 38.1,
            "ade20k": 20.2,
        },
        "ProxyCLIP (arXiv 2408.04883) with DINO ViT-B/8, as the table of Trident gives it",
        single=True,
        voc21={"background_threshold": 0.2},
        context60={"background_threshold": 0.15},
        coco_object={"background_threshold": 0.25},
        cityscapes={"short_side": 448, **_HALF},
        ade20k={"short_side": 448},
    ),
}
"""Name to protocol. Unlike here, the codes keep a background word that is a class (`bed` of COCO objects)."""


def find_preset(name: str) -> Preset:
    """The preset of this name.

    Raises
    ------
    ConfigError
        When there is none; the hint lists them.

    Examples
    --------
    >>> find_preset("naclip-voc21").miou, find_preset("naclip-voc21").settings["short_side"]
    (58.9, 336)
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}", hint=f"presets: {', '.join(PRESETS)}")
    return PRESETS[name]
