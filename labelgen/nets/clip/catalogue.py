"""Image-text models worth knowing, with what one wants to know before a download; light, for the command line."""

from dataclasses import dataclass

from labelgen.nets.clip.config import DEMO_CLIP
from labelgen.nets.dense_clip.names import METHODS

__all__ = ["CLIP_CATALOGUE", "KnownClip", "megabytes_of"]

MIT, APACHE, NON_COMMERCIAL = "MIT", "Apache-2.0", "CC-BY-NC-4.0"
UNKNOWN = "see publisher"

RESNET_METHODS = tuple(
    name for name in METHODS if name in ("clip", "maskclip", "sclip", "clearclip", "naclip", "proxy")
)


@dataclass(frozen=True)
class KnownClip:
    """One row of `labelgen clip-models`.

    Parameters
    ----------
    name
        As `--model` takes it.
    pretrained
        As `--pretrained` takes it; empty for the shipped model.
    licence
        Of the weights as their publisher states it; `see publisher` where that is not certain here.
    parameters
        In millions, both towers.
    patch
        Pixels per token; the stride of a ResNet.
    size
        Side in pixels of the images it was trained on.
    dim
        Length of the joint vectors.
    activation
        Of the image tower.
    methods
        Dense methods that its image tower can run.
    needs
        Packages beyond labelgen's own.
    """

    name: str
    pretrained: str
    licence: str
    parameters: float
    patch: int
    size: int
    dim: int
    activation: str
    methods: tuple[str, ...] = METHODS
    needs: tuple[str, ...] = ()

    @property
    def megabytes(self) -> int:
        """To download: published weights are float32; 0 for those of the package."""
        return round(4 * self.parameters) if self.pretrained else 0


TOKENIZER = ("transformers", "sentencepiece")

CLIP_CATALOGUE: tuple[KnownClip, ...] = (
    KnownClip(DEMO_CLIP, "", MIT, 0.0, 0, 0, 0, ""),
    KnownClip("ViT-B-16", "openai", MIT, 149.6, 16, 224, 512, "quick_gelu"),
    KnownClip("ViT-B-16", "laion2b_s34b_b88k", MIT, 149.6, 16, 224, 512, "gelu"),
    KnownClip("ViT-B-16", "datacomp_xl_s13b_b90k", MIT, 149.6, 16, 224, 512, "gelu"),
    KnownClip("ViT-B-16", "metaclip_400m", NON_COMMERCIAL, 149.6, 16, 224, 512, "quick_gelu"),
    KnownClip("ViT-B-16", "metaclip_fullcc", NON_COMMERCIAL, 149.6, 16, 224, 512, "quick_gelu"),
    KnownClip("ViT-B-16", "dfn2b", UNKNOWN, 149.6, 16, 224, 512, "quick_gelu"),
    KnownClip("ViT-B-32", "openai", MIT, 151.3, 32, 224, 512, "quick_gelu"),
    KnownClip("ViT-B-32", "laion2b_s34b_b79k", MIT, 151.3, 32, 224, 512, "gelu"),
    KnownClip("ViT-L-14", "openai", MIT, 427.6, 14, 224, 768, "quick_gelu"),
    KnownClip("ViT-L-14", "datacomp_xl_s13b_b90k", MIT, 427.6, 14, 224, 768, "gelu"),
    KnownClip("ViT-L-14-336", "openai", MIT, 427.9, 14, 336, 768, "quick_gelu"),
    KnownClip("ViT-H-14", "laion2b_s32b_b79k", MIT, 986.1, 14, 224, 1024, "gelu"),
    KnownClip("RN50", "openai", MIT, 102.0, 32, 224, 1024, "relu", RESNET_METHODS),
    KnownClip("ViT-B-16-SigLIP", "webli", APACHE, 203.2, 16, 224, 768, "gelu", METHODS, TOKENIZER),
    KnownClip("ViT-B-16-SigLIP2", "webli", APACHE, 375.2, 16, 224, 768, "gelu", METHODS, TOKENIZER),
)
"""Facts of the demo model are read from its file; a test compares the others with open_clip."""


def megabytes_of(name: str, tag: str) -> int:
    """Size of a download where it is known, else 0.

    Examples
    --------
    >>> megabytes_of("ViT-B-16", "openai")
    598
    >>> megabytes_of("ViT-B-16", "none")
    0
    """
    found = [known.megabytes for known in CLIP_CATALOGUE if (known.name, known.pretrained) == (name, tag)]
    return found[0] if found else 0
