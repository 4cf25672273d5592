from dataclasses import replace

import numpy as np
import pytest
import torch
from open_clip import factory

from labelgen.errors import ConfigError, WeightsError
from labelgen.nets.backbone_config import BackboneConfig
from labelgen.nets.backbones import load_backbone
from labelgen.nets.clip.config import ClipModelConfig
from labelgen.nets.clip.model import load_clip
from labelgen.nets.zeroseg.fit import fit_student
from labelgen.nets.zeroseg.presets import FROM_TEACHER, preset
from labelgen.nets.zeroseg.start import fit_to_teacher, start_encoder
from labelgen.nets.zeroseg.student import build_student
from labelgen.nets.zeroseg.student_file import read_student
from tests.labelgen.nets.clip.tiny_clip import CONFIG, register
from tests.labelgen.nets.zeroseg.toys import DIM, PRESET, STUDENT, Pictures, Tower

SETTINGS = replace(PRESET, init=FROM_TEACHER)


def tiny_teacher(monkeypatch, *, name="tiny", dtype="float32"):
    register(monkeypatch)
    return load_clip(ClipModelConfig(name, dtype=dtype, device="cpu"), pretrained=False)


def test_the_encoder_can_start_from_a_backbone():
    student = build_student(preset("demo").student)
    shipped = load_backbone(BackboneConfig("demo-ssvt", dtype="float32"))
    before = student.encoder.blocks[0].attn.qkv.weight.clone()
    start = start_encoder(student, "demo-ssvt")
    assert start == {"name": "demo-ssvt", "sha256": shipped.spec.weights_sha256}
    assert not torch.equal(before, student.encoder.blocks[0].attn.qkv.weight)
    picture, _ = shipped.prepare(np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8))
    with torch.inference_mode():
        ours = student.eval().encode(picture[None])
    assert torch.allclose(ours[0], shipped.tokens(picture[None])[0].flatten(0, 1), atol=1e-4)


def test_a_backbone_of_other_sizes_is_refused():
    with pytest.raises(WeightsError, match="do not fit the encoder"):
        start_encoder(build_student(STUDENT), "demo-ssvt")


@pytest.mark.parametrize(("name", "activation"), [("tiny", "gelu"), ("tiny-quickgelu", "quick_gelu")])
def test_the_teachers_tower_gives_the_same_tokens_in_the_student(monkeypatch, name, activation):
    clip = tiny_teacher(monkeypatch, name=name)
    student = fit_to_teacher(SETTINGS, clip).student
    assert (student.image_size, student.patch, student.width, student.depth) == (32, 8, 32, 2)
    assert (student.joint_dim, student.activation, student.mean) == (24, activation, clip.mean)
    started = build_student(student).eval()
    record = start_encoder(started, FROM_TEACHER, tower=clip)
    assert record == {"name": "teacher", "sha256": clip.weights_sha256}
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = clip.model.visual.forward_intermediates(
            pixels, indices=1, normalize_intermediates=True, intermediates_only=True, output_fmt="NLC"
        )
        ours = started.encode(pixels)
    assert torch.allclose(ours, found["image_intermediates"][-1], atol=1e-5)
    assert started.encode(torch.zeros(1, 3, 48, 40)).shape == (1, 30, 32)  # other sizes, by resampled positions


def test_a_teacher_in_bfloat16_gives_its_exact_weights(monkeypatch):
    exact, cheap = tiny_teacher(monkeypatch), tiny_teacher(monkeypatch, dtype="bfloat16")
    asked, encoders = [], []

    def stored(config):  # the tiny model has no file to be loaded from
        asked.append(config.dtype)
        return exact

    monkeypatch.setattr("labelgen.nets.zeroseg.start.load_clip", stored)
    for clip in (exact, cheap):
        student = build_student(fit_to_teacher(SETTINGS, clip).student)
        start_encoder(student, FROM_TEACHER, tower=clip)
        encoders.append(student.encoder.patch_embed.proj.weight)
    assert encoders[1].dtype == torch.float32 and torch.equal(*encoders)
    assert asked == ["float32"]  # for the cheap one alone


def test_training_from_the_tower_leaves_the_teacher_alone_and_can_be_read_again(monkeypatch, tmp_path):
    clip = tiny_teacher(monkeypatch)
    before = clip.model.visual.conv1.weight.clone()
    report = fit_student(Pictures(), clip, preset=SETTINGS, out=tmp_path, teacher=clip.config, cache=None, device="cpu")
    assert report.steps == 4
    assert torch.equal(before, clip.model.visual.conv1.weight)
    trained = read_student(tmp_path)
    assert trained.about["init"]["name"] == "teacher" and trained.student.config.stem == "clip"
    assert not torch.equal(trained.student.encoder.patch_embed.proj.weight, before)


def test_towers_of_another_form_are_refused(monkeypatch):
    register(monkeypatch)
    other = load_clip(ClipModelConfig("tiny-sig", device="cpu"), pretrained=False)
    with pytest.raises(ConfigError, match="plain ViT of open_clip"):
        fit_to_teacher(SETTINGS, other)
    for change in ({"ls_init_value": 0.1}, {"mlp_ratio": 2.0}):
        visual = {**CONFIG["vision_cfg"], **change}
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", {**CONFIG, "vision_cfg": visual})
        odd = load_clip(ClipModelConfig("tiny", device="cpu"), pretrained=False)
        with pytest.raises(ConfigError, match="plain ViT of open_clip"):
            fit_to_teacher(SETTINGS, odd)
    with pytest.raises(ConfigError, match="tower of a CLIP model, got Tower"):
        fit_to_teacher(SETTINGS, Tower())


def test_the_teacher_has_its_own_weights():
    with pytest.raises(ConfigError, match="has its own weights"):
        start_encoder(build_student(STUDENT), FROM_TEACHER, weights="a.pth", tower=Tower())


def test_other_starts_leave_the_sizes_of_the_preset():
    assert fit_to_teacher(PRESET, Tower()).student == replace(STUDENT, joint_dim=DIM)
