"""A small data set on disk with photographs of noise, and labels of it, for tests of pages."""

import numpy as np
from PIL import Image

from labelgen.data.open import open_data
from labelgen.masks import one_hot, write_mask
from labelgen.store import RunWriter, complete_run, make_header, prepare_run

SIZE = (30, 40)


def write_data(folder, ids, classes, *, background=True, seed=0):
    """`folder/data` with images and masks, `folder/words.toml` with the classes; a block of each class in turn."""
    rng = np.random.default_rng(seed)
    for number, sample_id in enumerate(ids):
        truth = np.zeros(SIZE, np.uint8)
        truth[5:25, 5:30] = 1 + number % (len(classes) - 1)
        truth[4, 5:30] = 255
        image = rng.integers(256, size=(*SIZE, 3)).astype(np.uint8)
        (folder / "data" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "data" / "images" / f"{sample_id}.png")
        write_mask(folder / "data" / "masks" / f"{sample_id}.png", truth)
    names = ", ".join(f"'{name}'" for name in classes)
    (folder / "words.toml").write_text(f"classes = [{names}]\n" + ("background = 0\n" if background else ""), "utf-8")
    return [f"folder:{folder / 'data'}", "--vocab", str(folder / "words.toml")]


def write_labels(folder, ids, *, shift=3):
    """A plain folder of masks: the truth moved to the right, the last column unlabelled."""
    for sample_id in ids:
        truth = np.array(Image.open(folder / "data" / "masks" / f"{sample_id}.png"))
        truth[truth == 255] = 0
        labels = np.roll(truth, shift, axis=1)
        labels[:, -1] = 255
        write_mask(folder / "labels" / f"{sample_id}.png", labels)
    return folder / "labels"


def write_run(folder, ids, classes):
    """A run over pictures that nobody labelled, whose labels are two thirds of a block."""
    write_data(folder, ids, classes)
    (folder / "data" / "images").rename(folder / "pictures")
    dataset = open_data(f"images:{folder / 'pictures'}", vocabulary=str(folder / "words.toml"))
    out = folder / "runs" / "blocks"
    header = make_header(dataset, method="test", config={}, supervision=[], vocabulary=dataset.vocabulary, seed=0)
    prepare_run(out, header, dataset.ids)
    with RunWriter(out, dataset.vocabulary) as writer:
        for number, sample_id in enumerate(dataset.ids):
            labels = np.full(SIZE, 255, np.uint8)
            labels[: 10 + 5 * number] = 0
            labels[5:20, 5:30] = 1 + number % (len(classes) - 1)
            writer.put(sample_id, one_hot(labels))
    complete_run(out, header, dataset.ids)
    return out
