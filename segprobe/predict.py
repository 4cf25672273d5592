"""From image to class probabilities with a probe: whole or in windows, mirrored and at several scales."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8, UInt16
from torch import Tensor

from labelgen.data import Dataset, Generate, Sample
from labelgen.errors import ConfigError
from labelgen.job_builders import refined_job
from labelgen.masks import SoftMask, label_dtype
from labelgen.nets.device import resolve_device
from labelgen.nets.geometry import Geometry
from labelgen.refine import parse_refiners
from labelgen.run import Job, Progress, RunOptions, RunReport, run_job
from segprobe.probe_file import Probe, check_backbone, open_probe
from segprobe.sampling import upsample_logits
from segprobe.upsampling import BILINEAR, guided_upsample, parse_upsample

__all__ = [
    "PredictConfig",
    "Predictor",
    "load_predictor",
    "predict_job",
    "predict_run",
    "refined_generator",
    "window_starts",
]

Image = UInt8[np.ndarray, "_ _ channels"]
Labels = UInt8[np.ndarray, "_ _"] | UInt16[np.ndarray, "_ _"]


@dataclass(frozen=True)
class PredictConfig:
    """How a probe looks at an image.

    Parameters
    ----------
    window
        Side in pixels of the windows that are looked at one by one; 0 looks at the whole image. A window is shown to
        the backbone as if it were an image, so under a policy that resizes it is seen enlarged.
    stride
        Pixels between windows; 0 for two thirds of `window`.
    flip
        Also look at the mirrored image.
    scales
        Factors on the size at which the backbone sees the image.
    upsample
        From tokens to pixels: bilinear, or guided by the colours of the image, as `guided,radius=2,sigma_colour=0.1`.
    refine
        Refiners of labelgen that repair the class probabilities one after the other, each as `crf` or `pamr,steps=5`.
    """

    window: int = 0
    stride: int = 0
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    upsample: str = BILINEAR
    refine: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_upsample(self.upsample)
        if any(step.name == "attention" for step in parse_refiners(*self.refine)):
            raise ConfigError(
                "refiner attention scales each class to a maximum of 1, which is wrong for classes that are not there",
                hint="it is for class maps of tagged images: labelgen refine; here crf, pamr or affinity",
            )
        if self.window < 0 or self.stride < 0:
            raise ConfigError(f"window and stride must be >= 0 pixels, got {self.window} and {self.stride}")
        if self.stride > self.window:
            raise ConfigError(
                f"stride must not exceed window, or pixels are left out, got {self.stride} and {self.window}"
            )
        if not self.scales or min(self.scales) <= 0:
            raise ConfigError(f"scales must be factors > 0, got {self.scales}")

    @property
    def views(self) -> tuple[tuple[float, bool], ...]:
        """Scale and flip of each view."""
        return tuple((scale, flip) for scale in self.scales for flip in ((False, True) if self.flip else (False,)))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "scales": list(self.scales), "refine": list(self.refine)}


class Predictor:
    """A probe together with its backbone.

    Parameters
    ----------
    backbone
        Must be the one the probe was trained on.
    batch_size
        Images or windows that go through the backbone at once, when they are of one size.

    Raises
    ------
    WeightsError
        When the backbone is another one.
    """

    def __init__(
        self,
        probe: Probe,
        backbone: Any,
        config: PredictConfig = PredictConfig(),
        *,
        batch_size: int = 8,
    ) -> None:
        check_backbone(probe, backbone.fingerprint())
        self.probe = probe
        self.backbone = backbone
        self.config = config
        self.batch_size = batch_size
        self.guided = parse_upsample(config.upsample)
        self.class_ids = np.asarray(probe.class_ids, label_dtype(probe.vocabulary.ignore))

    def labels(self, images: Sequence[Image]) -> list[Labels]:
        """Most probable class of every pixel before refinement; ties go to the smaller id."""
        one_view = len(self.config.views) == 1 and not self.config.window
        if one_view and self.guided is None:  # the softmax of one view moves no maximum
            return [self.class_ids[plane.argmax(-1).cpu().numpy()] for plane in self.logits(images)]
        return [self.class_ids[self.probabilities(image).argmax(0)] for image in images]

    def probabilities(self, image: Image) -> Float32[np.ndarray, "C H W"]:
        """Class probabilities at every pixel before refinement, averaged over windows and views."""
        height, width = image.shape[:2]
        window = self.config.window or max(height, width)
        stride = self.config.stride or max(1, window * 2 // 3)
        boxes = [
            (top, left)
            for top in window_starts(height, window=window, stride=stride)
            for left in window_starts(width, window=window, stride=stride)
        ]
        crops = [image[top : top + window, left : left + window] for top, left in boxes]
        total = torch.zeros(height, width, len(self.class_ids))
        count = torch.zeros(height, width, 1)
        for scale, flip in self.config.views:
            for (top, left), plane in zip(boxes, self._planes(crops, scale=scale, flip=flip)):
                rows, cols = slice(top, top + plane.shape[0]), slice(left, left + plane.shape[1])
                total[rows, cols] += plane.cpu()
                count[rows, cols] += 1
        return (total / count).permute(2, 0, 1).contiguous().numpy()

    def _planes(self, images: Sequence[Image], *, scale: float, flip: bool) -> list[Float[Tensor, "_ _ C"]]:
        """Class probabilities at every pixel of each image, in one view."""
        if self.guided is None:
            return [logits.softmax(-1) for logits in self.logits(images, scale=scale, flip=flip)]
        settings, found = self.guided, {}
        with torch.inference_mode():
            for numbers, tokens, geometries in self._batches(images, scale=scale, flip=flip):
                for number, logits, geometry in zip(numbers, self.probe.head(tokens), geometries):
                    found[number] = guided_upsample(logits.softmax(-1), images[number], geometry, settings)
        return [found[number] for number in range(len(images))]

    def logits(
        self, images: Sequence[Image], *, scale: float = 1.0, flip: bool = False
    ) -> list[Float[Tensor, "_ _ C"]]:
        """Logits at every pixel of each image, read bilinearly in one view; mirroring is undone."""
        found: dict[int, Tensor] = {}
        with torch.inference_mode():
            for numbers, tokens, geometries in self._batches(images, scale=scale, flip=flip):
                for number, logits, geometry in zip(numbers, self.probe.head(tokens), geometries):
                    found[number] = upsample_logits(logits, geometry)
        return [found[number] for number in range(len(images))]

    def _batches(
        self, images: Sequence[Image], *, scale: float, flip: bool
    ) -> Iterator[tuple[list[int], Tensor, list[Geometry]]]:
        """Tokens of images of one size together."""
        groups: dict[tuple[int, ...], list[tuple[int, Tensor, Geometry]]] = {}
        for number, image in enumerate(images):
            picture, geometry = self.backbone.prepare(np.ascontiguousarray(image), scale=scale, flip=flip)
            groups.setdefault(tuple(picture.shape), []).append((number, picture, geometry))
        for members in groups.values():
            for first in range(0, len(members), self.batch_size):
                part = members[first : first + self.batch_size]
                tokens = self.backbone.tokens(torch.stack([picture for _, picture, _ in part]))
                yield [number for number, _, _ in part], tokens, [geometry for _, _, geometry in part]


def window_starts(length: int, *, window: int, stride: int) -> list[int]:
    """First pixels of windows that cover `length` pixels; the last one is moved back to end at the border.

    Examples
    --------
    >>> window_starts(11, window=4, stride=3), window_starts(3, window=4, stride=3)
    ([0, 3, 6, 7], [0])
    """
    count = -(-max(length - window, 0) // stride) + 1
    return [max(0, min(number * stride, length - window)) for number in range(count)]


def load_predictor(
    path: Path,
    config: PredictConfig = PredictConfig(),
    *,
    device: str = "auto",
    weights: str = "",
) -> Predictor:
    """Open a probe and load the backbone it needs.

    Parameters
    ----------
    weights
        Where the checkpoint of the backbone lies now, if it was moved since the fit.
    """
    probe = open_probe(path)
    backbone = load_probe_backbone(probe, device=device, weights=weights)
    probe.head.to(resolve_device(device))
    return Predictor(probe, backbone, config)


def load_probe_backbone(probe: Probe, *, device: str = "auto", weights: str = "") -> Any:
    """Load what makes the tokens of a probe, a `Backbone`: frozen, tuned, or a baseline."""
    from labelgen.nets.backbones import load_backbone
    from segprobe.baselines.network import load_trained_baseline

    settings = replace(probe.backbone, weights=weights or probe.backbone.weights)
    baseline = probe.config.get("baseline")
    return (
        load_trained_baseline(baseline, settings, device=device) if baseline else load_backbone(settings, device=device)
    )


@dataclass(frozen=True)
class MakePrediction:
    """Builds the labelling function in each worker process; only paths and settings travel there."""

    probe: str
    config: PredictConfig
    device: str = "auto"
    weights: str = ""

    def __call__(self) -> Generate:
        """Load probe and backbone once."""
        return generator_of(load_predictor(Path(self.probe), self.config, device=self.device, weights=self.weights))


def generator_of(predictor: Predictor) -> Generate:
    """A predictor as a labelling function, before refinement."""

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        return SoftMask(predictor.probabilities(sample.need_image()), predictor.probe.class_ids)

    return generate


def with_refiners(job: Job, config: PredictConfig, dataset: Dataset) -> Job:
    """The job with the refiners of these settings, which may learn from its masks of the data set first."""
    return refined_job(job, parse_refiners(*config.refine), dataset=dataset) if config.refine else job


def refined_generator(predictor: Predictor, dataset: Dataset) -> Generate:
    """A predictor as a labelling function in this process, its refiners after it."""
    job = Job(
        method="probe",
        config={},
        make=lambda: generator_of(predictor),
        needs=frozenset(),
        reads_image=True,
        vocabulary=dataset.vocabulary,
    )
    return with_refiners(job, predictor.config, dataset).make()


def predict_run(
    path: Path,
    dataset: Dataset,
    out: Path,
    *,
    config: PredictConfig = PredictConfig(),
    options: RunOptions = RunOptions(),  # noqa: B008
    device: str = "auto",
    weights: str = "",
    progress: Progress | None = None,
) -> RunReport:
    """Label every image of a data set with a probe, into a run folder like any other."""
    job = predict_job(path, dataset, config=config, device=device, weights=weights)
    return run_job(dataset, job, out, options, progress=progress)


def predict_job(
    path: Path,
    dataset: Dataset,
    *,
    config: PredictConfig = PredictConfig(),
    device: str = "auto",
    weights: str = "",
) -> Job:
    """The job that labels with a probe.

    Raises
    ------
    VocabularyError
        When the probe was trained on other classes than those of the data.
    """
    from segprobe.labels import check_same_classes

    probe = open_probe(path)
    check_same_classes(probe.vocabulary, dataset.vocabulary, run=str(path))
    job = Job(
        method="probe",
        config={"probe": str(path), "device": str(resolve_device(device)), **config.to_json()},
        make=MakePrediction(str(Path(path).resolve()), config, device, weights),
        needs=frozenset(),
        reads_image=True,
        vocabulary=dataset.vocabulary,
        models=models_of(path, probe),
        inherited=frozenset(probe.labels.get("supervision", ["unknown"])),
    )
    return with_refiners(job, config, dataset)


def models_of(path: Path, probe: Probe) -> dict[str, str]:
    """Sha256 of the head and of the weights below it, for run.json."""
    import hashlib

    folder = path if path.is_dir() else path.parent
    return {
        "probe": hashlib.sha256((folder / "probe.safetensors").read_bytes()).hexdigest(),
        probe.backbone.name: str(probe.fingerprint.get("weights_sha256")),
    }
