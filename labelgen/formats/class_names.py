"""Names of classes in foreign files, matched to the classes of a vocabulary."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from labelgen.errors import ConfigError, VocabularyError
from labelgen.vocab import Vocabulary

__all__ = ["OTHERS", "UNLABELLED", "ClassNames", "parse_renames"]

UNLABELLED = "unlabelled"
"""Name of what has no label, where a format needs a name for it."""

OTHER_NAMES = frozenset({UNLABELLED, "unlabeled", "ignore", "ignored", "void"})  # of the same, in files of other tools
OTHERS = "*"
"""Name that stands for every name that is unknown otherwise."""

SHOWN = 60  # known classes in a hint


@dataclass(frozen=True)
class ClassNames:
    """Finds the class of a name: by what the user says, by name or alias, or as one of the names of no label.

    Parameters
    ----------
    vocabulary
        The classes.
    renamed
        Name in the files to class name, or to `unlabelled`; the name `*` is every name that is unknown otherwise.

    Raises
    ------
    ConfigError
        When a name is mapped to what is no class.

    Examples
    --------
    >>> names = ClassNames(Vocabulary("v", ("ground", "cat")), {"kitty": "cat"})
    >>> names.ids_of(["cat", "kitty", "void"], where="x.json")
    {'cat': 1, 'kitty': 1, 'void': 255}
    """

    vocabulary: Vocabulary
    renamed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, target in self.renamed.items():
            if self._known(target) is None:
                raise ConfigError(
                    f"--map {name}={target} must name a class of vocabulary {self.vocabulary.name!r}, or {UNLABELLED}",
                    hint=f"known classes: {self._listed()}",
                )

    def ids_of(self, names: Iterable[str], *, where: str) -> dict[str, int]:
        """Class id of each name, in their order; the ignore id for what has no label.

        Raises
        ------
        VocabularyError
            Naming all names that are unknown, and listing the known ones.
        """
        found = {name: self._of(name) for name in names}
        unknown = [name for name, class_id in found.items() if class_id is None]
        if unknown:
            raise VocabularyError(
                f"{where} has classes that vocabulary {self.vocabulary.name!r} lacks: {', '.join(unknown[:SHOWN])}",
                hint=f"--map '{unknown[0]}=CLASS' for each, or ={UNLABELLED} to leave it out; "
                f"known classes: {self._listed()}",
            )
        return {name: class_id for name, class_id in found.items() if class_id is not None}

    def with_aliases(self) -> Vocabulary:
        """The vocabulary with the renamed classes as aliases, for readers that look names up in it.

        Raises
        ------
        ConfigError
            When a name is mapped to `unlabelled`, or all others are mapped, which no alias can say.
        """
        known = {*self.vocabulary.classes, *self.vocabulary.aliases}
        lost = [name for name, target in self.renamed.items() if target not in known or name == OTHERS]
        if lost:
            raise ConfigError(
                f"strokes can be mapped to classes, name by name, got --map {lost[0]}={self.renamed[lost[0]]}",
                hint="remove strokes that are not wanted from the files",
            )
        official = {name: self.vocabulary.aliases.get(target, target) for name, target in self.renamed.items()}
        return replace(self.vocabulary, aliases={**self.vocabulary.aliases, **official})

    def _of(self, name: str) -> int | None:
        class_id = self._known(self.renamed.get(name, name))
        return self._known(self.renamed[OTHERS]) if class_id is None and OTHERS in self.renamed else class_id

    def _known(self, name: str) -> int | None:
        official = self.vocabulary.aliases.get(name, name)
        if official in self.vocabulary.classes:
            return self.vocabulary.classes.index(official)
        return self.vocabulary.ignore if name in OTHER_NAMES else None

    def _listed(self) -> str:
        names = self.vocabulary.classes
        return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")


def parse_renames(pairs: Iterable[str]) -> dict[str, str]:
    """Read `name=class` pairs.

    Raises
    ------
    ConfigError
        When one is no such pair, or a name is given twice.

    Examples
    --------
    >>> parse_renames(["tv monitor=tvmonitor", "tree=unlabelled"])
    {'tv monitor': 'tvmonitor', 'tree': 'unlabelled'}
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, target = (part.strip() for part in pair.rpartition("="))
        if not (equals and name and target):
            raise ConfigError(f"--map must be NAME=CLASS, got {pair!r}", hint="--map 'tv monitor=tvmonitor'")
        if found.get(name, target) != target:
            raise ConfigError(f"--map gives {name!r} twice, as {found[name]} and {target}")
        found[name] = target
    return found
