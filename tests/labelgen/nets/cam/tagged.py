"""Small tagged pictures whose classes can be told by colour, saliency for them, and settings of seconds."""

from dataclasses import dataclass, field
from dataclasses import replace as changed

import numpy as np

from labelgen.data.dataset import DataSpec
from labelgen.data.inputs import InputFile
from labelgen.data.sample import Sample
from labelgen.nets.cam.config import NetworkConfig, TrainingConfig
from labelgen.nets.cam.presets import Preset
from labelgen.vocab import load_vocabulary

CLASSES = (3, 15)
NETWORK = NetworkConfig(pretrained=False)
TRAINING = TrainingConfig(
    batch=4, epochs=3, optimiser="adamw", lr=1e-3, bias_rate=1.0, weight_decay=0.0, crop=24, long_side=(24, 40)
)
PRESET = Preset(NETWORK, TRAINING)


def preset_with(**changes):
    """The settings with some of the training's, or with another `network`, changed."""
    network = changes.pop("network", NETWORK)
    return Preset(network, changed(TRAINING, **changes))


@dataclass
class Tagged:
    """A `Dataset` of grey pictures with a red square (class 3), a blue one (class 15), both, or none."""

    count: int = 6
    seed: int = 0
    tags: dict = field(default_factory=dict)
    read: list = field(default_factory=list)

    @property
    def spec(self):
        return DataSpec("folder", f"/tagged/{self.seed}")

    @property
    def vocabulary(self):
        return load_vocabulary("voc")

    @property
    def tags_source(self):
        return "tags.json"

    @property
    def ids(self):
        return tuple(f"t{number}" for number in range(self.count))

    def tags_of(self, sample_id):
        number = int(sample_id[1:])
        return self.tags.get(sample_id, frozenset(c for bit, c in enumerate(CLASSES) if (number + 1) >> bit & 1))

    def image(self, sample_id):
        self.read.append(sample_id)
        number = int(sample_id[1:])
        rng = np.random.default_rng([self.seed, number])
        image = rng.integers(90, 130, (32, 24 + 8 * (number % 2), 3), np.uint8)
        for channel, class_id in ((0, 3), (2, 15)):
            if class_id in self.tags_of(sample_id):
                image[4:14, 2 + 10 * (channel // 2) : 10 + 10 * (channel // 2), channel] = 250
        return image

    def load(self, sample_id, fields):
        assert fields == {"tags"}, "training must look at nothing but images and tags"
        return Sample(sample_id, (1, 1), tags=self.tags_of(sample_id))

    def truth(self, sample_id):
        raise AssertionError("training must not look at labels")


@dataclass
class Bright:
    """Saliency of coloured pixels; counts what it is asked."""

    file: InputFile | None = None
    size: tuple | None = None
    asked: list = field(default_factory=list)

    def map(self, sample_id, image):
        self.asked.append(sample_id)
        values = (np.ptp(image.astype(int), axis=2) > 60).astype(np.float32)
        return (np.zeros(self.size, np.float32) if self.size else values), self.file

    def facts(self):
        return {"provider": "bright"}
