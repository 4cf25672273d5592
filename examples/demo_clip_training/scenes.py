"""What demo-clip learns from: drawn scenes, close-ups of them, and what may be said of each."""

import multiprocessing
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from demo_clip_training.recipe import Recipe
from labelgen.demo import captions
from labelgen.demo.backgrounds import PLACES
from labelgen.demo.compose import draw_cast, picture
from labelgen.demo.render import paint_object
from labelgen.demo.scenes import scene_rng
from labelgen.nets.geometry import resize_image
from labelgen.nets.zeroseg.tiles import tile_boxes

SIDE = 128  # pixels
SPLIT = "captions"  # the demo data set has train and val
PLACE_NAMES = tuple(PLACES)


@dataclass(frozen=True)
class Seen:
    """What may be said of an image: `certain` concepts are true of it, `doubtful` ones neither true nor false."""

    place: str
    classes: tuple[int, ...]  # that captions name
    certain: frozenset[str]
    doubtful: frozenset[str] = field(default_factory=frozenset)
    filled: bool = False  # with objects, so that a text about the background alone is false


def whole_scene(place: str, classes: Collection[int]) -> Seen:
    """Everything is certain of a whole scene."""
    return Seen(place, tuple(sorted(classes)), captions.concepts_of(place, classes))


def close_up(place: str, labels: np.ndarray, recipe: Recipe) -> Seen:
    """What the author of a caption sees in the part of a scene that has these labels (h, w)."""
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    shares = dict(zip(ids.tolist(), (counts / labels.size).tolist(), strict=True))
    classes = tuple(class_id for class_id, share in shares.items() if share >= recipe.shown)
    faint = {str(class_id) for class_id, share in shares.items() if recipe.faint <= share < recipe.shown}
    behind = frozenset(captions.PLACE_CONCEPTS[place])
    if not classes:
        return Seen(place, (), behind, frozenset(faint))
    certain = frozenset(str(class_id) for class_id in classes)
    return Seen(place, classes, certain, behind | faint, sum(shares.values()) >= recipe.filled)


def draw_captioned(index: int, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (128, 128, 3) uint8, label map (128, 128), and facts (22,): number of the place, then 1 for each VOC id."""
    rng = scene_rng(SPLIT, index, seed=recipe.seed)
    place, cast = draw_cast(rng)
    facts = np.zeros(22, np.uint8)
    facts[0] = PLACE_NAMES.index(place)
    if rng.random() < recipe.empty:
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        horizon = SIDE - 14 if place == "sky" else int(SIDE * (0.32 + 0.28 * rng.random()))
        parts = PLACES[place](rng, SIDE, SIDE, horizon)
        paint_object(image, parts, np.eye(2, 3), offset=int(rng.integers(64)))
        return image, np.zeros((SIDE, SIDE), np.uint8), facts
    facts[[1 + actor.class_id for actor in cast]] = 1
    image, labels, _ = picture(rng, place, cast, size=(SIDE, SIDE))
    return image, labels, facts


def draw_chunk(folder: Path, chunk: int, recipe: Recipe) -> None:
    """Draw a chunk of the pool, unless it is there."""
    path = folder / f"scenes{chunk:03d}.npy"
    if path.exists():
        return
    drawn = [draw_captioned(chunk * recipe.chunk + number, recipe) for number in range(recipe.chunk)]
    np.save(folder / f"facts{chunk:03d}.npy", np.stack([facts for _, _, facts in drawn]))
    if chunk < recipe.close_chunks:
        np.save(folder / f"labels{chunk:03d}.npy", np.stack([labels for _, labels, _ in drawn]))
    np.save(folder / f"writing{chunk:03d}.npy", np.stack([image for image, _, _ in drawn]))
    (folder / f"writing{chunk:03d}.npy").replace(path)


class Pool:
    """The drawn scenes, read from the work folder."""

    def __init__(self, folder: Path, recipe: Recipe, processes: int) -> None:
        jobs = [(folder, chunk, recipe) for chunk in range(recipe.chunks)]
        if processes > 1:
            with multiprocessing.get_context("spawn").Pool(processes) as workers:
                workers.starmap(draw_chunk, jobs, chunksize=1)
        else:
            for job in jobs:
                draw_chunk(*job)
        numbers = range(recipe.chunks)
        self.images = [np.load(folder / f"scenes{number:03d}.npy", mmap_mode="r") for number in numbers]
        self.facts = [np.load(folder / f"facts{number:03d}.npy") for number in numbers]
        self.labels = [np.load(folder / f"labels{n:03d}.npy", mmap_mode="r") for n in numbers[: recipe.close_chunks]]
        self.recipe = recipe

    def draw(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, list[Seen]]:
        """`count` random images (B, 3, H, W) uint8, and what may be said of each."""
        places = [(c, int(rng.integers(len(self.facts[c])))) for c in rng.integers(len(self.images), size=count)]
        images = np.stack([self.images[c][i] for c, i in places])
        facts = [self.facts[c][i] for c, i in places]
        seen = [whole_scene(PLACE_NAMES[row[0]], np.flatnonzero(row[1:]).tolist()) for row in facts]
        return torch.from_numpy(images).permute(0, 3, 1, 2), seen

    def draw_close_ups(self, rng: np.random.Generator, count: int) -> tuple[torch.Tensor, list[Seen]]:
        """`count` random close-ups (B, 3, H, W) uint8, and what may be said of each."""
        images, seen = [], []
        for chunk in rng.integers(len(self.labels), size=count):
            index = int(rng.integers(len(self.labels[chunk])))
            top, left, bottom, right = random_window(rng, self.recipe)
            images.append(resize_image(self.images[chunk][index, top:bottom, left:right], (SIDE, SIDE)))
            place = PLACE_NAMES[self.facts[chunk][index, 0]]
            seen.append(close_up(place, self.labels[chunk][index, top:bottom, left:right], self.recipe))
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), seen


def random_window(rng: np.random.Generator, recipe: Recipe) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of a close-up: a tile, or a square anywhere."""
    if rng.random() >= recipe.free_windows:
        boxes = tile_boxes((SIDE, SIDE), (recipe.grids[rng.integers(len(recipe.grids))],))
        return tuple(boxes[rng.integers(len(boxes))].tolist())
    side = int(rng.integers(SIDE // 4, SIDE + 1))
    top, left = (int(start) for start in rng.integers(SIDE - side + 1, size=2))
    return top, left, top + side, left + side
