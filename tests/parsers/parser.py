"""What every kind of file needs: the form of a parser, a toy vocabulary, small arrays, and how they become bytes."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelgen.vocab import Vocabulary

TOY = Vocabulary("toy", ("ground", "cat", "dog"), background=0)
SIZE = (5, 7)
LABELS = (np.arange(35).reshape(SIZE) % 4).astype(np.uint8)
LABELS[LABELS == 3] = 255
COLOURS = np.stack([LABELS, LABELS // 2, np.zeros_like(LABELS)], axis=-1)
UNIT = np.linspace(0, 1, 35, dtype=np.float32).reshape(SIZE)


@dataclass(frozen=True)
class Parser:
    """One kind of file.

    Parameters
    ----------
    file
        Where its bytes are put, below a folder.
    seeds
        Gives valid examples.
    read
        Reads the file, given the folder.
    beside
        Gives the other files that it needs, by name.
    slow
        Whether it imports torch.
    """

    file: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    beside: Callable[[], dict[str, bytes]] = dict
    slow: bool = False

    def prepare(self, folder: Path) -> None:
        """Write what stays the same."""
        for name, content in {**self.beside(), self.file: b""}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def run(self, folder: Path, content: bytes) -> object:
        """Read a file of these bytes."""
        (folder / self.file).write_bytes(content)
        return self.read(folder)


def png(array, mode=None, **options):
    from PIL import Image

    stream = io.BytesIO()
    picture = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    picture.save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def dumped(value):
    return json.dumps(value).encode()


def document(file, *values):
    """Seeds of a JSON file."""
    return lambda: [dumped(value() if callable(value) else value) for value in values]


def import_of(kind, folder, file="", **settings):
    """All masks of a file of another tool."""
    from labelgen.formats.import_masks import MaskImportConfig, open_masks

    path = (folder / file if file else folder).as_posix()
    masks = open_masks(MaskImportConfig(kind, path, **settings), TOY)
    return [masks.mask(sample_id, SIZE) for sample_id in sorted(masks.ids)]
