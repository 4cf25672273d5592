"""How fast are class activation maps over scales and mirror images, next to pytorch-grad-cam called class by class?

Real images with their tags, `mobilenetv2_100` (with weights where a checkpoint is given, else random ones; what a
network costs does not depend on them) and a random head of 20 classes, scales .5, 1, 1.5 and 2 and mirror images, one
thread. Measured side by side in this one process, in alternation, image by image. Factors are of processor time over
all images, because other programs may be running; wall-clock time is kept beside it:

- labelgen: `raw_maps` of all tags of an image, the classifier's own maps;
- the same by Grad-CAM (`kind="gradcam"`), and by LayerCAM at an inner layer, which needs a backward pass a class;
- pytorch-grad-cam, batched: GradCAM at the features that the head reads, called for each class and scale, an image and
  its mirror image in one batch;
- pytorch-grad-cam, plain: the same, but called for each image and each mirror image on its own, as in its examples.

Are the maps the same? For each image, class, scale and mirror image the map of labelgen, put through the scaling and
resizing of the library, is compared with what the library gives: the largest difference anywhere. The sums over views
cannot be equal, since the library scales each view to [0, 1] before they are summed: their mean correlation is given.

The bare network over the same views, images and mirror images in one batch, is a fourth row: more cannot be had.

Goal: 6 times faster than pytorch-grad-cam on images of two classes; quotients are taken image by image; their median
counts. Half a minute an image on an idle core:

    python benchmarks/cam_speed.py --data voc:DIR/voc2012-animals --classes 2 --weights mobilenetv2.safetensors
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from record import write_result
from times import Times, compare, load, timed

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.nets.cam.classifier import CamClassifier, ClassMaps
from labelgen.nets.cam.config import NetworkConfig
from labelgen.nets.cam.multiscale import Views, look_at_views, seen_pixels
from labelgen.nets.cam.network import build_network
from labelgen.nets.cam.seeds import gradient_look, raw_maps
from labelgen.nets.geometry import fitted_size

BACKBONE = "mobilenetv2_100"
INNER = "blocks.5"
SEED = 0
VIEWS = Views()
BARE = "network alone"
OURS = {
    "labelgen": {},
    "labelgen, Grad-CAM": {"kind": "gradcam"},
    f"labelgen, LayerCAM at {INNER}": {"kind": "layercam", "layer": INNER},
}


class Logits(torch.nn.Module):
    """The classifier as pytorch-grad-cam wants it: features in a layer of their own, then scores."""

    def __init__(self, classifier: CamClassifier) -> None:
        super().__init__()
        self.classifier, self.network, self.features = classifier, classifier.network, torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier.logits_of_features(self.features(self.classifier.features(images)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="data set of real images, as labelgen takes it")
    parser.add_argument("--split", default="train")
    parser.add_argument("--weights", default="", help="timm checkpoint of mobilenetv2_100 (mobilenetv2_checkpoint.py)")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--classes", type=int, default=0, help="only images with so many tags; 0 for any")
    options = parser.parse_args()
    torch.set_num_threads(1)
    samples = images_with_tags(options.data, options.split, options.images, options.classes)
    classifier = classifier_of(options.weights)
    model = Logits(classifier).eval()
    with GradCAM(model=model, target_layers=[model.features]) as library:
        ways = {way: lambda s, o=o: raw_maps(classifier, s.image, channels(s), VIEWS, **o) for way, o in OURS.items()}
        ways["pytorch-grad-cam, batched"] = lambda s: by_the_library(classifier, library, s, batched=True)
        ways["pytorch-grad-cam, plain"] = lambda s: by_the_library(classifier, library, s, batched=False)
        ways[BARE] = lambda s: bare_forwards(classifier, s)
        times, maps = measured(ways, samples)
        largest = max(difference(classifier, library, sample) for sample in samples)
    rows = rows_of(times)
    agreement = correlation(maps["labelgen"], maps["pytorch-grad-cam, batched"])
    print(f"largest difference of a map {largest:.2g}, correlation of the sums {agreement:.4f}")
    write_result(
        "cam_speed",
        rows,
        seeds=[SEED],
        packages=("grad-cam",),
        backbone=BACKBONE,
        weights=Path(options.weights).name or "random",
        data=Path(options.data).name,
        images=len(samples),
        classes_per_image=float(np.mean([len(sample.tags) for sample in samples])),
        scales=VIEWS.scales,
        largest_difference_of_a_map=largest,
        correlation_of_the_sums=agreement,
        load=load(),
        comparisons=[compare("cam", times["labelgen"], times["pytorch-grad-cam, plain"])],
    )


def images_with_tags(data: str, split: str, count: int, classes: int) -> list[Sample]:
    """Images evenly from those of a split that have so many tags, or any."""
    dataset = open_data(data, split=split)
    ids = [i for i in dataset.ids if not classes or len(dataset.load(i, {"tags"}).tags or ()) == classes]
    step = max(1, len(ids) // count)
    return [dataset.load(sample_id, {"image", "tags"}) for sample_id in ids[::step][:count]]


def classifier_of(weights: str) -> CamClassifier:
    config = NetworkConfig(BACKBONE, pretrained=bool(weights))
    # parameters stay trainable, as in the examples of the library, which needs them to be
    network = build_network(config, method="cam", num_classes=20, weights=weights, seed=SEED).eval()
    return CamClassifier(network, "cam", tuple(range(1, 21)), tuple(map(str, range(1, 21))), "voc")


def channels(sample: Sample) -> list[int]:
    return [class_id - 1 for class_id in sorted(sample.tags)]  # of a VOC class without background


def measured(ways: dict, samples: list[Sample]) -> tuple[Times, dict]:
    """Seconds of each image, and the maps of each way."""
    for run in ways.values():
        run(samples[0])  # what is allocated or compiled once is not of interest
    times: Times = {way: [] for way in ways}
    maps = {way: [] for way in ways}
    for sample in samples:
        for way, run in ways.items():
            found, taken = timed(lambda run=run, sample=sample: run(sample))
            times[way].append(taken)
            if way != BARE:
                maps[way].append(found.foreground.numpy())
    return times, maps


def rows_of(times: Times) -> list[dict]:
    means = {way: np.mean(taken, axis=0) for way, taken in times.items()}
    rows = [
        {
            "way": way,
            "seconds_per_image": float(mean[1]),
            "wall_seconds_per_image": float(mean[0]),
            "time_over_labelgen": float(mean[1] / means["labelgen"][1]),
        }
        for way, mean in means.items()
    ]
    for row in rows:
        print(f"{row['way']:32} {row['seconds_per_image']:.3f} s  {row['time_over_labelgen']:.2f} x")
    return rows


def bare_forwards(classifier: CamClassifier, sample: Sample) -> None:
    """The network alone over the views of an image."""
    with torch.inference_mode():
        for scale in VIEWS.scales:
            resized = fitted_size(sample.size, policy="native", side=0, max_side=0, scale=scale)
            about = {"multiple": classifier.multiple, "mean": classifier.mean, "std": classifier.std}
            classifier.features(seen_pixels(sample.image, resized, flip=True, **about))


def by_the_library(classifier: CamClassifier, library: GradCAM, sample: Sample, *, batched: bool):
    """The same views and the same sum, with the maps of the library."""

    def look(images: torch.Tensor) -> ClassMaps:
        parts = [images] if batched else list(images.split(1))
        return ClassMaps(torch.stack([library_maps(library, parts, c) for c in channels(sample)], dim=1))

    about = {"multiple": classifier.multiple, "mean": classifier.mean, "std": classifier.std}
    return look_at_views(look, sample.image, VIEWS, **about)


def library_maps(library: GradCAM, parts: list[torch.Tensor], channel: int) -> torch.Tensor:
    maps = [library(input_tensor=part, targets=[lambda scores: scores[channel]] * len(part)) for part in parts]
    return torch.from_numpy(np.concatenate(maps))


def difference(classifier: CamClassifier, library: GradCAM, sample: Sample) -> float:
    """Largest difference of a map from that of the library, after the scaling and resizing of the library."""
    look, largest = gradient_look(classifier, channels(sample), how="gradcam"), 0.0
    for scale in VIEWS.scales:
        resized = fitted_size(sample.size, policy="native", side=0, max_side=0, scale=scale)
        about = {"multiple": classifier.multiple, "mean": classifier.mean, "std": classifier.std}
        images = seen_pixels(sample.image, resized, flip=True, **about)
        places = images.shape[2] * images.shape[3] / classifier.stride**2
        ours = look(images).foreground.relu() / places  # the library's gradients are those of a mean over places
        for number, channel in enumerate(channels(sample)):
            theirs = library_maps(library, [images], channel).numpy()
            size = (images.shape[3], images.shape[2])
            scaled = scale_cam_image(scale_cam_image(ours[:, number].numpy(), size))
            largest = max(largest, float(np.abs(scaled - theirs).max()))
    return largest


def correlation(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    """Mean over images and classes of the correlation of the two maps, negative values cut off."""
    pairs = [
        (np.maximum(a, 0).ravel(), b.ravel())
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs if a.std() > 0 and b.std() > 0]))


if __name__ == "__main__":
    main()
