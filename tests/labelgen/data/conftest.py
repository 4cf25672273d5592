"""Tiny data sets on disk."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class Maker:
    """Writes images, masks and lists under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def image(self, name: str, size: tuple[int, int] = (2, 3), colour=(10, 20, 30)) -> Path:
        path = self._path(name)
        Image.new("RGB", (size[1], size[0]), colour).save(path)
        return path

    def ids(self, name: str, rows, dtype=np.uint8) -> Path:
        path = self._path(name)
        Image.fromarray(np.array(rows, dtype)).save(path)
        return path

    def lines(self, name: str, *lines: str) -> Path:
        path = self._path(name)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return path

    def _path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@pytest.fixture
def make(tmp_path) -> Maker:
    return Maker(tmp_path / "data")


@pytest.fixture
def voc(make) -> Maker:
    """Three VOC images: `a` and `b` in train, `c` in val."""
    for name in "abc":
        make.image(f"JPEGImages/{name}.jpg")
        make.ids(f"SegmentationClass/{name}.png", [[0, 15, 255], [0, 15, 3]])
    make.lines("ImageSets/Segmentation/train.txt", "b", "a")
    make.lines("ImageSets/Segmentation/val.txt", "c")
    make.lines("ImageSets/Segmentation/test.txt")
    return make
