"""demo-clip: the small image-text model whose weights ship with the package.

An `open_clip.CLIP` made of open_clip's own classes: a vision transformer of six blocks for 128 pixels in patches of 8,
a text tower of three blocks, and the tokenizer of all CLIP models; whatever takes a CLIP model takes this one. It knows
the demo world alone. `examples/train_demo_clip.py` trained it on captions of demo scenes and of close-ups of them, its
image tower starting from demo-ssvt. No loss saw a mask; the author of the captions of close-ups read off label maps
what those show. The recipe and the words it has met are in the metadata of the weight file.

The file stores the embeddings of the tokens that occur in those captions. All other tokens have the numbers of
`fixed_embeddings`, as they had in training, where texts with such tokens were negatives of every image.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from labelgen.errors import WeightsError
from labelgen.nets.clip.open_clip_import import import_open_clip
from labelgen.nets.shipped import load_shipped, save_shipped, shipped_metadata
from labelgen.nets.unfilled import unfilled

if TYPE_CHECKING:
    import open_clip
    from open_clip.tokenizer import SimpleTokenizer

__all__ = [
    "DEMO_CLIP_CONFIG", "DEMO_CLIP_MEAN", "DEMO_CLIP_STD", "DEMO_CLIP_WEIGHTS",
    "build_demo_clip", "demo_clip_metadata", "demo_clip_tokenizer", "fixed_embeddings", "save_demo_clip",
    "whole_state",
]  # fmt: skip

DEMO_CLIP_MEAN = (0.45, 0.45, 0.45)
DEMO_CLIP_STD = (0.25, 0.25, 0.25)
DEMO_CLIP_WEIGHTS = Path(__file__).resolve().parent.parent / "demo" / "demo_clip.safetensors"
CONTEXT = 32  # tokens: the longest of the 80 ImageNet templates needs 12, a name and some air
VOCABULARY = 49408  # of CLIP's byte pair encoding
TEXT_WIDTH = 128
DEMO_CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 128, "layers": 6, "width": 160, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": VOCABULARY, "width": TEXT_WIDTH, "heads": 4, "layers": 3},
}
TABLE = "token_embedding.weight"
ROWS, ROW_IDS = "token_embedding.rows", "token_embedding.row_ids"  # stand for TABLE in the file
FIXED_SEED = 2306
FIXED_STD = 0.02  # as open_clip draws its token embeddings


def build_demo_clip(*, pretrained: bool = True, seed: int = 0) -> "open_clip.CLIP":
    """Build demo-clip.

    Takes images of 128 x 128 pixels, RGB in [0, 1] normalised by `DEMO_CLIP_MEAN` and `DEMO_CLIP_STD`, and token ids
    (B, 32) of `demo_clip_tokenizer`; both towers give vectors of 128 numbers.

    Parameters
    ----------
    pretrained
        Load the shipped weights; otherwise random ones.
    seed
        Of the random weights; torch's global generator is left as it was.

    Returns
    -------
    open_clip.CLIP
        In float32, in training mode.

    Raises
    ------
    WeightsError
        When the shipped file is missing or does not fit, or open_clip cannot be imported.
    """
    open_clip = import_open_clip()
    with torch.random.fork_rng(devices=[]), unfilled(pretrained):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**DEMO_CLIP_CONFIG)
    if pretrained:
        load_shipped(model, DEMO_CLIP_WEIGHTS, name="demo-clip", unpack=whole_state)
        return model
    with torch.no_grad():
        model.token_embedding.weight.copy_(fixed_embeddings())
    return model


@functools.cache
def demo_clip_tokenizer() -> "SimpleTokenizer":
    """Return open_clip's own tokenizer, for texts of up to 30 tokens; longer ones are cut."""
    return import_open_clip().tokenizer.SimpleTokenizer(context_length=CONTEXT)


def fixed_embeddings() -> Float32[torch.Tensor, "V D"]:
    """Return the embeddings of all tokens before training: uniform numbers of standard deviation 0.02.

    They come from the raw bytes of a PCG64 generator, which numpy promises never to change.

    Examples
    --------
    >>> table = fixed_embeddings()
    >>> tuple(table.shape), f"{table.std():.4f}", f"{table[0, 0]:.5f}"
    ((49408, 128), '0.0200', '0.02990')
    """
    words = np.random.PCG64(FIXED_SEED).random_raw(VOCABULARY * TEXT_WIDTH // 8)
    values = words.astype("<u8", copy=False).view(np.int8).astype(np.float32)
    values += 0.5
    values *= np.float32(FIXED_STD * 3**0.5 / 128)
    return torch.from_numpy(values.reshape(VOCABULARY, TEXT_WIDTH))


def save_demo_clip(
    model: "open_clip.CLIP", path: Path, *, row_ids: Int64[torch.Tensor, "R"], about: dict[str, Any]
) -> None:
    """Write the weights in float16, with `about` as JSON in the metadata.

    Parameters
    ----------
    model
        A model built by `build_demo_clip`.
    path
        The file to write.
    row_ids
        The tokens whose embeddings were trained; only those are written.
    about
        Recipe and figures.
    """
    state = dict(model.state_dict())
    state[ROWS] = state.pop(TABLE)[row_ids]
    save_shipped({**state, ROW_IDS: row_ids.to(torch.int32)}, path, about=about)


def demo_clip_metadata(path: Path = DEMO_CLIP_WEIGHTS) -> dict[str, Any]:
    """Return recipe and figures of a weight file, and the sha256 of the file itself."""
    return shipped_metadata(path)


def whole_state(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Fill the token table of a state dict: the fixed numbers, with the rows that the file holds in their places.

    A state dict that has a whole table is returned as it is.

    Raises
    ------
    WeightsError
        When the rows and their ids do not fit together.
    """
    state = dict(stored)
    if TABLE in state:
        return state
    table = fixed_embeddings()
    if ROWS in state or ROW_IDS in state:
        rows, row_ids = state.pop(ROWS, None), state.pop(ROW_IDS, None)
        if rows is None or row_ids is None or rows.shape != (len(row_ids), TEXT_WIDTH):
            raise WeightsError(f"{ROWS} and {ROW_IDS} must come together, one row of {TEXT_WIDTH} numbers for each id")
        if len(row_ids) and not (row_ids.min() >= 0 and row_ids.max() < VOCABULARY):
            raise WeightsError(f"{ROW_IDS} must lie in [0, {VOCABULARY})")
        table[row_ids.long()] = rows.float()
    return state | {TABLE: table}
