"""What a labelling method is: a config class, a builder, and the supervision it may see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from labelgen.data.dataset import Dataset
from labelgen.data.sample import Generate, Likely
from labelgen.vocab import Vocabulary

__all__ = ["Method", "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """What a method settled before the first image: the same in every worker process, and kept in run.json.

    Parameters
    ----------
    config
        The settings with everything resolved that was left open (the model that suits the data, thresholds found by
        calibration); an instance of `Method.config`.
    models
        Name of each network to facts about it, its `sha256` among them.
    facts
        What else moves the result, as JSON values: prompts, templates, the logit scale as loaded.
    supervision
        What the models were trained from, out of `SUPERVISION`: recorded, though the method does not see it.
    """

    config: Any
    models: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    supervision: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Method:
    """One row of `METHODS`.

    Parameters
    ----------
    config
        Frozen dataclass of JSON-able settings; its docstring is the command's help, its fields are the flags.
    make
        `make(config, vocabulary)` loads what is needed once and returns the `Generate` function.
    needs
        Supervision that the method may see, out of `SUPERVISION`; all else is blanked before it is called.
    reads_image
        False spares the decoding of images for methods that only look at the supervision.
    needs_for
        For methods whose supervision depends on their settings; overrides `needs`.
    reads_image_for
        For methods that look at the image only with some settings; overrides `reads_image`.
    prepare
        `prepare(config, vocabulary, dataset)` settles what is to be settled once for the whole data set; `make` then
        gets the config that it returns. The data set may be None, for a picture on its own.
    vocabulary_for
        For methods that name classes by words: `vocabulary_for(config, vocabulary)` gives the vocabulary of the
        labels, which need not be that of the data.
    likely
        `likely(config, vocabulary)` gives scores of classes that win nowhere too, for methods whose masks leave them
        out; None where masks hold every class that has a score.
    folder_for
        For methods with variants that are compared with each other: the name of the run's folder where none is given,
        empty for that of the method.
    """

    config: type
    make: Callable[[Any, Vocabulary], Generate]
    needs: frozenset[str] = frozenset()
    reads_image: bool = True
    needs_for: Callable[[Any], frozenset[str]] | None = None
    reads_image_for: Callable[[Any], bool] | None = None
    prepare: Callable[[Any, Vocabulary, Dataset | None], Prepared] | None = None
    vocabulary_for: Callable[[Any, Vocabulary], Vocabulary] | None = None
    likely: Callable[[Any, Vocabulary], Likely] | None = None
    folder_for: Callable[[Any], str] | None = None

    def supervision(self, config: Any) -> frozenset[str]:
        """The supervision that the method sees with these settings."""
        return self.needs if self.needs_for is None else self.needs_for(config)

    def wants_image(self, config: Any) -> bool:
        """Whether images must be decoded with these settings."""
        return self.reads_image if self.reads_image_for is None else self.reads_image_for(config)

    def label_vocabulary(self, config: Any, vocabulary: Vocabulary) -> Vocabulary:
        """The vocabulary of the labels, where `vocabulary` is what the data or `--vocab` say."""
        return vocabulary if self.vocabulary_for is None else self.vocabulary_for(config, vocabulary)

    def folder(self, config: Any) -> str:
        """Name of the run's folder where none is given; empty for that of the method."""
        return "" if self.folder_for is None else self.folder_for(config)

    def settle(self, config: Any, vocabulary: Vocabulary, dataset: Dataset | None) -> Prepared:
        """What `prepare` settles; the config as it is where there is nothing to settle."""
        return Prepared(config) if self.prepare is None else self.prepare(config, vocabulary, dataset)
