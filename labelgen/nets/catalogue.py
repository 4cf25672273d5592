"""Backbones worth knowing, with what one wants to know before a download; light, for the command line."""

from dataclasses import dataclass

from labelgen.nets.backbone_config import DEMO_BACKBONE

__all__ = ["CATALOGUE", "KnownBackbone"]

APACHE, NON_COMMERCIAL, DINOV3 = "Apache-2.0", "CC-BY-NC-4.0", "DINOv3 licence"


@dataclass(frozen=True)
class KnownBackbone:
    """One row of `segprobe backbones`.

    Parameters
    ----------
    name
        As `--backbone` takes it.
    method
        How it was trained.
    licence
        Of the weights, as published.
    parameters
        In millions, without a classifier.
    patch
        Pixels per token; for CNNs of the last stage.
    dim
        Channels of the last layer.
    megabytes
        To download; 0 for weights that come with the package, or that only a checkpoint file brings.
    source
        `published` by timm, `shipped` with this package, or `file`: only with `--weights`.
    """

    name: str
    method: str
    licence: str
    parameters: float
    patch: int
    dim: int
    megabytes: int
    source: str = "published"


CATALOGUE: tuple[KnownBackbone, ...] = (
    KnownBackbone(DEMO_BACKBONE, "self-supervised on drawn scenes", "MIT", 0.0, 0, 0, 0, "shipped"),
    KnownBackbone("vit_small_patch16_224.dino", "DINO", APACHE, 21.7, 16, 384, 87),
    KnownBackbone("vit_small_patch8_224.dino", "DINO", APACHE, 21.7, 8, 384, 87),
    KnownBackbone("vit_base_patch16_224.dino", "DINO", APACHE, 85.8, 16, 768, 343),
    KnownBackbone("vit_base_patch8_224.dino", "DINO", APACHE, 85.8, 8, 768, 343),
    KnownBackbone("vit_small_patch14_dinov2.lvd142m", "DINOv2", APACHE, 22.1, 14, 384, 88),
    KnownBackbone("vit_base_patch14_dinov2.lvd142m", "DINOv2", APACHE, 86.6, 14, 768, 346),
    KnownBackbone("vit_large_patch14_dinov2.lvd142m", "DINOv2", APACHE, 304.4, 14, 1024, 1217),
    KnownBackbone("vit_giant_patch14_dinov2.lvd142m", "DINOv2", APACHE, 1136.5, 14, 1536, 4546),
    KnownBackbone("vit_small_patch14_reg4_dinov2.lvd142m", "DINOv2, registers", APACHE, 22.1, 14, 384, 88),
    KnownBackbone("vit_base_patch14_reg4_dinov2.lvd142m", "DINOv2, registers", APACHE, 86.6, 14, 768, 346),
    KnownBackbone("vit_large_patch14_reg4_dinov2.lvd142m", "DINOv2, registers", APACHE, 304.4, 14, 1024, 1217),
    KnownBackbone("vit_giant_patch14_reg4_dinov2.lvd142m", "DINOv2, registers", APACHE, 1136.5, 14, 1536, 4546),
    KnownBackbone("vit_small_patch16_dinov3.lvd1689m", "DINOv3", DINOV3, 21.6, 16, 384, 86),
    KnownBackbone("vit_small_plus_patch16_dinov3.lvd1689m", "DINOv3", DINOV3, 28.7, 16, 384, 115),
    KnownBackbone("vit_base_patch16_dinov3.lvd1689m", "DINOv3", DINOV3, 85.6, 16, 768, 343),
    KnownBackbone("vit_large_patch16_dinov3.lvd1689m", "DINOv3", DINOV3, 303.1, 16, 1024, 1212),
    KnownBackbone("vit_base_patch16_224.mae", "MAE", NON_COMMERCIAL, 85.8, 16, 768, 343),
    KnownBackbone("vit_large_patch16_224.mae", "MAE", NON_COMMERCIAL, 303.3, 16, 1024, 1213),
    KnownBackbone("vit_huge_patch14_224.mae", "MAE", NON_COMMERCIAL, 630.8, 14, 1280, 2523),
    KnownBackbone("vit_huge_patch14_gap_224.in1k_ijepa", "I-JEPA", NON_COMMERCIAL, 630.8, 14, 1280, 2523),
    KnownBackbone("vit_small_patch16_224", "iBOT, MoCo-v3: --weights FILE", "of the file", 21.7, 16, 384, 0, "file"),
    KnownBackbone("vit_base_patch16_224", "iBOT, MoCo-v3: --weights FILE", "of the file", 85.8, 16, 768, 0, "file"),
    KnownBackbone("vit_large_patch16_224", "iBOT: --weights FILE", "of the file", 303.3, 16, 1024, 0, "file"),
    KnownBackbone("deit_small_patch16_224.fb_in1k", "supervised, ImageNet-1k", APACHE, 21.7, 16, 384, 88),
    KnownBackbone("vit_base_patch16_224.augreg_in1k", "supervised, ImageNet-1k", APACHE, 85.8, 16, 768, 346),
    KnownBackbone("resnet50.a1_in1k", "supervised, ImageNet-1k", APACHE, 23.5, 32, 2048, 102),
    KnownBackbone("convnext_tiny.fb_in1k", "supervised, ImageNet-1k", APACHE, 27.8, 32, 768, 114),
    KnownBackbone("mobilenetv2_100.ra_in1k", "supervised, ImageNet-1k", APACHE, 2.2, 32, 1280, 14),
)
"""Facts of the demo backbone are read from its file; a test compares the others with timm."""
