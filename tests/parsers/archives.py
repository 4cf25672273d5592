"""Archives of other tools, and tables of Arrow."""

import io
import tarfile
import zipfile

from parsers.parser import COLOURS, LABELS, Parser, document, dumped, import_of, png

LABELMAP = b"# label:color_rgb:parts:actions\nground:0,0,0::\ncat:1,0,0::\ndog:2,1,0::\nunlabelled:255,127,0::\n"


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def cvat_seeds():
    files = {"labelmap.txt": LABELMAP, "ImageSets/Segmentation/default.txt": b"a\n"}
    return [zipped({**files, "SegmentationClass/a.png": png(COLOURS), "SegmentationObject/a.png": png(COLOURS)})]


def voc_seeds():
    return [zipped({"labelmap.txt": LABELMAP, "SegmentationClass/a.png": png(LABELS, "P")}), *cvat_seeds()]


def tar_seeds():
    stream = io.BytesIO()
    facts = {"id": "a", "classes": {"0": "ground", "1": "cat", "2": "dog"}, "ignore": 255}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in {"a.png": png(LABELS), "a.json": dumped(facts), "b.seg.png": png(LABELS)}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return [stream.getvalue()]


def arrow_seeds():
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("image", picture), ("annotation", picture)])
    row = {"id": "a", "image": {"bytes": b"", "path": "a.jpg"}, "annotation": {"bytes": png(LABELS), "path": "a.png"}}
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist([row], schema=schema))
    return [stream.getvalue()]


PARSERS: dict[str, Parser] = {
    "cvat": Parser("a.zip", cvat_seeds, lambda f: import_of("cvat", f, "a.zip")),
    "voc": Parser("a.zip", voc_seeds, lambda f: import_of("voc", f, "a.zip")),
    "webdataset": Parser("a.tar", tar_seeds, lambda f: import_of("webdataset", f)),
    "hf-arrow": Parser(
        "a.arrow",
        arrow_seeds,
        lambda f: import_of("hf", f),
        lambda: {"state.json": dumped({"_data_files": [{"filename": "a.arrow"}]})},
    ),
    "hf-state": Parser(
        "state.json",
        document("", {"_data_files": [{"filename": "a.arrow"}], "_split": "train"}),
        lambda f: import_of("hf", f),
        lambda: {"a.arrow": arrow_seeds()[0], "id2label.json": dumped({"0": "ground", "1": "cat", "2": "dog"})},
    ),
}
