"""The tables of what runs take and survive: growth, memory, kills."""

from markdown_table import Table


def scale(result: dict) -> Table:
    """How a run grows, and what it takes per image."""
    rows = [
        [
            f"{row['images']:,}",
            row["engine"],
            f"{row['seconds']:.1f}",
            f"{row['images'] / row['seconds']:.0f}",
            f"{row['peak_mb']:.0f}",
            f"{row['again_seconds']:.1f}",
        ]
        for row in result["rows"]
    ]
    last = result["rows"][-1]
    height, width = result["size"]
    weights = (
        f"A mask of {height} x {width} pixels takes {last['mask_bytes']:.0f} bytes "
        f"({last['mask_disk_bytes']:.0f} on the disk), its line of the manifest {last['line_bytes']:.0f}; "
        f"{last['images']:,} images take {last['inodes']:,} files and folders."
    )
    header = ["images", "engine", "s", "images/s", "peak memory of the command, MB", "the same command again, s"]
    return header, rows, weights


def crash(result: dict) -> Table:
    """Kills, restarts and compared bytes of each stage."""
    keys = ("kills", "runs", "files", "bytes")
    rows = [
        [row["stage"], *(f"{row[key]:,}" for key in keys), str(len(row["differences"])), str(row["orphans"])]
        for row in result["rows"]
    ]
    sums = [f"{sum(row[key] for row in result['rows']):,}" for key in keys]
    rows.append(["all", *sums, *(str(sum(int(row[place]) for row in rows)) for place in (-2, -1))])
    header = ["stage", "kills", "finished runs", "files compared", "bytes", "different", "processes left"]
    return header, rows


def memory(result: dict) -> Table:
    """Resident memory over many images."""
    keys = ("images", "megabytes_at_warm", "megabytes_at_end", "bytes_per_image")
    rows = [[row["stage"], *(f"{row[key]:,.0f}" for key in keys)] for row in result["rows"]]
    header = ["stage", "images", f"MiB after {result['warm']:.0%} of them", "MiB at the end", "bytes an image"]
    return header, rows
