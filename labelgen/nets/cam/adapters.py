"""Class maps of other programs as a labelling method: pytorch-grad-cam, torch-cam, or any function of your own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from labelgen.data.sample import Generate, Sample
from labelgen.errors import ConfigError, ShapeError
from labelgen.masks import SoftMask
from labelgen.nets.cam.classifier import ClassMaps
from labelgen.nets.cam.multiscale import Views, look_at_views
from labelgen.seeds.background_scores import set_against
from labelgen.seeds.backgrounds import Dual, Fixed, Power
from labelgen.seeds.normalise import normalise

__all__ = ["CamCall", "from_callable", "pytorch_grad_cam", "torch_cam"]

CamCall = Callable[[Tensor, int], Any]
"""Normalised images `(B, 3, H, W)` and the channel of a class to maps `(B, h, w)` of any size, array or tensor."""

ONE_VIEW = Views(scales=(1.0,), flip=False)


def from_callable(
    cam: CamCall,
    *,
    class_ids: Sequence[int],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    background: int = 0,
    rule: Fixed | Power | Dual = Fixed(0.2),  # noqa: B008 - frozen
    how: str = "max",
    views: Views = ONE_VIEW,
    multiple: int = 1,
    device: torch.device | str = "cpu",
) -> Generate:
    """A labelling method that reads image-level tags and takes its class maps from `cam`.

    `cam` is called for the classes that the tags of an image name; its maps are summed over the views, scaled to
    [0, 1] and set against a background as in `labelgen cam`. An image without tags is all background.

    Parameters
    ----------
    cam
        Class maps of one class for a batch; `pytorch_grad_cam` and `torch_cam` make it of an extractor.
    class_ids
        Vocabulary id of each channel of the network.
    mean, std
        Of RGB in [0, 1], by which the network wants images normalised.
    background
        Vocabulary id of background.
    rule
        Its score.
    how
        One of `labelgen.seeds.normalise.NORMALISATIONS`.
    views
        Scales and mirror images. pytorch-grad-cam scales its maps to [0, 1] view by view, before they are summed.
    multiple
        Of which the sides of images must be multiples for the network.
    device
        Of the network.

    Returns
    -------
    Generate
        Raises ShapeError when `cam` gives another number of maps than there are images, and DataError when a value is
        no number. Tags that are no class of `class_ids` are kept as a warning; an image that has only such tags
        stays unlabelled.

    Raises
    ------
    ConfigError
        When an id is there twice, or is that of background.

    Examples
    --------
    In a run, where `data` is a data set of `labelgen.data.open.open_data`:

    >>> from labelgen.masks import harden
    >>> from labelgen.run import Job
    >>> from labelgen.vocab import load_vocabulary
    >>> def reddish(images, channel):
    ...     return images[:, 0] - images[:, 2]
    >>> generate = from_callable(reddish, class_ids=(15,), mean=(0, 0, 0), std=(1, 1, 1))
    >>> needs = frozenset({"tags"})
    >>> job = Job("reddish", {}, lambda: generate, needs, reads_image=True, vocabulary=load_vocabulary("voc"))
    >>> sample = Sample("a", (1, 2), image=np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), tags=frozenset({15}))
    >>> mask = job.make()(sample, np.random.default_rng(0))
    >>> mask.class_ids, harden(mask).tolist()
    ((0, 15), [[15, 0]])

    and then `run_job(data, job, Path("runs/reddish"))`.
    """
    channel_of = {class_id: channel for channel, class_id in enumerate(class_ids)}
    if len(channel_of) < len(class_ids) or background in channel_of:
        raise ConfigError(f"each channel must have a class of its own, none {background}, got {tuple(class_ids)}")

    def generate(sample: Sample, rng: np.random.Generator) -> SoftMask:
        tags = sample.need_tags() - {background}
        known = tuple(sorted(tags & channel_of.keys()))
        unknown = sorted(tags - set(known))
        warnings = (f"no channel is of the classes {unknown}, which the tags name",) if unknown else ()
        if not known:
            plane = np.full((1, *sample.size), 0.0 if unknown else 1.0, np.float32)
            return SoftMask(plane, (background,), warnings=warnings)

        def look(images: Tensor) -> ClassMaps:
            return ClassMaps(torch.stack([_checked(cam, images, channel_of[i]) for i in known], dim=1))

        found = look_at_views(look, sample.need_image(), views, multiple=multiple, mean=mean, std=std, device=device)
        maps = normalise(found.foreground.cpu().numpy(), how=how, where=sample.id)
        mask = set_against(maps, known, rule, background=background)
        return SoftMask(mask.scores, mask.class_ids, warnings=warnings)

    return generate


def pytorch_grad_cam(cam: Any) -> CamCall:
    """Maps of an extractor of jacobgil/pytorch-grad-cam, such as `GradCAM(model=model, target_layers=[layer])`.

    One target is made for each image, since the library gives as many maps as it has targets. Frozen networks work
    too. Maps come scaled to [0, 1].
    """

    def maps(images: Tensor, channel: int) -> np.ndarray:
        def target(scores: Tensor) -> Tensor:
            return scores[channel]

        with torch.inference_mode(False), torch.enable_grad():
            return cam(input_tensor=images.clone().requires_grad_(), targets=[target] * len(images))

    return maps


def torch_cam(extractor: Any) -> CamCall:
    """Maps of an extractor of frgfm/torch-cam, such as `LayerCAM(model, "layer4")`; raw, several layers fused.

    Frozen networks work too.
    """

    def maps(images: Tensor, channel: int) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            scores = extractor.model(images.clone().requires_grad_())
            return extractor.fuse_cams(extractor(channel, scores, normalized=False)).detach()

    return maps


def _checked(cam: CamCall, images: Float[Tensor, "B 3 H W"], channel: int) -> Tensor:
    found = cam(images, channel)
    maps = torch.as_tensor(found, dtype=torch.float32, device=images.device)
    if maps.ndim != 3 or len(maps) != len(images):
        raise ShapeError(f"class maps of {len(images)} images must be (B, h, w), got {tuple(maps.shape)}")
    return maps
