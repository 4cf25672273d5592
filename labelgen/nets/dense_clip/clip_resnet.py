"""open_clip's ModifiedResNet: its attention pooling read as a last block without residual and feed-forward.

References
----------
.. [1] A. Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
       arXiv 2103.00020, section 2.4.
.. [2] C. Zhou et al., "Extract Free Dense Labels from CLIP", ECCV 2022, arXiv 2112.01071, section 3.2.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from labelgen.nets.dense_clip.embed import pad_to_multiple, resample_positions
from labelgen.nets.dense_clip.last_block import RULES, Layout

__all__ = ["RESNET_METHODS", "ClipResNet"]

RESNET_METHODS: tuple[str, ...] = ("clip", "maskclip", "sclip", "clearclip", "naclip", "proxy")
"""`maskclip-v` would be `maskclip` here, and there are no blocks for a second path to run beside."""

STRIDE = 32  # pixels per place of the last feature map


@dataclass(frozen=True)
class ClipResNet:
    """A view of an `open_clip.modified_resnet.ModifiedResNet`; holds no state of its own.

    Parameters
    ----------
    visual
        The tower.
    """

    visual: Any
    kind: str = "resnet"
    patch: int = STRIDE
    prefix: int = 1
    methods: tuple[str, ...] = RESNET_METHODS

    @property
    def width(self) -> int:
        return self.visual.attnpool.v_proj.in_features

    @property
    def depth(self) -> int:
        return 1  # the pooling

    @property
    def heads(self) -> int:
        return self.visual.attnpool.num_heads

    @property
    def embed_dim(self) -> int:
        return self.visual.attnpool.c_proj.out_features

    @property
    def native_grid(self) -> tuple[int, int]:
        return (self.native_size[0] // STRIDE, self.native_size[1] // STRIDE)

    @property
    def native_size(self) -> tuple[int, int]:
        size = self.visual.image_size
        return (size, size) if isinstance(size, int) else tuple(size)

    def queries(self, tokens: torch.Tensor) -> torch.Tensor:
        """Queries of the pooling, (B, heads, T, d)."""
        return self._heads(self.visual.attnpool.q_proj(tokens))

    def keys(self, tokens: torch.Tensor) -> torch.Tensor:
        """Keys of the pooling, (B, heads, T, d)."""
        return self._heads(self.visual.attnpool.k_proj(tokens))

    def values(self, tokens: torch.Tensor) -> torch.Tensor:
        """Values of the pooling, (B, heads, T, d)."""
        return self._heads(self.visual.attnpool.v_proj(tokens))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def features(self, images: Float[torch.Tensor, "B 3 H W"]) -> Float[torch.Tensor, "B C h w"]:
        """The last feature map."""
        visual = self.visual
        maps = visual.stem(pad_to_multiple(images, STRIDE).to(visual.conv1.weight.dtype))
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            maps = layer(maps)
        return maps

    def pooled(
        self, features: Float[torch.Tensor, "B C h w"], *, method: str, layout: Layout
    ) -> Float[torch.Tensor, "B T D"]:
        """Every place through the pooling with the attention of `method`; the pooled vector of the image comes first.

        `maskclip` gives each place its projected value, as the 1 x 1 convolutions of [2]_ do: without positions.
        """
        pool = self.visual.attnpool
        tokens = features.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        if method != "maskclip":
            positions = resample_positions(pool.positional_embedding, self.native_grid, layout.grid, prefix=1)
            tokens = tokens + positions.to(tokens.dtype)
        attended = RULES[method].attended(self, tokens, layout)
        return pool.c_proj(attended.transpose(1, 2).flatten(2))
