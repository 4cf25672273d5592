"""Weights, vectors of text, probes and features."""

import functools
import io
import json
from pathlib import Path

import numpy as np

from parsers.parser import TOY, Parser, dumped, npz


def safetensors_seeds():
    import torch
    from safetensors.torch import save

    about = {"model": "test_vit", "timm_kwargs": {"img_size": 48}, "mean": [0.5] * 3, "std": [0.5] * 3, "names": "timm"}
    return [save({"norm.bias": torch.zeros(2), "x": torch.ones(1, 3)}, metadata={"labelgen": json.dumps(about)})]


def torch_seeds():
    import torch

    found = []
    for zip_format in (True, False):
        stream = io.BytesIO()
        names = ("module.visual.bias", "module.norm.weight")
        state = {"epoch": 3, "model": {name: torch.ones(2, dtype=torch.float16) for name in names}}
        torch.save(state, stream, _use_new_zipfile_serialization=zip_format)
        found.append(stream.getvalue())
    return found


def script_seeds():
    import warnings

    import torch

    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).eval()
        torch.jit.save(torch.jit.trace(model, torch.ones(1, 2)), stream)
    return [stream.getvalue()]


def training_seeds():
    import torch

    model = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    stream = io.BytesIO()
    torch.save({"step": 3, "model": model.state_dict(), "optimiser": optimiser.state_dict()}, stream)
    return [stream.getvalue()]


@functools.cache
def probe_files():
    import tempfile

    import torch

    from labelgen.data.dataset import DataSpec
    from labelgen.nets.backbone_config import BackboneConfig
    from segprobe.heads import make_head
    from segprobe.probe_file import Probe, save_probe

    head = make_head("linear", torch.zeros(4), torch.ones(4), num_classes=2, seed=0).eval()
    probe = Probe(
        head=head,
        kind="linear",
        class_ids=(0, 2),
        vocabulary=TOY,
        backbone=BackboneConfig("test_vit", layers=(2, -1)),
        fingerprint={"weights_sha256": "a" * 64},
        labels={"name": "x", "background": "none"},
        data=DataSpec("voc", root="data"),
        config={"lr": 0.1},
    )
    with tempfile.TemporaryDirectory() as name:
        save_probe(Path(name), probe)
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


@functools.cache
def cache_files():
    import hashlib

    geometry = {"size": [4, 6], "resized": [8, 12], "pad": [0, 2], "grid": [2, 4], "stride": 4, "flip": False}
    tokens = np.zeros((2, 4, 3), np.float16).tobytes()
    entry = {"id": "a", "view": 0, "offset": 0, "geometry": geometry}
    entry |= {"sha256": hashlib.sha256(tokens).hexdigest(), "image_sha256": "0" * 64}
    index = dumped({"entries": [entry], "count": 8, "sums": [0.0] * 3, "squares": [0.0] * 3})
    done = {"bin": hashlib.sha256(tokens).hexdigest(), "json": hashlib.sha256(index).hexdigest()}
    manifest = {"schema": 1, "state": "complete", "shards": 1, "dim": 3, "mean": [0.0] * 3, "std": [1.0] * 3}
    manifest["fingerprint"] = {"views": [{"scale": 1.0, "flip": False}], "dtype": "float16"}
    names = {"json": index, "bin": tokens, "done": dumped(done)}
    return {"manifest.json": dumped(manifest)} | {f"shard-00000.{suffix}": c for suffix, c in names.items()}


def read_text_vectors(folder):
    from labelgen.nets.clip.text_embeddings import _read

    return _read(folder / "a.npz")


def read_weights(name):
    def read(folder):
        from labelgen.nets.weights import read_checkpoint

        return read_checkpoint(folder / name)

    return read


def read_clip_weights(folder):
    from labelgen.nets.clip.checkpoint import read_clip_checkpoint

    return read_clip_checkpoint(folder / "a.pt")


def read_script(folder):
    from labelgen.nets.clip.script_archive import read_script_archive

    return read_script_archive(folder / "a.pt")


def read_training_state(folder):
    import torch

    from labelgen.nets.training import load_checkpoint

    model = torch.nn.Linear(2, 1)
    return load_checkpoint(folder, model, torch.optim.SGD(model.parameters(), lr=0.1))


def read_probe(folder):
    from segprobe.probe_file import open_probe

    return open_probe(folder)


def read_cache(folder):
    from segprobe.features import FeatureCache

    cache = FeatureCache.open(folder)
    for sample_id in cache.ids:
        for view in range(len(cache.views)):
            cache.features(sample_id, view)
    cache.verify()
    return cache.mean, cache.std, cache.nbytes


def read_cache_index(folder):
    """A shard whose index has the hash that it should have."""
    import hashlib

    done = {s: hashlib.sha256((folder / f"shard-00000.{s}").read_bytes()).hexdigest() for s in ("json", "bin")}
    (folder / "shard-00000.done").write_bytes(dumped(done))
    return read_cache(folder)


PARSERS: dict[str, Parser] = {
    "text-vectors": Parser(
        "a.npz",
        lambda: [npz(embeddings=np.eye(2, dtype=np.float32), prompts=np.array(["cat", "dog"]))],
        read_text_vectors,
        slow=True,
    ),
    "safetensors": Parser("a.safetensors", safetensors_seeds, read_weights("a.safetensors"), slow=True),
    "torch": Parser("a.pt", torch_seeds, read_weights("a.pt"), slow=True),
    "clip-checkpoint": Parser("a.pt", lambda: torch_seeds()[:1], read_clip_weights, slow=True),
    "torchscript": Parser("a.pt", script_seeds, read_script, slow=True),
    "training-state": Parser("last.pt", training_seeds, read_training_state, slow=True),
    "probe": Parser("probe.json", lambda: [probe_files()["probe.json"]], read_probe, probe_files, slow=True),
    "probe-tensors": Parser(
        "probe.safetensors", lambda: [probe_files()["probe.safetensors"]], read_probe, probe_files, slow=True
    ),
    "features": Parser("manifest.json", lambda: [cache_files()["manifest.json"]], read_cache, cache_files, slow=True),
    "features-index": Parser(
        "shard-00000.json",
        lambda: [cache_files()["shard-00000.json"]],
        read_cache_index,
        cache_files,
        slow=True,
    ),
}
