import gc
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labelgen.errors import ConfigError, ShapeError
from labelgen.nets.cam.gradcam import GRADIENT_MAPS, combine, grad_cam, layer_grad_cam, tokens

CALLS = 300  # of which the memory is watched
STATM = Path("/proc/self/statm")


class SmallNet(nn.Module):
    """Two convolutions, a ReLU that works in place, and a linear head without bias over the mean of all places."""

    def __init__(self, *, hidden=False, inplace=True):
        super().__init__()
        self.inplace = inplace
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.last = nn.Conv2d(6, 8, 3, padding=1, stride=2)
        self.extra = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) if hidden else nn.Identity()
        self.head = nn.Linear(8, 5, bias=False)

    def trunk(self, images):
        return F.relu(self.last(self.act(self.norm(self.first(images)))), inplace=self.inplace)

    def scores(self, activation):
        return self.head(self.extra(activation).mean(dim=(2, 3)))

    def forward(self, images):
        return self.scores(self.trunk(images))


def small_net(*, seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallNet(**options).eval()


def pictures(count=2, size=(12, 16), seed=0):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def by_the_maximum(maps):
    maps = maps.relu()
    return maps / maps.amax(dim=(2, 3), keepdim=True).clamp_min(1e-12)


@pytest.fixture(params=GRADIENT_MAPS)
def how(request):
    return request.param


def test_over_a_mean_and_a_linear_layer_it_is_the_class_activation_map():
    net, images = small_net(), pictures()
    with torch.no_grad():
        expected = torch.einsum("cd,bdhw->bchw", net.head.weight, net.trunk(images))
    found = grad_cam(net.trunk, net.scores, images, range(5))
    torch.testing.assert_close(by_the_maximum(found.maps), by_the_maximum(expected), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.maps * (6 * 8), expected)  # the factor is the number of places
    torch.testing.assert_close(found.maps.sum(dim=(2, 3)), found.logits)
    assert found.maps.min() < 0, "raw maps keep their sign"


def test_at_a_layer_by_name_it_is_the_same(how):
    net, images = small_net(hidden=True), pictures()
    inner = grad_cam(net.last, lambda a: net.scores(F.relu(a)), net.act(net.norm(net.first(images))), [3, 1], how=how)
    named = layer_grad_cam(net, "last", images, [3, 1], how=how)
    torch.testing.assert_close(named.maps, inner.maps)
    torch.testing.assert_close(named.logits, net(images))


def test_each_class_and_image_is_as_alone(how):
    net, images = small_net(hidden=True), pictures(3)
    together = grad_cam(net.trunk, net.scores, images, [0, 4, 2], how=how)
    assert together.maps.shape == (3, 3, 6, 8)
    for i in range(3):
        for k, c in enumerate((0, 4, 2)):
            alone = grad_cam(net.trunk, net.scores, images[i : i + 1], [c], how=how)
            torch.testing.assert_close(together.maps[i, k], alone.maps[0, 0], rtol=1e-4, atol=1e-6)


def test_gradients_are_those_of_a_plain_backward_pass():
    net, images = small_net(hidden=True), pictures(1)
    activation = net.trunk(images).detach().requires_grad_()
    net.scores(activation)[0, 2].backward()
    expected = combine(activation.detach(), activation.grad, how="hirescam")
    torch.testing.assert_close(grad_cam(net.trunk, net.scores, images, [2], how="hirescam").maps[:, 0], expected)


@pytest.mark.parametrize(
    ("how", "expected"),
    [("gradcam", [[2.0, 0.0]]), ("hirescam", [[6.0, 4.0]]), ("layercam", [[6.0, 4.0]])],
)
def test_kinds_by_hand(how, expected):
    activation = torch.tensor([[[[2.0, 0.0]], [[0.0, -1.0]]]])
    gradient = torch.tensor([[[[3.0, -1.0]], [[4.0, -4.0]]]])  # means 1 and 0
    if how == "layercam":
        expected = [[6.0, 0.0]]
    assert combine(activation, gradient, how=how).tolist() == [expected]


def test_kinds_agree_with_pytorch_grad_cam(how):
    library = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kinds = {"gradcam": "GradCAM", "hirescam": "HiResCAM", "layercam": "LayerCAM", "gradcam++": "GradCAMPlusPlus"}
    net, images = small_net(hidden=True, inplace=False), pictures(2)  # the library sees what is changed in place
    with getattr(library, kinds[how])(net, [net.last]) as theirs:
        for c in range(5):
            expected = torch.from_numpy(theirs(images, [ClassifierOutputTarget(c)] * 2))
            ours = layer_grad_cam(net, "last", images, [c], how=how).maps[:, 0].relu().numpy()
            scaled = scale_cam_image(scale_cam_image(ours, (16, 12)))  # the library scales before and after it resizes
            torch.testing.assert_close(torch.from_numpy(scaled), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_frozen_parameters_and_contexts_do_not_matter(context):
    net, images = small_net(hidden=True), pictures()
    expected = layer_grad_cam(net, "last", images, [1]).maps
    net.requires_grad_(False)
    with context():
        made_inside = images.clone()
        torch.testing.assert_close(layer_grad_cam(net, "last", made_inside, [1]).maps, expected)
        torch.testing.assert_close(grad_cam(net.trunk, net.scores, made_inside, [1]).logits, net(images))


def test_parameters_get_no_gradient_and_results_hold_no_graph():
    net = small_net(hidden=True)
    found = layer_grad_cam(net, "last", pictures(), [0, 1])
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not found.maps.requires_grad and not found.logits.requires_grad


def test_classes_may_differ_from_image_to_image():
    net, images = small_net(), pictures(2)
    rows = grad_cam(net.trunk, net.scores, images, torch.tensor([[0, 3], [4, 1]]))
    everything = grad_cam(net.trunk, net.scores, images, range(5)).maps
    torch.testing.assert_close(rows.maps[0], everything[0, [0, 3]])
    torch.testing.assert_close(rows.maps[1], everything[1, [4, 1]])


def test_one_target_for_a_batch_is_for_all_of_it_and_a_wrong_number_is_refused():
    net, images = small_net(), pictures(3)
    assert grad_cam(net.trunk, net.scores, images, [2]).maps.shape == (3, 1, 6, 8)
    with pytest.raises(ShapeError, match=r"a row for each of 3, got \(2, 1\)"):
        grad_cam(net.trunk, net.scores, images, torch.tensor([[0], [1]]))
    assert grad_cam(net.trunk, net.scores, images, []).maps.shape == (3, 0, 6, 8)


@pytest.mark.parametrize("indices", [[5], [-1]])
def test_a_class_that_the_scores_do_not_have_is_refused(indices):
    net = small_net()
    with pytest.raises(ConfigError, match=r"must lie in \[0, 5\)"):
        grad_cam(net.trunk, net.scores, pictures(), indices)


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="the memory of a process is read from /proc, which only Linux has")
def test_many_calls_leave_no_hook_and_no_memory():
    net, images = small_net().requires_grad_(False), pictures(1, size=(8, 8))
    for _ in range(50):
        layer_grad_cam(net, "last", images, [0, 1])
    gc.collect()
    tensors, before = tensors_alive(), resident_bytes()
    for _ in range(CALLS):
        layer_grad_cam(net, "last", images, [0, 1])
    gc.collect()
    assert tensors_alive() == tensors
    assert resident_bytes() - before < CALLS * 2**11  # less than the graph of one in each
    assert hooks_of(net) == 0


def tensors_alive():
    return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())


def resident_bytes():
    """Memory that the process has now, not at its peak."""
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hooks_of(net):
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in net.modules())


def test_the_hook_goes_when_the_network_fails():
    net = small_net()
    with pytest.raises(RuntimeError):
        layer_grad_cam(net, "first", torch.zeros(1, 4, 8, 8), [0])
    with pytest.raises(ConfigError):
        layer_grad_cam(net, "last", pictures(), [9])
    assert hooks_of(net) == 0
    assert torch.is_grad_enabled()


class TinyViT(nn.Module):
    """Class token, 2 x 3 patches, one block of mixing; reads the class token or the mean of the patches."""

    def __init__(self, pool):
        super().__init__()
        self.embed, self.mix, self.last = nn.Linear(48, 8), nn.Linear(7, 7), nn.Linear(8, 8)
        self.head, self.pool = nn.Linear(8, 5), pool

    def forward(self, images):
        patches = F.unfold(images, 4, stride=4).transpose(1, 2)
        x = self.embed(patches)
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
        x = self.last(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return self.head(x[:, 0] if self.pool == "token" else x[:, 1:].mean(dim=1))


def test_tokens_become_a_grid_and_a_layer_behind_which_places_do_not_count_is_dead():
    images = pictures(2, size=(8, 12))
    net = TinyViT("mean").eval()
    found = layer_grad_cam(net, "last", images, [0, 4], arrange=tokens((2, 3)))
    assert found.maps.shape == (2, 2, 2, 3) and not found.is_dead.any()
    weights = net.head.weight[[0, 4]] / 6
    tokens_out = net.last(net.mix(net_tokens(net, images)).transpose(1, 2)).detach()[:, 1:]
    expected = torch.einsum("kd,bnd->bkn", weights, tokens_out).unflatten(2, (2, 3)).detach()
    torch.testing.assert_close(found.maps, expected)
    read_at_token = layer_grad_cam(TinyViT("token").eval(), "last", images, [0], arrange=tokens((2, 3)))
    assert read_at_token.is_dead.all() and not read_at_token.maps.any()
    assert not layer_grad_cam(TinyViT("token").eval(), "embed", images, [0], arrange=tokens((2, 3))).is_dead.any()


def net_tokens(net, images):
    x = net.embed(F.unfold(images, 4, stride=4).transpose(1, 2))
    return torch.cat([x.mean(dim=1, keepdim=True), x], dim=1).transpose(1, 2)


class Shared(nn.Module):
    """One layer twice, one beside the way, one that gives two tensors, one whose result is detached."""

    def __init__(self):
        super().__init__()
        self.twice, self.beside = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.two, self.cut = Double(), nn.Conv2d(3, 3, 1)

    def forward(self, images):
        self.beside(images)
        self.two(images)
        return (self.twice(self.twice(images)) + self.cut(images).detach()).mean(dim=(2, 3))


class Double(nn.Module):
    def forward(self, images):
        return images, images


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("nowhere", "no layer 'nowhere'"),
        ("", "no layer ''"),
        ("twice", "ran 2 times"),
        ("beside", "do not depend on the layer"),
        ("cut", "do not depend on the layer"),
        ("two", "must give one tensor, got tuple"),
    ],
)
def test_layers_that_cannot_be_used_are_named(layer, message):
    net = Shared().eval()
    with pytest.raises(ConfigError, match=message):
        layer_grad_cam(net, layer, pictures(), [0])
    assert hooks_of(net) == 0


def test_training_mode_unknown_kinds_and_layers_without_places_are_refused():
    net = small_net()
    with pytest.raises(ConfigError, match="eval mode"):
        layer_grad_cam(small_net().train(), "last", pictures(), [0])
    with pytest.raises(ConfigError, match="unknown kind"):
        layer_grad_cam(net, "last", pictures(), [0], how="scorecam")
    with pytest.raises(ShapeError, match=r"must be \(B, D, h, w\)"):
        layer_grad_cam(net, "head", pictures(), [0])
    with pytest.raises(ShapeError, match=r"N >= 4 \* 4"):
        layer_grad_cam(TinyViT("mean").eval(), "last", pictures(1, (8, 12)), [0], arrange=tokens((4, 4)))
