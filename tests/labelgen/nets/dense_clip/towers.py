"""Tiny open_clip models with random weights, every parameter of which matters."""

import hashlib

import torch

TEXT = {"context_length": 16, "vocab_size": 64, "width": 64, "heads": 2, "layers": 2}
TINY = {"image_size": 64, "patch_size": 8, "width": 96, "layers": 4, "head_width": 32}
EMBED = 64


def tiny_clip(*, seed=0, quick_gelu=False, custom_text=False, batch_first=True, **vision):
    """An `open_clip.CLIP` with open_clip's own vision transformer."""
    from open_clip import CLIP
    from open_clip.model import CustomTextCLIP
    from open_clip.transformer import QuickGELU, Transformer

    config = TINY | vision
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = (CustomTextCLIP if custom_text else CLIP)(EMBED, config, TEXT, quick_gelu=quick_gelu)
        if not batch_first:
            act = QuickGELU if quick_gelu else torch.nn.GELU
            model.visual.transformer = Transformer(96, 4, 3, 4.0, act_layer=act, batch_first=False)
        return stirred(model)


def timm_clip(name, *, pool, proj="none", seed=0, **trunk):
    """A `CustomTextCLIP` around a timm tower; `trunk` builds a plain ViT of another shape in its place."""
    from open_clip.model import CustomTextCLIP
    from timm.models import VisionTransformer

    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": 160}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CustomTextCLIP(EMBED, vision, TEXT)
        if trunk:
            model.visual.trunk = VisionTransformer(num_classes=0, **trunk)
            model.visual.image_size = (trunk["img_size"],) * 2
        return stirred(model)


def siglip_like(*, seed=0, img_size=64):
    """The shape of SigLIP: no class token, attention pooling by one latent query, no projection."""
    shape = {"img_size": img_size, "patch_size": 8, "embed_dim": 96, "depth": 3, "num_heads": 3}
    return timm_clip("test_vit3", pool="map", seed=seed, class_token=False, global_pool="map", **shape)


def tiny_resnet(*, seed=0):
    from open_clip import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return stirred(CLIP(EMBED, {"layers": (1, 1, 1, 1), "width": 8, "head_width": 64, "image_size": 64}, TEXT))


def stirred(model):
    """Add noise to all parameters, so that no bias is 0 and no scale is 1 or vanishing."""
    with torch.no_grad():
        for parameter in model.visual.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def checksum(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
