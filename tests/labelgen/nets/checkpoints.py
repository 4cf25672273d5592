"""Tiny random networks, saved under the names that each family of published checkpoints uses."""

import json

import timm
import torch
from safetensors.torch import save_file

TINY = {"embed_dim": 32, "depth": 2, "num_heads": 2}
HEADS = {"head.mlp.0.weight": torch.ones(4, 32), "head.last_layer.weight_g": torch.ones(4, 1)}


def tiny_model(name, *, seed=0, **options):
    """A timm model with every parameter random, those that start at 0 or 1 included."""
    generator = torch.Generator().manual_seed(seed)
    model = timm.create_model(name, num_classes=0, **{"dynamic_img_size": True, **TINY, **options}).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def save_tiny(path, model, *, name, state=None, **about):
    """Save as safetensors with the metadata that names the model and its arguments."""
    tensors = {key: value.contiguous() for key, value in (state or model.state_dict()).items()}
    save_file(tensors, path, metadata={"labelgen": json.dumps({"model": name, "timm_kwargs": TINY, **about})})
    return path
