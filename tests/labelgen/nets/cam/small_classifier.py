"""Untrained classifiers: tiny, made in a moment, as objects and as folders."""

import dataclasses
import functools
import json

from labelgen.nets.cam.classifier import CamClassifier
from labelgen.nets.cam.classifier_file import FOLDER
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.network import build_network

TINY_CNN = "test_resnet.r160_in1k"


@functools.cache
def small_network(method="cam", *, backbone=TINY_CNN, num_classes=3, seed=0):
    config = NetworkConfig(backbone, pretrained=False)
    network = build_network(config, method=method, num_classes=num_classes, seed=seed)
    return network.eval().requires_grad_(False)


def small_classifier(method="cam", *, class_ids=(8, 12, 15), class_names=("cat", "dog", "person"), **options):
    """Without a file."""
    network = small_network(method, num_classes=len(class_ids), **options)
    return CamClassifier(network, method, tuple(class_ids), tuple(class_names), "voc")


def small_folder(
    path,
    method="cam",
    *,
    class_ids=(8, 12, 15),
    class_names=("cat", "dog", "person"),
    backbone="demo-ssvt",
    seed=6,
    data="voc",
):
    """As `labelgen fit-cam` writes it, for a network that has learned nothing; returns the folder."""
    network = small_network(method, num_classes=len(class_ids), backbone=backbone, seed=seed)
    settings = {
        "method": method,
        "classes": {"vocabulary": "voc", "ids": list(class_ids), "names": list(class_names)},
        "network": json.loads(json.dumps(dataclasses.asdict(network.config))),
        "start": {
            "weights_from": "none",
            "sha256": "",
            "options": dict(network.reading.options),
            "mean": list(network.reading.mean),
            "std": list(network.reading.std),
        },
        "data": {"kind": data},
    }
    FOLDER.begin(path, settings, overwrite=True)
    FOLDER.finish(path, network, settings, figures={}, versions={})
    return path
