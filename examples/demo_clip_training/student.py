"""demo-clip while it learns: part of the patches, texts cut where they end, and the weights it starts from."""

import torch
import torch.nn.functional as F
from torch import nn

from demo_clip_training.recipe import Recipe
from labelgen.nets.demo_clip import build_demo_clip
from labelgen.nets.demo_ssvt import build_demo_ssvt


class Rows(nn.Module):
    """A token table of which only some rows are trained, without 49408 gradients."""

    def __init__(self, table: torch.Tensor, row_ids: torch.Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(table[row_ids].clone())
        position = torch.full((len(table),), -1)
        position[row_ids] = torch.arange(len(row_ids))
        self.register_buffer("table", table, persistent=False)
        self.register_buffer("position", position, persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., D)."""
        place = self.position[tokens]
        return torch.where((place >= 0)[..., None], self.rows[place.clamp(min=0)], self.table[tokens])

    def whole(self) -> torch.Tensor:
        """The table (V, D) with the trained rows in it."""
        return torch.where((self.position >= 0)[:, None], self.rows.detach()[self.position.clamp(min=0)], self.table)


class Student(nn.Module):
    """demo-clip while it learns: the same weights, with patches left out and texts cut where they end."""

    def __init__(self, row_ids: torch.Tensor, recipe: Recipe, *, compiled: bool = False) -> None:
        super().__init__()
        self.run = torch.compile(run_block, dynamic=False) if compiled else run_block
        self.model = build_demo_clip(pretrained=False, seed=recipe.seed)
        self.row_ids = row_ids
        self.model.token_embedding = Rows(self.model.token_embedding.weight.detach(), row_ids)

    def tokens(self, images: torch.Tensor, keep: float, generator: torch.Generator) -> torch.Tensor:
        """Class token and a random part of the patches (B, 1 + n, W), before the first block."""
        tower = self.model.visual
        positions = tower.positional_embedding
        patches = tower.conv1(images).flatten(2).transpose(1, 2) + positions[1:]
        if keep < 1:
            kept = torch.rand(patches.shape[:2], generator=generator).argsort(1)[:, : int(keep * patches.shape[1])]
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        first = (tower.class_embedding + positions[0]).expand(len(patches), 1, -1)
        return tower.ln_pre(torch.cat([first, patches], dim=1))

    def images(
        self, images: torch.Tensor, keep: float, generator: torch.Generator, *, mixer: str = "values"
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Image vectors (B, D) as open_clip reads them, and the patches of the last block's attention (B, n, D)."""
        tower = self.model.visual
        tokens = self.tokens(images, keep, generator)
        for block in tower.transformer.resblocks[:-1]:
            tokens = self.run(block, tokens)
        last = tower.transformer.resblocks[-1]
        attended, patches = last_attention(last, tokens, mixer)
        pooled = tokens[:, 0] + attended
        pooled = pooled + last.mlp(last.ln_2(pooled))
        return tower.ln_post(pooled) @ tower.proj, tower.ln_post(patches[:, 1:]) @ tower.proj

    def texts(self, tokens: torch.Tensor) -> torch.Tensor:
        """Text vectors (T, D); what stands behind the end token cannot reach it, so that it is left out."""
        model, ends = self.model, tokens.argmax(1)
        length = int(ends.max()) + 1
        x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), ends] @ model.text_projection


def attend(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Output of a block's attention, before the residual; the fused kernel is slower backwards on a CPU."""
    normal, heads = block.ln_1(tokens), block.attn.num_heads
    count, length, width = normal.shape
    projected = F.linear(normal, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = projected.reshape(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    weights = (query * (width // heads) ** -0.5 @ key.mT).softmax(-1)
    return block.attn.out_proj((weights @ value).transpose(1, 2).flatten(2))


def last_attention(block: nn.Module, tokens: torch.Tensor, mixer: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention output of the class token (B, W), and that of all tokens with the mixer's attention (B, 1 + n, W)."""
    normal, heads = block.ln_1(tokens), block.attn.num_heads
    count, length, width = normal.shape
    projected = F.linear(normal, block.attn.in_proj_weight, block.attn.in_proj_bias)
    query, key, value = projected.reshape(count, length, 3, heads, width // heads).permute(2, 0, 3, 1, 4).unbind(0)
    scale = (width // heads) ** -0.5
    pooled = (query[:, :, :1] * scale @ key.mT).softmax(-1) @ value
    if mixer != "values":
        alike = {"queries": query, "keys": key}[mixer]
        value = (alike * scale @ alike.mT).softmax(-1) @ value
    pooled, mixed = (block.attn.out_proj(part.transpose(1, 2).flatten(2)) for part in (pooled, value))
    return pooled[:, 0], mixed


def run_block(block: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """One residual block."""
    tokens = tokens + attend(block, tokens)
    return tokens + block.mlp(block.ln_2(tokens))


def start_from_demo_ssvt(student: Student) -> None:
    """Copy blocks, positions and last norm of demo-ssvt; its two-convolution stem has no counterpart."""
    teacher, tower = build_demo_ssvt(), student.model.visual
    pairs: list[tuple[nn.Module, nn.Module]] = [(tower.ln_post, teacher.norm)]
    with torch.no_grad():
        tower.positional_embedding[1:] = teacher.pos_embed[0]
        for block, source in zip(tower.transformer.resblocks, teacher.blocks, strict=True):
            block.attn.in_proj_weight.copy_(source.attn.qkv.weight)
            block.attn.in_proj_bias.copy_(source.attn.qkv.bias)
            pairs += [
                (block.ln_1, source.norm1),
                (block.attn.out_proj, source.attn.proj),
                (block.ln_2, source.norm2),
                (block.mlp.c_fc, source.mlp.fc1),
                (block.mlp.c_proj, source.mlp.fc2),
            ]
    for module, source in pairs:
        module.load_state_dict(source.state_dict())


def raise_norms(model: nn.Module, gain: float) -> None:
    """Multiply what the first norm of each block of the image tower gives, and divide what reads it: the same function.

    GEM takes its temperature from the length of those vectors. With 160 channels and demo-ssvt's weights they are so
    short that its attention is almost uniform; no other method notices.
    """
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            block.ln_1.weight.mul_(gain)
            block.ln_1.bias.mul_(gain)
            block.attn.in_proj_weight.div_(gain)
