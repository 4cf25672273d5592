"""The network: sizes, what the heads may see, and settings that are refused."""

import pytest
import torch

from labelgen.errors import ConfigError
from labelgen.nets.zeroseg.config import LabellingConfig, LossConfig, StudentConfig, TrainingConfig
from labelgen.nets.zeroseg.positions import sine_positions
from labelgen.nets.zeroseg.presets import PRESETS, preset
from labelgen.nets.zeroseg.student import build_student
from tests.labelgen.nets.zeroseg.toys import DIM, STUDENT


def images(count=2, side=24, seed=0):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_the_paper_preset_is_what_was_published():
    student, training = PRESETS["paper"].student, PRESETS["paper"].training
    assert (student.image_size, student.patch, student.depth, student.width) == (224, 16, 12, 768)
    assert (student.decoder_depth, student.stages, student.joint_dim) == (8, (32, 8), 768)
    assert 2 * student.stage_depth + student.final_depth == 5
    assert (training.batch, training.epochs, training.warmup * training.epochs) == (4096, 80, 20)
    assert (training.lr, training.mask, training.tiles) == (1.5e-4, 0.6, (1, 2, 3, 4))
    assert training.losses == LossConfig("sum", True, True, 1, 1, 1, 0)
    assert PRESETS["paper"].labelling == LabellingConfig(short_side=448, crop=448, stride=224, top_k=5)


def test_what_is_not_in_the_paper_is_off_in_its_preset():
    student, training = PRESETS["paper"].student, PRESETS["paper"].training
    assert (student.centre, training.noise, training.body_rate, training.losses.locate) == (False, 1.0, 1.0, 0.0)


def test_outputs_have_their_sizes():
    visible = torch.tensor([[0, 2, 5], [1, 4, 8]])
    output = build_student(STUDENT)(images(), visible)
    assert output.segments.vectors.shape == (2, 2, DIM) and output.segments.image.shape == (2, DIM)
    assert [tuple(a.shape) for a in output.segments.assignments] == [(2, 4, 3), (2, 2, 4)]
    assert output.pixels.shape == (2, 9, 3 * 64)


def test_patch_assignments_are_the_product_of_the_stages():
    segments = build_student(STUDENT).segment(images())
    first, second = segments.assignments
    whole = segments.of_patches()
    assert torch.allclose(whole, torch.einsum("bgk,bkn->bgn", second, first))
    assert torch.allclose(whole.sum(dim=1), torch.ones(2, 9), atol=1e-5)


@pytest.mark.parametrize("class_token", [False, True])
def test_hidden_patches_reach_no_output(class_token):
    student = build_student(StudentConfig(**{**vars(STUDENT), "class_token": class_token})).eval()
    visible = torch.tensor([[0, 4]])
    one = images(1)
    other = one.clone()
    other[:, :, :, 16:] = 7.0  # the right column of patches is hidden
    for a, b in ((student(one, visible), student(other, visible)),):
        assert torch.equal(a.segments.vectors, b.segments.vectors) and torch.equal(a.pixels, b.pixels)
    other[:, :, 8:16, 8:16] = 7.0  # patch 4 is visible
    assert not torch.equal(student(one, visible).pixels, student(other, visible).pixels)


def test_all_patches_visible_is_the_same_as_no_mask():
    student = build_student(STUDENT).eval()
    everything = torch.arange(9)[None].expand(2, -1)
    assert torch.equal(student.encode(images()), student.encode(images(), everything))


def test_the_decoder_puts_tokens_where_they_belong():
    student = build_student(STUDENT).eval()
    tokens, visible = torch.randn(1, 2, 8), torch.tensor([[3, 7]])
    seen = []
    student.decoder.layers.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    student.decoder(tokens, visible)
    bare = seen[0] - student.decoder.positions
    embedded = student.decoder.embed(tokens)
    assert torch.allclose(bare[0, [3, 7]], embedded[0], atol=1e-6)
    assert torch.allclose(bare[0, [0, 1, 2, 4, 5, 6, 8]], student.decoder.mask_token[0].expand(7, -1), atol=1e-6)


def test_every_parameter_learns_from_the_losses():
    student = build_student(StudentConfig(**{**vars(STUDENT), "class_token": True}))
    output = student(images(), torch.tensor([[0, 2, 5], [1, 4, 8]]), generator=torch.Generator().manual_seed(0))
    total = output.pixels.square().sum() + output.segments.vectors.square().sum() + output.segments.image.sum()
    total.backward()
    silent = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a bias of keys shifts all logits of a query alike, which a softmax does not see
    assert [name for name in silent if not name.endswith("key.bias")] == []


def test_weights_depend_on_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    one, same, other = (build_student(STUDENT, seed=seed).head.norm.state_dict() for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    first, second = (build_student(STUDENT, seed=s).head.group_tokens[0] for s in (0, 1))
    assert not torch.equal(first, second) and other.keys() == one.keys()


def test_positions_tell_rows_from_columns():
    grid = sine_positions(3, 5, 8).reshape(3, 5, 8)
    assert torch.equal(grid[:, 0, :4], grid[:, 4, :4]) and torch.equal(grid[0, :, 4:], grid[2, :, 4:])
    assert len({tuple(row) for row in grid.reshape(15, 8).tolist()}) == 15


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (StudentConfig, {"image_size": 100}, "multiple of the patch"),
        (StudentConfig, {"stem": "convolutional"}, "patches of 8 pixels"),
        (StudentConfig, {"stages": (8, 32)}, "falling numbers"),
        (StudentConfig, {"stages": ()}, "falling numbers"),
        (StudentConfig, {"heads": 7}, "multiple of 4 and of its heads"),
        (StudentConfig, {"depth": 0}, "must be >= 1"),
        (TrainingConfig, {"mask": 1.0}, r"\[0, 1\)"),
        (TrainingConfig, {"tiles": (2, 3)}, "1 and then larger"),
        (TrainingConfig, {"tiles": (1,)}, "1 and then larger"),
        (TrainingConfig, {"micro_batch": 0}, "batch and micro_batch"),
        (TrainingConfig, {"epochs": 0}, "epochs and lr"),
        (TrainingConfig, {"warmup": 1.0}, "warmup"),
        (LossConfig, {"match": -1.0}, "weights of losses"),
    ],
)
def test_settings_out_of_range_are_refused(config, settings, message):
    with pytest.raises(ConfigError, match=message):
        config(**settings)


def test_presets_take_changes_of_any_part_and_no_others():
    assert preset("paper", lr_rule="linear").training.peak_rate == pytest.approx(2.4e-3)
    assert preset("demo", init="").init == "" and preset("demo", width=80, heads=5).student.width == 80
    with pytest.raises(ConfigError, match="no setting called 'colour'"):
        preset("demo", colour=1)
    with pytest.raises(ConfigError, match="unknown preset"):
        preset("huge")
