"""Training: what a step sees, what is learned, and a resume that changes no bit."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from labelgen.errors import RunFolderError, WeightsError
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.training import rows_of_step
from labelgen.nets.zeroseg.batches import StepBatches
from labelgen.nets.zeroseg.fit import estimate_cost, fit_student
from labelgen.nets.zeroseg.student import build_student
from labelgen.nets.zeroseg.student_file import read_student
from labelgen.nets.zeroseg.teacher import TeacherVectors
from labelgen.nets.zeroseg.training import train_student
from tests.labelgen.nets.zeroseg.toys import PRESET, STUDENT, TRAINING, Pictures, Tower


def fit(out, *, data=None, settings=PRESET, **options):
    options = {"cache": None, "checkpoint_every": 2, "teacher": ClipModelConfig(), "device": "cpu"} | options
    return fit_student(data or Pictures(), options.pop("tower", Tower()), preset=settings, out=out, **options)


def changed(**settings):
    return dataclasses.replace(PRESET, training=dataclasses.replace(TRAINING, **settings))


def batches_of(training=TRAINING, data=None):
    return StepBatches(data or Pictures(), TeacherVectors(Tower(), training.tiles), STUDENT, training)


def test_an_epoch_shows_every_image_once_and_epochs_differ():
    rows = np.concatenate([rows_of_step(step, images=6, batch=4, seed=0) for step in range(6)])
    epochs = rows.reshape(4, 6)
    assert (np.sort(epochs, axis=1) == np.arange(6)).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_step_sees_the_same_wherever_one_begins():
    whole = [list(parts) for parts in batches_of().steps(0)]
    late = [list(parts) for parts in batches_of().steps(2)]
    assert len(whole) == 4 and [len(parts) for parts in whole] == [2, 2, 2, 2]  # 4 images in parts of 3 and 1
    for parts, again in zip(whole[2:], late, strict=True):
        for one, other in zip(parts, again, strict=True):
            assert torch.equal(one.images, other.images) and torch.equal(one.teacher, other.teacher)
            assert torch.equal(one.visible, other.visible) and one.share == other.share
            assert torch.equal(one.noise.get_state(), other.noise.get_state())
    assert sum(part.share for part in whole[0]) == 1
    assert not torch.equal(whole[0][0].noise.get_state(), whole[0][1].noise.get_state())


def test_small_data_are_decoded_once():
    data = Pictures()
    for parts in batches_of(data=data).steps(0):
        list(parts)
    assert len(data.read) <= 5 + TRAINING.batch  # an image may be asked for again before it is kept


def test_gradients_of_micro_batches_add_up_to_those_of_the_batch():
    """Without masks and noise, which are drawn for each part, only rounding differs."""
    states = []
    for micro in (1, 4):
        training = dataclasses.replace(TRAINING, micro_batch=micro, mask=0.0)
        student = build_student(STUDENT)
        parts = next(batches_of(training).steps(0))
        for part in parts:
            output = student(part.images, part.visible)
            (output.segments.image.square().sum(dim=1).mean() * part.share).backward()
        states.append(student.encoder.blocks[0].attn.qkv.weight.grad)
    assert torch.allclose(*states, atol=1e-6) and float(states[0].abs().sum()) > 0


def test_the_losses_fall(tmp_path):
    settings = dataclasses.replace(TRAINING, epochs=24, micro_batch=4)
    student = build_student(STUDENT)
    records = train_student(student, batches_of(settings))
    first, last = np.mean([r.total for r in records[:3]]), np.mean([r.total for r in records[-3:]])
    assert len(records) == 30 and last < 0.75 * first
    assert all(np.isfinite([r.total, *r.terms.values()]).all() for r in records)


class KilledError(Exception):
    """As if the process had been killed."""


def killed_after(steps):
    def progress(done, total, note):
        if done == steps:
            raise KilledError

    return progress


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training in one go, with vectors of the teacher from a cache."""
    folder = tmp_path_factory.mktemp("whole")
    fit(folder / "student", cache=folder / "cache")
    return folder / "student"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_killed_and_taken_up_again_the_weights_are_the_same_bit_for_bit(whole, tmp_path, at):
    with pytest.raises(KilledError):
        fit(tmp_path / "twice", progress=killed_after(at))
    with pytest.raises(WeightsError, match="not complete"):
        read_student(tmp_path / "twice")
    report = fit(tmp_path / "twice")
    assert report.first_step == at // 2 * 2 and report.steps == 4
    one, other = (read_student(folder).student.state_dict() for folder in (whole, tmp_path / "twice"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "losses.jsonl").read_text() == (tmp_path / "twice" / "losses.jsonl").read_text()


def test_the_same_call_again_does_nothing_and_other_settings_are_refused(tmp_path):
    fit(tmp_path)
    before = (tmp_path / "weights.safetensors").read_bytes()
    assert fit(tmp_path).already
    with pytest.raises(RunFolderError, match=r"training.mask is 0.6 there, 0.5 now"):
        fit(tmp_path, settings=changed(mask=0.5))
    with pytest.raises(RunFolderError, match=r"data.root"):
        fit(tmp_path, data=Pictures(seed=1))
    with pytest.raises(RunFolderError, match=r"teacher.teacher.sha256"):
        fit(tmp_path, tower=Tower(name="other"))
    assert (tmp_path / "weights.safetensors").read_bytes() == before
    assert not fit(tmp_path, settings=changed(mask=0.5), overwrite=True).already
    assert (tmp_path / "weights.safetensors").read_bytes() != before


def test_a_foreign_folder_is_refused(tmp_path):
    (tmp_path / "holiday.txt").write_text("photos")
    with pytest.raises(RunFolderError, match="holds no ZeroSeg student"):
        fit(tmp_path, overwrite=True)
    assert (tmp_path / "holiday.txt").exists()


def test_a_student_is_read_as_it_was_written(tmp_path):
    report = fit(tmp_path)
    trained = read_student(tmp_path)
    assert trained.student.config == dataclasses.replace(STUDENT, joint_dim=6) and trained.training == TRAINING
    assert not trained.student.training and not any(p.requires_grad for p in trained.student.parameters())
    assert trained.about["teacher"]["teacher"]["sha256"] == "tower" and trained.about["init"]["name"] == "random"
    described = json.loads((tmp_path / "zeroseg.json").read_text())
    assert described["state"] == "complete" and described["figures"]["losses"]["total"] == report.last.total
    assert read_student(tmp_path / "weights.safetensors").sha256 == trained.sha256
    assert not (tmp_path / "last.pt").exists()


def test_damaged_files_are_named(tmp_path):
    fit(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="does not hold a ZeroSeg student"):
        read_student(tmp_path)
    (tmp_path / "zeroseg.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"zeroseg.json cannot be read"):
        fit(tmp_path)
    with pytest.raises(WeightsError, match="no ZeroSeg student"):
        read_student(tmp_path / "nowhere")


def test_a_damaged_checkpoint_is_named(tmp_path):
    with pytest.raises(KilledError):
        fit(tmp_path, progress=killed_after(3))
    (tmp_path / "last.pt").write_bytes(b"half")
    with pytest.raises(RunFolderError, match="checkpoint cannot be read"):
        fit(tmp_path)


def test_the_cost_is_counted():
    cost = estimate_cost(Pictures(), Tower(), preset=PRESET, device="cpu")
    assert (cost.images, cost.steps, cost.tile_vectors, cost.cache_bytes) == (5, 4, 25, 5 * 5 * 6 * 2)
    assert cost.teacher_seconds > 0 and cost.student_seconds > 0


@pytest.mark.slow  # building the kernels takes a second
def test_bfloat16_changes_the_weights_and_is_recorded(whole, tmp_path):
    fit(tmp_path, bfloat16=True)
    one, other = read_student(whole), read_student(tmp_path)
    assert other.about["precision"] == "bfloat16"
    assert not torch.equal(one.student.head.to_joint[0].weight, other.student.head.to_joint[0].weight)
