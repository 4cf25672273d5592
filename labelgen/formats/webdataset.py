"""WebDataset: tar shards with an image, a mask and a JSON for each key."""

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.data.raw_ids import raw_ids_of
from labelgen.errors import DataError
from labelgen.formats.archives import LARGEST_MEMBER
from labelgen.formats.class_names import ClassNames
from labelgen.formats.format import Exported, ExportOptions, Progress, ReadOptions, Written
from labelgen.formats.mask_files import MaskReader
from labelgen.formats.named_masks import by_class_list
from labelgen.formats.target import new_folder, provenance
from labelgen.masks import LabelMap, decode_mask, encode_mask
from labelgen.untrusted import is_plain_name, parse_json

__all__ = ["SHARD_SIZE", "key_of", "open_webdataset", "write_webdataset"]

SHARD_SIZE = 1000  # images; of the usual size a shard is some 100 MB, as the authors of WebDataset advise
MASK, FACTS = "png", "json"


def write_webdataset(exported: Exported, out: Path, options: ExportOptions, progress: Progress) -> Written:
    """Write `shard-000000.tar`, ...: `KEY.jpg` (`KEY.image.png` for images that are no JPEG), `KEY.png`, `KEY.json`.

    A pixel of the mask is its class id, 255 (65535 above 255 classes) where it is unlabelled. The JSON holds the id of
    the image, its size, the ignore id and the names of the classes in the mask.
    """
    ids, shards = exported.ids, 0
    with new_folder(out, provenance(exported, "webdataset"), overwrite=options.overwrite) as folder:
        for shards, start in enumerate(range(0, len(ids), SHARD_SIZE), start=1):
            path = folder / f"shard-{shards - 1:06d}.tar"
            with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
                for number, sample_id in enumerate(ids[start : start + SHARD_SIZE], start=start + 1):
                    _put_sample(archive, exported, sample_id)
                    progress(number, len(ids), "")
    last = f"{max(shards - 1, 0):06d}"
    recipe = [
        f"webdataset.WebDataset('{out.as_posix()}/shard-{{000000..{last}}}.tar').decode(webdataset.handle_extension("
        "'png', lambda b: PIL.Image.open(io.BytesIO(b))), 'pil')  # 'pil' alone would turn the mask into colours",
        f"read it back: labelgen import {out.as_posix()} --from webdataset --data DATA",
    ]
    return Written(shards, (), recipe)


def _put_sample(archive: tarfile.TarFile, exported: Exported, sample_id: str) -> None:
    vocabulary, labels = exported.vocabulary, exported.labels(sample_id)
    image, suffix = exported.image(sample_id)
    present = sorted(set(labels.reshape(-1).tolist()) - {vocabulary.ignore})
    facts = {
        "id": sample_id,
        "size": [int(side) for side in labels.shape],
        "ignore": vocabulary.ignore,
        "classes": {str(class_id): vocabulary.classes[class_id] for class_id in present},
    }
    key = key_of(sample_id)
    _put(archive, f"{key}.{'jpg' if suffix in ('.jpg', '.jpeg') else 'image' + suffix}", image)
    _put(archive, f"{key}.{MASK}", encode_mask(labels))
    _put(archive, f"{key}.{FACTS}", json.dumps(facts, ensure_ascii=False).encode())


def _put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)  # time, owner and mode are the same for everybody
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def key_of(sample_id: str) -> str:
    """The key of an id: WebDataset takes all behind the first dot of a name for its suffix.

    Examples
    --------
    >>> key_of("a.b/frame.0"), key_of("100%")
    ('a.b/frame%2E0', '100%25')
    """
    folder, slash, name = sample_id.rpartition("/")
    return folder + slash + name.replace("%", "%25").replace(".", "%2E")


@dataclass(frozen=True)
class _Place:
    """Where a file lies in a shard."""

    shard: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.shard.open("rb") as stream:
            stream.seek(self.offset)
            content = stream.read(self.size)
        if len(content) < self.size:
            raise DataError(f"{self.shard} is cut off", hint="is it a whole, uncompressed tar?")
        return content


def open_webdataset(path: Path, names: ClassNames, options: ReadOptions) -> MaskReader:
    """Open a shard, or a folder of them; files are found by their headers and read when it is their turn.

    The id of a sample is `id` in its JSON, else its key; a mask is `KEY.png` (or `.mask.png`, `.seg.png`). Classes are
    those of `classes` in the JSON, by name, else those of the vocabulary, by id.

    Raises
    ------
    DataError
        When a shard is damaged, has links or names that lead out of it, or two samples have one id.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    if not shards:
        raise DataError(f"no *.tar in {path}", hint="is it the right --from?")
    samples: dict[str, tuple[_Place, Mapping[str, Any]]] = {}
    for shard in shards:
        for key, places in _index(shard).items():
            mask = next((places[s] for s in (MASK, f"mask.{MASK}", f"seg.{MASK}") if s in places), None)
            if mask is None:
                continue
            facts = _facts(places.get(FACTS), key)
            sample_id = facts["id"] if isinstance(facts.get("id"), str) else key
            if sample_id in samples:
                raise DataError(f"two samples have the id {sample_id!r} in {path}")
            samples[sample_id] = mask, facts
    to_ids = by_class_list(names, raw_ids_of(names.vocabulary, own_ids=False), path)

    def read(sample_id: str, size: tuple[int, int]) -> tuple[LabelMap, None]:
        place, facts = samples[sample_id]
        where = f"{place.shard}, {sample_id!r}"
        return to_ids(decode_mask(place.read(), where=where), facts.get("classes"), facts.get("ignore"), where), None

    return MaskReader(path, frozenset(samples), names.vocabulary, read)


def _index(shard: Path) -> dict[str, dict[str, _Place]]:
    """Where the files of each key lie, by suffix."""
    found: dict[str, dict[str, _Place]] = {}
    end = -1
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                if archive.offset <= end or member.size < 0:  # a header that leads back would be read for ever
                    raise tarfile.ReadError(f"the size of {member.name!r} leads back")
                end = archive.offset
                is_plain = member.isdir() or (member.isreg() and not member.issparse())
                if not is_plain or not is_plain_name(member.name):
                    raise DataError(
                        f"a shard must hold plain files, got {member.name!r} in {shard}",
                        hint="links and names that lead out of the archive are refused",
                    )
                if member.size > LARGEST_MEMBER:
                    raise DataError(f"{member.name} has more than {LARGEST_MEMBER} bytes, in {shard}")
                folder, slash, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                if member.isfile():
                    place = _Place(shard, member.offset_data, member.size)
                    found.setdefault(folder + slash + stem, {})[suffix.lower()] = place
    except (OSError, tarfile.TarError, UnicodeError, OverflowError, EOFError) as error:
        raise DataError(f"shard cannot be read: {shard} ({error})", hint="is it a whole, uncompressed tar?") from error
    return found


def _facts(place: _Place | None, key: str) -> Mapping[str, Any]:
    """The JSON of a sample, if it has one that is an object."""
    if place is None:
        return {}
    try:
        facts = parse_json(place.read())
    except ValueError as error:
        raise DataError(f"JSON of {key!r} cannot be read in {place.shard} ({error})") from error
    return facts if isinstance(facts, dict) else {}
