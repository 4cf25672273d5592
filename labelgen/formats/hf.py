"""Hugging Face datasets: Arrow files as `datasets.load_from_disk` reads them, with columns id, image and annotation."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labelgen.data.raw_ids import raw_ids_of
from labelgen.errors import ConfigError, DataError
from labelgen.formats.class_names import ClassNames
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.json_files import field_of, image_id_of, read_json
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.named_masks import by_class_list
from labelgen.formats.target import new_folder, provenance, write_below
from labelgen.masks import LabelMap, decode_mask, encode_mask
from labelgen.untrusted import is_plain_name

__all__ = ["open_hf", "write_hf"]

SPLITS = "dataset_dict.json"
STATE, INFO, NAMES = "state.json", "dataset_info.json", "id2label.json"
BATCH = 16  # images written at a time, all that is in memory
SHARD_BYTES = 500_000_000  # as `save_to_disk` cuts data sets by default
FEATURES = {
    "id": {"dtype": "string", "_type": "Value"},
    "image": {"_type": "Image"},
    "annotation": {"_type": "Image"},
}
MASK_COLUMNS = ("annotation", "label", "mask", "segmentation_mask")
ID_COLUMNS = ("id", "image_id", "file_name")


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError("the format hf needs pyarrow", hint="pip install 'labelgen[hf]'") from error
    return pyarrow


def write_hf(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write a folder for `load_from_disk`; masks are grey PNGs of class ids, 255 (65535) where unlabelled.

    `id2label.json` beside the data names the ids, as models of transformers want them.

    Raises
    ------
    ConfigError
        When pyarrow is not installed.
    """
    pa = _pyarrow()
    vocabulary = exported.vocabulary
    schema = _schema(pa)
    with new_folder(out, provenance(exported, "hf"), overwrite=options.overwrite) as folder:
        parts, digest = 0, hashlib.sha256()
        samples = _samples(exported, progress)
        row = next(samples, None)
        while row is not None:
            path, written, parts = folder / f"part-{parts}.arrow", 0, parts + 1
            with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
                while row is not None and written < SHARD_BYTES:
                    rows = [row, *itertools.islice(samples, BATCH - 1)]
                    written += sum(len(r["image"]["bytes"]) + len(r["annotation"]["bytes"]) for r in rows)
                    writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
                    row = next(samples, None)
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        names = [f"data-{part:05d}-of-{parts:05d}.arrow" for part in range(parts)]
        for part, name in enumerate(names):
            (folder / f"part-{part}.arrow").rename(folder / name)
        write_below(folder, STATE, _json(_state(names, digest.hexdigest()[:16], exported.split)))
        write_below(folder, INFO, _json(_info(exported)))
        write_below(folder, NAMES, _json({str(i): name for i, name in enumerate(vocabulary.classes)}))
    recipe = [
        f"datasets.load_from_disk('{out.as_posix()}'); ignore_index is {vocabulary.ignore}",
        f"read it back: labelgen import {out.as_posix()} --from hf --data DATA",
    ]
    return Written(parts + 3, (), recipe)


def _samples(exported: Exported, progress: Progress) -> Iterator[dict[str, Any]]:
    for number, sample_id in enumerate(exported.ids, start=1):
        image, suffix = exported.image(sample_id)
        yield {
            "id": sample_id,
            "image": {"bytes": image, "path": f"{sample_id}{suffix}"},
            "annotation": {"bytes": encode_mask(exported.labels(sample_id)), "path": f"{sample_id}.png"},
        }
        progress(number, len(exported.ids), "")


def _schema(pa: Any) -> Any:
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    meta = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.schema([("id", pa.string()), ("image", picture), ("annotation", picture)], metadata=meta)


def _state(names: list[str], fingerprint: str, split: str) -> dict[str, Any]:
    """What `datasets` keeps of a data set that is not filtered, shuffled or formatted."""
    return {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }


def _info(exported: Exported) -> dict[str, Any]:
    said = f"labels of {exported.source.name}; class ids by {NAMES}, {exported.vocabulary.ignore} = unlabelled"
    return {"citation": "", "description": said, "features": FEATURES, "homepage": "", "license": ""}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def open_hf(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open a folder that `save_to_disk` has written; only the mask that is asked for is read.

    The masks are in a column annotation, label, mask or segmentation_mask, the ids in id, image_id or file_name, else
    they are the names of the image files. Classes are those of `id2label.json`, else those of the vocabulary, by id.

    Raises
    ------
    DataError
        When it is no such folder, lacks a column, or two rows have one id.
    ConfigError
        When pyarrow is not installed.
    """
    pa = _pyarrow()
    where = str(path / STATE)
    if (path / SPLITS).is_file():
        raise DataError(f"{path} holds several splits", hint=f"name the folder of one: {path.as_posix()}/train")
    batches = []
    for entry in field_of(read_json(path / STATE), "_data_files", list, where=where):
        name = field_of(entry, "filename", str, where=where)
        if not is_plain_name(name):
            raise DataError(f"a data file must lie in its folder, got {name!r} in {where}")
        batches += _batches(pa, path / name)
    rows: dict[str, tuple[Any, int]] = {}
    for batch in batches:
        for number, sample_id in enumerate(_ids(batch, where)):
            if sample_id in rows:
                raise DataError(f"two rows have the id {sample_id!r} in {path}")
            rows[sample_id] = batch, number
    classes = read_json(path / NAMES) if (path / NAMES).is_file() else None
    to_ids = by_class_list(names, raw_ids_of(names.vocabulary, own_ids=False), path)

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, None]:
        batch, number = rows[sample_id]
        value = batch.column(_column(batch, MASK_COLUMNS, where))[number].as_py()
        content = value.get("bytes") if isinstance(value, Mapping) else None
        if not content:
            raise DataError(
                f"the mask of {sample_id!r} must be in the file, got {value!r:.80} in {path}",
                hint="cast the column to datasets.Image and save it with its files embedded",
            )
        labels = decode_mask(content, where=f"{path}, {sample_id!r}")
        return to_ids(labels, classes, None, f"{path}, {sample_id!r}"), None

    return MaskReader(path, frozenset(rows), names.vocabulary, read)


def _batches(pa: Any, path: Path) -> list[Any]:
    """Record batches of an Arrow stream, left on disk until a value is asked for."""
    try:
        batches = list(pa.ipc.open_stream(pa.memory_map(str(path))))
        for batch in batches:
            batch.validate(full=True)  # offsets that lead out of a buffer would be followed
            list(batch.schema.names)  # one that is no UTF-8 raises here
        return batches
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise DataError(f"Arrow file cannot be read: {path} ({error})", hint="is the file whole?") from error


def _ids(batch: Any, where: str) -> list[str]:
    column = next((name for name in ID_COLUMNS if name in batch.schema.names), None)
    if column is None:
        images = batch.column(_column(batch, ("image",), where)).to_pylist()
        paths = [str(image.get("path") or "") if isinstance(image, dict) else "" for image in images]
        if not all(paths):
            raise DataError(f"rows must have an id, out of the columns {', '.join(ID_COLUMNS)}, in {where}")
        return [image_id_of(path) for path in paths]
    ids = [str(value) for value in batch.column(column).to_pylist()]
    return [image_id_of(name) for name in ids] if column == "file_name" else ids


def _column(batch: Any, wanted: tuple[str, ...], where: str) -> str:
    found = next((name for name in wanted if name in batch.schema.names), None)
    if found is None:
        there = ", ".join(batch.schema.names)
        raise DataError(f"there must be a column {' or '.join(wanted)}, got {there} in {where}")
    return found
