"""What `labelgen scribble` can do when its run is complete: figures of realism, and ScribbleSup XML files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelgen.commands.common import Switch, print_table
from labelgen.data.dataset import Dataset
from labelgen.errors import ConfigError, DataError
from labelgen.store import RunFolder

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AfterScribble"]

NAMES = {
    "coverage": "coverage of the image",
    "strokes": "strokes per image",
    "strokes_per_region": "strokes per region",
    "length_over_root_area": "length / sqrt(area)",
    "length_over_path": "length / longest path",
    "width": "width (pixels)",
    "region_coverage": "coverage of the region",
    "coverage_slope": "slope of log coverage over log area",
    "depth": "depth (mean / largest distance to boundary)",
    "band_5": "within 5 pixels of a contour",
    "band_30": "within 30 pixels of a contour",
    "turning": "turning per 10 pixels (degrees)",
    "centroid_offset": "centroid offset / sqrt(area)",
    "wrong": "on another class",
    "void": "on void",
    "missed": "regions without a stroke",
    "lost": "classes lost per image",
}
"""Figures in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class AfterScribble:
    """Looks at the strokes of a complete run.

    Parameters
    ----------
    stats
        Print figures that tell how much the scribbles resemble human ones; needs ground truth.
    real
        Folder of real ScribbleSup XML files (ID.xml), or run of real scribbles, to compare the figures with, each by a
        two-sample Kolmogorov-Smirnov test.
    xml
        Folder to write the drawn strokes to, one ScribbleSup XML file per image.
    """

    stats: Switch = False
    real: str = ""
    xml: str = ""

    def check(self) -> None:
        """Refuse --real without --stats, and folders that cannot be."""
        if self.real and not self.stats:
            raise ConfigError("--real compares figures and needs --stats")
        if self.real and not Path(self.real).is_dir():
            raise ConfigError(f"--real must name a folder of XML files or a run, got {self.real}")
        if self.xml and Path(self.xml).exists() and not Path(self.xml).is_dir():
            raise ConfigError(f"--xml must name a folder, got the file {self.xml}")

    def look(self, dataset: Dataset, out: Path) -> dict[str, Any]:
        """Write the XML files and measure."""
        facts: dict[str, Any] = {}
        run = RunFolder.open(out)
        if self.xml:
            facts["xml"] = {"folder": self.xml, "files": write_xml(run, Path(self.xml))}
        if self.stats:
            from labelgen.methods.scribble_stats import compare_samples, summarise_statistics

            pooled = measure_run(run, dataset)
            facts["stats"] = summarise_statistics(pooled)
            if self.real:
                facts["real"] = compare_samples(pooled, measure_real(Path(self.real), dataset))
        return facts

    def show(self, facts: dict[str, Any]) -> None:
        """Print tables."""
        if "stats" in facts:
            _show_stats(facts["stats"], facts.get("real", {}))
        if "xml" in facts:
            print(f"  XML files  {facts['xml']['files']} in {facts['xml']['folder']}")  # noqa: T201


def _show_stats(stats: dict[str, Any], real: dict[str, Any]) -> None:
    columns = ["figure", "n", "mean", "5 %", "median", "95 %", "target", ""]
    columns += ["KS distance to real", "p"] if real else []
    rows = []
    for name, title in NAMES.items():
        if name not in stats:
            continue
        row = stats[name]
        target = "{} to {}".format(*row["target"]) if "target" in row else ""
        numbers = [f"{row[key]:.4g}" if key in row else "" for key in ("mean", "p5", "median", "p95")]
        verdict = {True: "met", False: "missed"}.get(row.get("met"), "")
        compared = [f"{real[name][key]:.3f}" if name in real else "" for key in ("distance", "p")] if real else []
        rows.append([title, row["n"], *numbers, target, verdict, *compared])
    print_table(columns, rows, title="figures of the scribbles (targets: PASCAL VOC, of the mean)")


def write_xml(run: RunFolder, folder: Path) -> int:
    """Write the drawn strokes of each image of a run as FOLDER/ID.xml; the number of files."""
    from labelgen.masks import write_atomic
    from labelgen.methods.scribble_files import scribble_xml

    for sample_id in run.ids:
        strokes, labels = run.strokes(sample_id) or (), run.labels(sample_id)
        height, width = labels.shape
        document = scribble_xml(strokes, run.vocabulary, size=(height, width))
        try:
            write_atomic(folder / f"{sample_id}.xml", document, durable=False)
        except OSError as error:
            raise DataError(
                f"cannot write XML files into {folder} ({error.strerror})",
                hint="choose another --xml; the run itself is complete, so the same command only writes these files",
            ) from error
    return len(run.ids)


def measure_run(run: RunFolder, dataset: Dataset) -> "dict[str, np.ndarray]":
    """Figures of all images of a run that the data set has too, pooled."""
    from labelgen.methods.scribble_stats import image_statistics, pool_statistics

    ids = sorted(set(run.ids) & set(dataset.ids))
    if not ids:
        raise DataError(f"there is no image of the data set in {run.path}", hint="are the ids the same?")
    ignore = dataset.vocabulary.ignore
    return pool_statistics(
        [image_statistics(dataset.truth(i), run.labels(i), run.strokes(i) or (), ignore=ignore) for i in ids]
    )


def measure_real(folder: Path, dataset: Dataset) -> "dict[str, np.ndarray]":
    """Figures of real scribbles: a run folder, or ScribbleSup XML files of images of the data set, drawn 3 wide."""
    if (folder / "run.json").is_file():
        return measure_run(RunFolder.open(folder), dataset)
    from labelgen.job import rng_for
    from labelgen.masks import harden
    from labelgen.methods.scribble import ScribbleConfig, make_scribble
    from labelgen.methods.scribble_stats import image_statistics, pool_statistics

    generate = make_scribble(ScribbleConfig(from_xml=str(folder)), dataset.vocabulary)
    ignore, images = dataset.vocabulary.ignore, []
    for sample_id in dataset.ids:
        if (folder / f"{sample_id}.xml").is_file():
            mask = generate(dataset.load(sample_id, {"truth"}), rng_for(0, sample_id))
            labels = harden(mask, ignore=ignore)
            images.append(image_statistics(dataset.truth(sample_id), labels, mask.strokes, ignore=ignore))
    if not images:
        raise DataError(f"no file of {folder} belongs to an image of the data set", hint="they must be named ID.xml")
    return pool_statistics(images)
