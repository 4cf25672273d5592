"""What a run of labels says besides its labels: the layers of `labelgen promote`, and the classes of strokes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelgen.errors import ConfigError
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary
from segprobe.labels import ImageLabels, Labels

__all__ = ["PSEUDO", "SCRIBBLE", "LayerSource", "Layers", "need_layer"]

SCRIBBLE = "scribble"
PSEUDO = "pseudo"


class Layers:
    """Layers and strokes of a source of labels, read when they are asked for.

    Parameters
    ----------
    source
        A run folder, a folder of masks, or the truth; only run folders have layers and strokes.
    """

    def __init__(self, source: Labels) -> None:
        self.source = source
        self.names: tuple[str, ...] = tuple(getattr(source, "layers", ()))

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.source.vocabulary

    def need(self, name: str, *, of: str) -> None:
        """Refuse labels without a layer.

        Raises
        ------
        ConfigError
            Naming the command that makes it.
        """
        if name not in self.names:
            raise ConfigError(
                f"{of} needs labels with a layer {name!r}, got {self.source.name} with"
                f" {', '.join(self.names) or 'none'}",
                hint="labelgen promote RUN makes labels with the layers scribble and pseudo",
            )

    def read(self, name: str, sample_id: str) -> ImageLabels:
        """One layer of one image."""
        layer = self.source.layer(name, sample_id)  # type: ignore[attr-defined]
        return ImageLabels.of(layer, ignore=self.vocabulary.ignore)

    def labels(self, sample_id: str) -> ImageLabels:
        """The labels of one image as they came."""
        return ImageLabels.of(self.source.labels(sample_id), ignore=self.vocabulary.ignore)

    def stroke_classes(self, sample_id: str) -> frozenset[int] | None:
        """Classes of all strokes of an image, dropped ones among them; empty where labels are not made of strokes.

        None where strokes were dropped and the run does not keep them: then labels do not say what an image shows.
        """
        strokes = self.source.strokes(sample_id) if hasattr(self.source, "strokes") else None  # type: ignore[attr-defined]
        if strokes is None and _dropped(getattr(self.source, "header", {})):
            return None
        return frozenset(stroke.class_id for stroke in strokes or ())

    def digest(self, ids: Sequence[str]) -> str:
        """Sha256 over the hashes of layers and strokes in the manifest, so that a resumed fit notices changed ones."""
        records: Mapping[str, Any] = self.source.records() if hasattr(self.source, "records") else {}  # type: ignore[attr-defined]
        lines = [[i, records[i].get("layers"), records[i].get("strokes_sha256")] for i in ids if i in records]
        return hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()


def need_layer(layers: Layers | None, name: str, *, of: str) -> Layers:
    """The layers of some labels, this one among them.

    Raises
    ------
    ConfigError
        Naming the command that makes it.
    """
    if layers is None:
        raise ConfigError(
            f"{of} needs labels with a layer {name!r}, got label maps alone",
            hint="labelgen promote RUN makes them; in Python, give layers=Layers(run)",
        )
    layers.need(name, of=of)
    return layers


class LayerSource:
    """One layer of a run, read as if it were the labels.

    Parameters
    ----------
    source
        The run.
    layer
        Name of the layer.

    Raises
    ------
    ConfigError
        When the run has no such layer.
    """

    def __init__(self, source: Labels, layer: str) -> None:
        Layers(source).need(layer, of=f"--layer {layer}")
        self.source = source
        self.layer = layer
        self.name = source.name
        self.vocabulary: Vocabulary = source.vocabulary
        self.path: Path | None = getattr(source, "path", None)

    @property
    def ids(self) -> tuple[str, ...]:
        """Labelled images of the run."""
        return self.source.ids

    def labels(self, sample_id: str) -> LabelMap:
        """The layer of one image."""
        return self.source.layer(self.layer, sample_id)  # type: ignore[attr-defined]


def _dropped(settings: Any) -> bool:
    """Whether some step in the history of a run left strokes out.

    Examples
    --------
    >>> _dropped({"config": {"source": {"drop": 0.3}}}), _dropped({"config": {"drop": 0.0}})
    (True, False)
    """
    if isinstance(settings, Mapping):
        drop = settings.get("drop", 0)
        return (isinstance(drop, int | float) and drop > 0) or any(_dropped(value) for value in settings.values())
    return isinstance(settings, list) and any(_dropped(value) for value in settings)
