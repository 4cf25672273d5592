"""Draw a small data set in the form of your own: 16 photographs of a flower bed, and masks of leaves and stones.

python examples/draw_own_data.py [FOLDER]

It writes images/train/001.jpg, masks/train/001.png, ... and classes.txt, for the pages beside this file.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 480, 360  # width, height
SPLITS = {"train": 12, "val": 4}
CLASSES = ("background", "leaf", "stone")  # the id of a class is the number of its line


def outline(kind: int, rng: np.random.Generator) -> list[tuple[float, float]]:
    """A leaf is long and pointed at both ends, a stone is round and uneven."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    if kind == 1:
        along, across = 75 * np.cos(angle), rng.uniform(20, 34) * np.sin(angle) * np.abs(np.sin(angle)) ** 0.4
    else:
        radius = rng.uniform(22, 48) * (1 + sum(0.05 * np.cos(k * angle + rng.uniform(0, 6)) for k in (2, 3, 5)))
        along, across = radius * np.cos(angle) * 1.2, radius * np.sin(angle)
    turn, (width, height) = rng.uniform(0, 2 * np.pi), SIZE
    x = rng.uniform(0.1, 0.9) * width + along * np.cos(turn) - across * np.sin(turn)
    y = rng.uniform(0.1, 0.9) * height + along * np.sin(turn) + across * np.cos(turn)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def grain(rng: np.random.Generator, strength: float) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (90, 120), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    return (np.asarray(coarse, float)[..., None] - 128) * strength + rng.normal(0, 6, (*SIZE[::-1], 1))


def scene(rng: np.random.Generator) -> tuple[Image.Image, Image.Image]:
    mask = Image.new("L", SIZE, 0)
    picture = np.array([112.0, 84, 60]) + grain(rng, 0.35)
    for _ in range(rng.integers(5, 9)):
        kind = int(rng.integers(1, 3))
        shape, own = outline(kind, rng), Image.new("L", SIZE, 0)
        ImageDraw.Draw(own).polygon(shape, fill=255)
        ImageDraw.Draw(mask).polygon(shape, fill=kind)
        colour = np.array([70.0, 128, 52] if kind == 1 else [150.0, 150, 146]) * rng.uniform(0.8, 1.15)
        shadow = own.filter(ImageFilter.GaussianBlur(7))
        picture *= 1 - 0.4 * np.asarray(shadow, float)[..., None] / 255
        inside = np.asarray(own, bool)
        picture[inside] = (colour + grain(rng, 0.12 if kind == 1 else 0.25))[inside]
    image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(0.8)), mask


def main(folder: Path) -> None:
    for number, split in enumerate(SPLITS):
        for index in range(1, SPLITS[split] + 1):
            image, mask = scene(np.random.default_rng((number, index)))
            for name, picture in ((f"images/{split}/{index:03}.jpg", image), (f"masks/{split}/{index:03}.png", mask)):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                picture.save(folder / name, quality=92)  # of the JPEG
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n", encoding="utf-8")
    print(f"{sum(SPLITS.values())} images and masks in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("mydata"))
