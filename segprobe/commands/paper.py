"""`segprobe paper`: the figures that the paper publishes, and the commands that run its rows."""

from typing import Any

from labelgen.commands.common import JsonFlag, print_json, print_table
from labelgen.errors import ConfigError
from segprobe.paper import LABELS, PUBLISHED, SOURCE, TABLES, Published, label_commands

__all__ = ["paper"]


def paper(*, voc: str = "VOC", table: str = "", as_json: JsonFlag = False) -> None:
    """List the published figures with the command that runs each row on PASCAL VOC 2012.

    The figures are the paper's, in its own setting, which it states only in part; nothing here is measured.

    Parameters
    ----------
    voc
        Root of PASCAL VOC 2012, for the commands. Its ImageSets/Segmentation needs trainaug.txt.
    table
        Only this table: freezing, supervision, noise or backbone.

    Examples
    --------
    segprobe paper
    segprobe paper --table noise --voc VOCdevkit/VOC2012
    """
    if table and table not in TABLES:
        raise ConfigError(f"--table must be one of {', '.join(TABLES)}, got {table!r}")
    rows = [row for row in PUBLISHED if table in ("", row.table)]
    used = dict.fromkeys(row.supervision for row in rows)
    if as_json:
        labels = {name: list(label_commands(name, voc=voc)) for name in used}
        print_json({"source": SOURCE, "labels": labels, "rows": [_facts(row, voc) for row in rows]})
        return
    for name in dict.fromkeys(row.table for row in rows):
        found = [
            (row.supervision, row.method, row.strategy or "-", f"{row.miou:.1f}") for row in rows if row.table == name
        ]
        print_table(("labels", "method", "backbone", f"published mIoU ({SOURCE})"), found, title=TABLES[name])
    print("Labels:")  # noqa: T201
    for name in used:
        for command in label_commands(name, voc=voc) if LABELS[name] else ():
            print(f"  {command}")  # noqa: T201
    print("Rows, trained and scored on val:")  # noqa: T201
    for command in dict.fromkeys(row.command(voc=voc) for row in rows if row.network):
        print(f"  {command}")  # noqa: T201


def _facts(row: Published, voc: str) -> dict[str, Any]:
    """A row as JSON; null for a command that there is none of."""
    return {**vars(row), "published": True, "source": row.source, "command": row.command(voc=voc) or None}
