"""The folder of a trained image-level classifier: cam.json, weights.safetensors, metrics.jsonl."""

from dataclasses import replace
from pathlib import Path

from labelgen.errors import LabelgenError
from labelgen.nets.cam.classifier import CamClassifier, ClassMaps
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.network import build_network
from labelgen.nets.device import resolve_device
from labelgen.nets.training_folder import READ_ERRORS, TrainingFolder, load_weights, tuples

__all__ = ["FOLDER", "METRICS", "CamClassifier", "ClassMaps", "load_classifier"]

METRICS = "metrics.jsonl"

FOLDER = TrainingFolder(
    format="labelgen-cam",
    schema=1,
    description="cam.json",
    metrics=METRICS,
    noun="image-level classifier",
    command="labelgen fit-cam",
)


def load_classifier(where: Path | str, *, device: str = "cpu") -> CamClassifier:
    """Read a trained classifier from its folder or its weight file.

    Parameters
    ----------
    device
        torch device, or `auto` for a GPU where there is one.

    Returns
    -------
    CamClassifier
        In eval mode, frozen.

    Raises
    ------
    WeightsError
        When there is none, it is damaged, its training is not complete, or it is of another version.
    """
    path = FOLDER.weights_path(Path(where))
    try:
        about = FOLDER.read_about(path)
        classes = about["classes"]
        network = build_network(
            replace(NetworkConfig(**tuples(about["network"])), pretrained=False),
            method=about["method"],
            num_classes=len(classes["ids"]),
            options=tuples(about["start"]["options"]),
        )
        sha256 = load_weights(network, path)
        reading = replace(
            network.reading,
            mean=tuple(about["start"]["mean"]),
            std=tuple(about["start"]["std"]),
            weights_from=about["start"]["weights_from"],
        )
    except (*READ_ERRORS, LabelgenError) as error:
        raise FOLDER.unreadable(path, error) from error
    network.reading = reading
    network.to(resolve_device(device)).eval().requires_grad_(False)
    return CamClassifier(
        network,
        about["method"],
        tuple(classes["ids"]),
        tuple(classes["names"]),
        classes["vocabulary"],
        sha256,
        about,
    )
