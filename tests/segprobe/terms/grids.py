"""A data set with whole grids, layers and views, small enough to check by hand."""

import numpy as np
import torch

from labelgen.nets.geometry import Geometry
from segprobe.batches import BatchImage
from segprobe.head_settings import parse_head
from segprobe.heads import make_head
from segprobe.layers import Layers
from segprobe.objective import GridView
from segprobe.terms.context import TermContext
from tests.segprobe.toy import VOCABULARY, ToyFeatures, label_set, toy_dataset

DATASET = toy_dataset(4)
FEATURES = ToyFeatures(DATASET)
CELL = 4


def head_of(kind="linear", classes=6, seed=1):
    head = make_head(
        parse_head(kind), torch.from_numpy(FEATURES.mean), torch.from_numpy(FEATURES.std), num_classes=classes, seed=0
    )
    torch.nn.init.normal_(head.classify.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
    return head


def truth_maps():
    return {sample_id: DATASET.truth(sample_id) for sample_id in DATASET.ids}


def dots(maps, every=7):
    """One labelled pixel in each square of `every` pixels."""
    found = {}
    for sample_id, labels in maps.items():
        kept = np.full_like(labels, 255)
        kept[::every, ::every] = labels[::every, ::every]
        found[sample_id] = kept
    return found


class PlainRun:
    """Label maps in memory, as a run folder would give them."""

    name = "plain"
    vocabulary = VOCABULARY

    def __init__(self, maps, layers=None, strokes=None, header=None):
        self.maps, self.kept = maps, layers or {}
        self.layers = tuple(self.kept)
        self.drawn = strokes
        self.header = header or {}
        self.ids = tuple(maps)

    def labels(self, sample_id):
        return self.maps[sample_id]

    def layer(self, name, sample_id):
        return self.kept[name][sample_id]

    def strokes(self, sample_id):
        return None if self.drawn is None else self.drawn[sample_id]

    def records(self):
        return {sample_id: {"strokes_sha256": "0"} for sample_id in self.ids}


def context_of(maps, *, head=None, run=None, frozen=True, images=True):
    labels = label_set(maps)
    return TermContext(
        labels,
        head or head_of(classes=len(labels.class_ids)),
        features=FEATURES if frozen else None,
        images=DATASET if images else None,
        layers=None if run is None else Layers(run),
    )


def view_of(context, sample_id=DATASET.ids[0], *, view=0, logits=None, tokens=None):
    found = FEATURES.features(sample_id, view)
    tokens = found.tokens if tokens is None else tokens
    if logits is None:
        logits = context.head(tokens)
        if not logits.is_leaf:
            logits.retain_grad()
    return GridView(BatchImage(sample_id, view, found.geometry, 0), logits, tokens, context.head)


def padded_geometry(flip=False):
    """6 x 10 pixels shown at 12 x 20, so that 4 x 8 tokens of 4 have a row and three columns of padding."""
    return Geometry(size=(6, 10), resized=(12, 20), pad=(2, 5), grid=(4, 8), stride=4, flip=flip)
