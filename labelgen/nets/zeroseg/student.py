"""The ZeroSeg student: a masked ViT encoder, a pixel decoder, and a head that groups patches into a few segments."""

import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from timm.layers import PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer, init_weights_vit_timm
from torch import Tensor, nn

from labelgen.nets.demo_ssvt import ConvolutionalPatchEmbed
from labelgen.nets.zeroseg.config import StudentConfig
from labelgen.nets.zeroseg.grouping import GroupingBlock, Mlp, TokenMixing
from labelgen.nets.zeroseg.masking import take
from labelgen.nets.zeroseg.positions import sine_positions

__all__ = ["Segments", "Student", "StudentOutput", "build_student"]

TIMM_EPSILON, CLIP_EPSILON = 1e-6, 1e-5  # of layer norms
TOKEN_STD = 0.02  # of a freshly drawn mask token, as in every ViT
GROUP_STD = 0.3  # of group tokens: much smaller ones are all alike once layers have added to them


@dataclass(frozen=True)
class Segments:
    """What the segmentation head finds in a batch of images.

    Parameters
    ----------
    vectors
        `(B, G, D)`, one for each final segment, in the joint space of the teacher; not of unit length.
    image
        `(B, D)`, one for each image.
    assignments
        Soft assignment of each stage, `(B, groups, tokens)`: of patches to the first segments, and so on.
    taken
        The hard ones that made the segments, with noise in training.
    """

    vectors: Float[Tensor, "B G D"]
    image: Float[Tensor, "B D"]
    assignments: tuple[Float[Tensor, "B _ _"], ...]
    taken: tuple[Float[Tensor, "B _ _"], ...]

    def of_patches(self) -> Float[Tensor, "B G N"]:
        """Soft assignment of patches to the final segments: the product of the stages."""
        return _product(self.assignments)

    def hard_of_patches(self) -> Float[Tensor, "B G N"]:
        """The same of the hard assignments; one-hot, with the gradient of soft ones."""
        return _product(self.taken)


def _product(stages: tuple[Tensor, ...]) -> Tensor:
    product = stages[0]
    for later in stages[1:]:
        product = later @ product
    return product


@dataclass(frozen=True)
class StudentOutput:
    """What training compares: the segments, and the pixels of all patches as the decoder sees them."""

    segments: Segments
    pixels: Float[Tensor, "B N pixels"]


class PixelDecoder(nn.Module):
    """MAE's decoder: visible tokens, a mask token for each hidden patch, some layers, the pixels of every patch."""

    positions: Tensor

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(config.width, config.decoder_width)
        self.mask_token = nn.Parameter(TOKEN_STD * torch.randn(1, 1, config.decoder_width))
        self.register_buffer(
            "positions", sine_positions(config.grid, config.grid, config.decoder_width), persistent=False
        )
        layers = (Block(config.decoder_width, config.decoder_heads, qkv_bias=True) for _ in range(config.decoder_depth))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(config.decoder_width)
        self.pixels = nn.Linear(config.decoder_width, 3 * config.patch**2)

    def forward(
        self, tokens: Float[Tensor, "B visible C"], visible: Int64[Tensor, "B visible"]
    ) -> Float[Tensor, "B N pixels"]:
        embedded = self.embed(tokens)
        whole = self.mask_token.to(embedded.dtype).repeat(len(tokens), len(self.positions), 1)
        whole = whole.scatter(1, visible[:, :, None].expand_as(embedded), embedded)
        return self.pixels(self.norm(self.layers(whole + self.positions.to(embedded.dtype))))


class SegmentationHead(nn.Module):
    """Transformer layers over tokens and learnable group tokens, with a grouping block after each stage."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()

        def layers(count: int) -> nn.Sequential:
            blocks = (Block(config.width, config.heads, qkv_bias=True) for _ in range(count))
            return nn.Sequential(*blocks).apply(init_weights_vit_timm)

        sizes = config.stages
        self.group_tokens = nn.ParameterList(GROUP_STD * torch.randn(1, size, config.width) for size in sizes)
        # what a stage's group tokens take over from those of the stage before
        self.carry = nn.ModuleList(TokenMixing(config.width, a, b) for a, b in itertools.pairwise(sizes))
        self.stages = nn.ModuleList(layers(config.stage_depth) for _ in sizes)
        self.grouping = nn.ModuleList(GroupingBlock(config.width, size, centre=config.centre) for size in sizes)
        self.final = layers(config.final_depth)
        self.norm = nn.LayerNorm(config.width)
        self.to_joint = Mlp(config.width, config.width, config.joint_dim)
        self.summary = layers(1)
        self.image_to_joint = Mlp(config.width, config.width, config.joint_dim)

    def forward(
        self, tokens: Float[Tensor, "B N C"], *, generator: torch.Generator | None = None, noise: float = 1.0
    ) -> Segments:
        assignments: list[Tensor] = []
        taken: list[Tensor] = []
        groups = None
        for number, own in enumerate(self.group_tokens):
            fresh = own.expand(len(tokens), -1, -1)
            groups = fresh if groups is None else fresh + self.carry[number - 1](groups)
            both = self.stages[number](torch.cat([tokens, groups.to(tokens.dtype)], dim=1))
            tokens, groups = both[:, : tokens.shape[1]], both[:, tokens.shape[1] :]
            tokens, hard, soft = self.grouping[number](groups, tokens, generator=generator, noise=noise)
            assignments.append(soft)
            taken.append(hard)
        segments = self.norm(self.final(tokens))
        image = self.image_to_joint(self.summary(segments).mean(dim=1))
        return Segments(self.to_joint(segments), image, tuple(assignments), tuple(taken))


class Student(nn.Module):
    """Encoder, pixel decoder and segmentation head; make one with `build_student`.

    Parameters
    ----------
    config
        Its sizes.

    References
    ----------
    .. [1] Chen et al., arXiv 2306.00450, section 3. The projections to the joint space (here an MLP each) and what the
       segmentation head gets of hidden patches (here nothing) are not stated there.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        stem: Any = ConvolutionalPatchEmbed if config.stem == "convolutional" else PatchEmbed
        of_clip = config.stem == "clip"
        self.encoder: Any = VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            num_classes=0,
            global_pool="",
            class_token=config.class_token,
            dynamic_img_size=True,
            embed_layer=stem,
            pre_norm=of_clip,
            act_layer=config.activation,
            norm_layer=partial(nn.LayerNorm, eps=CLIP_EPSILON if of_clip else TIMM_EPSILON),
        )
        with torch.no_grad():
            grid = sine_positions(config.grid, config.grid, config.width)
            self.encoder.pos_embed[0, int(config.class_token) :].copy_(grid)
        self.decoder = PixelDecoder(config)
        self.head = SegmentationHead(config)

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        visible: Int64[Tensor, "B visible"],
        *,
        generator: torch.Generator | None = None,
        noise: float = 1.0,
    ) -> StudentOutput:
        """Look at the visible patches of normalised training images.

        Parameters
        ----------
        generator
            Source of the Gumbel noise; None for none.
        noise
            Factor on it.
        """
        tokens = self.encode(images, visible)
        segments = self.head(tokens, generator=generator, noise=noise)
        return StudentOutput(segments, self.decoder(tokens, visible))

    def segment(self, images: Float32[Tensor, "B 3 H W"]) -> Segments:
        """Group all patches of normalised images of any size in multiples of the patch, without noise."""
        return self.head(self.encode(images))

    def encode(
        self, images: Float[Tensor, "B 3 H W"], visible: Int64[Tensor, "B visible"] | None = None
    ) -> Float[Tensor, "B N C"]:
        """Encoder tokens of the visible patches, in their order, or of all; the class token is left out."""
        encoder = self.encoder
        prefix = int(self.config.class_token)
        grid = [images.shape[2] // self.config.patch, images.shape[3] // self.config.patch]
        native = [self.config.grid, self.config.grid]
        positions = resample_abs_pos_embed(encoder.pos_embed, grid, old_size=native, num_prefix_tokens=prefix)
        tokens = encoder.patch_embed(images).flatten(1, 2) + positions[:, prefix:]
        if visible is not None:
            tokens = take(tokens, visible)
        if prefix:
            first = encoder.cls_token + positions[:, :prefix]
            tokens = torch.cat([first.to(tokens.dtype).expand(len(tokens), -1, -1), tokens], dim=1)
        return encoder.norm(encoder.blocks(encoder.norm_pre(tokens)))[:, prefix:]


def build_student(config: StudentConfig, *, seed: int = 0) -> Student:
    """Build a student with random weights, in training mode.

    Parameters
    ----------
    seed
        Of the weights; torch's global generator is left as it was.

    Examples
    --------
    >>> tiny = StudentConfig(image_size=32, patch=8, width=16, depth=1, heads=2, decoder_width=16, decoder_depth=1,
    ...                      decoder_heads=2, stages=(4, 2), joint_dim=12)
    >>> segments = build_student(tiny).segment(torch.zeros(1, 3, 24, 40))
    >>> tuple(segments.vectors.shape), tuple(segments.of_patches().shape)
    ((1, 2, 12), (1, 2, 15))
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Student(config)
