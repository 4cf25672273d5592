"""A tiny student, a teacher without weights, and a few pictures."""

from dataclasses import dataclass, field

import numpy as np
import torch

from labelgen.data.dataset import DataSpec
from labelgen.nets.zeroseg.config import LabellingConfig, StudentConfig, TrainingConfig
from labelgen.nets.zeroseg.presets import Preset
from labelgen.vocab import load_vocabulary

DIM = 6
STUDENT = StudentConfig(
    image_size=24, patch=8, width=8, depth=1, heads=2, decoder_width=8, decoder_depth=1, decoder_heads=2,
    stages=(4, 2), stage_depth=1, joint_dim=DIM, class_token=False,
)  # fmt: skip
TRAINING = TrainingConfig(batch=4, micro_batch=3, epochs=3, warmup=0.2, lr=1e-2, tiles=(1, 2))
PRESET = Preset(STUDENT, TRAINING, LabellingConfig(), init="")


@dataclass
class Tower:
    """Unit vectors that depend on the mean colour of a picture; counts what it is asked."""

    native_size: tuple[int, int] = (8, 8)
    embed_dim: int = DIM
    name: str = "tower"
    asked: int = 0

    def normalise(self, images):
        return torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float() / 255

    def encode_images(self, pixels):
        assert tuple(pixels.shape[2:]) == self.native_size
        self.asked += len(pixels)
        mean = pixels.mean(dim=(2, 3))
        return torch.nn.functional.normalize(torch.cat([mean, 1 - mean], dim=1), dim=1)

    def fingerprint(self):
        return {"model": self.name, "sha256": self.name}


@dataclass
class Pictures:
    """A `Dataset` of random images, some of them not square."""

    count: int = 5
    seed: int = 0
    broken: str = ""
    read: list = field(default_factory=list)

    @property
    def spec(self):
        return DataSpec("folder", f"/pictures/{self.seed}")

    @property
    def vocabulary(self):
        return load_vocabulary("voc")

    @property
    def tags_source(self):
        return "truth"

    @property
    def ids(self):
        return tuple(f"p{number}" for number in range(self.count))

    def image(self, sample_id):
        self.read.append(sample_id)
        if sample_id == self.broken:
            raise KeyboardInterrupt
        number = int(sample_id[1:])
        rng = np.random.default_rng([self.seed, number])
        return rng.integers(0, 256, (24, 24 + 8 * (number % 2), 3), np.uint8)

    def load(self, sample_id, fields):
        raise AssertionError("training must not look at labels")

    def truth(self, sample_id):
        raise AssertionError("training must not look at labels")


def small_student(folder):
    """A student of the demo preset after one update on two demo scenes, taught by demo-clip."""
    from labelgen.data.open import open_data
    from labelgen.nets.clip.config import ClipModelConfig
    from labelgen.nets.clip.model import load_clip
    from labelgen.nets.zeroseg.fit import fit_student
    from labelgen.nets.zeroseg.presets import preset

    tower = load_clip(ClipModelConfig(device="cpu"))
    settings = preset("demo", batch=2, epochs=1, tiles=(1, 2))
    data = open_data("demo", limit=2)
    fit_student(data, tower, preset=settings, out=folder, teacher=tower.config, cache=None, device="cpu")
    return folder
