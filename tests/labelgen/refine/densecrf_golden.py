"""Write densecrf_golden.npz: what pydensecrf makes of one small image, for machines where it is not installed.

python tests/labelgen/refine/densecrf_golden.py
"""

from pathlib import Path

import numpy as np

from labelgen.refine.dense_crf import dense_crf

FILE = Path(__file__).with_suffix(".npz")
SETTINGS = {"psa": ("psa", 10), "deeplab": ("deeplab", 3), "adele": ("adele", 1)}


def scene(height=32, width=40):
    """A disc and a band on a gradient, slightly blurred by hand and with a little texture."""
    row, column = np.indices((height, width)).astype(np.float64)
    disc = 1 / (1 + np.exp(np.hypot(row - 0.4 * height, column - 0.35 * width) - 0.25 * height))
    band = 1 / (1 + np.exp(2 * np.abs(row + 0.5 * column - height) - 8))
    base = np.stack([90 + 2 * column, 120 + row, 60 + column + row], axis=-1)
    texture = 4 * np.sin(1.3 * row)[..., None] * np.cos(0.9 * column)[..., None]
    colours = base + disc[..., None] * [90, -60, 10] + band[..., None] * [-50, 40, 110] + texture
    return np.clip(colours, 0, 255).astype(np.uint8), disc, band


def probabilities():
    """Blurred and displaced guesses of background, disc and band of the scene, in percent."""
    _, disc, band = scene()
    first = 0.8 * np.roll(disc, (3, -4), axis=(0, 1)) + 0.1
    second = 0.7 * np.roll(band, (-2, 3), axis=(0, 1)) + 0.05
    planes = np.stack([np.clip(1 - np.maximum(first, second), 0, 1), first, second])
    return np.round(100 * planes).astype(np.uint8)


def main():
    image, percent = scene()[0], probabilities()
    start = percent / np.float32(100)
    made = {
        name: dense_crf(image, start, preset=preset, steps=steps, backend="pydensecrf")
        for name, (preset, steps) in SETTINGS.items()
    }
    # rounded to 2e-5, which is plenty for a comparison to 1e-3
    rounded = {name: np.round(q * 65535).astype(np.uint16) for name, q in made.items()}
    np.savez_compressed(FILE, image=image, percent=percent, **rounded)


if __name__ == "__main__":
    main()
