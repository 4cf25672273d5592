"""A ViT from its state dict in plain tensor operations: slow, obvious, and without timm."""

import math

import torch
import torch.nn.functional as F


def plain_vit_tokens(state, image, *, heads, patch, blocks, positions):
    """Patch tokens `(h * w, D)` of one `(3, H, W)` image after so many blocks, with the final norm.

    `positions` is the table of positions, already on the grid of the image: with the class token in front when there
    are no registers.
    """
    kernel = state["patch_embed.proj.weight"].flatten(1)
    rows, cols = image.shape[1] // patch, image.shape[2] // patch
    patches = [
        image[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch].flatten()
        for r in range(rows)
        for c in range(cols)
    ]
    tokens = torch.stack(patches) @ kernel.T + state["patch_embed.proj.bias"]
    if "reg_token" in state:
        x = torch.cat([state["cls_token"][0], state["reg_token"][0], tokens + positions])
    else:
        x = torch.cat([state["cls_token"][0], tokens]) + positions
    for index in range(blocks):
        block = {k.removeprefix(f"blocks.{index}."): v for k, v in state.items() if k.startswith(f"blocks.{index}.")}
        x = x + block.get("ls1.gamma", 1.0) * attention(normed(x, block, "norm1"), block, heads)
        hidden = F.gelu(linear(normed(x, block, "norm2"), block, "mlp.fc1"))
        x = x + block.get("ls2.gamma", 1.0) * linear(hidden, block, "mlp.fc2")
    return normed(x, state, "norm")[-rows * cols :]


def attention(x, block, heads):
    query, key, value = linear(x, block, "attn.qkv").chunk(3, dim=-1)
    width = x.shape[-1] // heads
    out = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        weights = (query[:, part] @ key[:, part].T / math.sqrt(width)).softmax(dim=-1)
        out.append(weights @ value[:, part])
    return linear(torch.cat(out, dim=-1), block, "attn.proj")


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def normed(x, state, name):
    centred = x - x.mean(dim=-1, keepdim=True)
    scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-6).rsqrt()
    return centred * scale * state[f"{name}.weight"] + state[f"{name}.bias"]


def cubic_resampled(values, count, *, scale):
    """Resample a 1-D sequence of vectors to `count` by cubic convolution (a = -0.75) without antialiasing."""
    out = []
    for index in range(count):
        source = (index + 0.5) / scale - 0.5
        first = math.floor(source)
        total = 0
        for tap in range(first - 1, first + 3):
            distance = abs(source - tap)
            total = total + cubic(distance) * values[min(max(tap, 0), len(values) - 1)]
        out.append(total)
    return torch.stack(out)


def cubic(distance, a=-0.75):
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    if distance < 2:
        return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return 0.0
