"""What a labelling method is: a config class, a builder, and the supervision it may see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labelgen.data.sample import Generate
from labelgen.vocab import Vocabulary

__all__ = ["Method"]


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
    """

    config: type
    make: Callable[[Any, Vocabulary], Generate]
    needs: frozenset[str] = frozenset()
    reads_image: bool = True
    needs_for: Callable[[Any], frozenset[str]] | None = None
    reads_image_for: Callable[[Any], bool] | None = None

    def supervision(self, config: Any) -> frozenset[str]:
        """The supervision that the method sees with these settings."""
        return self.needs if self.needs_for is None else self.needs_for(config)

    def wants_image(self, config: Any) -> bool:
        """Whether images must be decoded with these settings."""
        return self.reads_image if self.reads_image_for is None else self.reads_image_for(config)
