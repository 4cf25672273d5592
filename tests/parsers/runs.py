"""The files of a run folder."""

import functools
from pathlib import Path

import numpy as np

from parsers.parser import LABELS, TOY, UNIT, Parser


@functools.cache
def run_files():
    """A run of images a, b/c and of d, which failed."""
    import tempfile

    from labelgen.data.dataset import DataSpec
    from labelgen.errors import DataError
    from labelgen.masks import SoftMask, one_hot
    from labelgen.store import RunWriter, complete_run, make_header, prepare_run
    from labelgen.strokes import Stroke

    class Data:
        ids = ("a", "b/c", "d")
        spec, vocabulary, tags_source = DataSpec("folder", root="data"), TOY, "truth"

        def load(self, sample_id, fields):
            raise AssertionError("nothing looks at the images")

        image = truth = load

    header = make_header(Data(), method="toy", config={"n": 1}, supervision=["truth"], vocabulary=TOY, seed=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_run(folder, header, Data.ids)
        with RunWriter(folder, TOY, save_scores=True) as writer:
            plain = one_hot(LABELS, strokes=[Stroke(1, np.array([[1.0, 0.0], [2.0, 3.0]]))])
            layered = SoftMask(plain.scores, plain.class_ids, plain.strokes, ("odd",), {"n": 1}, {"first": LABELS})
            writer.put("a", SoftMask(**{**vars(layered), "distances": {"edge": UNIT}}))
            writer.put("b/c", plain)
            writer.fail("d", DataError("truncated", hint="fetch it"))
        complete_run(folder, header, Data.ids)
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_run(folder):
    """All that is ever read of a run; one bad image does not hide the others."""
    from labelgen.errors import DataError
    from labelgen.store import RunFolder

    run = RunFolder(folder)
    if "threads" in run.header:
        run.header["threads"]
    for sample_id in run.ids:
        for read in (run.labels, run.scores, run.strokes, run.distances):
            try:
                read(sample_id)
            except DataError:
                continue
        for name in run.layers:
            try:
                run.layer(name, sample_id)
            except DataError:
                continue


def part_of_run(what, *names):
    """One file of a run, by the method that reads it."""

    def read(folder):
        from labelgen.store import RunFolder

        return getattr(RunFolder(folder), what)(*names)

    return read


def read_unfinished_run(folder):
    """What a command does that goes on with a run."""
    from labelgen.store.records import load_records, summarise

    records = load_records(folder)
    records.settle(folder)
    return summarise(records)


def run_file(name, read=read_run):
    return Parser(name, lambda: [run_files()[name]], read, run_files)


def journal_seeds():
    return [run_files()["manifest.jsonl"] + run_files()["failures.jsonl"]]


PARSERS: dict[str, Parser] = {
    "run": run_file("run.json"),
    "manifest": run_file("manifest.jsonl"),
    "failures": run_file("failures.jsonl", read_unfinished_run),
    "journal": Parser(".journal/x.jsonl", journal_seeds, read_unfinished_run, run_files),
    "run-labels": run_file("labels/a.png", part_of_run("labels", "a")),
    "run-scores": run_file("scores/a.npz", part_of_run("scores", "a")),
    "run-strokes": run_file("strokes/a.json", part_of_run("strokes", "a")),
    "run-distances": run_file("distances/a.npz", part_of_run("distances", "a")),
    "run-layer": run_file("layers/first/a.png", part_of_run("layer", "first", "a")),
}
