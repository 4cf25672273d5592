"""Label Studio: tasks with a brush mask for each region as predictions, and the labelling interface for them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from labelgen.data.disk import DiskDataset
from labelgen.errors import ConfigError
from labelgen.formats.brush import encode_brush
from labelgen.formats.format import Exported, ExportOptions, Progress, Written
from labelgen.formats.json_files import write_list
from labelgen.formats.regions import regions_of
from labelgen.formats.target import new_folder, provenance, write_below
from labelgen.masks import LabelMap
from labelgen.vocab import Vocabulary

__all__ = ["CONFIG", "TASKS", "label_config", "write_label_studio"]

TASKS, CONFIG, IMAGES = "tasks.json", "label-config.xml", "images"
FROM_NAME, TO_NAME = "tag", "image"
LOCAL_FILES = "/data/local-files/?d="  # how Label Studio names files below its document root


def write_label_studio(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write `tasks.json` and `label-config.xml`; unlabelled pixels are in no region, background is a label.

    Images are named as local files below the folder of the data set, or below `out` where they are written, too.
    """
    root = _document_root(exported, options)
    with new_folder(out, provenance(exported, "label-studio"), overwrite=options.overwrite) as folder:
        write_below(folder, CONFIG, label_config(exported.vocabulary).encode())
        with (folder / TASKS).open("wb") as stream:
            write_list(stream, _tasks(exported, folder, root, options, progress))
            stream.write(b"\n")
    shown = (root or out).resolve().as_posix()
    recipe = [
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={shown}",
        f"make a project; Settings > Labeling Interface > Code: paste {(out / CONFIG).as_posix()}",
        f"Settings > Cloud Storage: add a local files source below {shown}, and do not sync it",
        f"Import {(out / TASKS).as_posix()}; the masks are predictions: open a task and copy them to an annotation",
        "after mending: Export > JSON, and labelgen import FILE.json --from label-studio --data DATA",
    ]
    files = 2 if root else 2 + len(exported.ids)
    return Written(files, (), recipe)


def _document_root(exported: Exported, options: ExportOptions) -> Path | None:
    """The folder that image names start from; None where the images are written beside the tasks.

    Raises
    ------
    ConfigError
        When the images are drawn, or not known, and are not to be written.
    """
    if options.images:
        return None
    if isinstance(exported.dataset, DiskDataset) and all(i in exported.dataset.images for i in exported.ids):
        return exported.dataset.images.root
    raise ConfigError(
        "Label Studio needs image files, but these images are drawn or not found",
        hint="--images writes them beside the tasks",
    )


def _tasks(
    exported: Exported, folder: Path, root: Path | None, options: ExportOptions, progress: Progress
) -> Iterator[dict[str, Any]]:
    for number, sample_id in enumerate(exported.ids, start=1):
        labels = exported.labels(sample_id)
        if root is None:
            content, suffix = exported.image(sample_id)
            name = f"{IMAGES}/{sample_id}{suffix}"
            write_below(folder, name, content)
        else:
            path = exported.image_file(sample_id)
            assert path is not None  # all were found
            name = PurePosixPath(path.relative_to(root)).as_posix()
        yield {
            "data": {TO_NAME: LOCAL_FILES + quote(name), "image_id": sample_id},
            "predictions": [
                {
                    "model_version": exported.source.name,
                    "result": list(_results(sample_id, labels, exported.vocabulary, options)),
                }
            ],
        }
        progress(number, len(exported.ids), "")


def _results(
    sample_id: str, labels: LabelMap, vocabulary: Vocabulary, options: ExportOptions
) -> Iterator[dict[str, Any]]:
    height, width = labels.shape
    for number, (class_id, mask) in enumerate(regions_of(labels, vocabulary, instances=options.instances)):
        yield {
            "id": hashlib.sha256(f"{sample_id}\0{number}".encode()).hexdigest()[:10],
            "type": "brushlabels",
            "from_name": FROM_NAME,
            "to_name": TO_NAME,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [vocabulary.classes[class_id]]},
        }


def label_config(vocabulary: Vocabulary) -> str:
    """The labelling interface: an image, and a brush label in its colour for each class.

    Examples
    --------
    >>> print(label_config(Vocabulary("v", ("cat & dog",))))
    <View>
      <Image name="image" value="$image" zoom="true"/>
      <BrushLabels name="tag" toName="image">
        <Label value="cat &amp; dog" background="#800000"/>
      </BrushLabels>
    </View>
    <BLANKLINE>
    """
    labels = [
        f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>'
        for name, (red, green, blue) in zip(vocabulary.classes, vocabulary.colours, strict=True)
    ]
    return "\n".join(
        [
            "<View>",
            f'  <Image name="{TO_NAME}" value="${TO_NAME}" zoom="true"/>',
            f'  <BrushLabels name="{FROM_NAME}" toName="{TO_NAME}">',
            *labels,
            "  </BrushLabels>",
            "</View>",
            "",
        ]
    )
