"""demo-ssvt: the small self-supervised ViT whose weights ship with the package.

A timm VisionTransformer with patches of 8 pixels whose patch embedding is two convolutions with a non-linearity between
them [1]_, which learns textures far faster than a linear one. It was trained on unlabelled frames of the demo world
by `examples/train_demo_ssvt.py`; the recipe and its figures are in the metadata of the weight file.

References
----------
.. [1] T. Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021, arXiv 2106.14881.
"""

from pathlib import Path
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models import VisionTransformer
from torch import nn

from labelgen.nets.shipped import load_shipped, save_shipped, shipped_metadata
from labelgen.nets.unfilled import unfilled

__all__ = ["DEMO_MEAN", "DEMO_STD", "DEMO_WEIGHTS", "build_demo_ssvt", "demo_ssvt_metadata", "save_demo_ssvt"]

DEMO_MEAN = (0.45, 0.45, 0.45)
DEMO_STD = (0.25, 0.25, 0.25)
DEMO_WEIGHTS = Path(__file__).resolve().parent.parent / "demo" / "demo_ssvt.safetensors"
IMAGE_SIZE = 128  # pixels: the short side of a demo scene, and the grid of the position embedding
PATCH = 8
WIDTH = 160
DEPTH = 6
HEADS = 5
STEM_CHANNELS = 64


class ConvolutionalPatchEmbed(PatchEmbed):
    """Patches of 8 pixels by overlapping convolutions of stride 4 and 2."""

    def __init__(self, *, in_chans: int = 3, embed_dim: int = WIDTH, **options: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, **options)
        self.proj = nn.Sequential(
            nn.Conv2d(in_chans, STEM_CHANNELS, kernel_size=8, stride=4, padding=2),
            nn.GELU(),
            nn.Conv2d(STEM_CHANNELS, embed_dim, kernel_size=4, stride=2, padding=1),
        )


def build_demo_ssvt(*, pretrained: bool = True, seed: int = 0) -> VisionTransformer:
    """Build demo-ssvt.

    Takes images of any size in multiples of 8 pixels, RGB in [0, 1] normalised by `DEMO_MEAN` and `DEMO_STD`.

    Parameters
    ----------
    pretrained
        Load the shipped weights; otherwise random ones.
    seed
        Of the random weights; torch's global generator is left as it was.

    Returns
    -------
    VisionTransformer
        In float32, in training mode, without head: tokens are (B, H / 8 * W / 8, 160).

    Raises
    ------
    WeightsError
        When the shipped file is missing or does not fit.

    Examples
    --------
    >>> model = build_demo_ssvt(pretrained=False).eval()
    >>> tuple(model(torch.zeros(1, 3, 24, 40)).shape)
    (1, 15, 160)
    """
    with torch.random.fork_rng(devices=[]), unfilled(pretrained):
        torch.manual_seed(seed)
        model = VisionTransformer(
            img_size=IMAGE_SIZE,
            patch_size=PATCH,
            embed_dim=WIDTH,
            depth=DEPTH,
            num_heads=HEADS,
            num_classes=0,
            global_pool="",
            class_token=False,
            dynamic_img_size=True,
            embed_layer=ConvolutionalPatchEmbed,
        )
    if pretrained:
        load_shipped(model, DEMO_WEIGHTS, name="demo-ssvt")
    return model


def save_demo_ssvt(model: VisionTransformer, path: Path, *, about: dict[str, Any]) -> None:
    """Write the weights in float16, with `about` as JSON in the metadata."""
    save_shipped(model.state_dict(), path, about=about)


def demo_ssvt_metadata(path: Path = DEMO_WEIGHTS) -> dict[str, Any]:
    """Return recipe and figures of a weight file, and the sha256 of the file itself."""
    return shipped_metadata(path)
