"""Dense CLIP from a state dict with loops over images, heads and pairs of tokens, in float64: slow and obvious."""

import math

import torch

RESIDUAL = ("clip", "maskclip", "sclip")


def reference_patches(visual, image, *, heads, method, quick=False, std=5.0, beta=1.2, gamma=3.0, external=None):
    """`(h * w, D)` embeddings of the patches of one `(3, H, W)` image of the native size."""
    state = {name: value.double() for name, value in visual.state_dict().items()}
    count = sum(name.endswith("ln_1.weight") for name in state)
    x, grid = first_tokens(state, image.double())
    for index in range(count - 1):
        x = plain_block(x, block_of(state, index), heads, quick)
    block = block_of(state, count - 1)
    normal = norm(x, block, "ln_1")
    query, key, value = projected(normal, block)
    out = torch.zeros_like(x)
    width = x.shape[1] // heads
    proxy = proxy_matrix(external, beta, gamma) if method == "proxy" else None
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        matrix = kernel(query[:, part], key[:, part], method=method, grid=grid, std=std) if proxy is None else proxy
        out[:, part] = matrix @ value[:, part]
    y = scale(linear(out, block, "attn.out_proj"), block, "ls_1")
    if method in RESIDUAL:
        y = x + y
        y = y + feed_forward(y, block, quick)
    return norm(y[1:], state, "ln_post") @ state["proj"]


def reference_dual(visual, image, *, heads, method, depth, quick=False):
    """Patches of the second path of GEM or CLIP Surgery."""
    state = {name: value.double() for name, value in visual.state_dict().items()}
    count = sum(name.endswith("ln_1.weight") for name in state)
    x, _ = first_tokens(state, image.double())
    second = None
    for index in range(count):
        block = block_of(state, index)
        if index == count - min(depth, count):
            second = x
        if second is not None:
            normal = norm(x, block, "ln_1")
            query, key, value = projected(normal, block)
            out = torch.zeros_like(x)
            width = x.shape[1] // heads
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                q, k, v = query[:, part], key[:, part], value[:, part]
                if method == "surgery":
                    out[:, part] = softmax_rows(v @ v.T / math.sqrt(width)) @ v
                else:
                    b = sum(row.norm() for row in normal) / len(normal) / math.sqrt(width)
                    out[:, part] = (grounded(q, v, b) + grounded(k, v, b) + grounded(v, v, b)) / 3
            second = second + scale(linear(out, block, "attn.out_proj"), block, "ls_1")
        x = plain_block(x, block, heads, quick)
    return norm(second[1:], state, "ln_post") @ state["proj"]


def grounded(u, v, b):
    u = torch.stack([row / row.norm() for row in u])
    u = softmax_rows(b * u @ u.T) @ u
    u = torch.stack([row / row.norm() for row in u])
    return softmax_rows(b * u @ u.T) @ v


def kernel(q, k, *, method, grid, std):
    root = math.sqrt(q.shape[1])
    if method == "clip":
        return softmax_rows(q @ k.T / root)
    if method == "sclip":
        return softmax_rows(q @ q.T / root) + softmax_rows(k @ k.T / root)
    if method == "clearclip":
        return softmax_rows(q @ q.T / root)
    if method == "naclip":
        return softmax_rows(k @ k.T / root + gaussian(grid, std))
    return torch.eye(len(q), dtype=q.dtype)


def gaussian(grid, std):
    """exp(-distance^2 / 2 std^2) of every pair of patches, with a row and a column of zeros for the class token."""
    places = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    w = torch.zeros(len(places) + 1, len(places) + 1, dtype=torch.float64)
    for i, (r1, c1) in enumerate(places):
        for j, (r2, c2) in enumerate(places):
            w[i + 1, j + 1] = math.exp(-((r1 - r2) ** 2 + (c1 - c2) ** 2) / (2 * std**2))
    return w


def proxy_matrix(features, beta, gamma):
    """With a row and a column for a class token that keeps to itself."""
    flat = [vector.double() for row in features for vector in row]
    count = len(flat)
    cosine = torch.tensor([[float(a @ b / max(a.norm() * b.norm(), 1e-12)) for b in flat] for a in flat]).double()
    matrix = torch.zeros(count + 1, count + 1, dtype=torch.float64)
    matrix[0, 0] = 1.0
    for i in range(count):
        exps = {}
        for j in range(count):
            logit = gamma * (float(cosine[i, j]) - beta * float(cosine.mean()))
            if logit >= 0 or i == j:
                exps[j] = math.exp(logit)
        for j, value in exps.items():
            matrix[i + 1, j + 1] = value / sum(exps.values())
    return matrix


def softmax_rows(logits):
    exps = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    return exps / exps.sum(dim=1, keepdim=True)


def first_tokens(state, image):
    weight = state["conv1.weight"]
    patch = weight.shape[2]
    rows, cols = image.shape[1] // patch, image.shape[2] // patch
    tokens = [state["class_embedding"]]
    for r in range(rows):
        for c in range(cols):
            pixels = image[:, r * patch : (r + 1) * patch, c * patch : (c + 1) * patch]
            tokens.append((weight * pixels).sum(dim=(1, 2, 3)))
    x = torch.stack(tokens) + state["positional_embedding"]
    return (norm(x, state, "ln_pre") if "ln_pre.weight" in state else x), (rows, cols)


def plain_block(x, block, heads, quick):
    query, key, value = projected(norm(x, block, "ln_1"), block)
    width = x.shape[1] // heads
    parts = [slice(head * width, (head + 1) * width) for head in range(heads)]
    out = [softmax_rows(query[:, p] @ key[:, p].T / math.sqrt(width)) @ value[:, p] for p in parts]
    x = x + scale(linear(torch.cat(out, dim=1), block, "attn.out_proj"), block, "ls_1")
    return x + feed_forward(x, block, quick)


def feed_forward(x, block, quick):
    hidden = linear(norm(x, block, "ln_2"), block, "mlp.c_fc")
    active = hidden / (1 + torch.exp(-1.702 * hidden)) if quick else hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    return scale(linear(active, block, "mlp.c_proj"), block, "ls_2")


def projected(x, block):
    return (x @ block["attn.in_proj_weight"].T + block["attn.in_proj_bias"]).chunk(3, dim=1)


def block_of(state, index):
    front = f"transformer.resblocks.{index}."
    return {name.removeprefix(front): value for name, value in state.items() if name.startswith(front)}


def linear(x, state, name):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def scale(x, state, name):
    return x * state.get(f"{name}.gamma", 1.0)


def norm(x, state, name):
    centred = x - x.mean(dim=-1, keepdim=True)
    deviation = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]
