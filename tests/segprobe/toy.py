"""A data set, a backbone and features small enough for tests, in which learning can still be seen."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from labelgen.data import Sample
from labelgen.data.dataset import DataSpec
from labelgen.nets.geometry import Geometry, geometry_for
from labelgen.vocab import Vocabulary
from segprobe.batches import BatchMaker
from segprobe.labels import ImageLabels, LabelSet
from segprobe.losses.masked_cross_entropy import masked_cross_entropy
from segprobe.objective import Objective

COLOURS = np.array([[90, 90, 90], [200, 60, 60], [60, 200, 60], [60, 60, 200], [200, 200, 60], [60, 200, 200]])
VOCABULARY = Vocabulary("toy", ("background", "red", "green", "blue", "yellow", "cyan"), background=0)
SIZE = (48, 64)
PATCH = 4


@dataclass(frozen=True)
class ToyDataset:
    """Grey images with two or three coloured ellipses, noisy; truth is exact."""

    spec: DataSpec
    ids: tuple[str, ...]
    seed: int = 0
    vocabulary: Vocabulary = VOCABULARY
    tags_source: str = "truth"

    def truth(self, sample_id):
        rng = np.random.default_rng([self.seed, int(sample_id[-3:])])
        rows, cols = np.mgrid[: SIZE[0], : SIZE[1]]
        truth = np.zeros(SIZE, np.uint8)
        for class_id in rng.permutation(np.arange(1, 6))[: rng.integers(2, 4)]:
            centre, radius = rng.uniform(8, (40, 56)), rng.uniform(6, 14, size=2)
            truth[((rows - centre[0]) / radius[0]) ** 2 + ((cols - centre[1]) / radius[1]) ** 2 <= 1] = class_id
        return truth

    def image(self, sample_id):
        truth = self.truth(sample_id)
        noise = np.random.default_rng([self.seed + 1, int(sample_id[-3:])]).normal(0, 25, (*SIZE, 3))
        return np.clip(COLOURS[truth] + noise, 0, 255).astype(np.uint8)

    def load(self, sample_id, fields):
        image = self.image(sample_id) if "image" in fields else None
        truth = self.truth(sample_id) if "truth" in fields else None
        return Sample(sample_id, SIZE, image=image, truth=truth)


def toy_dataset(count=24, seed=0):
    return ToyDataset(DataSpec("toy", split="train"), tuple(f"toy_{i:03}" for i in range(count)), seed)


class ToyBackbone:
    """Random Fourier features of the mean colour of each patch: no training, no weights file."""

    DIM = 48

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.matrix = torch.from_numpy(rng.normal(0, 3.0, (3, self.DIM)).astype(np.float32))
        self.phase = torch.from_numpy(rng.uniform(0, 6.28, self.DIM).astype(np.float32))
        self.seed = seed

    def fingerprint(self):
        return {"name": "toy", "weights_sha256": f"{self.seed:064d}", "norm": True, "dtype": "float32"}

    def prepare(self, image, *, scale=1.0, flip=False):
        size = image.shape[:2]
        resized = (round(size[0] * scale), round(size[1] * scale))
        rows = (np.arange(resized[0]) / scale).astype(int)
        cols = (np.arange(resized[1]) / scale).astype(int)
        picture = image[rows][:, cols].astype(np.float32) / 255
        picture = picture[:, ::-1] if flip else picture
        geometry = geometry_for(size, resized, stride=PATCH, multiple=PATCH, flip=flip)
        padded = np.zeros((*geometry.padded, 3), np.float32)
        top, left = geometry.pad
        padded[top : top + resized[0], left : left + resized[1]] = picture
        return torch.from_numpy(padded.transpose(2, 0, 1).copy()), geometry

    def tokens(self, batch):
        mean = torch.nn.functional.avg_pool2d(batch, PATCH).permute(0, 2, 3, 1)
        return torch.cos(mean @ self.matrix + self.phase)


@dataclass
class ToyFeatures:
    """Features of a data set by a backbone, in memory."""

    dataset: ToyDataset
    backbone: ToyBackbone = field(default_factory=ToyBackbone)
    flips: tuple[bool, ...] = (False, True)
    dtype: torch.dtype = torch.float32

    def __post_init__(self):
        self.ids = self.dataset.ids
        self.views = self.flips
        self.found = {}
        for sample_id in self.ids:
            for view, flip in enumerate(self.flips):
                picture, geometry = self.backbone.prepare(self.dataset.image(sample_id), flip=flip)
                tokens = self.backbone.tokens(picture[None])[0].to(self.dtype)
                self.found[sample_id, view] = ToyTokens(tokens, geometry)
        rows = torch.cat([self.found[i, 0].tokens.flatten(0, 1).double() for i in self.ids])
        self.mean = rows.mean(0).float().numpy()
        self.std = rows.std(0).float().numpy()

    def features(self, sample_id, view_index=0):
        return self.found[sample_id, view_index]


@dataclass(frozen=True)
class ToyTokens:
    tokens: torch.Tensor
    geometry: Geometry


def label_set(maps, vocabulary=VOCABULARY, name="toy"):
    """Labels from label maps by id."""
    images = {sample_id: ImageLabels.of(labels) for sample_id, labels in maps.items()}
    images = {sample_id: labels for sample_id, labels in images.items() if len(labels.labelled()[0])}
    counts = sum(np.bincount(i.labelled()[1], minlength=vocabulary.num_classes) for i in images.values())
    return LabelSet(name, vocabulary, images, counts, (), sum(labels.size for labels in maps.values()))


def truth_labels(dataset):
    return label_set({sample_id: dataset.truth(sample_id) for sample_id in dataset.ids})


def sparse_labels(dataset, share, seed=0):
    """Random pixels of the truth."""
    maps = {}
    for number, sample_id in enumerate(dataset.ids):
        truth = dataset.truth(sample_id)
        hidden = np.random.default_rng([seed, number]).random(truth.shape) >= share
        maps[sample_id] = np.where(hidden, np.uint8(255), truth)
    return label_set(maps)


def noisy_labels(dataset, share, seed=0):
    """Truth with a share of its 8 x 8 blocks given to another class."""
    maps = {}
    for number, sample_id in enumerate(dataset.ids):
        rng = np.random.default_rng([seed, number])
        wrong = np.kron(rng.random((SIZE[0] // 8, SIZE[1] // 8)) < share, np.ones((8, 8))).astype(bool)
        other = np.kron(rng.integers(0, 6, (SIZE[0] // 8, SIZE[1] // 8)), np.ones((8, 8))).astype(np.uint8)
        maps[sample_id] = np.where(wrong, other, dataset.truth(sample_id))
    return label_set(maps)


def with_ids(dataset, ids):
    return replace(dataset, ids=tuple(ids))


def batch_loss(head, batch):
    """Cross-entropy of one whole batch."""
    return Objective(masked_cross_entropy)(head, batch).loss


class Killed(BaseException):
    """As if the process had been killed."""


def kill_at(monkeypatch, calls):
    """Kill the training when that many batches were made."""
    batch, made = BatchMaker.batch, []

    def killing(self, step, **part):
        made.append(step)
        if len(made) > calls:
            raise Killed
        return batch(self, step, **part)

    monkeypatch.setattr(BatchMaker, "batch", killing)
