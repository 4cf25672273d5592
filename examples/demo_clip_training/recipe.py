"""All settings of the training of demo-clip."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result, but for how many threads compute it and whether blocks are fused.

    The shipped weights were made by the script with small changes on the way: until step 300 of the captions batches
    had 64 images and 24 false texts; until step 400 the rate fell towards step 2400; until step 1300 the mixer was
    `values`; the images of the second part came from another stream of random numbers.
    """

    seed: int = 0
    chunks: int = 16
    chunk: int = 2000  # scenes in a chunk
    empty: float = 0.08  # share of scenes without objects
    distil_steps: int = 300
    distil_batch: int = 32
    distil_rate: float = 1.5e-3
    steps: int = 2800
    batch: int = 40  # images; half of it where most patches are kept
    captions: int = 2  # of each image
    false_texts: int = 20  # in a batch, about things that are never drawn
    unknown_texts: int = 8  # in a batch, with tokens that occur in no caption
    keep: tuple[float, ...] = (0.35, 0.5, 0.5, 0.8)  # share of the patches that is seen
    rate: float = 4e-4
    warmup: int = 60  # steps
    decay: float = 0.05
    highest_scale: float = 40.0  # of the logits; what dense methods use
    mixers: tuple[str, ...] = ("values", "queries", "keys")  # step by step, how patches attend in the second reading
    local_weight: float = 1.0  # of the loss on patch values, against that on image vectors
    text_weight: float = 0.5  # of the loss from texts to images, against that from images to texts
    close_steps: int = 900
    close_chunks: int = 6  # of the pool, whose label maps tell what a close-up shows
    close_rate: float = 2e-4
    close_warmup: int = 40  # steps
    grids: tuple[int, ...] = (2, 3, 4)  # a close-up is a tile of one of these
    free_windows: float = 0.4  # share of the close-ups that lie anywhere, with a side of a quarter of the scene or more
    shown: float = 0.15  # share of a close-up from which on an object is named
    faint: float = 0.03  # below this share an object is taken not to be there
    filled: float = 0.3  # share of objects from which on nobody names the background alone
    norm_gain: float = 4.0  # see `raise_norms`; chosen on train scenes
