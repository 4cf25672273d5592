"""A small image-text model under a name that open_clip knows, and its weights in the forms that publishers use."""

import warnings

import open_clip
import torch
from open_clip import factory
from open_clip import pretrained as tables
from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SIGLIP_LIKE = {
    "embed_dim": 24,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear"},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 100,
        "hf_tokenizer_name": "org/words",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 16,
        "heads": 2,
        "layers": 1,
        "no_causal_mask": True,
        "pool_type": "last",
    },
}
OPENAI = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "interpolation": "bicubic", "resize_mode": "shortest"}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear", "resize_mode": "squash"}
PUBLISHED = {
    "tiny": {
        "openai": {**OPENAI, "url": "", "hf_hub": "org/tiny_clip.openai/", "quick_gelu": True},
        "plain": {**OPENAI, "url": "https://example.org/weights/tiny-plain.pt", "hf_hub": ""},
    },
    "tiny-quickgelu": {"openai": {**OPENAI, "url": "", "hf_hub": "org/tiny_clip.openai/", "quick_gelu": True}},
    "tiny-sig": {"webli": {**HALF, "url": "", "hf_hub": "org/tiny-sig/"}},
}


def register(monkeypatch):
    """Let open_clip know `tiny`, `tiny-quickgelu` and `tiny-sig` for one test."""
    configs = {"tiny": CONFIG, "tiny-quickgelu": {**CONFIG, "quick_gelu": True}, "tiny-sig": SIGLIP_LIKE}
    for name, config in configs.items():
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, config)
        monkeypatch.setitem(tables._PRETRAINED, name, PUBLISHED[name])


def tiny_model(*, quick=False, seed=1, config=CONFIG):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**config, quick_gelu=quick).eval()


def save_state(path, model, *, about=None):
    """As safetensors, with metadata if any."""
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    save_file(state, path, metadata=about)
    return path


def save_script(path, model):
    """As OpenAI does: a TorchScript archive with three numbers beside the weights."""
    for name in ("input_resolution", "context_length", "vocab_size"):
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images, tokens = torch.zeros(1, 3, 32, 32), torch.zeros(1, 16, dtype=torch.long)
        torch.jit.trace(model, (images, tokens), check_trace=False).save(str(path))
    return path
