"""A tiny CLIP that learns coloured shapes from captions alone; run as a module it trains and writes the fixture.

Six shapes of their own colours on noise, one or two in a picture of 64 pixels, captions such as "a photo of a red
circle and a green square". No loss sees where a shape is.

    python -m tests.labelgen.nets.toy_clip
"""

import functools
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

CONFIG = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 4, "width": 96, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SHAPES = (
    ("red circle", (200, 40, 40)),
    ("green square", (40, 170, 60)),
    ("blue triangle", (50, 70, 200)),
    ("yellow ring", (220, 200, 40)),
    ("white cross", (235, 235, 235)),
    ("purple bar", (140, 40, 160)),
)
TEMPLATES = ("a photo of a {}.", "a photo of a small {}.", "a picture of a {}.")
FIXTURE = Path(__file__).with_name("toy_clip.safetensors")
TABLE = "token_embedding.weight"
STEPS, BATCH, RATE = 300, 96, 2e-3


def draw(rng, shapes):
    """Picture (64, 64, 3) uint8 and truth: 0 for the ground, 1 to 6 for the shapes."""
    image = rng.normal(110, 35, (64, 64, 3))
    truth = np.zeros((64, 64), np.uint8)
    y, x = np.mgrid[:64, :64]
    for shape in shapes:
        radius, (top, left) = rng.uniform(8, 13), rng.uniform(13, 51, 2)
        v, h = (y - top) / radius, (x - left) / radius
        inside = (
            v**2 + h**2 < 1,
            np.maximum(abs(v), abs(h)) < 0.9,
            (v < 0.8) & (abs(h) < (v + 1) / 1.8),
            (v**2 + h**2 < 1) & (v**2 + h**2 > 0.3),
            (np.minimum(abs(v), abs(h)) < 0.35) & (np.maximum(abs(v), abs(h)) < 1),
            (abs(v) < 0.4) & (abs(h) < 1.2),
        )[shape]
        image[inside] = np.array(SHAPES[shape][1]) + rng.normal(0, 20, (int(inside.sum()), 3))
        truth[inside] = shape + 1
    return image.clip(0, 255).astype(np.uint8), truth


def pictures(rng, count, *, most):
    """Pictures of 1 to `most` different shapes, their truths, and which shapes they show."""
    shown = [rng.permutation(len(SHAPES))[: rng.integers(1, most + 1)].tolist() for _ in range(count)]
    images, truths = zip(*(draw(rng, shapes) for shapes in shown), strict=True)
    return np.stack(images), np.stack(truths), shown


def normalised(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


@functools.cache
def tokenizer():
    return open_clip.tokenizer.SimpleTokenizer(context_length=24)


def tokens(texts):
    return tokenizer()(list(texts))


def untrained(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**CONFIG)


def train(model, *, steps=STEPS, batch=BATCH, seed=0):
    """Contrast pictures and captions; equal captions share the target. Returns the losses."""
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    losses = []
    for _ in range(steps):
        images, _, shown = pictures(rng, batch, most=2)
        captions = ["a photo of a " + " and a ".join(SHAPES[shape][0] for shape in shapes) for shapes in shown]
        pixels = model.encode_image(normalised(images), normalize=True)
        words = model.encode_text(tokens(captions), normalize=True)
        logits = model.logit_scale.exp() * pixels @ words.T
        equal = torch.tensor([[float(set(a) == set(b)) for b in shown] for a in shown])
        target = equal / equal.sum(dim=1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses


def prototypes(model):
    """Unit vectors (6, 64) of the shapes' names, mean over three templates."""
    with torch.inference_mode():
        vectors = [model.encode_text(tokens(t.format(name) for name, _ in SHAPES), normalize=True) for t in TEMPLATES]
    return F.normalize(torch.stack(vectors).mean(dim=0), dim=-1)


def save(model, path):
    """Half precision, and of the embeddings only the rows of words that occur."""
    texts = [t.format(name) for name, _ in SHAPES for t in (*TEMPLATES, "a photo of a {0} and a {0}")]
    rows = tokens(texts).unique()
    state = {key: tensor.detach().half().contiguous() for key, tensor in model.state_dict().items()}
    state[TABLE] = state[TABLE][rows].contiguous()
    save_file({**state, "rows": rows.to(torch.int32)}, path)


def trained():
    """The model of the fixture."""
    state, model = load_file(FIXTURE), untrained()
    table = torch.zeros_like(model.token_embedding.weight)
    table[state.pop("rows").long()] = state.pop(TABLE).float()
    model.load_state_dict({**{key: tensor.float() for key, tensor in state.items()}, TABLE: table})
    return model.eval()


def main():
    model = untrained().train()
    losses = train(model)
    print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    save(model, FIXTURE)


if __name__ == "__main__":
    main()
