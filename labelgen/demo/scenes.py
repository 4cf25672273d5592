"""Scenes with exact truth: one to four objects of ten VOC classes in a place, drawn from a split and a number.

The same arguments give the same bytes everywhere. Places go with some classes (boats on lakes, buses in streets) but
not always; coats, clothes and paints are shared between classes, so that colour does not tell them apart, while parts
and textures do, as in photographs.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, UInt8

from labelgen.demo.compose import KINDS, draw_cast, picture

SCENE_CLASSES: tuple[int, ...] = (0, *KINDS)  # VOC ids; 0 is the background
SPLITS: dict[str, int] = {"train": 160, "val": 80}  # scenes of each split, by default
LANDSCAPE = (128, 160)  # height, width
PORTRAIT = (160, 128)


@dataclass(frozen=True)
class Scene:
    """A drawn image and its exact truth.

    `labels` holds VOC ids, background 0 and no void; `instances` numbers the objects from 1, far to near.
    """

    image: UInt8[np.ndarray, "H W 3"]
    labels: UInt8[np.ndarray, "H W"]
    instances: Int[np.ndarray, "H W"]


def draw_scene(split: str, index: int, *, seed: int = 0) -> Scene:
    """Draw one scene.

    Parameters
    ----------
    split
        Any name; other names give other scenes. `SPLITS` lists the usual ones.
    index
        Number of the scene in its split; there is no end to them.
    seed
        Another seed gives another data set.

    Returns
    -------
    Scene
        About 128 x 160 pixels; one in eight is upright. The same bytes for the same arguments on every machine.

    Examples
    --------
    >>> scene = draw_scene("train", 0)
    >>> scene.image.shape, scene.labels.dtype, set(scene.labels.ravel().tolist()) <= set(SCENE_CLASSES)
    ((128, 160, 3), dtype('uint8'), True)
    """
    rng = scene_rng(split, index, seed=seed)
    size = PORTRAIT if rng.random() < 1 / 8 else LANDSCAPE
    place, cast = draw_cast(rng)
    return Scene(*picture(rng, place, cast, size=size))


def scene_rng(split: str, index: int, *, seed: int) -> np.random.Generator:
    """Return the generator that belongs to (seed, split, index) alone."""
    digest = hashlib.sha256(f"demo-scene/{seed}/{split}/{index}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little"))
