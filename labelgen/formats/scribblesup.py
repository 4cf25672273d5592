"""ScribbleSup: scribbles as polylines in XML, or painted into PNGs as rloss has them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgen.data.files import list_files
from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.format import ReadOptions
from labelgen.masks import SoftMask

__all__ = ["ScribbleFiles", "open_scribbles"]


@dataclass(frozen=True)
class ScribbleFiles:
    """A folder of scribbles, drawn as `labelgen scribble --from-xml` and `--from-png` draw them."""

    ids: frozenset[str]
    generate: Generate

    def mask(self, sample_id: str, size: tuple[int, int]) -> SoftMask:
        """The strokes of one image."""
        # whole strokes are drawn, so nothing depends on the generator
        return self.generate(Sample(sample_id, size), np.random.default_rng(0))


def open_scribbles(path: Path, names: ClassNames, options: ReadOptions) -> ScribbleFiles:
    """Open a folder of ID.xml, or of ID.png with class ids, 255 where there is no stroke.

    Raises
    ------
    DataError
        When there is neither, or both.
    ConfigError
        When names are to be mapped, but the files have none.
    """
    from labelgen.methods.scribble import ScribbleConfig
    from labelgen.methods.scribble_real import make_real_scribble

    if not path.is_dir():
        raise DataError(f"no such folder of scribbles: {path}", hint="it holds ID.xml or ID.png")
    found = {ending: frozenset(list_files(path, (ending,), deep=True)) for ending in (".xml", ".png")}
    endings = [ending for ending, ids in found.items() if ids]
    if len(endings) != 1:
        there = " and ".join(endings) or "neither"
        raise DataError(f"a folder of scribbles must hold ID.xml or ID.png, got {there} in {path}")
    if endings == [".png"] and names.renamed:
        raise ConfigError(f"--map is for names, but the files of {path} have none", hint="leave --map out")
    folder = path.as_posix()
    config = ScribbleConfig(from_xml=folder) if endings == [".xml"] else ScribbleConfig(from_png=folder)
    return ScribbleFiles(found[endings[0]], make_real_scribble(config, names.with_aliases()))
