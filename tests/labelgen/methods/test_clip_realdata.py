"""Real photographs, of all sizes and some of them grey, through a small ViT with random weights, end to end."""

import json

import numpy as np
import pytest
import torch

from labelgen.cli import main
from labelgen.data.open import open_data
from labelgen.masks import read_mask
from labelgen.nets.clip.text_embeddings import write_text_embeddings
from labelgen.prompts import prompt_table
from labelgen.vocab import load_vocabulary

NAME = "ViT-S-16-alt"  # the smallest ViT with patches of 16 pixels that open_clip knows


@pytest.fixture(scope="module")
def random_vit(tmp_path_factory):
    """A checkpoint that nobody trained, and random vectors for the words of VOC."""
    import open_clip

    folder = tmp_path_factory.mktemp("vit")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = open_clip.get_model_config(NAME)
        torch.save(open_clip.CLIP(**config).state_dict(), folder / "random.pt")
    prompts = prompt_table(load_vocabulary("voc"), background="words").prompts
    vectors = np.random.default_rng(0).normal(size=(len(prompts), config["embed_dim"])).astype(np.float32)
    write_text_embeddings(folder / "words.npz", prompts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return folder


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("data", ["voc:voc2012-animals", "coco:coco-panoptic-60"])
def test_real_images_are_labelled_at_their_size(random_vit, shared_data, tmp_path, data, capsys):
    kind, _, folder = data.partition(":")
    spec = f"{kind}:{shared_data / folder}"
    flags = ["--weights", str(random_vit / "random.pt"), "--text-embeddings", str(random_vit / "words.npz")]
    ids = strangest(open_data(spec), 4)
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    out = tmp_path / "run"
    chosen = ["--model", NAME, "--vocab", "voc", "--ids", str(tmp_path / "ids.txt"), "--out", str(out), "--json"]
    assert main(["clip", spec, *flags, *chosen]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["failed"] == 0 and report["coverage"] == 1
    for sample_id in ids:
        labels = read_mask(out / "labels" / f"{sample_id}.png")
        assert labels.shape == open_data(spec).image(sample_id).shape[:2]


def strangest(data, count):
    """The images of the most extreme proportions, and grey ones first."""
    images = {sample_id: data.image(sample_id) for sample_id in data.ids[:60]}
    grey = [i for i, image in images.items() if (image == image[..., :1]).all()]
    by_shape = sorted(images, key=lambda i: abs(np.log(images[i].shape[0] / images[i].shape[1])))
    return sorted(dict.fromkeys([*grey[:1], by_shape[-1], by_shape[0], by_shape[len(by_shape) // 2]]))[:count]
