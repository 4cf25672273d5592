"""What every row of METHODS promises; a new method is tested here without a line of its own."""

import dataclasses
import functools
import io
import json
import pickle
import re

import numpy as np
import pytest
from rich.console import Console

from labelgen.cli import app
from labelgen.commands.common import CommonFlags
from labelgen.data.open import open_data
from labelgen.data.sample import SUPERVISION, Sample
from labelgen.errors import DataError
from labelgen.masks import harden
from labelgen.methods import METHODS
from labelgen.methods.cam import CamConfig
from labelgen.methods.clip import ClipConfig
from labelgen.methods.zeroseg import ZeroSegConfig
from labelgen.run import config_to_json, method_job, rng_for
from labelgen.vocab import load_vocabulary
from tests.labelgen.nets.cam.small_classifier import small_folder
from tests.labelgen.nets.zeroseg.toys import small_student

PARSE = {"exit_on_error": False, "print_error": False}


def zeroseg_settings(folder):
    return ZeroSegConfig(weights=str(small_student(folder / "student")), templates="simple", short_side=64)


CONFIGS = {
    "cam": lambda folder: CamConfig(weights=str(small_folder(folder / "classifier"))),
    "clip": lambda folder: ClipConfig(templates="simple", short_side=64, crop=0),
    "zeroseg": zeroseg_settings,
}
"""Settings of methods that do not run with their defaults alone: `f(folder) -> config`, by name of the method."""


@pytest.fixture(scope="module")
def samples():
    """Two scenes with all that is known about them: a cat, and a person beside a cat with a ring of void."""
    return load_vocabulary("voc"), [scene("one", person=False), scene("two", person=True)]


def scene(sample_id, *, person):
    truth, instances = np.zeros((48, 64), np.uint8), np.zeros((48, 64), np.int32)
    truth[20:40, 6:30], instances[20:40, 6:30] = 8, 1
    if person:
        truth[3:45, 40:58] = 255
        truth[5:43, 42:56], instances[5:43, 42:56] = 15, 2
    image = rng_for(0, sample_id).integers(0, 256, (48, 64, 3), np.uint8)
    tags = frozenset({8, 15} if person else {8})
    return Sample(sample_id, (48, 64), image=image, truth=truth, instances=instances, tags=tags)


@pytest.fixture(params=sorted(METHODS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def job_of(samples, tmp_path_factory):
    """The job of a method as its command makes it on the demo data; made once per method, since weights are hashed."""
    jobs = {}

    def job_of(name):
        if name not in jobs:
            made = CONFIGS.get(name, lambda folder: METHODS[name].config())(tmp_path_factory.mktemp(name))
            jobs[name] = method_job(name, made, samples[0], dataset=open_data("demo", limit=2))
        return jobs[name]

    return job_of


@pytest.fixture(scope="module")
def forward(samples, job_of):
    """Masks of the two scenes in their order by a method; made once."""
    return functools.cache(lambda name: masks_of(job_of(name), samples[1]))


def masks_of(job, samples, *, seed=0):
    generate = job.make()
    return {sample.id: generate(sample.only(job.needs), rng_for(seed, sample.id)) for sample in samples}


def same(one, two):
    return one.class_ids == two.class_ids and one.scores.tobytes() == two.scores.tobytes()


def test_masks_have_the_right_form(name, samples, forward):
    vocabulary, scenes = samples
    for scene, mask in zip(scenes, forward(name).values(), strict=True):
        assert mask.size == scene.size and mask.scores.dtype == np.float32
        assert all(0 <= class_id < vocabulary.num_classes for class_id in mask.class_ids)
        assert (harden(mask) != 255).any(), "the default settings label something"
        json.dumps(dict(mask.details), default=lambda value: value.item())


def test_masks_depend_on_seed_and_image_alone(name, samples, job_of, forward):
    _, scenes = samples
    job = job_of(name)
    first, backward = forward(name), masks_of(job, scenes[::-1])
    copied = masks_of(pickle.loads(pickle.dumps(job)), scenes)  # as a worker process gets it
    for sample_id in first:
        assert same(first[sample_id], backward[sample_id])
        assert same(first[sample_id], copied[sample_id])


def test_a_method_declares_what_it_needs(name, samples, job_of):
    _, scenes = samples
    job = job_of(name)
    assert job.needs <= SUPERVISION
    if job.needs:
        with pytest.raises(DataError):
            job.make()(scenes[0].only(frozenset()), rng_for(0, "a"))


def test_a_method_that_reads_no_image_works_without(name, samples, job_of, forward):
    _, scenes = samples
    job = job_of(name)
    if job.reads_image:
        pytest.skip("reads images")
    blind = [dataclasses.replace(scene, image=None) for scene in scenes]
    for with_image, without in zip(forward(name).values(), masks_of(job, blind).values(), strict=True):
        assert same(with_image, without)


def test_settings_survive_json(name):
    config = METHODS[name].config()
    values = json.loads(json.dumps(config_to_json(config)))
    restored = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    assert METHODS[name].config(**restored) == config
    assert dataclasses.fields(config) and config.__dataclass_params__.frozen


def test_settings_survive_flags(name):
    config = METHODS[name].config()
    _, bound, _ = app.parse_args([name, "data", *flags_of(config)], **PARSE)
    assert bound.args[0] == "data"
    settings = {f.name: bound.arguments.get(f.name, f.default) for f in dataclasses.fields(config)}
    assert METHODS[name].config(**settings) == config
    assert bound.arguments.keys() >= {f.name for f in dataclasses.fields(config) if flags_of(config, f.name)}


def flags_of(config, only=""):
    """Every default typed out as a flag, where it can be typed."""
    tokens = []
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if only not in ("", field.name) or value is None or value in ("", ()):
            continue
        if isinstance(value, bool):
            tokens.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, tuple):
            tokens += [f"--{flag}", *map(str, value)]
        else:
            tokens += [f"--{flag}", str(value)]
    return tokens


def test_no_setting_hides_a_common_flag(name):
    common = {field.name for field in dataclasses.fields(CommonFlags)} | {"config", "debug", "data", "flags", "json"}
    assert not common & {field.name for field in dataclasses.fields(METHODS[name].config)}


def test_every_flag_has_help(name):
    app.help_print([name], console=Console(file=(out := io.StringIO()), width=200))
    lines = out.getvalue().splitlines()
    flags = [line for line in lines if line.startswith("│ --")]
    bare = [line for line in flags if not re.match(r"│ --.*?\s{2,}[A-Za-z]", line)]
    assert len(flags) > 10 and bare == []
