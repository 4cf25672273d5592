"""The tables of `labelgen rank`: suspicious images, classes, and how well each score ranks."""

from typing import Any

from labelgen.commands.common import print_table
from labelgen.commands.quality_table import number

__all__ = ["print_ranking"]

Document = dict[str, Any]


def print_ranking(document: Document) -> None:
    """Print all tables on stdout."""
    by, rows = document["by"], document["images"]
    low = document["scores"][by]["suspicious"] == "low"
    title = f"{document['run']}: most suspicious by {by}, {'lowest' if low else 'highest'} first"
    header, rows_shown = _images(document)
    texts = [number for number, name in enumerate(header) if name in ("image", "worst class", "labelled", "looks like")]
    print_table(header, rows_shown, title=title, texts=texts)
    print_table(*_classes(document), title="By class", texts=(0, 1) if "probe" in document["scores"] else (0,))
    ranked = _ranked(document)
    if ranked:
        print_table(*ranked, title="How well each score ranks")
    for sentence in _sentences(document, len(rows)):
        print(sentence)  # noqa: T201


def _images(document: Document) -> tuple[list[str], list[list[str]]]:
    names = list(document["scores"])
    first = document["images"][0] if document["images"] else {}
    texts = [key for key in ("labelled", "looks_like") if key in first]
    texts = texts or [key for key in ("worst_class",) if key in first]  # one opinion a row is enough to read
    extra = [key for key in ("corrupted", "iou") if key in first]
    columns: list[str] = ["", "image", *texts, *names, *extra]
    titles = {"worst_class": "worst class", "looks_like": "looks like", "iou": "IoU"}
    rows = []
    for image in document["images"]:
        row = [str(image["place"]), image["id"]]
        row += [image[key] or "-" for key in texts]
        row += [number(image[key]) for key in names]
        row += [_mark(image[key]) for key in columns[len(row) :]]
        rows.append(row)
    return [titles.get(column, column) for column in columns], rows


def _mark(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else number(value)


def _classes(document: Document) -> tuple[list[str], list[list[str]]]:
    rows = document["classes"]
    skipped = ("id", "name", "taken_for", "iou")
    columns = [key for key in (rows[0] if rows else {}) if key not in skipped]
    taken = bool(rows) and "taken_for" in rows[0]
    truth = bool(rows) and "iou" in rows[0]
    header = ["class", *(["taken for"] if taken else []), *columns, *(["IoU"] if truth else [])]
    cells = []
    for row in rows:
        line = [row["name"], *([row["taken_for"] or "-"] if taken else [])]
        line += [number(row[key]) for key in columns]
        cells.append(line + ([number(row["iou"])] if truth else []))
    return header, cells


def _ranked(document: Document) -> tuple[list[str], list[list[str]]] | None:
    truth, corrupted = document["truth"], document["corrupted"]
    if truth is None and corrupted is None:
        return None
    columns = ["score"]
    columns += ["Spearman with IoU", "AUROC of bad ones"] if truth else []
    columns += ["AUROC of corrupted ones"] if corrupted else []
    rows = []
    for name in document["scores"]:
        row = [name]
        row += [number(truth["scores"][name][key]) for key in ("spearman", "auroc")] if truth else []
        row += [number(corrupted["scores"][name]["auroc"])] if corrupted else []
        rows.append(row)
    return columns, rows


def _sentences(document: Document, listed: int) -> list[str]:
    sentences = [f"{name}: {entry['sentence']}" for name, entry in document["scores"].items()]
    sentences.append(f"{listed} of {document['num_images']} images listed; --top N lists more, --top 0 all")
    if document["agreement"]:
        found = document["agreement"]
        sentences.append(
            f"agreement with {document['against']}: {number(found['pixel'])} of the pixels that both label, "
            f"mIoU {number(found['miou'])} over {found['num_classes']} classes"
        )
    if document["truth"]:
        found = document["truth"]
        sentences.append(
            f"{found['bad']} of {found['images']} images are bad: {found['quality']} is below {found['bad_below']:g}"
        )
    if document["corrupted"]:
        found = document["corrupted"]
        unchanged = f"; {found['unchanged']} more were chosen, but came out unchanged" if found["unchanged"] else ""
        sentences.append(
            f"{found['corrupted']} of {found['images']} images are corrupted, as the run records{unchanged}"
        )
    return sentences
