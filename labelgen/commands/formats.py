"""`labelgen formats`: the file formats that export writes and import reads."""

from typing import Any

from labelgen.commands.common import JsonFlag, print_json, print_table

__all__ = ["formats"]


def formats(*, as_json: JsonFlag = False) -> None:
    """List the file formats that `labelgen export --to` writes and `labelgen import --from` reads.

    Examples
    --------
    labelgen formats
    labelgen formats --json
    """
    from labelgen.formats.table import FORMATS
    from labelgen.seeds.legacy import SEED_FORMATS

    rows: list[dict[str, Any]] = [
        {
            "format": name,
            "holds": "masks",
            "export": (row.suffix or "folder") if row.write else None,
            "import": True,
            "extra": f"labelgen[{row.extra}]" if row.extra else "",
            "about": row.about,
        }
        for name, row in FORMATS.items()
    ]
    rows += [
        {"format": name, "holds": "seeds", "export": "folder", "import": True, "extra": "", "about": row.about}
        for name, row in SEED_FORMATS.items()
    ]
    if as_json:
        print_json(rows)
        return
    table = [
        (row["format"], row["holds"], row["export"] or "-", "yes" if row["import"] else "-", row["extra"], row["about"])
        for row in rows
    ]
    print_table(("format", "holds", "export", "import", "needs", "what it is"), table, texts=range(6))
