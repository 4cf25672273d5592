import functools

import numpy as np
import pytest
import torch
from torch import nn

from labelgen.data.open import open_data
from labelgen.data.sample import Sample
from labelgen.errors import ConfigError, DataError, ShapeError
from labelgen.masks import harden
from labelgen.nets.cam.adapters import from_callable, pytorch_grad_cam, torch_cam
from labelgen.nets.cam.gradcam import layer_grad_cam
from labelgen.nets.cam.multiscale import Views
from labelgen.run import Job, RunOptions, run_job
from labelgen.seeds.backgrounds import parse_background
from labelgen.vocab import load_vocabulary

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
RNG = np.random.default_rng(0)
BOTH_WAYS = Views(scales=(1.0, 0.5))


def colour(images, channel):
    """The map of channel c is the colour c."""
    return images[:, channel]


def sample(tags=(3, 7), size=(6, 8)):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return Sample("a", size, image=image, tags=None if tags is None else frozenset(tags))


def test_maps_of_the_tags_are_scaled_and_set_against_the_background():
    generate = from_callable(colour, class_ids=(3, 12, 7), **PLAIN)
    mask = generate(sample(), RNG)
    assert mask.class_ids == (0, 3, 7)
    wanted = sample().image[:, :, [0, 2]].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(mask.scores[1:], wanted / wanted.max(axis=(1, 2), keepdims=True), atol=1e-4)
    np.testing.assert_allclose(mask.scores[0], 0.2)


def test_an_image_and_its_mirror_image_come_as_one_batch_for_each_class():
    asked = []

    def cam(images, channel):
        asked.append((tuple(images.shape), channel))
        return images.mean(dim=1).numpy()  # arrays are as good

    from_callable(cam, class_ids=(3, 7), views=BOTH_WAYS, multiple=4, **PLAIN)(sample(), RNG)
    assert asked == [((2, 3, 8, 8), 0), ((2, 3, 8, 8), 1), ((2, 3, 4, 4), 0), ((2, 3, 4, 4), 1)]


def test_images_without_tags_and_tags_without_a_channel():
    generate = from_callable(colour, class_ids=(3, 12, 7), **PLAIN)
    assert (harden(generate(sample(tags=()), RNG)) == 0).all()
    lost = generate(sample(tags=(9,)), RNG)
    assert (harden(lost) == 255).all() and "[9]" in lost.warnings[0]
    partly = generate(sample(tags=(3, 9)), RNG)
    assert partly.class_ids == (0, 3) and "[9]" in partly.warnings[0]
    with pytest.raises(DataError, match="image-level tags"):
        generate(sample(tags=None), RNG)


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 1, 3, 4), (3, 4)])
def test_a_wrong_number_of_maps_is_refused(shape):
    generate = from_callable(lambda images, channel: torch.zeros(shape), class_ids=(3, 7), views=BOTH_WAYS, **PLAIN)
    with pytest.raises(ShapeError, match=r"of 2 images must be \(B, h, w\)"):
        generate(sample(), RNG)


def test_values_that_are_no_numbers_name_the_image():
    def broken(images, channel):
        return torch.full((len(images), 2, 2), torch.nan)

    with pytest.raises(DataError, match="NaN or infinite in a"):
        from_callable(broken, class_ids=(3, 7), **PLAIN)(sample(), RNG)


@pytest.mark.parametrize("class_ids", [(3, 3), (0, 3)])
def test_channels_without_a_class_of_their_own_are_refused(class_ids):
    with pytest.raises(ConfigError, match="a class of its own"):
        from_callable(colour, class_ids=class_ids, **PLAIN)


def test_it_labels_a_data_set_as_any_method_does(tmp_path):
    vocabulary, data = load_vocabulary("voc"), open_data("demo", limit=2)
    rule = parse_background("dual:irn")
    generate = functools.partial(from_callable, lambda x, c: x.mean(dim=1), class_ids=range(1, 21), rule=rule, **PLAIN)
    job = Job("own", {}, generate, frozenset({"tags"}), reads_image=True, vocabulary=vocabulary)
    report = run_job(data, job, tmp_path / "run", RunOptions())
    assert report.done == 2 and report.complete and 0 < report.coverage < 1


@functools.cache
def small_net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.Softplus()]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    return net.eval().requires_grad_(False)


def ours(views):
    def cam(images, channel):
        return layer_grad_cam(small_net(), "2", images, [channel]).maps[:, 0].relu()

    return from_callable(cam, class_ids=(3, 12, 7), views=views, **PLAIN)


@pytest.mark.slow
def test_maps_of_torch_cam():
    methods = pytest.importorskip("torchcam.methods")
    with methods.GradCAM(small_net(), "2", enable_hooks=True) as extractor:
        theirs = from_callable(torch_cam(extractor), class_ids=(3, 12, 7), **PLAIN)(sample((3, 7, 12)), RNG)
    np.testing.assert_allclose(
        theirs.scores, ours(Views((1.0,), flip=False))(sample((3, 7, 12)), RNG).scores, atol=2e-2
    )
    assert theirs.scores[1:].max() > 0.9


@pytest.mark.slow
def test_maps_of_pytorch_grad_cam():
    library = pytest.importorskip("pytorch_grad_cam")
    with library.GradCAM(model=small_net(), target_layers=[small_net()[2]]) as extractor:
        call = pytorch_grad_cam(extractor)
        assert call(torch.zeros(4, 3, 6, 8), 1).shape == (4, 6, 8), "a map for each image, not one for each target"
        generate = from_callable(call, class_ids=(3, 12, 7), views=BOTH_WAYS, **PLAIN)
        mask = generate(sample((3, 7, 12)), RNG)
        alone = from_callable(call, class_ids=(3, 12, 7), **PLAIN)(sample((3,)), RNG)
    assert mask.class_ids == (0, 3, 7, 12) and mask.scores[1:].max() > 0.9
    mine = ours(Views((1.0,), flip=False))(sample((3,)), RNG)
    assert np.corrcoef(alone.scores[1].ravel(), mine.scores[1].ravel())[0, 1] > 0.98  # it resizes otherwise
