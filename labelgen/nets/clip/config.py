"""What can be chosen about an image-text model; light, so that the command line can read it without torch."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from labelgen.errors import ConfigError

__all__ = ["DEMO_CLIP", "LOCAL_DIR", "REAL_CLIP", "ClipModelConfig"]

DEMO_CLIP = "demo-clip"
"""The small image-text model whose weights are part of the package."""

REAL_CLIP = "ViT-B-16"
"""Default on real images: in dense use larger models do worse; its default weights are OpenAI's."""

LOCAL_DIR = "local-dir:"
"""Prefix of a folder that holds `open_clip_config.json`, the weights, and the tokenizer where it is not open_clip's."""


@dataclass(frozen=True)
class ClipModelConfig:
    """An image-text model and where its weights come from.

    Raises
    ------
    ConfigError
        When two settings contradict each other.

    Examples
    --------
    >>> ClipModelConfig().name
    'demo-clip'
    >>> ClipModelConfig("ViT-B/16", pretrained="openai").name
    'ViT-B-16'
    """

    model: Annotated[
        str, "demo-clip or an open_clip model such as ViT-B-16; empty for demo-clip, or what --weights says"
    ] = ""
    pretrained: Annotated[str, "tag of published weights, such as openai or laion2b_s34b_b88k"] = ""
    weights: Annotated[str, "checkpoint file (.safetensors, .pt, .bin) or local-dir:/folder; instead of a tag"] = ""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], "arithmetic of the image tower"] = "auto"
    device: Annotated[str, "torch device; auto takes CUDA where there is one"] = "auto"
    cache_dir: Annotated[str, "folder of downloaded weights and tokenizers; empty for that of the hub"] = ""

    def __post_init__(self) -> None:
        if self.pretrained and self.weights:
            raise ConfigError(
                f"pretrained and weights exclude each other, got {self.pretrained!r} and {self.weights!r}",
                hint="--pretrained TAG takes published weights, --weights FILE a checkpoint of yours",
            )
        if self.pretrained and self.name == DEMO_CLIP:
            raise ConfigError(
                f"{DEMO_CLIP} has one set of weights, got pretrained {self.pretrained!r}",
                hint=f"name the model that the tag belongs to: --model {REAL_CLIP} --pretrained {self.pretrained}",
            )
        if self.cache_dir and self.name == DEMO_CLIP:
            raise ConfigError(
                f"{DEMO_CLIP} is part of the package, so that it needs no cache_dir, got {self.cache_dir!r}",
                hint="leave --cache-dir out",
            )
        if self.is_folder and (self.model or self.weights == LOCAL_DIR):
            raise ConfigError(
                f"{LOCAL_DIR}FOLDER must name a folder, which says itself what model it holds, "
                f"got weights {self.weights!r} and model {self.model!r}",
                hint="leave --model away",
            )

    @property
    def name(self) -> str:
        """Name of the model as open_clip writes it; empty where only the weights say it."""
        if not self.model:
            return "" if self.weights else DEMO_CLIP
        return self.model.replace("/", "-")

    @property
    def is_folder(self) -> bool:
        """Whether the weights are a folder in open_clip's form."""
        return self.weights.startswith(LOCAL_DIR)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))
